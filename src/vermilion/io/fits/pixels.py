"""The numbers of an image HDU, as astropy gives them."""

from __future__ import annotations

from typing import Any

from astropy.io import fits
from numpy.typing import NDArray

from ...errors import ShapeError
from .preflight import damage_reported

__all__ = ["image_values"]


def image_values(hdulist: fits.HDUList, index: int, what: str) -> NDArray[Any]:
    """Real numbers of the image in the HDU at `index`; `what` names it in errors.

    Raises
    ------
    ShapeError
        If it holds no image, or one of other values than real numbers.
    CorruptFileError
        If astropy cannot read it.
    """
    with damage_reported(f"the data of {what}"):
        array: NDArray[Any] | None = hdulist[index].data
    if array is None or array.dtype.kind not in "fiub":
        raise ShapeError(f"{what} holds {'no image' if array is None else f'values of type {array.dtype}'}: expected real numbers.")
    return array
