"""The fit of a scene from beginning to end: shapes, kinds, pixels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datamodels import History, Status
from .kinds import as_points, color_gain, galaxy_log_odds, signals, split
from .pixels import STEPS, PixelFit, fit_pixels
from .profiles import N_SHAPE, Profiles, profile_images
from .shapes import Prior, ShapeFit, fit_shapes, spectra_covariance
from .views import View

__all__ = ["SceneFit", "fit_scene"]

Array = NDArray[np.float64]

_SURE = 0.8  # probability from which a kind counts as decided
_TWO_COLORS = 3.0  # logarithm of the odds against two colors before the data are seen
_SPLIT_SNR = 30.0  # fainter galaxies do not show two colors
_SHAPE_ITERATIONS = 15
_AFTERWARDS = 6
_FIRST, _LAST = 1e-2, 1e-3  # decrease of chi2 that ends a fit of shapes, in parts of what it exceeds the number of data by


@dataclass(frozen=True, eq=False)
class SceneFit:
    """Sources that were fitted.

    Parameters
    ----------
    profiles : Profiles
    images : Tensor, shape (C + F, H, W)
        Of the components, in the model frame; each sums to 1 in the frame, unless none of it lies there. Fixed images come last.
    spectra : Tensor, shape (B, C + F)
        Flux inside the frame.
    columns : list of Tensor
        What the components add to the whitened data.
    kinds : tuple of str
    probabilities : tuple of dict
    variances : ndarray, shape (n, B)
        Of the flux of each source, its center and shape being as uncertain as they are; NaN where the flux is 0.
    chi2, objective : float
    status : Status
    history : History
    flux_history : ndarray, shape (rows, n)
    flux_iterations : ndarray of int, shape (rows,)
    """

    profiles: Profiles
    images: Tensor
    spectra: Tensor
    columns: list[Tensor]
    kinds: tuple[str, ...]
    probabilities: tuple[dict[str, float], ...]
    variances: Array
    chi2: float
    objective: float
    status: Status
    history: History
    flux_history: Array
    flux_iterations: NDArray[np.int64]


def fit_scene(
    views: Sequence[View],
    given: Array,
    kinds: Sequence[str | None],
    prior: Prior,
    sigma: float,
    *,
    fixed: Tensor | None = None,
    strength: float,
    max_iter: int,
    tol: float,
    announce: Callable[[int, float], object] | None = None,
) -> SceneFit:
    """Fit sources at given places.

    Shapes first, every source a Sérsic profile; then points are told from galaxies, and galaxies of two colors from those of one; then
    the pixels of galaxies are freed.

    Parameters
    ----------
    views : sequence of View
    given : ndarray, shape (n, 2)
        Pixel (y, x) in the model frame.
    kinds : sequence of {"point", "galaxy", "two-component", None}
        None: to be found out.
    prior : Prior
    sigma : float
        Of the PSF of the model frame, in pixels.
    fixed : Tensor, shape (F, H, W), optional
        Images with spectra of any sign, such as a flat sky.
    strength : float
        Of the entropy that holds pixels to profiles; inf keeps the profiles, 0 frees the pixels.
    max_iter : int
        Steps on shapes and rounds of steps on pixels, together.
    tol : float
        Relative decrease of the objective over 10 rounds that ends the fit.
    announce : callable, optional
        Called with iteration and objective; True ends the fit.
    """
    run = _Run(views, given, kinds, prior, sigma, fixed, max_iter, announce)
    n = len(given)
    start = Profiles(
        given.copy(),
        np.arange(n),
        np.array([kind == "point" for kind in kinds], dtype=bool),
        np.tile(prior.mean, (n, 1)),
        np.ones(n, dtype=bool),
    )
    found = run.shapes(start, _SHAPE_ITERATIONS)
    unknown = np.array([kind is None for kind in kinds], dtype=bool)
    stars = run.points(found, unknown)
    if stars.any():
        found = run.shapes(as_points(found.profiles, stars), moving=stars, known=found)
    found = run.last_shapes(run.two_components(found).profiles)
    if len(found.profiles) > n:  # what lies on a galaxy that was split is seen better now
        single = np.bincount(found.profiles.owner, minlength=n) == 1
        single[found.profiles.owner[found.profiles.point]] = False
        stars = run.points(found, unknown & single)
        if stars.any():
            found = run.last_shapes(as_points(found.profiles, stars))
    pixels = run.pixels(found.profiles, strength, tol)
    total = pixels.images.sum(dim=(1, 2))
    total = torch.where(total > 0, total, 1)
    ended = Status.CONVERGED if pixels.converged and len(run.fluxes) < max_iter else Status.MAX_ITER
    return SceneFit(
        found.profiles,
        pixels.images / total[:, None, None],
        pixels.spectra * total.double().cpu(),
        [M / total[:, None] for M in pixels.columns],
        tuple(_kind(found.profiles, k, run.told[k]) for k in range(n)),
        tuple(run.told),
        _variances(views, found, n),
        pixels.chi2,
        pixels.objective,
        Status.STOPPED if run.stopped else ended,
        run.history,
        np.array(run.fluxes).reshape(len(run.fluxes), n),
        np.arange(1, len(run.fluxes) + 1),
    )


class _Run:
    """A fit on its way: what is fitted, what is known of the kinds, and what is written down."""

    def __init__(
        self,
        views: Sequence[View],
        given: Array,
        kinds: Sequence[str | None],
        prior: Prior,
        sigma: float,
        fixed: Tensor | None,
        max_iter: int,
        announce: Callable[[int, float], object] | None,
    ) -> None:
        self.views, self.given, self.kinds, self.prior, self.sigma, self.fixed = views, given, kinds, prior, sigma, fixed
        self.max_iter, self.announce = max_iter, announce
        self.told: list[dict[str, float]] = [{} for _ in kinds]
        self.history = History(("centers and shapes", "pixels", "spectra"))
        self.fluxes: list[Array] = []
        self.steps = np.zeros(3, dtype=np.int64)
        self.began = time.perf_counter()
        self.stopped = False

    # ---------------------------------------------------------------- what is fitted

    def shapes(self, profiles: Profiles, limit: int = _AFTERWARDS, **options: Any) -> ShapeFit:
        """Profiles fitted coarsely, by at most `limit` steps; options as of `fit_shapes`."""
        options = {"tol": _FIRST, "max_iter": min(limit, self._left()), "fixed": self.fixed, "watch": self._watch_shapes} | options
        return fit_shapes(self.views, profiles, self.given, self.prior, self.sigma, **options)

    def last_shapes(self, profiles: Profiles) -> ShapeFit:
        """Profiles fitted to the end, with the curvature that errors are made of."""
        return self.shapes(profiles, tol=_LAST, exact=True)

    def points(self, found: ShapeFit, unknown: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the `unknown` sources are more probably points than galaxies; their probabilities are written down."""
        if not unknown.any():
            return unknown
        point = 1 / (1 + np.exp(galaxy_log_odds(self.views, found, self.given, self.prior, self.sigma, unknown).clip(-500, 500)))
        for k in np.flatnonzero(unknown):
            rest = {name: value for name, value in self.told[k].items() if name != "point"} or {"galaxy": 1.0}
            share = (1 - point[k]) / max(sum(rest.values()), np.finfo(float).tiny)
            self.told[k] = {"point": float(point[k])} | {name: float(share * value) for name, value in rest.items()}
        return unknown & (point > 0.5)

    def two_components(self, found: ShapeFit) -> ShapeFit:
        """Galaxies whose center and outskirts differ in color get a component for each, one after the other."""
        n_bands, strengths = len(found.spectra), signals(found)
        for k in np.argsort(-strengths):
            if found.profiles.point[found.profiles.owner == k].any() or self.kinds[k] == "galaxy":
                continue
            if self.kinds[k] is None and (n_bands < 2 or strengths[k] < _SPLIT_SNR**2):
                continue
            halves, only = split(found.profiles, int(k)), {"moving": np.arange(len(strengths)) == k, "known": found}
            if self.kinds[k] == "two-component":
                found = self.shapes(halves, **only)
                continue
            galaxy = self.told[k].get("galaxy", 1.0)
            if color_gain(self.shapes(halves, 0, **only), int(k)) < 2 * n_bands:  # no sign of two colors: not worth a fit
                self.told[k] |= {"galaxy": galaxy, "two-component": 0.0}
                continue
            trial = self.shapes(halves, **only)
            # Akaike's criterion, for all that is added (a flux per band, radius, stretch) and for the colors alone
            gain = min(found.objective - trial.objective - 2 * (n_bands + N_SHAPE - 1), color_gain(trial, int(k)) - 2 * (n_bands - 1))
            share = 1 / (1 + math.exp(-min(max(0.5 * gain - _TWO_COLORS, -500.0), 500.0)))
            self.told[k] |= {"galaxy": galaxy * (1 - share), "two-component": galaxy * share}
            if share > 0.5:
                found = trial
        return found

    def pixels(self, profiles: Profiles, strength: float, tol: float) -> PixelFit:
        """The pixels of all that is no point, from its profile."""
        images = profile_images(profiles, self.views[0].renderer.model_shape, self.sigma, self.views[0].data)
        signed = 0 if self.fixed is None else len(self.fixed)
        if self.fixed is not None:
            images = torch.cat([images, self.fixed])
        free = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        if math.isfinite(strength):
            free[: len(profiles)] = torch.from_numpy(~profiles.point)

        def watch(current: Tensor, spectra: Tensor, objective: float) -> bool:
            inside = current[: len(profiles)].sum(dim=(1, 2)).double().cpu().numpy()
            return self._add(profiles.owner, spectra, inside, objective, (0, STEPS, 1))

        return fit_pixels(self.views, images, free, strength=strength, signed=signed, max_iter=self._left(), tol=tol, watch=watch)

    # ---------------------------------------------------------------- what is written down

    def _left(self) -> int:
        """Iterations that are left."""
        return 0 if self.stopped else max(0, self.max_iter - len(self.fluxes))

    def _watch_shapes(self, profiles: Profiles, spectra: Tensor, objective: float) -> bool:
        return self._add(profiles.owner, spectra, np.ones(len(profiles)), 0.5 * objective, (1, 0, 1))

    def _add(self, owner: NDArray[np.int64], spectra: Tensor, inside: Array, objective: float, steps: tuple[int, int, int]) -> bool:
        """Write down an iteration; True if the caller is asked to stop."""
        flux = spectra.numpy()[:, : len(owner)].sum(axis=0) * inside
        self.fluxes.append(np.bincount(owner, weights=flux, minlength=len(self.given)).astype(np.float64))
        self.steps += steps
        seconds = time.perf_counter() - self.began
        self.history.append(
            objective=objective,
            gradient_evaluations=self.steps.tolist(),
            objective_evaluations=len(self.fluxes),
            seconds=seconds,
        )
        self.stopped = self.announce is not None and self.announce(len(self.fluxes), objective) is True
        return self.stopped


def _variances(views: Sequence[View], found: ShapeFit, n: int) -> Array:
    """Variance of the sum of the components of each source, shape (n, B); components of flux 0 add nothing."""
    members = found.profiles.owner == np.arange(n)[:, None]
    inside = spectra_covariance(views, found)[:, : len(found.profiles), : len(found.profiles)]
    total = np.einsum("kc,bcd,kd->kb", members.astype(float), np.nan_to_num(inside), members.astype(float))
    return np.where(total > 0, total, np.nan)


def _kind(profiles: Profiles, k: int, probabilities: dict[str, float]) -> str:
    """The kind of a source, "undecided" where none is probable enough."""
    if probabilities and max(probabilities.values()) < _SURE:
        return "undecided"
    components = np.flatnonzero(profiles.owner == k)
    if profiles.point[components[0]]:
        return "point"
    return "two-component" if len(components) > 1 else "galaxy"
