"""Where the numbers of a cube or a matrix stand: on the sky, along the spectrum, in which unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ..errors import ShapeError

__all__ = ["Frame"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """Coordinates and unit of the (band, y, x) samples of a cube, and of the pixels kept of it.

    Parameters
    ----------
    shape : tuple of int
        Size of the image plane, (Ny, Nx).
    n_bands : int
        Number of bands B.
    unit : Unit or tuple of Unit
        Unit of the data: one for all bands, or one per band.
    spectral_axis : Quantity, shape (B,), optional
        Band centers in the file's own unit and medium; nothing is converted.
    band_names : tuple of str, optional
        Names of the bands where there is no spectral axis (broad-band images).
    wcs : astropy.wcs.WCS, optional
        World coordinates of the cube, pixel axes in FITS order (x, y, band).
    pixels : ndarray of int, shape (N,), optional
        Flat indices ``y * Nx + x`` of the pixels kept by `Cube.to_matrix`. None: all of them.
    lsf : Quantity, shape (B,), optional
        Full width at half maximum of the line-spread function.
    noise_correlation : dict, optional
        Factor by which sums over boxes are noisier than the variances say, by box, for example ``{"1x3x3": 1.3}``.
    """

    shape: tuple[int, int]
    n_bands: int
    unit: Any = u.dimensionless_unscaled
    spectral_axis: u.Quantity | None = None
    band_names: tuple[str, ...] | None = None
    wcs: Any = None
    pixels: NDArray[np.int64] | None = None
    lsf: u.Quantity | None = None
    noise_correlation: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1 or self.n_bands < 1:
            raise ShapeError(f"shape is {self.shape} with {self.n_bands} bands: expected (Ny, Nx) and at least one band and pixel.")
        if self.spectral_axis is not None and self.spectral_axis.shape != (self.n_bands,):
            raise ShapeError(f"spectral_axis has shape {self.spectral_axis.shape}, expected ({self.n_bands},).")
        if self.band_names is not None and len(self.band_names) != self.n_bands:
            raise ShapeError(f"{len(self.band_names)} band names for {self.n_bands} bands.")
        if isinstance(self.unit, tuple) and len(self.unit) != self.n_bands:
            raise ShapeError(f"{len(self.unit)} units for {self.n_bands} bands: give one unit, or one per band.")

    @property
    def n_pixels(self) -> int:
        """Number of pixels kept, N."""
        return self.shape[0] * self.shape[1] if self.pixels is None else len(self.pixels)

    def to_image(self, values: NDArray[Any], *, fill: float = np.nan) -> NDArray[Any]:
        """Images of `values`, with `fill` where a pixel was dropped.

        Parameters
        ----------
        values : ndarray, shape (..., N)
        fill : float
            Written into the dropped pixels.

        Returns
        -------
        ndarray, shape (..., Ny, Nx)
        """
        values = np.asarray(values)
        if values.shape[-1:] != (self.n_pixels,):
            raise ShapeError(f"values has shape {values.shape}, expected (..., {self.n_pixels}): one per kept pixel.")
        if self.pixels is None:
            return values.reshape(*values.shape[:-1], *self.shape)
        image = np.full((*values.shape[:-1], self.shape[0] * self.shape[1]), fill, dtype=values.dtype)
        image[..., self.pixels] = values
        return image.reshape(*values.shape[:-1], *self.shape)

    def to_pixels(self, images: NDArray[Any]) -> NDArray[Any]:
        """The kept pixels of `images`: the inverse of `to_image`.

        Parameters
        ----------
        images : ndarray, shape (..., Ny, Nx)

        Returns
        -------
        ndarray, shape (..., N)
        """
        images = np.asarray(images)
        if images.shape[-2:] != tuple(self.shape):
            raise ShapeError(f"images has shape {images.shape}, expected (..., {self.shape[0]}, {self.shape[1]}).")
        flat = images.reshape(*images.shape[:-2], self.shape[0] * self.shape[1])
        return flat if self.pixels is None else flat[..., self.pixels]

    def __repr__(self) -> str:
        axis = "no spectral axis"
        if self.spectral_axis is not None:
            axis = f"{self.spectral_axis[0]:.6g} to {self.spectral_axis[-1]:.6g}"
        elif self.band_names is not None:
            axis = ", ".join(self.band_names)
        size = f"{self.n_bands} bands ({axis}) x {self.shape[0]} x {self.shape[1]}"
        return f"Frame({size}, {self.n_pixels} pixels kept, unit {self.unit})"
