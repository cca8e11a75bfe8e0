"""What every likelihood promises, over all of the registry."""

import copy
import math

import pytest
import torch

import vermilion.likelihood
from vermilion.likelihood import EXAMPLES, Likelihood

# registry examples, and those of them whose curvature is a bound
CASES = [pytest.param(example, id=repr(example)) for examples in EXAMPLES.values() for example in examples]

MAJORIZING = [case for case in CASES if case.values[0].majorizes]


def draw(seed=0, shape=(4, 25), dtype=torch.float64):
    """Prediction, counts and weights: good data for every likelihood."""
    generator = torch.Generator().manual_seed(seed)
    m, rate, w = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return (0.1 + 3 * m).to(dtype), torch.poisson(2 * rate, generator=generator).to(dtype), (0.2 + w).to(dtype)


def gradient(likelihood, m, y, w):
    m = m.clone().requires_grad_()
    (result,) = torch.autograd.grad(likelihood(m, y, w), m)
    return result


def test_every_public_likelihood_is_in_the_registry():
    names = {name for name in vermilion.likelihood.__all__ if name not in ("EXAMPLES", "Likelihood")}
    assert names == set(EXAMPLES)
    assert all(isinstance(example, Likelihood) for examples in EXAMPLES.values() for example in examples)


@pytest.mark.parametrize("likelihood", CASES)
def test_the_value_is_a_scalar_of_the_dtype_of_the_data_and_the_arguments_stay(likelihood):
    for dtype in (torch.float32, torch.float64):
        arguments = draw(dtype=dtype)
        before = copy.deepcopy(arguments)
        value = likelihood(*arguments)
        assert value.shape == ()
        assert value.dtype == dtype
        assert torch.isfinite(value)
        assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


@pytest.mark.parametrize("likelihood", CASES)
def test_the_gradient_agrees_with_finite_differences(likelihood):
    m, y, w = draw()
    assert torch.autograd.gradcheck(lambda m: likelihood(m, y, w), (m.requires_grad_(),))


@pytest.mark.parametrize("likelihood", CASES)
def test_the_gradients_of_both_precisions_agree(likelihood):
    m, y, w = draw()
    single = gradient(likelihood, m.float(), y.float(), w.float())
    torch.testing.assert_close(single.double(), gradient(likelihood, m, y, w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("likelihood", CASES)
def test_a_perfect_prediction_is_the_minimum(likelihood):
    _, y, w = draw()
    perfect = (y - getattr(likelihood, "background", 0)) / getattr(likelihood, "exposure", 1)
    best = likelihood(perfect, y, w)
    for seed in range(5):
        assert likelihood(perfect + 0.1 * draw(seed)[0], y, w) > best


@pytest.mark.parametrize("likelihood", CASES)
def test_all_data_twice_cost_twice(likelihood):
    m, y, w = draw()
    doubled = torch.cat([y, y])
    assert float(likelihood(torch.cat([m, m]), doubled, torch.cat([w, w]))) == pytest.approx(2 * float(likelihood(m, y, w)), rel=1e-12)


@pytest.mark.parametrize("likelihood", CASES)
def test_the_order_of_the_pixels_does_not_matter(likelihood):
    m, y, w = draw()
    order = torch.randperm(25, generator=torch.Generator().manual_seed(1))
    assert float(likelihood(m[:, order], y[:, order], w[:, order])) == pytest.approx(float(likelihood(m, y, w)), rel=1e-13)


@pytest.mark.parametrize("likelihood", CASES)
@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf, -7.0, 1e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_has_no_weight_is_not_seen(likelihood, absent, dtype):
    m, y, w = draw(dtype=dtype)
    w[1, ::3] = 0
    expected, slope, bend = likelihood(m, y, w), gradient(likelihood, m, y, w), likelihood.curvature(m, y, w)
    y[1, ::3] = absent
    for hidden in (0.0, absent):
        m[1, ::3] = hidden
        assert torch.equal(likelihood(m, y, w), expected)
        assert torch.equal(gradient(likelihood, m, y, w), slope)
        assert torch.equal(likelihood.curvature(m, y, w), bend)
    assert (slope[1, ::3] == 0).all()
    assert (bend[1, ::3] == 0).all()


@pytest.mark.parametrize("likelihood", MAJORIZING)
def test_the_curvature_bounds_the_loss_along_random_segments(likelihood):
    for seed in range(40):
        m, y, w = draw(seed)
        d = 10 ** (seed / 10 - 2) * torch.randn(m.shape, generator=torch.Generator().manual_seed(seed), dtype=m.dtype)
        bound = likelihood(m, y, w) + (gradient(likelihood, m, y, w) * d).sum() + 0.5 * (likelihood.curvature(m, y, w) * d * d).sum()
        assert likelihood(m + d, y, w) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("likelihood", CASES)
def test_the_curvature_is_at_least_the_second_derivative(likelihood):
    m, y, w = draw(shape=(30,))
    second = torch.autograd.functional.hessian(lambda m: likelihood(m, y, w), m).diagonal()
    curvature = likelihood.curvature(m, y, w)
    assert (curvature >= second * (1 - 1e-9) - 1e-12).all()
    if not likelihood.majorizes:
        torch.testing.assert_close(curvature, second)


@pytest.mark.parametrize("likelihood", CASES)
def test_a_fit_without_data_costs_nothing(likelihood):
    empty = torch.zeros(0, 3)
    assert float(likelihood(empty, empty, empty)) == 0
    assert likelihood.curvature(empty, empty, empty).shape == (0, 3)
