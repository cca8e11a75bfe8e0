"""Names and central wavelengths of broad bands, from headers and from the names of files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from astropy import units as u
from astropy.io import fits

from ...errors import UnitError
from ..fits.preflight import card
from ..units import parse_unit

__all__ = ["band_name", "central_wavelength", "is_filter", "names_of_files", "tokens"]

# Cards that name the filter. Those of one group are filters in the same beam: two wheels, or a filter and a pupil wheel.
_FILTER_CARDS = (
    ("FILTER", "PUPIL"),
    ("FILTER1", "FILTER2"),
    ("FILTNAM1", "FILTNAM2"),
    ("FILTERS",),
    ("BAND",),
    ("LSST BUTLER DATAID BAND",),
    ("FPA.FILTERID",),
    ("ESO INS FILT1 NAME",),
)
_CLEAR = re.compile(r"(CLEAR\w*|OPEN|EMPTY|NONE|NULL|N/A|UNKNOWN|GR150[CR]|GRISM[CR]|FLAT|IMAGING)?", re.IGNORECASE)
_DECAM = re.compile(r"(\S+) DECam\b")  # "g DECam SDSS c0001 4720.0 1520.0"
_LONGEST = 40
_BRACKETS = re.compile(r"\[\s*([^\]]+?)\s*\]")
_SEPARATORS = re.compile(r"[-_.\s]+")
_FILTER = re.compile(
    r"(HSC-?|DECAM-?|SDSS-?|PS1-?|MEGACAM-?|LSST-?|VIRCAM-?|2MASS-?)?[UBVGRIZYJHKN][SP'2]?"  # one letter, with the system before it
    r"|[FN]\d{2,4}[A-Z]{1,2}\d?|FR\d{3,4}[NPM]?|(NB|IB|IA|MB|BB|CN|HA)-?\d{2,4}"  # HST, JWST, Euclid; narrow and medium bands
    r"|W[1-4]|[FN]UV|IRAC-?\d|CH-?[1-4]|MIPS-?\d+|PACS-?\d+|SPIRE-?\d+|VIS|UV[WM][12]|KS|HALPHA|\d{3,4}(A|NM)",
    re.IGNORECASE,
)


def band_name(*headers: fits.Header) -> str:
    """Name of the filter by the first header that says it; "" where none does.

    Examples
    --------
    >>> band_name(fits.Header({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}))
    'F814W'
    """
    for header in headers:
        for group in _FILTER_CARDS:
            texts = [" ".join(str(card(header, key, "")).split()) for key in group]
            texts = [text for text in texts if not _CLEAR.fullmatch(text)]
            if texts:
                return _short("+".join(texts), header)
    return ""


def _short(text: str, header: fits.Header) -> str:
    decam = _DECAM.match(text)
    if decam:
        return decam[1]
    if text.isdigit() and "WISE" in str(card(header, "TELESCOP", "")).upper():
        return f"W{text}"
    return text[:_LONGEST]


def central_wavelength(*headers: fits.Header) -> u.Quantity | None:
    """Wavelength of the band where a header states it together with its unit.

    PHOTPLAM is the pivot wavelength in Angstrom (HST); WAVELNTH has its unit in WAVEUNIT (solar imagers); WAVELEN in brackets in
    its comment (WISE).
    """
    for header in headers:
        for key in ("PHOTPLAM", "WAVELNTH", "WAVELEN"):
            value = card(header, key)
            unit = _wavelength_unit(header, key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and unit is not None:
                return u.Quantity(float(value), unit)
    return None


def _wavelength_unit(header: fits.Header, key: str) -> u.UnitBase | None:
    if key == "PHOTPLAM":
        return u.AA
    bracket = _BRACKETS.search(str(header.comments[key])) if key in header else None
    text = str(card(header, "WAVEUNIT", "")) if key == "WAVELNTH" else bracket[1] if bracket else ""
    try:
        unit = parse_unit(text) if text else None
    except UnitError:
        return None
    return unit[0] if unit is not None and "length" in unit[0].physical_type else None


def is_filter(text: str) -> bool:
    """Whether `text` looks like the name of a filter: g, HSC-I, F814W, NB921, W1, ..."""
    return bool(_FILTER.fullmatch(text))


def tokens(name: str) -> list[str]:
    """The parts of a file name between dots, hyphens, underscores and blanks."""
    return [part for part in _SEPARATORS.split(name) if part]


def names_of_files(names: Sequence[str]) -> list[str]:
    """What tells the names of files apart: the parts in which they differ, or the whole names.

    Examples
    --------
    >>> names_of_files(["field_g_v2", "field_r_v2"])
    ['g', 'r']
    """
    split = [tokens(name) for name in names]
    if len({len(parts) for parts in split}) != 1:
        return list(names)
    places = [i for i in range(len(split[0])) if len({parts[i] for parts in split}) > 1]
    filters = [i for i in places if all(is_filter(parts[i]) for parts in split) and len({parts[i] for parts in split}) == len(names)]
    chosen = filters[:1] if len(filters) == 1 else places
    return ["-".join(parts[i] for i in chosen) for parts in split]
