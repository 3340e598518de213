"""What a network is taught by the estimates of another one."""

import numpy as np
import pytest
from astropy.table import Table

from hifrac import HIFractionEstimator, LocalCutouts, ModelCard, load_model
from hifrac.training.cnn.labels import read_measured, read_pictures
from hifrac.training.cnn.learner import train_network
from hifrac.training.config import read_config


@pytest.fixture(scope="module")
def plain():
    """The estimates themselves."""
    return read_config("paper").changed(
        data={"sample": "estimates", "target": "log_hi_fraction"},
        split={"held_out": 0.5},
        network={"architecture": "shallow"},
        optimizer={"epochs": 3, "batch_size": 4},
        run={"accelerator": "cpu"},
    )


@pytest.fixture(scope="module")
def config(plain, data_folder):
    """Half of the estimates are of either class."""
    middle = float(np.median(read_pictures(plain, data_folder).target))
    return read_config("gas-classes").changed(
        data={"class_limits": [middle, middle], "balance": False},
        split={"held_out": 0.5},
        optimizer={"epochs": 3, "batch_size": 4},
        run={"accelerator": "cpu"},
    )


@pytest.fixture(scope="module")
def pictures(config, data_folder):
    return read_pictures(config, data_folder)


def table_of(data_folder, name):
    return Table.read(data_folder / "cutouts" / name)


def test_no_measured_galaxy_and_no_neighbour_of_one_is_among_the_pupils(pictures, data_folder):
    index = table_of(data_folder, "index.ecsv")
    measured = [
        *table_of(data_folder, "hi_labels.ecsv")["objid"],
        *table_of(data_folder, "resolve_labels.ecsv")["objid"],
    ]
    fields = {int(one) >> 16 for one in measured}
    assert len(pictures) > 10
    assert set(pictures.name) <= set(index["objid"])
    assert not [one for one in pictures.name if int(one) >> 16 in fields]


def test_their_labels_are_what_the_teacher_says(config, pictures, data_folder):
    index = table_of(data_folder, "index.ecsv")
    place = [list(index["objid"]).index(one) for one in pictures.name]
    rows = Table({"objid": pictures.name, "ra": index["ra_approx"][place], "dec": index["dec_approx"][place]})
    rows["ra"].unit = rows["dec"].unit = "deg"
    with LocalCutouts(data_folder / "cutouts" / "sdss_cutouts.zip", name="objid") as cutouts:
        said = HIFractionEstimator("default", cutouts=cutouts).predict(rows)["log_hi_fraction"]
    np.testing.assert_array_equal(pictures.target == 1, np.asarray(said) > config.data.class_limits[1])


def test_strange_pictures_are_no_lesson(pictures, data_folder):
    index = table_of(data_folder, "index.ecsv")
    without = [one for one in index["objid"][-2:] if one in pictures.name]
    assert without == [], "rows without a picture have no estimate"


def test_the_measured_galaxies_are_kept_to_judge_by(config, data_folder):
    measured = read_measured(config, data_folder)
    labels = table_of(data_folder, "hi_labels.ecsv")
    assert list(measured.name) == list(labels["objid"])
    np.testing.assert_array_equal(
        measured.target == 1, labels["log_hi_fraction_true"] > config.data.class_limits[1]
    )
    assert read_measured(config.changed(data={"sample": "hi_fraction"}), data_folder) is None


def test_the_card_says_who_taught_and_the_measured_galaxies_judge(plain, data_folder, tmp_path):
    figures = train_network(plain, tmp_path / "m", data=data_folder)
    card = ModelCard.read(tmp_path / "m")
    teacher = load_model("default", device="cpu").card
    assert f"estimates of the model default ({teacher.sha256[:12]})" in card.training_set
    measured = read_measured(plain, data_folder)
    pixels = measured.pixels.permute(0, 2, 3, 1).contiguous().numpy()
    said = load_model(tmp_path / "m", device="cpu").run(pixels)["estimate"]
    expected = np.sqrt(np.mean((said - measured.target) ** 2))
    assert figures["rmse_measured"] == pytest.approx(expected, abs=1e-3)
    assert card.figures["rmse_measured"] == round(figures["rmse_measured"], 4)


def test_measured_galaxies_of_one_class_alone_are_no_judges(config, data_folder, tmp_path):
    assert len(np.unique(read_measured(config, data_folder).target)) == 1
    figures = train_network(config, tmp_path / "m", data=data_folder)
    assert "accuracy" in figures
    assert not [name for name in figures if name.endswith("_measured")]


def test_an_unknown_teacher_is_named(config, data_folder):
    with pytest.raises(ValueError, match="nobody"):
        read_pictures(config.changed(data={"teacher": "nobody"}), data_folder)
