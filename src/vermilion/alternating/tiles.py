"""Where the data lie: band tiles of Y and W, one at a time, with the reads counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

__all__ = ["TensorTiles", "TileSource"]


class TileSource(Protocol):
    """Anything that hands out the data in tiles of bands: memory, a file, another process.

    Attributes
    ----------
    shape : tuple of int
        (B, N).
    weighted : bool
        False: every weight is 1 and tiles carry None.
    reads : float
        How often all of Y was read so far.
    """

    shape: tuple[int, int]
    weighted: bool
    reads: float

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Yield (bands, Y[bands], W[bands]) over all bands once."""
        ...


class TensorTiles:
    """Tiles of tensors that lie in the memory of one device.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite everywhere.
    W : Tensor, shape (B, N), optional
        Inverse variances >= 0; None: all 1.
    tile_bytes : int
        About the size of one tile: small enough for the cache on a CPU, large enough to fill a GPU.
    """

    def __init__(self, Y: Tensor, W: Tensor | None = None, *, tile_bytes: int | None = None) -> None:
        self.Y, self.W = Y, W
        self.shape = (int(Y.shape[0]), int(Y.shape[1]))
        self.weighted = W is not None
        self.reads = 0.0
        size = tile_bytes or (2 << 20 if Y.device.type == "cpu" else 256 << 20)
        self.bands = max(1, min(self.shape[0], size // max(1, self.shape[1] * Y.element_size())))

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        for start in range(0, self.shape[0], self.bands):
            tile = slice(start, min(start + self.bands, self.shape[0]))
            self.reads += (tile.stop - tile.start) / self.shape[0]
            yield tile, self.Y[tile], None if self.W is None else self.W[tile]
