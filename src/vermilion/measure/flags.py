"""What the user of a catalog must know about a source, as bits."""

from __future__ import annotations

from enum import IntFlag
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc, gammaln, ndtr

from ..datamodels import SceneSource
from .blending import BadPixels, footprints
from .normal_equations import Array

__all__ = ["MEANINGS", "Flag", "box_loss", "flags", "noise_limit"]


class Flag(IntFlag):
    """Bits of the column ``flags``; their meaning is in `MEANINGS`."""

    EDGE = 1
    TRUNCATED = 2
    BAD_PIXELS = 4
    NO_DATA_AT_CENTER = 8
    SATURATED = 16
    NEGATIVE_FLUX = 32
    DEGENERATE = 64
    BELOW_NOISE = 128
    UNDECIDED_TYPE = 256
    NO_COLOR = 512
    OFF_CENTER = 1024
    NOT_MEASURED = 2048


MEANINGS = {
    Flag.EDGE: "more than 5 % of the light falls outside the image in some band",
    Flag.TRUNCATED: "the border of the box holds more than 1 % of a component: its wings are cut",
    Flag.BAD_PIXELS: "more than 10 % of the light falls on pixels without data in some band",
    Flag.NO_DATA_AT_CENTER: "the central pixel has no data in some band, or lies outside the image",
    Flag.SATURATED: "a saturated pixel lies where the source has a tenth of its peak",
    Flag.NEGATIVE_FLUX: "the signed flux is below -3 sigma in some band",
    Flag.DEGENERATE: "in some band the data cannot tell the source from others: error over 10 times that of the source alone",
    Flag.BELOW_NOISE: "all bands together do not detect the source at 3 sigma",
    Flag.UNDECIDED_TYPE: "star or galaxy is undecided",
    Flag.NO_COLOR: "some color is undefined because a flux is not positive",
    Flag.OFF_CENTER: "the data place the center more than a pixel from that of the model, or do not place it",
    Flag.NOT_MEASURED: "no pixel with data lies under the source in some band",
}

_EDGE, _BOX, _BAD, _NEGATIVE, _BLUR, _DETECTED = 0.05, 0.01, 0.1, -3.0, 10.0, 3.0


def flags(
    sources: tuple[SceneSource, ...],
    models: Array,
    weights: Array,
    *,
    fluxes: Array,
    signed_fluxes: Array,
    signed_flux_errors: Array,
    bad_pixels: BadPixels,
    total_signal_to_noise: Array,
    centroids: Array,
    color_magnitudes: Array,
    saturated: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Bit mask of every source, see `Flag` and `MEANINGS`.

    Parameters
    ----------
    sources : tuple of SceneSource
    models : ndarray, shape (n, B, Ny, Nx)
    weights : ndarray, shape (B, Ny, Nx)
    fluxes, signed_fluxes, signed_flux_errors : ndarray, shape (n, B)
        `fluxes` are those of `models`.
    bad_pixels : BadPixels
    total_signal_to_noise : ndarray, shape (n,)
    centroids : ndarray, shape (n, 2)
    color_magnitudes : ndarray, shape (n, B - 1)
    saturated : ndarray of bool, shape (B, Ny, Nx), optional

    Returns
    -------
    ndarray of int, shape (n,)
    """
    models, n_bands = np.asarray(models, dtype=np.float64), len(weights)
    inside = models.clip(min=0).sum(axis=(2, 3))
    alone = np.einsum("kbyx,kbyx,byx->kb", models, models, weights, optimize=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = signed_fluxes / signed_flux_errors
        blurred = signed_flux_errors * np.sqrt(alone) > _BLUR * fluxes
        outside = (fluxes > 0) & (inside < (1 - _EDGE) * fluxes)
    measured = np.isfinite(signed_fluxes)
    limit = noise_limit(n_bands)
    kinds = np.array([source.kind for source in sources], dtype="U16")
    placed = np.array([source.kind != "sky" for source in sources], dtype=bool)
    conditions = {
        Flag.EDGE: outside.any(axis=1) & placed,
        Flag.TRUNCATED: np.array([box_loss(source) > _BOX for source in sources], dtype=bool) & placed,
        Flag.BAD_PIXELS: (bad_pixels.by_light > _BAD).any(axis=1),
        Flag.NO_DATA_AT_CENTER: _blind_center(sources, weights) & placed,
        Flag.SATURATED: _touches(models, saturated),
        Flag.NEGATIVE_FLUX: (snr < _NEGATIVE).any(axis=1),
        Flag.DEGENERATE: (measured & (np.isinf(signed_flux_errors) | (blurred & (fluxes > 0)))).any(axis=1),
        Flag.BELOW_NOISE: ~(total_signal_to_noise > limit),
        Flag.UNDECIDED_TYPE: kinds == "undecided",
        Flag.NO_COLOR: np.isnan(color_magnitudes).any(axis=1),
        Flag.OFF_CENTER: np.isnan(centroids).any(axis=1) & placed,
        Flag.NOT_MEASURED: ~measured.all(axis=1),
    }
    bits = np.zeros(len(sources), dtype=np.int32)
    for flag, condition in conditions.items():
        bits |= np.where(condition, int(flag), 0).astype(np.int32)
    return bits


@lru_cache(maxsize=8)
def noise_limit(n_bands: int) -> float:
    """What the root of the summed squares of the positive signal-to-noise ratios exceeds in noise as rarely as a normal number 3 sigma."""
    positive = np.arange(1, n_bands + 1)
    chances = np.exp(gammaln(n_bands + 1) - gammaln(positive + 1) - gammaln(n_bands - positive + 1) - n_bands * np.log(2))
    return float(brentq(lambda limit: chances @ chdtrc(positive, limit**2) - ndtr(-_DETECTED), 0.0, 10 + 2 * np.sqrt(n_bands)))


def box_loss(source: SceneSource) -> float:
    """Share of the light that stands in the outermost pixels of the box; the largest of the components."""
    morphologies = source.morphologies
    total = morphologies.sum(axis=(1, 2))
    border = total - morphologies[:, 1:-1, 1:-1].sum(axis=(1, 2))
    return float(np.max(np.divide(border, total, out=np.zeros_like(total), where=total > 0), initial=0.0))


def _blind_center(sources: tuple[SceneSource, ...], weights: Array) -> NDArray[np.bool_]:
    """Is there a band without weight in the pixel of the center?"""
    size = np.array(weights.shape[1:])
    blind = np.ones(len(sources), dtype=bool)
    for k, source in enumerate(sources):
        pixel = np.round(source.center)
        if (pixel >= 0).all() and (pixel < size).all():
            blind[k] = bool((weights[:, int(pixel[0]), int(pixel[1])] == 0).any())
    return blind


def _touches(models: Array, saturated: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if saturated is None:
        return np.zeros(len(models), dtype=bool)
    return np.asarray((footprints(models) & saturated).any(axis=(1, 2, 3)))
