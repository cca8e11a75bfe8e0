"""Scenes obey what they say of themselves: simplex, purity, noise, missing values."""

import itertools

import numpy as np
import pytest

from vermilion.errors import ParameterError, ShapeError
from vermilion.simulate import add_noise, hyperspectral_scene, missing_values
from vermilion.simulate.reflectance import KINDS, WAVELENGTH_RANGE, distinct_spectra, random_spectrum

SMALL = {"shape": (24, 20), "n_bands": 60}


def angle(a, b):
    return np.arccos(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_endmembers", [2, 5, 9])
@pytest.mark.parametrize("pure", [True, False])
def test_abundances_lie_on_the_simplex_and_are_as_pure_as_promised(n_endmembers, pure, seed):
    scene = hyperspectral_scene(n_endmembers=n_endmembers, pure_pixels=pure, seed=seed, **SMALL)
    S = scene.abundances
    assert S.shape == (n_endmembers, 24, 20)
    assert S.min() >= 0
    np.testing.assert_allclose(S.sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(S.max(axis=(1, 2)), 1 if pure else 0.8, rtol=1e-12)


def test_the_largest_abundance_can_be_chosen():
    scene = hyperspectral_scene(n_endmembers=4, pure_pixels=False, max_abundance=0.6, **SMALL)
    assert scene.abundances.max() == pytest.approx(0.6)


def test_neighboring_pixels_are_alike():
    S = hyperspectral_scene(n_endmembers=4, shape=(64, 64), n_bands=30, seed=3).abundances
    steps = np.mean(np.diff(S, axis=1) ** 2)
    shuffled = np.random.default_rng(0).permutation(S.reshape(4, -1).T).T.reshape(S.shape)
    assert steps < 0.1 * np.mean(np.diff(shuffled, axis=1) ** 2)


def test_without_noise_the_data_are_the_product():
    scene = hyperspectral_scene(n_endmembers=3, snr_db=np.inf, brightness_variation=0.2, **SMALL)
    model = np.einsum("bk,kyx->byx", scene.spectra, scene.abundances) * scene.brightness
    np.testing.assert_allclose(scene.cube.data, model, rtol=1e-13)
    assert scene.cube.variance is None
    assert np.log(scene.brightness).std() == pytest.approx(0.2)


@pytest.mark.parametrize("noise", ["white", "colored", "per-band"])
@pytest.mark.parametrize("snr_db", [10.0, 35.0])
def test_the_noise_has_the_power_and_the_variance_that_is_stated(noise, snr_db):
    options = {"n_endmembers": 4, "shape": (60, 60), "n_bands": 80, "noise": noise, "seed": 5}
    clean = hyperspectral_scene(snr_db=np.inf, **options).cube.data
    scene = hyperspectral_scene(snr_db=snr_db, **options)
    errors = scene.cube.data - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(errors**2)) == pytest.approx(snr_db, abs=0.1)
    np.testing.assert_allclose(errors.std(axis=(1, 2)), scene.sigma, rtol=0.06)
    np.testing.assert_allclose(scene.cube.variance, np.broadcast_to(scene.sigma[:, None, None] ** 2, clean.shape))


def test_colored_noise_is_correlated_along_the_bands_only():
    noisy, sigma = add_noise(np.ones((40, 50, 50)), snr_db=0.0, noise="colored", seed=1)
    errors = (noisy - 1) / sigma[:, None, None]
    for lag in (1, 2, 4):  # a Gaussian kernel of standard deviation s correlates as exp(-lag²/4s²)
        assert np.mean(errors[lag:] * errors[:-lag]) == pytest.approx(np.exp(-(lag**2) / 16), abs=0.03)
    assert abs(np.mean(errors[:, 1:] * errors[:, :-1])) < 0.02


def test_per_band_noise_is_three_times_larger_in_water_vapor():
    scene = hyperspectral_scene(n_endmembers=3, shape=(4, 4), n_bands=224, noise="per-band", seed=2)
    wavelength = scene.cube.frame.spectral_axis.to_value("micron")
    inside = np.flatnonzero((wavelength >= 1.35) & (wavelength <= 1.42))
    for within, beside in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        assert scene.sigma[within] / scene.sigma[beside] == pytest.approx(3, rel=0.35)


def test_one_seed_gives_the_same_bytes_and_another_another_scene():
    first, again, other = (hyperspectral_scene(n_endmembers=3, seed=seed, **SMALL) for seed in (4, 4, 5))
    assert first.cube.data.tobytes() == again.cube.data.tobytes()
    assert not np.allclose(first.spectra, other.spectra)


@pytest.mark.parametrize("change", [{"snr_db": 10.0}, {"noise": "per-band"}, {"missing": 0.3}, {"brightness_variation": 0.3}])
def test_what_is_changed_leaves_the_truth_alone(change):
    first, second = (hyperspectral_scene(n_endmembers=3, seed=1, **SMALL, **options) for options in ({}, change))
    np.testing.assert_array_equal(first.spectra, second.spectra)
    np.testing.assert_array_equal(first.abundances, second.abundances)


def test_missing_values_hide_and_change_nothing_else():
    whole = hyperspectral_scene(n_endmembers=3, seed=1, **SMALL)
    scene = hyperspectral_scene(n_endmembers=3, seed=1, missing=0.2, missing_blocks=(0.5, 0.25), **SMALL)
    gone = np.isnan(scene.cube.data)
    np.testing.assert_array_equal(gone, scene.cube.mask)
    np.testing.assert_array_equal(scene.cube.data[~gone], whole.cube.data[~gone])
    np.testing.assert_array_equal(scene.cube.weights == 0, gone)


def test_blocks_are_of_the_length_and_in_the_share_of_pixels_that_was_asked_for():
    mask = missing_values((50, 10, 8), blocks=(0.5, 0.2), seed=3)
    per_pixel = mask.reshape(50, -1)
    has = per_pixel.any(axis=0)
    assert has.sum() == 40
    assert set(per_pixel.sum(axis=0)[has]) == {10}
    assert all(np.ptp(np.flatnonzero(column)) == 9 for column in per_pixel.T[has])


def test_given_spectra_are_used():
    A = np.random.default_rng(0).random((12, 3))
    scene = hyperspectral_scene(n_endmembers=3, shape=(5, 5), spectra=A)
    np.testing.assert_array_equal(scene.spectra, A)
    assert scene.cube.data.shape == (12, 5, 5)
    assert scene.cube.frame.spectral_axis is None


@pytest.mark.parametrize("kind", KINDS)
def test_reflectances_lie_between_zero_and_one(kind):
    wavelength = np.linspace(*WAVELENGTH_RANGE, 224)
    spectra = np.stack([random_spectrum(wavelength, np.random.default_rng(seed), kind=kind) for seed in range(50)])
    assert (spectra > 0).all()
    assert (spectra <= 1).all()
    assert np.isfinite(spectra).all()


def test_vegetation_has_a_red_edge():
    wavelength = np.linspace(*WAVELENGTH_RANGE, 224)
    for seed in range(20):
        spectrum = random_spectrum(wavelength, np.random.default_rng(seed), kind="vegetation")
        assert np.interp(0.8, wavelength, spectrum) > 3 * np.interp(0.67, wavelength, spectrum)


@pytest.mark.parametrize("least", [0.05, 0.3])
def test_no_two_spectra_are_closer_than_the_bound_that_is_returned(least):
    A, bound = distinct_spectra(np.linspace(*WAVELENGTH_RANGE, 100), 7, np.random.default_rng(1), least_angle=least)
    assert bound <= least
    assert min(angle(a, b) for a, b in itertools.combinations(A.T, 2)) >= bound - 1e-9


def test_a_bound_that_cannot_be_met_is_lowered_and_said():
    A, bound = distinct_spectra(np.linspace(*WAVELENGTH_RANGE, 50), 3, np.random.default_rng(1), least_angle=3.0)
    assert bound < 1.6
    assert A.shape == (50, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_endmembers": 1}, "n_endmembers is 1"),
        ({"shape": (1, 2)}, "at least 3 pixels and bands"),
        ({"n_bands": 2}, "at least 3 pixels and bands"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": "pink"}, "noise is 'pink'"),
        ({"snr_db": float("nan")}, "snr_db is nan"),
        ({"max_abundance": 0.7}, "add pure_pixels=False"),
        ({"pure_pixels": False, "max_abundance": 0.3}, "max_abundance is 0.3"),
        ({"missing": 1.5}, "is 1.5: expected a share"),
        ({"missing_blocks": (0.5, -1.0)}, "is -1.0: expected a share"),
        ({"brightness_variation": -1.0}, "brightness_variation is -1.0"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ParameterError, match=text):
        hyperspectral_scene(**{"n_endmembers": 3, **SMALL, **options})


def test_spectra_of_another_number_are_refused():
    with pytest.raises(ShapeError, match=r"spectra has shape \(10, 2\)"):
        hyperspectral_scene(n_endmembers=3, spectra=np.ones((10, 2)), shape=(4, 4))


@pytest.mark.parametrize("shape", [(3, 1), (1, 9), (7, 40)])
def test_odd_shapes_are_made(shape):
    scene = hyperspectral_scene(n_endmembers=3, shape=shape, n_bands=20)
    np.testing.assert_allclose(scene.abundances.max(axis=(1, 2)), 1)
