import itertools
import math

import numpy as np
import proxmin
import pytest
import scipy.optimize
import torch

from vermilion.errors import ParameterError
from vermilion.likelihood import Poisson
from vermilion.optim import AdaProx, Backtracking
from vermilion.optim.adaprox import _minimize_model
from vermilion.prox import EXAMPLES, NonNegative, Simplex, Soft, as_prox


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def run(optimizer, loss, n):
    """Objectives before each of n steps, and the number of evaluations."""
    evaluations = 0

    def closure():
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    objectives = []
    for _ in range(n):
        penalty = float(optimizer.penalty())
        objectives.append(float(optimizer.step(closure)) + penalty)
    return objectives, evaluations


def unmixing(seed=0, B=20, N=30, K=3, scale=1.0, dtype=torch.float64):
    """Rows of A on the simplex, S non-negative, data with some noise."""
    A, S = Simplex(1)(draw(B, K, seed=seed), 0.0), draw(K, N, seed=seed + 1)
    Y = (scale * (A @ S + 0.01 * draw(B, N, seed=seed + 2))).to(dtype)
    A0 = Simplex(1)(draw(B, K, seed=seed + 3), 0.0).to(dtype).requires_grad_()
    S0 = (scale * draw(K, N, seed=seed + 4)).to(dtype).requires_grad_()
    groups = [{"params": [A0], "prox": Simplex(1)}, {"params": [S0], "prox": NonNegative()}]
    return groups, lambda: 0.5 * (A0 @ S0 - Y).square().sum(), (A0, S0)


def model_value(prox, z, x, mean, metric, size):
    d = z - x
    return float(prox.penalty(z)) + float((mean * d).sum()) + float((metric * d * d).sum()) / (2 * size)


def test_without_constraints_adam_is_that_of_torch():
    mine, theirs, target = draw(7).requires_grad_(), draw(7).requires_grad_(), draw(7, seed=1)
    a = AdaProx([mine], lr=0.05, eps=0.0, scheme="adam")
    b = torch.optim.Adam([theirs], lr=0.05, eps=0.0)
    for _ in range(50):
        run(a, lambda: (mine - target).pow(4).sum(), 1)
        b.zero_grad()
        (theirs - target).pow(4).sum().backward()
        b.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scheme", ["adam", "amsgrad"])
@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(NonNegative(), proxmin.operators.prox_plus), (Soft(0.3), lambda x, step: Soft(0.3)(torch.as_tensor(x), step).numpy())],
)
def test_with_an_operator_the_iterates_are_those_of_proxmin(scheme, mine, theirs):
    x, target = draw(9).requires_grad_(), 3 * draw(9, seed=1) - 1
    peer = x.detach().numpy().copy()
    run(AdaProx([x], mine, lr=0.02, eps=0.0, scheme=scheme), lambda: 0.5 * (x - target).square().sum(), 40)
    proxmin.adaprox(
        [peer],
        lambda x: (x - target.numpy(),),
        lambda x, it: (0.02,),
        prox=[theirs],
        scheme=scheme,
        eps=0.0,
        e_rel=1e-12,
        check_convergence=False,
        max_iter=40,
        prox_max_iter=5000,
        Vhat=[np.zeros(9)],
    )
    np.testing.assert_allclose(x.detach().numpy(), peer, rtol=1e-6, atol=1e-9)


def test_one_step_by_hand():
    # adam at its first step: mean = gradient = 4, psi = |gradient| = 4, so x goes from 1 by 0.5 * 4 / 4 to 0.5;
    # Soft(2) with the step 0.5 / 4 takes away another 2 * 0.125
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    run(AdaProx([x], Soft(2.0), lr=0.5, eps=0.0, scheme="adam"), lambda: 4 * x.sum(), 1)
    assert x.detach().tolist() == pytest.approx([0.25], rel=1e-12)


@pytest.mark.parametrize("prox", [pytest.param(p, id=repr(p)) for ps in EXAMPLES.values() for p in ps if p.exact and p.convex])
def test_every_convex_operator_minimizes_its_model_in_the_metric(prox):
    x, mean = prox(draw(6, 4), 1.0), draw(6, 4, seed=1) - 0.5
    metric, size = 0.05 + draw(6, 4, seed=2), 0.3
    z = _minimize_model(prox, x, mean, metric, size, 2000, 1e-12)
    best = model_value(prox, z, x, mean, metric, size)
    assert math.isfinite(best)
    for seed in range(20):
        for reach in (1e-1, 1e-3):
            # towards other feasible points: where g is convex the way there is feasible
            other = z + reach * (prox(draw(6, 4, seed=seed), 0.0) - z)
            assert model_value(prox, other, x, mean, metric, size) >= best - 1e-9


def test_the_closed_form_is_what_the_sub_iterations_find():
    x, mean, metric = draw(30), draw(30, seed=1) - 0.5, 0.1 + draw(30, seed=2)
    soft = Soft(0.4)
    found = [_minimize_model(prox, x, mean, metric, 0.5, 5000, 1e-13) for prox in (soft, as_prox(lambda x, step: soft(x, step)))]
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-10)


def test_a_projection_on_the_simplex_in_the_metric_by_hand():
    # minimize 1 (z1 - 1)^2 + 3 (z2 - 1)^2 on z1 + z2 = 1: z1 - 1 = 3 (z2 - 1), so z = (1/4, 3/4)
    x, metric = torch.tensor([1.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 3.0], dtype=torch.float64)
    z = _minimize_model(Simplex(0), x, torch.zeros(2, dtype=torch.float64), metric, 1.0, 1000, 1e-12)
    assert z.tolist() == pytest.approx([0.25, 0.75], abs=1e-9)


def test_a_stationary_point_stays_however_few_sub_iterations_are_made():
    x = torch.tensor([0.25, 0.75], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    for options in ({}, {"lr": 0.1}):
        optimizer = AdaProx([x], Simplex(0), prox_max_iter=1, **options)
        run(optimizer, lambda: 0.5 * (weight * (x - 1).square()).sum(), 20)
        assert x.detach().tolist() == pytest.approx([0.25, 0.75], abs=1e-12)


@pytest.mark.parametrize("scheme", ["adam", "amsgrad"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_number_the_objective_never_rises_and_parameters_are_feasible(scheme, dtype):
    groups, loss, _ = unmixing(dtype=dtype)
    optimizer = AdaProx(groups, scheme=scheme)
    objectives = []
    for _ in range(60):
        objectives += run(optimizer, loss, 1)[0]
        assert float(optimizer.penalty()) == 0
    slack = 10 * torch.finfo(dtype).eps
    assert all(b <= a * (1 + slack) for a, b in itertools.pairwise(objectives))
    assert objectives[-1] < 0.05 * objectives[0]


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_unit_of_the_loss_does_not_matter(scale, dtype):
    found = []
    for factor in (1.0, scale):
        groups, loss, parameters = unmixing(dtype=dtype)
        run(AdaProx(groups), lambda loss=loss, factor=factor: factor * loss(), 10)
        found.append(parameters[1].detach())
    torch.testing.assert_close(*found, rtol=1e-2 if dtype == torch.float32 else 1e-7, atol=0.0 if dtype == torch.float64 else 1e-3)


def test_a_search_costs_one_evaluation_per_attempt():
    groups, loss, _ = unmixing()
    optimizer = AdaProx(groups)
    _, evaluations = run(optimizer, loss, 100)
    assert 101 <= evaluations < 125
    assert optimizer.objective_evaluations == evaluations


@pytest.mark.parametrize("start", [1e-12, 1e-3, 1.0, 1e3])
def test_any_size_of_the_start_leads_to_a_lasso_solution(start):
    X, y = draw(40, 8) - 0.5, draw(40, seed=1)
    x = (start * draw(8, seed=2)).requires_grad_()
    run(AdaProx([x], Soft(0.3)), lambda: 0.5 * (X @ x - y).square().sum(), 600)
    with torch.no_grad():
        gradient = X.T @ (X @ x - y)
        away = x - Soft(0.3)(x - gradient, 1.0)
    assert float(away.norm()) < 1e-6


def test_a_start_at_zero_is_left():
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    run(AdaProx([x], NonNegative()), lambda: 0.5 * (x - torch.tensor([100.0, 1e-3, -5.0])).square().sum(), 300)
    assert x.detach().tolist() == pytest.approx([100.0, 1e-3, 0.0], abs=1e-5)


def test_parameters_changed_from_outside_are_looked_at_again():
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = AdaProx([x])
    run(optimizer, lambda: x.square().sum(), 3)
    with torch.no_grad():
        x.fill_(3.0)
    assert run(optimizer, lambda: x.square().sum(), 1)[0] == [18.0]


def test_sparse_counts_are_fitted_as_well_as_by_scipy():
    B, N, K = 12, 40, 2
    rate = draw(B, K) ** 3 @ draw(K, N, seed=1) ** 4
    Y = torch.poisson(rate * (0.3 / rate.mean()), generator=torch.Generator().manual_seed(0))
    A, S = draw(B, K, seed=2), 0.3 * draw(K, N, seed=3)
    likelihood, ones = Poisson(background=0.01), torch.ones_like(Y)
    optimizer = AdaProx([{"params": [A.requires_grad_()]}, {"params": [S.requires_grad_()]}], NonNegative())
    objectives, _ = run(optimizer, lambda: likelihood(A @ S, Y, ones), 800)

    def polish(vector):
        a, s = (torch.tensor(v, requires_grad=True) for v in (vector[: B * K].reshape(B, K), vector[B * K :].reshape(K, N)))
        value = likelihood(a @ s, Y, ones)
        value.backward()
        return float(value.detach()), np.concatenate([a.grad.numpy().ravel(), s.grad.numpy().ravel()])

    end = torch.cat([A.detach().ravel(), S.detach().ravel()]).numpy()
    best = scipy.optimize.minimize(polish, end, jac=True, method="L-BFGS-B", bounds=[(0, None)] * end.size, options={"ftol": 1e-14})
    assert objectives[-1] < best.fun * (1 + 1e-4)


def test_a_loss_that_is_not_finite_moves_nothing():
    for options in ({}, {"lr": 0.1}):
        x = torch.ones(2, requires_grad=True)
        objectives, _ = run(AdaProx([x], **options), lambda x=x: (x * math.nan).sum(), 2)
        assert all(math.isnan(value) for value in objectives)
        assert x.tolist() == [1.0, 1.0]


def test_a_step_into_the_undefined_is_taken_back():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    objectives, _ = run(AdaProx([x]), lambda: (x - x.log() + 0 * (0.9 - (x - 0.4)).log()).sum(), 100)
    assert all(math.isfinite(value) for value in objectives)
    assert x.detach().tolist() == pytest.approx([1.0], abs=1e-6)


def test_a_function_gives_the_step():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    run(AdaProx([x], eps=0.0, scheme="adam", step_rule=lambda: 0.25), lambda: 3 * x.sum(), 1)
    assert x.detach().tolist() == pytest.approx([0.75], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"scheme": "sgd"}, ParameterError, "scheme is 'sgd': expected 'amsgrad' or 'adam'"),
        ({"betas": (1.0, 0.9)}, ParameterError, r"betas\[0\] is 1: expected a number in \[0, 1\)"),
        ({"betas": (0.9, -0.1)}, ParameterError, r"betas\[1\] is -0.1"),
        ({"eps": -1.0}, ParameterError, "eps is -1"),
        ({"prox_tol": math.nan}, ParameterError, "prox_tol is nan"),
        ({"prox_max_iter": 0}, ParameterError, "prox_max_iter is 0: expected a finite number >= 1"),
        ({"lr": -1.0}, ParameterError, "lr is -1"),
        ({"step_rule": Backtracking()}, TypeError, "AdaProx expects 'auto' or a function"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_options_out_of_range_are_named(options, error, text):
    with pytest.raises(error, match=text):
        AdaProx([torch.ones(1, requires_grad=True)], **options)


def test_a_given_step_in_one_group_goes_with_a_searched_one_in_the_other():
    groups, loss, _ = unmixing()
    optimizer = AdaProx([groups[0], {**groups[1], "lr": 0.01}])
    objectives, _ = run(optimizer, loss, 100)
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(objectives))
    assert objectives[-1] < 0.5 * objectives[0]
    assert optimizer.param_groups[1]["factor"] <= 1
