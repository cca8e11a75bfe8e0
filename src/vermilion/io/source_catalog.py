"""Positions of sources from arrays, tables and catalog files, as pixels of an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.table import Table
from astropy.wcs import NoConvergence
from astropy.wcs.utils import skycoord_to_pixel
from numpy.typing import NDArray

from ..errors import AmbiguousInputError, HeaderError, NoDataError, ParameterError, ShapeError, UnitError
from .containers import Variable, safe_name
from .containers.numpy_file import is_npy, is_npz, read_npy, read_npz
from .memory import available_memory, require_memory
from .sources import local_file
from .templates import read_table

__all__ = ["Positions", "read_catalog"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

# columns (y, x) of pixels, and the number of the first pixel
_PIXELS = (
    (("y", "x"), 0),
    (("ycentroid", "xcentroid"), 0),
    (("y_centroid", "x_centroid"), 0),
    (("y_fit", "x_fit"), 0),
    (("y_0", "x_0"), 0),
    (("y_peak", "x_peak"), 0),
    (("ywin_image", "xwin_image"), 1),
    (("ypsf_image", "xpsf_image"), 1),
    (("y_image", "x_image"), 1),
    (("ypeak_image", "xpeak_image"), 1),
)
# columns (longitude, latitude) and their frame
_SKY = (
    (("ra", "dec"), "icrs"),
    (("ra_icrs", "de_icrs"), "icrs"),
    (("ra_icrs", "dec_icrs"), "icrs"),
    (("coord_ra", "coord_dec"), "icrs"),
    (("radeg", "dedeg"), "icrs"),
    (("raj2000", "dej2000"), "fk5"),
    (("raj2000", "decj2000"), "fk5"),
    (("alphawin_j2000", "deltawin_j2000"), "fk5"),
    (("alphapsf_j2000", "deltapsf_j2000"), "fk5"),
    (("alpha_j2000", "delta_j2000"), "fk5"),
    (("_ra", "_de"), "icrs"),
    (("l", "b"), "galactic"),
    (("glon", "glat"), "galactic"),
)
_IDENTIFIERS = ("id", "source_id", "identifier", "object_id", "objid", "number", "label", "name")
_KINDS = ("kind", "type", "class", "source_type", "object_type", "objtype", "morphology")
_NAMES_OF_KINDS = {
    "point": ("point", "point source", "point-source", "star", "stellar", "psf", "qso", "quasar", "s"),
    "galaxy": ("galaxy", "extended", "gal", "rex", "exp", "dev", "ser", "sersic", "g"),
    "two-component": ("two-component", "two component", "comp", "composite", "bulge+disk", "bulge-disk"),
}
_KIND_OF = {name: kind for kind, names in _NAMES_OF_KINDS.items() for name in names}
_ARRAYS = ("peaks", "centers", "positions", "catalog")
_SURE = 0.9  # CLASS_STAR above is a star, below 1 - this a galaxy
_SAME = 0.01  # pixels


@dataclass(frozen=True, eq=False, kw_only=True)
class Positions:
    """Where sources are.

    Parameters
    ----------
    yx : ndarray, shape (n, 2)
        Pixel (y, x), counted from 0, centers of pixels at integers.
    identifiers : tuple of str
        As the catalog names them; row numbers from 0 where it does not.
    kinds : tuple of (str or None)
        "point", "galaxy" or "two-component" where the catalog says so.
    n_outside : int
        Positions outside the image, whether kept or left out.
    notes : tuple of str
        Conventions that were taken, and what was left out.
    """

    yx: Array
    identifiers: tuple[str, ...]
    kinds: tuple[str | None, ...]
    n_outside: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.yx)


def read_catalog(
    source: Any,
    *,
    wcs: Any = None,
    shape: tuple[int, int] | None = None,
    coordinates: str = "auto",
    keep_outside: bool = False,
    limit: int | None = None,
) -> Positions:
    """Positions of the sources in a catalog, in pixels.

    Parameters
    ----------
    source : array, SkyCoord, Table or path-like
        An array (n, 2) holds pixels (y, x), counted from 0. Of a table the columns are known by their names, in any case: x and y,
        xcentroid and ycentroid, x_fit and y_fit count from 0, X_IMAGE and Y_IMAGE (SExtractor, with its variants) from 1; ra and dec,
        RA_ICRS and DE_ICRS, ALPHA_J2000 and DELTA_J2000, l and b, or a column of SkyCoord are on the sky, in degrees where no unit is
        given. Optional: id, and kind or type (star, galaxy, PSF, EXP ...), is_star, or CLASS_STAR.
        Files: FITS table, ECSV, CSV, text with a line of names, .npy, .npz.
    wcs : astropy.wcs.WCS, optional
        Of the image, celestial at least in part; needed for positions on the sky.
    shape : (int, int), optional
        Ny, Nx of the image; None: nothing is outside.
    coordinates : {"auto", "pixel", "sky"}
        Which to take if the table has both. "auto": those on the sky if there is a WCS, as pixels may be those of another image.
    keep_outside : bool
        Keep positions outside the image.
    limit : int, optional
        Bytes that reading may use. None: what is available.

    Returns
    -------
    Positions
        In the order of the catalog. Rows without a finite position are left out, and said.

    Raises
    ------
    MissingFileError, EmptyFileError, NotFITSError, CorruptFileError, MemoryLimitError
        If the file cannot be read.
    HeaderError, AmbiguousInputError, UnitError, ShapeError
        If there are no positions in it, or they cannot be understood.
    ParameterError
        If positions are on the sky and there is no celestial WCS, or an option is unknown.
    NoDataError
        If no position is left.

    Examples
    --------
    >>> read_catalog(Table({"X_IMAGE": [11.0], "Y_IMAGE": [4.5], "CLASS_STAR": [0.98]})).yx
    array([[ 3.5, 10. ]])
    """
    if coordinates not in ("auto", "pixel", "sky"):
        raise ParameterError(f"coordinates is {coordinates!r}: expected 'auto', 'pixel' or 'sky'.")
    limit = available_memory() if limit is None else limit
    what, content = _content(source, limit)
    notes: list[str] = []
    if isinstance(content, Table):
        yx = _of_table(what, content, wcs, shape, coordinates, notes)
        identifiers, kinds = _identifiers(content), _kinds(content, notes)
    elif isinstance(content, SkyCoord):
        yx = _to_pixels(what, content.reshape(-1), wcs, shape)
        identifiers, kinds = _numbered(len(yx)), (None,) * len(yx)
    else:
        yx = _of_array(what, content)
        identifiers, kinds = _numbered(len(yx)), (None,) * len(yx)
    positions = _kept(what, yx, identifiers, kinds, shape, keep_outside, notes)
    for note in positions.notes:
        log.info("%s: %s", what, note)
    return positions


# ---------------------------------------------------------------- what was given


def _content(source: Any, limit: int) -> tuple[str, Any]:
    """A name for messages, and a table, sky coordinates or an array."""
    if isinstance(source, Table | SkyCoord):
        return "the catalog", source
    if isinstance(source, str | PathLike):
        path = local_file(source)
        return str(path), _of_file(path, limit)
    return "the catalog", _table_of_fields(source)


def _table_of_fields(values: Any) -> Any:
    """A structured array as a table; anything else as it is."""
    return Table(values.reshape(-1)) if isinstance(values, np.ndarray) and values.dtype.names else values


def _of_file(path: Path, limit: int) -> Any:
    with path.open("rb") as stream:
        head = stream.read(2880)
    if is_npy(head) or is_npz(path, head):
        variable = read_npy(path, limit) if is_npy(head) else _positions_among(read_npz(path, limit), path)
        return _table_of_fields(variable.read())
    require_memory(10 * path.stat().st_size, limit, path, "the table")
    return read_table(str(path), "positions (x and y, or ra and dec)")


def _positions_among(variables: Sequence[Variable], path: Path) -> Variable:
    """The array of positions in a .npz file."""
    for name in _ARRAYS:
        named = [variable for variable in variables if variable.base.lower() == name]
        if len(named) == 1:
            return named[0]
    if len(variables) == 1:
        return variables[0]
    found = ", ".join(map(str, variables[:10])) or "no array"
    raise AmbiguousInputError(f"{path} holds {found}: expected an array (n, 2) of (y, x) named one of {', '.join(_ARRAYS)}.")


def _of_array(what: str, values: Any) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ShapeError(f"{what} is no array of numbers: expected positions (y, x) of shape (n, 2), a table or a file.") from None
    if array.ndim != 2 or array.shape[1] != 2:
        raise ShapeError(f"{what} has shape {array.shape}: expected (n, 2), a pixel (y, x) per source, counted from 0.")
    return array


# ---------------------------------------------------------------- columns


def _of_table(what: str, table: Table, wcs: Any, shape: tuple[int, int] | None, coordinates: str, notes: list[str]) -> Array:
    names = {name.lower(): name for name in reversed(table.colnames) if table[name].ndim == 1}
    pixels = next(((pair, first) for pair, first in _PIXELS if all(name in names for name in pair)), None)
    mixed = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    pairs = [(pair, frame) for pair, frame in _SKY if all(name in names for name in pair)]
    on_sky = bool(mixed or pairs)
    if coordinates == "pixel" or (coordinates == "auto" and pixels is not None and (wcs is None or not on_sky)):
        if pixels is None:
            raise HeaderError(f"{what} has no columns of pixels such as x and y: its columns are {_listed(table)}; rename two of them.")
        return _of_pixels(what, table, [names[name] for name in pixels[0]], pixels[1], notes)
    if not on_sky:
        if set(names) >= {"col1", "col2"}:
            raise AmbiguousInputError(f"{what} does not name its columns: expected a first line with names such as 'x y' or 'ra dec'.")
        expected = "'x' and 'y' or 'ra' and 'dec'" if coordinates == "auto" else "'ra' and 'dec'"
        raise HeaderError(f"{what} has no columns of positions: its columns are {_listed(table)}; rename two of them to {expected}.")
    if mixed:
        coordinate, taken = table[mixed[0]], f"the column {mixed[0]}"
    else:
        coordinate, taken = _of_sky(what, table, [names[name] for name in pairs[0][0]], pairs[0][1], notes)
    notes.append(f"positions on the sky are taken from {taken}")
    if pixels is not None and coordinates == "auto":
        notes.append(f"its pixels in {names[pixels[0][1]]} and {names[pixels[0][0]]} are not used: coordinates='pixel' takes them")
    return _to_pixels(what, coordinate, wcs, shape)


def _of_pixels(what: str, table: Table, columns: list[str], first: int, notes: list[str]) -> Array:
    for name in columns:
        unit = getattr(table[name], "unit", None)
        if unit not in (None, u.pix, u.dimensionless_unscaled):
            raise UnitError(f"{what}: the column {safe_name(name)} is in {unit}: expected pixels; remove the unit or rename the column.")
    values = np.stack([_numbers(what, table, name) for name in columns], axis=1)
    notes.append(f"{columns[1]} and {columns[0]} are pixels counted from {first}")
    return values - first


def _of_sky(what: str, table: Table, columns: list[str], frame: str, notes: list[str]) -> tuple[SkyCoord, str]:
    angles = []
    for name, text_unit in zip(columns, (u.hourangle if frame != "galactic" else u.deg, u.deg), strict=True):
        column = table[name]
        if np.asarray(getattr(column, "unmasked", column)).dtype.kind in "USO":
            angles.append(_sexagesimal(what, column, name, text_unit))
            continue
        unit = getattr(column, "unit", None)
        if unit is None:
            notes.append(f"{name} has no unit: degrees are assumed")
        elif not unit.is_equivalent(u.deg):
            raise UnitError(f"{what}: the column {safe_name(name)} is in {unit}: expected an angle; correct its unit.")
        angles.append(u.Quantity(_numbers(what, table, name), unit or u.deg).to(u.deg))
    longitude, latitude = angles
    absurd = ~(np.abs(latitude.value) <= 90)
    coordinate = SkyCoord(np.where(absurd, np.nan, longitude.value), np.where(absurd, np.nan, latitude.value), unit="deg", frame=frame)
    return coordinate, f"{columns[0]} and {columns[1]} ({frame.upper() if frame != 'galactic' else frame})"


def _sexagesimal(what: str, column: Any, name: str, unit: u.UnitBase) -> u.Quantity:
    """Angles from texts such as 10:00:12.3; plain numbers in texts are degrees."""
    texts = np.array([str(text).strip() for text in column], dtype=str)
    empty = np.broadcast_to(getattr(column, "mask", False), texts.shape) | np.isin(np.char.lower(texts), ["", "nan", "--", "none"])
    values = np.full(texts.shape, np.nan)
    try:
        for k in np.flatnonzero(~empty):
            values[k] = Angle(texts[k], u.deg if _is_number(texts[k]) else unit).to_value(u.deg)
    except ValueError:
        raise UnitError(
            f"{what}: {safe_name(texts[k])!r} in the column {safe_name(name)} is no angle: expected degrees or 10:00:12.3."
        ) from None
    return values * u.deg


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(what: str, table: Table, name: str) -> Array:
    """A column without its unit; NaN where it is masked."""
    column = table[name]
    try:
        values = np.array(getattr(column, "unmasked", column), dtype=np.float64)
    except (TypeError, ValueError):
        raise HeaderError(f"{what}: the column {safe_name(name)} holds no numbers: expected one position per row.") from None
    values[np.broadcast_to(getattr(column, "mask", False), values.shape)] = np.nan
    return values


def _listed(table: Table) -> str:
    names = [safe_name(name) for name in table.colnames]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") if names else "none"


def _first_of(table: Table, candidates: Sequence[str]) -> Any:
    """The first column with one of the names; None where there is none."""
    names = {name.lower(): name for name in reversed(table.colnames) if table[name].ndim == 1}
    return next((table[names[name]] for name in candidates if name in names), None)


def _identifiers(table: Table) -> tuple[str, ...]:
    column = _first_of(table, _IDENTIFIERS)
    if column is None:
        return _numbered(len(table))
    masked = np.broadcast_to(getattr(column, "mask", False), (len(table),))
    return tuple(str(k) if absent else safe_name(_text(value)) for k, (value, absent) in enumerate(zip(column, masked, strict=True)))


def _kinds(table: Table, notes: list[str]) -> tuple[str | None, ...]:
    column = _first_of(table, _KINDS)
    if column is not None and np.asarray(getattr(column, "unmasked", column)).dtype.kind in "SUO":
        return tuple(_KIND_OF.get(_text(value).strip().lower()) for value in column)
    column = _first_of(table, ("is_star",))
    if column is not None and np.asarray(column).dtype.kind in "biu":
        masked = np.broadcast_to(getattr(column, "mask", False), (len(table),))
        return tuple(None if absent else "point" if value else "galaxy" for value, absent in zip(np.asarray(column), masked, strict=True))
    column = _first_of(table, ("class_star",))
    if column is not None and np.asarray(column).dtype.kind == "f":
        notes.append(f"CLASS_STAR above {_SURE:g} is a point, below {1 - _SURE:.1g} a galaxy, between them left open")
        return tuple("point" if value > _SURE else "galaxy" if value < 1 - _SURE else None for value in np.asarray(column))
    return (None,) * len(table)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


# ---------------------------------------------------------------- sky to pixels


def _to_pixels(what: str, coordinate: SkyCoord, wcs: Any, shape: tuple[int, int] | None) -> Array:
    """Pixels (n, 2) of positions on the sky; NaN where the projection has none."""
    celestial = wcs.celestial if wcs is not None and wcs.has_celestial else None
    if celestial is None:
        missing = "there is no WCS" if wcs is None else "the WCS has no celestial axes"
        raise ParameterError(f"{what} has positions on the sky, but {missing}: give the image's WCS, or columns x and y of pixels.")
    yx = np.full((coordinate.size, 2), np.nan)
    known = np.flatnonzero(np.isfinite(coordinate.data.lon.value) & np.isfinite(coordinate.data.lat.value))
    if not len(known):
        return yx
    x, y = skycoord_to_pixel(coordinate[known], celestial, origin=0, mode="wcs")
    yx[known] = np.stack([y, x], axis=1)
    # a distortion is a polynomial for the image: far outside it has no meaning, and no inverse
    near = known if shape is None else known[(np.abs(yx[known] / np.array(shape) - 0.5) < 1.0).all(axis=1)]
    if len(near) and celestial.has_distortion:
        try:
            x, y = skycoord_to_pixel(coordinate[near], celestial, origin=0, mode="all")
        except NoConvergence as error:
            x, y = error.best_solution.T
            lost = [k for k in (error.divergent, error.slow_conv) if k is not None]
            x[np.concatenate(lost)] = np.nan
        yx[near] = np.stack([y, x], axis=1)
    return yx


def _kept(
    what: str,
    yx: Array,
    identifiers: tuple[str, ...],
    kinds: tuple[str | None, ...],
    shape: tuple[int, int] | None,
    keep_outside: bool,
    notes: list[str],
) -> Positions:
    finite = np.isfinite(yx).all(axis=1)
    if not finite.all():
        notes.append(f"{np.count_nonzero(~finite)} of {len(yx)} rows have no finite position: left out")
    with np.errstate(invalid="ignore"):
        inside = finite if shape is None else finite & ((yx >= -0.5) & (yx < np.array(shape) - 0.5)).all(axis=1)
    n_outside = int(np.count_nonzero(finite & ~inside))
    if n_outside:
        notes.append(f"{n_outside} of {len(yx)} positions lie outside the image: {'kept' if keep_outside else 'left out'}")
    kept = np.flatnonzero(finite if keep_outside else inside)
    if not len(kept):
        why = f"{len(yx)} rows, {np.count_nonzero(~finite)} without a finite position, {n_outside} outside the image"
        raise NoDataError(f"{what} has no position to use ({why}): expected one inside the image; check pixels, units and the WCS.")
    if len(np.unique(np.rint(yx[kept] / _SAME), axis=0)) < len(kept):
        notes.append(f"some positions are the same to {_SAME} pixels: their fluxes cannot be told apart")
    return Positions(
        yx=yx[kept],
        identifiers=tuple(identifiers[k] for k in kept),
        kinds=tuple(kinds[k] for k in kept),
        n_outside=n_outside,
        notes=tuple(notes),
    )
