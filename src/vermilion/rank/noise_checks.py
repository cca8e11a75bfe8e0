"""Whether what a model leaves is white noise of the claimed size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .whitening import leading_vectors

__all__ = ["Whiteness", "binned", "whiteness"]

Array = NDArray[np.float64]

_SIGMAS = 5.0
_HARMLESS = 0.01  # correlation of neighbors that moves the edge of noise less than its margin


@dataclass(frozen=True)
class Whiteness:
    """How what is left after some components differs from white noise.

    Attributes
    ----------
    variance : float
        Mean square per degree of freedom; 1 where the claimed variances are right.
    spectral, spatial : float
        Correlation of values in neighboring bands and in neighboring pixels, beyond what removing the components made; `spatial` is that
        of the direction where it is larger, and nan where the image plane is not known.
    error : float
        Standard deviation of these correlations for white noise.
    """

    variance: float
    spectral: float
    spatial: float
    error: float

    @property
    def white(self) -> bool:
        """No correlation of neighbors that would count as components."""
        limit = max(_SIGMAS * self.error, _HARMLESS)
        return bool(max(abs(self.spectral), abs(np.nan_to_num(self.spatial))) <= limit)


def whiteness(data: Array, rank: int, positions: NDArray[np.intp] | None, width: int | None) -> Whiteness:
    """What `rank` dimensions leave of complete data with white noise of variance 1.

    Parameters
    ----------
    data : ndarray, shape (B, N)
    rank : int
    positions : ndarray of int, shape (N,), optional
        Flat index of every pixel in the image plane.
    width : int, optional
        Columns of the image plane.
    """
    n_bands, n_pixels = data.shape
    rank = min(rank, n_bands - 1, n_pixels - 1)
    basis = leading_vectors(data, rank)
    maps = basis.T @ data
    left = data - basis @ maps
    variance = float(np.sum(left**2)) / ((n_bands - rank) * (n_pixels - rank))
    bands = _lag(left, basis @ basis.T, np.arange(n_bands - 1), np.arange(1, n_bands), variance * (n_pixels - rank))
    spatial = float("nan")
    if positions is not None and width is not None:
        maps = maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), np.finfo(float).tiny)
        found = [_lag_of_pixels(left, maps, *pairs, variance * (n_bands - rank)) for pairs in _neighbors(positions, width)]
        spatial = max(found, key=abs, default=float("nan"))
    return Whiteness(variance, bands, spatial, 1 / float(np.sqrt(left.size)))


def _lag(left: Array, projector: Array, first: NDArray[np.intp], second: NDArray[np.intp], total: float) -> float:
    """Mean product of rows, over their variance; what the projection made is put back."""
    products = np.sum(left[first] * left[second], axis=1)
    return float(np.mean(products / total + projector[first, second]))


def _lag_of_pixels(left: Array, maps: Array, first: NDArray[np.intp], second: NDArray[np.intp], total: float) -> float:
    """The same for columns, without the large projector."""
    products = np.einsum("bn,bn->n", left[:, first], left[:, second])
    made = np.einsum("kn,kn->n", maps[:, first], maps[:, second])
    return float(np.mean(products / total + made))


def _neighbors(positions: NDArray[np.intp], width: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of pixels that are neighbors along x and along y, those directions left out that have none."""
    place = np.full(int(positions.max()) + width + 1, -1)
    place[positions] = np.arange(len(positions))
    along_x, along_y = place[positions + 1], place[positions + width]
    pairs = []
    for other in (np.where(positions % width < width - 1, along_x, -1), along_y):
        first = np.flatnonzero(other >= 0)
        if len(first):
            pairs.append((first, other[first]))
    return pairs


def binned(data: Array, bands: int, pixels: int, positions: NDArray[np.intp] | None, width: int | None) -> Array:
    """Sums over runs of bands and squares of pixels, over the root of their number: white noise stays as strong, smooth signal grows.

    Where the image plane is not known, bands only.
    """
    n_bands = len(data) // bands * bands
    data = data[:n_bands].reshape(n_bands // bands, bands, -1).sum(axis=1) / bands**0.5
    if positions is None or width is None or pixels == 1:
        return np.asarray(data)
    across = -(-width // pixels)
    label = positions // width // pixels * across + positions % width // pixels
    _, label, counts = np.unique(label, return_inverse=True, return_counts=True)
    order = np.argsort(label, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(data[:, order], starts, axis=1) / np.sqrt(counts)
    return np.asarray(sums[:, 2 * counts >= pixels**2])
