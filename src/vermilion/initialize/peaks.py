"""Sources in images of several bands, found by matched filters of several sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from ..diagnose.pixel_noise import pixel_noise
from ..errors import NoDataError, ParameterError, ShapeError
from .detection_filters import FilterBank, combined, significance_threshold
from .detection_fluxes import fit_fluxes
from .detection_pairs import split_pair
from .detection_templates import gaussian_psfs, psf_width

__all__ = ["Peaks", "detect_in_residual", "detect_sources"]

Array = NDArray[np.float64]
Labels = NDArray[np.int32]

_SIZES = (0.0, 1.0, 2.0, 4.0)  # Gaussian widening, in standard deviations of the PSF
_LARGEST = 1 / 6  # of the smaller side of the images
_LEAST_COVERAGE = 0.2  # of a point's filter by pixels with weight
# a peak stands above the highest pass to a higher one by so many standard errors and this part of its height
_PROMINENCE = 2.5
_STRUCTURE = 0.03
_APART = 2.0  # standard deviations of a filter: what is nearer to a peak of a narrower filter is the same source
_ALONE = 3.0  # standard deviations of a filter that a source must be away from others to be centered by it
_WANDER = 2.0  # standard errors that a position may be corrected by,
_FARTHEST = 1.2  # and standard deviations of the PSF
_FOOTPRINT = 3.0
_PAIR_SNR = 15.0  # fainter blobs do not show what they are
_PAIR_REACH = 6.0  # standard deviations of the PSF
_DEFAULT_FWHM = 3.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Peaks:
    """Sources found in images, the most significant first.

    Parameters
    ----------
    centers : ndarray, shape (n, 2)
        Pixel (y, x), counted from 0.
    snr : ndarray, shape (n,)
        Of `fluxes`, all bands together, as if the source were alone: root of the sum of ``(flux / error)^2``.
    scales : ndarray, shape (n,)
        Standard deviation [pixel] of the Gaussian by which the source is wider than the PSF; 0: a point.
    fluxes : ndarray, shape (n, B)
        Fluxes >= 0 of such sources, neighbors fitted together, in the unit of the images.
    labels : ndarray of int32, shape (Ny, Nx)
        k + 1 in the footprint of source k, 0 where there is none.
    notes : tuple of str
        What the user should know.
    """

    centers: Array
    snr: Array
    scales: Array
    fluxes: Array
    labels: Labels
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.centers)

    def __repr__(self) -> str:
        return f"Peaks({len(self)} sources in {self.labels.shape[0]} x {self.labels.shape[1]} pixels, {self.fluxes.shape[1]} bands)"


def detect_sources(
    images: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    psfs: ArrayLike | None = None,
    psf_fwhm: ArrayLike | None = None,
    threshold: float = 5.0,
    max_sources: int | None = None,
    split_pairs: bool = True,
) -> Peaks:
    """Sources that stand out of the noise, with first fluxes and sizes.

    A source of free fluxes >= 0 is looked for at each pixel with filters of several sizes. A peak counts if noise alone exceeds it
    as rarely as a normal variable exceeds `threshold`, bands and sizes taken together, and if it is prominent: 2.5 standard errors
    and 3 % of its height above the highest pass to a higher peak, so that neither noise on wings nor the structure of galaxies makes
    sources. Blobs that two points explain better than one elliptical galaxy are split.

    Parameters
    ----------
    images : array, shape (B, Ny, Nx)
        Sky subtracted; may be NaN where the weight is 0.
    weights : array, shape (B, Ny, Nx), optional
        Inverse variances, 0 = absent. None: one noise level per band, from differences of neighboring pixels.
    psfs : array, shape (B, h, w), optional
        PSF of each band, centered at pixel (h // 2, w // 2).
    psf_fwhm : float or array of shape (B,), optional
        Width [pixel] of Gaussian PSFs, where `psfs` is not given; 3 pixels if neither is.
    threshold : float, > 0
        In standard deviations.
    max_sources : int, optional
        Keep the most significant ones.
    split_pairs : bool
        Look for pairs of points closer than the PSF is wide.

    Returns
    -------
    Peaks
        Empty where nothing is significant.

    Raises
    ------
    ShapeError, ParameterError
        If shapes do not belong together, a datum with weight is not finite, or an option is out of range.
    NoDataError
        If no datum has weight.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :40]
    >>> star = np.exp(-((y - 20.0) ** 2 + (x - 11.3) ** 2) / 8)
    >>> peaks = detect_sources([30 * star, 10 * star], np.ones((2, 40, 40)), psf_fwhm=4.7)
    >>> peaks.centers.round(1)
    array([[20. , 11.3]])
    """
    notes: list[str] = []
    data, weight = _checked(images, weights, notes)
    _check_options(threshold, max_sources)
    stamps = _checked_psfs(psfs, psf_fwhm, len(data), notes)
    width = psf_width(stamps)
    sizes = _sizes(width, data.shape[1:])
    bank = FilterBank(stamps, sizes, data.shape[1:])
    ratios = bank.snr(data, weight)
    maps, least = combined(ratios), significance_threshold(threshold, len(data), len(sizes) + 1)
    usable = bank.coverage(weight) >= _LEAST_COVERAGE
    centers = _centered(_peaks(maps, usable, least, bank.widths), maps, bank.widths)
    if split_pairs and len(centers):
        centers = _split(centers, maps, data, weight, stamps, width)
    if (combined(-ratios)[1:].max(axis=0)[usable] > least).any():
        notes.append("the negated images hold significant sources too: the noise is underestimated or the sky subtracted wrongly")
    return _measured(centers, maps, data, weight, stamps, sizes, max_sources, notes)


def detect_in_residual(
    residual: ArrayLike,
    weights: ArrayLike,
    models: ArrayLike,
    *,
    psfs: ArrayLike | None = None,
    psf_fwhm: ArrayLike | None = None,
    centers: ArrayLike | None = None,
    threshold: float = 5.0,
    model_error: float = 0.1,
    max_sources: int | None = None,
) -> Peaks:
    """Sources that a fitted scene left in its residual.

    As `detect_sources`, but the models are taken to be wrong by `model_error` of their light, coherently over a filter: the variance
    of its answer ``sum(w d k)`` grows from ``sum(w k^2)`` to ``sum(w k^2) + (model_error * sum(w k m))^2``. A residual must therefore
    stand out of the noise and be `threshold` times `model_error` of the models' light at its place. It must also exceed every negative
    residual within three PSF widths (standard deviations), which a wrong profile leaves beside the positive, and keep a distance from
    known centers.

    Parameters
    ----------
    residual, weights : array, shape (B, Ny, Nx)
        Data minus the scene; inverse variances, 0 = absent.
    models : array, shape (B, Ny, Nx) or (n, B, Ny, Nx)
        The scene, or its sources.
    psfs, psf_fwhm, threshold, max_sources
        As of `detect_sources`.
    centers : array, shape (n, 2), optional
        Known sources: within 0.7 of the PSF's full width at half maximum of them nothing is found.
    model_error : float, >= 0
        Relative error of the models.

    Returns
    -------
    Peaks

    Raises
    ------
    ShapeError, ParameterError, NoDataError
        As `detect_sources`.
    """
    notes: list[str] = []
    data, weight = _checked(residual, weights, notes)
    _check_options(threshold, max_sources)
    if not (np.isfinite(model_error) and model_error >= 0):
        raise ParameterError(f"model_error is {model_error}: expected a number >= 0, such as model_error=0.1.")
    scene = _scene(models, data.shape)
    stamps = _checked_psfs(psfs, psf_fwhm, len(data), notes)
    width = psf_width(stamps)
    sizes = _sizes(width, data.shape[1:])[:2]
    bank = FilterBank(stamps, sizes, data.shape[1:])
    ratios = bank.snr(data, weight, model_error=model_error * np.abs(scene))
    maps, least = combined(ratios)[1:], significance_threshold(threshold, len(data), len(sizes))
    usable = bank.coverage(weight) >= _LEAST_COVERAGE
    found = _peaks(maps, usable, least, bank.widths[1:])
    negative = ndimage.maximum_filter(combined(-ratios)[1], size=2 * math.ceil(3 * width) + 1)
    found = found[_at(maps.max(axis=0), found) > _at(negative, found)]
    if centers is not None and len(found):
        known = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
        found = found[_distances(found, known) > 0.7 * math.sqrt(8 * math.log(2)) * width]
    return _measured(found, maps, data, weight, stamps, sizes, max_sources, notes)


# ---------------------------------------------------------------- peaks


def _peaks(maps: Array, usable: NDArray[np.bool_], least: float, widths: tuple[float, ...]) -> Array:
    """Peaks (n, 2) of all filters, from the narrowest to the widest; a wider one adds what the narrower did not see."""
    found: Array = np.empty((0, 2))
    for snr, width in zip(maps, widths, strict=True):
        peaks = _prominent(snr, usable & (snr > least))
        found = np.concatenate([found, peaks[_distances(peaks, found) > _APART * width]])
    return found


def _centered(centers: Array, maps: Array, widths: tuple[float, ...]) -> Array:
    """Centers on the map of the filter that answers most, among those that see no neighbor: the narrow filter is noisier."""
    result = centers.copy()
    for k, center in enumerate(centers):
        apart = _distances(center[None], np.delete(centers, k, axis=0))[0]
        seen = [n for n, width in enumerate(widths) if n == 0 or _ALONE * width < apart]
        best = max(seen, key=lambda n: float(_at(maps[n], center[None])[0]))
        reach = math.ceil(widths[best])
        y, x = np.rint(center).astype(np.intp)
        corner = max(y - reach, 0), max(x - reach, 0)
        box = maps[best, corner[0] : y + reach + 1, corner[1] : x + reach + 1]
        top = np.array(np.unravel_index(int(np.argmax(box)), box.shape)) + corner
        summit = np.array(_summit(maps[best], *top))
        # what lies farther than noise moves the peak of the narrow filter is something else
        noise = widths[best] ** 2 / (widths[0] * max(float(_at(maps[0], center[None])[0]), 1.0))
        if math.hypot(*(summit - center)) < min(_WANDER * noise, _FARTHEST * widths[1]):
            result[k] = summit
    return result


def _prominent(snr: Array, allowed: NDArray[np.bool_]) -> Array:
    """Sub-pixel positions (n, 2) of the peaks of a map that stand out of their surroundings."""
    if not allowed.any():
        return np.empty((0, 2))
    # in this scale 1 is the prominence asked for: d snr / sqrt(_PROMINENCE^2 + (_STRUCTURE snr)^2)
    scaled = np.arcsinh(snr * (_STRUCTURE / _PROMINENCE)) / _STRUCTURE
    domes = scaled - reconstruction(scaled - 1, scaled) > 1 - 1e-9
    labels, count = ndimage.label(domes, structure=np.ones((3, 3)))
    summits = np.array(ndimage.maximum_position(snr, labels, range(1, int(count) + 1)), dtype=np.intp).reshape(-1, 2)
    summits = summits[allowed[summits[:, 0], summits[:, 1]]]
    return np.array([_summit(snr, y, x) for y, x in summits]).reshape(-1, 2)


def _summit(snr: Array, y: int, x: int) -> tuple[float, float]:
    """Position of the maximum of the parabola through the 3 x 3 pixels about (y, x); half a pixel away at most."""
    height, width = snr.shape
    if not (0 < y < height - 1 and 0 < x < width - 1):
        return float(y), float(x)
    z = np.log(np.maximum(snr[y - 1 : y + 2, x - 1 : x + 2], 1e-3 * snr[y, x]))
    slope = np.array([(z[2] - z[0]).sum(), (z[:, 2] - z[:, 0]).sum()]) / 6
    yy, xx = (z[0] - 2 * z[1] + z[2]).sum() / 3, (z[:, 0] - 2 * z[:, 1] + z[:, 2]).sum() / 3
    yx = (z[0, 0] + z[2, 2] - z[0, 2] - z[2, 0]) / 4
    if not (yy < 0 and yy * xx > yx**2):
        return float(y), float(x)
    dy, dx = np.clip(-np.linalg.solve([[yy, yx], [yx, xx]], slope), -0.5, 0.5)
    return y + float(dy), x + float(dx)


def _distances(points: Array, others: Array) -> Array:
    """Distance (n,) of each point to the nearest of the others; infinite where there are none."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.hypot(*(points[:, None] - others[None]).transpose(2, 0, 1)).min(axis=1)


def _at(image: Array, centers: Array) -> Array:
    """Values (n,) at the pixels nearest to `centers`."""
    return image[_pixels(centers, image.shape)]


def _pixels(centers: Array, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels nearest to `centers`."""
    nearest = np.clip(np.rint(centers), 0, np.array(shape) - 1).astype(np.intp)
    return nearest[:, 0], nearest[:, 1]


# ---------------------------------------------------------------- pairs


def _split(centers: Array, maps: Array, data: Array, weights: Array, psfs: Array, width: float) -> Array:
    """`centers` with those replaced that are two points each."""
    snr = _at(maps[1], centers)
    labels = _footprints(maps, centers)
    reach = math.ceil(_PAIR_REACH * width)
    result: list[Array] = []
    for k, center in enumerate(centers):
        two = None
        if snr[k] > _PAIR_SNR:
            y, x = np.rint(center).astype(np.intp)
            box = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            corner = np.array([max(y - reach, 0), max(x - reach, 0)])
            own = (labels[box] == k + 1) | (labels[box] == 0)
            two = _split_one(data[:, *box], weights[:, *box] * own, psfs, center - corner)
            two = None if two is None else two + corner
        if two is not None and (_distances(two, np.delete(centers, k, axis=0)) < _APART * width).any():
            two = None
        result.append(center[None] if two is None else two)
    return np.concatenate(result)


def _split_one(data: Array, weights: Array, psfs: Array, center: Array) -> Array | None:
    """The two points in a stamp, judged by the coadd that is best for the blob's own spectrum."""
    total = weights.sum(axis=(1, 2))
    light = np.maximum((data * weights).sum(axis=(1, 2)), 0.0) / np.where(total > 0, total, 1.0)
    if not light.any():
        return None
    spectrum = (light / light.max())[:, None, None]
    weight = (spectrum**2 * weights).sum(axis=0)
    coadd = np.divide((spectrum * weights * data).sum(axis=0), weight, where=weight > 0, out=np.zeros_like(weight))
    parts = spectrum[:, 0, 0] ** 2 * total
    psf = np.tensordot(parts / parts.sum(), psfs, 1)
    return split_pair(coadd, weight, psf, center)


# ---------------------------------------------------------------- footprints and fluxes


def _footprints(maps: Array, centers: Array) -> Labels:
    """Pixels that belong to each source: basins of the narrowest filter's map where any filter sees something."""
    markers = np.zeros(maps.shape[1:], dtype=np.int32)
    markers[_pixels(centers, markers.shape)] = np.arange(1, len(centers) + 1)
    seen = (maps[: min(len(maps), 3)].max(axis=0) > _FOOTPRINT) | (markers > 0)
    return watershed(-maps[0], markers, mask=seen).astype(np.int32)


def _measured(
    centers: Array, maps: Array, data: Array, weights: Array, psfs: Array, sizes: tuple[float, ...], most: int | None, notes: list[str]
) -> Peaks:
    """Sources with their sizes and fluxes, the most significant first."""
    labels = _footprints(maps, centers)
    fitted = fit_fluxes(data, weights, psfs, centers, labels, sizes)
    order = np.argsort(-fitted.snr, kind="stable")[:most]
    if len(order) < len(centers):
        notes.append(f"{len(centers)} sources were found: the {len(order)} most significant are kept")
    rank = np.zeros(len(centers) + 1, dtype=np.int32)
    rank[order + 1] = np.arange(1, len(order) + 1)
    return Peaks(
        centers=centers[order],
        snr=fitted.snr[order],
        scales=fitted.scales[order],
        fluxes=fitted.fluxes[order],
        labels=rank[labels],
        notes=tuple(notes),
    )


# ---------------------------------------------------------------- input


def _sizes(width: float, shape: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(size * width for size in _SIZES if size == 0 or size * width <= _LARGEST * min(shape))


def _checked(images: ArrayLike, weights: ArrayLike | None, notes: list[str]) -> tuple[Array, Array]:
    """Data and weights in one scale, data 0 where the weight is 0."""
    data = np.asarray(images, dtype=np.float64)
    if data.ndim != 3 or 0 in data.shape:
        raise ShapeError(f"images has shape {data.shape}: expected (B, Ny, Nx).")
    if weights is None:
        weight = _estimated(data)
        notes.append("no weights were given: one noise level per band is estimated from differences of neighboring pixels")
    else:
        weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != data.shape:
        raise ShapeError(
            f"weights has shape {weight.shape}, images {data.shape}: expected equal shapes; give one weight per pixel and band."
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ParameterError("weights holds negative or non-finite values: expected inverse variances, 0 where data are absent.")
    bad = int(np.count_nonzero(~np.isfinite(data[weight > 0])))
    if bad:
        raise ParameterError(f"images holds {bad} values that are NaN or infinite but have weight: set their weights to 0.")
    if not (weight > 0).any():
        raise NoDataError("no datum has weight: expected weights > 0 where images are good.")
    return np.where(weight > 0, data, 0.0), weight


def _estimated(data: Array) -> Array:
    """Inverse variance per band from differences of neighbors along a row, which smooth sources hardly touch."""
    weight = np.zeros_like(data)
    for band, image in enumerate(data):
        sigma = pixel_noise(image)
        weight[band] = np.isfinite(image) / sigma**2 if sigma > 0 else 0.0
    return weight


def _check_options(threshold: float, max_sources: int | None) -> None:
    if not (np.isfinite(threshold) and 0 < threshold <= 30):
        raise ParameterError(f"threshold is {threshold}: expected a number of standard deviations up to 30, such as threshold=5.")
    if max_sources is not None and max_sources < 1:
        raise ParameterError(f"max_sources is {max_sources}: expected at least 1, or None for all.")


def _checked_psfs(psfs: ArrayLike | None, fwhm: ArrayLike | None, n_bands: int, notes: list[str]) -> Array:
    if psfs is not None:
        stamps = np.asarray(psfs, dtype=np.float64)
        if stamps.ndim != 3 or len(stamps) != n_bands or 0 in stamps.shape:
            raise ShapeError(f"psfs has shape {stamps.shape}: expected ({n_bands}, h, w), one image per band.")
        total = stamps.sum(axis=(1, 2), keepdims=True)
        if not (np.isfinite(stamps).all() and (total > 0).all()):
            raise ParameterError("psfs holds an image that is not finite or does not sum to a positive number: expected PSFs.")
        return stamps / total
    if fwhm is None:
        notes.append(f"no PSF was given: Gaussians {_DEFAULT_FWHM:g} pixels wide are assumed")
    widths = np.asarray(_DEFAULT_FWHM if fwhm is None else fwhm, dtype=np.float64)
    if widths.shape not in ((), (n_bands,)):
        raise ShapeError(f"psf_fwhm has shape {widths.shape}: expected one width, or {n_bands}.")
    if not (np.isfinite(widths).all() and (widths > 0).all()):
        raise ParameterError(f"psf_fwhm is {widths.tolist()}: expected widths > 0 in pixels.")
    return gaussian_psfs(np.broadcast_to(widths, (n_bands,)))


def _scene(models: ArrayLike, shape: tuple[int, ...]) -> Array:
    scene = np.asarray(models, dtype=np.float64)
    if scene.ndim == 4 and scene.shape[1:] == shape:
        scene = scene.sum(axis=0)
    if scene.shape != shape:
        raise ShapeError(f"models has shape {np.shape(models)}: expected {shape}, or one such image per source.")
    return np.nan_to_num(scene)
