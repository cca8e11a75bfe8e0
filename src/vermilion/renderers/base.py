"""What every renderer promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

__all__ = ["Renderer"]


class Renderer(ABC):
    """Linear map from a model in the model frame to images as the telescope records them.

    Attributes
    ----------
    n_bands : int
        Number of bands B.
    model_shape : (int, int)
        Rows and columns (H, W) of the model frame.
    data_shape : (int, int)
        Rows and columns (Ny, Nx) of the images.
    """

    n_bands: int
    model_shape: tuple[int, int]
    data_shape: tuple[int, int]

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Images (..., B, Ny, Nx) of a model (..., B or 1, H, W); one band is broadcast to all."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose of the map: (..., B, Ny, Nx) to (..., B, H, W)."""

    @abstractmethod
    def bound(self, x: Tensor) -> Tensor:
        """The map with the absolute values of its entries; for majorizers."""

    @abstractmethod
    def bound_adjoint(self, y: Tensor) -> Tensor:
        """Transpose of `bound`."""
