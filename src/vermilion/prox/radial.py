"""The radial graph of an image: which pixels lie next to each one on the side of the center."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RadialGraph", "radial_graph"]

_OFFSETS = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])


@dataclass(frozen=True)
class RadialGraph:
    """Pixels of an image (Ny, Nx), N = Ny Nx, in an order in which every pixel comes after those that it refers to.

    Attributes
    ----------
    order, inverse : Tensor, shape (N,)
        Pixel at each place of that order, and place of each pixel. The center has place 0.
    levels : tuple of (int, int)
        Ranges of places; pixels of a level refer to earlier levels only. The center, alone, is not among them.
    neighbors : Tensor, shape (N, R)
        Places of the neighbors nearer to the center; filled up with place 0.
    weights : Tensor, shape (N, R)
        Their float64 weights; sum 1 but for the center, 0 where filled up.
    """

    order: Tensor
    inverse: Tensor
    levels: tuple[tuple[int, int], ...]
    neighbors: Tensor
    weights: Tensor

    @property
    def parent(self) -> Tensor:
        """Place (N,) of the first neighbor, the one that is best aligned; 0 for the center itself."""
        return self.neighbors[:, 0]

    @functools.cached_property
    def children(self) -> tuple[Tensor, ...]:
        """For the center and for each level, the places (n, C) whose parent each pixel is, filled up with N."""
        n = len(self.parent)
        place = torch.argsort(self.parent[1:], stable=True) + 1
        parent = self.parent[place]
        rank = torch.arange(n - 1, device=parent.device) - torch.searchsorted(parent, parent)
        table = torch.full((n, len(_OFFSETS)), n, device=parent.device)
        table[parent, rank] = place
        parts = [table[first:last] for first, last in ((0, 1), *self.levels)]
        return tuple(part[:, : int((part < n).sum(1).max())] for part in parts)


@functools.lru_cache(maxsize=256)
def radial_graph(shape: tuple[int, int], center: tuple[int, int], nearest: bool, device: torch.device) -> RadialGraph:
    """The graph for (Ny, Nx) and a center (y, x) in pixels.

    Among its 8 neighbors a pixel refers to those strictly nearer to the center, weighted by the cosine between the
    directions to the neighbor and to the center, as far as it is positive; or only to the one with the largest cosine
    (`nearest`), so that the graph is a tree.
    """
    neighbors, weights = _aligned(shape, center)
    if nearest:
        neighbors = neighbors[:, :1]
        weights = (weights[:, :1] > 0).to(torch.float64)
    level = _levels(neighbors, weights)
    order = torch.argsort(level, stable=True)
    inverse = torch.argsort(order)
    bounds = [0, *level.bincount().cumsum(0).tolist()]
    used = int((weights > 0).sum(1).max().clamp(min=1))
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-300)
    places = torch.where(weights > 0, inverse[neighbors], 0)
    levels = tuple(itertools.pairwise(bounds))[1:]
    places, weights = places[order, :used].contiguous(), weights[order, :used].contiguous()
    return RadialGraph(order.to(device), inverse.to(device), levels, places.to(device), weights.to(device))


def _aligned(shape: tuple[int, int], center: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Neighbors (N, 8) of each pixel and their weights, the largest first; weight 0 for those not to refer to."""
    y, x = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    dy, dx = (y - center[0]).reshape(-1, 1), (x - center[1]).reshape(-1, 1)
    oy, ox = _OFFSETS.T
    ny, nx = y.reshape(-1, 1) + oy, x.reshape(-1, 1) + ox
    inside = (ny >= 0) & (ny < shape[0]) & (nx >= 0) & (nx < shape[1])
    nearer = (dy + oy) ** 2 + (dx + ox) ** 2 < dy**2 + dx**2
    # up to the factor |(dy, dx)|, which is the same for all neighbors of a pixel
    cosine = -(oy * dy + ox * dx) / (oy**2 + ox**2).to(torch.float64).sqrt()
    weights = torch.where(inside & nearer, cosine.clamp(min=0), 0)
    weights, rank = weights.sort(dim=1, descending=True, stable=True)
    neighbors = torch.where(inside, ny * shape[1] + nx, 0).gather(1, rank)
    return neighbors, weights


def _levels(neighbors: Tensor, weights: Tensor) -> Tensor:
    """Length (N,) of the longest chain of references from each pixel to the center."""
    level = torch.zeros(len(neighbors), dtype=torch.int64)
    while True:
        longer = torch.where(weights > 0, level[neighbors] + 1, 0).amax(1)
        if torch.equal(longer, level):
            return level
        level = longer
