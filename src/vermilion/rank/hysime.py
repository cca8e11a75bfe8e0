"""HySime: the subspace in which signal power exceeds noise power."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .whitening import regression_noise

__all__ = ["hysime"]


def hysime(data: NDArray[Any], noise: NDArray[Any] | None = None) -> int | None:
    """Dimension of the signal subspace with the least sum of lost signal and kept noise.

    Parameters
    ----------
    data : ndarray, shape (B, N)
        Complete; any unit.
    noise : ndarray, shape (B, N), optional
        Its noise; by default what regression on the other bands leaves.

    Returns
    -------
    int or None
        None where there are not twice as many pixels as bands: the regression explains the noise itself then.

    References
    ----------
    Bioucas-Dias & Nascimento 2008, IEEE Trans. Geosci. Remote Sens. 46, 2435.
    """
    n_bands, n_pixels = data.shape
    if n_pixels < 2 * n_bands:
        return None
    noise = regression_noise(data) if noise is None else noise
    signal = data - noise
    noise_power = noise @ noise.T / n_pixels
    signal_power = signal @ signal.T / n_pixels
    noise_power += np.trace(signal_power) / n_bands / 1e5 * np.eye(n_bands)  # as the authors' program
    vectors = np.linalg.eigh(signal_power)[1]
    kept = np.einsum("bk,bc,ck->k", vectors, data @ data.T / n_pixels, vectors)
    lost = np.einsum("bk,bc,ck->k", vectors, noise_power, vectors)
    return int(np.count_nonzero(2 * lost < kept))
