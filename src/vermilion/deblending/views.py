"""Whitened data of every observation of a scene, and what components contribute to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..observation import Observation
from ..renderers import Convolution, Renderer
from ..unmixing import active_set

__all__ = ["NormalEquations", "View", "non_negative_spectra", "normal_equations", "residuals", "views_of", "whitened"]

_UNSEEN = 1e-6  # of the brightest component: what rounding makes of one that no datum sees


@dataclass(frozen=True, eq=False)
class View:
    """One observation: data times the square root of the weights, that root, and the renderer.

    `typical` renders one model image through the mean PSF of all bands, `pattern` (Ny, Nx) times `levels` (B,) is what all roots have in
    common: good enough for curvatures while a fit is on its way. `typical` is None where no such renderer is known.
    """

    data: Tensor
    root: Tensor
    renderer: Renderer
    typical: Renderer | None
    pattern: Tensor
    levels: Tensor

    @property
    def n_bands(self) -> int:
        """Number of bands of this observation."""
        return self.renderer.n_bands


def views_of(observations: Sequence[Observation]) -> list[View]:
    """Whitened observations; data without weight are 0, whatever stands there."""
    views = []
    for observation in observations:
        root = observation.weights.sqrt()
        data = torch.where(observation.weights > 0, observation.data, 0) * root
        renderer = observation.render
        assert isinstance(renderer, Renderer)
        typical = None
        if isinstance(renderer, Convolution):
            typical = Convolution(renderer.kernels.mean(dim=0, keepdim=True), renderer.model_shape)
        weights = observation.weights
        pattern = (weights / weights.mean(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)).mean(dim=0)
        levels = weights.sum(dim=(1, 2)) / pattern.sum()
        views.append(View(data, root, renderer, typical, pattern.sqrt(), levels.sqrt()))
    return views


def whitened(views: Sequence[View], images: Tensor, flat: int = 0) -> list[Tensor]:
    """What components (C, H, W) of flux 1 add to the whitened data, for each view (B_v, C, pixels).

    The last `flat` ones are even, and go on beyond the frame: no PSF makes them fainter at its edge.
    """
    seen = []
    for view in views:
        columns = view.root.new_empty(view.n_bands, len(images), *view.root.shape[1:])
        for i, image in enumerate(images):  # one at a time: large temporaries cost more than they spare
            even = i >= len(images) - flat
            torch.mul(image[0, 0] if even else view.renderer(image[None]), view.root, out=columns[:, i])
        seen.append(columns.flatten(2))
    return seen


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Gram matrices (B, C, C) and right-hand sides (B, C) of the spectra, float64, on the CPU."""

    gram: Tensor
    right: Tensor


def normal_equations(views: Sequence[View], columns: Sequence[Tensor]) -> NormalEquations:
    """Of the bands of all views, one after the other."""
    grams = [M @ M.mT for M in columns]
    rights = [(view.data.flatten(1)[:, None] @ M.mT)[:, 0] for view, M in zip(views, columns, strict=True)]
    return NormalEquations(torch.cat(grams).double().cpu(), torch.cat(rights).double().cpu())


def non_negative_spectra(equations: NormalEquations, signed: int = 0) -> Tensor:
    """Fluxes (B, C) that fit the data best, exactly: >= 0, but of any sign for the last `signed` ones; 0 for what no datum sees."""
    length = equations.gram.diagonal(dim1=1, dim2=2).sqrt()
    seen = length > _UNSEEN * length.amax(dim=1, keepdim=True)
    length = torch.where(seen, length, 1)
    gram = equations.gram / (length[:, :, None] * length[:, None, :])
    both = seen[:, :, None] & seen[:, None, :]
    gram = torch.where(both, gram, 0) + torch.diag_embed((~seen).double())
    slope = torch.where(seen, equations.right / length, 0)
    n = slope.shape[1] - signed
    scale = slope.abs().amax(dim=1, keepdim=True)
    if not signed:
        return active_set.solve(gram, slope[..., None], torch.zeros_like(slope)[..., None], scale)[..., 0] / length
    inner, cross = gram[:, n:, n:], gram[:, n:, :n]
    # the signed ones are eliminated: given the others, they follow from a linear system
    ways = torch.linalg.solve(inner, torch.cat([cross, slope[:, n:, None]], dim=2))
    reduced = gram[:, :n, :n] - cross.mT @ ways[..., :n]
    right = slope[:, :n] - (cross.mT @ ways[..., n:])[..., 0]
    found = active_set.solve(reduced, right[..., None], torch.zeros_like(right)[..., None], scale)[..., 0]
    free = ways[..., n] - (ways[..., :n] @ found[..., None])[..., 0]
    return torch.cat([found, free], dim=1) / length


def residuals(views: Sequence[View], columns: Sequence[Tensor], spectra: Tensor) -> tuple[list[Tensor], float]:
    """Whitened data minus model, for each view (B_v, pixels), and their sum of squares."""
    left, band, total = [], 0, 0.0
    for view, M in zip(views, columns, strict=True):
        A = spectra[band : band + view.n_bands].to(M)
        left.append(view.data.flatten(1) - (A[:, None] @ M)[:, 0])
        total += float(left[-1].square().sum(dtype=torch.float64))
        band += view.n_bands
    return left, total
