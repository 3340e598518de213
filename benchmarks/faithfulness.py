"""Are the maps true? Deletion and insertion, randomised weights, and point sources put into real galaxies."""

from __future__ import annotations

import zipfile

import click
import numpy as np
from astropy.table import Table
from map_measures import faithfulness_table, injection_scatter, randomisation_table
from map_stacks import radial_evidence

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.attribution.gradients import baseline_picture
from hifrac.core.config import data_dir
from hifrac.images import decode
from hifrac.models import Model, load_model


def _pictures(count: int) -> np.ndarray:
    """Return real galaxies with a measured HI mass, every k-th by right ascension; else simulated ones."""
    root = data_dir()
    if root is None:
        from hifrac.demo import PICTURES

        click.echo("no real data (HIFRAC_DATA_DIR): the bundled simulated galaxies instead")
        return np.stack([decode(path.read_bytes()) for path in sorted(PICTURES.glob("sim-*.jpg"))[:24]])
    labels = Table.read(root / "cutouts" / "hi_labels.ecsv")
    labels.sort("ra")
    with zipfile.ZipFile(root / "cutouts" / "sdss_cutouts.zip") as archive:
        chosen = labels["objid"][np.linspace(0, len(labels) - 1, min(count, len(labels))).astype(int)]
        return np.stack([decode(archive.read(f"{objid}.jpg")) for objid in chosen])


def _radial(model: Model) -> dict[str, Table]:
    """Tabulate contributions by radius of galaxies of RESOLVE, which have half-light radii, by estimate."""
    root = data_dir()
    if root is None:
        return {}
    labels = Table.read(root / "cutouts" / "resolve_labels.ecsv")
    cutouts = LocalCutouts(root / "cutouts" / "sdss_cutouts.zip", name="objid")
    explanations = list(HIFractionEstimator(model, cutouts=cutouts).explain(labels))
    radii = np.asarray(labels["r50"], dtype=float)
    prediction = np.array([row.prediction for row in explanations])
    classes = {"below 0": prediction < 0, "above 0.3": prediction > 0.3}
    return {
        f"Estimates {name}, {np.sum(chosen)} galaxies of RESOLVE": radial_evidence(
            [explanations[row] for row in np.flatnonzero(chosen)], radii[chosen]
        )
        for name, chosen in classes.items()
    }


@click.command()
@click.option(
    "--count", default=259, show_default=True, help="Galaxies for deletion, insertion and the weights."
)
@click.option("--occluded", default=40, show_default=True, help="Galaxies for the maps by occlusion.")
@click.option("--injected", default=40, show_default=True, help="Galaxies that point sources are put into.")
@click.option("--trials", default=100, show_default=True, help="Sets of point sources for each.")
@click.option("--model", default="default", show_default=True)
def main(count: int, occluded: int, injected: int, trials: int, model: str) -> None:
    """Print the tables of the documentation."""
    network = load_model(model)
    pixels = _pictures(count)
    click.echo(f"model {network.card.name}, {network.card.sha256[:12]}")

    def show(title: str, table: Table) -> None:
        for name in table.colnames:
            if table[name].dtype.kind == "f":
                table[name].info.format = ".3f"
        click.echo(f"\n{title}\n" + "\n".join(table.pformat(max_lines=-1, max_width=-1)))

    show(f"Replaced by the sky, {len(pixels)} galaxies", faithfulness_table(network, pixels))
    mean = np.rint(baseline_picture(network)).astype(np.uint8)
    mean = np.broadcast_to(mean, pixels.shape).copy()
    show(
        f"Replaced by the mean galaxy, {len(pixels)} galaxies",
        faithfulness_table(network, pixels, replacement=mean),
    )
    few = pixels[np.linspace(0, len(pixels) - 1, min(occluded, len(pixels))).astype(int)]
    methods = {"cam": {}, "occlusion": {"method": "occlusion"}}
    show(
        f"With occlusion, replaced by the sky, {len(few)} galaxies",
        faithfulness_table(network, few, methods=methods),
    )
    show(f"Weights drawn anew, {len(few)} galaxies", randomisation_table(network, few))
    few = pixels[np.linspace(0, len(pixels) - 1, min(injected, len(pixels))).astype(int)]
    for profile in ("as-coded", "as-printed"):
        show(
            f"Six point sources, {profile}, {len(few)} galaxies, {trials} trials each, dex",
            injection_scatter(network, few, profile=profile, trials=trials),
        )
    for title, table in _radial(network).items():
        show(title, table)


if __name__ == "__main__":
    main()
