"""Point-spread functions as centered stamps, one per band."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from ..datamodels import PSF
from ..errors import ParameterError, ShapeError
from .psf_moments import stamp_moments
from .psf_profiles import profile_stamps
from .psf_wings import without_noisy_wings

__all__ = ["psf_images", "shift_stamp"]

Array = NDArray[np.floating[Any]]

# Stamps this close to the middle, in pixels, are not shifted.
ON_CENTER = 2e-3


def psf_images(
    psf: ArrayLike | PSF | tuple[str, Any] | tuple[str, Any, Any], n_bands: int, *, pixel_scale: u.Quantity | None = None
) -> Array:
    """PSF stamps of odd size, centered on the middle pixel to 0.01 pixel, each of sum 1.

    Stamps are shifted by their centroid (weighted by a Gaussian of the PSF's own width, so that noise in the wings does not
    count) in Fourier space, which is exact for a PSF that is Nyquist-sampled; stamps of even size get one row or column of zeros.
    Negative pixels stay: clipping noise at 0 would widen the PSF. Where the noise of a stamp adds up to more than 5 % of its
    light, wings fainter than the noise become their mean over ellipses, and 0 from where that mean is not significant. Profiles
    are sampled at pixel centers: a FWHM is understood as that of a star in the image, the response of the pixel included.

    Parameters
    ----------
    psf : array_like, PSF or tuple
        Stamps (B, h, w), or a list of B stamps of any sizes, one stamp (h, w) for all bands, a `PSF` (its image where it has one),
        ``("gaussian", fwhm)`` or ``("moffat", fwhm, beta)``; fwhm and beta one number, or one per band;
        fwhm in pixels, or an angle.
    n_bands : int
        Number of bands B.
    pixel_scale : Quantity, optional
        Angle per pixel; needed where a FWHM is an angle.

    Returns
    -------
    ndarray, shape (B, h, w)
        float64.

    Raises
    ------
    ShapeError
        If the number of stamps is neither 1 nor B, or a stamp is smaller than 3 × 3.
    ParameterError
        If a stamp is not finite or has no positive sum, a width is not positive, or the profile is unknown.
    UnitError
        If a FWHM is an angle and `pixel_scale` is missing.

    Examples
    --------
    >>> stamps = psf_images(("gaussian", [2.0, 3.0]), 2)
    >>> stamps.shape, stamps.sum(axis=(1, 2)).round(6).tolist()
    ((2, 13, 13), [1.0, 1.0])
    """
    if isinstance(psf, PSF):
        psf = psf.image if psf.image is not None else _profile_of(psf)
    if isinstance(psf, tuple) and psf and isinstance(psf[0], str):
        return profile_stamps(psf, n_bands, pixel_scale)
    stamps = [without_noisy_wings(_centered(stamp)) for stamp in _as_stamps(psf, n_bands)]
    shape = np.max([stamp.shape for stamp in stamps], axis=0)
    margins = [(shape - stamp.shape) // 2 for stamp in stamps]
    padded = [np.pad(stamp, tuple((n, n) for n in margin)) for stamp, margin in zip(stamps, margins, strict=True)]
    return np.broadcast_to(np.stack(padded), (n_bands, *shape)).copy()


def shift_stamp(stamp: Array, shift: Array) -> Array:
    """A stamp moved by (y, x) pixels, by the shift theorem; what leaves the stamp is lost."""
    height, width = stamp.shape
    margin = int(np.ceil(np.abs(shift).max())) + 8
    # An odd size has no Nyquist frequency, whose phase would be ambiguous.
    rows, columns = (n + 2 * margin + (n + 1) % 2 for n in (height, width))
    phase = np.exp(-2j * np.pi * (shift[0] * np.fft.fftfreq(rows)[:, None] + shift[1] * np.fft.rfftfreq(columns)))
    padded = np.pad(stamp, ((margin, rows - height - margin), (margin, columns - width - margin)))
    moved = np.fft.irfft2(np.fft.rfft2(padded) * phase, s=(rows, columns))
    return moved[margin : margin + height, margin : margin + width]


def _profile_of(psf: PSF) -> tuple[Any, ...]:
    return ("gaussian", psf.fwhm) if psf.beta is None else ("moffat", psf.fwhm, psf.beta)


def _as_stamps(psf: Any, n_bands: int) -> list[Array]:
    """One stamp, or one per band, as given but of sum 1."""
    items = list(psf) if isinstance(psf, Iterable) else []
    stamps = [np.asarray(item, dtype=float) for item in (items if items and np.ndim(items[0]) == 2 else [items])]
    if len(stamps) not in (1, n_bands) or any(stamp.ndim != 2 or min(stamp.shape) < 3 for stamp in stamps):
        shapes = ", ".join(str(stamp.shape) for stamp in stamps)
        raise ShapeError(f"psf holds stamps of shape {shapes}: expected {n_bands}, or one for all bands, of at least 3 × 3 pixels.")
    if not all(np.isfinite(stamp).all() for stamp in stamps):
        raise ParameterError("psf has non-finite pixels: expected finite stamps; set missing pixels to 0.")
    smallest = min(stamp.sum() for stamp in stamps)
    if not smallest > 0:
        raise ParameterError(f"a PSF stamp sums to {smallest:g}: expected a positive sum.")
    return [stamp / stamp.sum() for stamp in stamps]


def _centered(stamp: Array) -> Array:
    """The stamp in odd sizes, its centroid in the middle pixel."""
    stamp = np.pad(stamp, [(0, (n + 1) % 2) for n in stamp.shape])
    shift = (np.array(stamp.shape) - 1) / 2 - stamp_moments(stamp)[0]
    if np.abs(shift).max() > ON_CENTER:
        stamp = shift_stamp(stamp, shift)
    return stamp / stamp.sum()
