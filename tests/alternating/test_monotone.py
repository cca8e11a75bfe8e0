"""The contract of the block solver: the objective never rises, whatever the problem, and every iterate is feasible."""

import sys
import warnings
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from vermilion import factorize
from vermilion.alternating import Constraints
from vermilion.errors import ConvergenceWarning, ParameterError
from vermilion.prox import EXAMPLES, Box, Chain, Identity, MaxEntropy, NonNegative, Simplex, Smoothness, Soft, SquaredL2

solver = sys.modules["vermilion.factorize"]

# made for a number of components, bands or pixels
SIZED = {"Dykstra", "MonotoneCone", "Orthogonal", "PerComponent", "Smoothness", "Stiefel", "Symmetric", "TotalVariation"}
PARTNERS = (NonNegative(), Identity(), Simplex(0), Simplex(1), Box(0.0, 2.0), Soft(0.3), Chain(Soft(0.3), NonNegative()))


def accepted(A, S):
    try:
        Constraints.checked(A, S, allow_inexact=False)
    except ParameterError:
        return False
    return True


EXACT = [operator for name in sorted(EXAMPLES) for operator in EXAMPLES[name] if operator.exact]
PAIRS = [pair for partner in PARTNERS for operator in EXACT for pair in ((partner, operator), (operator, partner)) if accepted(*pair)]
USUAL = [pair for a in PARTNERS for s in PARTNERS for pair in ((a, s),) if accepted(*pair)]


@st.composite
def problems(draw):
    """Data, weights, number of components and constraints, with everything that happens."""
    spectra, morphologies = draw(st.one_of(st.sampled_from(USUAL), st.sampled_from(PAIRS)))
    n_bands, n_pixels, n_components = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 6))
    if type(spectra).__name__ in SIZED:
        n_bands, n_components = 6, 4
    if type(morphologies).__name__ in SIZED:
        n_components, n_pixels = 6, 4
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Y = rng.normal(size=(n_bands, n_pixels))
    kind = draw(st.sampled_from(["signed", "non-negative", "low rank", "sparse"]))
    if kind == "non-negative":
        Y = np.abs(Y)
    elif kind == "low rank":
        Y = rng.random((n_bands, 2)) @ rng.random((2, n_pixels)) + 1e-3 * Y
    elif kind == "sparse":
        Y *= rng.random(Y.shape) > 0.7
    if draw(st.booleans()):
        Y[rng.integers(n_bands)] = 0
    if draw(st.booleans()):
        Y[:, rng.integers(n_pixels)] = 0
    Y = Y if Y.any() else np.ones_like(Y)
    W = None
    if draw(st.booleans()):
        W = rng.gamma(0.5, size=Y.shape) * (rng.random(Y.shape) > draw(st.sampled_from([0.0, 0.3])))
        if draw(st.booleans()):
            W[rng.integers(n_bands)] = 0
        if draw(st.booleans()):
            W[:, rng.integers(n_pixels)] = 0
        W = W if (Y * W).any() else np.ones_like(Y)
    unit = 10.0 ** draw(st.integers(-3, 3))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    Y, W = (None if X is None else X.astype(dtype) for X in (unit * Y, W))
    if W is not None and draw(st.booleans()):
        Y[W == 0] = np.nan
    if draw(st.booleans()):
        Y, W = np.asfortranarray(Y), None if W is None else np.asfortranarray(W)
    return {
        "Y": Y,
        "W": W,
        "n_components": n_components,
        "spectra": spectra,
        "morphologies": morphologies,
        "init": draw(st.sampled_from(["spa", "random"])),
        "dtype": dtype,
    }


def objective(Y, W, A, S, spectra, morphologies):
    """The whole objective by numpy in float64, inf outside the constraints."""
    Y, W = Y.astype("f8"), np.ones(Y.shape) if W is None else W.astype("f8")
    value = 0.5 * np.sum(W * (np.where(W > 0, Y, 0) - A @ S) ** 2)
    for X, prox in ((A, spectra), (S, morphologies)):
        value += float(prox.penalty(torch.as_tensor(X)))
    return value


def follow(Y, W, *, spectra, morphologies, **options):
    """A fit, with the objective of the start and of every iterate."""
    solved = Constraints.checked(spectra, morphologies, allow_inexact=False)  # where a unit sum is only a gauge, it comes at the end
    values = []

    def record(A, S):
        values.append(objective(Y, W, A.numpy(), S.numpy(), solved.A, solved.S))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"tol": 0, "max_iter": 12, "device": "cpu"} | options
        result = factorize(Y, W, spectra=spectra, morphologies=morphologies, callbacks=[record], **options)
    return result, np.array([result.provenance["objective_start"], *values])


def assert_never_rises(values, Y, W):
    """No rise above a millionth, beside what is rounding in numbers of the size of the data."""
    W = np.ones(Y.shape) if W is None else W.astype("f8")
    scale = 0.5 * np.sum(W * np.where(W > 0, Y.astype("f8"), 0) ** 2)
    eps = float(np.finfo(Y.dtype).eps)
    rounding = max(16 * eps, 1e-11)  # factors may be larger than data; operators project to 1e-11
    assert np.isfinite(values).all()  # feasible throughout
    for before, after in pairwise(values):
        # a residual r is known to eps |y|, which matters in a problem of few data
        assert after <= before + 1e-6 * abs(before) + scale * rounding**2 + 2 * eps * np.sqrt(scale * abs(before))


@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(options=problems())
def test_the_objective_never_rises_and_every_iterate_is_feasible(options):
    Y, W = options.pop("Y"), options.pop("W")
    with mock.patch.object(solver, "SMALL", 0):  # or all small problems were float64
        result, values = follow(Y, W, **options)
    assert_never_rises(values, Y, W)
    for factor in (result.spectra, result.morphologies, result.fluxes, result.model):
        assert np.isfinite(factor).all()
    for error in (result.spectra_error, result.morphologies_error, result.signed_error):
        assert (np.isnan(error) | (error >= 0)).all()


LARGE = {
    "non-negative": (NonNegative(), NonNegative()),
    "free maps": (NonNegative(), Identity()),
    "abundances": (NonNegative(), Simplex(0)),
    "sparse": (Simplex(0), Chain(Soft(0.3), NonNegative())),
    "unit maps": (NonNegative(), Simplex(1)),
}


@pytest.mark.parametrize("pair", sorted(LARGE))
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("init", ["auto", "random", "given"])
def test_the_objective_of_problems_that_are_compressed_never_rises(pair, weighted, init):
    spectra, morphologies = LARGE[pair]
    Y, W, A, S = cube(weighted)
    if init == "given":
        generator = np.random.default_rng(5)
        init = A * generator.uniform(0.7, 1.3, A.shape), S * generator.uniform(0.7, 1.3, S.shape)
    with mock.patch.object(solver, "SMALL", 0):
        result, values = follow(Y, W, spectra=spectra, morphologies=morphologies, n_components=3, init=init, max_iter=20)
    plain = isinstance(spectra, NonNegative | Identity) and isinstance(morphologies, NonNegative | Identity)
    assert (result.provenance["compression"] is not None) is (plain or not weighted)
    assert_never_rises(values, Y, W)
    np.testing.assert_allclose(result.history.objective, values[1:], rtol=1e-5)


def cube(weighted):
    """80 bands of 3600 pixels in float32, of which some are bad, with the factors."""
    rng = np.random.default_rng(0)
    A, S = rng.gamma(0.5, size=(80, 3)), 10 * rng.gamma(0.5, size=(3, 3600))
    sigma = rng.uniform(0.5, 2.0, size=(80, 3600)) if weighted else np.ones((80, 3600))
    Y = A @ S + sigma * rng.normal(size=sigma.shape)
    if not weighted:
        return Y.astype("f4"), None, A, S
    W = sigma**-2 * (rng.random(Y.shape) > 0.02)
    W[7], W[30:, 50], W[:, 99] = 0, 0, 0
    Y[W == 0] = np.nan
    return Y.astype("f4"), W.astype("f4"), A, S


# ---- and ends at the minimum, where there is only one

CONVEX = {
    "non-negative": (NonNegative(), lambda S: 0.0, lambda S: 0 * S, (0, None)),
    "box": (Box(0.5, 3.0), lambda S: 0.0, lambda S: 0 * S, (0.5, 3.0)),
    "sparse": (Chain(Soft(0.3), NonNegative()), lambda S: 0.3 * S.sum(), lambda S: 0.3 + 0 * S, (0, None)),
    "ridge": (SquaredL2(0.7), lambda S: 0.35 * np.sum(S**2), lambda S: 0.7 * S, (None, None)),
    "entropy": (
        MaxEntropy(0.3, prior=0.5),
        lambda S: 0.3 * np.sum(S * np.log(S / 0.5) - S + 0.5),
        lambda S: 0.3 * np.log(S / 0.5),
        (1e-12, None),
    ),
    "smooth": (
        Smoothness(0.7, dim=1),
        lambda S: 0.35 * np.sum(np.diff(S, axis=1) ** 2),
        lambda S: -0.7 * np.diff(np.diff(S, axis=1), axis=1, prepend=0, append=0),
        (None, None),
    ),
}


def solved_for_maps(Y, W, A, **options):
    """The result with all spectra given, to many digits."""
    given = dict(enumerate(A.T))
    return factorize(
        Y, W, n_components=len(given), fixed_spectra=given, tol=1e-11, max_iter=20000, dtype="float64", device="cpu", **options
    )


@pytest.mark.parametrize("case", sorted(CONVEX))
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("method", ["block", "pgm"])
def test_with_given_spectra_the_minimum_is_that_of_a_general_solver(case, weighted, method):
    prox, penalty, slope, bounds = CONVEX[case]
    rng = np.random.default_rng(4)
    A = rng.random((8, 3))
    A /= A.sum(axis=0)
    Y = A @ (5 * rng.random((3, 10))) + 0.1 * rng.normal(size=(8, 10))
    W = rng.gamma(1.0, size=Y.shape) if weighted else None
    w = W if weighted else np.ones_like(Y)
    if case == "smooth":  # what the operator means by its weight
        S = rng.random((3, 10))
        assert penalty(S) == pytest.approx(float(prox.penalty(torch.tensor(S))))

    def value(x):
        S = x.reshape(3, 10)
        r = A @ S - Y
        return 0.5 * np.sum(w * r**2) + penalty(S), (A.T @ (w * r) + slope(S)).ravel()

    options = {"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30}
    best = minimize(value, np.ones(30), jac=True, bounds=[bounds] * 30, method="L-BFGS-B", options=options)
    result = solved_for_maps(Y, W, A, solver=method, spectra=Simplex(0), morphologies=prox)
    np.testing.assert_allclose(result.spectra, A, atol=1e-15)
    ours = value(np.maximum(result.morphologies, 1e-300 if case == "entropy" else -np.inf).ravel())[0]
    assert ours == pytest.approx(best.fun, rel=1e-6)
    assert result.objective == pytest.approx(ours, rel=1e-9)


@pytest.mark.parametrize("method", ["block", "pgm"])
def test_with_given_spectra_abundances_are_those_of_a_general_solver(method):
    rng = np.random.default_rng(4)
    A = rng.random((8, 3))
    Y = A @ rng.dirichlet(np.ones(3), 10).T + 0.1 * rng.normal(size=(8, 10))
    result = solved_for_maps(Y, None, A, solver=method, morphologies=Simplex(0))
    total = 0.0
    for n in range(10):
        total += minimize(
            lambda x, n=n: 0.5 * np.sum((A @ x - Y[:, n]) ** 2),
            np.full(3, 1 / 3),
            bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14},
        ).fun
    np.testing.assert_allclose(result.morphologies.sum(axis=0), 1)
    assert 0.5 * np.sum((Y - A @ result.morphologies) ** 2) == pytest.approx(total, rel=1e-6)
