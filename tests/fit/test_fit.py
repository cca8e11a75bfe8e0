import io
import math
import sys

import numpy as np
import pytest
import torch

import vermilion
from vermilion.datamodels import Status
from vermilion.errors import NoDataError, ParameterError
from vermilion.fit import RelativeDecrease, fit
from vermilion.likelihood import Gaussian
from vermilion.models import Factorization
from vermilion.observation import Observation
from vermilion.optim import PGM
from vermilion.prox import NonNegative, Simplex, Soft


def problem(seed=0, B=8, N=20, K=2):
    generator = torch.Generator().manual_seed(seed)
    A, S = torch.rand(B, K, generator=generator, dtype=torch.float64), torch.rand(K, N, generator=generator, dtype=torch.float64)
    W = 0.5 + torch.rand(B, N, generator=generator, dtype=torch.float64)
    Y = A @ S + 0.01 * torch.randn(B, N, generator=generator, dtype=torch.float64)
    return Factorization.random(B, N, K, generator, dtype=torch.float64), Y, W


def objective(result, Y, W, penalty=0.0):
    residual = Y.numpy() - result.spectra @ result.morphologies
    return 0.5 * float((W.numpy() * residual**2).sum()) + penalty


def test_the_function_is_reached_from_the_package():
    assert vermilion.fit is fit


def test_rank_one_is_found_exactly():
    model = Factorization(torch.ones(2, 1, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64))
    result = fit(model, np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]), stop=RelativeDecrease(1e-12), max_iter=2000)
    assert result.status is Status.CONVERGED
    np.testing.assert_allclose(result.model, [[1, 2, 3], [2, 4, 6]], atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.5),
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.LBFGS(p, max_iter=3),
        lambda p: PGM(p, NonNegative(), lr=0.01),
        lambda p: PGM(p, NonNegative(), momentum=0.8),
    ],
    ids=["SGD", "Adam", "LBFGS", "PGM", "PGM searched"],
)
def test_every_torch_optimizer_lowers_the_objective(make):
    model, Y, W = problem()
    result = fit(model, (Y, W), make(model.parameters()), stop=RelativeDecrease(0), max_iter=60)
    assert result.status is Status.MAX_ITER
    assert len(result.history) == 60
    assert result.history.objective[-1] < 0.5 * result.history.objective[0]
    assert result.objective == pytest.approx(objective(result, Y, W), rel=1e-12)
    assert (result.spectra_error, result.frame) == (None, None)


def test_the_history_holds_the_whole_objective_of_every_iteration():
    model, Y, W = problem()
    states = []
    optimizer = PGM([{"params": model.A, "prox": Simplex(0)}, {"params": model.S, "prox": Soft(0.3)}], lr=0.01)
    optimizer.register_step_post_hook(lambda *_: states.append((model.A.detach().clone(), model.S.detach().clone())))
    result = fit(model, (Y, W), optimizer, stop=RelativeDecrease(0), max_iter=15)
    expected = [float(Gaussian()(A @ S, Y, W) + 0.3 * S.abs().sum()) for A, S in states]
    np.testing.assert_allclose(result.history.objective, expected, rtol=1e-12)


def test_the_costs_are_counted():
    model, Y, W = problem()
    result = fit(model, (Y, W), PGM(model.parameters(), NonNegative(), lr=0.01), stop=RelativeDecrease(0), max_iter=7)
    assert result.history.blocks == ("A", "S")
    assert result.history.gradient_evaluations.tolist() == [[n, n] for n in range(1, 8)]
    assert (np.diff(result.history.seconds) > 0).all()
    searched = fit(model, (Y, W), PGM(model.parameters(), NonNegative()), stop=RelativeDecrease(0), max_iter=7)
    assert searched.history.gradient_evaluations[-1, 0] >= 14


@pytest.mark.parametrize("max_iter", [1, 10, 23])
@pytest.mark.parametrize("check_every", [1, 5, 100])
def test_no_tolerance_runs_exactly_the_iterations_asked_for(max_iter, check_every):
    reference, Y, W = problem()
    optimizer = PGM(reference.parameters(), NonNegative(), lr=0.01)
    for _ in range(max_iter):
        optimizer.zero_grad()
        Gaussian()(reference(), Y, W).backward()
        optimizer.step()
    model, _, _ = problem()
    result = fit(
        model, (Y, W), PGM(model.parameters(), NonNegative(), lr=0.01), stop=RelativeDecrease(0), max_iter=max_iter, check_every=check_every
    )
    assert len(result.history) == max_iter
    assert result.status is Status.MAX_ITER
    np.testing.assert_array_equal(result.spectra, reference.A.detach().numpy())


def test_the_stop_rule_is_asked_at_every_check_only():
    lengths = []

    def rule(history):
        lengths.append(len(history))

    model, Y, W = problem()
    fit(model, (Y, W), stop=rule, max_iter=20, check_every=6)
    assert lengths == [6, 12, 18]


def test_the_default_ends_by_itself():
    model, Y, W = problem()
    result = fit(model, (Y, W), max_iter=3000)
    assert result.status is Status.CONVERGED
    objectives = result.history.objective
    assert abs(objectives[-2] - objectives[-12]) <= 1e-5 * objectives[-12]
    assert (result.spectra >= 0).all()


def test_a_callback_stops_the_fit_with_true_only():
    model, Y, W = problem()
    seen = []

    def callback(model, history):
        seen.append(len(history))
        return len(history) == 4

    result = fit(model, (Y, W), callbacks=[callback, lambda model, history: "not True"], max_iter=50)
    assert result.status is Status.STOPPED
    assert seen == [1, 2, 3, 4]
    assert result.objective == pytest.approx(objective(result, Y, W), rel=1e-12)


@pytest.mark.parametrize("moment", [1, 2, 9, 30])
def test_an_interrupt_leaves_the_last_good_state(moment):
    model, Y, W = problem()
    calls = 0

    class Interrupting(Gaussian):
        def __call__(self, prediction, data, weights):
            nonlocal calls
            calls += 1
            if calls == moment:
                with torch.no_grad():
                    model.A.fill_(-1.0)  # half of an update is done
                raise KeyboardInterrupt
            return super().__call__(prediction, data, weights)

    with torch.no_grad():
        model.S[0, 0] = -1.0
    result = fit(model, (Y, W), PGM(model.parameters(), NonNegative(), lr=0.02), likelihood=Interrupting(), max_iter=100)
    assert result.status is Status.STOPPED
    assert len(result.history) == max(moment - 2, 0)
    assert (result.spectra >= 0).all()
    assert (result.morphologies >= 0).all()
    np.testing.assert_array_equal(result.spectra, model.A.detach().numpy())
    if len(result.history):
        assert result.objective == pytest.approx(objective(result, Y, W), rel=1e-12)


@pytest.mark.parametrize("check_every", [1, 4])
def test_a_divergent_fit_returns_the_last_finite_state(check_every):
    model, Y, W = problem()
    result = fit(model, (Y, W), torch.optim.SGD(model.parameters(), lr=1.0), max_iter=100, check_every=check_every)
    assert result.status is Status.NONFINITE
    assert np.isfinite(result.spectra).all()
    assert np.isfinite(result.morphologies).all()
    assert np.isfinite(result.history.objective).all()
    assert len(result.history) < 100


def test_a_start_that_is_not_finite_says_so():
    model = Factorization(torch.full((2, 1), math.nan), torch.ones(1, 3))
    result = fit(model, np.ones((2, 3)), max_iter=10)
    assert result.status is Status.NONFINITE
    assert len(result.history) == 0


def test_data_without_weight_do_not_matter():
    _, Y, W = problem()
    W[:, :3] = 0
    spoiled = Y.clone()
    spoiled[:, :3] = math.nan
    results = [fit(problem()[0], (data, W), max_iter=30) for data in (Y, spoiled)]
    np.testing.assert_array_equal(results[0].spectra, results[1].spectra)


def test_several_observations_are_fitted_together():
    _, Y, W = problem()
    halves = [Observation(2 * Y[:4], W[:4], lambda cube: 2 * cube[:4]), Observation(Y[4:], W[4:], lambda cube: cube[4:])]
    together = fit(problem()[0], halves, stop=RelativeDecrease(0), max_iter=40)
    weights = torch.cat([4 * W[:4], W[4:]])
    single = fit(problem()[0], (Y, weights), stop=RelativeDecrease(0), max_iter=40)
    np.testing.assert_allclose(together.spectra, single.spectra, rtol=1e-6)


def test_the_same_fit_twice_gives_the_same_bytes():
    results = [fit(model, (Y, W), max_iter=50) for model, Y, W in (problem(), problem())]
    assert results[0].spectra.tobytes() == results[1].spectra.tobytes()


def test_the_result_does_not_change_with_the_model():
    model, Y, W = problem()
    result = fit(model, (Y, W), max_iter=5)
    before = result.spectra.copy()
    with torch.no_grad():
        model.A.zero_()
    np.testing.assert_array_equal(result.spectra, before)


@pytest.mark.parametrize(("name", "value"), [("max_iter", 0), ("max_iter", 2.5), ("max_iter", True), ("check_every", 0)])
def test_iteration_counts_are_checked(name, value):
    model, Y, _ = problem()
    with pytest.raises(ParameterError, match=f"{name} is {value}: expected an integer >= 1"):
        fit(model, Y, **{name: value})


def test_there_must_be_something_to_fit():
    model, Y, _ = problem()
    with pytest.raises(NoDataError, match="every weight is 0"):
        fit(model, (Y, torch.zeros_like(Y)))
    with pytest.raises(ParameterError, match="nothing to fit"):
        fit(model.requires_grad_(False), Y)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "progress", "shown"), [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)])
def test_a_bar_is_drawn_on_a_terminal_if_wanted(monkeypatch, capsys, stream, progress, shown):
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    model, Y, W = problem()
    fit(model, (Y, W), stop=RelativeDecrease(0), max_iter=5, progress=progress)
    assert ("objective" in stderr.getvalue()) is shown
    assert capsys.readouterr().out == ""
