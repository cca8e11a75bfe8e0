"""Compressed data: an orthonormal basis of bands times coordinates of pixels, in place of Y.

For spectra inside the basis the loss differs from that of the data by a constant only, whatever the morphologies. So a basis that holds the
start and the leading directions of the data leads near the solution at a small part of the cost of a read, and the exact iterations that
follow correct what it missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .passage import Passage
from .quadratic import Quadratic

__all__ = ["Sketch"]


@dataclass
class Sketch:
    """``gain · Y ≈ gain · U V`` with orthonormal columns of U.

    Parameters
    ----------
    U : Tensor, shape (B, r)
        float64.
    V : Tensor, shape (r, N)
        ``Uᵀ Y``.
    squares : float
        ``Σ (gain · y)²`` of all data.
    gain : float
        What the data are multiplied by to be of order one.
    """

    U: Tensor
    V: Tensor
    squares: float
    gain: float = 1.0
    axis: ClassVar[Literal[0, 1]] = 0
    weighted: ClassVar[bool] = False
    count: ClassVar[int] = 1
    dtype: ClassVar[torch.dtype] = torch.float64
    reads: ClassVar[float] = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(B, N)."""
        return len(self.U), self.V.shape[1]

    def passage(self, F: Tensor, R: Tensor, solve: Callable[[slice, Quadratic], Tensor] | None, new: Tensor | None = None) -> Passage:
        """Spectra Fᵀ solved, and the system of the morphologies R, as `passage` does it with the data."""
        seen, gram = self._onto(R)
        if solve is not None:
            new = solve(slice(None), Quadratic(gram, gram @ F - (self.U @ seen).mT, F))
        assert new is not None
        G, onto = new @ new.mT, new @ self.U
        total = self.squares - 2 * (onto * seen.mT).sum(dim=(-2, -1)) + (G * gram).sum(dim=(-2, -1))
        gradient = G @ R
        for columns in self._columns():
            gradient[..., columns] -= (self.gain * onto) @ self.V[:, columns].double()
        return Passage(new, Quadratic(G, gradient, R), 0.5 * total)

    def first_quadratic(self, F: Tensor, R: Tensor) -> Quadratic:
        """The system of the spectra."""
        seen, gram = self._onto(R)
        return Quadratic(gram, gram @ F - (self.U @ seen).mT, F)

    def loss(self, F: Tensor, R: Tensor) -> Tensor:
        """``½ |Y|² − ⟨U V, A S⟩ + ½ |A S|²``."""
        seen, gram = self._onto(R)
        return 0.5 * (self.squares - 2 * ((F @ self.U) * seen.mT).sum(dim=(-2, -1)) + ((F @ F.mT) * gram).sum(dim=(-2, -1)))

    def _onto(self, R: Tensor) -> tuple[Tensor, Tensor]:
        """``V Rᵀ`` and ``R Rᵀ``."""
        seen = R.new_zeros(*R.shape[:-2], len(self.V), R.shape[-2])
        for columns in self._columns():
            seen += self.V[:, columns].double() @ R[..., columns].mT
        return self.gain * seen, R @ R.mT

    def _columns(self, size: int = 1 << 14) -> list[slice]:
        return [slice(start, start + size) for start in range(0, self.V.shape[1], size)]
