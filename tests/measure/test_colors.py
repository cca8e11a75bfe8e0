"""Colors against propagated errors, against draws, and where they end."""

import numpy as np
import pytest

from vermilion.errors import ShapeError
from vermilion.measure import colors, magnitude_errors, magnitudes

FLUXES = np.array([[100.0, 50.0, 200.0]])
ERRORS = np.array([[5.0, 4.0, 10.0]])


def test_colors_by_hand():
    found = colors(FLUXES, ERRORS, zero_points=[25.0, 26.0, 25.0])
    np.testing.assert_allclose(found.magnitudes, [[-2.5 * np.log10(2) - 1, 2.5 * np.log10(4) + 1]])
    np.testing.assert_allclose(found.ratios, [[2, 0.25]])
    # 2.5 / ln 10 = 1.085736; relative errors .05, .08, .05
    np.testing.assert_allclose(found.errors, 1.0857362 * np.sqrt([[0.05**2 + 0.08**2, 0.08**2 + 0.05**2]]), rtol=1e-6)
    np.testing.assert_allclose(found.covariance[0, 0, 1], -((1.0857362 * 0.08) ** 2), rtol=1e-6)
    np.testing.assert_allclose(found.ratio_errors, np.array([[2, 0.25]]) * np.sqrt([[0.05**2 + 0.08**2, 0.08**2 + 0.05**2]]))
    np.testing.assert_allclose(magnitudes(FLUXES, 25.0)[0, 0], 20.0)
    np.testing.assert_allclose(magnitude_errors(FLUXES, ERRORS)[0, 0], 1.0857362 * 0.05, rtol=1e-6)


def test_correlated_bands_against_the_derivatives():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    covariance = (root @ root.T)[None]
    found = colors(FLUXES, covariance)

    def derivative(of):
        h = 1e-4 * np.eye(3)
        return np.array([(of(FLUXES + d) - of(FLUXES - d))[0] / 2e-4 for d in h]).T

    J = derivative(lambda f: colors(f, ERRORS).magnitudes)
    np.testing.assert_allclose(found.covariance[0], J @ covariance[0] @ J.T, rtol=1e-6)
    J = derivative(lambda f: colors(f, ERRORS).ratios)
    np.testing.assert_allclose(found.ratio_errors[0] ** 2, np.diag(J @ covariance[0] @ J.T), rtol=1e-6)


def test_covariance_and_bias_of_colors_are_those_of_draws():
    rng = np.random.default_rng(1)
    n, snr = 200_000, np.array([10.0, 20.0, 8.0])
    draws = FLUXES * (1 + rng.normal(size=(n, 3)) / snr)
    found, truth = colors(draws, np.ones_like(draws) * FLUXES / snr), colors(FLUXES, FLUXES / snr)
    np.testing.assert_allclose(np.cov(found.magnitudes.T), truth.covariance[0], rtol=0.06)
    np.testing.assert_allclose(found.ratios.std(axis=0), truth.ratio_errors[0], rtol=0.08)
    # to second order, as the docstring says; what remains is of fourth order
    bias = 0.5 * 1.0857362 * (snr[:-1] ** -2 - snr[1:] ** -2)
    np.testing.assert_allclose(found.magnitudes.mean(axis=0) - truth.magnitudes[0], bias, atol=1e-3)
    np.testing.assert_allclose(found.ratios.mean(axis=0) / truth.ratios[0] - 1, snr[1:] ** -2.0, atol=2e-3)
    assert (np.abs(found.magnitudes.mean(axis=0) - truth.magnitudes[0]) < 0.1 * truth.errors[0]).all()


def test_colors_are_absent_where_fluxes_are_not_positive():
    found = colors(np.array([[10.0, -1.0, 5.0, 0.0]]), np.ones((1, 4)))
    np.testing.assert_array_equal(np.isnan(found.magnitudes), [[True, True, True]])
    np.testing.assert_array_equal(np.isnan(found.errors), [[True, True, True]])
    np.testing.assert_array_equal(np.isnan(found.ratios), [[True, False, True]])
    np.testing.assert_allclose(found.ratios[0, 1], -0.2)
    np.testing.assert_allclose(found.ratio_errors[0, 1], np.sqrt(1 + 0.2**2) / 5)
    zero = colors(np.array([[0.0, 5.0]]), np.ones((1, 2)))
    assert zero.ratios[0, 0] == 0
    assert zero.ratio_errors[0, 0] == pytest.approx(0.2)
    assert np.isnan(colors(np.array([[1.0, 2.0]]), np.array([[np.nan, 1.0]])).errors).all()


@pytest.mark.parametrize("n", [0, 3])
def test_one_band_has_no_color(n):
    found = colors(np.ones((n, 1)), np.ones((n, 1)))
    assert found.magnitudes.shape == (n, 0)
    assert found.covariance.shape == (n, 0, 0)


def test_small_and_large_units_change_nothing():
    for unit in (1e-20, 1e20):
        np.testing.assert_allclose(colors(FLUXES * unit, ERRORS * unit).covariance, colors(FLUXES, ERRORS).covariance)


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"expected \(n, B\) errors or \(n, B, B\)"):
        colors(np.ones((2, 3)), np.ones((2, 2)))
