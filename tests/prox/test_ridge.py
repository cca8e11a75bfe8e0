import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.prox import ElasticNet, Soft, SquaredL2


def test_ridge_solves_its_linear_equation():
    # step weight y + y - x = 0
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    y = SquaredL2(2.0)(x, 0.25)
    torch.testing.assert_close(0.25 * 2.0 * y + y - x, torch.zeros(7, dtype=torch.float64))


def test_the_elastic_net_is_sparsity_then_ridge():
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ElasticNet(0.3, 0.5)(x, 0.7), SquaredL2(0.5)(Soft(0.3)(x, 0.7), 0.7))
    torch.testing.assert_close(ElasticNet(0.3, 0.0)(x, 0.7), Soft(0.3)(x, 0.7))
    torch.testing.assert_close(ElasticNet(0.0, 0.5)(x, 0.7), SquaredL2(0.5)(x, 0.7))


def test_the_penalties_are_worked_out_by_hand():
    x = torch.tensor([3.0, -1.0])
    assert float(SquaredL2(2.0).penalty(x)) == 10
    assert float(ElasticNet(0.5, 2.0).penalty(x)) == 0.5 * 4 + 10


def test_ridge_weights_may_differ_between_components():
    y = SquaredL2(torch.tensor([[1.0], [0.0]]))(torch.ones(2, 3), 1.0)
    torch.testing.assert_close(y, torch.tensor([[0.5] * 3, [1.0] * 3]))


def test_bad_weights_are_named():
    with pytest.raises(ParameterError, match=r"l2 is -1.*: expected finite numbers >= 0"):
        ElasticNet(0.1, -1.0)
    with pytest.raises(ParameterError, match="l1 is nan"):
        ElasticNet(float("nan"), 0.1)
