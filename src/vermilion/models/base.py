"""The contract of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

__all__ = ["Model"]


class Model(nn.Module, ABC):
    """Parameters, and the expected cube that follows from them."""

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the expected data, shape (B, *pixels)."""

    @abstractmethod
    def blocks(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: name, params, prox, step_rule."""

    @abstractmethod
    def components(self) -> tuple[Tensor, Tensor]:
        """Spectra (B, K) and morphologies (K, *pixels)."""
