"""What the model leaves of the data: residual images, residual noise per band, chi-square."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..datamodels import Cube, Result
from ..errors import ParameterError, ShapeError

__all__ = ["ResidualStatistics", "WhiteLight", "reduced_chi_square", "residual_statistics", "white_light"]

# Of a normal distribution, sigma = 1.4826 times the median absolute deviation.
MAD_TO_SIGMA = 1.482602218505602
# Voxels handled at once: the copies of a tile take some 70 MB, whatever the size of the cube.
TILE_VOXELS = 2**20

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class WhiteLight:
    """Images of data, model and residual, combined over the same voxels of all bands.

    Attributes
    ----------
    data, model, residual : ndarray, shape (Ny, Nx)
        In the unit of the data; NaN where no band has weight.
    sigma : ndarray, shape (Ny, Nx), or None
        What the variances say the noise of `data` is; None if the cube has no variance.
    combine : str
        ``"mean"``, ``"sum"`` or ``"weighted"``.
    """

    data: Float
    model: Float
    residual: Float
    sigma: Float | None
    combine: str


@dataclass(frozen=True, eq=False, kw_only=True)
class ResidualStatistics:
    """Scatter of data minus model in every band, and chi-square.

    Attributes
    ----------
    rms, robust : ndarray, shape (B,), or None
        Root mean square, and 1.4826 times the median absolute deviation, of the residuals divided by the claimed noise; NaN in
        bands without weight. 1 is what the variances promise. None if the cube has no variance.
    rms_flux, robust_flux : ndarray, shape (B,)
        The same in the unit of the data.
    n_voxels : ndarray of int, shape (B,)
        Voxels with weight.
    n_free : int
        Dimension of the set of rank-K matrices, K (B + N - K): what an unconstrained model can adapt to the data. B and N count
        bands and pixels with weight.
    """

    rms: Float | None
    robust: Float | None
    rms_flux: Float
    robust_flux: Float
    n_voxels: NDArray[np.int64]
    n_free: int

    @property
    def chi_square(self) -> float:
        """Sum of weighted squared residuals; NaN if the cube has no variance."""
        if self.rms is None:
            return float("nan")
        seen = self.n_voxels > 0
        return float(np.sum(self.n_voxels[seen] * self.rms[seen] ** 2))

    @property
    def degrees_of_freedom(self) -> int:
        """Voxels with weight minus `n_free`; active constraints would add to it."""
        return int(self.n_voxels.sum()) - self.n_free

    @property
    def reduced_chi_square(self) -> float:
        """Chi-square per degree of freedom; NaN where there is none, or no variance."""
        return self.chi_square / self.degrees_of_freedom if self.degrees_of_freedom > 0 else float("nan")


def white_light(result: Result, cube: Cube, *, combine: Literal["mean", "sum", "weighted"] = "mean") -> WhiteLight:
    """Images of data, model and residual, combined over the bands.

    A voxel counts in all three images or in none: it must have weight in the cube and a finite model.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx).
    cube : Cube
        What was fitted.
    combine : {"mean", "sum", "weighted"}
        Plain mean or sum over the bands with weight, or the mean with inverse variances as weights. The sum is dimmer where bands
        are missing; the weighted mean sees other bands in bright pixels than in faint ones.

    Returns
    -------
    WhiteLight

    Raises
    ------
    ShapeError
        If result and cube do not have the same bands and pixels.
    ParameterError
        If `combine` is none of the three.
    """
    if combine not in ("mean", "sum", "weighted"):
        raise ParameterError(f"combine is {combine!r}: expected 'mean', 'sum' or 'weighted'.")
    totals = np.zeros((4, cube.frame.shape[0] * cube.frame.shape[1]))
    for _, data, model, weights in _tiles(result, cube):
        seen = weights > 0
        share = weights if combine == "weighted" else seen.astype(np.float64)
        noise = np.divide(share**2, weights, out=np.zeros_like(weights), where=seen)
        totals += [np.sum(values, axis=0) for values in (share, share * data, share * model, noise)]
    share, data, model, noise = totals
    share = np.where(share > 0, np.ones_like(share) if combine == "sum" else share, np.nan)
    images = [(values / share).reshape(cube.frame.shape) for values in (data, model, data - model, np.sqrt(noise))]
    sigma = images[3] if cube.variance is not None else None
    return WhiteLight(data=images[0], model=images[1], residual=images[2], sigma=sigma, combine=combine)


def residual_statistics(result: Result, cube: Cube) -> ResidualStatistics:
    """Scatter of the residuals in every band, in units of the claimed noise and of flux, and chi-square.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx).
    cube : Cube
        What was fitted.

    Returns
    -------
    ResidualStatistics

    Raises
    ------
    ShapeError
        If result and cube do not have the same bands and pixels.

    Notes
    -----
    Header variances are often not the noise: resampled cubes correlate neighboring voxels. A reduced chi-square of 1 is neither
    a proof of a good fit nor a rule when to stop.
    """
    n_bands, n_pixels = cube.frame.n_bands, cube.frame.shape[0] * cube.frame.shape[1]
    scatter = np.full((4, n_bands), np.nan)
    n_voxels = np.zeros(n_bands, dtype=np.int64)
    pixel_seen = np.zeros(n_pixels, dtype=bool)
    for first, data, model, weights in _tiles(result, cube):
        pixel_seen |= (weights > 0).any(axis=0)
        for row in range(len(data)):
            seen = weights[row] > 0
            residual = data[row, seen] - model[row, seen]
            pull = residual * np.sqrt(weights[row, seen])
            n_voxels[first + row] = residual.size
            if residual.size:
                scatter[:, first + row] = _rms(pull), _robust(pull), _rms(residual), _robust(residual)
    rank = result.n_components
    return ResidualStatistics(
        rms=None if cube.variance is None else scatter[0],
        robust=None if cube.variance is None else scatter[1],
        rms_flux=scatter[2],
        robust_flux=scatter[3],
        n_voxels=n_voxels,
        n_free=rank * (int(np.count_nonzero(n_voxels)) + int(pixel_seen.sum()) - rank),
    )


def reduced_chi_square(result: Result, cube: Cube) -> float:
    """Chi-square per degree of freedom; NaN without variances or without degrees of freedom.

    See Also
    --------
    residual_statistics : the same together with the scatter per band.
    """
    return residual_statistics(result, cube).reduced_chi_square


def _tiles(result: Result, cube: Cube) -> Iterator[tuple[int, Float, Float, Float]]:
    """First band, data, model and weights (bands, pixels) of one tile of bands after the other.

    Weights are 0 wherever data or model are absent, and data and model are finite everywhere.
    """
    expected = (cube.frame.n_bands, *cube.frame.shape)
    found = (len(result.spectra), *result.morphologies.shape[1:])
    if found != expected:
        raise ShapeError(
            f"the result has shape {found}, the cube {expected} (bands, y, x): expected the cube that was fitted, "
            f"and maps; Frame.to_image makes maps of (K, N) morphologies."
        )
    spectra = result.spectra.astype(np.float64)
    maps = result.amounts.reshape(result.n_components, -1).astype(np.float64)
    band_known = np.asarray(np.isfinite(spectra).all(axis=1))
    pixel_known = np.asarray(np.isfinite(maps).all(axis=0))
    spectra, maps = np.where(band_known[:, None], spectra, 0), np.where(pixel_known, maps, 0)
    step = max(1, TILE_VOXELS // maps.shape[1])
    for first in range(0, len(spectra), step):
        bands = slice(first, first + step)
        part = _bands(cube, bands)
        weights = part.weights.reshape(len(part.data), -1).astype(np.float64)
        weights *= band_known[bands, None] & pixel_known
        data = np.where(weights > 0, part.data.reshape(weights.shape), 0).astype(np.float64)
        yield first, data, spectra[bands] @ maps, weights


def _bands(cube: Cube, bands: slice) -> Cube:
    """Some bands of a cube, without coordinates: its weights are those of the whole cube."""
    variance = None if cube.variance is None else cube.variance[bands]
    mask = None if cube.mask is None else cube.mask[bands]
    return Cube(cube.data[bands], variance=variance, mask=mask)


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _robust(values: NDArray[Any]) -> float:
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))
