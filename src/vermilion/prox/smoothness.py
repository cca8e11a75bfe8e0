"""Quadratic smoothness (Tikhonov)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, check_weight
from .layout import Layout, nan_where_not_finite

__all__ = ["Smoothness", "filtered"]

_BOUNDARIES = ("reflect", "periodic")


class Smoothness(Prox):
    """Squared differences of neighbors: ``g(x) = weight/2 sum |grad x|^2``.

    The operator solves the linear system ``(I + c L) y = x`` with c = weight step and the Laplacian L, exactly: the
    Fourier transform makes L diagonal with periodic, the cosine transform with reflecting boundaries, where each
    dimension of n pixels contributes the eigenvalues ``2 - 2 cos(2 pi k / n)`` or ``2 - 2 cos(pi k / n)``. The mean is kept.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        In units of pixels squared; one number, or one per image or line. Details below about sqrt(weight step) pixels fade.
    shape : (int, int), optional
        (Ny, Nx), if the last dimension holds images row by row. By default the last two dimensions are the image.
    dim : int, optional
        Smooth along this dimension only, as along the bands of spectra (B, K) with 0.
    boundary : {"reflect", "periodic"}

    Raises
    ------
    ParameterError
        If a weight is negative or not finite, or `boundary` is unknown.

    References
    ----------
    Strang 1999, SIAM Review 41, 135 (the cosine transforms diagonalize second differences).

    Examples
    --------
    >>> Smoothness(1.0, dim=0)(torch.tensor([0.0, 3.0]), 1.0)  # (y0, y1) = ((2 x0 + x1) / 3, (x0 + 2 x1) / 3)
    tensor([1., 2.])
    """

    def __init__(
        self, weight: float | Tensor, shape: tuple[int, int] | None = None, dim: int | None = None, boundary: str = "reflect"
    ) -> None:
        if boundary not in _BOUNDARIES:
            raise ParameterError(f"boundary is {boundary!r}: expected one of {', '.join(_BOUNDARIES)}.")
        self.weight = check_weight(weight)
        self.shape = shape
        self.dim = dim
        self.boundary = boundary
        self._layout = Layout(shape, dim)
        self.couples = self._layout.couples

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Solve the linear system; NaN in an image where an entry is not finite.

        Raises
        ------
        ShapeError
            If `x` holds no such images, or `step` differs between the pixels of one.
        """
        if x.numel() == 0:
            return x.clone()
        images = self._layout.unfold(x).to(torch.float64)
        strength = self._layout.strength(self.weight, step, x)
        y = filtered(images, lambda eigenvalue: 1 / (1 + strength * eigenvalue), self.boundary)
        return self._layout.fold(nan_where_not_finite(y, images), x)

    def penalty(self, x: Tensor) -> Tensor:
        """Half the weight times the sum of squared differences."""
        if x.numel() == 0:
            return torch.zeros((), dtype=torch.float64, device=x.device)
        images = self._layout.unfold(x).to(torch.float64)
        total = torch.zeros(len(images), dtype=torch.float64, device=x.device)
        for d in range(1, images.ndim):
            difference = images.roll(-1, d) - images if self.boundary == "periodic" else images.diff(dim=d)
            total = total + difference.square().flatten(1).sum(1)
        return (self._layout.strength(self.weight, 1.0, x).flatten() * total).sum() / 2


def filtered(images: Tensor, response: Callable[[Tensor], Tensor], boundary: str = "reflect") -> Tensor:
    """Images (M, ...) with every eigenvector of their Laplacian multiplied by a function of its eigenvalue."""
    axes = tuple(range(1, images.ndim))
    extended = images
    if boundary == "reflect":
        # the Fourier transform of an image followed by its mirror image is its cosine transform
        for d in axes:
            extended = torch.cat([extended, extended.flip(d)], d)
    eigenvalue = torch.zeros((), dtype=images.dtype, device=images.device)
    for d in axes:
        n = extended.shape[d]
        frequency = (torch.fft.rfftfreq if d == axes[-1] else torch.fft.fftfreq)(n, dtype=images.dtype, device=images.device)
        # 2 - 2 cos(2 pi f), without the cancellation
        eigenvalue = eigenvalue[..., None] + 4 * (math.pi * frequency).sin().square()
    spectrum = torch.fft.rfftn(extended, dim=axes) * response(eigenvalue)
    result = torch.fft.irfftn(spectrum, s=extended.shape[1:], dim=axes)
    for d in axes:
        result = result.narrow(d, 0, images.shape[d])
    return result
