"""Numbers of a file as numbers of a cube: native floats, variances, and whether anything is left to fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datamodels import Cube
from ..errors import NoDataError

__all__ = ["FILLERS", "fillers", "float_size", "native_floats", "require_content", "variances"]

Array = NDArray[Any]

_FILL = -9999.0
_HUGE = 1e37  # float32 ends at 3.4e38: such values are fillers, not fluxes
FILLERS = f"fillers ({_FILL:g} or beyond {_HUGE:g})"
_MOSTLY_ABSENT = 0.99


def float_size(dtype: np.dtype[Any]) -> int:
    """Bytes of the native float that holds every value of `dtype`: 4 or 8."""
    return 4 if dtype.itemsize <= (4 if dtype.kind == "f" else 2) else 8


def native_floats(array: Array) -> Array:
    """Contiguous native float32 or float64 that hold every value of `array` exactly (integers of 64 bits up to 2**53)."""
    return np.ascontiguousarray(array, dtype=f"f{float_size(array.dtype)}")


def fillers(data: Array, mask: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
    """Where values stand for the absence of one and are not masked yet; None: nowhere.

    Parameters
    ----------
    data : ndarray of float, shape (B, Ny, Nx)
        Looked at band by band, as most cubes have none.
    mask : ndarray of bool, shape (B, Ny, Nx), optional
        True = bad.
    """
    found: dict[int, NDArray[np.bool_]] = {}
    for band, image in enumerate(data):
        with np.errstate(invalid="ignore"):
            filled = (image == _FILL) | ((np.abs(image) > _HUGE) & np.isfinite(image))
        if mask is not None:
            filled &= ~mask[band]
        if filled.any():
            found[band] = filled
    if not found:
        return None
    whole = np.zeros(data.shape, dtype=bool)
    for band, filled in found.items():
        whole[band] = filled
    return whole


def variances(errors: Array, kind: str, *, factor: float = 1.0) -> Array:
    """Variances of `errors`: NaN where it is no error (sigma < 0), inf where there is no information (inverse variance 0).

    Parameters
    ----------
    errors : ndarray of float
    kind : {"variance", "sigma", "ivar", "isigma"}
        The last is the inverse of sigma.
    factor : float
        The errors are multiplied by it first.

    Returns
    -------
    ndarray
        In the type of `errors`, or float64 where that could not hold them.

    Examples
    --------
    >>> variances(np.array([2.0, -1.0, 0.0]), "sigma"), variances(np.array([4.0, 0.0]), "ivar")
    (array([ 4., nan,  0.]), array([0.25,  inf]))
    """
    if kind == "variance" and factor == 1:
        return errors
    wide = errors.astype(np.float64)
    if factor != 1:
        wide *= factor
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if kind in ("ivar", "isigma"):
            np.divide(1, wide, out=wide)
        if kind in ("sigma", "isigma"):
            wide[wide < 0] = np.nan
            wide *= wide
    positive, limits = np.isfinite(wide) & (wide > 0), np.finfo(errors.dtype)
    fits = np.max(wide, where=positive, initial=0) < limits.max and np.min(wide, where=positive, initial=np.inf) > limits.tiny
    return wide.astype(errors.dtype) if fits else wide


def require_content(cube: Cube) -> int:
    """Refuse a cube in which there is nothing to fit.

    Returns
    -------
    int
        Number of values with weight.

    Raises
    ------
    NoDataError
    """
    size, count = cube.data.size, 0
    finite, low, high = False, np.inf, -np.inf
    for band, image in enumerate(cube.data):
        weighted = _weighted(cube, band)
        finite = finite or bool(np.isfinite(image).any())
        count += int(np.count_nonzero(weighted))
        low = min(low, float(np.min(image, where=weighted, initial=np.inf)))
        high = max(high, float(np.max(image, where=weighted, initial=-np.inf)))
    if not finite:
        raise NoDataError(f"all {size} values are NaN or infinite: nothing is left to fit.")
    if count == 0:
        cause = "masked or without a positive finite variance" if cube.variance is not None else "masked"
        raise NoDataError(f"all {size} values are {cause}: nothing is left to fit; see --err-ext, --err-type and --mask-ext.")
    if 1 - count / size > _MOSTLY_ABSENT and size > 100:
        raise NoDataError(f"only {count} of {size} values carry weight, {count / size:.2%}: expected at least {1 - _MOSTLY_ABSENT:.0%}.")
    if size > 1 and low == high:
        raise NoDataError(f"all {count} values with weight are {low:g}: there is no signal to fit.")
    return count


def _weighted(cube: Cube, band: int) -> NDArray[np.bool_]:
    """Where `Cube.weights` is not 0 in a band; for one at a time, as weights of a whole cube may take more room than the cube."""
    good: NDArray[np.bool_] = np.isfinite(cube.data[band])
    if cube.mask is not None:
        good &= ~cube.mask[band]
    if cube.variance is not None:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            good &= np.isfinite(cube.variance[band]) & (cube.variance[band] > 0) & np.isfinite(1.0 / cube.variance[band])
    return good
