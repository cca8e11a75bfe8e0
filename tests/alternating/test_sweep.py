"""One iteration never makes things worse, whatever the problem."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from vermilion import factorize, read
from vermilion.alternating import Extrapolation, Problem, Sweep, TensorTiles
from vermilion.alternating.alternation import inner_steps
from vermilion.errors import ConvergenceWarning
from vermilion.prox import Identity, NonNegative, Simplex, Soft

CPU = torch.device("cpu")


def sweep(Y, W=None, *, K=2, seed=0, spectra=NonNegative(), morphologies=NonNegative(), device=CPU, steps=None):  # noqa: B008
    """A fit at a random feasible start."""
    p = Problem.normalized(torch.as_tensor(Y), None if W is None else torch.as_tensor(W), dtype=torch.float64, device=torch.device(device))
    generator = torch.Generator().manual_seed(seed)
    A = torch.rand(Y.shape[0], K, generator=generator, dtype=torch.float64)
    S = torch.rand(K, Y.shape[1], generator=generator, dtype=torch.float64)
    blocks = p.block("A", spectra), p.block("S", morphologies)
    A, S, one = A.to(device), S.to(device), torch.ones(1, 1, dtype=torch.float64, device=device)
    return Sweep(p.tiles(*blocks), blocks[0].prox(A.T, one).T, blocks[1].prox(S, one), *blocks, steps)


def problem_scale(Y, W):
    """What the data are divided by."""
    return Problem.normalized(torch.as_tensor(Y), torch.as_tensor(W), dtype=torch.float64, device=CPU).data_scale


def test_a_rejected_step_keeps_the_state_and_counts(problem):
    Y, W, _, _ = problem(8, 20, 2)
    state = sweep(Y, W)
    state.step()
    A, S, f = state.A, state.S, state.objective
    state.known_objective(-1.0)  # nothing can be better than this
    record = state.step()
    assert torch.equal(state.A, A)
    assert torch.equal(state.S, S)
    assert record.objective == -1.0
    assert record.objective_evaluations == 3  # at the start, and once per step
    state.known_objective(f)
    assert state.step().objective < f


SEPARABLE = {
    "non-negative": (NonNegative(), NonNegative()),
    "free": (Identity(), Identity()),
    "abundances": (NonNegative(), Simplex(0)),
    "sparse maps": (Simplex(0), Soft(0.1)),
    "unit maps": (NonNegative(), Simplex(1)),
}


@pytest.mark.parametrize("pair", sorted(SEPARABLE))
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [(60, 200), (200, 60)])
def test_one_iteration_reads_the_data_once(pair, weighted, shape, problem):
    Y, W, _, _ = problem(*shape, 2)
    for data in (Y, Y.T.copy().T):
        state = sweep(data, W if weighted else None, spectra=SEPARABLE[pair][0], morphologies=SEPARABLE[pair][1])
        before = state.tiles.reads
        for _ in range(10):
            record = state.step()
        assert record.reads_of_Y == state.tiles.reads
        # once more for the objective of the start
        assert state.tiles.reads - before == pytest.approx(11)


@pytest.mark.parametrize("weighted", [True, False])
def test_where_neither_constraint_can_be_cut_an_iteration_reads_twice(weighted, problem):
    Y, W, _, _ = problem(30, 40, 2)
    state = sweep(Y, W if weighted else None, spectra=Simplex(0), morphologies=Simplex(1))
    f = state.objective
    before = state.tiles.reads
    for _ in range(10):
        state.step()
    assert state.tiles.reads - before == pytest.approx(20)
    assert state.objective < f


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("pair", sorted(SEPARABLE))
def test_the_objective_that_a_step_tells_is_that_of_its_factors(weighted, pair, problem):
    Y, W, _, _ = problem(30, 40, 3)
    state = sweep(Y, W if weighted else None, K=3, spectra=SEPARABLE[pair][0], morphologies=SEPARABLE[pair][1])
    values = [state.objective]
    for _ in range(15):
        values.append(state.step().objective)
        assert values[-1] == pytest.approx(state.evaluate(state.A, state.S), rel=1e-9)
    assert all(after <= before for before, after in pairwise(values))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_axis_that_is_cut_does_not_matter_at_the_end(axis, weighted, problem):
    Y, W, _, _ = problem(12, 15, 2, noise=0.3)
    state = sweep(Y, W if weighted else None)
    other = Sweep(
        TensorTiles(state.tiles.Y, state.tiles.W, axis=axis, gain=state.tiles.gain, weight_gain=state.tiles.weight_gain),
        state.A,
        state.S,
        *state.blocks,
        steps=(3, 3),
    )
    for _ in range(500):
        state.step()
        other.step()
    assert other.objective == pytest.approx(state.objective, rel=1e-6)


def test_a_start_from_elsewhere_is_taken_where_it_is_better(problem):
    Y, W, A, S = problem(8, 20, 2)
    state = sweep(Y, W)
    f = state.objective
    state.look_ahead(torch.tensor(A), torch.tensor(S) / problem_scale(Y, W))
    assert state.step().objective < 1e-2 * f


def test_a_start_from_elsewhere_is_left_where_it_is_worse(problem):
    Y, W, _, _ = problem(8, 20, 2)
    state = sweep(Y, W)
    for _ in range(200):
        state.step()
    A, S, f = state.A, state.S, state.objective
    nowhere = torch.zeros_like(A), torch.zeros_like(S)
    state.look_ahead(*nowhere, steps=1)
    record = state.step()
    assert record.objective == f
    assert torch.equal(state.A, A)
    assert torch.equal(state.S, S)
    assert state.step().objective <= f  # and goes on from the state it kept
    assert float(state.A.abs().sum()) > 0


def test_looking_ahead_takes_many_inner_steps_once(problem):
    Y, W, _, _ = problem(8, 20, 2)
    state = sweep(Y, W)
    first = state.step().gradient_evaluations
    state.look_ahead(state.A, state.S, steps=30)
    second = state.step().gradient_evaluations
    third = state.step().gradient_evaluations
    assert [b - a for a, b in zip(first, second, strict=True)] == [90, 30]
    assert [b - a for a, b in zip(second, third, strict=True)] == list(first)


def test_steps_balance_the_work_on_a_factor_against_a_read():
    weighted, plain = (TensorTiles(torch.zeros(100, 20_000), W) for W in (torch.ones(100, 20_000), None))
    for each in zip(inner_steps(weighted, 3), inner_steps(plain, 3), strict=True):
        assert 20 >= each[0] >= each[1] >= 1  # a read with weights costs more
    assert inner_steps(TensorTiles(torch.zeros(4, 5)), 3) == (1, 1)
    assert max(inner_steps(weighted, 3, descends=(True, True))) <= 8


@pytest.mark.parametrize("pair", sorted(SEPARABLE))
@pytest.mark.parametrize("weighted", [True, False])
def test_one_factor_is_solved_to_its_minimum_for_the_other(pair, weighted, problem):
    Y, W, _, _ = problem(12, 15, 2, noise=0.3)
    state = sweep(Y, W if weighted else None, spectra=SEPARABLE[pair][0], morphologies=SEPARABLE[pair][1])
    for _ in range(30):
        state.step()
    S = state.solve_morphologies(state.A, state.S, steps=2000, tol=1e-13)
    A = state.solve_spectra(state.A, state.S, steps=2000, tol=1e-13)
    best_S, best_A = state.evaluate(state.A, S), state.evaluate(A, state.S)
    generator = torch.Generator().manual_seed(0)
    one = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(20):  # no feasible point near by is better
        near_S = state.morphologies.prox(S + 1e-3 * torch.randn(S.shape, generator=generator, dtype=torch.float64), 0 * one)
        near_A = state.spectra.prox((A + 1e-3 * torch.randn(A.shape, generator=generator, dtype=torch.float64)).T, 0 * one).T
        assert state.evaluate(state.A, near_S) >= best_S * (1 - 1e-9)
        assert state.evaluate(near_A, state.S) >= best_A * (1 - 1e-9)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("pair", sorted(SEPARABLE))
@pytest.mark.parametrize("weighted", [True, False])
def test_a_gpu_finds_what_the_processor_finds(pair, weighted, problem):
    Y, W, _, _ = problem(60, 500, 3, noise=0.3)
    here = sweep(Y, W if weighted else None, K=3, spectra=SEPARABLE[pair][0], morphologies=SEPARABLE[pair][1])
    there = sweep(
        Y, W if weighted else None, K=3, spectra=SEPARABLE[pair][0], morphologies=SEPARABLE[pair][1], device="cuda", steps=here.inner
    )
    for _ in range(5):
        here.step()
        there.step()
    assert there.A.is_cuda
    assert there.objective == pytest.approx(here.objective, rel=1e-3)
    for _ in range(300):
        here.step()
        there.step()
    assert there.objective == pytest.approx(here.objective, rel=1e-4)


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


@pytest.mark.parametrize("ratio", [1e3, 1e5])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_that_takes_away_nearly_all_knows_what_is_left(ratio, seed):
    # the difference of two losses in float32 holds seven digits of the larger one: too few where one step removes all but the noise
    rng = np.random.default_rng(seed)
    Y = rng.random((60, 1)) @ (ratio * rng.random((1, 4000))) + rng.normal(size=(60, 4000))
    Y = Y.astype("f4")
    p = Problem.normalized(torch.tensor(Y), None, dtype=torch.float32, device=CPU)
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    state = Sweep(p.tiles(*blocks), torch.tensor(rng.random((60, 1))), torch.tensor(rng.random((1, 4000))), *blocks)
    for _ in range(20):
        told = state.step().objective * p.objective_scale
        exact = 0.5 * float(np.sum((Y.astype("f8") - (state.A @ state.S).numpy() * p.data_scale) ** 2))
        assert told == pytest.approx(exact, rel=1e-3)
    assert exact == pytest.approx(0.5 * np.sum(np.linalg.svd(Y.astype("f8"), compute_uv=False)[1:] ** 2), rel=1e-3)
