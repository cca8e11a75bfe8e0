"""How much of the light under a source is its own, and how much of a source falls on pixels without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .normal_equations import Array, check_images

__all__ = ["BadPixels", "bad_pixel_fraction", "blendedness", "footprints"]

_FOOTPRINT = 0.1


def blendedness(models: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``1 − Σ m_k² / Σ m_k Σ_j m_j`` of each source: 0 alone, near 1 drowned in others.

    Parameters
    ----------
    models : ndarray, shape (n, B, Ny, Nx)
        Negative lobes count as 0.

    Returns
    -------
    per_band : ndarray, shape (n, B)
    total : ndarray, shape (n,)
        The sums taken over all bands. NaN, as above, where a source has no light.
    """
    models = np.asarray(models, dtype=np.float64).clip(min=0)
    peak = models.max(axis=(0, 2, 3), initial=0.0, keepdims=True)[0]  # squares of 1e-200 would underflow
    scaled = models / np.where(peak > 0, peak, 1)
    own = np.einsum("kbyx,kbyx->kb", scaled, scaled)
    all_light = np.einsum("kbyx,byx->kb", scaled, scaled.sum(axis=0))
    relative = np.square(peak[:, 0, 0] / max(peak.max(initial=0.0), np.finfo(float).tiny))
    with np.errstate(invalid="ignore"):
        return 1 - own / all_light, 1 - own @ relative / (all_light @ relative)


def footprints(models: Array) -> NDArray[np.bool_]:
    """Pixels (n, B, Ny, Nx) in which a source shines with more than a tenth of its peak in that band."""
    models = np.asarray(models)
    peak = models.max(axis=(2, 3), keepdims=True)
    return (models > _FOOTPRINT * peak) & (peak > 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class BadPixels:
    """Share of each source that falls on pixels of weight 0, in 0 … 1, NaN where a source has no light in the frame.

    Parameters
    ----------
    by_light : ndarray, shape (n, B)
        Weighted with the model.
    by_count : ndarray, shape (n, B)
        Of the pixels of the footprint, `footprints`.
    """

    by_light: NDArray[np.float64]
    by_count: NDArray[np.float64]


def bad_pixel_fraction(models: Array, weights: NDArray[Any]) -> BadPixels:
    """How much of each source falls on pixels without data.

    Parameters
    ----------
    models : ndarray, shape (n, B, Ny, Nx)
        Negative lobes count as 0.
    weights : ndarray, shape (B, Ny, Nx)

    Returns
    -------
    BadPixels
    """
    models, weights = np.asarray(models, dtype=np.float64), np.asarray(weights)
    check_images(models, weights)
    bad = (weights == 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return BadPixels(by_light=_share(models.clip(min=0), bad), by_count=_share(footprints(models).astype(np.float64), bad))


def _share(images: NDArray[np.float64], bad: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("kbyx,byx->kb", images, bad) / images.sum(axis=(2, 3))
