"""The structure network: its answers, its distances, the reddening, and that it scripts."""

import numpy as np
import pytest
import torch
from pictures import batch, galaxy, sky, spiral

from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.models.texture import N_TEXTURE

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def network():
    """A network whose heads answer something: as made they are random, here they are reproducible."""
    torch.manual_seed(0)
    network = StructureNet(128).eval()
    with torch.no_grad():
        network.residual.picture.weight[:, network.n_shape :] = 0  # texture is for the distance alone
    return network


@pytest.fixture(scope="module")
def picture():
    return spiral()


OUTPUTS = (
    "estimate", "residual_redshift", "residual_photometry", "g_minus_i", "i", "log_cz", "axis_ratio",
    "detection_logit", "gswlc_offset", "distance",
)  # fmt: skip


def test_the_answers_have_one_number_a_picture(network, picture):
    pictures = batch(picture, galaxy(1), sky(1))
    with torch.inference_mode():
        output = network(pictures)
        features = network.forward_features(pictures)
        assert features.shape[0] == 3
        named = network.forward_head(features)
        torch.testing.assert_close(torch.stack(named, 1), output, rtol=0, atol=0)
        torch.testing.assert_close(features[:, :-1], network.measure(pictures.float()), rtol=0, atol=0)
    assert named._fields == OUTPUTS
    assert output.shape == (3, len(OUTPUTS))
    assert (named.distance >= 0).all()


def test_no_pictures_are_no_answers(network):
    with torch.inference_mode():
        output = network(torch.zeros(0, 3, 128, 128, dtype=torch.uint8))
    assert output.shape == (0, len(OUTPUTS))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((128, 128, 3), np.uint8),
        np.full((128, 128, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8),
        np.pad(np.full((2, 2, 3), 255, np.uint8), ((63, 63), (63, 63), (0, 0))),
        np.pad(np.full((1, 1, 3), 255, np.uint8), ((0, 127), (0, 127), (0, 0))),
        np.pad(np.full((128, 1, 3), 255, np.uint8), ((0, 0), (63, 64), (0, 0))),
        np.indices((128, 128)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255,
    ],
    ids=["black", "white", "noise", "point", "corner", "needle", "chessboard"],
)
def test_every_picture_has_finite_measurements_and_gradients(network, pixels):
    pictures = batch(pixels).float().requires_grad_()
    measured = network.measure(pictures)
    assert torch.isfinite(measured).all()
    measured.sum().backward()
    assert torch.isfinite(pictures.grad).all()


def test_the_estimate_has_a_gradient_on_the_galaxy(network, picture):
    pictures = batch(picture).float().requires_grad_()
    network(pictures)[:, OUTPUTS.index("estimate")].sum().backward()
    slope = pictures.grad[0].abs().sum(0)
    assert torch.isfinite(slope).all()
    assert slope[40:88, 40:88].mean() > slope[:20, :20].mean() > 0


def test_the_place_in_the_batch_changes_nothing(network, picture):
    pictures = [picture, *(galaxy(seed) for seed in range(6))]
    with torch.inference_mode():
        together = network.measure(batch(*pictures).float())
        reverse = network.measure(batch(*pictures[::-1]).float()).flip(0)
        alone = torch.cat([network.measure(batch(one).float()) for one in pictures])
    torch.testing.assert_close(reverse, together, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [64, 96])
def test_other_widths_work(width):
    network = StructureNet(width).eval()
    with torch.inference_mode():
        output = network(batch(galaxy(0, width=width), galaxy(1, width=width)))
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("width", [0, -128, 60, 66, 127])
def test_a_width_that_cannot_be_measured(width):
    with pytest.raises(ValueError, match=r"^width must be a multiple of 4 and at least 64, got"):
        StructureNet(width)


def test_only_what_is_learned_is_stored():
    # A derived table in the file could disagree with the code; and two networks share their files' keys.
    state = StructureNet(64).state_dict()
    assert set(state) == set(StructureNet(128).state_dict())
    assert not {"rings", "basis", "near"} & {key.partition(".")[0] for key in state}


# The distances


@pytest.fixture
def measured(picture):
    """A network whose distances know a handful of pictures, and those pictures' measurements."""
    torch.manual_seed(1)
    network = StructureNet(128).eval()
    with torch.inference_mode():
        features = network.forward_features(batch(picture, *(galaxy(seed) for seed in range(9))))
    network.typical.copy_(features[:, :-1].median(0).values)
    network.spread.copy_(features[:, :-1].std(0) + 0.01)
    network.alterations.copy_(0.1 * torch.randn_like(network.alterations))
    return network, features


def test_the_distances_are_those_of_their_definition(measured):
    network, features = measured
    whitening = torch.randn(network.n_shape, network.n_shape)
    network.whitening_shape.copy_(whitening)
    network.location.normal_()
    network.alterations_offset.normal_()
    edge = np.r_[20.0, 5.0, np.linspace(0.5, 2.0, 7)]
    network.edge.copy_(torch.from_numpy(edge))
    parts = (
        np.arcsinh((features[:, :-1] - network.typical).numpy() / network.spread.numpy())
        - network.location.numpy()
    )
    shape, sky = np.split(parts.astype(float), [network.n_shape], axis=1)
    log_odds = parts @ network.alterations.numpy() + network.alterations_offset.numpy()
    expected = np.column_stack(
        [
            np.sqrt(np.einsum("ni,ij,nj->n", shape, (whitening @ whitening.T).numpy(), shape)),
            np.linalg.norm(sky, axis=1),
            np.logaddexp(0, log_odds),
        ]
    )
    np.testing.assert_allclose(network.distances(features).numpy(), expected, rtol=1e-4, atol=1e-4)
    found = network.forward_head(features).distance.detach().numpy()
    np.testing.assert_allclose(found, (expected / edge).max(1), rtol=1e-4)


@pytest.mark.parametrize("column", [0, 1, 2, 8])
def test_an_edge_further_out_makes_everything_nearer(measured, column):
    network, features = measured
    before = network.forward_head(features)
    ratios = network.distances(features) / network.edge
    network.edge[column] *= 4
    after = network.forward_head(features)
    for name in OUTPUTS[:-1]:
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=0, atol=0)
    assert torch.all(after.distance <= before.distance)
    decides = ratios.argmax(1) == column
    assert torch.all((after.distance < before.distance) == decides)
    network.edge.mul_(2)
    torch.testing.assert_close(network.forward_head(features).distance, after.distance / 2)


def test_the_distance_of_a_picture_does_not_depend_on_the_batch(measured):
    network, features = measured
    together = network.forward_head(features).distance
    torch.testing.assert_close(
        network.forward_head(features.flip(0)).distance.flip(0), together, rtol=1e-6, atol=0
    )
    alone = torch.cat([network.forward_head(one[None]).distance for one in features])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_the_distance_grows_without_limit_along_every_measurement(measured):
    network, features = measured
    for column in (0, 50, network.n_shape - 1, network.n_shape, network.n_measured - 1):
        far = features[:1].repeat(4, 1)
        far[:, column] = torch.tensor([1e6, 1e12, 1e18, 1e24])
        assert torch.all(torch.diff(network.forward_head(far).distance) > 0)


def test_the_texture_is_the_last_of_the_measurements(network):
    assert network.n_shape == network.n_measured - N_TEXTURE
    assert StructureNet.columns(("texture",)) == list(range(network.n_shape, network.n_measured))


# The reddening, which no picture shows


def test_the_reddening_is_read_by_the_heads_and_not_by_the_distance(network, picture):
    pictures = batch(picture, picture, picture)
    with torch.inference_mode():
        network.residual.picture.weight[:, network.n_measured] = 2.0
        output = NetworkOutput(*network(pictures, torch.tensor([0.0, 0.1, 0.3])).unbind(1))
        columns = network.forward_features(pictures, torch.tensor([0.0, 0.1, 0.3]))
    assert StructureNet.columns(("reddening",)) == [network.n_measured]
    torch.testing.assert_close(columns[:, -1], torch.tensor([0.0, 0.1, 0.3]))
    torch.testing.assert_close(output.estimate.diff(), torch.tensor([0.2, 0.4]), rtol=0.02, atol=0)
    torch.testing.assert_close(output.distance, output.distance[:1].expand(3))


def test_where_the_reddening_is_unknown_it_is_that_of_the_training_set(network, picture):
    pictures = batch(picture, galaxy(1))
    with torch.inference_mode():
        network.center[-1] = 0.05
        mean = network(pictures, torch.tensor([0.05, 0.05]))
        for unknown in (None, torch.full((2,), torch.nan)):
            torch.testing.assert_close(network(pictures, unknown), mean, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_network_scripts_and_says_the_same(network, picture):
    script = torch.jit.script(network)
    pictures = batch(picture, galaxy(1), sky(2))
    with torch.inference_mode():
        for ebv in (None, torch.tensor([0.02, torch.nan, 0.2])):
            torch.testing.assert_close(script(pictures, ebv), network(pictures, ebv), rtol=1e-5, atol=1e-5)
