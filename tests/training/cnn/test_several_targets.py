"""Several targets at once, of fluxes in five bands and of pictures in three."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, Table
from commands import call
from pictures import encode, galaxy

from hifrac import HIFractionEstimator, LocalCutouts, ModelCard, load_model
from hifrac.core.exceptions import BadImageError, HifracWarning, ModelError
from hifrac.cutouts import WU_PEEK_RECIPE
from hifrac.models import export_model
from hifrac.models.calibration import ConformalTable, ConformalTables
from hifrac.training.cnn.augment import N_DIHEDRAL, Augmentation, dihedral
from hifrac.training.cnn.learner import train_network
from hifrac.training.config import TrainingConfig, read_config
from hifrac.training.evaluation import evaluate, several_figures

N, WIDTH = 120, 32
TARGETS = ("VAE1", "VAE2", "VAE3")
TINY = (f"pictures.width={WIDTH}", "network.architecture='baseline_cnn'", "run.accelerator='cpu'")
SETTINGS = (*TINY, "optimizer.epochs=6", "optimizer.batch_size=16")

known = pytest.mark.filterwarnings("ignore:'.*' learned from .* of the .* galaxies")
no_units = pytest.mark.filterwarnings("ignore:ra and dec have no unit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files like the paper's, planes y, z, i, r, g: the first two targets follow from light and colour."""
    root = tmp_path_factory.mktemp("fluxes")
    (root / "planes").mkdir()
    rng = np.random.default_rng(1)
    light, colour, nothing = rng.normal(size=(3, N))
    y, x = np.mgrid[:WIDTH, :WIDTH] - (WIDTH - 1) / 2
    profile = np.exp(-np.hypot(x, y) / 4)
    for number in range(N):
        bands = 10 ** (0.3 * light[number] + 0.1 * (3 + colour[number]) * np.arange(5)[::-1])
        planes = 50 * bands[:, None, None] * profile + rng.normal(size=(5, WIDTH, WIDTH))
        np.save(root / "planes" / f"s{number}.npy", planes.astype(np.float32))
    table = Table({"SpecObjID": [f"s{number}" for number in range(N)]})
    table["ra"], table["dec"] = 3.0 * np.arange(N), np.zeros(N)
    table["VAE1"], table["VAE2"], table["VAE3"] = 100 + 20 * light, 0.01 * colour, nothing
    table.write(root / "latents.ecsv")
    return root


def config_of(folder, *settings, target=TARGETS, table="latents.ecsv"):
    config = read_config("spectra-paper")
    config = config.for_table(str(folder / table), str(folder / "planes"), target=target)
    return config.with_settings([*SETTINGS, *settings])


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "model"
    return output, train_network(config_of(folder), output)


def source_of(folder, bands="yzirg"):
    recipe = replace(WU_PEEK_RECIPE, width=WIDTH)
    return LocalCutouts(folder / "planes", name="SpecObjID", bands=bands, recipe=recipe)


def answers_of(model):
    """Targets and answers of the held-out galaxies, (n, 3) each."""
    held_out = Table.read(model / "held_out.ecsv")
    ends = ("", "_2", "_3")
    return held_out["objid"], *(
        np.stack([held_out[f"{name}{end}"] for end in ends], axis=1) for name in ("target", "estimate")
    )


# What is learned, and what is written


def test_the_card_says_what_is_estimated_of_what(trained):
    card = ModelCard.read(trained[0])
    assert card.outputs == ("estimate", "estimate_2", "estimate_3")
    assert card.target_columns == card.calibration.columns == TARGETS
    assert card.target == "VAE1, VAE2, VAE3, as the labels are"
    assert (card.options["n_outputs"], card.options["n_channels"], card.options["fluxes"]) == (3, 5, True)
    assert card.recipe == replace(WU_PEEK_RECIPE, width=WIDTH)
    assert ModelCard.from_json(card.to_json()) == card
    assert any("Wu & Peek 2020" in reference for reference in card.references)


def test_pictures_are_normalised_by_the_training_pictures_of_each_band(trained, folder):
    card = ModelCard.read(trained[0])
    split = Table.read(trained[0] / "splits.ecsv")
    train = split["objid"][split["role"] == "train"]
    # On disk y comes first; networks read g first.
    planes = np.stack([np.load(folder / "planes" / f"{name}.npy")[::-1] for name in train]).astype(float)
    np.testing.assert_allclose(card.options["mean"], planes.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(card.options["std"], planes.std((0, 2, 3), ddof=1), rtol=1e-6)


@pytest.mark.numeric
def test_figures_are_errors_in_units_of_the_scatter(trained, folder):
    model, figures = trained
    objid, truth, estimate = answers_of(model)
    labels = Table.read(folder / "latents.ecsv")
    is_train = ~np.isin(labels["SpecObjID"], objid)
    scatter = np.array([labels[name][is_train].std() for name in TARGETS])
    residuals = (truth - estimate) / scatter
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean(residuals**2)))
    assert figures["mse"] == pytest.approx(figures["rmse"] ** 2)
    for number, name in enumerate(TARGETS):
        assert figures[f"rmse_{name}"] == pytest.approx(np.sqrt(np.mean(residuals[:, number] ** 2)))
    # What the pictures show is learned, whatever its unit; what they do not show is not.
    assert figures["rmse_VAE1"] < 0.65
    assert figures["rmse_VAE3"] > 0.75
    assert 0 < figures["rmse_error"] < 0.2


def test_each_target_has_an_interval_of_its_own(trained):
    card, (_, truth, estimate) = ModelCard.read(trained[0]), answers_of(trained[0])
    for number, name in enumerate(TARGETS):
        expected = ConformalTable.from_residuals(truth[:, number] - estimate[:, number])
        np.testing.assert_allclose(card.calibration.table(name).values, expected.values, rtol=1e-6)


@pytest.mark.numeric
@no_units
def test_the_estimator_has_columns_for_each_target(trained, folder):
    model = trained[0]
    labels = Table.read(folder / "latents.ecsv")["SpecObjID", "ra", "dec"]
    result = HIFractionEstimator(model, cutouts=source_of(folder), device="cpu").predict(labels)
    ends = ("", "_p16", "_p84", "_p05", "_p95")
    assert result.colnames[3:] == [
        *(f"{name}{end}" for name in TARGETS for end in ends), "p_detect", "ood_score", "flags",
    ]  # fmt: skip
    objid, _, estimate = answers_of(model)
    rows = [list(labels["SpecObjID"]).index(name) for name in objid]
    table = ModelCard.read(model).calibration
    for number, name in enumerate(TARGETS):
        unit = np.ptp(estimate[:, number])
        np.testing.assert_allclose(result[name][rows] / unit, estimate[:, number] / unit, atol=1e-4)
        width = result[f"{name}_p84"] - result[name]
        np.testing.assert_allclose(width, table.table(name).value(0.84), rtol=1e-3)


@no_units
def test_rows_without_their_bands_are_flagged_and_stop_no_others(trained, folder, tmp_path):
    (tmp_path / "planes").mkdir()
    for number in range(3):
        planes = np.load(folder / "planes" / f"s{number}.npy")
        np.save(tmp_path / "planes" / f"s{number}.npy", planes[:4] if number == 1 else planes)
    labels = Table.read(folder / "latents.ecsv")["SpecObjID", "ra", "dec"][:3]
    with pytest.warns(HifracWarning, match=r"1 of 3 rows have no estimate.*5 planes"):
        result = HIFractionEstimator(trained[0], cutouts=source_of(tmp_path), device="cpu").predict(labels)
    assert list(result["flags"] == 0) == [True, False, True]
    assert list(result["VAE2"].mask) == [False, True, False]


@no_units
def test_a_model_of_fluxes_is_not_explained(trained, folder, tmp_path):
    labels = folder / "latents.ecsv"
    estimator = HIFractionEstimator(trained[0], cutouts=source_of(folder), device="cpu")
    with pytest.raises(ModelError, match=r"^model: 'spectra-paper-.*' reads fluxes of g, r, i, z, y"):
        estimator.explain(Table.read(labels), method="occlusion")
    options = ["--model", trained[0], "--cutouts", folder / "planes", "--name", "SpecObjID"]
    refused = call("explain", labels, "-o", tmp_path / "out", *options)
    assert refused.stderr.startswith("Error: model: 'spectra-paper-VAE1-VAE2-VAE3' reads fluxes of")
    assert not (tmp_path / "out").exists()


def test_the_model_can_be_exported(trained, folder, tmp_path):
    export_model(trained[0], tmp_path / "out", formats=("torchscript", "export"))
    model = load_model(trained[0], device="cpu")
    pixels = np.random.default_rng(0).normal(100, 10, (3, WIDTH, WIDTH, 5)).astype(np.float32)
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    columns = program(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    for column, expected in zip(columns, model.run(pixels).values(), strict=True):
        np.testing.assert_allclose(column.detach(), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"^pixels must be float32 of shape \(n, 32, 32, 5\), got uint8"):
        model.run(pixels.astype(np.uint8))


@known
def test_it_is_judged_on_each_target(trained, folder, tmp_path):
    labels = Table.read(folder / "latents.ecsv")
    objid, truth, estimate = answers_of(trained[0])
    held_out = labels[np.isin(labels["SpecObjID"], objid)]
    held_out["VAE2"] = MaskedColumn(held_out["VAE2"], mask=np.arange(len(held_out)) == 0)
    model, planes = load_model(trained[0], device="cpu"), folder / "planes"
    table = evaluate(model, held_out, planes, name="SpecObjID", target=TARGETS, bands="yzirg")
    assert list(table["target"]) == [name for name in TARGETS for _ in range(4)]
    everything = table[table["sample"] == "all"]
    assert list(everything["n"]) == [len(objid), len(objid) - 1, len(objid)]
    assert everything["rmse"][0] == pytest.approx(np.sqrt(np.mean((truth - estimate)[:, 0] ** 2)), rel=1e-4)
    held_out.write(tmp_path / "held_out.ecsv")
    targets = [word for name in TARGETS for word in ("--target", name)]
    words = ["evaluate", trained[0], tmp_path / "held_out.ecsv", "--cutouts", planes, "--name", "SpecObjID"]
    done = call(*words, *targets, "--bands", "yzirg", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert done.output.count("VAE2") == 4
    refused = call(*words, "--target", "VAE1", "--bands", "yzirg", "--device", "cpu")
    assert "target must be 3 columns, because 'spectra-paper-VAE1-VAE2-VAE3' estimates" in refused.stderr


# The unit of targets, masked ones, and pictures of three bands


@pytest.mark.numeric
@pytest.mark.slow
def test_another_unit_changes_nothing_but_the_unit(trained, folder, tmp_path):
    labels = Table.read(folder / "latents.ecsv")
    labels["VAE1"] = 1000 + 4 * labels["VAE1"]
    labels.write(folder / "other.ecsv", overwrite=True)
    train_network(config_of(folder, table="other.ecsv"), tmp_path / "model")
    (_, _, first), (_, _, other) = answers_of(trained[0]), answers_of(tmp_path / "model")
    np.testing.assert_allclose(other[:, 0], 1000 + 4 * first[:, 0], rtol=1e-3)
    np.testing.assert_allclose(other[:, 1:], first[:, 1:], rtol=0.02, atol=0.02 * np.abs(first[:, 1:]).max())


def test_a_masked_target_is_refused_or_left_out(folder, tmp_path, caplog):
    labels = Table.read(folder / "latents.ecsv")
    labels["VAE2"] = MaskedColumn(labels["VAE2"], mask=np.arange(N) % 12 == 0)
    labels.write(folder / "gaps.ecsv", overwrite=True)
    config = config_of(folder, table="gaps.ecsv")
    with pytest.raises(
        ValueError, match=r"^VAE2: .* labels are missing or not finite, the first is that of s"
    ):
        train_network(config, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    train_network(config.changed(data={"missing": "mask"}), tmp_path / "model")
    assert f"{len(range(0, N, 12))} labels are missing" in caplog.text
    calibration, (_, truth, _) = (
        ModelCard.read(tmp_path / "model").calibration,
        answers_of(tmp_path / "model"),
    )
    assert calibration.n == tuple(np.isfinite(truth).sum(0))
    assert calibration.n[1] < calibration.n[0] == len(truth)


def test_two_targets_of_pictures_by_the_command(tmp_path):
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(7)
    blueness, redness = rng.uniform(-1, 1, (2, N))
    for number in range(N):
        pixels = galaxy(number, WIDTH).astype(float)
        pixels[..., 2] *= 1 + 0.6 * blueness[number]
        pixels[..., 0] *= 1 + 0.6 * redness[number]
        picture = encode(np.clip(pixels, 0, 255).astype(np.uint8))
        (tmp_path / "pictures" / f"g{number}.jpg").write_bytes(picture)
    table = Table({"id": [f"g{number}" for number in range(N)], "ra": 3.0 * np.arange(N), "dec": np.zeros(N)})
    table["blueness"], table["red ness"] = blueness, redness
    table.write(tmp_path / "labels.ecsv")
    (tmp_path / "own.toml").write_text(
        f'extends = "spectra-paper"\n[pictures]\nwidth = {WIDTH}\n[data]\nbands = ""\n'
        '[split]\nrule = "groups"\n[network]\narchitecture = "baseline_cnn"\n'
        '[optimizer]\nepochs = 2\nbatch_size = 16\n[run]\naccelerator = "cpu"\n'
    )
    words = ["train", tmp_path / "own.toml", "--table", tmp_path / "labels.ecsv", "--name", "id"]
    words += ["--cutouts", tmp_path / "pictures", "--target", "blueness", "--target", "red ness"]
    done = call(*words, "-o", tmp_path / "model")
    assert done.exit_code == 0, done.output + done.stderr
    assert "rmse_blueness" in done.output
    card = ModelCard.read(tmp_path / "model")
    assert card.target_columns == ("blueness", "estimate_2")  # a column's name has no blanks
    assert "fluxes" not in card.options
    assert "--target blueness --target 'red ness'" in card.command
    # In units of 255, as networks take pictures.
    assert 0 < min(card.options["mean"]) < max(card.options["mean"]) < 1


@pytest.mark.parametrize("statistics", ["training", "batch"])
@pytest.mark.slow
def test_a_batch_is_not_all_pictures(folder, tmp_path, statistics, trained):
    config = config_of(folder, f"network.statistics='{statistics}'", "optimizer.epochs=1")
    train_network(config, tmp_path / "model")
    mean = ModelCard.read(tmp_path / "model").options["mean"]
    is_same = mean == ModelCard.read(trained[0]).options["mean"]
    assert is_same == (statistics == "training")


def test_some_pictures_stay_as_they_are():
    pictures = torch.arange(800 * 9).reshape(800, 1, 3, 3)
    augment = Augmentation(torch.Generator().manual_seed(0), dihedral=0.5)
    same = (augment(pictures) == pictures).flatten(1).all(1).double().mean()
    assert same == pytest.approx(0.5 + 0.5 / N_DIHEDRAL, abs=0.06)
    views = torch.stack([dihedral(pictures, which) for which in range(N_DIHEDRAL)])
    assert (views == augment(pictures)).flatten(2).all(2).any(0).all()
    with pytest.raises(ValueError, match=r"^dihedral must be from 0 to 1, got 2"):
        Augmentation(torch.Generator(), dihedral=2)


# What is refused


def test_the_configuration_of_the_paper_needs_a_table(tmp_path):
    config = read_config("spectra-paper")
    assert config.data.targets == tuple(f"VAE{number}" for number in range(1, 7))
    assert (config.pictures, config.optimizer.lr, config.optimizer.epochs) == (WU_PEEK_RECIPE, 0.03, 10)
    assert TrainingConfig.from_dict(config.to_dict()) == config
    assert isinstance(config.to_dict()["data"]["target"], list)
    with pytest.raises(ValueError, match=r"^data\.target: several columns are learned of a table of yours"):
        train_network(config, tmp_path / "model")
    # Its targets are those of its table, unless others are named.
    named = config.for_table("t.ecsv", "p")
    assert (named.data.targets, named.data.name) == (config.data.targets, "SpecObjID")
    assert config.for_table("t.ecsv", "p", target="mass").data.targets == ("mass",)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (("data.target=3",), TypeError, r"data\.target must be text, or a list of columns, got 3"),
        (("data.target=[]",), ValueError, r"data\.target must be one column or several different ones"),
        (("data.target=['a', 'a']",), ValueError, r"data\.target must be one column or several different"),
        (("data.column='a'",), ValueError, r"data\.column is the result column of one target"),
        (("network.loss='gaussian_nll'",), ValueError, r"several columns .* go with network\.loss = 'rmse'"),
        (("network.statistics='paper'",), ValueError, r"network\.statistics must be 'training' or 'batch'"),
        (("optimizer.dihedral=1.5",), ValueError, r"optimizer\.dihedral must lie from 0 to 1"),
    ],
)
def test_configurations_that_contradict_themselves(folder, settings, error, words):
    with pytest.raises(error, match=words):
        config_of(folder, *settings)


@pytest.mark.parametrize(
    ("settings", "target", "error", "words"),
    [
        ((), ("VAE1", "VAE9"), ValueError, "table has no column 'VAE9'; its columns are SpecObjID, ra"),
        ((), ("VAE1", "SpecObjID"), ValueError, "SpecObjID must hold one number a row"),
        ((), ("VAE1", "flags"), ValueError, r"data\.target must not be 'flags'"),
        (("data.bands='yzir'",), TARGETS, ValueError, "bands must be the names of 5 filters"),
        (("data.bands='yzirK'",), TARGETS, ValueError, "bands must be those of recipe, g, r, i, z, y"),
        (("pictures.width=64",), TARGETS, BadImageError, "SpecObjID s0: .*32 x 32 pixels instead of 64 x 64"),
    ],
)
def test_tables_and_pictures_that_do_not_fit(folder, tmp_path, settings, target, error, words):
    with pytest.raises(error, match=words):
        train_network(config_of(folder, *settings, target=target), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_with_another_number_of_bands(folder, tmp_path):
    (tmp_path / "planes").mkdir()
    for path in (folder / "planes").iterdir():
        planes = np.load(path)
        np.save(tmp_path / "planes" / path.name, planes[:4] if path.stem == "s7" else planes)
    Table.read(folder / "latents.ecsv").write(tmp_path / "latents.ecsv")
    with pytest.raises(BadImageError, match=r"^SpecObjID s7: s7: \.npy: it must be 5 planes of numbers"):
        train_network(config_of(tmp_path), tmp_path / "model")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"columns": ("a",), "n": (20,), "values": ((0, 1),)}, "columns must be two or more different ones"),
        ({"columns": ("a", "a")}, "columns must be two or more different ones, got a, a"),
        ({"n": (20,)}, "columns, n and values differ in length: 2, 1, 2"),
        ({"values": ((0, 1), (1, 0))}, "levels and values must be increasing"),
    ],
)
def test_tables_that_are_none(facts, words):
    right = {"columns": ("a", "b"), "n": (20, 20), "levels": (0.1, 0.9), "values": ((0, 1), (0, 1))}
    with pytest.raises(ValueError, match=words):
        ConformalTables(**(right | facts))


def test_a_card_whose_first_target_is_another(trained):
    card = ModelCard.read(trained[0])
    with pytest.raises(ValueError, match="target_column must be the first of VAE1, VAE2, VAE3"):
        replace(card, target_column="VAE2")
    with pytest.raises(ValueError, match="outputs must have estimate_3: the calibration needs them"):
        replace(card, outputs=("estimate", "estimate_2"))


def test_figures_of_some_missing_labels():
    residuals = np.array([[1.0, 2.0], [-1.0, np.nan], [1.0, -2.0]])
    figures = several_figures(np.tile(residuals, (5, 1)), ("a", "b"))
    assert (figures["rmse_a"], figures["rmse_b"]) == (1.0, 2.0)
    assert figures["mse"] == pytest.approx((3 + 8) / 5)
    assert figures["rmse_b_error"] == 0
