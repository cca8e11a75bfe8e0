"""Parts of a cube: a range of the spectral axis, a part of the image plane, bins, and the noise to go on with."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...datamodels import PSF, Cube, Frame
from ...diagnose.correlation import band_noise
from ...errors import NoDataError, ParameterError
from ..fits.wcs_parts import cut_wcs
from ..options import ReadOptions
from ..record import add_decisions, note
from ..units import unit_option
from .binning import bin_cube
from .regions import inside, parse_region

__all__ = ["empirical_noise", "select", "select_bands", "select_region", "select_roi"]

_RANGE = re.compile(r"^\s*([-+.\deE]*)\s*:\s*([-+.\deE]*)\s*([^\d\s.+-].*)$")
_ROI = re.compile(r"^\s*\[?\s*([-+]?\d*)\s*:\s*([-+]?\d*)\s*,\s*([-+]?\d*)\s*:\s*([-+]?\d*)\s*\]?\s*$")
_TOLERANCE = 1e-9  # of the width of a band: '4750:4760' keeps a band at 4760 whose wavelength was computed


def select(cube: Cube, options: ReadOptions) -> Cube:
    """The part of the cube that the options ask for; the cube itself where they ask for nothing.

    In this order: `noise`, which is measured where there is most blank sky, in the whole cube; `wave`, `roi`, `region`, `bin`. Every step
    leaves a note in ``meta["decisions"]``.
    """
    if options.noise == "empirical":
        cube = empirical_noise(cube)
    if options.wave is not None and not cube.meta.get("spectral_axis_given", False):
        cube = select_bands(cube, options.wave)
    if options.roi is not None:
        cube = select_roi(cube, options.roi)
    if options.region is not None:
        cube = select_region(cube, options.region)
    if options.bin is not None:
        cube = bin_cube(cube, options.bin)
    return cube


# ---------------------------------------------------------------- bands


def select_bands(cube: Cube, wave: Any) -> Cube:
    """The bands whose centers lie in a range, both ends included.

    Parameters
    ----------
    cube : Cube
    wave : str or Quantity
        ``"low:high unit"``, either end may be left out, or a Quantity (2,); in any unit that the axis can be expressed in. Nothing is
        converted between air and vacuum: numbers are compared with the axis as the file has it.

    Returns
    -------
    Cube

    Raises
    ------
    ParameterError
        If the range is not understood.
    NoDataError
        If the cube has no spectral axis, or no band in the range.
    """
    axis = cube.frame.spectral_axis
    if axis is None:
        raise NoDataError(f"wave is {wave!r}, but the file has no spectral axis.")
    low, high = _range(wave, axis)
    tolerance = _TOLERANCE * float(np.abs(np.diff(axis.value)).min()) if len(axis) > 1 else 0.0
    chosen = np.flatnonzero((axis.value >= low - tolerance) & (axis.value <= high + tolerance))
    if len(chosen) == 0:
        raise NoDataError(
            f"no band lies in {wave}: the axis runs from {axis.value.min():.6g} to {axis.value.max():.6g} {axis.unit}; change --wave."
        )
    gaps = len(chosen) != chosen[-1] - chosen[0] + 1
    kept = _bands(cube, chosen if gaps else slice(int(chosen[0]), int(chosen[-1]) + 1))
    return _kept(kept, f"option --wave {wave}: {len(chosen)} of {len(axis)} bands are kept")


def _range(wave: Any, axis: u.Quantity) -> tuple[float, float]:
    """Ends of the range in the unit of the axis, infinite where one is left out."""
    expected = "expected 'low:high unit' such as '4750:9300 Angstrom'"
    if isinstance(wave, u.Quantity) and wave.shape == (2,):
        numbers, unit = [float(value) for value in wave.value], wave.unit
    else:
        match = _RANGE.match(str(wave))
        if match is None:
            raise ParameterError(f"wave is {wave!r}: {expected}.")
        text = {"A": "Angstrom", "mum": "um"}.get(match[3].strip(), match[3])
        try:
            numbers = [float(number) if number else end for number, end in zip((match[1], match[2]), (-np.inf, np.inf), strict=True)]
        except ValueError:
            raise ParameterError(f"wave is {wave!r}: {expected}.") from None
        unit = unit_option(text)
    if not unit.is_equivalent(axis.unit, u.spectral()):
        raise ParameterError(f"wave is {wave!r}: its unit does not fit an axis in {axis.unit}.")
    if np.isnan(numbers).any():
        raise ParameterError(f"wave is {wave!r}: {expected}.")
    ends = [_converted(number, unit, axis.unit) for number in numbers]
    # '600:500 nm' is taken as '500:600 nm'; a range of frequencies turns round on an axis of wavelengths
    return min(ends), max(ends)


def _converted(number: float, unit: u.UnitBase, to: u.UnitBase) -> float:
    if unit.is_equivalent(to):
        return number if np.isinf(number) else float(u.Quantity(number, unit).to_value(to))
    direct = all(kind.is_equivalent(u.Hz) or kind.is_equivalent(u.J) or kind.is_equivalent(1 / u.m) for kind in (unit, to))
    if direct:
        return number if np.isinf(number) else float(u.Quantity(number, unit).to_value(to, u.spectral()))
    if number <= 0:  # no wave is longer than that of frequency 0
        return np.inf
    return 0.0 if np.isinf(number) else float(u.Quantity(number, unit).to_value(to, u.spectral()))


def _bands(cube: Cube, kept: slice | NDArray[np.intp]) -> Cube:
    """The cube with some of its bands, in their order."""
    frame, psf = cube.frame, cube.psf
    index = np.arange(frame.n_bands)[kept]

    def cut(values: Any) -> Any:
        return None if values is None else values[kept]

    def per_band(values: Any) -> Any:
        return tuple(values[i] for i in index) if isinstance(values, tuple) else values

    part = replace(
        frame,
        n_bands=len(index),
        unit=per_band(frame.unit),
        spectral_axis=cut(frame.spectral_axis),
        band_names=per_band(frame.band_names),
        lsf=cut(frame.lsf),
        wcs=_band_wcs(frame.wcs, kept, frame.shape),
    )
    seen = None if psf is None else PSF(image=cut(psf.image), fwhm=cut(psf.fwhm), beta=cut(psf.beta), source=psf.source)
    meta = {name: _meta_bands(value, frame.n_bands, index) for name, value in cube.meta.items()}
    return replace(cube, data=cut(cube.data), variance=cut(cube.variance), mask=cut(cube.mask), frame=part, psf=seen, meta=meta)


def _band_wcs(wcs: WCS | None, kept: slice | NDArray[np.intp], shape: tuple[int, int]) -> WCS | None:
    if wcs is None:
        return None
    if isinstance(kept, slice):
        return cut_wcs(wcs, (0, 0, kept.start), (kept.stop - kept.start, *shape))
    wcs = wcs.sub([1, 2, 0])  # bands with gaps are on no axis that a header can describe: they are numbered
    wcs.pixel_shape = (shape[1], shape[0], len(kept))
    return wcs


def _meta_bands(value: Any, n_bands: int, index: NDArray[np.intp]) -> Any:
    """What belongs to the bands among the arrays in `meta`: the first axis, of as many rows as there are bands."""
    if isinstance(value, dict):
        return {name: _meta_bands(part, n_bands, index) for name, part in value.items()}
    return value[index] if isinstance(value, np.ndarray) and value.ndim and len(value) == n_bands > 1 else value


# ---------------------------------------------------------------- image plane


def select_roi(cube: Cube, roi: Any) -> Cube:
    """A rectangle of the image plane.

    Parameters
    ----------
    cube : Cube
    roi : str or sequence of int
        ``"x0:x1,y0:y1"`` or (x0, x1, y0, y1): pixels counted from 0, the last one excluded; open ends and negative numbers as in numpy.

    Raises
    ------
    ParameterError
        If it is not understood.
    NoDataError
        If it holds no pixel with data.
    """
    n_y, n_x = cube.frame.shape
    columns, rows = _roi_slices(roi)
    x, y = range(n_x)[columns], range(n_y)[rows]
    if len(x) == 0 or len(y) == 0:
        raise NoDataError(f"roi {_roi_text(roi)} holds no pixel: the image plane has {n_x} columns and {n_y} rows; change --roi.")
    part = _cut(cube, slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1))
    return _kept(part, f"option --roi {_roi_text(roi)}: columns {x[0]} to {x[-1]}, rows {y[0]} to {y[-1]} (from 0) of {n_x} x {n_y}")


def _roi_slices(roi: Any) -> tuple[slice, slice]:
    expected = "expected 'x0:x1,y0:y1', pixels counted from 0, the last one excluded"
    if isinstance(roi, str):
        match = _ROI.match(roi)
        if match is None:
            raise ParameterError(f"roi is {roi!r}: {expected}.")
        ends: list[Any] = [int(text) if text else None for text in match.groups()]
    else:
        try:
            ends = list(np.ravel(roi))
        except ValueError:
            ends = []
        if len(ends) != 4 or not all(isinstance(end, int | np.integer) and not isinstance(end, bool) for end in ends):
            raise ParameterError(f"roi is {roi!r}: {expected}, or four integers.")
        ends = [int(end) for end in ends]
    return slice(ends[0], ends[1]), slice(ends[2], ends[3])


def _roi_text(roi: Any) -> str:
    return roi if isinstance(roi, str) else "{}:{},{}:{}".format(*np.ravel(roi))


def select_region(cube: Cube, region: Any) -> Cube:
    """The cube cut to a circle or a box; pixels whose center is outside are masked.

    Parameters
    ----------
    cube : Cube
    region : str
        As `parse_region` understands it.

    Raises
    ------
    ParameterError
        If it is not understood.
    HeaderError
        If the cube has no sky coordinates.
    NoDataError
        If no pixel with data has its center in it.
    """
    shape = parse_region(region)
    chosen, name = inside(shape, cube.frame)
    if not chosen.any():
        raise NoDataError(f"no center of a pixel lies in {region} ({name}): choose another or a larger --region.")
    rows, columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
    x, y = slice(int(columns[0]), int(columns[-1]) + 1), slice(int(rows[0]), int(rows[-1]) + 1)
    part = _cut(cube, x, y)
    outside = np.broadcast_to(~chosen[y, x], part.data.shape)
    part = replace(part, mask=outside | part.mask if part.mask is not None else outside.copy())
    count = int(np.count_nonzero(chosen))
    return _kept(part, f"option --region {region}: {count} pixels in it ({name}), cut to {part.frame.shape[1]} x {part.frame.shape[0]}")


def _cut(cube: Cube, x: slice, y: slice) -> Cube:
    """A rectangle of the image plane, as arrays of their own: the large ones can go."""
    frame = cube.frame

    def part(values: NDArray[Any] | None) -> Any:
        return None if values is None else np.ascontiguousarray(values[:, y, x])

    def meta_part(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: meta_part(part) for name, part in value.items()}
        on_the_plane = isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[-2:] == frame.shape != (1, 1)
        return value[..., y, x] if on_the_plane else value

    pixels = None
    if frame.pixels is not None:
        chosen = np.zeros(frame.shape, dtype=bool)
        chosen.ravel()[frame.pixels] = True
        pixels = np.flatnonzero(chosen[y, x])
    cut_frame: Frame = replace(
        frame,
        shape=(y.stop - y.start, x.stop - x.start),
        wcs=None if frame.wcs is None else cut_wcs(frame.wcs, (x.start, y.start, 0), (frame.n_bands, y.stop - y.start, x.stop - x.start)),
        pixels=pixels,
    )
    meta = {name: meta_part(value) for name, value in cube.meta.items()}
    return replace(cube, data=part(cube.data), variance=part(cube.variance), mask=part(cube.mask), frame=cut_frame, meta=meta)


def _kept(cube: Cube, text: str) -> Cube:
    """The selected part with a note about it; refused when nothing in it carries weight."""
    if not (cube.weights > 0).any():
        raise NoDataError(f"{text}, and no value there carries weight: nothing is left to fit.")
    return add_decisions(cube, [note(text)])


# ---------------------------------------------------------------- noise


def empirical_noise(cube: Cube) -> Cube:
    """The cube with the noise of its faintest spaxels instead of the claimed one, and how it is correlated in its frame.

    The claimed variances keep their pattern and are multiplied by one number per band; without errors in the file, each band gets one
    variance.

    Parameters
    ----------
    cube : Cube

    Raises
    ------
    NoDataError
        If there is too little data to measure the noise.
    """
    try:
        noise = band_noise(cube)
    except NoDataError as error:
        raise NoDataError(f"{error} Leave --noise empirical out, or read a larger part of the cube.") from None
    bands = np.arange(len(cube.data))
    known = np.isfinite(noise.ratio)
    squares = np.interp(bands, bands[known], noise.ratio[known]) ** 2
    factors = noise.correlation.relative_factors()
    if cube.variance is None:
        kind = (
            cube.data.dtype
            if np.finfo(cube.data.dtype).tiny < squares.min() and squares.max() < np.finfo(cube.data.dtype).max
            else np.float64
        )
        variance = np.broadcast_to(squares.astype(kind)[:, None, None], cube.data.shape)
        text = "the variance of each band is that of its faintest spaxels"
    else:
        variance = cube.variance * squares[:, None, None].astype(cube.variance.dtype)
        low, usual, high = np.sqrt(np.quantile(squares[known], (0, 0.5, 1)))
        text = f"claimed errors are multiplied by {usual:.3f} ({low:.3f} to {high:.3f}), band by band"
    boxes = ", ".join(f"{value:.3f} over {name}" for name, value in factors.items())
    notes = [note(f"option --noise empirical: {text}; {noise.correlation.method}")]
    if factors:
        notes.append(note(f"noise is correlated: sums over boxes (bands x rows x columns) are noisier by {boxes}"))
    if not noise.correlation.falls:
        notes.append(
            note("the covariance does not end at the lags looked at: light is counted as noise, errors may be too large", loud=True)
        )
    if not known.all():
        notes.append(note(f"{np.count_nonzero(~known)} bands without data in the faintest spaxels have the noise of their neighbors"))
    return add_decisions(replace(cube, variance=variance, frame=replace(cube.frame, noise_correlation=factors or None)), notes)
