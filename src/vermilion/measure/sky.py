"""Pixel positions, their errors and pixel ellipses on the sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WcsError
from numpy.typing import ArrayLike, NDArray

from .normal_equations import Array

__all__ = ["SkyPlane", "sky_ellipse", "sky_plane"]

_ARCSEC = 3600 * 180 / np.pi


@dataclass(frozen=True, eq=False, kw_only=True)
class SkyPlane:
    """Where n pixel positions lie on the sky, and how the sky runs there.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        ICRS, degrees; NaN where the coordinates have no inverse.
    jacobian : ndarray, shape (n, 2, 2)
        Arcseconds (east, north) per pixel (y, x).
    """

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    jacobian: NDArray[np.float64]

    def errors(self, covariance: Array) -> NDArray[np.float64]:
        """Standard errors (n, 2) towards east and north in arcseconds, of positions with `covariance` (n, 2, 2) in (y, x) pixels."""
        with np.errstate(invalid="ignore"):
            variances = np.einsum("kip,kpq,kiq->ki", self.jacobian, np.nan_to_num(covariance, nan=np.nan, posinf=np.nan), self.jacobian)
        return np.where(np.isinf(np.einsum("kii->k", covariance))[:, None], np.inf, np.sqrt(variances))


def sky_plane(wcs: Any, centers: ArrayLike) -> SkyPlane | None:
    """The sky around pixel positions, from any celestial coordinate system.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or None
        The first two pixel axes are x and y.
    centers : array_like, shape (n, 2)
        Pixel (y, x), counted from 0.

    Returns
    -------
    SkyPlane or None
        None where `wcs` has no celestial axes or is of no use.
    """
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
    try:
        if wcs is None or not wcs.has_celestial:
            return None
        plane = wcs if wcs.pixel_n_dim == 2 else wcs.sub([1, 2])
        around = centers[:, None, :] + 0.5 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
        sky = plane.pixel_to_world(around[..., 1], around[..., 0]).icrs
    except (WcsError, AttributeError, ValueError):
        return None
    lon, lat = sky.ra.rad, sky.dec.rad
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    steps = np.stack([place[:, 1] - place[:, 2], place[:, 3] - place[:, 4]], axis=-1)
    lon, lat = lon[:, 0], lat[:, 0]
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
    jacobian = _ARCSEC * np.einsum("kic,kcp->kip", np.stack([east, north], axis=1), steps)
    return SkyPlane(ra=np.degrees(lon), dec=np.degrees(lat), jacobian=jacobian)


def sky_ellipse(jacobian: Array, major_axis: float, axis_ratio: float, angle: float) -> tuple[float, float, float]:
    """A pixel ellipse on the sky: major half axis in arcseconds, axis ratio, position angle in degrees east of north (0 … 180).

    Parameters
    ----------
    jacobian : ndarray, shape (2, 2)
        Arcseconds (east, north) per pixel (y, x).
    major_axis, axis_ratio, angle : float
        As in `Shape`; a NaN angle is that of a circle.
    """
    turn = np.radians(np.nan_to_num(angle))
    along, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    ellipse = np.outer(along, along) + axis_ratio**2 * np.outer(across, across)
    projected = jacobian @ ellipse @ jacobian.T
    if not np.isfinite(projected).all():
        return (0.0 if major_axis == 0 and np.isfinite(jacobian).all() else np.nan), np.nan, np.nan
    (minor, major), axes = np.linalg.eigh(projected)
    ratio = float(np.sqrt(max(minor, 0.0) / major))
    position_angle = float(np.degrees(np.arctan2(axes[0, 1], axes[1, 1])) % 180) if ratio < 1 - 1e-3 else np.nan
    return major_axis * float(np.sqrt(major)), ratio, position_angle
