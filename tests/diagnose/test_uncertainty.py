"""Errors against the dense formula, and against what noise really does."""

import numpy as np
import pytest

from vermilion import factorize
from vermilion.diagnose.uncertainty import least_squares_maps, morphology_errors, noise_from_residuals, spectra_errors


def draw(seed=0, *, n_bands=9, n_pixels=14, K=3):
    rng = np.random.default_rng(seed)
    W = rng.gamma(1.0, size=(n_bands, n_pixels)) * (rng.random((n_bands, n_pixels)) > 0.2)
    return rng.random((n_bands, K)) * [1, 1e-8, 1e8], rng.random((K, n_pixels)), W, rng.normal(size=(n_bands, n_pixels))


def test_morphology_errors_are_those_of_least_squares_per_pixel():
    A, _, W, _ = draw()
    errors = morphology_errors(A, W, W.shape[1])
    D = np.array([1, 1e-8, 1e8])
    for n in range(W.shape[1]):
        dense = np.sqrt(np.diag(np.linalg.inv((A / D).T @ np.diag(W[:, n]) @ (A / D)))) / D
        np.testing.assert_allclose(errors[:, n], dense, rtol=1e-8)


def test_spectra_errors_are_those_of_least_squares_per_band():
    _, S, W, _ = draw()
    errors = spectra_errors(S, W, len(W))
    for b in range(len(W)):
        np.testing.assert_allclose(errors[b], np.sqrt(np.diag(np.linalg.inv(S @ np.diag(W[b]) @ S.T))), rtol=1e-8)


def test_without_weights_all_pixels_have_the_same_errors():
    A, _, _, _ = draw()
    np.testing.assert_allclose(morphology_errors(A, None, 4), morphology_errors(A, np.ones((len(A), 4)), 4))


def test_least_squares_maps_are_those_of_lstsq_and_ignore_absent_values():
    A, _, W, Y = draw()
    A = A / A.sum(axis=0)
    maps, errors = least_squares_maps(np.where(W > 0, Y, np.nan), W, A)
    for n in range(Y.shape[1]):
        root = np.sqrt(W[:, n])
        np.testing.assert_allclose(maps[:, n], np.linalg.lstsq(root[:, None] * A, root * Y[:, n], rcond=None)[0], rtol=1e-8)
    np.testing.assert_allclose(errors, morphology_errors(A, W, Y.shape[1]))


def test_a_pixel_with_too_few_bands_has_no_error():
    A, _, W, Y = draw()
    W[2:, 0] = 0  # two bands, three components
    W[:, 1] = 0
    errors = morphology_errors(A, W, W.shape[1])
    assert np.isnan(errors[:, :2]).all()
    assert np.isfinite(errors[:, 2:]).all()
    assert np.isnan(least_squares_maps(Y, W, A)[0][:, :2]).all()


def test_one_component_by_hand():
    # A = (1, 2), W = (4, 1): 1 / sqrt(1·4 + 4·1)
    assert morphology_errors(np.array([[1.0], [2.0]]), np.array([[4.0], [1.0]]), 1)[0, 0] == pytest.approx(8**-0.5)


def test_noise_from_residuals_counts_data_and_parameters():
    # 100 data, 2 · (10 + 10 − 2) = 36 parameters: 64 left
    assert noise_from_residuals(64 * 9.0, 100, (10, 10), 2) == pytest.approx(3)
    assert noise_from_residuals(0.0, 2, (1, 2), 2) == 0


def interior(seed, *, n_bands, n_pixels):
    """Factors well away from zero, under noise that differs from voxel to voxel."""
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.2, 1, size=(n_bands, 2))
    S = rng.uniform(20, 40, size=(2, n_pixels))
    sigma = rng.uniform(0.5, 2, size=(n_bands, n_pixels))
    return A, S, A @ S + sigma * rng.normal(size=sigma.shape), sigma**-2.0


def test_true_morphologies_lie_within_one_sigma_in_68_percent_of_pixels():
    A, S, Y, W = interior(0, n_bands=40, n_pixels=3000)
    result = factorize(Y, W, n_components=2, fixed_spectra=dict(enumerate(A.T)), tol=1e-9)
    pulls = (result.morphologies - S) / result.morphologies_error
    assert 0.64 < np.mean(np.abs(pulls) < 1) < 0.72
    assert pulls.std() == pytest.approx(1, abs=0.05)
    assert (result.spectra_error == 0).all()  # given, not measured


def test_true_spectra_lie_within_one_sigma_in_68_percent_of_bands():
    A, S, Y, W = interior(1, n_bands=3000, n_pixels=40)
    result = factorize(Y, W, n_components=2, fixed_morphologies=dict(enumerate(S)), tol=1e-9)
    pulls = (result.spectra - A) / result.spectra_error
    assert 0.64 < np.mean(np.abs(pulls) < 1) < 0.72
    assert (result.morphologies_error == 0).all()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_without_weights_the_noise_is_taken_from_the_residuals(missing):
    rng = np.random.default_rng(2)
    A, S = rng.uniform(0.2, 1, size=(30, 2)), rng.uniform(20, 40, size=(2, 200))
    Y = A @ S + 0.7 * rng.normal(size=(30, 200))
    hole = rng.random(Y.shape) < missing
    known = np.where(hole, 0.0, 0.7**-2)
    kwargs = {"n_components": 2, "fixed_spectra": dict(enumerate(A.T))}
    guessed = factorize(np.where(hole, np.nan, Y), **kwargs)
    given = factorize(Y, known, **kwargs)
    assert guessed.provenance["noise"].startswith("from the residuals")
    assert given.provenance["noise"] == "from the weights"
    for name in ("morphologies_error", "signed_error"):
        assert np.nanmedian(getattr(guessed, name) / getattr(given, name)) == pytest.approx(1, abs=0.1)


def test_errors_of_a_result_are_conditional_and_absent_on_the_constraint(problem):
    Y, W, _, _ = problem(15, 60, 3, noise=0.3)
    result = factorize(Y, W, n_components=3)
    A, S = result.spectra, result.morphologies
    for factor, errors, dense in (
        (S, result.morphologies_error, morphology_errors(A, W, 60)),
        (A, result.spectra_error, spectra_errors(S, W, 15)),
    ):
        assert (factor == 0).any()
        assert np.isnan(errors[factor == 0]).all()
        np.testing.assert_allclose(errors[factor != 0], dense[factor != 0], rtol=1e-9)


@pytest.mark.parametrize(("seed", "unit"), [(0, 1.0), (1, 1e-20)])
def test_signed_maps_of_pure_noise_have_no_mean_pull(seed, unit):
    Y = np.random.default_rng(seed).normal(size=(250, 900))
    result = factorize(unit * Y, np.full(Y.shape, unit**-2), n_components=3)
    pulls = result.signed_morphologies / result.signed_error
    assert np.abs(pulls.mean(axis=1)).max() < 0.1
    assert np.all((pulls.std(axis=1) > 0.9) & (pulls.std(axis=1) < 1.15))


def test_blank_sky_is_biased_in_constrained_maps_and_not_in_signed_ones():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:30, :30]
    S = np.stack([300 * np.exp(-0.5 * ((y - c) ** 2 + (x - c) ** 2) / 2.5**2) for c in (8, 20)]).reshape(2, -1)
    wave = np.linspace(0, 1, 60)
    A = np.stack([np.exp(-2 * wave), 0.2 + wave**2], axis=1)
    A /= A.sum(axis=0)
    Y = A @ S + rng.normal(size=(60, 900))
    result = factorize(Y, np.ones_like(Y), n_components=2)
    blank = (S < 0.1).all(axis=0)
    assert blank.sum() > 300
    error = result.signed_error[:, blank]
    n = blank.sum() ** 0.5
    constrained = result.morphologies[:, blank] / error
    signed = result.signed_morphologies[:, blank] / error
    assert (constrained.mean(axis=1) * n).min() > 5  # a source that is not there
    assert np.abs(signed.mean(axis=1)).max() < 0.1
