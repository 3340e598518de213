"""The benchmark of GPUs, on the CPU with a few small pictures: that all of it works."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="benchmarks are not part of the package")
def test_every_part_of_the_benchmark_of_gpus_works_on_a_cpu(tmp_path):
    command = [sys.executable, str(SCRIPT), "-o", str(tmp_path), "--toy", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = Table.read(tmp_path / "gpu.ecsv")
    assert table.meta["failed"] == []
    assert table.meta["device"] == "CPU"
    assert set(table["part"]) >= {
        "machine",
        "training",
        "network",
        "precision",
        "decoding",
        "end to end",
        "default",
        "profile",
        "options",
        "limit",
    }
    rates = table["value"][table["unit"] == "pictures/s"]
    assert len(rates) > 30
    assert np.all(rates > 0)
    changes = table[np.char.find(np.asarray(table["what"], str), "rms change") > 0]
    assert np.all(changes["value"] < 0.05)
