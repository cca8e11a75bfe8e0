"""Errors by fitting again: data drawn anew from the fit, and the scatter of what is found in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..datamodels import Result
from ..diagnose.correlated_sums import CorrelationKernel
from ..diagnose.match import match_components
from ..diagnose.uncertainty import inverse_matrices, noise_from_residuals, normal_matrices
from ..errors import NotConvergedError, ParameterError, ShapeError

__all__ = ["BOOTSTRAPS", "Bootstrap", "bootstrap"]

Array = NDArray[np.float64]
Fit = Callable[[Array, "Array | None"], Any]

BOOTSTRAPS = ("parametric", "residual", "pixels")


@dataclass(frozen=True)
class Bootstrap:
    """Scatter and mean shift of the components over refits.

    Attributes
    ----------
    spectra, morphologies : ndarray, shapes (B, K) and (K, N)
        Of the fit to the data themselves.
    spectra_error, morphologies_error : ndarray
        Standard deviations, shapes as above. With `kind` "pixels" the maps have none: NaN.
    spectra_bias, morphologies_bias : ndarray
        Mean of the refits minus the fit.
    n : int
        Refits that count.
    failed : int
        Refits that were not finite and do not count.
    kind : str
    notes : tuple of str
        What was assumed of the noise.
    """

    spectra: Array
    morphologies: Array
    spectra_error: Array
    morphologies_error: Array
    spectra_bias: Array
    morphologies_bias: Array
    n: int
    failed: int
    kind: str
    notes: tuple[str, ...]


def bootstrap(
    Y: ArrayLike,
    W: ArrayLike | None,
    fit: Fit,
    *,
    n: int = 50,
    kind: str = "parametric",
    kernel: CorrelationKernel | None = None,
    shape: tuple[int, int] | None = None,
    pixels: ArrayLike | None = None,
    seed: int = 0,
) -> Bootstrap:
    """Standard deviations of A and S over fits to data that are drawn anew.

    "parametric" adds noise of the variance 1/W to the fitted model. "residual" adds the residuals of the fit, each with a random sign and
    enlarged by what the fit has taken out of it: their own variances, but independent of their neighbors (residuals that keep together
    are what the fit has left over, and leave it where it is). "pixels" draws pixels with replacement and tells the errors of the
    spectra only.

    Parameters
    ----------
    Y : array_like, shape (B, N)
        Entries of weight 0 may be NaN.
    W : array_like, shape (B, N), or None
        Inverse variances. None: noise of the residuals' scatter; `fit` is called with None too.
    fit : callable
        ``fit(Y, W)`` gives a `Result` or a pair A (B, K), S (K, N), in a fixed gauge.
    n : int
        Refits, >= 2. The relative error of a standard deviation is ``1 / sqrt(2 n)``.
    kind : {"parametric", "residual", "pixels"}
    kernel : CorrelationKernel, optional
        Correlation of the noise of neighbors, for "parametric".
    shape : tuple of int, optional
        Of the image plane, (Ny, Nx); needed where spaxels are correlated.
    pixels : array_like of int, shape (N,), optional
        Flat indices of the N pixels in the image plane; by default all in order.
    seed : int

    Returns
    -------
    Bootstrap

    Raises
    ------
    ParameterError
        If an option is out of range or `shape` is missing.
    ShapeError
        If shapes do not agree.
    NotConvergedError
        If fewer than two refits are finite.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap; Wu 1986, Ann. Statist. 14, 1261 (signs).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> A, S = rng.random((6, 1)), 5 + rng.random((1, 40))
    >>> known = lambda Y, W: (A, np.linalg.lstsq(A, Y, rcond=None)[0])
    >>> found = bootstrap(A @ S + rng.normal(size=(6, 40)), np.ones((6, 40)), known, n=100)
    >>> bool(abs(found.morphologies_error.mean() * np.linalg.norm(A) - 1) < 0.05)
    True
    """
    if kind not in BOOTSTRAPS:
        raise ParameterError(f"kind is {kind!r}: expected one of {', '.join(map(repr, BOOTSTRAPS))}.")
    if n < 2:
        raise ParameterError(f"n is {n!r}: expected at least 2 refits.")
    Y = np.asarray(Y, dtype=np.float64)
    W = None if W is None else np.asarray(W, dtype=np.float64)
    if Y.ndim != 2 or (W is not None and W.shape != Y.shape):
        raise ShapeError(f"Y has shape {Y.shape}, W {None if W is None else W.shape}: expected equal shapes (B, N).")
    kernel = kernel or CorrelationKernel()
    plane = _Plane.of(shape, pixels, Y.shape[1]) if shape is not None else None
    if kind != "parametric" and kernel != CorrelationKernel():
        raise ParameterError(f"kind={kind!r} takes the noise of neighbors as independent: expected no kernel; add kind='parametric'.")
    if kernel.spatial > 0 and plane is None:
        raise ParameterError("the noise of spaxels is correlated: expected the shape of the image plane; add shape=(Ny, Nx).")
    A, S = _factors(fit(Y, W), Y.shape)
    rng = np.random.default_rng(seed)
    draw = _Drawing(Y, W, (A, S), kind, kernel, plane)
    spectra, maps, failed = _Moments(A), _Moments(S), 0
    for _ in range(n):
        drawn, weights, columns = draw(rng)
        A_new, S_new = _factors(fit(drawn, weights), drawn.shape)
        if not (np.isfinite(A_new[draw.bands]).all() and np.isfinite(S_new[:, draw.pixels[columns]]).all()):
            failed += 1
            continue
        order = match_components(A_new, A)
        spectra.add(A_new[:, order])
        if kind != "pixels":
            maps.add(S_new[order])
    if spectra.n < 2:
        raise NotConvergedError(f"{failed} of {n} refits are not finite: no scatter can be told; fit fewer components.")
    return Bootstrap(
        spectra=A,
        morphologies=S,
        spectra_error=spectra.deviation(),
        morphologies_error=maps.deviation(),
        spectra_bias=spectra.shift(),
        morphologies_bias=maps.shift(),
        n=spectra.n,
        failed=failed,
        kind=kind,
        notes=_notes(kind, kernel, W is not None),
    )


def _notes(kind: str, kernel: CorrelationKernel, weighted: bool) -> tuple[str, ...]:
    correlated = f"correlated by {kernel.spectral:.2g} between neighboring bands and {kernel.spatial:.2g} between neighboring spaxels"
    if kind == "parametric":
        source = "the weights" if weighted else "the scatter of the residuals"
        how = correlated if kernel.spectral > 0 or kernel.spatial > 0 else "independent from value to value"
        return (f"noise of {source}, {how}",)
    if kind == "residual":
        return ("noise of the residuals' own size, independent from value to value",)
    return ("pixels are taken as independent draws; errors of maps are not told",)


@dataclass(frozen=True)
class _Plane:
    """Where the N pixels lie in the image."""

    shape: tuple[int, int]
    pixels: NDArray[np.integer[Any]]

    @classmethod
    def of(cls, shape: tuple[int, int], pixels: ArrayLike | None, n_pixels: int) -> _Plane:
        where = np.arange(n_pixels) if pixels is None else np.asarray(pixels)
        if where.shape != (n_pixels,) or (n_pixels and not 0 <= where.min() <= where.max() < shape[0] * shape[1]):
            raise ShapeError(f"{n_pixels} pixels at indices of shape {where.shape} do not lie in an image of shape {shape}.")
        return cls(shape, where)


class _Drawing:
    """Draws data like the ones given."""

    def __init__(
        self, Y: Array, W: Array | None, factors: tuple[Array, Array], kind: str, kernel: CorrelationKernel, plane: _Plane | None
    ) -> None:
        A, S = factors
        self.W, self.model, self.kind, self.kernel, self.plane = W, A @ S, kind, kernel, plane
        self.there: NDArray[np.bool_] = np.isfinite(Y) if W is None else np.isfinite(Y) & np.isfinite(W) & (W > 0)
        self.bands, self.pixels = np.asarray(self.there.any(axis=1)), np.asarray(self.there.any(axis=0))
        self.Y = np.where(self.there, Y, np.nan if W is None else 0.0)
        residual = np.where(self.there, Y - A @ S, 0.0)
        count = int(self.there.sum())
        if W is None:
            shape = int(self.bands.sum()), int(self.pixels.sum())
            self.sigma: Array = np.full((1, 1), noise_from_residuals(float(np.square(residual).sum()), count, shape, len(S)))
        else:
            self.sigma = np.where(self.there, 1 / np.sqrt(np.where(self.there, W, 1.0)), 0.0)
        # a value has pulled the fit towards itself
        self.residual = residual / np.sqrt(1 - _leverage(A, S, np.where(self.there, 1.0 if W is None else W, 0.0)))

    def __call__(self, rng: np.random.Generator) -> tuple[Array, Array | None, NDArray[np.integer[Any]]]:
        """Data, weights, and which pixels they are."""
        columns = np.arange(self.model.shape[1])
        if self.kind == "pixels":
            columns = rng.choice(np.flatnonzero(self.pixels), len(columns))
            return self.Y[:, columns], None if self.W is None else self.W[:, columns], columns
        noise = (
            self.sigma * self._normal(rng) if self.kind == "parametric" else self.residual * rng.choice([-1.0, 1.0], self.residual.shape)
        )
        return np.where(self.there, self.model + noise, self.Y), self.W, columns

    def _normal(self, rng: np.random.Generator) -> Array:
        """Values of variance 1, correlated as the kernel says."""
        n_bands, n_pixels = self.model.shape
        if self.plane is None or self.kernel.spatial <= 0:
            return _correlated(rng, rng.normal(size=(n_bands, n_pixels)), self.kernel.spectral, axis=0)
        cube = rng.normal(size=(n_bands, *self.plane.shape))
        for axis, neighbor in enumerate((self.kernel.spectral, self.kernel.spatial, self.kernel.spatial)):
            cube = _correlated(rng, cube, neighbor, axis=axis)
        return cube.reshape(n_bands, -1)[:, self.plane.pixels]


def _leverage(A: Array, S: Array, W: Array) -> Array:
    """By how much each fitted value follows its own datum, (B, N), from 0 to 0.9."""
    of_maps = np.einsum("bi,nij,bj->bn", A, np.nan_to_num(inverse_matrices(normal_matrices(A, W, slice(None)))), A, optimize=True)
    of_spectra = np.einsum("in,bij,jn->bn", S, np.nan_to_num(inverse_matrices(normal_matrices(S.T, W.T, slice(None)))), S, optimize=True)
    return np.clip(W * (of_maps + of_spectra), 0, 0.9)


def _correlated(rng: np.random.Generator, white: Array, neighbor: float, *, axis: int) -> Array:
    """White noise brought to the correlation ``neighbor ** lag²`` along an axis, at both ends too."""
    if neighbor <= 0:
        return white
    reach = int(np.ceil(np.sqrt(np.log(1e-6) / np.log(neighbor))))
    n = white.shape[axis]
    lag = np.arange(n + reach)
    lag = np.minimum(lag, len(lag) - lag)
    power = np.maximum(np.fft.rfft(np.asarray(neighbor, dtype=np.float64) ** (lag.astype(np.float64) ** 2)).real, 0)
    # the ring is longer than the axis by the reach of the correlation: its ends do not know of each other
    ring = np.concatenate([white, rng.normal(size=(*white.shape[:axis], reach, *white.shape[axis + 1 :]))], axis=axis)
    root = np.sqrt(power).reshape([-1 if a == axis else 1 for a in range(white.ndim)])
    smooth = np.fft.irfft(np.fft.rfft(ring, axis=axis) * root, n=len(lag), axis=axis)
    return np.asarray(np.take(smooth, np.arange(n), axis=axis))


class _Moments:
    """Running mean and scatter of refits about their mean."""

    def __init__(self, reference: Array) -> None:
        self.reference, self.n = reference, 0
        self.sum, self.squares = np.zeros_like(reference), np.zeros_like(reference)

    def add(self, X: Array) -> None:
        change = X - self.reference
        self.sum += change
        self.squares += change * change
        self.n += 1

    def shift(self) -> Array:
        return self.sum / self.n if self.n else np.full_like(self.sum, np.nan)

    def deviation(self) -> Array:
        if self.n < 2:
            return np.full_like(self.sum, np.nan)
        return np.sqrt(np.maximum(self.squares - self.sum**2 / self.n, 0) / (self.n - 1))


def _factors(found: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    A, S = (found.spectra, found.morphologies) if isinstance(found, Result) else found
    A, S = (np.asarray(X, dtype=np.float64) for X in (A, S))
    if A.ndim != 2 or A.shape[0] != shape[0] or S.shape != (A.shape[1], shape[1]):
        raise ShapeError(f"the fit gave factors of shapes {A.shape} and {S.shape}: expected (B, K) and (K, N) of data {shape}.")
    return A, S
