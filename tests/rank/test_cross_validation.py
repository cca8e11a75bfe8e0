"""Held-out values are predicted best by as many components as there are."""

import numpy as np
import pytest

from vermilion.prox import Identity
from vermilion.rank import cross_validation
from vermilion.rank.cross_validation import CrossValidation, held_out

BRIEF = {"max_iter": 60, "tol": 1e-3}


@pytest.fixture(scope="module")
def three():
    rng = np.random.default_rng(0)
    Y = rng.gamma(0.7, size=(30, 3)) @ (10 * rng.gamma(0.7, size=(3, 200))) + rng.normal(size=(30, 200))
    return Y, np.ones(Y.shape)


def test_three_components_predict_best_and_leave_the_noise(three):
    found = cross_validation(*three, 5, **BRIEF)
    assert found.count == 3
    assert found.n_components[0] == 0
    assert found.error[3] == pytest.approx(1.15, abs=0.15)
    assert found.error[0] > 5 * found.error[3]
    assert found.standard_error[found.least] == 0


def test_errors_are_in_units_of_the_claimed_noise(three):
    Y, W = three
    plain, scaled = (cross_validation(y, w, 1, folds=1, **BRIEF) for y, w in ((Y, W), (1e-20 * Y, 1e40 * W)))
    np.testing.assert_allclose(scaled.error, plain.error, rtol=1e-3)


def test_signed_components_are_found_without_constraints():
    rng = np.random.default_rng(1)
    Y = rng.normal(size=(30, 2)) @ (4 * rng.normal(size=(2, 200))) + rng.normal(size=(30, 200))
    found = cross_validation(Y, np.ones(Y.shape), 4, spectra=Identity(), morphologies=Identity(), **BRIEF)
    assert found.count == 2


def test_noise_needs_no_component():
    Y = np.random.default_rng(2).normal(size=(30, 200))
    assert cross_validation(Y, np.ones(Y.shape), 3, **BRIEF).count == 0


def test_absent_values_may_hold_anything(three):
    Y, W = (x.copy() for x in three)
    absent = np.random.default_rng(3).random(Y.shape) < 0.2
    Y[absent], W[absent] = np.nan, 0
    assert cross_validation(Y, W, 4, **BRIEF).count == 3


def test_whole_blocks_are_held_out():
    blocks = np.arange(60).reshape(6, 10) // 5
    W = np.ones((6, 10))
    W[0, 0] = 0
    held = held_out(W, 0.3, blocks, np.random.default_rng(4))
    assert not held[0, 0]
    W[0, 0] = 1
    held = held_out(W, 0.3, blocks, np.random.default_rng(4))
    assert 0 < held.sum() < 60
    for block in range(12):
        assert held[blocks == block].all() or not held[blocks == block].any()


def test_the_smallest_number_within_one_standard_error_is_chosen():
    found = CrossValidation(np.arange(4), np.array([9.0, 1.2, 1.0, 1.1]), np.array([1.0, 0.3, 0.0, 0.2]), 2, None, 10)
    assert (found.count, found.least) == (1, 2)
