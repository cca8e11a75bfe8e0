"""SPA: successive projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import FAINT, NEIGHBORS, Directions, search_spectra
from .subspace import Subspace

__all__ = ["search_spa", "spa"]


def spa(
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
    """Spectra (B, K) of the most extreme pixels, by successive projection in the weighted K-dimensional subspace.

    Pixels are divided by their brightness, so that not the brightest but the purest are found; those whose direction noise has blurred,
    brightness below ``faint · √K`` times the noise, are shrunk towards 0 instead. Each vertex is the mean of the extreme pixel and its
    nearest neighbors in the subspace, as far as noise may account for their distance.

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
        Spectra that are known already: the new ones are looked for outside their span.
    neighbors : int
        Pixels averaged per vertex.
    faint : float
        Signal-to-noise in the subspace below which a pixel is shrunk.

    Returns
    -------
    Tensor, shape (B, K)
        In the data's unit, with the brightness of the pixels they come from; signed where the data are. 0 in bands without weight.

    References
    ----------
    Araújo et al. 2001, Chemom. Intell. Lab. Syst. 57, 65; Gillis & Vavasis 2014, IEEE TPAMI 36, 698.
    """
    return search_spectra(search_spa, Y, W, n_components, seeds=(seed,), known=known, space=space, neighbors=neighbors, faint=faint)[0]


def search_spa(view: Directions, n_components: int, seeds: Sequence[int], known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vertices where what is left beside those before has the largest norm; the same for all seeds."""
    inside, beside = view.room(known)
    residual = _project_out(view.points, inside)
    chosen: list[int] = []
    for _ in range(min(n_components, view.rank, beside.shape[1])):
        norms = residual.square().sum(dim=0)
        extreme = int(torch.argmax(norms))
        if float(norms[extreme]) <= 0:
            break
        chosen.append(extreme)
        residual = _project_out(residual, residual[:, extreme, None] / norms[extreme].sqrt())
    pixels = torch.tensor(chosen, dtype=torch.long, device=residual.device)
    return view.vertices(pixels.expand(len(seeds), -1), n_components, seeds)


def _project_out(points: Tensor, basis: Tensor) -> Tensor:
    return points - basis @ (basis.T @ points)
