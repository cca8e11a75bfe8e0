"""NNDSVD: non-negative parts of singular vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from .directions import signal_subspace
from .subspace import Subspace

__all__ = ["nndsvd"]


def nndsvd(Y: Tensor, W: Tensor | None, n_components: int, *, seed: int = 0, space: Subspace | None = None) -> tuple[Tensor, Tensor]:
    """Non-negative spectra (B, K) and morphologies (K, N) from the singular vectors of the data in units of their noise.

    Of every pair of singular vectors the positive or the negative part, whichever is larger; the first pair by its absolute values.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    W : Tensor, shape (B, N), optional
        Inverse variances, taken as a product of a band and a pixel factor; None: all 1.
    n_components : int
        K. Beyond the rank of the data components are 0.
    seed : int
        Of the search for the subspace.
    space : Subspace, optional
        Where to look, if it is known already.

    Returns
    -------
    A : Tensor, shape (B, K)
        0 in bands without weight.
    S : Tensor, shape (K, N)
        0 in pixels without weight. The product is in the data's unit.

    References
    ----------
    Boutsidis & Gallopoulos 2008, Pattern Recognition 41, 1350.
    """
    space = signal_subspace(Y, W, n_components, seed=seed) if space is None else space
    coordinates = space.coordinates[:n_components].double()
    values = torch.linalg.vector_norm(coordinates, dim=1)
    left, right = space.basis[:, : len(values)], coordinates / torch.where(values > 0, values, 1.0)[:, None]
    A = left.new_zeros(len(left), n_components)
    S = right.new_zeros(n_components, right.shape[1])
    for k, value in enumerate(values):
        u, v, size = (left[:, 0].abs(), right[0].abs(), 1.0) if k == 0 else _larger_part(left[:, k], right[k])
        A[:, k], S[k] = (value * size).sqrt() * u, (value * size).sqrt() * v
    bands = torch.where(space.band_scale > 0, space.band_scale, torch.inf)[:, None]
    pixels = torch.where(space.pixel_scale > 0, space.pixel_scale, torch.inf)
    unit = space.band_scale.max().sqrt()  # shared by both, or one of them leaves the range of float32
    return (A * (unit / bands)).to(Y), (S / (unit * pixels)).to(Y)


def _larger_part(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The positive or negative parts of two vectors, of unit length, and the product of their norms, which is the larger one."""
    parts = [(u.clamp(min=0), v.clamp(min=0)), ((-u).clamp(min=0), (-v).clamp(min=0))]
    norms = [(torch.linalg.vector_norm(a), torch.linalg.vector_norm(b)) for a, b in parts]
    which = int(norms[1][0] * norms[1][1] > norms[0][0] * norms[0][1])
    (a, b), (na, nb) = parts[which], norms[which]
    tiny = torch.finfo(u.dtype).tiny
    return a / na.clamp_min(tiny), b / nb.clamp_min(tiny), na * nb
