"""What every operator promises, over the registry."""

import math

import pytest
import torch

import vermilion.prox
from vermilion.prox import EXAMPLES, Prox

OPERATORS = [pytest.param(operator, id=repr(operator)) for examples in EXAMPLES.values() for operator in examples]
EXACT = [p for p in OPERATORS if p.values[0].exact]
SHAPE = (6, 4)


def draw(seed, *, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(SHAPE, generator=generator, dtype=torch.float64)).to(dtype)


def objective(operator, y, x, step):
    return step * float(operator.penalty(y)) + 0.5 * float(((y.double() - x.double()) ** 2).sum())


def test_every_public_operator_has_an_example():
    public = {name for name in vermilion.prox.__all__ if isinstance(getattr(vermilion.prox, name), type)} - {"Prox"}
    assert set(EXAMPLES) == public
    assert all(type(operator).__name__ == name for name, examples in EXAMPLES.items() for operator in examples)


@pytest.mark.parametrize("operator", EXACT)
@pytest.mark.parametrize("seed", range(3))
def test_no_perturbed_point_is_better_than_the_result_of_an_exact_operator(operator, seed):
    x, step = draw(seed), 0.6
    y = operator(x, step)
    best = objective(operator, y, x, step)
    assert math.isfinite(best)
    generator = torch.Generator().manual_seed(100 + seed)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            # through the operator, so that constraints are met and the comparison is not with infinity
            rival = operator(y + size * torch.randn(SHAPE, generator=generator, dtype=torch.float64), 1e-3)
            assert best <= objective(operator, rival, x, step) + 1e-9


@pytest.mark.parametrize("operator", [p for p in EXACT if p.values[0].couples == "element"])
def test_an_operator_entry_by_entry_finds_the_minimum_of_a_fine_grid(operator):
    grid = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    for value in (-2.0, -0.3, 0.0, 0.1, 0.7, 3.0):
        for step in (0.05, 1.0, 4.0):
            x = torch.tensor([value], dtype=torch.float64)
            y = float(operator(x, step))
            near = grid[(grid - y).abs() < 0.02]
            coarse = grid[:: len(grid) // 400]
            values = [objective(operator, point.view(1), x, step) for point in torch.cat([near, coarse])]
            assert objective(operator, torch.tensor([y], dtype=torch.float64), x, step) <= min(values) + 1e-12


@pytest.mark.parametrize("operator", [p for p in EXACT if p.values[0].convex])
def test_an_exact_convex_operator_is_firmly_non_expansive(operator):
    for seed in range(20):
        x, z = draw(seed, scale=2.0), draw(1000 + seed, scale=2.0)
        p, q = operator(x, 0.8), operator(z, 0.8)
        assert float(((p - q) ** 2).sum()) <= float(((p - q) * (x - z)).sum()) + 1e-10


@pytest.mark.parametrize("operator", [p for p in OPERATORS if p.values[0].projection])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_projection_leaves_its_own_points_alone(operator, dtype):
    y = operator(draw(3, dtype=dtype), 1.0)
    assert float(operator.penalty(y)) == 0
    # rescaled columns of mixed sign are larger than their sum, and so is the rounding of the sum
    rounding = 10 * torch.finfo(dtype).eps * max(1.0, float(y.abs().max())) ** 2
    torch.testing.assert_close(operator(y, 1.0), y, rtol=0, atol=rounding)


@pytest.mark.parametrize("operator", [p for p in OPERATORS if p.values[0].cone])
def test_a_cone_has_no_scale(operator):
    x = draw(4)
    torch.testing.assert_close(operator(7.0 * x, 1.0), 7.0 * operator(x, 1.0))
    for point in (x, operator(x, 1.0)):
        assert float(operator.penalty(1e20 * point)) == float(operator.penalty(point)) == float(operator.penalty(1e-20 * point))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_operator_is_pure_and_keeps_dtype_and_shape(operator, dtype):
    x = draw(5, dtype=dtype)
    before = x.clone()
    y = operator(x, 0.5)
    assert torch.equal(x, before)
    assert (y.dtype, y.shape, y.device) == (x.dtype, x.shape, x.device)
    assert y.data_ptr() != x.data_ptr()
    penalty = operator.penalty(y)
    assert penalty.dtype == torch.float64
    assert penalty.ndim == 0


@pytest.mark.parametrize("operator", OPERATORS)
def test_memory_layout_does_not_matter(operator):
    x = draw(6)
    scattered = torch.empty(2 * SHAPE[0], 3 * SHAPE[1], dtype=torch.float64)[::2, ::3]
    scattered.copy_(x)
    torch.testing.assert_close(operator(scattered, 0.5), operator(x, 0.5))
    torch.testing.assert_close(operator(x.T.contiguous().T, 0.5), operator(x, 0.5))


@pytest.mark.parametrize("operator", [p for p in OPERATORS if "Stiefel" not in p.id])
def test_empty_arrays_pass(operator):
    for shape in ((0, 4), (4, 0)):
        y = operator(torch.zeros(shape), 0.5)
        assert y.shape == shape
        assert y.dtype == torch.float32


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fill", [0.0, 1.0, 1e30, -1e30, 1e-30, "mixed"])
def test_ties_zeros_and_huge_entries_give_feasible_finite_results(operator, dtype, fill):
    x = draw(7, dtype=dtype, scale=1e30) if fill == "mixed" else torch.full(SHAPE, fill, dtype=dtype)
    y = operator(x, 0.5)
    assert torch.isfinite(y).all()
    if operator.projection:
        assert float(operator.penalty(y)) == 0


@pytest.mark.parametrize("operator", [p for p in OPERATORS if p.values[0].couples == "element"])
def test_every_entry_may_have_its_own_step(operator):
    x, steps = draw(8), torch.rand(SHAPE, generator=torch.Generator().manual_seed(8), dtype=torch.float64) + 0.1
    y = operator(x, steps)
    for i in range(SHAPE[0]):
        for j in range(SHAPE[1]):
            torch.testing.assert_close(y[i, j], operator(x[i, j].view(1), float(steps[i, j]))[0])


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_attributes_say_something_known(operator):
    assert isinstance(operator, Prox)
    assert operator.couples in {"element", "component axis", "pixel axis", "image"}
    assert {type(getattr(operator, name)) for name in ("exact", "convex", "cone", "projection")} == {bool}
    assert repr(operator).startswith(type(operator).__name__)


@pytest.mark.parametrize("operator", [p for p in OPERATORS if p.values[0].couples in {"component axis", "pixel axis"}])
def test_an_operator_couples_only_the_axis_that_it_names(operator):
    x = draw(9)
    changed = x.clone()
    along_rows = operator.couples == "component axis"
    (changed[:, 0] if along_rows else changed[0])[:] += 1.5 * draw(10)[0, 0]
    (changed[2, 0:1] if along_rows else changed[0, 2:3])[:] += 3
    difference = (operator(changed, 0.5) - operator(x, 0.5)).abs()
    untouched = difference[:, 1:] if along_rows else difference[1:]
    assert float(untouched.max()) == 0
    assert float(difference.max()) > 0
