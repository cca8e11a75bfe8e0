"""Archetypes: mixtures of pixels of which all pixels are mixtures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Archetypes", "archetypes", "extreme_points"]

# starts, iterations of each stage, and how many starts go on to the next one
_STAGES = ((96, 12), (24, 24), (8, 250))
_SAMPLE = 1500  # pixels of the first stage
_INNER = 5
# of the entropic descent, in units of 1 / curvature: shares oscillate beyond 4; mixing may beyond 2, and then goes on at half the pace
_SHARE_STEP = 3.0
_MIXING_STEP = 8.0
_TOL = 1e-6  # decrease over ten iterations, in units of the variance of the pixels
_DIRECTIONS = 3000
_PER_DIRECTION = 8
_CANDIDATES = 600
_SUPPORT = 100  # a candidate is the mean of one in so many pixels
_MOST_SUPPORT = 100
_MOST = 1 << 14  # pixels that are fitted


@dataclass(frozen=True)
class Archetypes:
    """The best of many starts.

    Attributes
    ----------
    members : Tensor of int, shape (C, n)
        Pixels whose means are the candidates.
    mixing : Tensor, shape (C, K)
        Archetypes are ``candidates @ mixing``; columns add up to one.
    objective : float
        Mean square distance of the pixels from the simplex.
    iterations : int
    spread : float
        Largest relative distance of the vertices of the other starts of the last stage whose objective is within 1 % of the best.
    """

    members: Tensor
    mixing: Tensor
    objective: float
    iterations: int
    spread: float

    def mix(self, X: Tensor) -> Tensor:
        """Archetypes (r, K) of what is known of all pixels (r, N)."""
        return self.candidates(X) @ self.mixing.to(X)

    def candidates(self, X: Tensor) -> Tensor:
        """Means (r, C) of the members."""
        return X[:, self.members.flatten()].reshape(len(X), *self.members.shape).mean(dim=2)


def archetypes(points: Tensor, count: int, *, seed: int = 0, support: int | None = None) -> Archetypes:
    """Archetypal analysis, ``min |X − C B A|²  s.t.  B >= 0, A >= 0, columns of B and A add up to one``.

    Entropic mirror descent from many random starts at once, which thin out in three stages. The columns of C are not single pixels
    but means over the nearest neighbors of the most extreme ones: a vertex that no more than a pixel or two support is an outlier, and
    the exact optimum would chase it.

    Parameters
    ----------
    points : Tensor, shape (r, N)
        float64.
    count : int
        K.
    seed : int
        Of the directions in which extremes are looked for, and of the starts.
    support : int, optional
        Pixels averaged to one candidate; by default one in 100, at most 100.

    References
    ----------
    Cutler & Breiman 1994, Technometrics 36, 338; Zouaoui, Muhawenayo, Rasti, Chanussot & Mairal 2023, IEEE TIP 32, 3720 (entropic
    descent); Jamieson & Talwalkar 2016, AISTATS (successive halving).
    """
    generator = torch.Generator().manual_seed(seed)
    n_pixels = points.shape[1]
    support = min(_MOST_SUPPORT, max(1, n_pixels // _SUPPORT)) if support is None else min(support, n_pixels - 1)
    members = _members(points, extreme_points(points, _CANDIDATES, generator), support)
    C = points[:, members.flatten()].reshape(len(points), *members.shape).mean(dim=2)
    # with sums of one the origin is free: about the mean pixel curvatures are small and steps long
    middle = points.mean(dim=1, keepdim=True)
    unit = float(torch.linalg.vector_norm(points - middle, dim=0).mean()) or 1.0
    C = (C - middle) / unit
    B = _first_mixing(_STAGES[0][0], C.shape[1], count, generator).to(C)
    taken = torch.randperm(n_pixels, generator=generator).to(points.device)
    steps, fit = 0, torch.zeros(len(B)).to(C)
    for stage, (kept, iterations) in enumerate(_STAGES):
        if stage:
            B = B[fit.topk(min(kept, len(B)), largest=False).indices]
        X = (points[:, taken[: _SAMPLE if stage == 0 else _MOST]] - middle) / unit
        B, fit, done = _descend(X, C, B, iterations)
        steps += done
    best = int(fit.argmin())
    vertices = C @ B
    near = vertices[fit <= 1.01 * fit[best]]
    distance = torch.cdist(vertices[best].T.expand(len(near), -1, -1), near.transpose(1, 2)).amin(dim=2).amax()
    spread = float(distance / torch.linalg.vector_norm(vertices[best], dim=0).mean().clamp(min=1e-300))
    return Archetypes(members, B[best], float(fit[best]) * unit**2, steps, spread)


def extreme_points(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of the points that are most often among the outermost along random directions.

    References
    ----------
    Boardman, Kruse & Green 1995, JPL Publication 95-1 (pixel purity index).
    """
    away = points - points.mean(dim=1, keepdim=True)
    votes = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    directions = torch.randn(_DIRECTIONS, len(points), generator=generator, dtype=torch.float64).to(points)
    each = min(_PER_DIRECTION, points.shape[1])
    for some in directions.split(250):
        along = some @ away
        for side in (along, -along):
            found = side.topk(each, dim=1).indices.flatten()
            votes.index_add_(0, found, torch.ones_like(found, dtype=votes.dtype))
    return votes.topk(min(count, int((votes > 0).sum()))).indices


def _members(points: Tensor, extremes: Tensor, support: int) -> Tensor:
    """The nearest neighbors of every extreme point, shape (C, support), without itself: it may be an outlier."""
    if support == 1:
        return extremes[:, None]
    distances = torch.cdist(points[:, extremes].T, points.T)
    return distances.topk(support + 1, dim=1, largest=False).indices[:, 1:]


def _first_mixing(starts: int, candidates: int, count: int, generator: torch.Generator) -> Tensor:
    """Random candidates, half diluted with all others, shape (M, C, K)."""
    B = torch.softmax(0.1 * torch.rand(starts, candidates, count, generator=generator, dtype=torch.float64), dim=1) / 2
    chosen = torch.randint(candidates, (starts, 1, count), generator=generator)
    return B.scatter_add(1, chosen, torch.full((starts, 1, count), 0.5, dtype=torch.float64))


def _descend(X: Tensor, C: Tensor, B: Tensor, iterations: int) -> tuple[Tensor, Tensor, int]:
    """Alternating entropic descent on shares and mixing of M starts: B (M, C, K), mean squares (M,), and iterations done."""
    count, largest = B.shape[2], C.square().sum(dim=0).max()
    A = torch.full((len(B), count, X.shape[1]), 1 / count).to(X)
    squares = X.square().sum()
    before = torch.full((len(B),), torch.inf).to(X)
    pace = torch.full((len(B),), _MIXING_STEP).to(X)
    for iteration in range(iterations):
        Z = C @ B
        G, ZX = Z.mT @ Z, Z.mT @ X
        step = _SHARE_STEP / torch.linalg.matrix_norm(G, 2).clamp(min=1e-300)[:, None, None]
        for _ in range(_INNER if iteration else 3 * _INNER):
            A = _multiply(A, step * (ZX - G @ A))
        AA, XA = A @ A.mT, X @ A.mT
        step = (pace / (torch.linalg.matrix_norm(AA, 2) * largest).clamp(min=1e-300))[:, None, None]
        for _ in range(_INNER):
            B = _multiply(B, step * (C.T @ (XA - (C @ B) @ AA)))
        if iteration % 10 == 9 or iteration == iterations - 1:
            Z = C @ B
            fit = squares - 2 * (Z * XA).sum(dim=(1, 2)) + ((Z.mT @ Z) * AA).sum(dim=(1, 2))
            if bool(((before - fit).abs() <= _TOL * squares).all()):
                break
            pace = torch.where(fit > before, pace / 2, pace)
            before = fit
    return B, fit.clamp(min=0) / X.shape[1], iteration + 1


def _multiply(P: Tensor, exponent: Tensor) -> Tensor:
    """Columns ``p exp(exponent)`` with a sum of one again."""
    P = P * torch.exp(exponent - exponent.amax(dim=1, keepdim=True))
    P = P / P.sum(dim=1, keepdim=True)
    return P.clamp(min=1e-30)
