"""Arrays in files of their own that belong to a cube: gain, exposure, background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AmbiguousInputError, HeaderError, ShapeError
from ..memory import require_memory
from ..options import ReadOptions
from ..values import native_floats
from .axes import arrange, find_axes
from .hdus import is_cube
from .pixels import image_values
from .preflight import FITSFile, HDUInfo, preflight

__all__ = ["Companion", "read_companion"]


@dataclass(frozen=True, eq=False)
class Companion:
    """An array that belongs to a cube.

    Attributes
    ----------
    values : ndarray
        Of shape (1, Ny, Nx), (B', Ny, Nx) or (B', 1, 1), native float.
    file : FITSFile
    hdu : HDUInfo
    """

    values: NDArray[np.floating[Any]]
    file: FITSFile
    hdu: HDUInfo


def read_companion(path: Any, shape: tuple[int, ...], options: ReadOptions, option: str, *, bands: tuple[int, ...] = ()) -> Companion:
    """The image in the FITS file at `path`, arranged as (band, y, x) so that it can be broadcast to a cube of `shape`.

    Parameters
    ----------
    path : str or Path
    shape : tuple of int
        (B, Ny, Nx) of the cube.
    options : ReadOptions
        Memory and checksum hold for this file as well.
    option : str
        Name of the command-line option, for errors.
    bands : tuple of int, optional
        Numbers of bands that are accepted beside 1 and B.

    Raises
    ------
    ShapeError
        If no image has the shape of the cube, of its image plane, or of its spectral axis.
    AmbiguousInputError
        If several have.
    """
    file = preflight(path, limit=options.limit, checksum=options.checksum)
    images = [hdu for hdu in file.hdus if hdu.kind in ("image", "compressed") and hdu.shape and 0 not in hdu.shape]
    fitting = [hdu for hdu in images if _fits(hdu, shape, bands)]
    listing = "; ".join(map(str, file.hdus[:20]))
    if not fitting:
        raise ShapeError(
            f"{option} {path}: no image fits the cube of {' x '.join(map(str, shape))} (band, y, x): expected that shape, one image "
            f"plane, or one value per band; the file holds {listing}."
        )
    if len(fitting) > 1:
        raise AmbiguousInputError(f"{option} {path}: {len(fitting)} images fit the cube: {listing}. Keep one of them in the file.")
    return Companion(_read(file, fitting[0], options, shape), file, fitting[0])


def _fits(hdu: HDUInfo, shape: tuple[int, ...], bands: tuple[int, ...]) -> bool:
    n_bands, n_y, n_x = shape
    sizes = [n for n in hdu.shape if n > 1]
    accepted = [(1, n_y, n_x), *((n, n_y, n_x) for n in (n_bands, *bands)), (n_bands, 1, 1)]
    wanted = [[n for n in whole if n > 1] for whole in accepted]
    return sizes in wanted or (is_cube(hdu) and sorted(sizes) in map(sorted, wanted))  # the header of a cube says its order of axes


def _read(file: FITSFile, hdu: HDUInfo, options: ReadOptions, shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    require_memory(8 * math.prod(hdu.shape), options.limit, file.path, "reading")
    with file.open() as hdulist:
        array = image_values(hdulist, hdu.index, f"HDU {hdu} of {file.path}")
        if is_cube(hdu) and sum(n > 1 for n in hdu.shape) > 2:
            own = ReadOptions(spectral_axis=options.spectral_axis)
            array = arrange(array, find_axes(hdu, hdulist, own))
        else:
            array = array.reshape(_squeezed(hdu, shape))
        values: NDArray[np.floating[Any]] = native_floats(array)
    if values.shape[1:] not in (shape[1:], (1, 1)):
        raise ShapeError(f"HDU {hdu} of {file.path} is {values.shape} (band, y, x), the cube is {shape}: expected the same order of axes.")
    if not np.isfinite(values).any():
        raise HeaderError(f"HDU {hdu} of {file.path} holds no finite value: expected numbers; leave it out or fetch it again.")
    return values


def _squeezed(hdu: HDUInfo, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape (band, y, x) of an image with at most two axes that are not degenerate."""
    sizes = [n for n in hdu.shape if n > 1]
    for whole in ((1, *shape[1:]), (shape[0], 1, 1), shape):
        if sizes == [n for n in whole if n > 1]:
            return whole
    raise ShapeError(f"HDU {hdu} has its axes in another order than the cube of {shape} (band, y, x).")
