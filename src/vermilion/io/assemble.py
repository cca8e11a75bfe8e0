"""From HDUs to a Cube: native floats, variances, mask, unit, coordinates. Readers are thin because this is common."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ..datamodels import Cube, Frame
from ..errors import AmbiguousInputError, MemoryLimitError, NoDataError, ShapeError, UnitError
from .axes import Axes, arrange, find_axes
from .hdus import Decision, Profile, Roles, decide
from .memory import format_bytes
from .options import ReadOptions
from .preflight import FITSFile, HDUInfo, card, damage_reported
from .units import parse_unit, unit_option

__all__ = ["assemble"]

logger = logging.getLogger(__name__)

Array = NDArray[Any]

# Cards about the observation that products repeat.
PROPAGATED = (
    *("OBJECT", "TELESCOP", "INSTRUME", "OBSERVER", "PI-COI", "ORIGIN", "PROG_ID", "DATE-OBS", "MJD-OBS", "DATE-END", "MJD-END"),
    *("EXPTIME", "TEXPTIME", "RA", "DEC", "AIRMASS", "FILTER", "SPECSYS", "SSYSOBS", "RESTFRQ", "RESTWAV", "VELOSYS", "BARYCORR"),
    *("BMAJ", "BMIN", "BPA", "ARCFILE", "PIPEFILE"),
)
_EXPONENT = {"variance": 2, "sigma": 1, "ivar": -2, "isigma": -1}
_FILL = -9999.0
_HUGE = 1e37  # float32 ends at 3.4e38: such values are fillers, not fluxes
_MOSTLY_ABSENT = 0.99


def assemble(file: FITSFile, options: ReadOptions, *, reader: str, profile: Profile | None = None) -> Cube:
    """The cube in `file`.

    Parameters
    ----------
    file : FITSFile
    options : ReadOptions
    reader : str
        Its name, for the record.
    profile : Profile, optional
        What the instrument's files call things.

    Raises
    ------
    ShapeError, AmbiguousInputError, HeaderError, UnitError, NoDataError
        If the file is readable, but no cube can be made of it.
    MemoryLimitError
        If the arrays would not fit.
    """
    roles = decide(file, options, profile or Profile())
    _check_memory(file, roles)
    decisions = [*roles.decisions, *(_note(text, loud="CHECKSUM" in text) for text in file.notes)]
    with file.open() as hdulist:
        axes = find_axes(roles.data, hdulist, options)
        decisions += [_note(f"spectral axis is FITS axis {axes.order[2]}: {axes.why}"), *map(_note, axes.notes)]
        unit, unit_notes = _data_unit(file, roles.data, options)
        data, filled = _data(hdulist, roles.data, axes)
        variance = None
        if roles.error is not None and roles.error_type is not None:
            factor, error_notes = _error_factor(roles, unit, options)
            unit_notes += error_notes
            variance = _variance(_image(hdulist, roles.error, roles.data, axes), roles.error_type, factor)
        mask = _mask(hdulist, roles, axes, filled)
    decisions += [*unit_notes, *_value_notes(roles, filled)]
    frame = Frame(shape=data.shape[1:], n_bands=len(data), unit=unit, spectral_axis=axes.spectral, wcs=axes.wcs)
    cube = Cube(data, variance, mask, frame, meta=_meta(file, roles, axes, reader, decisions))
    for decision in decisions:
        logger.log(decision.get("level", logging.INFO), "%s", _sentence(decision))
        decision.pop("level", None)
    _check_content(cube)
    return cube


# ---------------------------------------------------------------- record


def _note(text: str, *, loud: bool = False) -> Decision:
    return {"hdu": None, "name": "", "taken_as": "note", "why": text, "level": logging.WARNING if loud else logging.INFO}


def _sentence(decision: Decision) -> str:
    if decision["hdu"] is None:
        return str(decision["why"])
    return f"HDU {decision['hdu']} {decision['name']}: {decision['taken_as']} ({decision['why']})"


def _value_notes(roles: Roles, filled: Array | None) -> list[Decision]:
    notes = []
    if roles.error is None:
        notes.append(_note("no errors in the file: every finite value has weight 1"))
    if filled is not None:
        notes.append(_note(f"{np.count_nonzero(filled)} values are fillers ({_FILL:g} or beyond {_HUGE:g}): masked", loud=True))
    for hdu in (roles.data, roles.error):
        if hdu is not None and hdu.kind == "compressed" and hdu.bitpix < 0:
            quantized = str(card(hdu.header, "ZQUANTIZ", "NONE")).strip().upper()
            if quantized not in ("NONE", ""):
                notes.append(_note(f"HDU {hdu.index} {hdu.name} is compressed with loss: its floats were quantized ({quantized})"))
    return notes


def _meta(file: FITSFile, roles: Roles, axes: Axes, reader: str, decisions: list[Decision]) -> dict[str, Any]:
    header = _propagated(file.hdus[0].header, roles.data.header)
    return {
        "name": file.name,
        "path": file.given,
        "sha256": file.sha256,
        "reader": reader,
        "instrument": str(header.get("INSTRUME", header.get("TELESCOP", ""))),
        "header": header,
        "spectral_medium": axes.medium,
        "decisions": decisions,
    }


def _propagated(*headers: fits.Header) -> dict[str, str | int | float | bool]:
    """Cards worth repeating; the first header that has one wins. Text is printable ASCII and numbers are finite already."""
    found: dict[str, str | int | float | bool] = {}
    for header in headers:
        for key in PROPAGATED:
            value = card(header, key)
            finite = isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
            if finite and key not in found:
                found[key] = value.strip() if isinstance(value, str) else value
    return found


# ---------------------------------------------------------------- arrays


def _check_memory(file: FITSFile, roles: Roles) -> None:
    needed = 0 if file.buffer is None else len(file.buffer)
    for hdu in (roles.data, roles.error, roles.mask):
        if hdu is not None:
            needed += math.prod(hdu.shape) * (1 if hdu is roles.mask else 8 if abs(hdu.bitpix) > 32 or hdu.bitpix == 32 else 4)
    if needed > file.limit:
        raise MemoryLimitError(
            f"{file.path}: reading needs {format_bytes(needed)}, {format_bytes(file.limit)} are allowed: "
            "cut out a part of the cube, or give more with --memory."
        )


def _data(hdulist: fits.HDUList, hdu: HDUInfo, axes: Axes) -> tuple[Array, Array | None]:
    """Native floats (band, y, x), and where they are only fillers (None: nowhere)."""
    data = _image(hdulist, hdu, hdu, axes)
    with np.errstate(invalid="ignore"):
        filled = (data == _FILL) | (np.isfinite(data) & (np.abs(data) > _HUGE))
    return data, filled if filled.any() else None


def _image(hdulist: fits.HDUList, hdu: HDUInfo, like: HDUInfo, axes: Axes) -> Array:
    """Image of `hdu` as native floats in the order (band, y, x) of the image `like`."""
    return _native(_arranged(hdulist, hdu, like, axes))


def _arranged(hdulist: fits.HDUList, hdu: HDUInfo, like: HDUInfo, axes: Axes) -> Array:
    if [n for n in hdu.shape if n > 1] != [n for n in like.shape if n > 1]:
        raise ShapeError(
            f"HDU {hdu} and the data in HDU {like} have other shapes: expected equal ones; choose with --err-ext and --mask-ext, or 'none'."
        )
    with damage_reported(f"the data of HDU {hdu}"):
        array = hdulist[hdu.index].data
    if array is None or array.dtype.kind not in "fiub":
        kind = "no image" if array is None else f"values of type {array.dtype}"
        raise ShapeError(f"HDU {hdu} holds {kind}: expected real numbers.")
    return arrange(array.reshape(like.shape), axes)


def _native(array: Array) -> Array:
    """Contiguous native float32 or float64 that hold every value of `array` exactly."""
    small = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2)
    return np.ascontiguousarray(array, dtype=np.float32 if small else np.float64)


def _mask(hdulist: fits.HDUList, roles: Roles, axes: Axes, filled: Array | None) -> NDArray[np.bool_] | None:
    if roles.mask is None:
        return filled
    mask = np.ascontiguousarray(_arranged(hdulist, roles.mask, roles.data, axes) != 0)  # NaN != 0: bad as well
    return mask if filled is None else mask | filled


def _variance(error: Array, kind: str, factor: float) -> Array:
    """Variances of `error`: NaN where it is no error (sigma <= 0), inf where there is no information (inverse variance 0)."""
    if kind == "variance" and factor == 1:
        return error
    wide = error.astype(np.float64)
    if factor != 1:
        wide *= factor
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if kind in ("ivar", "isigma"):
            wide = 1 / wide
        if kind in ("sigma", "isigma"):
            wide[wide < 0] = np.nan
            wide *= wide
    return wide.astype(error.dtype) if _fits(wide, error.dtype) else wide


def _fits(values: Array, dtype: np.dtype[Any]) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    limits = np.finfo(dtype)
    return positive.size == 0 or bool(positive.max() < limits.max and positive.min() > limits.tiny)


# ---------------------------------------------------------------- units


def _data_unit(file: FITSFile, hdu: HDUInfo, options: ReadOptions) -> tuple[Any, list[Decision]]:
    if options.unit is not None:
        return unit_option(options.unit), [_note("unit: option --unit")]
    text, notes = _bunit(hdu), []
    if not text and _bunit(file.hdus[0]):
        text = _bunit(file.hdus[0])
        notes.append(_note(f"BUNIT of the primary header is used: HDU {hdu.index} {hdu.name} has none"))
    if not text:
        return u.dimensionless_unscaled, [_note("no BUNIT: the data are read as dimensionless; give their unit with --unit")]
    try:
        unit, note = parse_unit(text)
    except UnitError:
        if options.allow_unitless:
            return u.dimensionless_unscaled, [_note(f"BUNIT {text!r} is not understood: the data are read as dimensionless", loud=True)]
        raise UnitError(
            f"BUNIT {text!r} in HDU {hdu} is not understood. Try --unit '1e-17 erg s-1 cm-2 Angstrom-1', or --allow-unitless."
        ) from None
    return unit, notes + ([_note(note, loud=True)] if note else [])


def _bunit(hdu: HDUInfo) -> str:
    return str(card(hdu.header, "BUNIT", "")).strip()


def _error_factor(roles: Roles, unit: Any, options: ReadOptions) -> tuple[float, list[Decision]]:
    """Factor that brings the errors to the scale of the data, as far as their own unit says one.

    Files often copy the header of the data, or its BUNIT with ``**2`` behind it: neither is a statement about the errors.
    """
    hdu, kind = roles.error, str(roles.error_type)
    assert hdu is not None
    text, own = _bunit(hdu), _bunit(roles.data)
    expected = unit ** _EXPONENT[kind]
    if not text or options.unit is not None or unit == u.dimensionless_unscaled or text.replace(" ", "") == f"{own}**2".replace(" ", ""):
        return 1.0, []
    try:
        stated = parse_unit(text)[0]
    except UnitError:
        return 1.0, [_note(f"BUNIT {text!r} of HDU {hdu.index} {hdu.name} is not understood: the errors are taken in {expected}")]
    if not roles.error_stated and kind == "sigma" and stated.is_equivalent(unit**2):
        raise AmbiguousInputError(f"HDU {hdu} is named as sigma, but its unit {text!r} is that of a variance: add --err-type.")
    if stated.is_equivalent(expected):
        factor = float(stated.to(expected))
        if math.isclose(factor, 1, rel_tol=1e-9):
            return 1.0, []
        return factor, [_note(f"errors in {text!r} were multiplied by {factor:g} to fit the data", loud=True)]
    if stated == unit or options.err_type is not None:
        return 1.0, [_note(f"BUNIT of HDU {hdu.index} {hdu.name} is {text!r}: the errors are taken in {expected}")]
    raise UnitError(
        f"BUNIT {text!r} of HDU {hdu} does not fit the data in {unit}: expected {expected}; add --err-type {kind} to take it so, "
        "or --err-ext none."
    )


# ---------------------------------------------------------------- content


def _check_content(cube: Cube) -> None:
    """Refuse a cube in which there is nothing to fit."""
    size = cube.data.size
    finite = np.isfinite(cube.data)
    if not finite.any():
        raise NoDataError(f"all {size} values are NaN or infinite: nothing is left to fit.")
    weighted = cube.weights > 0
    count = int(np.count_nonzero(weighted))
    if count == 0:
        cause = "masked or without a positive finite variance" if cube.variance is not None else "masked"
        raise NoDataError(f"all {size} values are {cause}: nothing is left to fit; see --err-ext, --err-type and --mask-ext.")
    if 1 - count / size > _MOSTLY_ABSENT and size > 100:
        raise NoDataError(f"only {count} of {size} values carry weight, {count / size:.2%}: expected at least {1 - _MOSTLY_ABSENT:.0%}.")
    values = cube.data[weighted]
    if size > 1 and values.min() == values.max():
        raise NoDataError(f"all {count} values with weight are {values[0]:g}: there is no signal to fit.")
