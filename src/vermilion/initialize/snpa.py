"""SNPA: successive non-negative projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import Directions, start_by

__all__ = ["hull_residuals", "search_snpa", "snpa"]

_BATCH = 1 << 9


def search_snpa(view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vertices farthest from the hull of those before; the same for all seeds."""
    points = view.points
    vertices = points.new_zeros(len(points), 0) if known is None else known
    left = points.square().sum(dim=0)
    nothing = 1e-20 * float(left.max())
    chosen: list[int] = []
    for _ in range(n_components):
        extreme, left = _farthest(points, vertices, left)
        if float(left[extreme]) <= nothing:
            break
        chosen.append(extreme)
        vertices = torch.cat([vertices, points[:, extreme, None]], dim=1)
    pixels = torch.tensor(chosen, dtype=torch.long, device=points.device)
    return view.vertices(pixels.expand(len(seeds), -1), n_components, seeds)


snpa = start_by(
    search_snpa,
    what="""Spectra (B, K) of the pixels farthest from what is mixed from those before: the convex hull of these and 0.

Unlike `spa` it can tell more components than the spectra have dimensions. Pixels are divided by their brightness.""",
    seed="Of the search for the subspace, and of pixels drawn where all pixels are mixtures already.",
    known="Spectra that are vertices already.",
    source="""Gillis 2014, SIAM J. Imaging Sci. 7, 1420.""",
)


def _farthest(points: Tensor, vertices: Tensor, bounds: Tensor) -> tuple[int, Tensor]:
    """The pixel farthest from the hull, and bounds (N,) of all squared distances.

    A hull only grows: what a pixel was away before bounds what it is away now, and few pixels need be looked at anew.
    """
    bounds = bounds.clone()
    stale = torch.ones_like(bounds, dtype=torch.bool)
    while vertices.shape[1]:
        ahead = torch.where(stale, bounds, -1.0)
        if not bool(stale.any()) or float(ahead.max()) <= float(torch.where(stale, -1.0, bounds).max()):
            break
        some = ahead.topk(min(_BATCH, int(stale.sum()))).indices
        bounds[some] = torch.minimum(bounds[some], hull_residuals(points[:, some], vertices))
        stale[some] = False
    return int(torch.where(stale, -1.0, bounds).argmax() if vertices.shape[1] else bounds.argmax()), bounds


def hull_residuals(points: Tensor, vertices: Tensor) -> Tensor:
    """Squared distances (N,) of points (r, N) from the convex hull of vertices (r, k) and 0.

    Exactly, by an active-set method on all points at once: least squares on a face of the hull; on the way there the first share that
    becomes negative leaves the face, and when there the vertex towards which the distance still falls joins it.
    """
    corners = torch.cat([vertices, vertices.new_zeros(len(vertices), 1)], dim=1)
    gram, seen = corners.T @ corners, (corners.T @ points).T
    # dependent vertices leave the shares open, not the distance
    gram = gram + 1e-13 * torch.trace(gram) * torch.eye(len(gram)).to(gram)
    tolerance = 1e-10 * float(gram.diagonal().max())
    face = torch.nn.functional.one_hot((seen - gram.diagonal() / 2).argmax(dim=1), len(gram)).bool()
    shares = face.to(points)
    left = torch.arange(points.shape[1], device=points.device)
    for _ in range(10 * len(gram)):
        on, now = face[left], shares[left]
        wanted, level = _least_squares_on_face(gram, seen[left], on)
        share = torch.where(on & (wanted < 0), now / (now - wanted).clamp_min(torch.finfo(now.dtype).tiny), 1.0)
        step, first = share.min(dim=1)
        shares[left] = (now + step[:, None] * (wanted - now)).clamp(min=0)
        blocked = (step < 1) | (on & (wanted < 0)).any(dim=1)
        slope, steepest = (shares[left] @ gram - seen[left] - level[:, None]).masked_fill(on, 0).min(dim=1)
        joins = ~blocked & (slope < -tolerance)
        face[left[blocked], first[blocked]] = False
        shares[left[blocked], first[blocked]] = 0
        face[left[joins], steepest[joins]] = True
        left = left[blocked | joins]
        if len(left) == 0:
            break
    return (points - corners @ shares.T).square().sum(dim=0)


def _least_squares_on_face(gram: Tensor, seen: Tensor, on: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (N, k) of sum one that are 0 off a face, and the multipliers (N,) of their sums."""
    n, k = seen.shape
    system = gram.new_zeros(n, k + 1, k + 1)
    system[:, :k, :k] = torch.where(on[:, :, None] & on[:, None, :], gram, 0.0) + torch.diag_embed((~on).to(gram))
    system[:, :k, k] = system[:, k, :k] = on.to(gram)
    wanted = torch.cat([torch.where(on, seen, 0.0), seen.new_ones(n, 1)], dim=1)
    solved = torch.linalg.solve(system, wanted[:, :, None])[:, :, 0]
    return torch.where(on, solved[:, :k], 0.0), -solved[:, k]
