"""Abundances whose maps vary little: non-negative least squares with a price on edges."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from ..alternating.quadratic import pairs, place
from ..errors import ConvergenceWarning, MemoryLimitError
from ..prox.simplex import Simplex
from ..prox.smoothness import filtered

__all__ = ["minimize_with_variation"]

_CHECK_EVERY = 10
_RELAXATION = 1.6
_MOST_NUMBERS = 1 << 28  # of all matrices, where each pixel has its own


@dataclass(frozen=True)
class _Systems:
    """``G_n = V_n diag(λ_n) V_nᵀ`` of all pixels: V (K, K) or (N, K, K), values (K, 1) or (K, N); C (K, N)."""

    V: Tensor
    values: Tensor
    C: Tensor

    def solve(self, right: Tensor, penalty: float) -> Tensor:
        """``(G + penalty I)⁻¹ right``, shape (K, N)."""
        if self.V.ndim == 2:
            return self.V @ ((self.V.T @ right) / (self.values + penalty))
        rotated = torch.einsum("nij,in->jn", self.V, right)
        return torch.einsum("nij,jn->in", self.V, rotated / (self.values + penalty))


def minimize_with_variation(
    Y: Tensor,
    A: Tensor,
    W: Tensor | None,
    *,
    weight: float,
    variation: float,
    shape: tuple[int, int],
    isotropic: bool,
    total: float | None,
    tol: float,
    max_iter: int,
) -> Tensor:
    """Minimizers of ``½ Σ w (y − A s)² + weight Σ s + variation Σ_k TV(s_k)`` over ``s >= 0``, shape (K, N), float64.

    Alternating directions: the data, the signs and the differences of neighbors each have a copy of the maps, which are made to agree.
    """
    systems, unit, price = _systems(Y, A, W)
    weight, variation = weight * price, variation * price
    simplex = None if total is None else Simplex(0, total / unit)
    S, left = _alternate(systems, weight, variation, shape, isotropic, simplex, tol, max_iter)
    if left > tol:
        warnings.warn(
            f"the maps with total variation still moved by {left:.1e} of their size after {max_iter} iterations, expected {tol:.1e}: "
            "raise max_iter or tol.",
            ConvergenceWarning,
            stacklevel=6,
        )
    return S * unit


def _systems(Y: Tensor, A: Tensor, W: Tensor | None) -> tuple[_Systems, float, float]:
    """Systems of order one, the unit of their abundances, and what prices are multiplied by.

    Raises
    ------
    MemoryLimitError
        If every pixel has a matrix of its own and they are too many.
    """
    K, N = A.shape[1], Y.shape[1]
    w = torch.ones(1, 1, dtype=torch.float64, device=Y.device) if W is None else W.to(torch.float64)
    heaviest = float(w.amax()) or 1.0
    w = w / heaviest
    y = Y.to(torch.float64)
    y = y if W is None else torch.where(w > 0, y, 0)
    height = float(y.abs().amax()) or 1.0
    size = float(torch.linalg.vector_norm(A * (w.amax(dim=1, keepdim=True)).sqrt(), dim=0).amax()) or 1.0
    A, y = A / size, y / height
    C = A.T @ (w * y)
    if 1 in w.shape:
        per_pixel = w.shape[0] == 1
        values, V = torch.linalg.eigh(A.T @ A if per_pixel else A.T @ (w * A))
        values = values.clamp_min(0)[:, None] * (w if per_pixel else 1)
    else:
        if N * K * K > _MOST_NUMBERS:
            raise MemoryLimitError(
                f"{N} pixels with weights for every entry need a matrix of {K} x {K} each: give weights per band (bands, 1) or per pixel "
                "(1, pixels), or fewer spectra."
            )
        G = (pairs(A.T) @ w)[place(K, A.device)].movedim(-1, 0)
        values, V = torch.linalg.eigh(G)
        values = values.clamp_min(0).T
    return _Systems(V, values, C), height / size, 1 / (heaviest * height * size)


def _alternate(
    systems: _Systems,
    weight: float,
    variation: float,
    shape: tuple[int, int],
    isotropic: bool,
    simplex: Simplex | None,
    tol: float,
    max_iter: int,
) -> tuple[Tensor, float]:
    """Maps that obey the constraints, and what is left of the relative residuals.

    References
    ----------
    Boyd et al. 2011, Found. Trends Mach. Learn. 3, 1, sections 3.3 (residuals) and 3.4 (over-relaxation, balanced penalty).
    """
    penalty = 0.1
    S = torch.zeros_like(systems.C)
    copies = seen = [S, S, _gradient(S, shape)]
    duals = [torch.zeros_like(s) for s in seen]
    left = float("inf")
    for iteration in range(1, max_iter + 1):
        near = [s - d for s, d in zip(seen, duals, strict=True)]
        copies = [
            systems.solve(systems.C + penalty * near[0], penalty),
            simplex(near[1], 1.0) if simplex is not None else (near[1] - weight / penalty).clamp_min(0),
            _shrunk(near[2], variation / penalty, isotropic),
        ]
        relaxed = [_RELAXATION * c + (1 - _RELAXATION) * s for c, s in zip(copies, seen, strict=True)]
        U, V, Z = (r + d for r, d in zip(relaxed, duals, strict=True))
        right = U + V + _adjoint(Z, shape)
        S = filtered(right.unflatten(1, shape), lambda eigenvalue: 1 / (2 + eigenvalue)).flatten(1)
        before, seen = seen, [S, S, _gradient(S, shape)]
        duals = [d + r - s for d, r, s in zip(duals, relaxed, seen, strict=True)]
        if iteration % _CHECK_EVERY == 0 or iteration == max_iter:
            primal = _distance(copies, seen) / max(_size(copies), _size(seen), 1e-300)
            dual = _distance(seen, before) / max(_size(duals), 1e-300)
            left = max(primal, dual)
            if left <= tol:
                break
            if not 0.1 < primal / max(dual, 1e-300) < 10:
                factor = 2.0 if primal > dual else 0.5
                penalty *= factor
                duals = [d / factor for d in duals]
    return copies[1], left


def _gradient(S: Tensor, shape: tuple[int, int]) -> Tensor:
    """Forward differences (K, 2, Ny, Nx) of maps (K, N); 0 beyond the last pixel."""
    maps = S.unflatten(1, shape)
    gradient = maps.new_zeros(len(maps), 2, *shape)
    gradient[:, 0, :-1] = maps.diff(dim=1)
    gradient[:, 1, :, :-1] = maps.diff(dim=2)
    return gradient


def _adjoint(field: Tensor, shape: tuple[int, int]) -> Tensor:
    """What `_gradient` is the transpose of, for any field, shape (K, N)."""
    maps = field.new_zeros(len(field), *shape)
    down, right = field[:, 0, :-1], field[:, 1, :, :-1]
    maps[:, 1:] += down
    maps[:, :-1] -= down
    maps[:, :, 1:] += right
    maps[:, :, :-1] -= right
    return maps.flatten(1)


def _shrunk(field: Tensor, threshold: float, isotropic: bool) -> Tensor:
    """Soft thresholding of a field's length, or of its components."""
    if not isotropic:
        return field.sign() * (field.abs() - threshold).clamp_min(0)
    length = torch.linalg.vector_norm(field, dim=1, keepdim=True)
    return field * torch.where(length > threshold, 1 - threshold / length, 0)


def _size(tensors: list[Tensor]) -> float:
    return sum(float(t.square().sum()) for t in tensors) ** 0.5


def _distance(first: list[Tensor], second: list[Tensor]) -> float:
    return sum(float((a - b).square().sum()) for a, b in zip(first, second, strict=True)) ** 0.5
