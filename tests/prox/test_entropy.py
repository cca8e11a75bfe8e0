import math

import numpy as np
import pytest
import torch
from scipy.special import wrightomega

from vermilion.errors import ParameterError
from vermilion.prox import MaxEntropy


def exact_log(ratio, offset):
    """ln(y / c) for y + c ln(y / c) = c (ratio - offset): scipy in float64, the asymptotic form where omega underflows."""
    z = ratio - offset
    return z if z < -50 else math.log(wrightomega(z))


@pytest.mark.parametrize("strength", [1e-3, 1.0, 50.0])
def test_the_result_solves_the_equation_of_the_absolute_entropy(strength):
    x = torch.linspace(-5, 5, 201, dtype=torch.float64) * strength
    y = MaxEntropy(2.0)(x, strength / 2)
    torch.testing.assert_close(y + strength * (1 + y.log()), x, rtol=1e-10, atol=1e-10 * strength)


def test_the_result_solves_the_equation_of_the_relative_entropy():
    generator = torch.Generator().manual_seed(0)
    x, prior = torch.randn(50, generator=generator, dtype=torch.float64), torch.rand(50, generator=generator, dtype=torch.float64) + 0.1
    y = MaxEntropy(0.3, prior=prior)(x, 2.0)
    torch.testing.assert_close(y + 0.6 * (y / prior).log(), x, rtol=1e-10, atol=1e-10)


def test_one_number_by_hand():
    # y + c (1 + ln y) = x is solved by y = 1 for x = 1 + c; with prior m, y = m for x = m
    assert float(MaxEntropy(1.0)(torch.tensor(3.0, dtype=torch.float64), 2.0)) == pytest.approx(1, rel=1e-14)
    assert float(MaxEntropy(5.0, prior=0.7)(torch.tensor(0.7, dtype=torch.float64), 9.0)) == pytest.approx(0.7, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_thirty_decades_of_x_over_strength_are_finite_and_right(dtype, sign):
    ratio = sign * 10.0 ** np.linspace(-30, 30, 241)
    x = torch.as_tensor(ratio).to(dtype)
    y = MaxEntropy(1.0)(x, 1.0).double().numpy()
    assert np.isfinite(y).all()
    expected = np.array([math.exp(exact_log(value, 1.0)) for value in x.double().tolist()])
    normal = expected >= torch.finfo(dtype).tiny
    np.testing.assert_allclose(y[normal], expected[normal], rtol=1e-6)


@pytest.mark.parametrize("strength", [1e-30, 1e-300, 1e20])
def test_extreme_strengths_are_finite(strength):
    x = torch.tensor([-1e8, -1.0, 0.0, 1e-20, 1.0, 1e8], dtype=torch.float64)
    y = MaxEntropy(1.0)(x, strength)
    assert torch.isfinite(y).all()
    assert (y >= 0).all()
    if strength < 1:
        torch.testing.assert_close(y[3:], x[3:], rtol=1e-6, atol=0)


def test_no_strength_leaves_the_positive_part():
    x = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(MaxEntropy(0.0)(x, 1.0), torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(MaxEntropy(1.0, prior=3.0)(x, 0.0), torch.tensor([0.0, 0.0, 2.0]))


def test_the_relative_entropy_does_not_know_the_unit():
    # in a unit u times smaller: x, prior times u; g scales by u, the square by u^2, so the step scales by u
    x, prior = torch.rand(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.3, 0.4
    y = MaxEntropy(0.5, prior=prior)(x, 1.0)
    for unit in (1e-20, 1e4):
        torch.testing.assert_close(MaxEntropy(0.5, prior=prior * unit)(x * unit, unit), y * unit, rtol=1e-9, atol=0)


def test_weights_may_differ_between_components():
    x = torch.rand(2, 5, generator=torch.Generator().manual_seed(3))
    weight = torch.tensor([[0.1], [2.0]])
    y = MaxEntropy(weight)(x, 1.0)
    assert y.dtype == torch.float32
    for k in range(2):
        torch.testing.assert_close(y[k], MaxEntropy(float(weight[k]))(x[k], 1.0))


def test_the_penalty_is_the_entropy_and_infinite_below_zero():
    assert float(MaxEntropy(2.0).penalty(torch.tensor([0.0, 1.0, math.e]))) == pytest.approx(2 * math.e, rel=1e-6)
    assert float(MaxEntropy(2.0, prior=1.0).penalty(torch.tensor([0.0, 1.0, math.e]))) == pytest.approx(2 * (1 + 0 + 1), rel=1e-6)
    assert float(MaxEntropy(1.0).penalty(torch.tensor([1.0, -1e-3]))) == math.inf


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_bad_weight_is_refused(weight):
    with pytest.raises(ParameterError, match="expected finite numbers >= 0"):
        MaxEntropy(weight)


@pytest.mark.parametrize("prior", [0.0, -1.0, math.nan])
def test_a_bad_prior_is_refused(prior):
    with pytest.raises(ParameterError, match=r"prior is .*: expected finite numbers > 0"):
        MaxEntropy(1.0, prior=prior)
