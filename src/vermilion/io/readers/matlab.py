"""MATLAB files of all levels (-v4 to -v7.3): an array rows x columns x bands, or a matrix bands x pixels beside H and W (nRow, nCol).

Structures, cells and objects are never opened. Pixels of a matrix run down the columns of the image, unless the image itself speaks
against it; HySUPP's own programs write them along the rows in some files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...datamodels import Cube
from ...errors import CorruptFileError
from ..arrays.array_axes import Convention
from ..arrays.compose import compose
from ..arrays.layout import OPTIONS, layers_of_arrays
from ..containers import Variable
from ..containers.hdf_file import is_hdf, read_hdf
from ..containers.mat_file import is_mat, read_mat
from ..options import ReadOptions

__all__ = ["OPTIONS", "identify", "load", "name"]

name = "matlab"
INSTRUMENTS = "any: HySUPP, Samson, Jasper Ridge, Urban, Pavia, Indian Pines, Salinas"
NOISE = "an array named variance, sigma, weights … of the same size; --err-ext, --err-file"
MASK = "an array named mask; SlectBands; --mask-ext, --mask-bits, --mask-file"
WAVELENGTHS = "wavelength(s), lambda, wlen, with the unit in the name or evident"

# MATLAB counts axes as FITS does: the first varies fastest
CONVENTION = Convention(spectral_last=True, column_major=True, fits_axis=lambda axis: axis + 1)
_PREFIX_73 = b"MATLAB 7.3"


def identify(path: Path, head: bytes) -> bool:
    """Whether it begins as MATLAB files of the levels 5 and 7.3 do, or is named .mat and begins as one of level 4."""
    if head.startswith(_PREFIX_73):
        return is_hdf(head)
    return (head[:6] == b"MATLAB" and is_mat(head)) or (path.suffix.lower() == ".mat" and (is_mat(head) or is_hdf(head)))


def load(path: Path, options: ReadOptions) -> Cube:
    """The cube in a MATLAB file."""
    with path.open("rb") as stream:
        head = stream.read(2880)
    if is_hdf(head):
        variables = [_turned(variable) for variable in read_hdf(path, options.limit) if not variable.name.startswith("#")]
    else:
        variables = read_mat(path, options.limit)
    if not any(variable.is_real for variable in variables):
        kinds = ", ".join(f"{variable.name} ({variable.attributes.get('class', variable.dtype)})" for variable in variables[:10])
        raise CorruptFileError(
            f"{path} holds no array of real numbers, only {kinds or 'nothing'}: structures and objects are never opened."
        )
    return compose(path, layers_of_arrays(path, variables, options, CONVENTION), options, reader=name)


def _turned(variable: Variable) -> Variable:
    """A dataset of a 7.3 file as MATLAB indexes it: its axes are reversed there, and characters are numbers."""
    kind = str(variable.attributes.get("MATLAB_class", ""))
    if kind == "char":
        dtype = np.dtype("U1")
        return Variable(variable.name, variable.shape[::-1], dtype, lambda: _characters(variable.read().T), (), variable.attributes)
    if variable.attributes.get("MATLAB_empty") or kind in ("cell", "struct", "function_handle"):
        return Variable(variable.name, (), np.dtype(object), variable.read, (), {"class": kind or "empty"})
    dtype = np.dtype(bool) if kind == "logical" else variable.dtype
    return Variable(variable.name, variable.shape[::-1], dtype, lambda: variable.read().T.astype(dtype), (), variable.attributes)


def _characters(codes: np.ndarray) -> np.ndarray:
    return np.array([chr(code) for code in codes.reshape(-1).tolist()], dtype="U1").reshape(codes.shape)
