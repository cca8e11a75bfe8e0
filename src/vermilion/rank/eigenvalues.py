"""Which eigenvalues of data made white are larger than noise alone would make them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

from .whitening import residual

__all__ = ["Edge", "claimed_edge", "eigengap", "eigenvalues", "largest_noise_eigenvalue", "measured_edge", "sign_flips"]

Array = NDArray[np.float64]

FALSE_ALARM = 0.005  # probability that noise alone counts as one component
# Tracy-Widom law of real data as a shifted gamma law, Chiani 2014, table 1
_TRACY_WIDOM = gamma(46.446, loc=-9.84801, scale=0.186054)
_GAPS = 4  # rounds and points of the slope, Onatski 2010


@dataclass(frozen=True, eq=False)
class Edge:
    """How many eigenvalues stand above the largest one of noise.

    Attributes
    ----------
    count : int
    edge : float
        The largest eigenvalue that noise has with probability 0.995, in the unit of `eigenvalues`.
    variance : float
        Of the noise, in units of the one that the data were divided by.
    """

    count: int
    edge: float
    variance: float


def eigenvalues(data: Array) -> Array:
    """Eigenvalues of ``X Xᵀ / N``, shape (min(B, N),), descending."""
    gram = data @ data.T if len(data) <= data.shape[1] else data.T @ data
    return np.asarray(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0) / data.shape[1])


def largest_noise_eigenvalue(n_bands: int, n_pixels: int, *, false_alarm: float = FALSE_ALARM) -> float:
    """What the largest eigenvalue of ``E Eᵀ / N`` exceeds with probability `false_alarm`, E white noise (B, N) of variance 1.

    References
    ----------
    Johnstone 2001, Ann. Statist. 29, 295; Ma 2012, Bernoulli 18, 322 (centers); Chiani 2014, J. Multivar. Anal. 129, 69 (quantiles).

    Examples
    --------
    >>> round(largest_noise_eigenvalue(100, 10000), 3)
    1.222
    """
    p, n = (max(size, 1) - 0.5 for size in (n_bands, n_pixels))
    center = (p**0.5 + n**0.5) ** 2
    width = (p**0.5 + n**0.5) * (p**-0.5 + n**-0.5) ** (1 / 3)
    return float((center + width * _TRACY_WIDOM.isf(false_alarm)) / n_pixels)


def claimed_edge(values: Array, n_bands: int, n_pixels: int) -> Edge:
    """Eigenvalues above the edge of noise of variance 1."""
    for k, value in enumerate(values):
        edge = largest_noise_eigenvalue(n_bands - k, n_pixels - k)
        if value <= edge:
            return Edge(k, edge, 1.0)
    return Edge(len(values), 0.0, 1.0)


def measured_edge(values: Array, n_bands: int, n_pixels: int) -> Edge:
    """Eigenvalues above the edge of white noise whose variance is measured from the eigenvalues below.

    References
    ----------
    Kritchman & Nadler 2008, Chemom. Intell. Lab. Syst. 94, 19; 2009, IEEE Trans. Signal Process. 57, 3930.
    """
    most = max(1, len(values) // 2)
    variance = edge = 0.0
    for k in range(most):
        variance = _noise_variance(values, k, n_bands, n_pixels)
        edge = variance * largest_noise_eigenvalue(n_bands - k, n_pixels - k)
        if values[k] <= edge:
            return Edge(k, edge, variance)
    return Edge(most, edge, variance)


def _noise_variance(values: Array, k: int, n_bands: int, n_pixels: int) -> float:
    """Variance of the noise if `k` eigenvalues are signal; what those took of the noise, and it of them, is put back."""
    free = n_bands - k
    variance = plain = float(values[k:].sum()) / free
    for _ in range(10):
        # an eigenvalue l of a signal r above the noise v is r + v + v (B - K)/N (r + v)/r: solve for r + v
        total = values[:k] + variance - variance * free / n_pixels
        under = np.maximum(total**2 - 4 * values[:k] * variance, 0)
        true = (total + np.sqrt(under)) / 2
        variance = max(plain + float(np.sum(values[:k] - true)) / free, plain)
    return variance


def sign_flips(data: Array, count: int, *, rounds: int = 8, seed: int = 0) -> Edge:
    """Eigenvalues above the largest one of the residual with random signs, whose variances are the same and whose structure is gone.

    For noise that is white but not equally strong everywhere.

    Parameters
    ----------
    data : ndarray, shape (B, N)
    count : int
        A first guess of the number; what so many dimensions leave is taken for noise.
    rounds : int
        Drawings; the edge is that of white noise, times their mean over what white noise has in the mean.
    seed : int

    References
    ----------
    Hong, Sheng & Dobriban 2023, arXiv:2012.02985 (random sign flips).
    """
    rng = np.random.default_rng(seed)
    left = residual(data, count)
    n_bands, n_pixels = data.shape
    free = (1 - count / n_bands) * (1 - count / n_pixels)
    left = left / np.sqrt(free)
    tops = [eigenvalues(left * (rng.integers(0, 2, size=left.shape, dtype=np.int8) * 2.0 - 1.0))[0] for _ in range(rounds)]
    variance = float(np.mean(left**2))
    usual = largest_noise_eigenvalue(n_bands, n_pixels, false_alarm=0.5)
    stretch = max(float(np.mean(tops)) / (variance * usual), 1.0)  # 1 where the noise is equally strong everywhere
    edge = stretch * variance * largest_noise_eigenvalue(n_bands, n_pixels)
    return Edge(int(np.count_nonzero(eigenvalues(data) > edge)), edge, variance)


def eigengap(values: Array, most: int) -> int:
    """Number of eigenvalues before the last gap that is wider than those between eigenvalues of noise.

    Holds for noise that is moderately correlated.

    References
    ----------
    Onatski 2010, Rev. Econ. Stat. 92, 1004 ("edge distribution").
    """
    most = min(most, len(values) - _GAPS - 2)
    if most < 1:
        return 0
    gaps = values[:most] - values[1 : most + 1]
    start, found = most, -1
    for _ in range(_GAPS):
        ranks = (start + np.arange(_GAPS + 1.0)) ** (2 / 3)
        slope = np.polyfit(ranks, values[start : start + _GAPS + 1], 1)[0]
        wide = np.flatnonzero(gaps >= 2 * abs(slope))
        now = int(wide[-1]) + 1 if len(wide) else 0
        if now == found:
            break
        start, found = min(now, len(values) - _GAPS - 2), now
    return found
