import itertools
import math

import numpy as np
import pytest
import torch

from vermilion.datamodels import History, Status
from vermilion.errors import ParameterError
from vermilion.fit import RelativeDecrease, Stationarity, fit
from vermilion.models import Factorization
from vermilion.optim import PGM, InertialPALM
from vermilion.prox import NonNegative, Simplex


def problem(seed=0, B=8, N=20, K=2):
    generator = torch.Generator().manual_seed(seed)
    A, S = torch.rand(B, K, generator=generator, dtype=torch.float64), torch.rand(K, N, generator=generator, dtype=torch.float64)
    Y = A @ S + 0.05 * torch.randn(B, N, generator=generator, dtype=torch.float64)
    return Factorization.random(B, N, K, generator, dtype=torch.float64), Y


def blocks(model):
    return [{"params": [model.A], "prox": Simplex(0)}, {"params": [model.S], "prox": NonNegative()}]


def test_the_certificate_is_the_ratio_of_prox_gradients():
    model, Y = problem()
    with torch.no_grad():
        model.A.copy_(Simplex(0)(model.A, 1.0))
    start = model.A.detach().clone(), model.S.detach().clone()
    lr = 0.05
    result = fit(model, Y, PGM(blocks(model), lr=lr), stop=RelativeDecrease(0), max_iter=9)

    def norms(A, S):
        moved = Simplex(0)(A - lr * (A @ S - Y) @ S.T, lr), (S - lr * A.T @ (A @ S - Y)).clamp(min=0)
        return [float((x - y).norm()) / lr for x, y in zip((A, S), moved, strict=True)]

    end = torch.as_tensor(result.spectra), torch.as_tensor(result.morphologies)
    expected = [now / before for now, before in zip(norms(*end), norms(*start), strict=True)]
    assert list(result.provenance["stationarity"]) == ["A", "S"]
    np.testing.assert_allclose(list(result.provenance["stationarity"].values()), expected, rtol=1e-10)


def test_without_operators_it_is_the_ratio_of_gradients():
    model, Y = problem()
    result = fit(model, Y, torch.optim.SGD(model.parameters(), lr=0.01), stop=RelativeDecrease(0), max_iter=50)
    assert list(result.provenance["stationarity"]) == ["A+S"]
    assert 0 < result.provenance["stationarity"]["A+S"] < 0.5


def test_a_fit_stops_where_it_is_stationary():
    model, Y = problem()
    result = fit(model, Y, InertialPALM(blocks(model)), stop=Stationarity(1e-6), max_iter=3000)
    assert result.status is Status.CONVERGED
    assert len(result.history) < 3000
    assert max(result.provenance["stationarity"].values()) <= 2e-6
    looser = fit(problem()[0], Y, stop=Stationarity(1e-2), max_iter=3000)
    assert looser.status is Status.CONVERGED


def test_looking_is_counted():
    counts = []
    for stop in (RelativeDecrease(0), Stationarity(1e-300, every=2)):
        model, Y = problem()
        result = fit(model, Y, PGM(model.parameters(), NonNegative(), lr=0.01), stop=stop, max_iter=8)
        counts.append(result.history.gradient_evaluations[-1].tolist())
    # after 2, 4 and 6 iterations; the last state is written down when the fit has ended
    assert counts == [[8, 8], [11, 11]]


def test_a_tolerance_of_zero_never_stops_and_nan_is_no_convergence():
    history = History()
    for _ in range(10):
        history.append(objective=1.0, gradient_evaluations=(1, 1))
    assert Stationarity(0)(history, lambda: [0.0]) is None
    assert Stationarity(1e-3)(history, lambda: [math.nan]) is None
    assert Stationarity(1e-3)(history, lambda: [1e-4, 2e-3]) is None
    assert Stationarity(1e-3)(history, lambda: [1e-4, 1e-3]) is Status.CONVERGED
    assert Stationarity(1e-3, every=3)(history, lambda: [0.0]) is None


def test_numbers_out_of_range_are_refused():
    for tol in (-1.0, math.nan):
        with pytest.raises(ParameterError, match="tol is"):
            Stationarity(tol)
    with pytest.raises(ParameterError, match="every is 0"):
        Stationarity(1e-3, every=0)


def test_the_evaluations_of_every_block_are_in_the_history():
    model, Y = problem()
    optimizer = InertialPALM(blocks(model))
    result = fit(model, Y, optimizer, stop=RelativeDecrease(0), max_iter=12)
    assert result.history.gradient_evaluations[-1].tolist() == optimizer.gradient_evaluations
    assert (np.diff(result.history.gradient_evaluations, axis=0) >= 1).all()


def test_a_fit_that_runs_away_says_so_and_returns_a_good_state():
    # gradient steps three times too long on a quadratic: the loss grows by a constant factor in each
    model, Y = problem()
    model.S.requires_grad_(False)
    step = 3 / float(torch.linalg.eigvalsh(model.S @ model.S.T)[-1])
    result = fit(model, Y, torch.optim.SGD([model.A], lr=step), stop=RelativeDecrease(0), max_iter=500)
    assert result.status is Status.DIVERGED
    assert len(result.history) < 500
    objectives = result.history.objective
    assert all(b > a for a, b in itertools.pairwise(objectives[-5:]))
    loss = 0.5 * float(((torch.as_tensor(result.model) - Y) ** 2).sum())
    assert loss < 1e-3 * objectives[-1]
