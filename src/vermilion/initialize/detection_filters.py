"""Matched filters over bands and sizes: how significant a source of a given size would be at each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, optimize, special

from .detection_templates import Templates, Transform, psf_width

__all__ = ["FilterBank", "combined", "significance_threshold"]

Array = NDArray[np.float64]

_NARROW = 0.5  # width of the narrow filter in units of the PSF's
_LEAST_VARIANCE = 1e-8  # of the largest: below it the FFT has no digits left


class FilterBank:
    """Filters of all bands and sizes on one grid, with their transforms.

    The first filter is a Gaussian half as wide as the PSF, which keeps neighbors apart that the matched filter melts together;
    the others are the PSF, widened by Gaussians.

    Parameters
    ----------
    psfs : ndarray, shape (B, h, w)
        Centered at pixel (h // 2, w // 2), each of sum 1.
    sizes : sequence of float
        Standard deviations [pixel] of the Gaussians by which the PSF is widened.
    shape : (int, int)
        Ny, Nx of the images.

    Attributes
    ----------
    widths : tuple of float
        Standard deviation [pixel] of each filter, the narrow one first.
    """

    def __init__(self, psfs: Array, sizes: Sequence[float], shape: tuple[int, int]) -> None:
        width = psf_width(psfs)
        self.widths = (_NARROW * width, *(math.hypot(width, size) for size in sizes))
        self._templates = Templates(psfs, shape, 3 * max(sizes))
        narrow = self._templates.gaussian(_NARROW * width)
        self._kernels = [narrow[None], *(self._templates.psfs * self._templates.gaussian(size) for size in sizes)]
        self._squares = [fft.rfft2(fft.irfft2(kernel, s=self._templates.grid) ** 2) for kernel in self._kernels]

    def snr(self, images: Array, weights: Array, *, model_error: Array | None = None) -> Array:
        """Signal-to-noise ratio of a source at each pixel, per filter and band: shape (F, B, Ny, Nx).

        ``sum(w d k) / sqrt(sum(w k^2))``, sums over all pixels, k the filter centered at the pixel: exact for any weights.

        Parameters
        ----------
        images, weights : ndarray, shape (B, Ny, Nx)
            0 where the weight is 0.
        model_error : ndarray, shape (B, Ny, Nx), optional
            Error of a model that was subtracted. It is coherent over a filter: ``sum(w k e)^2`` is added to ``sum(w k^2)``.
        """
        forward, correlate = self._templates.forward, self._correlate
        data, noise = forward(images * weights), forward(weights)
        error = None if model_error is None else forward(model_error * weights)
        found = np.zeros((len(self._kernels), *images.shape))
        for ratio, kernel, square in zip(found, self._kernels, self._squares, strict=True):
            variance = correlate(noise, square)
            usable = variance > _LEAST_VARIANCE * variance.max(axis=(1, 2), keepdims=True)
            if error is not None:
                variance += correlate(error, kernel) ** 2
            np.divide(correlate(data, kernel), np.sqrt(np.where(usable, variance, 1.0)), where=usable, out=ratio)
        return found

    def coverage(self, weights: Array) -> Array:
        """Part of a point source's filter that falls on pixels with weight in any band, shape (Ny, Nx)."""
        square = self._squares[1].mean(axis=0)
        there = self._templates.forward(np.asarray((weights > 0).any(axis=0), dtype=np.float64))
        return self._correlate(there, square) / square[0, 0].real

    def _correlate(self, transform: Transform, kernel: Transform) -> Array:
        return self._templates.inverse(transform * np.conj(kernel))


def combined(snr: Array) -> Array:
    """Signal-to-noise ratio of a source with any fluxes >= 0: root of the sum of ``max(snr_b, 0)^2`` over the bands, axis -3."""
    return np.sqrt((np.maximum(snr, 0.0) ** 2).sum(axis=-3))


def significance_threshold(sigma: float, n_bands: int, n_filters: int) -> float:
    """Value of `combined` that noise exceeds as rarely as a normal variable exceeds `sigma`, with all filters together.

    Under noise ``sum_b max(snr_b, 0)^2`` is a mixture of chi^2 with 0 to B degrees of freedom, of binomial weights.
    The number of filters enters by Bonferroni's inequality.

    >>> round(significance_threshold(5.0, 1, 1), 6)
    5.0
    """
    allowed = special.ndtr(-sigma) / n_filters
    degrees = np.arange(1, n_bands + 1)
    ways = special.gammaln(n_bands + 1) - special.gammaln(degrees + 1) - special.gammaln(n_bands - degrees + 1)
    parts = np.exp(ways - n_bands * math.log(2))

    def excess(s: float) -> float:
        return float((parts * special.chdtrc(degrees, s**2)).sum()) / allowed - 1

    if excess(0.0) <= 0:
        return 0.0
    return float(optimize.brentq(excess, 0.0, sigma + math.sqrt(2 * math.log(n_filters)) + math.sqrt(n_bands) + 2, xtol=1e-10))
