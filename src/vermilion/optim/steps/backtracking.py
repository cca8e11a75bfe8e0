"""Steps that are shortened until the move is safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import StepRule, Trial

__all__ = ["Backtracking"]

_MAX_FACTOR = 1e12
# where the curvature is exactly 1 / step, rounding must not decide
_SLACK = 1e-6


class Backtracking(StepRule):
    """Steps factor / L_g: L_g is the curvature of group g at the start, one factor for all groups is searched.

    A move is accepted if ``f(x + d) <= f(x) + <grad f, d> + sum |d|^2 / (2 step)``; then every convex prox lowers the
    whole objective. Otherwise the factor shrinks by what the violation suggests. After an accepted move it grows.

    Parameters
    ----------
    growth : float, >= 1

    References
    ----------
    Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183, section 4; the gradient form of the test where losses agree to
    rounding: Becker et al. 2011, Math. Prog. Comp. 3, 165, section 5.3.
    """

    searches = True

    def __init__(self, growth: float = 1.1) -> None:
        self.growth = growth

    def start(self, group: dict[str, Any], curvature: float) -> None:
        """Remember the curvature of the group."""
        group["curvature"] = curvature
        group["factor"] = 1.0

    def size(self, group: dict[str, Any]) -> float:
        """Factor / curvature; 0 as long as no gradient was seen."""
        return group["factor"] / group["curvature"] if self.started(group) else 0.0

    def accepts(self, groups: Sequence[dict[str, Any]], trial: Trial) -> bool:
        """Compare the curvature along the move with 1 / step."""
        curvature = trial.curvature
        accepted = curvature <= 1 + _SLACK
        # a move of length 0 teaches nothing; the bound keeps a flat loss from driving the factor to overflow
        growth = self.growth if trial.length > 0 else 1.0
        self._scale(groups, growth if accepted else max(0.1, min(0.5, 0.9 / curvature)))
        return accepted

    def _scale(self, groups: Sequence[dict[str, Any]], change: float) -> None:
        for group in groups:
            if self.started(group):
                group["factor"] = min(group["factor"] * change, _MAX_FACTOR)

    def __repr__(self) -> str:
        return f"Backtracking(growth={self.growth})"
