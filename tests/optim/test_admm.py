import math

import numpy as np
import pytest
import scipy.optimize
import torch

from vermilion.errors import ParameterError
from vermilion.optim import ADMM, GramLipschitz
from vermilion.optim.admm import Constraint
from vermilion.prox import NonNegative, Simplex, Soft


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def run(optimizer, loss, n):
    """Loss before each of n steps."""

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return [float(optimizer.step(closure)) for _ in range(n)]


def settled(optimizer, tol):
    return all(residual.primal < tol and residual.dual < tol for residual in optimizer.residuals())


def steps_in_noise(n=40, scale=1.0):
    """Data of a total variation problem, its weight, and its solution from the dual by a solver of bounded least squares."""
    b = (np.repeat([0.0, 3.0, 1.0, 4.0], n // 4) + np.random.default_rng(0).normal(size=n) * 0.5) * scale
    D, weight = np.diff(np.eye(n), axis=0), 1.5 * scale
    dual = scipy.optimize.lsq_linear(D.T / scale, b / scale, bounds=(-1.5 * scale, 1.5 * scale), tol=1e-14, max_iter=1000).x
    return torch.tensor(b), torch.tensor(D), weight, torch.tensor(b - D.T @ dual)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("form", ["matrix", "pair", "array"])
def test_total_variation_through_a_difference_operator(form, scale):
    b, D, weight, expected = steps_in_noise(scale=scale)
    L = {"matrix": D, "array": D.numpy(), "pair": (torch.diff, lambda y: D.T @ y)}[form]
    x = b.clone().requires_grad_()  # there the gradient vanishes, and only the constraint pulls
    optimizer = ADMM([x], constraints=[(Soft(weight), L)])
    run(optimizer, lambda: 0.5 * (x - b).square().sum(), 250)
    torch.testing.assert_close(x.detach() / scale, expected / scale, rtol=0, atol=1e-4)
    assert settled(optimizer, 1e-4)


def test_two_constraints_meet_in_their_intersection():
    # nearest to (3, -1, 1) with entries >= 0, sum 1 and x1 = x3: minimize over (t, 1 - 2t, t): t = 1/2 at the bound 1 - 2t = 0
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([3.0, -1.0, 1.0], dtype=torch.float64)
    equal = (lambda y, step: torch.zeros_like(y), torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64))
    optimizer = ADMM([x], NonNegative(), constraints=[(Simplex(0), None), equal])
    run(optimizer, lambda: 0.5 * (x - target).square().sum(), 300)
    assert x.detach().tolist() == pytest.approx([0.5, 0.0, 0.5], abs=1e-5)
    assert len(optimizer.residuals()) == 2
    assert settled(optimizer, 1e-4)


def test_a_regression_in_an_orthant_seen_through_a_map_agrees_with_scipy():
    X, y, T = draw(30, 5) - 0.5, draw(30, seed=1), torch.linalg.qr(draw(5, 5, seed=2))[0]
    # T x >= 0 with T orthogonal: non-negative least squares in T x
    expected = T.T @ torch.tensor(scipy.optimize.nnls((X @ T.T).numpy(), y.numpy())[0])
    x = draw(5, seed=3).requires_grad_()
    optimizer = ADMM([x], constraints=[(NonNegative(), T)])
    run(optimizer, lambda: 0.5 * (X @ x - y).square().sum(), 400)
    torch.testing.assert_close(x.detach(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_a_factorization_stay_feasible_for_their_own_operator_and_reach_the_other(dtype):
    Y = (Simplex(1)(draw(20, 3), 0.0) @ draw(3, 30, seed=1)).to(dtype)
    A, S = draw(20, 3, seed=2, dtype=dtype).requires_grad_(), draw(3, 30, seed=3, dtype=dtype).requires_grad_()
    optimizer = ADMM([{"params": [A], "prox": NonNegative(), "constraints": [Simplex(1)]}, {"params": [S], "prox": NonNegative()}])
    losses = []
    for _ in range(150):
        losses += run(optimizer, lambda: 0.5 * (A @ S - Y).square().sum(), 1)
        assert (A >= 0).all()
        assert (S >= 0).all()
    assert losses[-1] < 1e-2 * losses[0]
    assert float((A.detach().sum(1) - 1).abs().max()) < 1e-2
    assert optimizer.residuals()[0].primal < 1e-2


def test_without_constraints_it_is_the_proximal_gradient_method_block_by_block():
    Y, A, S = draw(6, 8), draw(6, 2, seed=1).requires_grad_(), draw(2, 8, seed=2).requires_grad_()
    optimizer = ADMM([{"params": [A], "lr": 0.02}, {"params": [S], "lr": 0.05}], NonNegative())
    a, s = A.detach().clone(), S.detach().clone()
    run(optimizer, lambda: 0.5 * (A @ S - Y).square().sum(), 3)
    for _ in range(3):
        a = (a - 0.02 * (a @ s - Y) @ s.T).clamp(min=0)
        s = (s - 0.05 * a.T @ (a @ s - Y)).clamp(min=0)
    torch.testing.assert_close(A.detach(), a, rtol=1e-12, atol=0)
    torch.testing.assert_close(S.detach(), s, rtol=1e-12, atol=0)
    assert optimizer.residuals() == []
    assert optimizer.objective_evaluations == 6


def test_a_rule_of_the_model_may_give_the_steps():
    Y, A, S = draw(6, 8), draw(6, 2, seed=1).requires_grad_(), draw(2, 8, seed=2).requires_grad_()
    groups = [
        {"params": [A], "step_rule": GramLipschitz(lambda: S @ S.T)},
        {"params": [S], "step_rule": GramLipschitz(lambda: A.T @ A), "constraints": [Simplex(0)]},
    ]
    optimizer = ADMM(groups, NonNegative())
    losses = run(optimizer, lambda: 0.5 * (A @ S - Y).square().sum(), 200)
    assert losses[-1] < losses[0]
    assert optimizer.residuals()[0].primal < 1e-2


def test_the_penalty_includes_what_acts_through_maps():
    x = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = ADMM([x], Soft(1.0), constraints=[(Soft(10.0), torch.tensor([[1.0, -1.0]]))])
    assert float(optimizer.penalty()) == 4 + 20
    held = ADMM([x], constraints=[Simplex(0)])
    assert float(held.penalty()) == math.inf
    run(held, lambda: x.square().sum(), 1)
    assert float(held.penalty()) == 0


def test_before_the_first_step_nothing_is_known_of_the_residuals():
    x = torch.ones(2, requires_grad=True)
    assert ADMM([x], constraints=[Simplex(0), NonNegative()]).residuals() == [(math.inf, math.inf)] * 2


@pytest.mark.parametrize(
    "L", [None, draw(7, 4), torch.diff(torch.eye(60, dtype=torch.float64), dim=0)], ids=["identity", "matrix", "differences"]
)
def test_the_norm_of_a_map_is_a_close_upper_bound(L):
    constraint = Constraint(NonNegative(), L)
    found = constraint.squared_norm(draw(4 if L is None else L.shape[1], 2))
    truth = 1.0 if L is None else float(torch.linalg.matrix_norm(L, 2)) ** 2
    assert truth * (1 - 1e-12) <= found <= 1.1 * truth * (1 + 1e-12)


def test_a_map_that_is_not_the_adjoint_is_named():
    x = torch.ones(4, dtype=torch.float64, requires_grad=True)
    optimizer = ADMM([x], constraints=[(Soft(1.0), (lambda x: 2 * x, lambda y: 3 * y))])
    with pytest.raises(ParameterError, match=r"expected equal numbers; the second map is not the adjoint"):
        run(optimizer, lambda: x.square().sum(), 1)


@pytest.mark.parametrize("L", [3, "blur", torch.ones(3), (torch.diff,), (torch.diff, 3)], ids=repr)
def test_what_is_no_map_is_refused(L):
    with pytest.raises(TypeError, match="expected a matrix, None, or a pair of callables"):
        ADMM([torch.ones(2, requires_grad=True)], constraints=[(Soft(1.0), L)])


def test_a_loss_that_is_not_finite_moves_nothing():
    x = torch.ones(2, requires_grad=True)
    assert math.isnan(run(ADMM([x], constraints=[Simplex(0)]), lambda: (x * math.nan).sum(), 1)[0])
    assert x.tolist() == [1.0, 1.0]


def test_copies_and_multipliers_go_through_the_state():
    b, D, weight, _ = steps_in_noise()
    x, y = b.clone().requires_grad_(), b.clone().requires_grad_()
    one, other = (ADMM([p], constraints=[(Soft(weight), D)]) for p in (x, y))
    run(one, lambda: 0.5 * (x - b).square().sum(), 20)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        y.copy_(x)
    run(one, lambda: 0.5 * (x - b).square().sum(), 20)
    run(other, lambda: 0.5 * (y - b).square().sum(), 20)
    assert torch.equal(x, y)
    assert one.residuals() == other.residuals()
