"""World coordinates of a part of a pixel grid, and of boxes of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray

__all__ = ["bin_wcs", "cut_wcs"]

Array = NDArray[Any]


def cut_wcs(wcs: WCS, starts: Sequence[int], shape: Sequence[int]) -> WCS:
    """World coordinates of a part of the grid.

    Parameters
    ----------
    wcs : WCS
        Pixel axes x, y, band.
    starts : sequence of int
        First pixel of the part along x, y and band, counted from 0.
    shape : sequence of int
        Of the part, (B, Ny, Nx).
    """
    return _moved(wcs, np.array(starts[: wcs.naxis], dtype=float), np.ones(wcs.naxis), shape)


def bin_wcs(wcs: WCS, widths: Sequence[int], shape: Sequence[int]) -> WCS:
    """World coordinates of boxes of pixels.

    Parameters
    ----------
    wcs : WCS
        Pixel axes x, y, band.
    widths : sequence of int
        Pixels per box along x, y and band.
    shape : sequence of int
        Number of boxes, (B, Ny, Nx).
    """
    new = _moved(wcs, np.zeros(wcs.naxis), np.array(widths[: wcs.naxis], dtype=float), shape)
    n = np.array(widths[: wcs.naxis], dtype=float)
    mixing = wcs.wcs.get_pc() - np.diag(np.diagonal(wcs.wcs.get_pc()))
    if wcs.wcs.has_cd():
        new.wcs.cd = wcs.wcs.cd * n  # a column belongs to an axis of pixels
    elif not mixing.any():
        new.wcs.cdelt = wcs.wcs.cdelt * n
    else:
        new.wcs.pc = wcs.wcs.get_pc() * n
    new.wcs.set()
    return new


def _moved(wcs: WCS, starts: Array, widths: Array, shape: Sequence[int]) -> WCS:
    """A copy whose reference pixel, distortions included, is where it belongs: p becomes ``(p - start - 1/2) / n + 1/2``, from 1."""
    new = wcs.deepcopy()
    new.wcs.crpix = (wcs.wcs.crpix - starts - 0.5) / widths + 0.5
    if wcs.sip is not None:
        reference = (wcs.sip.crpix - starts[:2] - 0.5) / widths[:2] + 0.5
        new.sip = Sip(*(_scaled(getattr(wcs.sip, name), widths[0]) for name in ("a", "b", "ap", "bp")), reference)
    own = [[new.cpdis1, new.det2im1], [new.cpdis2, new.det2im2]]
    for axis, tables in enumerate(own):
        for table in tables:
            if table is not None:
                table.crval = [(value - start - 0.5) / n + 0.5 for value, start, n in zip(table.crval, starts, widths, strict=False)]
                table.cdelt = [step / n for step, n in zip(table.cdelt, widths, strict=False)]
                table.data = (table.data / widths[axis]).astype(table.data.dtype)
    new.wcs.set()
    new.pixel_shape = tuple(shape[::-1][: wcs.naxis])
    return new


def _scaled(coefficients: Array | None, n: float) -> Array | None:
    """Coefficients of ``Σ a_pq u^p v^q`` where u, v and the sum are in units of n pixels."""
    if coefficients is None:
        return None
    power = np.add.outer(np.arange(coefficients.shape[0]), np.arange(coefficients.shape[1]))
    return np.asarray(coefficients * n ** (power - 1.0))
