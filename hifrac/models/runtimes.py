"""Faster ways to run a network than PyTorch in single precision: OpenVINO, and half precision on a GPU.

Each computes the same network. How far their answers are from those of
PyTorch in single precision, and how fast they are, is measured by
``benchmarks/models.py``.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hifrac.core.exceptions import ModelError
from hifrac.models import _artifact
from hifrac.models.xresnet import SimpleSelfAttention, fold_for_inference


class OpenVINO(nn.Module):
    """A network compiled by OpenVINO for the CPU, in single precision.

    Parameters
    ----------
    network : Module
        Takes uint8 pixels (n, 3, width, width).
    width : int
        Side of the pictures.
    threads : int, optional
        By default as many as PyTorch uses.

    Raises
    ------
    ~hifrac.core.ModelError
        If OpenVINO is not installed, or cannot compile the network.
    """

    def __init__(self, network: nn.Module, width: int, *, threads: int | None = None) -> None:
        super().__init__()
        options = {
            # Where the processor has bfloat16, OpenVINO would use it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = _compiled(_artifact.exported(network, width), width, options)
        self._request = compiled.create_infer_request()
        self._n_outputs = len(compiled.outputs)
        # One request holds the memory of one pass.
        self._lock = threading.Lock()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor (n,) for each output."""
        if len(pixels) == 0:
            return tuple(torch.zeros(0) for _ in range(self._n_outputs))
        with self._lock:
            answer = self._request.infer([pixels.contiguous().numpy()], share_inputs=True)
            return tuple(torch.from_numpy(answer[i].copy()) for i in range(self._n_outputs))


def _compiled(program: Any, width: int, options: dict[str, Any]) -> Any:
    """Compile a program as OpenVINO runs it.

    By its front end, not by ``openvino.convert_model``, which reports each use to its makers.
    """
    try:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    except ImportError as error:
        raise ModelError(
            "runtime: OpenVINO is not installed; pip install 'hifrac[openvino]' brings it"
        ) from error
    try:
        with _silent_about_decompositions():
            front = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchFXPythonDecoder.from_exported_program(program)  # to be kept until all is compiled
            graph = front.convert(front.load(decoder))
        graph.reshape([-1, 3, width, width])
        return openvino.Core().compile_model(graph, "CPU", options)
    except Exception as error:  # it raises classes of its own
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ModelError(f"runtime: OpenVINO cannot compile the network: {reason[0]}") from error


@contextmanager
def _silent_about_decompositions() -> Iterator[None]:
    """Silence what OpenVINO tells the root logger of operations that this PyTorch decomposes otherwise."""
    root, handler = logging.root, logging.NullHandler()

    def other(record: logging.LogRecord) -> bool:
        return "decomp table" not in record.getMessage()

    root.addHandler(handler)  # without any handler, logging would set up one that stays
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)
        root.removeHandler(handler)


class HalfPrecision(nn.Module):
    """An xresnet with convolutions in 16 bits, channels last, batch normalisation folded.

    Self-attention and the last layer stay in single precision: products of
    the channels over all positions exceed what 16 bits can hold, and
    the last layer would round the answer itself.

    Parameters
    ----------
    network : ``PixelNet``
        It is left as it is.
    dtype : torch.dtype, optional
        ``float16`` has three bits more than ``bfloat16`` for the same speed.

    Raises
    ------
    ~hifrac.core.ModelError
        If the network is no xresnet.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        if not hasattr(network, "backbone"):
            raise ModelError(f"runtime 'half' is for the xresnets, not for {type(network).__name__}")
        self.dtype = dtype
        network = fold_batch_norm(fold_for_inference(network))
        for module in list(network.modules()):
            for name, inner in list(module.named_children()):
                if name in ("attention", "head") and isinstance(inner, SimpleSelfAttention | nn.Linear):
                    setattr(module, name, _SinglePrecision(inner))
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the answers in single precision, shape (n, n_outputs)."""
        with torch.autocast(pixels.device.type, dtype=self.dtype):
            return self.network(pixels.contiguous(memory_format=torch.channels_last))


class _SinglePrecision(nn.Module):
    """A module out of reach of autocast."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            return self.inner(maps.float())


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Merge each batch normalisation into the convolution before it, for inference.

    Parameters
    ----------
    network : Module
        Any network; it is left as it is.

    Returns
    -------
    folded : Module
        A copy in evaluation mode that answers the same.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            first, second = module[i], module[i + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[i] = fuse_conv_bn_eval(first, second)
                module[i + 1] = nn.Identity()
    return folded
