"""Datasets in HDF5 files: netCDF-4, MATLAB 7.3 and others. Only what lies in the file itself is read: no link leads out of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptFileError, ParameterError
from ..memory import require_memory
from .variable import MAX_VARIABLES, Variable, safe_name

__all__ = ["attributes_of_file", "is_hdf", "read_hdf"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_ATTRIBUTE = 4096  # values
_MAX_GROUP_DEPTH = 64


def is_hdf(head: bytes) -> bool:
    """Whether the signature of HDF5 stands at the start, or behind a user block."""
    return any(head[start : start + 8] == _MAGIC for start in (0, 512, 1024, 2048))


def read_hdf(path: Path, limit: int) -> list[Variable]:
    """The datasets of numbers in an HDF5 file, by their paths without the first slash.

    Raises
    ------
    ParameterError
        If h5py is not installed.
    CorruptFileError
        If the file is damaged.
    MemoryLimitError
        When a dataset is read that would not fit.
    """
    h5py = _h5py(path)
    found: list[Variable] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems(lambda name, item: _collect(h5py, path, limit, found, name, item))
    except CorruptFileError:
        raise
    except Exception as error:  # h5py raises of every kind on damaged files
        raise _damaged(path, error) from None
    return found


def attributes_of_file(path: Path) -> dict[str, Any]:
    """Numbers and texts that belong to the file as a whole."""
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            return _attributes(file)
    except Exception as error:
        raise _damaged(path, error) from None


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise ParameterError(f"{path} is an HDF5 file, which needs h5py: pip install 'vermilion[hyperspectral]'.") from None
    return h5py


def _damaged(path: Path, error: Exception) -> CorruptFileError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return CorruptFileError(f"{path} is a damaged HDF5 file: {reason}; fetch or copy it again.")


def _collect(h5py: Any, path: Path, limit: int, found: list[Variable], name: str, item: Any) -> None:
    # visititems follows hard links only, and each object once
    if len(found) > MAX_VARIABLES or name.count("/") > _MAX_GROUP_DEPTH:
        raise CorruptFileError(f"{path} holds more than {MAX_VARIABLES} datasets, or too many nested groups: it is damaged.")
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return
    outside = item.is_virtual or bool(item.external)
    found.append(Variable(name, tuple(item.shape), item.dtype, _reader(h5py, path, name, limit, outside), _dims(item), _attributes(item)))


def _reader(h5py: Any, path: Path, name: str, limit: int, outside: bool) -> Any:
    def read() -> NDArray[Any]:
        if outside:
            raise CorruptFileError(f"{path}: {safe_name(name)} lies in other files, which are never followed: copy it into this one.")
        try:
            with h5py.File(path, "r") as file:
                dataset = file[name]
                chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
                require_memory(dataset.size * dataset.dtype.itemsize + chunk, limit, path, f"{safe_name(name)} {dataset.shape}")
                return np.asarray(dataset[()])
        except (CorruptFileError, MemoryError):
            raise
        except Exception as error:
            raise _damaged(path, error) from None

    return read


def _dims(dataset: Any) -> tuple[str, ...]:
    """Names of the axes: those of the dimension scales that netCDF-4 attaches, or labels."""
    names = []
    for dim in dataset.dims:
        scale = dim[0].name.rsplit("/", 1)[-1] if len(dim) else ""
        names.append(scale or dim.label or "")
    return tuple(names)


def _attributes(item: Any) -> dict[str, Any]:
    """Texts and short arrays of numbers; references and the like are left out."""
    found: dict[str, Any] = {}
    for key in item.attrs:
        kind = item.attrs.get_id(key).dtype
        if math.prod(item.attrs.get_id(key).shape) > _MAX_ATTRIBUTE:
            continue
        if kind.kind not in "fiubSUO" or (kind.kind == "O" and kind.metadata and "ref" in kind.metadata):
            continue
        try:
            value = item.attrs[key]
        except (OSError, TypeError, ValueError):
            continue
        value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        found[str(key)] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return found
