"""Normalization of the data and of the constraints."""

import numpy as np
import pytest
import torch

from vermilion.alternating import Problem
from vermilion.errors import NoDataError
from vermilion.prox import Chain, MaxEntropy, NonNegative, Simplex, Soft

CPU = torch.device("cpu")


def normalized(Y, W=None, **options):
    return Problem.normalized(torch.as_tensor(Y), None if W is None else torch.as_tensor(W), dtype=torch.float32, device=CPU, **options)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_normalized_data_have_rms_one_and_weights_mean_one_in_any_unit(scale):
    rng = np.random.default_rng(0)
    Y, W = scale * rng.normal(size=(6, 50)), rng.gamma(1.0, size=(6, 50)) / scale**2
    W[0, :10] = 0
    Y[0, :10] = np.nan
    p = normalized(Y, W)
    good = W > 0
    assert p.Y.dtype == p.W.dtype == torch.float32
    assert float(p.Y[good].double().square().mean()) == pytest.approx(1, rel=1e-6)
    assert float(p.W[good].double().mean()) == pytest.approx(1, rel=1e-6)
    assert bool((p.Y[~good] == 0).all() & (p.W[~good] == 0).all())
    np.testing.assert_allclose(p.Y[good].double() * p.data_scale, Y[good], rtol=1e-6)
    np.testing.assert_allclose(p.W[good].double() * p.weight_scale, W[good], rtol=1e-6)


def test_values_that_are_not_finite_lose_their_weight():
    p = normalized([[1.0, np.nan], [np.inf, -1.0]])
    assert p.W.tolist() == [[1, 0], [0, 1]]
    assert p.Y.tolist() == [[1, 0], [0, -1]]


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
