"""ENVI images: a text header beside a file of plain numbers.

The header: https://www.nv5geospatialsoftware.com/docs/enviheaderfiles.html ("ENVI Header Files"). A first line ENVI, then ``key = value``
or ``key = {value, value, ...}`` over any number of lines; keys in any case; lines that begin with ``;`` are comments.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AmbiguousInputError, CorruptFileError, HeaderError, MissingFileError, NotFITSError, TruncatedFileError
from .variable import safe_name

__all__ = ["EnviImage", "find_header", "parse_header", "read_envi"]

_MAX_HEADER = 32 << 20
_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = (6, 9)
_INTERLEAVES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (2, 0, 1)}  # transposition to (band, line, sample)
# files beside a header that are not its data
_COMPANIONS = {
    ".hdr",
    ".xml",
    ".aux",
    ".enp",
    ".ovr",
    ".sta",
    ".txt",
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".json",
    ".csv",
    ".zip",
    ".gz",
}
_DATA = ("", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip", ".bin", ".cube")
_NO_IMAGE = {"envi spectral library": "a spectral library", "envi classification": "a classification", "envi meta file": "a list of files"}
_OTHER_FORMATS = (b"II*\x00", b"MM\x00*", b"\x89HDF", b"NITF", b"SIMPLE  =", b"CDF\x01", b"CDF\x02", b"\x1f\x8b", b"PK\x03\x04", b"BZh")


@dataclass(frozen=True, eq=False)
class EnviImage:
    """An ENVI image, its data not yet read.

    Attributes
    ----------
    header_path, path : Path
        The header and the data.
    header : mapping
        Keys in lower case with single spaces; lists as tuples of text.
    shape : tuple of int
        (bands, lines, samples).
    dtype : dtype
        As stored.
    interleave : {"bsq", "bil", "bip"}
    offset : int
        First byte of the data.
    notes : tuple of str
    """

    header_path: Path
    path: Path
    header: Mapping[str, str | tuple[str, ...]]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    interleave: str
    offset: int
    notes: tuple[str, ...] = ()

    def data(self) -> NDArray[Any]:
        """The stored numbers as (band, line, sample), mapped from the file."""
        bands, lines, samples = self.shape
        order = {"bsq": self.shape, "bil": (lines, bands, samples), "bip": (lines, samples, bands)}[self.interleave]
        return np.memmap(self.path, self.dtype, "r", self.offset, order).transpose(_INTERLEAVES[self.interleave])

    def text(self, key: str) -> str:
        """A single value, "" where it is absent."""
        value = self.header.get(key, "")
        return value if isinstance(value, str) else ", ".join(value)

    def items(self, key: str) -> tuple[str, ...]:
        """A list, () where it is absent."""
        value = self.header.get(key, ())
        return (value,) if isinstance(value, str) else value


def find_header(path: Path, head: bytes) -> Path | None:
    """The ENVI header that `path` is, or that lies beside it; None where there is none."""
    if _is_header(head):
        return path
    if head.startswith(b"SIMPLE  ="):
        return None
    names = {f"{path.name}.hdr".lower(), f"{path.stem}.hdr".lower()}
    found = _neighbors(path, lambda name: name.lower() in names)
    return next((header for header in found if _is_header(_first_bytes(header))), None)


def read_envi(header_path: Path, given: Path) -> EnviImage:
    """The image that a header describes.

    Parameters
    ----------
    header_path : Path
    given : Path
        The header or the data, as the user named it.

    Raises
    ------
    CorruptFileError, HeaderError
        If the header contradicts itself, or lacks what is needed to read the data.
    MissingFileError, AmbiguousInputError
        If there are no data, or several files might be them.
    TruncatedFileError
        If the data are shorter than the header says.
    """
    header = parse_header(header_path)
    _refuse_other_kinds(header_path, header)
    shape = tuple(_integer(header_path, header, key, least=1) for key in ("bands", "lines", "samples"))
    offset = _integer(header_path, header, "header offset", default=0)
    dtype = _dtype(header_path, header)
    interleave = str(header.get("interleave", "bsq" if shape[0] == 1 else "")).lower()
    if interleave not in _INTERLEAVES:
        raise HeaderError(f"{header_path} has interleave = {interleave!r}: expected bsq, bil or bip; correct the header.")
    if any(number.strip(" 0") for key in ("major frame offsets", "minor frame offsets") for number in _list(header.get(key, ()))):
        raise HeaderError(f"{header_path} has frame offsets, which are not read: save the image without them.")
    needed = offset + math.prod(shape) * dtype.itemsize
    path = given if given != header_path else _data_file(header_path, needed)
    return EnviImage(header_path, path, header, shape, dtype, interleave, offset, _compare_size(path, needed))  # type: ignore[arg-type]


# ---------------------------------------------------------------- header


def parse_header(path: Path) -> dict[str, str | tuple[str, ...]]:
    """Keys and values of an ENVI header.

    Raises
    ------
    CorruptFileError
        If a list does not end, or a key that matters appears twice with different values.
    """
    if path.stat().st_size > _MAX_HEADER:
        raise CorruptFileError(f"{path} has {path.stat().st_size} bytes: too many for an ENVI header.")
    raw = path.read_bytes()
    if b"\0" in raw:
        raise CorruptFileError(f"{path} holds zero bytes: expected text.")
    lines = iter(_decode(raw).splitlines()[1:])
    header: dict[str, str | tuple[str, ...]] = {}
    for line in lines:
        if line.lstrip().startswith(";") or "=" not in line:
            continue
        key, _, value = line.partition("=")
        key, value = " ".join(key.lower().replace("_", " ").split()), value.strip()
        parsed: str | tuple[str, ...] = value
        if value.startswith("{"):
            while "}" not in value:
                more = next(lines, None)
                if more is None:
                    raise CorruptFileError(f"{path}: the list of {safe_name(key)!r} does not end: expected a closing brace.")
                value += "" if more.lstrip().startswith(";") else f"\n{more}"
            inside = value[1 : value.rindex("}")]
            parsed = " ".join(inside.split()) if key == "description" else tuple(" ".join(item.split()) for item in _split(inside))
        if key in header and header[key] != parsed:
            raise CorruptFileError(f"{path} says {safe_name(key)!r} twice, differently: remove the wrong line.")
        header[key] = parsed
    return header


def _split(inside: str) -> list[str]:
    """Items between braces; a comma behind the last one ends it, and is no empty item."""
    items = inside.split(",")
    return items[:-1] if not items[-1].strip() else items


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _is_header(head: bytes) -> bool:
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:5]
    return first[:4] == b"ENVI" and (len(first) == 4 or first[4:5].isspace())


def _refuse_other_kinds(path: Path, header: Mapping[str, str | tuple[str, ...]]) -> None:
    kind = str(header.get("file type", "")).lower()
    if kind in _NO_IMAGE:
        raise HeaderError(f"{path} describes {_NO_IMAGE[kind]}: expected an image (file type = ENVI Standard).")
    if str(header.get("file compression", "0")).strip() not in ("", "0"):
        raise HeaderError(f"{path} says that the data are compressed (file compression): decompress them with gunzip and set it to 0.")


def _dtype(path: Path, header: Mapping[str, str | tuple[str, ...]]) -> np.dtype[Any]:
    code = _integer(path, header, "data type", least=1)
    if code in _COMPLEX:
        raise HeaderError(f"{path} has data type = {code}, complex numbers: expected real ones; save amplitude or real part.")
    if code not in _TYPES:
        raise CorruptFileError(f"{path} has data type = {code}: expected one of {', '.join(map(str, _TYPES))}.")
    dtype = np.dtype(_TYPES[code])
    if dtype.itemsize == 1:
        return dtype
    if "byte order" not in header:
        raise HeaderError(f"{path} does not say the byte order: add 'byte order = 0' (little-endian) or 'byte order = 1' to it.")
    order = _integer(path, header, "byte order")
    if order not in (0, 1):
        raise CorruptFileError(f"{path} has byte order = {order}: expected 0 (little-endian) or 1.")
    return dtype.newbyteorder(">" if order else "<")


def _integer(path: Path, header: Mapping[str, str | tuple[str, ...]], key: str, *, default: int | None = None, least: int = 0) -> int:
    text = str(header.get(key, "")).strip()
    if not text:
        if default is None:
            raise HeaderError(f"{path} does not say {key!r}: add the line '{key} = ...' to it.")
        return default
    match = re.fullmatch(r"([+-]?\d{1,18})(\.0*)?", text)
    if match is None or int(match[1]) < least:
        raise CorruptFileError(f"{path} has {key} = {safe_name(text)}: expected an integer >= {least}.")
    return int(match[1])


def _list(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


# ---------------------------------------------------------------- data


def _data_file(header_path: Path, needed: int) -> Path:
    """The data beside a header: the name without .hdr, or the same stem; the size decides between several."""
    stem = header_path.name[: -len(header_path.suffix)] if header_path.suffix.lower() == ".hdr" else header_path.name
    found = _neighbors(header_path, lambda name: _is_data_of(name, stem))
    exact = [path for path in found if path.stat().st_size == needed]
    for candidates in (exact, found):
        named = sorted(candidates, key=lambda path: path.name != stem)
        if len(candidates) == 1 or (named and named[0].name == stem):
            return named[0]
        if len(candidates) > 1:
            names = ", ".join(safe_name(path.name) for path in named)
            raise AmbiguousInputError(f"{header_path} may belong to {names}: name the data file instead of the header.")
    raise MissingFileError(f"{header_path} is an ENVI header without its data: expected {stem} or {stem}.img, .dat, .raw … beside it.")


def _is_data_of(name: str, stem: str) -> bool:
    """Whether a name is `stem`, or that and a suffix of data."""
    suffix = name[len(stem) :].lower() if name.lower().startswith(f"{stem.lower()}.") else ""
    return name == stem or (suffix != "" and "." not in suffix[1:] and suffix not in _COMPANIONS)


def _neighbors(path: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Other files in the same folder whose names are wanted."""
    try:
        names = os.listdir(path.parent)
    except OSError:  # a folder that may not be listed
        names = [path.with_suffix(suffix).name for suffix in (".hdr", *_DATA)] + [f"{path.name}.hdr"]
    return [found for name in sorted(set(names)) if wanted(name) and name != path.name and (found := path.parent / name).is_file()]


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError:
        return b""


def _compare_size(path: Path, needed: int) -> tuple[str, ...]:
    """Notes on a file that is longer than its header says; raises where it is shorter, or no plain numbers."""
    size = path.stat().st_size
    if size == needed:
        return ()
    head = _first_bytes(path)
    if head.startswith(_OTHER_FORMATS):
        raise NotFITSError(f"{path} is no plain ENVI data but another format or compressed: expected {needed} bytes, there are {size}.")
    if size < needed:
        raise TruncatedFileError(f"{path}: its ENVI header needs {needed} bytes, the file has {size}: fetch or copy it again.")
    return (f"{size - needed} bytes behind the data are not described by the ENVI header: ignored",)
