"""A spectral cube, a set of broad-band images or a hyperspectral scene as it was read."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from .frame import Frame
from .matrix import Matrix
from .psf import PSF

__all__ = ["Cube"]


@dataclass(frozen=True, eq=False)
class Cube:
    """Data with its noise, its mask and its coordinates.

    Parameters
    ----------
    data : ndarray, shape (B, Ny, Nx)
        Native float32 or float64, in `frame.unit`. Negative values are normal, NaN and inf mean absent.
    variance : ndarray, shape (B, Ny, Nx), optional
        In the square of the unit. Values that are not finite or not positive mean absent.
    mask : ndarray of bool, shape (B, Ny, Nx), optional
        True = bad, as in `numpy.ma`.
    frame : Frame
        Coordinates and unit.
    psf : PSF, optional
    meta : mapping
        What else the file said: header cards, and under ``"decisions"`` which HDU was taken for what, and why.

    Raises
    ------
    ShapeError
        If arrays and frame do not agree, or the data are not native floats.
    """

    data: NDArray[np.floating[Any]]
    variance: NDArray[np.floating[Any]] | None = None
    mask: NDArray[np.bool_] | None = None
    frame: Frame = field(default=None)  # type: ignore[assignment]
    psf: PSF | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ShapeError(f"data has shape {self.data.shape}: expected (bands, y, x).")
        if self.data.dtype not in (np.dtype("f4"), np.dtype("f8")) or not self.data.dtype.isnative:
            raise ShapeError(f"data is of type {self.data.dtype}: expected native float32 or float64; use data.astype('f4').")
        if self.frame is None:
            object.__setattr__(self, "frame", Frame(shape=self.data.shape[1:], n_bands=self.data.shape[0]))
        expected = (self.frame.n_bands, *self.frame.shape)
        if self.data.shape != expected:
            raise ShapeError(f"data has shape {self.data.shape}, the frame says {expected} (bands, y, x).")
        for name in ("variance", "mask"):
            value = getattr(self, name)
            if value is not None and value.shape != self.data.shape:
                raise ShapeError(
                    f"{name} has shape {value.shape}, data has {self.data.shape}: expected equal shapes; "
                    f"broadcast one value per band first with np.broadcast_to."
                )
        if self.mask is not None and self.mask.dtype != np.bool_:
            raise ShapeError(f"mask is of type {self.mask.dtype}: expected bool, True = bad.")

    @property
    def weights(self) -> NDArray[np.floating[Any]]:
        """Inverse variances (B, Ny, Nx), finite: 0 where a value is masked, absent or without noise.

        They are 1 where no variance is given.
        They are of the data's type, or float64 where float32 could not hold them (fluxes of 1e-20).
        """
        good = np.isfinite(self.data)
        if self.mask is not None:
            good &= ~self.mask
        if self.variance is None:
            return good.astype(self.data.dtype)
        good &= np.isfinite(self.variance) & (self.variance > 0)
        weights = np.zeros(self.data.shape, dtype=np.float64)
        with np.errstate(over="ignore"):  # what overflows is absent, below
            np.divide(1.0, self.variance, out=weights, where=good)
        good &= np.isfinite(weights)
        weights[~good] = 0
        positive = weights[good]
        limits = np.finfo(np.float32)
        fits = positive.size == 0 or (positive.max() < limits.max and positive.min() > limits.tiny)
        return weights.astype(self.data.dtype) if fits else weights

    def to_matrix(self) -> Matrix:
        """The cube as a (bands × pixels) matrix, without the pixels that have no weight in any band.

        Returns
        -------
        Matrix
            Its frame remembers where the pixels were: `Frame.to_image` puts them back, NaN where dropped.
        """
        n_bands = self.data.shape[0]
        weights = self.weights.reshape(n_bands, -1)
        kept = np.flatnonzero((weights > 0).any(axis=0))
        data = self.data.reshape(n_bands, -1)[:, kept]
        weights = weights[:, kept]
        data = np.where(weights > 0, data, np.where(np.isfinite(data), data, 0))
        return Matrix(data, weights, replace(self.frame, pixels=kept))

    def __repr__(self) -> str:
        n_bands, n_y, n_x = self.data.shape
        noise = "no noise" if self.variance is None else "with variance"
        name = f"{self.meta['name']}: " if self.meta.get("name") else ""
        return f"Cube({name}{n_bands} bands x {n_y} x {n_x}, {self.data.dtype}, unit {self.frame.unit}, {noise})"

    def _repr_html_(self) -> str:
        absent = 1 - np.count_nonzero(self.weights) / self.data.size
        rows = {
            "shape (band, y, x)": " × ".join(map(str, self.data.shape)),
            "unit": self.frame.unit,
            "coordinates": repr(self.frame),
            "noise": "variance" if self.variance is not None else "none: weights are 1",
            "without weight": f"{absent:.1%}",
            "PSF": self.psf or "none",
        }
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"
