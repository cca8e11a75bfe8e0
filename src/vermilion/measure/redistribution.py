"""The data divided among the sources, in proportion to their models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .normal_equations import Array, check_images

__all__ = ["redistribute", "unassigned"]


def redistribute(models: Array, data: Array, weights: Array, *, fill: bool = False) -> NDArray[np.float64]:
    """Share ``d m_k / Σ_j m_j`` of each source in every pixel: real light, noise included, for measurements that know no blends.

    Where any model is positive the sources sum to the data; elsewhere all shares are 0 (see `unassigned`). Negative lobes of a model,
    which come from sharpened PSFs, take no share.

    Parameters
    ----------
    models : ndarray, shape (n, B, Ny, Nx)
    data, weights : ndarray, shape (B, Ny, Nx)
    fill : bool
        What stands in pixels of weight 0: the model of the source, or (default) NaN.

    Returns
    -------
    ndarray, shape (n, B, Ny, Nx)
        In the unit of the data.

    Raises
    ------
    ShapeError, ParameterError
        If shapes disagree, weights are negative or not finite, models or data with weight are not finite.
    """
    models, data, weights = np.asarray(models, dtype=np.float64), np.asarray(data, dtype=np.float64), np.asarray(weights)
    check_images(models, weights, data)
    parts = models.clip(min=0)
    total = parts.sum(axis=0)
    shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    return np.where(weights > 0, shares * np.where(weights > 0, data, 0.0), models if fill else np.nan)


def unassigned(models: Array, data: Array, weights: Array) -> NDArray[np.float64]:
    """Data (B, Ny, Nx) where no model is positive, 0 where one is, NaN where the weight is 0."""
    models, data, weights = np.asarray(models), np.asarray(data, dtype=np.float64), np.asarray(weights)
    check_images(models, weights, data)
    light = np.where((models > 0).any(axis=0), 0.0, data)
    return np.where(weights > 0, light, np.nan)
