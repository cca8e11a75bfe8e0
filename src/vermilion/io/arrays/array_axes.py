"""How the axes of an array, or the pixels of a matrix, become those of a cube (band, y, x)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AmbiguousInputError, ParameterError
from ..containers import Variable, safe_name
from ..options import ReadOptions
from .array_choice import BAND_NAMES, scalar
from .pixel_order import pixel_order, pixels_to_image
from .wavelengths import is_spectral_name

__all__ = ["Convention", "arrange_cube", "arrange_matrix"]

Array = NDArray[Any]
Arranged = tuple[Callable[[Array], Array], str, bool]

_BANDS = ("nband", "nbands", "l", "bands", "n_bands", "b")


@dataclass(frozen=True)
class Convention:
    """What is usual in a kind of file.

    Attributes
    ----------
    spectral_last : bool
        The spectral axis is the last one (MATLAB), not the first (NumPy).
    column_major : bool
        Pixels in a matrix run down the columns of the image.
    fits_axis : callable
        From the index of an axis to the number that --spectral-axis takes.
    """

    spectral_last: bool
    column_major: bool
    fits_axis: Callable[[int], int]


def arrange_cube(
    path: Path, chosen: Variable, variables: Sequence[Variable], sizes: tuple[int, int] | None, options: ReadOptions, convention: Convention
) -> Arranged:
    """How a cube with three axes becomes (band, y, x), how that was decided, and whether that deserves attention."""
    numbers = [convention.fits_axis(axis) for axis in range(3)]
    size = " x ".join(map(str, chosen.shape))
    if options.spectral_axis is not None:
        if options.spectral_axis not in numbers:
            raise ParameterError(f"spectral_axis is {options.spectral_axis}: expected 1, 2 or 3.")
        evident: int | None = numbers.index(options.spectral_axis)
        why = "option --spectral-axis"
    else:
        evident, why = _evident_axis(chosen, variables, sizes)
    band = (2 if convention.spectral_last else 0) if evident is None else evident
    if evident is None:
        why = f"by custom, nothing in the file says it (else add --spectral-axis {convention.fits_axis(2 - band)})"
        _refuse_if_unlikely(path, chosen, band, convention)
    place = ("first", "second", "last")[band]
    return lambda array: np.moveaxis(array, band, 0), f"spectral axis is the {place} of {size}: {why}", evident is None


def _evident_axis(chosen: Variable, variables: Sequence[Variable], sizes: tuple[int, int] | None) -> tuple[int | None, str]:
    """The axis whose length something in the file names as the number of bands, or None."""
    shape = chosen.shape
    evidence: list[tuple[int, str]] = []
    for variable in variables:
        base = variable.base
        if variable.is_real and is_spectral_name(base) and max(variable.shape, default=0) == variable.size > 1:
            evidence.append((variable.size, f"{safe_name(base)} has as many values"))
        if variable.dtype.kind in "SU" and variable.shape and BAND_NAMES.fullmatch(base.lower()):
            # MATLAB keeps a list of texts as a matrix of characters, a text per row
            count = variable.shape[0] if variable.dtype == np.dtype("U1") and len(variable.shape) == 2 else variable.size
            evidence.append((count, f"{safe_name(base)} has as many names"))
    for name in _BANDS:
        said = scalar(variables, name)
        if said is not None and said > 1:
            evidence.append((said, f"the number {name} says it"))
    for variable in variables:
        if variable.base in ("M", "E", "endmembers", "Endmembers") and variable.is_real and len(variable.shape) == 2:
            evidence.append((max(variable.shape), f"{variable.base} has spectra of that length"))
    for count, why in evidence:
        if shape.count(count) == 1:
            return shape.index(count), why
    if sizes is not None:
        axes = [axis for axis in range(3) if tuple(np.delete(shape, axis)) == sizes]
        if len(axes) == 1:
            return axes[0], f"the others are the {sizes[0]} x {sizes[1]} pixels that the file names"
    return None, ""


def _refuse_if_unlikely(path: Path, chosen: Variable, band: int, convention: Convention) -> None:
    """Two equal sides are probably the image's: where custom makes one of them spectral, do not guess."""
    others = [axis for axis in range(3) if axis != band]
    lengths = [chosen.shape[axis] for axis in others]
    if lengths[0] != lengths[1] and chosen.shape[band] in lengths:
        likely = others[0] if lengths[1] == chosen.shape[band] else others[1]
        first, second = convention.fits_axis(likely), convention.fits_axis(band)
        raise AmbiguousInputError(
            f"{path}: nothing says which axis of {chosen} is spectral, and two equal sides suggest the one with {chosen.shape[likely]} "
            f"values: add --spectral-axis {first} for that, or --spectral-axis {second} for the one that is usual."
        )


def arrange_matrix(
    path: Path, chosen: Variable, stored: Array, sizes: tuple[int, int] | None, options: ReadOptions, convention: Convention
) -> Arranged:
    """How a matrix with one column (or row) per pixel becomes (band, y, x)."""
    assert sizes is not None
    count = math.prod(sizes)
    if chosen.shape[0] == chosen.shape[1] == count:
        raise AmbiguousInputError(f"{path}: {chosen} has as many bands as pixels: save it with three axes.")
    pixels_first = chosen.shape[0] == count
    matrix = stored.T if pixels_first else stored
    column_major, why, loud = pixel_order(matrix, sizes, convention.column_major, options.pixel_order)
    layout = "pixels x bands" if pixels_first else "bands x pixels"
    how = f"{safe_name(chosen.name)} is {layout} of an image of {sizes[0]} rows and {sizes[1]} columns, {why}"

    def arrange(array: Array) -> Array:
        return pixels_to_image(array.T if pixels_first else array, sizes, column_major=column_major)

    return arrange, how, loud
