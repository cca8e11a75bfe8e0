"""Steps from the curvature along the last move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .backtracking import Backtracking
from .base import Trial

__all__ = ["BarzilaiBorwein"]

_LONGEST = 10.0


class BarzilaiBorwein(Backtracking):
    """Steps |d|^2 / <d, y> or <d, y> / |y|^2, y the change of the gradient along the last move d.

    The shorter one is taken where the two disagree by more than a factor of two. A move is accepted if it lowers the whole
    objective by at least ``0.1 sum |d|^2 / step`` for a convex prox, which allows steps close to twice the safe ones;
    otherwise the step shrinks.

    References
    ----------
    Barzilai & Borwein 1988, IMA J. Numer. Anal. 8, 141; the choice between the two: Zhou, Gao & Dai 2006, Comput. Optim.
    Appl. 35, 69; with a prox: Wright, Nowak & Figueiredo 2009, IEEE Trans. Signal Process. 57, 2479.
    """

    def __init__(self) -> None:
        super().__init__()

    def accepts(self, groups: Sequence[dict[str, Any]], trial: Trial) -> bool:
        """Demand sufficient decrease, and set the next step."""
        curvature = trial.curvature
        # F(x + d) - F(x) <= (curvature / 2 - 1) sum |d|^2 / step for a convex prox
        if curvature > 1.8:
            self._scale(groups, max(0.1, min(0.5, 0.9 / curvature)))
            return False
        if trial.length > 0:
            self._scale(groups, _ratio(trial))
        return True

    def __repr__(self) -> str:
        return "BarzilaiBorwein()"


def _ratio(trial: Trial) -> float:
    """Next step in units of the last."""
    if trial.twist <= 0:  # no curvature along the move
        return _LONGEST
    long = trial.length / trial.twist
    short = trial.twist / trial.turn if trial.turn > 0 else long
    return min(max(short if short < 0.5 * long else long, 1 / _LONGEST), _LONGEST)
