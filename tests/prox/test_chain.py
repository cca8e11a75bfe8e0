import itertools

import pytest
import torch

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import (
    Box,
    Chain,
    Dykstra,
    ElasticNet,
    GroupL21,
    Hard,
    Identity,
    L0Ball,
    L1Ball,
    L2Ball,
    MaxEntropy,
    NonNegative,
    Simplex,
    Soft,
    Stiefel,
    UnitSum,
)


def test_operators_act_in_the_order_given():
    x = torch.tensor([-1.0, 1.0, 3.0])
    torch.testing.assert_close(Chain(NonNegative(), UnitSum(0))(x, 1.0), torch.tensor([0.0, 0.25, 0.75]))
    torch.testing.assert_close(Chain(UnitSum(0), NonNegative())(x, 1.0), torch.tensor([0.0, 1 / 3, 1.0]))


@pytest.mark.parametrize(
    ("chain", "exact"),
    [
        (Chain(), True),
        (Chain(Simplex(0)), True),
        (Chain(Identity(), Simplex(0)), True),
        (Chain(Soft(0.1), NonNegative()), True),
        (Chain(NonNegative(), Soft(0.1)), True),
        (Chain(MaxEntropy(0.1), NonNegative()), True),
        (Chain(Soft(0.1), Box(-0.2, 1.0)), True),
        (Chain(Box(-0.2, 1.0), Soft(0.1)), False),
        (Chain(Hard(0.1), NonNegative()), False),
        (Chain(NonNegative(), Hard(0.1)), True),
        (Chain(NonNegative(), L0Ball(2)), True),
        (Chain(NonNegative(), GroupL21(0.1)), True),
        (Chain(GroupL21(0.1), NonNegative()), False),
        (Chain(Simplex(0), Box(0.0, 0.5)), False),
        (Chain(NonNegative(), Simplex(0)), False),
        (Chain(NonNegative(), UnitSum(0)), False),
        (Chain(UnitSum(0)), False),
        (Chain(Soft(0.1), MaxEntropy(0.1)), False),
        (Chain(torch.tanh), False),
    ],
    ids=repr,
)
def test_only_proven_chains_call_themselves_exact(chain, exact):
    assert chain.exact is exact


def test_a_penalty_between_bounds_is_what_dykstra_finds():
    x = 2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = Box(-0.2, 1.0)
    torch.testing.assert_close(Chain(Soft(0.3), box)(x, 0.8), Dykstra(Soft(0.3), box)(x, 0.8), rtol=0, atol=1e-10)
    assert float((Chain(box, Soft(0.3))(x, 0.8) - Dykstra(Soft(0.3), box)(x, 0.8)).abs().max()) > 0.1


@pytest.mark.parametrize("operator", [GroupL21(0.7, dim=0), L1Ball(1.0, dim=0), L2Ball(1.0), ElasticNet(0.3, 0.5)], ids=repr)
def test_positive_points_that_shrink_are_what_dykstra_finds(operator):
    x = 2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = Dykstra(operator, NonNegative())(x, 0.8)
    torch.testing.assert_close(Chain(NonNegative(), operator)(x, 0.8), found, rtol=0, atol=1e-9)


def test_few_positive_entries_are_the_best_choice_of_all():
    x = torch.tensor([-3.0, 0.5, 1.0, -0.2, 0.8], dtype=torch.float64)
    for n in (1, 2, 3, 4):
        y = Chain(NonNegative(), L0Ball(n))(x, 1.0)
        choices = [x.clamp(min=0) * torch.tensor([k in kept for k in range(5)]) for kept in itertools.combinations(range(5), n)]
        assert float(((y - x) ** 2).sum()) == min(float(((choice - x) ** 2).sum()) for choice in choices)
    # the largest in size is negative: clearing first, then clipping, would leave nothing
    assert not Chain(L0Ball(1), NonNegative())(x, 1.0).any()


def test_clipping_before_the_simplex_is_not_the_projection():
    # why Chain(NonNegative(), Simplex(0)) may not call itself exact
    x = torch.tensor([-10.0, 0.2])
    torch.testing.assert_close(Simplex(0)(x, 1.0), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(Chain(NonNegative(), Simplex(0))(x, 1.0), torch.tensor([0.4, 0.6]))


def test_chains_unfold_and_tell_what_they_couple():
    chain = Chain(Chain(Soft(0.1), NonNegative()), UnitSum(1))
    assert [type(operator) for operator in chain.operators] == [Soft, NonNegative, UnitSum]
    assert chain.couples == "pixel axis"
    assert Chain(Simplex(0), Simplex(1)).couples == "image"
    assert Chain(NonNegative(), NonNegative()).cone


def test_the_penalty_is_the_sum():
    x = torch.tensor([1.0, 3.0])
    assert float(Chain(Soft(0.5), NonNegative()).penalty(x)) == 2.0
    assert float(Chain(Soft(0.5), NonNegative()).penalty(-x)) == float("inf")


def test_soft_shrinks_by_weight_times_step():
    weight = torch.tensor([[1.0], [0.0]])
    y = Soft(weight)(torch.tensor([[3.0, -0.2], [3.0, -0.2]]), 0.5)
    torch.testing.assert_close(y, torch.tensor([[2.5, 0.0], [3.0, -0.2]]))
    with pytest.raises(ParameterError, match="weight is -1"):
        Soft(-1)


def test_orthonormal_columns_come_nearest():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = Stiefel()(x, 1.0)
    torch.testing.assert_close(y.T @ y, torch.eye(3, dtype=torch.float64))
    for seed in range(200):
        rival = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q
        assert float(((y - x) ** 2).sum()) <= float(((rival - x) ** 2).sum())


def test_more_columns_than_rows_cannot_be_orthonormal():
    with pytest.raises(ShapeError, match="rows >= columns"):
        Stiefel()(torch.zeros(2, 3), 1.0)


def test_a_matrix_that_is_not_finite_gives_nan_and_no_crash():
    assert torch.isnan(Stiefel()(torch.full((3, 2), float("inf")), 1.0)).all()
