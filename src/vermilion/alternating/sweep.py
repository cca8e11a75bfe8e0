"""The outer loop: alternate the two blocks, extrapolate, reject what makes the objective rise."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .extrapolation import Extrapolation
from .passage import Passage, first_quadratic, loss, passage
from .quadratic import Block, Quadratic, minimize
from .sketch import Sketch
from .tiles import TileSource

__all__ = ["Record", "Sweep", "inner_steps"]


# a loss below this part of the one that it was derived from is computed anew
CANCELS = 1e-3


@dataclass
class Record:
    """One iteration, as the caller keeps it."""

    objective: float
    gradient_evaluations: tuple[int, int]
    objective_evaluations: int
    reads_of_Y: float
    seconds: float


def inner_steps(tiles: TileSource | Sketch, n_components: int, *, descends: tuple[bool, bool] = (False, False)) -> tuple[int, int]:
    """Inner steps per block (A, S) that cost about as much as the pass over the data that they save.

    Counted in multiply-adds, with the fixed cost of calling a handful of kernels beside them: where the data are small a pass costs no more
    than an inner step, and one step per pass is best. A sweep of coordinate descent does the work of two or three gradient steps.

    References
    ----------
    Gillis & Glineur 2012, Neural Computation 24, 1085, section 4.1.
    """
    calls = 1e6
    K = n_components
    first, second = tiles.shape
    if isinstance(tiles, Sketch):
        return (8, 8)
    passage = first * second * (2 * K + (K * (K + 3) // 2 if tiles.weighted else 0)) + calls
    sizes = (first, second) if tiles.axis == 0 else (second, first)
    cuts = (tiles.count, 1) if tiles.axis == 0 else (1, tiles.count)
    shares = (
        max(1, min(8 if descend else 20, round(passage / (n * K * (K + 4) + calls * cut))))
        for n, cut, descend in zip(sizes, cuts, descends, strict=True)
    )
    return tuple(shares)  # type: ignore[return-value]


class Sweep:
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
        self.tiles, self.spectra, self.morphologies = tiles, spectra, morphologies
        self.blocks = (spectra, morphologies)
        self.first = int(tiles.axis)
        self.factors = (A.mT.double(), S.double())
        self.extrapolation = Extrapolation()
        self._taken = [0, 0]
        self._value = S.new_zeros(())  # of the system solved last
        self.gradients = [0, 0]
        self.objectives = 0
        self.nonfinite = 0
        self.started = time.perf_counter()
        descends = (spectra.floor is not None, morphologies.floor is not None)
        self.inner = steps or inner_steps(tiles, A.shape[-1], descends=descends)
        self._objective: float | None = None
        self._ahead = self.factors
        self._once: tuple[int, int] | None = None

    @property
    def objective(self) -> float:
        """Loss plus penalties of the newest accepted state."""
        if self._objective is None:
            self._objective = self.evaluate(self.A, self.S)
        return self._objective

    def known_objective(self, value: float) -> None:
        """Spare the read that the objective of the start costs."""
        self._objective = value

    @property
    def A(self) -> Tensor:  # noqa: N802
        """Spectra (B, K)."""
        return self.factors[0].mT

    @property
    def S(self) -> Tensor:  # noqa: N802
        """Morphologies (K, N)."""
        return self.factors[1]

    def evaluate(self, A: Tensor, S: Tensor) -> float:
        """Loss plus penalties."""
        self.objectives += 1
        return self.loss(A, S) + self._penalty((A.mT.double(), S.double()))

    def loss(self, A: Tensor, S: Tensor) -> float:
        """``½ Σ w (y − A S)²``."""
        factors = (A.mT.double(), S.double())
        first, second = factors[self.first], factors[1 - self.first]
        return float(self.tiles.loss(first, second) if isinstance(self.tiles, Sketch) else loss(self.tiles, first, second))

    def solve(self, which: int, system: Quadratic, *, columns: slice | None = None, steps: int | None = None, tol: float = 0.01) -> Tensor:
        """Columns (K, M) of the spectra (0) or the morphologies (1) that solve `system`."""
        block = self.blocks[which] if columns is None else self.blocks[which].part(columns)
        X, n, self._value = minimize(system, block, steps=steps or (self._once or self.inner)[which], tol=tol)
        self._taken[which] = max(self._taken[which], n)
        return X

    def solve_morphologies(self, A: Tensor, S: Tensor, *, steps: int | None = None, tol: float = 0.01) -> Tensor:
        """S (K, N) for the spectra A, from the start S."""
        self._taken = [0, 0]
        if isinstance(self.tiles, Sketch):
            system = self.tiles.passage(A.mT, S, None, new=A.mT).second
        elif self.first == 0:
            system = passage(self.tiles, A.mT, S, None, new=A.mT).second
        else:
            system = first_quadratic(self.tiles, S, A.mT)
        X = self.solve(1, system, steps=steps, tol=tol)
        self.gradients[1] += self._taken[1]
        return X

    def solve_spectra(self, A: Tensor, S: Tensor, *, steps: int | None = None, tol: float = 0.01) -> Tensor:
        """A (B, K) for the morphologies S, from the start A."""
        self._taken = [0, 0]
        if isinstance(self.tiles, Sketch):
            system = self.tiles.first_quadratic(A.mT, S)
        elif self.first == 0:
            system = first_quadratic(self.tiles, A.mT, S)
        else:
            system = passage(self.tiles, S, A.mT, None, new=S).second
        X = self.solve(0, system, steps=steps, tol=tol)
        self.gradients[0] += self._taken[0]
        return X.mT

    def step(self) -> Record:
        """Update both factors; keep them if the objective did not rise, else go back and start anew without extrapolation."""
        first, second = self.first, 1 - self.first
        kind = self.tiles.dtype
        ahead = tuple(X.to(kind) for X in self._ahead)  # where the residual is taken: a point that products can hold exactly
        self._taken = [0, 0]
        read = self._read(ahead[first], ahead[second])
        R = self.solve(second, read.second)
        new = (read.first, R) if first == 0 else (R, read.first)
        after = float(read.loss + self._value)
        if after < CANCELS * float(read.loss):  # little is left of the loss that it was taken from: its digits are gone
            after = self.loss(new[0].mT, new[1])
        objective = after + self._penalty(new)
        self.objectives += 1
        self.gradients = [n + taken for n, taken in zip(self.gradients, self._taken, strict=True)]
        self._accept(new, objective)
        self._once = None
        self.nonfinite = 0 if math.isfinite(objective) else self.nonfinite + 1
        return Record(
            objective=self.objective,
            gradient_evaluations=(self.gradients[0], self.gradients[1]),
            objective_evaluations=self.objectives,
            reads_of_Y=self.tiles.reads,
            seconds=time.perf_counter() - self.started,
        )

    def look_ahead(self, A: Tensor, S: Tensor, *, steps: int = 30) -> None:
        """Let the next step start from (A, S), with many inner steps; if the objective rises there, it goes back as from any other.

        What is 0 in one factor tells the other nothing, so that bands or pixels may be left out.
        """
        self._ahead, self._once = (A.mT.double(), S.double()), (steps, steps)

    def _read(self, F: Tensor, R: Tensor) -> Passage:
        """The first factor solved and the system of the second, in one read where the constraint permits."""
        first = self.first
        if isinstance(self.tiles, Sketch):
            return self.tiles.passage(F, R, lambda _, system: self.solve(first, system))
        if self.blocks[first].cut is not None:
            return passage(self.tiles, F, R, lambda columns, system: self.solve(first, system, columns=columns))
        return passage(self.tiles, F, R, None, new=self.solve(first, first_quadratic(self.tiles, F, R)))

    def _accept(self, new: tuple[Tensor, Tensor], objective: float) -> None:
        if not objective <= self.objective:
            self._ahead = self.factors
            self.extrapolation.restart()
            return
        turned = sum(_turn(*points) for points in zip(self._ahead, self.factors, new, strict=True)) > 0
        beyond = 1 + self.extrapolation.factor
        plain = turned or beyond == 1
        self._ahead = new if plain else tuple(torch.lerp(old, x, beyond) for old, x in zip(self.factors, new, strict=True))  # type: ignore[assignment]
        self.factors, self._objective = new, objective
        self.extrapolation.restart() if turned else self.extrapolation.advance()

    def _penalty(self, factors: tuple[Tensor, Tensor]) -> float:
        return self.spectra.penalty(factors[0]) + self.morphologies.penalty(factors[1])


def _turn(ahead: Tensor, before: Tensor, after: Tensor) -> float:
    """Positive where the correction of the extrapolated point runs against the move, relative to the size of the factor."""
    size = float(after.square().sum())
    return float(((ahead - after) * (after - before)).sum()) / size if size > 0 else 0.0
