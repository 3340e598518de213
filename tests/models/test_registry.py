"""Models found, verified, loaded and run: the bundled one, changed ones, and hostile ones."""

import gc
import hashlib
import io
import json
import os
import pickle
import shutil
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from contract import assert_same_estimates, assert_same_outputs

from hifrac import conf, images, list_models, load_model
from hifrac.core.exceptions import HifracWarning, ModelError, ModelIntegrityError, UnknownModelError
from hifrac.demo import PICTURES
from hifrac.models import _artifact, registry
from hifrac.models.registry import _resolve_device
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.simulate import SimulatedGalaxy, render, render_sky, render_star

pytestmark = pytest.mark.numeric

BUNDLED = Path(str(resources.files("hifrac.models") / "weights" / "default"))
WEIGHTS, SCRIPT = "weights.safetensors", "model.pt"
RUNTIMES = ["torchscript", "eager"]

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.fixture(scope="module")
def pixels():
    """64 pictures: the demonstration, smooth disks, a star, sky, and nothing at all."""
    pictures = [
        images.decode(path.read_bytes())
        for path in sorted(PICTURES.glob("*.jpg"))
        if "outside-footprint" not in path.name
    ]
    rng = np.random.default_rng(11)
    for seed in range(6):
        disk = SimulatedGalaxy(
            i_mag=rng.uniform(14, 17), g_minus_r=rng.uniform(0.1, 0.8), r_minus_i=0.2, r50=rng.uniform(2, 9)
        )
        pictures.append(render(disk, rng=seed))
    pictures.append(render_star(i_mag=12.0, g_minus_r=0.5, r_minus_i=0.2, rng=0))
    pictures.extend(render_sky(rng=seed) for seed in range(3))
    pictures.append(np.zeros((128, 128, 3), np.uint8))
    pictures = np.stack(pictures)
    turned = np.rot90(pictures, axes=(1, 2))
    return np.concatenate([pictures, turned])[:64]


@pytest.fixture(scope="module", params=RUNTIMES)
def model(request):
    return load_model(device="cpu", runtime=request.param)


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled model."""
    shutil.copytree(BUNDLED, tmp_path / "copy")
    return tmp_path / "copy"


def replace(folder, name, data):
    """Put other bytes in place of a file, and their hash into the card."""
    (folder / name).write_bytes(data)
    edit(
        folder,
        files={
            **json.loads((folder / "card.json").read_text())["files"],
            name: hashlib.sha256(data).hexdigest(),
        },
    )


def edit(folder, **facts):
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


# The bundled model


def test_the_bundled_model_is_listed_and_loads():
    assert [card.name for card in list_models()] == [
        "default",
        "gas-classes",
        "gas-classes-monochrome",
        "metallicity",
        "spectra",
    ]
    loaded = load_model()
    assert loaded.card == list_models()[0]
    assert (load_model("default").card, conf.model) == (loaded.card, "default")


def test_models_and_their_list_are_short_to_see():
    cards = list_models()
    assert repr(cards[0]).startswith("<ModelCard 'default': log10(M_HI/M*)")
    assert repr(cards).splitlines() == [repr(card) for card in cards]
    assert repr(load_model("default", device="cpu")) == "<Model 'default': torchscript on cpu>"
    for card in cards:
        assert card.name in cards._repr_html_()
        assert card.sha256 in card._repr_html_()
    assert "torchscript on cpu" in load_model("default", device="cpu")._repr_html_()


def test_the_default_runtime_is_the_script():
    assert load_model(device="cpu").runtime == "torchscript"
    assert isinstance(load_model(device="cpu").network, torch.jit.ScriptModule)
    assert isinstance(load_model(device="cpu", runtime="eager").network, StructureNet)


def test_on_another_device_than_the_cpu_the_default_runtime_is_the_network_in_python(monkeypatch):
    monkeypatch.setattr(registry, "_resolve_device", lambda _: "meta")
    assert load_model("default").runtime == "eager"


def test_its_files_are_those_of_its_card():
    card = list_models()[0]
    assert set(card.files) == {WEIGHTS, SCRIPT}
    for name, expected in card.files.items():
        assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == expected


def test_its_figures_are_honest_and_good():
    card = list_models()[0]
    assert 0.1 < card.figures["rmse"] < 0.234
    assert 0.96 <= card.figures["auc"] < 1
    assert abs(card.figures["offset"]) < 0.02
    assert card.figures["coverage_68"] == pytest.approx(0.68, abs=0.06)
    assert card.figures["coverage_90"] == pytest.approx(0.90, abs=0.04)
    assert card.calibration.n == 259


def test_the_interval_of_a_detection_is_about_its_error(model, pixels):
    answer = model.answer(pixels[:24], selection="alfalfa")
    width = np.median(answer.quantiles[0.84] - answer.quantiles[0.16]) / 2
    assert width == pytest.approx(model.card.figures["rmse"], rel=0.3)


def test_loading_and_running_warn_of_nothing(pixels):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for runtime in RUNTIMES:
            load_model(runtime=runtime).run(pixels[:3])
    assert [str(one.message) for one in caught] == []


# What it says


def test_gas_poor_and_gas_rich_pictures_are_told_apart(model, pixels):
    answer = model.run(pixels[:24])  # the demonstration goes from gas-poor to gas-rich
    rank = np.argsort(np.argsort(answer["estimate"]))
    assert np.corrcoef(rank, np.arange(24))[0, 1] > 0.8
    assert np.all(np.abs(answer["estimate"]) < 3)


def test_a_picture_of_nothing_is_far_from_the_training_set(model, pixels):
    nothing = np.zeros((1, 128, 128, 3), np.uint8)
    assert model.card.detection.ood_score(model.run(nothing)["distance"])[0] > 99.5
    assert model.run(nothing)["distance"][0] > 3 * np.median(model.run(pixels[:24])["distance"])


def test_script_and_python_agree(pixels):
    eager, script = (
        load_model(device="cpu", runtime=runtime).run(pixels) for runtime in ("eager", "torchscript")
    )
    assert_same_outputs(eager, script)


def test_answers_are_double_precision_arrays(model, pixels):
    answer = model.run(pixels[:5])
    for values in answer.values():
        assert values.shape == (5,)
        assert values.dtype == np.float64
        assert np.all(np.isfinite(values))
    assert np.all(answer["distance"] >= 0)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_batch_size_changes_nothing(model, pixels, size):
    expected = model.run(pixels)
    parts = [model.run(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    together = {name: np.concatenate([part[name] for part in parts]) for name in expected}
    assert_same_outputs(together, expected)


def test_the_number_of_threads_changes_nothing(model, pixels):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = model.run(pixels)
        torch.set_num_threads(2)
        two = model.run(pixels)
    finally:
        torch.set_num_threads(before)
    assert_same_outputs(one, two)


def test_the_same_pictures_give_the_same_answers(model, pixels):
    one, two = model.run(pixels), model.run(pixels)
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


@pytest.mark.parametrize("name", ["default", "metallicity", "spectra"])
def test_a_run_leaves_nothing_for_the_garbage_collector(name, pixels):
    # What it leaves adds up over a million galaxies, for all that is old is looked through rarely.
    model = load_model(name, device="cpu")
    assert model.runtime == "torchscript"
    model.run(pixels)
    gc.collect()
    gc.disable()
    try:
        model.run(pixels)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_no_pictures_give_no_answers(model):
    answer = model.run(np.zeros((0, 128, 128, 3), np.uint8))
    assert all(values.shape == (0,) for values in answer.values())


def test_the_reddening_moves_the_estimate_and_nothing_is_the_mean(model, pixels):
    few = pixels[:6]
    mean = float(load_model(device="cpu", runtime="eager").network.center[-1])
    plain = model.run(few)
    assert_same_outputs(plain, model.run(few, np.full(6, mean)))
    assert_same_outputs(plain, model.run(few, np.full(6, np.nan)))
    found = model.run(few, np.linspace(0, 0.15, 6))
    assert np.ptp(found["estimate"] - plain["estimate"]) > 0.1
    np.testing.assert_allclose(found["distance"], plain["distance"], rtol=1e-5)


@pytest.mark.parametrize("ebv", [np.zeros(3), np.zeros((4, 1)), 0.1])
def test_the_reddening_has_one_value_a_picture(model, pixels, ebv):
    with pytest.raises(ValueError, match=r"^ebv must have the shape \(4,\), got"):
        model.run(pixels[:4], ebv)


def test_read_only_strided_and_repeated_pixels_are_taken(model, pixels):
    expected = model.run(pixels[:4])
    locked = pixels[:4].copy()
    locked.setflags(write=False)
    assert_same_outputs(model.run(locked), expected)
    assert_same_outputs(model.run(np.asfortranarray(pixels[:4])), expected)
    assert_same_outputs(model.run(pixels[:4][::-1][::-1]), expected)
    repeated = model.run(np.broadcast_to(pixels[0], (3, 128, 128, 3)))
    assert_same_estimates(repeated["estimate"], np.repeat(expected["estimate"][0], 3))


def test_the_pixels_are_left_alone(model, pixels):
    before = pixels[:4].copy()
    model.run(before)
    np.testing.assert_array_equal(before, pixels[:4])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((128, 128, 3), np.uint8),
        np.zeros((2, 3, 128, 128), np.uint8),
        np.zeros((2, 128, 128, 4), np.uint8),
        np.zeros((2, 64, 64, 3), np.uint8),
        np.zeros((2, 128, 64, 3), np.uint8),
        np.zeros((2, 128, 128, 3), np.float32),
        np.zeros((2, 128, 128, 3), np.int64),
    ],
    ids=lambda array: f"{array.dtype}-{'x'.join(map(str, array.shape))}",
)
def test_pixels_of_another_shape_or_type(model, wrong):
    with pytest.raises(ValueError, match=r"^pixels must be uint8 of shape \(n, 128, 128, 3\), got"):
        model.run(wrong)


# Finding it


def test_a_folder_is_a_model(folder, pixels):
    expected = load_model(device="cpu").run(pixels[:3])
    assert_same_outputs(load_model(folder, device="cpu").run(pixels[:3]), expected)
    assert_same_outputs(load_model(str(folder), device="cpu").run(pixels[:3]), expected)


def test_the_setting_names_the_model(folder):
    edit(folder, name="mine")
    with conf.set_temp("model", str(folder)):
        assert load_model(device="cpu").card.name == "mine"


def test_a_folder_named_as_a_bundled_model_is_not_taken_without_a_word(tmp_path, monkeypatch):
    shutil.copytree(registry.bundled_models()["gas-classes"], tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(
        HifracWarning, match="'default' is meant, not the folder; say './default' for that one"
    ):
        assert load_model("default").card.name == "default"
    assert load_model("./default").card.name == "gas-classes"


@pytest.mark.parametrize("name", ["no-such-model", "", "weights/default", "default/", "DEFAULT"])
def test_an_unknown_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError, match="bundled models: default"):
        load_model(name)
    with pytest.raises(ValueError, match="no model named"):
        load_model(Path(name))


def test_a_folder_without_a_card_is_an_unknown_model(tmp_path):
    with pytest.raises(UnknownModelError, match=r"no folder of that name with a card\.json"):
        load_model(tmp_path)


def test_a_folder_with_a_bad_card(folder):
    (folder / "card.json").write_text("{}")
    with pytest.raises(ModelError, match="not a model card"):
        load_model(folder)


@pytest.mark.parametrize("runtime", ["onnx", "", "Eager", 1])
def test_an_unknown_runtime(runtime):
    with pytest.raises(ValueError, match=r"^runtime must be one of .* got"):
        load_model(runtime=runtime)


def test_a_model_without_a_script_runs_in_python(folder, pixels):
    card = json.loads((folder / "card.json").read_text())
    edit(folder, files={WEIGHTS: card["files"][WEIGHTS]})
    (folder / SCRIPT).unlink()
    loaded = load_model(folder, device="cpu")
    assert loaded.runtime == "eager"
    assert_same_outputs(loaded.run(pixels[:3]), load_model(device="cpu").run(pixels[:3]))
    with pytest.raises(ModelError, match=r"has no model\.pt"):
        load_model(folder, runtime="torchscript")


# Where it runs


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_known_devices(device):
    loaded = load_model(device=device)
    assert loaded.device == "cpu" or (device == "auto" and loaded.device.startswith("cuda:"))
    assert str(next(loaded.network.parameters()).device) == loaded.device


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_the_current_device_is_that_of_the_thread_that_asked(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch, "zeros", lambda *_, **options: torch.ones(1))
    assert _resolve_device(device) == "cuda:1"


def test_the_setting_names_the_device():
    with conf.set_temp("device", "cpu"):
        assert load_model().device == "cpu"


@pytest.mark.parametrize("device", ["abacus", "", "cpu:x", "cuda:-3", 2.5])
def test_nonsense_is_no_device(device):
    with pytest.raises(ValueError, match=r"^device"):
        load_model(device=device)


@pytest.mark.parametrize("device", ["meta", "vulkan"])
def test_a_device_that_cannot_compute_here(device):
    with pytest.raises(
        ValueError, match=rf"^device: '{device}' was asked for, but PyTorch cannot compute on it"
    ):
        load_model(device=device)


@no_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda")])
def test_cuda_where_there_is_none(device):
    with pytest.raises(
        ValueError, match=r"^device: .*cuda.* was asked for, but PyTorch finds no CUDA device here"
    ):
        load_model(device=device)


@with_cuda
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cuda_agrees_with_the_processor(runtime, pixels):
    assert load_model(runtime=runtime).device == "cuda:0"
    one, other = (load_model(device=device, runtime=runtime).run(pixels[:60]) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(one["estimate"], other["estimate"], rtol=0, atol=1e-3)


# Files that are not what the card says


def forbid(monkeypatch, target, name):
    """Let the test fail if something is called."""

    def called(*args, **kwargs):
        pytest.fail(f"{name} was called")

    monkeypatch.setattr(target, name, called)


def changed(path, place):
    data = bytearray(path.read_bytes())
    data[place if place >= 0 else len(data) + place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_one_changed_byte_of_the_script(folder, monkeypatch, place):
    changed(folder / SCRIPT, place)
    forbid(monkeypatch, torch.jit, "load")
    with pytest.raises(
        ModelIntegrityError, match=r"model\.pt is not the file its card describes.*nothing of it"
    ):
        load_model(folder, runtime="torchscript")


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_one_changed_byte_of_the_weights(folder, monkeypatch, place):
    changed(folder / WEIGHTS, place)
    forbid(monkeypatch, safetensors.torch, "load")
    forbid(monkeypatch, StructureNet, "load_state_dict")
    with pytest.raises(ModelIntegrityError, match=r"weights\.safetensors is not the file its card describes"):
        load_model(folder, runtime="eager")


@pytest.mark.parametrize(("name", "runtime"), [(SCRIPT, "torchscript"), (WEIGHTS, "eager")])
def test_a_file_cut_off_or_longer(folder, name, runtime):
    whole = (folder / name).read_bytes()
    for data in (b"", whole[:-1], whole + b"\0"):
        (folder / name).write_bytes(data)
        with pytest.raises(ModelIntegrityError):
            load_model(folder, runtime=runtime)


@pytest.mark.parametrize(("name", "runtime"), [(SCRIPT, "torchscript"), (WEIGHTS, "eager")])
def test_a_missing_file(folder, name, runtime):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"{name} cannot be read"):
        load_model(folder, runtime=runtime)


def test_a_card_changed_without_its_files(folder):
    edit(folder, files={WEIGHTS: "0" * 64, SCRIPT: "0" * 64})
    for runtime in RUNTIMES:
        with pytest.raises(ModelIntegrityError):
            load_model(folder, runtime=runtime)


# Files that are what the card says, and still no model


def weights():
    return safetensors.torch.load((BUNDLED / WEIGHTS).read_bytes())


def without_bias():
    return {key: value for key, value in weights().items() if key != "prior.intercept"}


def with_something_else():
    return {**weights(), "surprise": torch.zeros(3)}


def one_feature_short():
    return {**weights(), "center": weights()["center"][:-1].clone()}


@pytest.mark.parametrize("state", [without_bias, with_something_else, one_feature_short, dict])
def test_weights_that_do_not_fit_the_architecture(folder, state):
    replace(folder, WEIGHTS, safetensors.torch.save(state()))
    with pytest.raises(ModelError, match="its weights do not fit the architecture 'StructureNet'"):
        load_model(folder, runtime="eager")


@pytest.mark.parametrize(
    "facts",
    [
        {"architecture": "NoSuchNet"},
        {"architecture": "Linear"},
        {"options": {"depth": 50}},
        {"options": {"width": 50}},
        {"options": {"width": "128"}},
        {"options": None},
    ],
)
def test_an_architecture_that_does_not_exist(folder, facts):
    edit(folder, **facts)
    with pytest.raises(
        ModelError, match=r"do not fit the architecture|options must be an object, got NoneType"
    ):
        load_model(folder, runtime="eager")


def test_consistently_edited_weights_are_another_model(folder, pixels):
    state = weights()
    state["residual.picture.bias"] = state["residual.picture.bias"] + 0.25
    replace(folder, WEIGHTS, safetensors.torch.save(state))
    other = load_model(folder, device="cpu", runtime="eager")
    assert other.card.sha256 != list_models()[0].sha256
    np.testing.assert_allclose(
        other.run(pixels[:3])["estimate"],
        load_model(device="cpu").run(pixels[:3])["estimate"] + 0.25,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"not a model", b"\0" * 4096, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 64]
)
@pytest.mark.parametrize(("name", "runtime"), [(SCRIPT, "torchscript"), (WEIGHTS, "eager")])
def test_junk_with_the_right_hash(folder, name, runtime, junk):
    replace(folder, name, junk)
    with pytest.raises(ModelError) as caught:
        load_model(folder, runtime=runtime)
    assert not isinstance(caught.value, ModelIntegrityError)


class Payload:
    """What makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def as_pickle(payload):
    return pickle.dumps(payload)


def as_checkpoint(payload):
    file = io.BytesIO()
    torch.save({"state_dict": payload}, file)
    return file.getvalue()


@pytest.mark.parametrize("pack", [as_pickle, as_checkpoint])
@pytest.mark.parametrize(("name", "runtime"), [(SCRIPT, "torchscript"), (WEIGHTS, "eager")])
def test_no_pickle_is_ever_loaded(folder, tmp_path, name, runtime, pack):
    victim = tmp_path / "executed"
    data = pack(Payload(victim))
    # The payload is a live one: who unpickles it executes it.
    if pack is as_pickle:
        pickle.loads(data)
    else:
        torch.load(io.BytesIO(data), weights_only=False)
    assert victim.is_dir()
    victim.rmdir()
    replace(folder, name, data)
    with pytest.raises(ModelError):
        load_model(folder, runtime=runtime)
    assert not victim.exists()


# Writing it


def test_what_is_saved_is_what_is_loaded(tmp_path, pixels):
    torch.manual_seed(3)
    network = StructureNet(128).eval()
    files = _artifact.save(network, tmp_path / "new" / "model")
    folder = tmp_path / "new" / "model"
    list_models()[0].write(folder)
    edit(folder, files=files)
    with torch.inference_mode():
        expected = NetworkOutput(*network(torch.from_numpy(pixels[:4]).permute(0, 3, 1, 2)).unbind(1))
    for runtime in RUNTIMES:
        found = load_model(folder, device="cpu", runtime=runtime).run(pixels[:4])
        np.testing.assert_allclose(found["estimate"], expected.estimate.numpy(), atol=1e-5)
        np.testing.assert_allclose(found["distance"], expected.distance.numpy(), rtol=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_others_may_read_what_is_saved(tmp_path):
    before = os.umask(0o022)
    try:
        _artifact.save(StructureNet(64), tmp_path)
    finally:
        os.umask(before)
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in (WEIGHTS, SCRIPT)} == {
        WEIGHTS: 0o644,
        SCRIPT: 0o644,
    }
