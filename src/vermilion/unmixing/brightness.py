"""How bright a pixel is, where shade and slope change that and not what it is made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ParameterError
from .subspace_points import SubspacePoints

__all__ = ["NORMALIZATIONS", "brightness_varies", "check_normalize", "pixel_brightness"]

NORMALIZATIONS = ("none", "l1", "l2", "l2-floor")
_FLOOR = 0.5  # of the mean norm


def check_normalize(kind: str) -> None:
    """Refuse unknown kinds.

    Raises
    ------
    ParameterError
    """
    if kind not in ("auto", *NORMALIZATIONS):
        raise ParameterError(f"normalize is {kind!r}: expected one of {', '.join(map(repr, ('auto', *NORMALIZATIONS)))}.")


def pixel_brightness(Y: Tensor, kind: str) -> Tensor | None:
    """What every pixel is to be divided by, shape (N,), in the unit of the data; None for "none".

    Abundances of divided pixels are shares of their brightness, not of their area.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Complete data.
    kind : {"none", "l1", "l2", "l2-floor"}
        Sum of absolute values; Euclidean norm; the norm, but at least half the mean norm, which keeps the noise of dark pixels small. Of
        these only the sum, for data that are not negative, keeps mixtures of two spectra on the line between them. 1 for dark pixels
        without any brightness.

    Raises
    ------
    ParameterError
        If the kind is unknown.
    """
    check_normalize(kind)
    if kind == "none":
        return None
    brightness = Y.abs().sum(dim=0) if kind == "l1" else torch.linalg.vector_norm(Y, dim=0)
    if kind == "l2-floor":
        lit = brightness[brightness > 0]
        brightness = brightness.clamp(min=_FLOOR * float(lit.mean()) if len(lit) else 0.0)
    return torch.where(brightness > 0, brightness, torch.ones_like(brightness))


def brightness_varies(points: SubspacePoints) -> bool:
    """Whether abundances that add up to one are refuted: the pixels fill the K-th dimension by more than their noise.

    With a sum of one K spectra span a flat of K - 1 dimensions; pixels brighter and darker than that fill the cone above it. The variance
    across the flattest direction is compared with twice the largest that noise alone gives (the edge of Marchenko & Pastur 1967): below
    it a division by the brightness would bring in more noise than it removes.
    """
    seen = points.pixels(points.seen)
    rank, n_pixels = seen.coordinates.shape
    if n_pixels <= rank:
        return False
    factor = torch.linalg.cholesky(seen.covariance.mean(dim=0))
    white = torch.linalg.solve_triangular(factor, seen.coordinates - seen.coordinates.mean(dim=1, keepdim=True), upper=False)
    least = float(torch.linalg.eigvalsh(white @ white.T / n_pixels)[0])
    return least > 2 * (1 + math.sqrt(len(points.basis) / n_pixels)) ** 2
