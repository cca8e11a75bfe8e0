"""Points, galaxies and galaxies of two colors are told apart, and nothing is claimed that the data do not say."""

import math

import numpy as np
import pytest
import torch

from vermilion.datamodels import Status
from vermilion.deblending import Prior, fit_scene
from vermilion.deblending.kinds import as_points, color_gain, galaxy_log_odds, split
from vermilion.deblending.profiles import LOG_RADIUS
from vermilion.deblending.shapes import fit_shapes

SIGMA = 0.8
PRIOR = Prior(center=0.1, radius=1.6)
POINT, GALAXY = (13.3, 14.8, 0, 0, 0, 1), (15.2, 17.4, 2.4, 0.3, -0.2, 1.0)
BULGE, DISK = (14.6, 16.7, 1.0, 0.0, 0.0, 2.0), (14.6, 16.7, 3.5, 0.4, 0.1, 1.0)


def fitted(views, given, kinds, **options):
    options = {"strength": math.inf, "max_iter": 100, "tol": 1e-4} | options
    with torch.no_grad():
        return fit_scene(views, np.array(given, dtype=float), kinds, PRIOR, SIGMA, **options)


def test_a_bright_star_is_a_point_and_a_galaxy_beside_it_a_galaxy(make_profiles, make_views):
    views = make_views(make_profiles(POINT, GALAXY), [[2000, 4000], [1000, 5000]], noise_seed=1)
    found = fitted(views, [POINT[:2], GALAXY[:2]], [None, None])
    assert found.kinds == ("point", "galaxy")
    assert found.probabilities[0]["point"] > 0.8
    assert found.probabilities[1]["point"] < 1e-6


def test_noise_is_neither_star_nor_galaxy_for_sure(make_profiles, make_views):
    views = make_views(make_profiles(POINT), [[3], [3]], noise_seed=2)
    found = fitted(views, [POINT[:2]], [None])
    assert found.kinds == ("undecided",)
    assert 0.05 < found.probabilities[0]["point"] < 0.95


@pytest.mark.parametrize("kinds", [[None, None], [None, "galaxy"], ["point", None]])
@pytest.mark.parametrize("flux", [5.0, 1000.0])
def test_probabilities_sum_to_one_where_the_kind_is_not_given(make_profiles, make_views, kinds, flux):
    views = make_views(make_profiles(POINT, GALAXY), [[flux, flux], [flux, 2 * flux]], noise_seed=3)
    found = fitted(views, [POINT[:2], GALAXY[:2]], kinds)
    for kind, told in zip(kinds, found.probabilities, strict=True):
        assert sum(told.values()) == pytest.approx(0 if kind else 1, abs=1e-9)
        assert all(0 <= p <= 1 for p in told.values())


def test_bulge_and_disk_of_different_colors_are_two_components(make_profiles, make_views):
    truth = make_profiles(BULGE, DISK, owner=[0, 0])
    spectra = np.array([[4000.0, 1000.0], [1000.0, 6000.0]])
    found = fitted(make_views(truth, spectra, noise_seed=4), [BULGE[:2]], [None])
    assert found.kinds == ("two-component",)
    assert found.profiles.owner.tolist() == [0, 0]
    np.testing.assert_allclose(found.spectra.sum(dim=1), spectra.sum(axis=1), rtol=0.03)
    # which of the two is the redder one
    inner = np.argmin(found.profiles.shapes[:, LOG_RADIUS])
    assert found.spectra[0, inner] > found.spectra[1, inner]


@pytest.mark.parametrize("seed", range(3))
def test_bulge_and_disk_of_one_color_are_one_galaxy(make_profiles, make_views, seed):
    truth = make_profiles(BULGE, DISK, owner=[0, 0])
    found = fitted(make_views(truth, [[1500, 3000], [1000, 2000]], noise_seed=seed), [BULGE[:2]], [None])
    assert found.kinds in (("galaxy",), ("undecided",))
    assert found.profiles.owner.tolist() == [0]
    assert found.probabilities[0].get("two-component", 0) < 0.5


def test_kinds_that_are_given_are_kept_against_all_evidence(make_profiles, make_views):
    views = make_views(make_profiles(POINT, GALAXY), [[2000, 4000], [1000, 5000]], noise_seed=5)
    given = [POINT[:2], GALAXY[:2]]
    for kinds in (["galaxy", "point"], ["point", "two-component"], ["two-component", "galaxy"], [None, "point"]):
        found = fitted(views, given, kinds)
        kept = [k for k, kind in enumerate(kinds) if kind]
        assert [found.kinds[k] for k in kept] == [kinds[k] for k in kept]
        assert [found.probabilities[k] for k in kept] == [{}] * len(kept)
        counts = np.bincount(found.profiles.owner, minlength=2)
        assert [counts[k] == 2 for k in kept] == [kinds[k] == "two-component" for k in kept]


def test_the_odds_grow_with_the_size_and_with_the_signal(make_profiles, make_views):
    def odds(radius, flux):
        truth = make_profiles((14.3, 16.8, radius, 0, 0, 1.0))
        start = truth.moved(truth.centers, PRIOR.mean[None])
        start = type(start)(start.centers, start.owner, np.array([False]), start.shapes, start.free_index)
        views = make_views(truth, [[flux], [flux]])
        found = fit_shapes(views, start, truth.centers, PRIOR, SIGMA)
        return galaxy_log_odds(views, found, truth.centers, PRIOR, SIGMA)[0]

    assert odds(0, 1000) < 0 < odds(0.7, 1000) < odds(1.5, 1000)
    assert odds(1.5, 100) < odds(1.5, 1000)
    # a star is not called a galaxy for being bright
    assert odds(0, 1e5) < 0


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.925])
def test_two_colors_gain_nothing_over_one_where_there_is_one(make_profiles, make_views, share):
    pair = make_profiles(BULGE, DISK, owner=[0, 0], free_index=False)
    fits = []
    mix = 4500 * np.array([share, 1 - share])
    for spectra in ([mix, mix / 2], [mix, mix * [0.9, 0.3]]):
        views = make_views(pair, np.array(spectra))
        fits.append(fit_shapes(views, pair, pair.centers, PRIOR, SIGMA, max_iter=0))
    one, two = (color_gain(fit, 0) for fit in fits)
    # the shape is the true one, the light without noise, of very high signal-to-noise ratio
    assert abs(one) < 0.01
    assert two > 20


def test_splitting_and_pointing_change_one_source_only(make_profiles):
    profiles = make_profiles(POINT, GALAXY, GALAXY)
    pair = split(profiles, 1)
    assert pair.owner.tolist() == [0, 1, 2, 1]
    np.testing.assert_array_equal(pair.shapes[[0, 2]], profiles.shapes[[0, 2]])
    assert pair.shapes[1, LOG_RADIUS] < profiles.shapes[1, LOG_RADIUS] < pair.shapes[3, LOG_RADIUS]
    assert as_points(pair, np.array([False, True, False])).point.tolist() == [True, True, False, True]


def test_a_scene_without_sources_has_its_sky(make_profiles, make_views, flat):
    views = make_views(make_profiles(POINT), [[0], [0]], noise_seed=6)
    found = fit_scene(views, np.zeros((0, 2)), [], PRIOR, SIGMA, fixed=flat(), strength=16.0, max_iter=20, tol=1e-4)
    assert found.kinds == ()
    assert found.spectra.shape == (2, 1)
    assert np.all(np.abs(found.spectra.numpy()) < 5 * math.sqrt(flat().numel()) * 1.3)


def test_the_fit_says_how_it_ended(make_profiles, make_views):
    views = make_views(make_profiles(POINT, GALAXY), [[2000, 4000], [1000, 5000]], noise_seed=7)
    given, seen = [POINT[:2], GALAXY[:2]], []
    assert fitted(views, given, [None, None], strength=16.0).status is Status.CONVERGED
    short = fitted(views, given, [None, None], strength=16.0, max_iter=1)
    assert short.status is Status.MAX_ITER
    assert len(short.history) == 1
    stopped = fitted(views, given, [None, None], strength=16.0, announce=lambda i, objective: seen.append((i, objective)) or len(seen) == 2)
    assert stopped.status is Status.STOPPED
    assert seen[:2] == list(zip([1, 2], stopped.history.objective[:2], strict=True))


def test_one_row_of_the_log_per_iteration(make_profiles, make_views):
    views = make_views(make_profiles(POINT, GALAXY), [[2000, 4000], [1000, 5000]], noise_seed=8)
    found = fitted(views, [POINT[:2], GALAXY[:2]], [None, None], strength=16.0)
    n = len(found.history)
    assert found.flux_history.shape == (n, 2)
    assert found.flux_iterations.tolist() == list(range(1, n + 1))
    assert np.all(np.diff(found.history.gradient_evaluations, axis=0) >= 0)
    last = found.spectra.numpy().sum(axis=0)
    np.testing.assert_allclose(found.flux_history[-1], last, rtol=1e-3)
