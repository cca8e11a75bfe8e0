"""Where the bands of a cube lie: by the WCS, by an extension with their centers, in air or in vacuum."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...errors import ShapeError
from .hdus import Profile
from .preflight import card, damage_reported
from .worldcoords import axis_type, axis_unit, known_unit

__all__ = ["band_centers", "is_spectral", "medium", "spectral_values"]

_SPECTRAL_TYPES = ("length", "frequency", "energy", "speed", "wavenumber")
_MEDIA = {"AWAV": "air", "WAVE": "vacuum"}
_MEDIUM_WORDS = {"AIR": "air", "VAC": "vacuum", "VACUUM": "vacuum"}  # of the SDSS card AIRORVAC
_WAVE_NAMES = ("WAVE", "WAVELENGTH", "LAMBDA")  # extensions with the band centers, where the header of the data has none
_SPECTRAL_CODE = 3  # thousands of wcslib's type of an axis
_LONGEST = 1.0  # m: optical wavelengths that seem longer lack their unit
_AGREES = 1e-5  # two versions of a constant of nature


def is_spectral(unit: u.UnitBase | None) -> bool:
    """Whether it is a unit of wavelength, frequency, energy, wave number or velocity."""
    return unit is not None and any(kind in unit.physical_type for kind in _SPECTRAL_TYPES)


def is_spectral_type(wcs: WCS, axis: int) -> bool:
    """Whether wcslib knows the type of the axis as spectral."""
    return int(wcs.wcs.axis_types[axis - 1]) // 1000 % 10 == _SPECTRAL_CODE


def spectral_values(
    wcs: WCS, header: fits.Header, hdulist: fits.HDUList, band: int, n_bands: int, profile: Profile, notes: list[str]
) -> u.Quantity | None:
    """Band centers by the WCS, in the unit of the file (of the table, for a -TAB axis); None where they make no sense."""
    si = u.Unit(wcs.wcs.cunit[band - 1])
    tabulated = axis_type(header, band).upper().endswith("-TAB")
    own = axis_unit(header, band)
    nameless = profile.wave_unit and si == u.dimensionless_unscaled and f"CRVAL{band}" in header
    if not (is_spectral_type(wcs, band) or is_spectral(si) or nameless):
        return None
    if own is None and profile.wave_unit and not tabulated:
        own = si = u.Unit(profile.wave_unit)
        notes.append(f"no CUNIT{band}: the spectral axis is taken in {profile.wave_unit}, as {profile.instrument} has it")
    if own is not None and not own.is_equivalent(si):  # wcslib did not see the unit that we see
        own, si = (None, si) if is_spectral(si) else (own, own)
    if n_bands > 1 and not tabulated and f"CDELT{band}" not in header and not header[f"CD{band}_?"]:
        notes.append(f"the header gives no step of the spectral axis, neither CDELT{band} nor CD{band}_{band}: it is not used")
        return None
    try:
        values = _along(wcs, band, n_bands)
    except Exception as error:  # of many kinds, as for every WCS
        notes.append(f"the spectral axis of the WCS cannot be computed: {' '.join(str(error).split())[:200]}")
        return None
    if tabulated:
        centers = u.Quantity(values, _table_unit(header, hdulist, band) or si)
    else:
        centers = u.Quantity(values, si) if own is None else u.Quantity(values * _factor(wcs, header, band, si, own), own)
    if card(header, "DC-FLAG") == 1 and "length" in centers.unit.physical_type:
        centers = u.Quantity(10**centers.value, centers.unit)
        notes.append("DC-FLAG = 1: the header holds logarithms of the wavelengths")
    return _sensible(centers, own is not None or tabulated, band, notes)


def _along(wcs: WCS, band: int, n_bands: int) -> NDArray[np.float64]:
    """World coordinates of the band centers; along the central pixel, where the axis is coupled to the sky."""
    pixels = np.arange(n_bands, dtype=float)
    try:
        return np.asarray(wcs.sub([band]).wcs_pix2world(pixels, 0)[0])
    except Exception:  # of many kinds, as for every WCS
        center = [np.full(n_bands, (n - 1) / 2 if n else 0.0) for n in wcs.pixel_shape or [1] * wcs.naxis]
        center[band - 1] = pixels
        return np.asarray(wcs.wcs_pix2world(*center, 0)[band - 1])


def _factor(wcs: WCS, header: fits.Header, band: int, si: u.UnitBase, own: u.UnitBase) -> float:
    """How many units of the file are one of the WCS; by CRVAL, since wcslib has other constants of nature than astropy."""
    factor = float(si.to(own))
    stated, internal = card(header, f"CRVAL{band}"), float(wcs.wcs.crval[band - 1])
    if isinstance(stated, int | float) and not isinstance(stated, bool) and stated and internal:
        by_crval = stated / internal
        if abs(by_crval / factor - 1) < _AGREES:
            return by_crval
    return factor


def _sensible(centers: u.Quantity, has_unit: bool, band: int, notes: list[str]) -> u.Quantity | None:
    """The band centers; None, with a note, if they cannot be."""
    values = centers.value
    kinds = centers.unit.physical_type
    if not np.isfinite(values).all():
        notes.append("the spectral axis of the WCS is not finite: it is not used")
        return None
    if "speed" not in kinds and (values <= 0).any():
        notes.append(f"the spectral axis would run from {centers[0]:.6g} to {centers[-1]:.6g}: it is not used")
        return None
    if not has_unit and "length" in kinds and centers.to_value(u.m).max() > _LONGEST:
        said = f"no CUNIT{band}: in the default of FITS the wavelengths would run from {centers[0]:.6g} to {centers[-1]:.6g}"
        notes.append(f"{said}: they are not used")
        return None
    return centers


def _table_unit(header: fits.Header, hdulist: fits.HDUList, band: int) -> u.UnitBase | None:
    """Unit of the column that holds a -TAB axis: the label in the WCS object may be another."""
    try:
        table = hdulist[str(card(header, f"PS{band}_0", ""))]
        text = table.columns[str(card(header, f"PS{band}_1", ""))].unit
    except (KeyError, AttributeError):
        return None
    return known_unit(text) if text else None


# ---------------------------------------------------------------- an extension of their own


def band_centers(hdulist: fits.HDUList, n_bands: int, spectral: u.Quantity | None, profile: Profile, notes: list[str]) -> u.Quantity | None:
    """Band centers from an extension of their own: the one that the instrument writes, or any where the header has none.

    Raises
    ------
    ShapeError
        If the extension has another length.
    """
    found = _images_named(hdulist, profile.wave or (_WAVE_NAMES if spectral is None else ()))
    if len(found) != 1:
        if profile.wave:
            notes.append(f"no extension {' or '.join(profile.wave)}: the spectral axis is that of the header")
        return spectral
    index, hdu = found[0]
    label = f"HDU {index} {str(card(hdu.header, 'EXTNAME')).strip()}"
    if hdu.shape != (n_bands,):
        raise ShapeError(f"{label} has the shape {hdu.shape}: expected one wavelength for each of the {n_bands} bands.")
    with damage_reported(f"the data of {label}"):
        values = np.asarray(hdu.data, dtype=float)
    stated = str(card(hdu.header, "BUNIT", card(hdu.header, "CUNIT1", ""))).strip()
    unit = (known_unit(stated) if stated else None) or (u.Unit(profile.wave_unit) if profile.wave_unit else None)
    unit = u.AA if unit == u.A else unit
    if unit is None or not is_spectral(unit):
        notes.append(f"{label} seems to hold the band centers, but does not say their unit: it is not used")
        return spectral
    if not np.isfinite(values).all() or (n_bands > 1 and not (np.diff(values) > 0).all() and not (np.diff(values) < 0).all()):
        notes.append(f"the wavelengths in {label} are not finite or not in order: they are not used")
        return spectral
    centers = u.Quantity(values, unit)
    notes.append(f"band centers: {label}, in {unit}" + ("" if spectral is None else _difference(centers, spectral)))
    return centers


def _images_named(hdulist: fits.HDUList, names: tuple[str, ...]) -> list[tuple[int, Any]]:
    if not names:
        return []
    with damage_reported("the list of HDUs"):
        named = [(i, hdu) for i, hdu in enumerate(hdulist) if str(card(hdu.header, "EXTNAME", "")).strip().upper() in names]
        return [(i, hdu) for i, hdu in named if i > 0 and hdu.is_image]


def _difference(centers: u.Quantity, header: u.Quantity) -> str:
    try:
        apart = np.abs(header.to(centers.unit) - centers).max()
    except u.UnitConversionError:
        return "; the header of the data has an axis of another kind"
    return f"; the header of the data differs by {apart:.3g} at most"


# ---------------------------------------------------------------- air or vacuum


def medium(header: fits.Header, hdulist: fits.HDUList, band: int, spectral: u.Quantity, profile: Profile, notes: list[str]) -> str | None:
    """Air or vacuum, by the type of the axis, by the card AIRORVAC, or as the instrument has it; None for frequencies and velocities."""
    if "length" not in spectral.unit.physical_type:
        return None
    stated = _MEDIA.get(axis_type(header, band).upper().split("-")[0])
    if stated is not None:
        return stated
    for source in (header, hdulist[0].header):
        word = str(card(source, "AIRORVAC", "")).strip().upper()
        if word in _MEDIUM_WORDS:
            return _MEDIUM_WORDS[word]
    if profile.medium is not None:
        notes.append(f"no header says whether wavelengths are in air or vacuum: taken as {profile.medium}, as {profile.instrument} has it")
    return profile.medium
