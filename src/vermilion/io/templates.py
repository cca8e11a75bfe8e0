"""Known spectra from files: templates that a fit holds fixed."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from ..errors import MissingFileError, NotFITSError, ShapeError, UnitError

__all__ = ["read_table", "read_template"]

log = logging.getLogger(__name__)

_AXES = ("wavelength", "wave", "lambda", "frequency", "energy", "velocity")
_VALUES = ("flux", "flux_0", "shape_0", "spectrum", "data", "value")


def read_template(path: str | os.PathLike[str], spectral_axis: u.Quantity | None, n_bands: int) -> NDArray[np.float64]:
    """The spectrum in a table, on the bands of a cube.

    Parameters
    ----------
    path : path-like
        FITS table, ECSV or text, with a column for the wavelength (or frequency) and one for the flux, by name or the first two. Without a
        wavelength column it must have one row per band. Masked values count as NaN.
    spectral_axis : Quantity, shape (B,), or None
        Of the cube. A template on another grid is interpolated linearly, which the log says.
    n_bands : int
        B.

    Returns
    -------
    ndarray, shape (B,)
        The scale is the file's; only the shape matters to a fit. A flux per frequency is not turned into one per wavelength.

    Raises
    ------
    MissingFileError, NotFITSError
        If there is no table to read.
    ShapeError, UnitError
        If the table does not cover the bands, or its axis cannot be converted.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise MissingFileError(f"{path} does not exist or is no regular file: expected a table with a spectrum.")
    table = read_table(path)
    columns = [name for name in table.colnames if table[name].ndim == 1 and np.asarray(table[name]).dtype.kind in "fiu"]
    axis = next((name for name in columns if name.lower() in _AXES), columns[0] if len(columns) > 1 else None)
    flux = next((name for name in columns if name.lower() in _VALUES and name != axis), None)
    flux = flux or next((name for name in columns if name != axis), None)
    if flux is None:
        raise ShapeError(f"{path} has no column of numbers: expected a wavelength and a flux.")
    values = _numbers(table[flux])
    log.info("%s: spectrum from the column %r%s", path, flux, f" along {axis!r}" if axis else "")
    if axis is None or spectral_axis is None:
        if len(values) != n_bands:
            raise ShapeError(f"{path} has {len(values)} rows and the cube {n_bands} bands, with no common axis to interpolate on.")
        return values
    return _on_bands(path, _to_unit(path, table[axis], spectral_axis.unit), values, spectral_axis)


def _numbers(column: Any) -> NDArray[np.float64]:
    """The values of a column without its unit; NaN where it is masked."""
    values = np.array(getattr(column, "unmasked", column), dtype=np.float64)
    values[np.broadcast_to(getattr(column, "mask", False), values.shape)] = np.nan
    return values


def _to_unit(path: str, axis: Any, unit: u.UnitBase) -> NDArray[np.float64]:
    """The axis of a template in the unit of the cube's; a column without a unit is taken to be in that already."""
    given = getattr(axis, "unit", None) or unit
    try:
        return np.asarray(u.Quantity(_numbers(axis), given).to_value(unit, equivalencies=u.spectral()))
    except (u.UnitsError, TypeError, ValueError) as error:  # a unit that is not recognized raises ValueError
        raise UnitError(
            f"{path}: the axis in '{given}' cannot be converted to {unit}; give that column a unit of the spectral axis."
        ) from error


def read_table(path: str, expected: str = "the columns wavelength and flux") -> QTable:
    """A FITS, ECSV or text table.

    Raises
    ------
    NotFITSError
        If it is none; the message says what was `expected` in it.
    """
    with open(path, "rb") as stream:
        head = stream.read(30_000)
    binary = head.startswith(b"SIMPLE  =") or b"\0" in head
    # a text reader finds columns even in the header of an image
    kinds: tuple[dict[str, Any], ...] = ({"format": "fits"},) if binary else ({"format": "ascii.ecsv"}, {"format": "ascii"})
    for kind in kinds:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)
                return QTable(Table.read(path, **kind))
        except Exception as error:  # every format raises errors of its own
            log.debug("%s is no %s table: %s", path, kind["format"], error)
    raise NotFITSError(f"{path} is no table: expected FITS, ECSV or text with {expected}.")


def _on_bands(path: str, points: NDArray[np.float64], values: NDArray[np.float64], bands: u.Quantity) -> NDArray[np.float64]:
    """The values at `points` on the bands of the cube; between rows that are not finite they are interpolated."""
    if len(points) == len(bands) and np.allclose(points, bands.value, rtol=1e-9, atol=0):
        return values
    usable = np.isfinite(points) & np.isfinite(values)
    if usable.sum() < 2:
        raise ShapeError(f"{path} has {usable.sum()} rows with finite numbers: expected two at least.")
    points, values = points[usable], values[usable]
    order = np.argsort(points)
    low, high = points[order[0]], points[order[-1]]
    # half a step of the cube may stick out at either end
    slack = 0.5 * float(np.abs(np.median(np.diff(bands.value)))) if len(bands) > 1 else 0.0
    if bands.value.min() < low - slack or bands.value.max() > high + slack:
        raise ShapeError(
            f"{path} runs from {low:.6g} to {high:.6g} {bands.unit}, the cube from {bands.value.min():.6g} to {bands.value.max():.6g}: "
            "the template must cover it."
        )
    log.warning("%s is on another grid than the cube: interpolated linearly", path)
    return np.interp(bands.value, points[order], values[order])
