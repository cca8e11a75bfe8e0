"""CPU seconds, and the unit that makes them comparable from machine to machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["cpu_seconds", "nnls_seconds"]

Value = TypeVar("Value")


def cpu_seconds(call: Callable[[], Value]) -> tuple[Value, float]:
    """What `call` returns, and the CPU seconds of all threads that it took."""
    begin = time.process_time()
    value = call()
    return value, time.process_time() - begin


def nnls_seconds(Y: NDArray[np.floating[Any]], A: NDArray[np.floating[Any]], *, repeats: int = 3) -> float:
    """CPU seconds of `scipy.optimize.nnls` over all pixels, one after the other: the unit of cost. Median of several passes.

    Parameters
    ----------
    Y : ndarray, shape (B, N)
        NaN where missing: those bands of the pixel are left out.
    A : ndarray, shape (B, K)
    repeats : int

    Returns
    -------
    float
    """
    pixels = np.ascontiguousarray(Y.T, dtype=np.float64)
    A = np.ascontiguousarray(A, dtype=np.float64)
    there = None if np.isfinite(pixels).all() else np.isfinite(pixels)

    def all_pixels() -> None:
        for n, pixel in enumerate(pixels):
            if there is None:
                nnls(A, pixel)
            else:
                nnls(A[there[n]], pixel[there[n]])

    return median(cpu_seconds(all_pixels)[1] for _ in range(repeats))
