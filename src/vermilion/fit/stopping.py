"""Rules that end a fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from ..datamodels import History, Status
from ..errors import ParameterError

__all__ = ["RelativeDecrease", "Stationarity", "StopRule"]


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
        before, now = history.objective_at(-1 - self.window), history.objective_at(-1)
        return Status.CONVERGED if abs(before - now) <= self.tol * abs(before) else None

    def __repr__(self) -> str:
        return f"RelativeDecrease(tol={self.tol}, window={self.window})"


class Stationarity:
    """Stop where the prox-gradient map vanishes, which is what being a solution means.

    The fit has converged when ``|x - prox(x - t grad f)| / t`` of every block is at most `tol` times its value at the start;
    `fit` looks every `every` iterations, for one more evaluation of the loss and its gradient.

    Parameters
    ----------
    tol : float, >= 0
        0 never stops.
    every : int, >= 1

    Raises
    ------
    ParameterError
        If a number is out of range.

    References
    ----------
    Parikh & Boyd 2014, Found. Trends Optim. 1, 127, section 4.2; Beck 2017, First-Order Methods in Optimization, section 10.3.
    """

    def __init__(self, tol: float, every: int = 10) -> None:
        if not (math.isfinite(tol) and tol >= 0):
            raise ParameterError(f"tol is {tol}: expected a finite number >= 0; 0 runs all iterations.")
        if every < 1:
            raise ParameterError(f"every is {every}: expected at least 1 iteration.")
        self.tol = tol
        self.every = every

    def __call__(self, history: History, relative: Callable[[], list[float]] | None = None) -> Status | None:
        """Judge the certificate; `relative` evaluates it, each block relative to the start."""
        if self.tol == 0 or relative is None or len(history) % self.every:
            return None
        # NaN is no convergence
        return Status.CONVERGED if all(value <= self.tol for value in relative()) else None

    def __repr__(self) -> str:
        return f"Stationarity(tol={self.tol}, every={self.every})"
