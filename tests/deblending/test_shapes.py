"""Centers, shapes and spectra by Gauss-Newton steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vermilion.deblending import Prior
from vermilion.deblending.profiles import LOG_INDEX, LOG_RADIUS
from vermilion.deblending.shapes import fit_shapes, spectra_covariance

SIGMA = 0.8
FAINT_PRIOR = Prior(center=0.3, radius=2.0, log_radius=5.0, stretch=5.0, log_index=5.0)  # says nearly nothing about shapes


def start_of(truth, offset):
    """Every source off its place, and of no known shape."""
    shapes = np.where(truth.point[:, None], truth.shapes, FAINT_PRIOR.mean)
    return truth.moved(truth.centers + np.resize(offset, truth.centers.shape), shapes)


SCENES = {
    "a point": ([(14.3, 16.8, 0, 0, 0, 1)], [[3e4], [1e4]]),
    "two overlapping points": ([(14.3, 14.8, 0, 0, 0, 1), (15.1, 17.2, 0, 0, 0, 1)], [[3e4, 1e4], [1e4, 2e4]]),
    "a galaxy": ([(14.3, 16.8, 2.2, 0.3, -0.2, 1.0)], [[3e4], [6e4]]),
    "a round steep galaxy": ([(14.3, 16.8, 2.0, 0.0, 0.0, 2.5)], [[1e5], [6e4]]),
    "a galaxy behind a star": ([(14.3, 14.5, 2.2, 0.3, -0.2, 1.0), (16.1, 17.6, 0, 0, 0, 1)], [[5e4, 1e4], [3e4, 3e4]]),
    "two overlapping galaxies": ([(13.3, 14.8, 2.2, 0.3, 0.2, 0.8), (16.1, 18.6, 1.6, -0.3, 0, 1.5)], [[1e5, 4e4], [4e4, 1e5]]),
}


@pytest.mark.parametrize("scene", SCENES)
def test_without_noise_the_truth_is_reached(make_profiles, make_views, scene):
    rows, spectra = SCENES[scene]
    truth = make_profiles(*rows)
    views = make_views(truth, spectra)
    start = start_of(truth, (0.15, -0.1))
    found = fit_shapes(views, start, truth.centers, FAINT_PRIOR, SIGMA, max_iter=60, tol=0)
    np.testing.assert_allclose(found.spectra, spectra, rtol=2e-3)
    np.testing.assert_allclose(found.profiles.centers, truth.centers, atol=2e-3)
    free = truth.free
    np.testing.assert_allclose(found.profiles.shapes[free], truth.shapes[free], atol=0.02)
    # the start is far away in standard errors, the end within the rounding of the stop rule
    at_start = fit_shapes(views, start, truth.centers, FAINT_PRIOR, SIGMA, max_iter=0)
    assert at_start.chi2 > 100
    assert found.chi2 < 1


def test_the_objective_never_rises_and_its_end_does_not_depend_on_the_start(make_profiles, make_views):
    truth = make_profiles(*SCENES["two overlapping galaxies"][0])
    views = make_views(truth, np.array(SCENES["two overlapping galaxies"][1]) / 30, noise_seed=1)
    prior, ends = Prior(center=0.1, radius=2.0), []
    for offset in ((0.0, 0.0), (0.4, -0.4)):
        seen = []
        found = fit_shapes(
            views, start_of(truth, offset), truth.centers, prior, SIGMA, max_iter=60, tol=0, watch=lambda p, s, o, seen=seen: seen.append(o)
        )
        assert np.all(np.diff(seen) <= 1e-9 * np.abs(seen[:-1]))
        assert found.objective == seen[-1]
        ends.append(found)
    assert abs(ends[0].objective - ends[1].objective) < 0.2
    errors = np.sqrt(np.diagonal(spectra_covariance(views, ends[0]), axis1=1, axis2=2))
    # what is left to gain where the fit ends, 0.1 in chi2, is 0.3 standard errors
    np.testing.assert_array_less(np.abs((ends[0].spectra - ends[1].spectra).numpy()), 0.3 * errors)


def test_the_priors_hold_what_the_data_do_not_tell(make_profiles, make_views):
    truth = make_profiles((14.3, 16.8, 2.2, 0.3, -0.2, 1.0))
    views, prior = make_views(truth, [[1e-3], [1e-3]]), Prior(center=0.1, radius=2.0)
    given = truth.centers + 0.3
    found = fit_shapes(views, start_of(truth, (0.6, 0.0)), given, prior, SIGMA, max_iter=60, tol=0)
    np.testing.assert_allclose(found.profiles.centers, given, atol=0.02)
    np.testing.assert_allclose(found.profiles.shapes[0], prior.mean, atol=0.05)


@pytest.mark.parametrize("level", [-40.0, 25.0])
def test_a_flat_sky_takes_any_sign_and_is_flat_to_the_edge(make_profiles, make_views, flat, level):
    truth = make_profiles((14.3, 16.8, 0, 0, 0, 1), (15.8, 20.1, 0, 0, 0, 1))
    views = make_views(truth, [[3e3, 1e3], [2e3, 2e3]])
    raised = views[0].data + level  # every weight is 1
    views = [replace(views[0], data=raised)]
    found = fit_shapes(views, truth, truth.centers, FAINT_PRIOR, SIGMA, fixed=flat(), max_iter=20, tol=0)
    np.testing.assert_allclose(found.spectra[:, :2], [[3e3, 1e3], [2e3, 2e3]], rtol=1e-6)
    np.testing.assert_allclose(found.spectra[:, 2], level * flat().numel(), rtol=1e-6)


def test_indices_that_are_not_free_stay_and_components_of_a_source_keep_one_center(make_profiles, make_views):
    truth = make_profiles((14.3, 16.8, 1.2, 0, 0, 2.0), (14.3, 16.8, 3.0, 0.3, 0, 1.0), owner=[0, 0], free_index=False)
    views = make_views(truth, [[3e4, 1e4], [1e4, 4e4]])
    shapes = truth.shapes.copy()
    shapes[:, LOG_RADIUS] += 0.3
    found = fit_shapes(views, truth.moved(truth.centers + 0.2, shapes), truth.centers, FAINT_PRIOR, SIGMA, max_iter=60, tol=0)
    np.testing.assert_array_equal(found.profiles.shapes[:, LOG_INDEX], truth.shapes[:, LOG_INDEX])
    assert found.profiles.centers.shape == (1, 2)
    np.testing.assert_allclose(found.profiles.centers, truth.centers, atol=2e-3)
    np.testing.assert_allclose(found.spectra, [[3e4, 1e4], [1e4, 4e4]], rtol=0.01)


def test_the_covariance_of_spectra_is_the_scatter_of_fits_to_drawn_noise(make_profiles, make_views):
    truth = make_profiles((14.3, 14.8, 0, 0, 0, 1), (15.1, 17.2, 0, 0, 0, 1))
    spectra = np.array([[300.0, 100.0], [100.0, 200.0]])
    clean, prior, drawn, told = make_views(truth, spectra), Prior(center=0.1, radius=2.0), [], []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        noisy = clean[0].data + torch.from_numpy(rng.normal(size=clean[0].data.shape))
        views = [replace(clean[0], data=noisy)]
        given = truth.centers + 0.1 * rng.normal(size=(2, 2))
        found = fit_shapes(views, truth.moved(given, truth.shapes), given, prior, SIGMA)
        drawn.append(found.spectra.numpy())
        told.append(np.diagonal(spectra_covariance(views, found), axis1=1, axis2=2))
    ratio = np.var(drawn, axis=0) / np.mean(told, axis=0)
    # of 24 draws a variance is known to 30 %, the mean of four nearly independent ones to 15 %
    assert np.all((ratio > 0.35) & (ratio < 2.2)), ratio
    assert 0.6 < ratio.mean() < 1.5


def test_a_caller_who_has_seen_enough_ends_the_fit(make_profiles, make_views):
    truth = make_profiles(*SCENES["two overlapping galaxies"][0])
    views = make_views(truth, SCENES["two overlapping galaxies"][1])
    seen = []
    found = fit_shapes(
        views, start_of(truth, (0.4, 0.4)), truth.centers, FAINT_PRIOR, SIGMA, watch=lambda *state: seen.append(state) or len(seen) == 2
    )
    assert len(seen) == 2
    assert found.objective == seen[-1][2]
    np.testing.assert_array_equal(found.spectra, seen[-1][1])


def test_sources_that_rest_keep_center_and_shape_but_not_spectrum(make_profiles, make_views):
    truth = make_profiles(*SCENES["two overlapping galaxies"][0])
    views = make_views(truth, SCENES["two overlapping galaxies"][1])
    start = start_of(truth, (0.2, 0.2))
    found = fit_shapes(views, start, truth.centers, FAINT_PRIOR, SIGMA, moving=np.array([False, True]), max_iter=4)
    before = fit_shapes(views, start, truth.centers, FAINT_PRIOR, SIGMA, max_iter=0)
    np.testing.assert_array_equal(found.profiles.centers[0], start.centers[0])
    np.testing.assert_array_equal(found.profiles.shapes[0], start.shapes[0])
    assert np.all(found.profiles.shapes[1] != start.shapes[1])
    assert found.objective < before.objective
    assert np.all(found.spectra.numpy() != before.spectra.numpy())
