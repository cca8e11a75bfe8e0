"""Gaussian and Moffat point-spread functions, sampled at the centers of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ..errors import ParameterError, ShapeError, UnitError

__all__ = ["gaussian_stamp", "moffat_stamp", "pixel_offsets", "profile_stamps"]

Array = NDArray[np.float64]

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
# Part of a profile's flux that may lie outside its stamp, and the largest radius a stamp is given, in FWHM.
LOST_FLUX = 1e-4
LARGEST_RADIUS = 8.0


def gaussian_stamp(shape: tuple[int, int], sigma: float, *, center: tuple[float, float] | None = None) -> Array:
    """Circular Gaussian of integral 1, sampled at the centers of the pixels of a stamp; `center` (y, x) is the middle by default."""
    y, x = pixel_offsets(shape, center)
    return np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def moffat_stamp(shape: tuple[int, int], fwhm: float, beta: float, *, center: tuple[float, float] | None = None) -> Array:
    """Circular Moffat profile of integral 1, sampled at the centers of the pixels of a stamp; `center` (y, x) is the middle by default."""
    y, x = pixel_offsets(shape, center)
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return (beta - 1) / (np.pi * alpha**2) * (1 + (y**2 + x**2) / alpha**2) ** -beta


def pixel_offsets(shape: tuple[int, int], center: tuple[float, float] | None) -> tuple[Array, Array]:
    """Distance in y, shape (h, 1), and in x, shape (w,), of the pixels of a stamp from `center` (y, x), by default its middle."""
    cy, cx = ((shape[0] - 1) / 2, (shape[1] - 1) / 2) if center is None else center
    return np.arange(shape[0], dtype=float)[:, None] - cy, np.arange(shape[1], dtype=float) - cx


def profile_stamps(profile: tuple[Any, ...], n_bands: int, pixel_scale: u.Quantity | None) -> Array:
    """Stamps (B, h, w) of sum 1 of ``("gaussian", fwhm)`` or ``("moffat", fwhm, beta)``, large enough for all but 1e-4 of the light."""
    name, n_values = profile[0].lower(), {"gaussian": 2, "moffat": 3}.get(profile[0].lower())
    if n_values is None or len(profile) != n_values:
        raise ParameterError(f"psf is {profile!r}: expected ('gaussian', fwhm) or ('moffat', fwhm, beta).")
    fwhm = _per_band("fwhm", _in_pixels(profile[1], pixel_scale), n_bands, smallest=0)
    beta = _per_band("beta", profile[2], n_bands, smallest=1) if name == "moffat" else None
    if beta is None:
        radius = np.sqrt(-2 * np.log(LOST_FLUX)) / FWHM_PER_SIGMA * fwhm
    else:
        radius = fwhm * np.sqrt((LOST_FLUX ** (1 / (1 - beta)) - 1) / (2 ** (1 / beta) - 1)) / 2
    size = 2 * max(3, int(np.ceil(np.minimum(radius, LARGEST_RADIUS * fwhm).max()))) + 1
    if beta is None:
        stamps = [gaussian_stamp((size, size), width / FWHM_PER_SIGMA) for width in fwhm]
    else:
        stamps = [moffat_stamp((size, size), width, power) for width, power in zip(fwhm, beta, strict=True)]
    return np.stack([stamp / stamp.sum() for stamp in stamps])


def _in_pixels(fwhm: Any, pixel_scale: u.Quantity | None) -> Array:
    """FWHM as numbers of pixels."""
    if not isinstance(fwhm, u.Quantity):
        return np.asarray(fwhm, dtype=float)
    if fwhm.unit == u.pix:
        return np.asarray(fwhm.value, dtype=float)
    if pixel_scale is None:
        raise UnitError(f"the FWHM of the PSF is in {fwhm.unit}: expected pixels; give pixel_scale, the angle per pixel.")
    scale = pixel_scale * u.pix if pixel_scale.unit.is_equivalent(u.arcsec / u.pix) else pixel_scale
    return np.asarray((fwhm / scale).to_value(u.dimensionless_unscaled), dtype=float)


def _per_band(name: str, values: Any, n_bands: int, *, smallest: float) -> Array:
    values = np.atleast_1d(np.asarray(values, dtype=float))
    if values.shape not in ((1,), (n_bands,)):
        raise ShapeError(f"{name} has shape {values.shape}: expected one number, or one for each of {n_bands} bands.")
    if not (np.isfinite(values) & (values > smallest)).all():
        raise ParameterError(f"{name} of the PSF is {values.min():g}: expected a finite number > {smallest:g}.")
    return np.broadcast_to(values, n_bands)
