"""First fluxes and sizes of detected sources, blend by blend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from .detection_templates import Templates, psf_width

__all__ = ["Fitted", "fit_fluxes"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fitted:
    """Round sources fitted to images.

    Parameters
    ----------
    scales : ndarray, shape (n,)
        Standard deviation [pixel] of the Gaussian by which each is wider than the PSF.
    fluxes : ndarray, shape (n, B)
    snr : ndarray, shape (n,)
        Root of the sum over bands of ``(flux / error)^2``, the error that of a source alone.
    """

    scales: Array
    fluxes: Array
    snr: Array


def fit_fluxes(images: Array, weights: Array, psfs: Array, centers: Array, labels: NDArray[np.int32], sizes: tuple[float, ...]) -> Fitted:
    """Sizes and fluxes of round sources at known centers.

    Within a blend (footprints that touch) the coadd is fitted by non-negative least squares with all sources in all sizes. The mean
    size of a source there is its size in the fit of the bands, one by one.

    Parameters
    ----------
    images, weights : ndarray, shape (B, Ny, Nx)
        0 where the weight is 0.
    psfs : ndarray, shape (B, h, w)
    centers : ndarray, shape (n, 2)
    labels : ndarray, shape (Ny, Nx)
        k + 1 in the footprint of source k.
    sizes : tuple of float
        Standard deviations [pixel] of the Gaussians to choose from.

    Returns
    -------
    Fitted
    """
    fitted = Fitted(np.zeros(len(centers)), np.zeros((len(centers), len(images))), np.zeros(len(centers)))
    blends, _ = ndimage.label(labels > 0, structure=np.ones((3, 3)))
    margin = math.ceil(2 * psf_width(psfs))
    for blend, found in enumerate(ndimage.find_objects(blends), 1):
        box = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in found)
        members = np.unique(labels[found][blends[found] == blend]) - 1
        own = (blends[box] == blend) | (blends[box] == 0)
        corner = np.array([s.start for s in box])
        blended = _blend(images[:, *box], weights[:, *box] * own, psfs, centers[members] - corner, np.array(sizes))
        fitted.scales[members], fitted.fluxes[members], fitted.snr[members] = blended.scales, blended.fluxes, blended.snr
    return fitted


def _blend(images: Array, weights: Array, psfs: Array, centers: Array, sizes: Array) -> Fitted:
    n = len(centers)
    light = np.maximum((images * weights).sum(axis=(1, 2)), 0.0) / np.maximum(weights.sum(axis=(1, 2)), 1e-300)
    spectrum = (light / light.max() if light.any() else np.ones_like(light))[:, None, None]
    weight = (spectrum**2 * weights).sum(axis=0)
    right = (spectrum * weights * images).sum(axis=0)
    parts = spectrum[:, 0, 0] ** 2 * weights.sum(axis=(1, 2))
    psf = np.tensordot(parts / max(parts.sum(), 1e-300), psfs, 1)
    shape = images.shape[1:]
    columns = Templates(psf[None], shape, 3 * sizes.max()).sources(np.repeat(centers, len(sizes), axis=0), np.tile(sizes, n))[:, 0]
    mixture = _non_negative(columns, weight, right).reshape(n, len(sizes))
    total = mixture.sum(axis=1)
    scales = np.divide(mixture @ sizes, total, where=total > 0, out=np.zeros(n))
    rendered = Templates(psfs, shape, 3 * sizes.max()).sources(centers, scales)
    fluxes = np.stack([_non_negative(rendered[:, b], weights[b], weights[b] * images[b]) for b in range(len(images))], axis=1)
    information = (rendered**2 * weights).sum(axis=(2, 3))
    return Fitted(scales, fluxes, np.sqrt((fluxes**2 * information).sum(axis=1)))


def _non_negative(columns: Array, weight: Array, right: Array) -> Array:
    """Fluxes f >= 0 with the least ``sum(w (d - sum f m)^2)``, from ``w d``; 0 for columns without weight."""
    matrix = columns.reshape(len(columns), -1)
    gram = (matrix * weight.ravel()) @ matrix.T
    seen = np.flatnonzero(np.diag(gram) > 0)
    fluxes = np.zeros(len(columns))
    if len(seen):
        scale = 1 / np.sqrt(np.diag(gram)[seen])
        system = gram[np.ix_(seen, seen)] * scale[:, None] * scale + 1e-10 * np.eye(len(seen))
        root = np.linalg.cholesky(system)
        target = np.linalg.solve(root, scale * (matrix[seen] @ right.ravel()))
        fluxes[seen] = scale * optimize.nnls(root.T, target, maxiter=50 * len(seen))[0]
    return fluxes
