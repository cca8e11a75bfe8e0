"""The axes of an image: which is spectral, which are the sky's, and their coordinates by astropy's WCS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...errors import AmbiguousInputError, ParameterError, ShapeError
from ..options import ReadOptions
from ..units import parse_wave
from .hdus import Profile
from .preflight import HDUInfo, card, damage_reported
from .spectral_axis import band_centers, is_spectral, medium, spectral_values
from .worldcoords import axis_type, axis_unit, read_spectral_wcs, read_wcs

__all__ = ["Axes", "arrange", "find_axes"]

_SPECTRAL_CODES = ("WAVE", "AWAV", "FREQ", "ENER", "WAVN", "VRAD", "VOPT", "ZOPT", "VELO", "BETA")  # FITS paper III, table 1
_ROW_AXES = (2, 3, 1)  # row-stacked spectra: the rows are x, y is absent, the bands run along FITS axis 1


@dataclass(frozen=True, eq=False)
class Axes:
    """Axes of an image, by their FITS numbers.

    Attributes
    ----------
    order : tuple of int
        FITS numbers of x, y and band.
    naxis : int
        Number of axes of the image, degenerate ones included.
    wcs : WCS or None
        World coordinates in the order x, y, band.
    spectral : Quantity or None
        Band centers in the file's own unit.
    medium : {"air", "vacuum", None}
    why : str
        What says which axis is spectral.
    notes : list of str
    given : bool
        The spectral axis is that of the option, not of the file.
    """

    order: tuple[int, int, int]
    naxis: int
    wcs: WCS | None = None
    spectral: u.Quantity | None = None
    medium: str | None = None
    why: str = ""
    notes: list[str] = field(default_factory=list)
    given: bool = False


def find_axes(hdu: HDUInfo, hdulist: fits.HDUList, options: ReadOptions, profile: Profile | None = None) -> Axes:
    """The axes of the image in `hdu`.

    Parameters
    ----------
    hdu : HDUInfo
    hdulist : HDUList
        The open file.
    options : ReadOptions
    profile : Profile, optional
        What the files of the instrument leave unsaid.

    Raises
    ------
    AmbiguousInputError
        If nothing says which axis is spectral and the shape speaks against the third.
    ShapeError
        If the extension with the band centers has another length.
    """
    profile = profile or Profile()
    with damage_reported(f"the header of HDU {hdu}"):
        header = hdulist[hdu.index].header
    notes: list[str] = []
    wcs = read_wcs(header, hdulist, notes)
    if wcs is not None and wcs.naxis < len(hdu.shape):
        notes.append(f"the WCS has {wcs.naxis} axes, the image {len(hdu.shape)}: coordinates are pixels")
        wcs = None
    if len(hdu.shape) == 2:
        order, why = _ROW_AXES, "row-stacked spectra have their bands there"
        notes.append(f"row-stacked spectra: {hdu.shape[0]} spectra without an image plane, read as an image of 1 x {hdu.shape[0]} pixels")
    else:
        kept = _kept(hdu, header)
        band, why = _spectral_axis(hdu, header, wcs, kept, options)
        x, y = (axis for axis in kept if axis != band)
        order = (x, y, band)
    n_bands = hdu.shape[-order[2]]
    spectral = _spectral(wcs, header, hdulist, order[2], n_bands, profile, notes)
    given = spectral is None and options.wave is not None
    if given:
        notes.append("spectral axis: option --wave")
        spectral = parse_wave(options.wave, n_bands)
    elif spectral is None:
        notes.append("no spectral axis in the header: bands are numbered; give one with --wave 'start:step unit'")
    air_or_vacuum = None if spectral is None else medium(header, hdulist, order[2], spectral, profile, notes)
    sub = None if len(hdu.shape) == 2 else _sub(wcs, order, {axis: hdu.shape[-axis] for axis in order}, notes)
    return Axes(order, len(hdu.shape), sub, spectral, air_or_vacuum, why, notes, given)


def _spectral(
    wcs: WCS | None, header: fits.Header, hdulist: fits.HDUList, band: int, n_bands: int, profile: Profile, notes: list[str]
) -> u.Quantity | None:
    """Band centers: by the header, by its spectral axis alone where the others are broken, or by an extension."""
    spectral = None
    if wcs is not None:
        spectral = spectral_values(wcs, header, hdulist, band, n_bands, profile, notes)
    else:
        alone = read_spectral_wcs(header, hdulist, band)
        if alone is not None:
            spectral = spectral_values(alone[0], alone[1], hdulist, 1, n_bands, profile, notes)
            notes += [] if spectral is None else ["the spectral axis of the header is used by itself"]
    return band_centers(hdulist, n_bands, spectral, profile, notes)


def arrange(array: NDArray[Any], axes: Axes) -> NDArray[Any]:
    """View of an image of the file as (band, y, x), degenerate axes removed."""
    if axes.naxis == 2:
        return array.T[:, np.newaxis, :]
    x, y, band = axes.order
    rest = [axis for axis in range(1, axes.naxis + 1) if axis not in axes.order]
    ordered = np.transpose(array, [axes.naxis - axis for axis in (band, y, x, *rest)])
    return ordered.reshape(ordered.shape[:3])


def _kept(hdu: HDUInfo, header: fits.Header) -> list[int]:
    """FITS numbers of the three axes that remain when degenerate ones are dropped: polarization first, nameless ones, last ones."""
    axes = list(range(1, len(hdu.shape) + 1))

    def reluctance(axis: int) -> tuple[int, int]:
        ctype = str(card(header, f"CTYPE{axis}", "")).strip().upper()
        return (0 if ctype == "STOKES" else 1 if not ctype else 2, -axis)

    degenerate = sorted((axis for axis in axes if hdu.shape[-axis] == 1), key=reluctance)
    dropped = degenerate[: len(axes) - 3]
    if len(axes) - len(dropped) != 3:
        raise ShapeError(f"HDU {hdu}: expected three axes besides degenerate ones; cut out one plane first.")
    return [axis for axis in axes if axis not in dropped]


def _spectral_axis(hdu: HDUInfo, header: fits.Header, wcs: WCS | None, kept: list[int], options: ReadOptions) -> tuple[int, str]:
    if options.spectral_axis is not None:
        if options.spectral_axis not in kept:
            raise ParameterError(f"spectral_axis is {options.spectral_axis}: expected one of {', '.join(map(str, kept))}.")
        return options.spectral_axis, "option --spectral-axis"
    codes = {axis: int(wcs.wcs.axis_types[axis - 1]) // 1000 % 10 if wcs is not None else 0 for axis in kept}
    celestial = [axis for axis in kept if codes[axis] == 2]
    by_type = [axis for axis in kept if codes[axis] == 3 or (wcs is None and axis_type(header, axis).upper()[:4] in _SPECTRAL_CODES)]
    if len(by_type) == 1:
        return by_type[0], f"CTYPE{by_type[0]} = {axis_type(header, by_type[0])}"
    by_unit = [axis for axis in kept if axis not in celestial and is_spectral(axis_unit(header, axis))]
    if len(by_unit) == 1:
        return by_unit[0], f"CUNIT{by_unit[0]} = {card(header, f'CUNIT{by_unit[0]}')}"
    if len(celestial) == 2:
        return next(axis for axis in kept if axis not in celestial), "the only axis that is not on the sky"
    _refuse_if_unlikely(hdu, kept)
    return kept[2], "by custom, nothing in the header says it (else add --spectral-axis)"


def _refuse_if_unlikely(hdu: HDUInfo, kept: list[int]) -> None:
    """Two equal sides are probably the sky's: if they include the last axis and not both others, do not guess."""
    n1, n2, n3 = (hdu.shape[-axis] for axis in kept)
    if n1 != n2 and n3 in (n1, n2):
        likely = kept[0] if n2 == n3 else kept[1]
        raise AmbiguousInputError(
            f"nothing in the header of HDU {hdu} says which axis is spectral, and its shape suggests FITS axis {likely}: "
            f"add --spectral-axis {likely} or --spectral-axis {kept[2]}."
        )


def _sub(wcs: WCS | None, order: tuple[int, int, int], shape: dict[int, int], notes: list[str]) -> WCS | None:
    if wcs is None or (wcs.naxis == 3 and order == (1, 2, 3)):
        return wcs
    try:
        sub = wcs.sub(list(order))
    except Exception as error:  # of many kinds, as for every WCS
        notes.append(f"the WCS of the three axes cannot be separated, coordinates are pixels: {' '.join(str(error).split())[:200]}")
        return None
    sub.pixel_shape = tuple(shape[axis] for axis in order)
    return sub
