"""Abundances that are not negative."""

from __future__ import annotations

import torch
from torch import Tensor

from .systems import each_gram, each_problem, minimize

__all__ = ["nnls", "nnls_gram"]


@torch.no_grad()
def nnls(Y: Tensor, A: Tensor, W: Tensor | None = None) -> Tensor:
    """Non-negative least squares, ``argmin_S Σ W (Y − A S)² / 2  s.t.  S >= 0``, exactly, for all pixels at once.

    The result obeys the conditions of optimality to the rounding of float64, whatever the precision of the input: a quadratic of the
    size of K is solved for each pixel by an active set, then refined from the data where the spectra are nearly dependent.

    Parameters
    ----------
    Y : Tensor, shape (..., B, N)
        Data in any unit; may be NaN where the weight is 0.
    A : Tensor, shape (..., B, K)
        Endmember spectra. Leading dimensions are problems of their own and broadcast against those of `Y`: (M, B, K) with (B, N) gives
        (M, K, N).
    W : Tensor, shape (..., B, N), optional
        Inverse variances, 0 where there is no datum. (B, 1) and (1, N) stand for weights per band and per pixel and cost nothing.

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
        If a spectrum is not finite, or a weight is negative or not finite.

    References
    ----------
    Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23; Kim & Park 2011, SIAM J. Sci. Comput. 33, 3261.

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> nnls(torch.tensor([[1.0, 2.0], [3.0, 1.0]]), A)  # the second pixel would want 2 and -1
    tensor([[1.0000, 1.5000],
            [2.0000, 0.0000]])
    """
    return each_problem(minimize, Y, A, W)


@torch.no_grad()
def nnls_gram(G: Tensor, C: Tensor) -> Tensor:
    """The same from what the spectra and data amount to: ``argmin_S ½ tr(Sᵀ G S) − tr(Cᵀ S)  s.t.  S >= 0``.

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
    >>> nnls_gram(torch.eye(2), torch.tensor([[3.0], [-1.0]]))
    tensor([[3.],
            [0.]])
    """
    return each_gram(G, C, total=None)
