"""Noise that neighboring bands share."""

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from vermilion.simulate import hyperspectral_scene
from vermilion.unmixing import unmix_matrix
from vermilion.unmixing.correlated_noise import band_covariance, neighbor_correlation
from vermilion.unmixing.subspace_points import subspace_points

B, K, SHAPE = 80, 4, (50, 40)


def test_noise_is_alike_in_no_two_pixels_and_what_is_smooth_is():
    rng = np.random.default_rng(0)
    noise = gaussian_filter1d(rng.normal(size=(B, *SHAPE)), 2, axis=0)
    assert abs(neighbor_correlation(torch.tensor(noise.reshape(B, -1)), SHAPE)) < 0.02
    smooth = gaussian_filter(rng.normal(size=(B, *SHAPE)), (0, 2, 2))
    assert neighbor_correlation(torch.tensor(smooth.reshape(B, -1)), SHAPE) > 0.8


def test_an_image_of_one_value_correlates_fully():
    assert neighbor_correlation(torch.ones(3, 20, dtype=torch.float64), (4, 5)) == pytest.approx(1)


@pytest.mark.parametrize("width", [0.0, 1.0, 2.0])
def test_the_covariance_of_noise_is_found_though_the_fit_takes_a_part_of_it(width):
    rng = np.random.default_rng(1)
    n = 20_000
    kernel = np.exp(-0.5 * (np.arange(B) / max(width, 1e-9)) ** 2 / 2)  # of noise smoothed by a Gaussian of this width
    kernel[0] = 1
    exact = toeplitz(kernel)
    noise = np.linalg.cholesky(exact + 1e-9 * np.eye(B)) @ rng.normal(size=(B, n))
    basis = np.linalg.qr(gaussian_filter1d(rng.normal(size=(B, K)), 6, axis=0))[0]
    rest = noise - basis @ (basis.T @ noise)
    found = band_covariance(torch.tensor(rest), torch.tensor(basis @ basis.T)).numpy()
    assert np.abs(found - exact).max() < 0.1
    ratio = np.diag(basis.T @ found @ basis) / np.diag(basis.T @ exact @ basis)
    np.testing.assert_allclose(ratio, 1, atol=0.1)


def test_noise_along_the_bands_is_no_error_of_the_model():
    scene = hyperspectral_scene(n_endmembers=3, shape=SHAPE, n_bands=B, pure_pixels=False, snr_db=30.0, noise="colored", seed=1)
    Y = torch.tensor(np.asarray(scene.cube.data, dtype=np.float64).reshape(B, -1))
    assert subspace_points(Y, None, 3).misfit > 100  # each band follows from its neighbors, noise and all
    points = subspace_points(Y, None, 3, shape=SHAPE)
    assert points.misfit == pytest.approx(1, abs=0.1)
    noise = Y - torch.tensor(scene.spectra @ scene.abundances.reshape(3, -1))
    scatter = torch.cov(torch.linalg.lstsq(points.basis, noise).solution)
    np.testing.assert_allclose((points.covariance[0].diagonal() / scatter.diagonal()).numpy(), 1, atol=0.25)
    assert unmix_matrix(Y, n_endmembers=3, shape=SHAPE).method == "minimum-volume"
    assert unmix_matrix(Y, n_endmembers=3).method == "archetypes"


def test_what_a_wrong_model_leaves_is_seen_in_the_image():
    scene = hyperspectral_scene(n_endmembers=4, shape=SHAPE, n_bands=B, snr_db=40.0, noise="colored", seed=2)
    Y = torch.tensor(np.asarray(scene.cube.data, dtype=np.float64).reshape(B, -1))
    assert subspace_points(Y, None, 2, shape=SHAPE).misfit > 2
