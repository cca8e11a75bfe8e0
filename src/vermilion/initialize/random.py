"""Seeded random start."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["random_start"]


def random_start(Y: Tensor, W: Tensor | None, n_components: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Uniform random spectra (B, K) and morphologies (K, N) whose product has the size of the data.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
    W : Tensor, shape (B, N), optional
        Entries of weight 0 do not count.
    n_components : int
        K.
    seed : int
        The same on every device: the numbers are drawn on the CPU.

    Returns
    -------
    A : Tensor, shape (B, K)
    S : Tensor, shape (K, N)
    """
    size = Y.abs() if W is None else torch.where(W > 0, Y, 0).abs()
    count = Y.numel() if W is None else max(1, int((W > 0).sum()))
    scale = (float(size.sum(dtype=torch.float64)) / count / n_components) ** 0.5
    generator = torch.Generator().manual_seed(seed)
    A = 2 * scale * torch.rand(Y.shape[0], n_components, generator=generator, dtype=torch.float64)
    S = 2 * scale * torch.rand(n_components, Y.shape[1], generator=generator, dtype=torch.float64)
    return A.to(Y), S.to(Y)
