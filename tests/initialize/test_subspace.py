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


def projector(basis):
    return basis @ basis.T


# ---- bad pixels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_of_which_half_is_missing_do_not_tilt_the_subspace(dtype):
    # half of the bands of 2 % of the pixels, hidden NaN, and four dead bands: filled in, they would have spectra of their own kind
    rng = np.random.default_rng(4)
    A, _, Y = draw(n_bands=60, n_pixels=1500, rank=3, noise=0.05)
    W = np.full(Y.shape, 0.05**-2)
    bad = rng.choice(1500, size=30, replace=False)
    W[30:, bad] = 0
    W[[3, 4, 5, 40]] = 0
    hidden = np.where(W > 0, Y, np.nan)
    live = W.any(axis=1)
    full = weighted_subspace(torch.tensor(Y[live], dtype=dtype), None, 3)
    found = weighted_subspace(torch.tensor(hidden, dtype=dtype), torch.tensor(W, dtype=dtype), 3)
    assert bool(torch.isfinite(found.basis).all() & torch.isfinite(found.coordinates).all())
    one, other = (space.spectra(torch.eye(3, dtype=torch.float64)).numpy() for space in (full, found))
    assert subspace_angles(one, other[live]).max() < 2e-3  # the noise itself turns the subspace by more
    assert subspace_angles(one, A[live]).max() < 2e-2
    assert bool((found.basis[~torch.tensor(live)].abs() < 1e-12).all())
    assert bool((found.pixel_scale[torch.tensor(bad)] == 0).all())
    assert int((found.pixel_scale == 0).sum()) == 30
    assert found.noise == pytest.approx(1, rel=0.03)


def test_holes_here_and_there_are_filled_by_the_subspace_itself():
    rng = np.random.default_rng(4)
    _, _, Y = draw(n_bands=60, n_pixels=1500, noise=0.05)
    W = (rng.random(Y.shape) > 0.05).astype(float)
    full = weighted_subspace(torch.tensor(Y), None, 3)
    found = weighted_subspace(torch.tensor(np.where(W > 0, Y, 1e6)), torch.tensor(W), 3)
    assert subspace_angles(found.spectra(torch.eye(3, dtype=torch.float64)).numpy(), full.basis.numpy()).max() < 5e-3
    assert bool((found.pixel_scale > 0).all())


# ---- more dimensions than the signal has


def test_a_width_adds_dimensions_behind_the_leading_ones():
    _, _, Y = draw()
    narrow, wide = (weighted_subspace(torch.tensor(Y), None, 3, width=width) for width in (None, 8))
    assert narrow.basis.shape == (30, 3)
    assert wide.basis.shape == (30, 8)
    assert wide.coordinates.shape == (8, 120)
    np.testing.assert_allclose(wide.basis.T @ wide.basis, np.eye(8), atol=1e-12)
    sizes = torch.linalg.vector_norm(wide.coordinates, dim=1)
    assert bool((sizes[1:] <= sizes[:-1] * (1 + 1e-12)).all())
    torch.testing.assert_close(projector(wide.leading(3).basis), projector(narrow.basis), rtol=0, atol=1e-6)
    assert wide.noise == pytest.approx(narrow.noise, rel=1e-3)  # of what the signal's dimensions leave over


def test_leading_dimensions_are_the_first_and_all_else_stays():
    _, _, Y = draw()
    space = weighted_subspace(torch.tensor(Y), None, 3, width=8)
    first = space.leading(2)
    assert torch.equal(first.basis, space.basis[:, :2])
    assert torch.equal(first.coordinates, space.coordinates[:2])
    assert (first.noise, first.squares) == (space.noise, space.squares)
    assert first.band_scale is space.band_scale


@pytest.mark.parametrize("weighted", [True, False])
def test_the_spectra_asked_for_lie_within_the_subspace(weighted):
    rng = np.random.default_rng(5)
    A, _, Y = draw(n_bands=60, n_pixels=400)
    W = rng.uniform(0.5, 2, (60, 1)) * rng.uniform(0.5, 2, (1, 400)) if weighted else None
    asked = torch.tensor(rng.normal(size=(60, 2)) * [1e-6, 1e6])
    space = weighted_subspace(torch.tensor(Y), None if W is None else torch.tensor(W), 3, width=13, within=asked)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(space.basis.shape[1]), atol=1e-12)
    white = space.band_scale[:, None] * asked
    left = white - projector(space.basis) @ white
    assert bool((torch.linalg.vector_norm(left, dim=0) < 1e-9 * torch.linalg.vector_norm(white, dim=0)).all())
    # and the signal too
    signal = space.band_scale[:, None] * torch.tensor(A)
    assert float((signal - projector(space.basis) @ signal).abs().max()) < 0.01


@pytest.mark.parametrize("weighted", [True, False])
def test_pixels_that_stand_out_from_the_rest_are_within_the_subspace_where_it_is_asked_for(weighted):
    # a line in one pixel, too faint beside 4000 pixels of noise for a leading dimension
    rng = np.random.default_rng(7)
    _, _, Y = draw(n_bands=60, n_pixels=4000, noise=1.0)
    line = np.zeros(60)
    line[20:22] = 12
    Y[:, 77] += line
    W = rng.uniform(0.9, 1.1, (60, 1)) * rng.uniform(0.9, 1.1, (1, 4000)) if weighted else None
    without, space = (weighted_subspace(torch.tensor(Y), None if W is None else torch.tensor(W), 3, width=8, extremes=n) for n in (0, 4))
    assert space.basis.shape == (60, 12)
    assert space.coordinates.shape == (12, 4000)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(12), atol=1e-12)
    torch.testing.assert_close(space.basis[:, :8], without.basis)
    white = (space.band_scale[:, None] * torch.tensor(Y) * space.pixel_scale)[:, 77]
    lost = [float((white - projector(s.basis) @ white).norm() / white.norm()) for s in (without, space)]
    assert lost[0] > 0.2
    assert lost[1] < 1e-10
    torch.testing.assert_close(space.coordinates, space.basis.T @ (space.band_scale[:, None] * torch.tensor(Y) * space.pixel_scale))


def test_there_are_no_more_extreme_pixels_than_dimensions_are_left():
    _, _, Y = draw(n_bands=10, n_pixels=40)
    space = weighted_subspace(torch.tensor(Y), None, 3, width=8, extremes=6)
    assert space.basis.shape == (10, 10)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(10), atol=1e-10)


def test_spectra_asked_for_that_are_zero_or_the_same_do_no_harm():
    _, _, Y = draw()
    one = torch.rand(30, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    space = weighted_subspace(torch.tensor(Y), None, 3, width=8, within=torch.cat([one, 2 * one, 0 * one], dim=1))
    assert bool(torch.isfinite(space.basis).all() & torch.isfinite(space.coordinates).all())
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(space.basis.shape[1]), atol=1e-10)


@pytest.mark.parametrize("weighted", [True, False])
def test_coordinates_are_those_of_the_whitened_data(weighted):
    rng = np.random.default_rng(6)
    _, _, Y = draw(n_bands=40, n_pixels=200)
    W = torch.tensor(rng.uniform(0.5, 2, (40, 200))) if weighted else None
    space = weighted_subspace(torch.tensor(Y), W, 3, width=9)
    white = space.band_scale[:, None] * torch.tensor(Y) * space.pixel_scale
    torch.testing.assert_close(space.coordinates, space.basis.T @ white)
    assert space.squares == pytest.approx(float(white.square().sum()), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (4, 30)])
def test_a_width_beyond_the_data_is_cut(shape):
    Y = torch.tensor(np.random.default_rng(0).normal(size=shape))
    space = weighted_subspace(Y, None, 1, width=20)
    assert space.basis.shape[1] == min(shape)
    torch.testing.assert_close(space.basis @ space.coordinates, Y)


def test_the_noise_is_estimated_only_where_it_is_asked_for():
    _, _, Y = draw()
    assert np.isnan(weighted_subspace(torch.tensor(Y), None, 3, noise=False).noise)


# ---- many pixels: the first look is at some of them


@pytest.mark.parametrize(("noise", "angle"), [(0.01, 1e-8), (1.0, 1e-5), (3.0, 5e-3)])
@pytest.mark.parametrize("layout", ["bands apart", "pixels apart"])
def test_many_pixels_have_the_subspace_of_the_singular_value_decomposition(noise, angle, layout):
    _, _, Y = draw(n_bands=40, n_pixels=7000, noise=noise)
    space = weighted_subspace(torch.tensor(Y) if layout == "bands apart" else torch.tensor(Y.T.copy()).T, None, 3, width=6)
    left, values, _ = np.linalg.svd(Y, full_matrices=False)
    assert subspace_angles(space.leading(3).basis.numpy(), left[:, :3]).max() < angle
    np.testing.assert_allclose(torch.linalg.vector_norm(space.coordinates[:3], dim=1), values[:3], rtol=1e-5)
    assert space.noise == pytest.approx(noise, rel=0.01)
    assert space.squares == pytest.approx(np.sum(Y**2), rel=1e-12)


def test_a_direction_of_pixels_that_the_first_look_leaves_out_is_found():
    # every third pixel is looked at first, and these have none of it
    rng = np.random.default_rng(0)
    A, S, _ = draw(n_bands=40, n_pixels=7000)
    S[2, ::3] = 0
    Y = A @ S + rng.normal(size=(40, 7000))
    space = weighted_subspace(torch.tensor(Y), None, 3)
    left = np.linalg.svd(Y, full_matrices=False)[0]
    assert subspace_angles(space.basis.numpy(), left[:, :3]).max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_holes_among_many_pixels_are_filled(dtype):
    rng = np.random.default_rng(1)
    _, _, Y = draw(n_bands=40, n_pixels=7000, noise=0.05)
    W = (rng.random(Y.shape) > 0.1).astype(float)
    W[:, ::50], W[[3, 9]] = 0, 0
    live = W.any(axis=1)
    full = weighted_subspace(torch.tensor(Y[live][:, W.any(axis=0)]), None, 3)
    found = weighted_subspace(torch.tensor(np.where(W > 0, Y, np.nan), dtype=dtype), torch.tensor(W, dtype=dtype), 3)
    assert bool(torch.isfinite(found.coordinates).all())
    spectra = found.spectra(torch.eye(3, dtype=torch.float64)).numpy()
    assert subspace_angles(spectra[live], full.basis.numpy()).max() < 2e-3
    assert not spectra[~live].any()
    assert bool((found.coordinates[:, ::50] == 0).all())
