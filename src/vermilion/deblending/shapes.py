"""Centers and shapes of sources: Gauss-Newton steps with exact non-negative spectra in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .profiles import LOG_INDEX, LOG_RADIUS, Profiles, profile_images, profile_jacobian
from .views import NormalEquations, View, non_negative_spectra, normal_equations, residuals, whitened

__all__ = ["Prior", "ShapeFit", "fit_shapes", "spectra_covariance"]

Array = NDArray[np.float64]

_STEP = np.array([0.7, 0.5, 0.5, 0.5])  # longest step of log radius, stretch and log index
_CENTER_STEP = 0.5  # pixels
_FARTHEST = 4.0  # standard deviations of the given centers
_INDEX = math.log(0.5), math.log(6.0)
_TRIES = 6
_DAMPING = 1e-2, 1e-4, 1e-3  # at first, the least, the least after a rejected step
_RIDGE = 1e-9


@dataclass(frozen=True)
class Prior:
    """What is thought of sources before they are looked at: independent normal distributions.

    Parameters
    ----------
    center : float or ndarray, shape (n,)
        Standard deviation [pixel] of each coordinate of the centers that are given; they move by four of these at most.
    radius : float
        Median half-light radius of galaxies [pixel].
    log_radius, stretch, log_index : float
        Standard deviations.
    index : float
        Median Sérsic index.
    """

    center: float | Array
    radius: float
    log_radius: float = 0.8
    stretch: float = 0.4
    index: float = 1.3
    log_index: float = 0.4

    def centers(self, n: int) -> Array:
        """Standard deviation of both coordinates of each of `n` centers, shape (n, 1)."""
        return np.broadcast_to(np.asarray(self.center, dtype=np.float64), n)[:, None]

    @property
    def mean(self) -> Array:
        """Of a row of `Profiles.shapes`."""
        return np.array([math.log(self.radius), 0.0, 0.0, math.log(self.index)])

    @property
    def precision(self) -> Array:
        """Inverse variances of a row of `Profiles.shapes`."""
        return 1 / np.array([self.log_radius, self.stretch, self.stretch, self.log_index]) ** 2


@dataclass(frozen=True, eq=False)
class ShapeFit:
    """Profiles that were fitted, and the state of the fit there.

    `columns`, `equations`, `spectra` (B, C), `residual` and `chi2` are those of `views`; `objective` is chi2 plus twice the negative
    logarithm of the prior; `curvature` (P, P) is half its Hessian by the centers and free shapes that moved, spectra being the best ones.
    """

    profiles: Profiles
    jacobian: Tensor
    columns: list[Tensor]
    equations: NormalEquations
    spectra: Tensor
    residual: list[Tensor]
    chi2: float
    objective: float
    curvature: Array


def fit_shapes(
    views: Sequence[View],
    start: Profiles,
    given: Array,
    prior: Prior,
    sigma: float,
    *,
    fixed: Tensor | None = None,
    moving: NDArray[np.bool_] | None = None,
    known: ShapeFit | None = None,
    max_iter: int = 15,
    tol: float = 1e-3,
    exact: bool = False,
    watch: Callable[[Profiles, Tensor, float], bool | None] | None = None,
) -> ShapeFit:
    """The most probable centers, shapes and spectra.

    Spectra are eliminated: each trial of shapes is judged with its best spectra (variable projection), and the curvature is
    what they leave of it. Curvatures use the mean PSF and the common pattern of the weights where there is one; gradients are exact.
    With `max_iter` 0 the start is judged; its curvature is computed if it is to be `exact`.

    Parameters
    ----------
    start : Profiles
    given : ndarray, shape (n, 2)
        Centers that the prior holds to.
    fixed : Tensor, shape (F, H, W), optional
        Images that stay as they are, with spectra of any sign; they come after the profiles.
    moving : ndarray of bool, shape (n,), optional
        Sources whose centers and shapes are fitted; by default all.
    known : ShapeFit, optional
        A fit in which the components that rest now were the same, and which had no others before them.
    tol : float
        The fit ends where chi2 decreases by less than 0.1, or by less than this part of what it exceeds the number of data by.
    exact : bool
        Whether `curvature` is to be that of every band's own weights: what errors are computed from.
    watch : callable, optional
        Called with profiles, spectra and objective after each iteration; True ends the fit.
    """
    problem = _Problem(views, start, given, prior, sigma, fixed, np.ones(len(given), dtype=bool) if moving is None else moving, known)
    state = problem.state(start)
    damping = _DAMPING[0]
    if max_iter < 1 and not exact:
        return state
    curvature, slope = problem.derivatives(state)
    for _ in range(max_iter):
        for _ in range(_TRIES):
            trial = problem.state(problem.step(state, curvature, slope, damping))
            if trial.objective <= state.objective:
                damping = max(damping / 5, _DAMPING[1])
                break
            damping = max(damping * 5, _DAMPING[2])
        else:
            break
        gain, state = state.objective - trial.objective, trial
        curvature, slope = problem.derivatives(state)
        if watch is not None and watch(state.profiles, state.spectra, state.objective):
            break
        if gain < 0.1 + tol * max(state.chi2 - problem.n_data, 0.0):
            break
    return replace(state, curvature=problem.derivatives(state, exact=True)[0] if exact else curvature)


def spectra_covariance(views: Sequence[View], fit: ShapeFit) -> Array:
    """Covariance (B, C, C) of the spectra: with shapes fixed, and what the uncertainty of all that moved adds. NaN for flux 0."""
    layout = _Layout.of(fit.profiles, np.ones(len(fit.profiles.centers), dtype=bool))
    shapes = np.linalg.inv(fit.curvature)
    jacobian = layout.chosen(fit.jacobian)
    gram, spectra = fit.equations.gram.numpy(), fit.spectra.numpy()
    covariance = np.full(gram.shape, np.nan)
    band = 0
    for view, columns in zip(views, fit.columns, strict=True):
        for b, rows in enumerate(_derivative_rows(view, jacobian)):
            active = np.flatnonzero(spectra[band + b])
            inverse = np.linalg.pinv(gram[band + b][np.ix_(active, active)], hermitian=True)
            cross = (columns[b][torch.from_numpy(active)] @ rows.T).double().cpu().numpy() * spectra[band + b, layout.component]
            ways = inverse @ cross @ layout.together
            covariance[band + b][np.ix_(active, active)] = inverse + ways @ shapes @ ways.T
        band += view.n_bands
    return covariance


@dataclass(frozen=True, eq=False)
class _Layout:
    """Which derivatives are needed: of `component`, at place `parameter` of its Jacobian.

    `together` (derivatives, P) sums those of one parameter of the fit: centers (y, x) of the sources that move, then the free shapes of
    their components.
    """

    component: NDArray[np.int64]
    parameter: NDArray[np.int64]
    together: Array

    @classmethod
    def of(cls, profiles: Profiles, moving: NDArray[np.bool_]) -> _Layout:
        number = np.cumsum(moving) - 1
        component, shape = np.nonzero(profiles.free & moving[profiles.owner, None])
        every = np.repeat(np.flatnonzero(moving[profiles.owner]), 2)
        axis = np.tile([0, 1], len(every) // 2)
        place = np.concatenate([2 * number[profiles.owner[every]] + axis, 2 * moving.sum() + np.arange(len(component))])
        together = np.zeros((len(place), 2 * moving.sum() + len(component)))
        together[np.arange(len(place)), place] = 1
        return cls(np.concatenate([every, component]), np.concatenate([axis, 2 + shape]), together)

    def chosen(self, jacobian: Tensor) -> Tensor:
        """Derivative images (derivatives, H, W)."""
        return jacobian[torch.from_numpy(self.component), torch.from_numpy(self.parameter)]


class _Problem:
    """What stays the same while shapes move."""

    def __init__(
        self,
        views: Sequence[View],
        start: Profiles,
        given: Array,
        prior: Prior,
        sigma: float,
        fixed: Tensor | None,
        moving: NDArray[np.bool_],
        known: ShapeFit | None,
    ) -> None:
        self.views, self.given, self.prior, self.sigma, self.moving = views, given, prior, sigma, moving
        self.errors = prior.centers(len(given))
        self.shape = views[0].renderer.model_shape
        self.n_data = sum(int((view.root > 0).sum()) for view in views)
        self.n_fixed = 0 if fixed is None else len(fixed)
        self.layout = _Layout.of(start, moving)
        self.mobile = moving[start.owner]
        rest = np.flatnonzero(~self.mobile)
        if known is not None:
            kept = torch.from_numpy(np.concatenate([rest, len(known.profiles) + np.arange(self.n_fixed)]))
            self.resting = [M[:, kept] for M in known.columns]
        else:
            images = [profile_images(start.only(~self.mobile), self.shape, sigma, views[0].data)] if len(rest) else []
            images += [] if fixed is None else [fixed]
            self.resting = whitened(views, torch.cat(images), self.n_fixed) if images else []
        order = np.concatenate([np.flatnonzero(self.mobile), rest, len(start) + np.arange(self.n_fixed)])
        self.order = torch.from_numpy(np.argsort(order))

    def state(self, profiles: Profiles) -> ShapeFit:
        images, jacobian = profile_jacobian(profiles.only(self.mobile), self.shape, self.sigma, self.views[0].data)
        columns = whitened(self.views, images)
        if self.resting:
            columns = [torch.cat(both, dim=1)[:, self.order] for both in zip(columns, self.resting, strict=True)]
        equations = normal_equations(self.views, columns)
        spectra = non_negative_spectra(equations, self.n_fixed)
        residual, chi2 = residuals(self.views, columns, spectra)
        objective = chi2 + self._penalty(profiles)
        whole = jacobian
        if not self.mobile.all():
            whole = jacobian.new_zeros(len(profiles), *jacobian.shape[1:])
            whole[torch.from_numpy(self.mobile)] = jacobian
        return ShapeFit(profiles, whole, columns, equations, spectra, residual, chi2, objective, np.zeros((0, 0)))

    def _penalty(self, profiles: Profiles) -> float:
        shapes = ((profiles.shapes - self.prior.mean) ** 2 * self.prior.precision)[profiles.free].sum()
        return float(shapes + (((profiles.centers - self.given) / self.errors) ** 2).sum())

    def derivatives(self, state: ShapeFit, *, exact: bool = False) -> tuple[Array, Array]:
        """Half the Hessian (P, P) of the objective, and minus half its gradient (P,)."""
        profiles, spectra, layout = state.profiles, state.spectra.numpy(), self.layout
        jacobian = layout.chosen(state.jacobian)
        curvature, slope = np.zeros((len(jacobian),) * 2), np.zeros(len(jacobian))
        band = 0
        for view, columns, residual in zip(self.views, state.columns, state.residual, strict=True):
            here = slice(band, band + view.n_bands)
            amounts = spectra[here][:, layout.component]
            way = _curvature if exact or view.typical is None else _typical_curvature
            curvature += way(view, jacobian, columns, amounts, spectra[here], state.equations.gram[here].numpy())
            slope += _slope(view, jacobian, residual, amounts)
            band += view.n_bands
        curvature, slope = layout.together.T @ curvature @ layout.together, layout.together.T @ slope
        free = profiles.free & self.mobile[:, None]
        shapes = np.broadcast_to(self.prior.precision, free.shape)[free]
        precision = np.concatenate([np.repeat(self.errors[self.moving, 0] ** -2, 2), shapes])
        pull = np.concatenate([(profiles.centers - self.given)[self.moving].ravel(), (profiles.shapes - self.prior.mean)[free]])
        return curvature + np.diag(precision), slope - precision * pull

    def step(self, state: ShapeFit, curvature: Array, slope: Array, damping: float) -> Profiles:
        """A damped Gauss-Newton step, cut where it is long."""
        profiles = state.profiles
        n, free = 2 * self.moving.sum(), profiles.free & self.mobile[:, None]
        longest = np.concatenate([np.full(n, _CENTER_STEP), np.broadcast_to(_STEP, free.shape)[free]])
        step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope).clip(-longest, longest)
        centers, shapes = profiles.centers.copy(), profiles.shapes.copy()
        centers[self.moving] += step[:n].reshape(-1, 2)
        centers = centers.clip(self.given - _FARTHEST * self.errors, self.given + _FARTHEST * self.errors)
        shapes[free] += step[n:]
        shapes[:, LOG_INDEX] = shapes[:, LOG_INDEX].clip(*_INDEX)
        shapes[:, LOG_RADIUS] = shapes[:, LOG_RADIUS].clip(math.log(0.05), math.log(max(self.shape)))
        return profiles.moved(centers, shapes)


def _curvature(view: View, jacobian: Tensor, columns: Tensor, amounts: Array, spectra: Array, gram: Array) -> Array:
    """Σ_b of the curvature by each derivative, less what changing spectra could undo."""
    total = np.zeros((len(jacobian),) * 2)
    for b, rows in enumerate(_derivative_rows(view, jacobian)):
        own = (rows @ rows.T).double().cpu().numpy()
        cross = (columns[b] @ rows.T).double().cpu().numpy()
        total += (own - _undone(spectra[b], gram[b], cross)) * np.outer(amounts[b], amounts[b])
    return total


def _typical_curvature(view: View, jacobian: Tensor, columns: Tensor, amounts: Array, spectra: Array, gram: Array) -> Array:
    """The same with one pattern of weights for all bands."""
    assert view.typical is not None
    rows = (view.typical(jacobian[:, None])[:, 0] * view.pattern).flatten(1)
    own = (rows @ rows.T).double().cpu().numpy()
    crosses = (columns.flatten(0, 1) @ rows.T).unflatten(0, columns.shape[:2]).double().cpu().numpy()
    total = np.zeros_like(own)
    for b, level in enumerate(view.levels.double().cpu().numpy()):
        total += (level**2 * own - _undone(spectra[b], gram[b], level * crosses[b])) * np.outer(amounts[b], amounts[b])
    return total


def _undone(spectra: Array, gram: Array, cross: Array) -> Array:
    """What changing the spectra could undo of the changes by each derivative, given their products `cross` with the components."""
    active = spectra != 0
    inner = gram[np.ix_(active, active)]
    return cross[active].T @ np.linalg.solve(inner + _RIDGE * np.diag(np.diag(inner)), cross[active])


def _derivative_rows(view: View, jacobian: Tensor) -> Iterator[Tensor]:
    """Derivative images (P, H, W) as they change the whitened data of each band, (P, pixels)."""
    if view.typical is None:
        seen = view.renderer(jacobian[:, None])
        yield from ((seen[:, b] * view.root[b]).flatten(1) for b in range(view.n_bands))
    else:
        alike = view.typical(jacobian[:, None])[:, 0]
        yield from ((alike * root).flatten(1) for root in view.root)


def _slope(view: View, jacobian: Tensor, residual: Tensor, amounts: Array) -> Array:
    """Σ_b of the slope along each derivative."""
    back = view.renderer.adjoint(residual.unflatten(1, view.root.shape[1:]) * view.root)
    products = (back.flatten(1) @ jacobian.flatten(1).T).double().cpu().numpy()
    return (products * amounts).sum(axis=0)
