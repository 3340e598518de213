"""Fetching at survey scale: rate without a limit, planning of a resumed run, peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from astropy.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from survey_server import ServerLog
from survival import SurveyProcess

# The peak of a process on Linux is that of its program alone; ru_maxrss would include whoever started it.
_PEAK = """
import resource, sys
from pathlib import Path
def peak():
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
"""
_FETCH = f"""{_PEAK}
from hifrac.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    print("PEAK", peak())
"""
_RESUME = f"""{_PEAK}
import time
import numpy as np
from hifrac import SkyServerCutouts
ra, dec = np.load(sys.argv[1])
start = time.perf_counter()
missing = sum(error is not None for error in SkyServerCutouts(base_url="http://127.0.0.1:9/").ensure(ra, dec))
print(time.perf_counter() - start, missing, peak())
"""


# What a script without any care does: four threads, nothing kept, nothing looked at.
_PLAIN = f"""{_PEAK}
import time
from concurrent.futures import ThreadPoolExecutor
from threading import local
import numpy as np, requests
thread = local()
def get(position):
    if not hasattr(thread, "session"):
        thread.session = requests.Session()
    ra, dec = position
    query = dict(ra=f"{{ra:.6f}}", dec=f"{{dec:.6f}}", scale="0.4", width="128", height="128")
    return len(thread.session.get(sys.argv[1], params=query, timeout=30).content)
positions = np.load(sys.argv[2]).T.tolist()
start = time.perf_counter()
with ThreadPoolExecutor(4) as threads:
    sum(threads.map(get, positions))
print(len(positions) / (time.perf_counter() - start), peak())
"""


def _sky(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions spread evenly over the sphere, in whole microdegrees."""
    rng = np.random.default_rng(rows)
    return rng.uniform(0, 360, rows).round(6), np.degrees(np.arcsin(rng.uniform(-1, 1, rows))).round(6)


def _run(code: str, *arguments: object, cache: Path, **settings: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HIFRAC_CACHE_DIR": str(cache), **settings}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise click.ClickException(f"status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _fetch(folder: Path, rows: int, kind: str) -> tuple[float, float, float]:
    """Cutouts per second as the service saw them, seconds of the whole command, and peak MiB."""
    table = folder / f"in.{kind}"
    ra, dec = _sky(rows)
    Table({"ra": ra, "dec": dec}, units={"ra": "deg", "dec": "deg"}).write(table, overwrite=True)
    with SurveyProcess(folder / "log", faults=0) as server:
        start = time.perf_counter()
        said = _run(
            *(
                _FETCH,
                "fetch",
                table,
                "--base-url",
                server.url,
                "--max-rate",
                0,
                "-o",
                folder / f"out.{kind}",
            ),
            cache=folder / "cache",
        )
        seconds = time.perf_counter() - start
    requests = ServerLog.read(folder / "log").requests
    if len(requests) != rows:
        raise click.ClickException(f"{rows} rows took {len(requests)} requests:\n{said}")
    times = [request.time for request in requests]
    return (rows - 1) / (max(times) - min(times)), seconds, float(said.split("PEAK")[1])


def _plain(folder: Path, rows: int) -> tuple[float, float]:
    """Cutouts per second, and peak MiB, of plain requests in a pool of four threads."""
    np.save(folder / "plain.npy", _sky(rows))
    with SurveyProcess(folder / "plain.log", faults=0) as server:
        url = server.url.replace("{data_release}", "dr16")
        rate, peak = map(float, _run(_PLAIN, url, folder / "plain.npy", cache=folder / "cache").split())
    return rate, peak


def _fill(ra: np.ndarray, dec: np.ndarray) -> None:
    """A store that holds pictures of all positions, as far as planning looks at them."""
    from hifrac import SkyServerCutouts
    from hifrac.cutouts._positions import position_keys
    from hifrac.cutouts._store import Outcome, _shard_of

    with SkyServerCutouts(base_url="http://127.0.0.1:9/")._store() as store:
        keys = position_keys(ra, dec).tolist()
        store.put(keys[0], b"first")
        state = (int(Outcome.STORED), time.time(), b"\0" * 32, b"first")
        groups: list[list[tuple[str, tuple]]] = [[] for _ in store._shards]
        for key in keys:
            groups[_shard_of(key)] += [
                ("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)", (key, *state)),
            ]
        for shard, statements in zip(store._shards, groups, strict=True):
            shard.write(statements)


def _resume(folder: Path, rows: int) -> tuple[float, float]:
    """Seconds to go over rows that are all in the store, and peak MiB."""
    ra, dec = _sky(rows)
    os.environ["HIFRAC_CACHE_DIR"] = str(folder / "cache")
    _fill(ra, dec)
    np.save(folder / "positions.npy", (ra, dec))
    seconds, missing, peak = map(
        float, _run(_RESUME, folder / "positions.npy", cache=folder / "cache").split()
    )
    if missing:
        raise click.ClickException(f"{missing:.0f} of {rows} rows were not found in the store")
    return seconds, peak


@click.command()
@click.option("--rows", default=20_000, show_default=True, help="For the rate.")
@click.option("--sizes", default="10000,100000", show_default=True, help="For the memory, by commas.")
@click.option("--resumed", default=1_000_000, show_default=True, help="Rows of the resumed run.")
@click.option("--format", "kind", default="fits", show_default=True, help="Of the tables.")
@click.option("--quick", is_flag=True, help="A tenth of everything.")
def main(rows: int, sizes: str, resumed: int, kind: str, quick: bool) -> None:
    """Print rate, seconds of planning, and peak memory, beside their targets."""
    part = 10 if quick else 1
    lengths = [int(text) // part for text in sizes.split(",")]
    with tempfile.TemporaryDirectory() as name:
        click.echo(f"{'':<34} {'rows':>8} {'seconds':>8} {'cutouts/s':>10} {'peak MiB':>9}")
        peaks = []
        for length in [rows // part, *lengths]:
            folder = Path(name, f"{len(peaks)}")
            folder.mkdir()
            rate, seconds, peak = _fetch(folder, length, kind)
            click.echo(
                f"{'hifrac fetch, no limit':<34} {length:>8} {seconds:>8.1f} {rate:>10.0f} {peak:>9.1f}"
            )
            peaks.append((rate, peak))
        rate, peak = _plain(Path(name), rows // part)
        click.echo(
            f"{'plain requests, four threads':<34} {rows // part:>8} {'':>8} {rate:>10.0f} {peak:>9.1f}"
        )
        seconds, peak = _resume(Path(name), resumed // part)
        click.echo(
            f"{'ensure, all in the store':<34} {resumed // part:>8} {seconds:>8.1f} {'':>10} {peak:>9.1f}"
        )
    click.echo(f"\nrate {peaks[0][0]:.0f}/s, at least 400 wanted")
    click.echo(
        f"peak memory, largest over smallest size: {peaks[-1][1] / peaks[1][1]:.3f}, at most 1.1 wanted"
    )
    click.echo(f"planning {resumed // part} rows: {seconds:.1f} s, at most {10 / part:g} wanted")


if __name__ == "__main__":
    main()
