"""Brightness that falls with the distance from a center."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, indicator
from .kernels import clip_outward, compiled, pool_tree
from .layout import Layout, nan_where_not_finite
from .radial import RadialGraph, radial_graph

__all__ = ["MonotoneCone", "MonotoneGreedy"]

_NEIGHBORS = ("angle", "nearest")


class _Monotone(Prox):
    """What both operators share: images, their graph, and the test of a point."""

    cone = True
    projection = True

    def __init__(self, shape: tuple[int, int] | None, center: tuple[int, int] | None) -> None:
        if center is not None and (len(center) != 2 or not all(isinstance(n, int) and n >= 0 for n in center)):
            raise ParameterError(f"center is {center}: expected (y, x), two integers >= 0 counted from 0.")
        self.shape = shape
        self.center = center
        self._layout = Layout(shape)
        self.couples = self._layout.couples
        if shape is not None:
            self._center(shape)

    def _center(self, shape: tuple[int, int]) -> tuple[int, int]:
        center = self.center or (shape[0] // 2, shape[1] // 2)
        if not (center[0] < shape[0] and center[1] < shape[1]):
            raise ParameterError(f"center is {center}, outside images of shape {tuple(shape)}: expected (y, x) counted from 0.")
        return center

    @abstractmethod
    def _graph(self, images: Tensor) -> RadialGraph: ...

    def _ordered(self, x: Tensor) -> tuple[Tensor, RadialGraph]:
        """Images (M, N) in the order of the graph, a copy; float64, or float32 for less."""
        images = self._layout.unfold(x.detach())
        graph = self._graph(images)
        images = images.to(torch.promote_types(x.dtype, torch.float32))
        return images.flatten(1).index_select(1, graph.order), graph

    def penalty(self, x: Tensor) -> Tensor:
        """0 if no pixel exceeds its bound by more than rounding, else inf."""
        if x.numel() == 0:
            return torch.zeros((), dtype=torch.float64, device=x.device)
        images, graph = self._ordered(x)
        images = images.to(torch.float64)
        inner = images[:, graph.neighbors]
        bound = (inner * graph.weights).sum(-1)
        # relative to the pixel and its neighbors alone: next to a bright center a faint rising wing is no rounding
        slack = 16 * torch.finfo(x.dtype).eps * (images.abs() + (inner.abs() * graph.weights).sum(-1))
        return indicator((images <= bound + slack)[:, 1:].all() & torch.isfinite(images).all())


class MonotoneGreedy(_Monotone):
    """Radial monotonicity by clipping: from the center outward, every pixel to at most the mean of its inner neighbors.

    g is 0 where ``x[p] <= sum_q w[p, q] x[q]`` over the neighbors q of p that are nearer to the center, else inf. The
    operator takes the minimum of both sides once per pixel, by increasing distance. The result is feasible, but not the
    nearest such point: pixels are only lowered, so that a faint pixel near the center dims everything behind it. The
    projection, for ``neighbors="nearest"``, is `MonotoneCone`.

    Parameters
    ----------
    shape : (int, int), optional
        (Ny, Nx), if the last dimension holds images row by row. By default the last two dimensions are the image.
    center : (int, int), optional
        Pixel (y, x), counted from 0; by default (Ny // 2, Nx // 2).
    neighbors : {"angle", "nearest"}
        Weights: the cosine between the directions to neighbor and center, normalized; or 1 for the largest cosine only.

    Raises
    ------
    ParameterError
        If `center` lies outside `shape`, or `neighbors` is unknown.

    References
    ----------
    Melchior et al. 2018, Astronomy and Computing 24, 129.

    Examples
    --------
    >>> MonotoneGreedy((1, 5))(torch.tensor([[3.0, 1.0, 2.0, 1.0, -1.0]]), 1.0)
    tensor([[ 1.,  1.,  2.,  1., -1.]])
    """

    exact = False

    def __init__(self, shape: tuple[int, int] | None = None, center: tuple[int, int] | None = None, neighbors: str = "angle") -> None:
        if neighbors not in _NEIGHBORS:
            raise ParameterError(f"neighbors is {neighbors!r}: expected one of {', '.join(_NEIGHBORS)}.")
        super().__init__(shape, center)
        self.neighbors = neighbors

    @torch.no_grad()
    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Clip; `step` has no effect. NaN in an image where an entry is not finite.

        Raises
        ------
        ShapeError
            If `x` holds no such images.
        """
        if x.numel() == 0:
            return x.clone()
        images, graph = self._ordered(x)
        finite = torch.isfinite(images).all()
        original = None if bool(finite) else images.clone()
        _clip(images, graph)
        if original is not None:
            images = nan_where_not_finite(images, original)
        return self._layout.fold(images.index_select(1, graph.inverse), x)

    def _graph(self, images: Tensor) -> RadialGraph:
        shape = (images.shape[1], images.shape[2])
        return radial_graph(shape, self._center(shape), self.neighbors == "nearest", images.device)


class MonotoneCone(_Monotone):
    """Projection on radially monotone images.

    g is 0 where ``x[p] <= x[parent(p)]`` for every pixel p but the center, else inf. The parent is that one of the 8
    neighbors which lies nearer to the center than p and in its direction best: of the steps toward the center, the one
    with the smallest angle. Parents make the image a tree, and the projection an isotonic regression on it, which is solved
    exactly: the result is constant on connected blocks, with the mean of the data there.

    Parameters
    ----------
    shape : (int, int), optional
        (Ny, Nx), if the last dimension holds images row by row. By default the last two dimensions are the image.
    center : (int, int), optional
        Pixel (y, x), counted from 0; by default (Ny // 2, Nx // 2).

    Raises
    ------
    ParameterError
        If `center` lies outside `shape`.

    References
    ----------
    Pardalos & Xue 1999, Algorithmica 23, 211 (blocks pooled from the leaves); Hochbaum & Queyranne 2003, SIAM J. Discrete
    Math. 16, 192 (blocks split from the whole).

    Examples
    --------
    >>> MonotoneCone((1, 5))(torch.tensor([[3.0, 1.0, 2.0, 1.0, -1.0]]), 1.0)
    tensor([[ 2.,  2.,  2.,  1., -1.]])
    """

    def __init__(self, shape: tuple[int, int] | None = None, center: tuple[int, int] | None = None) -> None:
        super().__init__(shape, center)

    @torch.no_grad()
    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Project; `step` has no effect. NaN in an image where an entry is not finite.

        Raises
        ------
        ShapeError
            If `x` holds no such images.
        """
        if x.numel() == 0:
            return x.clone()
        images, graph = self._ordered(x)
        finite = torch.nan_to_num(images.to(torch.float64), nan=0.0, posinf=0.0, neginf=0.0)
        y = nan_where_not_finite(_project(finite, graph), images)
        return self._layout.fold(y.index_select(1, graph.inverse), x)

    def _graph(self, images: Tensor) -> RadialGraph:
        shape = (images.shape[1], images.shape[2])
        return radial_graph(shape, self._center(shape), True, images.device)


def _clip(images: Tensor, graph: RadialGraph) -> None:
    """Clip ordered images (M, N) in place."""
    kernel = compiled(clip_outward) if images.device.type == "cpu" else None
    if kernel is not None:
        kernel(images.numpy(), graph.neighbors.numpy(), graph.weights.numpy())
    else:
        _clip_by_levels(images, graph)


def _clip_by_levels(images: Tensor, graph: RadialGraph) -> None:
    """The same for all pixels of a level and all images at once."""
    weights = graph.weights.to(images.dtype)
    for first, last in graph.levels:
        bound = (images[:, graph.neighbors[first:last]] * weights[first:last]).sum(-1)
        images[:, first:last] = torch.minimum(images[:, first:last], bound)


def _project(images: Tensor, graph: RadialGraph) -> Tensor:
    """Project ordered images (M, N) of float64."""
    kernel = compiled(pool_tree) if images.device.type == "cpu" else None
    if kernel is None:
        return _project_by_splitting(images, graph)
    y = images.clone()
    parent = graph.parent.contiguous().numpy()
    links = torch.empty(4, y.shape[1], dtype=torch.int64).numpy()
    values = torch.empty(2, y.shape[1], dtype=torch.float64).numpy()
    for image in y:
        kernel(image.numpy(), parent, links, values)
    return y


def _project_by_splitting(images: Tensor, graph: RadialGraph) -> Tensor:
    """Project all images at once, from the whole to the parts.

    A block whose solution is not its mean divides into an inner part, where the solution is above the mean, and outer
    ones, where it is not; these no longer feel each other. The inner part is the connected one around the innermost
    pixel with the largest sum of excesses over the mean, found from the leaves inward in one sweep.
    """
    unit = images.abs().amax(1, keepdim=True)
    x = images / torch.where(unit > 0, unit, 1)
    linked = torch.ones(len(x), x.shape[1] + 1, dtype=x.dtype, device=x.device)
    linked[:, [0, -1]] = 0  # the center has no parent; the last column stands for children that are not there
    while True:
        inside = linked[:, :-1] > 0
        top = _top(inside, graph)
        size = _sum_from_leaves(torch.ones_like(x), linked, graph)
        mean = (_sum_from_leaves(x, linked, graph) / size).gather(1, top)
        excess = x - mean
        best = _sum_from_leaves(excess, linked, graph, only_gains=True)
        rounding = 1e-14 * _sum_from_leaves(mean.abs() + excess.abs(), linked, graph)
        split = (best > rounding).gather(1, top)
        inner = _top(inside & (best > 0), graph) == top
        outside = inside & (best <= 0) & inner[:, graph.parent] & split
        if not bool(outside.any()):
            return mean * unit
        linked[:, :-1].masked_fill_(outside, 0)


def _sum_from_leaves(values: Tensor, linked: Tensor, graph: RadialGraph, only_gains: bool = False) -> Tensor:
    """Sum (M, N) of `values` over each pixel and all linked ones beyond it; with `only_gains`, branches below 0 do not count."""
    total = torch.nn.functional.pad(values, (0, 1))
    for (first, last), children in zip(reversed(((0, 1), *graph.levels)), reversed(graph.children), strict=True):
        if children.shape[1] > 0:
            branches = total[:, children] * linked[:, children]
            total[:, first:last] += (branches.clamp(min=0) if only_gains else branches).sum(-1)
    return total[:, :-1]


def _top(linked: Tensor, graph: RadialGraph) -> Tensor:
    """Innermost pixel (M, N) of the block of each one, by doubling the reach of the links."""
    places = torch.arange(linked.shape[1], device=linked.device)
    top = torch.where(linked, graph.parent, places)
    while True:
        further = top.gather(1, top)
        if torch.equal(further, top):
            return top
        top = further
