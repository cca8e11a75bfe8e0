"""LVM: row-stacked spectra as an image of 1 x N pixels, with the fibers that saw the target."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import NoDataError, ShapeError
from vermilion.io import read

from .helpers import notes, write_hdus

RNG = np.random.default_rng(17)
N, B = 6, 9
FLUX = RNG.normal(3, 1, (N, B)).astype("f4") * np.float32(1e-14)
IVAR = RNG.uniform(1, 2, (N, B)) * 1e28
WAVE = 3600 + 0.5 * np.arange(B)
TARGETS = ["science", "science", "SKY", "standard", "science", "science"]


def slitmap(targets=TARGETS, status=(0, 0, 0, 0, 1, 0)):
    columns = [fits.Column("fiberid", "J", array=np.arange(N)), fits.Column("targettype", "8A", array=targets)]
    return fits.BinTableHDU.from_columns([*columns, fits.Column("fibstatus", "J", array=status)], name="SLITMAP")


@pytest.fixture
def save(tmp_path):
    def write(*extra, mask=None, wave=WAVE, flux=FLUX):
        header = fits.Header({"BUNIT": "erg / (Angstrom s cm2)"})
        images = [(IVAR, "IVAR"), (np.zeros((N, B), "i4") if mask is None else mask, "MASK"), (wave, "WAVE")]
        images += [(np.ones((N, B), "f4"), "LSF"), (FLUX, "SKY")]
        primary = {"TELESCOP": "SDSS 0.16m", "INSTRUME": "LVM"}
        return write_hdus(tmp_path / "lvmSFrame-00001234.fits", primary, fits.ImageHDU(flux, header, "FLUX"), *images, *extra)

    return write


def test_fibers_become_pixels_of_an_image_of_one_row(save):
    mask = np.zeros((N, B), "i4")
    mask[1, 4] = 64
    cube = read(save(mask=mask))
    assert cube.meta["reader"] == "lvm"
    assert cube.data.shape == (B, 1, N)
    np.testing.assert_array_equal(cube.data[:, 0], FLUX.T)
    np.testing.assert_allclose(1 / cube.variance[:, 0], IVAR.T, rtol=1e-12)
    assert np.argwhere(cube.mask).tolist() == [[4, 0, 1]]
    np.testing.assert_array_equal(cube.frame.spectral_axis, WAVE * u.AA)
    assert cube.meta["spectral_medium"] == "air"
    assert cube.frame.shape == (1, N)
    assert cube.frame.wcs is None
    assert "6 spectra without an image plane, read as an image of 1 x 6 pixels" in notes(cube)
    assert "LSF not used" in notes(cube)


def test_fluxes_of_1e_14_keep_a_finite_variance(save):
    assert (read(save()).weights > 0).all()


def test_fibers_of_sky_and_standard_stars_and_broken_ones_are_masked(save):
    path = save(slitmap())
    cube = read(path)
    assert cube.mask.all(axis=(0, 1)).tolist() == [False, False, True, True, True, False]
    assert "2 fibers of sky and standard stars and 1 broken ones are masked" in notes(cube)
    assert read(path, mask_ext="none").mask is None


def test_a_frame_without_a_science_fiber_is_refused_with_the_way_out(save):
    with pytest.raises(NoDataError, match="no working science fiber: read all fibers with --mask-ext none"):
        read(save(slitmap(["SKY"] * N)))


def test_a_slitmap_of_another_length_changes_nothing(save):
    table = fits.BinTableHDU.from_columns([fits.Column("targettype", "8A", array=["SKY"])], name="SLITMAP")
    assert not read(save(table)).mask.any()


def test_wavelengths_of_another_length_are_refused(save):
    with pytest.raises(ShapeError, match="expected one wavelength for each of the 9 bands"):
        read(save(wave=WAVE[1:]))


def test_row_stacked_spectra_of_nobody_are_refused(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(FLUX, name="FLUX")]).writeto(tmp_path / "rows.fits")
    with pytest.raises(ShapeError, match=r"no image with three axes.*or read it as one band with --reader bands"):
        read(tmp_path / "rows.fits")
    assert read(tmp_path / "rows.fits", reader="lvm").data.shape == (B, 1, N)
