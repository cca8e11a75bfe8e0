"""The solvers against scipy and each other; stopping, history, seeds."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from vermilion import Status, factorize
from vermilion.errors import ConvergenceWarning, ParameterError, PeerError
from vermilion.prox import Chain, NonNegative, PerComponent, Simplex, Soft


def loss(Y, W, result):
    return 0.5 * np.sum((1 if W is None else W) * (Y - result.model) ** 2)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("solver", ["block", "pgm"])
def test_with_known_spectra_the_maps_are_those_of_nnls(solver, weighted, problem):
    Y, W, A, _ = problem(12, 25, 3, noise=0.5)
    W = W if weighted else None
    result = factorize(
        Y, W, n_components=3, fixed_spectra=dict(enumerate(A.T)), solver=solver, tol=1e-12, max_iter=20000, dtype="float64", device="cpu"
    )
    root = np.sqrt(W if weighted else np.ones_like(Y))
    expected = np.stack([nnls(root[:, [n]] * A, root[:, n] * Y[:, n])[0] for n in range(Y.shape[1])], axis=1)
    assert result.status is Status.CONVERGED
    np.testing.assert_array_equal(result.spectra, A)
    np.testing.assert_allclose(result.morphologies, expected, atol=1e-4 * expected.max())
    best = 0.5 * np.sum((root * (Y - A @ expected)) ** 2)
    assert loss(Y, W, result) == pytest.approx(best, rel=1e-8)
    assert (expected == 0).any()  # the constraint is at work


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("solver", ["palm", "pgm", "adaprox", "admm"])
def test_every_solver_reaches_the_objective_of_the_block_solver(solver, weighted, problem):
    Y, W, _, _ = problem(10, 40, 2, noise=0.3)
    W = W if weighted else None
    options = {"n_components": 2, "tol": 1e-7, "dtype": "float64", "device": "cpu", "max_iter": 5000}
    block, other = (factorize(Y, W, solver=name, **options) for name in ("block", solver))
    assert block.provenance["solver"] == "block"
    assert other.provenance["solver"] == solver
    assert loss(Y, W, other) == pytest.approx(loss(Y, W, block), rel=1e-4)
    np.testing.assert_allclose(other.model, block.model, atol=0.01 * np.abs(Y).max())


def test_the_objective_of_a_fit_of_full_rank_is_that_of_the_singular_values():
    # without constraints the best rank-2 fit leaves half the squares of the other singular values
    Y = np.random.default_rng(0).normal(size=(8, 15))
    result = factorize(Y, n_components=2, spectra=None, morphologies=None, tol=1e-9, max_iter=3000, dtype="float64", device="cpu")
    assert result.objective == pytest.approx(0.5 * np.sum(np.linalg.svd(Y, compute_uv=False)[2:] ** 2), rel=1e-5)


@pytest.mark.parametrize("weighted", [True, False])
def test_proxmin_agrees_on_an_easy_problem(weighted):
    rng = np.random.default_rng(1)
    Y = rng.random((12, 2)) @ rng.random((2, 40)) + 0.05 * rng.normal(size=(12, 40))
    W = np.full(Y.shape, 400.0) if weighted else None
    ours = factorize(Y, W, n_components=2, dtype="float64", device="cpu")
    theirs = factorize(Y, W, n_components=2, solver="proxmin", dtype="float64", device="cpu", tol=1e-6)
    assert theirs.objective == pytest.approx(ours.objective, rel=0.05)
    assert theirs.objective == pytest.approx(loss(Y, W, theirs), rel=1e-6)


def test_what_proxmin_cannot_do_is_said():
    Y = np.random.default_rng(1).random((6, 20))
    with pytest.raises(PeerError, match="proxmin"):
        factorize(Y, n_components=2, solver="proxmin", spectra=Simplex(0), morphologies=Soft(torch.rand(2, 20)))
    with pytest.raises(ParameterError, match="cannot hold components fixed"):
        factorize(Y, n_components=2, solver="proxmin", fixed_spectra={0: np.ones(6)})
    with pytest.raises(ParameterError, match="takes no callbacks"):
        factorize(Y, n_components=2, solver="proxmin", callbacks=[lambda A, S: None])


@pytest.mark.parametrize("solver", ["block", "pgm"])
def test_without_tolerance_the_iterations_asked_for_are_made(solver, problem):
    Y, W, _, _ = problem(8, 20, 2)
    calls = []
    result = factorize(Y, W, n_components=2, solver=solver, tol=0, max_iter=np.int64(17), callbacks=[lambda A, S: calls.append(A)])
    assert result.status is Status.MAX_ITER
    assert len(result.history) == 17
    assert len(calls) == (17 if solver == "block" else 16)  # through autograd a state is known one step later


def test_reaching_the_limit_before_the_tolerance_warns(problem):
    Y, W, _, _ = problem(8, 20, 2)
    with pytest.warns(ConvergenceWarning, match=r"iteration limit was reached \(3\) before the tolerance 1e-05"):
        result = factorize(Y, W, n_components=2, max_iter=3)
    assert result.status is Status.MAX_ITER


@pytest.mark.parametrize("solver", ["block", "pgm"])
def test_a_callback_that_returns_true_stops_the_fit(solver, problem):
    Y, W, _, _ = problem(8, 20, 2)
    calls = []

    def enough(A, S):
        calls.append((A.shape, S.shape))
        return len(calls) == 4

    result = factorize(Y, W, n_components=2, solver=solver, callbacks=[enough, lambda A, S: None])
    assert result.status is Status.STOPPED
    assert calls == [((8, 2), (2, 20))] * 4
    assert 4 <= len(result.history) <= 5


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("solver", ["block", "pgm"])
@pytest.mark.parametrize("when", [1, 6])
def test_an_interrupt_leaves_a_valid_result(solver, when, weighted, problem):
    Y, W, _, _ = problem(8, 20, 2)
    calls = []

    def interrupt(A, S):
        calls.append(None)
        if len(calls) == when:
            raise KeyboardInterrupt

    result = factorize(Y, W if weighted else None, n_components=2, solver=solver, callbacks=[interrupt])
    assert result.status is Status.STOPPED
    assert np.isfinite(result.model).all()
    assert np.nanmin(result.morphologies_error) > 0
    np.testing.assert_allclose(result.spectra.sum(axis=0), 1, rtol=1e-6)


def test_callbacks_see_the_unit_of_the_data(problem):
    Y, W, _, _ = problem(8, 20, 2)
    seen = []
    for unit in (1.0, 1e20):
        factorize(
            Y * unit,
            W / unit**2,
            n_components=2,
            tol=0,
            max_iter=30,
            dtype="float64",
            device="cpu",
            callbacks=[lambda A, S: seen.append((A @ S).numpy())],
        )
    np.testing.assert_allclose(seen[29], Y, atol=0.1)
    np.testing.assert_allclose(seen[59] / 1e20, seen[29], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", ["block", "pgm"])
def test_the_columns_of_the_history_belong_together(solver, problem):
    Y, W, _, _ = problem(8, 20, 2)
    history = factorize(Y, W, n_components=2, solver=solver, tol=0, max_iter=25).history
    n = np.arange(1, 26)
    assert history.iteration.tolist() == n.tolist()
    assert np.all(np.diff(history.objective) <= 1e-6 * history.objective[:-1])
    assert history.gradient_evaluations.shape == (25, 2)
    for column in (history.gradient_evaluations[:, 0], history.gradient_evaluations[:, 1], history.objective_evaluations):
        assert np.all(column >= n)
        assert np.all(np.diff(column) >= 1)
    for column in (history.reads_of_Y, history.seconds):
        assert np.all(np.diff(column) > 0)


def test_the_last_objective_is_that_of_the_result(problem):
    Y, W, _, _ = problem(8, 20, 2)
    for weights in (W, None):
        result = factorize(Y, weights, n_components=2, dtype="float64", device="cpu")
        assert result.objective == pytest.approx(loss(Y, weights, result), rel=1e-9)


@pytest.mark.parametrize("solver", ["block", "pgm"])
def test_seeds_decide_a_random_start(solver, problem):
    Y, W, _, _ = problem(8, 20, 3)
    one, same, other = (
        factorize(Y, W, n_components=3, init="random", seed=seed, solver=solver, tol=0, max_iter=20, device="cpu") for seed in (5, 5, 6)
    )
    for name in ("spectra", "morphologies", "spectra_error", "signed_morphologies"):
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes()
    assert one.spectra.tobytes() != other.spectra.tobytes()
    assert (one.provenance["init"], one.provenance["seed"]) == ("random", 5)


def test_a_given_start_is_begun_from(problem):
    Y, W, A, S = problem(8, 20, 2)
    result = factorize(Y, W, n_components=2, init=(A, S), tol=0, max_iter=1, dtype="float64", device="cpu")
    assert result.provenance["objective_start"] == pytest.approx(0.5 * np.sum(W * (Y - A @ S) ** 2), rel=1e-6)
    assert result.provenance["init"] == "given"


def test_values_that_are_not_finite_count_as_absent(problem):
    Y, W, _, _ = problem(8, 30, 2)
    hole = np.random.default_rng(4).random(Y.shape) < 0.2
    options = {"n_components": 2, "dtype": "float64", "device": "cpu"}
    by_weight = factorize(Y, np.where(hole, 0, W), **options)
    by_nan = factorize(np.where(hole, np.nan, Y), W, **options)
    by_nan_weight = factorize(np.where(hole, np.inf, Y), np.where(hole, np.nan, W), **options)
    for other in (by_nan, by_nan_weight):
        np.testing.assert_allclose(other.model, by_weight.model, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(other.signed_error, by_weight.signed_error, rtol=1e-6)


@pytest.mark.parametrize("init", ["spa", "random"])
def test_bands_and_pixels_without_weight_stay_out_of_the_gauge(init, problem):
    Y, W, _, _ = problem(8, 30, 2)
    W[3], W[:, 5] = 0, 0
    Y[3], Y[:, 5] = 1e5, np.nan
    result = factorize(Y, W, n_components=2, init=init)
    assert (result.spectra[3] == 0).all()
    assert (result.morphologies[:, 5] == 0).all()
    np.testing.assert_allclose(result.spectra.sum(axis=0), 1)
    assert np.isnan(result.spectra_error[3]).all()
    assert np.isnan(result.signed_error[:, 5]).all()


@pytest.mark.parametrize(
    "convert",
    [
        lambda Y: Y.astype("f4"),
        lambda Y: Y.astype(">f4"),
        lambda Y: Y.astype(">f8"),
        lambda Y: Y.astype(np.longdouble),
        lambda Y: np.asfortranarray(Y),
        lambda Y: np.broadcast_to(Y[None], (2, *Y.shape))[0],  # may not be written
        lambda Y: torch.tensor(Y),
        lambda Y: torch.tensor(Y, requires_grad=True),
        lambda Y: Y.tolist(),
    ],
    ids=["f4", ">f4", ">f8", "longdouble", "fortran", "read-only", "tensor", "with gradient", "list"],
)
def test_any_array_of_real_numbers_is_taken_and_left_alone(convert, problem):
    Y, _, _, _ = problem(8, 20, 2)
    given = convert(Y)
    result = factorize(given, n_components=2, tol=0, max_iter=30)
    reference = factorize(Y, n_components=2, tol=0, max_iter=30)
    np.testing.assert_allclose(result.model, reference.model, atol=1e-3 * np.abs(Y).max())
    assert np.array_equal(plain(given), plain(convert(Y)))


def plain(X):
    return np.asarray(X.detach() if isinstance(X, torch.Tensor) else X, dtype=float)


def test_the_signs_of_unconstrained_maps_follow_the_gauge():
    rng = np.random.default_rng(2)
    A, S = rng.random((10, 1)), rng.normal(size=(1, 40)) + 1
    result = factorize(A @ S, n_components=1, spectra=None, morphologies=None)
    assert result.spectra.sum() == pytest.approx(1)
    np.testing.assert_allclose(result.morphologies[0], S[0] * A.sum(), atol=1e-3)
    assert result.morphologies.min() < 0


def test_the_solvers_agree_on_every_device(device, problem):
    Y, W, _, _ = problem(12, 60, 2)
    here = factorize(Y, W, n_components=2, dtype="float64", device="cpu")
    there = factorize(Y, W, n_components=2, dtype="float64", device=device)
    np.testing.assert_allclose(there.spectra, here.spectra, atol=1e-4)
    assert there.provenance["device"] == device


def test_operators_are_named_in_the_provenance(problem):
    Y, W, _, _ = problem(8, 20, 2)
    result = factorize(Y, W, n_components=2, spectra=Simplex(0), morphologies=NonNegative(), max_iter=2, tol=0)
    assert result.provenance["spectra"] == "Simplex(dim=0, total=1.0)"
    assert result.provenance["morphologies"] == "NonNegative()"
    assert result.provenance["dtype"] == "float32"


def test_constraints_and_penalties_can_be_mixed_component_by_component() -> None:
    rng = np.random.default_rng(8)
    Y = rng.random((20, 3)) @ rng.random((3, 60)) + 0.01 * rng.normal(size=(20, 60))
    maps = PerComponent([NonNegative(), Simplex(1), Chain(Soft(0.1), NonNegative())], dim=0)
    result = factorize(Y, n_components=3, spectra=Simplex(0), morphologies=maps, max_iter=60, tol=0)
    assert result.status is Status.MAX_ITER
    assert np.isfinite(result.history.objective).all()
    assert result.objective < 0.5 * result.provenance["objective_start"]
