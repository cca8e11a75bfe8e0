"""Is the noise what the file says it is, how faint can a component be, and how much memory does a fit need?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ..datamodels import Cube
from ..errors import NoDataError

__all__ = ["NoiseReport", "detection_floor", "memory_estimate", "scatter_ratio"]

Array = NDArray[Any]

_WINDOW = 51  # bands: wide against a line, narrow against a continuum
_BOX = 3
_MAX_BOXES = 100
_MAX_SUMS = 50_000  # bands times boxes that tell a scatter to half a percent
_CALIBRATION = 200_000
_EMPTIEST = 0.25
_SAMPLED_BANDS = 100
_MIN_BANDS = 3
_MAD = 1.482602218505602  # 1 / Phi^-1(3/4): median absolute deviation of a normal distribution to its sigma
_COVERED = 0.9


@dataclass(frozen=True, kw_only=True)
class NoiseReport:
    """Scatter of the emptiest spaxels, alone and over the 1-sigma errors that the file claims.

    Attributes
    ----------
    voxel : float or None
        Scatter about the local continuum / claimed sigma, per voxel; 1 where the errors are right. None without errors.
    box : float or None
        The same for sums over 3 × 3 spaxels, sigma added in quadrature: above `voxel` where neighbors are correlated. None without
        errors or where no whole box fits.
    adjacent : float or None
        Scatter of the differences of adjacent bands / their claimed sigma: below `voxel` where bands are correlated.
    scatter : float
        Scatter per voxel in the unit of the data.
    n_spaxels, n_boxes : int
        How many were used.
    window : int
        Bands of the running median, or all bands where there are fewer than 51.
    """

    voxel: float | None
    box: float | None
    adjacent: float | None
    scatter: float
    n_spaxels: int
    n_boxes: int
    window: int

    @property
    def method(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"1.4826 MAD about the median of {self.window} bands, in the {self.n_spaxels} spaxels "
            f"({self.n_boxes} boxes of {_BOX} x {_BOX}) with the least median flux"
        )


def scatter_ratio(cube: Cube) -> NoiseReport:
    """The scatter in the emptiest spaxels beside the claimed noise.

    Boxes of 3 × 3 spaxels are ordered by their median flux; of those with data in at least 90 % of the bands the lowest quarter is
    used (at most 100 boxes, more where bands are few). The continuum of each spectrum is its running median over 51 bands, or
    its median where there are fewer; the scatter is 1.4826 times the median absolute deviation, over what the same
    measurement gives for simulated white noise of sigma 1.

    Parameters
    ----------
    cube : Cube
        Any unit. Values without weight are left out.

    Raises
    ------
    NoDataError
        If the cube has fewer than 3 bands, or no spaxel with enough data.
    """
    n_bands = len(cube.data)
    if n_bands < _MIN_BANDS:
        raise NoDataError(f"the cube has {n_bands} bands: expected at least {_MIN_BANDS} to tell noise from continuum.")
    pixels = _emptiest(cube)
    data, weights = _spectra(cube, pixels)
    window = min(_WINDOW, n_bands)
    residual = _without_continuum(data, weights > 0, window)
    white = _white_noise_spread(n_bands, window)
    claimed = cube.variance is not None
    has_boxes = pixels.shape[1] == _BOX**2
    return NoiseReport(
        voxel=_robust_sigma((residual * np.sqrt(weights))[weights > 0]) / white if claimed else None,
        box=_box_ratio(data, weights, window, white) if claimed and has_boxes else None,
        adjacent=_adjacent_ratio(data, weights) if claimed else None,
        scatter=_robust_sigma(residual[weights > 0]) / white,
        n_spaxels=pixels.size,
        n_boxes=len(pixels) if has_boxes else 0,
        window=window,
    )


def detection_floor(n_bands: int, n_pixels: int) -> float:
    """Signal-to-noise ‖a s‖/σ below which a blind component is lost in the noise, (B·N)^¼.

    Parameters
    ----------
    n_bands, n_pixels : int
        B and N, counting what carries weight.

    Examples
    --------
    >>> round(detection_floor(600, 1600), 1)
    31.3
    """
    return float((n_bands * n_pixels) ** 0.25)


def memory_estimate(n_bands: int, n_pixels: int, n_components: int, *, itemsize: int = 4) -> int:
    """Bytes that a fit in memory needs at its peak, to about a factor of 1.5.

    Counted per voxel: data, variance and mask as read; Y and W; both once more, scaled, in the solver; model and residual when the
    products are written. Beside that the factors with their extrapolations, gradients and errors.

    Parameters
    ----------
    n_bands, n_pixels, n_components : int
        B, N and K.
    itemsize : int
        Bytes per number, 4 for float32.
    """
    voxels = n_bands * n_pixels
    factors = n_components * (n_bands + n_pixels)
    return voxels * (8 * itemsize + 1) + 8 * factors * itemsize


# ---------------------------------------------------------------- which spaxels


def _emptiest(cube: Cube) -> Array:
    """Flat indices of the emptiest spaxels, shape (n, 9) in whole boxes or (n, 1)."""
    flux, coverage = _sky(cube)
    for box in (_BOX, 1):
        pixels = _boxes(flux.shape, box)
        pixels = pixels[(coverage.ravel()[pixels] >= _COVERED).all(axis=1)]
        if len(pixels):
            brightness = flux.ravel()[pixels].mean(axis=1)
            most = max(_MAX_BOXES, _MAX_SUMS // len(cube.data)) * (_BOX // box) ** 2
            count = min(max(int(_EMPTIEST * len(pixels)), 4), most, len(pixels))
            return pixels[np.argsort(brightness, kind="stable")[:count]]
    raise NoDataError(f"no spaxel has data in {_COVERED:.0%} of the bands: the noise cannot be measured.")


def _sky(cube: Cube) -> tuple[Array, Array]:
    """Median flux (Ny, Nx) over at most 100 bands that have data at all, and the share of them with weight."""
    alive = np.flatnonzero([np.isfinite(plane).any() for plane in cube.data])
    bands = alive[:: -(-len(alive) // _SAMPLED_BANDS) or 1]
    good = _part(cube, (bands,)).weights > 0
    carrying = good.any(axis=(1, 2))
    if not carrying.any():
        raise NoDataError("no value with weight in the bands that were sampled: the noise cannot be measured.")
    bands, good = bands[carrying], good[carrying]
    values = np.where(good, cube.data[bands], 0)
    return np.median(values, axis=0), good.mean(axis=0)


def _part(cube: Cube, index: tuple[Any, ...]) -> Cube:
    return Cube(
        cube.data[index],
        None if cube.variance is None else cube.variance[index],
        None if cube.mask is None else cube.mask[index],
    )


def _boxes(shape: tuple[int, ...], box: int) -> Array:
    """Flat indices of whole boxes that tile the image, shape (n, box²)."""
    n_y, n_x = shape[0] // box * box, shape[1] // box * box
    index = np.arange(shape[0] * shape[1]).reshape(shape)[:n_y, :n_x]
    return index.reshape(n_y // box, box, n_x // box, box).swapaxes(1, 2).reshape(-1, box * box)


def _spectra(cube: Cube, pixels: Array) -> tuple[Array, Array]:
    """Data and weights of `pixels`, shape (B, n, m), in float64; 0 where there is no weight."""
    y, x = np.unravel_index(pixels, cube.data.shape[1:])
    part = _part(cube, (slice(None), y.ravel(), x.ravel(), None))
    weights = part.weights.astype(np.float64).reshape(-1, *pixels.shape)
    data = np.where(weights > 0, part.data.reshape(weights.shape), 0).astype(np.float64)
    return data, weights


# ---------------------------------------------------------------- how they scatter


def _without_continuum(data: Array, good: Array, window: int) -> Array:
    """Data (B, ...) without their running median along the bands; gaps are bridged by straight lines."""
    flat = data.reshape(len(data), -1).copy()
    mask = good.reshape(flat.shape)
    bands = np.arange(len(flat))
    for column in np.flatnonzero(~mask.all(axis=0) & mask.any(axis=0)):
        ok = mask[:, column]
        flat[~ok, column] = np.interp(bands[~ok], bands[ok], flat[ok, column])
    running = window >= _WINDOW
    continuum = median_filter(flat, size=(window, 1), mode="reflect") if running else np.median(flat, axis=0, keepdims=True)
    return (flat - continuum).reshape(data.shape)


def _white_noise_spread(n_bands: int, window: int) -> float:
    """What the same measurement gives for white noise of sigma 1: below 1, as a median follows the values it is taken from."""
    noise = np.random.default_rng(0).normal(size=(n_bands, -(-_CALIBRATION // n_bands)))
    return _robust_sigma(_without_continuum(noise, np.ones(noise.shape, dtype=bool), window))


def _box_ratio(data: Array, weights: Array, window: int, white: float) -> float | None:
    """Scatter of sums over boxes / sigma added in quadrature, in the bands where the whole box has data."""
    good: Array = np.all(weights > 0, axis=2)
    if not good.any():
        return None
    variance = np.divide(1.0, weights, out=np.ones_like(weights), where=weights > 0).sum(axis=2)
    residual = _without_continuum(data.sum(axis=2), good, window)
    return _robust_sigma((residual / np.sqrt(variance))[good]) / white


def _adjacent_ratio(data: Array, weights: Array) -> float | None:
    good = (weights[1:] > 0) & (weights[:-1] > 0)
    if not good.any():
        return None
    variance = 1 / weights[1:][good] + 1 / weights[:-1][good]
    return _robust_sigma(np.diff(data, axis=0)[good] / np.sqrt(variance))


def _robust_sigma(values: Array) -> float:
    return float(_MAD * np.median(np.abs(values - np.median(values))))
