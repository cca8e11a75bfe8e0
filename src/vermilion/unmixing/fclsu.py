"""Abundances that are not negative and add up to one."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from ..errors import ParameterError
from .systems import each_gram, each_problem, minimize

__all__ = ["fclsu", "fclsu_gram"]


@torch.no_grad()
def fclsu(Y: Tensor, A: Tensor, W: Tensor | None = None, *, sum_to_one: Literal["equal", "at most"] = "equal") -> Tensor:
    """Fully constrained least squares, ``argmin_S Σ W (Y − A S)² / 2  s.t.  S >= 0, Σ_k S = 1``, exactly, for all pixels at once.

    The sum is a constraint of the solver, not a heavily weighted band: it holds to the rounding of the result, and no weight has to be
    chosen.

    Parameters
    ----------
    Y : Tensor, shape (..., B, N)
        Data, in the unit of the spectra; may be NaN where the weight is 0.
    A : Tensor, shape (..., B, K)
        Endmember spectra. Leading dimensions are problems of their own and broadcast against those of `Y`: (M, B, K) with (B, N) gives
        (M, K, N).
    W : Tensor, shape (..., B, N), optional
        Inverse variances, 0 where there is no datum. (B, 1) and (1, N) stand for weights per band and per pixel and cost nothing.
    sum_to_one : {"equal", "at most"}
        "at most": the sum may be smaller, as if a spectrum of zeros, shade, were one more endmember.

    Returns
    -------
    Tensor, shape (..., K, N)
        Type and device of `Y`. NaN in pixels without any weight, and where data with weight are not finite. Where the weights leave
        too few bands to tell the spectra apart it is one of the minimizers, and finite.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ParameterError
        If a spectrum is not finite, a weight is negative or not finite, or `sum_to_one` is unknown.

    References
    ----------
    Heinz & Chang 2001, IEEE TGRS 39, 529 (the problem); Kim & Park 2011, SIAM J. Sci. Comput. 33, 3261 (the exchange of variables).

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> fclsu(torch.tensor([[0.5, 3.0], [0.7, 0.0]]), A)  # the nearest points of the line between the two spectra
    tensor([[0.4000, 1.0000],
            [0.6000, 0.0000]])
    """
    if sum_to_one not in ("equal", "at most"):
        raise ParameterError(f"sum_to_one is {sum_to_one!r}: expected 'equal' or 'at most'.")
    on_simplex = each_problem(functools.partial(minimize, total=1.0), Y, A, W)
    if sum_to_one == "equal":
        return on_simplex
    free = each_problem(minimize, Y, A, W)
    return torch.where(free.sum(dim=-2, keepdim=True) > 1, on_simplex, free)


@torch.no_grad()
def fclsu_gram(G: Tensor, C: Tensor) -> Tensor:
    """The same from what the spectra and data amount to: ``argmin_S ½ tr(Sᵀ G S) − tr(Cᵀ S)  s.t.  S >= 0, Σ_k S = 1``.

    Parameters
    ----------
    G : Tensor, shape (..., K, K)
        ``Aᵀ A``; leading dimensions are problems of their own.
    C : Tensor, shape (..., K, N)
        ``Aᵀ Y``.

    Returns
    -------
    Tensor, shape (..., K, N)
        Type and device of `C`; NaN in columns of `C` that are not finite.

    Raises
    ------
    ShapeError
        If the shapes do not fit.

    Examples
    --------
    >>> fclsu_gram(torch.eye(2), torch.tensor([[0.5], [0.7]]))
    tensor([[0.4000],
            [0.6000]])
    """
    return each_gram(G, C, total=1.0)
