"""Bytes of a picture in a zip and in the local store, and of a row of the result in Parquet."""

from __future__ import annotations

import hashlib
import tempfile
import time
import zipfile
from pathlib import Path

import click
import numpy as np
from astropy.table import Table

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.core.config import conf, data_dir
from hifrac.core.tables import write_table
from hifrac.cutouts import SDSS_RECIPE
from hifrac.cutouts._http import Attempt
from hifrac.cutouts._positions import position_keys
from hifrac.cutouts._store import PictureStore

_REQUEST = "https://skyserver.sdss.org/dr16/SkyServerWS/ImgCutout/getjpeg?ra=184.957&dec=5.1215&scale=0.4&width=128&height=128"


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@click.command()
@click.option("--rows", default=4000, show_default=True)
def main(rows: int) -> None:
    """Print the bytes per galaxy, of real pictures of the data directory."""
    root = data_dir()
    if root is None:
        raise click.ClickException("HIFRAC_DATA_DIR must name a data directory")
    path = root / "cutouts" / "sdss_cutouts.zip"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        click.echo(f"zip: {path.stat().st_size / len(names):.0f} bytes a picture")
        pictures = [archive.read(name) for name in names[:rows]]
    with tempfile.TemporaryDirectory() as name:
        folder, positions = Path(name), np.linspace(0, 359, rows)
        with conf.set_temp("cache_dir", name), PictureStore(SDSS_RECIPE) as store:
            for key, picture in zip(position_keys(positions, positions / 9).tolist(), pictures, strict=True):
                digest = hashlib.sha256(picture).digest()
                store.put(key, picture, [Attempt(time.time(), _REQUEST, 200, len(picture), digest)])
            store.close()
            click.echo(f"store: {_folder_size(store.folder) / rows:.0f} bytes a picture")
        table = Table(
            {"objid": [Path(one).stem for one in names[:rows]], "ra": positions, "dec": positions / 9}
        )
        for column in ("ra", "dec"):
            table[column].unit = "deg"
        result = HIFractionEstimator(cutouts=LocalCutouts(path, name="objid")).predict(table)
        write_table(result, folder / "result.parquet")
        write_table(result, folder / "result.fits")
        for suffix in ("parquet", "fits"):
            size = (folder / f"result.{suffix}").stat().st_size
            click.echo(f"{suffix}: {size / rows:.0f} bytes a row, {len(result.colnames)} columns")


if __name__ == "__main__":
    main()
