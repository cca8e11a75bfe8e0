"""Hyperspectral scenes with known endmembers and abundances.

All distributions were fixed before any method was run on the scenes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from ..datamodels import Cube, Frame
from ..errors import ParameterError, ShapeError
from .reflectance import WAVELENGTH_RANGE, distinct_spectra

__all__ = ["NOISES", "HyperspectralScene", "add_noise", "hyperspectral_scene", "missing_values"]

Array = NDArray[np.float64]

NOISES = ("white", "colored", "per-band")
_LEAST_ANGLE = (0.06, 0.15)  # rad: the scene's lower bound on angles between endmembers is uniform in this range
_PATCH = (0.05, 0.12)  # smoothing scale of the abundance fields, of the shorter side of the image: uniform
_CONTRAST = (2.0, 5.0)  # factor of the standardized fields in the softmax: uniform
_ABSENT = 0.3  # materials below _ABSENT / K are absent from a pixel
_PURE_RADIUS = 0.02  # of the shorter side, at least one pixel
_NOISE_LENGTH = 2.0  # bands: standard deviation of the kernel that colors noise
_BAND_SCATTER, _BAND_LENGTH = 0.5, 5.0  # of ln sigma along the bands, and its smoothing length in bands
_VAPOR = ((1.35, 1.42), (1.82, 1.95))  # µm: telluric water vapor, where per-band noise is three times larger
_VAPOR_FACTOR = 3.0


@dataclass(frozen=True, eq=False, kw_only=True)
class HyperspectralScene:
    """A simulated cube and what it is made of: ``data = brightness × (spectra @ abundances) + noise``.

    Parameters
    ----------
    cube : Cube
        Noisy data (B, Ny, Nx), NaN and masked where missing; the variance of every value.
    spectra : ndarray, shape (B, K)
        Endmembers, reflectance.
    abundances : ndarray, shape (K, Ny, Nx)
        Non-negative, sum 1 in each pixel.
    brightness : ndarray, shape (Ny, Nx)
        Factor of each pixel; 1 unless brightness varies.
    sigma : ndarray, shape (B,)
        Standard deviation of the noise in each band.
    seed : int
    description : str
        One sentence with everything that was chosen or drawn.
    """

    cube: Cube
    spectra: Array
    abundances: Array
    brightness: Array
    sigma: Array
    seed: int
    description: str


def hyperspectral_scene(
    *,
    n_endmembers: int,
    shape: tuple[int, int] = (100, 100),
    n_bands: int = 224,
    pure_pixels: bool = True,
    max_abundance: float | None = None,
    snr_db: float = 30.0,
    noise: str = "white",
    spectra: Array | None = None,
    seed: int = 0,
    brightness_variation: float = 0.0,
    missing: float = 0.0,
    missing_blocks: tuple[float, float] = (0.0, 0.2),
) -> HyperspectralScene:
    """A scene of spatially coherent mixtures with known truth.

    Abundances are a softmax of smooth Gaussian random fields; materials of a share below 0.3/K are absent from a pixel, and each has
    one small patch where it is alone. Without pure pixels no share exceeds `max_abundance`: what is above goes to the other
    materials of the pixel. Endmembers, abundances, brightness, noise and missing values have random streams of their own: scenes that
    differ in one of them agree in the others.

    Parameters
    ----------
    n_endmembers : int
        K, at least 2.
    shape : tuple of int
        (Ny, Nx).
    n_bands : int
        B, equally spaced from 0.4 to 2.5 µm; `spectra` wins.
    pure_pixels : bool
        Whether every endmember fills at least one pixel alone.
    max_abundance : float, optional
        Largest share in any pixel, in [0.5, 1), reached by every endmember; only without pure pixels, and 0.8 then.
    snr_db : float
        ``10 log10(mean signal² / mean noise variance)`` over all values; inf: no noise, and no variance.
    noise : {"white", "colored", "per-band"}
        Independent and equal in all bands; of equal variance, but correlated along the bands (a Gaussian kernel of 2 bands); independent
        with a variance that changes from band to band and is nine times larger in the bands of water vapor.
    spectra : ndarray, shape (B, K), optional
        Endmembers to use instead of simulated ones; the cube has no spectral axis then.
    seed : int
    brightness_variation : float
        Standard deviation of ln(brightness) over the pixels, a smooth field; 0: none.
    missing : float
        Share of the values that are missing at random, in [0, 1).
    missing_blocks : (float, float)
        Share of the pixels in which a block of neighboring bands is missing, and the length of a block as a share of the bands.

    Returns
    -------
    HyperspectralScene

    Raises
    ------
    ParameterError, ShapeError
        If a parameter is outside its range, or `spectra` does not fit.

    Examples
    --------
    >>> scene = hyperspectral_scene(n_endmembers=3, shape=(20, 20), n_bands=50, pure_pixels=False, max_abundance=0.7)
    >>> scene.cube.data.shape, round(float(scene.abundances.max()), 6)
    ((50, 20, 20), 0.7)
    """
    largest = _largest_abundance(pure_pixels, max_abundance)
    _check(n_endmembers, shape, n_bands if spectra is None else len(spectra), seed, brightness_variation)
    streams = [np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(5)]
    if spectra is None:
        wavelength: Array | None = _wavelengths(n_bands)
        least_angle = streams[0].uniform(*_LEAST_ANGLE)
        A, least_angle = distinct_spectra(_wavelengths(n_bands), n_endmembers, streams[0], least_angle=least_angle)
        origin = f"simulated, no two closer than {least_angle:.4f} rad"
    else:
        wavelength, A, origin = None, _given_spectra(spectra, n_endmembers), "given"
    S, drawn = _abundances(n_endmembers, shape, largest, streams[1])
    brightness = np.exp(brightness_variation * _smooth_field(shape, 0.1 * min(shape), streams[2]) - brightness_variation**2 / 2)
    clean = np.einsum("bk,kyx->byx", A, S) * brightness
    data, sigma = add_noise(clean, snr_db=snr_db, noise=noise, seed=streams[3], wavelength=wavelength)
    mask = missing_values(data.shape, share=missing, blocks=missing_blocks, seed=streams[4])
    data[mask] = np.nan
    description = (
        f"{n_endmembers} endmembers ({origin}), {len(A)} bands x {shape[0]} x {shape[1]}, "
        f"{'pure pixels' if pure_pixels else f'no abundance above {largest:g}'}, {drawn}, SNR {snr_db:g} dB, {noise} noise, "
        f"brightness scatter {brightness_variation:g}, {mask.mean():.1%} missing, seed {seed}"
    )
    frame = Frame(shape=shape, n_bands=len(A), spectral_axis=None if wavelength is None else wavelength * u.micron)
    variance = np.broadcast_to(sigma[:, None, None] ** 2, data.shape).copy() if sigma.any() else None
    meta = {"name": "simulated", "header": {}, "instrument": "simulated", "decisions": [], "description": description}
    return HyperspectralScene(
        cube=Cube(data, variance, mask if mask.any() else None, frame, meta=meta),
        spectra=A,
        abundances=S,
        brightness=brightness,
        sigma=sigma,
        seed=seed,
        description=description,
    )


def add_noise(
    clean: NDArray[Any],
    *,
    snr_db: float,
    noise: str = "white",
    seed: int | np.random.Generator = 0,
    wavelength: Array | None = None,
) -> tuple[Array, Array]:
    """Noisy data and the standard deviation of the noise in each band.

    Parameters
    ----------
    clean : ndarray, shape (B, ...)
        Without noise; not modified.
    snr_db : float
        ``10 log10(mean clean² / mean noise variance)`` over all values; inf: no noise.
    noise : {"white", "colored", "per-band"}
        See `hyperspectral_scene`.
    seed : int or numpy.random.Generator
    wavelength : ndarray, shape (B,), optional
        In µm: where per-band noise is larger because of water vapor. None: nowhere.

    Returns
    -------
    data : ndarray of float64, shape (B, ...)
    sigma : ndarray, shape (B,)

    Raises
    ------
    ParameterError
        If `noise` is unknown or `snr_db` is no number above -inf.
    """
    if noise not in NOISES:
        raise ParameterError(f"noise is {noise!r}: expected one of {', '.join(NOISES)}.")
    if not snr_db > -math.inf:
        raise ParameterError(f"snr_db is {snr_db}: expected a number of dB, or inf for no noise.")
    clean = np.asarray(clean, dtype=np.float64)
    rng = np.random.default_rng(seed)
    n_bands = len(clean)
    relative = _relative_sigma(n_bands, wavelength, rng) if noise == "per-band" else np.ones(n_bands)
    sigma = math.sqrt(np.mean(clean**2) / 10 ** (snr_db / 10)) * relative
    errors = rng.standard_normal(clean.shape)
    if noise == "colored":
        errors = _color(errors)
    return clean + sigma.reshape(-1, *[1] * (clean.ndim - 1)) * errors, sigma


def missing_values(
    shape: tuple[int, int, int], *, share: float = 0.0, blocks: tuple[float, float] = (0.0, 0.2), seed: int | np.random.Generator = 0
) -> NDArray[np.bool_]:
    """True where a value of a cube is missing.

    Parameters
    ----------
    shape : tuple of int
        (B, Ny, Nx).
    share : float
        Of the values, missing at random.
    blocks : (float, float)
        Share of the pixels in which a block of neighboring bands is missing, and the length of a block as a share of the bands.
    seed : int or numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape (B, Ny, Nx)

    Raises
    ------
    ParameterError
        If a share is not within 0 to 1.
    """
    for name, value in (("share", share), ("blocks[0]", blocks[0]), ("blocks[1]", blocks[1])):
        if not 0 <= value <= 1:
            raise ParameterError(f"{name} of missing values is {value}: expected a share from 0 to 1.")
    rng = np.random.default_rng(seed)
    n_bands, n_y, n_x = shape
    mask = rng.random(shape) < share
    length = round(blocks[1] * n_bands)
    has_block = rng.permutation(n_y * n_x).reshape(n_y, n_x) < round(blocks[0] * n_y * n_x)
    first = rng.integers(0, n_bands - length + 1, size=(n_y, n_x))
    band = np.arange(n_bands)[:, None, None]
    return np.asarray(mask | (has_block & (band >= first) & (band < first + length)))


def _check(n_endmembers: int, shape: tuple[int, int], n_bands: int, seed: int, brightness_variation: float) -> None:
    if n_endmembers < 2:
        raise ParameterError(f"n_endmembers is {n_endmembers}: expected at least 2.")
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] < n_endmembers or n_bands < n_endmembers:
        raise ParameterError(f"shape is {shape} with {n_bands} bands: expected at least {n_endmembers} pixels and bands.")
    if seed < 0:
        raise ParameterError(f"seed is {seed}: expected an integer >= 0.")
    if not 0 <= brightness_variation < math.inf:
        raise ParameterError(f"brightness_variation is {brightness_variation}: expected a finite number >= 0.")


def _largest_abundance(pure_pixels: bool, max_abundance: float | None) -> float:
    if pure_pixels:
        if max_abundance not in (None, 1):
            raise ParameterError(f"max_abundance is {max_abundance}, but there are pure pixels: add pure_pixels=False.")
        return 1.0
    largest = 0.8 if max_abundance is None else max_abundance
    if not 0.5 <= largest < 1:
        raise ParameterError(f"max_abundance is {largest}: expected a share in [0.5, 1).")
    return largest


def _wavelengths(n_bands: int) -> Array:
    return np.linspace(*WAVELENGTH_RANGE, n_bands)


def _given_spectra(spectra: Array, n_endmembers: int) -> Array:
    A = np.array(spectra, dtype=np.float64)
    if A.ndim != 2 or A.shape[1] != n_endmembers or not np.isfinite(A).all():
        raise ShapeError(f"spectra has shape {A.shape}: expected finite values of shape (bands, {n_endmembers}).")
    return A


def _abundances(n_endmembers: int, shape: tuple[int, int], largest: float, rng: np.random.Generator) -> tuple[Array, str]:
    """Abundances (K, Ny, Nx), and what was drawn for them."""
    scale, contrast = rng.uniform(*_PATCH) * min(shape), rng.uniform(*_CONTRAST)
    fields = np.stack([contrast * _smooth_field(shape, scale, rng) for _ in range(n_endmembers)])
    mixed = np.exp(fields - fields.max(axis=0))
    mixed /= mixed.sum(axis=0)
    S = np.where(mixed < _ABSENT / n_endmembers, 0, mixed)
    S /= S.sum(axis=0)
    S = _with_pure_patches(S)
    return _cut(S, mixed, largest), f"patches of {scale:.1f} pixels, contrast {contrast:.2f}"


def _smooth_field(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> Array:
    """Gaussian random field of mean 0 and standard deviation 1."""
    field = gaussian_filter(rng.standard_normal(shape), scale, mode="wrap")
    field -= field.mean()
    spread = field.std()
    return np.asarray(field / spread if spread > 0 else field)


def _with_pure_patches(S: Array) -> Array:
    """The abundances, blended into a small disc of one material where it is most abundant, for each of them."""
    S = S.copy()
    n_endmembers, n_y, n_x = S.shape
    radius = max(1.0, _PURE_RADIUS * min(n_y, n_x))
    y, x = np.mgrid[:n_y, :n_x]
    centers: list[tuple[int, int]] = []
    for k in range(n_endmembers):
        distances = np.min([np.hypot(y - cy, x - cx) for cy, cx in centers], axis=0) if centers else np.full((n_y, n_x), np.inf)
        apart = 5 * radius
        while not (distances >= apart).any():
            apart /= 2
        cy, cx = divmod(int(np.argmax(np.where(distances >= apart, S[k], -1.0))), n_x)
        centers.append((cy, cx))
        beyond = np.maximum(np.hypot(y - cy, x - cx) - radius, 0)
        purity = np.exp(-0.5 * (beyond / radius) ** 2)
        purity[purity < 0.01] = 0
        S *= 1 - purity
        S[k] += purity
    for k, (cy, cx) in enumerate(centers):  # later discs may have reached into earlier ones
        S[:, cy, cx] = np.arange(n_endmembers) == k
    return S


def _cut(S: Array, mixed: Array, largest: float) -> Array:
    """Abundances none of which exceeds `largest`; the rest goes to the other materials of the pixel, or to those around it."""
    if largest == 1:
        return S
    purest = S.argmax(axis=0)[None]
    is_purest = np.arange(len(S))[:, None, None] == purest
    others = np.where(is_purest, 0, S)
    others = np.where(others.sum(axis=0) > 1e-6, others, np.where(is_purest, 0, mixed))
    others *= (1 - largest) / others.sum(axis=0)
    return np.where(S.max(axis=0) > largest, np.where(is_purest, largest, others), S)


def _relative_sigma(n_bands: int, wavelength: Array | None, rng: np.random.Generator) -> Array:
    """Standard deviations of mean square 1."""
    walk = gaussian_filter1d(rng.standard_normal(n_bands), _BAND_LENGTH, mode="nearest")
    spread = walk.std()
    logarithm = _BAND_SCATTER * walk / (spread if spread > 0 else 1)
    if wavelength is not None:
        for low, high in _VAPOR:
            logarithm[(wavelength >= low) & (wavelength <= high)] += math.log(_VAPOR_FACTOR)
    sigma = np.exp(logarithm)
    return np.asarray(sigma / np.sqrt(np.mean(sigma**2)))


def _color(errors: Array) -> Array:
    """Errors correlated along the bands, still of variance 1 in each."""
    kernel = gaussian_filter1d(np.eye(len(errors)), _NOISE_LENGTH, axis=0, mode="constant")
    kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)
    return np.asarray(np.tensordot(kernel, errors, axes=1))
