"""Is it a point, a galaxy of one color, or one of two: by how probable each makes the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .profiles import LOG_INDEX, LOG_RADIUS, N_SHAPE, Profiles, profile_jacobian
from .shapes import Prior, ShapeFit
from .views import View, whitened

__all__ = ["as_points", "color_gain", "galaxy_log_odds", "signals", "split"]

Array = NDArray[np.float64]

_CENTER_STEPS = 2  # places where a point is tried
_PSF_ERROR = 0.01  # relative, of the width of the PSFs that are told
_RIDGE = 1e-9
# of a split galaxy at first: radii of bulge and disk in units of the galaxy's, and the bulge's Sérsic index
_BULGE, _DISK, _BULGE_INDEX = 0.5, 1.3, 2.0
_SHARES = np.linspace(0.05, 0.95, 19)


def as_points(profiles: Profiles, sources: NDArray[np.bool_]) -> Profiles:
    """The same sources, some of them points."""
    return replace(profiles, point=profiles.point | sources[profiles.owner])


def split(profiles: Profiles, source: int) -> Profiles:
    """The same sources, one of them made of a bulge and an exponential disk."""
    component = int(np.flatnonzero(profiles.owner == source)[0])
    bulge, disk = profiles.shapes[component].copy(), profiles.shapes[component].copy()
    bulge[LOG_RADIUS] += math.log(_BULGE)
    bulge[LOG_INDEX] = math.log(_BULGE_INDEX)
    disk[LOG_RADIUS] += math.log(_DISK)
    disk[LOG_INDEX] = 0.0
    shapes = np.vstack([profiles.shapes, disk])
    shapes[component] = bulge
    return Profiles(
        profiles.centers,
        np.append(profiles.owner, source),
        np.append(profiles.point, False),
        shapes,
        np.append(profiles.free_index, False),
    )


def galaxy_log_odds(
    views: Sequence[View], fit: ShapeFit, given: Array, prior: Prior, sigma: float, wanted: NDArray[np.bool_] | None = None
) -> Array:
    """Logarithm of the probability of the data if a source is a galaxy over that if it is a point, shape (n,).

    For each source in turn, all others being as fitted but with free spectra. Shapes are integrated over in Laplace's
    approximation, fluxes over a flat prior; a galaxy pays for its four parameters by how much of their prior the data leave. What a
    relative error of 1 % of the PSF's width could feign is taken off. Only sources that are `wanted` are judged, and have a curvature of
    their shape in the fit; others get 0.

    References
    ----------
    Kass & Raftery 1995, J. Am. Stat. Assoc. 90, 773.
    """
    profiles = fit.profiles
    n = len(profiles.centers)
    odds = np.zeros(n)
    sources = np.arange(n) if wanted is None else np.flatnonzero(wanted)
    first = np.array([np.flatnonzero(profiles.owner == k)[0] for k in sources], dtype=np.int64)
    covariance, errors = np.linalg.inv(fit.curvature), prior.centers(n)
    places = _shape_places(profiles)
    points = _best_points(views, fit, first, given[sources], errors[sources], sigma)
    for k, component, point_gain, point_curvature, center in zip(sources, first, *points, strict=True):
        inside = places[component]
        if not len(inside):
            odds[k] = -np.inf
            continue
        gain, curvature = _gain(fit, component, None)
        deviation = (profiles.shapes[component] - prior.mean)[profiles.free[component]]
        precision = prior.precision[profiles.free[component]]
        occam = 0.5 * (np.linalg.slogdet(covariance[np.ix_(inside, inside)])[1] + np.log(precision).sum())
        galaxy = gain - deviation**2 @ precision - _pull(profiles.centers[k], given[k], errors[k])
        point = point_gain - _pull(center, given[k], errors[k])
        feigned = 1 + _PSF_ERROR**2 * gain
        odds[k] = 0.5 * (galaxy - point) / feigned + occam - (curvature - point_curvature)
    return odds


def signals(fit: ShapeFit) -> Array:
    """Squared signal-to-noise ratio of each source, all of one component, with all others refitted, shape (n,)."""
    return np.array([_gain(fit, component, None)[0] for component in range(len(fit.profiles))])


def _pull(center: Array, given: Array, error: Array) -> float:
    return float((((center - given) / error) ** 2).sum())


def _shape_places(profiles: Profiles) -> list[NDArray[np.int64]]:
    """Rows of the curvature matrix that belong to the shape of each component."""
    counts = profiles.free.sum(axis=1)
    ends = profiles.centers.size + np.cumsum(counts)
    return [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _gain(fit: ShapeFit, component: int, column: tuple[Array, Array, Array] | None) -> tuple[float, float]:
    """How much a component lowers chi2, others being refitted, and half the logarithm of the curvature by its fluxes.

    `column` (cross products with all columns (B, C), with itself (B,), with the data (B,)) stands in place of the component's own.
    """
    gram, right, spectra = fit.equations.gram.numpy(), fit.equations.right.numpy(), fit.spectra.numpy()
    if column is None:
        column = gram[:, component], gram[:, component, component], right[:, component]
    cross, own, seen = column
    gain = logarithm = 0.0
    for b in range(len(gram)):
        others = np.flatnonzero(spectra[b] != 0)
        others = others[others != component]
        square, product = own[b], seen[b]
        if len(others):
            inner = gram[b][np.ix_(others, others)]
            inner = inner + _RIDGE * np.diag(np.diag(inner))
            ways = np.linalg.solve(inner, np.stack([cross[b, others], right[b, others]], axis=1))
            square, product = square - cross[b, others] @ ways[:, 0], product - cross[b, others] @ ways[:, 1]
        if square > 0:
            gain += max(product, 0.0) ** 2 / square
            logarithm += 0.5 * math.log(square)
    return gain, logarithm


def _best_points(
    views: Sequence[View], fit: ShapeFit, first: NDArray[np.int64], given: Array, errors: Array, sigma: float
) -> tuple[Array, Array, Array]:
    """Gain, logarithm of the curvature and center of points in place of components `first`, each for itself."""
    n = len(first)
    centers = fit.profiles.centers[fit.profiles.owner[first]]
    stars = Profiles(centers, np.arange(n), np.ones(n, dtype=bool), np.zeros((n, N_SHAPE)), np.zeros(n, dtype=bool))
    best = np.full(n, -np.inf), np.zeros(n), centers.copy()
    for step in range(_CENTER_STEPS):
        images, jacobian = profile_jacobian(stars.moved(centers, stars.shapes), views[0].renderer.model_shape, sigma, views[0].data)
        columns = whitened(views, images)
        cross = torch.cat([M @ N.mT for M, N in zip(columns, fit.columns, strict=True)]).double().cpu().numpy()
        own = torch.cat([M.square().sum(dim=2) for M in columns]).double().cpu().numpy()
        products = [(M @ view.data.flatten(1)[:, :, None])[..., 0] for view, M in zip(views, columns, strict=True)]
        seen = torch.cat(products).double().cpu().numpy()
        for k in range(n):
            gain, logarithm = _gain(fit, first[k], (cross[:, k], own[:, k], seen[:, k]))
            if gain - _pull(centers[k], given[k], errors[k]) > best[0][k] - _pull(best[2][k], given[k], errors[k]):
                best[0][k], best[1][k], best[2][k] = gain, logarithm, centers[k]
        if step < _CENTER_STEPS - 1:
            centers = centers + _center_steps(views, fit, first, columns, own, jacobian, centers - given, errors)
    return best


def _center_steps(
    views: Sequence[View],
    fit: ShapeFit,
    first: NDArray[np.int64],
    columns: list[Any],
    own: Array,
    jacobian: Any,
    offset: Array,
    errors: Array,
) -> Array:
    """A Gauss-Newton step of each point, its first component taken away and all else fixed, shape (n, 2)."""
    curvature, slope, band = np.eye(2) / errors[:, :, None] ** 2, -offset / errors**2, 0
    for view, M, N, left in zip(views, columns, fit.columns, fit.residual, strict=True):
        here = slice(band, band + view.n_bands)
        A = fit.spectra[here][:, first].to(M)
        alone = left[:, None] + A[:, :, None] * N[:, first]
        amounts = ((M * alone).sum(dim=2) / torch.as_tensor(own[here]).to(M).clamp_min(torch.finfo(M.dtype).tiny)).clamp_min(0)
        alone = alone - amounts[:, :, None] * M
        for axis in range(2):
            moved = whitened([view], jacobian[:, axis])[0] * amounts[:, :, None]
            slope[:, axis] += (moved * alone).sum(dim=(0, 2)).double().cpu().numpy()
            curvature[:, axis, axis] += moved.square().sum(dim=(0, 2)).double().cpu().numpy()
        band += view.n_bands
    return (slope / np.diagonal(curvature, axis1=1, axis2=2)).clip(-0.5, 0.5)


def color_gain(fit: ShapeFit, source: int) -> float:
    """By how much chi2 falls when the two components of a source may have different colors, shapes being fixed.

    If they have one color it is distributed as chi2 with B − 1 degrees of freedom.
    """
    pair = np.flatnonzero(fit.profiles.owner == source)
    gram, right, spectra = fit.equations.gram.numpy(), fit.equations.right.numpy(), fit.spectra.numpy()
    squares, products, both = np.zeros((len(gram), 2, 2)), np.zeros((len(gram), 2)), 0.0
    for b in range(len(gram)):
        others = np.setdiff1d(np.flatnonzero(spectra[b] != 0), pair)
        inner = gram[b][np.ix_(others, others)]
        cross = gram[b][np.ix_(others, pair)]
        ways = np.linalg.solve(inner + _RIDGE * np.diag(np.diag(inner)), np.column_stack([cross, right[b, others]]))
        square = gram[b][np.ix_(pair, pair)] - cross.T @ ways[:, :2]
        product = right[b, pair] - cross.T @ ways[:, 2]
        squares[b], products[b] = square, product
        free = spectra[b, pair] > 0
        if free.any():
            both += product[free] @ np.linalg.lstsq(square[np.ix_(free, free)], product[free])[0]
    # at high signal-to-noise ratios the best share is sharp
    shares = _SHARES
    for width in (0.05, 0.0025, 0.000125):
        shares = (shares[np.argmax(_tied(shares, squares, products))] + width * np.linspace(-1, 1, 41)).clip(0, 1)
    return float(both - _tied(shares, squares, products).max())


def _tied(shares: Array, squares: Array, products: Array) -> Array:
    """How much two components lower chi2 if the first one has this share of the flux in every band."""
    mixes = np.stack([shares, 1 - shares], axis=1)
    slopes = np.maximum(mixes @ products.T, 0)
    lengths = np.maximum(np.einsum("si,bij,sj->sb", mixes, squares, mixes), np.finfo(float).tiny)
    return np.asarray((slopes**2 / lengths).sum(axis=1))
