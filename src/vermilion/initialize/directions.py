"""Pixels as directions in the weighted subspace, and what all searches for extreme ones share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..errors import NoDataError
from .incomplete import completed_subspace
from .subspace import Subspace, weighted_subspace

__all__ = ["FAINT", "NEIGHBORS", "Directions", "Search", "Start", "draw_normal", "search_spectra", "signal_subspace", "start_by"]

FAINT = 100.0
NEIGHBORS = 3

# search(view, n_components, seeds, known (r, J) or None) -> vertices (M, r, K) of brightness one, and their brightness (M, K)
Search = Callable[["Directions", int, Sequence[int], Tensor | None], tuple[Tensor, Tensor]]

_TOGETHER = 1 << 25  # values of a temporary over all pixels, components and seeds


@dataclass(frozen=True)
class Directions:
    """Every pixel divided by its brightness.

    The brightness is the coordinate along the mean pixel: linear, so that mixtures stay inside the simplex of their vertices. Pixels
    fainter than the noise allows are divided by more, which shrinks them towards 0.

    Attributes
    ----------
    space : Subspace
        Coordinates in float64.
    points : Tensor, shape (r, N)
        Coordinate 1 along `axis`, or less where shrunk; 0 in pixels without weight.
    sizes : Tensor, shape (N,)
        What the coordinates were divided by.
    axis : Tensor, shape (r,)
        Direction of the mean pixel.
    rank : int
        Dimensions that the pixels fill.
    neighbors : int
        Pixels averaged per vertex, as far as noise may account for their distance.
    """

    space: Subspace
    points: Tensor
    sizes: Tensor
    axis: Tensor
    rank: int
    neighbors: int

    @classmethod
    def of(cls, space: Subspace, *, faint: float = FAINT, neighbors: int = NEIGHBORS) -> Directions:
        """Directions of all pixels; `faint` is the signal-to-noise below which they are shrunk, per root of a dimension."""
        space = replace(space, coordinates=space.coordinates.double())
        tiny = torch.finfo(torch.float64).tiny
        mean = space.coordinates.sum(dim=1)
        axis = mean / torch.linalg.vector_norm(mean).clamp_min(tiny)
        brightness = axis @ space.coordinates
        # noiseless data: every pixel that is not zero counts in full
        floor = max(1e-6 * float(brightness.abs().max()), faint * len(mean) ** 0.5 * _noise(space), tiny)
        # signed data: what is orthogonal to the mean pixel is not infinitely pure
        norms = torch.linalg.vector_norm(space.coordinates, dim=0)
        sizes = torch.maximum(brightness, 0.01 * norms).clamp(min=floor)
        extents = torch.linalg.vector_norm(space.coordinates, dim=1)
        rank = int((extents > 1e-12 * extents.max()).sum())
        return cls(space, space.coordinates / sizes, sizes, axis, rank, neighbors)

    @property
    def brightness(self) -> Tensor:
        """What the points are to be multiplied by for pixels in the unit of the data, shape (N,)."""
        scale = self.space.pixel_scale
        return torch.where(scale > 0, self.sizes / torch.where(scale > 0, scale, 1.0), 0.0)

    def seen(self, spectra: Tensor) -> Tensor:
        """Spectra (B, J) in the data's unit as points (r, J) of brightness one, as far as they have any."""
        coordinates = self.space.basis.T @ (self.space.band_scale[:, None] * spectra.to(self.points))
        norms = torch.linalg.vector_norm(coordinates, dim=0)
        sizes = torch.maximum(self.axis @ coordinates, 0.01 * norms)
        return coordinates / torch.where(sizes > 0, sizes, 1.0)

    def room(self, known: Tensor | None) -> tuple[Tensor, Tensor]:
        """Orthonormal bases of the span of known points (r, J), and of the dimensions beside it."""
        size = len(self.points)
        if known is None or known.shape[1] == 0:
            return self.points.new_zeros(size, 0), torch.eye(size).to(self.points)
        left, values, _ = torch.linalg.svd(known, full_matrices=True)
        inside = int((values > 1e-10 * values.max()).sum()) if float(values.max()) > 0 else 0
        return left[:, :inside], left[:, inside:]

    def vertices(self, pixels: Tensor, n_components: int, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Vertices (M, r, K) at the pixels found (M, k) and their brightness (M, K); where k < K the rest are pixels drawn at random."""
        missing = n_components - pixels.shape[1]
        if missing > 0:
            drawn = [self._any_pixels(pixels.shape[1], missing, seed) for seed in seeds]
            pixels = torch.cat([pixels, torch.stack(drawn).to(pixels)], dim=1)
        unique, which = pixels.unique(return_inverse=True)
        pairs = [self._vertex(int(pixel)) for pixel in unique]
        points, sizes = torch.stack([point for point, _ in pairs]), torch.stack([size for _, size in pairs])
        return points[which].transpose(1, 2), sizes[which]

    def _vertex(self, pixel: int) -> tuple[Tensor, Tensor]:
        """Mean of a pixel and its nearest neighbors, as far as noise may account for their distance, and their mean brightness."""
        distances = (self.points - self.points[:, pixel, None]).square().sum(dim=0)
        near, nearest = distances.topk(min(self.neighbors, len(distances)), largest=False)
        # the variance of a difference is that of both pixels in every dimension
        inverse = 1 / self.sizes
        variance = len(self.points) * (_noise(self.space) * torch.hypot(inverse[pixel], inverse[nearest])) ** 2
        nearest = nearest[(near <= 9 * variance) & (self.space.pixel_scale[nearest] > 0)]
        if len(nearest) == 0:
            nearest = torch.tensor([pixel], device=distances.device)
        return self.points[:, nearest].mean(dim=1), self.brightness[nearest].mean()

    def _any_pixels(self, found: int, missing: int, seed: int) -> Tensor:
        """Pixels with weight drawn at random: more components were asked for than the data have dimensions."""
        live = torch.nonzero(self.space.pixel_scale > 0)[:, 0]
        if len(live) == 0:
            return torch.zeros(missing, dtype=torch.long)
        generators = (torch.Generator().manual_seed(seed + k) for k in range(found, found + missing))
        return torch.stack([live[int(torch.randint(len(live), (1,), generator=generator))] for generator in generators])


def search_spectra(
    search: Search,
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    seeds: Sequence[int],
    known: Tensor | None = None,
    space: Subspace | None = None,
    neighbors: int = NEIGHBORS,
    faint: float = FAINT,
    brightness: bool = True,
) -> Tensor:
    """Spectra (M, B, K) that a search finds, one set per seed, all in one subspace.

    In the unit of the data, with the brightness of the pixels they come from; without `brightness` of brightness one in data made white.
    """
    n_known = 0 if known is None else known.shape[1]
    space = signal_subspace(Y, W, n_components + n_known, seed=seeds[0]) if space is None else space
    view = Directions.of(space, faint=faint, neighbors=neighbors)
    seen = None if known is None else view.seen(known)
    step = max(1, _TOGETHER // (view.points.shape[1] * n_components))
    found = [search(view, n_components, seeds[start : start + step], seen) for start in range(0, len(seeds), step)]
    points = torch.cat([points for points, _ in found])
    if brightness:
        points = points * torch.cat([sizes for _, sizes in found])[:, None, :]
    return torch.stack([space.spectra(one) for one in points]).to(Y)


class Start(Protocol):
    """The public form of a search for spectra."""

    def __call__(
        self,
        Y: Tensor,
        W: Tensor | None,
        n_components: int,
        *,
        seed: int = 0,
        space: Subspace | None = None,
        known: Tensor | None = None,
        neighbors: int = NEIGHBORS,
        faint: float = FAINT,
    ) -> Tensor:
        """Spectra (B, K) in the data's unit."""
        ...


_DOCUMENTATION = """{what}

Parameters
----------
Y : Tensor, shape (B, N)
    Finite where the weight is not 0; signed data are welcome.
W : Tensor, shape (B, N), optional
    Inverse variances; None: all 1.
n_components : int
    K, spectra wanted beside the known ones.
seed : int
    {seed}
space : Subspace, optional
    Where to look, if it is known already: of the dimension of all components, known and new.
known : Tensor, shape (B, J), optional
    {known}
neighbors : int
    Pixels averaged per vertex; 1 is the method as published.
faint : float
    Signal-to-noise in the subspace below which a pixel is shrunk.

Returns
-------
Tensor, shape (B, K)
    In the data's unit, with the brightness of the pixels they come from; signed where the data are. 0 in bands without weight.

References
----------
{source}
"""


def start_by(search: Search, *, what: str, seed: str, known: str, source: str) -> Start:
    """A search as a function of data, named after it and documented by what is its own: what it does, its seed, known spectra, source."""

    def start(
        Y: Tensor,
        W: Tensor | None,
        n_components: int,
        *,
        seed: int = 0,
        space: Subspace | None = None,
        known: Tensor | None = None,
        neighbors: int = NEIGHBORS,
        faint: float = FAINT,
    ) -> Tensor:
        return search_spectra(search, Y, W, n_components, seeds=(seed,), known=known, space=space, neighbors=neighbors, faint=faint)[0]

    start.__name__ = start.__qualname__ = search.__name__.removeprefix("search_")
    start.__module__ = search.__module__
    start.__doc__ = _DOCUMENTATION.format(what=what, seed=seed, known=known, source=source)
    return start


def signal_subspace(Y: Tensor, W: Tensor | None, rank: int, *, seed: int = 0) -> Subspace:
    """Weighted subspace of at most `rank` dimensions, refined where data are missing.

    For data in any unit: squares of 1e-30 underflow in float32.
    """
    finite = torch.where(Y.isfinite() if W is None else (W > 0) & Y.isfinite(), Y, 0)
    largest = float(finite.abs().max()) if Y.numel() else 0.0
    if largest == 0:
        raise NoDataError("no finite value other than 0 has a positive weight: nothing to start from; check the data and the mask.")
    unit = 1.0 if 1e-12 < largest < 1e12 else largest
    Y = Y if unit == 1 else Y / unit
    space = weighted_subspace(Y, W, min(rank, *Y.shape), seed=seed)
    if W is not None and bool((W == 0).any()):
        space = completed_subspace(space, Y, W)
    return space if unit == 1 else replace(space, band_scale=space.band_scale / unit)


def draw_normal(seeds: Sequence[int], *shape: int, like: Tensor) -> Tensor:
    """Standard normal numbers (M, ...), the same for a seed on every device and whatever the others are."""
    drawn = [torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(drawn).to(like)


def _noise(space: Subspace) -> float:
    """Noise of a coordinate; 0 where it is not known."""
    return space.noise if space.noise > 0 else 0.0
