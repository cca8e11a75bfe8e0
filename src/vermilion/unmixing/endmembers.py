"""Which way of finding endmembers suits the data, and the endmembers it finds."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConvergenceWarning, NoDataError
from ..factorize import factorize
from ..initialize import STARTS
from ..initialize.vca import extreme_pixels
from ..prox import NonNegative, Prox, Simplex
from .archetypes import archetypes, extreme_points
from .brightness import brightness_varies, pixel_brightness
from .convention import abundances_of
from .fclsu import fclsu
from .minimum_volume import minimum_volume
from .subspace_points import MODEL_ERROR, SubspacePoints, subspace_points

__all__ = ["METHODS", "Endmembers", "Plan", "find_endmembers", "make_plan"]

METHODS = ("auto", "archetypes", "minimum-volume", "nmf", "vertices")

_TRIALS = 4
_MOST = 1 << 15  # pixels that the simplex is fitted to
_PURE = 0.9  # share that counts as nearly all
_PUREST = 100  # at least one in so many pixels tells how bright an endmember is


@dataclass(frozen=True)
class Plan:
    """What to do, and what in the data speaks for it.

    Attributes
    ----------
    method, normalize : str
        As they are to be used.
    linear : bool
        K spectra explain the data to the noise.
    varies : bool
        The brightness of pixels varies.
    sentence : str
        The reason, for the user.
    """

    method: str
    normalize: str
    linear: bool
    varies: bool
    sentence: str


@dataclass(frozen=True)
class Endmembers:
    """Spectra in the unit of the data and in that of the divided data (B, K), the brightness that divided them, and how they came about.

    `abundances` (K, N) is set where the method finds them together with the spectra.
    """

    spectra: Tensor
    divided: Tensor
    brightness: Tensor | None
    iterations: int
    abundances: Tensor | None = None
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


def make_plan(points: SubspacePoints, method: str, normalize: str) -> Plan:
    """Fill in what is "auto".

    Mixing is linear if what K spectra leave is no more than twice the noise: then the error of the model is smaller than the noise, and
    may be neglected beside it.
    """
    count = points.basis.shape[1]
    linear = points.misfit <= MODEL_ERROR
    varies = brightness_varies(points)
    if math.isnan(points.misfit):
        reason = (
            f"There are too few bands or pixels to tell whether {count} spectra explain the data to their noise; mixtures of actual pixels "
            "do not assume it."
        )
    elif linear:
        reason = (
            f"{count} spectra explain the data to their noise ({points.misfit:.3g} of its variance is left), so the smallest simplex is "
            "looked for, within and beyond the pixels."
        )
    else:
        reason = (
            f"{count} spectra leave {points.misfit:.3g} times the variance of the noise, so endmembers are mixtures of actual pixels: what "
            "would lie beyond them would follow the error of the model."
        )
    if method == "auto":
        method = "minimum-volume" if linear and count > 1 else "archetypes"
    if normalize == "auto":
        normalize = "none" if not varies else "l1" if linear else "l2-floor"
    return Plan(method, normalize, linear, varies, reason)


def find_endmembers(
    Y: Tensor, W: Tensor | None, points: SubspacePoints, plan: Plan, *, init: str | Tensor | None, spectra: Prox | None, seed: int
) -> Endmembers:
    """Endmembers by the method of a plan, from complete data or from data whose gaps the subspace fills.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        float64, of order one; 0 where the weight is 0.
    W : Tensor, shape (B, N), optional
    points : SubspacePoints
    plan : Plan
    init : str or Tensor (B, K), optional
        Start, in the unit of Y.
    spectra : Prox, optional
        For "nmf".
    seed : int
    """
    filled = Y if W is None else torch.where(W > 0, Y, points.basis @ points.coordinates)
    brightness = pixel_brightness(filled, plan.normalize)
    if plan.method == "minimum-volume":
        return _smallest_simplex(points, brightness, plan.normalize, init, seed)
    if plan.method == "archetypes":
        return _mixtures(Y, W, filled, points, brightness, seed)
    start = _start(Y, W, filled, points.basis.shape[1], init, seed)
    start = start if brightness is None else _at_brightness_one(start, plan.normalize)
    if plan.method == "vertices":
        return _with_scale(Y, W, filled, start, brightness, 0)
    return _factors(Y, W, filled, start, brightness, spectra, seed)


def _smallest_simplex(
    points: SubspacePoints, brightness: Tensor | None, normalize: str, init: str | Tensor | None, seed: int
) -> Endmembers:
    """Vertices of the smallest simplex that the noise admits, in the flat that sums of one span."""
    rank = points.basis.shape[1]
    divided = points
    if brightness is not None:
        divided = _divide(points, brightness, linear=normalize == "l1")
    inside = divided.pixels(_some_pixels(divided, seed))
    X = inside.coordinates
    middle = X.mean(dim=1, keepdim=True)
    axes = torch.linalg.eigh((X - middle) @ (X - middle).T)[1][:, 1:].flip(1)
    flat, covariance = axes.T @ (X - middle), axes.T @ inside.covariance @ axes
    if rank > 1 and not float(flat.square().sum()) > 1e-20 * float(X.square().sum()):
        raise NoDataError(f"All pixels have the same spectrum: expected spectra that differ for {rank} endmembers; ask for 1.")
    notes: tuple[str, ...] = ()
    if rank == 1:
        vertices, steps, told = flat.new_zeros(0, 1), 0, {}
    else:
        found = minimum_volume(flat, covariance, _first_simplices(divided, flat, middle, axes, init, seed))
        vertices, steps = found.vertices, found.iterations
        told = {"log_volume": found.log_volume, "mean_squares": found.mean_squares.tolist()}
        if not found.settled:
            notes = ("The smallest simplex had not settled when the search ended: try another seed, or method='archetypes'.",)
    spectra = (points.basis @ (middle + axes @ vertices)).clamp(min=0)
    usual = 1.0 if brightness is None else float(brightness[points.seen].mean())
    return Endmembers(spectra * usual, spectra, brightness, steps, None, notes, told)


def _divide(points: SubspacePoints, brightness: Tensor, *, linear: bool) -> SubspacePoints:
    """Points and their noise after a division by their brightness; if that is the sum of the spectrum, its noise counts too."""
    X, covariance = points.coordinates, points.covariance
    sums = points.basis.sum(dim=0)
    if linear:
        brightness = sums @ X
        noise = torch.einsum("i,nij,j->n", sums, covariance, sums).sqrt()
        seen = points.seen & (brightness > 3 * noise)
        brightness = torch.where(seen, brightness, 1.0)
        X = X / brightness
        # d(x / b) = (I - (x / b) 1ᵀ) dx / b
        turn = torch.eye(len(X)).to(X) - X.T[:, :, None] * sums
        covariance = turn @ covariance @ turn.mT / brightness.square()[:, None, None]
        return replace(points, coordinates=X, covariance=covariance, seen=seen)
    return replace(points, coordinates=X / brightness, covariance=covariance / brightness.square()[:, None, None])


def _some_pixels(points: SubspacePoints, seed: int) -> Tensor:
    """Pixels that were seen; of very many the most extreme and a random sample."""
    seen = torch.nonzero(points.seen).flatten()
    if len(seen) <= _MOST:
        return seen
    generator = torch.Generator().manual_seed(seed)
    outer = seen[extreme_points(points.coordinates[:, seen], _MOST // 2, generator)]
    others = seen[torch.randperm(len(seen), generator=generator)[: _MOST - len(outer)].to(seen.device)]
    return torch.cat([outer, others]).unique()


def _first_simplices(points: SubspacePoints, flat: Tensor, middle: Tensor, axes: Tensor, init: str | Tensor | None, seed: int) -> Tensor:
    """Starts (M, q, q + 1): given spectra, or pixels farthest out along random directions."""
    if isinstance(init, Tensor):
        coordinates = torch.linalg.lstsq(points.basis, init).solution
        return (axes.T @ (coordinates - middle))[None]
    far = torch.linalg.vector_norm(flat, dim=0).max().expand(1, flat.shape[1])
    first = torch.zeros(len(flat) + 1).to(flat)
    first[-1] = 1
    seeds = range(_TRIALS * seed, _TRIALS * (seed + 1))
    chosen = extreme_pixels(torch.cat([flat, far]), len(flat) + 1, seeds, first=first)
    return flat[:, chosen].permute(1, 0, 2)


def _mixtures(Y: Tensor, W: Tensor | None, filled: Tensor, points: SubspacePoints, brightness: Tensor | None, seed: int) -> Endmembers:
    """Archetypes of the pixels in the subspace of the divided data, and their mixtures of whole spectra."""
    rank = points.basis.shape[1]
    divided = filled if brightness is None else filled / brightness
    weights = W if W is None or brightness is None else W * brightness.square()
    space = subspace_points(divided if W is None else torch.where(W > 0, divided, 0), weights, rank, whiten=False, seed=seed)
    which = torch.nonzero(space.seen).flatten()
    found = archetypes(space.coordinates[:, which], rank, seed=seed)
    shapes = found.mix(divided[:, which]).clamp(min=0)
    told = {"objective": found.objective, "spread_of_starts": found.spread}
    made = _with_scale(Y, W, filled, shapes, brightness, found.iterations)
    return replace(made, provenance=told)


def _with_scale(Y: Tensor, W: Tensor | None, filled: Tensor, shapes: Tensor, brightness: Tensor | None, iterations: int) -> Endmembers:
    """Endmembers as bright as their purest pixels, whatever the scale of the shapes."""
    if brightness is None:
        return Endmembers(shapes, shapes, None, iterations)
    shares = abundances_of(Y, shapes, W, convention="nnls-renormalized").nan_to_num()
    norms, lengths = torch.linalg.vector_norm(shapes, dim=0), torch.linalg.vector_norm(filled, dim=0)
    size = torch.stack([_usual_length(lengths, share) for share in shares]) / torch.where(norms > 0, norms, 1)
    return Endmembers(shapes * size, shapes, brightness, iterations)


def _usual_length(lengths: Tensor, share: Tensor) -> Tensor:
    """Median norm of the pixels of which an endmember has nearly all; where there are few, of those of which it has most."""
    fewest = max(1, len(share) // _PUREST)
    pure = share > _PURE
    return lengths[pure if int(pure.sum()) >= fewest else share.topk(fewest).indices].median()


def _start(Y: Tensor, W: Tensor | None, filled: Tensor, count: int, init: str | Tensor | None, seed: int) -> Tensor:
    if isinstance(init, Tensor):
        return init
    return STARTS[init or "vca"](Y, W, count, seed=seed).to(filled).clamp(min=0)


def _at_brightness_one(spectra: Tensor, normalize: str) -> Tensor:
    size = pixel_brightness(spectra, "l1" if normalize == "l1" else "l2")
    return spectra if size is None else spectra / size


def _factors(
    Y: Tensor, W: Tensor | None, filled: Tensor, start: Tensor, brightness: Tensor | None, spectra: Prox | None, seed: int
) -> Endmembers:
    """Factors of the divided data under constraints, by the general solver."""
    data, weights = (Y, W) if brightness is None else (Y / brightness, None if W is None else W * brightness.square())
    first = torch.nan_to_num(fclsu(data, start, weights), nan=1 / start.shape[1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        result = factorize(
            data,
            weights,
            n_components=start.shape[1],
            spectra=spectra or NonNegative(),
            morphologies=Simplex(0),
            init=(start, first),
            seed=seed,
            dtype="float64",
            device=str(data.device),
        )
    found = torch.as_tensor(result.spectra).to(start)
    S = torch.as_tensor(result.morphologies).to(start)
    made = _with_scale(Y, W, filled, found, brightness, len(result.history))
    notes = tuple(str(one.message) for one in caught if issubclass(one.category, ConvergenceWarning))
    return replace(made, abundances=S, notes=notes)
