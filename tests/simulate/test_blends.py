"""Blends hold what they say of themselves: fluxes, noise, signal-to-noise ratios, PSFs, centers."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vermilion.errors import MissingFileError, NoDataError, ParameterError
from vermilion.simulate import blend
from vermilion.simulate.galaxies import bulge_and_disk, read_stamps, star

pytest.importorskip("galsim", reason="GalSim is not installed")

DATA = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
HUBBLE = DATA / "broadband" / "cosmos_hst"


def second_moment(image):
    """Width of a centered stamp weighted by a Gaussian, so that far wings count little."""
    y, x = np.indices(image.shape) - (np.array(image.shape) // 2)[:, None, None]
    weighted = image * np.exp(-(y**2 + x**2) / (2 * 3.0**2))
    return (weighted * (y**2 + x**2)).sum() / weighted.sum()


def centroid(image):
    y, x = np.indices(image.shape)
    return np.array([(image * y).sum(), (image * x).sum()]) / image.sum()


@pytest.fixture(scope="module")
def blends():
    return [blend(seed) for seed in range(1000, 1020)]


def test_the_seed_decides_everything():
    first, second, other = blend(1003), blend(1003), blend(1004)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    assert not np.array_equal(first.true_psfs, other.true_psfs)


def test_what_is_told_changes_nothing_else():
    told, exact = blend(1001), blend(1001, psf_error=0, center_error=0)
    np.testing.assert_array_equal(told.images, exact.images)
    np.testing.assert_array_equal(exact.psfs, exact.true_psfs)
    np.testing.assert_array_equal(exact.centers, exact.true_centers)


def test_images_are_the_sources_and_noise_of_the_stated_variance(blends):
    chi = np.concatenate([(np.sqrt(one.weights) * (one.images - one.true_images.sum(axis=0))).ravel() for one in blends])
    assert abs(chi.mean()) < 5 / np.sqrt(chi.size)
    assert chi.std() == pytest.approx(1, abs=5 / np.sqrt(2 * chi.size))


def test_nearly_all_flux_lies_inside_the_image(blends):
    for one in blends:
        inside = one.true_images.sum(axis=(2, 3)) / one.fluxes
        assert np.all((inside > 0.95) & (inside < 1.0005))


def test_signal_to_noise_ratios_are_those_of_a_matched_filter(blends):
    for one in blends:
        sky = one.weights[:, 0, 0].astype(float)  # in a corner: no source
        expected = np.sqrt((sky[:, None, None] * one.true_images.astype(float) ** 2).sum(axis=(1, 2, 3)))
        np.testing.assert_allclose(one.snr, expected, rtol=2e-3)
        assert np.all((one.snr >= 5) & (one.snr <= 100))
        assert np.all(one.snr[~one.detected] <= 8)


def test_psfs_are_told_with_the_stated_error_and_differ_from_band_to_band(blends):
    widths = np.array([[[second_moment(band) for band in stamps] for stamps in (one.psfs, one.true_psfs)] for one in blends])
    errors = np.log(widths[:, 0] / widths[:, 1]).ravel() / 2
    assert 0.004 < errors.std() < 0.013  # 1 % of the width; the weight of the moments makes it less
    assert widths[:, 1].std(axis=1).min() > 0
    for one in blends:
        np.testing.assert_allclose(one.psfs.sum(axis=(1, 2)), 1, rtol=1e-12)
        assert np.abs([centroid(band) - 20 for band in one.psfs]).max() < 1e-3


def test_stars_are_the_true_psf_at_the_true_center(blends):
    offsets = [
        centroid(image[b][y - 6 : y + 7, x - 6 : x + 7]) + np.array([y - 6, x - 6]) - center
        for one in blends
        for kind, center, image in zip(one.kinds, one.true_centers, one.true_images, strict=True)
        if kind == "point"
        for b in range(5)
        for y, x in [np.round(center).astype(int)]
    ]
    assert np.abs(offsets).max() < 0.1  # a window of 13 pixels around the nearest pixel pulls the centroid toward its middle
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.01


def test_centers_are_told_with_the_stated_error(blends):
    errors = np.concatenate([one.centers - one.true_centers for one in blends])
    assert errors.std() == pytest.approx(0.1, rel=0.25)
    assert sum(len(one.catalog) for one in blends) == sum(int(one.detected.sum()) for one in blends) < len(errors)


def test_blendedness_is_zero_alone_and_covers_its_range_in_clusters(blends):
    alone = blend(1000, n_sources=(1, 1))
    assert alone.blendedness == pytest.approx(0, abs=1e-12)
    values = np.concatenate([one.blendedness for one in blends])
    assert values.min() < 0.1
    assert values.max() > 0.75
    assert np.all((values > -1e-3) & (values < 1))


def test_sources_of_the_catalog_keep_their_distance(blends):
    for one in blends:
        there = one.true_centers[one.detected]
        assert np.hypot(*(there[:, None] - there[None])[~np.eye(len(there), dtype=bool)].T).min() >= 2.5
        assert 2 <= len(one.kinds) <= 10


def test_bulges_are_redder_than_their_disks():
    rng = np.random.default_rng(0)
    for _ in range(10):
        galaxy = bulge_and_disk(rng)
        bulge, disk = galaxy.spectra.T
        assert bulge[0] / bulge[2] < disk[0] / disk[2]
        assert [one.flux for one in galaxy.components] == pytest.approx([1, 1])
        assert galaxy.spectra[1].sum() == pytest.approx(1)


def test_colors_of_stars_follow_from_one_temperature():
    slopes = np.array([np.diff(np.log(star(np.random.default_rng(seed)).spectra[:, 0])) for seed in range(30)])
    assert np.corrcoef(slopes[:, 0], slopes[:, 2])[0, 1] > 0.99


def write_stamps(folder, flux):
    """Two Gaussians of 0.12 and 0.3 arcsec at the Hubble scale, off center, in noise of 0.002."""
    rng, scale = np.random.default_rng(0), 0.03
    y, x = np.mgrid[:60, :60]
    images = [
        flux * np.exp(-((y - 31.5) ** 2 + (x - 27.5) ** 2) * scale**2 / (2 * s**2)) * scale**2 / (2 * np.pi * s**2) for s in (0.12, 0.3)
    ]
    y, x = np.mgrid[:41, :41]
    psf = np.exp(-((y - 20) ** 2 + (x - 20) ** 2) / (2 * 1.5**2))
    images = [image + rng.normal(0, 0.002, image.shape) for image in images]
    fits.HDUList([fits.PrimaryHDU(images[0]), fits.ImageHDU(images[1])]).writeto(folder / "images.fits")
    fits.HDUList([fits.PrimaryHDU(psf), fits.ImageHDU(psf)]).writeto(folder / "psfs.fits")
    table = {
        "GAL_FILENAME": ["images.fits"] * 2,
        "PSF_FILENAME": ["psfs.fits"] * 2,
        "GAL_HDU": [0, 1],
        "PSF_HDU": [0, 1],
        "PIXEL_SCALE": [scale] * 2,
        "NOISE_VARIANCE": [0.002**2] * 2,
    }
    Table(table).write(folder / "real_galaxy_catalog.fits")


def test_stamps_become_centered_galaxies_without_the_psf_of_the_telescope(tmp_path):
    import galsim

    write_stamps(tmp_path, 10.0)
    stamps = read_stamps(tmp_path)
    assert len(stamps) == 2
    for stamp, seen in zip(stamps, (0.12, 0.3), strict=True):
        drawn = galsim.Convolve(stamp, galsim.Gaussian(sigma=0.4)).drawImage(nx=99, ny=99, scale=0.06, method="no_pixel").array
        y, x = np.indices(drawn.shape) * 0.06
        center = centroid(drawn) * 0.06
        assert center == pytest.approx([49 * 0.06] * 2, abs=0.01)
        variance = (drawn * ((y - center[0]) ** 2 + (x - center[1]) ** 2)).sum() / drawn.sum() / 2
        assert variance == pytest.approx(seen**2 - 0.045**2 + 0.4**2, rel=0.03)
    made = blend(1002, stamps=tmp_path)
    assert "galaxy" in {kind for seed in range(1000, 1004) for kind in blend(seed, stamps=tmp_path).kinds}
    assert np.all(made.true_images.sum(axis=(2, 3)) / made.fluxes > 0.95)


def test_stamps_without_signal_are_refused(tmp_path):
    write_stamps(tmp_path, 0.01)
    with pytest.raises(NoDataError, match="no stamp has a signal-to-noise ratio above 20"):
        read_stamps(tmp_path)


def test_a_folder_without_stamps_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="expected a folder of stamps"):
        blend(1000, stamps=tmp_path)


@pytest.mark.skipif(not HUBBLE.exists(), reason="the Hubble stamps are not there: set VERMILION_TEST_DATA")
def test_real_stamps_are_read():
    assert 40 < len(read_stamps(HUBBLE)) <= 100
    made = blend(1000, stamps=HUBBLE)
    assert made.true_images.min() > -0.01 * made.true_images.max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"n_sources": (3, 2)}, "expected \\(least, largest\\) with 1 <= least"),
        ({"snr": (0, 5)}, "both positive"),
        ({"psf_error": -0.1}, "from 0 to 0.2"),
        ({"center_error": np.nan}, "number of pixels >= 0"),
        ({"undetected": 2}, "share from 0 to 1"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        blend(**{"seed": 0} | options)
