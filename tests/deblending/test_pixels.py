import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls
from scipy.special import softmax

from vermilion.deblending import pixels as module
from vermilion.deblending.pixels import fit_pixels
from vermilion.deblending.views import views_of
from vermilion.observation import Observation
from vermilion.renderers import Convolution, Resampling

SIZE = (13, 12)


def spot(y, x, sigma, shape=SIZE, stretch=1.0):
    """Gaussian of sum 1."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.exp(-((rows - y) ** 2 * stretch + (columns - x) ** 2 / stretch) / (2 * sigma**2))
    return image / image.sum()


def kernel(sigma, half=3):
    return spot(half, half, sigma, (2 * half + 1, 2 * half + 1))


PROFILES = np.stack([spot(5.2, 5.0, 2.0), spot(7.1, 7.4, 1.7), spot(2.0, 9.0, 0.8)])
TRUTH = PROFILES * np.stack([spot(6, 4, 4.0, stretch=1.5), spot(8, 8, 3.0, stretch=0.7), np.ones(SIZE)])
TRUTH /= TRUTH.sum(axis=(1, 2), keepdims=True)
SPECTRA = np.array([[900.0, 700.0, 150.0], [1500.0, 1250.0, 0.0]])
SKY = torch.full((1, *SIZE), 1 / math.prod(SIZE), dtype=torch.float64)


def make_scene(dtype=torch.float64, *, gaps=True):
    """Two overlapping galaxies of nearly one color, not quite as their profiles say, and a star; weights partly 0."""
    render = Convolution(np.stack([kernel(1.0), kernel(0.7)]), SIZE)
    model = render(torch.from_numpy(np.einsum("bc,cyx->byx", SPECTRA, TRUTH)))
    data = model + torch.from_numpy(np.random.default_rng(4).normal(size=(2, *SIZE)))
    weights = torch.ones_like(data)
    if gaps:
        weights[0, 6, 6] = 0
        weights[1, :2] = 0
    views = views_of([Observation(data.to(dtype), weights.to(dtype), render)])
    return views, torch.from_numpy(PROFILES).to(dtype), torch.tensor([True, True, False])


@pytest.fixture
def scene():
    return make_scene()


def dense(view):
    """Whitened responses (B, data pixels, model pixels)."""
    n = math.prod(view.renderer.model_shape)
    images = torch.eye(n, dtype=view.data.dtype).view(n, 1, *view.renderer.model_shape)
    return (view.renderer(images) * view.root).flatten(2).permute(1, 2, 0).numpy()


def floored(profiles):
    """Profiles (C, pixels) of sum 1; galaxies are nowhere fainter than 1e-6 of their brightest pixel."""
    m = profiles.flatten(1).numpy().copy()
    m[:2] = np.maximum(m[:2], 1e-6 * m[:2].max(axis=1, keepdims=True))
    return m / m.sum(axis=1, keepdims=True)


def slow_reference(view, profiles, free, strength):
    """Objective, images and spectra at the minimum: images as softmax, spectra by scipy's NNLS at each call, L-BFGS on dense matrices."""
    response, data = dense(view), view.data.flatten(1).numpy()
    m, keep = floored(profiles), free.numpy()
    unit = 1 / np.sqrt(m[keep])  # of x: brings the second derivatives of the entropy to one size
    weight = strength * m.sum(axis=1, keepdims=True) / (m**2).sum(axis=1, keepdims=True)

    def images_of(x):
        s = m.copy()
        s[keep] = softmax(np.log(m[keep]) + x.reshape(unit.shape) * unit, axis=1)
        return s

    def best_spectra(s):
        return np.stack([nnls(R @ s.T, d)[0] for R, d in zip(response, data, strict=True)])

    def cost(x):
        s = images_of(x)
        A = best_spectra(s)
        left = [R @ (a @ s) - d for R, a, d in zip(response, A, data, strict=True)]
        value = 0.5 * sum(r @ r for r in left) + (weight * s * np.log(s / m))[keep].sum()
        slope = sum(np.outer(a, R.T @ r) for R, a, r in zip(response, A, left, strict=True)) + weight * np.log(s / m)
        slope = slope[keep] - (slope * s)[keep].sum(axis=1, keepdims=True) / s[keep].sum(axis=1, keepdims=True)
        return value, (slope * s[keep] * unit).ravel()

    options = {"maxiter": 300, "maxcor": 50, "ftol": 1e-13, "gtol": 1e-5}
    found = minimize(cost, np.zeros(m[keep].size), jac=True, method="L-BFGS-B", options=options)
    return found.fun, images_of(found.x), best_spectra(images_of(found.x))


def test_the_minimum_is_that_of_a_slow_reference(scene):
    views, profiles, free = scene
    objective, images, spectra = slow_reference(views[0], profiles, free, 64.0)
    fit = fit_pixels(views, profiles, free, strength=64.0, max_iter=40, tol=0.0)
    assert objective - 1e-3 < fit.objective < objective + 1e-8
    np.testing.assert_allclose(fit.spectra, spectra, rtol=1e-4, atol=0.02)
    np.testing.assert_allclose(fit.images.flatten(1), images, atol=1e-3 * images.max())


@pytest.mark.parametrize("strength", [1.0, 16.0])
def test_the_conditions_of_a_minimum_hold(scene, strength):
    # s > 0: the slope of chi2 / 2 plus strength / m̄ ln(s / m) is the same in all pixels of a component
    views, profiles, free = scene
    fit = fit_pixels(views, profiles, free, strength=strength, max_iter=150, tol=0.0)
    response, data = dense(views[0]), views[0].data.flatten(1).numpy()
    s, m, A = fit.images.flatten(1).numpy(), floored(profiles), fit.spectra.numpy()
    left = [R @ (a @ s) - d for R, a, d in zip(response, A, data, strict=True)]
    held = strength / (m**2).sum(axis=1, keepdims=True) * np.log(s / m)
    slope = sum(np.outer(a, R.T @ r) for R, a, r in zip(response, A, left, strict=True)) + held
    away = slope - (slope * s).sum(axis=1, keepdims=True)
    assert np.abs(away * s)[:2].sum() < 1e-3 * np.abs(held * s)[:2].sum()
    for R, a, d in zip(response, A, data, strict=True):
        np.testing.assert_allclose(a, nnls(R @ s.T, d)[0], rtol=1e-8, atol=1e-8)


def test_fluxes_of_overlapping_galaxies_of_one_color_are_settled_when_the_fit_ends(scene):
    views, profiles, free = scene
    settled = fit_pixels(views, profiles, free, strength=16.0, max_iter=100, tol=0.0)
    fit = fit_pixels(views, profiles, free, strength=16.0, max_iter=30, tol=1e-5)
    assert fit.converged
    assert fit.iterations <= 12
    torch.testing.assert_close(fit.spectra.sum(dim=0), settled.spectra.sum(dim=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strength", [0.0, 1.0, 1e6])
def test_the_objective_never_rises_and_images_stay_positive_with_the_sum_of_their_profile(strength, dtype):
    views, profiles, free = make_scene(dtype)
    profiles = 0.3 * profiles
    seen = []
    fit = fit_pixels(
        views, profiles, free, strength=strength, max_iter=15, tol=0.0, watch=lambda images, spectra, value: seen.append(value)
    )
    assert all(later <= earlier for earlier, later in itertools.pairwise(seen))
    assert fit.objective == seen[-1] < 0.5 * fit_pixels(views, profiles, free, strength=strength, max_iter=0, tol=0.0).chi2
    assert fit.images.dtype == dtype
    assert bool((fit.images >= 0).all())
    torch.testing.assert_close(fit.images.sum(dim=(1, 2)), profiles.sum(dim=(1, 2)))
    assert torch.equal(fit.images[2], profiles[2])
    model = views[0].renderer(torch.einsum("bc,cyx->byx", fit.spectra.to(dtype), fit.images)) * views[0].root
    assert fit.chi2 == pytest.approx(float((model - views[0].data).square().sum()), rel=1e-4)
    if strength == 1e6:
        torch.testing.assert_close(fit.images, profiles, rtol=1e-2, atol=1e-5)


def test_the_unit_of_the_images_does_not_matter(scene):
    views, profiles, free = scene
    fit = fit_pixels(views, profiles, free, strength=16.0, max_iter=5, tol=0.0)
    other = fit_pixels(views, 1e-3 * profiles, free, strength=16.0, max_iter=5, tol=0.0)
    torch.testing.assert_close(other.images, 1e-3 * fit.images, rtol=1e-6, atol=0)
    torch.testing.assert_close(other.spectra, 1e3 * fit.spectra, rtol=1e-6, atol=1e-6)


def test_a_bright_galaxy_cannot_shrink_to_be_free_of_its_profile():
    # with the sum of the image free, s -> 0 would cost at most strength times the area of the profile, whatever the shape
    data = 1e5 * spot(6.0, 6.0, 2.0, stretch=2.0)[None]
    views = views_of(
        [Observation(torch.from_numpy(data), torch.ones(1, *SIZE, dtype=torch.float64), Convolution(np.ones((1, 1, 1)), SIZE))]
    )
    profile = torch.from_numpy(spot(6.0, 6.0, 2.0))[None]
    fit = fit_pixels(views, profile, torch.tensor([True]), strength=16.0, max_iter=200, tol=1e-8)
    assert float(fit.images.sum()) == pytest.approx(float(profile.sum()))
    assert float(fit.spectra) == pytest.approx(1e5, rel=1e-3)


def test_two_grids_and_a_sky_of_any_sign(scene):
    views, profiles, free = scene
    rows, columns = np.mgrid[:9, :9]
    coarse = Resampling(np.stack([1.4 * rows + 0.3, 1.3 * columns + 0.2], axis=-1), SIZE, 1, smoothing=1.2)
    image = coarse(torch.from_numpy(2000 * TRUTH[:1] + 1700 * TRUTH[1:2])) - 5
    views = [*views, *views_of([Observation(image, torch.ones_like(image), coarse)])]
    images, free = torch.cat([profiles, SKY]), torch.cat([free, torch.tensor([False])])
    fit, longer = (fit_pixels(views, images, free, strength=16.0, signed=1, max_iter=rounds, tol=0.0) for rounds in (30, 60))
    assert fit.spectra.shape == (3, 4)
    assert fit.spectra[2, 3] < 0
    assert bool((fit.spectra[:, :3] >= 0).all())
    torch.testing.assert_close(fit.spectra[:, :2], longer.spectra[:, :2], rtol=1e-3, atol=0)


def test_what_lies_outside_the_frame_stays_as_it_is(scene):
    views, profiles, _ = scene
    images = torch.cat([profiles, torch.zeros(1, *SIZE, dtype=torch.float64)])
    fit = fit_pixels(views, images, torch.ones(4, dtype=torch.bool), strength=16.0, max_iter=3, tol=0.0)
    assert bool(torch.isfinite(fit.images).all())
    assert not bool(fit.images[3].any())
    assert not bool(fit.spectra[:, 3].any())


def test_nothing_to_fit_is_no_step_at_all(scene):
    views, profiles, free = scene
    for given, rounds in ((torch.zeros(3, dtype=torch.bool), 20), (free, 0)):
        fit = fit_pixels(views, profiles, given, strength=16.0, max_iter=rounds, tol=1e-5)
        assert (fit.iterations, fit.converged) == (0, True)
        assert torch.equal(fit.images, profiles)


def test_the_watcher_ends_the_fit(scene):
    views, profiles, free = scene
    fit = fit_pixels(views, profiles, free, strength=16.0, max_iter=50, tol=0.0, watch=lambda images, spectra, objective: True)
    assert (fit.iterations, fit.converged) == (1, False)


def test_a_fit_without_tolerance_ends_when_rounding_is_all_that_is_left(scene):
    views, profiles, free = scene
    fit = fit_pixels(views, profiles, free, strength=64.0, max_iter=1000, tol=0.0)
    assert fit.converged
    assert fit.iterations < 200


def test_the_preconditioner_is_the_diagonal_of_the_second_derivatives():
    (view,), *_ = make_scene(gaps=False)
    expected = (dense(view) ** 2).sum(axis=1).reshape(2, *SIZE)
    found = module._diagonal(view)
    np.testing.assert_allclose(found[:, 6, 6], expected[:, 6, 6], rtol=1e-3)
    np.testing.assert_allclose(found, expected, rtol=0.5)


def test_residuals_move_only_where_spectra_cannot_follow(scene):
    views, profiles, free = scene
    problem = module._Problem(views, profiles, free, 16.0, 0)
    point = problem.solve(problem.profile)
    seen = module._Linear(problem, point)
    generator = torch.Generator().manual_seed(1)
    step = 1e-4 * problem.profile * torch.randn(problem.profile.shape, generator=generator, dtype=torch.float64)
    (change,) = seen.render(step)
    active = point.spectra > 0
    products = (change[:, None] @ point.columns[0].mT)[:, 0]
    assert float(products[active].abs().max()) < 1e-8 * float(change.norm())
    # the derivative of what is left once the spectra are solved anew: central differences, so that the sum does not matter
    up, down = (problem.solve(point.images + sign * step).chi2 / 2 for sign in (1, -1))
    first, second = seen.along([change])
    tangent = step - point.images * step.sum(dim=1, keepdim=True)
    assert float((seen.slope() * tangent).sum()) == pytest.approx((up - down) / 2, rel=1e-4)
    assert first == pytest.approx((up - down) / 2, rel=1e-4)
    assert second >= 0
