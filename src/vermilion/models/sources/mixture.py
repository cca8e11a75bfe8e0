"""Galaxy profiles as mixtures of concentric Gaussians, whose convolution with a Gaussian is exact."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq, nnls
from scipy.special import gammaincinv
from torch import Tensor

from ...errors import ParameterError

__all__ = ["INDEX_RANGE", "N_GAUSSIANS", "mixture_image", "mixture_jacobian", "point_image", "sersic_mixture", "sersic_mixture_slopes"]

INDEX_RANGE = (0.3, 6.2)
N_GAUSSIANS = 10

# below, wider cores than that of a Gaussian would need negative fractions
_SMALLEST_INDEX = 0.5
# half-light radii where wings have fallen to 1/e of the uncut profile: no data tell such faint light from the sky
_REACH = 10.0
_N_NODES = 60
# weight of small fractions, so that they change smoothly with the index; measured: without it they jump between neighbors
_RIDGE = 3e-3
_GAUSSIAN_VARIANCE = 1 / (2 * math.log(2))

Array = NDArray[np.float64]


def sersic_mixture(n: float | Tensor) -> tuple[Tensor, Tensor]:
    """Variances and fractions of the Gaussians that make up a Sérsic profile of half-light radius 1.

    The surface brightness of the mixture is ``sum_j fractions_j exp(-r^2 / (2 variances_j)) / (2 pi variances_j)``; its flux is 1, of
    which 0.5 lies within r = 1 to 0.001. It follows ``exp(-b_n R^(1/n) - (R/10)^4)``, a Sérsic profile whose wings are cut softly
    at 10 half-light radii R (10 % of its flux for n = 6.2, 5.6 % for n = 4, 1.1 % for n = 2, 0.15 % for n = 1), in units of the
    half-light radius r that is left. The flux within any radius is that of this profile to 0.002 of the total. Indices below 0.5
    are taken as 0.5, a Gaussian.

    Parameters
    ----------
    n : float or Tensor, in [0.3, 6.2]
        Sérsic index; gradients flow through a tensor.

    Returns
    -------
    variances, fractions : Tensor, shape (..., J)
        In units of the squared half-light radius; fractions are >= 0 and sum to 1. float64, or the type of `n`.

    Raises
    ------
    ParameterError
        If an index is out of range.

    References
    ----------
    Sérsic 1963; Ciotti 1991, A&A 249, 99 (b_n); Hogg & Lang 2013, PASP 125, 719 (mixtures of Gaussians).

    Examples
    --------
    >>> variances, fractions = sersic_mixture(4.0)
    >>> within = (fractions * (1 - torch.exp(-1 / (2 * variances)))).sum()  # half-light radius
    >>> round(float(within), 3)
    0.5
    """
    index = _as_index(n)
    place, cubics = _locate(index)
    logarithms, shares = _evaluate(cubics, [place**3, place**2, place, torch.ones_like(place)])
    return logarithms.exp().to(index.dtype), (shares / shares.sum(-1, keepdim=True)).to(index.dtype)


def sersic_mixture_slopes(n: float | Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the variances and fractions of `sersic_mixture` by the index, each of shape (..., J); 0 below n = 0.5."""
    index = _as_index(n).detach()
    place, cubics = _locate(index)
    rate = torch.where(index > _SMALLEST_INDEX, 1 / (index * _spacing()), 0.0)
    logarithms, shares = _evaluate(cubics, [place**3, place**2, place, torch.ones_like(place)])
    logarithms_slope, shares_slope = _evaluate(cubics, [3 * place**2 * rate, 2 * place * rate, rate, torch.zeros_like(rate)])
    total = shares.sum(-1, keepdim=True)
    fractions_slope = (shares_slope - shares / total * shares_slope.sum(-1, keepdim=True)) / total
    return (logarithms.exp() * logarithms_slope).to(index.dtype), fractions_slope.to(index.dtype)


def point_image(shape: tuple[int, int], center: Tensor, sigma: float) -> Tensor:
    """Circular Gaussians of flux 1, sampled at the centers of pixels.

    Parameters
    ----------
    shape : (int, int)
        (H, W).
    center : Tensor, shape (..., 2)
        Pixel (y, x), counted from 0.
    sigma : float, > 0
        In pixels; below 0.6 the sampled values no longer sum to 1 within 0.2 %.

    Returns
    -------
    Tensor, shape (..., H, W)
    """
    profiles = []
    for d, size in enumerate(shape):
        offset = torch.arange(size, dtype=center.dtype, device=center.device) - center[..., d, None]
        profiles.append(torch.exp(-0.5 * (offset / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma))
    return profiles[0][..., :, None] * profiles[1][..., None, :]


def mixture_image(
    shape: tuple[int, int], center: Tensor, covariance: Tensor, variances: Tensor, fractions: Tensor, model_sigma: float
) -> Tensor:
    """Mixtures of concentric Gaussians convolved with a circular one, sampled at the centers of pixels.

    ``sum_j fractions_j N(center, variances_j covariance + model_sigma^2 I)``; differentiable in all tensors.

    Parameters
    ----------
    shape : (int, int)
        (H, W).
    center : Tensor, shape (..., 2)
        Pixel (y, x), counted from 0.
    covariance : Tensor, shape (..., 2, 2)
        Of the profile with variance 1, in squared pixels, axes (y, x): the squared half-light radius times the identity for a
        circular `sersic_mixture`.
    variances, fractions : Tensor, shape (..., J)
    model_sigma : float, >= 0
        In pixels.

    Returns
    -------
    Tensor, shape (..., H, W)
        Flux per pixel for a total flux of 1.
    """
    _, inverse, gaussians = _gaussians(shape, center, covariance, variances, model_sigma)
    weights = fractions * _peaks(inverse)
    return (weights[..., None, :] @ gaussians.flatten(-2)).unflatten(-1, shape)[..., 0, :, :]


def mixture_jacobian(
    shape: tuple[int, int],
    center: Tensor,
    covariance: Tensor,
    variances: Tensor,
    fractions: Tensor,
    model_sigma: float,
    slopes: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Image of `mixture_image` and its derivatives by center, covariance and index, at hardly more than the cost of the image.

    Parameters
    ----------
    shape, center, covariance, variances, fractions, model_sigma
        As for `mixture_image`.
    slopes : (Tensor, Tensor), optional
        Derivatives (..., J) of variances and fractions by a further parameter: `sersic_mixture_slopes`.

    Returns
    -------
    image : Tensor, shape (..., H, W)
    jacobian : Tensor, shape (..., 5 or 6, H, W)
        By center y and x, covariance yy, yx (both entries together) and xx, and the parameter of `slopes`.
    """
    (y, x), (a, b, c), gaussians = _gaussians(shape, center, covariance, variances, model_sigma)
    weights = fractions * _peaks((a, b, c))
    v = weights * variances
    rows = [weights, weights * a, weights * b, weights * c]
    # (P d d' P - P) v / 2 of each Gaussian, P = [[a, b], [b, c]], as polynomials in the offsets d
    rows += [v * a, v * b, v * c, v * a * a, v * a * b, v * b * b, v * a * c, v * b * c, v * c * c]
    if slopes is not None:
        rows += _rows_along(slopes, covariance, (a, b, c), weights)
    maps = (torch.stack(rows, -2) @ gaussians.flatten(-2)).unflatten(-1, shape).unbind(-3)
    image, Pyy, Pyx, Pxx, va, vb, vc, aa, ab, bb, ac, bc, cc, *along = maps
    jacobian = [Pyy * y + Pyx * x, Pyx * y + Pxx * x]
    jacobian.append(0.5 * (aa * y * y + 2 * ab * y * x + bb * x * x - va))
    jacobian.append(ab * y * y + (ac + bb) * y * x + bc * x * x - vb)
    jacobian.append(0.5 * (bb * y * y + 2 * bc * y * x + cc * x * x - vc))
    if along:
        constant, yy, yx, xx = along
        jacobian.append(constant + yy * y * y + yx * y * x + xx * x * x)
    return image, torch.stack(jacobian, -3)


def _rows_along(slopes: tuple[Tensor, Tensor], covariance: Tensor, inverse: tuple[Tensor, Tensor, Tensor], weights: Tensor) -> list[Tensor]:
    """Constant and quadratic coefficients (yy, yx, xx) of the derivative by a parameter that moves variances and fractions."""
    a, b, c = inverse
    myy, myx, mxx = (covariance[..., i, j, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    half = 0.5 * weights * slopes[0]
    # P M P and the trace of P M
    qyy = a * a * myy + 2 * a * b * myx + b * b * mxx
    qyx = a * b * myy + (a * c + b * b) * myx + b * c * mxx
    qxx = b * b * myy + 2 * b * c * myx + c * c * mxx
    trace = a * myy + 2 * b * myx + c * mxx
    return [slopes[1] * _peaks(inverse) - half * trace, half * qyy, 2 * half * qyx, half * qxx]


def _gaussians(
    shape: tuple[int, int], center: Tensor, covariance: Tensor, variances: Tensor, model_sigma: float
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor], Tensor]:
    """Offsets (..., H, 1), (..., 1, W) from the center; inverse covariances P (..., J) as yy, yx, xx; ``exp(-d' P d / 2)``."""
    y, x = (torch.arange(size, dtype=center.dtype, device=center.device) - center[..., d, None] for d, size in enumerate(shape))
    y, x = y[..., :, None], x[..., None, :]
    yy, yx, xx = (covariance[..., i, j, None] * variances for i, j in ((0, 0), (0, 1), (1, 1)))
    yy, xx = yy + model_sigma**2, xx + model_sigma**2
    determinant = yy * xx - yx * yx
    a, b, c = xx / determinant, -yx / determinant, yy / determinant
    along = [(-0.5 * p[..., None, None]) * (d * d)[..., None, :, :] for p, d in ((a, y), (c, x))]
    cross = (b[..., None, None] * y[..., None, :, :]) * x[..., None, :, :]
    # exp(-60) is nothing, and numbers below the normal ones are slow
    return (y, x), (a, b, c), torch.exp((along[0] + along[1] - cross).clamp(min=-60))


def _peaks(inverse: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Values of normal Gaussians at their centers."""
    a, b, c = inverse
    return (a * c - b * b).sqrt() / (2 * math.pi)


def _as_index(n: float | Tensor) -> Tensor:
    index = torch.as_tensor(n, dtype=None if isinstance(n, Tensor) else torch.float64)
    low, high = INDEX_RANGE
    if not bool(((index >= low) & (index <= high)).all()):
        raise ParameterError(f"n is {n}: expected Sersic indices from {low} to {high}.")
    return index


def _locate(index: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (...,) from the node below in units of the spacing, and the cubics (..., 2 J, 4) that hold there."""
    table = _coefficients().to(index.device)
    place = torch.log(index.to(torch.float64).clamp(min=_SMALLEST_INDEX) / _SMALLEST_INDEX) / _spacing()
    node = place.detach().floor().long().clamp(max=len(table) - 1)
    return place - node, table[node]


def _evaluate(cubics: Tensor, powers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Log variances and fractions (..., J), these up to their sum."""
    values = (cubics @ torch.stack(powers, -1)[..., None])[..., 0]
    return values[..., :N_GAUSSIANS], values[..., N_GAUSSIANS:]


def _spacing() -> float:
    """Distance of the nodes of the table in log n."""
    return math.log(INDEX_RANGE[1] / _SMALLEST_INDEX) / (_N_NODES - 1)


@functools.cache
def _coefficients() -> Tensor:
    """Cubics (nodes - 1, 2 J, 4) of the log variances and the fractions between nodes that are equally spaced in log n."""
    nodes = np.array([_fit(_SMALLEST_INDEX * math.exp(i * _spacing())) for i in range(_N_NODES)])
    # without overshoot, so that fractions stay >= 0
    return torch.from_numpy(PchipInterpolator(np.arange(_N_NODES), nodes).c.transpose(1, 2, 0).copy())


def _fit(n: float) -> Array:
    """Log variances and fractions (2 J,) of one profile, by non-negative least squares on its flux per and within log radius."""
    r = np.geomspace(1e-4, 40, 300)
    density, within = _growth(n, r)
    u = math.log(n / _SMALLEST_INDEX)
    # smallest and largest variance: least maximal error for 11 indices, then these curves through them
    low, high = -5.9 * math.sqrt(u + 0.03), 3.1 * math.tanh(0.8 * u)
    variances = _GAUSSIAN_VARIANCE * np.exp(np.linspace(low, high, N_GAUSSIANS))
    tail = np.exp(-0.5 * r[:, None] ** 2 / variances)
    design = np.vstack([tail * r[:, None] ** 2 / variances, 2 * (1 - tail), _RIDGE * math.sqrt(len(r)) * np.eye(N_GAUSSIANS)])
    fractions, _ = nnls(design, np.concatenate([density, 2 * within, np.zeros(N_GAUSSIANS)]))
    fractions /= fractions.sum()
    half_light = brentq(lambda radius: fractions @ np.exp(-0.5 * radius**2 / variances) - 0.5, 0.1, 10, xtol=1e-14)
    return np.concatenate([np.log(variances / half_light**2), fractions])


def _growth(n: float, r: Array) -> tuple[Array, Array]:
    """Flux per log radius and within it, of the profile with soft edge, for equally spaced log r."""
    density = r**2 * np.exp(-gammaincinv(2 * n, 0.5) * r ** (1 / n) - (r / _REACH) ** 4)
    steps = 0.5 * (density[1:] + density[:-1]) * math.log(r[1] / r[0])
    within = np.concatenate([[0.0], np.cumsum(steps)])
    return density / within[-1], within / within[-1]
