"""The scale, the order and the sign that the product A S leaves open."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

__all__ = ["AS_SOLVED", "UNIT_SUM", "condition_number", "flux_order", "unit_sum_gauge"]

UNIT_SUM = "columns of A sum to 1 over the bands, S carries the flux and the unit"
AS_SOLVED = "as solved: the constraints fix the scale"


def unit_sum_gauge(
    A: NDArray[np.float64], S: NDArray[np.float64], *, keep: Collection[int] = (), signed: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors of the same product whose spectra sum to 1, and the sentence that says so.

    Where the sum of a spectrum vanishes (below 1e-3 of its absolute sum), or is negative while morphologies must stay non-negative, the sum
    of absolute values takes its place.

    Parameters
    ----------
    A : ndarray, shape (B, K)
        0 in bands without weight.
    S : ndarray, shape (K, N)
    keep : collection of int
        Components whose scale is given and stays.
    signed : bool
        Morphologies may change sign.

    Returns
    -------
    scale : ndarray, shape (K,)
        The gauge is ``A / scale``, ``scale[:, None] * S``; 1 for components that are kept or zero.
    by_absolute : ndarray of bool, shape (K,)
        Where the sum of absolute values was used.
    """
    total, size = A.sum(axis=0), np.abs(A).sum(axis=0)
    vanishes = np.abs(total) < 1e-3 * size
    by_absolute = (vanishes | ((total < 0) & (not signed))) & (size > 0)
    scale = np.where(by_absolute, size, total)
    scale[(size == 0) | np.isin(np.arange(A.shape[1]), list(keep))] = 1.0
    by_absolute[list(keep)] = False
    return scale, by_absolute


def flux_order(A: NDArray[np.float64], S: NDArray[np.float64], *, keep: Collection[int] = ()) -> NDArray[np.int64]:
    """Permutation that puts the components in order of total flux, descending; those in `keep` stay at their place.

    Parameters
    ----------
    A : ndarray, shape (B, K)
    S : ndarray, shape (K, N)
    keep : collection of int

    Returns
    -------
    ndarray of int, shape (K,)
    """
    flux = A.sum(axis=0) * S.sum(axis=1)
    order = np.arange(len(flux))
    free = [k for k in order if k not in keep]
    order[free] = sorted(free, key=lambda k: -flux[k])
    return order


def condition_number(A: NDArray[np.floating]) -> float:
    """Condition number of the spectra, each brought to unit length: by how much noise in the data may be amplified in the maps.

    Parameters
    ----------
    A : ndarray, shape (B, K)

    Returns
    -------
    float
        1 for orthogonal spectra, inf where they are linearly dependent or one is zero.

    Examples
    --------
    >>> condition_number(np.array([[1.0, 0.0], [0.0, 5.0]]))
    1.0
    """
    lengths = np.linalg.norm(A, axis=0)
    if A.shape[1] > A.shape[0] or (lengths == 0).any():
        return float("inf")
    values = np.linalg.svd(A / lengths, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else float("inf")
