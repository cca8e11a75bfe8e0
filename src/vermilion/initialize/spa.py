"""SPA: successive projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .directions import Directions, start_by

__all__ = ["search_spa", "spa"]


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


spa = start_by(
    search_spa,
    what="""Spectra (B, K) of the most extreme pixels, by successive projection in the weighted K-dimensional subspace.

Pixels are divided by their brightness, so that not the brightest but the purest are found; those whose direction noise has blurred,
brightness below ``faint · √K`` times the noise, are shrunk towards 0 instead. Each vertex is the mean of the extreme pixel and its
nearest neighbors in the subspace, as far as noise may account for their distance.""",
    seed="Of the search for the subspace, and of pixels drawn where K is larger than the rank of the data.",
    known="Spectra that are known already: the new ones are looked for outside their span.",
    source="""Araújo et al. 2001, Chemom. Intell. Lab. Syst. 57, 65; Gillis & Vavasis 2014, IEEE TPAMI 36, 698.""",
)


def _project_out(points: Tensor, basis: Tensor) -> Tensor:
    return points - basis @ (basis.T @ points)
