"""How the fluxes of the sources settled."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from ..datamodels import SceneResult
from .source_marks import identifiers
from .style import COLORS, new_figure, styled

__all__ = ["flux_history"]

SETTLED = 1.0  # percent: within it the axis is linear
FARTHEST = 1000.0  # percent: the axis goes no farther
DASHES = ("-", "--", ":", "-.")
NAMED = 28


@styled
def flux_history(result: SceneResult, *, axes: Axes | None = None) -> Axes:
    """Flux of each source, summed over the bands, against iteration: its difference from the flux at the end, in percent.

    The vertical axis is linear within 1 percent (shaded) and logarithmic beyond. Sources without flux at the end are not drawn; the title
    says how many, and how far fluxes still moved in the last tenth of the iterations.

    Parameters
    ----------
    result : SceneResult
    axes : Axes, optional
        Where to draw; by default those of a new figure.

    Returns
    -------
    Axes
    """
    axes = axes if axes is not None else new_figure(9.5, 5.2).add_subplot()
    iteration, change = np.asarray(result.flux_iterations), _changes(result.flux_history)
    drawn = [k for k in range(change.shape[1]) if np.isfinite(change[:, k]).any()]
    axes.axhspan(-SETTLED, SETTLED, color="0.92", lw=0, zorder=0)
    axes.axhline(0, color="0.7", lw=0.8, zorder=1)
    names = identifiers(result)
    for k in drawn:
        dash = DASHES[k // len(COLORS) % len(DASHES)]
        axes.plot(
            iteration, change[:, k], dash, color=COLORS[k % len(COLORS)], lw=1.6, label=names[k], marker="o" if len(iteration) < 3 else ""
        )
    _scale_axes(axes, iteration, change)
    axes.set_xlabel("Iteration")
    axes.set_ylabel("Flux − flux at the end [%]")
    axes.set_title(_summary(iteration, change, len(result.sources) - len(drawn)), loc="left", fontsize=12)
    if drawn:
        ncols = 1 if len(drawn) <= NAMED // 2 else 2
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), ncols=ncols, title="Source", borderaxespad=0.0, fontsize=10)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return axes


def _changes(history: NDArray[np.floating]) -> NDArray[np.float64]:
    """Difference (iterations, n) from the last row in percent of it; NaN where the last flux is not positive."""
    fluxes = np.asarray(history, dtype=np.float64)
    if fluxes.shape[0] == 0:
        return np.full(fluxes.shape, np.nan)
    end = np.where(fluxes[-1] > 0, fluxes[-1], np.nan)
    return 100 * (fluxes / end - 1)


def _scale_axes(axes: Axes, iteration: NDArray[np.integer], change: NDArray[np.float64]) -> None:
    if iteration.size and iteration[0] >= 1 and iteration[-1] > 200 * iteration[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if iteration.size > 1:
        axes.set_xlim(float(iteration[0]), float(iteration[-1]))
    finite = change[np.isfinite(change)]
    low, high = (float(np.clip(limit, -120.0, FARTHEST)) for limit in (finite.min(initial=-2.0), finite.max(initial=2.0)))
    axes.set_yscale("symlog", linthresh=SETTLED, linscale=0.6)
    axes.set_ylim(1.2 * low, 1.2 * high)
    ticks = np.array([1, 10, 100, 1000])
    axes.yaxis.set_major_locator(FixedLocator([0, *ticks[ticks <= 1.2 * high], *-ticks[ticks <= -1.2 * low]]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    axes.yaxis.set_minor_locator(FixedLocator([]))


def _summary(iteration: NDArray[np.integer], change: NDArray[np.float64], n_dark: int) -> str:
    """How far the fluxes moved at last, and which sources are missing in the picture."""
    said = []
    late = change[iteration >= 0.9 * iteration[-1]] if iteration.size > 1 else change[:0]
    if late.shape[0] > 1 and np.isfinite(late).any():
        said.append(f"fluxes moved by at most {np.nanmax(np.abs(late)):.2g} % in the last tenth of the iterations")
    if n_dark:
        said.append(f"{n_dark} without flux at the end {'is' if n_dark == 1 else 'are'} not drawn")
    sentence = "; ".join(said)
    return sentence[:1].upper() + sentence[1:]
