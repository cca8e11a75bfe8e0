"""Data in units of their noise: every value with variance 1, whatever the file said or did not say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NoDataError

__all__ = ["Whitened", "regression_noise", "whiten"]

Array = NDArray[np.float64]

_ENOUGH = 0.5  # bands and pixels of which less than this part of the usual is there are left out
_FILLS = 4
_RIDGE = 1e-3  # of a pixel with all bands: what is hardly seen is taken for faint
_ROUNDING = 1e-6  # of the signal: single precision
_CONSTANT = 1e-12


@dataclass(frozen=True, eq=False)
class Whitened:
    """``X = (√u Y √v)`` with W ≈ u vᵀ, or u from the data themselves where no variances are given.

    Attributes
    ----------
    data : ndarray, shape (B', N')
        Bands and pixels with enough data; what is missing is 0.
    present : ndarray of bool, shape (B', N'), or None
        Where there is a datum; None: everywhere.
    claimed : bool
        The noise is what variances say; otherwise it is measured band by band.
    bands, pixels : ndarray of int
        Which of the rows and columns of Y these are.
    band_scale : ndarray, shape (B',)
        Data of these bands in Y are multiplied by it (and by a factor by pixel, where variances are given).
    uneven : float
        Relative scatter of the noise variances that ``u vᵀ`` leaves; 0 where W is such a product.
    """

    data: Array
    present: NDArray[np.bool_] | None
    claimed: bool
    bands: NDArray[np.intp]
    pixels: NDArray[np.intp]
    band_scale: Array
    uneven: float = 0.0

    @property
    def missing(self) -> float:
        """Share of the values that is not there."""
        return 0.0 if self.present is None else 1 - float(self.present.mean())

    def completed(self, rank: int, *, seed: int = 0) -> Array:
        """The data with a model of `rank` dimensions plus simulated noise in place of what is missing: noise is the same everywhere."""
        if self.present is None:
            return self.data
        there, full = self.present, self.data.copy()
        for _ in range(_FILLS if rank else 0):
            basis = leading_vectors(full, rank)
            full = np.where(there, self.data, basis @ _coordinates(basis, self.data, there))
        model = np.where(there, 0.0, full)
        left = residual(full, rank)[there]
        noise = np.random.default_rng(seed).normal(scale=float(np.sqrt(np.mean(left**2))), size=full.shape)
        return np.where(there, self.data, model + noise)

    def rescaled(self, sigma: Array) -> Whitened:
        """The same with every band divided by `sigma` (B',)."""
        return replace(self, data=self.data / sigma[:, None], band_scale=self.band_scale / sigma)


def _coordinates(basis: Array, data: Array, there: NDArray[np.bool_]) -> Array:
    """Coordinates (r, N) by least squares over the values that are there; a few bright pixels would take long by iteration."""
    rank = basis.shape[1]
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    systems = (there.T.astype(np.float64) @ products).reshape(-1, rank, rank) + _RIDGE * np.eye(rank)
    return np.asarray(np.linalg.solve(systems, (data.T @ basis)[:, :, None])[:, :, 0].T)


def whiten(Y: NDArray[Any], W: NDArray[Any] | None) -> Whitened:
    """Data in units of their noise.

    Parameters
    ----------
    Y : ndarray, shape (B, N)
        May hold NaN where the weight is 0.
    W : ndarray, shape (B, N), optional
        Inverse variances. None: all values that are finite are there; their noise is measured band by band by regression on the others.

    Raises
    ------
    NoDataError
        Nothing finite and different from 0 has a positive weight, or fewer than 3 bands or pixels have enough data.
    """
    there = np.isfinite(Y) if W is None else (W > 0) & np.isfinite(Y)
    seen, present = there.sum(axis=1), there.sum(axis=0)
    if not there.any():
        raise NoDataError("no finite value has a positive weight: there is nothing to count components in.")
    bands = np.flatnonzero((seen > 0) & (seen >= _ENOUGH * np.median(seen[seen > 0])))
    pixels = np.flatnonzero((present > 0) & (present >= _ENOUGH * np.median(present[present > 0])))
    if len(bands) < 3 or len(pixels) < 3:
        raise NoDataError(f"{len(bands)} bands and {len(pixels)} pixels have enough data: expected at least 3 of each.")
    index = np.ix_(bands, pixels)
    there, data = there[index], np.where(there[index], Y[index], 0).astype(np.float64)
    size = float(np.sqrt(np.mean(data**2, where=there)))
    if size == 0:
        raise NoDataError("no finite value different from 0 has a positive weight: there is nothing to count components in.")
    data /= size  # 1e-20 squared is nothing, or close to it
    holes = None if there.all() else there
    if W is None:
        alive = np.mean(data**2, axis=1) > _CONSTANT**2
        plain = Whitened(
            data[alive], None if holes is None else holes[alive], False, bands[alive], pixels, np.full(int(alive.sum()), 1 / size)
        )
        return plain.rescaled(_measured_noise(plain))
    weights = np.where(there, W[index], 0).astype(np.float64)
    weights /= weights.max()  # so that products neither overflow nor vanish
    u, v = _product(weights, there)
    relative = weights / (u[:, None] * v)  # 1 where W is a product
    uneven = float(np.std(relative[there]) / np.mean(relative[there]))
    scale = np.sqrt(u) * float(np.sqrt(np.max(W[index], initial=0.0, where=there)))
    return Whitened(data * (scale * size)[:, None] * np.sqrt(v), holes, True, bands, pixels, scale, uneven)


def _product(weights: Array, there: NDArray[np.bool_]) -> tuple[Array, Array]:
    """u (B,) and v (N,) with ``u vᵀ`` close to the weights, by means in turn."""
    u, v = np.ones(len(weights)), np.ones(weights.shape[1])
    for _ in range(3):
        u = weights.sum(axis=1) / np.maximum((there * v).sum(axis=1), np.finfo(float).tiny)
        v = weights.sum(axis=0) / np.maximum((there * u[:, None]).sum(axis=0), np.finfo(float).tiny)
    return u, v


def _measured_noise(plain: Whitened) -> Array:
    """Noise of every band (B,), by regression where there are enough pixels, else from what a low-dimensional model leaves."""
    n_bands, n_pixels = plain.data.shape
    rank = max(1, min(n_bands, n_pixels) // 4)
    data = plain.completed(min(rank, 10)) if plain.present is not None else plain.data
    if n_pixels > 1.5 * n_bands:
        sigma = np.sqrt(np.mean(regression_noise(data) ** 2, axis=1) * n_pixels / (n_pixels - n_bands + 1))
    else:
        sigma = band_noise(data, rank)
    floor = _ROUNDING * np.sqrt(np.mean(data**2, axis=1))  # noiseless data: what is left is rounding
    return np.asarray(np.maximum(sigma, np.maximum(floor, np.finfo(float).tiny)))


def regression_noise(data: NDArray[Any]) -> Array:
    """What of every band (B, N) the other bands do not predict by least squares.

    References
    ----------
    Roger & Arnold 1996, Int. J. Remote Sens. 17, 1951; Bioucas-Dias & Nascimento 2008, IEEE TGRS 46, 2435, Algorithm 1.
    """
    scale = np.sqrt(np.mean(np.square(data, dtype=np.float64), axis=1))
    scale[scale == 0] = 1
    X = data / scale[:, None]
    gram = X @ X.T
    inverse = np.linalg.inv(gram + 1e-12 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    # the residual of band b is row b of the inverse Gram matrix times the data, over its diagonal entry
    return np.asarray((inverse @ X) / np.diag(inverse)[:, None] * scale[:, None])


def leading_vectors(data: Array, rank: int) -> Array:
    """Orthonormal columns (B, rank) that span the most of the data."""
    if len(data) <= data.shape[1]:
        return np.asarray(np.linalg.eigh(data @ data.T)[1][:, ::-1][:, :rank])
    right = np.linalg.eigh(data.T @ data)[1][:, ::-1][:, :rank]
    return np.asarray(np.linalg.qr(data @ right)[0])


def residual(data: Array, rank: int) -> Array:
    """What the leading `rank` dimensions leave."""
    if rank == 0:
        return data
    basis = leading_vectors(data, rank)
    return np.asarray(data - basis @ (basis.T @ data))


def band_noise(data: Array, rank: int) -> Array:
    """Root mean square (B,) of what `rank` dimensions leave, per degree of freedom."""
    n_pixels = data.shape[1]
    basis = leading_vectors(data, rank)
    left = data - basis @ (basis.T @ data)
    free = np.maximum(1 - np.sum(basis**2, axis=1), 0.1) * max(n_pixels - rank, 1)
    return np.asarray(np.sqrt(np.sum(left**2, axis=1) / free))
