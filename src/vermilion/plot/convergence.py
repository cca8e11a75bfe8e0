"""How the objective came down."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..datamodels import Result
from .style import COLORS, new_figure, styled

__all__ = ["convergence"]


@styled
def convergence(result: Result, *, axes: Axes | None = None) -> Axes:
    """Objective minus its best value against iteration, logarithmic; the title says how the fit ended.

    Parameters
    ----------
    result : Result
    axes : Axes, optional
        Where to draw; by default those of a new figure.

    Returns
    -------
    Axes
    """
    axes = axes if axes is not None else new_figure(9.0, 5.0).add_subplot()
    iteration, objective = result.history.iteration, result.history.objective
    finite = np.isfinite(objective)
    best = float(objective[finite].min()) if finite.any() else float("nan")
    above = finite & (objective > best)
    if above.any():
        few = {"marker": "o", "ms": 4} if above.sum() < 60 else {}
        axes.semilogy(iteration[above], objective[above] - best, color=COLORS[0], lw=1.8, **few)
        axes.grid(color="0.9", lw=0.8)
        axes.set_xlim(0.5, len(iteration) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    else:
        axes.text(0.5, 0.5, "no decrease was recorded", transform=axes.transAxes, ha="center", va="center", color="0.4")
        axes.set(xticks=[], yticks=[])
    axes.set_xlabel("Iteration")
    axes.set_ylabel("Objective − best")
    sentence = f"{result.status.value[0].upper()}{result.status.value[1:]} ({len(iteration)} iterations)"
    axes.set_title("\n".join(textwrap.wrap(sentence, 88)), loc="left", fontsize=12, parse_math=False)
    if np.isfinite(best):
        axes.text(0.98, 0.96, f"best = {best:.8g}", transform=axes.transAxes, ha="right", va="top")
    return axes
