import itertools

import pytest
import torch

from vermilion.models import Factorization
from vermilion.optim import PALM, AdaptivePGM, GramLipschitz, TopCurvature
from vermilion.prox import NonNegative, Soft


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    A, S = torch.rand(10, 3, generator=generator, dtype=torch.float64), torch.rand(3, 30, generator=generator, dtype=torch.float64)
    return Factorization.random(10, 30, 3, generator, dtype=torch.float64), A @ S


def closure_of(model, Y, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = 0.5 * (model() - Y).square().sum()
        loss.backward()
        return loss

    return closure


def test_one_step_by_hand():
    # f = (x y - 4)^2 / 2 at x = 1, y = 2: df/dx = -2 * 2, curvature y^2 = 4, so x = 2; then x y = 4 and y stays
    x, y = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (1.0, 2.0))
    optimizer = PALM([{"params": x}, {"params": y}])

    def closure():
        optimizer.zero_grad()
        loss = 0.5 * (x * y - 4).square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == 2.0
    assert x.tolist() == pytest.approx([2.0], rel=1e-9)
    assert y.tolist() == pytest.approx([2.0], rel=1e-9)


def test_the_steps_of_the_model_give_the_iterates_of_the_formula():
    model, Y = problem()
    A, S = model.A.detach().clone(), model.S.detach().clone()
    optimizer = PALM(model.blocks())
    for _ in range(5):
        optimizer.step(closure_of(model, Y, optimizer))
        A = (A - (A @ S - Y) @ S.T / torch.linalg.matrix_norm(S @ S.T, 2)).clamp(min=0)
        S = (S - A.T @ (A @ S - Y) / torch.linalg.matrix_norm(A.T @ A, 2)).clamp(min=0)
    torch.testing.assert_close(model.A.detach(), A, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model.S.detach(), S, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", ["auto", "gram"])
def test_the_objective_never_rises(rule):
    model, Y = problem(1)
    groups = [{"params": [model.A], "prox": NonNegative()}, {"params": [model.S], "prox": Soft(0.05)}]
    if rule == "gram":
        groups[0]["step_rule"], groups[1]["step_rule"] = (
            GramLipschitz(lambda: model.S @ model.S.T),
            GramLipschitz(lambda: model.A.T @ model.A),
        )
    optimizer = PALM(groups)
    values = []
    for _ in range(150):
        optimizer.step(closure_of(model, Y, optimizer))
        with torch.no_grad():
            values.append(float(0.5 * (model() - Y).square().sum() + optimizer.penalty()))
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))
    assert values[-1] < 0.9 * values[0]


def test_a_given_step_costs_one_evaluation_per_block():
    model, Y = problem()
    optimizer = PALM([{"params": [model.A]}, {"params": [model.S]}], NonNegative(), lr=0.01)
    for _ in range(4):
        optimizer.step(closure_of(model, Y, optimizer))
    assert optimizer.gradient_evaluations == [4, 4]
    assert optimizer.objective_evaluations == 8


def test_lr_is_a_factor_of_a_rule():
    sizes = {}
    for lr in (None, 0.5):
        model, Y = problem()
        optimizer = PALM([model.A], lr=lr, step_rule=TopCurvature())
        optimizer.step(closure_of(model, Y, optimizer))
        sizes[lr] = optimizer.step_size(optimizer.param_groups[0])
    assert sizes[0.5] == pytest.approx(0.5 * sizes[None])


def test_a_step_into_nothing_is_taken_back_and_shortened():
    # the logarithm is not defined where the first step, far too long, leads
    x, y = (torch.tensor([1.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = PALM([{"params": x}, {"params": y}], lr=100.0)

    def closure():
        optimizer.zero_grad()
        loss = (x + y - torch.log(x * y)).sum() + x.square().sum()
        loss.backward()
        return loss

    for _ in range(30):
        loss = optimizer.step(closure)
        assert torch.isfinite(loss)
        assert torch.isfinite(x).all()
        assert torch.isfinite(y).all()


def test_rules_of_several_kinds_serve_one_fit():
    model, Y = problem()
    optimizer = PALM(
        [{"params": [model.A], "step_rule": AdaptivePGM()}, {"params": [model.S], "lr": 0.05, "step_rule": None}], NonNegative()
    )
    for _ in range(200):
        loss = optimizer.step(closure_of(model, Y, optimizer))
    assert float(loss) < 0.05
