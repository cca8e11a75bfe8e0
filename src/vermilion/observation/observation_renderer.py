"""The whole way from a scene in the model frame to the images of one observation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from astropy import units as u
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import ArrayLike, NDArray

from ..datamodels import PSF
from ..errors import ParameterError, ShapeError
from ..renderers import Convolution, Renderer, Resampling, Sequence, affine_positions, inside_frame, sky_positions
from .psf_images import psf_images
from .psf_matching import Kernels, difference_kernels, psf_widths

__all__ = ["observation_renderer", "pixel_scale", "resample_psfs"]

Array = NDArray[np.floating[Any]]

# Two grids are one where no pixel center is farther off than this, in pixels.
SAME_GRID = 1e-3
# Change of pixel scale or rotation across the image up to which one PSF on the model grid will do.
WORST_DISTORTION = 0.01
# Bounds on the smoothing for which images are resampled: below, the model frame is undersampled; above, nothing is gained.
SMOOTHING = 0.8, 2.0


def observation_renderer(
    psf: ArrayLike | PSF | tuple[str, Any] | tuple[str, Any, Any],
    n_bands: int,
    model_shape: tuple[int, int],
    model_sigma: float | None = None,
    *,
    data_shape: tuple[int, int] | None = None,
    model_wcs: WCS | None = None,
    data_wcs: WCS | None = None,
) -> tuple[Renderer, Kernels]:
    """Renderer of a scene onto the images of one observation, and the kernels in it with their notes.

    Without coordinate systems, or where both grids agree to 0.001 pixel, it is the convolution with the difference kernels.
    Otherwise the PSF is brought to the model's pixels, the scene convolved there, and the result sampled at the images' pixel centers:
    fluxes are kept, whatever the pixel sizes.

    Parameters
    ----------
    psf
        As `psf_images` takes it, in pixels of the images.
    n_bands : int
        Number of bands B.
    model_shape : (int, int)
        Rows and columns (H, W) of the model frame.
    model_sigma : float, > 0, optional
        Standard deviation of the PSF of the model frame, in its pixels; None: chosen from the PSFs. Several observations
        of one scene need one value: the smallest that `choose_model_sigma` gives for any.
    data_shape : (int, int), optional
        Rows and columns (Ny, Nx) of the images; None: those of the model frame.
    model_wcs, data_wcs : WCS, optional
        Sky coordinates of the model frame and of the images; both or none.

    Returns
    -------
    renderer : Renderer
    kernels : Kernels
        Difference kernels on the model grid, and the notes of the whole chain.

    Raises
    ------
    ShapeError
        If the shapes differ and no coordinate systems tell how the grids lie.
    ParameterError
        If one coordinate system is given without the other, or no pixel of the images lies in the model frame.

    Examples
    --------
    >>> renderer, kernels = observation_renderer(("moffat", 3.5, 3.0), 5, (58, 48))
    >>> renderer(torch.ones(1, 58, 48)).shape, kernels.model_sigma, kernels.notes
    (torch.Size([5, 58, 48]), 0.8, ())
    """
    data_shape = model_shape if data_shape is None else data_shape
    if (model_wcs is None) != (data_wcs is None):
        raise ParameterError("one of model_wcs and data_wcs is missing: expected both, or none where the grids are the same.")
    stamps = psf_images(psf, n_bands, pixel_scale=pixel_scale(data_wcs))
    positions = _other_grid(model_shape, data_shape, model_wcs, data_wcs)
    if positions is None:
        kernels = difference_kernels(stamps, model_sigma)
        return Convolution(kernels.kernels, model_shape), kernels
    covered = inside_frame(positions, model_shape)
    if not covered.any():
        raise ParameterError("no pixel of the images lies in the model frame: expected overlapping fields; check model_wcs and data_wcs.")
    jacobian = _jacobian(positions)
    stamps = resample_psfs(stamps, jacobian)
    kernels = difference_kernels(stamps, model_sigma)
    smoothing = float(np.clip(psf_widths(stamps).min(), *SMOOTHING))
    resampling = Resampling(positions, model_shape, n_bands, smoothing=smoothing)
    notes = (*kernels.notes, *_grid_notes(positions, jacobian, covered))
    return Sequence(Convolution(kernels.kernels, model_shape), resampling), replace(kernels, notes=notes)


def resample_psfs(psfs: Array, jacobian: Array) -> Array:
    """PSF stamps (B, h, w) on pixels of another frame, centered, odd-sized, of sum 1.

    Parameters
    ----------
    psfs : ndarray, shape (B, h, w)
        As `psf_images` gives them.
    jacobian : ndarray, shape (2, 2)
        Pixels of the other frame per pixel of the stamps, rows and columns in the order y, x.
    """
    half = np.array(psfs.shape[1:]) // 2
    # Half the size of the box that the stamp's own box fills on the other grid.
    height, width = (2 * max(int(n), 1) + 1 for n in np.ceil(np.abs(jacobian) @ half))
    inverse = np.linalg.inv(jacobian)
    positions = affine_positions(inverse, half - inverse @ np.array([height // 2, width // 2]), (height, width))
    smoothing = float(np.clip(psf_widths(psfs).min(), *SMOOTHING))
    resampling = Resampling(positions, (psfs.shape[1], psfs.shape[2]), len(psfs), smoothing=smoothing)
    return psf_images(resampling(torch.from_numpy(psfs)).numpy(), len(psfs))


def pixel_scale(wcs: WCS | None) -> u.Quantity | None:
    """Angle per pixel: the root of the product of those along both axes."""
    if wcs is None or not wcs.has_celestial:
        return None
    celestial = wcs.celestial
    scales = proj_plane_pixel_scales(celestial) * u.Unit(celestial.wcs.cunit[0])
    return np.sqrt(scales[0] * scales[1])


def _other_grid(model_shape: tuple[int, int], data_shape: tuple[int, int], model_wcs: WCS | None, data_wcs: WCS | None) -> Array | None:
    """Positions of the images' pixels in the model frame; None where the grids are the same."""
    if model_wcs is None or data_wcs is None:
        if tuple(data_shape) != tuple(model_shape):
            raise ShapeError(
                f"data_shape is {tuple(data_shape)}, model_shape {tuple(model_shape)}: expected equal shapes, or model_wcs and data_wcs."
            )
        return None
    positions = sky_positions(model_wcs, data_wcs, data_shape)
    same = affine_positions(np.eye(2), np.zeros(2), data_shape)
    if tuple(data_shape) == tuple(model_shape) and np.abs(positions - same).max() < SAME_GRID:
        return None
    return positions


def _jacobian(positions: Array) -> Array:
    """Median over the image of model pixels per data pixel, shape (2, 2)."""
    return np.stack([np.nanmedian(np.diff(positions, axis=axis), axis=(0, 1)) for axis in (0, 1)], axis=1)


def _grid_notes(positions: Array, jacobian: Array, covered: NDArray[np.bool_]) -> Iterator[str]:
    changes = [np.nanmax(np.abs(np.diff(positions, axis=axis) - jacobian[:, axis])) for axis in (0, 1)]
    distortion = max(changes) / np.sqrt(abs(np.linalg.det(jacobian)))
    if distortion > WORST_DISTORTION:
        yield f"pixel scale or rotation change by up to {distortion:.1%} across the images; the PSF is that of their middle everywhere."
    outside = 1 - covered.mean()
    if outside > 0:
        yield (
            f"{outside:.1%} of the images' pixels lie outside the model frame and are modeled as empty: "
            "give them weight 0 or a larger model frame."
        )
