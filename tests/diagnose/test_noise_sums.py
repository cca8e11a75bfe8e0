"""Weighted sums of correlated noise against dense covariance matrices, and pulls of maps and spectra against known truth."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from vermilion.datamodels import Cube
from vermilion.diagnose.correlated_sums import CorrelationKernel
from vermilion.diagnose.uncertainty import morphology_noise_factors, spectra_noise_factors
from vermilion.errors import ParameterError
from vermilion.io.selection.select import empirical_noise
from vermilion.pipeline import separate


def covariance(n, neighbor):
    lag = np.arange(n)[:, None] - np.arange(n)
    return float(neighbor) ** (lag**2)


@pytest.mark.parametrize("kernel", [CorrelationKernel(), CorrelationKernel(0.5, 0.0), CorrelationKernel(0.3, 0.7)])
@pytest.mark.parametrize("box", [(1, 1, 1), (1, 3, 3), (5, 1, 1), (2, 3, 4)])
def test_a_box_is_a_sum_over_the_dense_covariance(kernel, box):
    parts = [covariance(n, q) for n, q in zip(box, (kernel.spectral, kernel.spatial, kernel.spatial), strict=True)]
    dense = np.prod([part.sum() / len(part) for part in parts])
    assert kernel.factor(box) == pytest.approx(np.sqrt(dense))


@pytest.mark.parametrize(("spectral", "spatial"), [(0.0, 0.0), (0.45, 0.0), (0.0, 0.6), (0.2, 0.8)])
@pytest.mark.parametrize("boxes", [("1x3x3", "5x5x5"), ("1x3x3", "1x5x5", "5x1x1", "5x5x5")])
def test_the_factors_of_a_kernel_give_it_back(spectral, spatial, boxes):
    kernel = CorrelationKernel(spectral, spatial)
    found = CorrelationKernel.of({box: kernel.factor(tuple(map(int, box.split("x")))) for box in boxes})
    assert (found.spectral, found.spatial) == pytest.approx((spectral, spatial), abs=1e-6)


def test_no_factors_and_factors_below_one_mean_no_correlation():
    assert CorrelationKernel.of(None) == CorrelationKernel()
    assert CorrelationKernel.of({"1x3x3": 0.9, "5x5x5": 0.8}) == CorrelationKernel()


def test_factors_beyond_all_bounds_are_nearly_full_correlation():
    assert CorrelationKernel.of({"1x3x3": 50.0}).factor((1, 3, 3)) == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize("factors", [{"3x3": 1.2}, {"1x0x3": 1.2}, {"1x3x3": np.nan}, {"1x3x3": -1.0}])
def test_what_is_not_understood_is_refused(factors):
    with pytest.raises(ParameterError, match="noise_correlation"):
        CorrelationKernel.of(factors)


def test_weighted_sums_are_those_of_the_dense_covariance():
    rng, kernel = np.random.default_rng(1), CorrelationKernel(0.5, 0.6)
    w = rng.normal(size=(12, 3))
    dense = np.sqrt(np.einsum("bk,bc,ck->k", w, covariance(12, 0.5), w) / (w**2).sum(axis=0))
    np.testing.assert_allclose(kernel.over_bands(w), dense, rtol=1e-3)
    images = rng.normal(size=(2, 6, 7))
    dense = np.sqrt(np.einsum("kyx,yv,xu,kvu->k", images, covariance(6, 0.6), covariance(7, 0.6), images) / (images**2).sum(axis=(1, 2)))
    np.testing.assert_allclose(kernel.over_spaxels(images), dense, rtol=1e-3)
    assert kernel.over_bands(np.zeros((5, 2))).tolist() == [1, 1]


def test_factors_of_factors_are_those_of_the_dense_estimator():
    rng, kernel = np.random.default_rng(2), CorrelationKernel(0.4, 0.5)
    A, W = rng.random((20, 2)), rng.gamma(1.0, size=(20, 12)) * (rng.random((20, 12)) > 0.2)
    found = morphology_noise_factors(A, W, kernel)
    for n in range(12):
        with np.errstate(divide="ignore"):
            sigma = np.where(W[:, n] > 0, W[:, n] ** -0.5, 0)
        G = np.linalg.inv(A.T @ np.diag(W[:, n]) @ A) @ A.T @ np.diag(W[:, n]) * sigma
        dense = np.sqrt(np.diag(G @ covariance(20, 0.4) @ G.T) / np.diag(G @ G.T))
        np.testing.assert_allclose(found[:, n], dense, rtol=1e-3)
    S, pixels = rng.random((2, 12)), np.arange(12)[::-1].copy()
    found = spectra_noise_factors(S, W, kernel, pixels, (3, 4))
    space = np.kron(covariance(3, 0.5), covariance(4, 0.5))[np.ix_(pixels, pixels)]
    for b in range(20):
        with np.errstate(divide="ignore"):
            sigma = np.where(W[b] > 0, W[b] ** -0.5, 0)
        G = np.linalg.inv(S @ np.diag(W[b]) @ S.T) @ S @ np.diag(W[b]) * sigma
        np.testing.assert_allclose(found[b], np.sqrt(np.diag(G @ space @ G.T) / np.diag(G @ G.T)), rtol=1e-3)


def test_between_sampled_bands_the_factor_is_interpolated():
    rng, kernel = np.random.default_rng(3), CorrelationKernel(0.0, 0.5)
    S, W = rng.random((2, 30)), np.ones((400, 30)) * rng.uniform(0.5, 2, (400, 1))
    W[50:60] = 0
    found = spectra_noise_factors(S, W, kernel, np.arange(30), (5, 6))
    assert (found[50:60] == 1).all()
    np.testing.assert_allclose(np.delete(found, np.s_[50:60], axis=0), np.broadcast_to(found[0], (390, 2)), rtol=1e-9)


# ---------------------------------------------------------------- pulls


def line(fraction):
    return np.array([1 - fraction, fraction])


KERNELS = {
    "white": np.ones((1, 1, 1)),
    "bilinear and linear": np.einsum("l,y,x->lyx", line(0.5), line(0.3), line(0.3)),
    "drizzle": np.ones((2, 3, 3)) / 18,
}


def scene(kernel, seed=5, shape=(240, 24, 24)):
    """Two overlapping sources, one with a line, under correlated noise; errors claimed 20 % too small."""
    n_bands, n_y, n_x = shape
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:n_y, :n_x]
    wave = np.linspace(0, 1, n_bands)
    A = np.stack([np.exp(-wave) + 0.3, 0.2 + np.exp(-0.5 * ((wave - 0.6) / 0.012) ** 2)], axis=1)
    A /= A.sum(axis=0)
    spots = [3000 * np.exp(-((y - 9) ** 2 + (x - 9) ** 2) / 18), 2500 * np.exp(-((y - 16) ** 2 + (x - 14) ** 2) / 12)]
    S = np.stack(spots).reshape(2, -1)
    noise = fftconvolve(rng.normal(size=np.add(shape, kernel.shape) - 1), kernel, mode="valid") / np.sqrt((kernel**2).sum())
    sigma = np.broadcast_to(np.linspace(1, 2, n_bands)[:, None, None], shape)
    return A, S, Cube((A @ S).reshape(shape) + sigma * noise, (0.8 * sigma) ** 2, meta={"decisions": []})


@pytest.mark.parametrize("name", ["white", "drizzle"])
def test_pulls_of_signed_maps_have_unit_width(name):
    A, S, cube = scene(KERNELS[name])
    result = separate(empirical_noise(cube), n_components=2, fixed_spectra=dict(enumerate(A.T)), starts=0, max_iter=30, tol=0)
    order = [int(np.argmax(result.spectra.T @ one / np.linalg.norm(result.spectra, axis=0))) for one in A.T]
    pulls = (result.signed_morphologies[order].reshape(2, -1) - S) / result.signed_error[order].reshape(2, -1)
    assert pulls.std(axis=1) == pytest.approx([1, 1], abs=0.1)


@pytest.mark.parametrize("name", ["bilinear and linear", "drizzle"])
def test_pulls_of_spectra_have_unit_width(name):
    widths = []
    for seed in (6, 7):  # 240 bands that are correlated tell a width to 6 %
        A, S, cube = scene(KERNELS[name], seed)
        maps = dict(enumerate(S.reshape(2, *cube.frame.shape)))
        result = separate(empirical_noise(cube), n_components=2, fixed_morphologies=maps, starts=0, max_iter=30, tol=0)
        flat = result.morphologies.reshape(2, -1)
        order = [int(np.argmax(flat @ one / np.linalg.norm(flat, axis=1))) for one in S]
        scale = flat[order].sum(axis=1) / S.sum(axis=1)
        widths.append(np.nanstd((result.spectra[:, order] * scale - A) / (result.spectra_error[:, order] * scale)))
    assert np.mean(widths) == pytest.approx(1, abs=0.1)


def test_without_the_option_errors_are_those_that_the_file_claims():
    A, _, cube = scene(KERNELS["drizzle"])
    claimed = separate(cube, n_components=2, fixed_spectra=dict(enumerate(A.T)), starts=0, max_iter=30, tol=0)
    empirical = separate(empirical_noise(cube), n_components=2, fixed_spectra=dict(enumerate(A.T)), starts=0, max_iter=30, tol=0)
    assert "noise_correlation" not in claimed.provenance
    assert set(empirical.provenance["noise_correlation"]) == {"1x3x3", "1x5x5", "5x1x1", "5x5x5"}
    grown = np.nanmedian(empirical.signed_error / claimed.signed_error)
    assert grown == pytest.approx(np.sqrt(2) / 0.8, rel=0.1)  # two bands in each: twice the variance of a long sum
