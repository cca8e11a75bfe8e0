"""How the noise of neighboring voxels is correlated, and how much noisier sums over boxes are than the claimed variances say.

Resampling correlates the noise over two or three voxels. Faint light does the same over longer distances, and along the bands
mostly smoothly. So, in the faintest part of the image plane: polynomials are taken out of short pieces of every spectrum; the
covariances of what is left are averaged by lag, over the bands that are not out of the ordinary; what the polynomials took along is
put back exactly, because the projection is known; and the level at lags beyond the reach of the noise, which is light, is subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

from ..datamodels import Cube
from ..errors import NoDataError

__all__ = ["BandNoise", "NoiseCorrelation", "band_noise", "noise_correlation"]

Array = NDArray[Any]

_PIECE = 40  # bands: short against a continuum, long against the reach of resampling
_DEGREE = 4
_BANDS_PER_DEGREE = 8
_MIN_BANDS = 8
_MIN_SPAXELS = 25
_SPECTRAL_LAGS = 8
_SPATIAL_LAGS = 10
_WINDOW = 96  # spaxels: larger images are measured in parts
_MAX_VOXELS = 2_000_000
_MAX_VOXELS_BY_BAND = 20_000_000
_SAMPLED_BANDS = 200
_FAINTEST = 0.3
_SPREAD = 0.5  # sigma per voxel
_COVERED = 0.5
_CLIP = 6.0
_CLIP_BOXES = 5.0
_PASSES = 3
_FILLS = 8
_CLIP_BANDS = 3.0
_NEGLIGIBLE = 0.005  # correlation that changes a sum over 5 x 5 spaxels by less than 2 %
_NEGLIGIBLE_BANDS = 0.02
_RING = 3.5  # width, in spaxels, of the ring of lags beyond the reach of the noise
_TAIL = 4  # bands beyond the reach of the noise
_GROUPS = 8  # of the jackknife
_MAD = 1.482602218505602
_ORDINARY = 3.0  # a band whose noise differs by more standard errors from its neighbors keeps its own


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseCorrelation:
    """Covariances of the noise of voxels by their distance, in units of the claimed variance.

    Attributes
    ----------
    lags : ndarray, shape (L + 1, 2 R + 1, 2 R + 1)
        Covariance of voxels that are l bands, y - R rows and x - R columns apart; that of a voxel with itself is ``lags[0, R, R]``.
        0 beyond the reach of the noise. Without claimed errors in units of the noise itself.
    groups : ndarray, shape (G, L + 1, 2 R + 1, 2 R + 1)
        The same, each without one G-th of the bands: a jackknife.
    claimed : bool
        The file has errors.
    reach : tuple of int
        Distances, in bands and in spaxels, beyond which noise is not correlated.
    light : float
        Covariance at long lags that was taken for faint light, over the variance of a voxel.
    shape : tuple of int
        Of the cube, (B, Ny, Nx).
    n_spaxels, n_bands : int
        How many were used.
    """

    lags: Array
    groups: Array
    claimed: bool
    reach: tuple[int, int]
    light: float
    shape: tuple[int, int, int]
    n_spaxels: int
    n_bands: int

    def factor(self, box: tuple[int, int, int]) -> float:
        """Standard deviation of sums over a box (bands, rows, columns), over the claimed one of independent voxels.

        ``sqrt(Σ_h C(h) Π_i (1 - |h_i| / n_i))``, C the covariances and n the box.
        """
        return float(_factor(self.lags, box))

    def error(self, box: tuple[int, int, int]) -> float:
        """Standard error of `factor`, by the jackknife over groups of bands."""
        factors = np.array([_factor(lags, box) for lags in self.groups])
        return float(np.sqrt((len(factors) - 1) * factors.var()))

    @property
    def falls(self) -> bool:
        """Whether the covariance ends within the lags that were looked at: else light or a wide beam is taken for noise."""
        radius = self.lags.shape[-1] // 2
        return self.reach[0] < len(self.lags) - 1 and (self.reach[1] < radius or radius < 3)

    @property
    def boxes(self) -> dict[str, tuple[int, int, int]]:
        """The boxes that are reported and fit into the cube, by name."""
        boxes = {"1x3x3": (1, 3, 3), "1x5x5": (1, 5, 5), "5x1x1": (5, 1, 1), "5x5x5": (5, 5, 5)}
        return {name: box for name, box in boxes.items() if all(n <= size for n, size in zip(box, self.shape, strict=True))}

    def factors(self) -> dict[str, float]:
        """`factor` by box, relative to the claimed errors: what `inspect` shows."""
        return {name: self.factor(box) for name, box in self.boxes.items()}

    def relative_factors(self) -> dict[str, float]:
        """`factor` by box, relative to the scatter of voxels: `Frame.noise_correlation` beside measured variances."""
        return {name: value / self.factor((1, 1, 1)) for name, value in self.factors().items()}

    @property
    def method(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"covariances at lags up to {self.reach[0]} in band and {self.reach[1]} in x and y, without polynomials over "
            f"{min(_PIECE, self.n_bands)} bands and the covariance at longer lags, in the {self.n_spaxels} faintest spaxels and "
            f"{self.n_bands} bands"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class BandNoise:
    """Noise band by band in the faintest spaxels.

    Attributes
    ----------
    sigma : ndarray, shape (B,)
        Standard deviation of a voxel in the unit of the data, the median over the faintest spaxels; NaN where there are no data.
    claimed : ndarray, shape (B,), or None
        The same by the errors of the file.
    ratio : ndarray, shape (B,)
        Measured over claimed standard deviation, smoothed along the bands where the scatter is no more than that of the measurement.
        Without errors in the file the measured standard deviation.
    correlation : NoiseCorrelation
    """

    sigma: Array
    claimed: Array | None
    ratio: Array
    correlation: NoiseCorrelation


def noise_correlation(cube: Cube) -> NoiseCorrelation:
    """Covariances of the noise at short lags, from the faintest spaxels.

    Parameters
    ----------
    cube : Cube
        Any unit. Values without weight are left out.

    Raises
    ------
    NoDataError
        If fewer than 8 bands or 25 spaxels carry data.
    """
    return _pooled(_faintest(cube))


def band_noise(cube: Cube) -> BandNoise:
    """The noise of every band, and its correlation.

    Parameters
    ----------
    cube : Cube

    Raises
    ------
    NoDataError
        As `noise_correlation`.
    """
    sky = _faintest(cube)
    correlation = _pooled(sky)
    ratio = _smoothed(*_spread_by_band(sky, correlation))
    scale = np.where(sky.alive, sky.sigma, np.nan)
    if cube.variance is None:
        return BandNoise(sigma=ratio * scale, claimed=None, ratio=ratio * scale, correlation=correlation)
    return BandNoise(sigma=ratio * scale, claimed=scale, ratio=ratio, correlation=correlation)


# ---------------------------------------------------------------- where


@dataclass(frozen=True, eq=False)
class _Sky:
    """The faintest spaxels of a cube.

    `kept` (Ny, Nx); `alive` (B,): bands with data there; `sigma` (B,): their typical noise, claimed or, without errors, measured roughly.
    """

    cube: Cube
    kept: Array
    alive: Array
    sigma: Array

    @property
    def radius(self) -> int:
        """Largest spatial lag that is looked at, R."""
        return min(_SPATIAL_LAGS, (min(self.kept.shape) - 1) // 2)


def _faintest(cube: Cube) -> _Sky:
    """Bands with data, and the spaxels whose light is within half a sigma per voxel of the faintest, at least 30 % of all."""
    bands = np.arange(len(cube.data))
    sampled = bands[:: -(-len(bands) // _SAMPLED_BANDS)]
    data, weights = _values(cube, (sampled,))
    covered = (weights > 0).mean(axis=0)
    live = np.asarray((weights > 0).any(axis=(1, 2)))
    covered = covered * len(live) / max(int(live.sum()), 1) >= _COVERED
    if covered.sum() < _MIN_SPAXELS or live.sum() < min(_MIN_BANDS, len(live)):
        raise NoDataError(f"{int(covered.sum())} spaxels have data in most bands: expected at least {_MIN_SPAXELS} to measure the noise.")
    light = np.nanmedian(np.where(weights > 0, data, np.nan)[live][:, covered], axis=0)
    if cube.variance is None:
        unit = _MAD * np.median(np.abs(np.diff(data[live][:, covered], axis=0))) / np.sqrt(2)
    else:
        unit = np.median(1 / np.sqrt(weights[weights > 0]))
    brightness = np.full(covered.shape, np.inf)
    brightness[covered] = light / unit if unit > 0 else light
    smooth = uniform_filter(np.where(covered, brightness, 0.0), 3) / np.maximum(uniform_filter(covered.astype(float), 3), 1e-9)
    share = min(1.0, max(_FAINTEST, 4 * _MIN_SPAXELS / int(covered.sum())))
    faint, usual = np.quantile(smooth[covered], (0.05, share))
    kept = covered & (smooth <= max(faint + _SPREAD, usual))
    alive, sigma = _by_band(cube, kept)
    if alive.sum() < _MIN_BANDS or kept.sum() < _MIN_SPAXELS:
        raise NoDataError(
            f"{int(alive.sum())} bands and {int(kept.sum())} faint spaxels carry data: expected at least {_MIN_BANDS} bands and "
            f"{_MIN_SPAXELS} spaxels to measure how noise is correlated."
        )
    return _Sky(cube, kept, alive, sigma)


def _by_band(cube: Cube, kept: Array) -> tuple[Array, Array]:
    """Which bands have data in at least half of the kept spaxels, and the typical sigma in each."""
    alive, sigma = np.zeros(len(cube.data), dtype=bool), np.ones(len(cube.data))
    for b in range(len(cube.data)):
        data, weights = _values(cube, (slice(b, b + 1),))
        good = (weights[0] > 0) & kept
        alive[b] = good.sum() >= _COVERED * kept.sum()
        if alive[b] and cube.variance is not None:
            sigma[b] = np.median(1 / np.sqrt(weights[0][good]))
        elif alive[b]:
            sigma[b] = _scatter(data[0], good)
            alive[b] = sigma[b] > 0
    return alive, sigma


def _scatter(image: Array, good: Array) -> float:
    """Scatter of the differences of spaxels some way apart, over the square root of 2: light that varies slowly cancels."""
    lag = min(6, (min(image.shape) - 1) // 2)
    if lag < 1:
        values = image[good]
        return float(_MAD * np.median(np.abs(values - np.median(values))))
    both = good[lag:, lag:] & good[:-lag, :-lag]
    steps = (image[lag:, lag:] - image[:-lag, :-lag])[both]
    return float(_MAD * np.median(np.abs(steps)) / np.sqrt(2)) if steps.size else 0.0


def _values(cube: Cube, index: tuple[Any, ...]) -> tuple[Array, Array]:
    """Data and weights of a part of the cube in float64; 0 where there is no weight."""
    part = Cube(
        cube.data[index],
        None if cube.variance is None else cube.variance[index],
        None if cube.mask is None else cube.mask[index],
    )
    weights = part.weights.astype(np.float64)
    return np.where(weights > 0, part.data, 0).astype(np.float64), weights


def _windows(kept: Array) -> list[tuple[slice, slice]]:
    """Parts of the image plane of at most 96 x 96 spaxels, those with most faint spaxels first."""
    cuts = []
    for size in kept.shape:
        edges = np.linspace(0, size, -(-size // _WINDOW) + 1).astype(int)
        cuts.append([slice(int(a), int(b)) for a, b in pairwise(edges)])
    windows = [(y, x) for y in cuts[0] for x in cuts[1]]
    return sorted(windows, key=lambda window: -int(kept[window].sum()))


def _pieces(alive: Array) -> list[Array]:
    """The bands with data in pieces of about 40."""
    bands = np.flatnonzero(alive)
    return np.array_split(bands, max(1, round(len(bands) / _PIECE)))


# ---------------------------------------------------------------- residuals


def _projection(sigma: Array) -> Array:
    """What takes polynomials out of a spectrum that is divided by `sigma`, shape (n, n)."""
    n = len(sigma)
    degree = min(_DEGREE, n // _BANDS_PER_DEGREE)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, n), degree)
    basis, _ = np.linalg.qr(basis / sigma[:, None])
    return np.eye(n) - basis @ basis.T


def _residual(sky: _Sky, piece: Array, window: tuple[slice, slice]) -> tuple[Array, Array]:
    """Faint spaxels of some bands without their continuum, over sigma, shape (n, ny, nx), and where they are good; 0 elsewhere.

    Values and means of 3 x 3 x 3 voxels that stand out are left out: cosmic rays and lines that are bright enough to be seen.
    """
    data, weights = _values(sky.cube, (piece, *window))
    good = (weights > 0) & sky.kept[window]
    good &= good.mean(axis=0) >= _COVERED
    typical = sky.sigma[piece][:, None, None]
    inverse = np.sqrt(weights) if sky.cube.variance is not None else 1 / typical
    scaled, projection = np.where(good, data, 0) / typical, _projection(sky.sigma[piece])
    residual = np.zeros(good.shape)
    for _ in range(_PASSES):
        scaled, left = _without_polynomial(projection, scaled, good)
        residual = left * typical * inverse
        if not good.any():
            return residual, good
        good = good & ~_outstanding(residual, good)
    mean = np.where(good, residual, 0).sum(axis=(1, 2), keepdims=True) / np.maximum(good.sum(axis=(1, 2), keepdims=True), 1)
    return np.where(good, residual - mean, 0), good


def _without_polynomial(projection: Array, values: Array, good: Array) -> tuple[Array, Array]:
    """Values with the polynomial where they are missing, and what is left of them without it."""
    flat, missing = values.reshape(len(values), -1), ~good.reshape(len(values), -1)
    left = projection @ flat
    gaps = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))
    if len(gaps):
        some, absent = flat[:, gaps], missing[:, gaps]
        for _ in range(_FILLS):
            some = np.where(absent, some - projection @ some, some)
        flat = flat.copy()
        flat[:, gaps] = some
        left[:, gaps] = projection @ some
    return flat.reshape(values.shape), left.reshape(values.shape)


def _outstanding(residual: Array, good: Array) -> Array:
    """Values beyond 6 sigma, and voxels in boxes of 3 x 3 x 3 whose sum is beyond 5 of its own: so far that noise is hardly there."""
    values = np.where(good, residual, 0)
    far = np.abs(values) > _CLIP * _MAD * np.median(np.abs(values[good]))
    sums = uniform_filter(np.where(far, 0, values), 3, mode="constant")
    bright = np.abs(sums) > _CLIP_BOXES * _MAD * np.median(np.abs(sums[good]))
    return np.asarray(far | maximum_filter(bright, 3, mode="constant"))


# ---------------------------------------------------------------- covariances


@dataclass(frozen=True, eq=False)
class _Sums:
    """Products of residuals by band, spectral lag and spatial lag, their number, and what the projection makes of them.

    `products`, `counts` (n, L + 1, 2 R + 1, 2 R + 1); `response` (n, L + 1, L + 1): coefficient of the covariance at each true lag.
    """

    products: Array
    counts: Array
    response: Array


def _pooled(sky: _Sky) -> NoiseCorrelation:
    units = list(_sampled(sky))
    n_lags = min(_SPECTRAL_LAGS, *(max(len(piece) // 4, 1) for piece, _ in units))
    sums = [_sums(*_residual(sky, piece, window), piece, sky.sigma[piece], n_lags, sky.radius) for piece, window in units]
    total = _Sums(*(np.concatenate([getattr(part, name) for part in sums]) for name in ("products", "counts", "response")))
    kept = _ordinary_bands(total, sky.radius)
    if not kept.any():
        raise NoDataError("no band is left in which the correlation of the noise can be measured.")
    covariances = _solve(total, kept)
    spatial, spectral = _reach(covariances, float(total.counts[kept, 0, sky.radius, sky.radius].sum()))
    group = np.arange(len(kept)) * _GROUPS // len(kept)
    jackknife = [_solve(total, kept & (group != g)) for g in np.unique(group[kept])] if np.unique(group[kept]).size > 1 else [covariances]
    lags, light = _without_light(covariances, spatial, spectral)
    groups = np.array([_without_light(part, spatial, spectral)[0] for part in jackknife])
    if sky.cube.variance is None:  # sky.sigma was a first guess
        lags, groups = (part / part[..., :1, sky.radius, sky.radius, None, None] for part in (lags, groups))
    n_bands = len({int(b) for piece, _ in units for b in piece})
    return NoiseCorrelation(
        lags=lags,
        groups=groups,
        claimed=sky.cube.variance is not None,
        reach=(spectral, spatial),
        light=light,
        shape=(int(sky.alive.sum()), *sky.kept.shape),
        n_spaxels=int(sky.kept.sum()),
        n_bands=n_bands,
    )


def _sampled(sky: _Sky) -> Iterator[tuple[Array, tuple[slice, slice]]]:
    """Pieces of the spectrum in the windows with most faint spaxels, as many as 2 million voxels, spread over the bands."""
    pieces = _pieces(sky.alive)
    windows = [window for window in _windows(sky.kept) if sky.kept[window].sum() >= _MIN_SPAXELS] or _windows(sky.kept)[:1]
    size = max(sky.kept[window].size for window in windows) * len(pieces[0])
    count = max(min(8, len(pieces)), _MAX_VOXELS // size)
    every = [(piece, windows[i % len(windows)]) for i, piece in enumerate(pieces)]
    if count <= len(every):
        yield from (every[i] for i in np.linspace(0, len(every) - 1, count).astype(int))
        return
    for lap in range(min(len(windows), -(-count // len(every)))):
        yield from ((piece, windows[(i + lap) % len(windows)]) for i, piece in enumerate(pieces))


def _sums(residual: Array, good: Array, piece: Array, sigma: Array, n_lags: int, radius: int) -> _Sums:
    """Products by lag of one piece in one window, by the Fourier transform, zero-padded."""
    n, n_y, n_x = residual.shape
    size = [scipy.fft.next_fast_len(n_y + radius, real=True), scipy.fft.next_fast_len(n_x + radius, real=True)]
    signal, places = scipy.fft.rfft2(residual, size), scipy.fft.rfft2(good.astype(np.float64), size)
    near = np.arange(-radius, radius + 1)
    shape = (n, n_lags + 1, len(near), len(near))
    products, counts = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    response = np.zeros((n, n_lags + 1, n_lags + 1))
    projected = _projected_lags(_projection(sigma), piece, n_lags)
    for lag in range(n_lags + 1):
        first = np.flatnonzero(np.isin(piece + lag, piece))
        second = np.searchsorted(piece, piece[first] + lag)
        for i, j in zip(first, second, strict=True):
            products[i, lag] = scipy.fft.irfft2(np.conj(signal[i]) * signal[j], size)[np.ix_(near, near)]
            counts[i, lag] = np.round(scipy.fft.irfft2(np.conj(places[i]) * places[j], size)[np.ix_(near, near)])
        response[first, lag] = projected[:, first, second].T
    return _Sums(products, counts, response)


def _projected_lags(projection: Array, piece: Array, n_lags: int) -> Array:
    """``P T_h P`` for each lag h, shape (L + 1, n, n): T_h is 1 between bands that are h apart."""
    apart = np.abs(piece[:, None] - piece)
    return np.array([projection @ (apart == h) @ projection for h in range(n_lags + 1)])


def _ordinary_bands(sums: _Sums, radius: int) -> Array:
    """Bands whose variance and whose sums over 5 x 5 spaxels are as in the others: no line that is bright here, no residual of the sky."""
    lag = np.abs(np.arange(-radius, radius + 1))
    means = sums.products[:, 0] / np.maximum(sums.counts[:, 0], 1)
    kept: Array = sums.counts[:, 0, radius, radius] >= _MIN_SPAXELS
    for width in (1, 5):
        weight = np.maximum(width - lag, 0) / width
        statistic = np.cbrt(np.einsum("byx,y,x->b", means, weight, weight))  # nearly normal for a variance (Wilson & Hilferty 1931)
        usual = np.median(statistic[kept]) if kept.any() else 0.0
        spread = _MAD * np.median(np.abs(statistic[kept] - usual)) if kept.any() else 0.0
        kept = kept & (np.abs(statistic - usual) <= _CLIP_BANDS * spread)
    return kept


def _solve(sums: _Sums, kept: Array) -> Array:
    """Covariances by lag, what the projection took along put back."""
    n_lags, radius = sums.response.shape[1], sums.products.shape[-1] // 2
    products, counts = sums.products[kept].astype(np.float64).sum(axis=0), sums.counts[kept].astype(np.float64).sum(axis=0)
    weight = sums.counts[kept, :, radius, radius].astype(np.float64)
    measured = products / np.maximum(counts, 1)
    response = np.einsum("bl,blh->lh", weight, sums.response[kept]) / np.maximum(weight.sum(axis=0), 1)[:, None]
    usable = np.flatnonzero(weight.sum(axis=0) > 0)
    usable = usable[usable == np.arange(len(usable))]  # up to the first lag that never occurs
    covariances = np.zeros((n_lags, *measured.shape[1:]))
    covariances[usable] = np.tensordot(np.linalg.pinv(response[np.ix_(usable, usable)]), measured[usable], 1)
    return covariances


def _reach(covariances: Array, n_voxels: float) -> tuple[int, int]:
    """Spatial and spectral lag beyond which the covariance no longer falls."""
    radius = covariances.shape[-1] // 2
    distance = _distance(radius)
    rings = np.array([covariances[0][np.round(distance) == r].mean() for r in range(radius + 1)]) / covariances[0, radius, radius]
    negligible = max(_NEGLIGIBLE, 3 / np.sqrt(4 * max(n_voxels, 1)))
    spatial = radius
    if radius > 2:  # else there is no ring to compare with
        falls = (r for r in range(radius - 1) if rings[r + 1] - rings[r + 2 : r + 5].mean() < negligible)
        spatial = next(falls, radius)
    kept, _ = _without_ring(covariances, spatial)
    near = slice(max(radius - 1, 0), radius + 2)
    profiles = np.array([kept[:, near, near].sum(axis=(1, 2)), kept[:, radius, radius]])
    profiles /= profiles[:, :1]
    enough = max(_NEGLIGIBLE_BANDS, 3 / np.sqrt(max(n_voxels, 1)))
    last = len(covariances) - 1
    ends = (lag for lag in range(last - 1) if (profiles[:, lag + 1] - profiles[:, lag + 2 : lag + 2 + _TAIL].mean(axis=1) < enough).all())
    return spatial, next(ends, last)


def _without_light(covariances: Array, spatial: int, spectral: int) -> tuple[Array, float]:
    """Covariances within the reach of the noise, without the levels beyond it in space and along the bands; light over the variance."""
    kept, level = _without_ring(covariances, spatial)
    tail = kept[spectral + 1 : spectral + 1 + _TAIL]
    if len(tail) > 1:
        kept = kept - tail.mean(axis=0)
    kept[spectral + 1 :] = 0
    radius = covariances.shape[-1] // 2
    light = level + (tail[:, radius, radius].mean() if len(tail) > 1 else 0.0)
    return kept, float(light / kept[0, radius, radius])


def _without_ring(covariances: Array, spatial: int) -> tuple[Array, float]:
    """Covariances within some spaxels, without the level of the ring around them; and that level."""
    distance = _distance(covariances.shape[-1] // 2)
    ring = (distance > spatial + 0.5) & (distance <= spatial + 0.5 + _RING)
    level = covariances[:, ring].mean(axis=1) if ring.any() else np.zeros(len(covariances))
    return np.where(distance <= spatial + 0.5, covariances - level[:, None, None], 0.0), float(level[0])


def _distance(radius: int) -> Array:
    lag = np.arange(-radius, radius + 1)
    return np.hypot(lag[:, None], lag)


def _factor(lags: Array, box: tuple[int, int, int]) -> float:
    bands, radius = np.arange(len(lags)), lags.shape[-1] // 2
    apart = np.abs(np.arange(-radius, radius + 1))
    n_bands, n_y, n_x = box
    along = np.maximum(n_bands - bands, 0) / n_bands * np.where(bands > 0, 2, 1)
    variance = np.einsum("l,y,x,lyx->", along, np.maximum(n_y - apart, 0) / n_y, np.maximum(n_x - apart, 0) / n_x, lags)
    return float(np.sqrt(max(variance, 0.0)))


# ---------------------------------------------------------------- band by band


def _spread_by_band(sky: _Sky, correlation: NoiseCorrelation) -> tuple[Array, Array]:
    """Standard deviation over `sky.sigma` or the claimed errors, shape (B,), NaN where not measured, and its relative error."""
    radius = sky.radius
    windows = _windows(sky.kept)
    n_windows = max(1, _MAX_VOXELS_BY_BAND // (sky.kept[windows[0]].size * len(sky.alive)))
    central = correlation.lags[:, radius, radius]
    # variances of products are sums over the squared correlations: the effective number of independent spaxels
    squared = float(((correlation.lags[0] / max(central[0], 1e-300)) ** 2).sum())
    squares, counts, light = np.zeros(len(sky.alive)), np.zeros(len(sky.alive)), np.zeros(len(sky.alive))
    response = np.ones(len(sky.alive))
    distance, spatial = _distance(radius), correlation.reach[1]
    ring = (distance > spatial + 0.5) & (distance <= spatial + 0.5 + _RING)
    for piece in _pieces(sky.alive):
        projected = _projected_lags(_projection(sky.sigma[piece]), piece, len(central) - 1)
        response[piece] = np.einsum("h,hbb->b", central, projected)
        for window in windows[:n_windows]:
            residual, good = _residual(sky, piece, window)
            squares[piece] += (residual**2).sum(axis=(1, 2))
            counts[piece] += good.sum(axis=(1, 2))
            if ring.any():
                products = _sums(residual, good, piece, sky.sigma[piece], 0, radius)
                pairs = np.maximum(products.counts[:, 0][:, ring].sum(axis=1), 1)
                light[piece] += products.products[:, 0][:, ring].sum(axis=1) / pairs * good.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (squares - light) / counts * central[0] / response
        variance[(counts < _MIN_SPAXELS) | ~(variance > 0)] = np.nan
        return np.sqrt(variance), np.sqrt(squared / (2 * counts))


def _smoothed(values: Array, error: Array) -> Array:
    """Values over their running median, drawn to it as far as their scatter is that of the measurement; gaps are bridged."""
    bands = np.flatnonzero(np.isfinite(values))
    if len(bands) == 0:
        raise NoDataError("no band has enough data in the faintest spaxels: the noise cannot be measured.")
    filled = np.interp(np.arange(len(values)), bands, values[bands])
    half = min(12, (len(values) - 1) // 2)
    padded = np.pad(filled, half, mode="reflect") if half else filled
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    deviation = np.log(filled / usual)
    known = np.isfinite(values)
    spread = _MAD * np.median(np.abs(deviation[known]))
    expected = float(np.median(error[known]))
    own = max(0.0, 1 - (expected / spread) ** 2) if spread > 0 else 0.0
    share = np.where(np.abs(deviation) > _ORDINARY * np.maximum(expected, spread * (own > 0)), 1.0, own)
    return np.where(known, usual * np.exp(share * deviation), np.nan)
