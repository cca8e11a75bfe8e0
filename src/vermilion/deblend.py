"""Images of stars and galaxies in, each source's flux, shape and image out: what the command line and a notebook both call."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from . import __version__
from .datamodels import PSF, Cube, Frame, SceneResult, Status
from .deblending import Prior, fit_scene, views_of
from .deblending.observed import Observed, renderers_of, with_weights
from .deblending.products import on_first_grid, scene_result
from .errors import NoDataError, ParameterError, ShapeError
from .factorize import resolve_device
from .initialize.peaks import detect_sources
from .io.source_catalog import Positions, read_catalog
from .measure import build_catalog
from .observation.psf_matching import psf_widths

__all__ = ["KINDS", "deblend"]

Array = NDArray[np.float64]

KINDS = ("point", "galaxy", "two-component")
_STRENGTH = 12.0  # of the entropy that holds pixels to profiles
_CENTER_ERRORS = {"given": 0.1, "whole pixels": 0.3, "detected": 0.2}  # pixels
_SMALL = 1_000_000  # values
_RADIUS = 1.0  # median half-light radius expected of galaxies, in standard deviations of the narrowest PSF


def deblend(
    images: ArrayLike | Cube | Sequence[Cube],
    *,
    weights: ArrayLike | None = None,
    psf: Any = None,
    catalog: Any = None,
    types: str | Sequence[str | None] | None = None,
    sky: bool = False,
    threshold: float = 5.0,
    center_error: float | None = None,
    regularization: float = _STRENGTH,
    zero_points: ArrayLike | None = None,
    max_iter: int = 200,
    tol: float = 1e-5,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    announce: Callable[[str], Any] | None = None,
    callbacks: Callable[[int, float], Any] | Sequence[Callable[[int, float], Any]] = (),
) -> SceneResult:
    """Stars and galaxies of a blended scene, each with its flux in every band.

    Every source is first fitted as a Sérsic profile with a free center, points are told from galaxies and galaxies whose center and
    outskirts differ in color from those of one color, and then the pixels of galaxies are freed, held to their profile by a relative
    entropy and its sum.
    Spectra are exact non-negative least squares throughout. There is no step size.

    Parameters
    ----------
    images : array_like, shape (B, Ny, Nx), or Cube, or sequence of Cube
        Sky subtracted (or see `sky`), in any unit, which may differ from band to band. Several cubes are observations of one scene on pixel
        grids of their own, tied by their sky coordinates; the first one's grid is that of the model.
    weights : array_like, shape (B, Ny, Nx), optional
        Inverse variances >= 0, 0 where a value is absent (it may be NaN there). None: those of the cube; of an array, one noise level per
        band, from neighboring pixels. Those of the first cube that follow the noise of the data, as if made of noisy counts, would bias
        fluxes low: they are replaced by what the model leads to, and the fit is repeated. A common factor changes the errors alone.
    psf : optional
        Stamps (B, h, w) or (h, w), `PSF`, ``("gaussian", fwhm)`` or ``("moffat", fwhm, beta)`` in pixels; a list of these for several
        cubes. None: that of the cube.
    catalog : array_like, shape (n, 2), Table, path, or Positions, optional
        Pixel (y, x) of each source, counted from 0, or a table with pixel or sky coordinates (see `io.source_catalog.read_catalog`).
        None: sources are detected.
    types : "auto", "given", or sequence of {"point", "galaxy", "two-component", None}, optional
        What each source is ("star" is "point"). None and "auto": found out from the data; "given": as the catalog says.
    sky : bool
        Fit a flat sky per band; it is the last of the sources.
    threshold : float
        Signal-to-noise ratio for detection.
    center_error : float, optional
        Standard deviation [pixel] of each coordinate of the given centers. None: 0.1, 0.3 for those in
        whole pixels, 0.2 if detected. They move by four of these at most.
    regularization : float
        Strength of the entropy; 0 leaves pixels positive and otherwise free, inf keeps the profiles.
    zero_points : array_like, shape (B,) or (), optional
        Magnitudes of unit flux, for the catalog.
    max_iter : int, >= 1
        Steps on shapes, and rounds of 5 steps on pixels and one on the spectra, together.
    tol : float
        Relative decrease of the objective per 10 rounds, judged by the last two, that ends the fit.
    seed : int
        Recorded; nothing is random.
    dtype : {"auto", "float32", "float64"}
        "auto": float64 for less than a million values, where it costs little, float32 for more.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:0" …
    announce : callable, optional
        Called with a few words when another stage begins.
    callbacks : callable or sequence of callables
        ``callback(iteration, objective)``; True ends the fit.

    Returns
    -------
    SceneResult

    Raises
    ------
    ShapeError, ParameterError, NoDataError, DeviceError
        If arguments do not fit together, are out of range, or nothing is left to fit.
    MissingFileError, NotFITSError
        If a catalog cannot be read.

    References
    ----------
    Melchior et al. 2018, Astronomy and Computing 24, 129 (the model of a scene); Hogg & Lang 2013, PASP 125, 719 (profiles as mixtures).

    Examples
    --------
    >>> y, x = np.mgrid[:32, :32]
    >>> star = np.exp(-((y - 16.0) ** 2 + (x - 14.3) ** 2) / 8) / (8 * np.pi)
    >>> noise = np.random.default_rng(1).normal(size=(2, 32, 32))
    >>> result = deblend(np.stack([900 * star, 600 * star]) + noise, psf=("gaussian", 4.71), catalog=[(16, 14)])
    >>> result.sources[0].kind, bool(np.all(np.abs(result.fluxes - [900, 600]) < 4 * result.flux_errors))
    ('point', True)
    """
    _check(threshold, center_error, regularization, max_iter, tol, seed, dtype)
    say = announce or (lambda words: None)
    cubes = _cubes(images, weights)
    notes: list[str] = []
    observed = [Observed(cube, stamps, notes) for cube, stamps in zip(cubes, _psfs(psf, cubes), strict=True)]
    shape = cubes[0].frame.shape
    say("preparing the PSFs")
    renderers, kernels = renderers_of(observed)
    notes += [note for kernel in kernels for note in kernel.notes]
    given, identifiers, kinds, error = _start(observed[0], catalog, types, threshold, notes, say)
    if not len(given) and not sky:
        raise NoDataError(f"no source stands above {threshold:g} times the noise: lower the threshold, or give a catalog.")
    target = torch.device(resolve_device(device))
    if dtype == "auto":
        dtype = "float64" if sum(item.data.size for item in observed) < _SMALL else "float32"
    real = getattr(torch, dtype)
    fixed = torch.full((1, *shape), 1 / math.prod(shape), dtype=real, device=target) if sky else None
    widths = np.concatenate([psf_widths(item.stamps) for item in observed])
    prior = Prior(center=error if center_error is None else center_error, radius=_RADIUS * float(widths.min()))
    calls = _calls(callbacks)

    def solved() -> SceneResult:
        views = views_of([item.observation(renderer, real, target) for item, renderer in zip(observed, renderers, strict=True)])
        say("fitting the sources")
        fit = fit_scene(
            views,
            given,
            kinds,
            prior,
            kernels[0].model_sigma,
            fixed=fixed,
            strength=float(regularization),
            max_iter=int(max_iter),
            tol=float(tol),
            announce=lambda iteration, objective: True in [call(iteration, objective) for call in calls],
        )
        say("measuring")
        return scene_result(fit, observed, renderers, notes)

    with torch.no_grad():
        result = solved()
        following = observed[0].follow(np.asarray(result.model[: len(observed[0].data)], dtype=np.float64))
        if following and result.status is not Status.STOPPED:
            names = ", ".join(result.bands[b] for b in following)
            notes.append(
                f"the weights of {names} follow the noise of the data: replaced by what the model leads to, lest fluxes be too low."
            )
            result = solved()
    provenance = {
        "version": __version__,
        "model_sigma": kernels[0].model_sigma,
        "center_error": float(np.median(prior.center)) if len(given) else None,
        "median_radius": prior.radius,
        "regularization": float(regularization),
        "max_iter": int(max_iter),
        "tol": float(tol),
        "seed": int(seed),
        "dtype": dtype,
        "device": str(target),
        "threads": torch.get_num_threads(),
        "identifiers": list(identifiers),
    }
    result = replace(result, provenance=provenance)
    first = observed[0]
    data, weight = on_first_grid(observed, result.fluxes.shape[1])
    table = build_catalog(result, data, weight, wcs=first.wcs, unit=None, zero_points=zero_points)
    return replace(result, catalog=table)


def _check(threshold: float, center_error: float | None, regularization: float, max_iter: int, tol: float, seed: int, dtype: str) -> None:
    for name, value, least in (("max_iter", max_iter, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
            raise ParameterError(f"{name} is {value!r}: expected an integer >= {least}.")
    for name, number, fits, expected in (
        ("tol", tol, lambda x: 0 <= x < 1, "a number in [0, 1)"),
        ("threshold", threshold, lambda x: 0 < x < math.inf, "a finite number > 0"),
        ("center_error", 1 if center_error is None else center_error, lambda x: 0 < x < math.inf, "a finite number of pixels > 0"),
        ("regularization", regularization, lambda x: x >= 0, "a number >= 0"),
    ):
        if isinstance(number, bool) or not isinstance(number, numbers.Real) or not fits(number):
            raise ParameterError(f"{name} is {number!r}: expected {expected}.")
    if dtype not in ("auto", "float32", "float64"):
        raise ParameterError(f"dtype is {dtype!r}: expected 'auto', 'float32' or 'float64'.")


def _calls(callbacks: Any) -> tuple[Callable[[int, float], Any], ...]:
    calls = (callbacks,) if callable(callbacks) else callbacks
    if not isinstance(calls, Sequence) or not all(map(callable, calls)):
        raise ParameterError(f"callbacks is {callbacks!r}: expected a callable or a sequence of them.")
    return tuple(calls)


def _cubes(images: Any, weights: ArrayLike | None) -> list[Cube]:
    """Every observation as a cube with weights."""
    if isinstance(images, Cube):
        images = [images]
    if isinstance(images, Sequence) and any(isinstance(image, Cube) for image in images):
        if not all(isinstance(image, Cube) for image in images):
            raise ShapeError("images holds cubes and something else: expected one array (B, Ny, Nx), or nothing but cubes.")
        if weights is not None and len(images) > 1:
            raise ParameterError("weights are given for several cubes: expected them as the variance of each.")
        return [with_weights(cube, weights) for cube in images]
    try:
        data = np.asarray(images)
    except ValueError:
        raise ShapeError("images of the bands differ in shape: expected (B, Ny, Nx); images on several grids are several cubes.") from None
    if data.ndim != 3 or 0 in data.shape:
        raise ShapeError(f"images has shape {data.shape}: expected (B, Ny, Nx), band first.")
    data = data.astype(np.result_type(data.dtype, np.float32), copy=False)
    return [with_weights(Cube(data=data, frame=Frame(shape=data.shape[1:], n_bands=len(data))), weights)]


def _psfs(psf: Any, cubes: list[Cube]) -> list[Any]:
    """One PSF for each cube."""
    if len(cubes) == 1:
        psfs = [psf]
    elif isinstance(psf, PSF) or (isinstance(psf, tuple) and psf and isinstance(psf[0], str)):
        raise ShapeError(f"one PSF is given for {len(cubes)} cubes: expected a list with one for each.")
    else:
        psfs = list(psf) if psf is not None else [None] * len(cubes)
        if len(psfs) != len(cubes):
            raise ShapeError(f"{len(psfs)} PSFs are given for {len(cubes)} cubes: expected one for each.")
    found = [cube.psf if given is None else given for given, cube in zip(psfs, cubes, strict=True)]
    if any(one is None for one in found):
        raise ParameterError("the images carry no PSF: give psf, stamps (B, h, w) or ('gaussian', fwhm in pixels).")
    return found


def _start(
    first: Observed, catalog: Any, types: Any, threshold: float, notes: list[str], say: Callable[[str], Any]
) -> tuple[Array, Sequence[str], list[str | None], Array]:
    """Centers, identifiers, kinds, and the errors of the centers."""
    if catalog is None:
        say("detecting sources")
        peaks = detect_sources(first.data, first.weights / first.factor**2, psfs=first.stamps, threshold=threshold)
        notes += peaks.notes
        if types not in (None, "auto"):
            raise ParameterError("types are given without a catalog: expected one entry for each source of a catalog.")
        centers = np.asarray(peaks.centers, dtype=np.float64).reshape(-1, 2)
        return centers, [str(k) for k in range(len(centers))], [None] * len(centers), np.full(len(centers), _CENTER_ERRORS["detected"])
    positions = catalog if isinstance(catalog, Positions) else _read(catalog, first)
    notes += positions.notes
    centers = positions.yx
    kinds = _kinds(types, positions)
    whole = (centers == np.round(centers)).all(axis=1)
    return centers, positions.identifiers, kinds, np.where(whole, _CENTER_ERRORS["whole pixels"], _CENTER_ERRORS["given"])


def _read(catalog: Any, first: Observed) -> Positions:
    if not isinstance(catalog, Table) and not isinstance(catalog, str) and np.size(catalog) == 0:
        return Positions(yx=np.zeros((0, 2)), identifiers=(), kinds=(), n_outside=0, notes=())
    return read_catalog(catalog, wcs=first.wcs, shape=first.cube.frame.shape, keep_outside=True)


def _kinds(types: Any, positions: Positions) -> list[str | None]:
    n = len(positions.yx)
    if types is None or (isinstance(types, str) and types == "auto"):
        return [None] * n
    if isinstance(types, str):
        if types != "given":
            raise ParameterError(f"types is {types!r}: expected 'auto', 'given', or one kind per source.")
        return list(positions.kinds)
    kinds = ["point" if kind == "star" else kind for kind in types]
    if len(kinds) != n:
        raise ShapeError(f"{len(kinds)} types are given for {n} sources: expected one for each.")
    for kind in kinds:
        if kind is not None and kind not in KINDS:
            raise ParameterError(f"types holds {kind!r}: expected {', '.join(map(repr, KINDS))} or None.")
    return kinds
