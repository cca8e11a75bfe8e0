"""Kernels that turn the PSF of the model frame into the observed ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from ..errors import ParameterError, ShapeError
from .psf_profiles import gaussian_stamp

__all__ = ["Kernels", "choose_model_sigma", "difference_kernels", "psf_widths"]

Array = NDArray[np.floating[Any]]

# Standard deviation of the model PSF in pixels: the wanted one, and the narrowest that is proposed.
DEFAULT_SIGMA, NARROWEST_SIGMA = 0.8, 0.5
WORST_RESIDUAL, WORST_RINGING, WORST_TRUNCATION = 0.01, 0.05, 0.01
# Part of a kernel's absolute sum that is cut off with its outer pixels.
CUT = 1e-4
# Power of the radius below which no PSF's wings fall off.
SLOWEST_POWER = 2.5
# More change the residual by less than a tenth.
POSITIVE_STEPS = 30
# Power below which a frequency starts from nearly nothing: there the quotient is rounding and truncation.
DAMPING = 1e-5
# Spectra repeat at multiples of twice Nyquist's frequency; beyond the first they are below 1e-4 for widths from 0.5 pixel on.
ORDERS = np.array([-1, 0, 1])


@dataclass(frozen=True, eq=False)
class Kernels:
    """Difference kernels and how good they are.

    Parameters
    ----------
    kernels : ndarray, shape (B, kh, kw)
        Odd sizes, each of sum 1; some pixels may be negative.
    model_sigma : float
        Standard deviation of the PSF of the model frame, in pixels.
    residual : ndarray, shape (B,)
        Largest error of the model PSF through the kernel against the observed PSF, in units of its peak,
        for a star at the center and one at the corner of a pixel.
    ringing : ndarray, shape (B,)
        Sum of the negative pixels of each kernel, without its sign.
    notes : tuple of str
        Sentences the user must read.
    """

    kernels: Array
    model_sigma: float
    residual: Array
    ringing: Array
    notes: tuple[str, ...]

    @property
    def badness(self) -> float:
        """Largest residual or ringing as a fraction of what is tolerated; above 1 a note says so."""
        return float(_badness(self.residual, self.ringing).max())


def difference_kernels(psfs: Array, model_sigma: float | None = None) -> Kernels:
    """Kernels that, convolved with a Gaussian of `model_sigma`, give the observed PSFs.

    A star of the model frame is a Gaussian sampled at pixel centers, wherever in its pixel it stands. The kernel with the smallest
    squared error, averaged over all such places, is in Fourier space

    ``K(w) = sum_m P_m G_m / sum_m G_m^2``,  ``G_m = G(w + 2 pi m)``,

    G and P being the transforms of the continuous Gaussian and of the continuous PSF: what the sampling aliases (m ≠ 0) regularizes the
    deconvolution. A stamp holds sum_m P_m only; its parts are taken to be in the ratio of those of the Gaussian that agrees
    with the PSF at Nyquist's frequency, which matters for an undersampled PSF alone. Where the negative parts of that kernel sum to
    more than 5 %, as with a noisy stamp or a PSF hardly wider than the model's, the kernel is the non-negative one with the
    smallest such error.

    Parameters
    ----------
    psfs : ndarray, shape (B, h, w)
        Odd-sized, centered, of sum 1, as `psf_images` gives them.
    model_sigma : float, > 0, optional
        Standard deviation of the PSF of the model frame, in pixels; None: as `choose_model_sigma` says.

    Returns
    -------
    Kernels
        Notes name the bands whose residual exceeds 1 % or whose ringing 5 %, whose stamp is truncated, and a model PSF that
        is too narrow for its sampling.

    Raises
    ------
    ShapeError
        If `psfs` is not (B, h, w) with odd h and w.
    ParameterError
        If `psfs` is not finite, or `model_sigma` is not positive.
    """
    psfs = _checked(psfs)
    if model_sigma is None:
        return _best_kernels(psfs, psf_widths(psfs))
    if not (np.isfinite(model_sigma) and model_sigma > 0):
        raise ParameterError(f"model_sigma is {model_sigma}: expected a positive number of pixels; leave it out to have it chosen.")
    return _kernels(psfs, psf_widths(psfs), float(model_sigma))


def choose_model_sigma(psfs: Array) -> float:
    """Width of a model PSF that all observed PSFs (B, h, w) can be made from: 0.8 pixel, less where that rings or misses.

    None below 0.5 pixel is proposed: sampled at pixel centers, a narrower Gaussian changes its flux by more than 3 % with
    its place in the pixel.
    """
    return difference_kernels(psfs).model_sigma


def _checked(psfs: Array) -> Array:
    psfs = np.asarray(psfs, dtype=float)
    if psfs.ndim != 3 or psfs.shape[1] % 2 == 0 or psfs.shape[2] % 2 == 0:
        raise ShapeError(f"psfs has shape {psfs.shape}: expected (B, h, w) with odd h and w; psf_images makes such stamps.")
    if not np.isfinite(psfs).all():
        raise ParameterError("psfs has non-finite pixels: expected finite stamps; psf_images makes such stamps.")
    return psfs


def psf_widths(psfs: Array) -> Array:
    """Standard deviations (B, 2) along y and x of the Gaussians that have the PSFs' spectra at Nyquist's frequency."""
    signs = [(-1.0) ** np.arange(n) for n in psfs.shape[1:]]
    at_nyquist = np.abs([psfs.sum(axis=2) @ signs[0], psfs.sum(axis=1) @ signs[1]]).T
    # Two equal parts are folded onto each other there.
    return np.sqrt(-2 * np.log(np.clip(at_nyquist / 2, 1e-9, 0.5))) / np.pi


def _best_kernels(psfs: Array, widths: Array) -> Kernels:
    """Those of the widest model PSF that needs no note, or else of the one with the least badness."""
    widest = np.clip(widths.min(), NARROWEST_SIGMA, DEFAULT_SIGMA)
    best = _kernels(psfs, widths, float(widest))
    for sigma in np.linspace(widest, NARROWEST_SIGMA, 5)[1:]:
        if best.badness <= 1:
            break
        kernels = _kernels(psfs, widths, float(sigma))
        if kernels.badness >= best.badness:
            break
        best = kernels
    return best


def _kernels(psfs: Array, widths: Array, sigma: float) -> Kernels:
    stars = psfs, _corner_stars(psfs, widths)
    kernels = _cut(_deconvolved(psfs, widths, sigma))
    residual, ringing = _residual(kernels, stars, sigma), _ringing(kernels)
    return Kernels(kernels, sigma, residual, ringing, tuple(_notes(psfs, sigma, residual, ringing)))


def _deconvolved(psfs: Array, widths: Array, sigma: float) -> Array:
    """Each PSF deconvolved, by kernels without negative parts where these would be large; stamps of the size of the PSFs."""
    shape, frequencies = _frequencies(psfs, margin=8 + int(8 * sigma))
    spectra, power = rfft2(psfs, s=shape), np.ones(1)
    for f, width in zip(frequencies, widths.T, strict=True):
        model, ratios = _gaussian_parts(f, sigma), _part_ratios(f, width)
        spectra = spectra * (ratios * model).sum(axis=-1) / ratios.sum(axis=-1)
        power = power * (model**2).sum(axis=-1)
    kernels: Array = irfft2(spectra / power, s=shape)[:, : psfs.shape[1], : psfs.shape[2]]
    rings = _ringing(kernels) > WORST_RINGING * kernels.sum(axis=(1, 2))
    if rings.any():
        kernels[rings] = _positive(spectra[rings], power, shape, psfs.shape[1:])
    return kernels


def _positive(spectra: Array, power: Array, shape: tuple[int, int], size: tuple[int, ...]) -> Array:
    """Non-negative kernels of least squared error, by accelerated projected gradient steps from a damped quotient on.

    References
    ----------
    Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183.
    """
    height, width = size
    start = irfft2(spectra / (power + DAMPING), s=shape)[:, :height, :width]
    kernels = moved = np.maximum(start, 0)
    for step in range(POSITIVE_STEPS):
        # The power is 1 at most (at frequency 0): so is the Lipschitz constant.
        gradient = irfft2(rfft2(moved, s=shape) * power - spectra, s=shape)[:, :height, :width]
        last, kernels = kernels, np.maximum(moved - gradient, 0)
        moved = kernels + step / (step + 3) * (kernels - last)
    return kernels


def _corner_stars(psfs: Array, widths: Array) -> Array:
    """The PSFs of a star half a pixel up along both axes."""
    shape, frequencies = _frequencies(psfs, margin=16)
    spectra = rfft2(psfs, s=shape)
    for f, width in zip(frequencies, widths.T, strict=True):
        ratios = _part_ratios(f, width)
        spectra = spectra * np.exp(-0.5j * np.pi * f) * (ratios * (-1.0) ** ORDERS).sum(axis=-1) / ratios.sum(axis=-1)
    return irfft2(spectra, s=shape)[:, : psfs.shape[1], : psfs.shape[2]]


def _frequencies(psfs: Array, margin: int) -> tuple[tuple[int, int], tuple[Array, Array]]:
    """Size of the transforms of the stamps with a margin, and its frequencies along y and x in units of Nyquist's."""
    height, width = (_odd_fft_length(n + margin) for n in psfs.shape[1:])
    return (height, width), (2 * np.fft.fftfreq(height)[:, None], 2 * np.fft.rfftfreq(width))


def _gaussian_parts(frequency: Array, sigma: float) -> Array:
    """Transform of a Gaussian of integral 1 at the frequencies that sampling folds onto each other, along a new last axis."""
    return np.exp(-0.5 * (np.pi * sigma * (frequency[..., None] + 2 * ORDERS)) ** 2)


def _part_ratios(frequency: Array, sigmas: Array) -> Array:
    """`_gaussian_parts` over its middle one, for Gaussians of several widths: shape (B, 1, f, 3), or (B, f, 1, 3) for y."""
    bent = 0.5 * np.pi**2 * 4 * ORDERS * (frequency[..., None] + ORDERS)
    return np.exp(-(sigmas**2).reshape(-1, *[1] * max(bent.ndim, 3)) * bent)


def _cut(stamps: Array) -> Array:
    """Kernels without the outer frames that hold less than `CUT` of the absolute sum of any of them, each of sum 1 again."""
    half = [n // 2 for n in stamps.shape[1:]]
    total = np.abs(stamps).sum(axis=(1, 2))
    inner = stamps
    for radius in range(1, max(half) + 1):
        ry, rx = min(radius, half[0]), min(radius, half[1])
        inner = stamps[:, half[0] - ry : half[0] + ry + 1, half[1] - rx : half[1] + rx + 1]
        if (np.abs(inner).sum(axis=(1, 2)) >= (1 - CUT) * total).all():
            break
    return inner / inner.sum(axis=(1, 2), keepdims=True)


def _residual(kernels: Array, stars: tuple[Array, Array], sigma: float) -> Array:
    """Largest error of a star's image, at the center and at the corner of a pixel, in units of the PSF's peak, per band."""
    shape = stars[0].shape[1:]
    size = tuple(next_fast_len(n + k // 2, real=True) for n, k in zip(shape, kernels.shape[1:], strict=True))
    spectra = rfft2(kernels, s=size)
    top, left = kernels.shape[1] // 2, kernels.shape[2] // 2
    worst = np.zeros(len(kernels))
    for shift, expected in zip((0.0, 0.5), stars, strict=True):
        star = gaussian_stamp(shape, sigma, center=(shape[0] // 2 + shift, shape[1] // 2 + shift))
        image = irfft2(spectra * rfft2(star, s=size), s=size)[:, top : top + shape[0], left : left + shape[1]]
        worst = np.maximum(worst, np.abs(image - expected).max(axis=(1, 2)))
    return worst / stars[0].max(axis=(1, 2))


def _ringing(kernels: Array) -> Array:
    return -np.minimum(kernels, 0).sum(axis=(1, 2))


def _badness(residual: Array, ringing: Array) -> Array:
    return np.maximum(residual / WORST_RESIDUAL, ringing / WORST_RINGING)


def _notes(psfs: Array, sigma: float, residual: Array, ringing: Array) -> Iterator[str]:
    if len(bands := np.flatnonzero(residual > WORST_RESIDUAL)):
        yield (
            f"{_named(bands)}: the model PSF (sigma {sigma:.2f} pixel) gives the observed PSF only to {residual.max():.1%} of its peak; "
            "stars will leave residuals. Give a smaller model_sigma or a smoother PSF stamp."
        )
    if len(bands := np.flatnonzero(ringing > WORST_RINGING)):
        yield (
            f"{_named(bands)}: up to {ringing.max():.1%} of the difference kernel is negative; the observed PSF is about as narrow "
            f"as the model PSF (sigma {sigma:.2f} pixel), or its stamp is noisy. Give a smaller model_sigma or a smoother PSF stamp."
        )
    lost = _truncation(psfs)
    if len(bands := np.flatnonzero(lost > WORST_TRUNCATION)):
        yield (
            f"{_named(bands)}: the PSF stamp is cut off, about {lost.max():.1%} of a star's light lies outside it "
            "and is missing from the fluxes. Give a larger stamp."
        )
    flux_change = 4 * np.exp(-2 * (np.pi * sigma) ** 2)
    if flux_change > WORST_RESIDUAL:
        yield (
            f"the model PSF (sigma {sigma:.2f} pixel) is undersampled: the flux of a star changes by up to {flux_change:.1%} "
            "with its place in the pixel."
        )


def _named(bands: NDArray[np.intp]) -> str:
    return f"band{'s' if len(bands) > 1 else ''} {', '.join(map(str, bands))}"


def _truncation(psfs: Array) -> Array:
    """Part of a star's light outside each stamp, if its wings go on with the power of the radius that they have at the border."""
    height, width = (np.abs(np.arange(n) - n // 2) for n in psfs.shape[1:])
    half = min(height[0], width[0])
    frame = np.rint(half * np.maximum(height[:, None] / height[0], width / width[0]))
    inside = int(0.8 * half)
    inner, border = (np.maximum(psfs[:, frame == number].mean(axis=1), 1e-12) for number in (inside, half))
    power = np.maximum(np.log(inner / border) / np.log(half / max(inside, 0.5)), SLOWEST_POWER)
    # Integral over the frames around the stamp of (radius / border)^-power.
    outside = 2 * border * psfs[0].size / (power - 2)
    return outside / (1 + outside)


def _odd_fft_length(n: int) -> int:
    """Smallest odd length >= n without prime factors above 11: it has no Nyquist frequency, whose phase would be ambiguous."""
    while n % 2 == 0 or next_fast_len(n) != n:
        n += 1
    return n
