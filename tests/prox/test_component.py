import pytest
import torch

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import Box, NonNegative, PerComponent, Simplex, Soft, UnitSum

X = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))


def test_each_morphology_gets_its_own_operator():
    y = PerComponent([NonNegative(), None, Simplex(1)], dim=0)(X, 1.0)
    torch.testing.assert_close(y, torch.stack([X[0].clamp(min=0), X[1], Simplex(0)(X[2], 1.0)]))


def test_each_spectrum_gets_its_own_operator():
    y = PerComponent([NonNegative(), None, Simplex(0)], dim=1)(X.T, 1.0)
    torch.testing.assert_close(y.T, torch.stack([X[0].clamp(min=0), X[1], Simplex(0)(X[2], 1.0)]))


def test_steps_and_penalties_go_with_the_components():
    prox = PerComponent([Soft(1.0), Soft(2.0), Soft(0.0)], dim=0)
    steps = torch.tensor([[0.1], [0.2], [0.3]])
    torch.testing.assert_close(prox(X, steps), Soft(torch.tensor([[0.1], [0.4], [0.0]]))(X, 1.0))
    torch.testing.assert_close(prox(X, torch.tensor(0.5)), Soft(torch.tensor([[0.5], [1.0], [0.0]]))(X, 1.0))
    assert float(prox.penalty(X)) == pytest.approx(float(X[0].abs().sum() + 2 * X[1].abs().sum()), rel=1e-6)


def test_components_count_as_coupled_because_they_may_not_be_torn_apart():
    assert PerComponent([None, Soft(0.1)], dim=0).couples == "component axis"
    assert PerComponent([None, Soft(0.1)], dim=1).couples == "pixel axis"
    assert PerComponent([None, Simplex(1)], dim=0).couples == "image"


def test_attributes_hold_if_they_hold_for_all():
    assert PerComponent([NonNegative(), None]).cone
    assert not PerComponent([NonNegative(), Box(0.0, 1.0)]).cone
    assert not PerComponent([NonNegative(), Soft(0.1)]).projection
    assert not PerComponent([NonNegative(), UnitSum(1)]).exact


def test_another_number_of_components_is_refused():
    with pytest.raises(ShapeError, match=r"x has shape \(3, 5\): expected 2 components along dimension 0"):
        PerComponent([None, None])(X, 1.0)


def test_an_empty_list_is_refused():
    with pytest.raises(ParameterError, match="operators is empty"):
        PerComponent([])
