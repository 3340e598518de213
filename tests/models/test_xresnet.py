"""The paper's network: its size and cost, its wiring against an independent one, and its other forms."""

import io
import math

import numpy as np
import pytest
import torch
from model_files import stirred
from torch import nn
from torch.nn import functional

from hifrac.models.deconvolution import FastDeconv
from hifrac.models.xresnet import (
    PAPER_MEAN,
    PAPER_STD,
    PixelNet,
    SimpleSelfAttention,
    XResNet,
    baseline_cnn,
    baseline_deconv,
    fold_for_inference,
    shallow,
    xresnet18,
    xresnet18_cnn,
    xresnet18_deconv,
    xresnet18_hybrid,
    xresnet34,
    xresnet50,
)

pytestmark = pytest.mark.numeric

of_jit = pytest.mark.filterwarnings(
    r"ignore:.*torch\.jit\.:DeprecationWarning", r"ignore:.*torch\.jit\.:FutureWarning"
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return stirred(xresnet34(2))


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(1)).byte()


# Size and cost


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("n_outputs", "expected"), [(1, 21_308_514), (2, 21_309_027)])
def test_the_number_of_parameters_is_that_of_the_paper(n_outputs, expected):
    assert n_parameters(xresnet34(n_outputs)) == expected


#: The networks of Wu & Peek (2020), and their sizes in the notebook of the paper.
OF_SPECTRA = {
    xresnet18_hybrid: 6_734_743,
    xresnet18_cnn: 6_734_871,
    xresnet18_deconv: 6_730_007,
    baseline_cnn: 29_734,
    baseline_deconv: 29_606,
}


@pytest.mark.parametrize("make", OF_SPECTRA)
def test_the_number_of_parameters_is_that_of_the_paper_on_spectra(make):
    assert n_parameters(make()) == OF_SPECTRA[make]
    assert n_parameters(make(n_channels=3)) == OF_SPECTRA[make] - 2 * 32 * 9
    last = make().head.in_features
    assert n_parameters(make(n_outputs=1)) == OF_SPECTRA[make] - 5 * (last + 1)


def test_the_hybrid_network_without_attention():
    assert n_parameters(xresnet18_hybrid(self_attention=False)) == 6_730_646


@pytest.mark.parametrize(
    ("make", "n_deconvolutions", "n_normalisations"),
    [
        (xresnet18_hybrid, 3, 19),
        (xresnet18_cnn, 0, 22),
        (xresnet18_deconv, 22, 0),
        (baseline_cnn, 0, 3),
        (baseline_deconv, 3, 0),
    ],
)
def test_where_inputs_are_decorrelated_and_where_batches_are_normalised(
    make, n_deconvolutions, n_normalisations
):
    network = make()
    modules = list(network.modules())
    assert sum(isinstance(module, FastDeconv) for module in modules) == n_deconvolutions
    assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == n_normalisations
    if n_deconvolutions:
        assert all(isinstance(layer[0], FastDeconv) for layer in network.stem)


@pytest.mark.parametrize(("make", "channels"), [(xresnet18, 64), (xresnet50, 256)])
def test_self_attention_is_one_matrix_and_one_factor(make, channels):
    assert n_parameters(make()) - n_parameters(make(self_attention=False)) == channels**2 + 1


def test_a_picture_of_224_pixels_costs_3_94_billion_multiplications():
    network = xresnet34().eval()
    counts = {}

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d | nn.Conv1d):
            counts[module] = output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            counts[module] = module.weight.numel()
        elif isinstance(module, SimpleSelfAttention):
            _, channels, height, width = output.shape
            counts[module] = 2 * channels * channels * height * width

    shapes = []
    for module in network.modules():
        module.register_forward_hook(count)
    for stage in network.stages:
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert round(sum(counts.values()) / 1e9, 2) == 3.94
    assert shapes == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]


def test_the_weights_start_as_they_should():
    torch.manual_seed(3)
    network = xresnet34()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            expected = math.sqrt(2 / module.weight[0].numel())  # Kaiming: 2 / fan-in is the variance
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1), name
            assert module.weight.mean().item() == pytest.approx(0, abs=0.1 * expected), name
        elif isinstance(module, nn.BatchNorm2d):
            last = name.endswith("convolutions.1.1")
            assert torch.all(module.weight == (0 if last else 1)), name
            assert not module.bias.any(), name
    assert not network.head.bias.any()
    assert network.head.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.15)


def test_a_block_starts_as_its_shortcut():
    block = xresnet18().stages[0][1]
    maps = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(maps), functional.mish(maps), rtol=0, atol=0)


def test_only_the_last_block_of_the_first_stage_has_attention():
    for network in (xresnet18(), xresnet34()):
        where = [name for name, one in network.named_modules() if isinstance(one, SimpleSelfAttention)]
        assert where == [f"stages.0.{len(network.stages[0]) - 1}.attention"]
    assert not [one for one in shallow().modules() if isinstance(one, SimpleSelfAttention)]


def test_attention_starts_as_nothing(pictures):
    torch.manual_seed(0)
    with_attention, without = xresnet18().eval(), xresnet18(self_attention=False).eval()
    state = with_attention.state_dict()
    assert set(without.state_dict()) < set(state)
    without.load_state_dict({name: state[name] for name in without.state_dict()})
    with torch.inference_mode():
        torch.testing.assert_close(with_attention(pictures), without(pictures), rtol=0, atol=0)


# Wiring


def written_out(state, pictures, blocks):
    """The network of basic blocks in functions, from the description of the paper and its code."""

    def convolve(x, name, stride=1):
        weight = state[f"{name}.0.weight"]
        groups = x.shape[1] // weight.shape[1]
        padding = weight.shape[-1] // 2
        if f"{name}.0.running_deconv" in state:
            mean, deconv = state[f"{name}.0.running_mean"], state[f"{name}.0.running_deconv"]
            weight = (weight.reshape(groups, -1, deconv.shape[-1]) @ deconv).reshape(weight.shape)
            n_features = weight[0].numel()
            means = mean.repeat(1, n_features // mean.shape[1]).repeat_interleave(len(weight) // groups, 0)
            bias = state[f"{name}.0.bias"] - (weight.reshape(len(weight), -1) * means).sum(1)
            return functional.conv2d(x, weight, bias, stride, padding, groups=groups)
        x = functional.conv2d(x, weight, None, stride, padding, groups=groups)
        mean, var, factor, shift = (
            state[f"{name}.1.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * factor + shift

    def mish(x):
        return x * torch.tanh(torch.log1p(torch.exp(x)))

    x = pictures
    for number, stride in enumerate((2, 1, 1)):
        x = mish(convolve(x, f"stem.{number}", stride))
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    for stage, depth in enumerate(blocks):
        for number in range(depth):
            name = f"stages.{stage}.{number}"
            strided = stage > 0 and number == 0
            y = mish(convolve(x, f"{name}.convolutions.0", 2 if strided else 1))
            y = convolve(y, f"{name}.convolutions.1")
            if f"{name}.excitation.fc1.weight" in state:
                factors = y.mean((2, 3), keepdim=True)
                for layer, activation in (("fc1", mish), ("fc2", torch.sigmoid)):
                    weight, bias = (state[f"{name}.excitation.{layer}.{part}"] for part in ("weight", "bias"))
                    factors = activation(functional.conv2d(factors, weight, bias))
                y = y * factors
            if (stage, number) == (0, depth - 1):
                matrix = state[f"{name}.attention.conv.parametrizations.weight.original"][..., 0]
                matrix = matrix / torch.linalg.svdvals(matrix)[0]
                correlation = torch.einsum("nahw,nbhw->nab", y, y)
                y = y + state[f"{name}.attention.gamma"] * torch.einsum(
                    "nab,bc,nchw->nahw", correlation, matrix, y
                )
            if strided:
                x = functional.avg_pool2d(x, 2, ceil_mode=True)
                x = convolve(x, f"{name}.shortcut.1")
            x = mish(x + y)
    return torch.einsum("nchw,oc->no", x, state["head.weight"]) / x[0, 0].numel() + state["head.bias"]


@pytest.mark.parametrize(
    ("make", "blocks", "side"),
    [
        (xresnet34, (3, 4, 6, 3), 64),
        (xresnet34, (3, 4, 6, 3), 75),
        (xresnet18, (2, 2, 2, 2), 64),
        (xresnet18_hybrid, (2, 2, 2, 2), 64),
        (xresnet18_cnn, (2, 2, 2, 2), 75),
        (xresnet18_deconv, (2, 2, 2, 2), 64),
    ],
)
def test_the_network_does_what_the_paper_says(make, blocks, side):
    torch.manual_seed(5)
    network = stirred(make(n_outputs=2, n_channels=3).double())
    attention = network.stages[0][-1].attention
    attention.train()  # the power iteration finds the largest singular value in training only
    for _ in range(2000):
        _ = attention.conv.weight
    attention.eval()
    coarse = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pictures = functional.interpolate(coarse, (side, side), mode="bilinear")
    state = network.state_dict()
    with torch.inference_mode():
        attention.gamma.fill_(0.3)
        found = network(pictures)
        expected = written_out(state, pictures, blocks)
        attention.gamma.zero_()
        unattended = network(pictures)
    # Attention matters here, and so do the pictures.
    assert (expected - unattended).abs().min() > 1e-5
    assert (expected[0] - expected[1]).abs().max() > 1e-5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_a_bottleneck_has_three_convolutions_and_the_stride_in_the_second():
    block = xresnet50().stages[1][0]
    convolutions = [one for one in block.convolutions.modules() if isinstance(one, nn.Conv2d)]
    assert [one.kernel_size[0] for one in convolutions] == [1, 3, 1]
    assert [one.stride[0] for one in convolutions] == [1, 2, 1]
    assert [one.out_channels for one in convolutions] == [128, 128, 512]


def test_training_holds_the_largest_singular_value_at_one():
    torch.manual_seed(4)
    attention = SimpleSelfAttention(16)
    with torch.no_grad():
        attention.conv.parametrizations.weight.original.mul_(7)
    for _ in range(200):
        attention(torch.rand(1, 16, 2, 2))
    assert torch.linalg.svdvals(attention.conv.weight[..., 0])[0].item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("make", [baseline_cnn, baseline_deconv])
def test_the_baselines_are_three_convolutions_and_a_mean(make):
    torch.manual_seed(6)
    network = stirred(make())
    pictures = torch.rand(2, 5, 30, 33, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        maps = network.forward_features(pictures)
        assert maps.shape == (2, 64, 8, 9)
        x = pictures
        for layer, stride in zip(fold_for_inference(network).stem, (2, 2, 1), strict=True):
            x = functional.conv2d(x, layer[0].weight, layer[0].bias, stride, padding=1)
            x = functional.relu(layer[1](x) if make is baseline_cnn else x)
        torch.testing.assert_close(maps, x)
        torch.testing.assert_close(network(pictures), network.head(maps.mean((2, 3))))


# What it answers


@pytest.mark.parametrize(("make", "channels"), [(xresnet18, 512), (xresnet50, 2048)])
def test_pictures_of_any_size_and_number_of_channels(make, channels):
    network = make(3, 5).eval()
    for height, width in ((32, 32), (33, 64), (64, 47)):
        with torch.inference_mode():
            maps = network.forward_features(torch.rand(1, 5, height, width))
            assert network.forward_head(maps).shape == (1, 3)
        assert maps.shape == (1, channels, math.ceil(height / 32), math.ceil(width / 32))


def test_the_shallow_network_ends_in_a_map_of_56_positions():
    network = shallow().eval()
    with torch.inference_mode():
        maps = network.forward_features(torch.rand(1, 3, 224, 224))
        assert network.forward_head(maps).shape == (1, 2)
    assert maps.shape == (1, 64, 56, 56)
    convolutions = [one for one in network.stages.modules() if isinstance(one, nn.Conv2d)]
    assert len(convolutions) == 4
    assert shallow(n_channels=1).eval()(torch.rand(2, 1, 40, 40)).shape == (2, 2)


def test_a_picture_alone_is_answered_as_among_others(network, pictures):
    with torch.inference_mode():
        alone = torch.cat([network(one[None]) for one in pictures])
        torch.testing.assert_close(alone, network(pictures), rtol=1e-5, atol=1e-5)


def test_no_pictures_are_no_answers(network):
    with torch.inference_mode():
        assert network(torch.zeros(0, 3, 64, 64)).shape == (0, 2)


@pytest.mark.parametrize("which", ["xresnet34", "shallow"])
def test_the_mean_of_the_weighted_map_and_the_bias_are_the_answer(network, pictures, which):
    chosen = network if which == "xresnet34" else stirred(shallow(2))
    nn.init.constant_(chosen.head.bias, 0.3)
    with torch.inference_mode():
        maps = chosen.forward_features(pictures)
        contributions = torch.einsum("oc,nchw->nohw", chosen.head.weight, maps)
        found = contributions.mean((2, 3)) + chosen.head.bias
        torch.testing.assert_close(found, chosen(pictures), rtol=1e-5, atol=1e-5)


def test_it_learns(pictures):
    torch.manual_seed(0)
    network = XResNet((1, 1))
    target = torch.tensor([[-1.0], [0.0], [1.0]])
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = functional.mse_loss(network(pictures), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert network.stages[0][-1].attention.gamma.item() != 0
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("make", OF_SPECTRA)
def test_the_networks_of_spectra_learn(make):
    torch.manual_seed(0)
    network = make()
    pictures = torch.rand(6, 5, 32, 32, generator=torch.Generator().manual_seed(1))
    target = torch.linspace(-1, 1, 36).reshape(6, 6)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = functional.mse_loss(network(pictures), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())


# Pixels


def test_pixels_are_normalised_as_in_the_paper(network, pixels):
    whole = PixelNet(network).eval()
    expected = (pixels.double().numpy() / 255 - np.reshape(PAPER_MEAN, (3, 1, 1))) / np.reshape(
        PAPER_STD, (3, 1, 1)
    )
    np.testing.assert_allclose(whole.normalise(pixels).numpy(), expected, atol=1e-6)
    with torch.inference_mode():
        found = whole(pixels)
        torch.testing.assert_close(found, network(torch.from_numpy(expected).float()), rtol=1e-5, atol=1e-5)
        maps = whole.forward_features(pixels)
        torch.testing.assert_close(whole.forward_head(maps), found, rtol=0, atol=0)


def test_the_normalisation_travels_with_the_weights(pixels):
    one = PixelNet(shallow(1, 1), mean=(0.25,), std=(0.5,)).eval()
    other = PixelNet(shallow(1, 1), mean=(0,), std=(1,)).eval()
    other.load_state_dict(one.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(other(pixels[:, :1]), one(pixels[:, :1]), rtol=0, atol=0)


# Other forms of the same network


def test_folding_changes_no_answer(network, pixels):
    whole = PixelNet(network).eval()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    folded = fold_for_inference(whole)
    assert not folded.training
    assert not [name for name in folded.state_dict() if "parametrizations" in name]
    with torch.inference_mode():
        torch.testing.assert_close(folded(pixels), whole(pixels), rtol=0, atol=1e-6)
    after = whole.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_network_in_training_is_folded_as_in_evaluation(pictures):
    torch.manual_seed(0)
    trained = xresnet18()
    trained(pictures)
    nn.init.constant_(trained.stages[0][-1].attention.gamma, 0.01)
    folded = fold_for_inference(trained)
    assert trained.training
    with torch.inference_mode():
        torch.testing.assert_close(folded(pictures), trained.eval()(pictures), rtol=0, atol=1e-6)


def test_folding_twice_or_without_attention_is_no_error(pictures):
    for network in (fold_for_inference(stirred(xresnet18())), stirred(shallow())):
        with torch.inference_mode():
            torch.testing.assert_close(fold_for_inference(network)(pictures), network(pictures))


@of_jit
def test_it_scripts(network, pixels):
    whole = PixelNet(network).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(fold_for_inference(whole)), buffer)
    buffer.seek(0)
    script = torch.jit.load(buffer)
    with torch.inference_mode():
        torch.testing.assert_close(script(pixels), whole(pixels), rtol=0, atol=1e-5)
        larger = torch.nn.functional.pad(pixels[:1], (0, 9, 0, 20))
        torch.testing.assert_close(script(larger), whole(larger), rtol=0, atol=1e-5)
        with pytest.raises(torch.jit.Error, match="sides of at least 32 pixels"):
            script(pixels[:, :, :31])
        torch.testing.assert_close(
            script.forward_head(script.forward_features(pixels)), script(pixels), rtol=0, atol=0
        )


@pytest.mark.slow
@pytest.mark.parametrize("folded", [True, False])
def test_it_exports_for_any_number_of_pictures(pixels, folded):
    whole = PixelNet(stirred(xresnet18())).eval()
    form = fold_for_inference(whole) if folded else whole
    program = torch.export.export(
        form, (pixels,), dynamic_shapes={"pixels": {0: torch.export.Dim("n", min=1, max=512)}}
    )
    with torch.inference_mode():
        for n in (1, 2, 3):
            torch.testing.assert_close(program.module()(pixels[:n]), whole(pixels[:n]), rtol=0, atol=1e-5)


@pytest.mark.slow
@of_jit
@pytest.mark.parametrize("make", OF_SPECTRA)
@pytest.mark.parametrize("n_channels", [3, 5])
def test_the_networks_of_spectra_fold_script_and_export(make, n_channels):
    torch.manual_seed(7)
    network = stirred(make(n_channels=n_channels))
    pictures = torch.rand(3, n_channels, 48, 40, generator=torch.Generator().manual_seed(2))
    folded = fold_for_inference(network)
    assert not [module for module in folded.modules() if isinstance(module, FastDeconv)]
    number = {"pictures": {0: torch.export.Dim("n", min=1, max=64)}}
    with torch.inference_mode():
        expected = network(pictures)
    with torch.no_grad():
        for form in (network, folded):
            program = torch.export.export(form, (pictures,), dynamic_shapes=number).module()
            torch.testing.assert_close(program(pictures), expected, rtol=0, atol=1e-5)
            torch.testing.assert_close(program(pictures[:1]), expected[:1], rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.jit.script(folded)(pictures), expected, rtol=0, atol=1e-5)


# What it refuses


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 64, 64, 3)])
def test_pictures_of_a_wrong_shape(network, shape):
    with pytest.raises(ValueError, match=r"^pictures must be \(n, 3, h, w\), got"):
        network(torch.zeros(shape))


@pytest.mark.parametrize(("height", "width"), [(31, 64), (64, 31), (1, 1)])
def test_pictures_that_are_too_small(network, height, width):
    with pytest.raises(ValueError, match=r"^pictures must have sides of at least 32 pixels, got"):
        network(torch.zeros(1, 3, height, width))


def test_pixels_that_are_no_pixels(network, pictures):
    with pytest.raises(TypeError, match=r"^pixels must be uint8, got torch\.float32"):
        PixelNet(network)(pictures)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": ()}, "blocks must be numbers of at least 1"),
        ({"blocks": (2, 0)}, "blocks must be numbers of at least 1"),
        ({"blocks": (1,), "n_outputs": 0}, "n_outputs must be at least 1, got 0"),
        ({"blocks": (1,), "n_channels": -1}, "n_channels must be at least 1, got -1"),
        ({"blocks": (1,), "expansion": 2}, "expansion must be 1 or 4, got 2"),
        ({"blocks": (1,), "groups": 24}, "groups must be a divisor of 64, got 24"),
        ({"blocks": (1,), "reduction": 0}, "reduction must be from 1 to 64, got 0"),
        (
            {"blocks": (1,), "deconvolution": "head"},
            "deconvolution must be 'none', 'stem' or 'all', got 'head'",
        ),
    ],
)
def test_networks_that_cannot_be_made(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        XResNet(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.0,)}, "mean must have 3 numbers, got 1"),
        ({"std": (1.0, 1.0)}, "std must have 3 numbers, got 2"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be positive"),
    ],
)
def test_normalisations_that_cannot_be_made(network, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        PixelNet(network, **arguments)
