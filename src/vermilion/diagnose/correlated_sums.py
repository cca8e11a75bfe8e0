"""Weighted sums of values whose noise is correlated with that of their neighbors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.optimize import brentq

from ..errors import ParameterError

__all__ = ["CorrelationKernel"]

Array = NDArray[Any]

_BOX = re.compile(r"^(\d+)x(\d+)x(\d+)$")
_NEGLIGIBLE = 1e-4
_NEARLY_ONE = 1 - 1e-9


@dataclass(frozen=True)
class CorrelationKernel:
    """Correlation ``spectral**(dl²) * spatial**(dy² + dx²)`` of voxels that are dl bands, dy rows and dx columns apart.

    The autocorrelation of a Gaussian, and near to that of the triangles and squares with which cubes are resampled.

    Attributes
    ----------
    spectral, spatial : float
        Correlation of neighbors, from 0 to below 1.
    """

    spectral: float = 0.0
    spatial: float = 0.0

    @classmethod
    def of(cls, factors: Mapping[str, float] | None) -> CorrelationKernel:
        """The kernel under which sums over boxes are noisier by `factors`, those of `Frame.noise_correlation`.

        The widest square of spaxels and the longest run of bands decide; where there is no such run, the deepest cuboid over the square.

        Parameters
        ----------
        factors : mapping of str to float, or None
            By box, bands x rows x columns: ``{"1x3x3": 1.3, "5x5x5": 1.7}``. None: no correlation.

        Raises
        ------
        ParameterError
            If a box or a factor is not understood.
        """
        sides = {_sides(box): float(value) for box, value in (factors or {}).items()}
        if not all(np.isfinite(value) and value > 0 for value in sides.values()):
            raise ParameterError(f"noise_correlation is {factors!r}: expected finite factors > 0.")
        squares = {box: value for box, value in sides.items() if box[0] == 1 and box[1] == box[2] > 1}
        runs = {box: value for box, value in sides.items() if box[0] > 1 and box[1:] == (1, 1)}
        cuboids = {box: value for box, value in sides.items() if box[0] > 1 and box[1] > 1}
        spatial = spectral = 0.0
        if squares:
            widest = max(squares)
            spatial = _neighbor(widest[1], squares[widest])  # two equal axes: the factor is the variance of one
        if runs:
            longest = max(runs)
            spectral = _neighbor(longest[0], runs[longest] ** 2)
        elif cuboids:
            deepest = max(cuboids)
            within = np.prod([_variance(n, spatial) for n in deepest[1:]])
            spectral = _neighbor(deepest[0], float(cuboids[deepest] ** 2 / within))
        return cls(spectral, spatial)

    def factor(self, box: tuple[int, int, int]) -> float:
        """How much noisier a sum over a box (bands, rows, columns) is than one of independent values.

        Examples
        --------
        >>> round(CorrelationKernel(spectral=0.5).factor((2, 1, 1)) ** 2, 6)
        1.5
        """
        bands, rows, columns = box
        variance = _variance(bands, self.spectral) * _variance(rows, self.spatial) * _variance(columns, self.spatial)
        return float(np.sqrt(variance))

    def over_bands(self, weights: Array) -> Array:
        """``sqrt(wᵀ C w / wᵀ w)``, C the correlation of bands, shape (...); 1 where all weights are 0.

        Parameters
        ----------
        weights : ndarray, shape (B, ...)
            Coefficients of a sum over bands, times the standard deviations of the values.
        """
        total = (weights * weights).sum(axis=0)
        variance = total.copy()
        for lag, correlation in enumerate(_taps(self.spectral)[1:], start=1):
            if lag < len(weights):
                variance += 2 * correlation * (weights[lag:] * weights[:-lag]).sum(axis=0)
        return _root(variance, total)

    def over_spaxels(self, weights: Array) -> Array:
        """``sqrt(wᵀ C w / wᵀ w)``, C the correlation of spaxels, shape (...); 1 where all weights are 0.

        Parameters
        ----------
        weights : ndarray, shape (..., Ny, Nx)
            Coefficients of a sum over spaxels, times the standard deviations of the values.
        """
        half = _taps(self.spatial)
        taps = np.concatenate([half[:0:-1], half])
        smooth = correlate1d(correlate1d(weights, taps, axis=-1, mode="constant"), taps, axis=-2, mode="constant")
        return _root((weights * smooth).sum(axis=(-2, -1)), (weights * weights).sum(axis=(-2, -1)))


def _sides(box: str) -> tuple[int, int, int]:
    match = _BOX.match(box)
    if match is None or "0" in match.groups():
        raise ParameterError(f"noise_correlation has the box {box!r}: expected bands x rows x columns such as '1x3x3'.")
    bands, rows, columns = map(int, match.groups())
    return bands, rows, columns


def _variance(n: int, neighbor: float) -> float:
    """Variance of a sum of n values in a row over that of independent ones."""
    lag = np.arange(1, n)
    return float(1 + 2 * ((1 - lag / n) * neighbor ** (lag**2)).sum())


def _neighbor(n: int, variance: float) -> float:
    """Correlation of neighbors that gives `variance`; 0 where sums are quieter than independent ones."""
    if variance <= 1:
        return 0.0
    if variance >= _variance(n, _NEARLY_ONE):
        return _NEARLY_ONE
    return float(brentq(lambda q: _variance(n, q) - variance, 0.0, _NEARLY_ONE))


def _taps(neighbor: float) -> Array:
    """Correlations at the lags 0, 1, 2, ... that matter."""
    if neighbor < _NEGLIGIBLE:
        return np.ones(1)
    reach = int(np.ceil(np.sqrt(np.log(_NEGLIGIBLE) / np.log(neighbor))))
    return np.asarray(neighbor ** (np.arange(min(reach, 1000) + 1.0) ** 2))


def _root(variance: Array, total: Array) -> Array:
    ratio = np.divide(variance, total, out=np.ones_like(total), where=total > 0)
    return np.sqrt(np.maximum(ratio, 0.0))
