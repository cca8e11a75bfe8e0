"""Units as files spell them, and as astropy understands them."""

from __future__ import annotations

import re
import warnings
from typing import Any

from astropy import units as u

from ..errors import ParameterError, UnitError

__all__ = ["parse_unit", "parse_wave", "unit_option"]

# Spellings seen in files of the field, in the order in which they are tried on a text that astropy refuses.
_SPELLINGS = (
    (r"\bangstroms\b", "Angstrom"),
    (r"\bang\b", "Angstrom"),
    (r"\bflam(\d+)\b", r"1e-\1 erg s-1 cm-2 Angstrom-1"),
    (r"\bflam\b", "erg s-1 cm-2 Angstrom-1"),
    (r"\bjy\b", "Jy"),
    (r"\bbeam\b", "beam"),
    (r"\bspaxels?\b", "pix"),
    (r"\bpixels?\b", "pix"),
    (r"\bcounts?\b", "ct"),
    (r"\belectrons?\b", "electron"),
    (r"\be-(?=\s*/|\s*$)", "electron"),
    (r"\bphotons?\b", "photon"),
    (r"\bmum\b", "um"),
    (r"\bmicrons\b", "micron"),
    (r"\bkelvins?\b", "K"),
    (r"/s\b", "/s"),
)
_POWER = re.compile(r"^\((.+)\)\s*(?:\*\*|\^)\s*\(?(-?\d+)\)?$")
_LONE_A = re.compile(r"(?<![A-Za-z])A(?![A-Za-z])")
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
    unit = _astropy_unit(text)
    respelled = text
    if unit is None:
        for pattern, spelling in _SPELLINGS:
            respelled = re.sub(pattern, spelling, respelled, flags=re.IGNORECASE)
        unit = _astropy_unit(respelled)
    if unit is None:
        raise UnitError(f"unit {text!r} is not understood.")
    unit, respelled = _not_ampere(unit, respelled)
    return unit, (None if respelled == text else f"unit {text!r} was read as {respelled!r}")


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
    match = re.match(r"^\s*([-+.\deE]+)\s*:\s*([-+.\deE]+)\s+(\S.*)$", str(wave))
    if match is None:
        raise ParameterError(f"wave is {wave!r}: {expected}.")
    try:
        start, step, unit = float(match[1]), float(match[2]), unit_option(match[3])
    except ValueError as error:
        raise ParameterError(f"wave is {wave!r}: {expected} ({error}).") from None
    if step == 0:
        raise ParameterError(f"wave is {wave!r}: expected a step that is not 0.")
    return u.Quantity([start + step * i for i in range(n_bands)], unit)


def _astropy_unit(text: str) -> u.UnitBase | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)  # "multiple slashes": the usual spelling in this field
        try:
            unit = u.Unit(text)
        except (ValueError, TypeError):
            return None
    return unit if isinstance(unit, u.UnitBase) else None


def _not_ampere(unit: u.UnitBase, text: str) -> tuple[u.UnitBase, str]:
    names = {base.name for base in unit.bases}
    if "A" not in names or not names & _ENERGY_LIKE:
        return unit, text
    respelled = _LONE_A.sub("Angstrom", text)
    return _astropy_unit(respelled) or unit, respelled
