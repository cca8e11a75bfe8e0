"""The judge against figures worked out by hand, by brute force and by invariance."""

import itertools

import numpy as np
import pytest

from vermilion.diagnose.judge import reconstruction_errors, score
from vermilion.errors import InputWarning, ParameterError, ShapeError


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    return rng.random((30, 4)), rng.dirichlet(np.ones(4), size=50).T


def test_the_truth_scores_zero(truth):
    A, S = truth
    found = score(A, S, A, S, data=A @ S)
    assert (found.sad_mean, found.rmse_total, found.rmse_renormalized) == (0, 0, 0)
    assert found.sre == np.inf
    np.testing.assert_allclose(found.correlation, 1)
    assert found.reconstruction_rmse == 0
    assert not found.matchings_differ


def test_figures_worked_out_by_hand():
    A_true, S_true = np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0]])
    A, S = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.7, 0.0], [0.3, 1.0]])
    found = score(A, S, A_true, S_true)
    np.testing.assert_allclose(found.sad, [np.pi / 4, 0])  # (1, 1) against (1, 0)
    assert found.sad_mean_degrees == pytest.approx(22.5)
    np.testing.assert_allclose(found.rmse, 100 * np.sqrt(0.09 / 2))  # one of two pixels is off by 0.3, in both rows
    assert found.rmse_total == pytest.approx(100 * np.sqrt(0.18 / 4))
    assert found.sre == pytest.approx(10 * np.log10(2 / 0.18))


@pytest.mark.parametrize("seed", range(5))
def test_any_order_scores_the_same(truth, seed):
    A, S = truth
    rng = np.random.default_rng(seed)
    near, abundances = A + 0.05 * rng.normal(size=A.shape), S + 0.02 * rng.normal(size=S.shape)
    order = rng.permutation(4)
    first, second = score(near, abundances, A, S), score(near[:, order], abundances[order], A, S)
    np.testing.assert_allclose(first.sad, second.sad)
    np.testing.assert_allclose(first.rmse, second.rmse)
    np.testing.assert_array_equal(order[second.partner], first.partner)


@pytest.mark.parametrize("match_by", ["spectra", "abundances"])
@pytest.mark.filterwarnings("ignore::vermilion.errors.InputWarning")
def test_the_assignment_is_the_best_of_all(truth, match_by):
    A, S = truth
    rng = np.random.default_rng(1)
    B, T = rng.random(A.shape), rng.dirichlet(np.ones(4), size=50).T
    found = score(B, T, A, S, match_by=match_by)
    unit_A, unit_B = A / np.linalg.norm(A, axis=0), B / np.linalg.norm(B, axis=0)
    cost = np.arccos(unit_B.T @ unit_A) if match_by == "spectra" else ((T[:, None] - S) ** 2).sum(axis=2)
    best = min(itertools.permutations(range(4)), key=lambda order: sum(cost[j, k] for k, j in enumerate(order)))
    assert tuple(found.partner) == best


def test_a_warning_where_the_two_matchings_differ(truth):
    A, S = truth
    with pytest.warns(InputWarning, match="matching by spectra pairs"):
        found = score(A, S[[1, 0, 2, 3]], A, S)
    assert found.matchings_differ
    np.testing.assert_array_equal(found.partner, range(4))
    with pytest.warns(InputWarning, match="these are by abundances"):
        other = score(A, S[[1, 0, 2, 3]], A, S, match_by="abundances")
    np.testing.assert_array_equal(other.partner, [1, 0, 2, 3])
    assert other.rmse_total == 0 < found.rmse_total


def test_an_endmember_that_was_not_found_costs_a_right_angle_and_its_abundances(truth):
    A, S = truth
    found = score(A[:, :3], S[:3], A, S)
    assert found.missing == (3,)
    assert found.extra == ()
    np.testing.assert_allclose(found.sad, [0, 0, 0, np.pi / 2], atol=1e-12)
    assert found.rmse[3] == pytest.approx(100 * np.sqrt(np.mean(S[3] ** 2)))
    assert np.isnan(found.correlation[3])


def test_an_endmember_too_many_is_named_and_costs_nothing_by_itself(truth):
    A, S = truth
    more = np.column_stack([np.linspace(1, 0, 30) ** 8, A])
    found = score(more, np.vstack([np.zeros(50), S]), A, S)
    assert (found.extra, found.missing) == ((0,), ())
    assert found.rmse_total == 0


def test_scale_free_scores_do_not_see_scales(truth):
    A, S = truth
    factor = np.linspace(0.5, 3, 50)
    bright = score(A, S * factor, A, S)  # one factor per pixel
    assert bright.rmse_renormalized < 1e-12
    assert bright.rmse_total > 1
    scaled = score(A * [1, 2, 3, 4], S * np.array([1, 2, 3, 4])[:, None] / 7, A, S)  # one factor per endmember
    np.testing.assert_allclose(scaled.correlation, 1)
    assert scaled.sad_mean == pytest.approx(0, abs=1e-7)


def test_images_and_pixels_score_alike(truth):
    A, S = truth
    T = S + 0.01 * np.random.default_rng(2).normal(size=S.shape)
    flat, image = score(A, T, A, S, data=A @ S), score(A, T.reshape(4, 5, 10), A, S.reshape(4, 5, 10), data=(A @ S).reshape(30, 5, 10))
    assert (flat.rmse_total, flat.reconstruction_rmse) == (image.rmse_total, image.reconstruction_rmse)


def test_pixels_and_bands_that_are_not_there_are_left_out(truth):
    A, S = truth
    B, T = A.copy(), S.copy()
    B[3] = np.nan
    T[:, 7] = np.nan
    found = score(B, T, A, S)
    assert (found.sad_mean, found.rmse_total) == (0, 0)


def test_the_reconstruction_counts_what_has_weight_only(truth):
    A, S = truth
    Y = A @ S
    Y[2, 3] += 0.6
    Y[4, 5] = np.nan
    Y[6, 7] = 1e6
    W = np.ones_like(Y)
    W[6, 7] = 0
    rmse, sre = reconstruction_errors(Y, A, S, weights=W)
    assert rmse == pytest.approx(0.6 / np.sqrt(Y.size - 2))
    there = np.isfinite(Y) & (W > 0)
    assert sre == pytest.approx(10 * np.log10(np.sum(Y[there] ** 2) / 0.36))


def test_the_brightness_is_put_back(truth):
    A, S = truth
    brightness = np.linspace(0.5, 2, 50)
    assert reconstruction_errors((A @ S) * brightness, A, S, brightness=brightness)[0] == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"spectra": np.ones((29, 4))}, ShapeError, "found 29 bands"),
        ({"abundances": np.ones((4, 49))}, ShapeError, "49 pixels"),
        ({"abundances": np.ones((3, 50))}, ShapeError, r"abundances has shape \(3, 50\)"),
        ({"spectra": np.ones(30)}, ShapeError, r"spectra has shape \(30,\)"),
        ({"abundances": np.full((4, 50), np.nan)}, ShapeError, "no pixel is finite"),
        ({"data": np.ones((30, 9))}, ShapeError, "data has 30 bands and 9 pixels"),
        ({"data": np.full((30, 50), np.nan)}, ShapeError, "no value is finite"),
        ({"match_by": "luck"}, ParameterError, "match_by is 'luck'"),
    ],
)
def test_what_does_not_fit_is_refused(truth, change, error, text):
    A, S = truth
    arguments = {"spectra": A, "abundances": S, "true_spectra": A, "true_abundances": S, **change}
    with pytest.raises(error, match=text):
        score(**arguments)
