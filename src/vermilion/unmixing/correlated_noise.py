"""Noise that neighboring bands share, told from what a wrong model leaves by its lack of structure in the image."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["band_covariance", "neighbor_correlation"]

_REACH = 25  # bands
_ROUNDS = 5
_SIGNIFICANT = 4.0  # standard errors


def neighbor_correlation(rest: Tensor, shape: tuple[int, int]) -> float:
    """Correlation of what is left in pixels side by side: about 0 for noise, whatever it is like along the bands.

    Parameters
    ----------
    rest : Tensor, shape (B, N)
        Residuals of an image of `shape` (Ny, Nx), row by row.
    shape : (int, int)
    """
    image = rest.reshape(-1, *shape)
    pairs = (image[:, 1:] * image[:, :-1]).sum() + (image[:, :, 1:] * image[:, :, :-1]).sum()
    squares = (image.square().sum() * 4 - _border(image)) / 2
    return float(pairs / squares) if squares > 0 else 0.0


def _border(image: Tensor) -> Tensor:
    """Squares counted once for every neighbor that a pixel does not have."""
    edges = (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1])
    return torch.stack([edge.square().sum() for edge in edges]).sum()


def band_covariance(rest: Tensor, taken: Tensor) -> Tensor:
    """Covariance C (B, B) of noise whose correlation depends on the distance between bands alone, from what a fit leaves of it.

    The residuals have the covariance ``(1 - Q) C (1 - Q)ᵀ``. C is a variance for each band times correlations, one for each distance; these
    are found so that they explain the mean covariance of the residuals at each distance, and end where they are no longer significant.

    Parameters
    ----------
    rest : Tensor, shape (B, N)
    taken : Tensor, shape (B, B)
        Q, by which the fit follows from the data.
    """
    n_bands, n_pixels = rest.shape
    left = torch.eye(n_bands).to(rest) - taken
    seen = (rest @ rest.T) / n_pixels
    size = seen.diagonal().sqrt()
    scale = size = torch.where(size > 0, size, float(size.max()) or 1.0)
    for _ in range(_ROUNDS):  # a band of which the fit takes more has more noise than it shows
        noise = _with_scale(scale, seen, left, n_pixels)
        shown = (left @ noise @ left.T).diagonal().clamp(min=0).sqrt()
        scale = scale * torch.where(shown > 0, size / torch.where(shown > 0, shown, 1), 1)
    return _with_scale(scale, seen, left, n_pixels)


def _with_scale(scale: Tensor, seen: Tensor, left: Tensor, n_pixels: int) -> Tensor:
    """The covariance whose correlations explain that of the residuals, for given standard deviations of the bands."""
    n_bands = len(scale)
    products = scale[:, None] * scale
    wanted = _by_distance(seen / products)
    distance = (torch.arange(n_bands)[:, None] - torch.arange(n_bands)).abs().to(seen.device)
    design = [_by_distance(left @ (products * (distance == lag)) @ left.T / products) for lag in range(len(wanted))]
    lags = torch.linalg.lstsq(torch.stack(design, dim=1), wanted).solution
    errors = _SIGNIFICANT * float(lags[0]) / torch.sqrt(n_pixels * (n_bands - torch.arange(len(lags), device=seen.device)))
    small = torch.nonzero(lags.abs() < errors).flatten()
    end = int(small[0]) if len(small) else len(lags)
    values, vectors = torch.linalg.eigh(torch.cat([lags[:end], lags.new_zeros(n_bands - end)])[distance])
    return products * ((vectors * values.clamp(min=0)) @ vectors.T)


def _by_distance(matrix: Tensor) -> Tensor:
    """Means of a matrix (B, B) along its diagonals, as far as noise is looked for."""
    return torch.stack([matrix.diagonal(lag).mean() for lag in range(max(1, min(len(matrix) // 4, _REACH)))])
