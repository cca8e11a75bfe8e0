"""k-means: centers of clusters of directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import FAINT, Directions, draw_normal, search_spectra
from .subspace import Subspace

__all__ = ["kmeans", "search_kmeans"]


def kmeans(
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    seed: int = 0,
    space: Subspace | None = None,
    known: Tensor | None = None,
    faint: float = FAINT,
) -> Tensor:
    """Spectra (B, K) of the centers of K clusters of pixels of alike direction, by Lloyd's iterations after k-means++.

    Minimizes ``Σ_n |p_n - t_n μ_k(n)|²``, where p is a pixel over its brightness, and t = 1, or less for pixels that are too faint for
    that: these count less.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0; signed data are welcome.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    n_components : int
        K, spectra wanted beside the known ones.
    seed : int
        Of the first centers.
    space : Subspace, optional
        Where to look, if it is known already: of the dimension of all components, known and new.
    known : Tensor, shape (B, J), optional
        Spectra that are centers already and stay where they are.
    faint : float
        Signal-to-noise in the subspace below which a pixel is shrunk.

    Returns
    -------
    Tensor, shape (B, K)
        In the data's unit, with the mean brightness of the pixels of a cluster; signed where the data are. 0 in bands without weight.

    References
    ----------
    Lloyd 1982, IEEE Trans. Inf. Theory 28, 129; Arthur & Vassilvitskii 2007, SODA, 1027.
    """
    return search_spectra(search_kmeans, Y, W, n_components, seeds=(seed,), known=known, space=space, faint=faint)[0]


def search_kmeans(
    view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None, *, max_iter: int = 100
) -> tuple[Tensor, Tensor]:
    """Centers of clusters, for all seeds at once."""
    clusters = _Clusters(view)
    fixed = 0 if known is None else known.shape[1]
    centers = clusters.first(n_components, seeds, known)
    labels = clusters.nearest(centers)
    for _ in range(max_iter):
        moved = clusters.means(labels, centers)
        centers = torch.cat([centers[:, :, :fixed], moved[:, :, fixed:]], dim=2)
        before, labels = labels, clusters.nearest(centers)
        if torch.equal(before, labels):
            break
    return centers[:, :, fixed:], clusters.brightness(labels, centers.shape[2])[:, fixed:]


class _Clusters:
    """Pixels p (r, N) that count by t (N,): squared distances from a center μ are ``|p - t μ|²``."""

    def __init__(self, view: Directions) -> None:
        self.view, self.points = view, view.points
        self.t = (view.axis @ view.points).clamp(min=0)

    def first(self, n_components: int, seeds: Sequence[int], known: Tensor | None) -> Tensor:
        """k-means++: centers (M, r, J + K) at pixels drawn by their squared distance from the centers so far."""
        n_sets, size = len(seeds), len(self.points)
        # drawn along a random direction: what is drawn does not depend on the order of the pixels
        order = (draw_normal(seeds, size, like=self.points) @ self.points).argsort(dim=1)
        levels = torch.stack(
            [torch.rand(n_components, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
        )
        levels = levels.to(self.points)
        centers = self.points.new_zeros(n_sets, size, 0) if known is None else known.expand(n_sets, -1, -1)
        away = self.t.square().expand(n_sets, -1) if known is None else self._distances(centers).amin(dim=1)
        for k in range(n_components):
            sums = away.gather(1, order).cumsum(dim=1)
            rank = torch.searchsorted(sums, levels[:, k, None] * sums[:, -1:]).clamp(max=sums.shape[1] - 1)
            pixel = order.gather(1, rank)[:, 0]
            t = self.t[pixel]
            center = (self.points[:, pixel] / torch.where(t > 0, t, 1.0)).T[:, :, None]
            centers = torch.cat([centers, center], dim=2)
            here = self._distances(center)[:, 0]
            away = here if k == 0 and known is None else torch.minimum(away, here)
        return centers

    def nearest(self, centers: Tensor) -> Tensor:
        """Index (M, N) of the nearest center."""
        return self._distances(centers).argmin(dim=1)

    def means(self, labels: Tensor, centers: Tensor) -> Tensor:
        """Centers (M, r, K) that minimize the distances of their pixels; where they were if they have none."""
        belongs = self._belongs(labels, centers.shape[2])
        counts = belongs @ self.t.square()
        sums = belongs @ (self.t * self.points).T
        means = sums / torch.where(counts > 0, counts, 1.0)[:, :, None]
        return torch.where(counts[:, None, :] > 0, means.transpose(1, 2), centers)

    def brightness(self, labels: Tensor, n_centers: int) -> Tensor:
        """Mean brightness (M, K) of the pixels of a cluster, of all pixels where it has none."""
        belongs, counted = self._belongs(labels, n_centers), self.t.square()
        counts = belongs @ counted
        total = (counted * self.view.brightness).sum() / counted.sum().clamp_min(torch.finfo(counted.dtype).tiny)
        return torch.where(counts > 0, belongs @ (counted * self.view.brightness) / torch.where(counts > 0, counts, 1.0), total)

    def _belongs(self, labels: Tensor, n_centers: int) -> Tensor:
        return (labels[:, None, :] == torch.arange(n_centers, device=labels.device)[:, None]).to(self.points)

    def _distances(self, centers: Tensor) -> Tensor:
        """Squared distances (M, K, N) of pixels from centers (M, r, K)."""
        along = centers.transpose(1, 2) @ self.points
        sizes = centers.square().sum(dim=1)[:, :, None]
        return (self.points.square().sum(dim=0) + self.t * (self.t * sizes - 2 * along)).clamp(min=0)
