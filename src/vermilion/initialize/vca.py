"""VCA: vertex component analysis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import Directions, draw_normal, start_by

__all__ = ["extreme_pixels", "search_vca", "vca"]


def search_vca(view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vertices by random directions, those of all seeds in one product with the pixels."""
    n_all = n_components + (0 if known is None else known.shape[1])
    count = min(n_components, view.rank, view.room(known)[1].shape[1])
    if _signal_to_noise(view) >= 15 + 10 * math.log10(n_all):
        points, first, seen = view.points, view.axis, known
    else:
        points, seen = _about_the_mean(view, min(n_all, view.rank), known)
        first = torch.zeros_like(points[:, 0])
        first[-1] = 1
    return view.vertices(extreme_pixels(points, count, seeds, first=first, known=seen), n_components, seeds)


vca = start_by(
    search_vca,
    what="""Spectra (B, K) of the pixels that lie farthest out along random directions orthogonal to the vertices before.

Where the signal-to-noise ratio is at least ``15 + 10 log10 K`` dB pixels are divided by their brightness (projective projection);
below it the simplex is looked for in the K - 1 principal dimensions about the mean pixel, where brightness counts.""",
    seed="Of the random directions.",
    known="Spectra that are known already: the new ones are looked for outside their span.",
    source="""Nascimento & Bioucas-Dias 2005, IEEE TGRS 43, 898.""",
)


def extreme_pixels(points: Tensor, count: int, seeds: Sequence[int], *, first: Tensor | None = None, known: Tensor | None = None) -> Tensor:
    """Pixels (M, count) farthest out along directions drawn orthogonal to those before, or to `first` (r,) before there are any."""
    size = len(points)
    draws = draw_normal(seeds, max(count, 1), size, like=points)
    span = points.new_zeros(len(seeds), size, 0)
    for point in () if known is None else known.T:
        span = _with(span, point.expand(len(seeds), -1))
    chosen = torch.zeros(len(seeds), count, dtype=torch.long, device=points.device)
    for k in range(count):
        beside = span
        if first is not None and span.shape[2] == 0 and size > 1:
            beside = _with(span, first.expand(len(seeds), -1))
        direction = _outside(draws[:, k], beside)
        chosen[:, k] = (direction @ points).abs().argmax(dim=1)
        span = _with(span, points[:, chosen[:, k]].T)
    return chosen


def _with(span: Tensor, x: Tensor) -> Tensor:
    """Orthonormal columns (M, r, k) and one more for x (M, r)."""
    return torch.cat([span, _outside(x, span)[:, :, None]], dim=2)


def _outside(x: Tensor, span: Tensor) -> Tensor:
    """Unit vectors along what x (M, r) has outside orthonormal columns (M, r, k); 0 where that is rounding."""
    left = x
    for _ in range(2):  # once leaves rounding of the size of x
        left = left - (span @ (span.transpose(1, 2) @ left[:, :, None]))[:, :, 0]
    norms = torch.linalg.vector_norm(left, dim=1, keepdim=True)
    real = norms > 1e-12 * torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.where(real, left / torch.where(real, norms, 1.0), 0.0)


def _signal_to_noise(view: Directions) -> float:
    """Power of the signal over that of the noise in all bands, in dB; of data made white."""
    space = view.space
    n_bands, n_pixels = int((space.band_scale > 0).sum()), max(1, int((space.pixel_scale > 0).sum()))
    noise = n_bands * space.noise**2
    signal = float(space.coordinates.square().sum()) / n_pixels - len(space.coordinates) * space.noise**2
    if not noise > 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _about_the_mean(view: Directions, n_components: int, known: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Principal coordinates (K, N) about the mean pixel, the last one constant, and known points in the same coordinates."""
    scale = view.space.pixel_scale
    live = scale > 0
    pixels = torch.where(live, view.points * view.brightness, 0.0)
    mean = pixels.sum(dim=1, keepdim=True) / live.sum().clamp(min=1)
    # a pixel noisier than most is no vertex for its noise
    trust = (scale / scale[live].median()).clamp(max=1) if bool(live.any()) else scale
    away = (pixels - mean) * trust
    axes = torch.linalg.eigh(away @ away.T)[1].flip(dims=(1,))[:, : n_components - 1]
    inside = axes.T @ away
    level = torch.linalg.vector_norm(inside, dim=0).max().clamp_min(torch.finfo(inside.dtype).tiny)
    points = torch.cat([inside, level.expand(1, inside.shape[1])])
    if known is None:
        return points, None
    seen = axes.T @ (known * (view.axis @ mean) - mean)
    return points, torch.cat([seen, level.expand(1, seen.shape[1])])
