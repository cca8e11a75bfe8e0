"""Images of simple sources at any sub-pixel position, by FFT."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["Templates", "Transform", "gaussian_psfs", "psf_width"]

Array = NDArray[np.float64]
Transform = NDArray[np.inexact[Any]]

_SIGMAS_PER_FWHM = 1 / math.sqrt(8 * math.log(2))


class Templates:
    """Sources of flux 1 as the bands show them, on one grid.

    Parameters
    ----------
    psfs : ndarray, shape (B, h, w)
        Centered at pixel (h // 2, w // 2), each of sum 1.
    shape : (int, int)
        Ny, Nx.
    reach : float
        How far [pixel] the sources extend beyond the PSF.

    Attributes
    ----------
    grid : (int, int)
        Size of the FFT: what sticks out of the images by less than the PSF and `reach` comes not back in on the other side.
    y, x : ndarray
        Angular frequencies along the axes, shapes (grid[0], 1) and (1, grid[1] // 2 + 1).
    psfs : ndarray of complex
        Transforms of the PSFs, their center at the first pixel.
    """

    def __init__(self, psfs: Array, shape: tuple[int, int], reach: float) -> None:
        self.shape = shape
        self.grid = tuple(fft.next_fast_len(n + m // 2 + math.ceil(reach), real=True) for n, m in zip(shape, psfs.shape[1:], strict=True))
        self.y = 2 * np.pi * fft.fftfreq(self.grid[0])[:, None]
        self.x = 2 * np.pi * fft.rfftfreq(self.grid[1])[None]
        self.psfs: Transform = fft.rfft2(_on_grid(psfs, self.grid))

    def forward(self, images: Array) -> Transform:
        """Transforms of images (..., Ny, Nx)."""
        return fft.rfft2(images, s=self.grid)

    def inverse(self, transforms: Transform) -> Array:
        """Images (..., Ny, Nx)."""
        return fft.irfft2(transforms, s=self.grid)[..., : self.shape[0], : self.shape[1]]

    def gaussian(self, size: Array | float) -> Array:
        """Transform of circular Gaussians with standard deviation `size` [pixel]."""
        exponent = -0.5 * np.asarray(size, dtype=np.float64)[..., None, None] ** 2
        return np.exp(exponent * self.y**2) * np.exp(exponent * self.x**2)

    def at(self, centers: Array) -> Transform:
        """Transforms of points at `centers` (n, 2), in pixels (y, x)."""
        y, x = centers.T[:, :, None, None]
        return np.exp(-1j * y * self.y) * np.exp(-1j * x * self.x)

    def sources(self, centers: Array, sizes: Array) -> Array:
        """Images (n, B, Ny, Nx) of points at `centers` widened by Gaussians of `sizes` (n,)."""
        return self.inverse((self.at(centers) * self.gaussian(sizes))[:, None] * self.psfs)


def gaussian_psfs(fwhm: Array) -> Array:
    """Circular Gaussians (B, n, n) of the given full widths at half maximum [pixel], each of sum 1."""
    sigma = fwhm[:, None] * _SIGMAS_PER_FWHM
    half = max(2, math.ceil(4 * float(sigma.max())))
    profile = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    images = profile[:, :, None] * profile[:, None, :]
    return images / images.sum(axis=(1, 2), keepdims=True)


def psf_width(psfs: Array) -> float:
    """Standard deviation [pixel] of the Gaussian whose noise-equivalent area, ``4 pi sigma^2``, is that of the median PSF."""
    areas = psfs.sum(axis=(1, 2)) ** 2 / (psfs**2).sum(axis=(1, 2))
    return math.sqrt(float(np.median(areas)) / (4 * math.pi))


def _on_grid(psfs: Array, grid: tuple[int, ...]) -> Array:
    """PSFs on the grid of the FFT, their central pixel at its first one; what does not fit is cut off."""
    half = [min(n // 2, (g - 1) // 2) for n, g in zip(psfs.shape[1:], grid, strict=True)]
    cy, cx = (n // 2 for n in psfs.shape[1:])
    cut = psfs[:, cy - half[0] : cy + half[0] + 1, cx - half[1] : cx + half[1] + 1]
    padded: Array = np.zeros((len(psfs), *grid))
    padded[:, : cut.shape[1], : cut.shape[2]] = cut
    return np.roll(padded, (-half[0], -half[1]), axis=(1, 2))
