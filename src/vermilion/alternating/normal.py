"""Normal equations of the two blocks of Y ≈ A S, with and without weights, without a temporary of the size of Y.

For one block the loss is a sum of small quadratics, ``½ xᵀ G x − cᵀ x`` for every column x of the unknown. For the morphologies a column
is a pixel, ``G_n = Aᵀ W_n A`` and ``c_n = Aᵀ W_n y_n``; for the spectra it is a band, ``G_b = S W_b Sᵀ`` and ``c_b = S W_b y_b``. Without
weights all columns share one G. With weights the K(K+1)/2 different entries of all G come from one product of W with products of factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .tiles import TileSource

__all__ = ["NormalEquations", "loss", "morphology_equations", "spectra_equations"]


@dataclass(frozen=True)
class NormalEquations:
    """``½ xᵀ G x − cᵀ x`` for every column x of a (K, M) unknown.

    Parameters
    ----------
    G : Tensor, shape (K, K) or (K, K, M)
        One matrix for all columns, or one for each.
    C : Tensor, shape (K, M)
    """

    G: Tensor
    C: Tensor

    def gradient(self, X: Tensor) -> Tensor:
        """``G X − C``, shape (K, M)."""
        if self.G.ndim == 2:
            return torch.addmm(self.C, self.G, X, beta=-1)
        out = torch.empty_like(X)
        for k in range(len(X)):
            torch.sum(self.G[k] * X, dim=0, out=out[k])
        return out.sub_(self.C)

    def diagonal(self) -> Tensor:
        """Diagonals of G, shape (K, 1) or (K, M)."""
        return self.G.diagonal().T if self.G.ndim == 3 else self.G.diagonal()[:, None]

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.G + other.G, self.C + other.C)

    def __sub__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.G - other.G, self.C - other.C)


def _pairs(X: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the rows of X (K, M), shape (K(K+1)/2, M), and where entry (k, l) of the square stands among them, shape (K, K)."""
    n = len(X)
    rows, columns = torch.triu_indices(n, n, device=X.device)
    place = torch.empty(n, n, dtype=torch.long, device=X.device)
    place[rows, columns] = place[columns, rows] = torch.arange(len(rows), device=X.device)
    return X[rows] * X[columns], place


def spectra_equations(tiles: TileSource, S: Tensor) -> NormalEquations:
    """The system whose unknown is Aᵀ (K, B), for given morphologies.

    Parameters
    ----------
    tiles : TileSource
    S : Tensor, shape (K, N)

    Returns
    -------
    NormalEquations
        G is (K, K) without weights, (K, K, B) with weights.
    """
    n_bands, _ = tiles.shape
    C = S.new_empty(len(S), n_bands)
    if not tiles.weighted:
        for bands, y, _ in tiles:
            C[:, bands] = S @ y.to(S.dtype).T
        return NormalEquations(S @ S.T, C)
    products, place = _pairs(S)
    packed = S.new_empty(len(products), n_bands)
    for bands, y, w in tiles:
        assert w is not None
        packed[:, bands] = products @ w.to(S.dtype).T
        C[:, bands] = S @ (w * y).to(S.dtype).T
    return NormalEquations(packed[place], C)


def morphology_equations(tiles: TileSource, A: Tensor) -> NormalEquations:
    """The system whose unknown is S (K, N), for given spectra.

    Parameters
    ----------
    tiles : TileSource
    A : Tensor, shape (B, K)

    Returns
    -------
    NormalEquations
        G is (K, K) without weights, (K, K, N) with weights.
    """
    _, n_pixels = tiles.shape
    C = A.new_zeros(A.shape[1], n_pixels)
    if not tiles.weighted:
        for bands, y, _ in tiles:
            C.addmm_(A[bands].T, y.to(A.dtype))
        return NormalEquations(A.T @ A, C)
    products, place = _pairs(A.T)
    packed = A.new_zeros(len(products), n_pixels)
    for bands, y, w in tiles:
        assert w is not None
        packed.addmm_(products[:, bands], w.to(A.dtype))
        C.addmm_(A[bands].T, (w * y).to(A.dtype))
    return NormalEquations(packed[place], C)


def loss(tiles: TileSource, A: Tensor, S: Tensor) -> float:
    """``½ Σ w (y − A S)²`` from the residual itself, summed over the bands in float64.

    The cheaper form by statistics, ``½ Σ w y² − Σ C S + …``, loses all digits that matter when the signal is a thousand times the noise.
    """
    total = torch.zeros((), dtype=torch.float64, device=A.device)
    for bands, y, w in tiles:
        residual = torch.addmm(y, A[bands].to(y.dtype), S.to(y.dtype), alpha=-1)
        # one sum per band in the data's own type, a few digits better than the change of an iteration; the sum over bands in float64
        if w is None:
            total += torch.linalg.vector_norm(residual, dim=1).double().square().sum()
        else:
            total += torch.linalg.vecdot(residual, residual * w).sum(dtype=torch.float64)
    return 0.5 * float(total)
