"""Units as files spell them, and as astropy understands them."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

from astropy import units as u

from ..errors import ParameterError, UnitError

__all__ = ["parse_unit", "parse_wave", "stated_unit", "unit_option"]

# Spellings seen in files of the field, in the order in which they are tried on a text that astropy refuses.
_SPELLINGS = (
    (r"\^\{(-?\d+)\}", r"**(\1)"),
    (r"\bangstroe?ms?\b", "Angstrom"),
    (r"\bang\b", "Angstrom"),
    (r"\bflam(\d+)\b", r"1e-\1 erg s-1 cm-2 Angstrom-1"),
    (r"\bflam\b", "erg s-1 cm-2 Angstrom-1"),
    (r"\bergs?\b", "erg"),
    (r"\bcm(?![a-z])", "cm"),
    (r"\bsec\b", "s"),
    (r"\bjy\b", "Jy"),
    (r"\bMJY/SR\b", "MJy/sr"),
    (r"\bsr\b", "sr"),
    (r"\bmjy\b", "mJy"),
    (r"\bbeam\b", "beam"),
    (r"\bspaxels?\b", "pix"),
    (r"\bpixels?\b", "pix"),
    (r"\bfib(er|re)s?\b", "pix"),
    (r"\bc(oun)?ts?\b", "ct"),
    (r"\bcps\b", "ct/s"),
    (r"\badu\b", "adu"),
    (r"\belectrons?\b", "electron"),
    (r"\be-(?=\s*/|\s*$)", "electron"),
    (r"\bphotons?\b", "photon"),
    (r"\bnanomagg(ie|y)s?\b", "nmgy"),
    (r"\bmum\b", "um"),
    (r"\bmicrons\b", "micron"),
    (r"\bnanometers?\b", "nm"),
    (r"\bmicrometers?\b", "um"),
    (r"\bmicroW\b", "uW"),
    (r"\bkelvins?\b", "K"),
    (r"\bhz\b", "Hz"),
    (r"\bkev\b", "keV"),
    (r"\bkm/s\b", "km/s"),
    (r"\bm/s\b", "m/s"),
    (r"/s\b", "/s"),
)
_CASE = {r"\bmjy\b", r"\bMJY/SR\b"}  # MJY alone may be either of two
# Astropy understands these, but not as they are meant.
_MISREAD = ((re.compile(r"^(\w*Jy)/beam[ .*]+km/s$", re.IGNORECASE), r"\1 beam-1 km s-1"),)
_POWER = re.compile(r"^\((.+)\)\s*(?:\*\*|\^)\s*\(?(-?\d+)\)?$")
_LONE_A = re.compile(r"(?<![A-Za-z])A(?![A-Za-z])")
# Words by which files say that their numbers have no unit.
_UNITLESS = {"1", "-", "none", "n/a", "unitless", "dimensionless", "reflectance", "fraction"}
_ENERGY_LIKE = {"erg", "J", "W", "Jy", "mJy", "uJy", "ph", "photon", "ct", "count", "electron", "adu", "DN"}


def parse_unit(text: str) -> tuple[u.UnitBase, str | None]:
    """The unit that `text` means, and a note where it was not taken word by word.

    Parameters
    ----------
    text : str
        As in BUNIT or CUNIT. ``/A`` beside an energy is read as per Angstrom, though it spells Ampere.

    Returns
    -------
    unit : Unit
    note : str or None

    Raises
    ------
    UnitError
        If neither astropy nor the table of spellings understands it.

    Examples
    --------
    >>> parse_unit("JY/BEAM")[0]
    Unit("Jy / beam")
    """
    text = text.strip()
    power = _POWER.match(text)
    if power:
        unit, note = parse_unit(power[1])
        return unit ** int(power[2]), note
    respelled = text
    for misread, meaning in _MISREAD:
        respelled = misread.sub(meaning, respelled)
    unit = _astropy_unit(respelled)
    if unit is None:
        for pattern, spelling in _SPELLINGS:
            respelled = re.sub(pattern, spelling, respelled, flags=0 if pattern in _CASE else re.IGNORECASE)
        unit = _astropy_unit(respelled)
    if unit is None:
        raise UnitError(f"unit {text!r} is not understood.")
    unit, respelled = _not_ampere(unit, respelled)
    return unit, (None if respelled == text else f"unit {text!r} was read as {respelled!r}")


def stated_unit(text: str, where: str, *, allow_unitless: bool = False, card: str = "BUNIT") -> tuple[u.UnitBase, str | None]:
    """The unit that a file states, and a remark where that is not what it spells.

    Parameters
    ----------
    text : str
    where, card : str
        Where it stands, and what it is called there.
    allow_unitless : bool
        Take what is not understood as no unit.

    Raises
    ------
    UnitError
        If it is not understood; the text says which option to add.

    Examples
    --------
    >>> stated_unit("reflectance", "HDU 1")
    (Unit(dimensionless), None)
    """
    if text.strip().lower() in _UNITLESS:
        return u.dimensionless_unscaled, None
    try:
        return parse_unit(text)
    except UnitError:
        if allow_unitless:
            return u.dimensionless_unscaled, f"{card} {text[:60]!r} is not understood: the data are read as dimensionless"
        raise UnitError(
            f"{card} {text[:60]!r} in {where} is not understood. Try --unit '1e-17 erg s-1 cm-2 Angstrom-1', or --allow-unitless."
        ) from None


def unit_option(text: Any) -> u.UnitBase:
    """The unit given by the user.

    Raises
    ------
    ParameterError
        If it is not understood.
    """
    if isinstance(text, u.UnitBase):
        return text
    try:
        return parse_unit(str(text))[0]
    except UnitError:
        raise ParameterError(f"unit {text!r} is not understood: expected, for example, '1e-17 erg s-1 cm-2 Angstrom-1'.") from None


def parse_wave(wave: Any, n_bands: int) -> u.Quantity:
    """The spectral axis given by the user: ``"start:step unit"`` or a Quantity of shape (B,).

    Examples
    --------
    >>> parse_wave("4750:1.25 Angstrom", 3)
    <Quantity [4750.  , 4751.25, 4752.5 ] Angstrom>
    """
    expected = f"expected 'start:step unit' such as '4750:1.25 Angstrom', or a Quantity of shape ({n_bands},)"
    if isinstance(wave, u.Quantity):
        if wave.shape != (n_bands,):
            raise ParameterError(f"wave has shape {wave.shape}: {expected}.")
        return wave
    match = re.match(r"^\s*([-+.\deE]+)\s*:\s*([-+.\deE]+)\s*([A-Za-zµ\N{ANGSTROM SIGN}Å%].*)$", str(wave))
    if match is None:
        raise ParameterError(f"wave is {wave!r}: {expected}.")
    try:
        start, step, unit = float(match[1]), float(match[2]), unit_option(match[3])
    except ValueError as error:
        raise ParameterError(f"wave is {wave!r}: {expected} ({error}).") from None
    if step == 0:
        raise ParameterError(f"wave is {wave!r}: expected a step that is not 0.")
    if abs(step) > abs(start) > 0:
        raise ParameterError(f"wave is {wave!r}, but the file has no spectral axis to select from: {expected}.")
    return u.Quantity([start + step * i for i in range(n_bands)], unit)


def _astropy_unit(text: str) -> u.UnitBase | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)  # "multiple slashes": the usual spelling in this field
        try:
            unit = u.Unit(text)
        except (ValueError, TypeError):
            return None
    return unit if isinstance(unit, u.UnitBase) and 0 < unit.scale < math.inf else None


def _not_ampere(unit: u.UnitBase, text: str) -> tuple[u.UnitBase, str]:
    names = {base.name for base in unit.bases}
    if "A" not in names or not names & _ENERGY_LIKE:
        return unit, text
    respelled = _LONE_A.sub("Angstrom", text)
    return _astropy_unit(respelled) or unit, respelled
