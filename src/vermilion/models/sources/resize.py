"""Boxes that follow their sources, while the optimizer goes on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...errors import ParameterError, ShapeError
from .base import Source
from .box import Box
from .extended import ExtendedSource, reframed

__all__ = ["adapt_boxes", "adapted_box", "resize_source"]

_SMALLEST_RADIUS = 3


@torch.no_grad()
def resize_source(source: Source, box: Box, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Give a source another box; what the optimizer remembers of its pixels is padded with 0 or cropped with them.

    Padding changes neither model nor constraints, so the objective stays; a cropped pixel leaves the model with its flux. Steps
    and momentum go on. In a `fit`, resize between calls with one and the same optimizer.

    Parameters
    ----------
    source : Source
    box : Box
        Of an `ExtendedSource`: odd, around the same pixel.
    optimizer : torch.optim.Optimizer, optional
        That of the source.

    Raises
    ------
    ParameterError
        If the source cannot take that box.
    """
    before = source.box
    changed = source.move_to(box)
    if optimizer is None:
        return
    for parameter, operators in changed.items():
        _reframe_state(optimizer.state[parameter], before, box)
        for group in optimizer.param_groups:
            if any(p is parameter for p in group["params"]) and group.get("prox") is operators[0]:
                group["prox"] = operators[1]
    if box != before:
        # a loss that was kept for the next step is that of the model before
        for state in optimizer.state.values():
            state.pop("loss", None)


def _reframe_state(state: dict[str, Any], before: Box, after: Box) -> None:
    """Replace the tensors of a state that have one entry per pixel, flat ones included."""
    n_pixels = math.prod(before.shape)
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        if value.shape[-2:] == before.shape:
            state[key] = reframed(value, before, after)
        elif value.ndim == 1 and value.numel() and value.numel() % n_pixels == 0:
            state[key] = reframed(value.view(-1, *before.shape), before, after).flatten()


@torch.no_grad()
def adapted_box(source: Source, noise: Any, *, grow: float = 0.3, shrink: float = 0.03, max_radius: int = 150) -> Box:
    """Box that the brightness at the edge asks for.

    The signal-to-noise ratio of a pixel is that of all bands together, ``sqrt(sum_b (model_b / noise_b)^2)``. Along y and along x: where
    its mean along one of both sides exceeds `grow`, the box grows by a quarter; where it stays below `shrink` in all pixels farther
    out, they go, two rings at least.

    Parameters
    ----------
    source : Source
    noise : Tensor or array, shape (B,)
        Standard deviation of a pixel in each band, in the unit of the images.
    grow, shrink : float
        `shrink` below `grow`.
    max_radius : int
        Largest half-width in pixels that a box grows to.

    Returns
    -------
    Box
        Around the same pixel.

    Raises
    ------
    ShapeError
        If there is not one positive noise per band.
    ParameterError
        If the thresholds are not ``0 <= shrink < grow``.
    """
    noise = torch.as_tensor(noise).to(source.spectrum)
    if noise.shape != source.spectrum.shape[:1] or not bool((noise > 0).all()):
        raise ShapeError(f"noise has shape {tuple(noise.shape)}: expected {len(source.spectrum)} positive numbers, one per band.")
    if not 0 <= shrink < grow:
        raise ParameterError(f"shrink is {shrink}, grow {grow}: expected 0 <= shrink < grow.")
    signal = (source() / noise[:, None, None]).square().sum(0).sqrt()
    bright = signal >= shrink
    radii = []
    for d, size in enumerate(signal.shape):
        radius = size // 2
        sides = max(float(signal.select(d, i).mean()) for i in (0, -1))
        lines = bright.any(1 - d).nonzero() - radius
        needed = max(int(lines.abs().max()) if len(lines) else 0, _SMALLEST_RADIUS)
        if sides > grow:
            radius = max(radius, min(radius + max(2, radius // 4), max_radius))
        elif needed <= radius - 2:
            radius = needed
        radii.append(radius)
    return Box.around(source.box.center, (radii[0], radii[1]))


def adapt_boxes(
    sources: Iterable[Source],
    noise: Any,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    grow: float = 0.3,
    shrink: float = 0.03,
    max_radius: int = 150,
) -> list[int]:
    """Resize the extended sources where `adapted_box` asks for it; return the indices of those that were."""
    resized = []
    for i, source in enumerate(sources):
        if not isinstance(source, ExtendedSource):
            continue
        box = adapted_box(source, noise, grow=grow, shrink=shrink, max_radius=max_radius)
        if box != source.box:
            resize_source(source, box, optimizer)
            resized.append(i)
    return resized
