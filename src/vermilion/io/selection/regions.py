"""Circles and boxes on the sky or in pixels, as DS9 writes them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

from ...datamodels import Frame
from ...errors import HeaderError, ParameterError

__all__ = ["Region", "inside", "parse_region"]

_EXPECTED = (
    "expected 'circle(ra, dec, radius)' or 'box(ra, dec, width, height[, angle])' in degrees or with units, "
    "such as 'circle(10:00:28.6, +2:12:21, 3arcsec)', with 'icrs;', 'fk5;', 'galactic;' or 'image;' before it"
)
_REGION = re.compile(r"^(?:\s*(?P<frame>[a-z0-9]+)\s*[;\n])?\s*(?P<shape>[a-z]+)\s*\((?P<numbers>[^()]*)\)\s*(?:#.*)?$", re.IGNORECASE)
_FRAMES = {"icrs": "icrs", "fk5": "fk5", "j2000": "fk5", "galactic": "galactic", "image": "image"}
_SIZES = {"circle": (1,), "box": (2, 3)}  # numbers after the center
_DS9_UNITS = {'"': "arcsec", "'": "arcmin", "d": "deg", "r": "rad"}
_SEXAGESIMAL = re.compile(r"^[-+]?\d+[:hd ]\s*\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Region:
    """A circle or a box.

    Attributes
    ----------
    frame : {"icrs", "fk5", "galactic", "image", None}
        Of its center; None: that of the file, or ICRS where this is not equatorial.
    shape : {"circle", "box"}
    center : tuple of float
        In degrees; in ``image`` in pixels counted from 1.
    sizes : tuple of float
        Radius, or width and height, in degrees; in ``image`` in pixels.
    angle : float
        Of a box, in degrees, from north through east, or counter-clockwise in ``image``.
    """

    frame: str | None
    shape: str
    center: tuple[float, float]
    sizes: tuple[float, ...]
    angle: float = 0.0


def parse_region(text: Any) -> Region:
    """The region that `text` describes.

    Raises
    ------
    ParameterError
        If it is not understood.

    Examples
    --------
    >>> parse_region("fk5;circle(150.25, 2:30:00, 30arcmin)").center
    (150.25, 2.5)
    """
    match = _REGION.match(str(text))
    if match is None:
        raise ParameterError(f"region is {text!r}: {_EXPECTED}.")
    name, shape = match["frame"], match["shape"].lower()
    if name is not None and name.lower() not in _FRAMES:
        raise ParameterError(f"region is {text!r}: frame {name!r} is not known; {_EXPECTED}.")
    frame = None if name is None else _FRAMES[name.lower()]
    numbers = [number.strip() for number in match["numbers"].split(",")]
    if shape not in _SIZES or len(numbers) - 2 not in _SIZES[shape]:
        raise ParameterError(f"region is {text!r}: {_EXPECTED}.")
    pixels = frame == "image"
    try:
        if pixels:
            x, y = float(numbers[0]), float(numbers[1])
        else:
            x, y = _degrees(numbers[0], hours=frame != "galactic"), _degrees(numbers[1])
        count = 1 if shape == "circle" else 2
        sizes = tuple(_size(number, pixels=pixels) for number in numbers[2 : 2 + count])
        angle = _degrees(numbers[4]) if len(numbers) > 4 else 0.0
    except (ValueError, TypeError, u.UnitTypeError):
        raise ParameterError(f"region is {text!r}: {_EXPECTED}.") from None
    if not all(math.isfinite(value) for value in (x, y, angle, *sizes)) or min(sizes) <= 0:
        raise ParameterError(f"region is {text!r}: expected finite numbers and sizes > 0.")
    if not pixels and abs(y) > 90:
        raise ParameterError(f"region is {text!r}: expected a latitude from -90 to 90 degrees.")
    return Region(frame, shape, (x, y), sizes, angle)


def inside(region: Region, frame: Frame) -> tuple[NDArray[np.bool_], str]:
    """Which pixels have their center in the region, shape (Ny, Nx), and the name of the frame that was used.

    Raises
    ------
    HeaderError
        If the cube has no sky coordinates.
    """
    n_y, n_x = frame.shape
    y, x = np.mgrid[:n_y, :n_x].astype(float)
    if region.frame == "image":
        east, north = x + 1 - region.center[0], y + 1 - region.center[1]
        return _within(region, east, north, turn=-1), "image"
    if frame.wcs is None or not frame.wcs.has_celestial:
        raise HeaderError(
            "a region on the sky is given, but the cube has no sky coordinates: use --roi 'x0:x1,y0:y1' or 'image;circle(x, y, r)'."
        )
    sky = frame.wcs.celestial
    try:
        own = wcs_to_celestial_frame(sky)
    except ValueError:
        types = " and ".join(map(str, sky.wcs.ctype))
        raise HeaderError(
            f"the frame of the coordinates {types} is not known: use --roi 'x0:x1,y0:y1' or 'image;circle(x, y, r)'."
        ) from None
    name = region.frame or (own.name if own.name in ("icrs", "fk5") else "icrs")
    target = own if name == own.name else name
    center = SkyCoord(*region.center, unit="deg", frame=target)
    longitude, latitude = sky.wcs_pix2world(x.ravel(), y.ravel(), 0) if sky.sip is None else sky.all_pix2world(x.ravel(), y.ravel(), 0)
    if sky.wcs.lng > sky.wcs.lat:
        longitude, latitude = latitude, longitude
    on_sky = np.isfinite(longitude) & np.isfinite(latitude)
    points = SkyCoord(np.where(on_sky, longitude, 0), np.clip(np.where(on_sky, latitude, 0), -90, 90), unit="deg", frame=own)
    offset = points.transform_to(center.skyoffset_frame())
    if region.shape == "circle":
        chosen = points.transform_to(center.frame).separation(center).deg <= region.sizes[0]
    else:
        chosen = _within(region, offset.lon.wrap_at(180 * u.deg).deg, offset.lat.deg, turn=1)
    return (chosen & on_sky).reshape(n_y, n_x), name


def _within(region: Region, east: NDArray[Any], north: NDArray[Any], *, turn: int) -> NDArray[np.bool_]:
    """Whether offsets from the center lie inside; `turn` is 1 where `east` is to the left of `north`, -1 where to its right."""
    if region.shape == "circle":
        return np.asarray(np.hypot(east, north) <= region.sizes[0])
    cosine, sine = math.cos(math.radians(region.angle)), turn * math.sin(math.radians(region.angle))
    along, up = east * cosine - north * sine, east * sine + north * cosine
    return np.asarray((np.abs(along) <= region.sizes[0] / 2) & (np.abs(up) <= region.sizes[1] / 2))


def _degrees(text: str, *, hours: bool = False) -> float:
    """An angle in degrees; `hours`: a sexagesimal number without units is one of hours."""
    from_name = _DS9_UNITS.get(text[-1:])
    if from_name and not _SEXAGESIMAL.match(text):
        text = f"{text[:-1]} {from_name}"
    try:
        return float(text)
    except ValueError:
        unit = u.hourangle if hours and ("h" in text.lower() or ":" in text or " " in text) and _SEXAGESIMAL.match(text) else u.deg
        return float(Angle(text, unit).deg)


def _size(text: str, *, pixels: bool) -> float:
    if not pixels:
        return _degrees(text)
    return float(re.sub(r"\s*(pix|pixels?|i|p)$", "", text))
