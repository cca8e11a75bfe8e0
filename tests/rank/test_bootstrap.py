"""Refits to drawn data scatter as theory says."""

import numpy as np
import pytest

from vermilion.diagnose.correlated_sums import CorrelationKernel
from vermilion.diagnose.uncertainty import morphology_errors, spectra_errors
from vermilion.errors import NotConvergedError, ParameterError, ShapeError
from vermilion.rank.bootstrap import BOOTSTRAPS, bootstrap


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    A, S = rng.uniform(0.2, 1, (12, 2)), rng.uniform(5, 10, (2, 60))
    W = rng.uniform(0.5, 2, (12, 60))
    return A @ S + rng.normal(size=W.shape) / np.sqrt(W), W, A, S


def with_known_spectra(A):
    def fit(Y, W):
        W = np.isfinite(Y).astype(float) if W is None else W
        Y = np.where(W > 0, Y, 0)
        return A, np.stack([np.linalg.solve((A.T * w) @ A, (A.T * w) @ y) for y, w in zip(Y.T, W.T, strict=True)], axis=1)

    return fit


def with_known_maps(S, *, of_pixels=None):
    def fit(Y, W):
        # drawn pixels are recognized by their weights, which are all different
        maps = S if of_pixels is None else S[:, [int(np.argmin(np.abs(of_pixels - w[0]))) for w in W.T]]
        return np.stack([np.linalg.solve((maps * w) @ maps.T, (maps * w) @ y) for y, w in zip(Y, W, strict=True)]), maps

    return fit


@pytest.mark.parametrize("kind", ["parametric", "residual"])
def test_scatter_of_maps_with_known_spectra_is_that_of_least_squares(scene, kind):
    Y, W, A, _ = scene
    found = bootstrap(Y, W, with_known_spectra(A), n=200, kind=kind, seed=1)
    ratio = found.morphologies_error / morphology_errors(A, W, 60)
    # values of large weight pull the fit towards themselves, and leave small residuals
    assert np.median(ratio) == pytest.approx(1, abs=0.02 if kind == "parametric" else 0.2)
    assert (found.spectra_error == 0).all()
    assert np.abs(found.morphologies_bias / found.morphologies_error).max() < 5 / np.sqrt(200)
    assert (found.n, found.failed, found.kind) == (200, 0, kind)


@pytest.mark.parametrize("kind", ["parametric", "residual"])
def test_scatter_of_spectra_with_known_maps_is_that_of_least_squares(scene, kind):
    Y, W, _, S = scene
    found = bootstrap(Y, W, with_known_maps(S), n=200, kind=kind, seed=1)
    ratio = found.spectra_error / spectra_errors(S, W, 12)
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert ratio.min() > 0.6


def test_drawn_pixels_give_errors_of_spectra_only(scene):
    Y, W, _, S = scene
    found = bootstrap(Y, W, with_known_maps(S, of_pixels=W[0]), n=200, kind="pixels", seed=1)
    assert np.median(found.spectra_error / spectra_errors(S, W, 12)) == pytest.approx(1, abs=0.15)
    assert np.isnan(found.morphologies_error).all()


def test_noise_without_weights_is_that_of_the_residuals():
    rng = np.random.default_rng(3)
    A, S = rng.uniform(0.2, 1, (40, 2)), rng.uniform(5, 10, (2, 300))
    Y = A @ S + 0.3 * rng.normal(size=(40, 300))
    Y[rng.random(Y.shape) < 0.1] = np.nan
    found = bootstrap(Y, None, with_known_spectra(A), n=60)
    expected = 0.3 * morphology_errors(A, np.isfinite(Y).astype(float), 300)
    assert np.median(found.morphologies_error / expected) == pytest.approx(1, abs=0.04)
    assert found.notes == ("noise of the scatter of the residuals, independent from value to value",)


def test_components_are_matched_before_they_are_compared(scene):
    Y, W, A, _ = scene
    known, calls = with_known_spectra(A), []

    def swapping(Y, W):
        calls.append(1)
        A_now, S_now = known(Y, W)
        return (A_now[:, ::-1], S_now[::-1]) if len(calls) % 2 else (A_now, S_now)

    found = bootstrap(Y, W, swapping, n=20)
    assert found.morphologies_error.max() < 5 * morphology_errors(A, W, 60).max()


@pytest.mark.parametrize(("kernel", "kind"), [((0.5, 0.0), "parametric"), ((0.0, 0.5), "parametric"), ((0.3, 0.4), "parametric")])
def test_correlated_noise_makes_sums_noisier_as_its_kernel_says(kernel, kind):
    kernel = CorrelationKernel(*kernel)
    mean = lambda Y, W: (np.ones((6, 1)), Y.mean(axis=0, keepdims=True))  # noqa: E731
    total = lambda Y, W: (Y.mean(axis=1, keepdims=True), np.ones((1, 64)))  # noqa: E731
    Y = np.zeros((6, 64))
    over_bands = bootstrap(Y, np.ones_like(Y), mean, n=400, kernel=kernel, shape=(8, 8)).morphologies_error
    over_pixels = bootstrap(Y, np.ones_like(Y), total, n=2000, kernel=kernel, shape=(8, 8)).spectra_error
    assert np.sqrt(np.square(over_bands).mean()) * np.sqrt(6) == pytest.approx(kernel.factor((6, 1, 1)), rel=0.05)
    assert np.sqrt(np.square(over_pixels).mean()) * 8 == pytest.approx(kernel.factor((1, 8, 8)), rel=0.05)


def test_missing_values_stay_missing(scene):
    Y, W, A, _ = scene
    Y, W = Y.copy(), W.copy()
    Y[3, 5], W[3, 5] = np.nan, 0
    seen = []

    def fit(Y, W):
        seen.append(W[3, 5])
        return with_known_spectra(A)(Y, W)

    found = bootstrap(Y, W, fit, n=5)
    assert set(seen) == {0}
    assert np.isfinite(found.morphologies_error).all()


def test_failed_refits_are_counted(scene):
    Y, W, A, _ = scene
    known, calls = with_known_spectra(A), []

    def fails(every):
        def fit(Y, W):
            calls.append(1)
            A_now, S_now = known(Y, W)
            return A_now, S_now * (np.nan if len(calls) > 1 and len(calls) % every == 0 else 1)

        return fit

    assert bootstrap(Y, W, fails(2), n=10).failed == 5
    calls.clear()
    with pytest.raises(NotConvergedError, match="10 of 10 refits"):
        bootstrap(Y, W, fails(1), n=10)


@pytest.mark.parametrize("kind", BOOTSTRAPS)
def test_the_same_seed_gives_the_same_errors(scene, kind):
    Y, W, A, S = scene
    fit = with_known_maps(S, of_pixels=W[0]) if kind == "pixels" else with_known_spectra(A)
    one, other = (bootstrap(Y, W, fit, n=5, kind=kind, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.spectra_error, other.spectra_error)
    np.testing.assert_array_equal(one.morphologies_error, other.morphologies_error)


def test_what_does_not_fit_is_refused(scene):
    Y, W, A, _ = scene
    fit = with_known_spectra(A)
    with pytest.raises(ParameterError, match="kind is 'other'"):
        bootstrap(Y, W, fit, kind="other")
    with pytest.raises(ParameterError, match="n is 1"):
        bootstrap(Y, W, fit, n=1)
    with pytest.raises(ParameterError, match=r"add shape=\(Ny, Nx\)"):
        bootstrap(Y, W, fit, kernel=CorrelationKernel(spatial=0.3))
    with pytest.raises(ParameterError, match="add kind='parametric'"):
        bootstrap(Y, W, fit, kind="residual", kernel=CorrelationKernel(0.3))
    with pytest.raises(ShapeError, match="do not lie in an image"):
        bootstrap(Y, W, fit, shape=(3, 3))
    with pytest.raises(ShapeError, match="W"):
        bootstrap(Y, W[:2], fit)
    with pytest.raises(ShapeError, match="the fit gave factors"):
        bootstrap(Y, W, lambda Y, W: (A, A))
