"""Bits of mask images: which of them mean bad, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError

__all__ = ["ANY", "bad_values", "describe_bits", "parse_bits", "set_bits"]

ANY = "any"
_HIGHEST = 63


def parse_bits(wanted: Any, names: Mapping[int, str] | None = None) -> tuple[int, ...] | None:
    """Numbers of the bits that the user calls bad; None: any of them.

    Parameters
    ----------
    wanted : str, int or sequence of int or str
        ``"0,10"``, ``10``, ``(0, 10)``, ``"DONOTUSE,NOCOV"`` or ``"any"``. Bit n stands for the value 2**n.
    names : mapping of int to str, optional
        What the bits are called.

    Raises
    ------
    ParameterError
        If a bit is neither a number from 0 to 63 nor a name.

    Examples
    --------
    >>> parse_bits("0, 10")
    (0, 10)
    >>> parse_bits("donotuse", {0: "NOCOV", 10: "DONOTUSE"})
    (10,)
    >>> parse_bits("any") is None
    True
    """
    if isinstance(wanted, str) and wanted.strip().lower() == ANY:
        return None
    words: Iterable[Any] = wanted.split(",") if isinstance(wanted, str) else wanted if isinstance(wanted, Iterable) else (wanted,)
    bits = {_bit(word, wanted, names or {}) for word in words}
    if not bits:
        raise ParameterError(f"mask_bits is {wanted!r}: expected bit numbers such as '0,10', or 'any'.")
    return tuple(sorted(bits))


def _bit(word: Any, wanted: Any, names: Mapping[int, str]) -> int:
    text = str(word).strip()
    if text.isdigit() and int(text) <= _HIGHEST and not isinstance(word, bool):
        return int(text)
    for bit, name in names.items():
        if name.upper() == text.upper():
            return bit
    known = f", or names: {', '.join(names.values())}" if names else ""
    raise ParameterError(f"mask_bits is {wanted!r}: expected bit numbers from 0 to {_HIGHEST} such as '0,10', or 'any'{known}.")


def describe_bits(bits: Iterable[int], names: Mapping[int, str]) -> str:
    """Bits with their names.

    Examples
    --------
    >>> describe_bits((0, 10), {10: "DONOTUSE"})
    '0, 10 DONOTUSE'
    """
    return ", ".join(f"{bit} {names[bit]}" if bit in names else str(bit) for bit in bits)


def bad_values(mask: NDArray[Any], bits: tuple[int, ...] | None) -> NDArray[np.bool_]:
    """Where a mask is bad: True where one of `bits` is set, or where it is not 0 (`bits` None).

    Parameters
    ----------
    mask : ndarray of int, bool or float
        Floats only where `bits` is None; NaN is bad.
    bits : tuple of int or None
        Bits beyond the width of the mask are never set.
    """
    if bits is None:
        return np.ascontiguousarray(mask != 0)
    unsigned = _unsigned(mask)
    value = sum(1 << bit for bit in bits if bit < 8 * unsigned.dtype.itemsize)
    return np.ascontiguousarray((unsigned & unsigned.dtype.type(value)) != 0)


def set_bits(mask: NDArray[Any]) -> tuple[int, ...]:
    """Bits that are set anywhere in a mask of integers."""
    combined = int(np.bitwise_or.reduce(_unsigned(mask), axis=None))
    return tuple(bit for bit in range(combined.bit_length()) if combined >> bit & 1)


def _unsigned(mask: NDArray[Any]) -> NDArray[Any]:
    kind = np.dtype(np.uint8 if mask.dtype.kind == "b" else f"u{mask.dtype.itemsize}")
    return mask.astype(kind, copy=False)  # a negative number keeps its bits
