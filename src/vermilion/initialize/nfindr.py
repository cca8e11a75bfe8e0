"""N-FINDR: the largest simplex."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import Directions, start_by
from .vca import extreme_pixels

__all__ = ["nfindr", "search_nfindr"]

_GAIN = 1e-9  # relative growth of the volume that counts
_SWAPS = 200  # per vertex; a few are usual


def search_nfindr(view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vertices of the largest simplex, for all seeds at once."""
    beside = view.room(known)[1]
    count = min(n_components, view.rank, beside.shape[1])
    points = beside.T @ view.points  # the volume beside the known vertices is what the others can change
    if count < len(points):
        points = torch.linalg.eigh(points @ points.T)[1][:, len(points) - count :].T @ points
    return view.vertices(_largest_simplex(points, extreme_pixels(points, count, seeds)), n_components, seeds)


nfindr = start_by(
    search_nfindr,
    what="""Spectra (B, K) of the pixels that span the largest simplex: no exchange of one vertex for any pixel makes it larger.

Pixels are divided by their brightness, which puts them into a plane: the volume there is proportional to the determinant of their
coordinates. The exchange that gains most is made first; the gains of all others follow by a rank-one update.""",
    seed="Of the first vertices: pixels that lie farthest out along random directions.",
    known="Spectra that are vertices already.",
    source="""Winter 1999, Proc. SPIE 3753, 266; Goreinov et al. 2010, in Matrix Methods, 247 (the update).""",
)


def _largest_simplex(points: Tensor, chosen: Tensor) -> Tensor:
    """Pixels (M, K) after all exchanges that enlarge ``|det points[:, chosen]|``."""
    n_sets, count = chosen.shape
    if count == 0:
        return chosen
    n_pixels = points.shape[1]
    chosen, sets = chosen.clone(), torch.arange(n_sets, device=points.device)
    # entry (k, n): the determinant with pixel n in place of vertex k over that of now
    ratios = torch.linalg.pinv(points[:, chosen].transpose(0, 1)) @ points
    for _ in range(_SWAPS * count):
        gain, where = ratios.abs().flatten(1).max(dim=1)
        better = gain > 1 + _GAIN
        if not bool(better.any()):
            break
        vertex, pixel = where // n_pixels, where % n_pixels
        column = ratios[sets, :, pixel]
        pivot = column[sets, vertex]
        column[sets, vertex] -= 1
        column = torch.where(better[:, None], column / torch.where(better, pivot, 1.0)[:, None], 0.0)
        ratios -= column[:, :, None] * ratios[sets, vertex][:, None, :]
        chosen[sets, vertex] = torch.where(better, pixel, chosen[sets, vertex])
    return chosen
