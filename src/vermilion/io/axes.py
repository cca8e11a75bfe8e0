"""The axes of an image: which is spectral, which are the sky's, and their coordinates by astropy's WCS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS, WcsError
from numpy.typing import NDArray

from ..errors import AmbiguousInputError, ParameterError, ShapeError, UnitError
from .options import ReadOptions
from .preflight import HDUInfo, card, damage_reported
from .units import parse_unit, parse_wave

__all__ = ["Axes", "arrange", "find_axes"]

_WCS_ERRORS = (WcsError, ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, MemoryError, fits.VerifyError)
_SPECTRAL_TYPES = ("length", "frequency", "energy", "speed", "wavenumber")
_MAX_CONDITION = 1e8  # of the matrix with rows of length 1
_MEDIA = {"AWAV": "air", "WAVE": "vacuum"}


@dataclass(frozen=True, eq=False)
class Axes:
    """Axes of an image, by their FITS numbers.

    Attributes
    ----------
    order : tuple of int
        FITS numbers of x, y and band.
    naxis : int
        Number of axes of the image, degenerate ones included.
    wcs : WCS or None
        World coordinates in the order x, y, band.
    spectral : Quantity or None
        Band centers in the file's own unit.
    medium : {"air", "vacuum", None}
    why : str
        What says which axis is spectral.
    notes : list of str
    """

    order: tuple[int, int, int]
    naxis: int
    wcs: WCS | None = None
    spectral: u.Quantity | None = None
    medium: str | None = None
    why: str = ""
    notes: list[str] = field(default_factory=list)


def find_axes(hdu: HDUInfo, hdulist: fits.HDUList, options: ReadOptions) -> Axes:
    """The axes of the image in `hdu`.

    Raises
    ------
    AmbiguousInputError
        If nothing says which axis is spectral and the shape speaks against the third.
    """
    with damage_reported(f"the header of HDU {hdu}"):
        header = hdulist[hdu.index].header
    notes: list[str] = []
    wcs = _read_wcs(header, hdulist, notes)
    kept = _kept(hdu, header)
    band, why = _spectral_axis(hdu, header, wcs, kept, options)
    x, y = (axis for axis in kept if axis != band)
    shape = {axis: hdu.shape[-axis] for axis in kept}
    spectral = None if wcs is None else _spectral_values(wcs, header, hdulist, band, shape[band], notes)
    if spectral is None:
        notes.append("no spectral axis in the header: bands are numbered; give one with --wave 'start:step unit'")
    if options.wave is not None:
        if spectral is not None:
            raise ParameterError(
                f"wave is given, but the file has a spectral axis from {spectral[0]:.6g} to {spectral[-1]:.6g}: leave --wave out."
            )
        notes[-1] = "spectral axis: option --wave"
        spectral = parse_wave(options.wave, shape[band])
    return Axes((x, y, band), len(hdu.shape), _sub(wcs, (x, y, band), shape, notes), spectral, _medium(header, band), why, notes)


def arrange(array: NDArray[Any], axes: Axes) -> NDArray[Any]:
    """View of an image of the file as (band, y, x), degenerate axes removed."""
    x, y, band = axes.order
    rest = [axis for axis in range(1, axes.naxis + 1) if axis not in axes.order]
    ordered = np.transpose(array, [axes.naxis - axis for axis in (band, y, x, *rest)])
    return ordered.reshape(ordered.shape[:3])


def _read_wcs(header: fits.Header, hdulist: fits.HDUList, notes: list[str]) -> WCS | None:
    try:
        wcs = WCS(_repaired(header, notes), fobj=hdulist)  # fobj: wavelengths of a -TAB axis lie in a table
        wcs.wcs.set()
        _refuse_singular(wcs)
    except _WCS_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        notes.append(f"the WCS cannot be used, coordinates are pixels: {reason}")
        return None
    return wcs


def _repaired(header: fits.Header, notes: list[str]) -> fits.Header:
    """The header with units that wcslib knows and a complete CD matrix."""
    header = header.copy()
    for key in header["CUNIT?"]:
        text = str(card(header, key, "")).strip()
        unit = _known_unit(text)
        if text and unit is not None:
            header[key] = unit.to_string("fits")
    rows = {axis: [card(header, key) for key in header[f"CD{axis}_?"]] for axis in range(1, header.get("NAXIS", 0) + 1)}
    for axis, row in rows.items():
        if any(rows.values()) and not row and f"CDELT{axis}" in header:
            # wcslib would take a step of 1 for an axis that the CD matrix leaves out, whatever its CDELT says
            header[f"CD{axis}_{axis}"] = header[f"CDELT{axis}"]
            notes.append(f"the CD matrix leaves out axis {axis}: its CDELT{axis} = {header[f'CDELT{axis}']} is used")
        elif row and not any(row):
            raise ValueError(f"row {axis} of the CD matrix is zero")
    return header


def _refuse_singular(wcs: WCS) -> None:
    """wcslib notices a singular matrix only when it is used, and not always then."""
    matrix = wcs.pixel_scale_matrix
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not (lengths > 0).all() or np.linalg.cond(matrix / lengths) > _MAX_CONDITION:
        raise ValueError("its matrix is singular")


def _known_unit(text: str) -> u.UnitBase | None:
    try:
        unit = parse_unit(text)[0]
        unit.to_string("fits")
    except (UnitError, ValueError):
        return None
    return unit


def _kept(hdu: HDUInfo, header: fits.Header) -> list[int]:
    """FITS numbers of the three axes that remain when degenerate ones are dropped: polarization first, nameless ones, last ones."""
    axes = list(range(1, len(hdu.shape) + 1))

    def reluctance(axis: int) -> tuple[int, int]:
        ctype = str(card(header, f"CTYPE{axis}", "")).strip().upper()
        return (0 if ctype == "STOKES" else 1 if not ctype else 2, -axis)

    degenerate = sorted((axis for axis in axes if hdu.shape[-axis] == 1), key=reluctance)
    dropped = degenerate[: len(axes) - 3]
    if len(axes) - len(dropped) != 3:
        raise ShapeError(f"HDU {hdu}: expected three axes besides degenerate ones; cut out one plane first.")
    return [axis for axis in axes if axis not in dropped]


def _spectral_axis(hdu: HDUInfo, header: fits.Header, wcs: WCS | None, kept: list[int], options: ReadOptions) -> tuple[int, str]:
    if options.spectral_axis is not None:
        if options.spectral_axis not in kept:
            raise ParameterError(f"spectral_axis is {options.spectral_axis}: expected one of {', '.join(map(str, kept))}.")
        return options.spectral_axis, "option --spectral-axis"
    codes = {axis: int(wcs.wcs.axis_types[axis - 1]) // 1000 % 10 if wcs is not None else 0 for axis in kept}
    celestial = [axis for axis in kept if codes[axis] == 2]
    by_type = [axis for axis in kept if codes[axis] == 3]
    if len(by_type) == 1:
        return by_type[0], f"CTYPE{by_type[0]} = {_ctype(header, by_type[0])}"
    by_unit = [axis for axis in kept if axis not in celestial and _is_spectral(_axis_unit(header, axis))]
    if len(by_unit) == 1:
        return by_unit[0], f"CUNIT{by_unit[0]} = {card(header, f'CUNIT{by_unit[0]}')}"
    if len(celestial) == 2:
        return next(axis for axis in kept if axis not in celestial), "the only axis that is not on the sky"
    _refuse_if_unlikely(hdu, kept)
    return kept[2], "by custom, nothing in the header says it (else add --spectral-axis)"


def _refuse_if_unlikely(hdu: HDUInfo, kept: list[int]) -> None:
    """Two equal sides are probably the sky's: if they include the last axis and not both others, do not guess."""
    n1, n2, n3 = (hdu.shape[-axis] for axis in kept)
    if n1 != n2 and n3 in (n1, n2):
        likely = kept[0] if n2 == n3 else kept[1]
        raise AmbiguousInputError(
            f"nothing in the header of HDU {hdu} says which axis is spectral, and its shape suggests FITS axis {likely}: "
            f"add --spectral-axis {likely} or --spectral-axis {kept[2]}."
        )


def _ctype(header: fits.Header, axis: int) -> str:
    return str(card(header, f"CTYPE{axis}", "")).strip()


def _axis_unit(header: fits.Header, axis: int) -> u.UnitBase | None:
    text = str(card(header, f"CUNIT{axis}", "")).strip()
    return _known_unit(text) if text else None


def _is_spectral(unit: u.UnitBase | None) -> bool:
    if unit is None:
        return False
    return any(kind in unit.physical_type for kind in _SPECTRAL_TYPES)


def _spectral_values(wcs: WCS, header: fits.Header, hdulist: fits.HDUList, band: int, n_bands: int, notes: list[str]) -> u.Quantity | None:
    """Band centers by the WCS, in the unit of the file (of the table, for a -TAB axis)."""
    si = wcs.wcs.cunit[band - 1]
    if int(wcs.wcs.axis_types[band - 1]) // 1000 % 10 != 3 and not _is_spectral(u.Unit(si)):
        return None
    pixels = np.arange(n_bands, dtype=float)
    try:
        values = wcs.sub([band]).wcs_pix2world(pixels, 0)[0]
    except _WCS_ERRORS:  # an axis that is coupled to the sky: along the central pixel
        center = [np.full(n_bands, (n - 1) / 2 if n else 0.0) for n in wcs.pixel_shape or [1] * wcs.naxis]
        center[band - 1] = pixels
        values = wcs.wcs_pix2world(*center, 0)[band - 1]
    if not np.isfinite(values).all():
        notes.append("the spectral axis of the WCS is not finite: it is not used")
        return None
    if _ctype(header, band).upper().endswith("-TAB"):
        return u.Quantity(values, _table_unit(header, hdulist, band) or si)
    own = _axis_unit(header, band)
    return u.Quantity(values, si) if own is None else u.Quantity(values, si).to(own)


def _table_unit(header: fits.Header, hdulist: fits.HDUList, band: int) -> u.UnitBase | None:
    """Unit of the column that holds a -TAB axis: the label in the WCS object may be another."""
    try:
        table = hdulist[str(card(header, f"PS{band}_0", ""))]
        text = table.columns[str(card(header, f"PS{band}_1", ""))].unit
    except (KeyError, AttributeError):
        return None
    return _known_unit(text) if text else None


def _medium(header: fits.Header, band: int) -> str | None:
    return _MEDIA.get(_ctype(header, band).upper().split("-")[0])


def _sub(wcs: WCS | None, order: tuple[int, int, int], shape: dict[int, int], notes: list[str]) -> WCS | None:
    if wcs is None or (wcs.naxis == 3 and order == (1, 2, 3)):
        return wcs
    try:
        sub = wcs.sub(list(order))
    except _WCS_ERRORS as error:
        notes.append(f"the WCS of the three axes cannot be separated, coordinates are pixels: {' '.join(str(error).split())[:200]}")
        return None
    sub.pixel_shape = tuple(shape[axis] for axis in order)
    return sub
