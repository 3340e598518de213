"""``hifrac train``, ``evaluate``, ``export`` and ``models``: models made, judged and shown."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hifrac.cli._shared import one_line_errors, selection_option

#: The names that stand for the recipes of bundled models, not for configurations, and their functions.
BUNDLED = {
    "default": "train_structure",
    "metallicity": "train_metallicity",
    "spectra": "train_spectra",
}


@click.command()
@one_line_errors
def models() -> None:
    """Show the cards of the bundled models."""
    from hifrac.models import list_models

    click.echo("\n\n".join(str(card) for card in list_models()))


@click.command()
@click.argument("config", metavar="CONFIG", required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the model.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory.  [default: HIFRAC_DATA_DIR or conf.data_dir]",
)
@click.option("--seed", type=int, help="Fixes split, order and first weights.  [default: CONFIG's, or 12345]")
@click.option("--table", help="Table of labels, instead of the data directory.")
@click.option("--cutouts", help="Folder or archive of the pictures of --table.")
@click.option("--name", help="Column of --table that names the pictures.  [default: CONFIG's, or objid]")
@click.option(
    "--target",
    multiple=True,
    help="Column of --table to be learned; several are learned at once.  [default: CONFIG's, if several]",
)
@click.option("--from", "init_from", metavar="MODEL", help="Start from the weights of this model.")
@click.option(
    "--pretrained",
    metavar="FILE",
    help="Start from torchvision's weights of ImageNet in this file; 'cache': where torchvision keeps them.",
)
@click.option("--split", help="Written split of the galaxies.  [default: one is drawn]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of CONFIG, e.g. run.devices=2.",
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted training in the folder.")
@one_line_errors
def train(config: str | None, output: Path, data_dir: Path | None, **options: Any) -> None:
    """Train a model and write its folder.

    CONFIG is "default", "metallicity" or "spectra", which makes the bundled model of that
    name again; the name of a bundled configuration (paper, metallicity-paper, shallow, ...);
    or a TOML file.
    Needs the extra "train". With --table, --cutouts and --target any number
    is learned from any pictures of the configuration's recipe, and several numbers at once
    if --target is given again (spectra-paper has six). Without CONFIG, --from
    names a model like "default", whose measurements are kept and whose head
    learns the target: a few hundred galaxies are enough.
    """
    with _extra_train():
        if config is None:
            _refit(output, options)
        elif config in BUNDLED:
            _train_bundled(config, output, data_dir, options)
        else:
            _train_network(config, output, data_dir, **options)
    _say_of_what(output)
    click.echo(f"written to {output}")


def _say_of_what(folder: Path) -> None:
    """Say how the figures of a trained model were obtained, and how many galaxies it learned from."""
    from hifrac.models import ModelCard

    card = ModelCard.read(folder)
    text = f"these are figures of {card.protocol}; of {card.training_set.partition(';')[0]}"
    click.echo(textwrap.fill(text, 100, subsequent_indent="  "))


def _refit(output: Path, options: dict[str, Any]) -> None:
    """Fit a new head to the measurements of a model."""
    if options["init_from"] is None:
        raise ValueError("say what to train: CONFIG, or --from MODEL with --table, --cutouts and --target")
    if missing := [key for key in ("table", "cutouts", "target") if not options[key]]:
        raise ValueError(f"without CONFIG, --from needs --{missing[0]} as well")
    for key in ("pretrained", "split", "settings", "resume"):
        if options[key]:
            raise ValueError(f"--{'set' if key == 'settings' else key} needs a CONFIG")
    if len(options["target"]) > 1:
        raise ValueError("--target: without CONFIG one column is learned, got several")
    from hifrac.training.structure.refit import refit

    column = options["name"]
    seed = 12345 if options["seed"] is None else options["seed"]
    figures = refit(
        options["init_from"],
        options["table"],
        options["cutouts"],
        output,
        target=options["target"][0],
        name="objid" if column is None else column,
        seed=seed,
        command=_command(None, seed, options),
    )
    _show(figures)


def _show(figures: dict[str, float]) -> None:
    for key, value in figures.items():
        click.echo(f"{key:24s} {value:8.4f}")


def _command(config: str | None, seed: int, options: dict[str, Any]) -> str:
    """Return the command that is run, for the card: of paths that hold for one machine only the last part."""

    def shown(path: str) -> str:
        return Path(path).name if Path(path).is_absolute() else path

    words = ["hifrac", "train", *([] if config is None else [shown(config)])]
    plain = ("pretrained", "table", "cutouts", "name", "split")
    names = {"init_from": "from"} | {key: key for key in plain}
    for key, name in names.items():
        if options[key] is not None:
            words += [f"--{name}", shown(options[key])]
    for target in options["target"]:
        words += ["--target", target]
    for setting in options["settings"]:
        key, equals, value = setting.partition("=")
        words += ["--set", key + equals + shown(value)]
    return shlex.join([*words, "-o", "OUTPUT", "--seed", str(seed)])


def _train_bundled(name: str, output: Path, data_dir: Path | None, options: dict[str, Any]) -> None:
    """Train a bundled model again, and print the tables of its figures."""
    from hifrac.core import config

    seed = options.pop("seed")
    names = {"init_from": "from", "settings": "set"}
    if given := [names.get(key, key) for key, value in options.items() if value]:
        raise ValueError(f"--{given[0]} does not go with the configuration {name!r}, which is fixed")
    if data_dir is None and config.data_dir() is None:
        raise ValueError("no data directory: give --data-dir, or set HIFRAC_DATA_DIR")
    from hifrac import training

    tables = getattr(training, BUNDLED[name])(output, data=data_dir, seed=12345 if seed is None else seed)
    for title, table in tables.items():
        click.echo(f"{title.replace('_', ' ')}:")
        click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)) + "\n")


def _train_network(
    source: str,
    output: Path,
    data_dir: Path | None,
    *,
    seed: int | None,
    table: str | None,
    cutouts: str | None,
    name: str | None,
    target: tuple[str, ...],
    init_from: str | None,
    pretrained: str | None,
    split: str | None,
    settings: tuple[str, ...],
    resume: bool,
) -> None:
    """Train a network, and print its figures."""
    from hifrac.training.config import read_config

    if table is None and (cutouts is not None or name is not None or target):
        raise ValueError("--cutouts, --name and --target describe a table: give --table as well")
    config = read_config(source)
    if table is not None:
        if cutouts is None or not (target or len(config.data.targets) > 1):
            raise ValueError("--table needs --cutouts, the pictures, and --target, the column to be learned")
        config = config.for_table(table, cutouts, target=target or None, name=name)
    config = config.changed(
        network={"init_from": init_from, "pretrained": pretrained}, split={"file": split}, run={"seed": seed}
    )
    config = config.with_settings(settings)

    from hifrac.training.cnn.learner import train_network
    from hifrac.training.cnn.trainer import checkpoint_of

    given = {"table": table, "cutouts": cutouts, "name": name, "target": target, "split": split}
    given |= {"init_from": init_from, "pretrained": pretrained}
    command = _command(source, config.run.seed, {**given, "settings": settings})
    try:
        figures = train_network(config, output, data=data_dir, resume=resume, command=command)
    except KeyboardInterrupt:
        if checkpoint_of(output).is_file():
            outcome = "the epochs that are done are kept: say --resume to go on"
        else:
            outcome = "the first epoch was not done, and nothing is kept: the same command starts anew"
        click.echo(f"interrupted; {outcome}", err=True)
        raise SystemExit(130) from None
    if figures is None:  # one of several processes
        raise SystemExit(0)
    _show(figures)


@contextmanager
def _extra_train() -> Iterator[None]:
    """Say what to install where a library of the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        wanted = {
            "sklearn": "scikit-learn",
            "lightning": "lightning",
            "pytorch_optimizer": "pytorch-optimizer",
            "pydantic": "pydantic",
        }
        missing = wanted.get((error.name or "").partition(".")[0])
        if missing is None:
            raise
        raise ImportError(f"this needs {missing}: pip install 'hifrac[train]'") from error


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("table", metavar="TABLE", type=click.Path(path_type=Path))
@click.option(
    "--cutouts", required=True, type=click.Path(path_type=Path), help="Folder or archive of pictures."
)
@click.option("--name", default="objid", show_default=True, help="Column that names the pictures.")
@click.option(
    "--target",
    multiple=True,
    required=True,
    help="Column of the measured values; of a model of several targets one for each, in its order.",
)
@click.option("--bands", help="Filters of the planes of --cutouts, where files do not say.")
@click.option("--limit", "is_limit", help="Boolean column: where the value is an upper limit.")
@click.option(
    "--orientations", type=int, default=1, show_default=True, help="8: the mean over all of a picture."
)
@selection_option
@click.option("--device", help="auto, cpu or cuda.  [default: auto]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of the figures to write.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@one_line_errors
def evaluate(
    model: str,
    table: Path,
    cutouts: Path,
    output: Path | None,
    device: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Judge MODEL on the labelled pictures of TABLE.

    MODEL is the name of a bundled model, or the folder of one. Prints figures
    of merit of all galaxies and of each third of the estimates; rows without a
    label or without a picture are left out and counted. Redshifts, magnitudes and
    the like in TABLE are evidence, as for predict. A warning says of how many
    galaxies the figures are optimistic, because the model learned from them.
    """
    from hifrac.core.tables import output_format, read_table, write_table
    from hifrac.models import load_model

    if output is not None:
        output_format(output)
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    rows = read_table(table, text_columns=[options.get("name") or "objid"])
    with _extra_train():
        from hifrac.training.evaluation import evaluate as evaluate_model

        figures = evaluate_model(load_model(model, device=device), rows, cutouts, **options)
    shown = figures.copy()
    for column in shown.itercols():
        if column.dtype.kind == "f":
            column.info.format = ".3f"
    click.echo("\n".join(shown.pformat(max_lines=-1, max_width=-1)))
    for key, what in (("without_label", "a label"), ("without_picture", "a picture")):
        if count := figures.meta[key]:
            click.echo(f"{count} rows without {what} were left out")
    if "first_failure" in figures.meta:
        click.echo(f"the first in {figures.meta['first_failure']}")
    if count := figures.meta["perhaps_learned_from"]:
        click.echo(f"of {count} of these galaxies it cannot be told whether the model learned from them")
    if output is not None:
        write_table(figures, output, overwrite=overwrite)
        click.echo(f"written to {output}")


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    help="safetensors, torchscript or export; may be given again.  [default: torchscript]",
)
@click.option("--hub", is_flag=True, help="For the Hugging Face Hub: the weights alone, with a README.md.")
@one_line_errors
def export(model: str, output: Path, formats: tuple[str, ...], hub: bool) -> None:
    """Write MODEL as a folder for other programs: TorchScript, torch.export.

    MODEL is the name of a bundled model, or the folder of one. The weights and
    the card are always written.
    """
    from hifrac.core.files import file_sha256
    from hifrac.models import export_model

    if hub and formats:
        raise ValueError("--hub does not go with --format: from the network only weights are loaded")
    chosen = {"formats": formats} if formats else {}
    card = export_model(model, output, hub=hub, **chosen)
    for name, sha256 in {"card.json": file_sha256(output / "card.json"), **card.files}.items():
        click.echo(f"{sha256}  {name}")
    click.echo(f"written to {output}")
