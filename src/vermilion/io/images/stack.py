"""From the planes of several bands to one Cube, after checking that they show the same pixels in units of one kind."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from astropy import units as u
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import pixel_to_pixel
from numpy.typing import NDArray

from ...datamodels import Cube, Frame
from ...errors import AmbiguousInputError, HeaderError, ParameterError, ShapeError, UnitError
from ..fits.cards import propagated
from ..fits.hdus import Decision
from ..fits.preflight import FITSFile
from ..memory import require_memory
from ..options import ReadOptions
from ..record import add_decisions, content_notes, note
from ..units import parse_wave
from ..values import float_size
from .band_layer import Layer, read_layer
from .bandpass import band_name, central_wavelength, is_filter, names_of_files
from .planes import Band, Plane

__all__ = ["stack"]

Array = NDArray[Any]

_TOLERANCE = 0.05  # pixels by which the images may be displaced
_COPIED = "although the headers say"


def stack(bands: Sequence[Band], options: ReadOptions, *, reader: str) -> Cube:
    """The cube of `bands`, in their order.

    Raises
    ------
    ShapeError
        If the images have other shapes.
    HeaderError
        If their celestial coordinates differ by more than 0.05 pixels.
    UnitError
        If their units are not of one kind.
    AmbiguousInputError
        If a band occurs twice, or only some bands have errors.
    NoDataError
        If nothing is left to fit.
    MemoryLimitError
        If the arrays would not fit.
    """
    _check_shapes(bands)
    _check_errors(bands, options)
    _check_memory(bands, options)
    names, why = _names(bands)
    decisions = [note(f"bands {', '.join(names)}: {why}", loud=_COPIED in why), *_file_notes(bands)]
    layers = [read_layer(band, name, options, decisions) for band, name in zip(bands, names, strict=True)]
    _check_different(layers)
    _check_wcs(layers, decisions)
    unit = _common_unit(layers)
    axis, given = _spectral_axis(bands, options, decisions)
    data = _joined([layer.data for layer in layers])
    frame = Frame(
        shape=data.shape[1:],
        n_bands=len(data),
        unit=unit,
        spectral_axis=axis,
        band_names=tuple(names),
        wcs=_cube_wcs(layers[0].wcs, data.shape),
    )
    found = [layer.variance for layer in layers if layer.variance is not None]
    variance = _joined(found) if found else None
    decisions += [] if found else [note("no errors in the files: every finite value has weight 1")]
    for layer in layers:
        if layer.n_weighted == 0:
            decisions.append(note(f"band {layer.name} has no value with weight: it stays empty", loud=True))
    cube = Cube(data, variance, _joined_masks(layers), frame, meta=_meta(bands, names, reader, given))
    return add_decisions(cube, [*decisions, *content_notes(cube)])


def _joined(arrays: Sequence[Array]) -> Array:
    return np.stack(arrays)  # float64 where one of them is


def _joined_masks(layers: Sequence[Layer]) -> NDArray[np.bool_] | None:
    if all(layer.mask is None for layer in layers):
        return None
    return np.stack([np.zeros(layer.data.shape, dtype=bool) if layer.mask is None else layer.mask for layer in layers])


def _cube_wcs(wcs: WCS | None, shape: tuple[int, ...]) -> WCS | None:
    """Coordinates (x, y, band) whose third axis counts the bands."""
    if wcs is None:
        return None
    cube = wcs.sub([1, 2, 0])
    cube.pixel_shape = shape[::-1]
    return cube


# ---------------------------------------------------------------- record


def _meta(bands: Sequence[Band], names: Sequence[str], reader: str, given: bool) -> dict[str, Any]:
    files = _files(bands)
    header = _common_cards(bands)
    return {
        "name": _common_name([file.name for file in files]),
        "path": ", ".join(file.given for file in files),
        "sha256": ", ".join(file.sha256 for file in files),
        "reader": reader,
        "instrument": str(header.get("INSTRUME", header.get("TELESCOP", ""))),
        "header": header,
        "spectral_medium": None,
        "spectral_axis_given": given,
        "band_names": list(names),
        "decisions": [],
    }


def _common_cards(bands: Sequence[Band]) -> dict[str, Any]:
    """Cards worth repeating whose values all bands share; the filter is not among them."""
    first, *others = [propagated(band.image.file.hdus[0].header, band.image.hdu.header) for band in bands]
    return {key: value for key, value in first.items() if key != "FILTER" and all(cards.get(key) == value for cards in others)}


def _common_name(names: Sequence[str]) -> str:
    """What the names of the files begin with, or all of them where they are short, or the first."""
    letters = takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))
    common = "".join(column[0] for column in letters).rstrip("-_. ")
    joined = "-".join(names)
    return common if len(common) >= 3 else joined if len(joined) <= 40 else names[0]


def _files(bands: Sequence[Band]) -> list[FITSFile]:
    planes = [plane for band in bands for plane in (band.image, band.error, band.mask, band.coverage) if plane is not None]
    return list({id(plane.file): plane.file for plane in planes}.values())


def _file_notes(bands: Sequence[Band]) -> list[Decision]:
    return [note(f"{file.path.name}: {text}", loud="CHECKSUM" in text) for file in _files(bands) for text in file.notes]


# ---------------------------------------------------------------- names and wavelengths


def _names(bands: Sequence[Band]) -> tuple[list[str], str]:
    """One name per band, all different, and where they come from.

    Raises
    ------
    AmbiguousInputError
        If two images are of the same band.
    """
    stated = [_stated_name(band.image) for band in bands]
    files = [band.image.file for band in bands]
    several = len(bands) > 1 and len({id(file) for file in files}) == len(bands)
    from_files = names_of_files([file.name for file in files]) if several else []
    from_files = from_files if len(set(from_files)) == len(bands) else []
    if all(stated) and len(set(stated)) == len(stated):
        return stated, "named by the headers"
    if not any(stated):
        return (
            (from_files, "named after the files: no header names a filter")
            if from_files
            else (_numbers(bands), "numbered: nothing names them")
        )
    if from_files and all(map(is_filter, from_files)):
        said = ", ".join(name or "nothing" for name in dict.fromkeys(stated))
        return from_files, f"named after the files, {_COPIED} {said}: one header seems to have been copied to others"
    twice = [name for name in stated if name and stated.count(name) > 1]
    if twice:
        where = " and ".join(str(band.image) for band, name in zip(bands, stated, strict=True) if name == twice[0])
        raise AmbiguousInputError(
            f"{where} are both of band {twice[0]!r}: expected one image per band; combine them first, leave one out, or mend FILTER."
        )
    return [name or number for name, number in zip(stated, _numbers(bands), strict=True)], "named by the headers that name a filter"


def _numbers(bands: Sequence[Band]) -> list[str]:
    return [str(number) for number in range(1, len(bands) + 1)]


def _stated_name(plane: Plane) -> str:
    own = "" if plane.band.isdigit() else plane.band
    return own or band_name(plane.hdu.header, plane.file.hdus[0].header)


def _spectral_axis(bands: Sequence[Band], options: ReadOptions, decisions: list[Decision]) -> tuple[u.Quantity | None, bool]:
    """Central wavelengths, and whether they are those of the option."""
    found = [central_wavelength(band.image.hdu.header, band.image.file.hdus[0].header) for band in bands]
    known = [value for value in found if value is not None]
    if len(known) == len(bands):
        axis = u.Quantity(known, known[0].unit)
        if len(set(axis.value.tolist())) == len(bands):
            decisions.append(note("spectral axis: the central wavelengths that the headers state"))
            return axis, False
        decisions.append(note("the headers state the same wavelength for several bands: it is not used", loud=True))
    if options.wave is not None:
        decisions.append(note("spectral axis: option --wave"))
        return parse_wave(options.wave, len(bands)), True
    decisions.append(note("no spectral axis: the headers do not state a wavelength for each band"))
    return None, False


# ---------------------------------------------------------------- checks


def _check_shapes(bands: Sequence[Band]) -> None:
    first = bands[0].image
    for band in bands[1:]:
        if band.image.size != first.size:
            sizes = [f"{plane} has {' x '.join(map(str, plane.size))} pixels (y, x)" for plane in (first, band.image)]
            raise ShapeError(f"{', '.join(sizes)}: expected images on one pixel grid; cut or reproject them first.")


def _check_errors(bands: Sequence[Band], options: ReadOptions) -> None:
    without = [band.image for band in bands if band.error is None]
    if options.err_type is not None and len(without) == len(bands):
        raise ParameterError(
            f"--err-type {options.err_type} is given, but no image holds errors: give their files beside the images, or add --err-ext."
        )
    if without and len(without) < len(bands):
        raise AmbiguousInputError(
            f"{len(bands) - len(without)} of {len(bands)} bands have errors, {without[0]} has none: expected errors for all bands or for "
            "none; add the missing file, or --err-ext none."
        )


def _check_memory(bands: Sequence[Band], options: ReadOptions) -> None:
    needed = sum(len(file.buffer) for file in _files(bands) if file.buffer is not None)
    for band in bands:
        size = max(float_size(plane.hdu.dtype) for plane in (band.image, band.error) if plane is not None)
        arrays = 2 * (1 if band.error is None else 2)  # each twice, while they are joined
        needed += math.prod(band.image.size) * (arrays * size + 2)
    require_memory(needed, options.limit, f"{bands[0].image.file.path} and {len(bands) - 1} more bands", "reading")


def _check_different(layers: Sequence[Layer]) -> None:
    """Two bands with the same pixels are one image given twice."""
    seen: dict[bytes, str] = {}
    for layer in layers:
        finite = layer.data[np.isfinite(layer.data)]
        if finite.size < 2 or finite.min() == finite.max():
            continue
        digest = hashlib.sha256(layer.data.astype("<f8").tobytes()).digest()
        if digest in seen:
            raise AmbiguousInputError(
                f"bands {seen[digest]} and {layer.name} hold the same pixels: expected one image per band; leave one out."
            )
        seen[digest] = layer.name


def _check_wcs(layers: Sequence[Layer], decisions: list[Decision]) -> None:
    """Corners, edges and center of each image must lie at the same pixels of the first one."""
    first = layers[0]
    n_y, n_x = first.data.shape
    x, y = (c.ravel() for c in np.meshgrid(np.linspace(0, n_x - 1, 3), np.linspace(0, n_y - 1, 3)))
    for layer in layers[1:]:
        if (layer.wcs is None) != (first.wcs is None):
            without = layer if layer.wcs is None else first
            raise HeaderError(
                f"band {without.name} has no celestial coordinates, others have: expected the same for all; copy the cards into its header "
                "if the images are on one pixel grid."
            )
        if first.wcs is None:
            continue
        offset = _displacement(first.wcs, layer.wcs, x, y)
        if not offset <= _TOLERANCE and _same_numbers_in_fk5_and_icrs(first.wcs, layer.wcs, x, y):
            text = "have the same coordinates, in FK5 by one header and in ICRS by the other: taken as equal"
            decisions.append(note(f"bands {first.name} and {layer.name} {text}", loud=True))
            continue
        if not offset <= _TOLERANCE:
            far = f"differ by up to {offset:.3g} pixels" if math.isfinite(offset) else "have no point in common"
            raise HeaderError(
                f"the coordinates of bands {first.name} and {layer.name} {far}, {_TOLERANCE} are allowed: expected images on one pixel "
                "grid; reproject them first."
            )


def _displacement(first: WCS, other: WCS, x: Array, y: Array) -> float:
    """Largest distance in pixels between positions in one image and those of the same points of the sky in another."""
    try:
        there = pixel_to_pixel(first, other, x, y)
    except (NoConvergence, ValueError, TypeError):
        return math.nan
    return float(np.max(np.hypot(there[0] - x, there[1] - y)))


def _same_numbers_in_fk5_and_icrs(first: WCS, other: WCS, x: Array, y: Array) -> bool:
    """Whether the numbers agree and only one header says ICRS (0.02 arcsec from FK5): an EQUINOX without RADESYS means FK5 by default."""
    if {str(wcs.wcs.radesys).strip().upper() for wcs in (first, other)} != {"FK5", "ICRS"}:
        return False
    try:
        there = other.world_to_pixel_values(*first.pixel_to_world_values(x, y))
    except (NoConvergence, ValueError):
        return False
    return bool(np.max(np.hypot(there[0] - x, there[1] - y)) <= _TOLERANCE)


def _common_unit(layers: Sequence[Layer]) -> Any:
    """The unit, or one per band where they are of one kind but not equal."""
    first = layers[0]
    for layer in layers[1:]:
        if not layer.unit.is_equivalent(first.unit):
            shown = " and ".join(f"{str(one.unit) or 'no unit'} (band {one.name})" for one in (first, layer))
            raise UnitError(
                f"the bands are in {shown}: expected units of one kind; convert them first, or say with --unit what they all are."
            )
    return first.unit if all(layer.unit == first.unit for layer in layers) else tuple(layer.unit for layer in layers)
