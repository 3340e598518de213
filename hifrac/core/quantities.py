"""The quantities that have an estimator, and probabilities: their columns, and how figures write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hifrac.core.flags import Flag


@dataclass(frozen=True)
class Quantity:
    """One quantity that is estimated; what is empty does not exist for it.

    Attributes
    ----------
    column : str
        Result column of the estimate.
    meaning : str
        What it is, in words.
    title : str
        Title of a figure of many.
    text, symbol, axis : str
        What stands at an estimate: as text, and in mathtext before a number and along an axis.
    estimator : str
        Name of the estimator in `hifrac`.
    probability : str
        Result column of the probability that stands with it.
    unit : str
        Its unit.
    subject : str
        What there is more of where the estimate is higher.
    limits : tuple of float
        Ends of an axis for all estimates.
    marked : float or None
        Where such an axis has a dotted line.
    caption : str
        What a figure says of that axis.
    """

    column: str
    meaning: str
    title: str
    text: str
    symbol: str = ""
    axis: str = ""
    estimator: str = ""
    probability: str = "p_detect"
    unit: str = "dex"
    subject: str = ""
    limits: tuple[float, float] | None = None
    marked: float | None = None
    caption: str = ""


#: The quantities that have an estimator, by the names of the command line.
QUANTITIES = {
    "hi": Quantity(
        "log_hi_fraction",
        "HI mass fraction",
        "HI mass fractions",
        "log M(HI)/M*",
        r"\log M_\mathrm{HI}/M_\star",
        r"$\log_{10}(M_\mathrm{HI}/M_\ast)$, dex",
        "HIFractionEstimator",
        subject="gas",
        limits=(-3.0, 1.5),
        marked=0.0,
        caption=", in dex; dotted: equal masses of HI and stars",
    ),
    "metallicity": Quantity(
        "oh",
        "metallicity",
        "Metallicities",
        "12 + log(O/H)",
        r"12 + \log\,\mathrm{O/H}",
        r"$12 + \log_{10}(\mathrm{O/H})$",
        "MetallicityEstimator",
        "p_star_forming",
        subject="oxygen",
        limits=(7.9, 9.6),
        caption=", 12 + log(O/H)",
    ),
    "spectrum": Quantity(
        "h_alpha_ew",
        "equivalent width of H-alpha",
        "Equivalent widths of H-alpha",
        "EW(H-alpha)",
        r"\mathrm{EW(H}\alpha)",
        r"$\mathrm{EW(H}\alpha)$, $\mathrm{\AA}$",
        "SpectrumEstimator",
        "",
        subject="H-alpha",
        unit="Angstrom",
        caption=" of H-alpha, in Angstrom, positive in emission",
    ),
}


class Probability(NamedTuple):
    """A probability beside an estimate: the output with its log odds, its event, the flag of a low one."""

    output: str
    event: str
    unlikely: Flag


#: The probabilities by the names of their columns.
PROBABILITIES = {
    "p_detect": Probability("detection_logit", "detection", Flag.UNLIKELY_DETECTION),
    "p_star_forming": Probability("star_forming_logit", "star formation", Flag.NOT_STAR_FORMING),
}


def quantity_of(column: str) -> Quantity:
    """Return the quantity of a result column; one that has no estimator is known by that name alone."""
    of_columns = {quantity.column: quantity for quantity in QUANTITIES.values()}
    return of_columns.get(column) or Quantity(column, column, column, column, axis=column)
