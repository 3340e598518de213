"""The default model's measurements, and a head of one's own."""

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest
from astropy.table import Table
from commands import call
from pictures import encode, galaxy
from PIL import Image
from scipy.special import logit

from hifrac import HIFractionEstimator, LocalCutouts, ModelCard, load_model
from hifrac.core.exceptions import BadImageError, HifracWarning, ModelError
from hifrac.metrics import regression_metrics
from hifrac.training.evaluation import evaluate
from hifrac.training.structure.refit import refit

N = 60

# The drawn galaxies are unlike real ones, as is said of them each time.
pytestmark = [
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:cutouts. .* pictures are unlike those that"),
]


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory):
    """Pictures of 128 pixels, and how blue they are."""
    root = tmp_path_factory.mktemp("galaxies")
    (root / "pictures").mkdir()
    blueness = np.random.default_rng(3).uniform(-1, 1, N)
    for number, value in enumerate(blueness):
        pixels = galaxy(number).astype(float)
        pixels[..., 2] *= 1 + 0.6 * value
        (root / "pictures" / f"g{number}.jpg").write_bytes(encode(np.clip(pixels, 0, 255).astype(np.uint8)))
    table = Table(
        {
            "id": [f"g{number}" for number in range(N)],
            "ra": 5.0 * np.arange(N),
            "dec": np.zeros(N),
            "blueness": blueness,
        },
        units={"ra": "deg", "dec": "deg"},
    )
    table.write(root / "labels.ecsv")
    return root


@pytest.fixture(scope="module")
def blue(galaxies, tmp_path_factory):
    """The folder of a model of blueness, made by the command."""
    folder = tmp_path_factory.mktemp("models") / "blue"
    arguments = ["train", "--from", "default", "--table", str(galaxies / "labels.ecsv"), "--name", "id"]
    arguments += ["--cutouts", str(galaxies / "pictures"), "--target", "blueness", "-o", str(folder)]
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    assert "rmse" in done.output
    said = " ".join(done.output.split())
    assert "these are figures of 5-fold cross-validation, pooled;" in said
    assert f"; of {N} galaxies" in said
    return folder


def labels(galaxies):
    return Table.read(galaxies / "labels.ecsv")


def test_another_quantity_is_learned(blue):
    card = ModelCard.read(blue)
    assert card.figures["rmse"] < 0.35 * card.figures["standard_deviation"]
    assert card.figures["slope_inverse"] == pytest.approx(1, abs=0.15)


def test_the_result_has_the_name_of_the_quantity(blue, galaxies):
    source = LocalCutouts(galaxies / "pictures", name="id")
    rows = labels(galaxies)
    truth = np.asarray(rows["blueness"])
    rows.remove_column("blueness")
    result = HIFractionEstimator(blue, cutouts=source).predict(rows)
    names = ["blueness", "blueness_p16", "blueness_p84", "blueness_p05", "blueness_p95"]
    assert result.colnames == [*rows.colnames, *names, "p_detect", "ood_score", "flags"]
    assert result["blueness"].unit is None or result["blueness"].unit == ""
    assert regression_metrics(truth, np.asarray(result["blueness"]))["rmse"] < 0.2
    for low, high in (("p05", "p16"), ("p16", "p84"), ("p84", "p95")):
        assert np.all(result[f"blueness_{low}"] < result[f"blueness_{high}"])
    assert not np.any(result["flags"] & 16)  # a detection is not the question


def test_the_measurements_and_the_distance_stay_those_of_the_base(blue, galaxies):
    source = LocalCutouts(galaxies / "pictures", name="id")
    rows = labels(galaxies)["id", "ra", "dec"]
    mine, base = (HIFractionEstimator(model, cutouts=source).predict(rows) for model in (blue, "default"))
    np.testing.assert_array_equal(mine["ood_score"], base["ood_score"])
    model, other = (load_model(name, device="cpu") for name in (blue, "default"))
    pixels = np.stack([galaxy(number) for number in range(5)])
    np.testing.assert_array_equal(model.run(pixels)["detection_logit"], other.run(pixels)["detection_logit"])
    # Without a posterior of the HI fraction the measurements alone tell of a detection, and about as much.
    assert model.card.detection.posterior_slope == 0
    mean_odds = [np.mean(logit(table["p_detect"])) for table in (mine, base)]
    assert mean_odds[0] == pytest.approx(mean_odds[1], abs=0.5)


@pytest.mark.filterwarnings("ignore:'m' learned from")  # it is judged on the same galaxies
def test_the_reddening_that_a_table_states_is_learned_from_and_judged_by(galaxies, tmp_path):
    rows = labels(galaxies)
    rows["ebv"] = np.linspace(0, 2, len(rows))
    rows["reddened"] = rows["ebv"] + 0.0
    options = {"target": "reddened", "name": "id"}
    refit("default", rows, galaxies / "pictures", tmp_path / "m", **options)
    model = load_model(tmp_path / "m", device="cpu")
    by_name = {}
    for name, table in (("stated", rows), ("of the map", rows["id", "ra", "dec", "reddened"])):
        by_name[name] = evaluate(model, table, galaxies / "pictures", **options)["rmse"][0]
    assert by_name["stated"] < np.std(rows["reddened"]) < by_name["of the map"]


def test_a_head_was_learned_from_all_galaxies_of_its_folds(blue, galaxies):
    rows = labels(galaxies)
    with pytest.warns(HifracWarning, match=f"learned from {len(rows)} of the {len(rows)} galaxies"):
        table = evaluate(
            load_model(blue, device="cpu"), rows, galaxies / "pictures", target="blueness", name="id"
        )
    assert (table.meta["learned_from"], table.meta["perhaps_learned_from"]) == (len(rows), 0)


def test_the_same_again_is_the_same_model(blue, galaxies, tmp_path):
    figures = refit(
        "default",
        labels(galaxies),
        galaxies / "pictures",
        tmp_path / "again",
        target="blueness",
        name="id",
    )
    card = ModelCard.read(blue)
    assert {key: round(value, 4) for key, value in figures.items()} == card.figures
    assert ModelCard.read(tmp_path / "again").files == card.files


def test_the_artefacts_agree(blue):
    pixels = np.stack([galaxy(number) for number in range(4)])
    eager, script = (load_model(blue, device="cpu", runtime=name) for name in ("eager", "torchscript"))
    for name, values in eager.run(pixels).items():
        np.testing.assert_allclose(script.run(pixels)[name], values, rtol=1e-5, atol=1e-5)


def test_the_command_stands_in_the_card(blue):
    facts = json.loads((blue / "card.json").read_text())
    assert facts["command"] == (
        "hifrac train --from default --table labels.ecsv --cutouts pictures --name id --target blueness "
        "-o OUTPUT --seed 12345"
    )
    assert facts["target_column"] == "blueness"


def test_without_a_command_the_call_stands_in_the_card(galaxies, tmp_path):
    rows = labels(galaxies)[:45]
    refit("default", rows, galaxies / "pictures", tmp_path / "m", target="blueness", name="id", seed=3)
    assert ModelCard.read(tmp_path / "m").command == (
        "refit('default', TABLE, CUTOUTS, OUTPUT, target='blueness', name='id', seed=3) of hifrac.training"
    )


@pytest.mark.parametrize("name", ["flags", "p_detect", "ood_score", "RA", "dec", "log_mhi_p16", "ebv", "z"])
def test_a_target_must_not_take_the_place_of_another_column(tmp_path, name):
    with pytest.raises(ValueError, match=rf"^target must not be '{name}': .* give it another name$"):
        refit("nowhere", tmp_path / "no.ecsv", tmp_path, tmp_path / "m", target=name)
    assert not (tmp_path / "m").exists()


@pytest.fixture
def knowing(galaxies, tmp_path):
    """Makes a copy of the default model that takes all but so many of the pictures for its own."""
    base = load_model("default", device="cpu")
    pixels = [
        base.card.recipe.decode((galaxies / "pictures" / f"g{number}.jpg").read_bytes())
        for number in range(N)
    ]
    distance = np.sort(base.run(np.stack(pixels))["distance"])

    def make(strange):
        edge = float(distance[-strange - 1 : len(distance) - strange + 1].mean())
        known = {"percentiles": (0, 100), "distances": (0, 2 * edge), "ood_threshold": 50}
        card = replace(base.card, detection=replace(base.card.detection, **known))
        shutil.copytree(base.folder, tmp_path / "knowing", dirs_exist_ok=True)
        card.write(tmp_path / "knowing")
        return tmp_path / "knowing"

    return make


@pytest.mark.filterwarnings("error")
def test_pictures_unlike_those_of_the_model_are_said_to_be(galaxies, knowing, tmp_path):
    options = {"target": "blueness", "name": "id"}
    refit(knowing(15), labels(galaxies), galaxies / "pictures", tmp_path / "quiet", **options)
    said = (
        r"^cutouts: 16 of 60 pictures are unlike those that 'default' was trained on .*"
        r"have they 0\.4 arcsec a pixel, and the bands i, r, g of sdss\?$"
    )
    with pytest.warns(HifracWarning, match=said):
        refit(knowing(16), labels(galaxies), galaxies / "pictures", tmp_path / "warned", **options)
    assert ModelCard.read(tmp_path / "warned").files == ModelCard.read(tmp_path / "quiet").files


@pytest.mark.real_data
@pytest.mark.filterwarnings("error")
def test_real_pictures_are_those_of_the_model_unless_their_scale_is_another(real_data, tmp_path):
    rows = Table.read(real_data / "cutouts" / "hi_labels.ecsv")[:60]
    (tmp_path / "zoomed").mkdir()
    with zipfile.ZipFile(real_data / "cutouts" / "sdss_cutouts.zip") as archive:
        files = {PurePosixPath(one).stem: one for one in archive.namelist()}
        for name in map(str, rows["objid"]):
            picture = Image.open(io.BytesIO(archive.read(files[name]))).crop((32, 32, 96, 96))
            picture.resize((128, 128), Image.Resampling.BICUBIC).save(
                tmp_path / "zoomed" / f"{name}.jpg", quality=95
            )
    options = {"target": "log_hi_fraction_true"}
    refit("default", rows, real_data / "cutouts" / "sdss_cutouts.zip", tmp_path / "one", **options)
    with pytest.warns(HifracWarning, match=r"^cutouts: \d+ of 60 pictures are unlike those"):
        refit("default", rows, tmp_path / "zoomed", tmp_path / "other", **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blueness": np.where(np.arange(N) == 7, np.nan, 0.5)}, r"^blueness: 1 labels are missing .* g7$"),
        ({"blueness": np.full(N, 0.5)}, r"^blueness must not be constant, it is 0.5 everywhere"),
        ({"blueness": ["blue"] * N}, "blueness must"),
    ],
)
def test_labels_that_teach_nothing_are_refused(galaxies, tmp_path, change, message):
    rows = labels(galaxies)
    for name, values in change.items():
        rows[name] = values
    with pytest.raises((ValueError, TypeError), match=message):
        refit("default", rows, galaxies / "pictures", tmp_path / "m", target="blueness", name="id")
    assert not (tmp_path / "m").exists()


def test_too_few_rows_are_refused(galaxies, tmp_path):
    with pytest.raises(
        ValueError, match=r"^table must have at least 40 rows to calibrate an interval, got 39$"
    ):
        refit(
            "default",
            labels(galaxies)[:39],
            galaxies / "pictures",
            tmp_path / "m",
            target="blueness",
            name="id",
        )


def test_pictures_of_another_size_are_refused(galaxies, tmp_path):
    for number in range(N):
        (tmp_path / f"g{number}.jpg").write_bytes(encode(galaxy(number, 64)))
    with pytest.raises(BadImageError, match="64 x 64 pixels instead of 128 x 128"):
        refit("default", labels(galaxies), tmp_path, tmp_path / "m", target="blueness", name="id")


def test_a_model_in_the_folder_is_not_replaced(blue, galaxies):
    with pytest.raises(FileExistsError, match="holds a model already"):
        refit("default", labels(galaxies), galaxies / "pictures", blue, target="blueness", name="id")


def test_only_a_structure_network_is_refitted(galaxies, tmp_path, monkeypatch):
    other = load_model("default", device="cpu")
    monkeypatch.setattr("hifrac.training.structure.refit.load_model", lambda *_, **__: other)
    with pytest.raises(
        ModelError, match=r"^from: .default. is of the architecture .*, and only measurements of StructureNet"
    ):
        refit(
            "default", labels(galaxies), galaxies / "pictures", tmp_path / "m", target="blueness", name="id"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to train"),
        (["--from", "default"], "--from needs --table as well"),
        (
            ["--from", "default", "--table", "t", "--cutouts", "c", "--target", "x", "--resume"],
            "needs a CONFIG",
        ),
    ],
)
def test_half_a_command_is_refused(arguments, message, tmp_path):
    done = call("train", *arguments, "-o", tmp_path / "m")
    assert done.exit_code == 1
    assert message in done.output
