"""Which HDU holds the data, which their errors, which their mask: decided in a stated order, never guessed silently."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astropy import units as u

from ...errors import AmbiguousInputError, HeaderError, ParameterError, ShapeError
from ..options import ReadOptions
from .masks import describe_bits, parse_bits
from .preflight import FITSFile, HDUInfo, card, preflight

__all__ = ["Decision", "Profile", "Roles", "decide", "is_cube", "is_rows", "same_shape"]

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
    """What the files of one instrument call things, and what they leave unsaid.

    Attributes
    ----------
    instrument : str
        As in the decisions.
    data, masks : tuple of str
        Names of extensions.
    errors : mapping of str to str
        Name of the extension to ``variance``, ``sigma`` or ``ivar``.
    companions : mapping of str to str
        Names of extensions that are not used, and why; nothing is said of those with an empty reason.
    bits : mapping of int to str
        Names of the bits of the mask.
    bad_bits : tuple of int or None
        Those that mean bad; None: any.
    error_limit : float
        Errors of this size or more, in the unit of the file, mark values that were never measured.
    wave : tuple of str
        Names of extensions with the band centers; they win over the header of the data.
    wave_unit : str
        Unit of the spectral axis where no header says it.
    medium : {"air", "vacuum", None}
        Of the wavelengths, where no header says it.
    unit : str
        Unit of the data where no header says it.
    unit_keys : tuple of str
        Cards beside BUNIT that may hold it.
    mend_unit : callable, optional
        Takes the unit that BUNIT spells and gives the one that is meant, with a note, or None where it is right.
    rows : bool
        The data are row-stacked spectra, images (spectrum, band).
    """

    instrument: str = ""
    data: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    companions: Mapping[str, str] = field(default_factory=dict)
    bits: Mapping[int, str] = field(default_factory=dict)
    bad_bits: tuple[int, ...] | None = None
    error_limit: float = math.inf
    wave: tuple[str, ...] = ()
    wave_unit: str = ""
    medium: str | None = None
    unit: str = ""
    unit_keys: tuple[str, ...] = ()
    mend_unit: Callable[[u.UnitBase], tuple[u.UnitBase, str] | None] | None = None
    rows: bool = False


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
    error_file, mask_file : FITSFile or None
        Where they are, if not in the file of the data.
    bits : tuple of int or None
        Bits of the mask that mean bad; None: any value but 0.
    good_is_one : bool
        The mask is 1 where the data are good.
    """

    data: HDUInfo
    error: HDUInfo | None
    error_type: str | None
    error_stated: bool
    mask: HDUInfo | None
    decisions: list[Decision]
    error_file: FITSFile | None = None
    mask_file: FITSFile | None = None
    bits: tuple[int, ...] | None = None
    good_is_one: bool = False


def is_cube(hdu: HDUInfo) -> bool:
    """Whether the HDU holds an image of three axes, degenerate ones aside."""
    if hdu.kind not in ("image", "compressed") or len(hdu.shape) < 3 or 0 in hdu.shape:
        return False
    return len(hdu.shape) == 3 or sum(n > 1 for n in hdu.shape) <= 3


def is_rows(hdu: HDUInfo) -> bool:
    """Whether the HDU holds an image of two axes, as row-stacked spectra do."""
    return hdu.kind in ("image", "compressed") and len(hdu.shape) == 2 and 0 not in hdu.shape


def same_shape(hdu: HDUInfo, like: HDUInfo) -> bool:
    """Whether two images have the same axes, degenerate ones aside."""
    return hdu.kind in ("image", "compressed") and [n for n in hdu.shape if n > 1] == [n for n in like.shape if n > 1]


def decide(file: FITSFile, options: ReadOptions, profile: Profile) -> Roles:
    """The HDUs of `file`, and of the files of errors and mask that the user named, by the role each plays, and why.

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
    error_file = _other_file(options.err_file, options)
    mask_file = _other_file(options.mask_file, options)
    error, error_type, stated, error_why = _error(hdus, data, options, profile, error_file)
    mask, mask_why = _mask(hdus, data, options, profile, mask_file)
    bits = _bits(mask, options, profile)
    good_is_one = mask is not None and bits is None and _text(mask, "HDUCLAS3") == "MASKONE"
    decisions = [_decision(data, "data", why)]
    if error is not None:
        decisions.append(_decision(error, str(error_type), error_why))
    if mask is not None:
        meaning = "mask (nonzero = bad)" if bits is None else f"mask (bad bits: {describe_bits(bits, profile.bits)})"
        decisions.append(_decision(mask, "mask (1 = good, HDUCLAS3 = MASKONE)" if good_is_one else meaning, mask_why))
    elif mask_why:
        decisions.append(_decision(data, "without a mask", mask_why) | {"level": logging.WARNING})
    taken = {hdu.index for hdu in (data, error, mask) if hdu is not None and hdu in hdus}
    for hdu in hdus:
        if hdu.index not in taken and (hdu.name in profile.companions or is_cube(hdu)):
            reason = profile.companions.get(hdu.name, "no role is known for it")
            decisions += [_decision(hdu, "not used", reason)] if reason else []
    return Roles(data, error, error_type, stated, mask, decisions, error_file, mask_file, bits, good_is_one)


def _decision(hdu: HDUInfo, taken_as: str, why: str) -> Decision:
    return {"hdu": hdu.index, "name": hdu.name, "taken_as": taken_as, "why": why}


# ---------------------------------------------------------------- the data


def _data(hdus: Sequence[HDUInfo], options: ReadOptions, profile: Profile) -> tuple[HDUInfo, str]:
    if options.data_ext is not None:
        return _cube(_named(hdus, options.data_ext, "--data-ext"), "--data-ext", profile), "option --data-ext"
    told = _told(hdus, options)
    cubes = [hdu for hdu in hdus if (is_cube(hdu) or (profile.rows and is_rows(hdu))) and hdu not in told]
    if not cubes:
        hint = ", or read it as one band with --reader bands" if sum(map(is_rows, hdus)) == 1 else ""
        raise ShapeError(f"no image with three axes: expected (band, y, x); the file holds {_listing(hdus)}{hint}.")
    primary = hdus[0].header
    pointed = {_text(hdu, key) for hdu in cubes for key in ("ERRDATA", "QUALDATA")}
    eso = [h for h in cubes if _text(h, "HDUCLASS") == "ESO" and _text(h, "HDUCLAS2") == "DATA" and h.name not in pointed]
    if len(eso) == 1:
        return eso[0], "ESO header: HDUCLAS2 = DATA, and no other HDU names it as its errors"
    if card(primary, "FLUXEXT") is not None:
        return _cube(_named(hdus, card(primary, "FLUXEXT"), "FLUXEXT"), "FLUXEXT", profile), "primary header: FLUXEXT"
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


def _told(hdus: Sequence[HDUInfo], options: ReadOptions) -> list[HDUInfo]:
    """What the user names as errors or mask in this file: it is not the data."""
    named = ((options.err_ext, options.err_file, "--err-ext"), (options.mask_ext, options.mask_file, "--mask-ext"))
    found = (_option(hdus, wanted, option)[0] for wanted, other, option in named if wanted is not None and other is None)
    return [hdu for hdu in found if hdu is not None]


def _cube(hdu: HDUInfo, option: str, profile: Profile) -> HDUInfo:
    if not is_cube(hdu) and not (profile.rows and is_rows(hdu)):
        raise ShapeError(f"{option} names HDU {hdu}: expected an image with three axes (band, y, x).")
    return hdu


# ---------------------------------------------------------------- the errors


def _error(
    hdus: Sequence[HDUInfo], data: HDUInfo, options: ReadOptions, profile: Profile, other: FITSFile | None
) -> tuple[HDUInfo | None, str | None, bool, str]:
    """The error HDU, its type, whether that is stated by more than a name, and why."""
    if other is None:
        hdu, why = _error_hdu(hdus, data, options, profile)
    else:
        names = {**ERROR_NAMES, **profile.errors}
        hdu, why = _in_other_file(other, data, options.err_ext, names, "--err-file", "--err-ext")
        hdus = other.hdus
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
    eso = _eso(hdus, data, "ERROR")
    if len(eso) == 1:
        return eso[0], "ESO header: HDUCLAS2 = ERROR"
    if card(hdus[0].header, "ERREXT") is not None:
        return _named(hdus, card(hdus[0].header, "ERREXT"), "ERREXT"), "primary header: ERREXT"
    return _by_name(hdus, data, ((tuple(profile.errors), profile.instrument), (tuple(ERROR_NAMES), "")), "--err-ext")


# ---------------------------------------------------------------- the mask


def _mask(
    hdus: Sequence[HDUInfo], data: HDUInfo, options: ReadOptions, profile: Profile, other: FITSFile | None
) -> tuple[HDUInfo | None, str]:
    if other is not None:
        return _in_other_file(other, data, options.mask_ext, (*profile.masks, *MASK_NAMES), "--mask-file", "--mask-ext")
    if options.mask_ext is not None:
        return _option(hdus, options.mask_ext, "--mask-ext")
    pointer = _text(data, "QUALDATA")
    named = [hdu for hdu in hdus if hdu.name == pointer and hdu is not data]
    if pointer and len(named) == 1:
        return named[0], "ESO header: QUALDATA of the data names it"
    if pointer and not named:  # cut-outs often keep the card and drop the mask: NaN then marks what is absent
        return None, f"its QUALDATA names {pointer}, which is not in the file"
    eso = _eso(hdus, data, "QUALITY")
    if len(eso) == 1:
        return eso[0], "ESO header: HDUCLAS2 = QUALITY"
    if card(hdus[0].header, "MASKEXT") is not None:
        return _named(hdus, card(hdus[0].header, "MASKEXT"), "MASKEXT"), "primary header: MASKEXT"
    return _by_name(hdus, data, ((profile.masks, profile.instrument), (MASK_NAMES, "")), "--mask-ext")


def _bits(mask: HDUInfo | None, options: ReadOptions, profile: Profile) -> tuple[int, ...] | None:
    """Bits of the mask that mean bad; None: any value but 0."""
    if options.mask_bits is None:
        if mask is None or mask.bitpix < 0 or (mask.name not in profile.masks and options.mask_file is None):
            return None
        return profile.bad_bits
    bits = parse_bits(options.mask_bits, profile.bits)
    if mask is None:
        raise ParameterError(f"--mask-bits {options.mask_bits} is given, but no HDU holds a mask: add --mask-ext or --mask-file.")
    if bits is not None and mask.bitpix < 0:
        raise ParameterError(f"--mask-bits {options.mask_bits}: the mask in HDU {mask} holds no integers, thus no bits; use any.")
    if bits is not None and bits[-1] >= mask.bitpix:
        raise ParameterError(f"--mask-bits {options.mask_bits}: the mask in HDU {mask} has the bits 0 to {mask.bitpix - 1}.")
    return bits


# ---------------------------------------------------------------- other files


def _other_file(path: Any, options: ReadOptions) -> FITSFile | None:
    return None if path is None else preflight(path, limit=options.limit, checksum=options.checksum)


def _in_other_file(
    file: FITSFile, data: HDUInfo, wanted: str | int | None, names: Iterable[str], file_option: str, ext_option: str
) -> tuple[HDUInfo, str]:
    """The HDU of another file that has the shape of the data: the one that was named, that has one of `names`, or the only one."""
    why = f"option {file_option} {file.path.name}"
    if wanted is not None:
        if str(wanted).strip().upper() == NONE:
            raise ParameterError(f"{file_option} and {ext_option} none contradict each other: leave one out.")
        return _named(file.hdus, wanted, ext_option), f"{why}, {ext_option}"
    images = [hdu for hdu in file.hdus if same_shape(hdu, data)]
    if not images:
        size = " x ".join(map(str, data.shape))
        raise ShapeError(f"{file_option} {file.path.name} holds no image of the shape of the data, {size}, only {_listing(file.hdus)}.")
    listed = tuple(names)
    named = [hdu for hdu in images if hdu.name in listed]
    found = named if len(named) == 1 else images
    if len(found) > 1:
        raise AmbiguousInputError(f"{why}: {len(found)} HDUs fit: {_listing(found)}. Choose one with {ext_option}.")
    return found[0], why


# ---------------------------------------------------------------- common


def _by_name(
    hdus: Sequence[HDUInfo], data: HDUInfo, dictionaries: Iterable[tuple[tuple[str, ...], str]], option: str
) -> tuple[HDUInfo | None, str]:
    for names, instrument in dictionaries:
        found = [hdu for hdu in hdus if hdu.name in names and hdu is not data and (is_cube(hdu) or same_shape(hdu, data))]
        if len(found) > 1:
            raise AmbiguousInputError(f"{len(found)} HDUs fit: {_listing(found)}. Choose one with {option}, or none with {option} none.")
        if found:
            return found[0], f"{instrument} names it so" if instrument else "by its name"
    return None, ""


def _eso(hdus: Sequence[HDUInfo], data: HDUInfo, role: str) -> list[HDUInfo]:
    """Images that ESO's HDUCLAS2 gives that role beside `data`."""
    return [h for h in hdus if _text(h, "HDUCLAS2") == role and _text(h, "SCIDATA") in ("", data.name) and is_cube(h)]


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
