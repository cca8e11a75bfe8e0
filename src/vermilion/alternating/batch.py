"""Several fits of the same data as one: restarts, groups left out, numbers of components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .alternation import Alternation, turn
from .quadratic import Block
from .sketch import Sketch
from .tiles import TileSource

__all__ = ["Batch"]


class Batch(Alternation):
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

    waits = False

    def __init__(
        self,
        tiles: TileSource | Sketch,
        A: Tensor,
        S: Tensor,
        spectra: Block,
        morphologies: Block,
        steps: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(tiles, A, S, spectra, morphologies, steps)
        self.age = torch.zeros(len(A), 1, 1, dtype=torch.float64, device=A.device)
        self.objective = self.losses(self.factors) + self._penalty(self.factors)

    def step(self) -> Tensor:
        """One iteration of every fit; returns the objectives (R,). Nothing is looked at on the host."""
        new, loss = self.propose()
        objective = loss + self._penalty(new)
        better = (objective <= self.objective)[:, None, None]
        turns = [turn(*points) for points in zip(self._ahead, self.factors, new, strict=True)]
        turned = (turns[0] + turns[1] > 0)[:, None, None]
        beyond = torch.where(turned, 0.0, self.age / (self.age + 3))
        self._ahead = tuple(  # type: ignore[assignment]
            torch.where(better, x + beyond * (x - old), old) for old, x in zip(self.factors, new, strict=True)
        )
        self.factors = tuple(torch.where(better, x, old) for old, x in zip(self.factors, new, strict=True))  # type: ignore[assignment]
        self.objective = torch.where(better[:, 0, 0], objective, self.objective)
        self.age = torch.where(better & ~turned, self.age + 1, 0.0)
        return self.objective

    def _penalty(self, factors: Sequence[Tensor]) -> Tensor:
        values = [[block.penalty(x) for x in X] for block, X in zip(self.blocks, factors, strict=True)]
        return torch.tensor(values, dtype=torch.float64, device=factors[0].device).sum(dim=0)
