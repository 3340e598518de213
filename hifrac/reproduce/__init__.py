"""The figures and tables of Wu (2020) made again, from what is at hand.

Each experiment is a function that computes a table, and for a figure one that
draws it. `reproduce` runs them and writes results with a manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hifrac.reproduce import (
    _pictures,
    _run,
    calibration,
    comparison,
    detection,
    environment,
    gradcam,
    limits,
    regression,
    robustness,
    samples,
    simple,
    simulated,
)
from hifrac.reproduce._experiment import TIERS, Experiment, Setting
from hifrac.reproduce._run import numbers_table, reproduce, status_table

if TYPE_CHECKING:
    import numpy as np
    from astropy.table import Table
    from matplotlib.figure import Figure

__all__ = [
    "EXPERIMENTS",
    "TIERS",
    "Experiment",
    "Setting",
    "data_line",
    "numbers_table",
    "reproduce",
    "result",
    "select",
    "setting",
    "status_table",
]

_LABELS = "cutouts/hi_labels.ecsv"
_DEEPER = "cutouts/resolve_labels.ecsv"
_ARCHIVE = _pictures.ARCHIVE
_ANSWERS = "model/out_of_fold.ecsv"
_MASSES = "the stellar masses of MPA-JHU: those of Durbala+2020 instead"
_A40 = "the pictures of alpha.40: the labelled cutouts instead"
_A40_RATES = "the pictures, star formation rates and metallicities of alpha.40B"
_OTHERS = "the pictures of alpha.100, NIBLES and xGASS galaxies"
_ATLAS = "the NASA-Sloan Atlas: a volume-limited sample of SDSS DR7 instead"
_NIBLES = "the pictures of alpha.40 and NIBLES galaxies"
_THREE = "the pictures of AGC 9340, 226075 and 220910: three labelled galaxies instead"
_SAMPLES = ("alfalfa_a40", "alfalfa_a100", "durbala2020", "xgass", "nibles", "tmrs")
_DENSITY = ("alfalfa_a100", environment.DENSITY_FILE)


def _alone(draw: Callable[[Table], Figure]) -> Callable[[Table, Setting], Figure]:
    """A figure of which the table is all."""

    def drawn(table: Table, _setting: Setting) -> Figure:
        return draw(table)

    return drawn


def _pictured(
    draw: Callable[[Table, np.ndarray], Figure], objid: Callable[[Table], Sequence[str]]
) -> Callable[[Table, Setting], Figure]:
    """A figure that shows pictures of galaxies."""

    def drawn(table: Table, setting: Setting) -> Figure:
        return draw(table, _pictures.pictures(objid(table), setting))

    return drawn


#: Every experiment by its name in the paper; then those that go beyond it.
EXPERIMENTS = {
    one.name: one
    for one in (
        Experiment(
            "fig1",
            "Figure 1: HI mass fractions of the samples",
            "full",
            samples.fractions,
            _SAMPLES,
            _alone(samples.draw_fractions),
            without=_MASSES,
        ),
        Experiment(
            "fig2",
            "Figure 2: estimates against measured values, ALFALFA",
            "sample",
            regression.fig2,
            (_LABELS, _ANSWERS),
            _alone(regression.draw_scatter),
            without=_A40,
        ),
        Experiment(
            "fig3",
            "Figure 3: residuals against properties of the galaxies",
            "sample",
            regression.fig3,
            (_LABELS, _ANSWERS),
            _alone(regression.draw_residuals),
            without=_A40_RATES,
        ),
        Experiment(
            "fig4",
            "Figure 4: estimates against measured values beyond the training set (RESOLVE)",
            "sample",
            regression.fig4,
            (_DEEPER, _ANSWERS),
            _alone(regression.draw_scatter),
            without=_OTHERS,
        ),
        Experiment(
            "fig5",
            "Figure 5: pattern recognition, and what its thresholds cost",
            "sample",
            detection.fig5,
            (_LABELS, _DEEPER, _ANSWERS),
            _alone(detection.draw_detection),
            without=_OTHERS,
        ),
        Experiment(
            "fig6",
            "Figure 6: estimates beside those of Teimoorinia et al. (2017)",
            "sample",
            comparison.fig6,
            (_LABELS, _ANSWERS, "teimoorinia2017"),
            _alone(comparison.draw_both),
            without=_OTHERS,
        ),
        Experiment(
            "fig7",
            "Figure 7: errors beside those of Teimoorinia et al. (2017), for each cut",
            "sample",
            comparison.fig7,
            (_LABELS, _ANSWERS, "teimoorinia2017"),
            _alone(comparison.draw_bars),
            without=_OTHERS,
        ),
        Experiment(
            "fig8",
            "Figure 8: overdensities of alpha.40",
            "full",
            environment.fig8,
            ("alfalfa_a40", environment.DENSITY_FILE),
            _alone(environment.draw_densities),
            without=_ATLAS,
        ),
        Experiment(
            "fig9",
            "Figure 9: galaxies in different environments",
            "sample",
            environment.fig9,
            (_LABELS, _ARCHIVE, *_DENSITY),
            _pictured(environment.draw_examples, lambda table: table["objid"]),
            without=_ATLAS,
        ),
        Experiment(
            "fig10",
            "Figure 10: errors along the density",
            "sample",
            environment.fig10,
            (_LABELS, _ANSWERS, *_DENSITY),
            _alone(environment.draw_windows),
            without=_ATLAS,
        ),
        Experiment(
            "fig11",
            "Figure 11: evidence for gas-poor and gas-rich, Grad-CAM",
            "sample",
            gradcam.fig11,
            (_LABELS, _ARCHIVE, *(f"bundled:{name}" for name, _ in gradcam.MODELS.values())),
            gradcam.draw_fig11,
            without=_A40,
        ),
        Experiment(
            "fig12",
            "Figure 12: simple models",
            "sample",
            simple.fig12,
            (_LABELS, _ANSWERS, _ARCHIVE, "extra:train"),
            _alone(simple.draw_simple),
            without=_NIBLES,
        ),
        Experiment(
            "fig13",
            "Figure 13: point sources put into pictures",
            "sample",
            robustness.fig13,
            (_LABELS, _ANSWERS, _ARCHIVE, "model/weights.safetensors"),
            _pictured(robustness.draw_injection, lambda table: table.meta["objid"]),
            without=_THREE,
        ),
        Experiment("table1", "Table 1: the samples", "full", samples.table1, _SAMPLES, without=_MASSES),
        Experiment(
            "table2",
            "Table 2: pattern recognition and estimates combined",
            "sample",
            regression.table2,
            (_LABELS, _DEEPER, _ANSWERS),
            without=_OTHERS,
        ),
        Experiment(
            "table3",
            "Table 3: estimates beside those of Teimoorinia et al. (2017)",
            "sample",
            comparison.table3,
            (_LABELS, _ANSWERS, "teimoorinia2017"),
            without=_OTHERS,
        ),
        Experiment(
            "table4",
            "Table 4: one environment predicted from the others",
            "sample",
            environment.table4,
            (_LABELS, _ANSWERS, _ARCHIVE, *_DENSITY, "extra:train"),
            without=_ATLAS,
        ),
        # Beyond the paper.
        Experiment(
            "coverage",
            "Coverage of the intervals along mass, density, estimate and reddening",
            "sample",
            calibration.coverage,
            (_LABELS, _ANSWERS, *_DENSITY),
            _alone(calibration.draw_coverage),
            without=_ATLAS,
        ),
        Experiment(
            "reliability",
            "Reliability of the probability of detection",
            "sample",
            calibration.reliability,
            (_ANSWERS,),
            _alone(calibration.draw_reliability),
        ),
        Experiment(
            "slopes",
            "Both regression slopes, and upper limits violated",
            "sample",
            limits.slopes,
            (_LABELS, _DEEPER, _ANSWERS),
            _alone(limits.draw_slopes),
        ),
        # With simulated pictures, where the real ones are not at hand.
        Experiment(
            "fig4-simulated",
            "Figure 4 with simulated pictures: alpha.100, NIBLES and xGASS",
            "simulated",
            simulated.fig4,
            simulated.INPUTS,
            _alone(simulated.draw_simulated),
            without=_OTHERS,
        ),
        Experiment(
            "table2-simulated",
            "Table 2 with simulated pictures: alpha.100, NIBLES and xGASS",
            "simulated",
            simulated.table2,
            simulated.INPUTS,
            without=_OTHERS,
        ),
    )
}


def select(names: str | list[str] | tuple[str, ...]) -> list[Experiment]:
    """Experiments by name.

    Parameters
    ----------
    names : str or list of str
        Keys of `EXPERIMENTS`, or "all".

    Returns
    -------
    experiments : list of Experiment

    Raises
    ------
    ValueError
        If there is none of a name.
    """
    names = [names] if isinstance(names, str) else list(names)
    if "all" in names:
        return list(EXPERIMENTS.values())
    if unknown := [one for one in names if one not in EXPERIMENTS]:
        raise ValueError(f"name must be all or one of {', '.join(EXPERIMENTS)}; got {', '.join(unknown)}")
    return [EXPERIMENTS[one] for one in dict.fromkeys(names)]


def setting(
    folder=None, *, model=None, seed: int = 12345, draws: int = 1000, needs_folder: bool = True
) -> Setting:
    """Where experiments run: a data directory and a model.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; `hifrac.core.config.data_dir` by default.
    model : str or path-like, optional
        Name of a bundled model, or folder of a model; ``conf.model`` by default.
    seed : int, optional
        Of everything random.
    draws : int, optional
        Samples of the bootstrap behind each error; at least 2.
    needs_folder : bool, optional
        Whether it is an error if no data directory is configured; if not, ``folder`` of the setting is
        then None, which is enough for `status_table`.

    Returns
    -------
    setting : Setting

    Raises
    ------
    ValueError
        If no data directory is configured and ``needs_folder``, or ``draws`` is below 2.
    FileNotFoundError
        If it does not exist.
    ~hifrac.core.exceptions.UnknownModelError
        If there is no such model.
    """
    from pathlib import Path

    from hifrac.core.config import conf, data_dir
    from hifrac.core.exceptions import UnknownModelError
    from hifrac.models.registry import bundled_models

    if draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    folder = data_dir() if folder is None else Path(folder)
    if folder is None and needs_folder:
        raise ValueError("data_dir: none is configured; set HIFRAC_DATA_DIR or conf.data_dir")
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"data_dir: no such folder: {folder}")
    chosen = str(model or conf.model)
    path = Path(chosen) if Path(chosen).is_dir() else bundled_models().get(chosen)
    if path is None:
        raise UnknownModelError(f"model: there is none called {chosen!r}, and no such folder")
    return Setting(None if folder is None else folder.resolve(), Path(path).resolve(), seed, draws)


def result(name: str, output=None, *, where: Setting | None = None, redo: bool = False) -> Table:
    """The table of an experiment: read where an earlier run has left it, or else computed.

    Parameters
    ----------
    name : str
        A key of `EXPERIMENTS`.
    output : path-like, optional
        Folder of the results; ``reproduce`` in `hifrac.core.config.cache_dir` by default.
    where : Setting, optional
        The data directory and the model; ``setting()`` by default.
    redo : bool, optional
        Compute it again.

    Returns
    -------
    table : `~astropy.table.Table`
        ``meta["hifrac"]`` has its inputs with their sha256, versions, seed and seconds.

    Raises
    ------
    ValueError
        If there is no experiment of the name, or no data directory is configured.
    FileNotFoundError
        If some of what it reads is missing.
    RuntimeError
        If it fails.
    """
    from hifrac.core.config import cache_dir

    (one,) = select([name])
    return _run.result(one, where or setting(), output or cache_dir() / "reproduce", redo=redo)


def data_line(name: str, where: Setting | None = None) -> str:
    """How far the data at hand are the paper's: the line under the figures of an experiment.

    Parameters
    ----------
    name : str
        A key of `EXPERIMENTS`.
    where : Setting, optional
        The data directory and the model; ``setting()`` by default.

    Returns
    -------
    line : str
        The tier and what it means, see `TIERS`.

    Raises
    ------
    ValueError
        If there is no experiment of the name, or no data directory is configured.
    """
    (one,) = select([name])
    return one.data_line(where or setting())
