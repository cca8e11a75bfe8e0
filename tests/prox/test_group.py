import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from vermilion.prox import GroupL21, Soft


def test_a_group_of_one_is_soft_thresholding():
    x = torch.randn(1, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(GroupL21(0.4, dim=0)(x, 0.5), Soft(0.4)(x, 0.5))


def test_a_group_keeps_its_direction_and_loses_length():
    # length 5, minus weight step = 2
    y = GroupL21(4.0, dim=1)(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), 0.5)
    torch.testing.assert_close(y, torch.tensor([[1.8, 2.4], [0.0, 0.0]]))


def test_group_shrinkage_agrees_with_a_general_optimizer():
    x = np.random.default_rng(3).normal(size=(5, 2)) * 2
    found = minimize(lambda y: 0.8 * np.hypot(*y.reshape(5, 2).T).sum() + 0.5 * ((y - x.ravel()) ** 2).sum(), x.ravel() * 0.5, tol=1e-12)
    y = GroupL21(0.8, dim=1)(torch.as_tensor(x), 1.0)
    np.testing.assert_allclose(y.numpy().ravel(), found.x, atol=2e-4)
    assert float(GroupL21(0.8, dim=1).penalty(y)) + 0.5 * ((y.numpy() - x) ** 2).sum() <= found.fun + 1e-12


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_lengths_are_right_beyond_the_squares_of_float32(size):
    y = GroupL21(size, dim=0)(torch.tensor([3.0, 4.0]) * size, 1.0)
    torch.testing.assert_close(y / size, torch.tensor([2.4, 3.2]))


def test_groups_may_have_weights_and_steps_of_their_own():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight, step = torch.tensor([[0.1], [0.5], [2.0]]), torch.tensor([[1.0], [0.2], [0.4]])
    y = GroupL21(weight, dim=1)(x, step)
    for k in range(3):
        torch.testing.assert_close(y[k], GroupL21(float(weight[k]), dim=0)(x[k], float(step[k])))
    penalty = sum(float(w) * float(row.norm()) for w, row in zip(weight, x, strict=True))
    assert float(GroupL21(weight, dim=1).penalty(x)) == pytest.approx(penalty, rel=1e-6)
