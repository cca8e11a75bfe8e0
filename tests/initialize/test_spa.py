"""Successive projections find the pixels where a component is alone."""

import numpy as np
import pytest
import torch

from vermilion.diagnose.match import match_components, spectral_angle
from vermilion.initialize import spa


def mixed(*, n_bands=25, n_pixels=200, K=4, seed=0, brightness=None):
    """Mixtures in known fractions, three pure pixels per component."""
    rng = np.random.default_rng(seed)
    A = rng.random((n_bands, K))
    fractions = rng.dirichlet(np.ones(K), size=n_pixels).T
    for k in range(K):
        fractions[:, 3 * k : 3 * k + 3] = np.eye(K)[:, [k]]
    flux = np.ones(n_pixels) if brightness is None else brightness(rng, n_pixels)
    return A, A @ (fractions * flux)


def angles(found, A):
    order = match_components(found, A)
    assert sorted(order) == list(range(A.shape[1]))
    return np.array([spectral_angle(found[:, j], A[:, k]) for k, j in enumerate(order)])


@pytest.mark.parametrize("seed", range(3))
def test_pure_pixels_are_found_exactly_in_noiseless_data(seed):
    A, Y = mixed(seed=seed)
    assert angles(spa(torch.tensor(Y), None, 4).numpy(), A).max() < 1e-6


def test_the_brightness_of_a_pixel_does_not_matter():
    A, Y = mixed(brightness=lambda rng, n: 10 ** rng.uniform(-2, 2, n))
    assert angles(spa(torch.tensor(Y), None, 4).numpy(), A).max() < 1e-6


@pytest.mark.parametrize("unit", [1e-30, 1e-20, 1e20, 1e30])
def test_the_unit_of_the_data_does_not_matter(unit):
    _, Y = mixed()
    Y = Y + 0.01 * np.random.default_rng(1).normal(size=Y.shape)
    reference, scaled = spa(torch.tensor(Y), None, 4).numpy(), spa(torch.tensor(Y * unit), None, 4).numpy()
    for k in range(4):
        assert spectral_angle(reference[:, k], scaled[:, k]) < 1e-10


def test_pixels_and_bands_without_weight_are_not_looked_at():
    A, Y = mixed()
    W = np.ones_like(Y)
    W[3], W[:, 50] = 0, 0
    Y[:, 50] = 1e6 * np.random.default_rng(2).random(len(Y))
    Y[3] = np.nan
    found = spa(torch.tensor(Y), torch.tensor(W), 4).numpy()
    live = np.arange(len(Y)) != 3
    assert (found[3] == 0).all()
    assert angles(found[live], A[live]).max() < 1e-5


def test_known_spectra_are_not_found_again():
    A, Y = mixed()
    found = spa(torch.tensor(Y), None, 2, known=torch.tensor(A[:, [0, 2]])).numpy()
    assert angles(found, A[:, [1, 3]]).max() < 1e-6


def test_faint_pixels_do_not_win_by_their_noise():
    rng = np.random.default_rng(3)
    A, Y = mixed(n_pixels=600, brightness=lambda rng, n: np.where(np.arange(n) < 60, 1.0, 1e-3))
    Y = Y + 1e-3 * rng.normal(size=Y.shape)
    assert angles(spa(torch.tensor(Y), None, 4).numpy(), A).max() < 0.05


@pytest.mark.parametrize(("n_bands", "n_pixels"), [(1, 8), (8, 1), (2, 3), (3, 9), (1, 1)])
def test_more_components_than_dimensions_give_finite_spectra(n_bands, n_pixels):
    Y = torch.tensor(np.random.default_rng(0).random((n_bands, n_pixels)))
    found = spa(Y, None, 5)
    assert found.shape == (n_bands, 5)
    assert bool(torch.isfinite(found).all())


def test_the_same_seed_gives_the_same_bytes():
    _, Y = mixed()
    Y = torch.tensor(Y + 0.1 * np.random.default_rng(1).normal(size=Y.shape))
    assert torch.equal(spa(Y, None, 4, seed=3), spa(Y, None, 4, seed=3))
