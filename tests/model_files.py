"""Small models of every architecture as folders."""

import dataclasses
import hashlib
import json

import numpy as np
import torch
from astropy import units as u
from torch import nn

from hifrac import list_models
from hifrac.attribution import Explanation, Target
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import _artifact
from hifrac.models.architectures import build
from hifrac.models.deconvolution import FastDeconv
from hifrac.models.metallicity import MetallicityOutput
from hifrac.models.spectrum import SpectrumOutput
from hifrac.models.structure import NetworkOutput
from hifrac.models.xresnet import SimpleSelfAttention

WIDTH = 64
#: What the networks that measure answer with.
MEASURING = {
    "StructureNet": NetworkOutput,
    "MetallicityNet": MetallicityOutput,
    "SpectrumNet": SpectrumOutput,
}
OPTIONS = {
    "StructureNet": {"width": WIDTH},
    "MetallicityNet": {"width": WIDTH},
    "SpectrumNet": {"width": WIDTH},
    "xresnet18": {"n_outputs": 2},
    "xresnet34": {"crop": 48},
    "xresnet50": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]},
    "shallow": {"n_outputs": 2},
    "xresnet18_hybrid": {"n_outputs": 2},
    "xresnet18_cnn": {},
    "xresnet18_deconv": {"n_outputs": 2},
    "baseline_cnn": {},
    "baseline_deconv": {"n_outputs": 2},
    "resnet18": {},
    "resnet34": {"n_outputs": 2},
    "resnet50": {},
    "resnet18_concat_pool": {},
    "resnet34_concat_pool": {"n_outputs": 2},
}


def blurred_blobs():
    """Blurred blobs of colour, as galaxies are; an odd number of them."""
    y, x = np.mgrid[:WIDTH, :WIDTH] - (WIDTH - 1) / 2
    rng = np.random.default_rng(5)
    light = [
        rng.uniform(90, 250, 3) * np.exp(-np.hypot(x, y * rng.uniform(1, 2)) / rng.uniform(3, 9))[..., None]
        for _ in range(5)
    ]
    return np.clip(np.array(light) + rng.uniform(2, 14, (5, WIDTH, WIDTH, 3)), 0, 255).astype(np.uint8)


def random_explanation():
    """A map without meaning, of a picture without meaning, on the sky."""
    rng = np.random.default_rng(3)
    return Explanation(
        4,
        rng.normal(0, 1e-4, (128, 128)).astype(np.float32),
        rng.integers(0, 256, (128, 128, 3)).astype(np.uint8),
        SDSS_RECIPE.wcs(150, 2),
        Target("log_hi_fraction", "estimate", 1, u.dex, ""),
        "integrated gradients",
        0.2,
        0.1,
        {"estimate": 0.25, "p16": 0.1, "p84": 0.5, "p_detect": 0.93},
    )


def stirred(network):
    """As after training: no factor of 0 or 1 is left, every path says something."""
    torch.manual_seed(8)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.4, 0.8)
                module.bias.uniform_(-0.2, 0.2)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2.0)
            elif isinstance(module, SimpleSelfAttention):
                module.gamma.fill_(1e-2)
            elif isinstance(module, FastDeconv):
                module.bias.uniform_(-0.2, 0.2)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_deconv.add_(torch.empty_like(module.running_deconv).uniform_(-0.01, 0.01))
    return network.eval()


def outputs_of(architecture, options):
    if architecture in MEASURING:
        return MEASURING[architecture]._fields
    return ("estimate", "distance")[: options.get("n_outputs", 1)]


def answer(network, architecture, pixels):
    with torch.inference_mode():
        said = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
    columns = said.unbind(1) if isinstance(said, torch.Tensor) else said
    return dict(zip(outputs_of(architecture, OPTIONS[architecture]), columns, strict=True))


def write(folder, architecture, network=None, formats=("safetensors", "torchscript"), **facts):
    """A model folder of an architecture."""
    options = OPTIONS[architecture]
    network = stirred(build(architecture, options)) if network is None else network
    card = list_models()[0]
    facts = {
        "name": "mine",
        "architecture": architecture,
        "options": options,
        "inputs": card.inputs if architecture in MEASURING else ("pixels",),
        "outputs": outputs_of(architecture, options),
        "calibration": card.calibration if architecture == "StructureNet" else None,
        "detection": card.detection if architecture == "StructureNet" else None,
        "recipe": dataclasses.replace(card.recipe, width=WIDTH),
        "files": _artifact.save(network, folder, formats=formats, width=WIDTH),
        **facts,
    }
    dataclasses.replace(card, **facts).write(folder)
    return network


def edit(folder, **facts):
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def put(folder, name, data):
    """Other bytes in place of a file, and their hash in the card."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "card.json").read_text())["files"]
    edit(folder, files={**files, name: hashlib.sha256(data).hexdigest()})
