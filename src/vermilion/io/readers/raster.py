"""Slit rasters of the Sun with one HDU per spectral window, named by TDESC1, TDESC2 … in the primary header (IRIS level 2).

The spectral axis is FITS axis 1, the slit is axis 2, the steps of the raster are axis 3; here the slit becomes y and the steps x.
IRIS writes -200 where there are no data (-32768 before scaling), and its level-2 interpolation mixes that with the pixels beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Cube
from ...errors import AmbiguousInputError, ParameterError, ShapeError
from ..fits.assemble import assemble
from ..fits.hdus import Decision, is_cube
from ..fits.mended import mended
from ..fits.preflight import FITSFile, HDUInfo, card
from ..options import ReadOptions
from ..record import add_decisions, note

__all__ = ["identify", "load", "name"]

name = "raster"

_MISSING = -200.0
_MIXED = -150.0  # IRIS: fluxes are never so far below zero, interpolated mixtures of -200 and a flux are
_UNSCALED = -32768.0
_REACH = 2  # pixels that the interpolation of level 2 mixes
_DN = re.compile(r"^(corrected\s+)?DN$", re.IGNORECASE)


@dataclass(frozen=True)
class Window:
    """A spectral window: its number, name, wavelengths and HDU."""

    number: int
    title: str
    span: str
    hdu: HDUInfo

    def __str__(self) -> str:
        return f"{self.number} '{self.title}' ({self.span})" if self.span else f"{self.number} '{self.title}'"


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether the primary header names spectral windows."""
    return "TDESC1" in headers[0] and ("TWMIN1" in headers[0] or "NWIN" in headers[0])


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube of one window.

    Raises
    ------
    AmbiguousInputError
        If there are several windows and none, or more than one, is named; the text lists them.
    """
    windows = _windows(file)
    window, why = _choose(windows, options.data_ext)
    primary, hdu = file.hdus[0].header, window.hdu
    cards, without, notes = _mend_unit(primary, hdu)
    more_cards, more_without, more_notes = _mend_sit_and_stare(hdu)
    source = mended(file, hdu.index, {**cards, **more_cards}, without=(*without, *more_without))
    cube = assemble(source, replace(options, data_ext=hdu.index), reader=name)
    _name_windows(cube.meta["decisions"], windows, window, why)
    notes += more_notes
    if _slit_first(cube, hdu, options):
        cube = _upright(cube)
        notes.append(note("the slit is y, the steps of the raster are x"))
    if str(card(primary, "TELESCOP", "")).strip().upper() == "IRIS":
        cube = _mask_missing(cube, card(primary, f"TDMIN{window.number}"), notes)
    return add_decisions(cube, notes)


# ---------------------------------------------------------------- windows


def _windows(file: FITSFile) -> list[Window]:
    """The windows that the primary header announces; the n-th one lies in HDU n."""
    primary = file.hdus[0].header
    windows: list[Window] = []
    for hdu in file.hdus:
        number = hdu.index or 1  # slit-jaw files keep their only window in the primary HDU
        if is_cube(hdu) and f"TDESC{number}" in primary and number not in [w.number for w in windows]:
            windows.append(Window(number, str(card(primary, f"TDESC{number}", "")).strip(), _span(primary, number), hdu))
    if not windows:
        raise ShapeError(f"{file.path} names spectral windows (TDESC1 …), but no HDU holds one: expected an image with three axes.")
    return windows


def _span(primary: fits.Header, number: int) -> str:
    ends = [card(primary, f"{key}{number}") for key in ("TWMIN", "TWMAX")]
    return f"{ends[0]:.2f} to {ends[1]:.2f} Angstrom" if all(isinstance(end, float | int) for end in ends) else ""


def _choose(windows: list[Window], wanted: str | int | None) -> tuple[Window, str]:
    listing = "; ".join(map(str, windows))
    if wanted is None:
        if len(windows) > 1:
            example = windows[0].title or windows[0].number
            raise AmbiguousInputError(f"{len(windows)} spectral windows: {listing}. Choose one, for example --data-ext '{example}'.")
        return windows[0], "the only spectral window"
    text = _plain(wanted)
    for found, why in (
        ([w for w in windows if _plain(w.title) == text], "option --data-ext"),
        ([w for w in windows if text == str(w.number)], "option --data-ext, by its number"),
        ([w for w in windows if text and text in _plain(w.title)], "option --data-ext, the only window with that in its name"),
    ):
        if len(found) > 1:
            raise AmbiguousInputError(f"--data-ext {wanted} fits {len(found)} windows: {'; '.join(map(str, found))}. Give the number.")
        if found:
            return found[0], f"{why}: window {found[0]}"
    raise ParameterError(f"--data-ext {wanted}: no such spectral window. The file holds {listing}.")


def _name_windows(decisions: list[Decision], windows: list[Window], chosen: Window, why: str) -> None:
    """Write the windows' names into the decisions about their HDUs."""
    titles = {window.hdu.index: window for window in windows}
    for decision in decisions:
        window = titles.get(decision["hdu"])
        if window is not None:
            decision["name"] = window.title
            decision["why"] = why if window is chosen else f"another spectral window: {window}"


def _plain(text: Any) -> str:
    return re.sub(r"[\s_]+", " ", str(text)).strip().casefold()


# ---------------------------------------------------------------- headers


def _mend_unit(primary: fits.Header, hdu: HDUInfo) -> tuple[dict[str, Any], tuple[str, ...], list[Decision]]:
    text = str(card(hdu.header, "BUNIT", "") or card(primary, "BUNIT", "")).strip()
    if not _DN.match(text) or text == "DN":
        return {}, (), []
    return {"BUNIT": "DN"}, (), [note(f"BUNIT {text!r} is read as DN, data numbers of the detector", loud=True)]


def _mend_sit_and_stare(hdu: HDUInfo) -> tuple[dict[str, Any], tuple[str, ...], list[Decision]]:
    """A raster with steps of 0 has no image plane: its third axis is time, and its matrix cannot be inverted."""
    still = [axis for axis in (2, 3) if card(hdu.header, f"CDELT{axis}") == 0]
    if not still:
        return {}, (), []
    cards: dict[str, Any] = {f"CDELT{axis}": 1.0 for axis in still}
    for axis in (2, 3):
        cards |= {f"CTYPE{axis}": "", f"CUNIT{axis}": "", f"CRVAL{axis}": 0.0 if axis in still else card(hdu.header, f"CRVAL{axis}", 0.0)}
    matrix = tuple(f"PC{i}_{j}" for i in (1, 2, 3) for j in (1, 2, 3))
    text = f"CDELT{still[0]} = 0, sit and stare: FITS axis {still[0]} counts exposures, there is no image plane on the sky"
    return cards, matrix, [note(text, loud=True)]


def _slit_first(cube: Cube, hdu: HDUInfo, options: ReadOptions) -> bool:
    """Whether the slit, or latitude, is x: the rule where the spectral axis is the first of the file."""
    wcs = cube.frame.wcs
    kind = 0 if wcs is None else int(wcs.wcs.axis_types[0])
    if kind // 1000 == 2:
        return kind % 10 == 1  # latitude
    return options.spectral_axis == 1 or str(card(hdu.header, "CTYPE1", "")).strip().upper()[:4] in ("WAVE", "AWAV")


def _upright(cube: Cube) -> Cube:
    """The cube with x and y exchanged."""
    wcs, turned = cube.frame.wcs, None
    if wcs is not None:
        turned = wcs.sub([2, 1, 3])
        turned.pixel_shape = (cube.data.shape[1], cube.data.shape[2], cube.data.shape[0])

    def turn(array: NDArray[Any] | None) -> Any:
        return None if array is None else np.ascontiguousarray(array.swapaxes(1, 2))

    frame = replace(cube.frame, shape=cube.frame.shape[::-1], wcs=turned)
    return replace(cube, data=turn(cube.data), variance=turn(cube.variance), mask=turn(cube.mask), frame=frame)


# ---------------------------------------------------------------- values


def _mask_missing(cube: Cube, least: Any, notes: list[Decision]) -> Cube:
    """Mask what IRIS writes where there are no data, and what its interpolation mixed with it."""
    data = cube.data
    with np.errstate(invalid="ignore"):
        missing = (data <= _MIXED) | (data == _UNSCALED)
    exact = int(np.count_nonzero((data == _MISSING) | (data == _UNSCALED)))
    count = int(np.count_nonzero(missing))
    if count:
        text = (
            f"{count} values are missing data of IRIS: masked; {exact} are {_MISSING:g}, the others lie below {_MIXED:g}, where no flux is"
        )
        notes.append(note(text, loud=True))
    if isinstance(least, float | int) and least > _MIXED:
        with np.errstate(invalid="ignore"):
            mixed = (data < least) & _near(missing) & ~missing
        if mixed.any():
            text = f"{np.count_nonzero(mixed)} values beside missing ones lie below the least valid one, TDMIN = {least:g}: masked"
            notes.append(note(text, loud=True))
            missing |= mixed
    notes.append(note("no gain or read noise is stated in the header: no errors are made up; photon noise grows with the signal"))
    if not missing.any():
        return cube
    return replace(cube, mask=missing if cube.mask is None else cube.mask | missing)


def _near(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels within two of a masked one, along the spectrum or along the slit, where the interpolation runs."""
    near = mask.copy()
    for axis in (0, 1):
        for shift in range(1, _REACH + 1):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            near[tuple(ahead)] |= mask[tuple(behind)]
            near[tuple(behind)] |= mask[tuple(ahead)]
    return near
