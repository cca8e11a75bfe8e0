"""SiVM: simplex volume maximization by distances."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import Directions, start_by

__all__ = ["search_sivm", "sivm", "volume_gain"]


def search_sivm(view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vertices far from each other; the same for all seeds."""
    axis = view.axis[:, None]
    # without the coordinate along the mean pixel: faint pixels are then near it, not far from all
    points = view.points - axis @ (axis.T @ view.points)
    vertices = [] if known is None else list((known - axis @ (axis.T @ known)).T)
    if not vertices:
        corner = points[:, int(_distances(points, points.mean(dim=1)).argmax())]
        vertices, chosen = [], [int(_distances(points, corner).argmax())]
        vertices.append(points[:, chosen[0]])
    else:
        chosen = []
    distances = torch.stack([_distances(points, vertex) for vertex in vertices])
    edge = distances[0].max().clamp_min(torch.finfo(points.dtype).tiny)
    for _ in range(min(n_components, view.rank, view.room(known)[1].shape[1]) - len(chosen)):
        taken = (distances <= 1e-20 * edge).any(dim=0)
        chosen.append(int(volume_gain(distances / edge).masked_fill_(taken, -torch.inf).argmax()))
        distances = torch.cat([distances, _distances(points, points[:, chosen[-1]])[None]])
    pixels = torch.tensor(chosen[:n_components], dtype=torch.long, device=points.device)
    return view.vertices(pixels.expand(len(seeds), -1), n_components, seeds)


sivm = start_by(
    search_sivm,
    what="""Spectra (B, K) of pixels that are far from each other, added one by one so that the volume of their simplex grows most.

The volume is that of a simplex whose vertices so far are equally far from each other, which takes only distances; pixels are divided
by their brightness. The squared distances enter as they are, in units of the largest one: their logarithms, as published, would make
the choice depend on the unit.""",
    seed="Of the search for the subspace, and of pixels drawn where K is larger than the rank of the data.",
    known="Spectra that are vertices already.",
    source="""Thurau, Kersting & Bauckhage 2010, CIKM, 1785.""",
)


def volume_gain(distances: Tensor) -> Tensor:
    """What decides on the volume of a simplex of edge 1 with one more vertex, from its squared distances (n, N) to the n others.

    ``2 Σ_i<j e_i e_j + 2 Σ_i e_i - (n - 1) Σ_i e_i² - (n - 1)``, which is ``2ⁿ (n!)²`` times the squared volume.
    """
    n, total = len(distances), distances.sum(dim=0)
    return total.square() + 2 * total - n * distances.square().sum(dim=0) - (n - 1)


def _distances(points: Tensor, vertex: Tensor) -> Tensor:
    return (points - vertex[:, None]).square().sum(dim=0)
