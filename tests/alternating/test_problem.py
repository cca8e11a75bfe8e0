"""Normalization of the data and of the constraints."""

import math

import numpy as np
import pytest
import torch

from vermilion.alternating import Problem
from vermilion.alternating.problem import _depends_on_place
from vermilion.errors import NoDataError
from vermilion.prox import Box, Chain, Identity, MaxEntropy, NonNegative, PerComponent, Simplex, Smoothness, Soft, as_prox

CPU = torch.device("cpu")


def normalized(Y, W=None, *, dtype=torch.float32, **options):
    return Problem.normalized(torch.as_tensor(Y), None if W is None else torch.as_tensor(W), dtype=dtype, device=CPU, **options)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e30])
def test_normalized_data_are_of_order_one_in_any_unit(scale, kind, dtype):
    rng = np.random.default_rng(0)
    Y, W = scale * rng.normal(size=(6, 50)), rng.gamma(1.0, size=(6, 50)) / scale
    W[0, :10] = 0
    Y[0, :10] = np.nan
    Y, W = torch.tensor(Y, dtype=kind), torch.tensor(W, dtype=kind)
    p = Problem.normalized(Y, W, dtype=dtype, device=CPU)
    y, w = p.data()
    good = W > 0
    assert y.dtype == w.dtype == dtype
    # powers of two where the type stays: within a factor of root 2
    assert 0.49 < float(y[good].double().square().mean()) < 2.01
    assert 0.70 < float(w[good].double().mean()) < 1.42
    assert bool((y[~good] == 0).all() & (w[~good] == 0).all())
    torch.testing.assert_close(y[good].double() * p.data_scale, Y[good].double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(w[good].double() * p.weight_scale, W[good].double(), rtol=1e-6, atol=0)
    # what tiles of it hand out is the same
    tiles = p.tiles()
    for rows, a, b in tiles:
        along = (y, w) if tiles.axis == 0 else (y.T, w.T)
        torch.testing.assert_close(a * tiles.gain, along[0][rows])
        torch.testing.assert_close(b * tiles.weight_gain, along[1][rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [lambda X: X, lambda X: X.T.contiguous().T], ids=["C", "F"])
@pytest.mark.parametrize("hidden", [True, False])
def test_data_of_a_usual_size_and_the_right_type_are_not_copied(dtype, layout, hidden):
    rng = np.random.default_rng(0)
    Y, W = (layout(torch.tensor(X, dtype=dtype)) for X in (300 * rng.normal(size=(6, 50)), rng.gamma(1.0, size=(6, 50))))
    if hidden:
        W[2, 3], Y[2, 3] = 0, torch.nan
    for weights in (W, None) if not hidden else (W,):
        p = Problem.normalized(Y, weights, dtype=dtype, device=CPU)
        assert p.Y.data_ptr() == Y.data_ptr()
        assert weights is None or p.W.data_ptr() == W.data_ptr()
        assert p.hidden is hidden
        assert p.gain == 1 / p.data_scale
        if dtype == torch.float32:
            assert math.frexp(p.gain)[0] == math.frexp(p.weight_gain)[0] == 0.5  # powers of two
        tile = next(iter(p.tiles()))[1]
        assert hidden or tile.untyped_storage().data_ptr() == Y.untyped_storage().data_ptr()
        assert p.rms == pytest.approx(float(torch.where(W > 0, Y, 0).double().square().sum() / (W > 0).sum()) ** 0.5 if hidden else p.rms)


@pytest.mark.parametrize(("scale", "why"), [(1e-14, "small"), (1e14, "large"), (1.0, "type")])
def test_data_of_an_unusual_size_or_another_type_are_copied_and_scaled(scale, why):
    Y = torch.tensor(scale * np.random.default_rng(0).normal(size=(6, 50)), dtype=torch.float64 if why == "type" else torch.float32)
    p = Problem.normalized(Y, None, dtype=torch.float32, device=CPU)
    assert p.Y.data_ptr() != Y.data_ptr()
    assert p.gain == p.weight_gain == 1
    assert 0.7 < float(p.Y.double().square().mean().sqrt()) < 1.42
    if why == "type":
        assert float(p.Y.double().square().mean().sqrt()) == pytest.approx(1, rel=1e-6)
    else:
        assert torch.equal(p.Y * p.data_scale, Y)  # to the last digit


def test_the_data_are_never_changed():
    Y, W = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)), torch.ones(6, 50)
    Y[0, 0], W[0, 0], W[1, 1] = torch.nan, 0, 0
    before = Y.clone(), W.clone()
    p = Problem.normalized(Y, W, dtype=torch.float32, device=CPU)
    p.data()
    list(p.tiles())
    torch.testing.assert_close(Y, before[0], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(W, before[1])


def test_the_unit_of_the_objective_by_hand():
    # data of rms 4 (a power of two), no weights: half the squares are 16 times those of data of rms 1
    p = normalized([[4.0, -4.0]])
    assert (p.data_scale, p.gain, p.weight_scale, p.objective_scale) == (4, 0.25, 1, 16)
    assert p.factor_scale("S") == 4
    assert p.factor_scale("A") == 1
    assert normalized([[4.0, -4.0]], carrier="A").factor_scale("A") == 4
    assert normalized([[4.0, -4.0]], scale=False).objective_scale == 1


# ---- tiles


@pytest.mark.parametrize(
    ("shape", "turned", "axis"), [((60, 40), False, 0), ((600, 4000), False, 0), ((60, 4000), False, 1), ((60, 4000), True, 1)]
)
def test_tiles_follow_the_layout_unless_the_other_axis_is_much_the_longer(shape, turned, axis):
    Y = torch.ones(shape) if not turned else torch.ones(shape[::-1]).T
    assert normalized(Y).tiles().axis == axis


def test_tiles_follow_the_layout_of_data_turned_in_memory():
    assert normalized(torch.ones(4000, 600).T).tiles().axis == 1
    assert normalized(torch.ones(600, 4000)).tiles().axis == 0


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize(
    ("spectra", "morphologies", "axis"),
    [(Simplex(0), NonNegative(), 1), (NonNegative(), Simplex(1), 0), (Simplex(1), Simplex(1), 0), (Simplex(0), Simplex(0), 1)],
)
def test_the_factor_that_can_be_cut_decides(spectra, morphologies, axis, turned):
    p = normalized(torch.ones(60, 40) if not turned else torch.ones(40, 60).T)
    assert p.tiles(p.block("A", spectra), p.block("S", morphologies)).axis == axis


def test_bands_and_pixels_without_any_weight_are_known():
    W = np.ones((3, 4))
    W[1], W[:, 2] = 0, 0
    bands, pixels = normalized(np.ones((3, 4)), W).seen()
    assert bands.tolist() == [True, False, True]
    assert pixels.tolist() == [True, True, False, True]
    assert normalized(np.ones((3, 4))).seen() == (None, None)


def test_values_that_are_not_finite_lose_their_weight():
    y, w = normalized([[1.0, np.nan], [np.inf, -1.0]]).data()
    assert w.tolist() == [[1, 0], [0, 1]]
    assert y.tolist() == [[1, 0], [0, -1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_or_a_weight_that_is_not_finite_is_absent(bad, dtype):
    for data, weight in ((bad, 1.0), (1.0, bad if bad != -np.inf else np.nan), (bad, 0.0)):
        Y, W = np.full((2, 3), 2.0), np.ones((2, 3))
        Y[0, 1], W[0, 1] = data, weight
        y, w = normalized(Y, W, dtype=dtype).data()
        assert bool(torch.isfinite(y).all() & torch.isfinite(w).all())
        assert float(w[0, 1]) == float(y[0, 1]) == 0
        assert int((w > 0).sum()) == 5


def test_finite_data_without_weights_stay_without_weights():
    assert normalized([[1.0, 2.0]]).W is None


@pytest.mark.parametrize(
    ("Y", "W"), [([[0.0, 0.0]], None), ([[np.nan, np.nan]], None), ([[1.0, 2.0]], [[0.0, 0.0]]), ([[0.0, 2.0]], [[1.0, 0.0]])]
)
def test_nothing_to_fit_is_said(Y, W):
    with pytest.raises(NoDataError, match="nothing to factorize"):
        normalized(Y, W)


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "operator",
    [lambda u: Soft(0.3 / u), lambda u: Chain(Soft(0.3 / u), NonNegative()), lambda u: MaxEntropy(0.3 / u, prior=2 * u)],
    ids=["Soft", "non-negative Soft", "MaxEntropy"],
)
def test_a_block_minimizes_the_operator_in_the_unit_of_the_data(unit, dtype, operator):
    # the normalized problem x' = x/y, weights w: argmin t g(y x')/(w y²) + |x' − z|²/2
    rng = np.random.default_rng(3)
    Y, W = torch.tensor(unit * rng.normal(size=(3, 4))), torch.tensor(np.full((3, 4), 7.0 / unit**2))
    p = Problem.normalized(Y, W, dtype=dtype, device=CPU)
    prox = operator(unit)
    block = p.block("S", prox)
    z = torch.tensor(rng.normal(size=(2, 4)), dtype=dtype)
    step = torch.tensor(rng.gamma(1.0, size=(2, 4)), dtype=dtype)
    c = p.data_scale
    expected = prox(z.double() * c, step.double() * c**2 / (p.weight_scale * c**2)) / c
    assert block.prox(z, step).dtype == dtype
    torch.testing.assert_close(block.prox(z, step).double(), expected, rtol=1e-5, atol=1e-6)
    assert block.penalty(z.abs()) * p.objective_scale == pytest.approx(float(prox.penalty(z.abs().double() * c)), rel=1e-5)


def test_a_block_of_spectra_acts_on_the_transpose():
    p = normalized(np.ones((5, 4)))
    X = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    out = p.block("A", Simplex(0)).prox(X, torch.ones(1, 1))
    torch.testing.assert_close(out.sum(dim=1), torch.ones(2))  # each component over the bands
    out = p.block("A", Simplex(1)).prox(X, torch.ones(1, 1))
    torch.testing.assert_close(out.sum(dim=0), torch.ones(5))  # each band over the components


@pytest.mark.parametrize(("factor", "dim", "separable"), [("A", 0, "no"), ("A", 1, "column"), ("S", 0, "column"), ("S", 1, "no")])
def test_a_block_says_into_which_pieces_its_constraint_falls(factor, dim, separable):
    assert normalized(np.ones((5, 4))).block(factor, Simplex(dim)).separable == separable


def test_held_components_stay_and_cost_nothing():
    p = normalized(np.ones((3, 4)))
    held = torch.tensor([1.0, 2.0, 3.0, 4.0])
    block = p.block("S", Chain(Soft(1.0), NonNegative()), {1: held})
    out = block.prox(torch.ones(3, 4), torch.full((3, 4), 0.25))
    assert torch.equal(out[1], held)
    torch.testing.assert_close(out[[0, 2]], torch.full((2, 4), 0.75))
    assert block.penalty(out) == pytest.approx(2 * 4 * 0.75)


# ---- pieces


@pytest.mark.parametrize(
    ("prox", "floor"), [(NonNegative(), 0.0), (Identity(), -math.inf), (Box(0.0), None), (Simplex(0), None), (Soft(0.1), None)]
)
def test_a_block_has_a_floor_where_its_constraint_is_nothing_else(prox, floor):
    assert normalized(np.ones((5, 4))).block("S", prox).floor == floor


def test_held_components_keep_the_floor_of_the_others_and_are_named():
    block = normalized(np.ones((5, 4))).block("S", NonNegative(), {2: torch.ones(4), 0: torch.ones(4)})
    assert block.held == (0, 2)
    assert block.floor == 0
    out = block.prox(torch.full((3, 4), -1.0), 1.0)
    assert out[:, 0].tolist() == [1, 0, 1]


def test_a_cut_of_a_block_is_the_constraint_on_its_columns():
    p = normalized(np.ones((5, 4)))
    held = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for prox in (NonNegative(), Chain(Soft(0.3), NonNegative())):
        whole = p.block("S", prox, {1: held})
        X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
        for columns in (slice(1, 3), torch.tensor([3, 0])):
            part = whole.part(columns)
            assert torch.equal(part.prox(X[:, columns], 0.7), whole.prox(X, 0.7)[:, columns])
            assert part.held == (1,)
            assert part.floor == whole.floor
    X = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    block = p.block("S", Simplex(0))
    assert torch.equal(block.part(slice(2, 4)).prox(X[:, 2:], 1.0), block.prox(X, 1.0)[:, 2:])


def prior(*shape):
    return MaxEntropy(0.3, prior=torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1)


PLACES = {
    "a prior per pixel": (prior(2, 7), True),
    "a prior per component": (prior(2, 1), False),
    "one prior": (MaxEntropy(0.3, prior=0.2), False),
    "a weight per pixel": (Soft(torch.ones(2, 7)), True),
    "a weight per pixel inside a chain": (Chain(Soft(torch.ones(1, 7)), NonNegative()), True),
    "a weight per component inside a chain": (Chain(Soft(torch.ones(2, 1)), NonNegative()), False),
    "one per component": (PerComponent([NonNegative(), Soft(0.3)]), False),
    "one per component, with a weight per pixel": (PerComponent([NonNegative(), Soft(torch.ones(7))]), True),
    "a callable": (as_prox(lambda x, step: x.clamp(min=0.1)), True),
    "a callable per component": (PerComponent([NonNegative(), as_prox(lambda x, step: x.clamp(min=0.1))]), True),
}


@pytest.mark.parametrize("case", sorted(PLACES))
def test_a_constraint_that_differs_from_pixel_to_pixel_is_not_cut(case):
    prox, depends = PLACES[case]
    assert _depends_on_place(prox, axis=1) is depends
    p = normalized(np.ones((5, 7)))
    block = p.block("S", prox)
    assert (block.cut is None) is depends or block.separable == "no"


def test_a_constraint_that_differs_from_band_to_band_is_not_cut():
    p = normalized(np.ones((5, 7)))
    assert p.block("A", prior(5, 2)).cut is None
    assert p.block("A", prior(5, 1)).cut is None
    assert p.block("A", prior(1, 2)).cut is not None
    assert p.block("A", prior(2)).cut is not None  # broadcast over the components of every band
    X = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    block = p.block("A", prior(1, 2))
    torch.testing.assert_close(block.part(slice(1, 3)).prox(X[:, 1:3], 0.5), block.prox(X, 0.5)[:, 1:3])


@pytest.mark.parametrize("prox", [Smoothness(0.7), Simplex(1)], ids=repr)
def test_a_constraint_that_ties_pixels_together_is_not_cut(prox):
    assert normalized(np.ones((5, 7))).block("S", prox).cut is None
