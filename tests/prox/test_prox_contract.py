"""What every operator promises, over the registry and the operator that docs/write-a-prox.md writes."""

import math
import re
from pathlib import Path

import pytest
import torch

import vermilion.prox
from vermilion.errors import ShapeError
from vermilion.prox import EXAMPLES, AffineSum, Box, GroupL21, Identity, L2Ball, NonNegative, Orthogonal, Prox, Soft, SquaredL2, dct_matrix

SHAPE = (6, 4)
STEP = 0.6
DTYPES = [torch.float32, torch.float64]
# made for a number of components or pixels, and say so for any other
SIZED = {"MonotoneCone", "MonotoneGreedy", "Orthogonal", "PerComponent", "Smoothness", "Starlet", "Stiefel", "Symmetric", "TotalVariation"}


def documented():
    page = (Path(__file__).parents[2] / "docs" / "write-a-prox.md").read_text(encoding="utf-8")
    namespace = {"__name__": "documented"}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1), namespace)
    return namespace["Barrier"](0.3)


OPERATORS = [pytest.param(operator, id=repr(operator)) for examples in [*EXAMPLES.values(), (documented(),)] for operator in examples]
EXACT = [p for p in OPERATORS if p.values[0].exact]
CONVEX = [p for p in EXACT if p.values[0].convex]
BY_ENTRY = [p for p in OPERATORS if p.values[0].couples == "element"]


def draw(seed, *, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(SHAPE, generator=generator, dtype=torch.float64)).to(dtype)


def inputs(dtype, shape=SHAPE, n=500):
    """Random and hostile arrays (n, *shape): all sizes, ties, zeros, close pairs, and magnitudes from 1e-30 to 1e30."""
    generator = torch.Generator().manual_seed(17)
    normal = torch.randn(200, *shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(100, *shape, generator=generator, dtype=torch.float64)
    ties = torch.randint(-2, 3, (90, *shape), generator=generator) / 2
    sized = normal * 10 ** torch.linspace(-2, 2, 200, dtype=torch.float64).view(-1, *[1] * len(shape))
    constants = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, -1e-30, 1e30, -1e30, 0.2], dtype=torch.float64)
    parts = [
        sized,
        sized[:50] + 1e-3 * normal[50:100],
        ties,
        torch.where(ties[:50] > 0, normal[:50], 0.0),
        constants.view(-1, *[1] * len(shape)).expand(-1, *shape),
        normal[:100].sign() * 10 ** (60 * uniform - 30),
    ]
    pool = torch.cat(parts)
    return pool[torch.randperm(len(pool), generator=generator)[:n]].to(dtype)


def share(operator):
    """How many inputs of each dtype an example gets, so that all those of an operator together get 500."""
    return 500 // len(EXAMPLES.get(type(operator).__name__, (operator,)))


def penalties(operator, points):
    return torch.stack([operator.penalty(point) for point in points])


def compare_with(operator, x, y, rivals, precision=None):
    """How much better than y, as minimizers for each x, the best rival is; relative to what rounding explains.

    The change of the objective is written so that nothing of the size of x cancels; where g is convex the inequality
    <x - y, z - y> <= step (g(z) - g(y)) for all z is stronger: it says that (x - y) / step is a subgradient, which is
    Moreau's identity. `precision` is that with which rivals are feasible.
    """
    g, g_rival = STEP * penalties(operator, y), STEP * penalties(operator, rivals)
    assert torch.isfinite(g).all()
    # what iterates stops at a tolerance of its own
    eps = precision or max(torch.finfo(x.dtype).eps, getattr(operator, "tol", 0.0))
    usable = torch.isfinite(g_rival)
    if not usable.any():
        return 0.0
    x, y, z = x.double().flatten(1), y.double().flatten(1), rivals[usable].double().flatten(1)
    residual = x - y
    apart = torch.cdist(y, z, compute_mode="donot_use_mm_for_euclid_dist")
    gain = g[:, None] - g_rival[usable] + residual @ z.T - (residual * y).sum(1, keepdim=True)
    gain = gain if operator.convex else gain - 0.5 * apart.square()
    size = x.norm(dim=1) + y.norm(dim=1) + STEP
    distance = apart + residual.norm(dim=1)[:, None]
    rounding = 64 * eps * (size[:, None] + z.norm(dim=1)) * distance + 64 * torch.finfo(torch.float64).eps * (
        g[:, None].abs() + g_rival[usable].abs()
    )
    return float((gain / (rounding + torch.finfo(torch.float64).tiny)).max())


def test_every_public_operator_has_an_example():
    public = {name for name in vermilion.prox.__all__ if isinstance(getattr(vermilion.prox, name), type)} - {"Prox"}
    assert set(EXAMPLES) == public
    assert all(type(operator).__name__ == name for name, examples in EXAMPLES.items() for operator in examples)


@pytest.mark.parametrize("operator", EXACT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_point_is_better_than_the_result_of_an_exact_operator(operator, dtype):
    x = inputs(dtype, n=share(operator))
    y = torch.stack([operator(point, STEP) for point in x])
    assert compare_with(operator, x, y, y) <= 1
    # points that do not come from the operator are feasible as far as its penalty looks
    others = torch.cat([x, (y[:-1] + y[1:])[:80] / 2])
    assert compare_with(operator, x, y, others, precision=torch.finfo(dtype).eps ** 0.5) <= 1


@pytest.mark.parametrize("operator", [p for p in BY_ENTRY if p.values[0].exact])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_operator_entry_by_entry_finds_the_minimum_of_a_fine_grid(operator, dtype):
    x = inputs(dtype, shape=(1,))
    y = operator(x, STEP)
    decades = 10 ** torch.linspace(-30, 30, 241, dtype=torch.float64)
    grid = torch.cat([torch.linspace(-4, 4, 1601, dtype=torch.float64), decades, -decades]).to(dtype)[:, None]
    assert compare_with(operator, x, y, grid) <= 1


@pytest.mark.parametrize("operator", EXACT)
def test_no_perturbed_point_is_better_than_the_result_of_an_exact_operator(operator):
    x = draw(0)
    y = operator(x, STEP)
    generator = torch.Generator().manual_seed(100)
    shifts = torch.cat([size * torch.randn(50, *SHAPE, generator=generator, dtype=torch.float64) for size in (1e-4, 1e-2, 0.1, 1.0)])
    # through the operator, so that constraints are met and the comparison is not with infinity
    assert compare_with(operator, x[None], y[None], torch.stack([operator(y + shift, 1e-3) for shift in shifts])) <= 1


@pytest.mark.parametrize("operator", CONVEX)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_exact_convex_operator_is_firmly_non_expansive(operator, dtype):
    x = inputs(dtype, n=share(operator) // 4)
    y = torch.stack([operator(point, STEP) for point in x]).double().flatten(1)
    x = x.double().flatten(1)
    p, d = y[:, None] - y, x[:, None] - x
    sizes = x.norm(dim=1) + y.norm(dim=1) + STEP
    rounding = 32 * torch.finfo(dtype).eps * (sizes[:, None] + sizes) * d.norm(dim=-1)
    assert ((p * (p - d)).sum(-1) <= rounding).all()


U = dct_matrix(4)
CONJUGATES = [
    (Soft(0.7), Box(-0.7, 0.7)),
    (GroupL21(0.7, dim=0), L2Ball(0.7, dim=0)),
    (SquaredL2(2.0), SquaredL2(0.5)),
    (NonNegative(), Box(high=0.0)),
    (Identity(), Box(0.0, 0.0)),
    (AffineSum(1, total=0.0), Orthogonal(Box(0.0, 0.0), U[1:])),  # sums of zero, and what is constant
    (Orthogonal(Soft(0.7), U), Orthogonal(Box(-0.7, 0.7), U)),
]


@pytest.mark.parametrize(("operator", "conjugate"), CONJUGATES, ids=[repr(operator) for operator, _ in CONJUGATES])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_operator_and_that_of_the_conjugate_share_the_input_between_them(operator, conjugate, dtype):
    # Moreau: x = prox of g + step prox of g* (x / step), with step 1 / step
    for x in inputs(dtype, n=200):
        total = operator(x, STEP) + STEP * conjugate(x / STEP, 1 / STEP)
        torch.testing.assert_close(total, x, rtol=0, atol=8 * torch.finfo(dtype).eps * (1 + float(x.abs().max())))


@pytest.mark.parametrize("operator", [p for p in OPERATORS if p.values[0].projection])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_projection_leaves_its_own_points_alone(operator, dtype):
    for x in inputs(dtype, n=share(operator) // 4):
        y = operator(x, 1.0)
        assert float(operator.penalty(y)) == 0
        # rescaled columns of mixed sign are larger than their sum, and so is the rounding of the sum
        largest = max(1.0, float(y.abs().max()))
        rounding = 10 * torch.finfo(dtype).eps * (largest if operator.exact else largest**2)
        torch.testing.assert_close(operator(y, 1.0), y, rtol=0, atol=rounding)


@pytest.mark.parametrize("operator", [p for p in OPERATORS if p.values[0].cone])
def test_a_cone_has_no_scale(operator):
    x = draw(4)
    torch.testing.assert_close(operator(7.0 * x, 49.0), 7.0 * operator(x, 1.0))
    for point in (x, operator(x, 1.0)):
        assert float(operator.penalty(1e20 * point)) == float(operator.penalty(point)) == float(operator.penalty(1e-20 * point))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *DTYPES])
def test_an_operator_is_pure_and_keeps_dtype_and_shape(operator, dtype):
    x = draw(5, dtype=dtype)
    before = x.clone()
    y = operator(x, 0.5)
    assert torch.equal(x, before)
    assert (y.dtype, y.shape, y.device) == (x.dtype, x.shape, x.device)
    assert y.data_ptr() != x.data_ptr()
    penalty = operator.penalty(y)
    assert torch.equal(operator(x, 0.5), y)
    assert penalty.dtype == torch.float64
    assert penalty.ndim == 0


@pytest.mark.parametrize("operator", OPERATORS)
def test_memory_layout_does_not_matter(operator):
    x = draw(6)
    scattered = torch.empty(2 * SHAPE[0], 3 * SHAPE[1], dtype=torch.float64)[::2, ::3]
    scattered.copy_(x)
    torch.testing.assert_close(operator(scattered, 0.5), operator(x, 0.5))
    torch.testing.assert_close(operator(x.T.contiguous().T, 0.5), operator(x, 0.5))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (1, 1)])
def test_empty_arrays_and_single_entries_pass(operator, shape):
    x = torch.full(shape, 0.4)
    refusal = ""
    try:
        y = operator(x, 0.5)
    except ShapeError as error:
        refusal = str(error)
    if refusal:
        assert str(shape) in refusal
        assert any(name in repr(operator) for name in SIZED)
        return
    assert y.shape == shape
    assert y.dtype == torch.float32
    assert torch.isfinite(y).all()
    assert math.isfinite(operator.penalty(y)) or y.numel() == 0


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", [0.0, 1.0, 1e30, -1e30, 1e-30, "mixed"])
def test_ties_zeros_and_huge_entries_give_feasible_finite_results(operator, dtype, fill):
    x = draw(7, dtype=dtype, scale=1e30) if fill == "mixed" else torch.full(SHAPE, fill, dtype=dtype)
    y = operator(x, 0.5)
    assert torch.isfinite(y).all()
    if operator.projection:
        assert float(operator.penalty(y)) == 0


@pytest.mark.parametrize("operator", [p for p in OPERATORS if not p.values[0].exact])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_inexact_operator_is_feasible_and_finite_for_any_input(operator, dtype):
    for x in inputs(dtype, n=share(operator)):
        y = operator(x, STEP)
        assert torch.isfinite(y).all()
        assert math.isfinite(operator.penalty(y))


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_not_a_number_spoils_only_what_it_is_coupled_with(operator):
    x = draw(11)
    spoiled = x.clone()
    spoiled[2, 1] = torch.nan
    y = operator(spoiled, 0.5)
    if operator.exact:
        assert torch.isnan(y[2, 1])
    coupled = torch.zeros(SHAPE, dtype=torch.bool)
    rows, columns = {"element": (2, 1), "component axis": (slice(None), 1), "pixel axis": (2, slice(None))}.get(
        operator.couples, (slice(None),) * 2
    )
    coupled[rows, columns] = True
    torch.testing.assert_close(y[~coupled], operator(x, 0.5)[~coupled])
    operator(torch.full(SHAPE, torch.inf), 0.5)  # of that nothing is promised, but no exception


@pytest.mark.parametrize("operator", BY_ENTRY)
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
