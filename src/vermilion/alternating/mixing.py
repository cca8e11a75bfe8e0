"""Newton's method for how components mix, where entropy on the morphologies decides it.

Spectra and morphologies can be mixed, A → A M and S → M⁻¹ S, and the model stays the same; only limits and entropy tell the mixtures apart,
weakly, and alternation creeps along that valley: along each of its directions an error shrinks to a part λ per iteration, with λ near 1.
Here the morphologies are eliminated instead. With the best s for every pixel, the objective is one of the spectra alone, with the Hessian

    P ⊗ 1 − Σₙ Jₙᵀ (G + diag(c/sₙ))⁻¹ Jₙ,    P = S Sᵀ, G = Aᵀ A, Jₙ = derivative of the slope at sₙ by A, c = weight of the entropy.

Up to noise its second part, C, acts between mixtures of the present spectra only: K² unknowns, in which the λ are the eigenvalues of C
against P. Beside it there is a K x K system for every band, and A >= 0, for which the entries that are 0 are found by turns.

References
----------
Golub & Pereyra 2003, Inverse Problems 19, R1 (elimination of one factor); Hintermüller, Ito & Kunisch 2003, SIAM J. Optim. 13, 865 (entries
at a limit).
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import kernels
from .quadratic import Block, Quadratic
from .sweep import Sweep

__all__ = ["DAMPING", "Mixing", "decides_mixing", "mix"]

DAMPING = 0.01
"""What every ``|1 − λ|`` counts as at least, in the first step."""

_LARGEST = 1 << 21  # numbers in the systems of all pixels
_PIXELS = 1 << 12  # worked on at a time
_TURNS = 2
_FINE, _PATIENCE = 3e-4, 4  # a step that gains little ends it if the damping is so low, or after so many of them


def decides_mixing(spectra: Block, morphologies: Block) -> bool:
    """Nothing but entropy and non-negative spectra of given sums tells mixtures apart."""
    whole = not (spectra.held or morphologies.held) and spectra.frozen is None and morphologies.frozen is None
    return whole and spectra.rows_add_up and morphologies.entropy is not None


def mix(sweep: Sweep, max_iter: int, tol: float, damping: float = DAMPING) -> tuple[int, float]:
    """Steps of Newton's method, each followed by an iteration, until one lowers the objective by less than `tol` of itself.

    A step is rejected like any other that makes the objective rise; then a part of it is tried. The `damping` under ``|1 − λ|``, for
    directions in which the quadratic ends before its minimum, falls while all goes well.

    Returns
    -------
    iterations : int
    damping : float
        Where the next level may begin; above 1 if Newton's method leads nowhere.
    """
    entropy, K = sweep.morphologies.entropy, len(sweep.S)
    iterations, small, shrink = 0, 0, 0.1
    if entropy is None or K < 2 or K * sweep.S.numel() > _LARGEST:
        return 0, torch.inf
    while iterations < max_iter and damping <= 1:
        before = sweep.objective
        try:
            model = Mixing(sweep.system(0, sweep.factors), sweep.system(1, sweep.factors), entropy)
            goal, fall = model.propose(damping)
            while fall <= model.settling and damping <= 1:
                damping, shrink = 6 * damping, shrink**0.5
                goal, fall = model.propose(damping)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return iterations, torch.inf
        for part in (1.0, 0.4, 0.16):
            A = torch.lerp(model.A, goal, part)
            sweep.rest()
            sweep.look_ahead(A.mT, model.follow(A), steps=8)
            sweep.step()
            iterations += 1
            fell = before - sweep.objective
            if fell > 0 or fall < tol * abs(before):
                break
        small = small + 1 if fell < tol * abs(before) else 0
        if small >= _PATIENCE or (small and part == 1 and damping <= _FINE):
            break
        if part < 1:
            damping, shrink = (2 if fell > 0 else 20) * damping, shrink**0.5
        else:
            damping, shrink = max(1e-8, damping * (shrink if fell > 0.7 * fall else 0.5)), max(0.1, shrink**1.2)
    return iterations, damping


class Mixing:
    """The objective of the spectra alone, near a point, as a quadratic.

    Parameters
    ----------
    spectra, morphologies : Quadratic
        Both systems at the same point, each with one matrix for all columns.
    entropy : tuple of float
        Weight and map of the entropy on the morphologies.

    Raises
    ------
    torch.linalg.LinAlgError
        If spectra, or morphologies, depend on each other linearly.
    """

    def __init__(self, spectra: Quadratic, morphologies: Quadratic, entropy: tuple[float, float]) -> None:
        self.A, self.P = spectra.at, spectra.G
        self.L = torch.linalg.cholesky(morphologies.G)
        self.Q = torch.linalg.solve_triangular(self.L, self.A, upper=False)  # A = L Q
        K = len(self.A)
        self.C, self.settling = self.A.new_zeros(K * K, K * K), 0.0  # settling: what the morphologies gain at these spectra
        self._pixels: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        slope = torch.zeros_like(self.P)
        for start in range(0, morphologies.at.shape[1], _PIXELS):
            slope += self._eliminate(morphologies.columns(slice(start, start + _PIXELS)), *entropy)
        self.gradient = spectra.gradient - slope.mT @ self.Q
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.P))
        one = torch.full_like(self.A[:1], self.A.shape[1] ** -0.5)  # sums of spectra stay
        self._onto = torch.cat([self.Q, one])
        self._overlap = torch.outer((self._onto @ self._onto.mT).flatten(), self._inverse.flatten())

    def propose(self, damping: float) -> tuple[Tensor, float]:
        """Spectra (K, B) lower down, where every ``|1 − λ|`` counts as `damping` at least, and the fall of the objective to expect."""
        zero = self.A <= 0
        for _ in range(_TURNS):
            goal, free = self._minimum(damping, zero)
            zero = torch.where(zero, ~free, goal < 0)
        best, fall = self.A, 0.0
        for part in (1.0, 0.5, 0.25, 0.1):
            X = torch.lerp(self.A, goal, part).clamp_min(0)
            X = X * (self.A.sum(dim=1, keepdim=True) / X.sum(dim=1, keepdim=True))
            if (value := self.fall(X)) <= fall:
                break
            best, fall = X, value
        return best, fall + self.settling

    def fall(self, A: Tensor) -> float:
        """What the objective loses on the way to A (K, B), beside `settling`."""
        move = A - self.A
        m = (self.Q @ move.mT).flatten()
        return float(0.5 * m @ self.C @ m - (move * (self.gradient + 0.5 * self.P @ move)).sum())

    def follow(self, A: Tensor) -> Tensor:
        """Morphologies (K, N) that suit the spectra A (K, B): a step of Newton's method, in the logarithm where it is long."""
        m = self.Q @ (A - self.A).mT
        out = []
        for x, rest, slope, H in self._pixels:
            ratio = (H * (slope + self.L @ m @ x - m.mT @ rest)).sum(dim=1) / x
            out.append(torch.where(ratio < 0.5, x * (1 - ratio), x * torch.exp(-ratio.clamp(0, 100))).clamp_min(kernels.LEAST))
        return torch.cat(out, dim=1)

    def _eliminate(self, system: Quadratic, weight: float, prior: float) -> Tensor:
        """Count some pixels in; the slope of mixtures by way of them (K, K)."""
        K, x, root = len(self.A), system.at, system.at.sqrt()
        rest = torch.linalg.solve_triangular(self.L, -system.gradient, upper=False)  # of the data, in the coordinates Q
        slope = system.gradient + weight * (x / prior).log()
        H = inverses(root[:, None] * root * system.G[..., None] + weight * torch.eye(K).to(x)[..., None]) * (root[:, None] * root)
        LH = (self.L.mT @ H.flatten(1)).reshape(H.shape)
        LHL = torch.einsum("qkn,kp->qpn", LH, self.L)

        def sums(X: Tensor, Y: Tensor, *order: int) -> Tensor:
            return (X.flatten(0, 1) @ Y.flatten(0, 1).mT).reshape(K, K, K, K).permute(order).reshape(K * K, K * K)

        cross = sums(LH, x[:, None] * rest, 0, 2, 3, 1)
        self.C += sums(LHL, x[:, None] * x, 0, 2, 1, 3) - cross - cross.mT + sums(rest[:, None] * rest, H, 0, 2, 1, 3)
        u = (H * slope).sum(dim=1)
        self.settling += 0.5 * float((u * slope).sum())
        self._pixels.append((x, rest, slope, H))
        return (self.L.mT @ u) @ x.mT - rest @ u.mT

    def _minimum(self, damping: float, zero: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra at the minimum with these zeros, and which of them would rather not be (K, B)."""
        K = len(self.A)
        some = zero.any(dim=0).nonzero()[:, 0]
        free = (~zero[:, some]).to(self.A)
        both = free[:, None] * free
        own = inverses(self.P[..., None] * both + torch.diag_embed((1 - free).mT).permute(1, 2, 0)) * both

        def answer(push: Tensor) -> Tensor:
            D = self._inverse @ push
            D[:, some] = (own * push[:, some]).sum(dim=1)
            return D

        # what a push of every mixture, and of every sum, moves
        q = self._onto[:, some]
        T = self._overlap + (q[:, None] * q).flatten(0, 1) @ (own - self._inverse[..., None]).flatten(0, 1).mT
        T = T.reshape(K + 1, K + 1, K, K).transpose(1, 2).reshape(K * K + K, K * K + K)
        (inner, side), (_, corner) = ((row[:, : K * K], row[:, K * K :]) for row in (T[: K * K], T[K * K :]))
        corner = torch.linalg.pinv(corner, hermitian=True)
        down = torch.where(zero, -self.A, 0.0)
        start = down + answer(-self.gradient - self.P @ down)
        c, excess = (self._onto @ start.mT).flatten().split((K * K, K))
        size, axes = torch.linalg.eigh(inner - side @ corner @ side.mT)
        keep = size > 1e-12 * size[-1]
        root, axes = size[keep].sqrt(), axes[:, keep]
        rates, turn = torch.linalg.eigh((axes * root).mT @ self.C @ (axes * root))
        axes = (axes / root) @ turn
        gain = 1 / (1 - rates).abs().clamp_min(damping) - 1
        y = axes @ (gain * (axes.mT @ (c - side @ (corner @ excess))))
        push = torch.cat([y, -corner @ (excess + side.mT @ y)]).reshape(K + 1, K).mT @ self._onto
        D = start + answer(push)
        return self.A + D, self.P @ D + self.gradient < push


def inverses(M: Tensor) -> Tensor:
    """Inverses of positive definite matrices (K, K, n), by elimination without pivots."""
    M = M.clone()
    for k in range(len(M)):
        inverse = M[k, k].reciprocal()
        row, column = M[k] * inverse, M[:, k].clone()
        M -= column[:, None] * row
        M[k], M[:, k] = row, -column * inverse
        M[k, k] = inverse
    return M
