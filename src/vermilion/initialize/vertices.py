"""Starts from extreme pixels: where a component is nearly alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .subspace import Subspace, weighted_subspace

__all__ = ["spa"]


def spa(
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    known: Tensor | None = None,
    neighbors: int = 3,
    faint: float = 100.0,
    seed: int = 0,
    space: Subspace | None = None,
) -> Tensor:
    """Spectra (B, K) of the most extreme pixels, by successive projection in the weighted K-dimensional subspace.

    Pixels are divided by their brightness, so that not the brightest but the purest are found; those whose direction noise has blurred,
    brightness below ``faint · √K`` times the noise, are shrunk towards 0 instead. Each vertex is the mean of the extreme pixel and its
    nearest neighbors in the subspace.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0; signed data are welcome.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    n_components : int
        K, spectra wanted beside the known ones.
    known : Tensor, shape (B, J), optional
        Spectra that are known already: the new ones are looked for outside their span.
    neighbors : int
        Pixels averaged per vertex.
    faint : float
        Signal-to-noise in the subspace below which a pixel is shrunk.
    seed : int
    space : Subspace, optional
        Where to look, if it is known already: of the dimension of all components, known and new.

    Returns
    -------
    Tensor, shape (B, K)
        In the data's unit; signed where the data are. 0 in bands without weight.

    References
    ----------
    Araújo et al. 2001, Chemom. Intell. Lab. Syst. 57, 65; Gillis & Vavasis 2014, IEEE TPAMI 36, 698.
    """
    n_known = 0 if known is None else known.shape[1]
    rank = min(n_components + n_known, *Y.shape)
    space = weighted_subspace(Y, W, rank, seed=seed) if space is None else space
    space = replace(space, coordinates=space.coordinates.double())
    points = _directions(space, faint)
    residual = points.clone()
    if known is not None:
        seen = space.basis.T @ (space.band_scale[:, None] * known.double())
        residual = _project_out(residual, torch.linalg.qr(seen)[0])
    chosen = []
    for k in range(n_components):
        norms = residual.square().sum(dim=0)
        extreme = int(torch.argmax(norms))
        if k >= rank or float(norms[extreme]) <= 0:
            chosen.append(_any_pixel(space, k, seed))
            continue
        nearest = (points - points[:, extreme, None]).square().sum(dim=0).topk(min(neighbors, Y.shape[1]), largest=False).indices
        vertex = points[:, nearest].mean(dim=1)
        chosen.append(vertex)
        direction = residual[:, extreme] / norms[extreme].sqrt()
        residual = _project_out(residual, direction[:, None])
    return space.spectra(torch.stack(chosen, dim=1)).to(Y)


def _directions(space: Subspace, faint: float) -> Tensor:
    """Pixels of brightness one, shape (r, N); fainter than the noise allows: less than one.

    The brightness is the coordinate along the mean pixel: linear, so that mixtures stay inside the simplex of their vertices.
    """
    mean = space.coordinates.sum(dim=1)
    axis = mean / torch.linalg.vector_norm(mean).clamp_min(torch.finfo(mean.dtype).tiny)
    brightness = axis @ space.coordinates
    # noiseless data: every pixel that is not zero counts in full
    floor = max(faint * len(mean) ** 0.5 * space.noise, 1e-6 * float(brightness.abs().max()))
    # signed data: what is orthogonal to the mean pixel is not infinitely pure
    norms = torch.linalg.vector_norm(space.coordinates, dim=0)
    return space.coordinates / torch.maximum(brightness, 0.01 * norms).clamp(min=max(floor, torch.finfo(mean.dtype).tiny))


def _project_out(points: Tensor, basis: Tensor) -> Tensor:
    return points - basis @ (basis.T @ points)


def _any_pixel(space: Subspace, k: int, seed: int) -> Tensor:
    """A pixel drawn at random: more components were asked for than the data have dimensions."""
    generator = torch.Generator().manual_seed(seed + k)
    return space.coordinates[:, int(torch.randint(space.coordinates.shape[1], (1,), generator=generator))]
