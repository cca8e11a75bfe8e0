"""Detection finds what is there, at its place, and next to nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from vermilion.errors import NoDataError, ParameterError, ShapeError
from vermilion.initialize.detection_filters import FilterBank, combined, significance_threshold
from vermilion.initialize.detection_templates import Templates, gaussian_psfs
from vermilion.initialize.peaks import detect_in_residual, detect_sources

DATA = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "broadband"
FWHM = 3.5
SED = np.array([0.5, 0.8, 1.0, 1.1, 1.2])


def star_images(centers, snr, shape, *, size=0.0, sed=SED, fwhm=FWHM):
    """Noise-free images (n, B, Ny, Nx) of round Gaussian sources, written down without any FFT; `snr` in noise of 1."""
    sigma2 = (fwhm / np.sqrt(8 * np.log(2))) ** 2 + size**2
    y, x = np.mgrid[: shape[0], : shape[1]]
    profiles = np.stack([np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / sigma2) for cy, cx in centers])
    whole = np.sqrt(np.pi * sigma2)  # root of the sum of squares of a profile that is not cut
    return np.asarray(snr)[:, None, None, None] * sed[:, None, None] * profiles[:, None] / (whole * np.linalg.norm(sed))


def noisy(images, seed):
    total = images.sum(axis=0)
    return total + np.random.default_rng(seed).normal(size=total.shape)


def nearest(peaks, centers):
    return np.array([np.hypot(*(peaks.centers - c).T).min() if len(peaks) else np.inf for c in centers])


def turned(angle, length):
    return 0.5 * length * np.array([np.sin(angle), np.cos(angle)])


# ---------------------------------------------------------------- filters


def test_the_signal_to_noise_ratio_is_the_sum_over_pixels_whatever_the_weights():
    rng = np.random.default_rng(0)
    data, weights = rng.normal(size=(2, 17, 22)), rng.uniform(size=(2, 17, 22)) * (rng.uniform(size=(2, 17, 22)) > 0.3)
    psfs = gaussian_psfs(np.array([2.0, 3.0]))
    found = FilterBank(psfs, (0.0, 2.0), (17, 22)).snr(data * (weights > 0), weights)[1]
    half = psfs.shape[1] // 2
    padded = np.zeros((2, 17 + 2 * half, 22 + 2 * half))
    for b, y, x in [(0, 8, 9), (1, 0, 0), (0, 16, 21), (1, 3, 20)]:
        kernel = padded.copy()
        kernel[b, y : y + 2 * half + 1, x : x + 2 * half + 1] = psfs[b]
        kernel = kernel[b, half:-half, half:-half]
        expected = (weights[b] * data[b] * kernel).sum() / np.sqrt((weights[b] * kernel**2).sum())
        assert found[b, y, x] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n_bands", "sigma"), [(1, 2.0), (5, 2.0), (10, 2.5), (100, 2.0)])
def test_noise_exceeds_the_threshold_as_often_as_a_normal_variable_exceeds_sigma(n_bands, sigma):
    draws = combined(np.random.default_rng(n_bands).normal(size=(n_bands, 1, 60_000 if n_bands < 100 else 8_000)))
    part = (draws > significance_threshold(sigma, n_bands, 1)).mean()
    assert part == pytest.approx(stats.norm.sf(sigma), abs=4 * np.sqrt(stats.norm.sf(sigma) / draws.size))


def test_several_filters_raise_the_threshold():
    assert significance_threshold(5, 5, 4) > significance_threshold(5, 5, 1) > 5


# ---------------------------------------------------------------- noise alone


@pytest.mark.parametrize("n_bands", [1, 5])
@pytest.mark.parametrize("kind", ["equal", "unequal", "masked", "round"])
def test_noise_makes_next_to_no_source(n_bands, kind):
    rng = np.random.default_rng([n_bands, len(kind)])
    found = 0
    for _ in range(3):
        shape = (n_bands, 100, 100)
        weights = np.exp(2 * rng.normal(size=shape)) * 1e8 if kind == "unequal" else np.ones(shape)
        data = rng.normal(size=shape) / np.sqrt(weights)
        if kind == "masked":
            gone = (rng.uniform(size=shape) < 0.3) | (np.arange(100) > 80) & (np.arange(n_bands)[:, None, None] < 1)
            gone[:, 20:40, 20:60] = True
            weights[gone], data[gone] = 0, np.nan
        elif kind == "round":
            weights *= np.hypot(*(np.mgrid[:100, :100] - 50)) < 45
        found += len(detect_sources(data, weights, psf_fwhm=FWHM))
    assert found == 0


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("size", [0.0, 1.5, 4.0])
def test_sources_are_found_at_their_places_with_their_fluxes(size):
    rng = np.random.default_rng(1)
    centers = np.array([(y, x) for y in (20, 50, 80) for x in (20, 50, 80)]) + rng.uniform(-2, 2, (9, 2))
    images = star_images(centers, np.full(9, 40.0), (100, 100), size=size)
    peaks = detect_sources(noisy(images, 2), psf_fwhm=FWHM, weights=np.ones((5, 100, 100)))
    assert len(peaks) == 9
    assert np.sqrt((nearest(peaks, centers) ** 2).mean()) < 0.09 + 0.1 * size
    truth = images[0].sum(axis=(1, 2))
    np.testing.assert_allclose(peaks.fluxes, np.broadcast_to(truth, (9, 5)), rtol=0.45)  # first values; a band has S/N 9 at least
    np.testing.assert_allclose(np.median(peaks.fluxes, axis=0), truth, rtol=0.12 if size < 2 else 0.25)
    assert np.median(peaks.scales) == pytest.approx(size, abs=0.4 + 0.15 * size)
    assert np.median(peaks.snr) == pytest.approx(40, rel=0.1)


def test_completeness_rises_from_nothing_to_everything_with_signal_to_noise():
    centers = np.array([(y, x) for y in (20.3, 50.6, 80) for x in (20, 50.4, 80)])
    found = []
    for snr in (4.0, 9.0):
        images = star_images(centers, np.full(9, snr), (100, 100))
        counts = [(nearest(detect_sources(noisy(images, s), np.ones((5, 100, 100)), psf_fwhm=FWHM), centers) < 3).sum() for s in range(2)]
        found.append(sum(counts) / 18)
    assert found[0] < 0.2
    assert found[1] > 0.95


@pytest.mark.parametrize("where", [(0.0, 20.0), (0.2, 0.3), (39.0, 39.0), (20.0, 38.6), (1.0, 5.5)])
def test_sources_at_the_edges_are_found_there_and_once(where):
    images = star_images([where], [60.0], (40, 40))
    peaks = detect_sources(noisy(images, 3), np.ones((5, 40, 40)), psf_fwhm=FWHM)
    assert len(peaks) == 1
    assert nearest(peaks, [where])[0] < 0.6


def test_a_star_whose_core_is_masked_is_found():
    images = star_images([(20.0, 21.0)], [200.0], (40, 40))
    data, weights = noisy(images, 4), np.ones((5, 40, 40))
    data[:, 19:22, 20:23], weights[:, 19:22, 20:23] = np.nan, 0
    peaks = detect_sources(data, weights, psf_fwhm=FWHM)
    assert len(peaks) == 1
    assert nearest(peaks, [(20.0, 21.0)])[0] < 0.7
    np.testing.assert_allclose(peaks.fluxes[0], images[0].sum(axis=(1, 2)), rtol=0.2)


@pytest.mark.parametrize(("apart", "snr"), [(1.0, (30, 30)), (1.5, (20, 20)), (2.0, (100, 10)), (1.5, (300, 30)), (1.0, (200, 60))])
def test_close_pairs_are_split_and_nothing_more_is_found(apart, snr):
    for seed in range(3):
        offset = turned(seed, apart * FWHM)
        centers = np.add([24.3, 25.1], np.stack([offset, -offset]))
        peaks = detect_sources(noisy(star_images(centers, snr, (50, 50)), seed), np.ones((5, 50, 50)), psf_fwhm=FWHM)
        assert len(peaks) == 2
        assert (nearest(peaks, centers) < 1).all()


@pytest.mark.parametrize("snr", [30, 200, 800])
def test_a_galaxy_is_one_source(snr):
    rng = np.random.default_rng(snr)
    grid = Templates(gaussian_psfs(np.full(5, FWHM)), (70, 70), 30)
    for _ in range(2):
        size, ratio, angle = rng.uniform(1, 5), rng.uniform(0.15, 1), rng.uniform(0, np.pi)
        along, across = np.cos(angle) * grid.x + np.sin(angle) * grid.y, np.cos(angle) * grid.y - np.sin(angle) * grid.x
        disk = (1 + size**2 * (along**2 + ratio**2 * across**2)) ** -1.5
        image = grid.inverse(grid.at(np.array([[35.2, 34.6]])) * disk * grid.psfs) * SED[:, None, None]
        image *= snr / np.linalg.norm(image)
        assert len(detect_sources(image + rng.normal(size=image.shape), np.ones_like(image), psf_fwhm=FWHM)) == 1


def test_the_scale_of_data_and_weights_changes_nothing():
    data = noisy(star_images([(20, 21.3), (24, 30)], [50, 30], (48, 51)), 5)
    one = detect_sources(data, np.ones_like(data), psf_fwhm=FWHM)
    for factor in (1e-20, 1e20):
        other = detect_sources(data * factor, np.full_like(data, factor**-2), psf_fwhm=FWHM)
        np.testing.assert_allclose(other.centers, one.centers, atol=1e-6)
        np.testing.assert_allclose(other.fluxes, one.fluxes * factor, rtol=1e-6)


def test_without_weights_the_noise_is_taken_from_the_images():
    data = 7e-3 * noisy(star_images([(20, 21.3)], [50], (48, 51)), 6)
    peaks = detect_sources(data, psf_fwhm=FWHM)
    assert len(peaks) == 1
    assert peaks.snr[0] == pytest.approx(50, rel=0.1)
    assert any("no weights" in note for note in peaks.notes)


def test_labels_belong_to_sources_and_the_most_significant_are_kept():
    centers = np.array([(15.0, 15.0), (15.0, 35.0), (35.0, 25.0)])
    data = noisy(star_images(centers, [20, 60, 40], (50, 50)), 7)
    peaks = detect_sources(data, np.ones_like(data), psf_fwhm=FWHM)
    for k, center in enumerate(centers[[1, 2, 0]].astype(int)):
        assert peaks.labels[tuple(center)] == k + 1
    assert peaks.labels[2, 2] == 0
    two = detect_sources(data, np.ones_like(data), psf_fwhm=FWHM, max_sources=2)
    np.testing.assert_array_equal(two.centers, peaks.centers[:2])
    assert set(np.unique(two.labels)) == {0, 1, 2}
    assert any("3 sources were found" in note for note in two.notes)


def test_images_that_are_significantly_negative_are_noted():
    data = noisy(star_images([(20, 20)], [-40], (40, 40)), 8)
    peaks = detect_sources(data, np.ones_like(data), psf_fwhm=FWHM)
    assert len(peaks) == 0
    assert any("negated" in note for note in peaks.notes)


# ---------------------------------------------------------------- residuals


def test_a_missed_neighbor_is_found_in_the_residual_and_nothing_in_a_good_fit():
    images = star_images([(25.0, 25.0), (25.0, 30.0)], [100, 30], (50, 50))
    data, weights = noisy(images, 9), np.ones((5, 50, 50))
    rest = detect_in_residual(data - images[0], weights, images[:1], psf_fwhm=FWHM, centers=[(25, 25)])
    np.testing.assert_allclose(rest.centers, [(25, 30)], atol=0.4)
    assert len(detect_in_residual(data - images.sum(axis=0), weights, images, psf_fwhm=FWHM)) == 0


@pytest.mark.parametrize("wrong", [{"size": 0.5}, {"fwhm": 3.3}, {"snr": 930.0}, {"center": (25.1, 25.0)}])
def test_a_wrong_profile_of_a_bright_source_makes_no_source(wrong):
    truth = {"center": (25.0, 25.0), "snr": 1000.0, "size": 0.0, "fwhm": FWHM}
    model = truth | wrong
    made = [star_images([m["center"]], [m["snr"]], (50, 50), size=m["size"], fwhm=m["fwhm"]) for m in (truth, model)]
    residual = noisy(made[0], 10) - made[1][0]
    assert len(detect_sources(residual, np.ones_like(residual), psf_fwhm=FWHM)) > 0
    assert len(detect_in_residual(residual, np.ones_like(residual), made[1], psf_fwhm=FWHM)) == 0


# ---------------------------------------------------------------- what is refused


GOOD = np.zeros((2, 20, 20))


@pytest.mark.parametrize(
    ("images", "options", "error", "text"),
    [
        (GOOD[0], {}, ShapeError, r"shape \(20, 20\): expected \(B, Ny, Nx\)"),
        (GOOD, {"weights": np.ones((20, 20))}, ShapeError, "expected equal shapes"),
        (GOOD, {"weights": -np.ones((2, 20, 20))}, ParameterError, "negative or non-finite"),
        (GOOD + np.nan, {"weights": np.ones((2, 20, 20))}, ParameterError, "800 values that are NaN"),
        (GOOD, {"weights": GOOD}, NoDataError, "no datum has weight"),
        (GOOD + np.nan, {}, NoDataError, "no datum has weight"),
        (GOOD, {"psfs": np.ones((3, 5, 5))}, ShapeError, r"expected \(2, h, w\)"),
        (GOOD, {"psfs": np.zeros((2, 5, 5))}, ParameterError, "positive number"),
        (GOOD, {"psf_fwhm": [1.0, -2.0]}, ParameterError, "widths > 0"),
        (GOOD, {"psf_fwhm": [1.0, 2.0, 3.0]}, ShapeError, "one width, or 2"),
        (GOOD, {"threshold": 0}, ParameterError, "threshold is 0"),
        (GOOD, {"max_sources": 0}, ParameterError, "at least 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(images, options, error, text):
    options = {"weights": np.ones((2, 20, 20))} | options if "no datum" not in text else options
    with pytest.raises(error, match=text):
        detect_sources(images, **options)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 40), (2, 3, 3)])
def test_tiny_images_are_searched(shape):
    assert len(detect_sources(np.zeros(shape), np.ones(shape), psf_fwhm=FWHM)) == 0
    detect_sources(np.full(shape, 100.0), np.ones(shape), psf_fwhm=FWHM)


# ---------------------------------------------------------------- real blends


@pytest.mark.skipif(not DATA.is_dir(), reason="the real blends are not there")
def test_most_peaks_of_real_blends_are_found_and_few_others():
    given = found = extra = 0
    for file in sorted((DATA / "hsc_blends").glob("*.npz"))[:8]:
        blend = np.load(file)
        peaks = detect_sources(blend["images"], blend["weights"], psfs=blend["psfs"])
        near = nearest(peaks, blend["peaks"][:, ::-1]) < 2.5  # (x, y) in these files
        given, found, extra = given + len(near), found + near.sum(), extra + max(len(peaks) - near.sum(), 0)
    assert found > 0.75 * given
    assert extra < 0.15 * given
