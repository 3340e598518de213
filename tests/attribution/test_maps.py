"""Heat maps: they add up to the answer, agree with independent code, and leave the model as it was."""

import dataclasses

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from contract import assert_same_estimates, assert_same_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import write
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from hifrac import load_model
from hifrac.attribution import heat_maps, resolve_target
from hifrac.attribution.gradients import integrated_gradients, mean_galaxy
from hifrac.attribution.maps import grad_cam, occlusion_maps, sky_level, upsample
from hifrac.attribution.methods import resolve_method
from hifrac.core.exceptions import ModelError
from hifrac.models.structure import StructureNet
from hifrac.models.xresnet import PixelNet, shallow

pytestmark = pytest.mark.numeric


def state_of(model):
    return {key: value.clone() for key, value in model.network.state_dict().items()}


# Class activation


@pytest.mark.parametrize("runtime", ["torchscript", "eager"])
def test_the_mean_of_a_class_activation_map_and_the_bias_are_the_answer(pooled, blobs, runtime):
    model = load_model(pooled, runtime=runtime)
    maps = heat_maps(model, blobs)
    answer = model.run(blobs)["estimate"]
    assert maps.method == "class activation map"
    assert_same_estimates(maps.prediction, answer)
    np.testing.assert_allclose(maps.native.mean((1, 2)) + maps.offset, answer, atol=1e-4)
    np.testing.assert_allclose(maps.values.sum((1, 2)) + maps.offset, answer, atol=1e-4)
    assert np.abs(maps.gap).max() < 1e-4
    assert maps.values.shape == blobs.shape[:3]
    assert maps.details["native_shape"] == [16, 16]


@pytest.fixture(scope="module")
def cropping(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "xresnet34"
    write(folder, "xresnet34")
    return folder


@pytest.fixture(scope="module")
def several_layers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "resnet18_concat_pool"
    write(folder, "resnet18_concat_pool")
    return folder


@pytest.mark.parametrize("runtime", ["torchscript", "eager"])
def test_a_network_that_crops_has_a_map_of_the_part_that_it_sees(cropping, blobs, runtime):
    model = load_model(cropping, runtime=runtime)
    maps = heat_maps(model, blobs)
    assert maps.values.shape == (len(blobs), 64, 64)
    beyond = np.ones((64, 64), dtype=bool)
    beyond[8:56, 8:56] = False
    assert np.all(maps.values[:, beyond] == 0)
    assert np.all(maps.values[:, ~beyond] != 0)
    assert np.abs(maps.gap).max() < 1e-4


class ConcatPool(torch.nn.Module):
    """Maximum and mean over positions."""

    def forward(self, maps):
        return torch.cat([pool(maps, 1).flatten(1) for pool in (adaptive_max_pool2d, adaptive_avg_pool2d)], 1)


@pytest.mark.parametrize("runtime", ["torchscript", "eager"])
def test_a_head_of_several_layers_has_grad_cam_and_no_additive_map(several_layers, blobs, runtime):
    model = load_model(several_layers, runtime=runtime)
    maps = heat_maps(model, blobs, method="gradcam")
    assert maps.values.shape == blobs.shape[:3]
    assert np.isfinite(maps.values).all()
    assert np.isnan(maps.offset).all()
    assert np.isnan(maps.gap).all()
    network = load_model(several_layers, runtime="eager").network
    pixels = torch.from_numpy(blobs).permute(0, 3, 1, 2)
    backbone = network.backbone
    whole = torch.nn.Sequential(backbone.features, ConcatPool(), backbone.head)
    independent = LayerGradCam(whole, backbone.features)
    expected = independent.attribute(network.normalise(pixels), target=0, relu_attributions=False)
    np.testing.assert_allclose(maps.native / 4, expected[:, 0].detach(), rtol=1e-3, atol=1e-5)
    with pytest.raises(ModelError, match=r"^method 'cam' needs a network .*take method='gradcam' or 'occ"):
        heat_maps(model, blobs)


def test_both_runtimes_make_the_same_maps(pooled, blobs):
    one, other = (heat_maps(load_model(pooled, runtime=name), blobs) for name in ("torchscript", "eager"))
    assert_same_maps(one.values, other.values)


def test_grad_cam_of_a_pooled_network_is_its_class_activation_map(pooled, blobs):
    # Selvaraju et al. (2017), section 3.1: the weights of Grad-CAM are then those of the last layer.
    model = load_model(pooled)
    cam, gradcam = heat_maps(model, blobs), heat_maps(model, blobs, method="gradcam")
    np.testing.assert_allclose(gradcam.values, cam.values, atol=1e-6)
    assert gradcam.method == "Grad-CAM"


@pytest.mark.parametrize("column", [0, 1])
def test_grad_cam_of_two_classes_is_that_of_captum(column):
    torch.manual_seed(2)
    network = PixelNet(shallow(2)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.4, 0.8)
    pixels = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(4)).byte()
    features = network.forward_features(pixels)
    found = grad_cam(network.forward_head, features, column)
    independent = LayerGradCam(network.backbone, network.backbone.stages)
    expected = independent.attribute(network.normalise(pixels), target=column, relu_attributions=False)
    assert found.shape == (3, 16, 16)
    np.testing.assert_allclose(found.detach(), expected[:, 0].detach(), atol=1e-6)
    rectified = independent.attribute(network.normalise(pixels), target=column, relu_attributions=True)
    np.testing.assert_allclose(found.clamp(min=0).detach(), rectified[:, 0].detach(), atol=1e-6)


def test_evidence_against_is_not_zeroed(tmp_path, blobs):
    torch.manual_seed(3)
    network = PixelNet(shallow(2)).eval()
    with torch.no_grad():
        # Mish is bounded below at -0.31: large negative weights on features shifted up are all against.
        network.backbone.head.weight[0] = -network.backbone.head.weight[0].abs()
    write(tmp_path / "m", "shallow", network=network)
    model = load_model(tmp_path / "m")
    maps = heat_maps(model, blobs, method="gradcam")
    against = maps.values.sum((1, 2))
    assert np.all(against < 0)
    assert np.all(maps.values.min((1, 2)) < 0)
    np.testing.assert_allclose(against + maps.offset, maps.prediction, atol=1e-4)


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), up=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40)
def test_the_mean_survives_upsampling_to_any_size(height, width, up, seed):
    maps = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))
    large = upsample(maps, up)
    assert large.shape == (2, *up)
    np.testing.assert_allclose(large.mean((1, 2)), maps.mean((1, 2)), atol=1e-5)


def test_upsampling_by_whole_factors_is_plain_bilinear():
    maps = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.interpolate(maps[:, None], size=(64, 80), mode="bilinear")[:, 0]
    np.testing.assert_allclose(upsample(maps, (64, 80)), plain, atol=1e-6)


# Integrated gradients


@pytest.mark.parametrize("target", ["log_hi_fraction", "p_detect"])
def test_the_sum_of_integrated_gradients_and_the_offset_are_the_answer(default, demo_pixels, target):
    maps = heat_maps(default, demo_pixels, target=target)
    aim = resolve_target(default.card, target)
    assert maps.method == "integrated gradients"
    np.testing.assert_allclose(maps.prediction, aim.sign * default.run(demo_pixels)[aim.output], atol=1e-4)
    assert maps.native is None
    # Stated tolerance: 0.05 dex for the estimate; log odds span ten times as much.
    assert np.abs(maps.gap).max() < (0.05 if target == "log_hi_fraction" else 0.5)
    assert maps.values.std() > 0


def test_more_nodes_miss_less_and_the_maps_are_close(default, demo_pixels):
    coarse, fine = (heat_maps(default, demo_pixels, steps=steps) for steps in (8, 32))
    assert np.abs(fine.gap).max() < 0.02
    for one, other in zip(coarse.values, fine.values, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


def test_they_are_those_of_captum_where_the_network_has_no_threshold(default, demo_pixels):
    # With one segment for both ends nothing of the network is relaxed: any implementation must agree.
    pixels = torch.from_numpy(demo_pixels[:2]).permute(0, 3, 1, 2).float()
    reference = StructureNet(**default.card.options)
    script = default.network.state_dict()
    reference.load_state_dict({key: script[key] for key in reference.state_dict()})
    reference.eval()
    start = torch.from_numpy(mean_galaxy(reference)).permute(2, 0, 1)[None].expand_as(pixels).clone()
    given = reference._segment(start.unfold(2, 2, 2).unfold(3, 2, 2).sum((1, 4, 5)))
    reference._segment = lambda counts: given[:1].expand(len(counts), -1, -1)

    from hifrac.attribution import gradients

    network = gradients._with_settable_segment(default)
    network.segment = given
    found = gradients._integral(network, 0, start, pixels, (given, given), [], 20)
    expected = IntegratedGradients(lambda x: reference(x)[:, 0]).attribute(
        pixels, baselines=start, n_steps=20, method="gausslegendre"
    )
    np.testing.assert_allclose(found, expected.sum(1).detach(), atol=2e-5)


def test_a_picture_that_is_the_baseline_has_an_empty_map(default):
    network = StructureNet(**default.card.options)
    state = default.network.state_dict()
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    pixels = np.rint(mean_galaxy(network)).astype(np.uint8)[None]
    maps = heat_maps(default, pixels, baseline=pixels)
    np.testing.assert_array_equal(maps.values, 0)
    np.testing.assert_allclose(maps.prediction, maps.offset, atol=1e-6)


def test_the_mean_galaxy_has_the_mean_colours_of_the_training_set(default):
    network = StructureNet(**default.card.options)
    state = default.network.state_dict()
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    measured = network.measure(torch.from_numpy(mean_galaxy(network)).permute(2, 0, 1)[None])[0, :42]
    np.testing.assert_allclose(measured, network.center[:42], atol=0.03)


def test_reddening_goes_into_the_offset(default, demo_pixels):
    if "ebv" not in default.card.inputs:
        pytest.skip("the bundled model does not take the reddening")
    ebv = np.array([0.01, 0.3, np.nan])
    with_dust, without = heat_maps(default, demo_pixels, ebv=ebv), heat_maps(default, demo_pixels)
    assert_same_estimates(with_dust.prediction, default.run(demo_pixels, ebv)["estimate"])
    assert with_dust.offset[1] != pytest.approx(without.offset[1], abs=1e-3)
    assert np.abs(with_dust.gap).max() < 0.05
    # Where it is not known it is the typical one; a galaxy behind more dust is a bluer one, with another map.
    assert_same_maps(with_dust.values[2], without.values[2])
    assert np.corrcoef(with_dust.values[0].ravel(), without.values[0].ravel())[0, 1] > 0.9
    assert np.abs(with_dust.values[1] - without.values[1]).max() > 1e-5


def test_a_flat_picture_has_a_finite_map_and_says_what_is_missing(default):
    flat = np.full((1, 128, 128, 3), 7, dtype=np.uint8)
    maps = heat_maps(default, flat)
    assert np.all(np.isfinite(maps.values))
    assert np.isfinite(maps.gap[0])


# Occlusion


@pytest.mark.parametrize(("size", "stride"), [(16, 8), (20, 20), (13, 5)])
def test_occlusion_is_what_a_plain_loop_finds(pooled, blobs, size, stride):
    model = load_model(pooled)
    target = resolve_target(model.card, "log_hi_fraction")
    maps = occlusion_maps(model, blobs[:1], target, size=size, stride=stride)
    picture, whole = blobs[0], model.run(blobs[:1])["estimate"][0]
    total, count = np.zeros(picture.shape[:2]), np.zeros(picture.shape[:2])
    tops = [top for top in range(-size, 64) if (top - _first(64, size, stride)) % stride == 0]
    tops = [top for top in tops if top >= _first(64, size, stride)][: _number(64, stride)]
    for top in tops:
        for left in tops:
            inside = np.zeros(picture.shape[:2], dtype=bool)
            inside[max(top, 0) : top + size, max(left, 0) : left + size] = True
            covered = picture.copy()
            covered[inside] = sky_level(picture)
            total[inside] += (whole - model.run(covered[None])["estimate"][0]) / inside.sum()
            count[inside] += 1
    assert count.min() >= 1
    np.testing.assert_allclose(maps.values[0], total / count, atol=1e-6)
    assert np.isnan(maps.offset).all()
    assert np.isnan(maps.gap).all()


def _number(side, stride):
    return -(-(side - stride) // stride) + 1 if side > stride else 1


def _first(side, size, stride):
    return -((size - stride) // 2) - (_number(side, stride) * stride - side) // 2


def test_occlusion_finds_the_blob_that_made_the_answer(default, demo_pixels):
    maps = heat_maps(default, demo_pixels[:2], method="occlusion", size=32, stride=16)
    middle = np.abs(maps.values[:, 32:96, 32:96]).mean()
    assert middle > 3 * np.abs(maps.values[:, :16]).mean()


def test_the_sky_is_the_median_of_the_border():
    picture = np.zeros((40, 40, 3), dtype=np.uint8)
    picture[...] = (10, 7, 5)
    picture[12:28, 12:28] = 200
    assert sky_level(picture).tolist() == [10, 7, 5]
    assert sky_level(picture[:6, :6]).tolist() == [10, 7, 5]


# What is the same for all


@pytest.mark.parametrize("method", ["cam", "gradcam", "occlusion"])
def test_no_state_is_left_on_the_model(pooled, blobs, method):
    model = load_model(pooled, runtime="eager")
    before, asked = state_of(model), [p.requires_grad for p in model.network.parameters()]
    heat_maps(model, blobs[:2], method=method)
    after = model.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [p.requires_grad for p in model.network.parameters()] == asked
    assert all(p.grad is None for p in model.network.parameters())
    assert not any(len(m._forward_hooks) + len(m._backward_hooks) for m in model.network.modules())
    assert not model.network.training


def test_the_default_model_is_left_as_it_was(default, demo_pixels):
    before = default.run(demo_pixels)
    heat_maps(default, demo_pixels)
    after = default.run(demo_pixels)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_a_batch_is_explained_like_its_pictures_one_by_one(default, demo_pixels, pooled, blobs):
    for model, pixels in ((default, demo_pixels), (load_model(pooled), blobs[:3])):
        together = heat_maps(model, pixels).values
        for number in (0, 2):
            alone = heat_maps(model, pixels[number : number + 1]).values[0]
            assert_same_maps(together[number], alone)


def test_an_empty_batch_has_no_maps(pooled, default):
    for model, width in ((load_model(pooled), 64), (default, 128)):
        maps = heat_maps(model, np.zeros((0, width, width, 3), dtype=np.uint8))
        assert maps.values.shape == (0, width, width)


# Targets and methods that there are not


def test_targets_are_outputs_with_a_sign(default):
    card = default.card
    assert resolve_target(card, "log_hi_fraction").output == "estimate"
    assert resolve_target(card, "p_detect").output == "detection_logit"
    with pytest.raises(ValueError, match=r"has no 'gas-rich'; it has log_hi_fraction, p_detect$"):
        resolve_target(card, "gas-rich")


def test_a_model_of_two_classes_has_them_as_targets(default):
    card = dataclasses.replace(
        default.card,
        outputs=("estimate",),
        target_column="gas_rich_logit",
        calibration=None,
        detection=None,
    )
    assert resolve_target(card, "gas-rich").sign == 1
    assert resolve_target(card, "gas-poor").sign == -1
    assert resolve_target(card, "gas_rich_logit").unit == resolve_target(card, "gas-rich").unit
    with pytest.raises(
        ValueError, match="has no 'log_hi_fraction'; it has gas_rich_logit, gas-rich, gas-poor"
    ):
        resolve_target(card, "log_hi_fraction")


@pytest.mark.parametrize("target", ["p_detect", "gas-rich", "gas-poor", "mass"])
def test_a_target_that_the_model_does_not_have_is_refused(pooled, blobs, target):
    with pytest.raises(
        ValueError, match=f"target: the model 'mine' has no '{target}'; it has log_hi_fraction"
    ):
        heat_maps(load_model(pooled), blobs, target=target)


def test_a_model_without_feature_maps_says_so(default, demo_pixels):
    with pytest.raises(ModelError, match=r"method 'gradcam' needs maps of features.*'default'.*StructureNet"):
        heat_maps(default, demo_pixels, method="gradcam")
    with pytest.raises(ValueError, match="method must be one of cam, gradcam, occlusion, got 'lime'"):
        heat_maps(default, demo_pixels, method="lime")


def test_integrated_gradients_of_a_pooled_network_are_refused(pooled, blobs):
    model = load_model(pooled)
    with pytest.raises(ModelError, match="method='cam' is exact for it"):
        integrated_gradients(model, blobs, resolve_target(model.card, "log_hi_fraction"))


def test_a_runtime_that_cannot_be_looked_into_says_so(default):
    closed = dataclasses.replace(default, runtime="openvino")
    assert resolve_method(closed, "occlusion") == "occlusion"
    with pytest.raises(ModelError, match="method 'cam' looks into the network, and 'openvino'"):
        resolve_method(closed, "cam")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "occlusion", "size": 8.0}, TypeError, "size must be an integer"),
        ({"method": "occlusion", "stride": 0}, ValueError, "stride must be at least 1"),
        ({"method": "occlusion", "size": 4, "stride": 5}, ValueError, "stride must be at most size"),
        ({"method": "gradcam", "steps": 3}, TypeError, "method 'gradcam' has no option 'steps'"),
    ],
)
def test_wrong_options_are_named(pooled, blobs, options, error, words):
    with pytest.raises(error, match=words):
        heat_maps(load_model(pooled), blobs, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 1.5}, TypeError, "steps must be an integer"),
        ({"baseline": np.zeros((9, 9, 3))}, ValueError, "baseline must have the shape of the pictures"),
    ],
)
def test_wrong_options_of_integrated_gradients_are_named(default, demo_pixels, options, error, words):
    with pytest.raises(error, match=words):
        heat_maps(default, demo_pixels, **options)


@pytest.mark.parametrize("pixels", [np.zeros((1, 64, 60, 3), np.uint8), np.zeros((1, 64, 64, 3))])
def test_pictures_of_another_shape_or_type_are_refused(pooled, pixels):
    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(n, 64, 64, 3\)"):
        heat_maps(load_model(pooled), pixels)
