"""Steps from two gradients in a row, without any search."""

from __future__ import annotations

import math
from typing import Any

from .base import Change, StepRule

__all__ = ["AdaptivePGM"]


class AdaptivePGM(StepRule):
    """Steps that grow until the curvature seen along the last move forbids it; no trial, no line search.

    With ``l = <d, y> / |d|^2`` and ``L = |y| / |d|``, y the change of the gradient along the last move d, step t becomes

        ``t min{ sqrt(1 + t / t_before), 1 / (2 sqrt([t^2 L^2 - t l]_+)) }``

    The prox-gradient method with these steps converges for every convex f with locally Lipschitz gradient, though the
    objective need not fall in each step.

    References
    ----------
    Latafat, Themelis, Stella & Patrinos 2023, arXiv:2301.04431, Algorithm 2.1; Malitsky & Mishchenko 2020, ICML.
    """

    def start(self, group: dict[str, Any], curvature: float) -> None:
        """Begin with 1 / curvature."""
        group["curvature"] = curvature
        group["step"] = group["step_before"] = 1 / curvature

    def size(self, group: dict[str, Any]) -> float:
        """The step; 0 as long as no gradient was seen."""
        return group["step"] if self.started(group) else 0.0

    def observe(self, group: dict[str, Any], change: Change) -> None:
        """Set the next step."""
        if not self.started(group):
            return
        step, before = group["step"], group["step_before"]
        growth = math.sqrt(1 + step / before)
        excess = step * step * change.turn / change.length - step * change.twist / change.length
        if excess > 0:
            growth = min(growth, 0.5 / math.sqrt(excess))
        group["step_before"], group["step"] = step, step * growth

    def __repr__(self) -> str:
        return "AdaptivePGM()"
