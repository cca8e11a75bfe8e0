"""Arrays in .npy and .npz files. Headers are parsed and sizes compared before anything is allocated; pickles are never opened.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import CorruptFileError, TruncatedFileError
from ..memory import require_memory
from .variable import MAX_VARIABLES, Variable, safe_name

__all__ = ["is_npy", "is_npz", "read_npy", "read_npz"]

_DAMAGE = (ValueError, TypeError, KeyError, OSError, EOFError, SyntaxError, RecursionError, RuntimeError, OverflowError, zlib.error)
_CHUNK = 1 << 22
_MOST_SHRUNK = 1100  # deflate cannot shrink more than 1032-fold


def is_npy(head: bytes) -> bool:
    """Whether these are the first bytes of a .npy file."""
    return head.startswith(npy.MAGIC_PREFIX)


def is_npz(path: Path, head: bytes) -> bool:
    """Whether it is a zip archive with .npy files, or one that is named so."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return False
    if path.suffix.lower() == ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, *_DAMAGE):
        return False


def read_npy(path: Path, limit: int) -> Variable:
    """The array in a .npy file.

    Raises
    ------
    CorruptFileError
        If its header cannot be read, or it holds Python objects.
    TruncatedFileError
        If the file is shorter than its header says.
    MemoryLimitError
    """
    with path.open("rb") as stream:
        shape, fortran, dtype = _header(stream, f"{path}")
        start = stream.tell()
    needed, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - start
    if there < needed:
        raise TruncatedFileError(f"{path}: an array {shape} of {dtype} needs {needed} bytes, there are {there}: fetch or copy it again.")

    def read() -> NDArray[Any]:
        require_memory(needed, limit, path, f"an array {shape} of {dtype}")
        with path.open("rb") as stream:
            stream.seek(start)
            return _values(stream, shape, fortran, dtype, f"{path}")

    return Variable(path.stem, shape, dtype, read)


def read_npz(path: Path, limit: int) -> list[Variable]:
    """The arrays in a .npz file; members that are none, or hold Python objects, are left out unless all are.

    Raises
    ------
    CorruptFileError
        If the archive or a header in it cannot be read, or nothing but Python objects is in it.
    MemoryLimitError
        When a variable is read that would not fit, whatever it inflates from.
    """
    found: list[Variable] = []
    refused: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            if len(members) > MAX_VARIABLES or len({member.filename for member in members}) < len(members):
                raise CorruptFileError(f"{path}: {len(members)} arrays, some under the same name: expected a few, each with its own.")
            for member in members:
                try:
                    found.append(_member(archive, member, path, limit))
                except _ObjectArrayError:
                    refused.append(safe_name(member.filename))
    except CorruptFileError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, *_DAMAGE) as error:
        raise CorruptFileError(f"{path} is no readable .npz archive: {_reason(error)}; fetch or copy it again.") from None
    if refused and not found:
        raise CorruptFileError(f"{path}: {', '.join(refused[:5])}: Python objects (pickles), which are never opened; save plain arrays.")
    return found


class _ObjectArrayError(CorruptFileError):
    """Python objects, which only a pickle can hold."""


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int) -> Variable:
    where = f"{path}: {safe_name(member.filename)}"
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(stream, where)
        start = stream.tell()
    needed = math.prod(shape) * dtype.itemsize
    if needed > _MOST_SHRUNK * path.stat().st_size:
        raise CorruptFileError(f"{where}: an array {shape} of {dtype} cannot come out of a file of {path.stat().st_size} bytes.")
    if member.file_size - start != needed:
        raise CorruptFileError(f"{where} has {member.file_size - start} bytes of data, an array {shape} of {dtype} needs {needed}.")

    def read() -> NDArray[Any]:
        require_memory(needed, limit, path, f"{safe_name(member.filename)}, an array {shape} of {dtype},")
        try:
            with zipfile.ZipFile(path) as again, again.open(member) as stream:
                stream.read(start)
                return _values(stream, shape, fortran, dtype, where)
        except CorruptFileError:
            raise
        except (zipfile.BadZipFile, NotImplementedError, *_DAMAGE) as error:
            raise CorruptFileError(f"{where} cannot be read: {_reason(error)}; fetch or copy it again.") from None

    return Variable(member.filename.removesuffix(".npy"), shape, dtype, read)


def _header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type, of an array that no pickle is needed for."""
    try:
        version = npy.read_magic(stream)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format is for tables with non-ASCII names")
        shape, fortran, dtype = reader(stream)
    except Exception as error:  # the header is a Python literal: its parser has errors of its own
        raise CorruptFileError(f"{where} has no readable header: {_reason(error)}.") from None
    if dtype.hasobject:
        raise _ObjectArrayError(f"{where} holds Python objects (a pickle), which are never opened: save it as an array of numbers.")
    if any(n < 0 for n in shape):
        raise CorruptFileError(f"{where} has shape {shape}: expected no negative length.")
    return shape, fortran, dtype


def _values(stream: IO[bytes], shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    values = np.empty(math.prod(shape), dtype)
    view = values.data.cast("B") if values.nbytes else memoryview(b"")
    done = 0
    while done < len(view):
        piece = stream.read(min(_CHUNK, len(view) - done))
        if not piece:
            raise TruncatedFileError(f"{where} ends after {done} of {len(view)} bytes: fetch or copy it again.")
        view[done : done + len(piece)] = piece
        done += len(piece)
    if stream.read(1) and isinstance(stream, zipfile.ZipExtFile):  # reading to the end also verifies the CRC
        raise CorruptFileError(f"{where} is longer than its header says.")
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
