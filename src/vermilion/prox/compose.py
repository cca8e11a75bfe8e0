"""Operators of g after a change of coordinates: scaled, translated, turned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .base import Prox, as_prox, tolerance

__all__ = ["Orthogonal", "Scaled", "Translated", "dct_matrix"]


class Scaled(Prox):
    """The operator of ``g(scale x)``, which is ``prox(scale x, scale^2 step) / scale``.

    Parameters
    ----------
    prox : Prox or callable
        Of g.
    scale : float or Tensor, not 0
        Broadcastable to `x`; a negative one turns the sign. Where entries are coupled it must be the same for them.

    Raises
    ------
    ParameterError
        If a scale is 0 or not finite.

    References
    ----------
    Parikh & Boyd 2014, section 2.2; Combettes & Pesquet 2011, table 10.1.

    Examples
    --------
    >>> from vermilion.prox import Box
    >>> Scaled(Box(0.0, 1.0), 4.0)(torch.tensor([-1.0, 0.125, 2.0]), 1.0)  # 0 <= 4 x <= 1
    tensor([0.0000, 0.1250, 0.2500])
    """

    def __init__(self, prox: Any, scale: float | Tensor) -> None:
        values = torch.as_tensor(scale).detach()
        if not bool((torch.isfinite(values) & (values != 0)).all()):
            raise ParameterError(f"scale is {scale}: expected finite numbers other than 0.")
        self.prox = as_prox(prox)
        self.scale = scale
        self.exact, self.convex, self.couples = self.prox.exact, self.prox.convex, self.prox.couples
        self.cone, self.projection = self.prox.cone, self.prox.projection

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Apply the operator in the scaled coordinates."""
        scale = torch.as_tensor(self.scale, dtype=x.dtype, device=x.device)
        # a number stays one, for operators that want one step for coupled entries
        squared = float(self.scale) ** 2 if scale.ndim == 0 else scale.square()
        return self.prox(scale * x, step * squared) / scale

    def penalty(self, x: Tensor) -> Tensor:
        """g at `scale` times `x`."""
        return self.prox.penalty(torch.as_tensor(self.scale, dtype=x.dtype, device=x.device) * x)


class Translated(Prox):
    """The operator of ``g(x - shift)``, which is ``shift + prox(x - shift, step)``.

    Parameters
    ----------
    prox : Prox or callable
        Of g.
    shift : float or Tensor
        Broadcastable to `x`, in its unit: a template that g pulls to, in place of zero.

    Raises
    ------
    ParameterError
        If a shift is not finite.

    References
    ----------
    Parikh & Boyd 2014, section 2.2; Combettes & Pesquet 2011, table 10.1.

    Examples
    --------
    >>> from vermilion.prox import Soft
    >>> Translated(Soft(1.0), 5.0)(torch.tensor([2.0, 5.5, 7.0]), 1.0)
    tensor([3., 5., 6.])
    """

    def __init__(self, prox: Any, shift: float | Tensor) -> None:
        values = torch.as_tensor(shift).detach()
        if not bool(torch.isfinite(values).all()):
            raise ParameterError(f"shift is {shift}: expected finite numbers.")
        self.prox = as_prox(prox)
        self.shift = shift
        self.exact, self.convex, self.couples = self.prox.exact, self.prox.convex, self.prox.couples
        self.cone, self.projection = self.prox.cone and not bool(values.any()), self.prox.projection

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Apply the operator in the translated coordinates."""
        shift = torch.as_tensor(self.shift, dtype=x.dtype, device=x.device)
        return shift + self.prox(x - shift, step)

    def penalty(self, x: Tensor) -> Tensor:
        """g at `x` minus `shift`."""
        return self.prox.penalty(x - torch.as_tensor(self.shift, dtype=x.dtype, device=x.device))


class Orthogonal(Prox):
    """The operator of ``g(U x)`` for U with orthonormal rows, ``U U' = I``: ``x + U' (prox(U x, step) - U x)``.

    Parameters
    ----------
    prox : Prox or callable
        Of g.
    U : Tensor, shape (M, N) with M <= N, or callable
        Acts on the last dimension of `x`, such as `dct_matrix`. A function maps `x` to U x of the same shape instead, as a
        fast transform does; that it is orthogonal is not checked.
    adjoint : callable, optional
        U', for a function U. It is the inverse, too.

    Raises
    ------
    ParameterError
        If the rows of `U` are not orthonormal, or a function comes without its adjoint.

    References
    ----------
    Combettes & Pesquet 2011, table 10.1; Parikh & Boyd 2014, section 2.2.

    Examples
    --------
    >>> from vermilion.prox import Hard
    >>> smooth = Orthogonal(Hard(0.5), dct_matrix(4))  # few cosines
    >>> smooth(torch.tensor([1.0, 1.1, 0.9, 1.0]), 1.0)
    tensor([1., 1., 1., 1.])
    """

    def __init__(self, prox: Any, U: Tensor | Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor] | None = None) -> None:
        self.prox = as_prox(prox)
        self.U = U
        self.adjoint = adjoint
        self.exact, self.convex = self.prox.exact, self.prox.convex
        self.cone, self.projection = self.prox.cone, self.prox.projection
        self.couples = "pixel axis" if isinstance(U, Tensor) and self.prox.couples in ("element", "pixel axis") else "image"
        if isinstance(U, Tensor):
            _check_rows(U)
        elif adjoint is None:
            raise ParameterError("U is a function without its adjoint: expected adjoint=, the function that takes U x back to x.")

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Apply the operator in the turned coordinates.

        Raises
        ------
        ShapeError
            If the last dimension does not fit U.
        """
        z = x.to(torch.float64)
        turned = self._turn(z)
        result = self.prox(turned, step)
        if not isinstance(self.U, Tensor):
            assert self.adjoint is not None
            return self.adjoint(result).to(x.dtype)
        U = self.U.to(z)
        if U.shape[0] == U.shape[1]:  # nothing is left out, and x need not cancel
            return (result @ U).to(x.dtype)
        return (z + (result - turned) @ U).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """g at U x, where coordinates that the rounding of `x` explains count as 0."""
        z = x.to(torch.float64)
        turned = self._turn(z)
        rounding = 4 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        return self.prox.penalty(torch.where(turned.abs() <= rounding, 0.0, turned).to(x.dtype))

    def _turn(self, x: Tensor) -> Tensor:
        if not isinstance(self.U, Tensor):
            return self.U(x)
        if x.ndim == 0 or x.shape[-1] != self.U.shape[1]:
            raise ShapeError(f"x has shape {tuple(x.shape)}, U {tuple(self.U.shape)}: expected (..., {self.U.shape[1]}).")
        return x @ self.U.to(x).T

    def __repr__(self) -> str:
        U = f"<{' x '.join(map(str, self.U.shape))}>" if isinstance(self.U, Tensor) else getattr(self.U, "__name__", repr(self.U))
        return f"Orthogonal({self.prox!r}, {U})"


def _check_rows(U: Tensor) -> None:
    if U.ndim != 2 or U.shape[0] > U.shape[1] or not U.is_floating_point():
        raise ParameterError(f"U has shape {tuple(U.shape)} and dtype {U.dtype}: expected a real matrix with rows <= columns.")
    deviation = float((U @ U.T - torch.eye(len(U), dtype=U.dtype, device=U.device)).abs().max())
    if not deviation <= tolerance(U.dtype):
        raise ParameterError(f"U U' differs from I by {deviation:.1e}: expected orthonormal rows.")


def dct_matrix(n: int) -> Tensor:
    """The orthonormal discrete cosine transform (type 2) of n numbers, in float64.

    Parameters
    ----------
    n : int, >= 1

    Returns
    -------
    Tensor, shape (n, n)
        Row k is ``sqrt(2/n) cos(pi k (2 i + 1) / (2 n))``, the first divided by sqrt(2).

    Examples
    --------
    >>> dct_matrix(2)
    tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]], dtype=torch.float64)
    """
    k = torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi / (2 * n) * k[:, None] * (2 * k + 1))
    matrix[0] /= math.sqrt(2)
    return matrix
