"""`model.fits`, `residual.fits` and cubes of single components: data, noise and DQ with the coordinates of the input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Cube, Frame, Result
from .components import dropped_pixels, mask_hdu
from .coordinates import cube_cards, distortion
from .headers import common_unit, image_hdu, primary_hdu, primary_image, spectral_columns
from .layouts import Layout

__all__ = ["DQ_BITS", "component_hdus", "cube_hdus", "data_quality", "model_hdus", "residual_hdus"]

# Bit -> meaning. Any bit but 0 says why bit 0 is set.
DQ_BITS: Mapping[int, str] = {
    1: "not used by the fit",
    2: "masked in the input",
    4: "the datum is not finite",
    8: "no noise is known: the variance is not finite or not positive",
    16: "pixel dropped: no weight in any band",
    32: "band without weight in any pixel",
}

_TILE_BYTES = 32e6


def model_hdus(result: Result, cube: Cube, frame: Frame, provenance: Mapping[str, Any], layout: Layout) -> list[Any]:
    """The HDUs of `model.fits`: A S, NaN in dropped pixels and dead bands."""
    model = np.empty(cube.data.shape, dtype=_stored(cube.data))
    for bands, tile in _model_tiles(result):
        model[bands] = tile
    return cube_hdus(model, "model A S", cube, frame, primary_hdu(provenance), layout, dropped=dropped_pixels(result))


def residual_hdus(result: Result, cube: Cube, frame: Frame, provenance: Mapping[str, Any], layout: Layout) -> list[Any]:
    """The HDUs of `residual.fits`: data minus model, also where a datum was masked (see DQ)."""
    residual = np.empty(cube.data.shape, dtype=_stored(cube.data))
    for bands, tile in _model_tiles(result):
        residual[bands] = cube.data[bands] - tile
    return cube_hdus(residual, "data minus model", cube, frame, primary_hdu(provenance), layout, dropped=dropped_pixels(result))


def component_hdus(k: int, result: Result, cube: Cube, frame: Frame, provenance: Mapping[str, Any], layout: Layout) -> list[Any]:
    """The HDUs of the cube A_k S_k of one component."""
    values = np.empty(cube.data.shape, dtype=_stored(cube.data))
    for bands, tile in _model_tiles(result, [k]):
        values[bands] = tile
    primary = primary_hdu(provenance, {"NAME": (result.names[k], f"component {k}")})
    return cube_hdus(values, f"A_k S_k of component {k}", cube, frame, primary, layout, dropped=dropped_pixels(result))


def data_quality(cube: Cube, dropped: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Why each datum was not used, 0 where it was: the bits of `DQ_BITS`, shape (B, Ny, Nx); `dropped` pixels (Ny, Nx) were not fitted."""
    quality = np.zeros(cube.data.shape, dtype=np.uint8)
    for band, flags in enumerate(quality):
        flags[~np.isfinite(cube.data[band])] |= 4
        if cube.mask is not None:
            flags[cube.mask[band]] |= 2
        if cube.variance is not None:
            flags[~_has_noise(cube.variance[band])] |= 8
        flags[flags > 0] |= 1
    dead = (quality > 0).all(axis=(1, 2))
    quality[dead] |= 1 + 32
    quality[:, dropped] |= 1 + 16
    return quality


def _has_noise(variance: NDArray[Any]) -> NDArray[np.bool_]:
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.isfinite(variance) & (variance > 0) & np.isfinite(1.0 / variance.astype(np.float64))


def _stored(values: NDArray[Any]) -> np.dtype[Any]:
    """Big-endian float32, as FITS wants it, so that nothing is copied; float64 for values that float32 could not hold."""
    if values.dtype.itemsize == 4:
        return np.dtype(">f4")
    peak = max(float(np.abs(band[np.isfinite(band)]).max(initial=0)) for band in values)
    return np.dtype(">f4" if peak == 0 or 1e-25 < peak < 1e30 else ">f8")


def _model_tiles(result: Result, components: list[int] | None = None) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """A S in float64, a few bands at a time."""
    chosen = slice(None) if components is None else components
    maps = result.amounts[chosen]
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    spectra = result.spectra[:, chosen].astype(np.float64)
    step = max(1, int(_TILE_BYTES / (8 * flat.shape[1])))
    for first in range(0, len(spectra), step):
        bands = slice(first, first + step)
        yield bands, (spectra[bands] @ flat).reshape(-1, *maps.shape[1:])


def cube_hdus(
    values: NDArray[Any],
    meaning: str,
    cube: Cube,
    frame: Frame,
    primary: fits.PrimaryHDU,
    layout: Layout,
    *,
    dropped: NDArray[np.bool_],
    more: Mapping[str, tuple[NDArray[Any], str]] = MappingProxyType({}),
) -> list[Any]:
    """PRIMARY | data | `more` | noise (where it is known) | DQ | MASK, BANDS and WCS-TABLE where they are needed.

    MASK carries the distortion of the sky, BANDS names or units of bands, WCS-TABLE a spectral axis that is no straight line.

    Parameters
    ----------
    values : ndarray, shape (B, Ny, Nx)
    meaning : str
        What they are, for a COMMENT.
    cube : Cube
        With the noise and the mask.
    frame : Frame
        Of the products.
    primary : PrimaryHDU
    layout : Layout
    dropped : ndarray of bool, shape (Ny, Nx)
        Pixels that were not fitted.
    more : mapping of str to (ndarray, str), optional
        Images of the same shape and unit with their meaning, by the name of their HDU.
    """
    coordinates, lookup = cube_cards(frame, cube.meta.get("spectral_medium"))
    unit = common_unit(frame)
    said = tuple(filter(None, [distortion(frame)]))
    primary.header["LAYOUT"] = (layout.name, "names of the HDUs")
    hdus: list[Any] = [] if layout.data == "" else [primary]
    for name, (image, text) in {layout.data: (values, meaning), **more}.items():
        stored, comments = image.astype(_stored(image), copy=False), (text, *said)
        if name:
            hdus.append(image_hdu(name, stored, coordinates, unit=layout.bunit(unit), comments=comments))
        else:
            hdus.append(primary_image(primary, stored, coordinates, layout.bunit(unit), comments))
    if cube.variance is not None:
        noise, comment = _noise(cube.variance, variance=layout.variance)
        hdus.append(image_hdu(layout.noise, noise, coordinates, unit=layout.noise_unit(unit), comments=(comment,)))
    bits = [f"DQ & {bit}: {text}" for bit, text in DQ_BITS.items()]
    hdus.append(image_hdu("DQ", data_quality(cube, dropped), coordinates, comments=bits))
    plane = [mask_hdu(dropped, frame)] if distortion(frame) else []
    return [*hdus, *plane, *_band_table(frame), *lookup]


def _band_table(frame: Frame) -> list[fits.BinTableHDU]:
    """What images cannot say of their bands: names, and units that differ."""
    if frame.band_names is None and common_unit(frame) is not None:
        return []
    return [fits.BinTableHDU.from_columns(spectral_columns(frame), name="BANDS")]


def _noise(variances: NDArray[Any], *, variance: bool) -> tuple[NDArray[Any], str]:
    """The variances, or their roots, NaN where no noise is known; and what to say of them."""
    noise = np.full(variances.shape, np.nan, dtype=">f8" if variances.dtype == np.float64 else ">f4")
    for band, out in zip(variances, noise, strict=True):
        known = _has_noise(band)
        out[known] = band[known] if variance else np.sqrt(band[known])
    what = "variance of the data" if variance else "1-sigma noise of the data"
    return noise.astype(_stored(noise), copy=False), f"{what}, as the input claims it"
