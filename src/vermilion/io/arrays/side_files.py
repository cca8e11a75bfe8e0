"""Errors or a mask for a cube that is no FITS file, in a file of their own and of any format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AmbiguousInputError, NotFITSError, ShapeError
from ..containers import Variable, safe_name
from ..containers.envi_file import find_header, read_envi
from ..containers.hdf_file import is_hdf, read_hdf
from ..containers.mat_file import is_mat, read_mat
from ..containers.netcdf3_file import is_netcdf3, read_netcdf3
from ..containers.numpy_file import is_npy, is_npz, read_npy, read_npz
from ..fits.companions import read_companion
from ..memory import require_memory
from ..options import ReadOptions
from ..sources import local_file

__all__ = ["SideImage", "side_image"]


@dataclass(frozen=True, eq=False)
class SideImage:
    """An image that can be broadcast to a cube.

    Attributes
    ----------
    values : ndarray, shape (B or 1, Ny, Nx)
    bad : ndarray of bool or None
        Where the file itself says that there is no value.
    name : str
        Of the array, or of the file where it holds only one.
    """

    values: NDArray[Any]
    bad: NDArray[np.bool_] | None
    name: str


def side_image(path: Any, shape: tuple[int, ...], options: ReadOptions, option: str) -> SideImage:
    """The only array in the file at `path` that fits a cube of `shape` (band, y, x), in any order of its axes that is certain.

    Raises
    ------
    ShapeError
        If none fits.
    AmbiguousInputError
        If several do, or one in several ways.
    NotFITSError
        If the format is not known.
    """
    found = local_file(path)
    with found.open("rb") as stream:
        head = stream.read(2880)
    if head.startswith((b"SIMPLE  =", b"\x1f\x8b", b"BZh")):
        companion = read_companion(path, shape, options, option)
        return SideImage(companion.values, None, companion.hdu.name if companion.hdu.index else found.name)
    header = find_header(found, head)
    if header is not None:
        image = read_envi(header, found)
        require_memory(math.prod(image.shape) * 8, options.limit, found, "the image")
        values = _as_cube(np.array(image.data()), image.shape, shape, f"{option} {found}")
        return SideImage(values, _ignored(values, image.text("data ignore value")), image.path.name)
    variables = [variable for variable in _variables(found, head, options, option) if variable.is_real]
    wanted = options.err_ext if option == "--err-file" else options.mask_ext
    if wanted is not None:
        variables = [variable for variable in variables if str(wanted).strip("/") in (variable.name, variable.base)]
    fitting = [variable for variable in variables if _orders(variable.shape, shape)]
    fitting = [variable for variable in fitting if len(variable.shape) == 3] or fitting  # whole cubes before image planes
    if len(fitting) != 1:
        kind = ShapeError if not fitting else AmbiguousInputError
        size = " x ".join(map(str, shape))
        listing = ", ".join(map(str, (fitting or variables)[:8])) or "none"
        raise kind(
            f"{option} {found}: {len(fitting)} arrays fit the cube of {size} (band, y, x): expected one; choose with "
            f"{'--err-ext' if option == '--err-file' else '--mask-ext'} among {listing}."
        )
    values = _as_cube(fitting[0].read(), fitting[0].shape, shape, f"{option} {found}")
    fill = next((fitting[0].attributes[key] for key in ("_FillValue", "missing_value") if key in fitting[0].attributes), "")
    name = fitting[0].name if len(fitting[0].name) > 1 else found.name
    return SideImage(np.array(values), _ignored(values, fill), safe_name(name))


def _variables(path: Path, head: bytes, options: ReadOptions, option: str) -> list[Variable]:
    if is_npy(head):
        return [read_npy(path, options.limit)]
    if is_npz(path, head):
        return read_npz(path, options.limit)
    if is_netcdf3(head):
        return read_netcdf3(path, options.limit)[0]
    if is_hdf(head):
        return read_hdf(path, options.limit)
    if is_mat(head):
        return read_mat(path, options.limit)
    raise NotFITSError(f"{option} {path}: its format is not known: expected FITS, ENVI, netCDF, MATLAB or NumPy.")


def _orders(own: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Permutations of the axes that turn `own` into the cube's shape, or into its image plane.

    Only orders that keep y before x: bands first, last or in the middle.
    """
    if len(own) == 2:
        return [(0, 1)] if own == shape[1:] else []
    if len(own) != 3:
        return []
    wanted = (shape, (1, *shape[1:]))
    return [order for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)) if tuple(own[axis] for axis in order) in wanted]


def _as_cube(values: NDArray[Any], own: tuple[int, ...], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    orders = _orders(tuple(own), shape)
    if not orders:
        raise ShapeError(
            f"{where} is {' x '.join(map(str, own))}, the cube {' x '.join(map(str, shape))} (band, y, x): expected equal ones."
        )
    if len(own) == 2:
        return values[None]
    # cubes with three equal sides: in the order of the data, bands first
    return values.transpose(orders[0])


def _ignored(values: NDArray[Any], fill: Any) -> NDArray[np.bool_] | None:
    try:
        number = float(fill)
    except (TypeError, ValueError):
        return None
    return np.isnan(values) if math.isnan(number) else values == number
