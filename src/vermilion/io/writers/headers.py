"""What the FITS products share: provenance cards, coordinates, units, and checksums that depend on the content only."""

from __future__ import annotations

import logging
import re
import shlex
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Frame
from .folder import OutputFolder

__all__ = [
    "add_comments",
    "card_text",
    "column_name",
    "common_unit",
    "gauge_text",
    "image_hdu",
    "primary_hdu",
    "primary_image",
    "spectral_columns",
    "unit_text",
    "write_files",
    "write_hdus",
]

logger = logging.getLogger(__name__)

_STRING_LIMIT = 65
_HISTORY_LINES = 200
_HISTORY_TEXT = 500
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_DATE = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]*)?)?$")
_ASCII = str.maketrans(
    {
        "×": "x",
        "±": "+/-",
        "–": "-",
        "—": "-",
        "≤": "<=",
        "≥": ">=",
        "Σ": "sum ",
        "σ": "sigma",
        "λ": "lambda",
        "χ": "chi",
        "“": '"',
        "”": '"',
        "’": "'",
    }
)


def card_text(value: object, limit: int | None = None) -> str:
    """`value` as printable ASCII, which is all that a FITS header holds.

    Examples
    --------
    >>> card_text("Å per\\n spaxel")
    'A per spaxel'
    """
    text = unicodedata.normalize("NFKD", str(value).translate(_ASCII))
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = text.encode("ascii", "replace").decode()
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if limit is None else text[:limit].rstrip()


def column_name(text: object) -> str:
    """`text` as the name of a column: letters, digits and ``_``, which is what the FITS standard recommends.

    Examples
    --------
    >>> column_name("flux_F160W/IR")
    'flux_F160W_IR'
    """
    return re.sub(r"[^A-Za-z0-9_]+", "_", card_text(text, 60)) or "column"


def primary_hdu(provenance: Mapping[str, Any], cards: Mapping[str, tuple[object, str]] | None = None) -> fits.PrimaryHDU:
    """The first HDU of every product: who made it, from what, with which options, and what to beware of.

    Parameters
    ----------
    provenance : mapping
        As `provenance.describe` returns it.
    cards : mapping, optional
        More cards, keyword -> (value, comment).
    """
    header = fits.Header()
    own = {
        "ORIGIN": ("vermilion", "constrained matrix factorization"),
        "CREATOR": (f"vermilion {provenance['version']}", "program that wrote this file"),
        "DATE": (provenance["date"], "[UTC] when this file was written"),
        "STATUS": (provenance["status"], "how the fit ended"),
        "UNIQUE": (provenance["unique"], "do other starts lead to the same spectra?"),
        "NORMALIZ": (gauge_text(provenance["normalization"]), "gauge"),
    }
    source = {key: (value, "from the input") for key, value in provenance["source"].items() if _may_repeat(key, value)}
    for keyword, (card_value, comment) in {**source, **own, **(cards or {})}.items():
        _set_card(header, keyword, card_value, comment)
    for line in _history(provenance):
        for part in _lines(line):
            header.add_history(part)
    return fits.PrimaryHDU(header=header)


def _may_repeat(keyword: str, value: object) -> bool:
    """A card of the input that is valid here too: dates are dates, and numbers are numbers."""
    if keyword.startswith("DATE") and not _DATE.match(str(value)):
        return False
    return bool(_KEYWORD.fullmatch(keyword)) and value not in (None, "", "nan", "inf", "-inf")


def _set_card(header: fits.Header, keyword: str, value: object, comment: str) -> None:
    """One card of 80 characters: what does not fit is cut, the comment first."""
    if isinstance(value, str):
        value = card_text(value, _STRING_LIMIT).replace("'", "`")  # an apostrophe counts twice
        comment = comment[: max(0, 65 - max(len(value), 18))]
    header[keyword] = (value, comment)


def _history(provenance: Mapping[str, Any]) -> list[str]:
    facts = {
        "argv": shlex.join(map(str, provenance["argv"])),
        "version": f"vermilion {provenance['version']}",
        "seed": provenance["seed"],
        "input": provenance["input"],
        "input SHA-256": provenance["input_sha256"],
        "status": provenance["status_text"],
        "normalization": provenance["normalization"],
    }
    lines = [f"{name}: {'unknown' if value is None else value}" for name, value in facts.items()]
    for name, texts in (("read", provenance["decisions"]), ("note", provenance["notes"])):
        lines += [f"{name}: {_shortened(text)}" for text in texts[:_HISTORY_LINES]]
        if len(texts) > _HISTORY_LINES:
            lines.append(f"{name}: and {len(texts) - _HISTORY_LINES} more, see provenance.json")
    return lines


def _shortened(text: object) -> str:
    """At most `_HISTORY_TEXT` characters: names and units from a hostile file may be long."""
    text = card_text(text)
    return text if len(text) <= _HISTORY_TEXT else f"{text[: _HISTORY_TEXT - 4]} ..."


def gauge_text(normalization: str) -> str:
    """What fits a card of the sentence `normalization`: the part before the first comma."""
    return card_text(normalization.split(",")[0], _STRING_LIMIT)


def add_comments(header: fits.Header, comments: Sequence[str]) -> None:
    """Append COMMENT cards, broken between words."""
    for comment in comments:
        for part in _lines(comment):
            header.add_comment(part)


def _lines(text: str) -> list[str]:
    return textwrap.wrap(card_text(text), 72, break_on_hyphens=False)  # a card holds 72 characters of text


# -- units -------------------------------------------------------------------------------------------------------------


def common_unit(frame: Frame) -> u.UnitBase | None:
    """The unit of the data, None where bands differ."""
    if not isinstance(frame.unit, tuple):
        return frame.unit
    return frame.unit[0] if all(unit == frame.unit[0] for unit in frame.unit) else None


def unit_text(unit: u.UnitBase | None) -> str:
    """`unit` as the FITS standard spells it, or as astropy does where the standard cannot (a scale of 3.6); '' for none."""
    if unit is None:
        return ""
    try:
        return card_text(unit.to_string("fits"))
    except ValueError:
        return card_text(unit.to_string(), _STRING_LIMIT)


# -- tables -----------------------------------------------------------------------------------------------------------


def spectral_columns(frame: Frame) -> list[fits.Column]:
    """The first columns of a table with one row per band: ``wavelength``, and ``band`` where bands have names or no wavelengths."""
    if frame.spectral_axis is not None:
        axis = frame.spectral_axis
        columns = [fits.Column("wavelength", "D", unit=unit_text(axis.unit) or None, array=axis.value)]
    else:
        columns = []
    if frame.band_names is not None:
        names = [card_text(name) or "-" for name in frame.band_names]
        columns.append(fits.Column("band", f"{max(map(len, names))}A", array=np.array(names)))
    if not columns:
        columns = [fits.Column("band", "J", array=np.arange(frame.n_bands))]
    if common_unit(frame) is None:
        units = [unit_text(unit) or "-" for unit in frame.unit]
        columns.append(fits.Column("unit", f"{max(map(len, units))}A", array=np.array(units)))
    return columns


# -- HDUs --------------------------------------------------------------------------------------------------------------


def image_hdu(name: str, data: NDArray[Any], coordinates: fits.Header, *, unit: str = "", comments: Sequence[str] = ()) -> fits.ImageHDU:
    """An image extension with its coordinates and unit."""
    return fits.ImageHDU(data, header=_image_cards(coordinates, unit, comments), name=name)


def primary_image(
    primary: fits.PrimaryHDU, data: NDArray[Any], coordinates: fits.Header, unit: str, comments: Sequence[str]
) -> fits.PrimaryHDU:
    """The first HDU of a product with an image in it; of cards that both provenance and coordinates have, those of the coordinates stay."""
    header = primary.header.copy()
    for card in _image_cards(coordinates, unit, comments).cards:
        if card.keyword == "COMMENT":
            header.add_comment(card.value)
        else:
            header[card.keyword] = (card.value, card.comment)
    return fits.PrimaryHDU(data, header=header)


def _image_cards(coordinates: fits.Header, unit: str, comments: Sequence[str]) -> fits.Header:
    header = coordinates.copy()
    if unit:
        header["BUNIT"] = (unit, "unit of the data")
    add_comments(header, comments)
    return header


def write_hdus(hdus: Sequence[Any], path: Path) -> None:
    """Write `hdus` with DATASUM and CHECKSUM, whose comments carry no time, so that equal content gives equal bytes."""
    products = fits.HDUList(list(hdus))
    products.verify("exception")
    products.update_extend()
    for hdu in products:
        hdu.add_datasum(when="data unit checksum")
        hdu.add_checksum(when="HDU checksum", override_datasum=True)
    products.writeto(path, output_verify="exception", checksum=False)


def write_files(
    folder: OutputFolder, products: Iterable[tuple[str, Callable[[], Sequence[Any]]]], texts: Mapping[str, bytes]
) -> list[Path]:
    """Write FITS files, each built when its turn comes so that one at a time is in memory, then texts; the paths in that order."""
    paths = [folder.write(name, partial(_write_built, build)) for name, build in products]
    return paths + [folder.write(name, partial(_write_bytes, content)) for name, content in texts.items()]


def _write_built(build: Callable[[], Sequence[Any]], path: Path) -> None:
    write_hdus(build(), path)


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)
