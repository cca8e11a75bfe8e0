"""Fluxes and errors against least squares of scipy, and against what noise really does."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from vermilion.errors import ParameterError, ShapeError
from vermilion.measure import constrained_errors, positive_fluxes, signal_to_noise, signed_fluxes


def dense(truth, data, b):
    """Design (N, n) and data (N,) of one band, divided by the noise."""
    seen = truth.weights[b] > 0
    root = np.sqrt(truth.weights[b][seen])
    return (truth.templates[:, b][:, seen] * root).T, data[b][seen] * root


def test_signed_fluxes_are_those_of_lstsq_and_the_covariance_its_inverse(make_truth):
    truth = make_truth()
    data = truth.draw(np.random.default_rng(1))
    fluxes, covariance = signed_fluxes(truth.templates, data, truth.weights)
    for b in range(3):
        design, y = dense(truth, data, b)
        np.testing.assert_allclose(fluxes[:, b], np.linalg.lstsq(design, y, rcond=None)[0], rtol=1e-9)
        np.testing.assert_allclose(covariance[b], np.linalg.inv(design.T @ design), rtol=1e-9)


def test_two_equal_pixels_by_hand():
    # t1 = (1, 0), t2 = (1, 1), w = 4: F = (d1 − d2, d2), covariance [[4, 4], [4, 8]]^-1
    templates = np.array([[[[1.0, 0.0]]], [[[1.0, 1.0]]]])
    fluxes, covariance = signed_fluxes(templates, np.array([[[3.0, 5.0]]]), np.full((1, 1, 2), 4.0))
    np.testing.assert_allclose(fluxes[:, 0], [-2, 5])
    np.testing.assert_allclose(covariance[0], [[0.5, -0.25], [-0.25, 0.25]])


@pytest.mark.parametrize("flux", [0.0, 30.0], ids=["empty sky", "faint blend"])
def test_pulls_of_signed_fluxes_are_standard_normal(make_truth, flux):
    truth = make_truth(2, flux=flux)
    rng = np.random.default_rng(2)
    templates = truth.templates[:, :, 5:38, 5:36]
    weights, models = truth.weights[:, 5:38, 5:36], truth.models[:, :, 5:38, 5:36].sum(axis=0)
    noise = rng.normal(size=(2000, *weights.shape)) / np.sqrt(np.where(weights > 0, weights, np.nan))
    pulls, whitened = [], []
    for draw in noise:
        fluxes, covariance = signed_fluxes(templates, models + draw, weights)
        pulls.append((fluxes - truth.fluxes) / np.sqrt(np.einsum("bii->ib", covariance)))
        whitened.append(np.linalg.solve(np.linalg.cholesky(covariance), (fluxes - truth.fluxes).T[..., None])[..., 0])
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.1
    assert np.abs(np.std(pulls, axis=0) - 1).max() < 0.06
    np.testing.assert_allclose(np.cov(np.reshape(whitened, (2000, -1)).T), np.eye(6), atol=0.12)


def test_positive_fluxes_are_those_of_a_bounded_solver(make_truth):
    truth = make_truth(flux=3.0)
    at_bound = 0
    for seed in range(5):
        data = truth.draw(np.random.default_rng(seed))
        fluxes, covariance = positive_fluxes(truth.templates, data, truth.weights)
        for b in range(3):
            design, y = dense(truth, data, b)
            other = lsq_linear(design, y, bounds=(0, np.inf), tol=1e-14).x
            np.testing.assert_allclose(fluxes[:, b], other, atol=1e-6)
            free = fluxes[:, b] > 0
            np.testing.assert_allclose(covariance[b][np.ix_(free, free)], np.linalg.inv(design[:, free].T @ design[:, free]), atol=1e-9)
            assert np.isnan(covariance[b][~free]).all()
            at_bound += (~free).sum()
        errors = constrained_errors(truth.templates, truth.weights, fluxes)
        np.testing.assert_allclose(errors, np.sqrt(np.einsum("bii->ib", covariance)))
        np.testing.assert_array_equal(np.isnan(errors), fluxes <= 0)
    assert at_bound > 3


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_the_weights_changes_no_flux(make_truth, scale):
    truth = make_truth(flux=3.0)
    data = truth.draw(np.random.default_rng(3))
    for fit in (signed_fluxes, positive_fluxes):
        one, covariance = fit(truth.templates, data, truth.weights)
        two, scaled = fit(truth.templates, data, scale * truth.weights)
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(scaled * scale, covariance, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scaling_the_data_scales_fluxes_and_errors(make_truth, scale):
    truth = make_truth(flux=3.0)
    data = truth.draw(np.random.default_rng(4))
    for fit in (signed_fluxes, positive_fluxes):
        one, covariance = fit(truth.templates, data, truth.weights)
        two, scaled = fit(truth.templates, scale * data, truth.weights / scale**2)
        np.testing.assert_allclose(two / scale, one, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(scaled / scale**2, covariance, atol=1e-9)


def test_absent_pixels_may_hold_anything(make_truth):
    truth = make_truth()
    data = truth.draw(np.random.default_rng(5))
    assert np.isnan(data).any()
    for value in (0.0, np.inf, 1e30):
        other = np.where(truth.weights > 0, data, value)
        for fit in (signed_fluxes, positive_fluxes):
            for one, two in zip(fit(truth.templates, data, truth.weights), fit(truth.templates, other, truth.weights), strict=True):
                np.testing.assert_array_equal(one, two)


def test_float32_gives_what_float64_gives(make_truth):
    truth = make_truth()
    data = truth.draw(np.random.default_rng(6))
    single = [x.astype(np.float32) for x in (truth.templates, data, truth.weights)]
    for fit in (signed_fluxes, positive_fluxes):
        one, two = fit(truth.templates, data, truth.weights), fit(*single)
        assert two[0].dtype == np.float64
        np.testing.assert_allclose(two[0], one[0], rtol=1e-4)
        np.testing.assert_allclose(two[1], one[1], rtol=1e-4)


def test_two_equal_sources_share_their_light_and_say_that_nothing_tells_them_apart(make_truth):
    truth = make_truth()
    data = truth.draw(np.random.default_rng(7))
    twice = truth.templates[[0, 1, 1, 2]]
    fluxes, covariance = signed_fluxes(truth.templates, data, truth.weights)
    shared, other = signed_fluxes(twice, data, truth.weights)
    np.testing.assert_allclose(shared[[0, 3]], fluxes[[0, 2]], rtol=1e-9)
    np.testing.assert_allclose(shared[1], fluxes[1] / 2, rtol=1e-9)
    np.testing.assert_allclose(shared[2], fluxes[1] / 2, rtol=1e-9)
    variances = np.einsum("bii->ib", other)
    assert np.isinf(variances[1:3]).all()
    np.testing.assert_allclose(other[:, ::3, ::3], covariance[:, ::2, ::2], rtol=1e-9)
    assert np.isnan(other[:, 1, 3]).all()
    positive, _ = positive_fluxes(twice, data, truth.weights)
    np.testing.assert_allclose(positive[1] + positive[2], fluxes[1], rtol=1e-6)
    errors = constrained_errors(twice, truth.weights, np.ones_like(positive))
    assert np.isinf(errors[1:3]).all()
    assert np.isfinite(errors[::3]).all()


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3])
def test_a_close_pair_has_the_large_errors_of_extended_precision(make_truth, distance):
    pair = [("point", (20.0, 20.0), 0.0, 1.0, 0.0), ("point", (20.0, 20.0 + distance), 0.0, 1.0, 0.0)]
    truth = make_truth(1, sources=pair, bad=0)
    _, covariance = signed_fluxes(truth.templates, truth.models.sum(axis=0), truth.weights)
    t, w = truth.templates[:, 0].reshape(2, -1).astype(np.longdouble), truth.weights[0].ravel().astype(np.longdouble)
    (a, b), (_, c) = (t * w) @ t.T
    assert covariance[0, 0, 0] == pytest.approx(float(c / (a * c - b * b)), rel=1e-6)


def test_a_source_outside_the_frame_is_not_measured_and_leaves_the_others_alone(make_truth):
    truth = make_truth()
    data = truth.draw(np.random.default_rng(8))
    templates = np.concatenate([truth.templates, np.zeros_like(truth.templates[:1])])
    for fit in (signed_fluxes, positive_fluxes):
        fluxes, covariance = fit(templates, data, truth.weights)
        expected, inner = fit(truth.templates, data, truth.weights)
        np.testing.assert_allclose(fluxes[:3], expected, rtol=1e-9)
        np.testing.assert_allclose(covariance[:, :3, :3], inner, rtol=1e-9)
        assert np.isnan(fluxes[3]).all()
        assert np.isinf(covariance[:, 3, 3]).all()
    blind = truth.weights.copy()
    blind[1] = 0
    fluxes, covariance = signed_fluxes(truth.templates, data, blind)
    np.testing.assert_array_equal(np.isnan(fluxes), [[False, True, False]] * 3)


def test_the_last_digits_of_a_wing_are_no_measurement(make_truth):
    far = [("point", (20.0, 20.0), 0.0, 1.0, 0.0), ("point", (20.0, 57.0), 0.0, 1.0, 0.0)]  # 10 sigma outside, exp(-50) at the edge
    truth = make_truth(1, sources=far, bad=0)
    fluxes, covariance = signed_fluxes(truth.templates, truth.draw(np.random.default_rng(9)), truth.weights)
    np.testing.assert_array_equal(np.isnan(fluxes[:, 0]), [False, True])
    np.testing.assert_array_equal(np.isinf(np.diag(covariance[0])), [False, True])
    alone, variance = signed_fluxes(truth.templates[1:], truth.draw(np.random.default_rng(9)), truth.weights)
    assert abs(alone[0, 0]) < 5 * np.sqrt(variance[0, 0, 0])


def test_no_source_at_all():
    empty = np.zeros((0, 2, 5, 6))
    for fit in (signed_fluxes, positive_fluxes):
        fluxes, covariance = fit(empty, np.ones((2, 5, 6)), np.ones((2, 5, 6)))
        assert fluxes.shape == (0, 2)
        assert covariance.shape == (2, 0, 0)
    assert constrained_errors(empty, np.ones((2, 5, 6)), np.zeros((0, 2))).shape == (0, 2)


def test_signal_to_noise_counts_what_is_positive_and_has_an_error():
    per_band, total = signal_to_noise(np.array([[3.0, -2.0, 8.0, 5.0]]), np.array([[1.0, 1.0, 2.0, np.inf]]))
    np.testing.assert_array_equal(per_band, [[3, -2, 4, 0]])
    np.testing.assert_array_equal(total, [5])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda t, d, w: (t[0], d, w), ShapeError, r"expected \(n, B, Ny, Nx\)"),
        (lambda t, d, w: (t, d[:1], w), ShapeError, "expected equal shapes"),
        (lambda t, d, w: (t, d, -w), ParameterError, "weight 0"),
        (lambda t, d, w: (t, d, w / 0), ParameterError, "non-finite"),
        (lambda t, d, w: (t * np.nan, d, w), ParameterError, "a model of 0"),
        (lambda t, d, w: (t, d * np.nan, w), ParameterError, "data is not finite in pixels with weight"),
    ],
)
def test_input_that_makes_no_sense_is_refused(change, error, text):
    with np.errstate(divide="ignore"):
        arguments = change(np.ones((2, 2, 3, 3)), np.ones((2, 3, 3)), np.ones((2, 3, 3)))
    with pytest.raises(error, match=text):
        signed_fluxes(*arguments)
