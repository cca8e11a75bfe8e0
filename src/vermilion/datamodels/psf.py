"""The point-spread function that a file carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ..errors import ShapeError

__all__ = ["PSF"]


@dataclass(frozen=True, eq=False, kw_only=True)
class PSF:
    """Point-spread function per band, as an image, as the parameters of a profile, or both.

    Parameters
    ----------
    image : ndarray, shape (B, h, w), optional
        Each band sums to 1.
    fwhm : Quantity, shape (B,), optional
        Full width at half maximum.
    beta : ndarray, shape (B,), optional
        Power of a Moffat profile; None with `fwhm`: a Gaussian.
    source : str
        Where it comes from, for example ``"FSF keywords, field 1"``.
    """

    image: NDArray[np.floating[Any]] | None = None
    fwhm: u.Quantity | None = None
    beta: NDArray[np.floating[Any]] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.image is None and self.fwhm is None:
            raise ShapeError("a PSF needs an image (B, h, w) or a fwhm (B,).")
        if self.image is not None and (self.image.ndim != 3 or not np.isfinite(self.image).all()):
            raise ShapeError(f"image has shape {self.image.shape}: expected finite values of shape (B, h, w).")
        if self.fwhm is not None and self.beta is not None and np.shape(self.beta) != self.fwhm.shape:
            raise ShapeError(f"beta has shape {np.shape(self.beta)}, fwhm has {self.fwhm.shape}: expected equal shapes.")

    @property
    def n_bands(self) -> int:
        """Number of bands B."""
        return len(self.fwhm) if self.image is None else len(self.image)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        if self.fwhm is not None:
            kind = "Gaussian" if self.beta is None else "Moffat"
            return f"PSF({kind}, fwhm {self.fwhm.min():.3g} to {self.fwhm.max():.3g}, {self.n_bands} bands)"
        return f"PSF(image {self.image.shape})" if self.image is not None else "PSF()"
