import math

import pytest
import scipy.stats
import torch

from vermilion.errors import ParameterError
from vermilion.likelihood import Gaussian, StudentT


def test_differences_are_those_of_the_log_probability():
    generator = torch.Generator().manual_seed(0)
    a, b, y, w = (torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(4))
    sigma = 2.5 / w.sqrt()
    expected = -(scipy.stats.t.logpdf(y, 3, a, sigma) - scipy.stats.t.logpdf(y, 3, b, sigma)).sum()
    likelihood = StudentT(nu=3.0, scale=2.5)
    assert float(likelihood(a, y, w) - likelihood(b, y, w)) == pytest.approx(expected, rel=1e-10)


def test_one_value_by_hand():
    # nu = 3, scale 1, w = 3, residual 1: (3 + 1) / 2 ln(1 + 3 / 3) = 2 ln 2
    value = StudentT(nu=3.0)(torch.zeros(1), torch.ones(1), torch.tensor([3.0]))
    assert float(value) == pytest.approx(2 * math.log(2), rel=1e-6)


def test_with_many_degrees_of_freedom_it_is_the_gaussian():
    generator = torch.Generator().manual_seed(0)
    m, y, w = (torch.rand(40, generator=generator, dtype=torch.float64) for _ in range(3))
    assert float(StudentT(nu=1e9)(m, y, w)) == pytest.approx(float(Gaussian()(m, y, w)), rel=1e-6)


def test_only_residuals_in_units_of_their_errors_count():
    generator = torch.Generator().manual_seed(0)
    m, y, w = (torch.rand(40, generator=generator, dtype=torch.float64) for _ in range(3))
    expected = float(StudentT()(m, y, w))
    assert float(StudentT()(1e20 * m, 1e20 * y, 1e-40 * w)) == pytest.approx(expected, rel=1e-12)
    assert float(StudentT(scale=3.0)(3 * m, 3 * y, w)) == pytest.approx(expected, rel=1e-12)


def test_an_outlier_hardly_pulls():
    m = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    StudentT()(m, torch.tensor([1.0, 10.0, 1000.0], dtype=torch.float64), torch.ones(3, dtype=torch.float64)).backward()
    pull = m.grad.abs().tolist()
    assert pull[0] > pull[1] > 50 * pull[2] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outlier", [1e19, 1e30, -1e30])
def test_the_square_of_an_outlier_does_not_overflow(outlier, dtype):
    m = torch.zeros(1, dtype=dtype, requires_grad=True)
    value = StudentT()(m, torch.tensor([outlier], dtype=dtype), torch.ones(1, dtype=dtype))
    value.backward()
    assert torch.isfinite(value.detach())
    assert abs(float(m.grad)) < 1e-15


def test_the_curvature_is_that_of_a_residual_of_zero():
    # (nu + 1) / (nu scale^2) w = 5 / 16 * 2
    value = StudentT(nu=4.0, scale=2.0).curvature(torch.zeros(1), torch.ones(1), torch.tensor([2.0]))
    assert value.tolist() == [0.625]


@pytest.mark.parametrize("options", [{"nu": 0.0}, {"nu": math.inf}, {"scale": -1.0}, {"scale": math.nan}])
def test_options_out_of_range_are_named(options):
    (name,) = options
    with pytest.raises(ParameterError, match=rf"{name} is .*: expected a finite number > 0"):
        StudentT(**options)
