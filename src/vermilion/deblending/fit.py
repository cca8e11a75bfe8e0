"""The fit of a scene from beginning to end: shapes, kinds, pixels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datamodels import History, Status
from .kinds import as_points, color_gain, galaxy_log_odds, signals, split
from .pixels import fit_pixels
from .profiles import N_SHAPE, Profiles, profile_images
from .shapes import Prior, ShapeFit, fit_shapes, spectra_covariance
from .views import View

__all__ = ["SceneFit", "fit_scene"]

Array = NDArray[np.float64]

_Refit = Callable[..., ShapeFit]  # of profiles and the most iterations; moving and known as in fit_shapes

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


@dataclass
class _Log:
    """What is written down while the fit goes on."""

    views: Sequence[View]
    announce: Callable[[int, float], object] | None
    history: History = field(default_factory=lambda: History(("centers and shapes", "pixels", "spectra")))
    fluxes: list[Array] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    steps: tuple[int, int, int] = (0, 0, 0)
    stopped: bool = False

    def add(self, owner: NDArray[np.int64], n: int, spectra: Tensor, scale: Array, objective: float, *, shapes: int, pixels: int) -> bool:
        """One iteration; True if the caller is asked to stop."""
        flux = spectra.numpy()[:, : len(owner)].sum(axis=0) * scale
        self.fluxes.append(np.bincount(owner, weights=flux, minlength=n).astype(np.float64))
        self.steps = self.steps[0] + shapes, self.steps[1] + pixels, self.steps[2] + 1
        seconds = time.perf_counter() - self.began
        self.history.append(objective=objective, gradient_evaluations=self.steps, objective_evaluations=len(self.fluxes), seconds=seconds)
        if self.announce is not None and self.announce(len(self.fluxes), objective) is True:
            self.stopped = True
        return self.stopped


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
    n, shape = len(given), views[0].renderer.model_shape
    log = _Log(views, announce)
    start = Profiles(
        given.copy(),
        np.arange(n),
        np.array([kind == "point" for kind in kinds], dtype=bool),
        np.tile(prior.mean, (n, 1)),
        np.ones(n, dtype=bool),
    )

    def shapes(profiles: Profiles, limit: int, *, moving: NDArray[np.bool_] | None = None, known: ShapeFit | None = None) -> ShapeFit:
        left = 0 if log.stopped else max(0, min(limit, max_iter - len(log.fluxes)))
        options: dict[str, Any] = {"fixed": fixed, "moving": moving, "known": known, "max_iter": left, "tol": _FIRST, "watch": watch}
        return fit_shapes(views, profiles, given, prior, sigma, **options)

    def finish(profiles: Profiles) -> ShapeFit:
        left = 0 if log.stopped else max(0, min(_AFTERWARDS, max_iter - len(log.fluxes)))
        return fit_shapes(views, profiles, given, prior, sigma, fixed=fixed, max_iter=left, tol=_LAST, exact=True, watch=watch)

    def watch(profiles: Profiles, spectra: Tensor, objective: float) -> bool:
        inside = np.ones(len(profiles))
        return log.add(profiles.owner, n, spectra, inside, 0.5 * objective, shapes=1, pixels=0)

    found = shapes(start, _SHAPE_ITERATIONS)
    told: list[dict[str, float]] = [{} for _ in kinds]
    unknown = np.array([kind is None for kind in kinds], dtype=bool)
    if unknown.any():
        stars = unknown & _points(galaxy_log_odds(views, found, given, prior, sigma, unknown), unknown, told)
        if stars.any():
            found = shapes(as_points(found.profiles, stars), _AFTERWARDS, moving=stars, known=found)
    found = _two_components(found, kinds, told, shapes)
    found = finish(found.profiles)
    left = unknown & (np.bincount(found.profiles.owner, minlength=n) == 1)
    left[found.profiles.owner[found.profiles.point]] = False
    if len(found.profiles) > n and left.any():  # what lies on a galaxy that was split is seen better now
        stars = left & _points(galaxy_log_odds(views, found, given, prior, sigma, left), left, told)
        if stars.any():
            found = finish(as_points(found.profiles, stars))
    profiles = found.profiles
    images = profile_images(profiles, shape, sigma, views[0].data)
    if fixed is not None:
        images = torch.cat([images, fixed])
    free = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if math.isfinite(strength):
        free[: len(profiles)] = torch.from_numpy(~profiles.point)

    def watch_pixels(current: Tensor, spectra: Tensor, objective: float) -> bool:
        inside = current[: len(profiles)].sum(dim=(1, 2)).double().cpu().numpy()
        return log.add(profiles.owner, n, spectra, inside, objective, shapes=0, pixels=5)

    limit = 0 if log.stopped else max_iter - len(log.fluxes)
    pixels = fit_pixels(
        views, images, free, strength=strength, signed=0 if fixed is None else len(fixed), max_iter=limit, tol=tol, watch=watch_pixels
    )
    total = pixels.images.sum(dim=(1, 2))
    total = torch.where(total > 0, total, 1)
    ended = Status.CONVERGED if pixels.converged and len(log.fluxes) < max_iter else Status.MAX_ITER
    named = tuple(_kind(profiles, k, told[k]) for k in range(n))
    return SceneFit(
        profiles,
        pixels.images / total[:, None, None],
        pixels.spectra * total.double().cpu(),
        [M / total[:, None] for M in pixels.columns],
        named,
        tuple(told),
        _variances(views, found, n),
        pixels.chi2,
        pixels.objective,
        Status.STOPPED if log.stopped else ended,
        log.history,
        np.array(log.fluxes).reshape(len(log.fluxes), n),
        np.arange(1, len(log.fluxes) + 1),
    )


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


def _points(odds: Array, unknown: NDArray[np.bool_], told: list[dict[str, float]]) -> NDArray[np.bool_]:
    """Which sources are more probably points than galaxies; the probabilities of those that are `unknown` are written down."""
    point = 1 / (1 + np.exp(odds.clip(-500, 500)))
    for k in np.flatnonzero(unknown):
        rest = {name: value for name, value in told[k].items() if name != "point"} or {"galaxy": 1.0}
        share = (1 - point[k]) / max(sum(rest.values()), np.finfo(float).tiny)
        told[k] = {"point": float(point[k])} | {name: float(share * value) for name, value in rest.items()}
    return np.asarray(point > 0.5)


def _two_components(found: ShapeFit, kinds: Sequence[str | None], told: list[dict[str, float]], refit: _Refit) -> ShapeFit:
    """Galaxies whose center and outskirts differ in color get a component for each, one after the other."""
    n_bands = len(found.spectra)
    strengths = signals(found)
    for k in np.argsort(-strengths):
        if found.profiles.point[found.profiles.owner == k].any() or kinds[k] == "galaxy":
            continue
        if kinds[k] is None and (n_bands < 2 or strengths[k] < _SPLIT_SNR**2):
            continue
        halves, alone = split(found.profiles, int(k)), np.arange(len(strengths)) == k
        if kinds[k] == "two-component":
            found = refit(halves, _AFTERWARDS, moving=alone, known=found)
            continue
        galaxy = told[k].get("galaxy", 1.0)
        if color_gain(refit(halves, 0, moving=alone, known=found), int(k)) < 2 * n_bands:  # no sign of two colors: not worth a fit
            told[k] = told[k] | {"galaxy": galaxy, "two-component": 0.0}
            continue
        trial = refit(halves, _AFTERWARDS, moving=alone, known=found)
        # Akaike's criterion, for all that is added (a flux per band, radius, stretch) and for the colors alone
        gain = min(found.objective - trial.objective - 2 * (n_bands + N_SHAPE - 1), color_gain(trial, int(k)) - 2 * (n_bands - 1))
        evidence = 0.5 * gain - _TWO_COLORS
        share = 1 / (1 + math.exp(-min(max(evidence, -500.0), 500.0)))
        told[k] = told[k] | {"galaxy": galaxy * (1 - share), "two-component": galaxy * share}
        if share > 0.5:
            found = trial
    return found
