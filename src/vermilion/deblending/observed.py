"""Observations in units of their noise, and how the model is rendered onto each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..datamodels import Cube
from ..errors import NoDataError, ParameterError, ShapeError
from ..observation import Observation
from ..observation.observation_renderer import observation_renderer, pixel_scale
from ..observation.psf_images import psf_images
from ..observation.psf_matching import Kernels, choose_model_sigma
from ..renderers import Renderer

__all__ = ["Observed", "renderers_of", "with_weights"]

Array = NDArray[np.float64]


def with_weights(cube: Cube, weights: ArrayLike | None) -> Cube:
    """The cube with a variance: of `weights`, its own, or the noise of each band."""
    data = np.asarray(cube.data)
    if weights is None:
        if cube.variance is not None:
            return cube
        present = cube.weights > 0
        levels = np.array([_noise(image, ok) for image, ok in zip(data.astype(np.float64), present, strict=True)])
        if not (levels[present.any(axis=(1, 2))] > 0).all():
            raise NoDataError("the noise of a band cannot be told from its image: give weights.")
        weight = present / np.where(levels > 0, levels, 1.0)[:, None, None] ** 2
    else:
        weight = np.asarray(weights, dtype=np.float64)
        if weight.shape != data.shape:
            raise ShapeError(f"weights has shape {weight.shape}, images {data.shape}: expected equal shapes.")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ParameterError("weights has negative or non-finite entries: expected inverse variances >= 0, 0 where data are absent.")
    with np.errstate(divide="ignore"):
        return replace(cube, variance=np.where(weight > 0, 1 / weight, np.inf))


def _noise(image: Array, present: NDArray[np.bool_]) -> float:
    """Standard deviation of white noise, by how far three pixels in a row or column are from a line; nan if there are no three."""
    bends = []
    for axis in (0, 1):
        values, good = np.moveaxis(image, axis, 0), np.moveaxis(present, axis, 0)
        usable = good[:-2] & good[1:-1] & good[2:]
        bends.append((values[:-2] - 2 * values[1:-1] + values[2:])[usable])
    bend = np.concatenate(bends)
    return float(1.4826 * np.median(np.abs(bend)) / math.sqrt(6)) if len(bend) else math.nan


class Observed:
    """One observation in units of its noise."""

    def __init__(self, cube: Cube, psf: Any, notes: list[str]) -> None:
        self.cube = cube
        self.weights = np.asarray(cube.weights, dtype=np.float64)
        present = self.weights > 0
        if not present.any():
            raise NoDataError("every weight is 0: nothing is left to fit.")
        self.data = np.where(present, np.nan_to_num(np.asarray(cube.data, dtype=np.float64)), 0.0)
        frame = cube.frame
        self.wcs = frame.wcs.celestial if frame.wcs is not None and frame.wcs.has_celestial else None
        self.stamps = psf_images(psf, len(self.data), pixel_scale=pixel_scale(self.wcs))
        typical = np.array([np.median(w[w > 0]) if (w > 0).any() else 1.0 for w in self.weights])
        # A common factor of the weights is told by the noise itself: the entropy and the priors must not depend on it
        whitened = self.data * np.sqrt(self.weights)
        levels = np.array([_noise(image, ok) for image, ok in zip(whitened, present, strict=True)])
        told = levels[np.isfinite(levels) & (levels > 0)]
        self.factor = float(np.median(told)) if len(told) else 1.0
        if not 0.5 < self.factor < 2:
            notes.append(f"the noise is {self.factor:.3g} times what the weights say; the fit corrects for it, the errors do not.")
        self.scale = self.factor / np.sqrt(typical)
        """Noise of each band, shape (B,): the unit of the fit."""

    def observation(self, renderer: Renderer, dtype: torch.dtype, device: torch.device) -> Observation:
        """Data and weights in units of the noise."""
        unit = self.scale[:, None, None]
        data, weights = self.data / unit, self.weights * (unit / self.factor) ** 2
        tensors = [torch.as_tensor(values).to(dtype=dtype, device=device) for values in (data, weights)]
        return Observation(tensors[0], tensors[1], renderer)


def renderers_of(observed: Sequence[Observed]) -> tuple[list[Renderer], list[Kernels]]:
    """From the frame of the first observation onto each."""
    first = observed[0]
    sigma = None if len(observed) == 1 else min(choose_model_sigma(item.stamps) for item in observed)
    renderers, kernels = [], []
    for item in observed:
        if item is first:
            made = observation_renderer(item.stamps, len(item.data), first.cube.frame.shape, sigma)
        else:
            if first.wcs is None or item.wcs is None:
                raise ParameterError("several cubes need sky coordinates each, to tell how their pixels lie: at least one has none.")
            made = observation_renderer(
                item.stamps,
                len(item.data),
                first.cube.frame.shape,
                sigma,
                data_shape=item.cube.frame.shape,
                model_wcs=first.wcs,
                data_wcs=item.wcs,
            )
        renderers.append(made[0])
        kernels.append(made[1])
    return renderers, kernels
