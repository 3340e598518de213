"""What a network is taught: by the estimates of another one, and by measured metallicities."""

import shutil

import numpy as np
import pytest
from astropy.table import Table

from hifrac import HIFractionEstimator, LocalCutouts, ModelCard, load_model
from hifrac.core import HifracWarning, data_dir
from hifrac.training.cnn.labels import read_measured, read_pictures
from hifrac.training.cnn.learner import train_network
from hifrac.training.config import read_config
from hifrac.training.splits import paper_permutation

pytestmark = pytest.mark.slow


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


# Metallicities


@pytest.fixture
def with_metallicities(data_folder, tmp_path):
    """The data directory with labels of five of its galaxies, not in their order, and one of another sky."""
    shutil.copytree(data_folder, tmp_path / "data")
    folder = tmp_path / "data" / "cutouts"
    objid = table_of(data_folder, "index.ecsv")["objid"][[7, 3, 5, 1, 0]]
    Table({"objid": objid, "oh_p50": 8.5 + 0.1 * np.arange(5)}).write(folder / "metallicity_labels.ecsv")
    Table({"objid": objid[:3], "oh_p50": [8.1, 8.2, 8.3]}).write(folder / "metallicity_demo_labels.ecsv")
    shutil.copy(folder / "sdss_cutouts.zip", folder / "metallicity_demo.zip")
    return tmp_path / "data"


def test_metallicities_have_the_positions_of_their_pictures(with_metallicities):
    pictures = read_pictures(read_config("metallicity-paper"), with_metallicities)
    index = table_of(with_metallicities, "index.ecsv")
    assert list(pictures.name) == list(index["objid"][[7, 3, 5, 1, 0]])
    np.testing.assert_allclose(pictures.target, 8.5 + 0.1 * np.arange(5))
    np.testing.assert_array_equal(pictures.ra, index["ra_approx"][[7, 3, 5, 1, 0]])
    assert read_measured(read_config("metallicity-paper"), with_metallicities) is None


def test_the_pictures_of_the_demo_have_no_known_positions(with_metallicities):
    config = read_config("metallicity-paper-demo")
    with pytest.warns(HifracWarning, match="table has no valid positions"):
        pictures = read_pictures(config, with_metallicities)
    np.testing.assert_allclose(pictures.target, [8.1, 8.2, 8.3])
    assert np.isnan(pictures.ra).all()


@pytest.fixture
def demo_labels():
    """Labels of the 400 galaxies of ``train.csv`` of convnet-demo: one of its pictures is not in our archive.

    Its label follows from the mean that the author's notebook prints, 8.901004, and its place, row 256 to
    260, from the split of which other numbers are printed.
    """
    label = np.asarray(table_of(data_dir(), "metallicity_demo_labels.ecsv")["oh_p50"])
    assert len(label) == 399
    return np.insert(label, 258, 400 * 8.901004 - label.sum())


@pytest.mark.real_data
def test_the_labels_of_the_demo_are_those_that_its_notebooks_describe(demo_labels):
    assert demo_labels.std(ddof=1) == pytest.approx(0.199803, abs=5e-7)
    quartiles = np.percentile(demo_labels, [25, 50, 75])
    np.testing.assert_allclose(quartiles, [8.824294, 8.950793, 9.047316], atol=6e-7)
    assert (demo_labels.min(), demo_labels.max()) == pytest.approx((8.133490, 9.260791), abs=1e-6)
    published = table_of(data_dir(), "metallicity_labels.ecsv")
    residual = published["wu_boada_2019_prediction"] - published["oh_p50"]
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(0.0844, abs=5e-5)


@pytest.mark.real_data
def test_its_validation_set_is_that_of_fastai(demo_labels):
    # get_cv_idxs of fastai 0.7 is the first of the paper's permutations, with the seed 42.
    train, valid = paper_permutation(400, seed=42)
    assert list(valid[:10]) == [209, 280, 33, 210, 93, 84, 329, 94, 266, 126]
    residual = demo_labels[valid] - demo_labels[train].mean()
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(0.17821, abs=5e-6)


@pytest.mark.real_data
def test_the_samples_of_metallicities():
    config = read_config("metallicity-paper")
    pictures = read_pictures(config)
    assert len(pictures) == 371
    assert np.isfinite(pictures.ra).mean() > 0.9
    with pytest.warns(HifracWarning, match="table has no valid positions"):
        demo = read_pictures(read_config("metallicity-paper-demo"))
    assert demo.pixels.shape == (399, 3, 128, 128)
    mean = demo.pixels.double().mean((0, 2, 3)) / 255
    np.testing.assert_allclose(mean, [0.05690, 0.04644, 0.03875], atol=2e-4)
