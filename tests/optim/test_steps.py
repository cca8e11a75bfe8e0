import itertools
import math

import pytest
import torch

from vermilion.models import Factorization
from vermilion.optim import PGM, Backtracking
from vermilion.optim.steps import Trial
from vermilion.prox import MaxEntropy, NonNegative, Soft


def factorization_problem(seed, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    A, S = torch.rand(20, 3, generator=generator) ** 2, torch.rand(3, 60, generator=generator) ** 3
    Y = (A @ S + 0.01 * torch.randn(20, 60, generator=generator)).to(dtype)
    model = Factorization.random(20, 60, 3, generator, dtype=dtype)
    with torch.no_grad():
        model.A *= scale
    return model, Y


def run(model, Y, optimizer, n):
    evaluations = 0

    def closure():
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = 0.5 * ((model() - Y) ** 2).sum()
        loss.backward()
        return loss

    objectives = []
    for _ in range(n):
        penalty = float(optimizer.penalty())
        objectives.append(float(optimizer.step(closure)) + penalty)
    return objectives, evaluations


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("scale", [1.0, 0.01, 30.0])
@pytest.mark.parametrize("prox", [NonNegative(), Soft(0.01), MaxEntropy(0.01)], ids=repr)
def test_without_a_number_the_objective_never_rises(prox, scale, momentum):
    model, Y = factorization_problem(1, scale)
    objectives, _ = run(
        model, Y, PGM([{"params": model.A, "prox": NonNegative()}, {"params": model.S, "prox": prox}], momentum=momentum), 80
    )
    finite = [value for value in objectives if math.isfinite(value)]
    assert len(finite) >= 79
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(finite))
    assert finite[-1] < 0.1 * finite[0]


def test_without_a_number_the_fit_is_as_good_as_with_the_analytic_steps():
    found = {}
    for name in ("searched", "analytic"):
        model, Y = factorization_problem(2)
        groups = model.blocks() if name == "analytic" else [{"params": p} for p in model.parameters()]
        objectives, _ = run(model, Y, PGM(groups, NonNegative(), lr=0.5 if name == "analytic" else None), 300)
        found[name] = objectives[-1]
    assert found["searched"] < 1.1 * found["analytic"]


def test_a_search_costs_little_more_than_two_evaluations_per_step():
    model, Y = factorization_problem(3)
    _, evaluations = run(model, Y, PGM([{"params": p} for p in model.parameters()], NonNegative()), 100)
    assert evaluations < 240


def test_single_precision_does_not_stall_in_rounding():
    model, Y = factorization_problem(4, dtype=torch.float32)
    optimizer = PGM([{"params": p} for p in model.parameters()], NonNegative())
    run(model, Y, optimizer, 400)
    assert all(1e-3 < group["factor"] < 1e3 for group in optimizer.param_groups)


def test_searching_needs_a_closure():
    x = torch.zeros(1, requires_grad=True)
    with pytest.raises(TypeError, match=r"PGM without lr searches its steps: call step\(closure\), or pass lr"):
        PGM([x]).step()


def test_a_linear_loss_does_not_lead_to_infinity_in_one_step():
    x = torch.ones(3, requires_grad=True)
    optimizer = PGM([x])

    def closure():
        optimizer.zero_grad()
        loss = x.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.isfinite(x).all()
    assert float(x.detach().norm()) < 20 * 3**0.5


def test_a_stationary_point_stays():
    x = torch.zeros(3, requires_grad=True)
    optimizer = PGM([x], Soft(1.0))

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_steps_do_not_grow_where_nothing_moves():
    x = torch.ones(3, requires_grad=True)
    optimizer = PGM([x], Soft(10.0))  # the slope of the penalty beats that of the loss: x reaches 0 and stays

    def closure():
        optimizer.zero_grad()
        loss = ((x - 1.5) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(200):
        optimizer.step(closure)
    assert x.tolist() == [0.0, 0.0, 0.0]
    assert optimizer.param_groups[0]["factor"] < 100


def test_a_loss_that_is_not_finite_moves_nothing():
    x = torch.ones(2, requires_grad=True)
    optimizer = PGM([x])

    def closure():
        optimizer.zero_grad()
        loss = (x * float("nan")).sum()
        loss.backward()
        return loss

    assert torch.isnan(optimizer.step(closure))
    assert x.tolist() == [1.0, 1.0]


def test_the_curvature_of_a_quadratic_is_found_from_losses_and_from_gradients():
    # f = 1/2 h x^2, from x = 0 with d = 1, step 1: slope 0, f rises by h / 2, the gradient by h, length 1
    h = 3.0
    from_losses = Trial(loss_before=1.0, loss_after=1.0 + h / 2, slope=0.0, twist=h, length=1.0, precision=1e-16)
    from_gradients = Trial(loss_before=1e9, loss_after=1e9, slope=0.0, twist=h, length=1.0, precision=1e-7)
    assert from_losses.curvature == pytest.approx(h)
    assert from_gradients.curvature == pytest.approx(h)
    assert Trial(1.0, math.nan, 0.0, 0.0, 1.0, 1e-7).curvature == math.inf


def test_backtracking_shrinks_after_a_violation_and_grows_after_a_success():
    rule, group = Backtracking(growth=1.5), {}
    rule.start(group, 4.0)
    assert rule.size(group) == 0.25
    assert not rule.accepts([group], Trial(0.0, 1.0, 0.0, 2.0, 1.0, 1e-16))
    assert rule.size(group) == pytest.approx(0.25 * 0.45)
    assert rule.accepts([group], Trial(0.0, 0.1, 0.0, 0.2, 1.0, 1e-16))
    assert rule.size(group) == pytest.approx(0.25 * 0.45 * 1.5)
