"""`components.fits`: spectra, maps, their errors and the course of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Frame, Result
from .coordinates import add_medium, distortion, sky_cards, with_axis
from .headers import add_comments, common_unit, gauge_text, image_hdu, primary_hdu, spectral_columns, unit_text
from .history import history_hdu

__all__ = ["components_hdus", "dropped_pixels", "integrated", "mask_hdu"]

Values = NDArray[np.floating[Any]]

_CONDITIONAL = "errors are conditional 1-sigma errors (the other factor fixed); NaN where a constraint is active"


def components_hdus(result: Result, frame: Frame, provenance: Mapping[str, Any]) -> list[Any]:
    """The HDUs of `components.fits`.

    PRIMARY (provenance) | SPECTRA table: wavelength, shape_k, shape_error_k, flux_k = A_k ΣS_k, flux_error_k | MAPS (K, Ny, Nx) |
    MAPS_ERR | MAPS_SIGNED | MAPS_SIGNED_ERR | BRIGHTNESS | MASK (1 = pixel dropped) | HISTORY table. What the result does not have is left
    out. Components are counted from 0.

    Where columns of A sum to 1 over the bands, shapes are numbers and maps carry the unit of the data (fluxes summed over
    the bands). Otherwise shapes carry it and maps are numbers. Fluxes are in the unit of the data times ``pix``,
    which is how the FITS standard spells a spaxel: one sums over spaxels, and a unit "per pixel" cancels.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx), NaN where pixels were dropped.
    frame : Frame
        Of the cube.
    provenance : mapping
        As `describe` returns it.
    """
    names = {f"NAME{k}": (str(name), f"component {k}") for k, name in enumerate(result.names)}
    primary = primary_hdu(provenance, {"NCOMP": (result.n_components, "number of components"), **names})
    data_unit = common_unit(frame)
    unit_of_maps = unit_text(data_unit) if _unit_sum(result) else ""
    planes = _component_axis(sky_cards(frame))
    maps = {
        "MAPS": (result.morphologies, "maps S_k"),
        "MAPS_ERR": (result.morphologies_error, _CONDITIONAL),
        "MAPS_SIGNED": (result.signed_morphologies, "least-squares maps without constraints: sums over them are unbiased"),
        "MAPS_SIGNED_ERR": (result.signed_error, "1-sigma errors of MAPS_SIGNED"),
    }
    images = [
        image_hdu(name, values, planes, unit=unit_of_maps, comments=(comment, *_band_sum(result)))
        for name, (values, comment) in maps.items()
        if values is not None
    ]
    if result.brightness is not None:
        comment = "factor of the model of each pixel: sum over k of shape_k x map k x brightness"
        images.append(image_hdu("BRIGHTNESS", result.brightness, sky_cards(frame), comments=(comment,)))
    return [primary, _spectra_hdu(result, frame, provenance), *images, mask_hdu(dropped_pixels(result), frame), history_hdu(result.history)]


def dropped_pixels(result: Result) -> NDArray[np.bool_]:
    """Pixels (Ny, Nx) without weight in any band, whose maps are NaN."""
    return np.asarray(np.isnan(result.morphologies).all(axis=0))


def mask_hdu(dropped: NDArray[np.bool_], frame: Frame) -> fits.ImageHDU:
    """The HDU MASK: 1 where a pixel was dropped; with all that is known of the sky."""
    comments = filter(None, ("1 = pixel dropped: no weight in any band", distortion(frame)))
    return image_hdu("MASK", dropped.astype(np.uint8), sky_cards(frame), comments=tuple(comments))


def integrated(result: Result) -> tuple[Values, Values | None]:
    """Spectra summed over all pixels and their conditional errors, float64, shape (B, K), in the data's unit times pixel.

    The error is that of the shape times ΣS_k, which is held fixed.
    """
    total = np.nansum(result.amounts.reshape(result.n_components, -1), axis=1, dtype=np.float64)
    error = result.spectra_error
    return result.spectra * total, None if error is None else error * np.abs(total)


def _spectra_hdu(result: Result, frame: Frame, provenance: Mapping[str, Any]) -> fits.BinTableHDU:
    data_unit = common_unit(frame)
    flux_unit = None if data_unit is None else data_unit * u.pix
    shape_unit = None if _unit_sum(result) else data_unit
    fluxes, flux_errors = integrated(result)
    columns = spectral_columns(frame)
    for k in range(result.n_components):
        columns.append(_column(f"shape_{k}", result.spectra[:, k], shape_unit))
        if result.spectra_error is not None:
            columns.append(_column(f"shape_error_{k}", result.spectra_error[:, k], shape_unit))
        columns.append(_column(f"flux_{k}", fluxes[:, k], flux_unit))
        if flux_errors is not None:
            columns.append(_column(f"flux_error_{k}", flux_errors[:, k], flux_unit))
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRA")
    add_medium(table.header, frame, provenance)
    table.header["NORMALIZ"] = (gauge_text(result.normalization), "gauge")
    add_comments(table.header, (_flux_text(result), _CONDITIONAL))
    return table


def _flux_text(result: Result) -> str:
    amount = "map k" if result.brightness is None else "map k x brightness"
    return f"shape_k = A_k, flux_k = A_k x (sum of {amount} over the pixels)"


def _column(name: str, values: Values, unit: u.UnitBase | None) -> fits.Column:
    return fits.Column(name, "D" if values.dtype == np.float64 else "E", unit=unit_text(unit) or None, array=values)


def _unit_sum(result: Result) -> bool:
    return result.normalization.startswith("columns of A sum to 1")


def _band_sum(result: Result) -> tuple[str, ...]:
    return ("fluxes summed over the bands",) if _unit_sum(result) else ()


def _component_axis(sky: fits.Header) -> fits.Header:
    """`sky` with a third axis that counts components from 0."""
    cards = {"CTYPE3": ("COMPONENT", "number of the component, from 0"), "CRVAL3": (0.0, ""), "CDELT3": (1.0, "")}
    return with_axis(sky, cards) if sky else sky
