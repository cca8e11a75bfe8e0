"""Abundances that know their neighbors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..alternating.quadratic import pairs, place
from ..errors import ParameterError
from ..prox import Simplex, Smoothness, TotalVariation
from ..prox.starlet import starlet_transform

__all__ = ["KINDS", "smooth_abundances"]

KINDS = ("tv", "graph", "starlet")
_ITERATIONS = 200
_TOL = 1e-4
_SCALES = 3


def smooth_abundances(
    Y: Tensor,
    A: Tensor,
    W: Tensor | None,
    S: Tensor,
    *,
    weight: float,
    kind: str,
    shape: tuple[int, int],
    sum_to_one: bool = True,
) -> Tensor:
    """Abundances with a price on spatial structure, ``min ½ Σ W (Y − A S)² / v + weight Σ_k g(S_k)  s.t.  S >= 0, Σ_k S = 1``.

    v is the variance of what the given abundances leave, in the unit of 1 / W: `weight` is then a number, 0.1 to 10 for most images, and
    the result does not change with the unit of the data. The spectra stay as they are. Alternating directions.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    A : Tensor, shape (B, K)
    W : Tensor, shape (B, N), optional
        Pixels without weight are filled in from their neighbors.
    S : Tensor, shape (K, N)
        Abundances of every pixel by itself: the first values.
    weight : float, >= 0
    kind : {"tv", "graph", "starlet"}
        g: total variation, or half the squared differences between neighbors on the grid (its graph Laplacian). "starlet" minimizes
        nothing: the starlet coefficients of the given maps shrink by `weight` times the noise that the finest of them show, and the
        maps are projected on the constraints.
    shape : (int, int)
        (Ny, Nx) with N = Ny Nx, row by row.
    sum_to_one : bool
        False: only S >= 0.

    Raises
    ------
    ParameterError
        If the kind is unknown.

    References
    ----------
    Iordache, Bioucas-Dias & Plaza 2012, IEEE TGRS 50, 4484 (total variation, alternating directions).
    """
    if kind not in KINDS:
        raise ParameterError(f"spatial kind is {kind!r}: expected one of {', '.join(map(repr, KINDS))}.")
    count, n_pixels = S.shape
    missing = S.isnan().any(dim=0)
    S = torch.where(missing, 1 / count, S)
    rest = (Y - A @ S).square()
    left = float((rest if W is None else W * rest).sum())
    entries = Y.numel() if W is None else int((W > 0).sum())
    variance = left / max(1, entries - count * n_pixels) if left > 0 else 1.0
    weights = torch.full_like(Y[:1], 1 / variance) if W is None else W / variance
    shared = len(weights) == 1
    G = (A.T @ A / variance)[None] if shared else (pairs(A.T) @ weights)[place(count, Y.device)].permute(2, 0, 1)
    C = A.T @ (weights * Y)
    simplex = Simplex(0)
    if kind == "starlet":
        smooth = _shrunk_maps(S, weight, shape)
        return simplex(smooth, 1.0) if sum_to_one else smooth.clamp(min=0)
    penalty = float(G.diagonal(dim1=1, dim2=2).mean()) / 10 or 1.0
    prox = TotalVariation(weight, shape=shape, tol=1e-6) if kind == "tv" else Smoothness(weight, shape=shape)
    system = torch.linalg.inv(G + 2 * penalty * torch.eye(count).to(G))
    inside, smooth = S, S
    lift, drag = torch.zeros_like(S), torch.zeros_like(S)
    for _ in range(_ITERATIONS):
        right = C + penalty * (inside - lift + smooth - drag)
        S = system[0] @ right if shared else torch.einsum("nij,jn->in", system, right)
        before = inside
        inside = simplex(S + lift, 1.0) if sum_to_one else (S + lift).clamp(min=0)
        smooth = prox(S + drag, 1 / penalty)
        lift, drag = lift + S - inside, drag + S - smooth
        change = torch.stack([S - inside, S - smooth, inside - before]).abs().max()
        if float(change) < _TOL * max(1.0, float(inside.abs().max())) or not math.isfinite(float(change)):
            break
    return inside


def _shrunk_maps(S: Tensor, weight: float, shape: tuple[int, int]) -> Tensor:
    """Maps whose starlet details are shrunk by some times the size that white noise gives them, scale by scale."""
    *details, maps = starlet_transform(S.reshape(-1, *shape), _SCALES)
    point = torch.zeros(1, 65, 65).to(S)
    point[0, 32, 32] = 1
    of_noise = [float(torch.linalg.vector_norm(detail)) for detail in starlet_transform(point, _SCALES)[:-1]]
    # most of the finest details are noise; 0.6745 is the median of absolute normal deviates
    noise = details[0].flatten(1).abs().median(dim=1).values[:, None, None] / (0.6745 * of_noise[0])
    for detail, size in zip(details, of_noise, strict=True):
        maps = maps + detail.sign() * (detail.abs() - weight * size * noise).clamp(min=0)
    return maps.flatten(1)
