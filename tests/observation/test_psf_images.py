import numpy as np
import pytest
from astropy import units as u

from vermilion.datamodels import PSF
from vermilion.errors import ParameterError, ShapeError, UnitError
from vermilion.observation import psf_images
from vermilion.observation.psf_images import shift_stamp
from vermilion.observation.psf_moments import stamp_moments
from vermilion.observation.psf_profiles import gaussian_stamp, moffat_stamp


def elongated(shape, center, variance_y=7.0, variance_x=3.0, covariance=1.5):
    y, x = np.indices(shape) - np.array(center)[:, None, None]
    inverse = np.linalg.inv([[variance_y, covariance], [covariance, variance_x]])
    return np.exp(-0.5 * (inverse[0, 0] * y**2 + 2 * inverse[0, 1] * y * x + inverse[1, 1] * x**2))


@pytest.mark.parametrize("shape", [(31, 31), (30, 30), (32, 41)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5), (-0.3, 0.2), (1.4, -2.6)])
def test_stamps_of_any_size_and_place_become_odd_centered_and_normalized(shape, offset):
    given = 37 * elongated(shape, (np.array(shape) - 1) / 2 + offset)
    (stamp,) = psf_images(given, 1)
    assert all(n % 2 == 1 and n - m in (0, 1) for n, m in zip(stamp.shape, shape, strict=True))
    assert stamp.sum() == pytest.approx(1, abs=1e-12)
    expected = elongated(stamp.shape, np.array(stamp.shape) // 2)
    # Two pixels off, the wings are cut at 13 pixels, 6 sigma.
    np.testing.assert_allclose(stamp, expected / expected.sum(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(stamp_moments(stamp)[0], np.array(stamp.shape) // 2, rtol=0, atol=0.01)


def test_a_centered_odd_stamp_is_only_normalized():
    given = elongated((21, 25), (10, 12))
    np.testing.assert_array_equal(psf_images(given, 1)[0], given / given.sum())


def test_centroids_survive_noise():
    rng = np.random.default_rng(8)
    truth = elongated((40, 40), (19.5, 19.5))
    for _ in range(10):
        (stamp,) = psf_images(truth + 0.002 * rng.normal(size=truth.shape), 1)
        np.testing.assert_allclose(stamp_moments(stamp)[0], 20, rtol=0, atol=0.01)


def test_noise_in_the_wings_is_averaged_away_and_the_core_kept():
    rng = np.random.default_rng(8)
    truth = elongated((41, 41), (20, 20))
    noisy = truth + 0.02 * rng.normal(size=truth.shape)
    (stamp,), truth = psf_images(noisy, 1), truth / truth.sum()
    assert np.abs(stamp - truth).sum() < 0.5 * np.abs(noisy / noisy.sum() - truth).sum()
    y, x = np.indices((41, 41)) - 20
    assert np.abs(stamp[np.hypot(y, x) > 15]).max() < 1e-4


def test_negative_pixels_stay():
    given = elongated((21, 21), (10, 10))
    given[3, 4] = -0.01
    assert psf_images(given, 1)[0, 3, 4] == pytest.approx(-0.01 / given.sum())


def test_moments_are_those_of_the_gaussian():
    center, covariance = stamp_moments(elongated((31, 33), (15.2, 16.7)))
    np.testing.assert_allclose(center, (15.2, 16.7), atol=1e-3)
    np.testing.assert_allclose(covariance, [[7.0, 1.5], [1.5, 3.0]], rtol=0.01)


@pytest.mark.parametrize("shift", [(0.3, -1.2), (2.5, 0.5)])
def test_a_stamp_is_shifted_by_its_shift(shift):
    moved = shift_stamp(elongated((51, 54), (25, 26)), np.array(shift))
    np.testing.assert_allclose(moved, elongated((51, 54), (25 + shift[0], 26 + shift[1])), rtol=0, atol=1e-5)


def test_bands_may_have_stamps_of_different_sizes():
    given = [elongated((41, 41), (20, 20)), elongated((48, 45), (23.5, 22)), elongated((30, 31), (14.5, 15))]
    stamps = psf_images(given, 3)
    assert stamps.shape == (3, 49, 45)
    for stamp in stamps:
        np.testing.assert_allclose(stamp, stamps[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("profile", [("gaussian", 2.6), ("moffat", 2.6, 2.2), ("Moffat", 4.0, 9.0)])
def test_profiles_have_their_width_and_their_integral(profile):
    draw = moffat_stamp if len(profile) == 3 else lambda shape, fwhm, **place: gaussian_stamp(shape, fwhm / 2.354820045, **place)
    peak = draw((1, 1), *profile[1:])
    for y, x in ((0, profile[1] / 2), (-0.6 * profile[1] / 2, 0.8 * profile[1] / 2)):
        assert draw((1, 1), *profile[1:], center=(y, x)) == pytest.approx(peak / 2)
    assert draw((401, 401), *profile[1:]).sum() == pytest.approx(1, abs=2e-3)
    stamps = psf_images(profile, 2)
    assert stamps.shape[1] % 2 == 1
    expected = draw(stamps.shape[1:], *profile[1:])
    np.testing.assert_allclose(stamps[1], expected / expected.sum(), rtol=1e-8)
    assert expected.sum() > 0.99


def test_each_band_has_its_width():
    stamps = psf_images(("moffat", [2.6, 4.0], [2.5, 6.0]), 2)
    for stamp, fwhm, beta in zip(stamps, (2.6, 4.0), (2.5, 6.0), strict=True):
        expected = moffat_stamp(stamp.shape, fwhm, beta)
        np.testing.assert_allclose(stamp, expected / expected.sum(), rtol=1e-12)


def test_a_psf_record_is_its_image_or_its_profile():
    image = np.stack([elongated((11, 11), (5, 5)), elongated((11, 11), (5, 5), 5.0)])
    np.testing.assert_array_equal(psf_images(PSF(image=image, fwhm=[3, 3] * u.arcsec), 2), psf_images(image, 2))
    record = PSF(fwhm=[3.0, 4.0] * u.pix)
    np.testing.assert_array_equal(psf_images(record, 2), psf_images(("gaussian", [3.0, 4.0]), 2))
    record = PSF(fwhm=[0.6, 0.8] * u.arcsec, beta=np.array([2.5, 2.5]))
    expected = psf_images(("moffat", [3.0, 4.0], 2.5), 2)
    for pixel_scale in (0.2 * u.arcsec, 0.2 * u.arcsec / u.pix):
        np.testing.assert_allclose(psf_images(record, 2, pixel_scale=pixel_scale), expected, rtol=1e-9)
    with pytest.raises(UnitError, match="FWHM of the PSF is in arcsec: expected pixels; give pixel_scale"):
        psf_images(record, 2)


def test_one_stamp_serves_all_bands():
    assert psf_images(elongated((11, 11), (5, 5)), 4).shape == (4, 11, 11)


@pytest.mark.parametrize(
    ("psf", "error", "text"),
    [
        (np.ones((3, 9, 9)), ShapeError, r"psf holds stamps of shape \(9, 9\), \(9, 9\), \(9, 9\): expected 2"),
        (np.ones(9), ShapeError, r"psf holds stamps of shape \(9,\)"),
        (3.0, ShapeError, "expected 2, or one for all bands"),
        (np.ones((2, 2, 9)), ShapeError, "at least 3 × 3"),
        (np.full((9, 9), np.nan), ParameterError, "non-finite"),
        (np.zeros((9, 9)), ParameterError, "sums to 0: expected a positive sum"),
        (("gaussian", 0.0), ParameterError, "fwhm of the PSF is 0: expected a finite number > 0"),
        (("moffat", 3.0, 1.0), ParameterError, "beta of the PSF is 1: expected a finite number > 1"),
        (("gaussian", [1.0, 2.0, 3.0]), ShapeError, "one for each of 2 bands"),
        (("airy", 3.0), ParameterError, r"psf is \('airy', 3.0\): expected \('gaussian', fwhm\)"),
        (("moffat", 3.0), ParameterError, "expected .*moffat"),
        (-elongated((15, 15), (7, 7)) + 1, ParameterError, "shows no peak"),
        (np.ones((9, 9)), ParameterError, "or only the middle of one"),
    ],
)
def test_what_is_no_psf_is_refused(psf, error, text):
    with pytest.raises(error, match=text):
        psf_images(psf, 2)
