"""`catalog.ecsv` and `catalog.fits`: one row per source."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table
from numpy.typing import NDArray

from .headers import add_comments, card_text, column_name, primary_hdu

__all__ = ["catalog_ecsv", "catalog_hdus"]

_LIMIT = 500
_REPEATED = ("input", "input_sha256", "seed", "status", "normalization")
_KEYWORD = re.compile(r"[A-Z][A-Z0-9_-]{0,7}")


def catalog_ecsv(catalog: Table, provenance: Mapping[str, Any]) -> bytes:
    """The catalog as text with names and units, for TOPCAT, spreadsheets and eyes."""
    known = {name: provenance[name] for name in _REPEATED if provenance.get(name) is not None}
    table = catalog.copy()
    table.meta = {
        **catalog.meta,
        "creator": f"vermilion {provenance['version']}",
        **{name: card_text(value, _LIMIT) if isinstance(value, str) else value for name, value in known.items()},
    }
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    return text.getvalue().encode()


def catalog_hdus(catalog: Table, provenance: Mapping[str, Any]) -> list[Any]:
    """PRIMARY (provenance) | CATALOG as `Table.write` makes it, from which `Table.read` has units, descriptions and meta again.

    Descriptions of columns are TCOMMn as well, where other programs look for them; meta that fits no card is COMMENT. Names of columns are
    made of letters, digits and _, and differ in more than their case, as FITS wants them.
    """
    names = list(_fits_names(catalog.colnames))
    cards = {key: value for key, value in catalog.meta.items() if _fits_card(key, value)}
    plain = Table([_column(name, catalog[own]) for name, own in zip(names, catalog.colnames, strict=True)], meta=cards)
    table = _written(plain)
    for number, name in enumerate(names, 1):
        if plain[name].description:
            table.header[f"TCOMM{number}"] = plain[name].description
    table.header["LONGSTRN"] = ("OGIP 1.0", "long texts go on in CONTINUE cards")
    renamed = [f"column {name}: {own}" for name, own in zip(names, catalog.colnames, strict=True) if own != name]
    add_comments(table.header, [*renamed, *(f"{key}: {value}" for key, value in catalog.meta.items() if key not in cards)])
    return [primary_hdu(provenance, {"NSOURCES": (len(catalog), "number of sources")}), table]


def _written(table: Table) -> fits.BinTableHDU:
    """The HDU that astropy makes of a table."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units that the FITS standard does not know are written in the words of astropy
        table.write(buffer, format="fits")
    with fits.open(io.BytesIO(buffer.getvalue()), lazy_load_hdus=False) as hdus:
        return fits.BinTableHDU(hdus[1].data, hdus[1].header, name="CATALOG")


def _fits_card(key: object, value: object) -> bool:
    """Whether an entry of the meta can be a card: a short name in capitals, and text or a finite number."""
    text = isinstance(key, str) and _KEYWORD.fullmatch(key) is not None
    return text and (card_text(value) == value if isinstance(value, str) else isinstance(value, int | float) and bool(np.isfinite(value)))


def _fits_names(names: Sequence[str]) -> Iterator[str]:
    taken: set[str] = set()
    for name in names:
        plain = column_name(name)
        number, chosen = 2, plain
        while chosen.lower() in taken:
            chosen, number = f"{plain}_{number}", number + 1
        taken.add(chosen.lower())
        yield chosen


def _column(name: str, column: Any) -> Column:
    """The column with ASCII for text, and NaN, 0 or blank for what is masked."""
    values: NDArray[Any] = np.asarray(column.unmasked if hasattr(column, "unmasked") else column)
    if hasattr(column, "mask"):
        values = np.where(column.mask, _absent(values), values)
    if values.dtype.kind in "OUS":
        texts = [card_text(value) for value in values]
        values = np.array(texts, dtype=f"U{max([1, *map(len, texts)])}")
    return Column(values, name, unit=getattr(column, "unit", None), description=card_text(column.info.description or "") or None)


def _absent(values: NDArray[Any]) -> Any:
    return {"f": np.nan, "b": False, "O": "", "U": "", "S": b""}.get(values.dtype.kind, 0)
