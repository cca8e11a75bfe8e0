"""One read of the data for both factors of Y ≈ A S.

The data come in tiles along one axis, and the factor whose columns lie along it (the first, F) is solved tile by tile while the tile is in
the cache; meanwhile the system of the other factor (the second, R) is summed up. Everything is taken at the residual of the point at hand,
so that products in the type of the data lose no digits that matter, and no array of the size of Y is formed.

For one factor the loss is a sum of small quadratics. For the morphologies a column is a pixel, with ``G_n = Aᵀ W_n A`` and gradient
``−Aᵀ W_n r_n``; for the spectra it is a band, with ``G_b = S W_b Sᵀ`` and ``−S W_b r_b``. Without weights all columns share one G. With
weights the K(K+1)/2 different entries of all G come from one product of W with products of factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .quadratic import Quadratic, pairs
from .tiles import TileSource, room

__all__ = ["Passage", "first_quadratic", "loss", "passage"]

# a move that changes the squares of a tile by no more than this part of them needs no new residual
_SMALL = 0.1


@dataclass(frozen=True)
class Passage:
    """What one read of the data gives.

    Attributes
    ----------
    first : Tensor, shape (..., K, M1)
        The first factor, solved; float64.
    second : Quadratic
        The system of the second factor at its point, for the new first one.
    loss : Tensor, shape (...)
        ``½ Σ w (y − m)²`` there, float64.
    """

    first: Tensor
    second: Quadratic
    loss: Tensor


class _Tile:
    """One tile with the products that are needed of it, whatever its layout."""

    def __init__(self, tiles: TileSource, y: Tensor, w: Tensor | None, scratch: dict[str, Tensor]) -> None:
        # the residual is laid out as the tile is, so that no product with weights runs across the grain
        self.turned = y.stride(-1) != 1 and y.shape[-1] != 1
        self.y, self.w = (y, w) if not self.turned else (y.mT, None if w is None else w.mT)
        self.gain, self.weight_gain, self.scratch = tiles.gain, tiles.weight_gain, scratch

    def residual(self, F: Tensor, R: Tensor) -> Tensor:
        """``y − Fᵀ R`` in the layout of the tile."""
        left, right = (R, F) if self.turned else (F, R)
        if F.ndim == 2:
            return torch.mul(self.y, self.gain, out=self._memory("residual")).addmm_(left.T, right, alpha=-1)
        return (self.y * self.gain) - left.mT @ right

    def subtract_(self, r: Tensor, F: Tensor, R: Tensor) -> Tensor:
        """``r − Fᵀ R``, in place."""
        left, right = (R, F) if self.turned else (F, R)
        return r.addmm_(left.T, right, alpha=-1) if F.ndim == 2 else r.sub_(left.mT @ right)

    def weighted(self, r: Tensor) -> Tensor:
        """``w r``, of order one."""
        if self.w is None:
            return r
        return torch.mul(r, self.w, out=self._memory("weighted")) if r.ndim == 2 else r * self.w

    def onto_first(self, r: Tensor, R: Tensor) -> Tensor:
        """``R rᵀ`` per column of the first factor, shape (..., K, m)."""
        return R @ r if self.turned else R @ r.mT

    def onto_second(self, r: Tensor, F: Tensor) -> Tensor:
        """``F r`` per column of the second factor, shape (..., K, M2)."""
        return F @ r.mT if self.turned else F @ r

    def squares(self, r: Tensor, weighted: Tensor) -> Tensor:
        """``Σ w r²``; one sum per line in the data's own type, the sum over lines in float64."""
        return torch.linalg.vecdot(r, weighted).sum(dim=-1, dtype=torch.float64)

    def _memory(self, name: str) -> Tensor:
        """What one tile leaves serves the next."""
        size = self.y.numel()
        if name not in self.scratch or len(self.scratch[name]) < size:
            self.scratch[name] = self.y.new_empty(size)
        return self.scratch[name][:size].view(self.y.shape)


def passage(
    tiles: TileSource, F: Tensor, R: Tensor, solve: Callable[[slice, Quadratic], tuple[Tensor, Tensor]] | None, new: Tensor | None = None
) -> Passage:
    """Solve the first factor, sum up the system of the second and the loss in one read of the data.

    Parameters
    ----------
    tiles : TileSource
    F : Tensor, shape (..., K, M1)
        First factor, where the systems are taken; values of the type of the data.
    R : Tensor, shape (..., K, M2)
        Second factor, likewise.
    solve : callable, optional
        ``(columns, Quadratic) -> (X, value)``: new values of some columns of the first factor, and that of the quadratic there. None:
        take them from `new`.
    new : Tensor, shape (..., K, M1), optional
        New values of the first factor that are known already; by default F itself.
    """
    kind = tiles.dtype
    F, R = F.to(kind), R.to(kind)
    known = F if new is None else new
    out = known.double() if solve is None else room(F.shape, torch.float64, F.device)
    K, M2 = R.shape[-2:]
    lead = R.shape[:-2]
    shared = None if tiles.weighted or solve is None else R.double() @ R.double().mT
    R_pairs = pairs(R) if tiles.weighted and solve is not None else None
    gradient = R.new_zeros(*lead, K, M2)
    gram = R.new_zeros(*lead, K * (K + 1) // 2, M2) if tiles.weighted else R.new_zeros(*lead, K, K, dtype=torch.float64)
    moved = R.new_zeros(*lead, K, K, dtype=torch.float64)  # new columns of F times their moves, where r is that of the old ones
    total = R.new_zeros(lead, dtype=torch.float64)
    scratch: dict[str, Tensor] = {}
    for rows, y, w in tiles:
        tile, f = _Tile(tiles, y, w, scratch), F[..., rows]
        r = tile.residual(f, R)
        system = squares = value = None
        if solve is not None:
            slope = tile.onto_first(tile.weighted(r), R)
            if shared is not None:
                system = Quadratic(shared, slope.neg_(), f.double())
            else:
                assert R_pairs is not None
                G = tile_gram(tile, R_pairs, first=True).mul_(tiles.weight_gain)
                system = Quadratic(G, slope.mul_(-tiles.weight_gain), f.double(), packed=True)
            out[..., rows], value = solve(rows, system)
        x = out[..., rows]
        f_new = x.to(kind)
        if value is not None and not tiles.weighted:
            squares = _after_small_move(tile.squares(r, r), 2 * value)
        if squares is not None:  # the residual of the point before serves for the one after, too
            moved += x @ (x - f).mT
        elif solve is not None or new is not None:
            r = tile.subtract_(r, (x - f).to(kind), R)
        wr = tile.weighted(r)
        total += tile.squares(r, wr) if squares is None else squares
        gradient -= tile.onto_second(wr, f_new)
        if tiles.weighted:
            gram += tile_gram(tile, pairs(f_new), first=False)
        else:
            gram += x @ x.mT
    if tiles.weighted:
        gradient *= tiles.weight_gain
        gram *= tiles.weight_gain
        total *= tiles.weight_gain
    else:
        gradient = gradient + moved @ R.double()
    return Passage(out, Quadratic(gram, gradient, R.double(), packed=tiles.weighted), 0.5 * total)


def _after_small_move(squares: Tensor, change: Tensor) -> Tensor | None:
    """Squares of the residual after a move, from those before; None where they change so much that digits are lost, and on a GPU."""
    if squares.is_cuda:
        return None
    return squares + change if bool((change.abs() <= _SMALL * squares).all()) else None


def tile_gram(tile: _Tile, products: Tensor, *, first: bool) -> Tensor:
    """Entries of the systems of one tile's columns of the first or second factor, from products of the other factor's rows."""
    assert tile.w is not None
    return tile.onto_first(tile.w, products) if first else tile.onto_second(tile.w, products)


def first_quadratic(tiles: TileSource, F: Tensor, R: Tensor) -> Quadratic:
    """The system of the whole first factor: one read, where its constraint ties columns of different tiles."""
    kind = tiles.dtype
    F, R = F.to(kind), R.to(kind)
    K = R.shape[-2]
    gradient = torch.empty_like(F)
    R_pairs = pairs(R) if tiles.weighted else None
    gram = F.new_empty(*F.shape[:-2], K * (K + 1) // 2, F.shape[-1]) if tiles.weighted else R.double() @ R.double().mT
    scratch: dict[str, Tensor] = {}
    for rows, y, w in tiles:
        tile = _Tile(tiles, y, w, scratch)
        r = tile.residual(F[..., rows], R)
        gradient[..., rows] = tile.onto_first(tile.weighted(r), R).mul_(-tiles.weight_gain if tiles.weighted else -1)
        if R_pairs is not None:
            gram[..., rows] = tile_gram(tile, R_pairs, first=True).mul_(tiles.weight_gain)
    return Quadratic(gram, gradient, F.double(), packed=tiles.weighted)


def loss(tiles: TileSource, F: Tensor, R: Tensor) -> Tensor:
    """``½ Σ w (y − FᵀR)²`` from the residual itself, float64, shape (...); F and R (..., K, M1 or M2) may be finer than the data's type.

    The cheaper form by statistics, ``½ Σ w y² − Σ C S + …``, loses all digits that matter when the signal is a thousand times the noise.
    """
    kind = tiles.dtype
    coarse_F, coarse_R = F.to(kind), R.to(kind)
    total = R.new_zeros(R.shape[:-2], dtype=torch.float64)
    rest = (R - coarse_R).to(kind)
    finer = rest.is_cuda or bool(rest.any())
    scratch: dict[str, Tensor] = {}
    for rows, y, w in tiles:
        tile = _Tile(tiles, y, w, scratch)
        f = coarse_F[..., rows]
        left = (F[..., rows] - f).to(kind)
        r = tile.residual(f, coarse_R)
        if left.is_cuda or bool(left.any()):
            tile.subtract_(r, left, coarse_R)
        if finer:
            tile.subtract_(r, f, rest)
        total += tile.squares(r, tile.weighted(r))
    return 0.5 * total * (tiles.weight_gain if tiles.weighted else 1.0)
