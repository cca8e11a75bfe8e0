"""SiVM: simplex volume maximization by distances."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import FAINT, NEIGHBORS, Directions, search_spectra
from .subspace import Subspace

__all__ = ["search_sivm", "sivm", "volume_gain"]


def sivm(
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    seed: int = 0,
    space: Subspace | None = None,
    known: Tensor | None = None,
    neighbors: int = NEIGHBORS,
    faint: float = FAINT,
) -> Tensor:
    """Spectra (B, K) of pixels that are far from each other, added one by one so that the volume of their simplex grows most.

    The volume is that of a simplex whose vertices so far are equally far from each other, which takes only distances; pixels are divided
    by their brightness. The squared distances enter as they are, in units of the largest one: their logarithms, as published, would make
    the choice depend on the unit.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0; signed data are welcome.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    n_components : int
        K, spectra wanted beside the known ones.
    seed : int
        Of the search for the subspace, and of pixels drawn where K is larger than the rank of the data.
    space : Subspace, optional
        Where to look, if it is known already: of the dimension of all components, known and new.
    known : Tensor, shape (B, J), optional
        Spectra that are vertices already.
    neighbors : int
        Pixels averaged per vertex; 1 is the method as published.
    faint : float
        Signal-to-noise in the subspace below which a pixel is shrunk.

    Returns
    -------
    Tensor, shape (B, K)
        In the data's unit, with the brightness of the pixels they come from; signed where the data are. 0 in bands without weight.

    References
    ----------
    Thurau, Kersting & Bauckhage 2010, CIKM, 1785.
    """
    return search_spectra(search_sivm, Y, W, n_components, seeds=(seed,), known=known, space=space, neighbors=neighbors, faint=faint)[0]


def search_sivm(view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vertices far from each other; the same for all seeds."""
    axis = view.axis[:, None]
    # without the coordinate along the mean pixel: faint pixels are then near it, not far from all
    points = view.points - axis @ (axis.T @ view.points)
    vertices = [] if known is None else list((known - axis @ (axis.T @ known)).T)
    if not vertices:
        corner = points[:, int(_distances(points, points.mean(dim=1)).argmax())]
        vertices, chosen = [], [int(_distances(points, corner).argmax())]
        vertices.append(points[:, chosen[0]])
    else:
        chosen = []
    distances = torch.stack([_distances(points, vertex) for vertex in vertices])
    edge = distances[0].max().clamp_min(torch.finfo(points.dtype).tiny)
    for _ in range(min(n_components, view.rank, view.room(known)[1].shape[1]) - len(chosen)):
        taken = (distances <= 1e-20 * edge).any(dim=0)
        chosen.append(int(volume_gain(distances / edge).masked_fill_(taken, -torch.inf).argmax()))
        distances = torch.cat([distances, _distances(points, points[:, chosen[-1]])[None]])
    pixels = torch.tensor(chosen[:n_components], dtype=torch.long, device=points.device)
    return view.vertices(pixels.expand(len(seeds), -1), n_components, seeds)


def volume_gain(distances: Tensor) -> Tensor:
    """What decides on the volume of a simplex of edge 1 with one more vertex, from its squared distances (n, N) to the n others.

    ``2 Σ_i<j e_i e_j + 2 Σ_i e_i - (n - 1) Σ_i e_i² - (n - 1)``, which is ``2ⁿ (n!)²`` times the squared volume.
    """
    n, total = len(distances), distances.sum(dim=0)
    return total.square() + 2 * total - n * distances.square().sum(dim=0) - (n - 1)


def _distances(points: Tensor, vertex: Tensor) -> Tensor:
    return (points - vertex[:, None]).square().sum(dim=0)
