"""Network deconvolution against matrices computed directly, and as the convolution that it is in the end."""

import io

import numpy as np
import pytest
import torch
from torch.nn import functional

from hifrac.models.deconvolution import FastDeconv, _iterated, _Moments, inverse_square_root

of_jit = pytest.mark.filterwarnings(
    r"ignore:.*torch\.jit\.:DeprecationWarning", r"ignore:.*torch\.jit\.:FutureWarning"
)

#: Channels in and out, kernel, stride, groups, and channels that are decorrelated together.
LAYERS = [
    (5, 8, 3, 1, 1, 5),
    (6, 4, 3, 2, 1, 2),  # blocks of the greatest common divisor of 6 and the 4 that are asked for
    (8, 4, 3, 1, 1, 4),
    (8, 6, 1, 1, 1, 4),
    (8, 12, 3, 2, 4, 2),
]


def smooth_maps(n_channels, n=6, side=24, seed=0):
    """Maps as of galaxies: neighbouring pixels and channels are correlated."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, n_channels, side, side, generator=generator, dtype=torch.float64)
    blurred = functional.avg_pool2d(functional.pad(noise, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    return blurred + 0.3 * noise + 0.5 * noise.mean(1, keepdim=True) + 2


def layer_of(n_in, n_out, size, stride, groups, block, **options):
    torch.manual_seed(1)
    layer = FastDeconv(n_in, n_out, size, stride, groups=groups, block=4 if block < n_in else 64, **options)
    torch.nn.init.uniform_(layer.bias)
    assert layer.block == block
    return layer.double()


def direct_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def patches_of(maps, layer):
    """What the kernel sees at each third position: a list of (patches, features), one a group."""
    padding, step = layer.size // 2, 3 * layer.stride
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    together = padded.shape[1] if layer.groups == 1 else layer.block
    patches = [[] for _ in range(layer.groups)]
    for y in range(0, maps.shape[2], step):
        for x in range(0, maps.shape[3], step):
            seen = padded[:, :, y : y + layer.size, x : x + layer.size]
            for group in range(layer.groups):
                channels = seen[:, group * together : (group + 1) * together]
                for start in range(0, together, layer.block):
                    block = channels[:, start : start + layer.block]
                    patches[group].append(block.reshape(len(maps), -1))
    return [np.concatenate(group) for group in patches]


def statistics(maps, layer, root=direct_root):
    """Mean and matrix of each group, computed directly."""
    groups = patches_of(maps, layer)
    noise = layer.eps * np.eye(layer.n_features)
    covariances = [np.cov(group, rowvar=False, bias=True) + noise for group in groups]
    return np.array([group.mean(0) for group in groups]), np.array([root(one) for one in covariances])


def deconvolved(maps, layer, mean, deconv):
    """The layer, written out: each patch minus the mean, times the matrix, times the weights."""
    inputs, together = maps.clone(), layer.n_in // layer.groups
    unfolded = functional.unfold(inputs, layer.size, padding=layer.size // 2, stride=layer.stride)
    outputs = []
    for group in range(layer.groups):
        features = together * layer.size**2
        patches = unfolded[:, group * features : (group + 1) * features].transpose(1, 2)
        blocks = patches.reshape(*patches.shape[:2], -1, layer.n_features)
        clean = (blocks - torch.from_numpy(mean[group])) @ torch.from_numpy(deconv[group])
        n_out = layer.n_out // layer.groups
        weight = layer.weight[group * n_out : (group + 1) * n_out].reshape(n_out, -1)
        outputs.append((clean.reshape(patches.shape) @ weight.T).transpose(1, 2))
    sides = [(side - 1) // layer.stride + 1 for side in maps.shape[2:]]
    return torch.cat(outputs, 1).reshape(len(maps), layer.n_out, *sides) + layer.bias[:, None, None]


# The inverse square root


def spectrum_of(values, seed=0):
    """A symmetric matrix with these eigenvalues."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    return vectors @ np.diag(values) @ vectors.T


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_enough_iterations_are_the_inverse_square_root(scale):
    matrices = np.array([spectrum_of(np.geomspace(1e-3, 1, 9), seed) * scale for seed in range(3)])
    roots = inverse_square_root(torch.from_numpy(matrices), 25).numpy()
    expected = np.array([direct_root(one) for one in matrices])
    np.testing.assert_allclose(roots, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_five_iterations_do_to_each_eigenvalue_what_they_do_to_a_number():
    values = np.geomspace(1e-5, 3, 12)
    matrix = spectrum_of(values)
    root = inverse_square_root(torch.from_numpy(matrix)[None]).numpy()[0]
    norm = np.sqrt((values**2).sum())
    y, z = values / norm, np.ones_like(values)
    for _ in range(5):
        y, z = y * (3 - z * y) / 2, z * (3 - z * y) / 2
    vectors = np.linalg.eigh(matrix)[1]
    np.testing.assert_allclose(vectors.T @ root @ vectors, np.diag(z / np.sqrt(norm)), atol=1e-9)
    # From below, and slowest for the smallest: it is left at 1.5^5 of where it began.
    assert np.all(z / np.sqrt(norm) <= values**-0.5)
    assert z[0] == pytest.approx(1.5**5, rel=1e-2)


@pytest.mark.parametrize("values", [np.geomspace(1e-6, 1, 9), np.ones(9), np.r_[np.zeros(5), 1, 1, 2, 3]])
def test_products_of_matrices_and_eigenvalues_are_one_iteration(values):
    """Products are for a GPU; equal eigenvalues have no vectors of their own, and no differences."""
    matrices = torch.from_numpy(np.array([spectrum_of(values, seed) for seed in range(2)])).requires_grad_()
    weights = torch.randn(matrices.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    norm = torch.linalg.matrix_norm(matrices, keepdim=True)
    products = _iterated(matrices / norm, 5) / norm.sqrt()
    roots = inverse_square_root(matrices)
    torch.testing.assert_close(roots, products, rtol=1e-9, atol=1e-9)
    # Their matrices are symmetric, and so is all that matters of a gradient.
    gradients = [torch.autograd.grad((each * weights).sum(), matrices)[0] for each in (products, roots)]
    gradients = [each + each.mT for each in gradients]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("n_iterations", [1, 2, 5])
def test_no_iteration_is_left_out(n_iterations):
    matrix = torch.from_numpy(spectrum_of([0.2, 0.5, 0.9]))[None]
    root, inverse = matrix, torch.eye(3, dtype=torch.float64)
    for _ in range(n_iterations):
        step = 1.5 * torch.eye(3) - 0.5 * inverse @ root
        root, inverse = root @ step, step @ inverse
    torch.testing.assert_close(_iterated(matrix, n_iterations), inverse, rtol=1e-12, atol=1e-12)


# What the layer does


def test_gradients_of_mean_and_covariance_are_those_of_differences():
    patches = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.autograd.gradcheck(_Moments.apply, patches.requires_grad_())


@pytest.mark.parametrize("shape", LAYERS)
def test_training_decorrelates_patches_before_they_are_convolved(shape):
    layer, maps = layer_of(*shape, n_iterations=30), smooth_maps(shape[0])
    mean, deconv = statistics(maps, layer)
    with torch.no_grad():
        expected = deconvolved(maps, layer, mean, deconv)
        torch.testing.assert_close(layer(maps), expected, rtol=1e-8, atol=1e-8)
        # The matrix matters here.
        plain = functional.conv2d(
            maps, layer.weight, layer.bias, layer.stride, layer.size // 2, groups=layer.groups
        )
    assert plain.shape == expected.shape
    assert (plain - expected).abs().max() > 0.1


@pytest.mark.parametrize("shape", LAYERS)
def test_evaluation_uses_running_averages(shape):
    layer = layer_of(*shape, n_iterations=30)
    mean = np.zeros((layer.groups, layer.n_features))
    deconv = np.tile(np.eye(layer.n_features), (layer.groups, 1, 1))
    with torch.no_grad():
        for seed in range(3):
            maps = smooth_maps(shape[0], seed=seed)
            of_batch = statistics(maps, layer)
            mean, deconv = 0.9 * mean + 0.1 * of_batch[0], 0.9 * deconv + 0.1 * of_batch[1]
            layer(maps)
        np.testing.assert_allclose(layer.running_mean, mean, atol=1e-12)
        np.testing.assert_allclose(layer.running_deconv, deconv, atol=1e-8)
        layer.eval()
        maps = smooth_maps(shape[0], seed=9)
        expected = deconvolved(maps, layer, mean, deconv)
        torch.testing.assert_close(layer(maps), expected, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(layer.running_mean, mean, atol=1e-12)


def test_before_training_it_is_a_convolution():
    layer = FastDeconv(5, 8, 3, 2).eval()
    maps = smooth_maps(5).float()
    with torch.no_grad():
        expected = functional.conv2d(maps, layer.weight, layer.bias, 2, 1)
        torch.testing.assert_close(layer(maps), expected)


def test_what_comes_out_of_the_matrix_is_uncorrelated():
    maps = smooth_maps(4, n=20)

    def correlation(n_iterations):
        layer = FastDeconv(4, 36, 3, n_iterations=n_iterations).double()
        with torch.no_grad():
            layer.weight.copy_(torch.eye(36).reshape(36, 4, 3, 3))  # each output is one of the features
            outputs = layer(maps)[:, :, ::3, ::3]  # where the statistics were taken
        features = outputs.permute(1, 0, 2, 3).reshape(36, -1)
        np.testing.assert_allclose(features.mean(1), 0, atol=1e-10)
        return np.cov(features, bias=True)

    np.testing.assert_allclose(correlation(25), np.eye(36), atol=1e-3)
    # Five steps do most of it: before, the largest eigenvalue is 200 times the smallest.
    eigenvalues = np.linalg.eigvalsh(correlation(5))
    assert eigenvalues.max() < 1.001
    assert eigenvalues.min() > 0.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_keeps_the_type_and_learns_through_the_matrix(dtype):
    layer, maps = FastDeconv(5, 8, 3).to(dtype), smooth_maps(5).to(dtype).requires_grad_()
    outputs = layer(maps)
    assert outputs.dtype == dtype
    outputs.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    # A brighter copy of a batch gives the same outputs: the light is divided out, and so is its gradient.
    assert (maps.grad * maps).sum().abs() < 1e-3 * (maps.grad * maps).abs().sum()


def test_gradients_are_those_of_differences():
    layer = layer_of(2, 3, 3, 1, 1, 2)
    maps = smooth_maps(2, n=2, side=6).requires_grad_()
    torch.autograd.gradcheck(layer, maps, eps=1e-6, atol=1e-4)


def test_half_precision_changes_no_statistics():
    layer, other = FastDeconv(5, 8, 3), FastDeconv(5, 8, 3)
    maps = smooth_maps(5).float()
    with torch.no_grad():
        layer(maps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert other(maps).dtype == torch.bfloat16
    torch.testing.assert_close(other.running_deconv, layer.running_deconv)


def test_pixels_that_are_all_the_same_are_no_error():
    layer = FastDeconv(3, 4, 3)
    with torch.no_grad():
        assert layer(torch.full((2, 3, 8, 8), 7.0)).isfinite().all()
        assert layer.eval()(torch.zeros(2, 3, 8, 8)).isfinite().all()


# Other forms of the same layer


@pytest.fixture(params=LAYERS, ids=str)
def trained(request):
    layer = layer_of(*request.param)
    with torch.no_grad():
        for seed in range(3):
            layer(smooth_maps(request.param[0], seed=seed))
    return layer.eval(), smooth_maps(request.param[0], n=2, seed=7)


def test_it_is_an_ordinary_convolution(trained):
    layer, maps = trained
    convolution = layer.as_convolution()
    assert type(convolution) is torch.nn.Conv2d
    with torch.no_grad():
        torch.testing.assert_close(convolution(maps), layer(maps))


@of_jit
def test_it_scripts_and_exports(trained):
    layer, maps = trained
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(layer.as_convolution()), buffer)
    buffer.seek(0)
    script = torch.jit.load(buffer)
    with torch.no_grad():
        torch.testing.assert_close(script(maps), layer(maps))
        program = torch.export.export(layer, (maps,), dynamic_shapes={"maps": {0: torch.export.Dim.AUTO}})
        torch.testing.assert_close(program.module()(maps), layer(maps))
        longer = torch.cat([maps, maps + 1])
        torch.testing.assert_close(program.module()(longer), layer(longer))


def test_its_state_is_all_that_it_needs(trained):
    layer, maps = trained
    other = FastDeconv(
        layer.n_in, layer.n_out, layer.size, layer.stride, groups=layer.groups, block=layer.block
    )
    other.double().load_state_dict(layer.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(maps), layer(maps))


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 2}, "groups must divide the 5 and 8 channels, got 2"),
        ({"groups": 0}, "groups must divide the 5 and 8 channels, got 0"),
        ({"size": 4}, "size must be odd, got 4"),
    ],
)
def test_layers_that_cannot_be_made(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        FastDeconv(**{"n_in": 5, "n_out": 8, "size": 3, **arguments})


def test_nothing_teaches_nothing():
    layer = FastDeconv(5, 8, 3)
    with pytest.raises(ValueError, match=r"^maps must have pixels to learn from"):
        layer(torch.zeros(0, 5, 8, 8))
    assert not layer.running_mean.any()
    assert layer.eval()(torch.zeros(0, 5, 8, 8)).shape == (0, 8, 8, 8)
