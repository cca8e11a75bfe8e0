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
from ..diagnose.pixel_noise import pixel_noise
from ..errors import NoDataError, ParameterError, ShapeError
from ..observation import Observation
from ..observation.observation_renderer import observation_renderer, pixel_scale
from ..observation.psf_images import psf_images
from ..observation.psf_matching import Kernels, choose_model_sigma
from ..renderers import Renderer

__all__ = ["Observed", "renderers_of", "with_weights"]

Array = NDArray[np.float64]

_LEAST = 50  # data with weight that tell what the weights follow
_FOLLOWS = 0.9  # correlation of variances and residuals: 1 if variances are made of the data, less if the model misfits
_ROUNDING = 1e-5


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
    """Standard deviation of white noise, in rows and columns, untouched by the slopes of sources; nan if it cannot be told."""
    return pixel_noise(np.where(present, image, np.nan), order=2, axes=(0, 1))


class Observed:
    """One observation in units of its noise."""

    def __init__(self, cube: Cube, psf: Any, notes: list[str]) -> None:
        self.cube = cube
        self.weights = np.array(cube.weights, dtype=np.float64)
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

    def follow(self, model: Array) -> list[int]:
        """Replace weights that follow the noise of the data by those that follow a model (B, Ny, Nx); the bands where that was so.

        Variances made of the noisy counts are small where the noise is negative, and fluxes too low. They are told by what they
        deviate from a line in the model: it goes with the residual.
        """
        found = []
        for b, (data, weight) in enumerate(zip(self.data, self.weights, strict=True)):
            ok = weight > 0
            if ok.sum() < _LEAST or np.ptp(model[b][ok]) == 0:
                continue
            variance, expected, residual = 1 / weight[ok], model[b][ok], (data - model[b])[ok]
            line = np.full(ok.sum(), variance.mean())
            for _ in range(2):
                line = np.polyval(np.polyfit(expected, variance, 1, w=1 / np.sqrt(line)), expected)
                line = line.clip(0.1 * np.median(variance))
            excess, pull = (variance - line) / np.sqrt(line), residual / np.sqrt(line)
            size = math.sqrt(float(excess @ excess) * float(pull @ pull))
            if size > 0 and np.abs(excess).max() > _ROUNDING * np.sqrt(line).max() and float(excess @ pull) > _FOLLOWS * size:
                self.weights[b][ok] = 1 / line
                found.append(b)
        return found

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
