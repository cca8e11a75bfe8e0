"""Numbers that stay between bounds, as unbounded coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bounded"]

# how near to a bound a start may lie, in units of the interval: at the bound itself nothing moves any more
_MARGIN = 1e-3


def bounded(step: Tensor, start: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`start` where `step` is 0, moving by `step` at first, and never beyond ``[low, high]``.

    ``middle + half tanh(artanh(s) + step / (half (1 - s^2)))`` with s the start between -1 and 1.
    """
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    s = ((start - middle) / half).clamp(-1 + 2 * _MARGIN, 1 - 2 * _MARGIN)
    return middle + half * torch.tanh(torch.atanh(s) + step / (half * (1 - s * s)))
