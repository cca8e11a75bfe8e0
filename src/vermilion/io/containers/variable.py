"""An array in a file, by its name: its size is known before it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_VARIABLES", "Variable", "safe_name"]

MAX_VARIABLES = 20_000  # no instrument's file has as many; a hostile one may
_SHOWN = 60


@dataclass(frozen=True, eq=False)
class Variable:
    """An array in a file.

    Attributes
    ----------
    name : str
        As the file spells it; groups are separated by slashes.
    shape : tuple of int
        As the file's own language indexes it.
    dtype : dtype
    read : callable
        Returns the whole array; what cannot be read raises `CorruptFileError`.
    dims : tuple of str
        Names of the axes, "" where there is none.
    attributes : mapping
        Numbers and texts that belong to it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]] = field(repr=False)
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The name without groups."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def is_real(self) -> bool:
        """Whether it holds real numbers or truth values."""
        return self.dtype.kind in "fiub"

    def __str__(self) -> str:
        kind = "a table" if self.dtype.names else self.dtype
        return f"{safe_name(self.name)} ({' x '.join(map(str, self.shape)) or 'one value'}, {kind})"


def safe_name(text: object) -> str:
    """Text from a file as it may be printed in one line: short, no control characters."""
    shown = "".join(char if char.isprintable() else "?" for char in str(text))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
