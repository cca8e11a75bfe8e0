"""Compressed data: an orthonormal basis of bands times coordinates of pixels, in place of Y.

For spectra inside the basis the loss differs from that of the data by a constant only, whatever the morphologies. So a basis that holds the
start and the leading directions of the data leads near the solution at a small part of the cost of a read, and the exact iterations that
follow correct what it missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .passage import Passage
from .quadratic import Quadratic
from .tiles import room

__all__ = ["Sketch"]

_PIXELS = 1 << 12  # worked on at a time: their coordinates stay in the cache


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
    axis: ClassVar[Literal[0, 1]] = 1
    weighted: ClassVar[bool] = False
    dtype: ClassVar[torch.dtype] = torch.float64
    reads: ClassVar[float] = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(N, B)."""
        return self.V.shape[1], len(self.U)

    @property
    def count(self) -> int:
        """Number of tiles of pixels."""
        return -(-self.V.shape[1] // _PIXELS)

    def passage(
        self, F: Tensor, R: Tensor, solve: Callable[[slice, Quadratic], tuple[Tensor, Tensor]] | None, new: Tensor | None = None
    ) -> Passage:
        """Morphologies F solved tile by tile, and the system of the spectra Rᵀ, as `passage` does it with the data."""
        onto, G = self.gain * (R @ self.U), R @ R.mT
        out = (F if new is None else new) if solve is None else room(F.shape, F.dtype, F.device)
        seen, gram = torch.zeros_like(onto), torch.zeros_like(G)
        for pixels, V in self._tiles():
            if solve is not None:
                f = F[..., pixels]
                out[..., pixels], _ = solve(pixels, Quadratic(G, (G @ f).sub_(onto @ V), f))
            x = out[..., pixels]
            seen += x @ V.mT
            gram += x @ x.mT
        system = Quadratic(gram, gram @ R - self.gain * (seen @ self.U.mT), R)
        return Passage(out, system, self._loss(onto, G, seen, gram))

    def first_quadratic(self, F: Tensor, R: Tensor) -> Quadratic:
        """The system of all morphologies."""
        onto, G = self.gain * (R @ self.U), R @ R.mT
        gradient = G @ F
        for pixels, V in self._tiles():
            gradient[..., pixels] -= onto @ V
        return Quadratic(G, gradient, F)

    def loss(self, F: Tensor, R: Tensor) -> Tensor:
        """``½ |Y|² − ⟨U V, A S⟩ + ½ |A S|²``."""
        seen = sum(F[..., pixels] @ V.mT for pixels, V in self._tiles())
        return self._loss(self.gain * (R @ self.U), R @ R.mT, torch.as_tensor(seen), F @ F.mT)

    def _loss(self, onto: Tensor, G: Tensor, seen: Tensor, gram: Tensor) -> Tensor:
        return 0.5 * (self.squares - 2 * (onto * seen).sum(dim=(-2, -1)) + (G * gram).sum(dim=(-2, -1)))

    def _tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Coordinates of some pixels at a time, in float64."""
        for start in range(0, self.V.shape[1], _PIXELS):
            pixels = slice(start, start + _PIXELS)
            yield pixels, self.V[:, pixels].double()
