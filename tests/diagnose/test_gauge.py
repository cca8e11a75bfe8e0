"""Scale and order of the factors, by hand."""

import numpy as np
import pytest

from vermilion.diagnose.gauge import condition_number, flux_order, unit_sum_gauge


def test_the_gauge_divides_spectra_by_their_sums_and_keeps_the_product():
    rng = np.random.default_rng(0)
    A, S = rng.random((6, 3)), rng.random((3, 4))
    scale, by_absolute = unit_sum_gauge(A, S)
    np.testing.assert_allclose((A / scale).sum(axis=0), 1)
    np.testing.assert_allclose((A / scale) @ (scale[:, None] * S), A @ S)
    assert not by_absolute.any()


def test_a_vanishing_sum_is_replaced_by_that_of_absolute_values():
    # sums 0 and 4, absolute sums 2 and 4
    A = np.array([[1.0, 1.0], [-1.0, 3.0]])
    scale, by_absolute = unit_sum_gauge(A, np.ones((2, 5)))
    assert scale.tolist() == [2, 4]
    assert by_absolute.tolist() == [True, False]


@pytest.mark.parametrize(("signed", "expected"), [(True, -2.0), (False, 4.0)])
def test_a_negative_sum_turns_the_sign_only_where_maps_may_be_negative(signed, expected):
    scale, by_absolute = unit_sum_gauge(np.array([[1.0], [-3.0]]), np.ones((1, 2)), signed=signed)
    assert scale.tolist() == [expected]
    assert by_absolute.tolist() == [not signed]


def test_kept_and_empty_components_keep_their_scale():
    A = np.array([[2.0, 0.0, 5.0, 1.0], [2.0, 0.0, 5.0, -1.0]])
    scale, by_absolute = unit_sum_gauge(A, np.ones((4, 3)), keep=[2, 3])
    assert scale.tolist() == [4, 1, 1, 1]
    assert not by_absolute.any()


def test_components_come_in_order_of_flux():
    # fluxes 1·2, 2·3, 1·4
    A, S = np.array([[1.0, 2.0, 1.0]]), np.array([[2.0], [3.0], [4.0]])
    assert flux_order(A, S).tolist() == [1, 2, 0]


def test_kept_components_stay_at_their_place_in_the_order():
    A, S = np.ones((1, 4)), np.array([[1.0], [2.0], [3.0], [4.0]])
    assert flux_order(A, S, keep=[1]).tolist() == [3, 1, 2, 0]


def test_equal_fluxes_stay_in_order():
    assert flux_order(np.ones((2, 3)), np.ones((3, 2))).tolist() == [0, 1, 2]


def test_the_condition_number_does_not_depend_on_units_and_finds_doubles():
    A = np.random.default_rng(0).gamma(1.0, size=(30, 3))
    assert condition_number(A * [1, 1e6, 1e-9]) == pytest.approx(condition_number(A))
    assert condition_number(A) == pytest.approx(np.linalg.cond(A / np.linalg.norm(A, axis=0)))
    assert condition_number(A[:, [0, 1, 1]]) > 1e12
    assert condition_number(np.zeros((4, 2))) == np.inf
    assert condition_number(np.ones((2, 3))) == np.inf
