"""Model files of every architecture: written, read back, refused, and replaced by the Python network."""

import dataclasses
import hashlib
import re
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from contract import assert_same_outputs
from model_files import OPTIONS, WIDTH, answer, edit, put, stirred, write

import hifrac
from hifrac import load_model
from hifrac.core.exceptions import HifracWarning, ModelError, ModelIntegrityError, UnknownModelError
from hifrac.models import _artifact, export_model
from hifrac.models.architectures import ARCHITECTURES, build, closest

pytestmark = pytest.mark.numeric

WEIGHTS, SCRIPT, PROGRAM = "weights.safetensors", "model.pt", "model.pt2"


# There and back


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_and_script_of_every_architecture_answer_as_the_network_did(architecture, tmp_path, blobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = write(tmp_path, architecture)
        models = [load_model(tmp_path, device="cpu", runtime=name) for name in ("eager", "torchscript")]
    expected = answer(network, architecture, blobs)
    for n in (5, 1):
        for model in models:
            assert_same_outputs(model.run(blobs[:n]), {name: value[:n] for name, value in expected.items()})


# It takes seconds; what the other architectures consist of is in these.
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["StructureNet", "xresnet18"])
def test_an_exported_program_answers_as_the_network_did(architecture, tmp_path, blobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = write(tmp_path, architecture, formats=("export",))
    program = torch.export.load(tmp_path / PROGRAM).module()
    expected = answer(network, architecture, blobs)
    planes = torch.from_numpy(blobs).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        for n in (5, 1, 3, 0):
            assert_same_outputs(
                dict(zip(expected, program(planes[:n]), strict=True)),
                {name: value[:n] for name, value in expected.items()},
            )


@pytest.mark.parametrize("architecture", ["xresnet18", "shallow"])
def test_training_can_go_on_from_the_weights(architecture, tmp_path):
    network = write(tmp_path, architecture, formats=("safetensors",))
    loaded = load_model(tmp_path, device="cpu").network
    before, after = network.state_dict(), loaded.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    # The script has them folded.
    assert any("parametrizations" in name for name in after) == (architecture != "shallow")


def test_saving_leaves_the_network_as_it_is(tmp_path):
    network = build("shallow").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _artifact.save(network, tmp_path, formats=tuple(_artifact.FORMATS), width=WIDTH)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_in_training_is_saved_as_it_will_be_used(tmp_path, blobs):
    network = stirred(build("xresnet18", OPTIONS["xresnet18"])).train()
    write(tmp_path, "xresnet18", network)
    one, other = (load_model(tmp_path, device="cpu", runtime=name) for name in ("eager", "torchscript"))
    assert_same_outputs(one.run(blobs), other.run(blobs))


def test_only_one_file_names_the_apis_that_pytorch_may_drop():
    root = Path(hifrac.__file__).parent
    named = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"torch\.(jit|export)\.\w+\(|from torch import", path.read_text(encoding="utf-8"))
        and re.search(r"torch\.(jit|export)\.\w+\(|from torch import .*(jit|export)", path.read_text("utf-8"))
    }
    assert named == {"models/_artifact.py"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ("onnx",)}, "^formats must be of safetensors, torchscript, export; got 'onnx'"),
        ({"formats": ("export",)}, "^width: an exported program is for pictures of one size"),
    ],
)
def test_what_cannot_be_saved(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        _artifact.save(build("shallow"), tmp_path / "m", **arguments)
    assert not (tmp_path / "m").exists()


# What the card names


def test_an_architecture_that_is_none():
    with pytest.raises(KeyError, match=r"architecture must be one of StructureNet, .*; got 'Linear'"):
        build("Linear")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_tell_their_architecture(architecture):
    with torch.device("meta"):  # their values do not matter
        network = build(architecture, OPTIONS[architecture])
    assert closest(set(network.state_dict())) == architecture
    assert closest({"weight", "bias"}) is None


@pytest.mark.parametrize("other", ["xresnet18", "StructureNet"])
def test_weights_of_another_architecture_are_recognised(other, shallow_folder):
    put(shallow_folder, WEIGHTS, safetensors.torch.save(build(other, OPTIONS[other]).state_dict()))
    with pytest.raises(
        ModelError,
        match=f"do not fit the architecture 'shallow': they are those of the architecture '{other}'",
    ):
        load_model(shallow_folder, device="cpu", runtime="eager")


def test_weights_of_no_architecture_say_what_is_wrong(shallow_folder):
    state = safetensors.torch.load((shallow_folder / WEIGHTS).read_bytes())
    del state["backbone.head.bias"]
    put(shallow_folder, WEIGHTS, safetensors.torch.save({**state, "surprise": torch.zeros(2)}))
    with pytest.raises(
        ModelError,
        match=r"1 are missing, the first of them backbone\.head\.bias; "
        r"1 have no place in it, the first of them surprise",
    ):
        load_model(shallow_folder, device="cpu", runtime="eager")


def test_weights_of_another_number_of_outputs_say_so(shallow_folder):
    edit(shallow_folder, options={"n_outputs": 3})
    with pytest.raises(ModelError, match=r"backbone\.head\.weight has the shape \(2, 64\), not \(3, 64\)"):
        load_model(shallow_folder, device="cpu", runtime="eager")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"architecture": "Linear"},
            "do not fit the architecture.*architecture must be one of StructureNet,",
        ),
        ({"options": {"depth": 3}}, "do not fit the architecture.*unexpected keyword argument 'depth'"),
        ({"options": {"mean": [0.5]}}, "do not fit the architecture.*mean must have 3 numbers, got 1"),
        ({"options": None}, "options must be an object, got NoneType"),
        (
            {"options": {}, "architecture": "xresnet18"},
            "do not fit the architecture.*they are those of the architecture 'shallow'",
        ),
    ],
)
def test_a_card_that_does_not_fit_its_weights(shallow_folder, facts, message):
    edit(shallow_folder, **facts)
    with pytest.raises(ModelError, match=message):
        load_model(shallow_folder, device="cpu", runtime="eager")


def test_a_card_that_names_other_outputs_than_the_network_gives(shallow_folder, blobs):
    edit(shallow_folder, outputs=["estimate"])
    with pytest.raises(ModelError, match="the network gives 2 outputs, and its card names estimate"):
        load_model(shallow_folder, device="cpu").run(blobs)


# When the script cannot be used


@pytest.fixture
def bundled(monkeypatch, shallow_folder):
    """A folder that counts as one of the package's: only of these a script is run unasked."""
    monkeypatch.setattr("hifrac.models.registry.bundled_models", lambda: {"shallow": shallow_folder})
    return shallow_folder


@pytest.mark.parametrize("junk", [None, b"", b"a stranger's program"])
def test_a_script_from_elsewhere_is_not_even_read_unless_asked_for(shallow_folder, blobs, junk):
    expected = load_model(shallow_folder, device="cpu", runtime="torchscript")
    assert expected.sha256 == expected.card.files[SCRIPT] != expected.card.sha256
    outputs = expected.run(blobs)
    if junk is None:
        (shallow_folder / SCRIPT).unlink()
    else:
        put(shallow_folder, SCRIPT, junk)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(shallow_folder, device="cpu")
    assert (model.runtime, model.sha256) == ("eager", model.card.sha256)
    assert_same_outputs(model.run(blobs), outputs)
    with pytest.raises(ModelError, match=r"model\.pt cannot be"):
        load_model(shallow_folder, device="cpu", runtime="torchscript")


def test_a_missing_script_is_replaced_by_the_python_network(bundled, shallow_folder, shallow_model, blobs):
    (shallow_folder / SCRIPT).unlink()
    with pytest.warns(HifracWarning, match=r"model\.pt cannot be read.*the Python network takes its place"):
        model = load_model(shallow_folder, device="cpu")
    assert model.runtime == "eager"
    assert_same_outputs(
        model.run(blobs), load_model(shallow_model, device="cpu", runtime="torchscript").run(blobs)
    )


@pytest.mark.parametrize("junk", [b"", b"of a PyTorch to come", b"PK\x03\x04" + bytes(64)])
def test_a_script_that_this_pytorch_cannot_load_is_replaced(
    bundled, shallow_folder, shallow_model, blobs, junk
):
    put(shallow_folder, SCRIPT, junk)
    with pytest.warns(HifracWarning, match=r"model\.pt cannot be loaded.*the Python network takes its place"):
        model = load_model(shallow_folder, device="cpu")
    assert model.runtime == "eager"
    assert_same_outputs(model.run(blobs), load_model(shallow_model, device="cpu").run(blobs))
    with pytest.raises(ModelError, match=r"model\.pt cannot be loaded"):
        load_model(shallow_folder, device="cpu", runtime="torchscript")


def test_a_script_that_is_not_the_one_of_the_card_is_never_replaced(bundled, shallow_folder):
    data = bytearray((shallow_folder / SCRIPT).read_bytes())
    data[len(data) // 2] ^= 1
    (shallow_folder / SCRIPT).write_bytes(data)
    with pytest.raises(ModelIntegrityError, match="nothing of it was loaded"):
        load_model(shallow_folder, device="cpu")


def test_with_neither_script_nor_weights_there_is_no_model(bundled, shallow_folder):
    (shallow_folder / SCRIPT).unlink()
    (shallow_folder / WEIGHTS).unlink()
    with (
        pytest.warns(HifracWarning, match="takes its place"),
        pytest.raises(ModelError, match=r"weights\.safetensors cannot be read"),
    ):
        load_model(shallow_folder, device="cpu")


# Writing a model out


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (("torchscript",), {WEIGHTS, SCRIPT}),
        (("safetensors",), {WEIGHTS}),
        (("export",), {WEIGHTS, PROGRAM}),
        (["export", "torchscript", "safetensors"], {WEIGHTS, SCRIPT, PROGRAM}),
        ((), {WEIGHTS}),
    ],
)
def test_an_exported_model_is_the_same_model(shallow_model, tmp_path, blobs, formats, files):
    out = tmp_path / "new" / "out"
    card = export_model(shallow_model, out, formats=formats)
    assert {path.name for path in out.iterdir()} == files | {"card.json"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert set(card.files) == files
    for name, expected in card.files.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == expected
    model, before = load_model(out, device="cpu"), load_model(shallow_model, device="cpu", runtime="eager")
    assert model.card.sha256 == before.card.sha256
    assert dataclasses.replace(model.card, files=before.card.files) == before.card
    assert_same_outputs(model.run(blobs), before.run(blobs))


def test_an_empty_folder_may_be_filled(shallow_model, tmp_path):
    (tmp_path / "out").mkdir()
    export_model(str(shallow_model), str(tmp_path / "out"))
    assert load_model(tmp_path / "out", device="cpu", runtime="torchscript").runtime == "torchscript"


def test_nothing_is_written_over(shallow_model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all my work")
    (tmp_path / "file").write_text("more of it")
    for name in ("full", "file"):
        with pytest.raises(FileExistsError, match=r"^output: .* exists already and is not an empty folder"):
            export_model(shallow_model, tmp_path / name)
    assert (tmp_path / "full" / "thesis.tex").read_text() == "all my work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (("onnx",), "^formats must be of safetensors, torchscript, export; got 'onnx'"),
        ("torchscript", "^formats must be a sequence of names, got the text 'torchscript'"),
    ],
)
def test_formats_that_do_not_exist(shallow_model, tmp_path, formats, message):
    with pytest.raises(ValueError, match=message):
        export_model(shallow_model, tmp_path / "out", formats=formats)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(shallow_folder, tmp_path):
    with pytest.raises(UnknownModelError):
        export_model("no-such-model", tmp_path / "out")
    (shallow_folder / WEIGHTS).write_bytes(b"changed")
    with pytest.raises(ModelIntegrityError):
        export_model(shallow_folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_failure_while_writing_leaves_nothing_behind(shallow_model, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch.jit, "save", full)
    with pytest.raises(OSError, match="no space left"):
        export_model(shallow_model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
