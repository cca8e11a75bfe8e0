"""Steps from the Gram matrix of the other factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .base import Block, StepRule

__all__ = ["GramLipschitz"]


class GramLipschitz(StepRule):
    """Steps 1 / L for bilinear models A S under Gaussian noise: L is the top eigenvalue of S S' for A, of A' A for S.

    Parameters
    ----------
    gram : callable
        Returns the present Gram matrix, shape (K, K), such as ``lambda: S @ S.T``.
    max_weight : float
        Largest inverse variance.

    Examples
    --------
    >>> GramLipschitz(lambda: torch.diag(torch.tensor([1.0, 4.0]))).size({})
    0.25
    """

    blockwise = True

    def __init__(self, gram: Callable[[], Tensor], max_weight: float = 1.0) -> None:
        self.gram = gram
        self.max_weight = max_weight

    def prepare(self, block: Block) -> None:
        """Nothing: the model knows."""

    def size(self, group: dict[str, Any]) -> float:
        """1 / L; 0 where L vanishes, and the gradient with it, or is not finite."""
        gram = self.gram().detach()
        if not bool(torch.isfinite(gram).all()):
            return 0.0
        top = self.max_weight * float(torch.linalg.eigvalsh(gram.to(torch.float64))[-1])
        return 1 / top if top > 0 else 0.0

    def __repr__(self) -> str:
        return f"GramLipschitz(max_weight={self.max_weight})"
