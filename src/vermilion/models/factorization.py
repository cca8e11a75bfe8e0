"""Spectra times morphologies, every pixel free."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ParameterError, ShapeError
from ..prox.base import NonNegative, as_prox
from .base import Model

__all__ = ["Factorization"]

_NONNEGATIVE = NonNegative()


class Factorization(Model):
    """The matrix product A S.

    Parameters
    ----------
    A : Tensor or array, shape (B, K)
        Spectra; copied.
    S : Tensor or array, shape (K, N)
        Morphologies; copied.

    Raises
    ------
    ShapeError
        If the factors are no matrices or differ in K.
    ParameterError
        If they are not of one floating type.

    Examples
    --------
    >>> model = Factorization(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]]))
    >>> model().tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """

    def __init__(self, A: Any, S: Any) -> None:
        super().__init__()
        A, S = torch.as_tensor(A), torch.as_tensor(S)
        if A.ndim != 2 or S.ndim != 2 or A.shape[1] != S.shape[0]:
            raise ShapeError(f"A has shape {tuple(A.shape)}, S has {tuple(S.shape)}: expected (B, K) and (K, N).")
        if A.dtype != S.dtype or not A.is_floating_point():
            raise ParameterError(f"A is of type {A.dtype}, S of {S.dtype}: expected one floating type; convert with .to(dtype).")
        self.A = nn.Parameter(A.detach().clone())
        self.S = nn.Parameter(S.detach().clone())

    @classmethod
    def random(
        cls,
        B: int,
        N: int,
        K: int,
        generator: torch.Generator | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Factorization:
        """Factors drawn uniformly from [0, 1), A first.

        Raises
        ------
        ParameterError
            If a size is below 1.
        """
        if min(B, N, K) < 1:
            raise ParameterError(f"B, N, K are {B}, {N}, {K}: expected at least 1 band, pixel and component.")
        A = torch.rand(B, K, generator=generator, dtype=dtype, device=device)
        return cls(A, torch.rand(K, N, generator=generator, dtype=dtype, device=device))

    def forward(self) -> Tensor:
        """Return A S, shape (B, N)."""
        return self.A @ self.S

    def components(self) -> tuple[Tensor, Tensor]:
        """Spectra (B, K) and morphologies (K, N), detached."""
        return self.A.detach(), self.S.detach()

    def blocks(self, *, spectra: Any = _NONNEGATIVE, morphologies: Any = _NONNEGATIVE, max_weight: float = 1.0) -> list[dict[str, Any]]:
        """Two parameter groups, "A" and "S", whose steps are 1 / L.

        L is the largest curvature of the Gaussian loss along one factor, the other fixed: the top eigenvalue of S S' or
        A'A times the largest weight. Steps of all of 1 / L are safe for one factor at a time; both at once want lr < 1.

        Parameters
        ----------
        spectra, morphologies : Prox, callable or None
        max_weight : float
            Largest entry of W.
        """
        return [
            {"name": name, "params": [getattr(self, name)], "prox": as_prox(prox), "step_rule": functools.partial(rule, max_weight)}
            for name, prox, rule in (("A", spectra, self._step_spectra), ("S", morphologies, self._step_morphologies))
        ]

    def _step_spectra(self, max_weight: float) -> float:
        S = self.S.detach()
        return _inverse_top(S @ S.T, max_weight)

    def _step_morphologies(self, max_weight: float) -> float:
        A = self.A.detach()
        return _inverse_top(A.T @ A, max_weight)


def _inverse_top(gram: Tensor, max_weight: float) -> float:
    """1 / (largest eigenvalue times `max_weight`); 0 where that vanishes, and the gradient with it."""
    if not bool(torch.isfinite(gram).all()):
        return 0.0
    lipschitz = max_weight * float(torch.linalg.eigvalsh(gram.to(torch.float64))[-1])
    return 1 / lipschitz if lipschitz > 0 else 0.0
