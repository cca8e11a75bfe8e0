"""How far the constraints determine the components: the range of each one's share over all mixtures that fit the data as well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import null_space
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import ndtr
from scipy.stats import norm

from ..diagnose.uncertainty import inverse_matrices, normal_matrices
from ..errors import NoDataError, ParameterError, ShapeError

__all__ = ["NOT_IDENTIFIED_ABOVE", "FeasibleBands", "feasible_bands"]

Array = NDArray[np.float64]

NOT_IDENTIFIED_ABOVE = 0.2  # range of a share

_SOFT = 0.3  # width in sigma over which an entry comes to count as clipped: steps have no gradient
_ROUNDS = 4  # of alternating least squares: the fit is nearly there
_TINY = 1e-12
_ROUNDING = 0.01  # by which a share of factors that are negative within the noise may exceed 1
_INSIDE = 1e-6  # slack that a start should have
_BARRIERS = (0.1, 0.01, 1e-3, 1.5e-4)  # the last times the number of constraints is how far logarithms of shares fall short
_STEPS = 40
_SINGULAR = 1e8  # condition of a mixture that cannot be undone


@dataclass(frozen=True)
class FeasibleBands:
    """Smallest and largest share of every component.

    The share of a component is ``|a s| / |A S|`` (Frobenius norms over bands and pixels, noise taken off).

    Attributes
    ----------
    share : ndarray, shape (K,)
        Of the fit.
    low, high : ndarray, shape (K,)
        Over the feasible mixtures; the fit is one of them unless `excess` is above 0.
    spectra : ndarray, shape (2, K, B)
        Of each component where its share is smallest and largest; unit sum, or in the unit of the data with `closure`.
    morphologies : ndarray, shape (2, K, N)
        Likewise. Both non-negative; NaN in bands and pixels without data.
    delta_chi2 : ndarray, shape (2, K)
        By how much the cost of clipping one spectrum (first row) and one map (second) may exceed the number of its clipped entries, at the
        fit.
    excess : float
        How far the nearest mixture that was found is from meeting this: 0, or the surplus in sigma that every mixture was granted
        because none met it.
    """

    share: Array
    low: Array
    high: Array
    spectra: Array
    morphologies: Array
    delta_chi2: Array
    excess: float

    @property
    def width(self) -> Array:
        """``high − low``, shape (K,)."""
        return self.high - self.low

    @property
    def identified(self) -> NDArray[np.bool_]:
        """Components, shape (K,), whose share is known to 20 %."""
        return np.asarray(self.width <= NOT_IDENTIFIED_ABOVE)

    def note(self) -> str:
        """The sentence that the user must read."""
        said = f"shares of the components are determined within {self.width.max():.2f} (feasible bands)"
        if not self.identified.all():
            which = ", ".join(f"{k} ({self.low[k]:.2f} to {self.high[k]:.2f})" for k in np.flatnonzero(~self.identified))
            said = f"not identified: other mixtures fit the data as well; the share of component {which} is open"
        if self.excess:
            said += f"; no mixture meets the constraints within the noise: {self.excess:.2g} sigma more were granted"
        return said

    def table(self) -> str:
        """The bands as lines of text."""
        lines = [f"{'component':>9}{'share':>8}{'low':>8}{'high':>8}"]
        for k, (share, low, high) in enumerate(zip(self.share, self.low, self.high, strict=True)):
            lines.append(f"{k:>9}{share:>8.3f}{low:>8.3f}{high:>8.3f}" + ("" if self.identified[k] else "  not identified"))
        return "\n".join(lines)


def feasible_bands(
    Y: ArrayLike,
    W: ArrayLike | None,
    A: ArrayLike,
    S: ArrayLike,
    *,
    delta_chi2: float | None = None,
    confidence: float = 0.95,
    closure: bool = False,
    known_spectra: Collection[int] = (),
    known_morphologies: Collection[int] = (),
    pure: Collection[int] = (),
    starts: int = 1,
    max_pixels: int = 20_000,
    seed: int = 0,
) -> FeasibleBands:
    """Range of the share of every component over the mixtures ``A T, T⁻¹ S`` that stay non-negative within the noise.

    ``A`` and ``S`` are first fitted without signs, so that ``A T, T⁻¹ S`` has the same residual for every T. What T costs is clipping: a
    value z sigma below zero adds z² to chi². Where a true value is 0, noise alone makes it negative in half of the cases and costs 1
    per clipped value in the mean; so the clipping of each spectrum and of each map may cost as much as it has clipped values, and
    Δχ² more. That is a test of every T by itself: the best of all would be a mixture wide enough to hold all the noise.

    The extremes are found in the ``K² − K`` free entries of T by BFGS with analytic gradients behind a logarithmic barrier, which keeps
    every step feasible, from several starts.

    Parameters
    ----------
    Y : array_like, shape (B, N)
        Data; entries of weight 0 may be NaN.
    W : array_like, shape (B, N), or None
        Inverse variances. None: the noise is taken from the residuals.
    A, S : array_like, shapes (B, K) and (K, N)
        The fit.
    delta_chi2 : float, optional
        Δχ² >= 0 for each spectrum and each map. None: what noise stays below in all of them together with probability `confidence`.
    confidence : float
        Between 0.5 and 1.
    closure : bool
        Abundances sum to 1 in every pixel.
    known_spectra, known_morphologies : collection of int
        Components whose spectrum, or map, is given.
    pure : collection of int
        Components that are alone in some pixel, which pixel being unknown: its abundance there is 1 within the noise. Needs `closure`.
    starts : int
        Further starts beside the fit, >= 0.
    max_pixels : int
        Of larger data so many pixels are drawn at random for the signs of the maps.
    seed : int

    Returns
    -------
    FeasibleBands

    Raises
    ------
    ShapeError
        If shapes do not agree.
    ParameterError
        If an option is out of range.
    NoDataError
        If fewer bands or pixels than components have data, or components do not stand above the noise.

    References
    ----------
    Tauler 2001, J. Chemometrics 15, 627 (MCR-BANDS); Paatero et al. 2014, Atmos. Meas. Tech. 7, 781 (DISP); Lawton & Sylvestre 1971,
    Technometrics 13, 617.

    Examples
    --------
    Each component alone in one band and in one pixel: nothing is open.

    >>> A, S = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    >>> feasible_bands(A @ S, np.full((3, 3), 1e12), A, S).identified
    array([ True,  True])
    """
    if not 0.5 <= confidence < 1:
        raise ParameterError(f"confidence is {confidence!r}: expected a number from 0.5 to below 1.")
    if delta_chi2 is not None and not delta_chi2 >= 0:
        raise ParameterError(f"delta_chi2 is {delta_chi2!r}: expected a number >= 0.")
    Y, W, A, S, bands, pixels = _kept(Y, W, A, S)
    A, S, S_covariance = _without_signs(Y, W, A, S, closure)
    if W is None:
        noise = _noise(Y, A, S)
        S_covariance = S_covariance * noise**2
    A_covariance = inverse_matrices(normal_matrices(S.T, None if W is None else W.T, slice(None))) * (noise**2 if W is None else 1.0)
    K = A.shape[1]
    given = [sorted({int(k) for k in which}) for which in (known_spectra, known_morphologies, pure)]
    if any(not 0 <= k < K for which in given for k in which):
        raise ParameterError(f"components are named as {given}: expected numbers from 0 to {K - 1}.")
    if given[2] and not closure:
        raise ParameterError("pure components need abundances that sum to 1; add closure=True.")
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(S.shape[1], max_pixels, replace=False)) if S.shape[1] > max_pixels else np.arange(S.shape[1])
    quantile = float(norm.isf((1 - confidence) / (2 * K)))
    search = _Search(
        spectra=_Signs(A.T, A_covariance, delta_chi2, quantile),
        maps=_Signs(S[:, some], S_covariance if len(S_covariance) == 1 else S_covariance[some], delta_chi2, quantile),
        spectra_size=_size(A.T, A_covariance),
        maps_size=_size(S, S_covariance),
        known_spectra=given[0],
        known_maps=given[1],
        pure=given[2],
    )
    search.begin()
    low, high = search.extremes(starts, rng)
    shares = np.array([[search.share(T, k) for k, T in enumerate(found)] for found in (low, high)])
    # of non-negative factors no share exceeds 1: if all do, components cancel, and nothing is known of their shares
    shares = np.where([shares[0] > 1 + _ROUNDING, np.zeros(K, bool)], 0.0, np.minimum(shares, 1.0))
    spectra, maps = np.full((2, K, len(bands)), np.nan), np.full((2, K, len(pixels)), np.nan)
    for i, found in enumerate((low, high)):
        for k, T in enumerate(found):
            spectra[i, k, bands] = np.maximum(A @ T[:, k], 0)
            maps[i, k, pixels] = np.maximum(np.linalg.inv(T)[k] @ S, 0)
    return FeasibleBands(
        share=np.array([search.share(np.eye(K), k) for k in range(K)]),
        low=shares[0],
        high=shares[1],
        spectra=spectra,
        morphologies=maps,
        delta_chi2=np.array([signs.allowed(np.eye(K)) for signs in (search.spectra, search.maps)]),
        excess=search.granted,
    )


def _kept(Y: ArrayLike, W: ArrayLike | None, A: ArrayLike, S: ArrayLike) -> tuple[Array, Array | None, Array, Array, Any, Any]:
    """Data, weights and factors of bands and pixels that hold data; which these are."""
    Y, A, S = (np.asarray(X, dtype=np.float64) for X in (Y, A, S))
    if A.ndim != 2 or S.ndim != 2 or A.shape[1] != len(S) or Y.shape != (len(A), S.shape[1]):
        raise ShapeError(f"A has shape {A.shape}, S {S.shape}, Y {Y.shape}: expected (B, K), (K, N) and (B, N).")
    if W is not None and np.shape(W) != Y.shape:
        raise ShapeError(f"W has shape {np.shape(W)}, Y has {Y.shape}: expected equal shapes.")
    weights = np.ones(Y.shape) if W is None else np.asarray(W, dtype=np.float64)
    there = np.isfinite(Y) & np.isfinite(weights) & (weights > 0)
    there = there & np.asarray(np.isfinite(A).all(axis=1))[:, None] & np.isfinite(S).all(axis=0)
    K = len(S)
    bands = np.asarray(there.sum(axis=1) >= K)
    pixels = np.asarray(there[bands].sum(axis=0) >= K)
    if bands.sum() < K or pixels.sum() < K:
        raise NoDataError(f"{bands.sum()} bands and {pixels.sum()} pixels hold data: expected at least {K}, the number of components.")
    there = there[bands][:, pixels]
    Y, weights = np.where(there, Y[bands][:, pixels], 0.0), np.where(there, weights[bands][:, pixels], 0.0)
    return Y, None if W is None and there.all() else weights, A[bands], S[:, pixels], bands, pixels


def _without_signs(Y: Array, W: Array | None, A: Array, S: Array, closure: bool) -> tuple[Array, Array, Array]:
    """Factors that minimize the residual whatever their signs, spectra of unit sum unless `closure`; the covariance of S."""
    for _ in range(_ROUNDS):
        A = _solve(S.T, Y.T, None if W is None else W.T, closure=False)[0].T
        S, covariance = _solve(A, Y, W, closure=closure)
    if not closure:
        sums = A.sum(axis=0)
        sums = np.where(sums != 0, sums, 1.0)
        A, S, covariance = A / sums, S * sums[:, None], covariance * sums[:, None] * sums
    return A, S, covariance


def _solve(design: Array, Y: Array, W: Array | None, *, closure: bool) -> tuple[Array, Array]:
    """Least-squares coefficients (K, M) of every column, with unit sum where `closure`, and their covariances (M or 1, K, K)."""
    covariance = np.nan_to_num(inverse_matrices(normal_matrices(design, W, slice(None))))
    onto = design.T @ (Y if W is None else W * Y)
    X = covariance[0] @ onto if len(covariance) == 1 else np.einsum("mij,jm->im", covariance, onto)
    if closure:
        sums = covariance.sum(axis=2)
        share = sums / np.maximum(sums.sum(axis=1), np.finfo(float).tiny)[:, None]
        X = X + share.T * (1 - X.sum(axis=0))
        covariance = covariance - share[:, :, None] * sums[:, None, :]
    return X, covariance


def _noise(Y: Array, A: Array, S: Array) -> float:
    """Standard deviation of the residuals."""
    K = len(S)
    return float(np.sqrt(np.square(Y - A @ S).sum() / max(1, (len(A) - K) * (S.shape[1] - K))))


def _size(points: Array, covariance: Array) -> Array:
    """``Σ p pᵀ`` (K, K) without what noise adds."""
    whole = points @ points.T
    size = np.asarray(whole - covariance.sum(axis=0) * (points.shape[1] if len(covariance) == 1 else 1))
    scale = np.sqrt(np.diag(whole))
    above = np.linalg.eigvalsh(size / np.outer(scale, scale)) > _TINY if (scale > 0).all() else scale > 0
    if not above.all():
        raise NoDataError(f"not all of {len(whole)} components stand above the noise and apart from each other: fit fewer components.")
    return size


class _Signs:
    """How well ``v · p >= 0`` holds for measured points p (K, M): of maps v is a row of T⁻¹, of spectra a column of T."""

    def __init__(self, points: Array, covariance: Array, delta: float | None, quantile: float) -> None:
        self.points, self.covariance, self.delta, self.quantile = points, covariance, delta, quantile
        self.granted = 0.0
        # in units of the data's own signal-to-noise, so that the search is the same at every noise
        self.unit = float(np.linalg.norm(self.pulls(np.eye(len(points)))[0])) / len(points) or 1.0

    def pulls(self, v: Array) -> tuple[Array, Array, Array]:
        """Values in sigma (J, M) for rows v (J, K), their sigma (J, M or 1), and ``C v`` (J, M or 1, K)."""
        spread = np.tensordot(v, self.covariance, axes=(1, 2))
        sigma = np.sqrt(np.maximum(np.einsum("jmk,jk->jm", spread, v), np.finfo(float).tiny))
        return (v @ self.points) / sigma, sigma, spread

    def allowed(self, v: Array) -> Array:
        """Δχ² beyond the number of clipped values, shape (J,)."""
        return self._delta(ndtr(-self.pulls(v)[0] / _SOFT).sum(axis=1))

    def _delta(self, count: Array) -> Array:
        if self.delta is not None:
            return np.full_like(count, self.delta)
        return np.asarray(self.quantile * np.sqrt(2 * count + 1) + self.quantile**2)

    def slack(self, v: Array) -> tuple[Array, Array]:
        """How much below the limit the cost of clipping stays, > 0 where feasible, and its gradient, shapes (J,) and (J, K)."""
        z, sigma, spread = self.pulls(v)
        clipped = np.minimum(z, 0)
        cost, count = np.square(clipped).sum(axis=1), ndtr(-z / _SOFT).sum(axis=1)
        limit = count + self._delta(count)
        of_limit = 1 + (self.quantile / np.sqrt(2 * count + 1) if self.delta is None else 0.0 * count)
        of_count = -np.exp(-0.5 * np.square(z / _SOFT)) / (_SOFT * np.sqrt(2 * np.pi))
        weight = (of_limit / (2 * np.sqrt(limit + 1)))[:, None] * of_count - clipped / np.sqrt(cost + 1)[:, None]
        # d z = p / sigma - z C v / sigma²
        pulled = weight * z / sigma**2
        pulled = pulled.sum(axis=1, keepdims=True) if spread.shape[1] == 1 else pulled
        gradient = (weight / sigma) @ self.points.T - np.einsum("jm,jmk->jk", pulled, spread)
        return (np.sqrt(limit + 1) - np.sqrt(cost + 1) + self.granted) / self.unit, gradient / self.unit

    def reach(self, v: Array) -> tuple[Array, Array]:
        """How well some point reaches ``v · p = 1``: > 0 where one does within the noise, and the gradient, shapes (J,) and (J, K)."""
        _, sigma, spread = self.pulls(v)
        z = (v @ self.points - 1) / sigma
        largest = np.argmax(z, axis=1)[:, None]
        z, sigma = np.take_along_axis(z, largest, axis=1), np.take_along_axis(sigma, largest if sigma.shape[1] > 1 else 0 * largest, axis=1)
        spread = np.take_along_axis(spread, (largest if spread.shape[1] > 1 else 0 * largest)[:, :, None], axis=1)[:, 0]
        gradient = self.points.T[largest[:, 0]] / sigma - z / sigma**2 * spread
        return (z[:, 0] + self.quantile + self.granted) / self.unit, gradient / self.unit


class _Search:
    """Extremes of the shares over T = 1 + N x."""

    def __init__(
        self,
        spectra: _Signs,
        maps: _Signs,
        spectra_size: Array,
        maps_size: Array,
        known_spectra: Sequence[int],
        known_maps: Sequence[int],
        pure: Sequence[int],
    ) -> None:
        self.spectra, self.maps, self.spectra_size, self.maps_size = spectra, maps, spectra_size, maps_size
        self.K = K = len(spectra_size)
        self.free_spectra = [k for k in range(K) if k not in known_spectra]
        self.free_maps = [k for k in range(K) if k not in known_maps]
        self.pure = [k for k in pure if k not in known_maps]
        index = np.arange(K * K).reshape(K, K)
        fixed = [np.isin(index, index[:, k]).ravel() for k in range(K)]  # columns of T keep their sum: the gauge, or closure
        fixed += [row for k in known_spectra for row in np.eye(K * K)[index[:, k]]]
        fixed += [row for k in known_maps for row in np.eye(K * K)[index[k]]]
        self.directions = null_space(np.array(fixed, dtype=np.float64))
        self.total = float(np.sqrt(np.trace(spectra_size @ maps_size)))
        self.granted = 0.0
        self.base = np.zeros(self.directions.shape[1])

    def mixture(self, x: Array) -> Array:
        return np.eye(self.K) + (self.directions @ x).reshape(self.K, self.K)

    def share(self, T: Array, k: int) -> float:
        t, v = T[:, k], np.linalg.inv(T)[k]
        return float(np.sqrt((t @ self.spectra_size @ t) * (v @ self.maps_size @ v))) / self.total

    def log_share(self, x: Array, k: int) -> tuple[float, Array]:
        T = self.mixture(x)
        V = np.linalg.inv(T)
        t, v = T[:, k], V[k]
        At, vS = self.spectra_size @ t, self.maps_size @ v
        in_A, in_S = t @ At, v @ vS
        gradient = -np.outer(v, V @ (vS / in_S))
        gradient[:, k] += At / in_A
        return 0.5 * float(np.log(in_A * in_S)), self.directions.T @ gradient.ravel()

    def slacks(self, x: Array) -> tuple[Array, Array]:
        """Slack of every free spectrum and map, and the gradients (J, P)."""
        T = self.mixture(x)
        V = np.asarray(np.linalg.inv(T), dtype=np.float64)
        of_spectra, by_t = self.spectra.slack(T[:, self.free_spectra].T)
        of_maps, by_v = self.maps.slack(V[self.free_maps])
        of_pure, by_pure = self.maps.reach(V[self.pure])
        rows = [*self.free_maps, *self.pure]
        gradients = np.zeros((len(of_spectra) + len(rows), self.K, self.K))
        for j, k in enumerate(self.free_spectra):
            gradients[j, :, k] = by_t[j]
        gradients[len(of_spectra) :] = -V[rows][:, :, None] * (np.vstack([by_v, by_pure]) @ V.T)[:, None, :]
        return np.concatenate([of_spectra, of_maps, of_pure]), gradients.reshape(len(gradients), -1) @ self.directions

    def is_itself(self, x: Array) -> bool:
        """T can be inverted, and no component has become another one."""
        T = self.mixture(x)
        if not (np.isfinite(T).all() and abs(np.linalg.det(T)) > 1 / _SINGULAR):
            return False
        V = np.linalg.inv(T)
        own = T * V.T  # rows and columns sum to 1: how much of which component is in which
        if np.linalg.norm(T) * np.linalg.norm(V) > _SINGULAR:
            return False
        return bool((np.diag(own) >= own.max(axis=1)).all() or (linear_sum_assignment(-own)[1] == np.arange(self.K)).all())

    def begin(self) -> None:
        """Find a feasible mixture near the fit; if there is none, grant what the nearest one lacks."""

        def lack(x: Array) -> tuple[float, Array]:
            values, gradients = self.slacks(x)
            short = np.minimum(values - _INSIDE, 0)
            return float(short @ short), 2 * short @ gradients

        if len(self.base) and lack(self.base)[0] > 0:
            nearest = np.asarray(minimize(lack, self.base, jac=True, method="BFGS", options={"maxiter": 300, "gtol": 1e-12}).x)
            if self.is_itself(nearest) and lack(nearest)[0] < lack(self.base)[0]:
                self.base = nearest
        units = np.repeat([self.spectra.unit, self.maps.unit], [len(self.free_spectra), len(self.free_maps) + len(self.pure)])
        missing = float((-self.slacks(self.base)[0] * units).max(initial=0.0))
        if missing > 0:
            self.granted = missing + 0.1  # room to move
            self.spectra.granted = self.maps.granted = self.granted
        if len(self.base):
            self.base = self._descend(self.base, lambda x: (0.0, np.zeros_like(x)), barrier=1.0)

    def extremes(self, starts: int, rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
        """Mixtures in which each share is smallest and largest."""
        found = [self.base]
        if len(self.base):
            tries = [self.base]
            for _ in range(starts):
                tries.append(self._on_the_way(self.base, self.base + rng.normal(size=self.base.shape)))
            for k in range(self.K):
                for sign in (1.0, -1.0):
                    found += [self._climb(start, k, sign) for start in tries]
            for k in range(self.K):
                for sign in (1.0, -1.0):
                    best = int(np.argmin([sign * self.log_share(x, k)[0] for x in found]))
                    found.append(self._climb(found[best], k, sign, _BARRIERS[-2:]))
        shares = np.array([[self.share(self.mixture(x), k) for k in range(self.K)] for x in found])
        return [self.mixture(found[i]) for i in shares.argmin(axis=0)], [self.mixture(found[i]) for i in shares.argmax(axis=0)]

    def _climb(self, x: Array, k: int, sign: float, barriers: Sequence[float] = _BARRIERS) -> Array:
        def objective(x: Array) -> tuple[float, Array]:
            value, gradient = self.log_share(x, k)
            return sign * value, sign * gradient

        for barrier in barriers:
            x = self._descend(x, objective, barrier=barrier)
        return x

    def _on_the_way(self, start: Array, end: Array) -> Array:
        """A point between a feasible start and the border, or the end."""
        step = 1.0
        while step > 1e-6 and not (self.is_itself(x := start + step * (end - start)) and (self.slacks(x)[0] > 0).all()):
            step /= 2
        return start + step / 2 * (end - start)

    def _descend(self, x: Array, objective: Callable[[Array], tuple[float, Array]], *, barrier: float) -> Array:
        """Minimize ``objective − barrier Σ log slack`` from a feasible point by BFGS steps that stay feasible."""

        def value(x: Array) -> tuple[float, Array]:
            if not self.is_itself(x):
                return np.inf, x
            slacks, gradients = self.slacks(x)
            if not (slacks > 0).all():
                return np.inf, x
            f, gradient = objective(x)
            return f - barrier * float(np.log(slacks).sum()), gradient - barrier * (1 / slacks) @ gradients

        f, gradient = value(x)
        metric = np.eye(len(x)) / max(1.0, float(np.linalg.norm(gradient)))
        for _ in range(_STEPS):
            step = -metric @ gradient
            slope = float(step @ gradient)
            length, (f_new, gradient_new) = 1.0, value(x + step)
            while not f_new <= f + 1e-4 * length * slope and length > 1e-10:
                length /= 3
                f_new, gradient_new = value(x + length * step)
            if not f_new < f - 1e-6 * barrier:
                break
            moved, turned = length * step, gradient_new - gradient
            x, f, gradient = x + moved, f_new, gradient_new
            curvature = float(moved @ turned)
            if curvature > 1e-12 * float(np.linalg.norm(moved) * np.linalg.norm(turned)):
                left = np.eye(len(x)) - np.outer(moved, turned) / curvature
                metric = left @ metric @ left.T + np.outer(moved, moved) / curvature
        return x
