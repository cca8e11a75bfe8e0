"""Abundances of few materials out of a library."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .systems import each_problem, minimize
from .variation import minimize_with_variation

__all__ = ["sparse"]


@torch.no_grad()
def sparse(
    Y: Tensor,
    A: Tensor,
    W: Tensor | None = None,
    *,
    weight: float,
    total_variation: float = 0.0,
    shape: tuple[int, int] | None = None,
    sum_to_one: bool = False,
    isotropic: bool = True,
    tol: float = 1e-6,
    max_iter: int = 5000,
) -> Tensor:
    """Sparse unmixing with a library, ``argmin_S Σ W (Y − A S)² / 2 + weight Σ S + total_variation Σ_k TV(S_k)  s.t.  S >= 0``.

    Without total variation this is the problem of SUnSAL. As the abundances are not negative the price is linear, and the active set of
    `nnls` solves it exactly, without a penalty to choose or a tolerance. With total variation it is the problem of SUnSAL-TV, solved by
    alternating directions.

    Parameters
    ----------
    Y : Tensor, shape (..., B, N)
        Data in any unit; may be NaN where the weight is 0.
    A : Tensor, shape (..., B, K)
        Library, a spectrum per column; K may exceed B.
    W : Tensor, shape (..., B, N), optional
        Inverse variances, 0 where there is no datum. (B, 1) and (1, N) stand for weights per band and per pixel. Weights for every entry
        cost K² / 2 numbers per pixel: without total variation a tile of pixels at a time, with it for all pixels.
    weight : float, >= 0
        Price of abundance, in the unit of ``W Y²`` per abundance. A material appears in a pixel only if its spectrum times the weighted
        residual exceeds it.
    total_variation : float, >= 0
        Price of a step of one between neighboring pixels, in the same unit.
    shape : (int, int), optional
        (Ny, Nx), of images with N = Ny Nx pixels, row by row. Needed with total variation. Pixels without weight are then filled in
        from their neighbors.
    sum_to_one : bool
        ``Σ_k S = 1`` in every pixel; `weight` has no effect then, because it prices a constant.
    isotropic : bool
        Edges cost the same in all directions; False: the sum of the two absolute differences, as in the paper.
    tol : float, > 0
        With total variation: of the primal and dual residuals, relative to the variables they belong to.
    max_iter : int, > 0
        With total variation.

    Returns
    -------
    Tensor, shape (..., K, N)
        Type and device of `Y`. Without total variation NaN in pixels without any weight, and where data with weight are not finite.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ParameterError
        If a number is out of its range, a spectrum is not finite, a weight is negative or not finite, or, with total variation, data with
        weight are not finite.
    MemoryLimitError
        If there are weights for every entry, total variation, and too many spectra and pixels.

    Warns
    -----
    ConvergenceWarning
        If `tol` is not reached within `max_iter` iterations.

    References
    ----------
    Bioucas-Dias & Figueiredo 2010, WHISPERS (SUnSAL); Iordache, Bioucas-Dias & Plaza 2012, IEEE TGRS 50, 4484 (total variation).

    Examples
    --------
    >>> sparse(torch.tensor([[3.0], [0.5]]), torch.eye(2), weight=1.0)
    tensor([[2.],
            [0.]])
    """
    for name, value in (("weight", weight), ("total_variation", total_variation)):
        if not (math.isfinite(value) and value >= 0):
            raise ParameterError(f"{name} is {value}: expected a finite number >= 0.")
    total = 1.0 if sum_to_one else None
    if total_variation == 0:
        return each_problem(functools.partial(minimize, total=total, weight=weight), Y, A, W)
    if not (math.isfinite(tol) and tol > 0) or max_iter < 1:
        raise ParameterError(f"tol is {tol} and max_iter {max_iter}: expected both > 0.")
    if shape is None or shape[0] * shape[1] != Y.shape[-1]:
        raise ShapeError(f"shape is {shape}, and there are {Y.shape[-1]} pixels: total variation needs (Ny, Nx) with Ny Nx pixels.")
    if bool((~torch.isfinite(Y) if W is None else ~torch.isfinite(Y) & (W > 0)).any()):
        raise ParameterError("data with weight must be finite where maps vary together: give such entries the weight 0.")

    def solve(y: Tensor, a: Tensor, w: Tensor | None) -> Tensor:
        return torch.stack(
            [
                minimize_with_variation(
                    y,
                    spectra,
                    w,
                    weight=weight,
                    variation=total_variation,
                    shape=shape,
                    isotropic=isotropic,
                    total=total,
                    tol=tol,
                    max_iter=max_iter,
                )
                for spectra in a
            ]
        )

    return each_problem(solve, Y, A, W)
