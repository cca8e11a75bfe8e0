"""Weights for counts: from the expectation of each pixel, to which its own datum does not belong."""

import numpy as np
import pytest

from vermilion.diagnose.expected_counts import expected_counts
from vermilion.errors import ParameterError, ShapeError


def rates(shape=(6, 40, 40), faint=0.02, bright=200.0):
    """Smooth rates that span four decades from band to band and a hundredfold over the image."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    image = 0.01 + np.exp(-0.5 * ((y - 18) ** 2 + (x - 22) ** 2) / 8**2)
    return np.geomspace(bright, faint, shape[0])[:, None, None] * image


def test_an_even_rate_is_found_as_it_is():
    np.testing.assert_allclose(expected_counts(np.full((2, 12, 15), 50.0)), 50)


def test_a_datum_has_no_part_in_its_own_expectation():
    counts = np.random.default_rng(0).poisson(5.0, (1, 11, 11)).astype(float)
    before = expected_counts(counts)[0, 5, 5]
    counts[0, 5, 5] = 1e4
    assert expected_counts(counts)[0, 5, 5] == pytest.approx(before)


def test_by_hand_in_the_middle_of_nine_pixels():
    """Eight neighbors with 40 counts together: 5 expected."""
    counts = np.array([[[5.0, 5, 5], [5, 99, 5], [5, 5, 5]]])
    assert expected_counts(counts)[0, 1, 1] == pytest.approx(5)


def test_weighted_means_are_not_biased_as_with_weights_from_the_data():
    truth = rates()
    sums, own = [], []
    for seed in range(20):
        counts = np.random.default_rng(seed).poisson(truth).astype(float)
        weights = 1 / expected_counts(counts)
        # least-squares scale of the true image in each band
        sums.append((weights * truth * counts).sum(axis=(1, 2)) / (weights * truth**2).sum(axis=(1, 2)))
        weights = 1 / np.maximum(counts, 1)
        own.append((weights * truth * counts).sum(axis=(1, 2)) / (weights * truth**2).sum(axis=(1, 2)))
    np.testing.assert_allclose(np.mean(sums, axis=0)[:4], 1, atol=0.03)
    assert np.mean(own, axis=0)[:4].min() < 0.93


def test_the_variance_of_the_residuals_is_the_expectation():
    truth = rates()
    counts = np.random.default_rng(1).poisson(truth).astype(float)
    pulls = (counts - truth) / np.sqrt(expected_counts(counts))
    np.testing.assert_allclose(pulls[:2].std(axis=(1, 2)), 1, atol=0.05)


def test_exposure_scales_the_expectation_and_its_absence_leaves_nan():
    exposure = np.ones((20, 20))
    exposure[:, 10:], exposure[:3] = 4.0, 0.0
    counts = np.random.default_rng(2).poisson(30 * np.broadcast_to(exposure, (3, 20, 20))).astype(float)
    found = expected_counts(counts, exposure)
    assert np.isnan(found[:, :3]).all()
    np.testing.assert_allclose(found[:, 3:], 30 * np.broadcast_to(exposure, found.shape)[:, 3:], rtol=0.35)
    np.testing.assert_allclose(found[:, 3:, 10:].mean(), 120, rtol=0.03)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (2, 5, 1), (1, 30, 2)])
def test_empty_and_narrow_images_give_positive_expectations(shape):
    for counts in (np.zeros(shape), np.ones(shape)):
        found = expected_counts(counts)
        assert np.isfinite(found).all()
        assert (found > 0).all()


def test_masked_and_missing_values_do_not_count():
    counts = np.full((1, 9, 9), 30.0)
    counts[0, 4, 4], counts[0, 2, 2] = np.nan, 1e6
    good = np.ones(counts.shape, dtype=bool)
    good[0, 2, 2] = False
    found = expected_counts(counts, good=good)
    assert np.isnan(found[0, [4, 2], [4, 2]]).all()
    np.testing.assert_allclose(found[np.isfinite(found)], 30)


@pytest.mark.parametrize(
    ("counts", "options", "error", "text"),
    [
        (np.ones((3, 3)), {}, ShapeError, r"expected \(bands, y, x\)"),
        (-np.ones((1, 3, 3)), {}, ParameterError, "counts go down to -1"),
        (np.ones((1, 3, 3)), {"at_least": 0}, ParameterError, "at_least is 0"),
    ],
)
def test_impossible_arguments_are_refused(counts, options, error, text):
    with pytest.raises(error, match=text):
        expected_counts(counts, **options)
