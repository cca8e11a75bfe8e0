"""The house style of all pictures: fonts, colors, how numbers and foreign text become labels."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from astropy import units as u
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.textpath import TextToPath
from numpy.typing import NDArray

__all__ = ["COLORS", "MISSING", "STYLE", "color", "decade", "fitting", "new_figure", "number", "plain", "styled", "unit_label", "with_unit"]

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.25",
    "axes.formatter.useoffset": False,
    "axes.grid": False,
    "axes.labelsize": 12,
    "axes.linewidth": 0.9,
    "axes.titlepad": 6,
    "axes.titlesize": 13,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "figure.titlesize": 14,
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "image.interpolation": "nearest",
    "image.origin": "lower",
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "mathtext.default": "regular",
    "mathtext.fontset": "dejavusans",
    "savefig.bbox": "tight",
    "savefig.dpi": "figure",
    "savefig.facecolor": "auto",
    "savefig.pad_inches": 0.12,
    "text.usetex": False,
    "xtick.color": "0.25",
    "xtick.labelcolor": "black",
    "xtick.labelsize": 11,
    "ytick.color": "0.25",
    "ytick.labelcolor": "black",
    "ytick.labelsize": 11,
}

# The settings that change how a picture looks: those of the caller must not, or equal results would not give equal bytes.
LOOKS = frozenset(
    [
        "axes",
        "errorbar",
        "figure",
        "font",
        "grid",
        "image",
        "legend",
        "lines",
        "mathtext",
        "patch",
        "path",
        "savefig",
        "text",
        "xtick",
        "ytick",
    ]
)

# Okabe & Ito (2008), told apart in all common forms of color blindness; its yellow is illegible on white and left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#B0558F", "#C98A00", "#3A9AD9", "#555555")
# Where there is no number: darker than the middle of the diverging map, unlike any color of the sequential one.
MISSING = "0.62"
SEQUENTIAL = "inferno"
DIVERGING = "RdBu_r"

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` in the house style; the settings of the caller's matplotlib are as before when it returns."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        defaults = {key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if key.split(".")[0] in LOOKS}
        with mpl.rc_context({**defaults, **STYLE}):
            return draw(*args, **kwargs)

    return inside


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, known to no pyplot."""
    return Figure(figsize=(width, height), layout="compressed")


def color(k: int) -> str:
    """Color of component k, the same in every picture."""
    return COLORS[k % len(COLORS)]


@cache
def _glyphs() -> frozenset[int]:
    """Code points that the house font can draw."""
    path = font_manager.findfont(font_manager.FontProperties(family=STYLE["font.family"]))
    return frozenset(font_manager.get_font(path).get_charmap())


def plain(text: object, *, limit: int = 40) -> str:
    """One line of at most `limit` drawable characters; to be drawn with ``parse_math=False``.

    Names come from headers and users: line feeds, control characters and signs without glyph are replaced, long ones lose their middle.
    """
    line = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(text)).split())
    line = "".join(c if ord(c) in _glyphs() else "\N{REPLACEMENT CHARACTER}" for c in line)
    if len(line) <= limit:
        return line
    tail = (limit - 1) // 3  # numbers at the end tell components apart
    return f"{line[: limit - 1 - tail].rstrip()}…{line[len(line) - tail :].lstrip()}"


def fitting(text: object, inches: float, *, size: float, bold: bool = False) -> str:
    """`plain` text, cut where it would be wider than `inches` at a font of `size` points."""
    font = font_manager.FontProperties(family=STYLE["font.family"], size=size, weight="bold" if bold else "normal")
    line = plain(text, limit=100)

    def width(limit: int) -> float:
        return TextToPath().get_text_width_height_descent(plain(line, limit=limit), font, ismath=False)[0] / 72

    # The longest of all cuts that fit; the width grows with the length.
    longest = bisect_right(range(1, len(line) + 1), inches, key=width)
    return plain(line, limit=max(longest, 1))


def number(value: float) -> str:
    """Four digits of `value`, with a power of ten in mathtext where it is long."""
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"${mantissa} \\times 10^{{{int(exponent)}}}$"
    rounded = float(f"{value:.4g}")
    return (f"{rounded:g}" if abs(rounded) < 1e4 else f"{rounded:.0f}").replace("-", "−")


def decade(values: NDArray[Any] | float) -> int:
    """Power of ten, a multiple of 3, that leaves the largest of `values` with one to four digits before the point."""
    finite = np.abs(np.asarray(values, dtype=np.float64))
    largest = np.max(finite, initial=0.0, where=np.isfinite(finite))
    if largest == 0 or 0.1 <= largest < 1e4:
        return 0
    return 3 * math.floor(math.log10(largest) / 3)


def unit_label(unit: Any, *, power: int = 0, times: str = "") -> str:
    """How a unit is written on an axis, for numbers divided by ten to the `power`; "" for pure numbers.

    Parameters
    ----------
    unit : Unit or tuple of Unit
        A tuple is one unit per band: equal ones count as one.
    power : int
    times : str
        Put behind the unit, as in "Jy × pixel".
    """
    if isinstance(unit, tuple):
        unit = unit[0] if all(each == unit[0] for each in unit) else None
    text = f"$10^{{{power}}}$" if power else ""
    if unit is None:
        text = " ".join(filter(None, (text, "unit of each band")))
    elif unit != u.dimensionless_unscaled:
        text = _as_mathtext(unit, power)
    return " × ".join(filter(None, (text, times)))


def _as_mathtext(unit: Any, power: int) -> str:
    """A unit in mathtext; as escaped plain text where the unit is a foreign name that mathtext cannot read."""
    if not isinstance(unit, u.UnrecognizedUnit):
        label: str = u.Unit(unit * 10.0**power).to_string("latex_inline").replace(r"1 \times ", "").replace(r"\mathring{A}", "Å")
        try:
            MathTextParser("path").parse(label)
        except (ValueError, RuntimeError):
            pass
        else:
            return label
    name = plain(unit).replace("$", r"\$")
    return rf"$10^{{{power}}}$ {name}" if power else name


def with_unit(quantity: str, label: str) -> str:
    """`quantity` with its unit in brackets, or alone."""
    return f"{quantity} [{label}]" if label else quantity
