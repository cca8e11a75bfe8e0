"""Where the data lie: tiles of Y and W along one of their axes, one at a time, with the reads counted."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from collections.abc import Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

__all__ = ["TensorTiles", "TileSource", "release", "room"]

_LARGE = 1 << 20  # bytes


def room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a large array, given back to the system as soon as nobody needs it.

    On a CPU torch leaves that to the C library, which keeps as much as is alive once again of maps that come and go, in holes that nothing
    fits.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _LARGE:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype).reshape(shape)


def release(like: Tensor) -> None:
    """Give the system back what the C library holds in reserve, before more arrays like this one are made; only glibc can."""
    if like.is_cuda or like.numel() * like.element_size() < _LARGE:
        return
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class TileSource(Protocol):
    """Anything that hands out the data in tiles: memory, a file, another process.

    Attributes
    ----------
    axis : {0, 1}
        The axis that is cut: 0, tiles of bands, or 1, tiles of pixels.
    shape : tuple of int
        Of all the data along the axis that is cut, and along the other.
    dtype : torch.dtype
    device : torch.device
    weighted : bool
        False: every weight is 1 and tiles carry None.
    gain, weight_gain : float
        What tiles of Y and W are multiplied by to be of order one.
    reads : float
        How often all of Y was read so far.
    count : int
        Number of tiles.
    """

    axis: Literal[0, 1]
    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device
    weighted: bool
    gain: float
    weight_gain: float
    reads: float
    count: int

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Yield (rows, Y[rows], W[rows]) once over all rows, where rows run along `axis`."""
        ...


class TensorTiles:
    """Tiles of tensors that lie in the memory of one device; views, never copies.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        In any layout; finite where the weight is not 0.
    W : Tensor, shape (B, N), optional
        Inverse variances >= 0; None: all 1.
    axis : {0, 1}
        Tiles of bands or of pixels.
    gain, weight_gain : float
    tile_bytes : int
        About the size of one tile: small enough for the cache on a CPU, large enough to fill a GPU.
    hidden : bool
        There may be values that are not finite where the weight is 0; they are handed out as 0.
    """

    def __init__(
        self,
        Y: Tensor,
        W: Tensor | None = None,
        *,
        axis: Literal[0, 1] = 0,
        gain: float = 1.0,
        weight_gain: float = 1.0,
        tile_bytes: int | None = None,
        hidden: bool = False,
    ) -> None:
        self.Y, self.W, self.axis, self.gain, self.weight_gain, self.hidden = Y, W, axis, gain, weight_gain, hidden
        self.dtype, self.device, self.weighted = Y.dtype, Y.device, W is not None
        self.shape = (int(Y.shape[axis]), int(Y.shape[1 - axis]))
        self.reads = 0.0
        # a small problem is cut too, so that the memory beside the data stays small
        size = tile_bytes or (min(1 << 20, max(1 << 16, Y.numel() * Y.element_size() // 8)) if Y.device.type == "cpu" else 256 << 20)
        self.rows = max(1, min(self.shape[0], size // max(1, self.shape[1] * Y.element_size())))
        self.count = -(-self.shape[0] // self.rows)

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        Y, W = (self.Y, self.W) if self.axis == 0 else (self.Y.T, None if self.W is None else self.W.T)
        for start in range(0, self.shape[0], self.rows):
            tile = slice(start, min(start + self.rows, self.shape[0]))
            self.reads += (tile.stop - tile.start) / self.shape[0]
            y, w = Y[tile], None if W is None else W[tile]
            if self.hidden and w is not None:
                y = torch.nan_to_num(y, nan=0.0, posinf=0.0, neginf=0.0)
            yield tile, y, w
