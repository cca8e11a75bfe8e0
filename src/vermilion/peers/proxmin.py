"""The same factorization by proxmin (Melchior, Joseph & Moolekamp), as a cross-check."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError, PeerError, ShapeError

__all__ = ["solve"]

Operator = Callable[[NDArray[Any], float], NDArray[Any]]

_ALGORITHMS = ("adaprox", "pgm", "bsdmm")


def solve(
    Y: ArrayLike,
    W: ArrayLike | None,
    A0: ArrayLike,
    S0: ArrayLike,
    *,
    spectra: Any = None,
    morphologies: Any = None,
    max_iter: int = 1000,
    tol: float = 1e-4,
    algorithm: str = "adaprox",
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]:
    """Factors A, S that `proxmin.nmf.nmf` finds, and how.

    Parameters
    ----------
    Y : array, shape (B, N)
    W : array, shape (B, N), optional
        Inverse variances. None or 1 everywhere is handed over as proxmin's scalar weight 1, which its PGM needs.
    A0, S0 : arrays, shapes (B, K) and (K, N)
        Start; not modified.
    spectra, morphologies : operator or None
        Operators of `vermilion.prox` that proxmin has too (Identity, NonNegative, UnitSum, Soft with one weight, Simplex
        with total 1, which proxmin replaces by clipping and rescaling, chains of them, proxmin's own), or a function of
        numpy arrays ``f(X, step)``.
    max_iter : int
    tol : float
        proxmin's relative change of the factors.
    algorithm : {"adaprox", "pgm", "bsdmm"}
        Only the first takes weights. Its PGM moves both factors by full steps at once and may oscillate for ever.

    Returns
    -------
    A : ndarray, shape (B, K)
    S : ndarray, shape (K, N)
    info : dict
        "algorithm", "version", "iterations", "converged".

    Raises
    ------
    ShapeError
        If the arrays do not belong together.
    ParameterError
        If the algorithm is not known.
    PeerError
        If proxmin is absent, lacks an operator, breaks, or returns factors that are not finite or vanish.
    """
    if algorithm not in _ALGORITHMS:
        raise ParameterError(f"algorithm is {algorithm!r}: expected one of {', '.join(_ALGORITHMS)}.")
    data, weights, A, S = _arrays(Y, W, A0, S0)
    try:
        from proxmin import algorithms, operators
        from proxmin.nmf import nmf
    except ImportError as error:
        raise PeerError(f"proxmin cannot be imported ({error}): install it, or choose another solver.") from error
    version = metadata.version("proxmin")
    n_iterations = 0

    def count(*factors: NDArray[Any], it: int) -> None:
        nonlocal n_iterations
        n_iterations = it + 1

    options = {"max_iter": max_iter, "e_rel": tol, "callback": count, "algorithm": getattr(algorithms, algorithm)}
    prox = {"prox_A": _translate(spectra, operators), "prox_S": _translate(morphologies, operators)}
    try:
        # what floating point has to say about it is judged on the result
        with np.errstate(all="ignore"):
            outcome = nmf(data, A, S, W=weights, **prox, **options)
    except Exception as error:
        hint = " Its PGM and BSDMM do not take weights: try algorithm='adaprox'." if not np.isscalar(weights) else ""
        raise PeerError(f"proxmin {version} broke in {algorithm}: {type(error).__name__}: {error}.{hint}") from error
    _check_result(A, S, f"proxmin {version} ({algorithm}, {n_iterations} iterations)")
    converged = outcome if isinstance(outcome, list) else outcome[0]
    info = {"algorithm": algorithm, "version": version, "iterations": n_iterations, "converged": bool(np.all(converged))}
    return A, S, info


def _arrays(Y: ArrayLike, W: ArrayLike | None, A0: ArrayLike, S0: ArrayLike) -> tuple[NDArray[Any], Any, NDArray[Any], NDArray[Any]]:
    """Float64 copies, weights as proxmin wants them."""
    data, A, S = (np.array(values, dtype=np.float64) for values in (Y, A0, S0))
    if A.ndim != 2 or S.ndim != 2 or A.shape[1] != S.shape[0] or data.shape != (A.shape[0], S.shape[1]):
        raise ShapeError(f"Y has shape {data.shape}, A0 {A.shape}, S0 {S.shape}: expected (B, N), (B, K), (K, N).")
    if W is None:
        return data, 1, A, S
    weights = np.array(W, dtype=np.float64)
    if weights.shape != data.shape:
        raise ShapeError(f"W has shape {weights.shape}, Y has {data.shape}: expected equal shapes.")
    data[weights == 0] = 0  # absent data may be NaN
    return data, 1 if (weights == 1).all() else weights, A, S


def _translate(operator: Any, operators: Any) -> Operator:
    """The operator of proxmin with the same constraint; `operators` is proxmin's module."""
    kind = type(operator).__name__
    if operator is None or kind == "Identity":
        return operators.prox_id
    if kind == "NonNegative":
        return operators.prox_plus
    if kind == "UnitSum":
        return functools.partial(operators.prox_unity, axis=operator.dim)
    if kind == "Simplex" and operator.total == 1:
        return functools.partial(operators.prox_unity_plus, axis=operator.dim)
    if kind == "Soft" and np.ndim(operator.weight) == 0:
        return functools.partial(operators.prox_soft, thresh=float(operator.weight))
    if kind == "Wrapped" and operator.takes_numpy and operator.takes_step:
        return operator.function
    if kind == "Chain":
        members = [_translate(member, operators) for member in operator.operators]
        return lambda X, step: functools.reduce(lambda value, member: member(value, step), members, X)
    if callable(operator) and not hasattr(operator, "penalty"):
        return operator
    raise PeerError(f"proxmin has no operator for {operator!r}: choose another solver or constraint.")


def _check_result(A: NDArray[Any], S: NDArray[Any], who: str) -> None:
    if not (np.isfinite(A).all() and np.isfinite(S).all()):
        raise PeerError(f"{who} returned factors that are not finite.")
    if not (A.any() and S.any()):
        raise PeerError(f"{who} collapsed: a factor is zero everywhere.")
