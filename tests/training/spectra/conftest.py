"""A data directory in miniature: simulated galaxies whose spectrum follows from their colour."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from hifrac.simulate import SimulatedGalaxy, encode_jpeg, render
from hifrac.training import tables as shared_tables
from hifrac.training.measuring import measurements, photometry
from hifrac.training.spectra import learner, tables
from hifrac.training.spectra.sample import read_sample

# With lines and photometry; with lines of Thomas et al. (2013) and nothing else; with photometry alone.
N_MPA_JHU, N_THOMAS, N_OTHERS = 44, 12, 70
N = N_MPA_JHU + N_THOMAS + N_OTHERS
SEED, OFFSET = 7, 0.05


def objid(field: int) -> str:
    return str((1237648722312298496 >> 16) + field << 16 | 7)


def written(folder: Path, colour: np.ndarray) -> None:
    """Write pictures, labels and templates of galaxies with these colours g-r."""
    rng = np.random.default_rng(5)
    names = np.array([objid(field) for field in range(N)])
    i = rng.uniform(14, 16.5, N)
    cutouts = folder / "cutouts"
    cutouts.mkdir()
    with zipfile.ZipFile(cutouts / "sdss_cutouts.zip", "w") as archive:
        for row in range(N):
            galaxy = SimulatedGalaxy(
                i_mag=i[row],
                g_minus_r=colour[row],
                r_minus_i=0.5 * colour[row],
                r50=3.0 + row % 5,
                axial_ratio=0.4 + 0.1 * (row % 6),
                position_angle=37.0 * row % 180,
            )
            archive.writestr(f"sdss/{names[row]}.jpg", encode_jpeg(render(galaxy, rng=row, field=False)))
    # Lines weaken, and continua redden, with the colour; the other catalogue has another scale.
    width = 60 * np.exp(-5 * colour) * rng.lognormal(0, 0.1, N)
    ratios = [0.3 - colour + rng.normal(0, 0.02, N), 0.2 - 0.4 * colour + rng.normal(0, 0.01, N)]
    rows = np.arange(N_MPA_JHU)
    Table(
        {
            "objid": names[rows],
            "h_alpha_eqw": -width[rows],
            "neiii_3869_cont": 10 ** ratios[0][rows],
            "h_alpha_cont": np.ones(len(rows)),
            "h_gamma_cont": np.where(rows == 0, -1.0, 10 ** ratios[1][rows]),  # the first has none
            "hei_5876_cont": np.ones(len(rows)),
        }
    ).write(cutouts / "line_labels.ecsv")
    rows = np.arange(N_MPA_JHU, N_MPA_JHU + N_THOMAS)
    Table(
        {
            "objid": names[rows],
            "ra": 130 + 0.5 * rows,
            "dec": np.full(len(rows), 0.5),
            "EW_Ha_6562": width[rows],
            "Flux_Cont_NeIII_3868": 10 ** ratios[0][rows],
            "Flux_Cont_Ha_6562": np.ones(len(rows)),
            "Flux_Cont_Hg_4340": 10 ** (ratios[1][rows] + OFFSET),
            "Flux_Cont_HeI_5875": np.ones(len(rows)),
        }
    ).write(cutouts / "portsmouth_labels.ecsv")
    rows = np.concatenate([np.arange(N_MPA_JHU), np.arange(N_MPA_JHU + N_THOMAS, N)])
    g = i[rows] + 1.5 * colour[rows]
    bands = {"u": g + 1.2, "g": g, "r": g - colour[rows], "i": i[rows], "z": i[rows] - 0.2}
    mixture = np.stack([1 - colour, colour, *(0.1 * colour * rng.random((3, N)))], axis=1)[rows]
    Table(
        {
            "objid": names[rows],
            "ra": 130 + 0.5 * rows,
            "dec": np.full(len(rows), 0.5),
            "redshift": 0.02 + 0.05 * colour[rows],
            "log_mstar_taylor": 8.5 + 3 * colour[rows],
            **{f"modelmag_{band}": values for band, values in bands.items()},
            "extinction_g": np.full(len(rows), 0.10),
            "extinction_i": np.full(len(rows), 0.05),
            **{f"kc_c{number}": values for number, values in enumerate(mixture.T)},
        }
    ).write(cutouts / "photometry_labels.ecsv")
    index = {"objid": names, "ra_approx": 130 + 0.5 * np.arange(N), "dec_approx": np.full(N, 0.4)}
    Table(index).write(cutouts / "index.ecsv")
    (folder / "spectra").mkdir()
    x = np.linspace(0, 1, 1000)
    templates = np.stack([2 - x, x + 0.2, np.sin(5 * x) + 1, np.cos(7 * x) + 1, np.sin(11 * x) + 1])
    np.savez(folder / "spectra" / "galaxy_spectral_bases.npz", kcorrect5=templates)


@pytest.fixture(scope="session")
def colour():
    return np.random.default_rng(4).uniform(0.2, 0.95, N)


@pytest.fixture(scope="session")
def spectra_folder(colour, tmp_path_factory):
    """A data directory with all files that the model of spectra reads."""
    folder = tmp_path_factory.mktemp("spectra")
    written(folder, colour)
    return folder


@pytest.fixture(scope="session")
def quick():
    """Few steps, heads, draws and pictures, as long as the tests of this learner run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photometry, "EPOCHS", 15)
        patch.setattr(measurements, "N_AUGMENTED", 20)
        patch.setattr(learner, "N_FOLDS", 3)
        for module in (tables, shared_tables):
            patch.setattr(module, "N_BOOTSTRAP", 50)
        yield


@pytest.fixture(scope="session")
def sample(spectra_folder):
    return read_sample(spectra_folder)


@pytest.fixture(scope="session")
def trained(spectra_folder, quick, tmp_path_factory) -> tuple[Path, dict[str, Table]]:
    """The folder of a trained model, and its tables."""
    folder = tmp_path_factory.mktemp("model")
    return folder, learner.train_spectra(folder, data=spectra_folder, name="tiny", seed=SEED)
