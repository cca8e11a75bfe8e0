"""Centers that the data give, against displaced truth and against draws."""

import numpy as np
import pytest

from vermilion.errors import ShapeError
from vermilion.measure import centroid

SHIFTED = ((0.2, -0.1), (-0.15, 0.25), (0.1, 0.05))


def moved(make_truth, shifts, **options):
    """The blend, and the same with every source displaced."""
    truth = make_truth(**options)
    sources = [
        (kind, (y + dy, x + dx), *rest)
        for (kind, (y, x), *rest), (dy, dx) in zip(
            [
                ("point", (15.2, 14.7), 0.0, 1.0, 0.0),
                ("galaxy", (19.1, 19.4), 3.0, 0.5, 30.0),
                ("two-component", (30.3, 24.0), 2.0, 0.8, 100.0),
            ],
            shifts,
            strict=True,
        )
    ]
    centers = np.array([source.center for source in truth.sources])
    return truth, make_truth(sources=sources, **options), centers


def test_models_displaced_by_tenths_of_a_pixel_are_found(make_truth):
    start, truth, centers = moved(make_truth, SHIFTED)
    found = centroid(start.models, np.where(truth.weights > 0, truth.models.sum(axis=0), np.nan), truth.weights, centers)
    np.testing.assert_allclose(found.centers - centers, SHIFTED, atol=0.02)
    again, truth, centers = moved(make_truth, np.array(SHIFTED) / 10)
    found = centroid(again.models, truth.models.sum(axis=0), truth.weights, centers)
    np.testing.assert_allclose(found.centers - centers, np.array(SHIFTED) / 10, atol=5e-4)


@pytest.mark.parametrize("n_bands", [1, 3])
def test_pulls_of_centers_are_standard_normal(make_truth, n_bands):
    truth = make_truth(n_bands, flux=400.0)
    rng, centers = np.random.default_rng(0), np.array([source.center for source in truth.sources])
    offsets = []
    for _ in range(250):
        found = centroid(truth.models, truth.draw(rng), truth.weights, centers)
        offsets.append(found.centers - centers)
    pulls = np.array(offsets) / found.errors
    assert np.abs(pulls.mean(axis=0)).max() < 0.22
    assert np.abs(pulls.std(axis=0) - 1).max() < 0.18
    assert 0.9 < pulls.std() < 1.1
    for k in range(3):
        np.testing.assert_allclose(np.cov(np.array(offsets)[:, k].T), found.covariance[k], atol=0.25 * found.covariance[k].max())


def test_errors_of_a_close_pair_are_those_of_the_dense_problem(make_truth):
    def pair(*moves):
        centers = np.array([(20.0, 20.0), (20.4, 22.0)]) + np.reshape(moves, (2, 2))
        return make_truth(2, sources=[("point", tuple(center), 0.0, 1.0, 0.0) for center in centers], bad=0)

    truth, h = pair(0, 0, 0, 0), 1e-4
    root = np.sqrt(truth.weights)
    columns = [(pair(*(h * e)).models - pair(*(-h * e)).models).sum(axis=0) / (2 * h) for e in np.eye(4)]
    columns += [np.where(np.arange(2)[:, None, None] == b, truth.templates[k], 0.0) for k in range(2) for b in range(2)]
    design = np.array([(root * column).ravel() for column in columns]).T
    dense, positions_only = np.linalg.inv(design.T @ design)[:4, :4], np.linalg.inv(design[:, :4].T @ design[:, :4])
    found = centroid(truth.models, truth.models.sum(axis=0), truth.weights, [(20.0, 20.0), (20.4, 22.0)])
    expected = np.sqrt(np.diag(dense)).reshape(2, 2)
    np.testing.assert_allclose(found.errors, expected, rtol=0.03)
    assert (expected[:, 1] > 1.2 * np.sqrt(np.diag(positions_only)).reshape(2, 2)[:, 1]).all()  # the fluxes matter


def test_an_isolated_star_has_the_error_of_theory(make_truth):
    # Fisher information of a Gaussian star on white noise: F² w / (8 π s⁴) for each coordinate
    truth = make_truth(1, sources=[("point", (20.0, 22.0), 0.0, 1.0, 0.0)], bad=0)
    weights = np.ones_like(truth.weights)
    found = centroid(truth.models, truth.models.sum(axis=0), weights, [(20.0, 22.0)])
    flux, s = truth.fluxes[0, 0], 1.3
    np.testing.assert_allclose(found.errors, np.sqrt(8 * np.pi * s**4) / flux, rtol=0.012)
    np.testing.assert_allclose(found.centers, [(20.0, 22.0)], atol=1e-9)


def test_what_the_data_do_not_place_is_absent(make_truth):
    truth = make_truth()
    data, centers = truth.models.sum(axis=0), np.array([source.center for source in truth.sources])
    flat = np.concatenate([truth.models, np.ones_like(truth.models[:1])])
    found = centroid(flat, data + 1, truth.weights, np.vstack([centers, (0, 0)]))
    assert np.isnan(found.centers[3]).all()
    assert np.isinf(found.errors[3]).all()
    np.testing.assert_allclose(found.centers[:3], centers, atol=1e-6)
    far = centroid(truth.models, np.roll(data, 4, axis=2), truth.weights, centers)
    assert np.isnan(far.centers).any()


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_units_and_single_precision_change_nothing(make_truth, scale):
    start, truth, centers = moved(make_truth, SHIFTED)
    data = truth.draw(np.random.default_rng(1))
    one = centroid(start.models, data, truth.weights, centers)
    two = centroid(scale * start.models, scale * data, truth.weights / scale**2, centers)
    np.testing.assert_allclose(two.centers, one.centers, rtol=1e-9)
    np.testing.assert_allclose(two.covariance, one.covariance, rtol=1e-7, atol=1e-12)
    single = centroid(start.models.astype(np.float32), data.astype(np.float32), truth.weights.astype(np.float32), centers)
    np.testing.assert_allclose(single.centers, one.centers, atol=1e-4)


def test_no_source_and_no_matching_center():
    assert centroid(np.zeros((0, 1, 4, 4)), np.ones((1, 4, 4)), np.ones((1, 4, 4)), []).centers.shape == (0, 2)
    with pytest.raises(ShapeError, match=r"expected \(n, 2\)"):
        centroid(np.ones((1, 1, 4, 4)), np.ones((1, 4, 4)), np.ones((1, 4, 4)), [(0, 0), (1, 1)])
    line = centroid(np.ones((1, 1, 1, 4)), np.ones((1, 1, 4)), np.ones((1, 1, 4)), [(0, 1)])
    assert np.isnan(line.centers).any()
