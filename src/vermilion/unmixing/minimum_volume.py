"""The smallest simplex that holds the pixels, as far as their noise tells where they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MinimumVolume", "facet_coordinates", "minimum_volume"]

_MEAN_SQUARE = 0.9  # of negative shares: 1 where all pixels near a facet lie on it, 2/3 where they spread evenly away from it
_SLACK = 0.03  # of this mean square that is not worth another round
_ROUNDS = 14
_STEPS = 25
_FIRST_NOISE = 0.03  # in units of the extent of the points
_LEAST_NOISE = 1e-3  # in the same units: data without noise would make every step a wall
_ANNEALING = 3.0
_FIRST_WEIGHT = 0.05
_COLLAPSE = 3.0  # logarithm by which the volume may shrink in a round, per dimension
_FLAT = -7.0  # logarithm of the volume of a start, per dimension, below which it counts as none
_NEAR = 6.0  # pixels whose share of a vertex is this many standard errors above 0 do not touch the facet


@dataclass(frozen=True)
class MinimumVolume:
    """Vertices (q, K), the logarithm of the volume, the mean square of negative shares of each vertex, the steps taken, and whether they
    led to the end.
    """

    vertices: Tensor
    log_volume: float
    mean_squares: Tensor
    iterations: int
    settled: bool


def facet_coordinates(vertices: Tensor, points: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (K, N) of the vertices in every point, adding up to one and negative outside, and their standard errors (K, N) or (K, 1)."""
    inverse = torch.linalg.inv(torch.cat([torch.ones_like(vertices[:1]), vertices]))
    normals = inverse[:, 1:]
    return inverse[:, :1] + normals @ points, torch.einsum("ki,mij,kj->km", normals, covariance, normals).sqrt()


def minimum_volume(points: Tensor, covariance: Tensor, starts: Tensor) -> MinimumVolume:
    """Simplex of least volume that the points leave no farther than their noise lets them.

    Minimizes ``log det [1; V] + ½ Σ_k μ_k Σ_n min(s_kn / e_kn, 0)²`` over the vertices V, where s are the shares of the vertices in
    point n and e their standard errors. The weight μ of each facet is no parameter: it is annealed until the negative shares are as large
    as noise makes those of pixels on or near the facet. A larger simplex would explain the data as well, a smaller one would not.

    Parameters
    ----------
    points : Tensor, shape (q, N)
        float64.
    covariance : Tensor, shape (1, q, q) or (N, q, q)
        Of the noise of all points, or of each.
    starts : Tensor, shape (M, q, q + 1)
        First vertices; the smallest of the simplices that they lead to is returned.

    References
    ----------
    Craig 1994, IEEE TGRS 32, 542; Bioucas-Dias 2009, WHISPERS (the facets as unknowns, soft at the noise); Fu, Huang, Yang, Ma &
    Sidiropoulos 2016, IEEE TSP 64, 6254; Leplat, Ang & Gillis 2019, ICASSP (log det).
    """
    middle = points.mean(dim=1, keepdim=True)
    away = points - middle
    extent = torch.linalg.cholesky(away @ away.T / points.shape[1] + 1e-12 * away.square().mean() * torch.eye(len(points)).to(points))
    # in coordinates of equal extent volumes are compared as before, and steps are well scaled
    points = torch.linalg.solve_triangular(extent, away, upper=False)
    inverse = torch.linalg.solve_triangular(extent, torch.eye(len(extent)).to(points), upper=False)
    covariance = inverse @ covariance @ inverse.T
    covariance = covariance + _LEAST_NOISE**2 * torch.eye(len(points)).to(points)
    trials = [_Fit(points, covariance, inverse @ (start - middle)) for start in starts]
    for trial in trials:
        trial.run()
    best = min(trials, key=lambda trial: (not trial.admitted, trial.log_volume()))
    volume = best.log_volume() + float(torch.linalg.slogdet(extent)[1])
    return MinimumVolume(
        middle + extent @ best.vertices, volume, best.mean_squares, sum(trial.iterations for trial in trials), best.settled
    )


def _annealing(covariance: Tensor) -> list[float]:
    """Factors that enlarge the noise at first, so that facets feel pixels some way off; 1 alone where it is no small part of the extent."""
    noise = float(covariance.diagonal(dim1=1, dim2=2).amax(dim=1).median().sqrt())
    steps = math.ceil(math.log(max(1.0, _FIRST_NOISE / noise), _ANNEALING))
    return [_ANNEALING**power for power in range(steps, -1, -1)]


class _Fit:
    """One simplex on its way."""

    def __init__(self, points: Tensor, covariance: Tensor, vertices: Tensor) -> None:
        self.points, self.covariance = points, covariance
        center = vertices.mean(dim=1, keepdim=True)
        self.vertices = center + 1.2 * (vertices - center)
        if not self.log_volume() > _FLAT * len(vertices):  # starts that lie in one plane have no facets
            self.vertices = self.vertices + torch.eye(*vertices.shape).to(points)
        self.weights = torch.full((vertices.shape[1],), _FIRST_WEIGHT).to(points)
        self.mean_squares = torch.zeros_like(self.weights)
        self.powers = torch.ones_like(self.weights)
        self.iterations = 0
        self.settled = False

    @property
    def admitted(self) -> bool:
        """The noise explains what is outside."""
        return bool((self.mean_squares < _MEAN_SQUARE + 2 * _SLACK).all())

    def run(self) -> None:
        """From large to small: facets move in until the noise forbids it."""
        for blur in _annealing(self.covariance):
            for _ in range(_ROUNDS):
                before = self.vertices
                self.round(blur)
                still = float((self.vertices - before).abs().max()) < 3e-3 * float(self.vertices.abs().max())
                near = (self.mean_squares / _MEAN_SQUARE).log().abs().amax()
                self.settled = still and float(near) < _SLACK
                if self.settled or (blur > 1 and float(near) < 1):
                    break
            if blur > 1:  # the same pull of every pixel, in units of a smaller noise
                self.weights = self.weights / _ANNEALING

    def log_volume(self) -> float:
        return float(torch.linalg.slogdet(torch.cat([torch.ones_like(self.vertices[:1]), self.vertices]))[1])

    def round(self, blur: float) -> None:
        """Some steps with fixed weights, for noise that is larger by a factor, then weights that suit what is seen."""
        shares, errors = facet_coordinates(self.vertices, self.points, self.covariance)
        near = (shares < 0.05 + _NEAR * blur * errors).any(dim=0)
        points, covariance = self.points[:, near], self.covariance if len(self.covariance) == 1 else self.covariance[near]
        covariance = covariance * blur**2
        vertices = self.vertices.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([vertices], max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-10)

        def closure() -> Tensor:
            optimizer.zero_grad()
            shares, errors = facet_coordinates(vertices, points, covariance)
            volume = torch.linalg.slogdet(torch.cat([torch.ones_like(vertices[:1]), vertices]))[1]
            value = volume + 0.5 * (self.weights[:, None] * (shares / errors).clamp(max=0).square()).sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(closure)
        self.iterations += int(optimizer.state[vertices]["n_iter"])
        before, least = self.vertices, self.log_volume() - _COLLAPSE * len(self.vertices)
        self.vertices = vertices.detach()
        if not self.log_volume() > least:  # all points at one are no farther than so weak a weight allows
            self.vertices, self.weights = before, 5 * self.weights
            return
        shares, errors = facet_coordinates(self.vertices, self.points, self.covariance * blur**2)
        outside = (shares / errors).clamp(max=0)
        was = self.mean_squares
        self.mean_squares = outside.square().sum(dim=1) / (outside < 0).sum(dim=1).clamp(min=1)
        passed = (was - _MEAN_SQUARE) * (self.mean_squares - _MEAN_SQUARE) < 0  # too far: go back by less
        self.powers = torch.where(passed & (was > 0), (self.powers / 2).clamp(min=0.25), self.powers)
        self.weights = self.weights * (self.mean_squares / _MEAN_SQUARE).clamp(0.2, 5.0) ** self.powers
