import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from vermilion.errors import ParameterError
from vermilion.prox import L1Ball, L2Ball


def test_points_inside_stay():
    x = torch.tensor([[0.3, -0.4], [0.0, 0.2]])
    assert torch.equal(L1Ball(1.0)(x, 1.0), x)
    assert torch.equal(L2Ball(1.0)(x, 1.0), x)


def test_points_outside_by_hand():
    # L1: subtract (0.8 + 0.6 - 1) / 2 = 0.2 in size; L2: length 5
    torch.testing.assert_close(L1Ball(1.0)(torch.tensor([-0.8, 0.6, 0.1]), 1.0), torch.tensor([-0.6, 0.4, 0.0]))
    torch.testing.assert_close(L2Ball(2.0)(torch.tensor([3.0, -4.0]), 1.0), torch.tensor([1.2, -1.6]))


def test_the_nearest_point_of_the_diamond_agrees_with_a_general_optimizer():
    x = np.random.default_rng(1).normal(size=6)
    # y = p - q with p, q >= 0 makes the constraint smooth
    constraint = {"type": "ineq", "fun": lambda u: 1.5 - u.sum()}
    found = minimize(
        lambda u: ((u[:6] - u[6:] - x) ** 2).sum(), np.full(12, 0.1), bounds=[(0, None)] * 12, constraints=[constraint], tol=1e-13
    )
    np.testing.assert_allclose(L1Ball(1.5)(torch.as_tensor(x), 1.0).numpy(), found.x[:6] - found.x[6:], atol=1e-5)


@pytest.mark.parametrize("ball", [L1Ball, L2Ball])
def test_each_line_has_a_ball_of_its_own(ball):
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.stack([ball(0.7)(row, 1.0) for row in x])
    torch.testing.assert_close(ball(0.7, dim=1)(x, 1.0), rows)
    torch.testing.assert_close(ball(0.7, dim=0)(x.T, 1.0), rows.T)
    assert (ball(0.7, dim=0).couples, ball(0.7).couples) == ("component axis", "image")


@pytest.mark.parametrize("ball", [L1Ball, L2Ball])
def test_points_outside_the_ball_have_infinite_penalty(ball):
    assert float(ball(1.0).penalty(torch.tensor([0.0, -1.0]))) == 0
    assert float(ball(1.0).penalty(torch.tensor([0.1, -1.0]))) == math.inf
    assert float(ball(1.0, dim=0).penalty(torch.tensor([[0.9, 0.8]]))) == 0


@pytest.mark.parametrize("ball", [L1Ball, L2Ball])
@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_a_radius_that_is_not_positive_is_refused(ball, radius):
    with pytest.raises(ParameterError, match=r"radius is .*: expected a finite number > 0"):
        ball(radius)
