import math

import pytest
import scipy.stats
import torch

from vermilion.errors import ParameterError
from vermilion.likelihood import Poisson


def test_differences_are_those_of_the_log_probability():
    generator = torch.Generator().manual_seed(0)
    a, b = (0.1 + 4 * torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(2))
    y, ones = torch.poisson(2 * torch.ones(50, dtype=torch.float64), generator=generator), torch.ones(50, dtype=torch.float64)
    likelihood = Poisson(background=0.3, exposure=2.0)
    expected = -(scipy.stats.poisson.logpmf(y, 2 * a + 0.3) - scipy.stats.poisson.logpmf(y, 2 * b + 0.3)).sum()
    assert float(likelihood(a, y, ones) - likelihood(b, y, ones)) == pytest.approx(expected, rel=1e-12)


def test_one_value_by_hand():
    # mu = 2 * 1 + 1 = 3, y = 1: 3 - 1 + ln(1/3), times weight 0.5
    value = Poisson(background=1.0, exposure=2.0)(torch.ones(1), torch.ones(1), torch.tensor([0.5]))
    assert float(value) == pytest.approx(0.5 * (2 - math.log(3)), rel=1e-6)


@pytest.mark.parametrize("m", [0.0, 1e-300, 1e-20, -3.0])
def test_where_nothing_was_counted_the_slope_is_the_exposure(m):
    prediction = torch.tensor([m], dtype=torch.float64, requires_grad=True)
    value = Poisson(exposure=2.0)(prediction, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    value.backward()
    assert float(value.detach()) == 2 * m
    assert prediction.grad.tolist() == [2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [0.0, 1e-30, -1.0, -1e3])
def test_a_prediction_of_nothing_where_something_was_counted_is_pushed_up(m, dtype):
    prediction = torch.tensor([m], dtype=dtype, requires_grad=True)
    value = Poisson()(prediction, torch.ones(1, dtype=dtype), torch.ones(1, dtype=dtype))
    value.backward()
    assert torch.isfinite(value.detach())
    assert -math.inf < float(prediction.grad) < -1e3 + 1


def test_the_logarithm_goes_on_smoothly_below_the_floor():
    likelihood, one = Poisson(floor=0.1), torch.ones((), dtype=torch.float64)
    near = [torch.tensor(0.1 * (1 + s * 1e-9), dtype=torch.float64) for s in (-1, 1)]
    for order in (
        lambda m: likelihood(m, one, one),
        lambda m: torch.autograd.functional.jacobian(lambda m: likelihood(m, one, one), m),
        lambda m: torch.autograd.functional.hessian(lambda m: likelihood(m, one, one), m),
    ):
        assert float(order(near[0])) == pytest.approx(float(order(near[1])), rel=1e-6)


def test_a_background_keeps_an_empty_model_harmless():
    m = torch.zeros(3, requires_grad=True)
    Poisson(background=torch.tensor([0.5, 1.0, 2.0]))(m, torch.ones(3), torch.ones(3)).backward()
    assert m.grad.tolist() == [-1.0, 0.0, 0.5]


def test_negative_counts_are_refused_unless_they_have_no_weight():
    with pytest.raises(ParameterError, match=r"data go down to -2: Poisson expects counts >= 0; .* use Gaussian"):
        Poisson()(torch.ones(2), torch.tensor([1.0, -2.0]), torch.ones(2))
    assert float(Poisson()(torch.ones(2), torch.tensor([1.0, -2.0]), torch.tensor([1.0, 0.0]))) == 0


@pytest.mark.parametrize(
    "options", [{"background": -1.0}, {"exposure": 0.0}, {"floor": 0.0}, {"exposure": math.nan}, {"background": math.inf}]
)
def test_options_out_of_range_are_named(options):
    (name,) = options
    with pytest.raises(ParameterError, match=rf"{name} is .*: expected finite numbers"):
        Poisson(**options)
