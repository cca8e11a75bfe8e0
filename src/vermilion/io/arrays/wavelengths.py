"""Lists of wavelengths in files that are no FITS: their unit, said or evident, and whether they can be an axis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ...errors import UnitError
from ..containers import safe_name
from ..units import parse_unit

if TYPE_CHECKING:
    from .compose import Layers

__all__ = ["is_spectral_name", "spectral_list", "unit_in_name", "wavelength_unit"]

# as ENVI spells them, in lower case, without a plural s
_NAMES = {
    **dict.fromkeys(("nanometer", "nanometre", "nm"), u.nm),
    **dict.fromkeys(("micrometer", "micrometre", "micron", "um", "µm", "μm", "mum"), u.um),
    **dict.fromkeys(("millimeter", "millimetre", "mm"), u.mm),
    **dict.fromkeys(("centimeter", "centimetre", "cm"), u.cm),
    **dict.fromkeys(("meter", "metre", "m"), u.m),
    **dict.fromkeys(("angstrom", "ångström", "å", "a", "aa", "ang"), u.AA),
    **dict.fromkeys(("wavenumber", "cm-1", "cm^-1", "1/cm"), u.cm**-1),
    "ghz": u.GHz,
    "mhz": u.MHz,
    "hz": u.Hz,
}
_UNSAID = {"", "unknown", "none", "1", "index", "unitless", "dimensionless"}
_KINDS = ("length", "frequency", "energy", "wavenumber", "speed")
_NAME = re.compile(
    r"(?:radiation_|center_|central_|band_)?(?:wave_?lengths?|waves?|wavs?|wvls?|wlen|wls?|lambdas?|lam|centers?|bands_nm)"
    r"(?P<rest>(?:_[a-z0-9]+)*)",
    re.IGNORECASE,
)


def is_spectral_name(name: str) -> bool:
    """Whether an array of this name is a list of wavelengths.

    >>> is_spectral_name("wavelength_nm"), is_spectral_name("wave_air_A"), is_spectral_name("weights")
    (True, True, False)
    """
    return _NAME.fullmatch(name) is not None


def unit_in_name(name: str) -> tuple[str, str | None]:
    """Unit and medium that the name of a list of wavelengths ends with, "" and None where it says none.

    >>> unit_in_name("wave_vac_A")
    ('A', 'vacuum')
    """
    match = _NAME.fullmatch(name)
    words = match["rest"].strip("_").split("_") if match else []
    units = [word for word in words if word.lower().rstrip("s") in _NAMES]
    medium = next(("air" if word.lower() == "air" else "vacuum" for word in words if word.lower() in ("air", "vac", "vacuum")), None)
    return (units[-1] if units else ""), medium


def wavelength_unit(text: str, values: NDArray[np.float64]) -> tuple[u.UnitBase | None, str]:
    """The unit of a list of wavelengths and why it is that; None where nothing says it.

    Where the text says nothing, numbers from 0.2 to 30 are micrometers and numbers from 200 to 3000 nanometers: the ranges of optical
    imaging spectrometers in either unit do not meet.

    Examples
    --------
    >>> wavelength_unit("Micrometers", np.array([0.4, 2.5]))
    (Unit("um"), "'Micrometers'")
    >>> wavelength_unit("Unknown", np.array([400.0, 2500.0]))[0]
    Unit("nm")
    """
    spelled = text.strip()
    word = spelled.lower()
    known = _NAMES.get(word) or _NAMES.get(word.rstrip("s"))
    if known is not None:
        return known, repr(spelled)
    if word not in _UNSAID:
        try:
            unit = parse_unit(spelled)[0]
        except UnitError:
            unit = u.dimensionless_unscaled
        if any(kind in unit.physical_type for kind in _KINDS):
            return unit, repr(spelled)
    low, high = (values.min(), values.max()) if values.size and np.isfinite(values).all() else (0, 0)
    said = f"unit {safe_name(spelled)!r}" if spelled else "no unit is said"
    if word != "index" and low >= 0.2 and high <= 30 and high > low:
        return u.um, f"{said}; numbers from {low:g} to {high:g} are taken as micrometers"
    if word != "index" and low >= 200 and high <= 3000 and high > low:
        return u.nm, f"{said}; numbers from {low:g} to {high:g} are taken as nanometers"
    return None, f"{said}, and numbers from {low:g} to {high:g} do not tell it"


def spectral_list(values: NDArray[np.float64], unit: u.UnitBase | None, why: str, name: str, layers: Layers) -> u.Quantity | None:
    """The list as an axis, or None with a note where it cannot be one; where the unit is not known its numbers become the bands' names."""
    shown = safe_name(name)
    if not np.isfinite(values).all():
        layers.note(f"{shown} holds numbers that are not finite: it is not used as the spectral axis", loud=True)
        return None
    if unit is None:
        layers.note(f"{shown} is not used as the spectral axis: {why}; give the axis with --wave 'start:step unit'", loud=True)
        layers.band_names = layers.band_names or tuple(f"{shown} {value:g}" for value in values)
        return None
    if np.any(values <= 0) and "length" in unit.physical_type:
        layers.note(f"{shown} holds {np.count_nonzero(values <= 0)} numbers that are not positive: bands without a wavelength", loud=True)
    layers.take(name, f"spectral axis in {unit}", why)
    return u.Quantity(values, unit)
