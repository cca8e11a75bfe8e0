import pytest
import torch

from vermilion.likelihood import Gaussian


def test_the_value_is_half_the_weighted_sum_of_squares():
    # 1/2 (2 (1-3)^2 + 0.5 (2-0)^2) = 5
    value = Gaussian()(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0]), torch.tensor([2.0, 0.5]))
    assert float(value) == 5.0


def test_the_gradient_is_weight_times_residual():
    generator = torch.Generator().manual_seed(0)
    m, y, w = (torch.rand(4, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    m.requires_grad_()
    Gaussian()(m, y, w).backward()
    torch.testing.assert_close(m.grad, (w * (m - y)).detach())
    assert torch.autograd.gradcheck(lambda m: Gaussian()(m, y, w), (m,))


@pytest.mark.parametrize("absent", [float("nan"), float("inf"), 1e38])
def test_data_without_weight_are_not_seen(absent):
    prediction = torch.tensor([1.0, 2.0], requires_grad=True)
    value = Gaussian()(prediction, torch.tensor([0.0, absent]), torch.tensor([1.0, 0.0]))
    value.backward()
    assert float(value.detach()) == 0.5
    assert prediction.grad.tolist() == [1.0, 0.0]


def test_a_prediction_without_weight_may_be_nan():
    prediction = torch.tensor([1.0, float("nan")], requires_grad=True)
    Gaussian()(prediction, torch.zeros(2), torch.tensor([1.0, 0.0])).backward()
    assert prediction.grad.tolist() == [1.0, 0.0]


def test_the_curvature_is_the_second_derivative():
    m, y, w = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda m: Gaussian()(m, y, w), m)
    torch.testing.assert_close(Gaussian().curvature(m, y, w), hessian.diagonal())
