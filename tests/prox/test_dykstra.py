import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from vermilion.errors import ConvergenceWarning, ParameterError
from vermilion.prox import (
    AffineSum,
    Box,
    Chain,
    Dykstra,
    GroupL21,
    Identity,
    L2Ball,
    NonNegative,
    Simplex,
    Soft,
    Stiefel,
    Symmetric,
    UnitSum,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_positive_entries_with_a_fixed_sum_are_the_simplex(seed):
    x = draw(6, 4, seed=seed)
    torch.testing.assert_close(Dykstra(NonNegative(), AffineSum(0))(x, 1.0), Simplex(0)(x, 1.0), rtol=0, atol=1e-9)
    torch.testing.assert_close(Dykstra(AffineSum(0), NonNegative())(x, 1.0), Simplex(0)(x, 1.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_capped_simplex_agrees_with_a_general_optimizer(seed):
    x = draw(7, seed=seed)
    constraint = {"type": "eq", "fun": lambda y: y.sum() - 1}
    found = minimize(lambda y: ((y - x.numpy()) ** 2).sum(), np.full(7, 1 / 7), bounds=[(0, 0.3)] * 7, constraints=[constraint], tol=1e-13)
    np.testing.assert_allclose(Dykstra(Box(high=0.3), Simplex(0))(x, 1.0).numpy(), found.x, atol=1e-6)


def test_penalties_of_which_the_sum_is_known_agree():
    x = 3 * draw(6, 4)
    torch.testing.assert_close(Dykstra(Soft(0.3), NonNegative())(x, 0.7), Chain(Soft(0.3), NonNegative())(x, 0.7))
    # sparse groups of sparse entries: soft thresholding, then that of the groups
    known = GroupL21(0.5, dim=0)(Soft(0.3)(x, 0.7), 0.7)
    torch.testing.assert_close(Dykstra(GroupL21(0.5, dim=0), Soft(0.3))(x, 0.7), known, rtol=0, atol=1e-9)


def test_a_chain_of_projections_is_not_the_nearest_point_but_this_is():
    x = torch.tensor([-10.0, 0.2], dtype=torch.float64)
    assert float((Chain(AffineSum(0), NonNegative())(x, 1.0) - Simplex(0)(x, 1.0)).abs().max()) > 1
    torch.testing.assert_close(Dykstra(AffineSum(0), NonNegative())(x, 1.0), Simplex(0)(x, 1.0), rtol=0, atol=1e-9)


def test_three_sets_at_once_are_all_met():
    prox = Dykstra(Symmetric(shape=(3, 3)), Box(high=0.2), Simplex(1))
    y = prox(draw(4, 9), 1.0)
    assert float(prox.penalty(y)) == 0
    for seed in range(40):
        rival = prox(draw(4, 9, seed=1 + seed), 1.0)
        assert float(((draw(4, 9) - y) * (rival - y)).sum()) <= 1e-8


def test_one_operator_is_itself_and_steps_reach_the_members():
    x = draw(3, 4)
    step = torch.tensor([[0.1], [1.0], [3.0]])
    torch.testing.assert_close(Dykstra(Soft(0.3))(x, step), Soft(0.3)(x, step))


def test_attributes_follow_from_the_members():
    assert Dykstra(NonNegative(), Symmetric(shape=(2, 2))).cone
    assert not Dykstra(NonNegative(), Simplex(0)).cone
    assert Dykstra(NonNegative(), Simplex(0)).projection
    assert not Dykstra(NonNegative(), Soft(0.1)).projection
    assert Dykstra(NonNegative(), Simplex(0)).couples == "component axis"
    assert Dykstra(L2Ball(1.0, dim=1), Simplex(0)).couples == "image"
    assert repr(Dykstra(Identity(), max_iter=7)) == "Dykstra(Identity(), max_iter=7, tol=1e-12)"


def test_sets_that_do_not_meet_are_reported():
    with pytest.warns(ConvergenceWarning, match="do the sets meet"):
        y = Dykstra(Box(high=0.1), Simplex(0), max_iter=100)(draw(4), 1.0)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("operator", [UnitSum(0), Stiefel(), torch.tanh], ids=["inexact", "not convex", "unknown"])
def test_members_that_are_not_exact_and_convex_are_refused(operator):
    with pytest.raises(ParameterError, match="not both exact and convex"):
        Dykstra(NonNegative(), operator)


@pytest.mark.parametrize("options", [{"max_iter": 0}, {"tol": -1.0}, {"tol": math.nan}])
def test_limits_out_of_range_are_refused(options):
    with pytest.raises(ParameterError, match="expected max_iter >= 1 and tol >= 0"):
        Dykstra(NonNegative(), **options)


def test_no_operator_at_all_is_refused():
    with pytest.raises(ParameterError, match="expected one or more"):
        Dykstra()
