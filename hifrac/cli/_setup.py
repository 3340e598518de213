"""What commands that estimate share: the options of positions, pictures and model, and their estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from hifrac.cli._shared import (
    exit_on_interrupt,
    input_options,
    make_source,
    pixel_scale_option,
    selection_option,
    survey_options,
    temporary_settings,
)

if TYPE_CHECKING:
    from astropy.table import Table

    from hifrac._picture_estimator import PictureEstimator
    from hifrac.core.rows import Rows


@dataclass(frozen=True)
class Setup:
    """The options of `setup_options`: positions, pictures and model of one run."""

    table: Path
    quantity: str
    reading: dict[str, Any]  # keywords of read_input
    axes: dict[str, Any]  # keywords of predict and explain
    cutouts: Path | None
    name: str | None
    bands: str | None
    pixel_scale: dict[str, Any] | None  # keywords of LocalCutouts
    frames: Path | None
    survey: str | None
    base_url: str | None
    data_release: str | None
    offline: bool
    retry_permanent: bool
    cache_dir: Path | None
    max_rate: float | None
    model: str | None
    device: str | None
    batch_size: int | None
    threads: int | None
    selection: str | None
    mass_scale: str | None
    photometry: str | None

    @property
    def is_local(self) -> bool:
        """Whether pictures are at hand, and nothing is fetched."""
        return self.cutouts is not None or self.frames is not None

    @property
    def service(self) -> dict[str, Any]:
        """The options of the survey service that were given."""
        names = ("base_url", "data_release", "offline", "retry_permanent")
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def _settings(self) -> AbstractContextManager[None]:
        """The settings of the command line."""
        return temporary_settings(self.cache_dir, self.max_rate, offline=self.offline, threads=self.threads)

    @property
    def _wanted_name(self) -> str:
        return "objid" if self.name is None else self.name

    @property
    def _estimator_class(self) -> type[PictureEstimator]:
        """The estimator of the quantity; a ValueError if there is none, or options are not of it."""
        import hifrac
        from hifrac.core.quantities import QUANTITIES

        if self.quantity not in QUANTITIES:
            raise ValueError(f"--quantity must be one of {', '.join(QUANTITIES)}, got {self.quantity!r}")
        if self.quantity != "hi" and self._of_gas:
            option = next(iter(self._of_gas)).replace("_", "-")
            raise ValueError(f"--{option} goes with --quantity hi, not with {self.quantity}")
        return getattr(hifrac, QUANTITIES[self.quantity].estimator)

    @property
    def _of_gas(self) -> dict[str, Any]:
        """The options of HI mass fractions alone that were given."""
        return {name: value for name in ("selection", "mass_scale") if (value := getattr(self, name))}

    def read(self) -> Table:
        """Read INPUT; a ValueError before that if options do not go together."""
        from hifrac.core.shapes import read_input

        self.check_options()
        return read_input(str(self.table), text_columns=[self._wanted_name], **self.reading)

    def open_rows(self) -> Rows:
        """Open INPUT, to read some rows at a time; errors as of `read`."""
        from hifrac.core.rows import open_rows

        self.check_options()
        return open_rows(str(self.table), text_columns=[self._wanted_name], **self.reading)

    def check_options(self) -> None:
        """Raise a ValueError if options do not go together."""
        _ = self._estimator_class
        if self.cutouts is None and (self.bands is not None or self.pixel_scale is not None):
            raise ValueError("--bands and --pixel-scale are of the pictures of --cutouts: give that as well")
        remote = [] if self.survey is None else ["--survey"]
        # --offline goes with pictures at hand: then it is about --photometry.
        remote += [f"--{name.replace('_', '-')}" for name in self.service if name != "offline"]
        local = [f"--{name}" for name in ("cutouts", "frames") if getattr(self, name) is not None]
        if len(local) > 1 or (local and remote):
            raise ValueError(
                f"{local[0]} does not go with {(local[1:] + remote)[0]}: the pictures have one source"
            )

    @property
    def columns(self) -> Iterable[str]:
        """The columns that every result of the quantity has."""
        from hifrac.core.columns import columns_of
        from hifrac.core.quantities import QUANTITIES

        return columns_of(QUANTITIES[self.quantity].column, "")

    def find_name(self, rows: Table) -> str:
        """Return the column of --name; a ValueError if INPUT does not have it."""
        from hifrac.core.measurements import find_column

        if (column := find_column(rows, self._wanted_name)) is None:
            raise ValueError(
                f"--name: {self.table} has no column {self._wanted_name!r}; "
                f"its columns are {', '.join(rows.colnames) or '(none)'}"
            )
        return column

    @contextmanager
    def estimator(self, rows: Table) -> Iterator[PictureEstimator]:
        """Give the estimator of the rows, in the settings of the command line; Ctrl-C ends its work."""
        from hifrac.core.config import conf
        from hifrac.models import load_model

        estimator_class = self._estimator_class
        name = getattr(conf, estimator_class.model_setting) if self.model is None else self.model
        with ExitStack() as stack:
            stack.enter_context(self._settings)
            local = stack.enter_context(self._local_source(rows)) if self.is_local else None
            model = load_model(name, device=self.device)
            source = self._service(model) if local is None else local
            stack.enter_context(exit_on_interrupt(fetching=not self.is_local))
            yield estimator_class(
                model,
                photometry=self.photometry,
                cutouts=source,
                batch_size=self.batch_size,
                **self._of_gas,
            )

    def _local_source(self, rows: Table):
        """Open the source of local pictures: frames, or a folder or archive with a column that names them."""
        from hifrac.cutouts import FrameCutouts, LocalCutouts

        option = "--cutouts" if self.frames is None else "--frames"
        name = self.find_name(rows) if self.frames is None else ""
        try:
            if self.frames is not None:
                return FrameCutouts(self.frames)
            cutouts = cast(Path, self.cutouts)  # one of the two is given
            return LocalCutouts(cutouts, name=name, bands=self.bands, **(self.pixel_scale or {}))
        except (ValueError, OSError) as error:
            raise ValueError(f"{option}: {error}") from error

    def _service(self, model):
        """Return the survey service of a model's pictures."""
        from hifrac.cutouts import SURVEYS, source_for

        recipe = model.card.recipe
        source_class = type(source_for(recipe))
        survey = next(name for name, service_class in SURVEYS.items() if service_class is source_class)
        if self.survey not in (None, survey):
            raise ValueError(
                f"--survey: the model {model.card.name!r} reads pictures of {survey}, got {self.survey!r}"
            )
        return make_source(survey, recipe, **self.service)


_OPTIONS = (
    click.option(
        "--quantity",
        default="hi",
        show_default=True,
        metavar="hi|metallicity|spectrum",
        help="HI mass fraction, 12 + log(O/H) of the gas, or the spectrum in the rest frame: a photometric "
        "template, no measured one; with H-alpha.",
    ),
    click.option(
        "--cutouts",
        type=click.Path(path_type=Path),
        help="Folder or archive of pictures; nothing is fetched.",
    ),
    click.option(
        "--name", help="Column that names the galaxies, and the pictures of --cutouts.  [default: objid]"
    ),
    click.option("--bands", help="Filters of FITS --cutouts: of a cube's planes, or of three files."),
    pixel_scale_option("Arcsec per pixel of --cutouts, if not the model's: resampled."),
    click.option(
        "--frames",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of SDSS frame-*.fits files to cut the pictures from; nothing is fetched.",
    ),
    click.option("--survey", help="sdss, legacy, panstarrs or hips.  [default: the model's]"),
    survey_options,
    click.option("--model", help="Bundled model, or folder of a model.  [default: that of the quantity]"),
    click.option("--device", help="auto, cpu or cuda.  [default: auto]"),
    click.option("--batch-size", type=int, help="Pictures in one batch."),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Threads that the network computes with on the CPU.  [default: as PyTorch takes]",
    ),
    selection_option,
    click.option(
        "--mass-scale",
        metavar="taylor|gswlc",
        help="Stellar masses: of Taylor et al. 2011 (the default), or of GSWLC-2.",
    ),
    click.option(
        "--photometry",
        metavar="sdss",
        help="Ask SkyServer for magnitudes and redshifts that rows lack, and keep them.",
    ),
)


def setup_options(command: Callable) -> Callable:
    """Add INPUT, and the options of commands that estimate; they become the first argument, a `Setup`."""

    @wraps(command)
    def wrapped(**options):
        values = {field.name: options.pop(field.name) for field in fields(Setup)}
        return command(Setup(**values), **options)

    decorated: Callable = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    decorated = input_options(decorated)
    return click.argument("table", metavar="INPUT", type=click.Path(path_type=Path))(decorated)
