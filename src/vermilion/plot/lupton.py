"""Color images of several bands: an asinh stretch of the brightness that keeps the colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ..datamodels import Frame
from ..diagnose.pixel_noise import pixel_noise
from ..errors import ShapeError
from .style import MISSING

__all__ = ["LuptonScale", "channel_weights", "wavelength_order"]

Array = NDArray[np.float64]

# Filters with names of one letter, by wavelength; a name may carry its system before the letter (HSC-I, LSST_g).
LETTERS = "ubgvrizyjhk"
SOFT = 3.0  # sigma of the noise up to which the stretch is about linear
DEEPEST = 3e-4  # of white: softer than that, noise-free images would show their numerical dust


@dataclass(frozen=True, eq=False)
class LuptonScale:
    """How the bands become red, green and blue, and which brightness is black and white.

    The brightness I is the mean of the channels; each channel c is drawn as ``(c - black) f(I) / (I - black)`` with
    ``f(I) = asinh((I - black) / soft) / asinh((white - black) / soft)``, and a channel beyond 1 pulls the others down with it.

    Parameters
    ----------
    channels : ndarray, shape (3, B)
        What each band, in the unit of the data, adds to red, green and blue.
    black, soft, white : float
        Brightness that is black, width of the linear part, brightness that is white.
    order : tuple of int
        Bands by increasing wavelength.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """

    channels: Array
    black: float
    soft: float
    white: float
    order: tuple[int, ...]

    @classmethod
    def of(cls, data: NDArray[Any], bands: Sequence[str] = (), frame: Frame | None = None) -> LuptonScale:
        """The scale that suits `data` (B, Ny, Nx), NaN where there is none.

        Bands are brought to a common scale by their medians over the bright pixels, so that the typical source is white. Black lies
        1 sigma of the noise below zero; white is what one pixel of 500 exceeds. The noise is the scatter between neighboring pixels.

        Raises
        ------
        ShapeError
            If `data` has no three axes.
        """
        if data.ndim != 3:
            raise ShapeError(f"data has shape {data.shape}: expected (B, Ny, Nx).")
        images = data.astype(np.float64)
        order = wavelength_order(bands or (frame.band_names if frame is not None else None) or (), len(images), frame)
        seen = [b for b in order if np.isfinite(images[b]).any()] or list(order)
        channels = np.zeros((3, len(images)))
        channels[:, seen] = channel_weights(len(seen)) * _balance(images[seen])
        channels /= channels.mean() or 1.0
        brightness = _combined(channels.mean(axis=0), images)
        noise, finite = _scatter(brightness), brightness[np.isfinite(brightness)]
        white = float(np.percentile(finite, 99.8)) if finite.size else 0.0
        white = max(white, 5 * noise) or 1.0
        return cls(channels, -noise, max(SOFT * noise, DEEPEST * white), white, order)

    def rgb(self, images: NDArray[Any]) -> Array:
        """Colors from 0 to 1, shape (Ny, Nx, 3), of `images` (B, Ny, Nx); grey where a band that counts is NaN."""
        values = np.stack([_combined(weights, images.astype(np.float64)) for weights in self.channels], axis=-1) - self.black
        brightness = values.mean(axis=-1, keepdims=True)
        stretched = np.arcsinh(brightness / self.soft) / np.arcsinh((self.white - self.black) / self.soft)
        seen = np.isfinite(brightness) & (brightness > 0)
        colors = np.maximum(values * np.divide(stretched, brightness, out=np.zeros_like(brightness), where=seen), 0.0)
        colors /= np.maximum(colors.max(axis=-1, keepdims=True), 1.0)
        return np.where(np.isfinite(brightness), colors, float(MISSING))

    def with_white(self, images: NDArray[Any]) -> LuptonScale:
        """The same colors and black, the brightest pixel of `images` white."""
        brightness = _combined(self.channels.mean(axis=0), images.astype(np.float64))
        brightest = float(np.nanmax(brightness, initial=0.0))
        return replace(self, white=max(brightest, 3 * self.soft))

    def describe(self, bands: Sequence[str]) -> str:
        """Which bands are red, green and blue, in words."""
        names = [str(bands[b]) for b in self.order]
        if len(names) == 1:
            return f"brightness in {names[0]}"
        return f"blue to red: {', '.join(names)}"


def channel_weights(n_bands: int) -> Array:
    """Shares (3, B) that bands sorted by wavelength have in red, green and blue; each channel sums to 1.

    Bands are spread evenly from the middle of the blue channel to that of the red one; in between they belong to two channels. Three
    bands are one channel each, one band is all of them.

    Examples
    --------
    >>> channel_weights(5)[2]
    array([0.66666667, 0.33333333, 0.        , 0.        , 0.        ])
    """
    place = np.linspace(0.0, 2.0, n_bands) if n_bands > 1 else np.array([1.0])
    tents = np.maximum(1 - np.abs(place - np.array([[2.0], [1.0], [0.0]])), 0.0)
    empty = tents.sum(axis=1) == 0
    tents[empty] = 1.0
    weights: Array = tents / tents.sum(axis=1, keepdims=True)
    return weights


def wavelength_order(bands: Sequence[str], n_bands: int, frame: Frame | None = None) -> tuple[int, ...]:
    """Bands by increasing wavelength: that of the frame, or what names of one letter mean; as they stand where neither says it."""
    axis = None if frame is None else frame.spectral_axis
    if axis is not None and len(axis) == n_bands and axis.unit.is_equivalent(u.m, equivalencies=u.spectral()):
        return tuple(np.argsort(axis.to_value(u.m, equivalencies=u.spectral()), kind="stable").tolist())
    letters = [str(name).strip()[-1:].lower() for name in bands] if axis is None else []
    if len(letters) != n_bands or any(letter == "" or letter not in LETTERS for letter in letters):
        return tuple(range(n_bands))
    return tuple(sorted(range(n_bands), key=lambda b: LETTERS.index(letters[b])))


def _balance(images: Array) -> Array:
    """Factor of each band, shape (B,), that brings it to the common scale; 0 for a band without structure."""
    noise = np.array([_scatter(image) for image in images])
    levels = noise
    total = np.mean([image / (sigma or 1.0) for image, sigma in zip(images, noise, strict=True)], axis=0)
    finite = np.isfinite(total)  # pixels that some band lacks have no say
    if finite.any():
        bright = finite & (total >= max(5 * _scatter(total), float(np.percentile(total[finite], 90))))
        if bright.any():
            levels = np.maximum(np.median(images[:, bright], axis=1), noise)
    return np.divide(1.0, levels, out=np.zeros_like(levels), where=levels > 0)


def _combined(weights: Array, images: Array) -> Array:
    """Weighted sum over the bands; NaN where a band that counts is."""
    used = weights != 0
    total: Array = np.tensordot(weights[used], images[used], axes=1)
    return total if used.any() else np.where(np.isfinite(images).any(axis=0), 0.0, np.nan)


def _scatter(image: Array) -> float:
    """Standard deviation of the noise; 0 where no pixels can be compared."""
    return float(np.nan_to_num(pixel_noise(image)))
