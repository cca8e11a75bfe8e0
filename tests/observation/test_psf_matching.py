import numpy as np
import pytest
import torch

from vermilion.errors import ParameterError, ShapeError
from vermilion.observation import choose_model_sigma, difference_kernels, psf_images
from vermilion.observation.psf_profiles import gaussian_stamp, moffat_stamp
from vermilion.renderers import Convolution

PIXEL_PLACES = [(20.0, 20.0), (20.5, 20.5), (19.7, 20.4), (20.1, 19.55)]


def star_through(kernels, center, shape=(41, 41)):
    model = torch.from_numpy(gaussian_stamp(shape, kernels.model_sigma, center=center))
    return Convolution(kernels.kernels, shape)(model[None]).numpy()


@pytest.mark.parametrize("center", PIXEL_PLACES)
@pytest.mark.parametrize("fwhm", [1.9, 2.5, 3.0, 5.0])
def test_a_star_anywhere_in_its_pixel_becomes_the_observed_gaussian(fwhm, center):
    sigma = fwhm / (2 * np.sqrt(2 * np.log(2)))
    kernels = difference_kernels(psf_images(("gaussian", fwhm), 1))
    (image,) = star_through(kernels, center)
    expected = gaussian_stamp((41, 41), sigma, center=center)
    assert kernels.notes == ()
    assert np.abs(image - expected).max() < 0.006 * expected.max()
    assert image.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("center", PIXEL_PLACES)
@pytest.mark.parametrize(("fwhm", "beta"), [(3.0, 2.5), (4.0, 4.765)])
def test_a_star_anywhere_in_its_pixel_becomes_the_observed_moffat(fwhm, beta, center):
    kernels = difference_kernels(psf_images(("moffat", fwhm, beta), 1))
    (image,) = star_through(kernels, center)
    expected = moffat_stamp((41, 41), fwhm, beta, center=center)
    assert np.abs(image - expected).max() < 0.01 * expected.max()


@pytest.mark.parametrize(("fwhm", "sigma"), [(6.0, 2.0), (12.0, 4.0), (4.0, 1.5)])
def test_a_wide_model_psf_is_no_harm_where_the_observed_one_is_wider(fwhm, sigma):
    kernels = difference_kernels(psf_images(("gaussian", fwhm), 1), sigma)
    assert kernels.residual.max() < 0.002
    assert kernels.notes == ()


def test_the_kernel_between_gaussians_is_the_gaussian_of_the_difference():
    # sigma^2 = 2^2 - 0.8^2
    (kernel,) = difference_kernels(psf_images(("gaussian", 2 * 2.354820045), 1), 0.8).kernels
    expected = gaussian_stamp(kernel.shape, np.sqrt(2**2 - 0.8**2))
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=2e-4 * expected.max())


def test_kernels_sum_to_one_and_are_cut_where_nothing_is_left():
    stamp = np.zeros((81, 81))
    stamp[30:51, 30:51] = gaussian_stamp((21, 21), 1.5)
    kernels = difference_kernels(psf_images(stamp, 1))
    assert kernels.kernels.shape[1] < 25
    np.testing.assert_allclose(kernels.kernels.sum(axis=(1, 2)), 1, rtol=1e-12)


def test_an_elongated_turned_psf_is_matched():
    y, x = np.indices((33, 33)) - 16
    stamp = np.exp(-0.5 * ((0.8 * x + 0.6 * y) ** 2 / 6 + (0.8 * y - 0.6 * x) ** 2 / 1.5))
    kernels = difference_kernels(psf_images(stamp, 1))
    (image,) = star_through(kernels, (16, 16), (33, 33))
    np.testing.assert_allclose(image, stamp / stamp.sum(), rtol=0, atol=1e-3 * image.max())
    assert kernels.notes == ()


@pytest.mark.parametrize("fwhm", [1.3, 1.6, 1.88])
def test_a_narrow_psf_gets_a_narrower_model(fwhm):
    stamps = psf_images(("gaussian", fwhm), 2)
    sigma = choose_model_sigma(stamps)
    assert 0.5 <= sigma < 1.01 * fwhm / 2.355
    kernels = difference_kernels(stamps, sigma)
    assert kernels.residual.max() < 0.02
    assert not any("negative" in note for note in kernels.notes)


def test_a_psf_narrower_than_the_model_is_said_so():
    kernels = difference_kernels(psf_images(("gaussian", 1.5), 2), 1.2)
    assert kernels.badness > 1
    assert kernels.notes[0].startswith("bands 0, 1: the model PSF (sigma 1.20 pixel) gives the observed PSF only to")
    assert "Give a smaller model_sigma" in kernels.notes[0]
    point = np.zeros((9, 9))
    point[4, 4] = 1
    assert any("model PSF (sigma 0.50 pixel) is undersampled" in note for note in difference_kernels(psf_images(point, 1)).notes)


def test_a_truncated_stamp_is_said_so():
    cut = moffat_stamp((21, 25), 5.0, 2.5)
    notes = difference_kernels(psf_images(cut, 1)).notes
    assert any(note.startswith("band 0: the PSF stamp is cut off") for note in notes)
    # The whole profile has integral 1: what is estimated is what is missing, to a factor of 2.
    estimate = float(next(note for note in notes if "cut off" in note).split("about ")[1].split("%")[0]) / 100
    assert 0.5 < estimate / (1 - cut.sum()) < 2


def test_ringing_is_bounded_for_a_noisy_stamp():
    rng = np.random.default_rng(1)
    truth = gaussian_stamp((31, 31), 1.6)
    stamp = truth + 0.002 * truth.max() * rng.normal(size=truth.shape)
    kernels = difference_kernels(psf_images(stamp, 1), 0.8)
    assert kernels.ringing.max() <= 0.05
    (image,) = star_through(kernels, (20, 20))
    assert np.abs(image[5:36, 5:36] - truth).max() < 0.01 * truth.max()


def test_real_psfs_are_matched_within_the_tolerances(real_data):
    files = [real_data / "broadband" / "scarlet_hsc_cosmos_35.npz", *sorted((real_data / "broadband" / "hsc_blends").glob("*.npz"))[::7]]
    for file in files:
        with np.load(file, allow_pickle=False) as content:
            given = content["psfs"]
        kernels = difference_kernels(psf_images(given, len(given)))
        assert kernels.model_sigma == pytest.approx(0.8)
        assert kernels.residual.max() < 0.004, file
        assert kernels.ringing.max() <= 0.05, file
        assert kernels.notes == ()
        middle = (given.shape[1] // 2, given.shape[2] // 2)
        for image, stamp in zip(star_through(kernels, middle, given.shape[1:]), given / given.sum(axis=(1, 2), keepdims=True), strict=True):
            # The stamps are centered to 0.01 pixel by psf_images: that shift is in the comparison.
            assert np.abs(image - stamp).max() < 0.012 * stamp.max()


@pytest.mark.parametrize(
    ("psfs", "sigma", "error", "text"),
    [
        (np.ones((2, 4, 5)), 0.8, ShapeError, r"psfs has shape \(2, 4, 5\): expected \(B, h, w\) with odd"),
        (np.full((1, 5, 5), np.inf), 0.8, ParameterError, "non-finite"),
        (np.ones((1, 5, 5)), 0.0, ParameterError, "model_sigma is 0.0"),
        (np.ones((1, 5, 5)), np.nan, ParameterError, "model_sigma is nan"),
    ],
)
def test_what_cannot_be_matched_is_refused(psfs, sigma, error, text):
    with pytest.raises(error, match=text):
        difference_kernels(psfs, sigma)
