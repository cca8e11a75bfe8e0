"""The weighted subspace against the singular value decomposition."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from vermilion.initialize import weighted_subspace


def draw(*, n_bands=30, n_pixels=120, rank=3, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    A, S = rng.normal(size=(n_bands, rank)), rng.normal(size=(rank, n_pixels))
    return A, S, A @ S + noise * rng.normal(size=(n_bands, n_pixels))


def test_without_weights_the_subspace_is_that_of_the_singular_value_decomposition():
    _, _, Y = draw()
    space = weighted_subspace(torch.tensor(Y), None, 3)
    left, values, right = np.linalg.svd(Y, full_matrices=False)
    assert subspace_angles(space.basis.numpy(), left[:, :3]).max() < 1e-6
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(space.basis @ space.coordinates, (left[:, :3] * values[:3]) @ right[:3], atol=1e-8)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_noise_is_that_of_the_data(weighted):
    rng = np.random.default_rng(1)
    A, S, _ = draw(n_bands=60, n_pixels=400)
    sigma = 0.2 * np.outer(rng.uniform(0.5, 2, 60), rng.uniform(0.5, 2, 400)) if weighted else np.full((60, 400), 0.2)
    Y = A @ S + sigma * rng.normal(size=sigma.shape)
    space = weighted_subspace(torch.tensor(Y), torch.tensor(sigma**-2) if weighted else None, 3)
    assert space.noise == pytest.approx(1 if weighted else 0.2, rel=0.03)


def test_missing_entries_do_not_tilt_the_subspace():
    rng = np.random.default_rng(2)
    A, _, Y = draw(noise=1e-4)
    W = (rng.random(Y.shape) > 0.2).astype(float)
    W[:, 5] = 0
    W[7] = 0
    spoiled = np.where(W > 0, Y, np.where(rng.random(Y.shape) > 0.5, 1e3 * rng.normal(size=Y.shape), np.nan))
    one = weighted_subspace(torch.tensor(np.where(W > 0, Y, 0)), torch.tensor(W), 3, fills=30)
    other = weighted_subspace(torch.tensor(spoiled), torch.tensor(W), 3, fills=30)
    live = np.arange(len(Y)) != 7
    assert subspace_angles(one.spectra(torch.eye(3, dtype=torch.float64)).numpy()[live], A[live]).max() < 2e-3
    assert subspace_angles(other.spectra(torch.eye(3, dtype=torch.float64)).numpy()[live], A[live]).max() < 2e-3


def test_weights_find_the_signal_under_noisy_bands():
    rng = np.random.default_rng(3)
    A, S, _ = draw(n_bands=40, n_pixels=300)
    sigma = np.where(np.arange(40) < 6, 300.0, 0.05)[:, None] * np.ones((1, 300))
    Y = A @ S + sigma * rng.normal(size=sigma.shape)
    space = weighted_subspace(torch.tensor(Y), torch.tensor(sigma**-2), 3)
    found = space.spectra(torch.eye(3, dtype=torch.float64)).numpy()
    blind = weighted_subspace(torch.tensor(Y), None, 3).basis.numpy()
    assert subspace_angles(found[6:], A[6:]).max() < 0.02
    assert subspace_angles(blind[6:], A[6:]).max() > 0.1


def test_bands_and_pixels_without_weight_have_scale_zero():
    _, _, Y = draw()
    W = np.ones_like(Y)
    W[4], W[:, 9] = 0, 0
    space = weighted_subspace(torch.tensor(Y), torch.tensor(W), 2)
    assert torch.nonzero(space.band_scale == 0).tolist() == [[4]]
    assert torch.nonzero(space.pixel_scale == 0).tolist() == [[9]]
    assert bool((space.spectra(torch.ones(2, 1, dtype=torch.float64))[4] == 0).all())


def test_signs_are_fixed_by_the_sum_of_coordinates():
    _, _, Y = draw()
    for data in (Y, -Y):
        assert bool((weighted_subspace(torch.tensor(data), None, 3).coordinates.sum(dim=1) >= 0).all())


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (3, 2)])
def test_the_smallest_matrices_are_reproduced(shape):
    Y = torch.tensor(np.random.default_rng(0).normal(size=shape))
    space = weighted_subspace(Y, None, min(shape))
    torch.testing.assert_close(space.basis @ space.coordinates, Y)
    assert space.noise < 1e-7
