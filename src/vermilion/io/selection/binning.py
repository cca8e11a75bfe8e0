"""Averages over neighboring pixels and bands, with everything that belongs to them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from ...datamodels import PSF, Cube, Frame
from ...diagnose.correlated_sums import CorrelationKernel
from ...errors import NoDataError, ParameterError
from ..fits.wcs_parts import bin_wcs
from ..record import add_decisions, note

__all__ = ["bin_cube", "parse_bin"]

Array = NDArray[Any]

_BIN = re.compile(r"^\s*(\d+)\s*(?:,\s*(\d+)\s*)?$")
_FWHM = np.sqrt(8 * np.log(2))  # of a Gaussian of sigma 1
_MAX_VALUES = 20_000_000  # averaged at a time
_EXPECTED = "expected 'N' for N x N pixels or 'N,M' for M bands as well, whole numbers of at least 1"


def parse_bin(bins: Any) -> tuple[int, int]:
    """Pixels per side and bands, from ``"2"``, ``"2,4"``, 2 or (2, 4).

    Raises
    ------
    ParameterError
        If they are not understood.

    Examples
    --------
    >>> parse_bin("2,4")
    (2, 4)
    """
    text = ",".join(map(str, bins)) if isinstance(bins, tuple | list) else str(bins)
    match = _BIN.match(text)
    if match is None:
        raise ParameterError(f"bin is {bins!r}: {_EXPECTED}.")
    pixels, bands = int(match[1]), int(match[2] or 1)
    if pixels < 1 or bands < 1:
        raise ParameterError(f"bin is {bins!r}: {_EXPECTED}.")
    return pixels, bands


def bin_cube(cube: Cube, bins: Any) -> Cube:
    """Means over boxes of N × N pixels and M bands.

    Values without weight are left out of a mean; where a box has none left it is NaN. The variance of a mean of n values is the sum of
    theirs over n², times the square of the factor of `Frame.noise_correlation` where this is known. Rows, columns and bands that fill no
    box are cut off at the high end. The unit stays: a flux per pixel is now the mean flux of the pixels in the box.

    Parameters
    ----------
    cube : Cube
    bins : str, int or tuple of int
        ``"N"`` or ``"N,M"``.

    Raises
    ------
    ParameterError
        If `bins` is not understood.
    NoDataError
        If the cube is smaller than one box.
    """
    pixels, bands = parse_bin(bins)
    if (pixels, bands) == (1, 1):
        return cube
    shape = tuple(size // n for size, n in zip(cube.data.shape, (bands, pixels, pixels), strict=True))
    if min(shape) < 1:
        raise NoDataError(
            f"bin is {bins}: the cube has {' x '.join(map(str, cube.data.shape))} bands, rows and columns; choose a smaller --bin."
        )
    kernel = CorrelationKernel.of(cube.frame.noise_correlation)
    data, variance, mask = _means(cube, pixels, bands, shape, kernel)
    frame = _frame(cube.frame, pixels, bands, shape, kernel)
    meta = {name: _meta(value, cube, pixels, bands, shape) for name, value in cube.meta.items()}
    binned = replace(cube, data=data, variance=variance, mask=mask, frame=frame, psf=_psf(cube, pixels, bands, shape[0]), meta=meta)
    if not (binned.weights > 0).any():
        raise NoDataError(f"bin is {bins}: no value is left that carries weight.")
    return add_decisions(binned, [note(text) for text in _notes(cube, pixels, bands, shape, bins)])


def _notes(cube: Cube, pixels: int, bands: int, shape: tuple[int, ...], bins: Any) -> list[str]:
    text = bins if isinstance(bins, str) else ",".join(map(str, np.ravel(bins)))
    notes = [f"option --bin {text}: values are means over {pixels} x {pixels} pixels and {bands} bands; the unit stays"]
    sizes = zip(("bands", "rows", "columns"), cube.data.shape, shape, (bands, pixels, pixels), strict=True)
    left = [f"{size - n * width} {name}" for name, size, n, width in sizes if size > n * width]
    if left:
        notes.append(f"{' and '.join(left)} at the end fill no bin and are left out")
    if cube.variance is not None and cube.frame.noise_correlation is None:
        notes.append("variances of the means are those of independent noise: where neighbors are correlated they are too small")
    elif cube.variance is not None:
        factor = CorrelationKernel.of(cube.frame.noise_correlation).factor((bands, pixels, pixels))
        notes.append(f"errors of the means are {factor:.3f} times those of independent noise, as neighbors are correlated")
    if cube.meta.get("likelihood") == "poisson":
        notes.append("means of counts are no counts: the Poisson likelihood holds for their sums")
    return notes


# ---------------------------------------------------------------- values


def _means(
    cube: Cube, pixels: int, bands: int, shape: tuple[int, ...], kernel: CorrelationKernel
) -> tuple[Array, Array | None, Array | None]:
    """Data, variance and mask by box, as many bands at a time as fit."""
    n_bands, n_y, n_x = shape
    data = np.empty(shape, dtype=cube.data.dtype)
    variance = None if cube.variance is None else np.empty(shape, dtype=cube.variance.dtype)
    mask = np.empty(shape, dtype=bool)
    factor = kernel.factor((bands, pixels, pixels)) ** 2
    step = max(1, _MAX_VALUES // (bands * cube.data[0].size))
    for first in range(0, n_bands, step):
        out = slice(first, min(first + step, n_bands))
        part = (slice(out.start * bands, out.stop * bands), slice(n_y * pixels), slice(n_x * pixels))

        def boxes(values: Array, out: slice = out) -> Array:
            return values.reshape(out.stop - out.start, bands, n_y, pixels, n_x, pixels)

        good = _good(cube, part)
        count = boxes(good).sum(axis=(1, 3, 5))
        total = boxes(np.where(good, cube.data[part], 0)).sum(axis=(1, 3, 5), dtype=np.float64)
        mask[out] = count == 0
        with np.errstate(invalid="ignore"):
            data[out] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        if variance is not None and cube.variance is not None:
            squares = boxes(np.where(good, cube.variance[part], 0)).sum(axis=(1, 3, 5), dtype=np.float64)
            variance[out] = np.where(count > 0, factor * squares / np.maximum(count, 1) ** 2, np.nan)
    return data, variance, mask if mask.any() else None


def _good(cube: Cube, part: tuple[slice, ...]) -> Array:
    cut = Cube(
        cube.data[part],
        None if cube.variance is None else cube.variance[part],
        None if cube.mask is None else cube.mask[part],
    )
    return np.asarray(cut.weights > 0)


def _meta(value: Any, cube: Cube, pixels: int, bands: int, shape: tuple[int, ...]) -> Any:
    """Arrays of the bands, of the image plane or of both, by box; band edges (B, 2) from the first band to the last."""
    n_bands, n_y, n_x = cube.data.shape
    if isinstance(value, dict):
        return {name: _meta(part, cube, pixels, bands, shape) for name, part in value.items()}
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    if value.shape == (n_bands, 2) and isinstance(value, u.Quantity):
        whole = value[: shape[0] * bands].reshape(shape[0], bands, 2)
        return u.Quantity([whole[:, 0, 0], whole[:, -1, 1]]).T
    if value.ndim >= 2 and value.shape[-2:] == (n_y, n_x) and (n_y, n_x) != (1, 1):
        value = value[..., : shape[1] * pixels, : shape[2] * pixels]
        value = value.reshape(*value.shape[:-2], shape[1], pixels, shape[2], pixels).mean(axis=(-3, -1))
    return _band_means(value, bands, shape[0]) if len(value) == n_bands > 1 else value


def _band_means(values: Any, bands: int, n_bands: int) -> Any:
    return values[: n_bands * bands].reshape(n_bands, bands, *values.shape[1:]).mean(axis=1)


# ---------------------------------------------------------------- coordinates


def _frame(frame: Frame, pixels: int, bands: int, shape: tuple[int, ...], kernel: CorrelationKernel) -> Frame:
    unit, names = frame.unit, frame.band_names
    if isinstance(unit, tuple):
        groups = [unit[i * bands : (i + 1) * bands] for i in range(shape[0])]
        if any(other != group[0] for group in groups for other in group):
            raise ParameterError("bands of different units cannot be averaged: leave the number of bands out of --bin.")
        unit = tuple(group[0] for group in groups)
    if names is not None:
        names = tuple("+".join(names[i * bands : (i + 1) * bands]) for i in range(shape[0]))
    axis = None if frame.spectral_axis is None else _band_means(frame.spectral_axis, bands, shape[0])
    correlation = frame.noise_correlation
    if correlation is not None:
        own = kernel.factor((bands, pixels, pixels))
        correlation = {box: kernel.factor(_widened(box, pixels, bands)) / own for box in correlation}
    return replace(
        frame,
        shape=(shape[1], shape[2]),
        n_bands=shape[0],
        unit=unit,
        band_names=names,
        spectral_axis=axis,
        lsf=_broadened(frame.lsf, frame.spectral_axis, bands, shape[0]),
        wcs=None if frame.wcs is None else bin_wcs(frame.wcs, (pixels, pixels, bands), shape),
        noise_correlation=correlation,
        pixels=None,
    )


def _widened(box: str, pixels: int, bands: int) -> tuple[int, int, int]:
    depth, rows, columns = map(int, box.split("x"))
    return depth * bands, rows * pixels, columns * pixels


# ---------------------------------------------------------------- PSF and LSF


def _broadened(lsf: u.Quantity | None, axis: u.Quantity | None, bands: int, n_bands: int) -> u.Quantity | None:
    """Line widths, in quadrature with that of the box: M bands have (M² - 1) / 12 of a band's width squared more variance than one."""
    if lsf is None:
        return None
    mean = _band_means(lsf, bands, n_bands)
    if bands == 1 or axis is None or len(axis) < 2 or not lsf.unit.is_equivalent(axis.unit):
        return mean
    step = _band_means(u.Quantity(np.abs(np.gradient(axis.value)), axis.unit), bands, n_bands)
    return np.sqrt(mean**2 + _FWHM**2 * (bands**2 - 1) / 12 * step**2).to(lsf.unit)


def _psf(cube: Cube, pixels: int, bands: int, n_bands: int) -> PSF | None:
    psf = cube.psf
    if psf is None:
        return None
    image, fwhm, beta = psf.image, psf.fwhm, psf.beta
    if image is not None:
        image = _coarse_image(_band_means(image, bands, n_bands), pixels)
    if fwhm is not None:
        fwhm = _wider(_band_means(fwhm, bands, n_bands), cube.frame, pixels)
    return PSF(image=image, fwhm=fwhm, beta=None if beta is None else _band_means(beta, bands, n_bands), source=psf.source)


def _wider(fwhm: u.Quantity, frame: Frame, pixels: int) -> u.Quantity:
    """Widths in quadrature with that of the box; those in pixels are in the new ones."""
    extra = _FWHM * np.sqrt((pixels**2 - 1) / 12)
    if fwhm.unit == u.pix:
        return np.sqrt(fwhm.value**2 + extra**2) / pixels * u.pix
    if frame.wcs is None or not frame.wcs.has_celestial or not fwhm.unit.is_equivalent(u.deg):
        return fwhm
    scale = np.sqrt(np.prod(proj_plane_pixel_scales(frame.wcs.celestial))) * u.deg
    return np.sqrt(fwhm**2 + (extra * scale) ** 2).to(fwhm.unit)


def _coarse_image(image: Array, n: int) -> Array:
    """What a box of n × n pixels sees of light that is spread evenly over another one: the PSF under a triangle, at every n-th pixel."""
    if n == 1:
        return image
    triangle = np.maximum(n - np.abs(np.arange(-n + 1, n)), 0) / n
    half = [-(-(size // 2 + n) // n) for size in image.shape[1:]]
    before = [k * n - size // 2 for k, size in zip(half, image.shape[1:], strict=True)]
    after = [(2 * k + 1) * n - size - b for k, b, size in zip(half, before, image.shape[1:], strict=True)]
    coarse = np.pad(image, [(0, 0), *zip(before, after, strict=True)])
    for axis, k in ((1, half[0]), (2, half[1])):
        padded = np.pad(np.moveaxis(coarse, axis, -1), [(0, 0), (0, 0), (n, n)])
        shifted = (
            weight * padded[..., n + lag : n + lag + 2 * k * n + 1 : n] for lag, weight in zip(range(-n + 1, n), triangle, strict=True)
        )
        coarse = np.moveaxis(sum(shifted), -1, axis)
    return np.asarray(coarse / coarse.sum(axis=(1, 2), keepdims=True))
