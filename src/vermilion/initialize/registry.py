"""Starts by name, and many of them at once. A new start adds one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import ParameterError
from .directions import Search, search_spectra
from .kmeans import kmeans, search_kmeans
from .nfindr import nfindr, search_nfindr
from .nndsvd import nndsvd
from .random import random_start
from .sivm import search_sivm, sivm
from .snpa import search_snpa, snpa
from .spa import search_spa, spa
from .subspace import Subspace
from .vca import search_vca, vca

__all__ = ["PAIRS", "SEARCHES", "STARTS", "starting_directions", "starts"]

# both factors at once, spectra and morphologies
PAIRS: Mapping[str, Callable[..., tuple[Tensor, Tensor]]] = MappingProxyType({"nndsvd": nndsvd, "random": random_start})

# spectra in the weighted subspace
SEARCHES: Mapping[str, Search] = MappingProxyType(
    {
        "kmeans": search_kmeans,
        "nfindr": search_nfindr,
        "sivm": search_sivm,
        "snpa": search_snpa,
        "spa": search_spa,
        "vca": search_vca,
    }
)


def _spectra_of(name: str) -> Callable[..., Tensor]:
    """The spectra alone of a start that gives both factors."""

    def spectra(Y: Tensor, W: Tensor | None, n_components: int, *, seed: int = 0, **options: Subspace) -> Tensor:
        return PAIRS[name](Y, W, n_components, seed=seed, **options)[0]

    return spectra


# every start as ``start(Y, W, n_components, *, seed) -> A``
STARTS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "kmeans": kmeans,
        "nfindr": nfindr,
        "nndsvd": _spectra_of("nndsvd"),
        "random": _spectra_of("random"),
        "sivm": sivm,
        "snpa": snpa,
        "spa": spa,
        "vca": vca,
    }
)


def starts(
    name: str,
    Y: Tensor,
    W: Tensor | None,
    n_components: int,
    *,
    seeds: Sequence[int],
    space: Subspace | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Spectra (M, B, K) of one start under M seeds, all found in one subspace.

    The same for all seeds where a method draws nothing.

    Parameters
    ----------
    name : str
        One of `STARTS`.
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    n_components : int
        K.
    seeds : sequence of int
        At least one; the subspace depends on the first.
    space : Subspace, optional
        If it is known already: of the dimension of all components.
    known : Tensor, shape (B, J), optional
        Spectra that are known already; "nndsvd" and "random" know none.

    Returns
    -------
    Tensor, shape (M, B, K)
        In the data's unit; those of "nndsvd" and "random" share it with morphologies.

    Raises
    ------
    ParameterError
        If there is no such start or no seed, or `known` does not go with it.

    Examples
    --------
    >>> Y = torch.rand(8, 3) @ torch.rand(3, 40)
    >>> starts("vca", Y, None, 3, seeds=range(5)).shape
    torch.Size([5, 8, 3])
    """
    if name not in STARTS:
        raise ParameterError(f"start is {name!r}: expected one of {', '.join(map(repr, STARTS))}.")
    if len(seeds) == 0:
        raise ParameterError("seeds is empty: expected at least one integer, such as seeds=(0,).")
    if name in SEARCHES:
        return search_spectra(SEARCHES[name], Y, W, n_components, seeds=seeds, known=known, space=space)
    if known is not None:
        raise ParameterError(f"start {name!r} takes no known spectra: use one of {', '.join(map(repr, SEARCHES))}.")
    if name == "random":
        return torch.stack([random_start(Y, W, n_components, seed=seed)[0] for seed in seeds])
    return nndsvd(Y, W, n_components, seed=seeds[0], space=space)[0].expand(len(seeds), -1, -1)


def starting_directions(
    name: str, Y: Tensor, W: Tensor | None, n_components: int, *, space: Subspace, known: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Spectra (B, K) that a search of `SEARCHES` finds, of brightness one in data made white: any unit, but one for all."""
    return search_spectra(SEARCHES[name], Y, W, n_components, seeds=(seed,), known=known, space=space, brightness=False)[0]
