"""The synthesized beam of an interferometer: where files keep it, and what it looks like on their pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ..datamodels import PSF
from ..errors import HeaderError
from .fits.preflight import FITSFile, HDUInfo, card, damage_reported

__all__ = ["Beam", "beam_area", "beam_psf", "find_beam", "pixel_matrix"]

Array = NDArray[np.floating[Any]]

_HISTORY = re.compile(r"BMAJ\s*=\s*([-+.\dEeDd]+)\s*BMIN\s*=\s*([-+.\dEeDd]+)(?:\s*BPA\s*=\s*([-+.\dEeDd]+))?")
_ANGLES = {"DEGREES": u.deg, "DEGREE": u.deg, "DEG": u.deg, "ARCSEC": u.arcsec, "ARCSECONDS": u.arcsec, "RAD": u.rad, "RADIANS": u.rad}
_ROUND = 0.01  # of the axes: below, the position angle says nothing
_REACH = 4.0  # sigma of the major axis at which the image ends
_STEP = 1e-4  # of a degree: for the derivatives of the WCS
_LARGEST = 0.25  # of the memory, for images of a beam that changes with the band


@dataclass(frozen=True, eq=False)
class Beam:
    """An elliptical Gaussian per band.

    Attributes
    ----------
    major, minor : Quantity, shape (B,)
        Full widths at half maximum.
    angle : Quantity (B,) or None
        Of the major axis, from north through east; None where the file does not say it.
    source : str
    notes : tuple of str
    """

    major: u.Quantity
    minor: u.Quantity
    angle: u.Quantity | None
    source: str
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether all bands have one beam."""
        return all(axis is None or bool((axis == axis[0]).all()) for axis in (self.major, self.minor, self.angle))

    def __str__(self) -> str:
        text = f"{_span(self.major)} x {_span(self.minor)} arcsec"
        return text if self.angle is None else f"{text}, position angle {_span(self.angle, u.deg)} deg"


def _span(values: u.Quantity, unit: u.UnitBase = u.arcsec) -> str:
    low, high = values.min().to_value(unit), values.max().to_value(unit)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


# ---------------------------------------------------------------- in the file


def find_beam(file: FITSFile, data: HDUInfo, n_bands: int, *, plane: int = 0) -> tuple[Beam | None, list[str]]:
    """The beam that the file states, and what is to be said where it is of no use.

    The order: a BEAMS table (CASA, AIPS); cards BMAJ1, BMAJ2 … for each band; BMAJ, BMIN and BPA of the data or the primary header,
    in degrees; the last ``CLEAN BMAJ= … BMIN= … BPA=`` of AIPS in the HISTORY.

    Parameters
    ----------
    file : FITSFile
    data : HDUInfo
    n_bands : int
    plane : int
        Number of the polarization that is read, for tables with one row per band and polarization.
    """
    tables = [hdu for hdu in file.hdus if hdu.kind == "table" and {"BMAJ", "BMIN"} <= _column_numbers(hdu.header).keys()]
    notes: list[str] = []
    if len(tables) == 1:
        try:
            return _from_table(file, tables[0], n_bands, plane), notes
        except HeaderError as error:
            notes.append(f"the beams are not used: {error}")
    elif tables:
        notes.append(f"{len(tables)} tables hold beams: none is used")
    headers = (data.header, file.hdus[0].header)
    for header in headers:
        found = _from_numbered_cards(header, n_bands) or _from_cards(header, n_bands)
        if found is not None:
            if tables or card(header, "CASAMBM") is True:
                notes.append("the header announces a beam per channel, but only one is there")
            return found, notes
    for header in headers:
        found = _from_history(header, n_bands)
        if found is not None:
            return found, notes
    return None, notes


def _column_numbers(header: fits.Header) -> dict[str, int]:
    count = card(header, "TFIELDS", 0)
    numbers = range(1, (count if isinstance(count, int) else 0) + 1)
    return {str(card(header, f"TTYPE{i}", "")).strip().upper(): i for i in numbers}


def _angle_unit(header: fits.Header, number: int) -> u.UnitBase:
    text = str(card(header, f"TUNIT{number}", "")).strip()
    if text.upper() not in _ANGLES:
        column = str(card(header, f"TTYPE{number}", "")).strip()
        raise HeaderError(f"column {column} has the unit {text!r}: expected arcsec or deg (TUNIT{number}).")
    return _ANGLES[text.upper()]


def _from_table(file: FITSFile, table: HDUInfo, n_bands: int, plane: int) -> Beam:
    numbers = _column_numbers(table.header)
    with file.open() as hdulist, damage_reported(f"HDU {table}"):
        rows = hdulist[table.index].data
        values = {key: np.array(rows.field(i - 1)) for key, i in numbers.items() if key in ("BMAJ", "BMIN", "BPA", "CHAN", "POL")}
    widths = [u.Quantity(values[key].astype(float).ravel(), _angle_unit(table.header, numbers[key])) for key in ("BMAJ", "BMIN")]
    angle = None
    if "BPA" in numbers:
        text = str(card(table.header, f"TUNIT{numbers['BPA']}", "")).strip().upper()
        angle = u.Quantity(values["BPA"].astype(float).ravel(), _ANGLES.get(text, u.deg))
    order = _rows_of_bands(values, len(widths[0]), n_bands, plane)
    notes: list[str] = []
    good = np.isfinite(widths[0]) & np.isfinite(widths[1]) & (widths[0] > 0) & (widths[1] > 0)
    good = good[order]
    if not good.any():
        raise HeaderError(f"HDU {table} holds no beam with positive axes.")
    major, minor = (width[order] for width in widths)
    angle = None if angle is None else angle[order]
    if not good.all():
        nearest = _nearest(good)
        major, minor, angle = major[nearest], minor[nearest], None if angle is None else angle[nearest]
        notes.append(f"{np.count_nonzero(~good)} bands have no beam in HDU {table}: that of the nearest band is taken")
    return _ordered(major, minor, angle, f"HDU {table}", notes)


def _rows_of_bands(values: dict[str, NDArray[Any]], n_rows: int, n_bands: int, plane: int) -> NDArray[np.int64]:
    """The row of each band."""
    if n_rows == n_bands and "CHAN" not in values:
        return np.arange(n_bands)
    channel = values.get("CHAN", np.arange(n_rows) % n_bands).astype(int).ravel()
    channel = channel - channel.min()  # AIPS counts from 1
    if "POL" in values and n_rows > n_bands:
        polarization = values["POL"].astype(int).ravel()
        rows = np.flatnonzero(polarization == np.unique(polarization)[min(plane, len(np.unique(polarization)) - 1)])
    else:
        rows = np.arange(n_rows)
    rows = rows[np.argsort(channel[rows], kind="stable")]
    if len(rows) != n_bands or not np.array_equal(channel[rows], np.arange(n_bands)):
        raise HeaderError(f"the table has {len(rows)} rows for {n_bands} bands.")
    return rows


def _nearest(good: NDArray[np.bool_]) -> NDArray[np.int64]:
    index = np.flatnonzero(good)
    return index[np.abs(np.arange(len(good))[:, None] - index[None]).argmin(axis=1)]


def _from_cards(header: fits.Header, n_bands: int) -> Beam | None:
    major, minor, angle = (_number(header, key) for key in ("BMAJ", "BMIN", "BPA"))
    if major is None or major <= 0 or (minor is not None and minor <= 0):
        return None
    unit = u.arcsec if "ARCSEC" in str(header.comments["BMAJ"]).upper() else u.deg
    notes = [] if unit == u.deg else ["the comment of BMAJ says arcsec, though the custom is degrees"]
    if minor is None:
        minor = major
        notes.append("BMIN is missing: the beam is taken as round")
    long, short = (u.Quantity(np.full(n_bands, width), unit) for width in (major, minor))
    return _ordered(
        long, short, None if angle is None else u.Quantity(np.full(n_bands, angle), u.deg), "BMAJ, BMIN, BPA of the header", notes
    )


def _from_numbered_cards(header: fits.Header, n_bands: int) -> Beam | None:
    if n_bands < 2 or f"BMAJ{n_bands}" not in header or "BMAJ1" not in header:
        return None
    keys = [(f"BMAJ{i}", f"BMIN{i}", f"BPA{i}") for i in range(1, n_bands + 1)]
    values = [_number(header, key) for row in keys for key in row]
    table = np.array([np.nan if value is None else value for value in values]).reshape(n_bands, 3)
    if not (np.isfinite(table).all() and (table[:, :2] > 0).all()):
        return None
    major, minor, angle = (u.Quantity(column, u.deg) for column in table.T)
    return _ordered(major, minor, angle, f"BMAJ1 to BMAJ{n_bands} of the header", [])


def _from_history(header: fits.Header, n_bands: int) -> Beam | None:
    lines = [str(line) for line in header.get("HISTORY", [])]
    for line in reversed(lines):
        match = _HISTORY.search(line)
        if match is None:
            continue
        try:
            major, minor, angle = (None if text is None else float(text.upper().replace("D", "E")) for text in match.groups())
        except ValueError:
            continue
        if major and minor and major > 0 and minor > 0:
            long, short = (u.Quantity(np.full(n_bands, width), u.deg) for width in (major, minor))
            turned = None if angle is None else u.Quantity(np.full(n_bands, angle), u.deg)
            return _ordered(long, short, turned, "HISTORY, the last CLEAN beam", [])
    return None


def _number(header: fits.Header, key: str) -> float | None:
    value = card(header, key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _ordered(major: u.Quantity, minor: u.Quantity, angle: u.Quantity | None, source: str, notes: Sequence[str]) -> Beam:
    """A beam in arcsec whose major axis is the longer one."""
    major, minor = major.to(u.arcsec), minor.to(u.arcsec)
    turned = minor > major
    notes = list(notes)
    if turned.any():
        major, minor = np.maximum(major, minor), np.minimum(major, minor)
        angle = None if angle is None else np.where(turned, angle + 90 * u.deg, angle)
        notes.append("BMIN is larger than BMAJ: the axes are exchanged")
    if angle is None and (minor > (1 - _ROUND) * major).all():
        angle = np.zeros(len(major)) * u.deg
    elif angle is not None and not np.isfinite(angle).all():
        angle = None
        notes.append("the position angle of the beam is not finite: it is not used")
    return Beam(major, minor, None if angle is None else angle.to(u.deg), source, tuple(notes))


# ---------------------------------------------------------------- on the pixels


def pixel_matrix(wcs: WCS | None, shape: tuple[int, int]) -> Array | None:
    """Pixels (x, y) per arcsec towards east and north at the center of the image, shape (2, 2): columns are east and north.

    From the derivatives of the whole WCS, not from its CDELT: a reference point far away, or a projection that shears, counts.
    None where there are no celestial coordinates.
    """
    if wcs is None or not wcs.has_celestial:
        return None
    sky = wcs.celestial
    center = [(shape[1] - 1) / 2, (shape[0] - 1) / 2]
    lon, lat = (float(value) for value in sky.wcs_pix2world([center], 0)[0])
    if not (math.isfinite(lon) and math.isfinite(lat)) or abs(lat) > 90 - 10 * _STEP:
        return None
    columns = []
    for d_lon, d_lat in ((_STEP / math.cos(math.radians(lat)), 0.0), (0.0, _STEP)):
        ahead, behind = sky.wcs_world2pix([[lon + d_lon, lat + d_lat], [lon - d_lon, lat - d_lat]], 0)
        columns.append((ahead - behind) / (2 * _STEP * 3600))
    matrix = np.array(columns).T
    return matrix if np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 0 else None


def beam_area(beam: Beam, matrix: Array) -> Array:
    """Integral of each beam with peak 1, in pixels (B,): ``pi / (4 ln 2) major minor``."""
    area = math.pi / (4 * math.log(2)) * beam.major.to_value(u.arcsec) * beam.minor.to_value(u.arcsec)
    return np.asarray(area * abs(np.linalg.det(matrix)))


def beam_psf(beam: Beam, matrix: Array | None, shape: tuple[int, int], limit: int) -> PSF:
    """The beam as a PSF: the geometric mean of its axes and, where pixels and position angle are known, its image.

    The image holds the values at the centers of pixels, as interferometers sample their maps, out to 4 sigma of the longest axis.

    Parameters
    ----------
    beam : Beam
    matrix : ndarray or None
        As of `pixel_matrix`.
    shape : tuple of int
        (Ny, Nx) of the cube, which no image exceeds by more than a factor 2.
    limit : int
        Bytes that may be used.
    """
    fwhm = np.sqrt(beam.major * beam.minor)
    image = None if matrix is None or beam.angle is None else _images(beam, matrix, shape, limit)
    return PSF(image=image, fwhm=fwhm, source=beam.source)


def _images(beam: Beam, matrix: Array, shape: tuple[int, int], limit: int) -> Array | None:
    assert beam.angle is not None
    count = 1 if beam.same else len(beam.major)
    sigma = np.stack([beam.major.to_value(u.arcsec)[:count], beam.minor.to_value(u.arcsec)[:count]]) / math.sqrt(8 * math.log(2))
    angle = beam.angle.to_value(u.rad)[:count]
    along = np.stack([np.sin(angle), np.cos(angle)])  # (east, north) of the major axis
    across = np.stack([np.cos(angle), -np.sin(angle)])
    sky = np.einsum("b,ib,jb->bij", sigma[0] ** 2, along, along) + np.einsum("b,ib,jb->bij", sigma[1] ** 2, across, across)
    covariance = matrix @ sky @ matrix.T  # in pixels, (x, y)
    reach = np.ceil(_REACH * np.sqrt(covariance.diagonal(axis1=1, axis2=2).max(axis=0))).astype(int)
    half_x, half_y = (int(min(max(r, 1), n)) for r, n in zip(reach, (shape[1], shape[0]), strict=True))
    if 8 * count * (2 * half_x + 1) * (2 * half_y + 1) * 3 > _LARGEST * limit:
        return None
    y, x = np.mgrid[-half_y : half_y + 1, -half_x : half_x + 1]
    offsets = np.stack([x.ravel(), y.ravel()]).astype(float)
    distance = np.einsum("ip,bij,jp->bp", offsets, np.linalg.inv(covariance), offsets)
    image = np.exp(-0.5 * distance)
    image = (image / image.sum(axis=1, keepdims=True)).reshape(count, *y.shape)
    return np.broadcast_to(image, (len(beam.major), *y.shape)) if count == 1 else image
