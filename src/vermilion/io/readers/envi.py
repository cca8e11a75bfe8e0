"""ENVI images: a text header beside raw numbers (bsq, bil, bip), of any imaging spectrometer.

Scale and meaning follow the header: `data ignore value` and bands with `bbl` = 0 are masked, `data gain values` and `data offset
values` are applied (gain x number + offset), `reflectance scale factor` divides. `map info` is kept as text: it is no sky.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datamodels import Cube
from ...errors import AmbiguousInputError, HeaderError
from ..arrays.compose import Layers, compose, require_room
from ..arrays.wavelengths import spectral_list, wavelength_unit
from ..containers import safe_name
from ..containers.envi_file import EnviImage, find_header, read_envi
from ..options import ReadOptions
from ..values import float_size

__all__ = ["identify", "load", "name"]

name = "envi"
INSTRUMENTS = "any: AVIRIS, Hyperion, HyMap, CASI, HySpex, DESIS, ENVI and GDAL exports"
NOISE = "none; --err-file with --err-type"
MASK = "data ignore value, bbl, -9999; --mask-file, --mask-bits"
WAVELENGTHS = "wavelength and wavelength units; fwhm as line-spread function"
OPTIONS = ("err_file", "err_type", "mask_file", "mask_bits", "unit", "wave")

_FILL = -9999
_KEPT = ("description", "map info", "coordinate system string", "sensor type", "acquisition time", "x start", "y start")


def identify(path: Path, head: bytes) -> bool:
    """Whether the file is an ENVI header, or one lies beside it under its name."""
    return find_header(path, head) is not None


def load(path: Path, options: ReadOptions) -> Cube:
    """The cube in an ENVI image, given by its header or its data."""
    with path.open("rb") as stream:
        header = find_header(path, stream.read(2880))
    if header is None:
        raise HeaderError(f"{path} has no ENVI header: expected {path.name}.hdr beside it.")
    image = read_envi(header, path)
    require_room(image.shape, image.dtype, image.path, options)
    stored = image.data()
    layers = Layers(stored)
    layers.take(image.path.name, "data", f"{image.interleave}, {image.dtype.name}, as {image.header_path.name} says")
    for text in image.notes:
        layers.note(text, loud=True)
    _mask(image, stored, layers)
    layers.data = _scaled(image, stored, layers)
    _spectral(image, layers, options)
    layers.set_unit(image.text("data units"), options, f"data units of {image.header_path}")
    layers.instrument = _ascii(image.text("sensor type"))
    layers.header = _cards(image)
    layers.extra = {"envi": {key: image.text(key) for key in _KEPT if image.text(key)}}
    if image.items("map info"):
        layers.extra |= {"map_info": image.items("map info"), "map_shape": image.shape[1:]}
        layers.note("map info is kept as text (meta['map_info']): a map is no sky, coordinates are pixels")
    return compose(path, layers, options, reader=name, digest_of=image.path)


def _mask(image: EnviImage, stored: NDArray[Any], layers: Layers) -> None:
    text = image.text("data ignore value")
    if text:
        value = _number(image, "data ignore value", text)
        with np.errstate(over="ignore"):
            number: Any = int(value) if stored.dtype.kind in "iu" and value.is_integer() else stored.dtype.type(value)
        layers.mask_where(np.isnan(stored) if math.isnan(value) else stored == number, f"are the data ignore value {text}")
    else:
        layers.mask_where(stored == _FILL, f"are {_FILL} (no data ignore value is said)", loud=True)
    flags = _band_list(image, "bbl")
    if flags is not None:
        bad = np.flatnonzero(flags == 0)
        others = sorted(set(flags.tolist()) - {0.0, 1.0})
        if others:
            layers.note(f"bbl has values other than 0 and 1 ({', '.join(f'{x:g}' for x in others[:5])}): taken as good", loud=True)
        if len(bad):
            layers.mask_where(flags[:, None, None] == 0, f"lie in {len(bad)} bad bands (bbl = 0): {_ranges(bad)}")
    zero = int(np.count_nonzero(~np.any(stored, axis=0)))
    if zero and not text:
        layers.note(f"{zero} pixels are 0 in all bands; if that means no data, add 'data ignore value = 0' to {image.header_path.name}")


def _scaled(image: EnviImage, stored: NDArray[Any], layers: Layers) -> NDArray[Any]:
    """The numbers in physical units, as the header scales them."""
    gains, offsets = _band_list(image, "data gain values"), _band_list(image, "data offset values")
    gains = None if gains is None or np.all(gains == 1) else gains
    offsets = None if offsets is None or np.all(offsets == 0) else offsets
    text = image.text("reflectance scale factor")
    factor = _number(image, "reflectance scale factor", text) if text else 1.0
    if not (math.isfinite(factor) and factor > 0):
        raise HeaderError(f"{image.header_path} has reflectance scale factor = {text}: expected a positive number.")
    if factor != 1 and (gains is not None or offsets is not None):
        raise AmbiguousInputError(
            f"{image.header_path} has data gain or offset values and a reflectance scale factor: remove the one that does not apply."
        )
    if factor == 1 and gains is None and offsets is None:
        return stored
    data: NDArray[Any] = np.array(stored, dtype=f"f{float_size(stored.dtype)}", order="C")
    if factor != 1:
        np.divide(data, factor, out=data)
        layers.note(f"values were divided by the reflectance scale factor {factor:g}", loud=True)
    if gains is not None:
        np.multiply(data, gains[:, None, None].astype(data.dtype), out=data)
        layers.note("values were multiplied by the data gain values of their bands", loud=True)
    if offsets is not None:
        np.add(data, offsets[:, None, None].astype(data.dtype), out=data)
        layers.note("the data offset values of their bands were added", loud=True)
    return data


def _spectral(image: EnviImage, layers: Layers, options: ReadOptions) -> None:
    n_bands = image.shape[0]
    names = image.items("band names")
    if len(names) == n_bands:
        layers.band_names = tuple(safe_name(band) for band in names)
    elif names:
        layers.note(f"{len(names)} band names for {n_bands} bands: not used")
    listed = image.items("wavelength")
    if listed and len(listed) != n_bands:
        if options.wave is None:
            raise HeaderError(
                f"{image.header_path} lists {len(listed)} wavelengths for {n_bands} bands: correct it, or give the axis with "
                "--wave 'start:step unit'."
            )
        layers.note(f"{len(listed)} wavelengths in the header for {n_bands} bands: not used", loud=True)
    values = None if len(listed) != n_bands else _numbers(image, "wavelength", listed)
    if values is None:
        return
    unit, why = wavelength_unit(image.text("wavelength units"), values)
    layers.spectral_axis = spectral_list(values, unit, why, "wavelength", layers)
    widths = _band_list(image, "fwhm")
    if layers.spectral_axis is None or widths is None:
        return
    if np.all(np.isfinite(widths) & (widths > 0)):
        layers.lsf = widths * layers.spectral_axis.unit
        layers.note("fwhm of the bands: line-spread function")
    else:
        layers.note("fwhm has values that are not positive: not used", loud=True)


def _band_list(image: EnviImage, key: str) -> NDArray[np.float64] | None:
    """Numbers of which there must be one per band; None where there are none."""
    items = image.items(key)
    if not items or not any(items):
        return None
    if len(items) != image.shape[0]:
        raise HeaderError(f"{image.header_path} has {len(items)} {key} for {image.shape[0]} bands: correct or remove them.")
    return _numbers(image, key, items)


def _numbers(image: EnviImage, key: str, items: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([_number(image, key, item) for item in items])


def _number(image: EnviImage, key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise HeaderError(f"{image.header_path} has {key} = {safe_name(text)}: expected a number.") from None


def _cards(image: EnviImage) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    if image.text("sensor type"):
        cards["INSTRUME"] = _ascii(image.text("sensor type"))
    date = re.match(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?", image.text("acquisition time"))
    if date:
        cards["DATE-OBS"] = date[0]
    return cards


def _ascii(text: str) -> str:
    return "" if text.lower() == "unknown" else re.sub(r"[^ -~]", "?", text)[:60]


def _ranges(bands: NDArray[Any]) -> str:
    """Band numbers from 0, runs of them as first-last."""
    runs = np.split(bands, np.flatnonzero(np.diff(bands) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs[:20]) + (" …" if len(runs) > 20 else "")
