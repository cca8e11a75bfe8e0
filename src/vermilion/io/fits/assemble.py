"""From HDUs to a Cube: native floats, variances, mask, unit, coordinates. Readers are thin because this is common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Cube, Frame
from ...errors import ShapeError
from ..memory import require_memory
from ..options import ReadOptions
from ..record import add_decisions, content_notes, logged, note
from ..units import parse_unit, stated_unit, unit_option
from ..values import FILLERS, fillers, float_size, native_floats, variances
from .axes import Axes, arrange, find_axes
from .cards import propagated
from .error_units import error_factor
from .hdus import Decision, Profile, Roles, decide, same_shape
from .masks import bad_values, describe_bits, set_bits
from .pixels import image_values
from .preflight import FITSFile, HDUInfo, card

__all__ = ["assemble"]

Array = NDArray[Any]


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
    profile = profile or Profile()
    roles = decide(file, options, profile)
    _check_memory(file, roles)
    decisions = [*roles.decisions, *(note(text, loud="CHECKSUM" in text) for text in _file_notes(file, roles))]
    with file.open() as hdulist:
        axes = find_axes(roles.data, hdulist, options, profile)
        decisions += [note(f"spectral axis is FITS axis {axes.order[2]}: {axes.why}"), *map(note, axes.notes)]
        unit, unit_notes = _data_unit(file, roles.data, options, profile)
        data, filled = _data(hdulist, roles.data, axes)
        variance = absent = None
        if roles.error is not None and roles.error_type is not None:
            factor, error_notes = _error_factor(roles, unit, options, profile)
            unit_notes += error_notes
            with _opened(roles.error_file, hdulist) as source:
                error = _image(source, roles.error, roles.data, axes)
            absent = _beyond(error, profile.error_limit)
            variance = variances(error, roles.error_type, factor=factor)
        with _opened(roles.mask_file, hdulist) as source:
            mask, mask_notes = _mask(source, roles, profile, axes)
    for extra in (filled, absent):
        mask = extra if mask is None else mask if extra is None else mask | extra
    decisions += [*unit_notes, *mask_notes, *_value_notes(roles, filled, absent, profile)]
    frame = Frame(shape=data.shape[1:], n_bands=len(data), unit=unit, spectral_axis=axes.spectral, wcs=axes.wcs)
    cube = Cube(data, variance, mask, frame, meta=_meta(file, roles, axes, reader, profile, logged(decisions)))
    return add_decisions(cube, content_notes(cube))


# ---------------------------------------------------------------- record


def _file_notes(file: FITSFile, roles: Roles) -> list[str]:
    others = [other for other in (roles.error_file, roles.mask_file) if other is not None]
    return [*file.notes, *(f"{other.path.name}: {text}" for other in others for text in other.notes)]


def _value_notes(roles: Roles, filled: Array | None, absent: Array | None, profile: Profile) -> list[Decision]:
    notes = []
    if roles.error is None:
        notes.append(note("no errors in the file: every finite value has weight 1"))
    if filled is not None:
        notes.append(note(f"{np.count_nonzero(filled)} values are {FILLERS}: masked", loud=True))
    if absent is not None:
        count, limit = np.count_nonzero(absent), profile.error_limit
        notes.append(
            note(f"{count} errors are {limit:g} or more, by which {profile.instrument} marks values without a measurement: masked")
        )
    for hdu in (roles.data, roles.error):
        if hdu is not None and hdu.quantized:
            notes.append(note(f"HDU {hdu.index} {hdu.name} is compressed with loss: its floats were quantized ({hdu.quantized})"))
    return notes


def _meta(file: FITSFile, roles: Roles, axes: Axes, reader: str, profile: Profile, decisions: list[Decision]) -> dict[str, Any]:
    header = propagated(file.hdus[0].header, roles.data.header)
    return {
        "name": file.name,
        "path": file.given,
        "sha256": file.sha256,
        "reader": reader,
        "instrument": str(header.get("INSTRUME", header.get("TELESCOP", profile.instrument))),
        "header": header,
        "spectral_medium": axes.medium,
        "spectral_axis_given": axes.given,
        "decisions": decisions,
    }


# ---------------------------------------------------------------- arrays


def _check_memory(file: FITSFile, roles: Roles) -> None:
    files = (file, roles.error_file, roles.mask_file)
    needed = sum(len(source.buffer) for source in files if source is not None and source.buffer is not None)
    for hdu in (roles.data, roles.error, roles.mask):
        if hdu is not None:
            needed += math.prod(hdu.shape) * (1 if hdu is roles.mask else float_size(hdu.dtype))
    require_memory(needed, file.limit, file.path, "reading")


def _data(hdulist: fits.HDUList, hdu: HDUInfo, axes: Axes) -> tuple[Array, Array | None]:
    """Native floats (band, y, x), and where they are only fillers (None: nowhere)."""
    data = _image(hdulist, hdu, hdu, axes)
    return data, fillers(data)


def _image(hdulist: fits.HDUList, hdu: HDUInfo, like: HDUInfo, axes: Axes) -> Array:
    """Image of `hdu` as native floats in the order (band, y, x) of the image `like`."""
    return native_floats(_arranged(hdulist, hdu, like, axes))


def _arranged(hdulist: fits.HDUList, hdu: HDUInfo, like: HDUInfo, axes: Axes) -> Array:
    if not same_shape(hdu, like):
        raise ShapeError(
            f"HDU {hdu} and the data in HDU {like} have other shapes: expected equal ones; choose with --err-ext and --mask-ext, or 'none'."
        )
    return arrange(image_values(hdulist, hdu.index, f"HDU {hdu}").reshape(like.shape), axes)


@contextmanager
def _opened(other: FITSFile | None, hdulist: fits.HDUList) -> Iterator[fits.HDUList]:
    """The file of the errors or of the mask: `hdulist`, or one of its own."""
    if other is None:
        yield hdulist
    else:
        with other.open() as opened:
            yield opened


def _mask(hdulist: fits.HDUList, roles: Roles, profile: Profile, axes: Axes) -> tuple[NDArray[np.bool_] | None, list[Decision]]:
    if roles.mask is None:
        return None, []
    image = _arranged(hdulist, roles.mask, roles.data, axes)
    mask = bad_values(image, roles.bits)
    if roles.good_is_one:
        np.logical_not(mask, out=mask)
    notes = [note(f"the mask takes out {np.count_nonzero(mask)} of {mask.size} values")]
    others = set(set_bits(image)) - set(roles.bits) if roles.bits is not None else set()
    if others:
        notes.append(note(f"bits of the mask that are set but not taken as bad: {describe_bits(sorted(others), profile.bits)}"))
    return mask, notes


def _beyond(error: Array, limit: float) -> NDArray[np.bool_] | None:
    """Where an error says that there is no measurement; None: nowhere."""
    if not math.isfinite(limit):
        return None
    with np.errstate(invalid="ignore"):
        absent = np.abs(error) >= limit
    return absent if absent.any() else None


# ---------------------------------------------------------------- units


def _data_unit(file: FITSFile, hdu: HDUInfo, options: ReadOptions, profile: Profile) -> tuple[Any, list[Decision]]:
    if options.unit is not None:
        return unit_option(options.unit), [note("unit: option --unit")]
    text, notes = _bunit(hdu), []
    if not text and _bunit(file.hdus[0]):
        text = _bunit(file.hdus[0])
        notes.append(note(f"BUNIT of the primary header is used: HDU {hdu.index} {hdu.name} has none"))
    if not text:
        text, said = _unit_elsewhere(file, hdu, profile)
        notes += said
    if not text:
        return u.dimensionless_unscaled, [note("no BUNIT: the data are read as dimensionless; give their unit with --unit")]
    unit, remark = _mended(*stated_unit(text, f"HDU {hdu}", allow_unitless=options.allow_unitless), profile)
    return unit, notes + ([note(remark, loud=True)] if remark else [])


def _unit_elsewhere(file: FITSFile, hdu: HDUInfo, profile: Profile) -> tuple[str, list[Decision]]:
    """The unit by another card than BUNIT, or as the instrument has it."""
    for key in profile.unit_keys:
        for header in (hdu.header, file.hdus[0].header):
            text = str(card(header, key, "")).strip()
            if text:
                return text, [note(f"no BUNIT: {key} = {text!r} is taken for it")]
    if profile.unit:
        return profile.unit, [note(f"no BUNIT: {profile.unit!r} as {profile.instrument} has it; else add --unit", loud=True)]
    return "", []


def _mended(unit: Any, remark: str | None, profile: Profile) -> tuple[Any, str | None]:
    """The unit that the instrument means by what it spells, with a remark on that."""
    return (None if profile.mend_unit is None else profile.mend_unit(unit)) or (unit, remark)


def _bunit(hdu: HDUInfo) -> str:
    return str(card(hdu.header, "BUNIT", "")).strip()


def _error_factor(roles: Roles, unit: Any, options: ReadOptions, profile: Profile) -> tuple[float, list[Decision]]:
    """Factor that brings the errors to the scale of the data, as far as their own unit says one."""
    hdu = roles.error
    if options.unit is not None or hdu is None:
        return 1.0, []
    factor, remark = error_factor(
        str(roles.error_type),
        _bunit(hdu),
        _bunit(roles.data),
        unit,
        f"HDU {hdu.index} {hdu.name}".strip(),
        stated=roles.error_stated,
        by_option=options.err_type is not None,
        meant=lambda text: _mended(*parse_unit(text), profile)[0],
    )
    return factor, [note(remark, loud=factor != 1)] if remark else []
