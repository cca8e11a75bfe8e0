"""The outer loop: alternate the two blocks, extrapolate, reject what makes the objective rise."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .alternation import Alternation, turn
from .extrapolation import Extrapolation
from .quadratic import Block
from .sketch import Sketch
from .tiles import TileSource, room

__all__ = ["Record", "Sweep"]


@dataclass
class Record:
    """One iteration, as the caller keeps it."""

    objective: float
    gradient_evaluations: tuple[int, int]
    objective_evaluations: int
    reads_of_Y: float
    seconds: float


class Sweep(Alternation):
    """State of an alternating fit; `step` makes one iteration, in one read of the data, and leaves the state feasible and no worse.

    Parameters
    ----------
    tiles : TileSource or Sketch
        The data, or compressed data in their place. The factor along their axis is solved tile by tile; where its constraint ties tiles
        together, in a read of its own.
    A : Tensor, shape (B, K)
    S : Tensor, shape (K, N)
        Feasible start.
    spectra, morphologies : Block
        Constraints; the one on spectra acts on Aᵀ (K, B).
    steps : tuple of int, optional
        Inner steps for A and S; by default balanced against a pass over the data.
    """

    def __init__(
        self, tiles: TileSource | Sketch, A: Tensor, S: Tensor, spectra: Block, morphologies: Block, steps: tuple[int, int] | None = None
    ) -> None:
        super().__init__(tiles, A, S, spectra, morphologies, steps)
        self.extrapolation = Extrapolation()
        self.gradients = [0, 0]
        self.objectives = 0
        self.nonfinite = 0
        self.started = time.perf_counter()
        self._objective: float | None = None
        self._usual = self.inner

    @property
    def spectra(self) -> Block:
        """Constraint on Aᵀ (K, B)."""
        return self.blocks[0]

    @property
    def morphologies(self) -> Block:
        """Constraint on S (K, N)."""
        return self.blocks[1]

    @property
    def objective(self) -> float:
        """Loss plus penalties of the newest accepted state."""
        if self._objective is None:
            self._objective = self.evaluate(self.A, self.S)
        return self._objective

    def known_objective(self, value: float) -> None:
        """Spare the read that the objective of the start costs."""
        self._objective = value

    def evaluate(self, A: Tensor, S: Tensor) -> float:
        """Loss plus penalties."""
        self.objectives += 1
        return self.loss(A, S) + self._penalty((A.mT.double(), S.double()))

    def loss(self, A: Tensor, S: Tensor) -> float:
        """``½ Σ w (y − A S)²``."""
        return float(self.losses((A.mT.double(), S.double())))

    def solve_morphologies(self, A: Tensor, S: Tensor, *, steps: int | None = None, tol: float = 0.01) -> Tensor:
        """S (K, N) for the spectra A, from the start S."""
        return self._solve_one(1, A, S, steps, tol)

    def solve_spectra(self, A: Tensor, S: Tensor, *, steps: int | None = None, tol: float = 0.01) -> Tensor:
        """A (B, K) for the morphologies S, from the start A."""
        return self._solve_one(0, A, S, steps, tol).mT

    def step(self) -> Record:
        """Update both factors; keep them if the objective did not rise, else go back and start anew without extrapolation."""
        new, loss = self.propose()
        objective = float(loss) + self._penalty(new)
        self.objectives += 1
        self.gradients = [n + taken for n, taken in zip(self.gradients, self._taken, strict=True)]
        self._accept(new, objective)
        self.inner = self._usual
        self.nonfinite = 0 if math.isfinite(objective) else self.nonfinite + 1
        return Record(
            objective=self.objective,
            gradient_evaluations=(self.gradients[0], self.gradients[1]),
            objective_evaluations=self.objectives,
            reads_of_Y=self.tiles.reads,
            seconds=time.perf_counter() - self.started,
        )

    def rest(self) -> None:
        """Let go of all but the newest state: the next step starts from there."""
        self._ahead = self.factors
        self.extrapolation.restart()

    def look_ahead(self, A: Tensor, S: Tensor, *, steps: int = 30) -> None:
        """Let the next step start from (A, S), with many inner steps; if the objective rises there, it goes back as from any other.

        `steps` are those of the morphologies; the spectra, mostly the smaller factor, take three times as many. What is 0 in one factor
        tells the other nothing, so that bands or pixels may be left out.
        """
        self._ahead, self.inner = (A.mT.double(), S.double()), (3 * steps, steps)

    def _solve_one(self, which: int, A: Tensor, S: Tensor, steps: int | None, tol: float) -> Tensor:
        self._taken = [0, 0]
        X, _ = self.solve(which, self.system(which, (A.mT, S)), steps=steps, tol=tol)
        self.gradients[which] += self._taken[which]
        return X

    def _accept(self, new: tuple[Tensor, Tensor], objective: float) -> None:
        if not objective <= self.objective:
            self._ahead = self.factors
            self.extrapolation.restart()
            return
        turned = sum(float(turn(*points)) for points in zip(self._ahead, self.factors, new, strict=True)) > 0
        beyond = 1 + self.extrapolation.factor
        old, self._ahead = self.factors, new  # what was ahead is let go before more is made
        if not turned and beyond != 1:
            self._ahead = tuple(  # type: ignore[assignment]
                torch.lerp(x, y, beyond, out=room(x.shape, x.dtype, x.device)) for x, y in zip(old, new, strict=True)
            )
        self.factors, self._objective = new, objective
        self.extrapolation.restart() if turned else self.extrapolation.advance()

    def _penalty(self, factors: tuple[Tensor, Tensor]) -> float:
        return self.spectra.penalty(factors[0]) + self.morphologies.penalty(factors[1])
