"""Sources as points and Sérsic profiles: their images in the model frame, and how these change with the parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.sources.mixture import mixture_image, mixture_jacobian, sersic_mixture, sersic_mixture_slopes

__all__ = ["LOG_INDEX", "LOG_RADIUS", "N_SHAPE", "STRETCH", "Profiles", "covariances", "profile_images", "profile_jacobian"]

Array = NDArray[np.float64]

LOG_RADIUS, STRETCH, LOG_INDEX, N_SHAPE = 0, slice(1, 3), 3, 4
_ROUND = 1e-6  # lengths of the stretch below which its derivative is that of a circle


@dataclass(frozen=True, eq=False)
class Profiles:
    """Components of sources; those of one source share its center.

    Parameters
    ----------
    centers : ndarray, shape (n, 2)
        Pixel (y, x) of the model frame, counted from 0.
    owner : ndarray of int, shape (C,)
        Source of each component.
    point : ndarray of bool, shape (C,)
    shapes : ndarray, shape (C, 4)
        Logarithm of the half-light radius [pixel]; stretch (e1, e2): the squared axes of the ellipse are those of
        ``exp([[e1, e2], [e2, -e1]])``, axes (y, x); logarithm of the Sérsic index. Of no meaning for points.
    free_index : ndarray of bool, shape (C,)
        Whether the index is fitted.
    """

    centers: Array
    owner: NDArray[np.int64]
    point: NDArray[np.bool_]
    shapes: Array
    free_index: NDArray[np.bool_]

    @property
    def free(self) -> NDArray[np.bool_]:
        """Which entries of `shapes` are fitted, shape (C, 4)."""
        free = np.repeat(~self.point[:, None], N_SHAPE, axis=1)
        free[:, LOG_INDEX] &= self.free_index
        return free

    def moved(self, centers: Array, shapes: Array) -> Profiles:
        """The same components elsewhere, of other shapes."""
        return replace(self, centers=centers, shapes=shapes)

    def only(self, components: NDArray[np.bool_]) -> Profiles:
        """Some of the components; the numbers of sources stay."""
        return Profiles(self.centers, self.owner[components], self.point[components], self.shapes[components], self.free_index[components])

    def __len__(self) -> int:
        return len(self.owner)


def covariances(shapes: Array) -> Array:
    """Covariances (C, 2, 2) in squared pixels of profiles whose half-light radius is 1, axes (y, x)."""
    matrices, _ = _covariances(shapes)
    return matrices


def _covariances(shapes: Array) -> tuple[Array, Array]:
    """Covariances (C, 2, 2) and their derivatives (C, 3, 2, 2) by log radius and stretch."""
    e1, e2 = shapes[:, STRETCH].T
    length = np.maximum(np.hypot(e1, e2), _ROUND)
    even, odd = np.cosh(length), np.sinh(length) / length
    bend = (even - odd) / length**2
    unit, traceless = np.eye(2), np.array([[[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    directions = np.einsum("ic,iyx->cyx", np.stack([e1, e2]), traceless)
    matrices = even[:, None, None] * unit + odd[:, None, None] * directions
    slopes = [2 * matrices]
    for i, e in enumerate((e1, e2)):
        slopes.append((odd * e)[:, None, None] * unit + (bend * e)[:, None, None] * directions + odd[:, None, None] * traceless[i])
    squared = np.exp(2 * shapes[:, LOG_RADIUS])[:, None, None]
    return squared * matrices, squared[:, None] * np.stack(slopes, axis=1)


def _mixtures(profiles: Profiles, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centers (C, 2), indices (C,), variances and fractions (C, J), covariances (C, 2, 2): 0 for points."""

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device)

    index = np.where(profiles.point, 1.0, np.exp(profiles.shapes[:, LOG_INDEX]))
    variances, fractions = (T.to(like) for T in sersic_mixture(torch.from_numpy(index)))
    matrices = np.where(profiles.point[:, None, None], 0.0, covariances(profiles.shapes))
    return tensor(profiles.centers[profiles.owner]), torch.from_numpy(index), variances, fractions, tensor(matrices)


def profile_images(profiles: Profiles, shape: tuple[int, int], sigma: float, like: Tensor) -> Tensor:
    """Images (C, H, W) of components of flux 1, smeared by the PSF of the model frame; dtype and device of `like`."""
    centers, _, variances, fractions, matrices = _mixtures(profiles, like)
    return mixture_image(shape, centers, matrices, variances, fractions, sigma)


def profile_jacobian(profiles: Profiles, shape: tuple[int, int], sigma: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The images (C, H, W), and their derivatives (C, 2 + 4, H, W) by the center (y, x) and the row of `Profiles.shapes`."""
    centers, index, variances, fractions, matrices = _mixtures(profiles, like)
    steps = tuple(T.to(like) for T in sersic_mixture_slopes(index))
    images, raw = mixture_jacobian(shape, centers, matrices, variances, fractions, sigma, (steps[0], steps[1]))
    _, slopes = _covariances(profiles.shapes)
    chain = np.zeros((len(profiles), 6, 6))
    chain[:, [0, 1], [0, 1]] = 1
    chain[:, 2:5, 2:5] = slopes.reshape(len(profiles), 3, 4)[:, :, [0, 1, 3]]
    chain[:, 5, 5] = index.numpy()
    return images, torch.einsum("cij,cjyx->ciyx", torch.as_tensor(chain).to(like), raw)
