"""Spectra that a pixel did not help to determine."""

from __future__ import annotations

import torch
from torch import Tensor

from .normal import spectra_equations
from .quadratic import Block
from .sweep import Sweep

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
    n_pixels = sweep.tiles.shape[1]
    order = torch.randperm(n_pixels, generator=torch.Generator().manual_seed(seed)).to(sweep.S.device)
    groups = [group.sort().values for group in order.tensor_split(min(folds, n_pixels))]
    whole = spectra_equations(sweep.tiles, sweep.S).diagonal().sum(dim=1)
    spectra = []
    for group in groups:
        others = torch.ones(n_pixels, dtype=torch.bool, device=group.device)
        others[group] = False
        if not bool(others.any()):
            spectra.append(sweep.A)
            continue
        part = Sweep(sweep.tiles, sweep.A, sweep.S * others, sweep.spectra, _held_at_zero(sweep.morphologies, group), sweep.steps)
        known = spectra_equations(part.tiles, part.S).diagonal().sum(dim=1) >= 0.5 * whole
        for _ in range(iterations):
            part.step()
        spectra.append(torch.where(known, part.A, sweep.A))
    return groups, spectra


def _held_at_zero(block: Block, pixels: Tensor) -> Block:
    """The same constraint with nothing in some pixels: they tell the spectra nothing, and operators still see all pixels."""

    def apply(X: Tensor, step: Tensor | float) -> Tensor:
        out = block.prox(X, step).clone()
        out[:, pixels] = 0
        return out

    return Block(apply, block.penalty, block.separable)
