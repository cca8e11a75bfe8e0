"""Variables in netCDF-3 files, classic and with 64-bit offsets, as scipy maps them: nothing is loaded until a variable is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptFileError, MemoryLimitError
from ..memory import require_memory
from .variable import Variable, safe_name

__all__ = ["is_netcdf3", "read_netcdf3"]

Found = TypeVar("Found")


def is_netcdf3(head: bytes) -> bool:
    """Whether these are the first bytes of a netCDF-3 file, or of its relative with 64-bit data."""
    return head[:3] == b"CDF" and head[3:4] in (b"\x01", b"\x02", b"\x05")


def read_netcdf3(path: Path, limit: int) -> tuple[list[Variable], dict[str, Any]]:
    """The variables in a netCDF-3 file, and the attributes of the whole.

    Raises
    ------
    CorruptFileError
        If its header contradicts itself, or the file ends early.
    MemoryLimitError
        When a variable is read that would not fit.
    """

    def content(file: Any) -> tuple[list[Variable], dict[str, Any]]:
        variables = [_variable(path, limit, name, file.variables[name]) for name in file.variables]
        return variables, {key: _plain(value) for key, value in file._attributes.items()}

    return _with_file(path, content)


def _with_file(path: Path, use: Callable[[Any], Found]) -> Found:
    """What `use` makes of the open file; whatever a damaged header does to scipy becomes one error."""
    from scipy.io import netcdf_file

    try:
        file = netcdf_file(path, "r", mmap=True, maskandscale=False)
        try:
            return use(file)
        finally:
            file.close()
    except (CorruptFileError, MemoryLimitError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CorruptFileError(f"{path} is a damaged netCDF-3 file: {reason}; fetch or copy it again.") from None


def _variable(path: Path, limit: int, name: str, variable: Any) -> Variable:
    shape, dtype = tuple(int(n) for n in variable.shape), variable.data.dtype

    def read() -> NDArray[Any]:
        require_memory(math.prod(shape) * dtype.itemsize, limit, path, f"{safe_name(name)} {shape}")
        return _with_file(path, lambda file: np.array(file.variables[name].data))

    attributes = {key: _plain(value) for key, value in variable._attributes.items()}
    return Variable(name, shape, dtype, read, tuple(variable.dimensions), attributes)


def _plain(value: Any) -> Any:
    """An attribute as text, a number or an array."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    return value.item() if isinstance(value, np.ndarray | np.generic) and np.size(value) == 1 else value
