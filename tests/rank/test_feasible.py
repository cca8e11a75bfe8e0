"""Feasible bands against the closed form for two components, and against truths that are known."""

import numpy as np
import pytest
from scipy.optimize import nnls

from vermilion.diagnose.match import match_components
from vermilion.errors import NoDataError, ParameterError, ShapeError
from vermilion.rank.feasible import NOT_IDENTIFIED_ABOVE, feasible_bands


def two_components(seed=0):
    """Positive factors of rank two without noise."""
    rng = np.random.default_rng(seed)
    A, S = rng.uniform(0.2, 1, (8, 2)), rng.uniform(0.2, 1, (2, 15))
    return A / A.sum(axis=0), S


def lawton_sylvestre(A, S):
    """Range of both shares by the closed form, on a fine grid of its rectangle.

    With spectra of unit sum every feasible spectrum is ``(1 - r) a_0 + r a_1``. Non-negative spectra need r within an outer interval,
    non-negative maps need one spectrum on each side of the inner interval that the pixels span.
    """
    d = A[:, 1] - A[:, 0]
    outer = (-A[:, 0] / d)[d > 0].max(), (-A[:, 0] / d)[d < 0].min()
    r = S[1] / S.sum(axis=0)
    first, second = np.meshgrid(np.linspace(outer[0], r.min(), 400), np.linspace(r.max(), outer[1], 400), indexing="ij")
    total = S.sum(axis=0)
    Y = np.linalg.norm(A @ S)
    shares = []
    for x, y in ((first, second), (second, first)):
        size = np.sqrt(np.square(A[:, 0]).sum() * (1 - x) ** 2 + np.square(A[:, 1]).sum() * x**2 + 2 * (A[:, 0] @ A[:, 1]) * (1 - x) * x)
        # r = (1 - c) x + c y, the map of the first is total (y - r) / (y - x)
        squares = np.square(total).sum() * y**2 - 2 * (total**2 @ r) * y + np.square(total * r).sum()
        shares.append(size * np.sqrt(squares) / np.abs(y - x) / Y)
    return np.array([s.min() for s in shares]), np.array([s.max() for s in shares])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unit", [1.0, 1e-20])
def test_two_components_without_noise_have_the_bands_of_the_closed_form(seed, unit):
    A, S = two_components(seed)
    low, high = lawton_sylvestre(A, S)
    found = feasible_bands(unit * A @ S, np.full((8, 15), 1e14 / unit**2), A, unit * S)
    np.testing.assert_allclose(found.low, low, atol=3e-3)
    np.testing.assert_allclose(found.high, high, atol=3e-3)
    assert found.excess == 0


def test_extremes_are_factors_that_reach_their_shares():
    A, S = two_components()
    found = feasible_bands(A @ S, np.full((8, 15), 1e14), A, S)
    for i, shares in enumerate((found.low, found.high)):
        assert (found.spectra[i] >= 0).all()
        assert (found.morphologies[i] >= 0).all()
        size = np.linalg.norm(found.spectra[i], axis=1) * np.linalg.norm(found.morphologies[i], axis=1)
        np.testing.assert_allclose(size / np.linalg.norm(A @ S), shares, rtol=1e-5)


def scene(seed, K, *, snr_db, pure, n_pixels=150, n_bands=30):
    """Smooth spectra, abundances of sum 1, white noise."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, n_bands)[:, None]
    A = 0.1 + 0.1 * rng.random(K)
    for _ in range(3):
        A = A + rng.uniform(0.2, 0.8, K) * np.exp(-0.5 * ((x - rng.random(K)) / rng.uniform(0.05, 0.25, K)) ** 2)
    S = rng.dirichlet(np.ones(K), n_pixels).T
    S = S[:, S.max(axis=0) < 0.8]
    if pure:
        S[:, : 3 * K] = np.repeat(np.eye(K), 3, axis=1)
    sigma = np.sqrt(np.square(A @ S).mean() * 10 ** (-snr_db / 10))
    return A, S, A @ S + sigma * rng.normal(size=(n_bands, S.shape[1])), sigma


def fit(Y, A):
    """Abundances of sum 1 with the spectra nearest to the extreme pixels of the true ones."""
    heavy = 1e3 * np.ones((1, A.shape[1]))
    S = np.stack([nnls(np.vstack([A, heavy]), np.append(y, 1e3))[0] for y in Y.T], axis=1)
    return A, S


def shares(A, S):
    return np.linalg.norm(A, axis=0) * np.linalg.norm(S, axis=1) / np.linalg.norm(A @ S)


@pytest.mark.parametrize("pure", [True, False])
@pytest.mark.parametrize("snr_db", [20, 35])
def test_the_truth_lies_in_the_bands(pure, snr_db):
    inside, widths = 0, []
    for seed, K in enumerate((2, 3)):
        A, S, Y, sigma = scene(seed, K, snr_db=snr_db, pure=pure)
        extreme = Y[:, [int(np.argmax(s)) for s in S]]  # the purest pixels, noise and all
        start = fit(Y, np.maximum(extreme, 0))
        found = feasible_bands(Y, None if seed % 2 else np.full(Y.shape, sigma**-2), *start, closure=True)
        order = match_components(start[0], A)
        truth = shares(A, S)
        inside += bool((truth >= found.low[order] - 1e-3).all() and (truth <= found.high[order] + 1e-3).all())
        widths.append(found.width)
    assert inside == 2
    assert np.median(np.concatenate(widths)) < 0.8


def test_pure_pixels_that_are_asked_for_narrow_the_bands_and_keep_the_truth():
    A, S, Y, sigma = scene(3, 3, snr_db=35, pure=True)
    W = np.full(Y.shape, sigma**-2)
    wide = feasible_bands(Y, W, *fit(Y, A), closure=True)
    narrow = feasible_bands(Y, W, *fit(Y, A), closure=True, pure=range(3))
    assert not wide.identified.all()
    assert "not identified" in wide.note()
    assert "not identified" in wide.table()
    assert narrow.width.max() < 0.1
    assert narrow.identified.all()
    assert (shares(A, S) >= narrow.low - 1e-3).all()
    assert (shares(A, S) <= narrow.high + 1e-3).all()


def test_known_factors_narrow_the_bands():
    A, S, Y, sigma = scene(5, 2, snr_db=35, pure=False)
    W, start = np.full(Y.shape, sigma**-2), fit(Y, A)
    free = feasible_bands(Y, W, *start)
    one = feasible_bands(Y, W, *start, known_spectra=[0])
    every = feasible_bands(Y, W, *start, known_spectra=range(2))
    maps = feasible_bands(Y, W, *start, known_morphologies=range(2))
    assert one.width.mean() < free.width.mean()
    for found in (every, maps):
        assert found.width.max() < 1e-6
        np.testing.assert_allclose(found.share, shares(A, S), atol=0.01)


def test_a_larger_delta_widens_the_bands():
    A, _, Y, sigma = scene(4, 2, snr_db=25, pure=True)
    W, start = np.full(Y.shape, sigma**-2), fit(Y, A)
    narrow, wide = (feasible_bands(Y, W, *start, delta_chi2=delta, closure=True) for delta in (1.0, 1000.0))
    assert (wide.low <= narrow.low + 1e-3).all()
    assert (wide.high >= narrow.high - 1e-3).all()
    assert wide.width.sum() > narrow.width.sum() + 0.01
    assert (narrow.delta_chi2 == 1).all()


def test_separate_components_are_identified():
    # each alone in some bands and in some pixels: no mixture but the truth
    rng = np.random.default_rng(0)
    A, S = np.zeros((12, 3)), np.zeros((3, 60))
    for k in range(3):
        A[4 * k : 4 * k + 4, k], S[k, 15 * k : 15 * k + 15] = rng.uniform(0.5, 1, 4), rng.uniform(5, 10, 15)
    A[:4, 1], S[:, 45:] = rng.uniform(0.1, 0.5, 4), rng.uniform(1, 5, (3, 15))
    Y = A @ S + 0.01 * rng.normal(size=(12, 60))
    found = feasible_bands(Y, np.full(Y.shape, 1e4), A, S)
    assert found.identified.all()
    assert found.width.max() < 0.05
    assert found.note().startswith("shares of the components are determined within 0.0")


@pytest.mark.parametrize("kind", ["any", "missing"])
def test_weights_and_missing_values_keep_the_truth_inside(kind):
    rng = np.random.default_rng(0)
    A, S, Y, sigma = scene(1, 2, snr_db=30, pure=True)
    sigmas = sigma * rng.uniform(0.5, 2, Y.shape)
    Y = A @ S + sigmas * rng.normal(size=Y.shape)
    W = sigmas**-2
    if kind == "missing":
        gone = rng.random(Y.shape) < 0.2
        gone[7], gone[:, 9] = True, True
        Y, W = np.where(gone, np.nan, Y), np.where(gone, 0, W)
    found = feasible_bands(Y, W, A, S, closure=True, pure=[0, 1])
    assert (shares(A, S) >= found.low - 0.01).all()
    assert (shares(A, S) <= found.high + 0.01).all()
    assert found.width.max() < 0.15
    if kind == "missing":
        assert np.isnan(found.spectra[:, :, 7]).all()
        assert np.isnan(found.morphologies[:, :, 9]).all()


def test_what_does_not_meet_the_constraints_is_said():
    # a spectrum far below zero
    A, S = two_components()
    A[0, 0] = -0.5
    found = feasible_bands(A @ S, np.full((8, 15), 1e8), A, S, known_spectra=[0, 1], known_morphologies=[0])
    assert found.excess == 0  # nothing is free that could be negative
    found = feasible_bands(A @ S, np.full((8, 15), 1e8), A, S, known_morphologies=[0, 1])
    assert found.excess > 10
    assert "sigma more were granted" in found.note()


def test_noise_alone_identifies_nothing():
    rng = np.random.default_rng(0)
    found = feasible_bands(rng.normal(size=(10, 30)), None, np.abs(rng.normal(size=(10, 2))), np.abs(rng.normal(size=(2, 30))))
    assert not found.identified.any()


def test_one_component_has_a_share_of_one():
    A, S = np.array([[1.0], [2.0]]), np.array([[1.0, 3.0, 2.0]])
    found = feasible_bands(A @ S, np.full((2, 3), 1e8), A, S)
    np.testing.assert_allclose([found.low, found.share, found.high], 1, atol=1e-6)


def test_the_same_seed_gives_the_same_bands():
    A, _, Y, _ = scene(1, 2, snr_db=30, pure=True)
    one, other = (feasible_bands(Y, None, *fit(Y, A), max_pixels=100, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.high, other.high)
    assert one.width.max() > NOT_IDENTIFIED_ABOVE


def test_what_does_not_fit_is_refused():
    A, S = two_components()
    Y = A @ S
    with pytest.raises(ParameterError, match=r"confidence is 0\.1"):
        feasible_bands(Y, None, A, S, confidence=0.1)
    with pytest.raises(ParameterError, match="delta_chi2 is -1"):
        feasible_bands(Y, None, A, S, delta_chi2=-1)
    with pytest.raises(ParameterError, match="add closure=True"):
        feasible_bands(Y, None, A, S, pure=[0])
    with pytest.raises(ParameterError, match="from 0 to 1"):
        feasible_bands(Y, None, A, S, known_spectra=[2])
    with pytest.raises(ShapeError, match="A has shape"):
        feasible_bands(Y, None, A, S[:1])
    with pytest.raises(ShapeError, match="W has shape"):
        feasible_bands(Y, np.ones((1, 1)), A, S)
    with pytest.raises(NoDataError, match="not all of 2 components stand above"):
        feasible_bands(0 * Y, None, A, S)
    with pytest.raises(NoDataError, match="not all of 2 components stand above"):
        feasible_bands(A[:, :1] @ S[:1], np.full(Y.shape, 1e8), A, S)
    with pytest.raises(NoDataError, match="0 bands"):
        feasible_bands(Y, np.zeros(Y.shape), A, S)
