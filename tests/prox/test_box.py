import math

import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.prox import Box

X = torch.tensor([[-3.0, 0.2], [0.9, 7.0]])


def test_entries_are_clipped_to_the_bounds():
    torch.testing.assert_close(Box(0.0, 1.0)(X, 1.0), torch.tensor([[0.0, 0.2], [0.9, 1.0]]))


def test_bounds_may_differ_between_entries():
    y = Box(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.0, 5.0]).double() + 1)(X, 1.0)
    torch.testing.assert_close(y, torch.tensor([[-1.0, 0.2], [1.0, 6.0]]))
    assert y.dtype == torch.float32


def test_a_side_may_stay_open_and_at_zero_it_is_a_cone():
    torch.testing.assert_close(Box(low=0.0)(X, 1.0), X.clamp(min=0))
    torch.testing.assert_close(Box(high=0.5)(X, 1.0), X.clamp(max=0.5))
    assert Box(low=0.0).cone
    assert Box(0.0, 0.0).cone
    assert not Box(0.0, 1.0).cone


def test_points_outside_have_infinite_penalty_but_rounding_does_not_count():
    box = Box(0.0, 1.0)
    assert float(box.penalty(torch.tensor([1 + 1e-6, 0.5]))) == 0
    assert float(box.penalty(torch.tensor([1.01, 0.5]))) == math.inf
    assert float(box.penalty(torch.tensor([-0.01, 0.5]))) == math.inf
    assert float(box.penalty(torch.tensor([math.nan, 0.5]))) == math.inf


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (math.inf, math.inf), (torch.tensor([0.0, 3.0]), 2.0)])
def test_bounds_without_a_number_between_them_are_refused(low, high):
    with pytest.raises(ParameterError, match="expected low <= high"):
        Box(low, high)
