"""How models run: too little memory, OpenVINO, half precision, and runtimes that are not to be had here."""

import builtins
import dataclasses
import logging
import sys
import warnings

import numpy as np
import pytest
import torch
from contract import assert_same_outputs
from model_files import stirred
from torch import nn

from hifrac import load_model
from hifrac.core.exceptions import HifracWarning, ModelError
from hifrac.models import runtimes
from hifrac.models.architectures import build
from hifrac.models.runtimes import HalfPrecision, fold_batch_norm

pytestmark = pytest.mark.numeric

with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


class Cramped(nn.Module):
    """Brightness and contrast, of no more pictures than there is room for."""

    def __init__(self, room, error):
        super().__init__()
        self.room, self.error, self.sizes = room, error, []

    def forward(self, planes):
        self.sizes.append(len(planes))
        if len(planes) > self.room:
            raise self.error
        values = planes.float().flatten(1) / 255
        return torch.stack([values.mean(1), values.std(1)], 1)


class Greedy(nn.Module):
    """Asks for memory that no machine has, if there is more than one picture."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        size = 1
        if planes.shape[0] > 1:
            size = 1 << 58
        # Used, or the compiler of TorchScript leaves it out.
        wanted = torch.zeros([size], dtype=torch.uint8)
        return planes.flatten(1)[:, :2].float() + wanted[:1]


@pytest.fixture(scope="module")
def model(shallow_model):
    return load_model(shallow_model, device="cpu", runtime="eager")


def cramped(model, room, error=None):
    error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return dataclasses.replace(model, network=Cramped(room, error), device="cpu")


def assert_near(found, expected, tolerance):
    """Another device or a lower precision promises less than the contract."""
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance)


# Too little memory


@pytest.mark.parametrize(
    ("n", "room", "sizes"), [(16, 5, [16, 8, 4, 4, 4, 4]), (5, 1, [5, 3, 2, 1, 1, 1, 1, 1])]
)
def test_a_batch_that_is_too_large_is_halved_until_it_fits(model, n, room, sizes):
    many = np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)
    small = cramped(model, room)
    with pytest.warns(
        HifracWarning, match=r"^out of memory on cpu with \d+ pictures at once: going on with"
    ) as said:
        found = small.run(many)
    assert small.network.sizes == sizes
    assert len(said) == sum(size > room for size in sizes)
    assert_same_outputs(found, cramped(model, n).run(many))


def test_what_fitted_is_remembered(model, blobs):
    small = cramped(model, 3)
    with pytest.warns(HifracWarning, match="going on with 3"):
        small.run(blobs)
    small.network.sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small.run(blobs)
    assert small.network.sizes == [3, 2]


def test_the_halved_batch_begins_where_memory_ended(model, blobs):
    """Pictures that were answered before are not asked about again."""
    small = cramped(model, 5)
    small.run(blobs)
    small.network.room = 2
    with pytest.warns(HifracWarning):
        found = small.run(blobs)
    assert_same_outputs(found, cramped(model, 5).run(blobs))


def test_one_picture_that_does_not_fit_is_an_error(model, blobs):
    with (
        pytest.warns(HifracWarning, match="going on with 1"),
        pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"),
    ):
        cramped(model, 0).run(blobs[:2])
    with pytest.raises(torch.OutOfMemoryError):
        cramped(model, 0).run(blobs[:1])


def test_another_error_is_no_lack_of_memory(model, blobs):
    broken = cramped(model, 2, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        broken.run(blobs)
    assert broken.network.sizes == [len(blobs)]


@pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.")
@pytest.mark.parametrize("scripted", [False, True])
def test_memory_that_the_processor_does_not_have(model, blobs, scripted):
    network = torch.jit.script(Greedy()) if scripted else Greedy()
    greedy = dataclasses.replace(model, network=network)
    with pytest.warns(HifracWarning, match="out of memory on cpu with 2 pictures at once: going on with 1"):
        found = greedy.run(blobs[:2])
    np.testing.assert_array_equal(found["estimate"], blobs[:2, 0, 0, 0])


@with_cuda
def test_memory_that_the_card_does_not_have(shallow_model):
    many = np.zeros((64, 64, 64, 3), np.uint8)
    loaded = load_model(shallow_model, device="cuda", runtime="eager")
    expected = loaded.run(many)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * 2**20) / total)
    try:
        with pytest.warns(HifracWarning, match="out of memory on cuda"):
            found = loaded.run(many)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert_near(found, expected, 1e-3)


# Few pictures, or none


def test_no_pictures_and_one(model, blobs):
    assert [values.shape for values in model.run(blobs[:0]).values()] == [(0,), (0,)]
    assert_same_outputs(model.run(blobs[:1]), {name: values[:1] for name, values in model.run(blobs).items()})


@pytest.mark.parametrize(
    "shape", [(2, 64, 32, 3), (2, 32, 32, 3), (64, 64, 3), (2, 64, 64, 1), (2, 3, 64, 64)]
)
def test_pictures_that_are_not_those_of_the_card(model, shape):
    with pytest.raises(ValueError, match=r"^pixels must be uint8 of shape \(n, 64, 64, 3\), got uint8"):
        model.run(np.zeros(shape, np.uint8))


# Folding


@pytest.mark.parametrize("architecture", ["xresnet18", "xresnet50", "shallow"])
def test_folding_batch_normalisation_changes_no_answer(architecture, blobs):
    network = stirred(build(architecture))
    folded = fold_batch_norm(network)
    kinds = {type(module) for module in folded.modules()}
    assert nn.BatchNorm2d not in kinds
    assert nn.BatchNorm2d in {type(module) for module in network.modules()}
    planes = torch.from_numpy(blobs).permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(folded(planes), network(planes), rtol=1e-5, atol=1e-5)


# Half precision


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_answers_nearly_the_same_in_single_precision(blobs, dtype, tolerance):
    network = stirred(build("shallow"))
    planes = torch.from_numpy(blobs).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found, expected = HalfPrecision(network, dtype)(planes), network(planes)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < tolerance * expected.abs().max()


def test_self_attention_does_not_overflow_in_half_precision(blobs):
    network = stirred(build("xresnet18"))
    with torch.no_grad():
        # So that sums over positions exceed 65504, the largest number of 16 bits.
        network.backbone.stages[0][-1].convolutions[-1][1].weight.mul_(1e2)
        network.backbone.stages[0][-1].attention.gamma.fill_(1e-6)
    with torch.inference_mode():
        answer = HalfPrecision(network)(torch.from_numpy(blobs[:2]).permute(0, 3, 1, 2))
    assert torch.isfinite(answer).all()


def test_half_precision_is_for_the_xresnets():
    with pytest.raises(ModelError, match=r"^runtime 'half' is for the xresnets, not for StructureNet"):
        HalfPrecision(build("StructureNet"))


@no_cuda
def test_half_precision_needs_a_card(shallow_model):
    with pytest.raises(ValueError, match=r"^runtime: 'half' needs the device 'cuda', not 'cpu'"):
        load_model(shallow_model, device="cpu", runtime="half")


@with_cuda
def test_half_precision_on_the_card(shallow_model, blobs):
    half, whole = (load_model(shallow_model, device="cuda", runtime=name) for name in ("half", "eager"))
    assert_near(half.run(blobs), whole.run(blobs), 1e-2)


# OpenVINO


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="OpenVINO is an extra")


def test_openvino_answers_the_same(openvino, shallow_model, blobs, caplog):
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    model = load_model(shallow_model, device="cpu", runtime="openvino")
    assert model.runtime == "openvino"
    expected = load_model(shallow_model, device="cpu", runtime="eager").run(blobs)
    for n in (5, 1, 3, 0, 5):
        assert_same_outputs(model.run(blobs[:n]), {name: values[:n] for name, values in expected.items()})
    # It leaves logging as it was, and says nothing.
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
    assert [one for one in caplog.records if one.levelno >= logging.INFO] == []


def test_a_network_that_openvino_does_not_know(openvino):
    class Strange(nn.Module):
        def forward(self, blobs):
            return torch.linalg.eigvals(blobs[:, 0].float()).real

    with pytest.raises(
        ModelError, match=r"^runtime: OpenVINO cannot compile the network: .*(eig|view_as_real)"
    ):
        runtimes.OpenVINO(Strange(), 8)


def test_openvino_that_is_not_installed(shallow_model, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "openvino":
            raise ImportError("no such package")
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelError, match=r"OpenVINO is not installed; pip install 'hifrac\[openvino\]'"):
        load_model(shallow_model, device="cpu", runtime="openvino")


@with_cuda
def test_openvino_is_for_the_processor(shallow_model):
    with pytest.raises(ValueError, match=r"^runtime: 'openvino' needs the device 'cpu', not 'cuda'"):
        load_model(shallow_model, device="cuda", runtime="openvino")


@pytest.mark.parametrize("runtime", ["onnx", "", "export", "Half", 3])
def test_a_runtime_that_does_not_exist(shallow_model, runtime):
    with pytest.raises(ValueError, match=r"^runtime must be one of \('torchscript', 'eager', 'openvino'"):
        load_model(shallow_model, device="cpu", runtime=runtime)
