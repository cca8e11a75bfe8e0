"""The factorization as a scikit-learn estimator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning as ScikitConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .datamodels import Result, Status
from .errors import ConvergenceWarning, ParameterError, ShapeError
from .factorize import factorize, resolve_device
from .prox import Identity, NonNegative, Prox, Simplex
from .unmixing.fclsu import fclsu
from .unmixing.least_squares import least_squares
from .unmixing.nnls import nnls

__all__ = ["CONSTRAINTS", "ConstrainedNMF"]

Constraint = str | Prox | Callable[..., Any] | None

CONSTRAINTS: dict[str | None, Prox] = {"non-negative": NonNegative(), "simplex": Simplex(0), None: Identity()}

# what solves for one row of X exactly while the components are held
_EXACT: dict[str | None, Callable[..., torch.Tensor]] = {"non-negative": nnls, "simplex": fclsu, None: least_squares}


class ConstrainedNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Samples as combinations of components, ``X ≈ T C``, under constraints on either factor and with a weight on every entry.

    Minimizes ``½ Σ weights (X − T C)² + g(C) + h(T)``. A sample is a pixel, a feature a band; `X` is the transpose of the Y of
    `vermilion.factorize`, ``C = components_`` that of its spectra. Negative data are normal, NaN means absent, infinite values are refused.

    Parameters
    ----------
    n_components : int, optional
        K. None: as many as the smaller side of the first `X`.
    spectra : {"non-negative", "simplex"}, Prox, callable or None
        Constraint on the components: >= 0, >= 0 with sum 1 over the features, an operator on an array (features, components), or none.
    morphologies : {"non-negative", "simplex"}, Prox, callable or None
        Constraint on what `transform` returns: >= 0, >= 0 with sum 1 in each sample (abundances), an operator on an array
        (components, samples), or none.
    init : str or array_like, shape (n_components, n_features)
        A start that `vermilion.factorize` knows, or components to start from.
    solver : str
        As in `vermilion.factorize`.
    max_iter : int
        Largest number of iterations.
    tol : float
        Relative decrease of the objective over 10 iterations that counts as none; 0 runs exactly `max_iter` iterations.
    random_state : int, RandomState or None
        Of random starts.
    dtype : {"float32", "float64"}
        Of products with the data. What is returned has the type of `X`.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:0" …

    Attributes
    ----------
    components_ : ndarray, shape (n_components, n_features)
        In the order of their share of the data. Where both constraints leave the scale open, each sums to 1.
    n_components_ : int
    n_iter_ : int
    reconstruction_err_ : float
        ``sqrt(Σ weights (X − T C)²)`` of the data of `fit`; weights are 1 where none are given and absent entries do not count.
    status_ : Status
        How the fit ended.
    normalization_ : str
        What fixes the scale between components and their amounts.
    notes_ : tuple of str
        Sentences that the user must read.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where `X` names its features.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The iteration limit was reached before the tolerance.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((60, 2)) @ rng.random((2, 12))
    >>> model = ConstrainedNMF(n_components=2, random_state=0)
    >>> amounts = model.fit_transform(X)
    >>> amounts.shape, model.components_.shape, bool(np.allclose(model.inverse_transform(amounts), X, atol=1e-2))
    ((60, 2), (2, 12), True)
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        spectra: Constraint = "non-negative",
        morphologies: Constraint = "non-negative",
        init: str | ArrayLike = "auto",
        solver: str = "auto",
        max_iter: int = 2000,
        tol: float = 1e-5,
        random_state: Any = None,
        dtype: str = "float32",
        device: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.spectra = spectra
        self.morphologies = morphologies
        self.init = init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.dtype = dtype
        self.device = device

    def fit(self, X: ArrayLike, y: Any = None, weights: ArrayLike | None = None) -> ConstrainedNMF:
        """Find the components of `X`.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            NaN where a value is absent.
        y : ignored
        weights : array_like, shape (n_samples, n_features) or (n_samples,), optional
            Inverse variances >= 0; 0 means absent. One per sample counts for all its features.

        Returns
        -------
        ConstrainedNMF
            Itself.

        Raises
        ------
        ParameterError, ShapeError, NoDataError, DeviceError
            As `vermilion.factorize`; all but the last are ValueErrors.
        """
        self.fit_transform(X, weights=weights)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None, weights: ArrayLike | None = None) -> NDArray[np.floating[Any]]:
        """Find the components of `X`, and how much of each is in every sample: ``fit(X).transform(X)``.

        Parameters
        ----------
        X, y, weights
            As in `fit`.

        Returns
        -------
        ndarray, shape (n_samples, n_components)
        """
        X, W = self._checked(X, weights, reset=True)
        self.n_components_ = min(X.shape) if self.n_components is None else self.n_components
        result = self._factorized(X, W, init=self._start(X, W), n_components=self.n_components_)
        self.components_ = np.ascontiguousarray(result.spectra.T, dtype=X.dtype)
        self.n_iter_ = len(result.history)
        self.status_: Status = result.status
        self.normalization_ = result.normalization
        self.notes_ = result.notes
        amounts = self._solved(X, W)
        self.reconstruction_err_ = self._error(X, W, amounts)
        return amounts

    def transform(self, X: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.floating[Any]]:
        """How much of each component is in every sample; the components are held.

        Exact for the constraints that have a name. A sample without any value gives NaN.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        weights : array_like, shape (n_samples, n_features) or (n_samples,), optional

        Returns
        -------
        ndarray, shape (n_samples, n_components)
        """
        check_is_fitted(self)
        return self._solved(*self._checked(X, weights, reset=False))

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """Samples from amounts of the components.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_components)
            What `transform` returns.

        Returns
        -------
        ndarray, shape (n_samples, n_features)
        """
        check_is_fitted(self)
        amounts = np.asarray(X)
        if amounts.ndim != 2 or amounts.shape[1] != self.n_components_:
            raise ShapeError(f"X has shape {amounts.shape}: expected (samples, {self.n_components_}), as transform returns it.")
        product: NDArray[np.floating[Any]] = amounts @ self.components_
        return product

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = False
        tags.input_tags.positive_only = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _checked(self, X: Any, weights: Any, *, reset: bool) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Data and weights as floats of equal shape."""
        X = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
        if weights is None:
            return X, None
        W = np.asarray(weights, dtype=np.float64)
        if W.shape == X.shape[:1]:
            W = np.broadcast_to(W[:, None], X.shape)
        if W.shape != X.shape:
            raise ShapeError(f"weights has shape {W.shape}, X has {X.shape}: expected one weight per entry, or one per sample.")
        if not (np.isfinite(W).all() and (W >= 0).all()):
            raise ParameterError("weights hold values that are negative or not finite: expected inverse variances >= 0, and 0 for absent.")
        return X, W

    def _factorized(self, X: NDArray[Any], W: NDArray[Any] | None, **options: Any) -> Result:
        """`vermilion.factorize` on the transposed data, its warning as scikit-learn's own."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = factorize(
                X.T,
                None if W is None else W.T,
                spectra=_prox("spectra", self.spectra),
                morphologies=_prox("morphologies", self.morphologies),
                solver=self.solver,
                max_iter=self.max_iter,
                tol=self.tol,
                seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
                dtype=self.dtype,
                device=self.device,
                **options,
            )
        if result.status is Status.MAX_ITER and self.tol > 0:
            message = f"the iteration limit ({self.max_iter}) was reached before the tolerance {self.tol:g}: raise max_iter or tol."
            warnings.warn(message, ScikitConvergenceWarning, stacklevel=4)
        return result

    def _start(self, X: NDArray[Any], W: NDArray[Any] | None) -> Any:
        """The start by its name, or the given components with the amounts that fit them."""
        if isinstance(self.init, str):
            return self.init
        start = np.asarray(self.init, dtype=np.float64)
        expected = (self.n_components_, X.shape[1])
        if start.shape != expected:
            raise ShapeError(f"init has shape {start.shape}: expected {expected} (components, features), or the name of a start.")
        amounts = nnls(*_tensors(X, start, W, resolve_device(self.device)))
        return start.T, amounts.cpu().numpy()

    def _solved(self, X: NDArray[Any], W: NDArray[Any] | None) -> NDArray[np.floating[Any]]:
        """Amounts (n_samples, n_components) with the components held; NaN for samples without any value."""
        absent = ~(np.isfinite(X) if W is None else np.isfinite(X) & (W > 0)).any(axis=1)
        name = self.morphologies
        if name is None or isinstance(name, str):
            where = resolve_device(self.device)
            amounts = _EXACT[name](*_tensors(X, self.components_, W, where)).cpu().numpy()
        else:
            live = np.flatnonzero(self.components_.any(axis=1))  # an empty component has no amount
            held = dict(enumerate(self.components_[live].astype(np.float64)))
            amounts = np.zeros((len(self.components_), len(X)))
            if held:
                amounts[live] = self._factorized(X, W, n_components=len(held), fixed_spectra=held).morphologies
        return np.where(absent[:, None], np.nan, amounts.T).astype(X.dtype)

    def _error(self, X: NDArray[Any], W: NDArray[Any] | None, amounts: NDArray[Any]) -> float:
        """Norm of the weighted residuals over the entries that count."""
        residual = np.nan_to_num(X - np.nan_to_num(amounts) @ self.components_)
        return math.sqrt(float(np.sum((1.0 if W is None else W) * residual.astype(np.float64) ** 2)))


def _prox(name: str, constraint: Any) -> Any:
    """The operator that a constraint names."""
    if constraint is not None and not isinstance(constraint, str):
        return constraint
    if constraint not in CONSTRAINTS:
        raise ParameterError(f"{name} is {constraint!r}: expected 'non-negative', 'simplex', None, or an operator of vermilion.prox.")
    return CONSTRAINTS[constraint]


def _tensors(
    X: NDArray[Any], components: NDArray[Any], W: NDArray[Any] | None, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Y (B, N), A (B, K) and W in float64; what is absent has no weight."""
    known = np.isfinite(X)
    Y = torch.tensor(np.where(known, X, 0.0).T, dtype=torch.float64, device=device)
    A = torch.tensor(components.T, dtype=torch.float64, device=device)
    if W is None and known.all():
        return Y, A, None
    weights = known.astype(np.float64) if W is None else np.where(known, W, 0.0)
    return Y, A, torch.tensor(weights.T, device=device)
