"""FITS files of all kinds, whole and damaged, and what must come of reading them.

The bytes are written here card by card, so that no FITS library stands on both sides of the comparison; tile compression alone is
left to astropy.
"""

import bz2
import gzip
import io
import math
import os
import re
import signal
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from astropy import units as u
from astropy.io import fits
from hypothesis import strategies as st

from vermilion.errors import VermilionError
from vermilion.io import read

__all__ = ["BrokenPromiseError", "Example", "Truth", "card_bytes", "check", "fits_examples", "hdu_bytes", "other_examples"]

SECONDS = 5.0
MEMORY_FACTOR, MEMORY_FLOOR = 4, 100_000_000
BLOCK = 2880
META = ("name", "path", "sha256", "reader", "instrument", "header", "spectral_medium", "spectral_axis_given", "decisions")


class BrokenPromiseError(AssertionError):
    """The promise of `read` is broken."""


class Hang(BaseException):
    """It took too long; no `except Exception` stops it."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What stands in a file.

    Attributes
    ----------
    data : ndarray, shape (B, Ny, Nx)
        float64; NaN where nothing can be compared.
    weights : ndarray, shape (B, Ny, Nx)
        Inverse variances, 0 where a value is absent or masked.
    spectral : Quantity or None
        None: not compared.
    spectral_needed : bool
        Whether the reader must find the axis.
    medium : str or None
    unit : Unit or None
        None: not compared.
    rtol : float
        Of the data.
    claimed : bool
        Whether the file says the noise.
    """

    data: np.ndarray
    weights: np.ndarray
    spectral: u.Quantity | None = None
    spectral_needed: bool = True
    medium: str | None = None
    unit: object = None
    rtol: float = 0.0
    claimed: bool = True


@dataclass(frozen=True, eq=False)
class Example:
    """Files, the options to read them with, and what must come of it.

    Attributes
    ----------
    files : dict of str to bytes
        The first one is read; options may name the others as ``{folder}/name``.
    options : dict
    truth : Truth or None
        None: nothing is known about the values.
    refusals : tuple of str
        Codes of errors that are right, too.
    must_refuse : bool
        Values are not right whatever they are.
    same_values : bool
        Only the set of the values must be right, not their order.
    what : tuple of str
        For people.
    """

    files: dict[str, bytes]
    options: dict = field(default_factory=dict)
    truth: Truth | None = None
    refusals: tuple[str, ...] = ()
    must_refuse: bool = False
    same_values: bool = False
    what: tuple[str, ...] = ()

    def __repr__(self):
        return f"Example({', '.join(self.what)})"


# ---------------------------------------------------------------- bytes


def card_bytes(key, value):
    """One card of 80 bytes, or a long text on as many as it needs."""
    if value is None:
        text = f"{key:<8}"
    elif isinstance(value, bool):
        text = f"{key:<8}= {'T' if value else 'F':>20}"
    elif isinstance(value, str):
        quoted = value.replace("'", "''")
        text = f"{key:<8}= '{quoted:<8}'"
    elif isinstance(value, bytes):  # as it is, behind the equal sign
        return (key.ljust(8).encode() + b"= " + value).ljust(80)[:80]
    else:
        text = f"{key:<8}= {repr(value).upper():>20}"
    return text.encode("latin-1").ljust(80)[:80]


def padded(content, fill=b"\0"):
    """Whole blocks."""
    return content + fill * (-len(content) % BLOCK)


def hdu_bytes(cards, data, *, checksum=False):
    """One HDU; `cards` are pairs of key and value, without END."""
    body = padded(data)
    if checksum:
        cards = [*cards, ("DATASUM", str(_sum32(body)))]
    header = b"".join(card_bytes(key, value) for key, value in cards) + b"END".ljust(80)
    return padded(header, b" ") + body


def _sum32(content):
    total = int(np.frombuffer(content, ">u4").sum(dtype=np.uint64)) if content else 0
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


# ---------------------------------------------------------------- images

BITPIX = {"u1": 8, "i1": 8, "i2": 16, "u2": 16, "i4": 32, "u4": 32, "i8": 64, "u8": 64, "f4": -32, "f8": -64, "scaled": 16, "scaled4": 32}
ZEROS = {"i1": -128, "u2": 2**15, "u4": 2**31, "u8": 2**63}
STORED = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
INTEGERS = tuple(kind for kind in BITPIX if kind[0] in "iu")


def encode(values, kind, absent):
    """Cards of scale, bytes, and the float64 values that they mean, NaN where absent."""
    bitpix = BITPIX[kind]
    cards, meant = [], np.array(values, dtype=np.float64)
    if bitpix < 0:
        stored = np.where(absent, np.nan, meant).astype(STORED[bitpix])
        return bitpix, cards, stored.tobytes(), stored.astype(np.float64)
    if kind.startswith("scaled"):
        zero, scale = 12.5, 0.0078125 * max(float(np.abs(meant).max()) if meant.size else 0.0, 1e-30)
        cards = [("BSCALE", scale), ("BZERO", zero * scale)]
        whole = np.rint(meant / scale).astype(np.int64)
        meant = whole * scale + zero * scale
    else:
        whole = np.rint(meant).astype(np.int64)
        meant = whole.astype(np.float64)
        if kind in ZEROS:
            cards = [("BSCALE", 1), ("BZERO", ZEROS[kind])]
            whole = np.array([int(value) - ZEROS[kind] for value in whole.flat], dtype=np.int64).reshape(whole.shape)
    if absent.any():
        blank = 7 if kind == "u1" else 255 if kind == "i1" else -(2 ** (bitpix - 1)) + 1
        whole[absent] = blank
        cards.append(("BLANK", blank))
        meant[absent] = np.nan
    return bitpix, cards, whole.astype(STORED[bitpix]).tobytes(), meant


def image_cards(first, bitpix, shape, cards, name=""):
    """Cards of an image; `shape` in numpy order."""
    head = [("SIMPLE", True)] if first else [("XTENSION", "IMAGE")]
    head += [("BITPIX", bitpix), ("NAXIS", len(shape)), *((f"NAXIS{i}", n) for i, n in enumerate(shape[::-1], 1))]
    head += [("EXTEND", True)] if first else [("PCOUNT", 0), ("GCOUNT", 1)]
    return head + ([("EXTNAME", name)] if name else []) + list(cards)


# ---------------------------------------------------------------- axes

# CTYPE, CUNIT, the unit meant, value of band 1, step, further cards, air or vacuum
SPECTRAL = (
    ("WAVE", "nm", u.nm, 500.0, 0.5, {}, "vacuum"),
    ("AWAV", "Angstrom", u.AA, 4750.0, 1.25, {}, "air"),
    ("WAVE", "um", u.um, 2.0, 0.01, {}, "vacuum"),
    ("WAVE", "m", u.m, 5e-7, -1e-10, {}, "vacuum"),
    ("AWAV", "angstrom", u.AA, 4750.0, 1.25, {}, "air"),
    ("FREQ", "Hz", u.Hz, 1.42e9, -1e5, {}, None),
    ("FREQ", "GHz", u.GHz, 115.0, 0.01, {}, None),
    ("VRAD", "km/s", u.km / u.s, 120.0, -2.5, {"RESTFRQ": 1.420405752e9}, None),
    ("VRAD", "m/s", u.m / u.s, -3e5, 1300.0, {"RESTFRQ": 1.15271202e11, "SPECSYS": "LSRK"}, None),
    ("VOPT", "m/s", u.m / u.s, 1e6, 5e3, {"RESTWAV": 0.21106114}, None),
    ("VELO", "km/s", u.km / u.s, 0.0, 3.0, {"RESTFRQ": 1.420405752e9}, None),
    ("WAVE-LOG", "Angstrom", u.AA, 3600.0, 0.83, {}, "vacuum"),
    ("AWAV-LOG", "nm", u.nm, 360.0, 0.083, {}, "air"),
    ("FREQ-LOG", "Hz", u.Hz, 1e9, 1e6, {}, None),
)
GARBAGE_TYPES = ("Wavelength", "LAMBDA", "wave", "PIXEL", "?!", "CTYPE3", "LINEAR")
MATRICES = ("cdelt", "cd", "cd+cdelt", "pc", "crota", "cd+pc", "cd partial", "conflict", "singular")
PERMUTATIONS = (("x", "y", "w"), ("w", "x", "y"), ("x", "w", "y"), ("y", "x", "w"), ("w", "y", "x"))


def spectral_centers(kind, n, pixel):
    """Band centers by the formulas of FITS paper III, in the unit of the axis."""
    ctype, _, unit, value, step, _, _ = kind
    offset = step * (np.arange(1, n + 1) - pixel)
    return u.Quantity(value * np.exp(offset / value) if ctype.endswith("-LOG") else value + offset, unit)


def transform_cards(mixture, axes, steps):
    """Cards of the linear part for the axes, by their roles; `steps` by role."""
    n = len(axes)
    cards = {f"CDELT{i}": steps[axis] for i, axis in enumerate(axes, 1)}
    cd = {f"CD{i}_{i}": steps[axis] for i, axis in enumerate(axes, 1)}
    sky = [i for i, axis in enumerate(axes, 1) if axis in "xy"]
    x, y = (axes.index(role) + 1 for role in "xy")
    cos, sin = np.cos(0.3), np.sin(0.3)
    if mixture == "cdelt":
        return cards
    if mixture == "crota":
        return cards | {f"CROTA{y}": 17.0}
    if mixture == "cd":
        return cd | {f"CD{x}_{y}": steps["x"] * 0.1, f"CD{y}_{x}": steps["x"] * 0.1}
    if mixture == "cd+cdelt":
        return cd | dict.fromkeys(cards, 1.0)
    if mixture == "cd partial":
        return {f"CD{i}_{i}": steps[axes[i - 1]] for i in sky} | {f"CDELT{i}": steps[axes[i - 1]] for i in range(1, n + 1) if i not in sky}
    if mixture == "singular":
        return cd | {f"CD{x}_{x}": steps["x"], f"CD{x}_{y}": steps["x"], f"CD{y}_{x}": steps["x"], f"CD{y}_{y}": steps["x"]}
    pc = {f"PC{i}_{i}": 1.0 for i in range(1, n + 1)}
    if mixture == "pc":
        return cards | pc | {f"PC{x}_{x}": cos, f"PC{x}_{y}": -sin, f"PC{y}_{x}": sin, f"PC{y}_{y}": cos}
    if mixture == "conflict":
        return cards | cd | pc | {f"PC{x}_{x}": cos, f"PC{y}_{y}": cos, f"PC{x}_{y}": sin}
    return cards | cd | pc


# ---------------------------------------------------------------- units

UNITS = (
    ("", u.dimensionless_unscaled),
    ("erg/s/cm2/Angstrom", u.erg / u.s / u.cm**2 / u.AA),
    ("1e-17 erg s-1 cm-2 Angstrom-1", 1e-17 * u.erg / u.s / u.cm**2 / u.AA),
    ("10**(-20)*erg/s/cm**2/Angstrom", 1e-20 * u.erg / u.s / u.cm**2 / u.AA),
    ("Jy", u.Jy),
    ("MJy/sr", u.MJy / u.sr),
    ("10^-16 erg/s/cm^2/A", 1e-16 * u.erg / u.s / u.cm**2 / u.AA),
    ("FLAM16", 1e-16 * u.erg / u.s / u.cm**2 / u.AA),
    ("1E-17 erg/s/cm^2/Ang", 1e-17 * u.erg / u.s / u.cm**2 / u.AA),
    ("ELECTRONS/S", u.electron / u.s),
    ("W/m2/um", u.W / u.m**2 / u.um),
    ("Jy/beam", u.Jy / u.beam),
    ("JY/BEAM", u.Jy / u.beam),
    ("K", u.K),
    ("counts", u.ct),
)
GARBAGE_UNITS = ("furlongs", "1e-17 erg/s/cm2/Blorp", "(((", "10**", "Jy//", "'", "\xe9\xff", "Jy per sky", "1e999 Jy", "x" * 60)

# ---------------------------------------------------------------- noise and mask

NOISE_NAMES = {"variance": ("STAT", "VAR", "VARIANCE"), "sigma": ("ERR", "ERROR", "SIGMA", "UNCERT"), "ivar": ("IVAR",)}
ESO = {"variance": "MSE", "sigma": "RMSE", "ivar": "INVMSE"}
JWST = {"variance": "VAR", "sigma": "ERR", "ivar": "IVAR"}
EVIDENCE = ("name", "eso", "jwst", "option", "file")

# ---------------------------------------------------------------- damage

COSMETIC = re.compile(r"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CD\d_|PC\d_)\d|BUNIT|OBJECT|RESTFRQ|RESTWAV|SPECSYS")
_LARGE = (b"99999999999999999999999", b"1.0D308", b"2147483648", b"-2147483649", b"1e-400")
SPOILED = (
    *(b"'x", b"1E999", b"-1E999", b"NaN", b"-7", b"0", b"", b"(1,2)", b"T", b"'", b"'\xff\x00\xe9'", *_LARGE),
    *(b"'WAVE-TAB'", b"'RA---XXX'", b"'FREQ-LSR'", b"'Angstrom'", b"4", b"'" + b"a" * 66 + b"&'"),
)
_INSTRUMENTS = ("MUSE", "KCWI", "KCRM", "NIRSPEC", "MIRI", "PMAS", "AAOMEGA-SAMI", "MaNGA", "LVM", "LAT", "WFC3", "ACIS")
_TELESCOPES = ("JWST", "ALMA", "VLA", "GLAST", "CHANDRA", "HST", "Subaru", "SDSS 2.5-M", "Roman", "NuSTAR", "CAHA 3.5m")
IMPOSTORS = (
    *({"INSTRUME": name} for name in _INSTRUMENTS),
    *({"TELESCOP": name} for name in _TELESCOPES),
    *({"ORIGIN": name} for name in ("vermilion", "CASA 6.5", "AIPS", "ESO-VLT", "MIRIAD")),
    *({"HDUCLAS1": "IMAGE"}, {"HDUCLASS": "OGIP"}, {"CASAMBM": True}, {"BMAJ": 0.001, "BMIN": 0.001}, {"FSFMODE": "MOFFAT1", "NFIELDS": 9}),
    *({"ERREXT": "NOPE"}, {"FLUXEXT": 7}, {"QUALDATA": "NOPE"}, {"ERRDATA": "NOPE"}, {"DATE-OBS": "yesterday", "MJD-OBS": "soon"}),
    *({"PV3_1": 1e300}, {"PS3_0": "NOPE"}, {"WCSAXES": 5}, {"WCSAXES": 1}, {"A_ORDER": 9}, {"LONPOLE": 1e10}, {"CUNIT1": "parsec"}),
)


@st.composite
def fits_examples(draw, *, damaged=None):
    """Examples of FITS files; `damaged` False: only whole ones, True: only damaged ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.integers(0, 19)) == 19:
        return _without_cube(draw, rng)
    what: list[str] = []

    def pick(label, choices):
        choice = draw(st.sampled_from(choices))
        what.append(f"{label}={choice[0] if isinstance(choice, tuple) and isinstance(choice[0], str) else choice}")
        return choice

    # the cube in file order, and how its axes are named
    lengths = {"w": draw(st.sampled_from((5, 1, 2, 9, 40))), "y": draw(st.sampled_from((4, 1, 7))), "x": draw(st.sampled_from((6, 1, 3)))}
    axes = list(pick("axes", PERMUTATIONS))
    for role in draw(st.lists(st.sampled_from("sd"), max_size=2, unique=True)):
        axes.insert(draw(st.integers(0, len(axes))), role)
    lengths |= {"s": 1, "d": 1}
    shape = tuple(lengths[axis] for axis in axes[::-1])
    what.append(f"NAXISn={shape[::-1]} {''.join(axes)}")
    kind = pick("type", tuple(BITPIX))
    amplitude = pick("amplitude", (1.0, 1e-17, 1e4)) if kind in ("f4", "f8", "scaled", "scaled4") else 1.0
    values = _values(rng, shape, kind) * amplitude
    absent = rng.random(shape) < (0.05 if draw(st.booleans()) and kind != "u8" else 0)  # of 64 bits without sign: not promised
    absent &= values.size > 40
    if kind in ("f4", "f8"):
        values[absent & (rng.random(shape) < 0.3)] = np.inf
    bitpix, scale_cards, body, meant = encode(values, kind, absent & np.isfinite(values))
    if values.size > 40 and kind in ("f4", "f8") and draw(st.integers(0, 3)) == 3:
        where = tuple(rng.integers(n) for n in shape)
        filled = np.frombuffer(body, STORED[bitpix]).reshape(shape).copy()
        filled[where] = draw(st.sampled_from((-9999.0, 1e38, -1e38)))
        body, meant[where] = filled.tobytes(), np.nan
        what.append("filler")

    # coordinates
    mode = pick("spectral", ("known", "known", "known", "garbage", "none"))
    axes_known = mode != "none" or [axis for axis in axes if axis in "xyw"][2] == "w"
    spectral_kind = pick("axis", SPECTRAL) if mode == "known" else SPECTRAL[1]
    pixel = draw(st.sampled_from((1.0, 0.0, -3.5, 100.0)))
    mixture = pick("matrix", MATRICES)
    sky = draw(st.booleans()) or mode != "known"
    wcs = _wcs_cards(axes, mode, draw(st.sampled_from(GARBAGE_TYPES)), spectral_kind, pixel, mixture, sky, rng)
    text, unit = pick("unit", UNITS)
    refusals: tuple[str, ...] = ()
    options: dict = {}
    if draw(st.integers(0, 7)) == 7:
        text = pick("bad unit", GARBAGE_UNITS)
        unit = u.dimensionless_unscaled
        if draw(st.booleans()):
            options["allow_unitless"] = True
        else:
            refusals += ("E-UNIT",)

    # the other HDUs
    bad = np.zeros(shape, dtype=bool)
    weight = np.isfinite(meant).astype(np.float64)
    noise = pick("noise", (None, "variance", "sigma", "ivar"))
    evidence = pick("evidence", EVIDENCE) if noise else None
    primary_data = draw(st.booleans())
    data_name = draw(st.sampled_from(("DATA", "FLUX", "SCI", "sci", " Data", ""))) if evidence not in ("eso", "jwst") else "MYDATA"
    what.append(f"{'primary' if primary_data else 'extension'} {data_name!r}")
    checksum = draw(st.booleans())
    top, data_cards = [("OBJECT", "fuzz")], list(wcs.items()) + ([("BUNIT", text)] if text else []) + scale_cards
    others, files = [], {}
    if noise:
        others_noise, weight = _noise(rng, shape, weight, noise, evidence, amplitude, kind, draw, options, top, data_cards, text)
        (files.__setitem__("errors.fits", others_noise) if evidence == "file" else others.append(others_noise))
    if draw(st.booleans()):
        bad = rng.random(shape) < 0.1
        bad.flat[0] = False
        how = pick("mask", ("name", "option", "file"))
        mask = np.where(bad, rng.choice([1, 2, 64], shape), 0)
        name = {"name": draw(st.sampled_from(("DQ", "MASK", "BADPIX"))), "option": "SPOTS", "file": "SPOTS"}[how]
        mask_bitpix, mask_scale, mask_body, _ = encode(mask, draw(st.sampled_from(("u1", "i2", "i4", "u2", "u4"))), np.zeros(shape, bool))
        mask_hdu = (mask_bitpix, mask_scale, mask_body, name)
        if how == "option":
            options["mask_ext"] = "spots"
        if how == "file":
            options["mask_file"] = "{folder}/mask.fits"
            files["mask.fits"] = mask_hdu
        else:
            others.append(mask_hdu)
    weight[bad] = 0
    if not (weight > 0).any() or (weight.size > 1 and len(set(meant[weight > 0].tolist())) == 1):
        refusals += ("E-NODATA",)
    if weight.size > 100 and (weight > 0).mean() <= 0.01:
        refusals += ("E-NODATA",)

    hdus = []
    if primary_data:
        hdus.append(hdu_bytes(image_cards(True, bitpix, shape, [*top, *data_cards], data_name.strip()), body, checksum=checksum))
    else:
        hdus.append(hdu_bytes(image_cards(True, 8, (), top), b""))
        hdus.append(hdu_bytes(image_cards(False, bitpix, shape, data_cards, data_name), body, checksum=checksum))
    for other_bitpix, cards, other_body, name in others:
        hdus.append(hdu_bytes(image_cards(False, other_bitpix, shape, cards, name), other_body, checksum=checksum))
    content = b"".join(hdus)
    extra = {name: hdu_bytes(image_cards(True, *hdu[:1], shape, hdu[1]), hdu[2]) for name, hdu in files.items()}

    # what a reader must make of it
    order = [axis for axis in axes if axis in "xyw"]
    keep = [order[::-1].index(role) for role in ("w", *[r for r in order[::-1] if r != "w"])]
    data3 = meant.reshape([lengths[axis] for axis in order[::-1]]).transpose(keep)
    weight3 = weight.reshape([lengths[axis] for axis in order[::-1]]).transpose(keep)
    spectral = spectral_centers(spectral_kind, lengths["w"], pixel) if mode != "none" else None
    truth = Truth(
        data3,
        weight3,
        spectral,
        spectral_needed=mode == "known" and mixture not in ("conflict", "singular"),
        medium=spectral_kind[6] if mode == "known" else None,
        unit=unit,
        rtol=3e-7 if kind.startswith("scaled") else 0.0,
        claimed=noise is not None,
    )
    nameless = [role for role in "xyw" if mode == "none" or (role != "w" and not sky)]
    if "d" in axes and 1 in [lengths[role] for role in nameless]:
        truth = None  # nothing says which of the axes of length 1 is one of the image
    if mode == "none":
        refusals += ("E-AMBIGUOUS",)
        if not axes_known:
            truth = None
    if mode == "garbage" and not sky:
        refusals += ("E-AMBIGUOUS",)
    example = Example({"cube.fits": content} | extra, options, truth, refusals, what=tuple(what))
    example = _compressed(draw, example, hdus, others, kind)
    if damaged is False or (damaged is None and draw(st.integers(0, 9)) < 5):
        return example
    return _damaged(draw, rng, example, checksum=checksum)


def _values(rng, shape, kind):
    if kind in ("u1", "u2", "u4", "u8"):
        return rng.integers(10, 120, shape).astype(float)
    if kind in INTEGERS:
        values = rng.integers(-90, 120, shape).astype(float)
        return np.where(values == 0, 1.0, values)  # radio cubes have 0 where nothing was observed
    return rng.normal(1, 2, shape)


def _wcs_cards(axes, mode, garbage, spectral_kind, pixel, mixture, sky, rng):
    ctype, cunit, _, value, step, more, _ = spectral_kind
    steps = {"x": -5e-5, "y": 5e-5, "w": step, "s": 1.0, "d": 1.0}
    cards = {}
    for i, axis in enumerate(axes, 1):
        if axis == "w" and mode != "none":
            cards |= {f"CTYPE{i}": ctype if mode == "known" else garbage, f"CUNIT{i}": cunit, f"CRPIX{i}": pixel, f"CRVAL{i}": value}
        elif axis in "xy" and sky and mode != "none":
            cards |= {f"CTYPE{i}": "RA---TAN" if axis == "x" else "DEC--TAN", f"CUNIT{i}": "deg", f"CRPIX{i}": 2.5}
            cards[f"CRVAL{i}"] = 150.1 if axis == "x" else float(rng.uniform(-80, 80))
        elif axis == "s":
            cards |= {f"CTYPE{i}": "STOKES", f"CRPIX{i}": 1.0, f"CRVAL{i}": 1.0}
        else:
            cards |= {f"CRPIX{i}": 1.0, f"CRVAL{i}": 1.0}
    return cards | transform_cards(mixture, axes, steps) | (more if mode == "known" else {})


def _noise(rng, shape, weight, kind, evidence, amplitude, data_kind, draw, options, top, data_cards, text):
    """The error image as (bitpix, cards, bytes, name), and the weights with it."""
    sigma = rng.uniform(0.5, 2, shape) * amplitude
    stored = {"variance": sigma**2, "sigma": sigma, "ivar": 1 / sigma**2}[kind].astype(">f8" if amplitude < 1 else ">f4")
    broken = (rng.random(shape) < 0.05) & (weight.size > 40)
    stored[broken] = draw(st.sampled_from((0.0, np.nan, -1.0, np.inf)))
    broken |= ~np.isfinite(stored) | (stored <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = stored.astype(np.float64)
        inverse = {"variance": 1 / wide, "sigma": 1 / wide**2, "ivar": wide}[kind]
    weight = np.where(broken, 0, weight * np.where(broken, 0, inverse))
    name = draw(st.sampled_from(NOISE_NAMES[kind])) if evidence == "name" else "NOISE1"
    cards = []
    if evidence == "eso":
        data_cards += [("HDUCLASS", "ESO"), ("HDUCLAS2", "DATA"), ("ERRDATA", "NOISE1")]
        cards += [("HDUCLASS", "ESO"), ("HDUCLAS2", "ERROR"), ("HDUCLAS3", ESO[kind]), ("SCIDATA", "MYDATA")]
    elif evidence == "jwst":
        top += [("FLUXEXT", "MYDATA"), ("ERREXT", "NOISE1"), ("ERRTYPE", JWST[kind])]
    elif evidence == "option":
        options |= {"err_ext": "noise1", "err_type": kind}
    elif evidence == "file":
        options |= {"err_file": "{folder}/errors.fits", "err_type": kind}
    if kind == "sigma" and text and draw(st.booleans()):
        cards.append(("BUNIT", text))
    return (-64 if amplitude < 1 else -32, cards, stored.tobytes(), name), weight


def _without_cube(draw, rng):
    """0, 1, 2, 4 or 5 axes that are no cube: an error or, where a reader knows how, something of the same values."""
    shape = draw(st.sampled_from(((), (7,), (5, 6), (2, 3, 4, 5), (2, 2, 2, 2, 2), (0, 4, 4), (4, 0, 4), (1,), (1, 1), (1, 1, 1, 1, 7))))
    kind = draw(st.sampled_from(tuple(BITPIX)))
    bitpix, cards, body, _ = encode(_values(rng, shape, kind), kind, np.zeros(shape, bool))
    first = draw(st.booleans())
    content = hdu_bytes(image_cards(True, bitpix, shape, cards) if first else image_cards(True, 8, (), []), body if first else b"")
    content += b"" if first else hdu_bytes(image_cards(False, bitpix, shape, cards, "SCI"), body)
    return Example({"cube.fits": content}, what=(f"no cube, shape {shape} {kind}",))


def _compressed(draw, example, hdus, others, kind):
    how = draw(st.sampled_from(("no", "no", "no", "gz", "bz2", "tile")))
    content = example.files["cube.fits"]
    what = (*example.what, f"compression={how}")
    if how == "gz":
        return replace(example, files=example.files | {"cube.fits": gzip.compress(content, 1)}, what=what)
    if how == "bz2":
        return replace(example, files=example.files | {"cube.fits": bz2.compress(content, 1)}, what=what)
    if how == "tile" and kind in ("f4", "f8", "u1", "i2", "i4", "u2"):
        tiled = _tiled(content, draw(st.sampled_from(("GZIP_1", "GZIP_2", "RICE_1"))))
        return replace(example, files=example.files | {"cube.fits": tiled}, what=what)
    return example


def _tiled(content, algorithm):
    """The same file, its images compressed without loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(content), uint=b"BLANK" not in content) as hdus:
            packed = fits.HDUList([fits.PrimaryHDU(header=_plain(hdus[0].header, "EXTNAME"))])
            for hdu in hdus:
                if hdu.data is None:
                    continue
                method = "GZIP_2" if hdu.data.dtype.kind == "f" else algorithm
                blank = hdu.header.get("BLANK")
                if blank is not None:  # astropy has floats by now
                    method = "GZIP_2"
                data = np.array(hdu.data, dtype=hdu.data.dtype.newbyteorder("="))
                image = fits.CompImageHDU(data, _plain(hdu.header), compression_type=method, quantize_level=0)
                packed.append(image)
        buffer = io.BytesIO()
        packed.writeto(buffer, output_verify="ignore")
    return buffer.getvalue()


def _plain(header, *more):
    """Header without what belongs to the bytes."""
    out = header.copy()
    for key in ("BLANK", "BSCALE", "BZERO", "CHECKSUM", "DATASUM", *more):
        out.remove(key, ignore_missing=True)
    return out


# ---------------------------------------------------------------- damage


def _damaged(draw, rng, example, *, checksum):
    content = example.files["cube.fits"]
    packed = content[:2] == b"\x1f\x8b" or content[:3] == b"BZh"
    tiled = b"ZIMAGE" in content
    kinds = ("junk", "cut", "flip", "flip") if packed else ("junk", "cut", "flip", "cards", "cards", "cards", "impostor")
    how = draw(st.sampled_from(kinds))
    what = (*example.what, f"damage={how}")
    anything = replace(example, truth=None, refusals=("any",), what=what)
    if how == "junk":
        # behind a compressed stream it may be taken for damage
        right = (*example.refusals, *(("E-CORRUPT", "E-TRUNCATED") if packed else ()))
        junk = draw(st.sampled_from((b"\0" * 100, b"\0" * BLOCK, b"junk" * 9, bytes(rng.integers(0, 256, 500, dtype=np.uint8)), b" " * 81)))
        return replace(_put(example, content + junk), what=what, refusals=right)
    if how == "cut":
        short = content[: draw(st.integers(0, len(content) - 1))]
        # between two HDUs nothing tells that more was there
        return replace(_put(example, short), what=(*what, str(len(short))), refusals=("any",), same_values=True)
    if how == "flip":
        damaged, places = bytearray(content), [draw(st.integers(0, len(content) - 1)) for _ in range(draw(st.sampled_from((1, 1, 4))))]
        for place in places:
            damaged[place] ^= 1 << draw(st.integers(0, 7))
        damaged = bytes(damaged)
        guarded = packed or (checksum and not tiled and all(_in_data(content, place) for place in places))
        return replace(_put(example if guarded else anything, damaged), refusals=("any",), what=(*what, str(places)))
    cards = [i for i in range(0, len(content), 80) if _is_card(content[i : i + 80])]
    if how == "impostor":
        added = draw(st.sampled_from(IMPOSTORS))
        at = content.find(b"END".ljust(80))
        block = b"".join(card_bytes(key, value) for key, value in added.items())
        header = content[:at] + block + b"END".ljust(80)
        rest = content[-(-(at + 80) // BLOCK) * BLOCK :]
        return replace(_put(anything, padded(header, b" ") + rest), what=(*what, str(added)))
    damaged, cosmetic = bytearray(content), not tiled
    for _ in range(draw(st.sampled_from((1, 1, 2, 5)))):
        start = draw(st.sampled_from(cards))
        key = bytes(damaged[start : start + 8])
        cosmetic &= bool(COSMETIC.fullmatch(key.decode("latin-1").strip()))
        act = draw(st.sampled_from(("drop", "spoil", "spoil", "duplicate", "letter")))
        if act == "drop":
            damaged[start : start + 80] = b" " * 80
        elif act == "spoil":
            damaged[start : start + 80] = (key + b"= " + draw(st.sampled_from(SPOILED))).ljust(80)[:80]
        elif act == "duplicate":
            target = draw(st.sampled_from(cards))
            cosmetic &= bool(COSMETIC.fullmatch(bytes(damaged[target : target + 8]).decode("latin-1").strip()))
            damaged[target : target + 80] = damaged[start : start + 80]
        else:
            damaged[start + draw(st.integers(0, 79))] = draw(st.sampled_from(list(b" 0'=E-9A\0\xff/&")))
            cosmetic = False
        what = (*what, f"{act} {key.decode('latin-1').strip()}: {bytes(damaged[start : start + 40])!r}")
    kept = replace(example, refusals=("any",), same_values=True) if cosmetic else anything
    return replace(_put(kept, bytes(damaged)), what=what)


def _put(example, content):
    return replace(example, files=example.files | {"cube.fits": content})


def _is_card(text):
    return text[8:10] == b"= " and re.fullmatch(rb"[A-Z0-9_-]+ *", text[:8]) is not None


def _in_data(content, place):
    """Whether a byte lies in data that a DATASUM guards: behind a header of which it is no part."""
    start = 0
    while start < len(content):
        end = start
        while content[end : end + 80].rstrip() != b"END":
            end += 80
        text = content[start:end]
        cards = {text[i : i + 8].strip(): text[i + 10 : i + 30].strip(b" '") for i in range(0, len(text), 80)}
        data = -(-(end + 80) // BLOCK) * BLOCK
        lengths = [int(cards[b"NAXIS%d" % i]) for i in range(1, int(cards[b"NAXIS"]) + 1)]
        size = abs(int(cards[b"BITPIX"])) // 8 * math.prod(lengths) if lengths else 0
        stop = data + -(-size // BLOCK) * BLOCK
        if start <= place < stop:
            return place >= data and b"DATASUM" in cards
        start = stop
    return False


# ---------------------------------------------------------------- other formats

ENVI_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8"}
INTERLEAVES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}  # from (band, y, x)
SPOILED_TEXT = ("-1", "0", "99999999999", "nan", "{", "}", "", "1e999", "{1, 2", "bsq", "ENVI", "\xe9\x00", "4.5", "'", "{nan, nan}")
OTHERS = ("envi", "npy", "npz", "mat", "netcdf3", "netcdf4")


@st.composite
def other_examples(draw, *, formats=OTHERS):
    """Examples of files that are no FITS, whole and damaged."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    form = draw(st.sampled_from(formats))
    shape = (draw(st.sampled_from((5, 9, 12))), draw(st.sampled_from((4, 7))), draw(st.sampled_from((6, 3))))
    dtype = draw(st.sampled_from(("f4", "f8", "i2", "u1", "i4") + (("u2", "u4") if form not in ("netcdf3",) else ())))
    dtype = "i1" if (form, dtype) == ("netcdf3", "u1") else dtype
    values = rng.uniform(1, 100, shape).astype(dtype)
    waves = 500 + 2.5 * np.arange(shape[0])
    make = {"envi": _envi, "npy": _npy, "npz": _npz, "mat": _mat, "netcdf3": _netcdf3, "netcdf4": _netcdf4}[form]
    files, options, weights, spectral = make(draw, rng, values, waves)
    truth = Truth(values.astype(np.float64), weights, spectral, spectral is not None, None, None, 0.0, bool((weights != 1).any()))
    example = Example(files, options, truth, what=(form, str(shape), dtype))
    if draw(st.booleans()):
        return example
    return _spoiled_other(draw, rng, example, form)


def _envi(draw, rng, values, waves):
    interleave, order = draw(st.sampled_from(tuple(INTERLEAVES))), draw(st.integers(0, 1))
    code = next(code for code, dtype in ENVI_TYPES.items() if dtype == values.dtype.str[1:])
    offset = draw(st.sampled_from((0, 100)))
    n_bands, n_y, n_x = values.shape
    lines = ["ENVI", f"samples = {n_x}", f"Lines   = {n_y}", f"bands = {n_bands}", f"header offset = {offset}", "file type = ENVI Standard"]
    lines += [f"data type = {code}", f"interleave = {draw(st.sampled_from((interleave, interleave.upper())))}", f"byte order = {order}"]
    weights, spectral = np.ones(values.shape), None
    if draw(st.booleans()):
        lines += ["wavelength units = Nanometers", "wavelength = {", ",\n".join(f" {wave}" for wave in waves) + "}"]
        spectral = u.Quantity(waves, u.nm)
    if draw(st.booleans()):
        values[rng.random(values.shape) < 0.1] = 7
        weights[values == 7] = 0
        lines.append("data ignore value = 7")
    if draw(st.booleans()):
        good = rng.random(n_bands) < 0.8
        good[0] = True
        weights[~good] = 0
        lines.append(f"bbl = {{{', '.join(str(int(flag)) for flag in good)}}}")
    stored = values.transpose(INTERLEAVES[interleave]).astype(values.dtype.newbyteorder("<>"[order])).tobytes()
    newline = draw(st.sampled_from(("\n", "\r\n")))
    files = {"scene.img": bytes(offset) + stored, "scene.hdr": (newline.join(lines) + newline).encode()}
    return (dict(reversed(files.items())) if draw(st.booleans()) else files), {}, weights, spectral


def _npy(draw, rng, values, waves):
    buffer = io.BytesIO()
    order = draw(st.sampled_from((np.ascontiguousarray, np.asfortranarray)))
    np.save(buffer, order(values.astype(values.dtype.newbyteorder(draw(st.sampled_from("<>"))))))
    return {"cube.npy": buffer.getvalue()}, {}, np.ones(values.shape), None


def _npz(draw, rng, values, waves):
    arrays, weights, spectral = {draw(st.sampled_from(("data", "cube", "images"))): values}, np.ones(values.shape), None
    if draw(st.booleans()):
        sigma = rng.uniform(0.5, 2, values.shape)
        kinds = (("variance", sigma**2, sigma**-2), ("sigma", sigma, sigma**-2), ("ivar", sigma, sigma))
        name, stored, weights = draw(st.sampled_from(kinds))
        arrays[name] = stored
    if draw(st.booleans()):
        bad = rng.random(values.shape) < 0.1
        arrays["mask"], weights = bad, np.where(bad, 0, weights)
    if draw(st.booleans()):
        arrays["wavelength_nm"], spectral = waves, u.Quantity(waves, u.nm)
    buffer = io.BytesIO()
    draw(st.sampled_from((np.savez, np.savez_compressed)))(buffer, **arrays)
    return {"cube.npz": buffer.getvalue()}, {}, weights, spectral


def _mat(draw, rng, values, waves):
    arrays, spectral = {draw(st.sampled_from(("cube", "paviaU", "img"))): values.transpose(1, 2, 0)}, None
    if draw(st.booleans()):
        arrays["wavelength_nm"], spectral = waves, u.Quantity(waves, u.nm)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays, do_compression=draw(st.booleans()))
    return {"cube.mat": buffer.getvalue()}, {}, np.ones(values.shape), spectral


def _netcdf3(draw, rng, values, waves):
    buffer = io.BytesIO()
    file = scipy.io.netcdf_file(buffer, "w", mmap=False, version=draw(st.sampled_from((1, 2))))
    dims = draw(st.sampled_from((("band", "y", "x"), ("y", "x", "band"))))
    for name, length in zip(("band", "y", "x"), values.shape, strict=True):
        file.createDimension(name, length)
    file.createVariable("wavelength", "f8", ("band",))[:] = waves
    file.variables["wavelength"].units = "nm"
    stored = values if dims[0] == "band" else values.transpose(1, 2, 0)
    file.createVariable("reflectance", stored.dtype.newbyteorder(">"), dims)[:] = stored
    file.flush()
    content = buffer.getvalue()
    file.fp = io.BytesIO()  # so that its end does not touch the buffer
    return {"cube.nc": content}, {}, np.ones(values.shape), None if dims is None else u.Quantity(waves, u.nm)


def _netcdf4(draw, rng, values, waves):
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    last = draw(st.booleans())
    with h5py.File(buffer, "w") as file:
        bands = file.create_dataset("wavelength", data=waves)
        bands.attrs["units"] = "nm"
        bands.make_scale("wavelength")
        packing = {"compression": "gzip", "shuffle": True} if draw(st.booleans()) else {}
        image = file.create_dataset("reflectance", data=values.transpose(1, 2, 0) if last else values, **packing)
        image.dims[2 if last else 0].attach_scale(bands)
    return {"cube.nc": buffer.getvalue()}, {}, np.ones(values.shape), u.Quantity(waves, u.nm)


def _spoiled_other(draw, rng, example, form):
    name = draw(st.sampled_from(tuple(example.files)))
    content = example.files[name]
    how = draw(st.sampled_from(("cut", "flip", "flip", "bytes", "empty") + (("line",) * 3 if name.endswith(".hdr") else ())))
    damaged = bytearray(content)
    if how == "cut":
        del damaged[draw(st.integers(0, len(content) - 1)) :]
    elif how == "empty":
        damaged = bytearray()
    elif how == "line":
        lines = content.decode().splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = lines[at].partition("=")[0] + "= " + draw(st.sampled_from(SPOILED_TEXT)) if draw(st.booleans()) else ""
        damaged = bytearray("\n".join(lines).encode())
        how += f" {lines[at]!r}"
    else:
        # the beginning tells how the rest is to be read
        reach = draw(st.sampled_from((64, 512, len(content))))
        for _ in range(draw(st.sampled_from((1, 1, 4, 20)))):
            place = draw(st.integers(0, min(reach, len(content)) - 1))
            damaged[place] = draw(st.integers(0, 255)) if how == "bytes" else damaged[place] ^ 1 << draw(st.integers(0, 7))
    files = example.files | {name: bytes(damaged)}
    return replace(example, files=files, truth=None, refusals=("any",), what=(*example.what, f"{name}: {how}"))


# ---------------------------------------------------------------- the promise


def check(example, folder, *, memory=True):
    """The code of the error, or "read"; raises `BrokenPromiseError` where the promise of `read` is broken."""
    folder = Path(folder)
    for name, content in example.files.items():
        (folder / name).write_bytes(content)
    path = folder / next(iter(example.files))
    options = {key: value.format(folder=folder) if isinstance(value, str) else value for key, value in example.options.items()}
    size = sum(map(len, example.files.values()))
    begin, before = time.monotonic(), _resident(reset=True) if memory else 0
    try:
        with _deadline(SECONDS + 1), warnings.catch_warnings():
            warnings.simplefilter("error")
            cube = read(path, **options)
    except VermilionError as error:
        _expect(type(error).exit_code in (2, 3, 4, 7) and error.code != "E-INTERNAL", f"{error.code} has exit code {error.exit_code}")
        _expect(len(str(error)) > 15 and str(error).isprintable(), f"text of the error: {error!s:.200}")
        right = "any" in example.refusals or example.truth is None or error.code in example.refusals or example.must_refuse
        _expect(right, f"a good file was refused: {error.code} {error}")
        outcome = error.code
    except Hang:
        raise BrokenPromiseError(f"no end after {SECONDS} s") from None
    except Exception as error:
        raise BrokenPromiseError(f"{type(error).__name__}: {error!s:.300}") from error
    else:
        outcome = "read"
        _expect(not example.must_refuse, "a bad file was read")
        _compare(cube, example)
    _expect(time.monotonic() - begin < SECONDS, f"it took {time.monotonic() - begin:.1f} s")
    if memory:
        used = _resident(peak=True) - before
        _expect(used < MEMORY_FACTOR * size + MEMORY_FLOOR, f"{used / 1e6:.0f} MB of memory for {size / 1e6:.2f} MB of files")
    return outcome


def _compare(cube, example):
    missing = [key for key in META if key not in cube.meta]
    _expect(not missing, f"meta lacks {missing}")
    _expect(all({"hdu", "name", "taken_as", "why"} <= set(decision) for decision in cube.meta["decisions"]), "a decision lacks a key")
    weights = cube.weights
    _expect(bool(np.isfinite(weights).all() and (weights >= 0).all()), "weights are not finite")
    _expect(bool(np.isfinite(cube.data[weights > 0]).all()), "weight on what is no number")
    truth = example.truth
    if truth is None:
        return
    if example.same_values:
        found, meant = cube.data[np.isfinite(cube.data)], truth.data[np.isfinite(truth.data)]
        found = found[~np.isin(found, (-9999.0,)) & (np.abs(found) < 1e37)]
        _expect(found.shape == meant.shape, f"{found.size} finite values, {meant.size} were written")
        _same(np.sort(found), np.sort(meant), truth.rtol, "values", floor=1)
        return
    _expect(cube.data.shape == truth.data.shape, f"shape {cube.data.shape}, expected {truth.data.shape}")
    known = np.isfinite(truth.data)
    _same(cube.data[known], truth.data[known], truth.rtol, "data", floor=1)
    _expect(bool((weights[~known] == 0).all()), "weight on absent values")
    if truth.claimed:
        _same(weights, truth.weights, 3e-6, "weights")
    else:  # readers may estimate the noise
        _expect(bool(((weights > 0) == (truth.weights > 0)).all()), "other values have weight")
    if truth.unit is not None and "unit" not in example.options:
        unit = cube.frame.unit
        _expect(unit.is_equivalent(truth.unit) and np.isclose(unit.to(truth.unit), 1), f"unit {unit}, not {truth.unit}")
    axis = cube.frame.spectral_axis
    _expect(axis is not None or not truth.spectral_needed, "the spectral axis was lost")
    if axis is not None and truth.spectral is not None:
        _expect(axis.unit == truth.spectral.unit, f"spectral axis in {axis.unit}, expected {truth.spectral.unit}")
        _same(axis.value, truth.spectral.value, 1e-9, "spectral axis")
        if truth.medium is not None:
            _expect(cube.meta["spectral_medium"] == truth.medium, f"medium {cube.meta['spectral_medium']}, expected {truth.medium}")


def _same(found, meant, rtol, what, floor=1e-6):
    if rtol == 0:
        _expect(bool((found == meant.astype(found.dtype)).all()), f"{what} differ")
        return
    scale = np.abs(meant).max() if meant.size else 0
    worst = np.abs(found - meant) / np.maximum(np.abs(meant), floor * scale + 1e-300)
    _expect(bool((worst <= rtol).all()), f"{what} differ by {worst.max() if worst.size else 0:.2g}")


def _expect(right, text):
    if not right:
        raise BrokenPromiseError(text)


@contextmanager
def _deadline(seconds):
    def stop(number, frame):
        raise Hang

    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def _resident(*, reset=False, peak=False):
    """Bytes in memory now, or the most since the last reset; 0 where the system does not tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    match = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match and os.name == "posix" else 0
