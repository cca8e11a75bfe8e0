"""Spectra that a pixel did not help to determine."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .sketch import Sketch
from .sweep import Sweep
from .tiles import release, room

__all__ = ["leave_out_spectra"]


def leave_out_spectra(sweep: Sweep, *, folds: int = 4, iterations: int = 15, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """One set of spectra per group of pixels, fitted further without that group.

    A single update of the spectra is not enough: the morphologies of the other pixels remember the ones left out. On pure noise (600 bands,
    1600 pixels, K = 4) the mean pull of maps made with the spectra falls from 0.13 to 0.08 after one update, to 0.02 after ten iterations.

    Where a group holds more than half of what is known of a component (a source of a few pixels), the full spectrum is kept.

    Parameters
    ----------
    sweep : Sweep
        At the end of a fit.
    folds : int
        Number of groups; every pixel is in one, drawn at random.
    iterations : int
        Iterations per group.
    seed : int

    Returns
    -------
    groups : list of Tensor
        Pixel indices.
    spectra : list of Tensor, shape (B, K)
    """
    n_pixels = sweep.S.shape[1]
    order = torch.randperm(n_pixels, generator=torch.Generator().manual_seed(seed)).to(sweep.S.device)
    groups = [group.sort().values for group in order.tensor_split(min(folds, n_pixels))]
    if len(groups) == 1:
        return groups, [sweep.A]
    whole = _known(sweep, sweep.S)
    sweep.rest()
    release(sweep.S)
    spectra = []
    for group in groups:  # one after the other: together they would need several times the memory of the fit
        out = torch.zeros(n_pixels, dtype=torch.bool, device=group.device)
        out[group] = True
        S = torch.mul(sweep.S, ~out, out=room(sweep.S.shape, sweep.S.dtype, sweep.S.device))
        part = Sweep(sweep.tiles, sweep.A, S, sweep.spectra, replace(sweep.morphologies, frozen=out), sweep.inner)
        known = _known(sweep, S) >= 0.5 * whole
        del S
        for _ in range(iterations):
            part.step()
        spectra.append(torch.where(known, part.A, sweep.A))
        del part
    return groups, spectra


def _known(sweep: Sweep, S: Tensor) -> Tensor:
    """How much the data tell of each spectrum, for given morphologies: the summed diagonals of its systems, shape (K,)."""
    if isinstance(sweep.tiles, Sketch) or not sweep.tiles.weighted:
        return torch.stack([torch.dot(row, row) for row in S])
    squares = S.square().to(sweep.tiles.dtype)
    total = S.new_zeros(len(S))
    for rows, _, w in sweep.tiles:
        assert w is not None
        total += (squares @ w.sum(dim=0) if sweep.tiles.axis == 0 else (squares[:, rows] * w.sum(dim=1)).sum(dim=1)).double()
    return total
