import math

import pytest

from vermilion.datamodels import History, Status
from vermilion.errors import ParameterError
from vermilion.fit import RelativeDecrease


def history_of(objectives):
    history = History()
    for objective in objectives:
        history.append(objective=objective, gradient_evaluations=(1, 1))
    return history


def test_the_decrease_over_ten_iterations_is_compared_with_the_tolerance():
    # from 100 to 99.9 in ten iterations: 1e-3
    steady = history_of([100 - 0.01 * i for i in range(11)])
    assert RelativeDecrease(1.1e-3)(steady) is Status.CONVERGED
    assert RelativeDecrease(0.9e-3)(steady) is None


def test_a_short_history_does_not_stop():
    assert RelativeDecrease(0.5)(history_of([1.0] * 10)) is None
    assert RelativeDecrease(0.5)(history_of([1.0] * 11)) is Status.CONVERGED
    assert RelativeDecrease(0.5, window=2)(history_of([1.0] * 3)) is Status.CONVERGED


def test_no_tolerance_never_stops():
    assert RelativeDecrease(0)(history_of([0.0] * 50)) is None


def test_a_rise_is_no_convergence():
    assert RelativeDecrease(1e-3)(history_of([1.0] * 10 + [2.0])) is None


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_an_infinite_objective_is_no_convergence(value):
    assert RelativeDecrease(1e-3)(history_of([value] * 11)) is None


def test_the_sign_of_the_objective_does_not_matter():
    assert RelativeDecrease(1e-3)(history_of([-5.0] * 11)) is Status.CONVERGED


def test_numbers_out_of_range_are_refused():
    for tol in (-1.0, math.nan, math.inf):
        with pytest.raises(ParameterError, match="tol is"):
            RelativeDecrease(tol)
    with pytest.raises(ParameterError, match="window is 0"):
        RelativeDecrease(1e-3, window=0)
