"""How many components: eigenvalues beside the edge of noise, errors of prediction, and stability."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from .style import COLORS, new_figure, number, styled

if TYPE_CHECKING:
    from ..rank import RankReport

__all__ = ["rank"]

_SIGNAL, _NOISE, _CLAIMED, _CHOSEN = COLORS[0], COLORS[1], COLORS[3], "0.45"
_WIDTH = 150  # characters of the sentence per line
_UNIQUE = 0.03  # rad, as in `vermilion.rank.Stability`


@styled
def rank(report: RankReport, *, figure: Figure | None = None) -> NDArray[np.object_]:
    """Three pictures side by side, and the conclusion in words above them.

    Eigenvalues of the data in units of their noise, with the largest one of noise; the error of prediction of held-out values, with
    the standard error of its difference from the least; the largest angle between spectra from several starts. A vertical line marks
    the number of the conclusion, labels those of the estimates.

    Parameters
    ----------
    report : RankReport
        Of `vermilion.rank.estimate_rank`.
    figure : Figure, optional
        Where to draw; by default a new one.

    Returns
    -------
    ndarray of Axes, shape (3,)
    """
    figure = new_figure(14.0, 5.6) if figure is None else figure
    axes = np.ravel(np.array(figure.subplots(1, 3), dtype=object))
    _eigenvalues(axes[0], report)
    _cross_validation(axes[1], report)
    _stability(axes[2], report)
    for each in axes:
        if report.n_components is not None:
            each.axvline(report.n_components, color=_CHOSEN, lw=1.0, ls=":", zorder=0)
        each.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        each.set_xlabel("Components")
        each.grid(color="0.93", lw=0.8)
    figure.suptitle("\n".join(textwrap.wrap(report.sentence, _WIDTH)), x=0.01, ha="left", fontsize=11, parse_math=False)
    return axes


def _eigenvalues(axes: Axes, report: RankReport) -> None:
    largest = max([report.max_components, *(row.n_components for row in report.estimates if row.n_components is not None)])
    shown = report.eigenvalues[: min(len(report.eigenvalues), max(int(1.3 * largest) + 3, 12), 120)]
    shown = np.maximum(shown, np.finfo(float).tiny)
    index = np.arange(1, len(shown) + 1)
    above = shown > report.edge.edge
    for part, color, label in ((above, _SIGNAL, "above the edge"), (~above, "0.6", "below")):
        axes.plot(index[part], shown[part], ls="none", marker="o", ms=5 if len(shown) < 40 else 3, color=color, label=label)
    axes.axhline(report.edge.edge, color=_NOISE, ls="--", label="edge of measured noise")
    if report.claimed is not None and report.claimed.edge > 0:
        axes.axhline(report.claimed.edge, color=_CLAIMED, ls="-.", label="edge of claimed noise")
    axes.set_yscale("log")
    axes.set_ylabel("Eigenvalue / noise variance")
    axes.set_title("Eigenvalues", loc="left")
    axes.legend(loc="upper right", fontsize=9)
    lines = [f"{row.name}: {'–' if row.n_components is None else row.n_components}" for row in report.estimates]
    axes.text(0.97, 0.66, "\n".join(lines), transform=axes.transAxes, ha="right", va="top", fontsize=9, parse_math=False)


def _cross_validation(axes: Axes, report: RankReport) -> None:
    axes.set_title("Cross-validation", loc="left")
    found = report.cross_validation
    if found is None:
        _nothing(axes, "not made")
        return
    axes.errorbar(found.n_components, found.error, yerr=found.standard_error, color=_SIGNAL, marker="o", ms=5, capsize=3)
    chosen = int(np.flatnonzero(found.n_components == found.count)[0])
    axes.plot(
        found.count, found.error[chosen], marker="o", ms=12, mfc="none", mec=_NOISE, mew=1.8, ls="none", label=f"chosen: {found.count}"
    )
    if found.error.max() > 3 * found.error.min():
        axes.set_yscale("log")
        if found.error.max() < 1e3 * found.error.min():  # powers of ten alone would be too few
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_ylabel("Squared error of held-out values / noise variance")
    axes.legend(loc="upper right", fontsize=10)


def _stability(axes: Axes, report: RankReport) -> None:
    axes.set_title("Spread over starts", loc="left")
    if not report.spreads:
        _nothing(axes, "no component to compare")
        return
    numbers = [spread.n_components for spread in report.spreads]
    colors = [COLORS[2] if spread.unique else COLORS[1] for spread in report.spreads]
    axes.bar(numbers, [spread.angle for spread in report.spreads], width=0.6, color=colors)
    axes.axhline(_UNIQUE, color="0.3", ls="--", lw=1.0, label=f"unique below {_UNIQUE} rad")
    axes.set_xlim(min(numbers) - 1, max(numbers) + 1)
    axes.set_ylim(0, 1.15 * max(_UNIQUE * 1.5, *(spread.angle for spread in report.spreads)))
    axes.set_ylabel("Largest angle between spectra [rad]")
    axes.legend(loc="upper left", fontsize=10)


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4")
    axes.set(xticks=[], yticks=[])
