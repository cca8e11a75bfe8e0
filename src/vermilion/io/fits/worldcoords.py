"""World coordinates of a header, after the mistakes were mended that files of the field are known for."""

from __future__ import annotations

import math
import re

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from ...errors import UnitError
from ..units import parse_unit
from .preflight import card

__all__ = ["axis_type", "axis_unit", "known_unit", "read_spectral_wcs", "read_wcs"]

_NUMERIC = re.compile(r"^(CRVAL|CRPIX|CDELT|CROTA)\d+$|^(CD|PC)\d+_\d+$")
_LOOKUP = re.compile(r"^(A|B|AP|BP)_(ORDER|\d+_\d+)$|^(CPDIS|D2IMDIS)\d+$")
_OF_AXIS = {
    r"^(CTYPE|CUNIT|CRVAL|CRPIX|CDELT){0}$": r"\g<1>1",
    r"^(CD|PC){0}_{0}$": r"\g<1>1_1",
    r"^(PS|PV){0}_(\d+)$": r"\g<1>1_\2",
}
_OF_SPECTRUM = ("RESTFRQ", "RESTFREQ", "RESTWAV", "SPECSYS", "SSYSOBS", "VELOSYS", "VELREF", "VSOURCE", "ZSOURCE", "SPECSRC", "SSYSSRC")
_MAX_CONDITION = 1e8  # of the matrix with rows of length 1
_SAME = 1e-6  # of the step


def read_wcs(header: fits.Header, hdulist: fits.HDUList, notes: list[str]) -> WCS | None:
    """The WCS of all axes; None, with a note, where it cannot be used."""
    try:
        wcs = WCS(_mended(header, notes), fobj=hdulist)  # fobj: wavelengths of a -TAB axis lie in a table
        wcs.wcs.set()
        _refuse_singular(wcs)
    except Exception as error:  # of many kinds: a damaged table of a -TAB axis raises whatever astropy stumbles over
        notes.append(f"the WCS cannot be used, coordinates are pixels: {' '.join(str(error).split())[:200]}")
        return None
    return wcs


def read_spectral_wcs(header: fits.Header, hdulist: fits.HDUList, axis: int) -> tuple[WCS, fits.Header] | None:
    """The WCS of one axis alone and the cards that make it, renumbered to axis 1; None where it cannot be used.

    For a header of which another axis is broken.
    """
    try:
        alone = _renumbered(header, axis)
        wcs = WCS(_mended(alone, []), fobj=hdulist, naxis=1)
        wcs.wcs.set()
        _refuse_singular(wcs)
    except Exception:  # as above
        return None
    return wcs, alone


def _renumbered(header: fits.Header, axis: int) -> fits.Header:
    """The cards about one axis, as those of axis 1."""
    alone = fits.Header({key: card(header, key) for key in _OF_SPECTRUM if card(header, key) is not None})
    for key in header:
        for pattern, renumbered in _OF_AXIS.items():
            if re.match(pattern.format(axis), key) and card(header, key) is not None:
                alone[re.sub(pattern.format(axis), renumbered, key)] = card(header, key)
    alone["NAXIS"] = 1
    return alone


def axis_type(header: fits.Header, axis: int) -> str:
    """CTYPE of an axis."""
    return str(card(header, f"CTYPE{axis}", "")).strip()


def axis_unit(header: fits.Header, axis: int) -> u.UnitBase | None:
    """CUNIT of an axis as it is meant: A is no Ampere here."""
    text = str(card(header, f"CUNIT{axis}", "")).strip()
    unit = known_unit(text) if text else None
    return u.AA if unit == u.A else unit


def known_unit(text: str) -> u.UnitBase | None:
    """The unit, None where it is not understood or FITS cannot write it."""
    try:
        unit = parse_unit(text)[0]
        unit.to_string("fits")
    except (UnitError, ValueError):
        return None
    return unit


def _mended(header: fits.Header, notes: list[str]) -> fits.Header:
    """The header with numbers where numbers belong, units that wcslib knows, and one complete matrix."""
    header = header.copy()
    for key in list(header):
        if _NUMERIC.match(key):
            value = card(header, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{key} is no number")
    for key in header["CUNIT?"]:
        axis = int(key[5:]) if key[5:].isdigit() else 0
        unit = axis_unit(header, axis)
        if unit == u.AA and known_unit(str(header[key])) == u.A:
            notes.append(f"{key} = {header[key]} spells Ampere: read as Angstrom")
        if unit is not None:
            header[key] = unit.to_string("fits")
    _drop_distortion(header, notes)
    _one_matrix(header, notes)
    _complete_matrix(header, notes)
    return header


def _drop_distortion(header: fits.Header, notes: list[str]) -> None:
    """Astropy refuses distortions beside a third axis."""
    found = [key for key in header if _LOOKUP.match(key)]
    if found and header.get("NAXIS", 0) > 2:
        for key in found:
            del header[key]
        for key in header["CTYPE?"]:
            header[key] = re.sub(r"-SIP$", "", str(card(header, key, "")).strip())
        notes.append("the distortion in the header is left out: positions on the sky are off by that much")


def _one_matrix(header: fits.Header, notes: list[str]) -> None:
    """Leave one of CD, PC and CROTA, as the FITS standard has it; refuse two that contradict each other."""
    cd, pc = list(header["CD?_?"]), list(header["PC?_?"])
    if cd and pc:
        axes = range(1, int(header.get("NAXIS", 0)) + 1)
        first = np.array([[header.get(f"CD{i}_{j}", 0.0) for j in axes] for i in axes])
        second = np.array([[header.get(f"PC{i}_{j}", float(i == j)) * header.get(f"CDELT{i}", 1.0) for j in axes] for i in axes])
        rows = (first != 0).any(axis=1)
        scale = np.abs(first).max(axis=1, keepdims=True)
        if not (np.abs(first - second) <= _SAME * scale)[rows].all():
            raise ValueError("its CD and PC matrices contradict each other")
        for key in pc:
            del header[key]
    rotations = [key for key in header["CROTA?"] if header[key]]
    if rotations and (cd or pc):
        for key in rotations:
            del header[key]
        notes.append(f"{', '.join(rotations)} beside a {'CD' if cd else 'PC'} matrix is not used")


def _complete_matrix(header: fits.Header, notes: list[str]) -> None:
    """Give an axis that the CD matrix leaves out its CDELT: wcslib would take a step of 1."""
    rows = {axis: [header[key] for key in header[f"CD{axis}_?"]] for axis in range(1, header.get("NAXIS", 0) + 1)}
    for axis, row in rows.items():
        if any(rows.values()) and not row and f"CDELT{axis}" in header:
            header[f"CD{axis}_{axis}"] = header[f"CDELT{axis}"]
            notes.append(f"the CD matrix leaves out axis {axis}: its CDELT{axis} = {header[f'CDELT{axis}']} is used")
        elif row and not any(row):
            raise ValueError(f"row {axis} of the CD matrix is zero")


def _refuse_singular(wcs: WCS) -> None:
    """wcslib notices a singular matrix only when it is used, and not always then."""
    matrix = wcs.pixel_scale_matrix
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not (lengths > 0).all() or np.linalg.cond(matrix / lengths) > _MAX_CONDITION:
        raise ValueError("its matrix is singular")
