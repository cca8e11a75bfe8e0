"""Numeric and text arrays in MATLAB files of the levels 4 and 5 (save -v4, -v6, -v7).

Written from the format document because a file from elsewhere must not be able to do harm: scipy says of its own reader that it is not
hardened against such files, and reserves whatever a damaged tag announces. Here a variable is as long as its dimensions say, nothing is
inflated beyond that, and structures, cells, objects, functions and sparse matrices are listed but never opened.

References
----------
The MathWorks, MAT-File Format (R2019b), chapters 1 (level 5) and 2 (level 4).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptFileError, TruncatedFileError
from ..memory import require_memory
from .variable import MAX_VARIABLES, Variable, safe_name

__all__ = ["is_mat", "read_mat"]

_MATRIX, _COMPRESSED = 14, 15
# numeric type of an element → dtype, and class of an array → dtype or what it is instead
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1", 17: "u2", 18: "u4"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHERS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "opaque"}
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_HEAD = 4096  # more than flags, dimensions and name need
_MAX_DIMS = 32
_MOST_SHRUNK = 1100  # deflate cannot shrink more than 1032-fold
_CHUNK = 1 << 20
_PADDING = 64  # what may stand behind the numbers of a variable
_V4_TYPES = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}
_MAX_TEXT = 1 << 20


def is_mat(head: bytes) -> bool:
    """Whether these are the first bytes of a level 5 file, or may be those of a level 4 file."""
    if len(head) >= 128 and head[:6] == b"MATLAB" and head[126:128] in (b"IM", b"MI"):
        return True
    return _v4_header(head) is not None


def read_mat(path: Path, limit: int) -> list[Variable]:
    """The variables in a MATLAB file of level 4 or 5; what is no numeric array or text is listed with the type ``object``.

    Raises
    ------
    CorruptFileError, TruncatedFileError
        If it contradicts itself, or ends early.
    MemoryLimitError
        When a variable is read that would not fit.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(128)
    level5 = head[:6] == b"MATLAB" and head[126:128] in (b"IM", b"MI")
    found = []
    try:
        for variable in _level5(path, size, head, limit) if level5 else _level4(path, size, limit):
            found.append(variable)
            if len(found) > MAX_VARIABLES:
                raise CorruptFileError(f"{path} holds more than {MAX_VARIABLES} variables: it is damaged.")
    except (struct.error, zlib.error, ValueError, OverflowError, KeyError, IndexError) as error:
        raise CorruptFileError(f"{path} is a damaged MATLAB file: {' '.join(str(error).split())[:200]}; fetch or copy it again.") from None
    return found


# ---------------------------------------------------------------- level 5


@dataclass(frozen=True)
class _Element:
    """Where the content of an element lies in the file, and how."""

    path: Path
    start: int
    length: int
    compressed: bool
    order: str

    def read(self, n: int, *, whole: bool = False) -> bytes:
        """The first `n` bytes of the matrix, inflated where it is compressed; `whole`: it must end there, with its checksum."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            if not self.compressed:
                return stream.read(min(n, self.length))
            out, inflater = bytearray(), zlib.decompressobj()
            bound = n + (_PADDING if whole else 0)
            for begin in range(0, self.length, _CHUNK):
                out += inflater.decompress(inflater.unconsumed_tail + stream.read(min(_CHUNK, self.length - begin)), bound - len(out))
                if len(out) >= bound:
                    break
        if whole and len(out) >= n and not inflater.eof:
            raise ValueError("its compressed data do not end where they should")
        return bytes(out[:n])


def _level5(path: Path, size: int, head: bytes, limit: int) -> Iterator[Variable]:
    order = "<" if head[126:128] == b"IM" else ">"
    position = 128
    while position < size:
        with path.open("rb") as stream:
            stream.seek(position)
            tag = stream.read(8)
        if len(tag) < 8:
            raise TruncatedFileError(f"{path} ends after {size} bytes, inside the tag of a variable: fetch or copy it again.")
        kind, length = struct.unpack(f"{order}II", tag)
        if kind not in (_MATRIX, _COMPRESSED):
            raise CorruptFileError(f"{path}: an element of type {kind} at byte {position}: expected a variable; fetch or copy it again.")
        if position + 8 + length > size:
            raise TruncatedFileError(
                f"{path}: a variable at byte {position} needs {length} bytes, the file ends after {size}: fetch or copy it again."
            )
        variable = _matrix(_Element(path, position + 8, length, kind == _COMPRESSED, order), limit)
        if variable is not None:
            yield variable
        position += 8 + length


def _matrix(element: _Element, limit: int) -> Variable | None:
    """The variable in an element; None for one without a name, which is MATLAB's own."""
    head, order = element.read(_HEAD), element.order
    offset = 8 if element.compressed else 0  # a compressed element holds the tag of the matrix as well
    if element.compressed and struct.unpack(f"{order}II", head[:8])[0] != _MATRIX:
        raise ValueError("a compressed element does not hold a variable")
    flags, offset = _part(head, offset, order)
    word = struct.unpack(f"{order}I", flags[:4])[0]
    number = word & 0xFF
    if number == 17:  # an opaque object (string, table …) has neither dimensions nor the name here
        return Variable("(opaque)", (), np.dtype(object), _refuser(element.path, "(opaque)", "opaque"))
    dims, offset = _part(head, offset, order)
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims[: len(dims) // 4 * 4])
    if not 2 <= len(shape) <= _MAX_DIMS or min(shape) < 0:
        raise ValueError(f"a variable has the dimensions {shape}")
    if math.prod(shape) > element.length * (_MOST_SHRUNK if element.compressed else 1) and number not in _OTHERS:
        raise ValueError(f"a variable of {' x '.join(map(str, shape))} does not fit into {element.length} bytes")
    raw, offset = _part(head, offset, order)
    name = raw.decode("latin-1")
    if not name:
        return None
    if number not in _CLASSES and number != 4:
        what = _OTHERS.get(number, f"class {number}")
        return Variable(name, shape, np.dtype(object), _refuser(element.path, name, what), attributes={"class": what})
    if word & _COMPLEX:
        return Variable(name, shape, np.dtype(complex), _refuser(element.path, name, "complex"), attributes={"class": "complex"})
    dtype = np.dtype("U1") if number == 4 else np.dtype(bool) if word & _LOGICAL else np.dtype(_CLASSES[number])

    def read() -> NDArray[Any]:
        return _numbers(element, offset, shape, dtype, name, limit)

    return Variable(name, shape, dtype, read)


def _numbers(element: _Element, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], name: str, limit: int) -> NDArray[Any]:
    path, count = element.path, math.prod(shape)
    is_text = dtype.kind == "U"
    require_memory(count * (dtype.itemsize + 8), min(limit, _MAX_TEXT) if is_text else limit, path, f"{safe_name(name)} {shape}")
    try:
        head = element.read(offset + 8)
        kind, length, start = _tag(head, offset, element.order)
        if kind not in _TYPES:
            raise ValueError(f"its numbers are of type {kind}")
        stored = np.dtype(element.order + _TYPES[kind])
        if length != count * stored.itemsize:
            raise ValueError(f"it holds {length} bytes, {shape} of {stored} needs {count * stored.itemsize}")
        content = element.read(start + length, whole=True)[start:]
    except (struct.error, zlib.error, ValueError) as error:
        raise CorruptFileError(f"{path}: {safe_name(name)} is damaged: {error}; fetch or copy it again.") from None
    if len(content) < length:
        raise TruncatedFileError(f"{path}: {safe_name(name)} ends after {len(content)} of {length} bytes: fetch or copy it again.")
    values = np.frombuffer(content, stored, count)
    if is_text:
        values = np.array([chr(code) if code < 0x110000 else "?" for code in values.tolist()], dtype="U1")
    return values.reshape(shape, order="F").astype(dtype, copy=False)


def _tag(data: bytes, offset: int, order: str) -> tuple[int, int, int]:
    """Type and length of the element at `offset`, and where its content begins; up to four bytes stand within the tag."""
    first, second = struct.unpack(f"{order}II", data[offset : offset + 8])
    return (first & 0xFFFF, first >> 16, offset + 4) if first >> 16 else (first, second, offset + 8)


def _part(data: bytes, offset: int, order: str) -> tuple[bytes, int]:
    """Content of a short element, and where the next one begins."""
    _, length, start = _tag(data, offset, order)
    if start + length > len(data):
        raise ValueError("the description of a variable ends early")
    end = offset + 8 if start == offset + 4 else start + -(-length // 8) * 8
    return data[start : start + length], end


# ---------------------------------------------------------------- level 4


def _level4(path: Path, size: int, limit: int) -> Iterator[Variable]:
    position = 0
    while position < size:
        with path.open("rb") as stream:
            stream.seek(position)
            head = stream.read(20)
            described = _v4_header(head)
            if described is None:
                raise CorruptFileError(f"{path}: no variable of a level 4 file begins at byte {position}: it is damaged or another format.")
            order, number, is_text, shape, is_complex, n_name = described
            name = stream.read(n_name).rstrip(b"\0").decode("latin-1")
        dtype = np.dtype(order + _V4_TYPES[number])
        length = math.prod(shape) * dtype.itemsize * (2 if is_complex else 1)
        start = position + 20 + n_name
        if start + length > size:
            raise TruncatedFileError(f"{path}: {safe_name(name)} needs {length} bytes, the file ends after {size}: fetch or copy it again.")
        yield _v4_variable(path, name, shape, dtype, start, "complex" if is_complex else "char" if is_text else "", limit)
        position = start + length


def _v4_header(head: bytes) -> tuple[str, int, bool, tuple[int, int], bool, int] | None:
    """Byte order, type, whether text, size, whether complex and length of the name; None where it cannot be one."""
    for order in "<>":
        if len(head) < 20:
            return None
        code, rows, columns, imaginary, n_name = struct.unpack(f"{order}5i", head[:20])
        machine, zero, number, kind = code // 1000, code // 100 % 10, code // 10 % 10, code % 10
        fits = machine == (0 if order == "<" else 1) and zero == 0 and number in _V4_TYPES and kind in (0, 1)
        if fits and rows >= 0 and columns >= 0 and imaginary in (0, 1) and 1 < n_name <= 4096 and 0 <= code < 2000:
            name = head[20 : 20 + n_name].rstrip(b"\0")
            if len(head) == 20 or (name and name.isascii() and name.decode().isidentifier()):
                return order, number, kind == 1, (rows, columns), imaginary == 1, n_name
    return None


def _v4_variable(path: Path, name: str, shape: tuple[int, int], stored: np.dtype[Any], start: int, what: str, limit: int) -> Variable:
    if what == "complex":
        return Variable(name, shape, np.dtype(complex), _refuser(path, name, what), attributes={"class": what})
    dtype = np.dtype("U1") if what == "char" else stored.newbyteorder("=")

    def read() -> NDArray[Any]:
        require_memory(math.prod(shape) * 16, min(limit, _MAX_TEXT) if what == "char" else limit, path, f"{safe_name(name)} {shape}")
        with path.open("rb") as stream:
            stream.seek(start)
            values = np.frombuffer(stream.read(math.prod(shape) * stored.itemsize), stored)
        if what == "char":
            values = np.array([chr(int(code)) if 0 <= code < 0x110000 else "?" for code in values.tolist()], dtype="U1")
        return values.reshape(shape, order="F").astype(dtype, copy=False)

    return Variable(name, shape, dtype, read)


def _refuser(path: Path, name: str, what: str) -> Any:
    def read() -> NDArray[Any]:
        raise CorruptFileError(f"{path}: {safe_name(name)} is of the MATLAB class {what}, which is never opened: save it as a real array.")

    return read
