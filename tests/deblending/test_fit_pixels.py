"""What the fit of pixels promises to its callers: descent, fixed components, the pull of the entropy, how it ends."""

import math

import numpy as np
import pytest
import torch

from vermilion.deblending.pixels import fit_pixels
from vermilion.deblending.profiles import profile_images
from vermilion.deblending.views import non_negative_spectra, normal_equations, residuals, views_of, whitened
from vermilion.observation import Observation
from vermilion.renderers import Convolution

SHAPE, SIGMA = (30, 34), 0.8
ROWS = [(13.3, 14.8, 2.2, 0.3, 0.2, 1.0), (16.1, 18.6, 1.6, -0.3, 0, 1.5), (11.0, 20.0, 0, 0, 0, 1)]
SPECTRA = np.array([[3e3, 1e3, 8e2], [1e3, 3e3, 9e2]])
FREE = torch.tensor([True, True, False])


def images_of(profiles, dtype=torch.float64):
    return profile_images(profiles, SHAPE, SIGMA, torch.zeros(1, dtype=dtype))


@pytest.fixture
def make_blend(make_profiles, make_views):
    """Function that makes views of a blend, and profiles that are off it: rounder and smaller than the galaxies."""

    def make(dtype=torch.float64, **options):
        start = make_profiles(*[(y, x, 0.8 * r, 0, 0, n) for y, x, r, _, _, n in ROWS])
        return make_views(make_profiles(*ROWS), SPECTRA, noise_seed=1, dtype=dtype, **options), images_of(start, dtype)

    return make


@pytest.mark.parametrize("strength", [0.0, 1.0, 16.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_objective_never_rises_beyond_rounding(make_blend, strength, dtype):
    views, start = make_blend(dtype)
    seen = []
    found = fit_pixels(views, start, FREE, strength=strength, max_iter=8, tol=0, watch=lambda i, s, objective: seen.append(objective))
    assert np.all(np.diff(seen) <= 10 * torch.finfo(dtype).eps * np.abs(seen[:-1]))
    assert seen[-1] < fit_pixels(views, start, FREE, strength=strength, max_iter=0, tol=0).objective
    assert found.objective == seen[-1]
    assert bool((found.images >= 0).all())
    assert found.images.dtype == dtype


def test_the_objective_is_the_documented_one(make_blend):
    views, start = make_blend()
    strength = 7.0
    found = fit_pixels(views, start, FREE, strength=strength, max_iter=5, tol=0)
    columns = whitened(views, found.images)
    spectra = non_negative_spectra(normal_equations(views, columns))
    np.testing.assert_allclose(found.spectra, spectra, rtol=1e-6)
    assert found.chi2 == pytest.approx(residuals(views, columns, spectra)[1], rel=1e-6)
    # profiles are filled up where they are fainter than 1e-6 of their brightest pixel
    m, s = (images[:2] / images[:2].sum(dim=(1, 2), keepdim=True) for images in (start, found.images))
    m = m.clamp_min(1e-6 * m.amax(dim=(1, 2), keepdim=True))
    m = m / m.sum(dim=(1, 2), keepdim=True)
    entropy = float((strength / m.square().sum(dim=(1, 2), keepdim=True) * torch.special.xlogy(s, s / m)).sum())
    assert found.objective == pytest.approx(0.5 * found.chi2 + entropy, rel=1e-6)


def test_components_that_are_not_free_stay_as_they_are_and_sums_are_kept(make_blend, flat):
    views, start = make_blend()
    images, free = torch.cat([start, flat()]), torch.tensor([False, True, False, False])
    found = fit_pixels(views, images, free, strength=1.0, signed=1, max_iter=5, tol=0)
    assert torch.equal(found.images[~free], images[~free])
    assert not torch.equal(found.images[1], images[1])
    np.testing.assert_allclose(found.images.sum(dim=(1, 2)), images.sum(dim=(1, 2)), rtol=1e-9)


@pytest.mark.parametrize("free", [FREE, ~FREE & FREE])
def test_no_rounds_or_nothing_free_gives_the_profiles_with_their_best_spectra(make_blend, free):
    views, start = make_blend()
    found = fit_pixels(views, start, free, strength=1.0, max_iter=0 if free.any() else 50, tol=1e-5)
    assert torch.equal(found.images, start)
    np.testing.assert_allclose(found.spectra, non_negative_spectra(normal_equations(views, whitened(views, start))), rtol=1e-4)
    assert found.iterations == 0


def test_a_stronger_entropy_holds_closer_to_the_profiles(make_blend):
    views, start = make_blend()
    ends = [fit_pixels(views, start, FREE, strength=strength, max_iter=15, tol=1e-6) for strength in (0.0, 1.0, 100.0, 1e8)]
    profile = start[:2] / start[:2].sum(dim=(1, 2), keepdim=True)
    far = [float((end.images[:2] / end.images[:2].sum(dim=(1, 2), keepdim=True) - profile).abs().sum()) for end in ends]
    chi2 = [end.chi2 for end in ends]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 1e-3 < far[0]
    assert chi2 == sorted(chi2)


def test_free_pixels_show_what_the_profiles_do_not(make_profiles, make_views):
    # an arm beside the galaxy, of its color, that no profile has
    views = make_views(make_profiles((14, 14, 2.5, 0, 0, 1.0), (17, 18, 0, 0, 0, 1.0)), [[3e4, 3e3], [2e4, 2e3]], noise_seed=2)
    start, alone = images_of(make_profiles((14, 14, 2.5, 0, 0, 1.0))), torch.tensor([True])
    before, found = (fit_pixels(views, start, alone, strength=16.0, max_iter=rounds, tol=1e-6) for rounds in (0, 40))
    n_data = 2 * math.prod(SHAPE)
    assert before.chi2 > 1.5 * n_data
    assert found.chi2 < 1.1 * n_data
    np.testing.assert_allclose(found.spectra[:, 0] * found.images.sum(), [3.3e4, 2.2e4], rtol=0.01)


def test_pixels_that_no_datum_sees_follow_the_profile(make_blend):
    weights = np.ones((2, *SHAPE))
    weights[:, :, :15] = 0
    views, start = make_blend(weights=weights)
    found = fit_pixels(views, start, FREE, strength=16.0, max_iter=10, tol=1e-5)
    assert bool(torch.isfinite(found.images).all())
    # kernels reach 6 pixels; images keep their sum, so that hidden pixels may change by a common factor
    hidden = found.images[0, 10:17, 4:9] / start[0, 10:17, 4:9]
    np.testing.assert_allclose(hidden, float(hidden.mean()), rtol=0.02)


def test_the_fit_ends_by_tol_or_by_its_watch_and_says_which(make_blend):
    views, start = make_blend()
    easy = fit_pixels(views, start, FREE, strength=16.0, max_iter=200, tol=1e-3)
    assert easy.converged
    assert easy.iterations < 200
    short = fit_pixels(views, start, FREE, strength=16.0, max_iter=1, tol=1e-9)
    assert not short.converged
    assert short.iterations == 1
    seen = []
    stopped = fit_pixels(views, start, FREE, strength=16.0, max_iter=50, tol=0, watch=lambda *state: seen.append(state) or len(seen) == 4)
    assert not stopped.converged
    assert stopped.iterations == len(seen) == 4


def test_two_observations_are_fitted_together(make_profiles, make_views):
    truth = make_profiles((14.0, 15.0, 2.0, 0, 0, 1.0))
    views = [*make_views(truth, [[3e3], [1e3]], noise_seed=3), *make_views(truth, [[2e3], [4e3]], noise_seed=4)]
    found = fit_pixels(views, images_of(truth), torch.tensor([True]), strength=16.0, max_iter=20, tol=1e-6)
    np.testing.assert_allclose(found.spectra[:, 0] * found.images.sum(), [3e3, 1e3, 2e3, 4e3], rtol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_to_explain_leaves_no_flux(make_profiles, kernels, dtype):
    data = torch.zeros((2, *SHAPE), dtype=dtype)
    views = views_of([Observation(data, torch.ones_like(data), Convolution(kernels, SHAPE))])
    found = fit_pixels(views, images_of(make_profiles(*ROWS), dtype), FREE, strength=16.0, max_iter=20, tol=1e-5)
    assert found.chi2 == 0
    assert bool((found.spectra == 0).all())
    assert found.converged


@pytest.mark.parametrize("seed", range(3))
def test_the_quadratic_of_the_bounds_lies_above_chi2(kernels, seed):
    # De Pierro: d^T R^T W R d <= sum_p d_p^2 [|R|^T W |R| q](p) / q(p), whatever q > 0
    rng = np.random.default_rng(seed)
    step, near = torch.from_numpy(rng.normal(size=(1, 9, 11))), torch.from_numpy(rng.gamma(0.3, size=(1, 9, 11)) + 1e-6)
    weights = torch.from_numpy(rng.gamma(1, size=(2, 9, 11)))
    renderer = Convolution(kernels, (9, 11))
    curvature = renderer.bound_adjoint(weights * renderer.bound(near)).sum(dim=0, keepdim=True) / near
    assert float((weights * renderer(step).square()).sum()) <= float((curvature * step.square()).sum()) * (1 + 1e-12)
    # it touches where the kernels are positive and the step is in proportion to q
    positive = Convolution(np.abs(kernels), (9, 11))
    curvature = positive.adjoint(weights * positive(near)).sum(dim=0, keepdim=True) / near
    assert float((weights * positive(near).square()).sum()) == pytest.approx(float((curvature * near.square()).sum()), rel=1e-9)
