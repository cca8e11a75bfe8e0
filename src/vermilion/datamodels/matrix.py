"""The data of a cube as the matrix that is factorized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from .frame import Frame

__all__ = ["Matrix"]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Data Y and inverse variances W of the pixels that carry weight.

    Parameters
    ----------
    data : ndarray, shape (B, N)
        Finite everywhere; 0 where the weight is 0 and the file had no number.
    weights : ndarray, shape (B, N)
        Inverse variances, finite and >= 0; 0 means absent.
    frame : Frame
        Its `pixels` say where the N pixels were in the image plane.
    """

    data: NDArray[np.floating[Any]]
    weights: NDArray[np.floating[Any]]
    frame: Frame

    def __post_init__(self) -> None:
        expected = (self.frame.n_bands, self.frame.n_pixels)
        for name in ("data", "weights"):
            shape = getattr(self, name).shape
            if shape != expected:
                raise ShapeError(f"{name} has shape {shape}, the frame says {expected} (bands, pixels kept).")

    def __repr__(self) -> str:
        absent = 1 - np.count_nonzero(self.weights) / max(self.weights.size, 1)
        return f"Matrix({self.data.shape[0]} bands x {self.data.shape[1]} pixels, {self.data.dtype}, {absent:.1%} without weight)"
