"""How many components, by several ways of counting, and how far to believe it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..datamodels import Cube, Result, Status
from ..diagnose.noise import detection_floor
from ..errors import ConvergenceWarning, ParameterError, ShapeError
from ..factorize import factorize
from ..prox import NonNegative
from .conclusion import Evidence, conclude
from .cross_validation import cross_validation
from .eigenvalues import Edge, claimed_edge, eigengap, eigenvalues, measured_edge, sign_flips
from .hysime import hysime
from .noise_checks import Whiteness, binned, whiteness
from .report import RankReport, Spread
from .stability import stability
from .whitening import Whitened, band_noise, leading_vectors, whiten

__all__ = ["estimate_rank"]

Array = NDArray[np.float64]

MOST = 12  # components that are looked for by default
_ROUNDS = 3  # of noise by band and number of components, each of the other
_VALUES = 120_000  # that fits take part in; more would need minutes and tell the same
_LEVERAGE = 6  # pixels per dimension that take part because they stand out
_STARTS = 2
_BINS = ((4, 1), (1, 2), (2, 2), (4, 4), (4, 8))  # bands, pixels along each side
_BLOCK = (5, 3)  # bands and pixels along each side that are held out together where neighbors share noise
_FIT: dict[str, Any] = {"max_iter": 150, "tol": 1e-4}


def estimate_rank(
    data: Cube | ArrayLike | torch.Tensor,
    W: ArrayLike | torch.Tensor | None = None,
    *,
    max_components: int | None = None,
    seed: int = 0,
    spectra: Any = NonNegative(),  # noqa: B008 (operators are immutable)
    morphologies: Any = NonNegative(),  # noqa: B008
    shape: tuple[int, int] | None = None,
    folds: int = 2,
    device: str = "auto",
    announce: Callable[[str], Any] | None = None,
) -> RankReport:
    """How many components stand above the noise, and whether several ways of counting agree.

    Side by side: cross-validation with held-out values; the last wide gap between eigenvalues of the data in units of their noise; how
    many of those exceed the largest one of noise, as measured and as claimed; HySime; the spread of solutions over starts; and the
    signal-to-noise of the components found over the detection floor. Confidence needs that they agree, that what the components leave
    is white noise of the claimed size, that nothing further appears in sums over neighbors, and that the faintest dimension would still
    be seen in noise five times as strong. Mixtures that are not linear have more dimensions than components: what is counted is dimensions.

    Parameters
    ----------
    data : Cube, or array_like of shape (B, N)
        Any unit; values that are not finite count as absent.
    W : array_like, shape (B, N), optional
        Inverse variances >= 0; 0 means absent. None: noise is measured band by band. Not with a Cube, which has its own.
    max_components : int, optional
        Largest number that is looked for; by default 12, or a third of the smaller dimension where that is less.
    seed : int
        Of held-out values and starts.
    spectra, morphologies : Prox, callable or None
        Constraints of the fits, as in `factorize`.
    shape : tuple of int, optional
        (Ny, Nx) of the image plane if the N pixels are all of it, row by row; with it, noise that neighboring pixels share is noticed.
        A Cube knows it.
    folds : int
        Drawings of held-out values.
    device : str
        As in `factorize`.
    announce : callable, optional
        Called with a few words when another stage begins.

    Returns
    -------
    RankReport

    Raises
    ------
    ParameterError, ShapeError, NoDataError, DeviceError
        As `factorize`.
    KeyboardInterrupt
        If it was interrupted.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> Y = 10 * rng.random((40, 3)) @ rng.random((3, 400)) + rng.normal(size=(40, 400))
    >>> estimate_rank(Y, np.ones(Y.shape), max_components=6).n_components
    3
    """
    problem = _Input.of(data, W, shape)
    most = _most(max_components, problem.Y.shape)
    tell = announce or (lambda _: None)
    tell("noise and eigenvalues")
    spectrum = _Spectrum.of(problem, most, seed)
    guess = spectrum.guess(most)
    fitted = _subset(problem, spectrum, most, seed)
    options = {"spectra": spectra, "morphologies": morphologies, "device": device, "seed": seed}
    validation = cross_validation(
        fitted.Y,
        fitted.W,
        min(most, *fitted.Y.shape),
        at_least=min(guess + 1, most),
        folds=folds,
        blocks=fitted.blocks,
        announce=tell,
        **options,
    )
    spreads = _spreads(fitted, [k for k in (guess - 1, guess, guess + 1) if guess and 1 <= k <= most], options, tell)
    snr = np.zeros(0)
    if guess:
        tell(f"fit of {guess} components")
        snr = _component_snr(_fit(problem.Y, problem.W, guess, options), problem, spectrum.whitened)
    n_bands, n_pixels = spectrum.data.shape
    evidence = Evidence(
        guess=guess,
        most=most,
        measured=spectrum.measured,
        claimed=spectrum.claimed,
        flips=spectrum.flips,
        gap=spectrum.gap,
        hysime=spectrum.hysime,
        binned=spectrum.binned,
        validation=validation,
        whiteness=spectrum.whiteness,
        margin=spectrum.margin(guess),
        faintest=spectrum.faintest(guess),
        correlated=problem.correlated,
        component_snr=snr,
        floor=detection_floor(n_bands, n_pixels),
        shape=(n_bands, n_pixels),
    )
    conclusion = conclude(evidence)
    return RankReport(
        n_components=conclusion.n_components,
        confident=not conclusion.reasons,
        sentence=conclusion.sentence,
        reasons=conclusion.reasons,
        low=conclusion.low,
        high=conclusion.high,
        estimates=evidence.estimates(),
        eigenvalues=spectrum.values,
        edge=spectrum.measured,
        claimed=spectrum.claimed,
        cross_validation=validation,
        spreads=tuple(spreads),
        whiteness=spectrum.whiteness,
        detection_floor=evidence.floor,
        component_snr=snr,
        max_components=most,
        shape=(n_bands, n_pixels),
    )


def _most(wanted: int | None, shape: tuple[int, ...]) -> int:
    limit = max(1, min(shape) - 1)
    if wanted is None:
        return max(1, min(MOST, min(shape) // 3))
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer) or wanted < 1:
        raise ParameterError(f"max_components is {wanted!r}: expected an integer >= 1.")
    return min(int(wanted), limit)


# ---------------------------------------------------------------- what came in


@dataclass(frozen=True, eq=False)
class _Input:
    """Data and weights (B, N), and where the pixels are."""

    Y: NDArray[Any]
    W: NDArray[Any] | None
    positions: NDArray[np.intp] | None
    width: int | None
    correlated: float

    @classmethod
    def of(cls, data: Any, W: Any, shape: tuple[int, int] | None) -> _Input:
        if isinstance(data, Cube):
            if W is not None or shape is not None:
                raise ParameterError("a Cube has its own weights and shape: leave out W and shape, or pass cube.to_matrix().data.")
            matrix = data.to_matrix()
            absent = matrix.weights <= 0
            factors = data.frame.noise_correlation or {}
            return cls(
                np.where(absent, np.nan, matrix.data) if data.variance is None else matrix.data,
                None if data.variance is None else matrix.weights,
                matrix.frame.pixels,
                data.frame.shape[1],
                max(factors.values(), default=1.0),
            )
        Y = _array("Y", data)
        W = None if W is None else _array("W", W)
        if W is not None and W.shape != Y.shape:
            raise ShapeError(f"W has shape {W.shape}, Y has {Y.shape}: expected equal shapes.")
        if W is not None and bool((W < 0).any()):
            raise ParameterError("W holds negative values: expected inverse variances >= 0.")
        if shape is not None and math.prod(shape) != Y.shape[1]:
            raise ShapeError(f"shape is {tuple(shape)}, Y has {Y.shape[1]} pixels: expected as many.")
        return cls(Y, W, None if shape is None else np.arange(Y.shape[1]), None if shape is None else int(shape[1]), 1.0)


def _array(name: str, values: Any) -> NDArray[Any]:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ParameterError(f"{name} is of type {array.dtype}: expected real numbers.")
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"{name} has shape {array.shape}: expected (bands, pixels); use Cube.to_matrix or reshape a cube to (B, -1).")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


# ---------------------------------------------------------------- what eigenvalues say


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Everything that follows from the data made white, without a fit."""

    whitened: Whitened
    data: Array
    values: Array
    measured: Edge
    claimed: Edge | None
    flips: Edge
    gap: int
    hysime: int | None
    binned: dict[tuple[int, int], int]
    whiteness: Whiteness

    @classmethod
    def of(cls, problem: _Input, most: int, seed: int) -> _Spectrum:
        whitened, data, values, measured = _white(whiten(problem.Y, problem.W), most, seed)
        n_bands, n_pixels = data.shape
        positions = None if problem.positions is None else problem.positions[whitened.pixels]
        gap = eigengap(values, most)
        rank = measured.count if measured.count <= most else gap
        scale = math.sqrt(measured.variance)
        coarse = {}
        for bands, pixels in _BINS:
            if n_bands // bands >= 3 * most and (pixels == 1 or (positions is not None and n_pixels // pixels**2 >= 3 * most)):
                small = binned(data, bands, pixels, positions, problem.width)
                coarse[bands, pixels] = claimed_edge(eigenvalues(small / scale), *small.shape).count
        return cls(
            whitened=whitened,
            data=data,
            values=values,
            measured=measured,
            claimed=claimed_edge(values, n_bands, n_pixels) if whitened.claimed else None,
            flips=sign_flips(data, min(measured.count, most), seed=seed),
            gap=gap,
            hysime=hysime(data),
            binned=coarse,
            whiteness=whiteness(data, rank, positions, problem.width),
        )

    def guess(self, most: int) -> int:
        """The number of components that fits are made with."""
        even = self.flips.count >= self.measured.count  # noise that is stronger in some values shows as further dimensions
        if even and self.measured.count <= most and self.whiteness.white:
            return min(max([self.measured.count, *self.binned.values()]), most)
        return min(self.gap, most)

    def faintest(self, count: int) -> float:
        """The singular value of the last dimension counted, noise taken off, over the smallest that can be seen."""
        if not count:
            return math.inf
        n_bands, n_pixels = self.data.shape
        value, noise = float(self.values[count - 1]) / self.measured.variance, n_bands / n_pixels
        total = value + 1 - noise  # an eigenvalue l of a signal r is (r + 1) (1 + noise / r): solved for r
        signal = (total + math.sqrt(max(total**2 - 4 * value, 0.0))) / 2 - 1
        return math.sqrt(max(signal, 0.0) / math.sqrt(noise))

    def margin(self, count: int) -> float:
        """The last eigenvalue counted, over the edge."""
        return float(self.values[count - 1]) / self.measured.edge if count else math.inf


def _white(whitened: Whitened, most: int, seed: int) -> tuple[Whitened, Array, Array, Edge]:
    """Data of equal noise, complete, with their eigenvalues; noise by band, what is missing and the number of components in turn."""
    rank = 0
    for rounds in range(_ROUNDS if whitened.present is None else most + _ROUNDS):
        data = whitened.completed(rank, seed=seed)
        values = eigenvalues(data)
        edge = measured_edge(values, *data.shape)
        if rounds and edge.count <= rank:
            break
        # one at a time where values are missing: what a model of too few dimensions fills in looks like further ones
        rank = min(edge.count, most) if whitened.present is None else min(edge.count, rank + 1, most)
        if not whitened.claimed and edge.count <= most:
            whitened = whitened.rescaled(band_noise(data, edge.count))
    data = whitened.completed(rank, seed=seed)
    values = eigenvalues(data)
    return whitened, data, values, measured_edge(values, *data.shape)


# ---------------------------------------------------------------- what fits say


@dataclass(frozen=True, eq=False)
class _Subset:
    """The pixels that fits for comparison are made with."""

    Y: NDArray[Any]
    W: NDArray[Any]
    blocks: NDArray[np.intp] | None


def _subset(problem: _Input, spectrum: _Spectrum, most: int, seed: int) -> _Subset:
    """Pixels that stand out, and others at random; squares of them where neighbors share noise."""
    whitened = spectrum.whitened
    n_bands, n_pixels = spectrum.data.shape
    square = None
    if problem.correlated > 1 or not spectrum.whiteness.white:
        positions = np.arange(n_pixels) if problem.positions is None else problem.positions[whitened.pixels]
        width, side = (n_pixels, _BLOCK[1] ** 2) if problem.width is None else (problem.width, _BLOCK[1])
        across = -(-width // side)
        rows = positions // width // side if problem.width is not None else np.zeros_like(positions)
        square = rows * across + positions % width // side
    groups = np.unique(np.arange(n_pixels) if square is None else square, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    basis = leading_vectors(spectrum.data, most)
    outstanding = np.argsort(-np.abs(basis.T @ spectrum.data), axis=1)[:, :_LEVERAGE].ravel()
    order = np.concatenate([groups[outstanding], rng.permutation(groups.max() + 1)])
    ranked = order[np.sort(np.unique(order, return_index=True)[1])]
    sizes = np.bincount(groups)[ranked]
    taken = ranked[: max(1, int(np.searchsorted(np.cumsum(sizes), _VALUES // n_bands)))]
    chosen = np.flatnonzero(np.isin(groups, taken))
    index = np.ix_(whitened.bands, whitened.pixels[chosen])
    Y = problem.Y[index]
    seen = np.isfinite(Y)
    W = np.where(seen, whitened.band_scale[:, None] ** 2 if problem.W is None else problem.W[index], 0)
    blocks = None
    if square is not None:
        _, labels = np.unique(groups[chosen], return_inverse=True)
        blocks = (np.arange(n_bands) // _BLOCK[0])[:, None] * (labels.max() + 1) + labels
    return _Subset(np.where(seen, Y, 0), W, blocks)


def _fit(Y: NDArray[Any], W: NDArray[Any] | None, n_components: int, options: dict[str, Any]) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = factorize(Y, W, n_components=n_components, **_FIT, **options)
    if fit.status is Status.STOPPED:
        raise KeyboardInterrupt
    return fit


def _spreads(fitted: _Subset, numbers: list[int], options: dict[str, Any], tell: Callable[[str], Any]) -> list[Spread]:
    """Spread of the spectra over starts, for some numbers of components, in every other pixel."""
    found = []
    Y, W = fitted.Y[:, ::2], fitted.W[:, ::2]
    for k in numbers:
        tell(f"other starts with {k} components")
        result = _fit(Y, W, k, options)
        seeds = [options["seed"] + start for start in range(1, _STARTS + 1)]
        spread = stability(Y, W, result, seeds=seeds, **{**_FIT, **options}).spread
        found.append(Spread(k, float(np.nanmax(spread))))
    return found


def _component_snr(fit: Result, problem: _Input, whitened: Whitened) -> Array:
    """``‖a s‖ / σ`` of every component, descending."""
    index = np.ix_(whitened.bands, whitened.pixels)
    W = np.isfinite(problem.Y[index]) * whitened.band_scale[:, None] ** 2 if problem.W is None else problem.W[index]
    squares = np.einsum("bk,bn,kn->k", fit.spectra[whitened.bands] ** 2, W, fit.morphologies[:, whitened.pixels] ** 2, optimize=True)
    return np.asarray(np.sort(np.sqrt(squares))[::-1])
