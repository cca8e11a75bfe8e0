"""World coordinates of the products: those of the input as they are, with a table where no formula gives the wavelengths."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...datamodels import Frame
from .headers import unit_text

__all__ = ["add_medium", "cube_cards", "distortion", "medium", "read_wcs", "sky_cards", "with_axis"]

logger = logging.getLogger(__name__)

Tables = list[fits.BinTableHDU]

# the first of each physical type is what is written where the input has no word of its own
_KINDS = {
    "length": ("WAVE", "AWAV"),
    "frequency": ("FREQ",),
    "energy": ("ENER",),
    "wavenumber": ("WAVN",),
    "speed": ("VELO", "VRAD", "VOPT"),
    "dimensionless": ("ZOPT", "BETA", "VRAD", "VOPT", "VELO"),
}
_UNKNOWN = ("unknown", "in air or vacuum? The input does not say")
_CTYPE_IN = {"air": "AWAV", "vacuum": "WAVE"}
_ABSENT = {"CTYPE3": ("", "band"), "CRVAL3": (1.0, ""), "CDELT3": (1.0, "")}
_SIP = re.compile(r"(A|B|AP|BP)_(ORDER|DMAX|\d_\d)")
_EXACT = 1e-12  # relative: what a coordinate may lose on its way through a header
_WCSLIB = (Exception,)  # wcslib has its own kinds of failure; products with fewer coordinates are better than none


def medium(frame: Frame, stated: str | None = None) -> str:
    """What the spectral axis is, as CTYPE3 says it: WAVE (vacuum), AWAV (air), FREQ, VRAD …; '' where there is none.

    Parameters
    ----------
    frame : Frame
    stated : {"air", "vacuum", None}
        What the reader found about wavelengths; it wins over the WCS.
    """
    if frame.spectral_axis is None:
        return ""
    own = _own_kind(frame)
    physical_type = u.Quantity(frame.spectral_axis).unit.physical_type
    kinds = next((kinds for name, kinds in _KINDS.items() if name in physical_type), ("",))
    if kinds[0] == "WAVE" and stated in _CTYPE_IN:
        return _CTYPE_IN[stated]
    return own if own in kinds else "" if kinds[0] == "ZOPT" else kinds[0]


def add_medium(header: fits.Header, frame: Frame, provenance: Mapping[str, Any]) -> None:
    """Say in the header of a table what its column ``wavelength`` is."""
    kind = medium(frame, provenance.get("spectral_medium"))
    if kind and _medium_unknown(frame, kind, provenance.get("spectral_medium")):
        header["WAVETYPE"] = _UNKNOWN
    elif kind:
        header["WAVETYPE"] = (kind, "WAVE: in vacuum, AWAV: in air, FREQ, VRAD, ...")


def sky_cards(frame: Frame) -> fits.Header:
    """The coordinates of the image plane of `frame`, celestial or not; no card at all where it has none."""
    wcs: WCS | None = frame.wcs
    if wcs is None:
        return fits.Header()
    try:
        plane = wcs if wcs.naxis == 2 else wcs.sub([1, 2])
        return _cards(plane) if _says_something(plane) else fits.Header()
    except _WCSLIB as error:
        logger.warning("the coordinates of the image plane cannot be written: %s", " ".join(str(error).split()))
        return fits.Header()


def distortion(frame: Frame) -> str:
    """What a cube's header cannot say of the sky, '' where it can say all: astropy reads distortions in headers of planes only."""
    wcs: WCS | None = frame.wcs
    if wcs is None or (wcs.sip is None and wcs.cpdis1 is None and wcs.cpdis2 is None):
        return ""
    plane = wcs if wcs.naxis == 2 else wcs.sub([1, 2])
    x, y, _ = _corners_of(frame, 1)
    offset = np.abs(plane.pix2foc(x, y, 0) - np.array([x, y]))
    where = "stands in the HDU MASK only" if wcs.cpdis1 is None and wcs.cpdis2 is None else "is left out"
    return f"the distortion of the sky, up to {offset.max():.2g} pixels, {where}"


def cube_cards(frame: Frame, stated: str | None = None) -> tuple[fits.Header, Tables]:
    """Coordinates of the (band, y, x) samples, and the table that they look wavelengths up in, if they need one.

    The WCS of the input is repeated where it gives the wavelengths of `frame.spectral_axis`; else an evenly spaced axis is written as
    CRVAL3 and CDELT3, and any other one as a ``-TAB`` axis with the table ``WCS-TABLE`` (Greisen et al. 2006, A&A 446, 747,
    section 6). What is written is read back and compared before it is used: to 1e-12 of the largest value.

    Parameters
    ----------
    frame : Frame
    stated : {"air", "vacuum", None}
        What the reader found about wavelengths.

    Returns
    -------
    header : Header
    tables : list of BinTableHDU
        None or one.
    """
    header, tables = fits.Header(), Tables()
    for header, tables in _candidates(frame, medium(frame, stated)):
        if _agrees(frame, header, tables):
            break
    else:
        logger.warning("the world coordinates of the input cannot be repeated in a FITS header to the last digit")
    if _medium_unknown(frame, str(header.get("CTYPE3", "")), stated):
        # FITS has no word for a wavelength in an unknown medium, and viewers look for the word
        header["WAVETYPE"] = _UNKNOWN
    return header, tables


def read_wcs(header: fits.Header, tables: Tables) -> WCS:
    """The coordinates that `header` gives, with the wavelengths in `tables` if it refers to one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header, fobj=fits.HDUList([fits.PrimaryHDU(), *tables]))


# -- what may be written, the best first -------------------------------------------------------------------------------


def _candidates(frame: Frame, kind: str) -> Iterator[tuple[fits.Header, Tables]]:
    wcs: WCS | None = frame.wcs
    if wcs is not None and wcs.naxis == 3 and _says_something(wcs) and not any("-TAB" in ctype for ctype in wcs.wcs.ctype):
        try:
            yield _with_spectral_unit(_cards(wcs), wcs, frame, kind), []
        except _WCSLIB as error:
            logger.debug("the WCS of the input cannot be written: %s", error)
    sky = sky_cards(frame)
    if not kind:
        yield (with_axis(sky, _ABSENT) if sky else sky), []
        return
    axis = u.Quantity(frame.spectral_axis)
    yield with_axis(sky, _even(axis, kind)), []
    yield _looked_up(sky, axis, kind)


def _with_spectral_unit(header: fits.Header, wcs: WCS, frame: Frame, kind: str) -> fits.Header:
    """The third axis in the unit of `frame.spectral_axis`, where wcslib has metres and hertz."""
    if not kind:
        return header
    unit = u.Quantity(frame.spectral_axis).unit
    factor = u.Unit(wcs.wcs.cunit[2]).to(unit)
    steps = [f"CD3_{axis}" for axis in (1, 2, 3)] if wcs.wcs.has_cd() else ["CDELT3"]
    for key in ("CRVAL3", *steps):
        if key in header:
            header[key] = (float(f"{header[key] * factor:.15g}"), "")  # 4750, not 4750.000000000001
    header.set("CRVAL3", comment="at the reference pixel, in the unit of CUNIT3")
    ctype = str(header.get("CTYPE3", ""))
    header["CTYPE3"] = (kind + ctype[4:] if _own_kind(frame) else kind, "spectral axis")
    header["CUNIT3"] = (unit_text(unit), "unit of the spectral axis")
    return header


def _even(axis: u.Quantity, kind: str) -> dict[str, tuple[object, str]]:
    values = axis.value.astype(float)
    step = float(f"{(values[-1] - values[0]) / (len(values) - 1):.14g}") if len(values) > 1 else 0.0
    return {
        "CTYPE3": (kind, "spectral axis"),
        "CUNIT3": (unit_text(axis.unit), "unit of the spectral axis"),
        "CRVAL3": (float(values[0]), "first band"),
        "CDELT3": (step or 1.0, "step between bands"),
    }


def _looked_up(sky: fits.Header, axis: u.Quantity, kind: str) -> tuple[fits.Header, Tables]:
    values = axis.value.astype(float)
    cards: dict[str, tuple[object, str]] = {
        "CTYPE3": (f"{kind}-TAB", "spectral axis"),
        "CUNIT3": (unit_text(axis.unit), "unit of the spectral axis"),
        "CRVAL3": (1.0, "row of the table"),
        "CDELT3": (1.0, ""),
        "PS3_0": ("WCS-TABLE", "table"),
        "PS3_1": ("wavelength", "column"),
        "PV3_1": (1.0, "EXTVER"),
        "PV3_2": (1.0, "EXTLEVEL"),
        "PV3_3": (1.0, "axis of the column's array"),
    }
    array = values[None, :, None]
    column = fits.Column("wavelength", f"{len(values)}D", unit=unit_text(axis.unit), array=array, dim=f"(1,{len(values)})")
    return with_axis(sky, cards), [fits.BinTableHDU.from_columns([column], name="WCS-TABLE", ver=1)]


def with_axis(sky: fits.Header, cards: Mapping[str, tuple[object, str]]) -> fits.Header:
    """`sky` (possibly empty) with a third axis, in the form in which it has the two others, and without distortion."""
    header = sky.copy()
    _remove(header, [key for key in sky if _SIP.fullmatch(key)])
    for axis in (1, 2):
        header[f"CTYPE{axis}"] = str(header.get(f"CTYPE{axis}", "")).removesuffix("-SIP")
    header.insert(0, ("WCSAXES", 3, "Number of coordinate axes")) if "WCSAXES" not in header else header.set("WCSAXES", 3)
    header["CRPIX3"] = (1.0, "Pixel coordinate of reference point")
    for keyword, (value, comment) in cards.items():
        key = "CD3_3" if keyword == "CDELT3" and any(header["CD?_?"]) else keyword
        header[key] = (value, comment)
    return header


# -- a WCS as cards ----------------------------------------------------------------------------------------------------


def _cards(wcs: WCS) -> fits.Header:
    """The cards of `wcs`, with numbers to the last digit and with the CD matrix of an input that has one.

    wcslib writes 14 digits, and turns a CD matrix into PC cards that some viewers take for a step of 1.
    """
    header: fits.Header = wcs.to_header(relax=True)
    header.remove("MJDREF", ignore_missing=True)  # 0 where the input says nothing
    n_axes, has_cd = wcs.naxis, wcs.wcs.has_cd()
    matrix = wcs.wcs.cd if has_cd else wcs.wcs.get_pc()
    for axis in range(n_axes):
        header.set(f"CTYPE{axis + 1}", str(wcs.wcs.ctype[axis]))  # wcslib leaves blank ones out
        header[f"CRPIX{axis + 1}"] = float(wcs.wcs.crpix[axis])
        header[f"CRVAL{axis + 1}"] = float(wcs.wcs.crval[axis])
    _remove(header, [f"{name}{i}_{j}" for name in ("PC", "CD") for i in range(1, n_axes + 1) for j in range(1, n_axes + 1)])
    if has_cd:
        _remove(header, [f"CDELT{axis}" for axis in range(1, n_axes + 1)])
        steps = {f"CD{i + 1}_{j + 1}": matrix[i, j] for i, j in np.ndindex(matrix.shape) if i == j or matrix[i, j] != 0}
    else:
        steps = {f"CDELT{axis + 1}": step for axis, step in enumerate(wcs.wcs.get_cdelt())}
        steps |= {f"PC{i + 1}_{j + 1}": matrix[i, j] for i, j in np.ndindex(matrix.shape) if matrix[i, j] != (i == j)}
    for key, value in steps.items():
        header[key] = (float(value), "coordinate increment" if key.startswith("CDELT") else "coordinate transformation matrix")
    return header


def _remove(header: fits.Header, keys: list[str]) -> None:
    for key in keys:
        header.remove(key, ignore_missing=True)


def _says_something(wcs: WCS) -> bool:
    """Whether there is more in `wcs` than pixel numbers."""
    w = wcs.wcs
    plain = np.array_equal(w.get_pc(), np.eye(wcs.naxis)) and (w.get_cdelt() == 1).all() and not any(w.crval) and not any(w.crpix)
    return not plain or any(w.ctype) or any(str(unit) for unit in w.cunit)


def _medium_unknown(frame: Frame, kind: str, stated: str | None) -> bool:
    return stated not in _CTYPE_IN and kind.startswith("WAVE") and _own_kind(frame) != "WAVE"


def _own_kind(frame: Frame) -> str:
    """The spectral type in the WCS of `frame`, '' where it has no word that FITS knows."""
    if frame.wcs is None or frame.wcs.naxis < 3:
        return ""
    kind = str(frame.wcs.wcs.ctype[2])[:4].rstrip("-")
    return kind if any(kind in kinds for kinds in _KINDS.values()) else ""


# -- what was written, read back ---------------------------------------------------------------------------------------


def _agrees(frame: Frame, header: fits.Header, tables: Tables) -> bool:
    """Whether the coordinates in `header` are those of `frame`."""
    try:
        wcs = read_wcs(header, tables)
        return _same_bands(frame, wcs) and _same_plane(frame, wcs)
    except _WCSLIB as error:
        logger.debug("coordinates cannot be read back: %s", error)
        return False


def _same_bands(frame: Frame, wcs: WCS) -> bool:
    if frame.spectral_axis is None:
        return True
    axis = u.Quantity(frame.spectral_axis)
    values = _world(wcs, frame, np.arange(frame.n_bands))[2]
    if not str(wcs.wcs.ctype[2]).endswith("-TAB"):  # whose values have the unit of the table, whatever the label
        values = u.Quantity(values, wcs.wcs.cunit[2]).to_value(axis.unit)
    return _close(values, axis.value)


def _same_plane(frame: Frame, wcs: WCS) -> bool:
    own: WCS | None = frame.wcs
    if own is None:
        return True
    return _close_all(_corners(frame, wcs), _corners(frame, own))


def _corners(frame: Frame, wcs: WCS) -> list[NDArray[np.float64]]:
    """World coordinates of the image plane at corners and middles of the cube."""
    return list(wcs.wcs_pix2world(*_corners_of(frame, frame.n_bands)[: wcs.naxis], 0))[:2]


def _corners_of(frame: Frame, n_bands: int) -> list[NDArray[np.int64]]:
    """Pixel numbers x, y, band of corners and middles."""
    n_y, n_x = frame.shape
    grid = np.meshgrid(*([0, n // 2, n - 1] for n in (n_x, n_y, n_bands)), indexing="ij")
    return [numbers.ravel() for numbers in grid]


def _world(wcs: WCS, frame: Frame, bands: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """World coordinates along the bands, in the middle of the image plane."""
    n_y, n_x = frame.shape
    return list(wcs.wcs_pix2world(np.full(len(bands), (n_x - 1) / 2), np.full(len(bands), (n_y - 1) / 2), bands, 0))


def _close(values: NDArray[Any], expected: NDArray[Any]) -> bool:
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
    return bool(np.allclose(values, expected, rtol=0, atol=10 * _EXACT * scale, equal_nan=True))


def _close_all(values: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> bool:
    return all(_close(*pair) for pair in zip(values, expected, strict=True))
