"""One iteration never makes things worse, whatever the problem."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vermilion import factorize, read
from vermilion.alternating import Extrapolation, Problem, Sweep
from vermilion.errors import ConvergenceWarning
from vermilion.prox import Chain, Identity, MaxEntropy, NonNegative, Simplex, Soft

CPU = torch.device("cpu")
# constraints as asked for, and g(A), g(S) in numpy; a penalty on S alone holds the spectra to unit sum
PAIRS = {
    "non-negative": (NonNegative(), NonNegative()),
    "free": (Identity(), Identity()),
    "free spectra": (Identity(), NonNegative()),
    "free maps": (NonNegative(), Identity()),
    "unit spectra": (Simplex(0), NonNegative()),
    "abundances": (NonNegative(), Simplex(0)),
    "unit maps": (NonNegative(), Simplex(1)),
    "sparse": (Simplex(0), Soft(0.3)),
    "sparse, non-negative": (NonNegative(), Chain(Soft(0.3), NonNegative())),
    "entropy": (Simplex(0), MaxEntropy(0.3, prior=0.5)),
}


@st.composite
def problems(draw):
    """Data with everything that happens: signed, low rank, empty rows, weights with holes."""
    n_bands, n_pixels, n_components = draw(st.integers(1, 7)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Y = rng.normal(size=(n_bands, n_pixels))
    kind = draw(st.sampled_from(["signed", "non-negative", "low rank"]))
    if kind == "non-negative":
        Y = np.abs(Y)
    elif kind == "low rank":
        Y = rng.random((n_bands, 2)) @ rng.random((2, n_pixels))
    if n_bands > 1 and draw(st.booleans()):
        Y[rng.integers(n_bands)] = 0
    W = None
    if draw(st.booleans()):
        W = rng.gamma(0.5, size=Y.shape) * (rng.random(Y.shape) > draw(st.sampled_from([0.0, 0.3])))
        if n_bands > 1 and draw(st.booleans()):
            W[rng.integers(n_bands)] = 0
        if n_pixels > 1 and draw(st.booleans()):
            W[:, rng.integers(n_pixels)] = 0
        if not (Y * W).any():
            W[:] = 1
    Y *= 10.0 ** draw(st.integers(-3, 3))
    return Y, W, n_components


def objective(Y, W, A, S, spectra, morphologies):
    """The whole objective by numpy, inf outside the constraints."""
    value = 0.5 * np.sum((1 if W is None else W) * (Y - A @ S) ** 2)
    for X, prox in ((A, spectra), (S, morphologies)):
        value += float(prox.penalty(torch.as_tensor(X)))
    return value


def solved(spectra, morphologies):
    """The constraints that iterates meet: where a unit sum is only a gauge, it comes at the end."""
    if isinstance(spectra, Simplex) and morphologies.cone:
        return NonNegative(), morphologies
    if spectra.cone and not morphologies.cone and not morphologies.projection:
        return Simplex(0), morphologies
    return spectra, morphologies


@settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(problem=problems(), pair=st.sampled_from(sorted(PAIRS)), init=st.sampled_from(["spa", "random"]))
def test_the_objective_never_rises_and_every_iterate_is_feasible(problem, pair, init):
    Y, W, n_components = problem
    spectra, morphologies = solved(*PAIRS[pair])
    values = []

    def callback(A, S):
        values.append(objective(Y, W, A.numpy(), S.numpy(), spectra, morphologies))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = factorize(
            Y,
            W,
            n_components=n_components,
            spectra=PAIRS[pair][0],
            morphologies=PAIRS[pair][1],
            init=init,
            tol=0,
            max_iter=12,
            dtype="float64",
            device="cpu",
            callbacks=[callback],
        )
    values = [float(result.provenance["objective_start"]), *values]
    slack = 1e-12 * 0.5 * np.sum((1 if W is None else W) * Y**2)
    assert np.isfinite(values).all()  # feasible throughout
    assert all(new <= old * (1 + 1e-6) + slack for old, new in pairwise(values))
    np.testing.assert_allclose(values[1:], result.history.objective, rtol=1e-6, atol=slack)
    for factor in (result.spectra, result.morphologies, result.fluxes, result.model):
        assert np.isfinite(factor).all()
    for error in (result.spectra_error, result.morphologies_error, result.signed_error):
        assert (np.isnan(error) | (error >= 0)).all()


def sweep(Y, W=None, *, K=2, seed=0, spectra=NonNegative(), morphologies=NonNegative()):  # noqa: B008
    p = Problem.normalized(torch.as_tensor(Y), None if W is None else torch.as_tensor(W), dtype=torch.float64, device=CPU)
    generator = torch.Generator().manual_seed(seed)
    A = torch.rand(Y.shape[0], K, generator=generator, dtype=torch.float64)
    S = torch.rand(K, Y.shape[1], generator=generator, dtype=torch.float64)
    return Sweep(p.tiles, A, S, p.block("A", spectra), p.block("S", morphologies))


def test_a_rejected_step_keeps_the_state_and_counts(problem):
    Y, W, _, _ = problem(8, 20, 2)
    state = sweep(Y, W)
    state.step()
    A, S, f = state.A, state.S, state.objective
    state.objective = -1.0  # nothing can be better than this
    record = state.step()
    assert state.A is A
    assert state.S is S
    assert record.objective == -1.0
    assert record.objective_evaluations == 3  # at the start, and once per step
    state.objective = f
    assert state.step().objective < f


def test_one_iteration_reads_the_data_three_times(problem):
    # once for the spectra, once for the morphologies, once for the objective
    Y, W, _, _ = problem(8, 20, 2)
    state = sweep(Y, W)
    before = state.tiles.reads
    state.step()
    assert state.tiles.reads - before == pytest.approx(3)


def test_an_exact_product_is_found():
    rng = np.random.default_rng(0)
    Y = rng.random((10, 1)) @ rng.random((1, 30))
    state = sweep(Y, K=1)
    start = state.objective
    for _ in range(50):
        state.step()
    assert state.objective < 1e-10 * start


def test_a_weight_of_zero_hides_any_value(problem):
    Y, W, _, _ = problem(8, 20, 2)
    W[3, 4] = W[5, 6] = 0
    spoiled = Y.copy()
    spoiled[3, 4], spoiled[5, 6] = 1e6, -1e6
    one, other = sweep(Y, W), sweep(np.where(W > 0, spoiled, np.nan), W)
    for _ in range(5):
        one.step()
        other.step()
    torch.testing.assert_close(one.A @ one.S, other.A @ other.S, rtol=1e-9, atol=1e-9)


def test_extrapolation_grows_from_a_plain_step_and_starts_anew_after_a_restart():
    rule = Extrapolation()
    factors = []
    for _ in range(100):
        factors.append(rule.factor)
        rule.advance()
    assert factors[:3] == [0, pytest.approx(1 / 4), pytest.approx(2 / 5)]
    assert all(a < b < 1 for a, b in pairwise(factors))
    rule.restart()
    assert rule.factor == 0


def test_a_random_start_does_not_collapse_to_zero(sample_cube):
    matrix = read(sample_cube).to_matrix()
    Y, W = matrix.data[60:120, ::4], matrix.weights[60:120, ::4]
    for seed in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = factorize(Y, W, n_components=4, init="random", seed=seed, max_iter=400)
        assert np.abs(result.morphologies).sum(axis=1).min() > 0
        assert result.objective < 0.01 * 0.5 * float((W * Y**2).sum())
