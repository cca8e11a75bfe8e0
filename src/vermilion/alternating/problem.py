"""The bilinear problem in numbers of order one, whatever the unit of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import NoDataError
from ..prox.base import Prox, Wrapped
from .quadratic import Block
from .tiles import TensorTiles

__all__ = ["Problem"]

_SEPARABLE_S: dict[str, Literal["element", "column", "no"]] = {"element": "element", "component axis": "column"}
# transposed: for spectra (B, K) dim 1, called "pixel axis", runs over the components
_SEPARABLE_A: dict[str, Literal["element", "column", "no"]] = {"element": "element", "pixel axis": "column"}


@dataclass(frozen=True)
class Problem:
    """Y ≈ A S with data and weights divided by their own sizes.

    With ``Y = y Y'`` and ``W = w W'`` the loss is ``w y² ½ Σ W' (Y' − A' S')²``; the factor that carries the scale is y times the primed.

    Attributes
    ----------
    Y : Tensor, shape (B, N)
        Root mean square 1; 0 where the weight is 0.
    W : Tensor, shape (B, N), or None
        Mean 1 where positive; None: all 1.
    data_scale, weight_scale : float
        y and w.
    carrier : {"A", "S"}
        The factor that carries the scale of the data.
    """

    Y: Tensor
    W: Tensor | None
    data_scale: float
    weight_scale: float
    carrier: Literal["A", "S"] = "S"

    @classmethod
    def normalized(
        cls,
        Y: Tensor,
        W: Tensor | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        carrier: Literal["A", "S"] = "S",
        scale: bool = True,
    ) -> Problem:
        """The problem of data and weights in any unit; sizes are taken and divided in float64.

        Parameters
        ----------
        Y : Tensor, shape (B, N)
            May hold NaN where the weight is 0.
        W : Tensor, shape (B, N), optional
            Inverse variances; None: 1 where Y is finite.
        scale : bool
            False leaves the data's size alone: both factors have constraints that fix their scale.

        Raises
        ------
        NoDataError
            If no entry with weight is finite and different from 0.
        """
        usable = torch.isfinite(Y)
        if W is not None:
            usable &= torch.isfinite(W) & (W > 0)
        elif bool(usable.all()):
            usable = torch.ones((), dtype=torch.bool, device=Y.device)
        count = float(usable.sum(dtype=torch.float64)) * (Y.numel() / usable.numel())
        peak = float(torch.where(usable, Y, 0).abs().max()) if count else 0.0
        if peak == 0:
            raise NoDataError("no finite value different from 0 has a positive weight: there is nothing to factorize.")
        squares = sum(float((torch.where(u, y, 0).double() / peak).square().sum()) for y, u in zip(Y, usable.expand_as(Y), strict=True))
        y_scale = peak * (squares / count) ** 0.5 if scale else 1.0
        w_scale = 1.0
        if W is not None:
            top = float(torch.where(usable, W, 0).max())
            w_scale = top * sum(float((torch.where(u, w, 0).double() / top).sum()) for w, u in zip(W, usable, strict=True)) / count

        def scaled(X: Tensor, size: float) -> Tensor:
            out = torch.empty(X.shape, dtype=dtype, device=device)
            for row, x, u in zip(out, X, usable.expand_as(X), strict=True):
                row.copy_(torch.where(u, x, 0).double() / size)
            return out

        weights = None if W is None and usable.ndim == 0 else scaled(torch.ones_like(Y) if W is None else W, w_scale)
        return cls(scaled(Y, y_scale), weights, y_scale, w_scale, carrier)

    @property
    def tiles(self) -> TensorTiles:
        """The data for the solver."""
        return TensorTiles(self.Y, self.W)

    @property
    def objective_scale(self) -> float:
        """What the objective of the normalized problem is multiplied by to be that of the data."""
        return self.weight_scale * self.data_scale**2

    def factor_scale(self, factor: Literal["A", "S"]) -> float:
        """The size of a factor in the data's unit: y for the carrier, else 1."""
        return self.data_scale if factor == self.carrier else 1.0

    def block(self, factor: Literal["A", "S"], prox: Prox, fixed: Mapping[int, Tensor] | None = None) -> Block:
        """The constraint on one factor for the solver: scaled, in orientation (K, M), with known components held.

        Parameters
        ----------
        factor : {"A", "S"}
        prox : Prox
            Acts on A (B, K) or S (K, N) in the data's unit.
        fixed : mapping of int to Tensor, optional
            Values (M,) of known components, in the normalized unit.
        """
        size = self.factor_scale(factor)
        # argmin t g(c x)/(w y²) + |x' − x|²/2 is prox_g at c x' with step t c²/(w y²), divided by c
        strength = size**2 / self.objective_scale
        transposed = factor == "A"
        separable = (_SEPARABLE_A if transposed else _SEPARABLE_S).get(prox.couples, "no")
        plain = prox.cone and prox.projection
        held = sorted((fixed or {}).items())

        def apply(X: Tensor, step: Tensor | float) -> Tensor:
            x = X.T if transposed else X
            t = step.T if transposed and isinstance(step, Tensor) and step.ndim == 2 else step
            if plain:
                out = prox(x, t)
            elif isinstance(prox, Wrapped):
                out = prox(x * size, float(t) * strength) / size
            else:  # in float64: at fluxes of 1e-20 the strength is 1e-44, which float32 does not hold
                amount: Any = t.double() * strength if isinstance(t, Tensor) else t * strength
                out = (prox(x.double() * size, amount) / size).to(x.dtype)
            out = out.T.contiguous() if transposed else out
            for k, values in held:
                out[k] = values
            return out

        def penalty(X: Tensor) -> float:
            if prox.projection:  # feasible by construction
                return 0.0
            free = [k for k in range(len(X)) if not fixed or k not in fixed]
            x = X * size  # in its own type: feasibility up to rounding is judged by that
            if held and separable == "element":  # what is given costs nothing
                x = x[free]
                return float(prox.penalty(x.T if transposed else x)) / self.objective_scale if free else 0.0
            return float(prox.penalty(x.T if transposed else x)) / self.objective_scale

        return Block(apply, penalty, separable)
