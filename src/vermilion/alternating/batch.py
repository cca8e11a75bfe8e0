"""Several fits of the same data as one: restarts, groups left out, numbers of components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .passage import Passage, first_quadratic, loss, passage
from .quadratic import Block, Quadratic, minimize
from .sketch import Sketch
from .sweep import CANCELS, inner_steps
from .tiles import TileSource

__all__ = ["Batch"]


class Batch:
    """R alternating fits that share every read of the data; each extrapolates, accepts and restarts on its own.

    Different numbers of components go together by components that are zero in both factors and stay so.

    Parameters
    ----------
    tiles : TileSource or Sketch
    A : Tensor, shape (R, B, K)
    S : Tensor, shape (R, K, N)
        Feasible starts.
    spectra, morphologies : Block
        Constraints, the same for all; ``Block.frozen`` may be of shape (R, 1, M).
    steps : tuple of int, optional
        Inner steps for A and S.

    Attributes
    ----------
    objective : Tensor, shape (R,)
        float64.
    """

    def __init__(
        self,
        tiles: TileSource | Sketch,
        A: Tensor,
        S: Tensor,
        spectra: Block,
        morphologies: Block,
        steps: tuple[int, int] | None = None,
    ) -> None:
        self.tiles, self.blocks, self.first = tiles, (spectra, morphologies), int(tiles.axis)
        self.factors = (A.mT.double(), S.double())
        self._ahead = self.factors
        self.age = torch.zeros(len(A), 1, 1, dtype=torch.float64, device=A.device)
        descends = (spectra.floor is not None, morphologies.floor is not None)
        self.inner = steps or inner_steps(tiles, A.shape[-1], descends=descends)
        self.objective = self._loss(self.factors) + self._penalty(self.factors)

    @property
    def A(self) -> Tensor:  # noqa: N802
        """Spectra (R, B, K)."""
        return self.factors[0].mT

    @property
    def S(self) -> Tensor:  # noqa: N802
        """Morphologies (R, K, N)."""
        return self.factors[1]

    def step(self) -> Tensor:
        """One iteration of every fit; returns the objectives (R,). Nothing is looked at on the host."""
        first, second = self.first, 1 - self.first
        ahead = tuple(X.to(self.tiles.dtype) for X in self._ahead)
        read = self._read(ahead[first], ahead[second])
        R, _, value = minimize(read.second, self.blocks[second], steps=self.inner[second])
        new = (read.first, R) if first == 0 else (R, read.first)
        after = read.loss + value
        if not after.is_cuda and bool((after < CANCELS * read.loss).any()):
            after = self._loss(new)
        objective = after + self._penalty(new)
        better = (objective <= self.objective)[:, None, None]
        turns = [_turn(*points) for points in zip(self._ahead, self.factors, new, strict=True)]
        turned = turns[0] + turns[1] > 0
        beyond = torch.where(turned, 0.0, self.age / (self.age + 3))
        self._ahead = tuple(  # type: ignore[assignment]
            torch.where(better, x + beyond * (x - old), old) for old, x in zip(self.factors, new, strict=True)
        )
        self.factors = tuple(torch.where(better, x, old) for old, x in zip(self.factors, new, strict=True))  # type: ignore[assignment]
        self.objective = torch.where(better[:, 0, 0], objective, self.objective)
        self.age = torch.where(better & ~turned, self.age + 1, 0.0)
        return self.objective

    def _read(self, F: Tensor, R: Tensor) -> Passage:
        first, block = self.first, self.blocks[self.first]

        def solve(columns: slice, system: Quadratic) -> Tensor:
            return minimize(system, block if columns == slice(None) else block.part(columns), steps=self.inner[first])[0]

        if isinstance(self.tiles, Sketch):
            return self.tiles.passage(F, R, solve)
        if block.cut is not None:
            return passage(self.tiles, F, R, solve)
        return passage(self.tiles, F, R, None, new=solve(slice(None), first_quadratic(self.tiles, F, R)))

    def _loss(self, factors: Sequence[Tensor]) -> Tensor:
        first, second = factors[self.first], factors[1 - self.first]
        return self.tiles.loss(first, second) if isinstance(self.tiles, Sketch) else loss(self.tiles, first, second)

    def _penalty(self, factors: Sequence[Tensor]) -> Tensor:
        values = [[block.penalty(x) for x in X] for block, X in zip(self.blocks, factors, strict=True)]
        return torch.tensor(values, dtype=torch.float64, device=factors[0].device).sum(dim=0)


def _turn(ahead: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Positive where the correction of the extrapolated point runs against the move, relative to the size of the factor; (R, 1, 1)."""
    size = after.square().sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(after.dtype).tiny)
    return ((ahead - after) * (after - before)).sum(dim=(-2, -1), keepdim=True) / size
