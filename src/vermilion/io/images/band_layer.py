"""The arrays of one broad-band image: fluxes, variances and mask, with unit and celestial coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...errors import HeaderError
from ..fits.error_units import error_factor
from ..fits.hdus import Decision
from ..fits.pixels import image_values
from ..fits.preflight import card, damage_reported
from ..fits.worldcoords import read_wcs
from ..options import ReadOptions
from ..record import note
from ..units import stated_unit, unit_option
from ..values import FILLERS, fillers, native_floats, variances
from .mask_planes import bad_pixels
from .planes import Band, Plane

__all__ = ["Layer", "read_layer"]

Array = NDArray[Any]

_JWST_BAD = {0: "DO_NOT_USE"}
# factors to physical units that headers state; they are told, not applied
_FACTORS = {
    "PHOTFLAM": "erg s-1 cm-2 Angstrom-1 per electron/s or count/s",
    "FLUXMAG0": "the flux of magnitude 0",
    "PIXAR_SR": "sr per pixel",
}


@dataclass(frozen=True, eq=False)
class Layer:
    """One band.

    Attributes
    ----------
    name : str
    data : ndarray, shape (Ny, Nx)
    variance : ndarray, shape (Ny, Nx), or None
    mask : ndarray of bool, shape (Ny, Nx), or None
    unit : Unit
    wcs : WCS or None
        Of the two celestial axes.
    """

    name: str
    data: Array
    variance: Array | None
    mask: NDArray[np.bool_] | None
    unit: Any
    wcs: WCS | None

    @property
    def n_weighted(self) -> int:
        """Number of pixels with weight."""
        good = np.isfinite(self.data)
        if self.mask is not None:
            good &= ~self.mask
        if self.variance is not None:
            good &= np.isfinite(self.variance) & (self.variance > 0)
        return int(np.count_nonzero(good))


def read_layer(band: Band, name: str, options: ReadOptions, decisions: list[Decision]) -> Layer:
    """The arrays of `band`; what was decided is appended to `decisions`.

    Raises
    ------
    HeaderError
        If the pixels are no fluxes.
    UnitError, AmbiguousInputError
        If the unit of the image or of its errors is not understood.
    """
    image = band.image
    _refuse_asinh(image)
    decisions.append(_decision(image, f"data of band {name}"))
    remarks: list[str] = []
    unit = _unit(image, options, remarks)
    factors = {key: _number(image, key) for key in _FACTORS}
    remarks += [f"{key} = {value:g} ({_FACTORS[key]}) is not applied" for key, value in factors.items() if value is not None]
    data, wcs = _read_image(image, remarks)
    bad = np.zeros(data.shape, dtype=bool)
    filled = fillers(data[np.newaxis])
    if filled is not None:
        bad |= filled[0]
        remarks.append(f"{np.count_nonzero(bad)} values are {FILLERS}: masked")
    if band.mask is not None:
        bad |= _read_mask(band.mask, name, options, decisions)
    if band.coverage is not None:
        uncovered = _read(band.coverage) == 0
        bad |= uncovered
        why = f"weight 0 = no data: {np.count_nonzero(uncovered)} pixels masked"
        decisions.append(_decision(band.coverage, f"coverage of band {name}", why))
    variance = None
    if band.error is not None:
        decisions.append(_decision(band.error, f"{band.error.kind} of band {name}"))
        factor = _error_factor(image, band.error, unit, options, remarks)
        variance = variances(native_floats(_read(band.error)), band.error.kind, factor=factor)
    remarks += [
        f"{plane} is compressed with loss: its floats were quantized" for plane in (image, band.error) if plane and plane.hdu.quantized
    ]
    decisions += [note(f"band {name}: {text}") for text in remarks]
    return Layer(name, data, variance, bad if bad.any() or band.mask is not None else None, unit, wcs)


def _decision(plane: Plane, taken_as: str, why: str = "") -> Decision:
    name = f"{plane.hdu.name} of {plane.file.path.name}".strip()
    return {"hdu": plane.hdu.index, "name": name, "taken_as": taken_as, "why": why or plane.why}


def _number(image: Plane, key: str) -> float | None:
    value = card(image.hdu.header, key, card(image.file.hdus[0].header, key))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _refuse_asinh(image: Plane) -> None:
    if card(image.hdu.header, "BSOFTEN") is not None and card(image.hdu.header, "BOFFSET") is not None:
        raise HeaderError(
            f"the values of {image} are scaled by asinh (cards BSOFTEN and BOFFSET, Pan-STARRS): expected fluxes; undo the scaling of the "
            "image and of its variance first."
        )


# ---------------------------------------------------------------- units


def _unit(image: Plane, options: ReadOptions, remarks: list[str]) -> Any:
    if options.unit is not None:
        remarks.append("unit: option --unit")
        return unit_option(options.unit)
    text = _bunit(image)
    if not text:
        remarks.append("no BUNIT: the data are read as dimensionless; give their unit with --unit")
        return u.dimensionless_unscaled
    unit, remark = stated_unit(text, str(image), allow_unitless=options.allow_unitless)
    remarks += [remark] if remark else []
    return unit


def _bunit(plane: Plane) -> str:
    own = str(card(plane.hdu.header, "BUNIT", "")).strip()
    return own or str(card(plane.file.hdus[0].header, "BUNIT", "")).strip()


def _error_factor(image: Plane, error: Plane, unit: Any, options: ReadOptions, remarks: list[str]) -> float:
    if options.unit is not None:
        return 1.0
    text = str(card(error.hdu.header, "BUNIT", "")).strip()
    by_option = options.err_type is not None
    factor, remark = error_factor(error.kind, text, _bunit(image), unit, str(error), stated=error.stated, by_option=by_option)
    remarks += [remark] if remark else []
    return factor


# ---------------------------------------------------------------- arrays


def _read_image(image: Plane, remarks: list[str]) -> tuple[Array, WCS | None]:
    """The pixels, and the celestial coordinates if there are any."""
    with image.file.open() as hdulist:
        with damage_reported(f"the header of {image}"):
            header: fits.Header = hdulist[image.hdu.index].header
        wcs = read_wcs(header, hdulist, remarks)
        celestial = wcs.celestial if wcs is not None and wcs.has_celestial else None
        return native_floats(_pixels(hdulist, image)).copy(), celestial


def _read(plane: Plane) -> Array:
    with plane.file.open() as hdulist:
        return _pixels(hdulist, plane).copy()


def _pixels(hdulist: fits.HDUList, plane: Plane) -> Array:
    return image_values(hdulist, plane.hdu.index, str(plane)).reshape(plane.size)


def _read_mask(plane: Plane, name: str, options: ReadOptions, decisions: list[Decision]) -> NDArray[np.bool_]:
    if options.mask_bits is None and "MASKBITS" in (plane.hdu.name, str(card(plane.hdu.header, "IMTYPE", "")).strip().upper()):
        why = "the bits of the Legacy Surveys range from saturated pixels to the surroundings of galaxies: choose some with --mask-bits"
        decisions.append(_decision(plane, "not used", why))
        return np.zeros(plane.size, dtype=bool)
    jwst = str(card(plane.file.hdus[0].header, "TELESCOP", "")).strip().upper() == "JWST"
    bad, meaning = bad_pixels(_read(plane), plane.hdu.header, options.mask_bits, default=_JWST_BAD if jwst else None)
    decisions.append(_decision(plane, f"mask of band {name} ({meaning})", f"{plane.why}: {np.count_nonzero(bad)} pixels masked"))
    return bad
