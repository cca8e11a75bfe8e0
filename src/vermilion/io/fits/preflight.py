"""Look at every header and account for every byte of a FITS file before any datum is touched."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from ...errors import CorruptFileError, TruncatedFileError, VermilionError
from ..memory import format_bytes
from ..sources import CHUNK, InflatedFile, Source, local_file, open_source

__all__ = ["FITSFile", "HDUInfo", "card", "damage_reported", "preflight"]

_BLOCK = 2880
_MAX_HEADER = 64 * 1024**2  # about 800 000 cards: a header without END must not swallow the data
_MAX_NAXIS = 999
_TYPES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
_ALL_ONES = 0xFFFFFFFF
_FILE_SUFFIX = re.compile(r"(\.(fits?|fts))?(\.(gz|bz2|fz))?$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class HDUInfo:
    """One header-data unit as its header announces it.

    Attributes
    ----------
    index : int
        Position in the file, 0 = primary.
    name : str
        EXTNAME in upper case, ``PRIMARY`` for the first, "" where there is none.
    kind : {"image", "compressed", "table", "other"}
    shape : tuple of int
        Of the image, in numpy order; () where there is none.
    bitpix : int
        Of the image, before compression.
    header : astropy.io.fits.Header
        Printable ASCII only.
    header_start, data_start, data_bytes : int
        Where it lies, without padding.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    bitpix: int
    header: fits.Header
    header_start: int
    data_start: int
    data_bytes: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers of the image, before they are scaled."""
        return np.dtype(_TYPES[self.bitpix])

    @property
    def end(self) -> int:
        """First byte behind the padded data."""
        return self.data_start + _padded(self.data_bytes)

    @property
    def quantized(self) -> str:
        """How the floats of a compressed image were rounded; "" where they are whole.

        A file without ZQUANTIZ is quantized without dither where it has scales (FITS standard 4.0, section 10.2), and only gzip keeps
        floats that have none.
        """
        if self.kind != "compressed" or self.bitpix > 0:
            return ""
        method, algorithm = (str(card(self.header, key, "")).strip().upper() for key in ("ZQUANTIZ", "ZCMPTYPE"))
        columns = [str(card(self.header, key, "")).strip().upper() for key in self.header if key.startswith("TTYPE")]
        if "ZSCALE" in (*columns, *self.header):
            return "NO_DITHER" if method in ("", "NONE") else method
        return "" if algorithm.startswith("GZIP") or algorithm == "NOCOMPRESS" else f"{algorithm} of integers"

    def __str__(self) -> str:
        if self.kind == "table":
            return f"{self.index} {self.name or '(no name)'}: table"
        size = " x ".join(map(str, self.shape)) or "no data"
        return f"{self.index} {self.name or '(no name)'}: {size} {_TYPES[self.bitpix] if self.shape else ''}".rstrip()


@dataclass(eq=False)
class FITSFile:
    """A FITS file whose bytes are accounted for.

    Attributes
    ----------
    given : str
        The path as it was given.
    path : Path
    hdus : tuple of HDUInfo
    sha256 : str
        Of the file as it lies on disk, compressed or not.
    notes : list of str
        What a careful reader would want to know.
    limit : int
        Bytes that reading may use.
    """

    given: str
    path: Path
    hdus: tuple[HDUInfo, ...]
    sha256: str
    notes: list[str]
    limit: int
    buffer: bytearray | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """File name without folder and FITS suffixes."""
        return _FILE_SUFFIX.sub("", self.path.name) or self.path.name

    @contextmanager
    def open(self) -> Iterator[fits.HDUList]:
        """The file as astropy sees it."""
        source: Any = self.path if self.buffer is None else io.BytesIO(self.buffer)
        scaled = any(key in hdu.header for hdu in self.hdus for key in ("BSCALE", "BZERO", "BLANK"))
        with damage_reported(f"{self.path}"):
            hdulist = fits.open(source, mode="readonly", memmap=self.buffer is None and not scaled, uint=not self._blank_unsigned)
        with hdulist:
            yield hdulist

    @property
    def _blank_unsigned(self) -> bool:
        """Whether unsigned integers (BZERO) have a BLANK: as integers astropy would keep what is absent as a number.

        Those of 64 bits stay integers: no float holds them.
        """
        return any("BLANK" in hdu.header and "BZERO" in hdu.header and hdu.bitpix != 64 for hdu in self.hdus)


@contextmanager
def damage_reported(what: str) -> Iterator[None]:
    """Turn the errors by which astropy stumbles over a damaged file into one of ours.

    Raises
    ------
    CorruptFileError
    """
    try:
        yield
    except (VermilionError, MemoryError):
        raise
    except Exception as error:  # of many kinds, some private to astropy: only calls into astropy stand inside this context
        raise CorruptFileError(f"{what} cannot be read: {' '.join(str(error).split())[:200] or type(error).__name__}.") from None


def preflight(path: Any, *, limit: int, checksum: bool = True) -> FITSFile:
    """The layout of the FITS file at `path`, with its checksums verified and nothing read into arrays.

    Parameters
    ----------
    path : str or Path
        A regular local file, plain or compressed with gzip or bzip2.
    limit : int
        Bytes that a compressed file may inflate to.
    checksum : bool
        False: do not compare CHECKSUM and DATASUM with the bytes.

    Raises
    ------
    ParameterError, MissingFileError, EmptyFileError, NotFITSError
        If there is no such local FITS file.
    TruncatedFileError
        If headers announce more bytes than there are.
    CorruptFileError
        If a header contradicts itself or data do not fit their checksum.
    MemoryLimitError
        If a compressed file inflates beyond `limit`.
    """
    found = local_file(path)
    source = open_source(found, limit)
    try:
        hdus = tuple(_scan(source))
        notes = _tail_notes(source, hdus[-1])
        sums = [_sums(source, hdu) if checksum and _has_sums(hdu) else None for hdu in hdus]
    finally:
        source.close()
    for hdu, pair in zip(hdus, sums, strict=True):
        if pair is not None:
            notes += _judge_sums(found, hdu, *pair)
    buffer = source.buffer if isinstance(source, InflatedFile) else None
    return FITSFile(str(path), found, hdus, _sha256(found), notes, limit, buffer)


def card(header: fits.Header, key: str, default: Any = None) -> Any:
    """Value of a card; `default` where it is absent, blank or cannot be parsed."""
    try:
        value = header.get(key, default)
    except (fits.VerifyError, ValueError):
        return default
    return default if isinstance(value, fits.card.Undefined) else value


# ---------------------------------------------------------------- headers


def _scan(source: Source) -> Iterator[HDUInfo]:
    start = index = 0
    while True:
        begin = source.read(start, 8)
        if index > 0 and not begin.startswith(b"XTENSION"):
            if begin and b"XTENSION".startswith(begin):
                raise TruncatedFileError(f"{source.path}: ends after {start + len(begin)} bytes, inside the header of HDU {index}.")
            return
        text = _header_text(source, start, index)
        hdu = _describe(source.path, index, text, start)
        source.require(hdu.data_start + hdu.data_bytes, f"HDU {index} {hdu.name}".strip())
        yield hdu
        start, index = hdu.end, index + 1


def _header_text(source: Source, start: int, index: int) -> str:
    blocks: list[bytes] = []
    while len(blocks) * _BLOCK < _MAX_HEADER:
        block = source.read(start + len(blocks) * _BLOCK, _BLOCK)
        blocks.append(block)
        if _has_end(block):
            return re.sub(r"[^ -~]", "?", b"".join(blocks).decode("latin-1"))
        if len(block) < _BLOCK:
            size = start + sum(map(len, blocks))
            raise TruncatedFileError(
                f"{source.path}: ends after {size} bytes, inside the header of HDU {index}: "
                f"expected an END card and at least {start + len(blocks) * _BLOCK} bytes; fetch or copy it again."
            )
    raise CorruptFileError(f"{source.path}: the header of HDU {index} has no END card within {format_bytes(_MAX_HEADER)}.")


def _has_end(block: bytes) -> bool:
    return any(block[i : i + 80].rstrip() == b"END" for i in range(0, len(block), 80))


def _describe(path: Path, index: int, text: str, start: int) -> HDUInfo:
    where = f"{path}: HDU {index}"
    with damage_reported(f"the header of {where}"):
        header = fits.Header.fromstring(text)
    bitpix = _integer(header, "BITPIX", where)
    if bitpix not in _TYPES:
        raise CorruptFileError(f"{where} has BITPIX = {bitpix}: expected one of {', '.join(map(str, _TYPES))}.")
    lengths = _lengths(header, "", where)
    groups = index == 0 and bool(card(header, "GROUPS", False)) and lengths[:1] == [0]
    pcount, gcount = (_integer(header, key, where, default) for key, default in (("PCOUNT", 0), ("GCOUNT", 1)))
    if pcount < 0 or gcount < 0:
        raise CorruptFileError(f"{where} has PCOUNT = {pcount}, GCOUNT = {gcount}: expected no negative sizes.")
    items = math.prod(lengths[1:] if groups else lengths) if lengths else 0
    size = abs(bitpix) // 8 * gcount * (pcount + items) if lengths else 0
    kind, shape, bitpix = _kind(header, index, lengths, bitpix, where)
    name = str(card(header, "EXTNAME", "")).strip().upper() or ("PRIMARY" if index == 0 else "")
    data_start = start + _padded(len(text))
    return HDUInfo(index, name, "other" if groups else kind, () if groups else shape, bitpix, header, start, data_start, size)


def _kind(header: fits.Header, index: int, lengths: list[int], bitpix: int, where: str) -> tuple[str, tuple[int, ...], int]:
    extension = "IMAGE" if index == 0 else str(card(header, "XTENSION", "")).strip()
    if extension == "IMAGE":
        return "image", tuple(lengths[::-1]), bitpix
    if extension == "BINTABLE" and card(header, "ZIMAGE") is True:
        bitpix = _integer(header, "ZBITPIX", where)
        if bitpix not in _TYPES:
            raise CorruptFileError(f"{where} has ZBITPIX = {bitpix}: expected one of {', '.join(map(str, _TYPES))}.")
        return "compressed", tuple(_lengths(header, "Z", where)[::-1]), bitpix
    return ("table" if extension in ("BINTABLE", "TABLE") else "other"), (), bitpix


def _lengths(header: fits.Header, prefix: str, where: str) -> list[int]:
    naxis = _integer(header, f"{prefix}NAXIS", where)
    if not 0 <= naxis <= _MAX_NAXIS:
        raise CorruptFileError(f"{where} has {prefix}NAXIS = {naxis}: expected 0 to {_MAX_NAXIS}.")
    lengths = [_integer(header, f"{prefix}NAXIS{i}", where) for i in range(1, naxis + 1)]
    for i, n in enumerate(lengths, 1):
        if n < 0:
            raise CorruptFileError(f"{where} has {prefix}NAXIS{i} = {n}: expected no negative length.")
    return lengths


def _integer(header: fits.Header, key: str, where: str, default: int | None = None) -> int:
    value = card(header, key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        shown = "no readable" if value is None else f"{value!r} as"
        raise CorruptFileError(f"{where} has {shown} {key} card: expected an integer.")
    return value


def _padded(n: int) -> int:
    return -(-n // _BLOCK) * _BLOCK


def _tail_notes(source: Source, last: HDUInfo) -> list[str]:
    extra = source.finish(last.end)
    if extra:
        return [f"{extra} bytes after the last HDU are no FITS extension: ignored"]
    if last.end > last.data_start + last.data_bytes and len(source.read(last.end - 1, 1)) == 0:
        return [f"the padding to whole blocks of {_BLOCK} bytes is missing at the end: the data are complete"]
    return []


# ---------------------------------------------------------------- checksums


def _has_sums(hdu: HDUInfo) -> bool:
    return _claimed(hdu) is not None or _has_checksum(hdu)


def _has_checksum(hdu: HDUInfo) -> bool:
    return bool(str(card(hdu.header, "CHECKSUM", "")).strip(" 0"))


def _claimed(hdu: HDUInfo) -> int | None:
    text = str(card(hdu.header, "DATASUM", "")).strip()
    return int(text) if text.isdigit() else None


def _sums(source: Source, hdu: HDUInfo) -> tuple[int, int]:
    """Ones-complement sums of header and data (FITS standard 4.0, appendix J)."""
    return _sum32(source, hdu.header_start, hdu.data_start), _sum32(source, hdu.data_start, hdu.end)


def _sum32(source: Source, start: int, end: int) -> int:
    total = 0
    for offset in range(start, end, CHUNK):
        piece = source.read(offset, min(CHUNK, end - offset))
        piece += bytes(-len(piece) % 4)
        total = _fold(total + int(np.frombuffer(piece, ">u4").sum(dtype=np.uint64)))
    return total


def _fold(total: int) -> int:
    while total >> 32:
        total = (total & _ALL_ONES) + (total >> 32)
    return total


def _judge_sums(path: Path, hdu: HDUInfo, header_sum: int, data_sum: int) -> Sequence[str]:
    """Notes about an HDU whose sums were computed; raises where the data do not fit them.

    CHECKSUM covers the header together with the data. Where the header agrees with CHECKSUM and DATASUM but the data do not, bits
    were flipped after both were written. Where the header does not agree with its own cards either, they were written for
    another header: programs that cut out or edit cubes carry them along, and they then say nothing about these data.
    """
    claimed = _claimed(hdu)
    whole = _fold(header_sum + data_sum) in (0, _ALL_ONES)
    checked = _has_checksum(hdu)
    label = f"HDU {hdu.index} {hdu.name}".strip()
    if claimed in (None, data_sum):
        if not checked or whole:
            return []
        if claimed is not None:
            return [f"{label}: the header was changed after CHECKSUM was written; DATASUM agrees with the data"]
    elif checked and _fold(header_sum + (claimed or 0)) not in (0, _ALL_ONES):
        return [f"{label}: CHECKSUM and DATASUM were written for another header (copied or edited): the data cannot be verified"]
    raise CorruptFileError(
        f"{path}: {label} does not agree with its checksum: expected DATASUM {claimed if claimed is not None else '(none)'}, "
        f"the data give {data_sum}; fetch or copy it again, or read it as it is with --no-checksum."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
