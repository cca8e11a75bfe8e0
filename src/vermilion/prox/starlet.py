"""Sparsity of the structures in an image, scale by scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, check_weight
from .layout import Layout

__all__ = ["Starlet", "starlet_transform"]

_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


class Starlet(Prox):
    """Sparsity in starlets: ``g(x) = weight sum_j |w_j|_1`` over the details w_j of all scales.

    The details are thresholded softly and summed up again with the smooth rest, which carries no penalty. The transform
    is redundant, so this is no minimizer, and marked inexact: it shrinks structures of all sizes below the threshold.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        In the unit of `x`; one number, or one per image.
    shape : (int, int), optional
        (Ny, Nx), if the last dimension holds images row by row, as in morphologies (K, N). By default the last two
        dimensions are the image.
    scales : int, >= 1
        Number of details; the last shows structures of about ``2^scales`` pixels.

    Raises
    ------
    ParameterError
        If a weight is negative or not finite, or `scales` is not a positive integer.

    References
    ----------
    Starck, Fadili & Murtagh 2007, IEEE Trans. Image Process. 16, 297.

    Examples
    --------
    >>> image = torch.zeros(9, 9)
    >>> image[4, 4] = 10.0
    >>> Starlet(0.5, scales=2)(image, 1.0)[4, 4]  # two details shrink by 0.5
    tensor(9.)
    """

    exact = False

    def __init__(self, weight: float | Tensor, shape: tuple[int, int] | None = None, scales: int = 3) -> None:
        if not (isinstance(scales, int) and scales >= 1):
            raise ParameterError(f"scales is {scales}: expected an integer >= 1.")
        self.weight = check_weight(weight)
        self.shape = shape
        self.scales = scales
        self._layout = Layout(shape)
        self.couples = self._layout.couples

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Threshold the details by weight times step.

        Raises
        ------
        ShapeError
            If `x` holds no such images, or `step` differs between the pixels of one.
        """
        if x.numel() == 0:
            return x.clone()
        *details, rest = starlet_transform(self._layout.unfold(x).to(torch.float64), self.scales)
        threshold = self._layout.strength(self.weight, step, x)
        y = rest
        for detail in details:
            y = y + detail.sign() * (detail.abs() - threshold).clamp(min=0)
        return self._layout.fold(y, x)

    def penalty(self, x: Tensor) -> Tensor:
        """Weight times the sum of the absolute values of the details."""
        if x.numel() == 0:
            return torch.zeros((), dtype=torch.float64, device=x.device)
        *details, _ = starlet_transform(self._layout.unfold(x).to(torch.float64), self.scales)
        sums = torch.stack([detail.abs().sum((-2, -1), keepdim=True) for detail in details]).sum(0)
        return (self._layout.strength(self.weight, 1.0, x) * sums).sum()


def starlet_transform(images: Tensor, scales: int) -> list[Tensor]:
    """Details from fine to coarse and the smooth rest, which add up to the images: the isotropic undecimated wavelet transform.

    Each detail is the difference of two successive smoothings with a cubic spline, whose taps move apart by a factor of
    two from one to the next.

    Parameters
    ----------
    images : Tensor, shape (..., Ny, Nx)
        Continued by reflection about the pixels at the edge.
    scales : int, >= 1

    Returns
    -------
    list of Tensor
        `scales` details and the rest, each of the shape of `images`.

    Examples
    --------
    >>> image = torch.zeros(9, 9, dtype=torch.float64)
    >>> image[4, 4] = 1.0
    >>> detail, rest = starlet_transform(image, 1)
    >>> float(rest[4, 4] * 256), bool(torch.equal(detail + rest, image))
    (36.0, True)
    """
    planes = []
    for j in range(scales):
        smooth = _smooth(_smooth(images, -1, 2**j), -2, 2**j)
        planes.append(images - smooth)
        images = smooth
    return [*planes, images]


def _smooth(images: Tensor, dim: int, spacing: int) -> Tensor:
    """Convolution along one dimension with a spline whose taps are `spacing` pixels apart."""
    n = images.shape[dim]
    pixels = torch.arange(n, device=images.device)
    period = max(2 * (n - 1), 1)
    result = torch.zeros_like(images)
    for tap, value in zip(range(-2, 3), _SPLINE, strict=True):
        place = (pixels + tap * spacing) % period
        result = result + value * images.index_select(dim, torch.minimum(place, period - place))
    return result
