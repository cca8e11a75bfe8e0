"""The bytes of a local file, plain or compressed: never from the network, never from a device, never without bound."""

from __future__ import annotations

import bz2
import gzip
import re
import stat
import zlib
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import (
    CorruptFileError,
    EmptyFileError,
    MemoryLimitError,
    MissingFileError,
    NotFITSError,
    ParameterError,
    TruncatedFileError,
)
from .memory import format_bytes

__all__ = ["CHUNK", "Source", "local_file", "open_source"]

CHUNK = 2880 * 1024  # a multiple of the FITS block and of 4 bytes
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SUFFIX = re.compile(r"(?s)(.+)\[(.+)\]$")
_GZIP_LIMIT = 1100  # deflate cannot shrink more than 1032-fold

_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"CDF\x01", "a netCDF-3 file"),
    (b"CDF\x02", "a netCDF-3 file"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"PK\x03\x04", "a zip archive (or .npz)"),
    (b"#ASDF", "an ASDF file"),
    (b"MATLAB 5", "a MATLAB file"),
    (b"\xfd7zXZ", "an xz-compressed file: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd-compressed file: decompress it first"),
    (b"ENVI", "an ENVI header"),
    (b"<?xml", "XML text"),
)


class Source(Protocol):
    """Bytes at an offset, and how many there are."""

    path: Path

    def read(self, start: int, n: int) -> bytes:
        """Up to `n` bytes from `start`; fewer at the end."""

    def require(self, end: int, what: str) -> None:
        """Make sure that the file reaches `end`, or raise."""

    def finish(self, end: int) -> int:
        """Number of bytes behind `end`, after everything was checked."""

    def close(self) -> None:
        """Give the file handle back."""


class PlainFile:
    """A file as it lies on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._stream: IO[bytes] = _open(path)

    def read(self, start: int, n: int) -> bytes:
        """Up to `n` bytes from `start`."""
        self._stream.seek(start)
        return self._stream.read(n)

    def require(self, end: int, what: str) -> None:
        """Compare `end` with the size of the file."""
        if end > self.size:
            raise TruncatedFileError(
                f"{self.path}: {what} needs a file of at least {end} bytes, this one has {self.size}: "
                "it is cut off or its header is damaged; fetch or copy it again."
            )

    def finish(self, end: int) -> int:
        """Number of bytes behind `end`."""
        return max(self.size - end, 0)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class InflatedFile:
    """A gzip or bzip2 file, inflated piece by piece and only as far as its headers ask.

    Parameters
    ----------
    path : Path
    kind : {"gzip", "bzip2"}
    limit : int
        Bytes that may be inflated.
    """

    def __init__(self, path: Path, kind: str, limit: int) -> None:
        self.path = path
        self.kind = kind
        self.limit = limit
        self.buffer = bytearray()
        self._size = path.stat().st_size
        opener: Any = {"gzip": gzip.open, "bzip2": bz2.open}[kind]
        self._stream: IO[bytes] = opener(path, "rb")

    def read(self, start: int, n: int) -> bytes:
        """Up to `n` inflated bytes from `start`."""
        self._inflate(start + n)
        return bytes(self.buffer[start : start + n])

    def require(self, end: int, what: str) -> None:
        """Inflate up to `end`, unless that is more than memory or deflate allow."""
        if self.kind == "gzip" and end > _GZIP_LIMIT * self._size:
            raise TruncatedFileError(
                f"{self.path}: {what} needs {end} bytes, more than the {self._size} bytes of this gzip file can hold: "
                "it is cut off or its header is damaged; fetch or copy it again."
            )
        if end > self.limit:
            raise MemoryLimitError(
                f"{self.path}: {what} inflates to {format_bytes(end)}, {format_bytes(self.limit)} are allowed: "
                "give more with --memory, or decompress the file on disk."
            )
        self._inflate(end)
        if len(self.buffer) < end:
            raise TruncatedFileError(
                f"{self.path}: {what} needs {end} bytes, {len(self.buffer)} came out of the {self.kind} stream: "
                "it was cut off before it was compressed, or its header is damaged."
            )

    def finish(self, end: int) -> int:
        """Inflate the rest without keeping it, so that the trailer with its checksum is verified."""
        extra = len(self.buffer) - end
        while chunk := self._next(CHUNK):
            extra += len(chunk)
            if end + extra > self.limit:
                raise MemoryLimitError(
                    f"{self.path}: inflates to more than the {format_bytes(self.limit)} that are allowed: "
                    "give more with --memory, or decompress the file on disk."
                )
        return max(extra, 0)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _inflate(self, end: int) -> None:
        while len(self.buffer) < end:
            chunk = self._next(min(CHUNK, end - len(self.buffer)))
            if not chunk:
                return
            self.buffer += chunk

    def _next(self, n: int) -> bytes:
        try:
            return self._stream.read(n)
        except EOFError:
            raise TruncatedFileError(
                f"{self.path}: the {self.kind} stream ends after {self._size} bytes without its end marker, "
                f"{len(self.buffer)} bytes came out: expected a whole file; fetch or copy it again."
            ) from None
        except (OSError, zlib.error) as error:
            raise CorruptFileError(f"{self.path}: the {self.kind} stream is damaged ({error}); fetch or copy it again.") from None


def local_file(path: Any) -> Path:
    """`path` as an existing, regular, readable, non-empty local file.

    Raises
    ------
    ParameterError
        If it is a URL: nothing is ever fetched from the network.
    MissingFileError
        If it does not exist, is a directory, a pipe or a device, or may not be read.
    EmptyFileError
    """
    text = str(path)
    if _URL.match(text):
        raise ParameterError(f"{text!r} is a URL: expected a local file; download it first.")
    try:
        found = Path(text).expanduser()
        status = found.stat()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MissingFileError(f"cannot read {_shown(text)}: {reason}.{_suffix_hint(text)}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise MissingFileError(f"{_shown(text)} is {kind}: expected a regular file.")
    if status.st_size == 0:
        raise EmptyFileError(f"{_shown(text)} is empty (0 bytes): expected a FITS file.")
    return found


def open_source(path: Path, limit: int) -> PlainFile | InflatedFile:
    """The bytes of the FITS file at `path`, inflated where it is compressed.

    Raises
    ------
    NotFITSError
        If it does not begin as FITS does; the text says what the bytes look like.
    """
    with _open(path) as stream:
        head = stream.read(2880)
    kind = "gzip" if head.startswith(b"\x1f\x8b") else "bzip2" if head.startswith(b"BZh") else ""
    if not kind:
        _expect_fits(path, head, "")
        return PlainFile(path)
    source = InflatedFile(path, kind, limit)
    try:
        _expect_fits(path, source.read(0, 2880), f" inside {kind}")
    except BaseException:
        source.close()
        raise
    return source


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise MissingFileError(f"cannot read {_shown(str(path))}: {error.strerror}.") from None


def _expect_fits(path: Path, head: bytes, where: str) -> None:
    if not head.startswith(b"SIMPLE  ="):
        raise NotFITSError(f"{path} is no FITS file: it looks like {_looks_like(head)}{where}; expected 'SIMPLE  =' at its start.")


def _looks_like(head: bytes) -> str:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page (a login or error page?)"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head) and head:
        return f"text beginning with {head[:40].decode('latin-1')!r}"
    return f"binary data beginning with {head[:8].hex(' ')}" if head else "nothing"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")


def _suffix_hint(text: str) -> str:
    match = _SUFFIX.match(text)
    return f" To choose an extension use --data-ext {match[2]!r} beside {match[1]!r}." if match else ""
