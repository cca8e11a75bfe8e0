"""Rules that end a fit."""

from __future__ import annotations

import math
from typing import Protocol

from ..datamodels import History, Status
from ..errors import ParameterError

__all__ = ["RelativeDecrease", "StopRule"]


class StopRule(Protocol):
    """Contract: look at the history, return a `Status` to stop, None to go on."""

    def __call__(self, history: History) -> Status | None:
        """Judge the history."""


class RelativeDecrease:
    """Stop when the whole objective no longer decreases.

    The fit has converged when the objective F fell over the last `window` iterations by less than
    ``tol |F|``; a rise counts as no decrease only while it stays within `tol` too.

    Parameters
    ----------
    tol : float, >= 0
        0 never stops.
    window : int, >= 1

    Raises
    ------
    ParameterError
        If a number is out of range.
    """

    def __init__(self, tol: float, window: int = 10) -> None:
        if not (math.isfinite(tol) and tol >= 0):
            raise ParameterError(f"tol is {tol}: expected a finite number >= 0; 0 runs all iterations.")
        if window < 1:
            raise ParameterError(f"window is {window}: expected at least 1 iteration.")
        self.tol = tol
        self.window = window

    def __call__(self, history: History) -> Status | None:
        """Compare the last objective with the one `window` iterations before."""
        if self.tol == 0 or len(history) <= self.window:
            return None
        before, now = (float(value) for value in history.objective[[-1 - self.window, -1]])
        return Status.CONVERGED if abs(before - now) <= self.tol * abs(before) else None

    def __repr__(self) -> str:
        return f"RelativeDecrease(tol={self.tol}, window={self.window})"
