"""How well values that were held out of a fit are predicted, by number of components."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datamodels import Result, Status
from ..errors import ConvergenceWarning
from ..factorize import factorize
from ..prox import Identity, NonNegative, as_prox

__all__ = ["CrossValidation", "cross_validation", "held_out"]

Array = NDArray[np.float64]

_RISES = 2  # numbers of components beyond the best after which the error is taken to go on rising
_POWER = 12  # iterations for the direction of a further component


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Errors of prediction.

    Attributes
    ----------
    n_components : ndarray of int, shape (M,)
        0, 1, 2 …
    error : ndarray, shape (M,)
        Mean of ``w (y − m)²`` over the values held out; 1 is what the weights promise of a perfect model.
    standard_error : ndarray, shape (M,)
        Of the difference from the least error, from pixel to pixel; 0 at the least.
    folds : int
    blocks : tuple of int, or None
        Bands and pixels that were held out together; None: single values.
    n_pixels : int
        How many pixels took part.
    """

    n_components: NDArray[np.int64]
    error: Array
    standard_error: Array
    folds: int
    blocks: tuple[int, int] | None
    n_pixels: int

    @property
    def count(self) -> int:
        """The smallest number of components within one standard error of the least error."""
        within = self.error - self.error.min() <= self.standard_error
        return int(self.n_components[np.argmax(within)])

    @property
    def least(self) -> int:
        """The number of components of least error."""
        return int(self.n_components[np.argmin(self.error)])


def cross_validation(
    Y: NDArray[Any],
    W: NDArray[Any],
    most: int,
    *,
    at_least: int = 0,
    folds: int = 3,
    share: float = 0.1,
    blocks: NDArray[np.intp] | None = None,
    seed: int = 0,
    spectra: Any = NonNegative(),  # noqa: B008 (operators are immutable)
    morphologies: Any = NonNegative(),  # noqa: B008
    max_iter: int = 100,
    tol: float = 1e-4,
    device: str = "auto",
    announce: Callable[[str], Any] | None = None,
) -> CrossValidation:
    """Fit 0, 1, 2 … components without some of the values, and compare these with the model.

    Every fit starts from the one before and the direction that it left out. The series ends where the error has risen twice.

    Parameters
    ----------
    Y, W : ndarray, shape (B, N)
        Data, and inverse variances >= 0; 0 means absent.
    most : int
        Largest number of components.
    at_least : int
        Number of components up to which the series goes in any case.
    folds : int
        Drawings of held-out values, each independent of the others.
    share : float
        Part of the values that is held out each time.
    blocks : ndarray of int, shape (B, N), optional
        Number of the block of every value: whole blocks are held out, for noise that neighbors share. By default single values are.
    spectra, morphologies : Prox, callable or None
        As in `factorize`.
    max_iter, tol, device
        Of every fit.
    announce : callable, optional
        Called with a few words before every fit.

    Raises
    ------
    KeyboardInterrupt
        If one of the fits was interrupted.

    References
    ----------
    Owen & Perry 2009, Ann. Appl. Stat. 3, 564; Hastie, Tibshirani & Friedman 2009, section 7.10 (one-standard-error rule).
    """
    rng = np.random.default_rng(seed)
    out = [held_out(W, share, blocks, rng) for _ in range(folds)]
    usable = np.where(W > 0, Y, 0).astype(np.float64)
    weights = W.astype(np.float64)
    fits: list[Result | None] = [None] * folds
    losses = [np.sum([_losses(usable, weights, None, held) for held in out], axis=0)]
    options = {"spectra": spectra, "morphologies": morphologies, "max_iter": max_iter, "tol": tol, "seed": seed, "device": device}
    for k in range(1, most + 1):
        loss = np.zeros(Y.shape[1])
        for fold, held in enumerate(out):
            if announce is not None:
                announce(f"cross-validation with {k} components, part {fold + 1} of {folds}")
            train = np.where(held, 0, weights)
            fits[fold] = _fit(usable, train, fits[fold], options, seed)
            loss += _losses(usable, weights, fits[fold], held)
        losses.append(loss)
        total = [float(each.sum()) for each in losses]
        if k >= at_least and k - int(np.argmin(total)) >= _RISES:
            break
    table = np.array(losses)
    n_held = sum(int(np.count_nonzero(held)) for held in out)
    best = int(np.argmin(table.sum(axis=1)))
    difference = table - table[best]
    scatter = np.sqrt(np.sum((difference - difference.mean(axis=1, keepdims=True)) ** 2, axis=1))
    return CrossValidation(
        n_components=np.arange(len(table)),
        error=table.sum(axis=1) / n_held,
        standard_error=scatter / n_held,
        folds=folds,
        blocks=None if blocks is None else _extent(blocks),
        n_pixels=Y.shape[1],
    )


def held_out(W: NDArray[Any], share: float, blocks: NDArray[np.intp] | None, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which values (B, N) with weight are held out: single ones, or whole blocks."""
    if blocks is None:
        return np.asarray((rng.random(W.shape) < share) & (W > 0))
    chosen = rng.random(int(blocks.max()) + 1) < share
    return np.asarray(chosen[blocks] & (W > 0))


def _extent(blocks: NDArray[np.intp]) -> tuple[int, int]:
    """Most bands and pixels of a block that another block does not touch."""
    sizes = [int(np.bincount(blocks[:, 0]).max()), int(np.bincount(blocks[0]).max())]
    return sizes[0], sizes[1]


def _losses(Y: Array, W: Array, fit: Result | None, held: NDArray[np.bool_]) -> Array:
    """Weighted squared errors of the held-out values, summed by pixel (N,)."""
    model: Array | float = 0.0 if fit is None else fit.spectra @ fit.morphologies
    return np.asarray(np.sum(np.where(held, W * (Y - model) ** 2, 0.0), axis=0))


def _fit(Y: Array, W: Array, before: Result | None, options: dict[str, Any], seed: int) -> Result:
    """One component more than `before`."""
    if before is None:
        start: Any = "auto"
        k = 1
    else:
        a, s = _further_component(W, W * (Y - before.spectra @ before.morphologies), options, seed)
        start = (np.column_stack([before.spectra, a]), np.vstack([before.morphologies, s]))
        k = before.n_components + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = factorize(Y, W, n_components=k, init=start, **options)
    if fit.status is Status.STOPPED:  # without callbacks only an interrupt does that
        raise KeyboardInterrupt
    return fit


def _further_component(W: Array, gradient: Array, options: dict[str, Any], seed: int) -> tuple[Array, Array]:
    """Spectrum (B,) and map (N,) along which the loss falls fastest, positive parts only where there are constraints."""
    keep = [not isinstance(as_prox(options[name]), Identity) for name in ("spectra", "morphologies")]
    s: Array = np.asarray(np.random.default_rng(seed).normal(size=gradient.shape[1]))
    a: Array = gradient @ s
    for _ in range(_POWER):
        a = gradient @ s
        a = a / max(float(np.linalg.norm(a)), float(np.finfo(float).tiny))
        s = gradient.T @ a
        s = s / max(float(np.linalg.norm(s)), float(np.finfo(float).tiny))
    best: tuple[Array, Array] = (np.zeros(gradient.shape[0]), np.zeros(gradient.shape[1]))
    gain = 0.0
    for sign in (1.0, -1.0):
        pair = [np.maximum(sign * x, 0) if wanted else sign * x for x, wanted in zip((a, s), keep, strict=True)]
        along = float(pair[0] @ gradient @ pair[1])
        if along > gain:
            best, gain = (pair[0], pair[1]), along
    curvature = float((best[0] ** 2) @ W @ (best[1] ** 2))
    return best[0], best[1] * (gain / curvature if curvature > 0 else 0.0)
