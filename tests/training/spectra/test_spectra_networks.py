"""The experiment of the five networks of Wu & Peek (2020), in miniature: that all of it works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "spectra_networks.py"


@pytest.fixture
def data_directory(spectra_folder, tmp_path):
    """A data directory whose templates go beyond the grid of the spectra."""
    folder = tmp_path / "data"
    shutil.copytree(spectra_folder, folder)
    path = folder / "spectra" / "galaxy_spectral_bases.npz"
    with np.load(path) as bases:
        templates = dict(bases)
    wave = np.linspace(1000, 12_000, 2000)
    templates["kcorrect_wave_full"] = wave
    templates["kcorrect5_full"] = (wave / 5000) ** np.arange(-2, 3)[:, None]
    np.savez(path, **templates)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not BENCHMARK.is_file(), reason="benchmarks are not part of the package")
def test_the_experiment_of_five_networks(data_directory, tmp_path):
    options = ["--galaxies", "100", "--side", "32", "--scale", "0.8", "--epochs", "2", "--batch-size", "16"]
    environment = {**os.environ, "HIFRAC_DATA_DIR": str(data_directory)}
    command = [sys.executable, str(BENCHMARK), "-o", str(tmp_path / "out"), "--device", "cpu", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    table = Table.read(tmp_path / "out" / "spectra_networks.ecsv")
    assert len(table) == 15
    ours = table[table["n_held_out"] < 100]
    assert np.all(np.isfinite(ours["rmse"]))
    assert np.all(ours["rmse_error"] > 0)
    np.testing.assert_allclose(ours["mse"], ours["rmse"] ** 2, atol=1e-3)
    published = dict(zip(table["network"][10:], table["rmse"][10:], strict=True))
    assert published["xresnet18_hybrid"] == pytest.approx(0.711142, abs=1e-3)
    assert published["baseline_cnn"] == pytest.approx(0.884892, abs=1e-3)
    assert "--galaxies 100 --side 32" in table.meta["command"]
    # What is there is not trained again.
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "RMSE" not in again.stdout
