"""The bundled sample is what the script draws, and says that it is simulated."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table
from click.testing import CliRunner
from draw_demo import SAMPLE, DemoObject, demo_catalog, draw, main
from PIL import Image

from hifrac.demo import PICTURES


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "pictures"
    answer = CliRunner().invoke(main, [str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "27 simulated pictures" in answer.output
    return folder


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def test_the_bundled_pictures_are_what_the_script_draws(fresh):
    assert sorted(p.name for p in fresh.iterdir()) == sorted(p.name for p in PICTURES.iterdir())
    for path in sorted(fresh.glob("*.jpg")):
        difference = np.abs(pixels(path) - pixels(PICTURES / path.name))
        # Versions of libjpeg and of the FFT differ by a count here and there.
        assert difference.mean() < 0.5, path.name


def test_the_bundled_catalogue_is_what_the_script_writes(fresh):
    drawn, bundled = (Table.read(folder / "catalog.ecsv") for folder in (fresh, PICTURES))
    assert drawn.pformat() == bundled.pformat()
    assert drawn.meta == bundled.meta
    assert [c.description for c in drawn.itercols()] == [c.description for c in bundled.itercols()]


def test_the_pictures_are_small():
    sizes = [path.stat().st_size for path in PICTURES.glob("*.jpg")]
    assert len(sizes) == len(SAMPLE)
    assert sum(sizes) < 150_000


def test_the_catalogue_has_a_picture_for_every_row():
    catalog = Table.read(PICTURES / "catalog.ecsv")
    assert catalog.colnames == ["name", "ra", "dec", "morphology", "log_mstar"]
    assert len(set(catalog["name"])) == len(catalog) == len(SAMPLE)
    for name in catalog["name"]:
        assert name.startswith("sim-")
        assert pixels(PICTURES / f"{name}.jpg").shape == (128, 128, 3)


def test_the_catalogue_says_what_is_invented():
    catalog = Table.read(PICTURES / "catalog.ecsv")
    assert "simulated" in catalog.meta["SIMULATED"]
    assert "invented" in catalog["ra"].description
    assert "invented" in catalog["dec"].description
    assert "assumed distance of 100 Mpc" in catalog["log_mstar"].description


def test_the_masses_are_those_of_galaxies():
    catalog = QTable.read(PICTURES / "catalog.ecsv")
    assert catalog["log_mstar"].unit == u.dex(u.solMass)
    masses = catalog["log_mstar"].value
    galaxies = np.array([thing.galaxy is not None for thing in SAMPLE])
    np.testing.assert_array_equal(np.isnan(masses), ~galaxies)
    assert np.all((masses[galaxies] > 7.5) & (masses[galaxies] < 11.5))


def test_the_sequence_runs_from_red_to_blue():
    colours = [t.galaxy.g_minus_r + t.galaxy.r_minus_i for t in SAMPLE if t.galaxy is not None]
    assert len(colours) == 24
    assert colours[0] - colours[-1] > 0.9
    assert np.corrcoef(colours, np.arange(24))[0, 1] < -0.98


def test_the_last_three_are_no_galaxies():
    star, sky, outside = (draw(thing) for thing in SAMPLE[-3:])
    assert star.max() > 200
    assert 0 < sky.std() < 10
    assert np.ptp(outside) == 0


def test_the_picture_of_an_object_does_not_depend_on_the_others():
    np.testing.assert_array_equal(draw(SAMPLE[20]), draw(SAMPLE[20]))


def test_strangers_are_refused():
    with pytest.raises(ValueError, match=r"^thing "):
        draw(DemoObject("sim-99-nothing", "nothing"))


def test_the_catalogue_is_made_anew_each_time():
    first = demo_catalog()
    first["ra"][0] = 0.0
    assert demo_catalog()["ra"][0] == 150.0
