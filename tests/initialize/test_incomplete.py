"""The subspace of data of which much is missing."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from vermilion.initialize.directions import signal_subspace
from vermilion.initialize.incomplete import completed_subspace


def draw(*, noise=0.01, seed=0, n_pixels=500):
    """Three spectra, the last one weak, and data."""
    rng = np.random.default_rng(seed)
    A = rng.random((40, 3)) @ np.diag([1.0, 0.5, 0.1])
    S = rng.dirichlet(np.ones(3), size=n_pixels).T
    return A, S, A @ S + noise * rng.normal(size=(40, n_pixels))


def spectra_of(space):
    return space.spectra(torch.eye(3, dtype=torch.float64)).numpy()


def holes(kind, shape):
    rng = np.random.default_rng(1)
    W = np.ones(shape)
    if kind in ("scattered", "both"):
        W[rng.random(shape) < 0.2] = 0
    if kind in ("block", "both"):
        W[10:22, ::2] = 0  # more than a quarter of the bands, in every other pixel
    return W


@pytest.mark.parametrize("kind", ["scattered", "block", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_subspace_is_that_of_the_spectra(kind, dtype):
    A, S, Y = draw()
    W = holes(kind, Y.shape)
    full = signal_subspace(torch.tensor(Y, dtype=dtype), None, 3)
    found = signal_subspace(torch.tensor(np.where(W > 0, Y, np.nan), dtype=dtype), torch.tensor(W, dtype=dtype), 3)
    # bands of which 0.4 are left are known 1.6 times worse
    assert subspace_angles(spectra_of(found), A).max() < 1.6 * subspace_angles(spectra_of(full), A).max()
    assert found.noise == pytest.approx(0.01, rel=0.03)
    assert bool((found.pixel_scale > 0).all() & (found.band_scale > 0).all())
    model = found.spectra(found.coordinates.double()).numpy() / found.pixel_scale.double().numpy()
    assert np.sqrt(np.mean((model - A @ S) ** 2)) < 0.005


def test_without_noise_the_model_is_exact():
    A, _, Y = draw(noise=0)
    W = holes("both", Y.shape)
    found = signal_subspace(torch.tensor(np.where(W > 0, Y, 1e3)), torch.tensor(W), 3)
    assert subspace_angles(spectra_of(found), A).max() < 0.01
    assert found.noise < 1e-4


def test_weights_that_do_not_factor_are_taken_as_they_are():
    A, S, _ = draw()
    rng = np.random.default_rng(2)
    sigma = np.where(rng.random((40, 500)) < 0.3, 0.3, 0.005)
    Y = A @ S + sigma * rng.normal(size=sigma.shape)
    W = torch.tensor(sigma**-2.0)
    W[0, 0] = 0
    plain = signal_subspace(torch.tensor(Y), torch.ones_like(W), 3)
    found = signal_subspace(torch.tensor(Y), W, 3)
    assert subspace_angles(spectra_of(found), A).max() < 0.3 * subspace_angles(spectra_of(plain), A).max()
    assert found.noise == pytest.approx(1, rel=0.03)


def test_pixels_that_say_too_little_count_less_or_not_at_all():
    _, _, Y = draw()
    W = np.ones_like(Y)
    W[:, 0], W[2:, 1], W[4:, 2] = 0, 0, 0  # no band, fewer than dimensions, few
    space = signal_subspace(torch.tensor(Y), torch.tensor(W), 3)
    assert space.pixel_scale[:2].tolist() == [0, 0]
    assert 0 <= float(space.pixel_scale[2]) < 0.5
    assert not space.coordinates[:, :2].any()
    assert bool(torch.isfinite(space.coordinates).all())


def test_the_better_one_fits_no_worse():
    _, _, Y = draw(noise=0.05)
    W = torch.tensor(holes("both", Y.shape))
    Y = torch.tensor(Y)
    one = signal_subspace(Y, W, 3)

    def left_over(space):
        model = space.spectra(space.coordinates) / space.pixel_scale
        return float((W * (Y - model).square()).sum())

    assert left_over(completed_subspace(one, Y, W)) <= left_over(one) * (1 + 1e-9)
