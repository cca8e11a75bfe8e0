"""Quadratics of non-negative unknowns, one small problem per pixel, solved exactly for all pixels at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..alternating.quadratic import place
from ..prox.kernels import compiled
from . import kernels

__all__ = ["RIDGE", "care", "solve"]

RIDGE = 1e-11
"""Added to the diagonal of nearly singular matrices, in units of its largest entry; refinement takes it away again."""

_ROUNDING = 1e-14  # slopes below this, in units of `scale`, are 0
_MOST_BITS = 62  # variables whose set fits an integer
_TABLE_BYTES = 8 << 20
_EXCHANGES = 30  # rounds of exchange; a few are the rule


def care(G: Tensor) -> tuple[float, int]:
    """The ridge that matrices (R, K, K) need, and how often their solutions should be refined."""
    values = torch.linalg.eigvalsh(G)
    ratio = float((values[:, 0] / values[:, -1].clamp_min(torch.finfo(G.dtype).tiny)).min())
    if ratio > 1e-8:  # free parts are no worse: their eigenvalues lie between those of the whole
        return 0.0, 0 if ratio > 1e-3 else 1
    return RIDGE, 3


def solve(
    G: Tensor,
    slope: Tensor,
    at: Tensor,
    scale: Tensor,
    *,
    packed: bool = False,
    total: float | None = None,
    ridge: float = RIDGE,
) -> Tensor:
    """Minimizers of ``½ (x − a)ᵀ G (x − a) − gᵀ (x − a)`` over ``x >= 0``, and ``Σ x = total`` if that is given.

    Block principal pivoting: all variables of the wrong sign are freed or fixed at once, until none is left. Where that does not
    end, one at a time from a feasible point, which does. With a = 0 and g = Aᵀy this is a first solution; with that solution as a and
    the slope there, taken from the data, it is a step of iterative refinement.

    Parameters
    ----------
    G : Tensor, shape (R, K, K), or (R, K(K+1)/2, N) if `packed`
        Positive semidefinite, float64: one matrix for all pixels, or the different entries of one for each, in the order of
        `vermilion.alternating.quadratic.pairs`.
    slope : Tensor, shape (R, K, N)
        g. A pixel where it is not finite becomes NaN.
    at : Tensor, shape (R, K, N)
        a, feasible or 0.
    scale : Tensor, shape (R, N)
        Size of the terms that a slope is the difference of.
    packed : bool
    total : float, > 0, optional
    ridge : float, >= 0
        Added to the diagonal of G, in units of its largest entry, with the solution drawn to a instead of 0.

    Returns
    -------
    Tensor, shape (R, K, N)

    References
    ----------
    Portugal, Júdice & Vicente 1994, Math. Comp. 63, 625; Kim & Park 2011, SIAM J. Sci. Comput. 33, 3261 (exchange of all);
    Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23 (one at a time).
    """
    X = at.mT.clone(memory_format=torch.contiguous_format)
    if X.numel() == 0:
        return X.mT
    slope, tol = slope.mT.contiguous(), _ROUNDING * X.shape[-1] * scale
    if X.device.type == "cpu" and compiled(kernels.exchange) is not None:
        _by_kernels(G, slope, X, tol, packed, total, ridge)
    else:
        for r in range(len(X)):
            _by_torch(G[r], slope[r], X[r], tol[r], packed, total, ridge)
    return X.mT


def _steps(K: int) -> int:
    """How many variables may be freed one at a time: a multiple of what any problem was seen to need."""
    return 10 * K + 50


def _by_kernels(G: Tensor, slope: Tensor, X: Tensor, tol: Tensor, packed: bool, total: float | None, ridge: float) -> None:
    """Change X (R, N, K) in place by the compiled loops."""
    exchange, add_one_by_one = compiled(kernels.exchange), compiled(kernels.add_one_by_one)
    assert exchange is not None
    assert add_one_by_one is not None
    K = X.shape[-1]
    done = torch.zeros(X.shape[:2], dtype=torch.bool)
    arrays = [T.contiguous().numpy() for T in (slope, X, tol, done)]
    shared = (G.contiguous().numpy(), packed, *arrays[:2], total or 0.0, total is not None, ridge, arrays[2])
    if K <= _MOST_BITS:
        bits = 0 if packed else min(K, max(4, (_TABLE_BYTES // (8 * K * (K + 1))).bit_length() - 1))
        keys, tables = torch.empty(1 << bits, dtype=torch.int64), torch.empty(1 << bits, K + 1, K, dtype=torch.float64)
        scratch = torch.empty(4, K, dtype=torch.float64)
        exchange(*shared, _EXCHANGES, arrays[3], keys.numpy(), tables.numpy(), scratch.numpy())
    if not bool(done.all()):
        factor, scratch = torch.empty(K, K, dtype=torch.float64), torch.empty(5, K, dtype=torch.float64)
        order = torch.empty(2, K, dtype=torch.int64)
        add_one_by_one(*shared, _steps(K), arrays[3], factor.numpy(), scratch.numpy(), order.numpy())


def _by_torch(G: Tensor, slope: Tensor, X: Tensor, tol: Tensor, packed: bool, total: float | None, ridge: float) -> None:
    """Change X (N, K) in place; the plain form of the kernels."""
    K = X.shape[-1]
    X[~torch.isfinite(slope).all(dim=1)] = torch.nan
    rest = torch.isfinite(slope).all(dim=1).nonzero().flatten()
    if packed:
        G = G[place(K, G.device)].permute(2, 0, 1)
    if K <= _MOST_BITS:
        rest = _exchange(G, slope, X, tol, rest, total, ridge)
    if len(rest):
        _add_one_by_one(G, slope, X, tol, rest, total, ridge)


def _exchange(G: Tensor, slope: Tensor, X: Tensor, tol: Tensor, rest: Tensor, total: float | None, ridge: float) -> Tensor:
    """Free and fix all variables of the wrong sign at once; returns the pixels where that did not end."""
    K = X.shape[-1]
    free = X[rest] > 0
    free[~free.any(dim=1)] = True
    best = torch.full_like(rest, K + 1)
    patience = torch.full_like(rest, 3)
    failed = []
    for _ in range(_EXCHANGES):
        if not len(rest):
            break
        x, remaining, _ = _stationary(G if G.ndim == 2 else G[rest], slope[rest], X[rest], free, total, ridge)
        wrong = torch.where(free, x < 0, remaining > tol[rest, None])
        count = wrong.sum(dim=1)
        patience = torch.where(count < best, 3, patience - 1)
        best = torch.minimum(best, count)
        X[rest[count == 0]] = x[count == 0]
        failed.append(rest[(count > 0) & (patience < 0)])
        free = free ^ wrong
        if total is not None:
            empty = ~free.any(dim=1)
            free[empty] = torch.nn.functional.one_hot(torch.where(wrong, x, -torch.inf)[empty].argmax(dim=1), K).bool()
        going = (count > 0) & (patience >= 0)
        rest, free, best, patience = rest[going], free[going], best[going], patience[going]
    return torch.cat([*failed, rest])


def _add_one_by_one(G: Tensor, slope: Tensor, X: Tensor, tol: Tensor, rest: Tensor, total: float | None, ridge: float) -> None:
    """Free one variable at a time, from a feasible point, and never raise the objective."""
    K = X.shape[-1]
    x = X[rest]
    free = x > 0
    if total is not None:
        empty = ~free.any(dim=1)
        alone = 0.5 * total * G.diagonal(dim1=-2, dim2=-1).expand(len(X), K)[rest] - slope[rest]
        free[empty] = torch.nn.functional.one_hot(alone[empty].argmin(dim=1), K).bool()
        x[empty] = total * free[empty].to(x.dtype)
    newest, blocked = torch.full_like(rest, -1), torch.zeros_like(free)
    for _ in range(3 * _steps(K)):
        z, remaining, _ = _stationary(G if G.ndim == 2 else G[rest], slope[rest], X[rest], free, total, ridge)
        negative = free & (z < 0)
        inside = ~negative.any(dim=1)
        # as far as the first that reaches zero, which leaves
        share = torch.where(negative, x / (x - z), torch.inf)
        fraction, leaving = share.min(dim=1)
        leaves = torch.nn.functional.one_hot(leaving, K).bool() & ~inside[:, None]
        x = torch.where(inside[:, None], z, x + fraction.clamp(max=1)[:, None] * (z - x))
        leaves |= free & (x <= 0) & ~inside[:, None]
        free, x = free & ~leaves, torch.where(leaves, 0, x)
        own = torch.nn.functional.one_hot(newest.clamp(min=0), K).bool() & (newest >= 0)[:, None]
        blocked |= leaves & own
        accepted = inside & (newest >= 0) & ~(blocked & own).any(dim=1)
        blocked[accepted] = False
        steepest, candidate = torch.where(free | blocked, -torch.inf, remaining).max(dim=1)
        adds = inside & (steepest > tol[rest])
        newest = torch.where(adds, candidate, torch.where(inside, -1, newest))
        free |= torch.nn.functional.one_hot(candidate, K).bool() & adds[:, None]
        done = inside & ~adds
        X[rest[done]] = x[done]
        rest, x, free, newest, blocked = (T[~done] for T in (rest, x, free, newest, blocked))
        if not len(rest):
            return
    X[rest] = x


def _stationary(
    G: Tensor, slope: Tensor, at: Tensor, free: Tensor, total: float | None, ridge: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The minimizer with all but the free variables at 0, and the slopes that are left, both (N, K)."""
    inverse = _inverses(G, free, ridge)
    h = slope + (G @ torch.where(free, 0, at)[..., None])[..., 0]
    move = (inverse @ torch.where(free, h, 0)[..., None])[..., 0]
    multiplier = None
    if total is not None:
        u = inverse.sum(dim=-1)
        excess = (move + torch.where(free, at, 0)).sum(dim=1, keepdim=True) - total
        multiplier = excess / u.sum(dim=1, keepdim=True)
        move = move - multiplier * u
    remaining = h - (G @ move[..., None])[..., 0]
    return torch.where(free, at + move, 0), remaining if multiplier is None else remaining - multiplier, multiplier


def _inverses(G: Tensor, free: Tensor, ridge: float) -> Tensor:
    """Inverse of the free part of G, 0 elsewhere, shape (N, K, K); of a shared G only once for each set."""
    K = free.shape[1]
    back = None
    if G.ndim == 2 and K <= _MOST_BITS:
        codes = (free.to(torch.int64) << torch.arange(K, device=free.device)).sum(dim=1)
        sets, back = codes.unique(return_inverse=True)
        free = (sets[:, None] >> torch.arange(K, device=free.device)) & 1 == 1
    both = free[:, :, None] & free[:, None, :]
    size = G.diagonal(dim1=-2, dim2=-1).amax(dim=-1)[..., None]
    size = torch.where(size > 0, size, 1)
    padded = torch.where(both, G, 0) + torch.diag_embed(torch.where(free, ridge * size, size))
    inverse = torch.where(both, torch.linalg.inv_ex(padded).inverse, 0)
    return inverse if back is None else inverse[back]
