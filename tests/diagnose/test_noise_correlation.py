"""Sums over boxes of simulated cubes are as noisy as the kernel that resampled them says, with faint light in the cube."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from vermilion.datamodels import Cube
from vermilion.diagnose.correlation import band_noise, noise_correlation
from vermilion.errors import NoDataError
from vermilion.io import read


def line(fraction):
    return np.array([1 - fraction, fraction])


def gauss(sigma):
    x = np.arange(-int(np.ceil(4 * sigma)), int(np.ceil(4 * sigma)) + 1)
    return np.exp(-0.5 * (x / sigma) ** 2) / np.exp(-0.5 * (x / sigma) ** 2).sum()


def outer(bands, rows, columns):
    return np.einsum("l,y,x->lyx", bands, rows, columns)


ONE = np.ones(1)
# each is a list of kernels: independent exposures, resampled and added
KERNELS = {
    "none": [outer(ONE, ONE, ONE)],
    "half a spaxel": [outer(ONE, line(0.5), line(0.5))],
    "linear in wavelength": [outer(line(0.3), ONE, ONE)],
    "bilinear and linear": [outer(line(0.5), line(0.3), line(0.3))],
    "Gaussian": [outer(gauss(0.7), gauss(0.7), gauss(0.7))],
    "drizzle": [outer(np.ones(2) / 2, np.ones(3) / 3, np.ones(3) / 3)],
    "four dithers": [outer(line(a), line(b), line(c)) for a, b, c in ((0.1, 0.5, 0.2), (0.4, 0.1, 0.7), (0.5, 0.3, 0.5), (0.8, 0.6, 0.1))],
    "not separable": [outer(line(0.5), ONE, ONE), outer(ONE, line(0.5), line(0.5))],
}


def resampled(kernels, shape, rng):
    """White noise of sigma 1 under each kernel, added, over the standard deviation of the sum."""
    total = 0
    for kernel in kernels:
        white = rng.normal(size=np.add(shape, kernel.shape) - 1)
        total = total + fftconvolve(white, kernel, mode="valid")
    return total / np.sqrt(sum((kernel**2).sum() for kernel in kernels))


def true_factor(kernels, box):
    """A sum over a box is a sum over the white noise with weights kernel * box."""
    variance = sum((fftconvolve(kernel, np.ones(box)) ** 2).sum() for kernel in kernels)
    return np.sqrt(variance / (np.prod(box) * sum((kernel**2).sum() for kernel in kernels)))


def faint_light(shape, rng):
    """Compact continuum sources, line emitters below the noise, halos with lines and absorption, one bright galaxy."""
    n_bands, n_y, n_x = shape
    y, x = np.mgrid[:n_y, :n_x]
    bands = np.arange(n_bands)[:, None, None]

    def spot(width):
        return np.exp(-0.5 * ((y - rng.uniform(0, n_y)) ** 2 + (x - rng.uniform(0, n_x)) ** 2) / width**2)

    def feature(width):
        return np.exp(-0.5 * ((bands - rng.uniform(0, n_bands)) / width) ** 2)

    light = sum(rng.uniform(0.2, 1) * (1 + 0.5 * np.sin(bands / rng.uniform(8, 60))) * spot(1.5) for _ in range(15))
    light = light + sum(rng.uniform(0.3, 1) * feature(1.2) * spot(1.5) for _ in range(60))
    for _ in range(3):
        light = light + (0.4 + sum(0.6 * feature(1.5) for _ in range(4)) - sum(0.1 * feature(4) for _ in range(4))) * spot(8)
    bright = (1 + ((y - 0.3 * n_y) ** 2 + (x - 0.6 * n_x) ** 2) / 4) ** -1.5
    return light + bright * (30 + 5 * np.sin(bands / 25) - sum(6 * feature(3) for _ in range(4)))


def simulated(name, shape, seed, *, light=True, claimed=1.0):
    """Noise that varies along the bands, as at sky lines, and over the field; errors claimed `claimed` times too large."""
    rng = np.random.default_rng(seed)
    noise = resampled(KERNELS[name], shape, rng)
    bands = np.arange(shape[0])[:, None, None]
    sigma = (1 + 0.3 * np.sin(bands / 30)) * (1 + 0.2 * np.linspace(-1, 1, shape[2]))
    for _ in range(4):
        sigma = sigma * (1 + 1.5 * np.exp(-0.5 * ((bands - rng.uniform(0, shape[0])) / 3) ** 2))
    sigma = np.broadcast_to(sigma, shape)
    data = sigma * noise + (faint_light(shape, rng) if light else 0)
    return Cube(data.astype("f4"), ((claimed * sigma) ** 2).astype("f4"))


@pytest.mark.parametrize(("shape", "light"), [((200, 30, 30), False), ((100, 60, 60), True)], ids=["noise", "light"])
@pytest.mark.parametrize("name", KERNELS)
def test_sums_are_as_noisy_as_the_kernel_says(name, light, shape):
    found = noise_correlation(simulated(name, shape, seed=3, light=light))
    for box in ((1, 1, 1), (1, 3, 3), (1, 5, 5), (5, 1, 1), (5, 5, 5)):
        assert found.factor(box) == pytest.approx(true_factor(KERNELS[name], box), rel=0.05), box


def test_the_truth_of_a_kernel_worked_out_by_hand():
    """Sums over 3 x 3 of means of 3 x 3 weigh the white values 1 2 3 2 1 per axis: sigma is 19 / 9 times that of independent values."""
    assert true_factor(KERNELS["drizzle"], (1, 3, 3)) == pytest.approx(19 / 9)


@pytest.mark.parametrize("claimed", [0.5, 2.0])
def test_a_wrong_scale_of_the_errors_is_in_the_factors_and_not_in_the_relative_ones(claimed):
    found = noise_correlation(simulated("bilinear and linear", (200, 30, 30), seed=4, claimed=claimed))
    for name, box in found.boxes.items():
        truth = true_factor(KERNELS["bilinear and linear"], box)
        assert found.factors()[name] == pytest.approx(truth / claimed, rel=0.05)
        assert found.relative_factors()[name] == pytest.approx(truth, rel=0.05)


def test_a_muse_sized_cube_tells_within_its_own_error():
    found = noise_correlation(simulated("four dithers", (600, 40, 40), seed=5))
    for box in ((1, 3, 3), (5, 5, 5)):
        truth = true_factor(KERNELS["four dithers"], box)
        assert found.factor(box) == pytest.approx(truth, rel=0.03)
        assert 0 < found.error(box) < 0.03 * truth
    assert found.falls


def test_missing_values_outliers_and_a_residual_of_the_sky_do_no_harm():
    cube = simulated("bilinear and linear", (200, 30, 30), seed=6, light=False)
    rng = np.random.default_rng(7)
    data, variance = cube.data.copy(), cube.variance.copy()
    data += 0.5 * rng.normal(size=(200, 1, 1))
    data[60:72] = np.nan
    data[rng.random(data.shape) < 0.02] = np.nan
    data[rng.random(data.shape) < 0.0005] += 300
    data[:, :3] = np.nan
    variance[:, -2:, :4] = 0
    found = noise_correlation(Cube(data, variance))
    for box in ((1, 3, 3), (5, 5, 5)):
        assert found.factor(box) == pytest.approx(true_factor(KERNELS["bilinear and linear"], box), rel=0.05)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_unit_does_not_matter(scale):
    cube = simulated("Gaussian", (100, 24, 24), seed=8)
    other = Cube(cube.data.astype("f8") * scale, cube.variance.astype("f8") * scale**2)
    assert noise_correlation(other).factor((5, 5, 5)) == pytest.approx(noise_correlation(cube).factor((5, 5, 5)), rel=1e-5)


def test_spectra_without_an_image_plane_tell_about_bands_only():
    rng = np.random.default_rng(9)
    found = noise_correlation(Cube(resampled([outer(line(0.5), ONE, ONE)], (120, 1, 300), rng), np.ones((120, 1, 300))))
    assert set(found.boxes) == {"5x1x1"}
    assert found.factor((5, 1, 1)) == pytest.approx(np.sqrt(1.8), rel=0.03)  # 1 + 2 · 4/5 · 1/2


@pytest.mark.parametrize("shape", [(7, 20, 20), (60, 4, 5)])
def test_too_little_data_tell_nothing(shape):
    with pytest.raises(NoDataError, match="expected at least"):
        noise_correlation(Cube(np.random.default_rng(0).normal(size=shape)))


# ---------------------------------------------------------------- band by band


@pytest.mark.parametrize("name", ["none", "bilinear and linear"])
def test_the_noise_of_each_band_is_that_of_its_blank_spaxels(name):
    shape, rng = (300, 36, 36), np.random.default_rng(10)
    true = 1 + 0.3 * np.sin(np.arange(300) / 40)
    true[100:104] *= 1.6  # a sky line that the errors do not know
    noise = resampled(KERNELS[name], shape, rng) * true[:, None, None]
    cube = Cube((noise + faint_light(shape, rng)).astype("f4"), np.ones(shape, "f4"))
    found = band_noise(cube)
    ratio = found.sigma / true
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    assert ratio.std() < 0.03
    assert ratio[100:104] == pytest.approx(1, abs=0.12)
    np.testing.assert_allclose(found.claimed, 1)
    without = band_noise(Cube(cube.data)).sigma / true
    assert np.median(without) == pytest.approx(1, abs=0.03)
    assert without.std() < 0.06


def test_bands_without_data_have_no_noise():
    cube = simulated("none", (100, 20, 20), seed=11)
    data = cube.data.copy()
    data[40:45] = np.nan
    found = band_noise(Cube(data, cube.variance))
    assert np.flatnonzero(np.isnan(found.sigma)).tolist() == [40, 41, 42, 43, 44]
    assert np.isnan(found.claimed[42])


def test_a_real_cube_is_noisier_in_sums_than_its_variances_say(real_data):
    found = noise_correlation(read(real_data / "ifu/muse_A478_halpha_600ch.fits"))
    assert 1.1 < found.factor((1, 3, 3)) < 1.3
    assert 1.25 < found.factor((5, 5, 5)) < 1.55
    assert found.factor((1, 1, 1)) == pytest.approx(1, abs=0.05)
