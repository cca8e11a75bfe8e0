"""Which HDU holds the data, which their errors, which their mask: decided in a stated order, never guessed silently."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import AmbiguousInputError, HeaderError, ParameterError, ShapeError
from .options import ReadOptions
from .preflight import FITSFile, HDUInfo, card

__all__ = ["Decision", "Profile", "Roles", "decide", "is_cube"]

Decision = dict[str, Any]

DATA_NAMES = ("DATA", "FLUX", "SCI")
ERROR_NAMES = {
    **dict.fromkeys(("STAT", "VAR", "VARIANCE"), "variance"),
    **dict.fromkeys(("ERR", "ERROR", "UNCERT", "UNCERTAINTY", "SIGMA", "STDDEV"), "sigma"),
    **dict.fromkeys(("IVAR", "INVVAR"), "ivar"),
}
MASK_NAMES = ("DQ", "MASK", "BADPIX", "QUALITY")
# Companions of a cube that are as large as it and are never the data themselves.
COMPANIONS = ("WMAP", "WEIGHT", "WHT", "ERRWEIGHT", "FIBCOVER", "FLAGS", "NOSKYSUB", "COVAR", "CTX", "CON")
ESO_ERRORS = {"MSE": "variance", "RMSE": "sigma", "INVMSE": "ivar", "INVRMSE": "isigma"}
JWST_ERRORS = {"ERR": "sigma", "IERR": "isigma", "VAR": "variance", "IVAR": "ivar"}
NONE = "NONE"


@dataclass(frozen=True)
class Profile:
    """What the files of one instrument call things.

    Attributes
    ----------
    instrument : str
        As in the decisions.
    data, masks : tuple of str
        Names of extensions.
    errors : mapping of str to str
        Name of the extension to ``variance``, ``sigma`` or ``ivar``.
    """

    instrument: str = ""
    data: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    masks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Roles:
    """The HDUs that make a cube.

    Attributes
    ----------
    data : HDUInfo
    error : HDUInfo or None
    error_type : str or None
        ``variance``, ``sigma``, ``ivar`` or ``isigma`` (inverse sigma).
    error_stated : bool
        Whether an option or a header says the type; False where only a name does.
    mask : HDUInfo or None
    decisions : list of dict
        Keys hdu, name, taken_as, why.
    """

    data: HDUInfo
    error: HDUInfo | None
    error_type: str | None
    error_stated: bool
    mask: HDUInfo | None
    decisions: list[Decision]


def is_cube(hdu: HDUInfo) -> bool:
    """Whether the HDU holds an image of three axes, degenerate ones aside."""
    if hdu.kind not in ("image", "compressed") or len(hdu.shape) < 3 or 0 in hdu.shape:
        return False
    return len(hdu.shape) == 3 or sum(n > 1 for n in hdu.shape) <= 3


def decide(file: FITSFile, options: ReadOptions, profile: Profile) -> Roles:
    """The HDUs of `file` by the role each plays, and why.

    The order: what the user said; ESO HDUCLAS* cards; JWST FLUXEXT/ERREXT/MASKEXT; the profile of the instrument; the dictionary of
    names; the only image with three axes.

    Raises
    ------
    ShapeError
        If there is no image with three axes.
    AmbiguousInputError
        If two HDUs could be the data, or the meaning of the errors is not said; the text names the option to add.
    """
    hdus = file.hdus
    data, why = _data(hdus, options, profile)
    error, error_type, stated, error_why = _error(hdus, data, options, profile)
    mask, mask_why = _mask(hdus, data, options, profile)
    decisions = [_decision(data, "data", why)]
    if error is not None:
        decisions.append(_decision(error, str(error_type), error_why))
    if mask is not None:
        decisions.append(_decision(mask, "mask (nonzero = bad)", mask_why))
    taken = {hdu.index for hdu in (data, error, mask) if hdu is not None}
    decisions += [_decision(hdu, "not used", "no role is known for it") for hdu in hdus if is_cube(hdu) and hdu.index not in taken]
    return Roles(data, error, error_type, stated, mask, decisions)


def _decision(hdu: HDUInfo, taken_as: str, why: str) -> Decision:
    return {"hdu": hdu.index, "name": hdu.name, "taken_as": taken_as, "why": why}


# ---------------------------------------------------------------- the data


def _data(hdus: Sequence[HDUInfo], options: ReadOptions, profile: Profile) -> tuple[HDUInfo, str]:
    if options.data_ext is not None:
        return _cube(_named(hdus, options.data_ext, "--data-ext"), "--data-ext"), "option --data-ext"
    cubes = [hdu for hdu in hdus if is_cube(hdu)]
    if not cubes:
        raise ShapeError(f"no image with three axes: expected (band, y, x); the file holds {_listing(hdus)}.")
    primary = hdus[0].header
    pointed = {_text(hdu, key) for hdu in cubes for key in ("ERRDATA", "QUALDATA")}
    eso = [h for h in cubes if _text(h, "HDUCLASS") == "ESO" and _text(h, "HDUCLAS2") == "DATA" and h.name not in pointed]
    if len(eso) == 1:
        return eso[0], "ESO header: HDUCLAS2 = DATA, and no other HDU names it as its errors"
    if card(primary, "FLUXEXT") is not None:
        return _cube(_named(hdus, card(primary, "FLUXEXT"), "FLUXEXT"), "FLUXEXT"), "primary header: FLUXEXT"
    for names, why in ((profile.data, f"{profile.instrument} names its data so"), (DATA_NAMES, "by its name")):
        named = [hdu for hdu in cubes if hdu.name in names]
        others = [h for h in cubes if h not in named and h.name in ("", "PRIMARY")]
        if len(named) == 1 and not others:
            return named[0], why
    candidates = [h for h in cubes if h.name not in ERROR_NAMES and h.name not in MASK_NAMES and h.name not in COMPANIONS]
    if len(candidates) == 1:
        return candidates[0], "the only image with three axes" + (" that is no error, mask or weight" if len(cubes) > 1 else "")
    found = candidates or cubes
    choice = found[0].name if found[0].name and [h.name for h in hdus].count(found[0].name) == 1 else found[0].index
    raise AmbiguousInputError(f"{len(found)} images could be the data: {_listing(found)}. Choose one, for example --data-ext {choice}.")


def _cube(hdu: HDUInfo, option: str) -> HDUInfo:
    if not is_cube(hdu):
        raise ShapeError(f"{option} names HDU {hdu}: expected an image with three axes (band, y, x).")
    return hdu


# ---------------------------------------------------------------- the errors


def _error(hdus: Sequence[HDUInfo], data: HDUInfo, options: ReadOptions, profile: Profile) -> tuple[HDUInfo | None, str | None, bool, str]:
    """The error HDU, its type, whether that is stated by more than a name, and why."""
    hdu, why = _error_hdu(hdus, data, options, profile)
    if hdu is None:
        if options.err_type is not None:
            raise ParameterError(f"--err-type {options.err_type} is given, but no HDU holds errors: add --err-ext; {_listing(hdus)}.")
        return None, None, False, ""
    if options.err_type is not None:
        return hdu, options.err_type, True, f"{why}; option --err-type"
    if _text(hdu, "HDUCLAS3") in ESO_ERRORS:
        return hdu, ESO_ERRORS[_text(hdu, "HDUCLAS3")], True, f"{why}; its HDUCLAS3 = {_text(hdu, 'HDUCLAS3')} says the type"
    errtype = str(card(hdus[0].header, "ERRTYPE", "")).strip().upper()
    if errtype in JWST_ERRORS:
        return hdu, JWST_ERRORS[errtype], True, f"{why}; ERRTYPE = {errtype} in the primary header says the type"
    if hdu.name in profile.errors:
        return hdu, profile.errors[hdu.name], True, f"{why}; {profile.instrument} stores {profile.errors[hdu.name]} there"
    if hdu.name in ERROR_NAMES:
        kind = ERROR_NAMES[hdu.name]
        return hdu, kind, False, f"{why}; the name is the only evidence that it is {kind} (else add --err-type)"
    raise AmbiguousInputError(f"HDU {hdu} holds errors, but nothing says of which kind: add --err-type variance, sigma or ivar.")


def _error_hdu(hdus: Sequence[HDUInfo], data: HDUInfo, options: ReadOptions, profile: Profile) -> tuple[HDUInfo | None, str]:
    if options.err_ext is not None:
        return _option(hdus, options.err_ext, "--err-ext")
    pointer = _text(data, "ERRDATA")
    named = [hdu for hdu in hdus if hdu.name == pointer and hdu is not data]
    if pointer and len(named) == 1:
        return named[0], "ESO header: ERRDATA of the data names it"
    if pointer and not named:
        raise HeaderError(f"ERRDATA of HDU {data} names {pointer!r}, which is not in the file: fetch it again or add --err-ext none.")
    eso = [h for h in hdus if _text(h, "HDUCLAS2") == "ERROR" and _text(h, "SCIDATA") in ("", data.name) and is_cube(h)]
    if len(eso) == 1:
        return eso[0], "ESO header: HDUCLAS2 = ERROR"
    if card(hdus[0].header, "ERREXT") is not None:
        return _named(hdus, card(hdus[0].header, "ERREXT"), "ERREXT"), "primary header: ERREXT"
    return _by_name(hdus, data, ((tuple(profile.errors), profile.instrument), (tuple(ERROR_NAMES), "")), "--err-ext")


# ---------------------------------------------------------------- the mask


def _mask(hdus: Sequence[HDUInfo], data: HDUInfo, options: ReadOptions, profile: Profile) -> tuple[HDUInfo | None, str]:
    if options.mask_ext is not None:
        return _option(hdus, options.mask_ext, "--mask-ext")
    pointer = _text(data, "QUALDATA")
    named = [hdu for hdu in hdus if hdu.name == pointer and hdu is not data]
    if pointer and len(named) == 1:
        return _not_inverted(named[0]), "ESO header: QUALDATA of the data names it"
    if card(hdus[0].header, "MASKEXT") is not None:
        return _named(hdus, card(hdus[0].header, "MASKEXT"), "MASKEXT"), "primary header: MASKEXT"
    hdu, why = _by_name(hdus, data, ((profile.masks, profile.instrument), (MASK_NAMES, "")), "--mask-ext")
    return (None if hdu is None else _not_inverted(hdu)), why


def _not_inverted(hdu: HDUInfo) -> HDUInfo:
    if _text(hdu, "HDUCLAS3") == "MASKONE":
        raise AmbiguousInputError(f"the mask in HDU {hdu} has HDUCLAS3 = MASKONE: expected 0 = good; add --mask-ext none.")
    return hdu


# ---------------------------------------------------------------- common


def _by_name(
    hdus: Sequence[HDUInfo], data: HDUInfo, dictionaries: Iterable[tuple[tuple[str, ...], str]], option: str
) -> tuple[HDUInfo | None, str]:
    for names, instrument in dictionaries:
        found = [hdu for hdu in hdus if hdu.name in names and is_cube(hdu) and hdu is not data]
        if len(found) > 1:
            raise AmbiguousInputError(f"{len(found)} HDUs fit: {_listing(found)}. Choose one with {option}, or none with {option} none.")
        if found:
            return found[0], f"{instrument} names it so" if instrument else "by its name"
    return None, ""


def _option(hdus: Sequence[HDUInfo], wanted: str | int, option: str) -> tuple[HDUInfo | None, str]:
    if str(wanted).strip().upper() == NONE and NONE not in (hdu.name for hdu in hdus):
        return None, ""
    return _named(hdus, wanted, option), f"option {option}"


def _named(hdus: Sequence[HDUInfo], wanted: Any, option: str) -> HDUInfo:
    """The HDU of that number or name; upper and lower case are the same."""
    text = str(wanted).strip().upper()
    found = [hdu for hdu in hdus if hdu.name == text]
    if len(found) > 1:
        raise AmbiguousInputError(f"{option} {wanted}: {len(found)} HDUs have this name: {_listing(found)}. Give the number instead.")
    if not found and text.isdigit() and int(text) < len(hdus):
        found = [hdus[int(text)]]
    if not found:
        near = difflib.get_close_matches(text, [hdu.name for hdu in hdus if hdu.name], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ParameterError(f"{option} {wanted}: no such HDU.{hint} The file holds {_listing(hdus)}.")
    return found[0]


def _text(hdu: HDUInfo, key: str) -> str:
    return str(card(hdu.header, key, "")).strip().upper()


def _listing(hdus: Sequence[HDUInfo]) -> str:
    return "; ".join(str(hdu) for hdu in hdus[:20]) + (f"; and {len(hdus) - 20} more" if len(hdus) > 20 else "")
