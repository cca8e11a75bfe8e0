"""Members of a library that explain the data."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .directions import Directions, signal_subspace
from .snpa import hull_residuals
from .subspace import Subspace

__all__ = ["choose_from_library", "library"]

_PIXELS = 1 << 10
_PROMISING = 8
_EXCHANGES = 10


def library(
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    spectra: Tensor,
    seed: int = 0,
    space: Subspace | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Spectra (B, K) of the members of a library that explain the data best, in the order in which they are chosen.

    As `choose_from_library`, of which these are the columns chosen.
    """
    return spectra[:, choose_from_library(Y, W, n_components, spectra=spectra, seed=seed, space=space, known=known)].to(Y)


def choose_from_library(
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    spectra: Tensor,
    seed: int = 0,
    space: Subspace | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Index (K,) of the members of a library that together explain the data best.

    Members are added one by one, each the one that lowers the squares left over most when all are fitted anew (orthogonal least
    squares), or the one that lies best in the subspace of the signal; both choices are improved by exchanges, as long as one brings the
    pixels nearer to the hull of the members and 0, and the better one is returned. The pixels are directions in the weighted subspace,
    so bright ones count no more than others; at most 1024 of them, the most extreme.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    n_components : int
        K, at most the number of members.
    spectra : Tensor, shape (B, L)
        The library on the bands of the data, such as from `resample_spectra`; in any unit.
    seed : int
        Of the search for the subspace.
    space : Subspace, optional
        Where to look, if it is known already: of the dimension of all components, known and new.
    known : Tensor, shape (B, J), optional
        Spectra that are there already.

    Returns
    -------
    Tensor of int, shape (K,)

    Raises
    ------
    ShapeError
        If the bands do not agree.
    ParameterError
        If the library has fewer members, or members that are not finite or 0.

    References
    ----------
    Chen, Billings & Luo 1989, Int. J. Control 50, 1873 (orthogonal least squares); Davies & Eldar 2012, IEEE Trans. Inf. Theory 58, 1135
    (the subspace).
    """
    if spectra.ndim != 2 or len(spectra) != len(Y):
        raise ShapeError(f"the library has shape {tuple(spectra.shape)}, the data {tuple(Y.shape)}: expected ({len(Y)}, members).")
    if spectra.shape[1] < n_components:
        raise ParameterError(f"the library has {spectra.shape[1]} members: expected at least n_components = {n_components}.")
    n_known = 0 if known is None else known.shape[1]
    space = signal_subspace(Y, W, n_components + n_known, seed=seed) if space is None else space
    view = Directions.of(space)
    members = space.band_scale[:, None] * spectra.to(view.points)
    norms = torch.linalg.vector_norm(members, dim=0)
    useless = torch.nonzero(~(norms.isfinite() & (norms > 0)))[:, 0].tolist()
    if useless:
        raise ParameterError(f"members {useless[:5]} of the library are 0 or not finite in the bands with weight: leave them out.")
    there = members[:, :0] if known is None else space.band_scale[:, None] * known.to(members)
    fit = _Fit(view, members / norms, there)
    sets = [fit.improved(fit.greedy(n_components, signal)) for signal in (fit.scatter, torch.eye(len(view.points)).to(members))]
    return torch.tensor(min(sets, key=fit.loss), dtype=torch.long, device=spectra.device)


class _Fit:
    """Points of the subspace, and members (B, L) of a library and spectra (B, J) that are always there to fit them with; white."""

    def __init__(self, view: Directions, members: Tensor, there: Tensor) -> None:
        away = (view.points - view.axis[:, None]).square().sum(dim=0)
        away = torch.where(view.axis @ view.points > 0.5, away, 0.0)
        self.points = view.points[:, away.topk(min(_PIXELS, len(away))).indices]
        self.scatter = self.points @ self.points.T
        self.basis, self.axis = view.space.basis, view.axis
        self.members, self.there = members, there

    def greedy(self, n_components: int, signal: Tensor) -> list[int]:
        """Members one by one, each the best beside those before."""
        chosen: list[int] = []
        for _ in range(n_components):
            chosen.append(int(self._gains(chosen, signal).argmax()))
        return chosen

    def improved(self, chosen: list[int]) -> list[int]:
        """After exchanges of single members, until none helps."""
        loss = self.loss(chosen)
        for _ in range(_EXCHANGES):
            before = loss
            for k in range(len(chosen)):
                others = chosen[:k] + chosen[k + 1 :]
                promising = self._gains(others, self.scatter).topk(min(_PROMISING, self.members.shape[1] - len(others))).indices
                sets = [[*chosen[:k], member, *chosen[k + 1 :]] for member in promising.tolist()]
                losses = [self.loss(one) for one in sets]
                if min(losses) < loss:
                    loss = min(losses)
                    chosen = sets[losses.index(loss)]
            if loss >= before * (1 - 1e-9):
                break
        return chosen

    def loss(self, chosen: list[int]) -> float:
        """Sum of squared distances of the points from the hull of the spectra, of brightness one, and 0."""
        corners = torch.cat([self.members[:, chosen], self.there], dim=1)
        inside = self.basis.T @ corners
        brightness = torch.maximum(self.axis @ inside, 0.01 * torch.linalg.vector_norm(inside, dim=0))
        corners, inside = (x / torch.where(brightness > 0, brightness, 1.0) for x in (corners, inside))
        outside = torch.linalg.qr(corners - self.basis @ inside)[1]  # what spectra have outside the subspace no pixel has
        points = torch.cat([self.points, self.points.new_zeros(len(outside), self.points.shape[1])])
        return float(hull_residuals(points, torch.cat([inside, outside])).sum())

    def _gains(self, chosen: list[int], signal: Tensor) -> Tensor:
        """By how much every member (L,) lowers a quadratic form of the subspace that is left over, when all are fitted anew."""
        span = torch.cat([self.members[:, chosen], self.there], dim=1)
        beside = self.members
        if span.shape[1]:
            left, values, _ = torch.linalg.svd(span, full_matrices=False)
            left = left[:, values > 1e-10 * values[0]]
            beside = beside - left @ (left.T @ beside)
        seen = self.basis.T @ beside
        gains = (seen * (signal @ seen)).sum(dim=0) / beside.square().sum(dim=0).clamp_min(1e-20)
        gains[chosen] = -1
        return gains
