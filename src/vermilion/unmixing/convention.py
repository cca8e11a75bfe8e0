"""What abundances mean: three answers that differ wherever the brightness of pixels varies."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ParameterError
from .fclsu import fclsu
from .nnls import nnls
from .spatial import smooth_abundances

__all__ = ["CONVENTIONS", "abundances_of"]

CONVENTIONS = ("fclsu", "nnls-renormalized", "as-solved")


@torch.no_grad()
def abundances_of(
    Y: Tensor,
    spectra: Tensor,
    W: Tensor | None = None,
    *,
    convention: str,
    brightness: Tensor | None = None,
    spatial: float = 0.0,
    spatial_kind: str = "tv",
    shape: tuple[int, int] | None = None,
) -> Tensor:
    """Abundances (K, N) of given endmembers in a stated convention; NaN in pixels without weight, unless neighbors fill them in.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    spectra : Tensor, shape (B, K)
        In the unit of the data; for "as-solved" in the unit of the divided data.
    W : Tensor, shape (B, N), optional
    convention : {"fclsu", "nnls-renormalized", "as-solved"}
        "fclsu": abundances add up to one and explain the data themselves, with endmembers as bright as they are: parts of the area, if
        every material is equally lit. "nnls-renormalized": the brightness of every pixel is free; non-negative coefficients of spectra
        with a maximum of one, divided by their sum. "as-solved": fully constrained for pixels divided by their brightness.
    brightness : Tensor, shape (N,), optional
        For "as-solved".
    spatial, spatial_kind, shape
        Price of spatial structure, see `smooth_abundances`.

    Raises
    ------
    ParameterError
        If the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise ParameterError(f"convention is {convention!r}: expected one of {', '.join(map(repr, ('auto', *CONVENTIONS)))}.")
    free = convention == "nnls-renormalized"
    if free:
        largest = spectra.abs().amax(dim=0)
        spectra = spectra / torch.where(largest > 0, largest, 1)
    elif convention == "as-solved" and brightness is not None:
        Y, W = Y / brightness, None if W is None else W * brightness.square()
    S = nnls(Y, spectra, W) if free else fclsu(Y, spectra, W)
    if spatial > 0 and shape is not None:
        S = smooth_abundances(Y, spectra, W, S, weight=spatial, kind=spatial_kind, shape=shape, sum_to_one=not free)
    return _renormalized(S) if free else S


def _renormalized(S: Tensor) -> Tensor:
    """Coefficients divided by their sum; 0 where no endmember explains anything, NaN where nothing is known."""
    total = S.sum(dim=0)
    return torch.where(total > 0, S / torch.where(total > 0, total, 1), torch.where(total.isnan(), total, 0))
