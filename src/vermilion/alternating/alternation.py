"""What one fit and several at once share: their state, and what one read of the data proposes for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from .passage import Passage, first_quadratic, loss, passage
from .quadratic import Block, Quadratic, minimize
from .sketch import Sketch
from .tiles import TileSource

__all__ = ["CANCELS", "Alternation", "inner_steps", "turn"]


# a loss below this part of the one that it was derived from is computed anew
CANCELS = 1e-3


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


class Alternation:
    """Spectra and morphologies of one fit, or of several that share every read of the data.

    Parameters
    ----------
    tiles : TileSource or Sketch
    A : Tensor, shape (..., B, K)
    S : Tensor, shape (..., K, N)
        Feasible start.
    spectra, morphologies : Block
    steps : tuple of int, optional
        Inner steps for A and S; by default balanced against a pass over the data.
    """

    waits = True  # the host looks at numbers, for which a GPU has to be waited for

    def __init__(
        self, tiles: TileSource | Sketch, A: Tensor, S: Tensor, spectra: Block, morphologies: Block, steps: tuple[int, int] | None = None
    ) -> None:
        self.tiles, self.blocks, self.first = tiles, (spectra, morphologies), int(tiles.axis)
        self.factors = (A.mT.double(), S.double())
        self._ahead = self.factors
        descends = (spectra.descends, morphologies.descends)
        self.inner = steps or inner_steps(tiles, A.shape[-1], descends=descends)
        self._taken = [0, 0]
        if isinstance(tiles, Sketch):
            self._passage, self._first_quadratic, self._loss = tiles.passage, tiles.first_quadratic, tiles.loss
        else:
            self._passage = functools.partial(passage, tiles)
            self._first_quadratic = functools.partial(first_quadratic, tiles)
            self._loss = functools.partial(loss, tiles)

    @property
    def A(self) -> Tensor:  # noqa: N802
        """Spectra (..., B, K)."""
        return self.factors[0].mT

    @property
    def S(self) -> Tensor:  # noqa: N802
        """Morphologies (..., K, N)."""
        return self.factors[1]

    def solve(
        self, which: int, system: Quadratic, *, columns: slice | None = None, steps: int | None = None, tol: float = 0.01
    ) -> tuple[Tensor, Tensor]:
        """Columns (..., K, M) of the spectra (0) or the morphologies (1) that solve `system`, and its value there (...)."""
        block = self.blocks[which] if columns is None else self.blocks[which].part(columns)
        X, n, value = minimize(system, block, steps=steps or self.inner[which], tol=tol)
        self._taken[which] = max(self._taken[which], n)
        return X, value

    def propose(self) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """New factors from the point ahead, and the loss there."""
        first, second = self.first, 1 - self.first
        kind = self.tiles.dtype
        ahead = tuple(X.to(kind) for X in self._ahead)  # where the residual is taken: a point that products can hold exactly
        self._taken = [0, 0]
        read = self._read(ahead[first], ahead[second])
        R, change = self.solve(second, read.second)
        new = (read.first, R) if first == 0 else (R, read.first)
        after = read.loss + change
        # little is left of the loss that it was taken from: its digits are gone
        if (self.waits or not after.is_cuda) and bool((after < CANCELS * read.loss).any()):
            after = self.losses(new)
        return new, after

    def system(self, which: int, factors: Sequence[Tensor]) -> Quadratic:
        """The quadratic of one factor, for the other as it is."""
        F, R = factors[self.first], factors[1 - self.first]
        return self._first_quadratic(F, R) if which == self.first else self._passage(F, R, None, new=F).second

    def losses(self, factors: Sequence[Tensor]) -> Tensor:
        """``½ Σ w (y − A S)²``, shape (...)."""
        return self._loss(factors[self.first], factors[1 - self.first])

    def _read(self, F: Tensor, R: Tensor) -> Passage:
        """The first factor solved and the system of the second, in one read where the constraint permits."""
        first = self.first
        if self.blocks[first].cut is not None:
            return self._passage(F, R, lambda columns, system: self.solve(first, system, columns=columns))
        return self._passage(F, R, None, new=self.solve(first, self._first_quadratic(F, R))[0])


def turn(ahead: Tensor, before: Tensor, after: Tensor, *, columns: int = 1 << 14) -> Tensor:
    """Positive where the correction of the extrapolated point runs against the move, relative to the size of the factor; shape (...)."""
    size, against = (after.new_zeros(after.shape[:-2]) for _ in range(2))
    for start in range(0, after.shape[-1], columns):
        there, old, new = (X[..., start : start + columns] for X in (ahead, before, after))
        size += torch.linalg.vecdot(new, new).sum(dim=-1)
        against += torch.linalg.vecdot(there - new, new - old).sum(dim=-1)
    return torch.where(size > 0, against / size, 0.0)
