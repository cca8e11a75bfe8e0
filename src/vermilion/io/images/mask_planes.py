"""Which bits of the mask of a broad-band image mean that a pixel is bad: by the user, the header, or the instrument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ...errors import ShapeError
from ..fits.masks import bad_values, describe_bits, parse_bits, set_bits
from ..fits.preflight import card

__all__ = ["bad_pixels", "named_planes"]

# Planes of LSST and HSC masks that carry no usable flux. The deblender of the LSST pipeline (meas_extensions_scarlet) gives weight 0 to
# BAD, NO_DATA, SAT, SUSPECT and EDGE, and in earlier versions to CR. Interpolated pixels (INTRP) of a coadd are used there, and here.
LSST_BAD = ("BAD", "CR", "EDGE", "NO_DATA", "SAT", "SUSPECT", "UNMASKEDNAN")
_EXACT = 2.0**53


def named_planes(header: fits.Header) -> dict[int, str]:
    """Bits and names of the mask planes by the MP_* cards of LSST and HSC; the numbers differ between releases."""
    values = {key.upper()[3:]: card(header, key) for key in header if key.upper().startswith("MP_")}
    return {bit: name for name, bit in values.items() if isinstance(bit, int) and not isinstance(bit, bool) and 0 <= bit < 64}


def bad_pixels(
    mask: NDArray[Any], header: fits.Header, wanted: Any = None, *, default: Mapping[int, str] | None = None
) -> tuple[NDArray[np.bool_], str]:
    """Where the mask says bad, and which bits that are.

    Parameters
    ----------
    mask : ndarray
        Integers, or floats; NaN is bad.
    header : Header
        Of the mask; its MP_* cards name the planes.
    wanted : str, int, sequence or None
        Option mask_bits: names or numbers of bits, ``"any"``; None: what the header or the instrument means.
    default : mapping of int to str, optional
        The instrument's bad bits where the header names none; None: any bit.

    Raises
    ------
    ParameterError
        If a name or number is no bit.
    ShapeError
        If bits are asked of a mask that holds no whole numbers.
    """
    names = named_planes(header) or dict(default or {})
    if wanted is not None:
        bits = parse_bits(str(wanted).upper().replace("MP_", "") if isinstance(wanted, str) else wanted, names)
    elif named_planes(header):
        bits = tuple(sorted(bit for bit, name in names.items() if name in LSST_BAD))
    else:
        bits = None if default is None else tuple(sorted(default))
    if bits is None:
        return bad_values(mask, None), "nonzero = bad"
    integers = _integers(mask)
    others = sorted(set(set_bits(integers)) - set(bits))
    meaning = f"bad bits: {describe_bits(bits, names) or 'none'}"
    return bad_values(integers, bits), meaning + (f"; set but not taken as bad: {describe_bits(others, names)}" if others else "")


def _integers(mask: NDArray[Any]) -> NDArray[Any]:
    """Masks whose headers scale them are read as floats."""
    if mask.dtype.kind in "iub":
        return mask.astype(mask.dtype.newbyteorder("="), copy=False)
    if not (np.isfinite(mask) & (mask == np.round(mask)) & (np.abs(mask) < _EXACT)).all():
        raise ShapeError("--mask-bits: the mask holds no whole numbers, thus no bits: use --mask-bits any, or --mask-ext none.")
    return mask.astype(np.int64)
