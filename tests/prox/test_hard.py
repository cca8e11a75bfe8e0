import itertools

import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.prox import Hard, L0Ball


def test_entries_worth_less_than_the_price_are_cleared():
    # x^2 / 2 against weight step = 2: the threshold is 2, where both are equally good and the entry goes
    y = Hard(4.0)(torch.tensor([-2.1, 2.0, 1.9, 0.0, 3.0]), 0.5)
    torch.testing.assert_close(y, torch.tensor([-2.1, 0.0, 0.0, 0.0, 3.0]))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_that_float32_does_not_hold_do_no_harm(size):
    x = torch.tensor([size, -size])
    assert torch.equal(Hard(0.0)(x, 1.0), x)
    assert torch.equal(Hard(0.3)(x, 1.0), x if size > 1 else torch.zeros(2))


def test_the_penalty_counts():
    assert float(Hard(0.5).penalty(torch.tensor([0.0, -1e-30, 3.0]))) == 1.0
    assert float(L0Ball(2).penalty(torch.tensor([0.0, -1e-30, 3.0]))) == 0
    assert float(L0Ball(1).penalty(torch.tensor([0.0, -1e-30, 3.0]))) == float("inf")


def test_the_largest_entries_are_the_best_choice_of_all():
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = L0Ball(4)(x, 1.0)
    best = min(float((x.flatten()[list(rest)] ** 2).sum()) for rest in itertools.combinations(range(9), 5))
    assert int((y != 0).sum()) == 4
    assert float(((y - x) ** 2).sum()) == pytest.approx(best, rel=1e-14)


def test_along_an_axis_each_line_keeps_its_own():
    x = torch.tensor([[1.0, -5.0, 2.0], [7.0, 6.0, 8.0]])
    assert torch.equal(L0Ball(1, dim=1)(x, 1.0), torch.tensor([[0.0, -5.0, 0.0], [0.0, 0.0, 8.0]]))
    assert torch.equal(L0Ball(1, dim=0)(x, 1.0), torch.tensor([[0.0, 0.0, 0.0], [7.0, 6.0, 8.0]]))


def test_of_equal_entries_the_first_stay():
    assert torch.equal(L0Ball(2)(torch.tensor([1.0, -2.0, 2.0, -2.0]), 1.0), torch.tensor([0.0, -2.0, 2.0, 0.0]))


def test_asking_for_more_entries_than_there_are_changes_nothing():
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(L0Ball(9)(x, 1.0), x)


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_a_number_of_entries_below_one_is_refused(n):
    with pytest.raises(ParameterError, match="expected an integer >= 1"):
        L0Ball(n)


def test_a_negative_weight_of_the_count_is_refused():
    with pytest.raises(ParameterError, match="weight is -1"):
        Hard(-1)
