"""Edges of noise against simulated noise, and counts against known ranks."""

import numpy as np
import pytest

from vermilion.rank import claimed_edge, eigengap, eigenvalues, hysime, measured_edge, sign_flips
from vermilion.rank.eigenvalues import largest_noise_eigenvalue
from vermilion.rank.noise_checks import binned, whiteness
from vermilion.rank.whitening import band_noise, leading_vectors, regression_noise, whiten


def spiked(strengths, n_bands=60, n_pixels=500, sigma=1.0, seed=0):
    """White noise and orthogonal signals of singular values `strengths`, in units of the smallest that can be seen."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.normal(size=(n_bands, len(strengths))))[0]
    V = np.linalg.qr(rng.normal(size=(n_pixels, len(strengths))))[0]
    floor = (n_bands * n_pixels) ** 0.25
    return sigma * ((U * np.array(strengths) * floor) @ V.T + rng.normal(size=(n_bands, n_pixels)))


def test_eigenvalues_are_those_of_the_covariance_whichever_side_is_longer():
    X = np.random.default_rng(0).normal(size=(7, 30))
    expected = np.linalg.svd(X, compute_uv=False) ** 2 / 30
    np.testing.assert_allclose(eigenvalues(X), expected, rtol=1e-12)
    np.testing.assert_allclose(eigenvalues(X.T), expected * 30 / 7, rtol=1e-12)


@pytest.mark.parametrize(("n_bands", "n_pixels"), [(20, 400), (100, 100), (150, 40)])
@pytest.mark.parametrize("chance", [0.5, 0.1])
def test_the_edge_is_exceeded_by_noise_as_often_as_it_says(n_bands, n_pixels, chance):
    rng = np.random.default_rng(n_bands)
    edge = largest_noise_eigenvalue(n_bands, n_pixels, false_alarm=chance)
    exceeded = np.mean([eigenvalues(rng.normal(size=(n_bands, n_pixels)))[0] > edge for _ in range(200)])
    assert abs(exceeded - chance) < 4 * np.sqrt(chance * (1 - chance) / 200) + 0.02


@pytest.mark.parametrize("sigma", [1e-15, 1.0, 3e12])
def test_signals_well_above_the_floor_are_counted_whatever_the_unit(sigma):
    X = spiked([9, 5, 3, 2], sigma=sigma)
    values = eigenvalues(X)
    found = measured_edge(values, *X.shape)
    assert found.count == 4
    assert found.variance == pytest.approx(sigma**2, rel=0.02)
    assert sign_flips(X, 4).count == 4
    assert eigengap(values, 10) == 4
    assert claimed_edge(values / sigma**2, *X.shape).count == 4


def test_signals_well_below_the_floor_are_not():
    X = spiked([9, 5, 0.3, 0.3])
    assert measured_edge(eigenvalues(X), *X.shape).count == 2


def test_noise_of_other_strength_in_every_value_needs_sign_flips():
    rng = np.random.default_rng(3)
    strong = np.where(rng.random((60, 500)) < 0.03, 10.0, 1.0)  # a few values are much noisier
    strong[:, :4] = 6.0
    X = rng.normal(size=(60, 500)) * strong
    assert measured_edge(eigenvalues(X), *X.shape).count > 0
    assert sign_flips(X, 0).count == 0


def test_a_gap_stands_out_of_correlated_noise():
    X = spiked([30, 20, 12])
    noise = np.random.default_rng(8).normal(size=(61, 500))
    X = X + 1.5 * (noise[1:] + noise[:-1])
    values = eigenvalues(X)
    assert measured_edge(values, *X.shape).count > 10
    assert eigengap(values, 12) == 3


def test_too_few_eigenvalues_have_no_gap():
    assert eigengap(np.array([3.0, 2.0, 1.0]), 10) == 0


def test_regression_noise_is_the_residual_of_least_squares():
    X = np.random.default_rng(1).normal(size=(6, 50)) * 10.0 ** np.arange(6)[:, None]
    found = regression_noise(X)
    for band in range(6):
        others = np.delete(X, band, axis=0).T
        left = X[band] - others @ np.linalg.lstsq(others, X[band], rcond=None)[0]
        np.testing.assert_allclose(found[band], left, rtol=0, atol=1e-8 * np.abs(X[band]).max())


def test_hysime_counts_orthogonal_signals_and_refuses_few_pixels():
    X = spiked([40, 30, 20], n_bands=30, n_pixels=3000)
    assert hysime(X) == 3
    assert hysime(X[:, :50]) is None


@pytest.mark.parametrize("shape", [(30, 400), (400, 30)])
def test_leading_vectors_span_those_of_the_singular_values(shape):
    X = spiked([9, 6, 4], *shape)
    U = np.linalg.svd(X)[0][:, :3]
    found = leading_vectors(X, 3)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(np.linalg.svd(U.T @ found, compute_uv=False), 1, atol=1e-8)


def test_noise_by_band_is_found_beside_signals():
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.5, 3, size=40)
    X = 10 * rng.normal(size=(40, 3)) @ rng.normal(size=(3, 5000)) + sigma[:, None] * rng.normal(size=(40, 5000))
    whitened = whiten(X, None)
    np.testing.assert_allclose(1 / whitened.band_scale, sigma, rtol=0.5)  # what other bands predict badly counts as noise
    found = whitened.rescaled(band_noise(whitened.data, 3))
    np.testing.assert_allclose(1 / found.band_scale, sigma, rtol=0.1)


def test_weights_that_are_a_product_make_noise_white():
    rng = np.random.default_rng(4)
    sigma = rng.uniform(1, 5, size=(30, 1)) * rng.uniform(1, 2, size=(1, 300)) * 1e-20
    whitened = whiten(sigma * rng.normal(size=(30, 300)), 1 / sigma**2)
    assert whitened.claimed
    assert whitened.uneven < 1e-6
    assert np.mean(whitened.data**2) == pytest.approx(1, abs=0.05)
    assert whitened.data.std(axis=1).max() < 1.25


def test_what_is_missing_is_filled_with_model_and_noise():
    rng = np.random.default_rng(5)
    clean = 30 * rng.normal(size=(40, 2)) @ rng.normal(size=(2, 600))
    Y = clean + rng.normal(size=clean.shape)
    missing = rng.random(Y.shape) < 0.2
    Y[missing] = np.nan
    whitened = whiten(Y, np.where(missing, 0.0, 1.0))
    assert whitened.missing == pytest.approx(0.2, abs=0.01)
    left = (whitened.completed(2) - clean)[missing]
    assert 0.8 < left.std() < 1.5  # as noisy as the rest, while the data have a scatter of 42
    assert whitened.completed(2).std() > 20


def test_whiteness_sees_what_neighbors_share_and_nothing_else():
    rng = np.random.default_rng(6)
    positions, noise = np.arange(900), rng.normal(size=(50, 900))
    signal = 50 * rng.normal(size=(50, 3)) @ rng.normal(size=(3, 900))
    assert whiteness(noise + signal, 3, positions, 30).white
    bands = noise[1:] + 0.3 * noise[:-1]
    found = whiteness(bands + signal[1:], 3, positions, 30)
    assert not found.white
    assert found.spectral == pytest.approx(0.3 / 1.09, abs=0.05)  # some of the noise goes with the components
    assert abs(found.spatial) < 0.03
    image = noise.reshape(50, 30, 30)
    image = image + 0.3 * np.roll(image, 1, axis=1)  # along y, the direction that is not next in memory
    found = whiteness(image.reshape(50, -1) + signal, 3, positions, 30)
    assert found.spatial == pytest.approx(0.3 / 1.09, abs=0.04)
    assert np.isnan(whiteness(noise, 0, None, None).spatial)


def test_pixels_that_are_not_neighbors_are_not_compared():
    rng = np.random.default_rng(7)
    row = rng.normal(size=(40, 30))
    image = np.stack([row, row], axis=1)[:, :, ::3]  # two equal rows, every third column of them
    positions = (np.arange(2)[:, None] * 30 + np.arange(0, 30, 3)).ravel()
    assert whiteness(image.reshape(40, -1), 0, positions, 30).spatial == pytest.approx(1.0, abs=0.01)


def test_binned_noise_is_as_strong_and_binned_signal_stronger():
    rng = np.random.default_rng(8)
    positions = np.arange(40 * 40)
    found = binned(rng.normal(size=(40, 1600)), 4, 2, positions, 40)
    assert found.shape == (10, 400)
    assert found.std() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(binned(np.ones((40, 1600)), 4, 2, positions, 40), 4.0)  # 16 values over their root
    by_hand = np.arange(1600.0).reshape(1, 40, 40)
    summed = by_hand.reshape(1, 20, 2, 20, 2).sum(axis=(2, 4)).reshape(1, -1) / 2
    np.testing.assert_allclose(binned(by_hand.reshape(1, -1), 1, 2, positions, 40), summed)
