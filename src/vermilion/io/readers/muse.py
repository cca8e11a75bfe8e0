"""MUSE cubes of the ESO pipeline and of mpdaf: DATA, STAT (variance), DQ (Euro3D bits), PSF in the FSF cards of the primary header.

The pipeline marks absent values by NaN; where there is a DQ, any value but 0 is bad, as in mpdaf. STAT leaves out the covariance that
resampling makes, thus it is too small for sums over neighbors.

References
----------
The FSF cards: mpdaf 3.6, `mpdaf.MUSE.MoffatModel2`. The bits: Euro3D data format (Kissler-Patig et al. 2004, AN 325, 159), as listed
by mpdaf, counted here from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import PSF, Cube
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, card
from ..options import ReadOptions
from ..record import add_decisions, note

__all__ = ["fsf", "identify", "load", "name"]

name = "muse"
_EURO3D = (
    *("telluric, corrected", "telluric", "ghost", "electronic noise", "cosmic ray, removed", "cosmic ray", "low efficiency"),
    *("calibration defect", "hot pixel", "dark pixel", "questionable", "saturated well", "saturated converter", "camera defect", "other"),
)
PROFILE = Profile(
    instrument="MUSE",
    data=("DATA",),
    errors={"STAT": "variance"},
    masks=("DQ",),
    bits={**dict(enumerate(_EURO3D)), 30: "missing", 31: "outside"},
)
_MEAN, _MOSAIC = 0, 99  # numbers of fields: the mean of all, and the whole mosaic
_MAX_TERMS = 20
_WIDEST = 60.0  # arcsec

Array = NDArray[np.floating[Any]]


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether the primary header says MUSE, or mpdaf wrote DATA beside STAT."""
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    said = str(card(headers[0], "INSTRUME", "")).strip().upper() == "MUSE"
    mpdaf = str(card(headers[0], "AUTHOR", "")).strip().upper() == "MPDAF"
    return "DATA" in names and (said or (mpdaf and "STAT" in names))


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a MUSE file."""
    cube = assemble(file, options, reader=name, profile=PROFILE)
    header = file.hdus[0].header
    if card(header, "FSFMODE") is None:
        return cube
    try:
        psf = fsf(header, cube.frame.spectral_axis)
    except ValueError as error:
        return add_decisions(cube, [note(f"the PSF in the FSF cards is ignored: {error}", loud=True)])
    return add_decisions(replace(cube, psf=psf), [note(f"PSF: {psf.source}, a Moffat profile per band")])


def fsf(header: fits.Header, wavelengths: u.Quantity | None) -> PSF:
    """The field spread function that FSF cards describe.

    With ``x = (wavelength - FSFLB1) / (FSFLB2 - FSFLB1) - 1/2``, FWHM (arcsec) and beta of a Moffat profile are polynomials in x,
    highest power first. Field 00 is the mean of all; without it field 99, the mosaic; without both the fields 01 to NFIELDS are
    averaged. FSFMODE ``MOFFAT1`` may instead mean a constant beta and ``FWHM = FWA + FWB wavelength``.

    Raises
    ------
    ValueError
        If the cards make no sense; the text says why.
    """
    mode = str(card(header, "FSFMODE", "")).strip().upper()
    if mode not in ("2", "MOFFAT1"):
        raise ValueError(f"FSFMODE = {mode!r} is unknown")
    if wavelengths is None or "length" not in wavelengths.unit.physical_type:
        raise ValueError("the cube has no wavelengths")
    fields, source = _fields(header)
    values = [_moffat(header, field, wavelengths.to_value(u.AA)) for field in fields]
    fwhm, beta = (np.mean([value[i] for value in values], axis=0) for i in range(2))
    if not (np.isfinite(fwhm).all() and np.isfinite(beta).all() and (fwhm > 0).all() and (fwhm < _WIDEST).all() and (beta > 1).all()):
        raise ValueError(f"FWHM {np.min(fwhm):g} to {np.max(fwhm):g} arcsec, beta {np.min(beta):g} to {np.max(beta):g}")
    return PSF(fwhm=u.Quantity(fwhm, u.arcsec), beta=beta, source=source)


def _fields(header: fits.Header) -> tuple[list[int], str]:
    """Numbers of the fields to average, and what they are."""
    total = card(header, "NFIELDS", 1)
    if isinstance(total, bool) or not isinstance(total, int) or not 1 <= total < _MOSAIC:
        raise ValueError(f"NFIELDS = {total!r}: expected 1 to {_MOSAIC - 1}")
    for field, meaning in ((_MEAN, "FSF cards, field 00"), (_MOSAIC, "FSF cards, field 99, the mosaic")):
        if _has(header, field):
            return [field], meaning
    fields = list(range(1, total + 1))
    missing = [f"{field:02d}" for field in fields if not _has(header, field)]
    if missing:
        raise ValueError(f"there is no field 00, and of NFIELDS = {total} the fields {', '.join(missing[:5])} are missing")
    return fields, "FSF cards, field 01" if total == 1 else f"FSF cards, mean of the fields 01 to {total:02d}"


def _has(header: fits.Header, field: int) -> bool:
    return f"FSF{field:02d}FNC" in header or f"FSF{field:02d}BET" in header


def _moffat(header: fits.Header, field: int, angstrom: Array) -> tuple[Array, Array]:
    """FWHM (arcsec) and beta of one field."""
    begin = f"FSF{field:02d}"
    if f"{begin}FNC" not in header:
        constant, slope, power = (_number(header, begin + end) for end in ("FWA", "FWB", "BET"))
        return constant + slope * angstrom, np.full_like(angstrom, power)
    low, high = _number(header, "FSFLB1"), _number(header, "FSFLB2")
    if high <= low:
        raise ValueError(f"FSFLB1 = {low:g} and FSFLB2 = {high:g} are no range")
    x = (angstrom - low) / (high - low) - 0.5
    fwhm, beta = (np.polyval(_coefficients(header, begin + letter), x) for letter in "FB")
    return fwhm, beta


def _coefficients(header: fits.Header, begin: str) -> list[float]:
    count = _number(header, f"{begin}NC")
    if count != int(count) or not 1 <= count <= _MAX_TERMS:
        raise ValueError(f"{begin}NC = {count:g}: expected 1 to {_MAX_TERMS} coefficients")
    return [_number(header, f"{begin}{k:02d}") for k in range(int(count))]


def _number(header: fits.Header, key: str) -> float:
    value = card(header, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is {'missing' if value is None else repr(value)}: expected a number")
    return float(value)
