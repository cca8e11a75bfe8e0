"""PSF images in files of their own become one normalized image per band, or are refused."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from vermilion.errors import (
    AmbiguousInputError,
    CorruptFileError,
    MemoryLimitError,
    MissingFileError,
    NotFITSError,
    ParameterError,
    ShapeError,
    TruncatedFileError,
)
from vermilion.io import read
from vermilion.io.psf_files import read_psf

LIMIT = 10**8


def gaussian(size, sigma, *, offset=0.0, flux=1.0):
    height, width = (size, size) if isinstance(size, int) else size
    y, x = np.ogrid[:height, :width]
    image = np.exp(-0.5 * ((y - (height - 1) / 2 - offset) ** 2 + (x - (width - 1) / 2) ** 2) / sigma**2)
    return flux * image / image.sum()


def save(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, psfs=array, other=np.arange(3))
    else:
        fits.PrimaryHDU(array).writeto(path)
    return path


THREE = np.stack([gaussian(9, s) for s in (1.0, 1.2, 1.5)])


@pytest.mark.parametrize("name", ["p.fits", "p.npy", "p.npz"])
@pytest.mark.parametrize("dtype", ["f8", "f4", ">f4"])
def test_a_file_with_an_image_per_band_is_read(tmp_path, name, dtype):
    psf = read_psf([save(tmp_path / name, THREE.astype(dtype))], 3, limit=LIMIT)
    np.testing.assert_allclose(psf.image, THREE, atol=1e-7)
    np.testing.assert_allclose(psf.image.sum(axis=(1, 2)), 1, rtol=1e-12)
    assert psf.image.dtype == np.float64


def test_one_file_per_band_and_one_hdu_per_band_are_read(tmp_path):
    paths = [save(tmp_path / f"{n}.fits", image) for n, image in enumerate(THREE)]
    np.testing.assert_allclose(read_psf(paths[::-1], 3, limit=LIMIT).image, THREE[::-1])
    hdus = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(image) for image in THREE)])
    hdus.writeto(tmp_path / "all.fits")
    np.testing.assert_allclose(read_psf([tmp_path / "all.fits"], 3, limit=LIMIT).image, THREE)


def test_one_image_serves_all_bands_and_says_so(tmp_path):
    notes = []
    psf = read_psf([save(tmp_path / "p.npy", THREE[0])], 5, limit=LIMIT, notes=notes)
    assert psf.image.shape == (5, 9, 9)
    np.testing.assert_array_equal(psf.image[4], psf.image[0])
    assert "the same image is used for all 5 bands" in notes


def test_sums_are_brought_to_one_with_a_note(tmp_path):
    notes = []
    psf = read_psf([save(tmp_path / "p.npy", THREE * np.array([1, 2, 1e-20])[:, None, None])], 3, limit=LIMIT, notes=notes)
    np.testing.assert_allclose(psf.image, THREE, rtol=1e-12)
    assert any("sums of 1e-20 to 2 were brought to 1" in note for note in notes)


def test_negative_wings_are_kept_with_a_note(tmp_path):
    image = gaussian(9, 1.0)
    image[0, 0] = -0.01
    notes = []
    psf = read_psf([save(tmp_path / "p.npy", image)], 1, limit=LIMIT, notes=notes)
    assert psf.image[0, 0, 0] == pytest.approx(-0.01 / image.sum())
    assert any("negative values amount to up to 1.01%" in note for note in notes)


def test_even_sizes_and_light_off_the_center_are_told(tmp_path):
    notes = []
    read_psf([save(tmp_path / "even.npy", gaussian(10, 1.0))], 1, limit=LIMIT, notes=notes)
    assert any("between pixels" in note for note in notes)
    assert not any("shift" in note for note in notes)  # centered on the corner of four pixels
    notes.clear()
    read_psf([save(tmp_path / "fft.npy", gaussian(10, 1.0, offset=0.5))], 1, limit=LIMIT, notes=notes)
    assert any("0.50 pixels from the center" in note for note in notes)
    notes.clear()
    read_psf([save(tmp_path / "odd.npy", gaussian(21, 1.0, offset=2.0))], 1, limit=LIMIT, notes=notes)
    assert any("2.00 pixels from the center" in note for note in notes)


def test_bands_of_other_sizes_are_padded_about_their_centers(tmp_path):
    paths = [save(tmp_path / "a.npy", gaussian(7, 1.0)), save(tmp_path / "b.npy", gaussian((11, 9), 1.0))]
    image = read_psf(paths, 2, limit=LIMIT).image
    assert image.shape == (2, 11, 9)
    assert np.unravel_index(image[0].argmax(), (11, 9)) == np.unravel_index(image[1].argmax(), (11, 9)) == (5, 4)
    with pytest.raises(ShapeError, match="no common center"):
        read_psf([paths[0], save(tmp_path / "c.npy", gaussian(8, 1.0))], 2, limit=LIMIT)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (THREE[:2], "2 images, the cube has 3 bands"),
        (np.where(np.arange(9) == 4, np.nan, THREE), "NaN or infinite"),
        (np.where(np.arange(9) == 4, np.inf, THREE), "NaN or infinite"),
        (-THREE, r"sums to -1: expected a positive sum"),
        (0 * THREE, r"sums to 0"),
        (np.ones(9), "expected numbers of shape"),
        (np.ones((2, 3, 4, 5)), "expected numbers of shape"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "fits"])
def test_what_is_no_psf_is_refused(tmp_path, array, message, suffix):
    if suffix == "fits" and array.ndim == 1:
        message = "no image in it"
    with pytest.raises(ShapeError, match=message) as caught:
        read_psf([save(tmp_path / f"p.{suffix}", array)], 3, limit=LIMIT)
    assert caught.value.exit_code == 4


def test_hostile_and_damaged_files_are_refused(tmp_path):
    objects = tmp_path / "o.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptFileError, match="Python objects"):
        read_psf([objects], 1, limit=LIMIT)
    cut = save(tmp_path / "cut.npy", THREE)
    cut.write_bytes(cut.read_bytes()[:-8])
    with pytest.raises(TruncatedFileError):
        read_psf([cut], 3, limit=LIMIT)
    with pytest.raises(ShapeError, match="expected real numbers"):
        read_psf([save(tmp_path / "complex.npy", THREE.astype(complex))], 3, limit=LIMIT)
    text = tmp_path / "t.txt"
    text.write_text("no psf")
    with pytest.raises(NotFITSError, match=r"\.npy and \.npz are read as well"):
        read_psf([text], 1, limit=LIMIT)
    for suffix in ("npy", "fits", "npz"):
        with pytest.raises(MemoryLimitError):
            read_psf([save(tmp_path / f"big.{suffix}", THREE)], 3, limit=1000)
    with pytest.raises(MissingFileError):
        read_psf([tmp_path / "absent.fits"], 1, limit=LIMIT)
    with pytest.raises(ParameterError, match="URL"):
        read_psf(["https://example.org/psf.fits"], 1, limit=LIMIT)


def test_an_archive_with_several_arrays_needs_a_name(tmp_path):
    np.savez(tmp_path / "a.npz", one=THREE, two=THREE)
    with pytest.raises(AmbiguousInputError, match="2 arrays"):
        read_psf([tmp_path / "a.npz"], 3, limit=LIMIT)


def test_the_detector_sampled_image_of_stpsf_is_taken(tmp_path):
    names = ("OVERSAMP", "DET_SAMP", "OVERDIST", "DET_DIST")
    hdus = [fits.ImageHDU(gaussian(9 + 4 * n, 1 + n / 10), name=name) for n, name in enumerate(names)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "p.fits")
    np.testing.assert_allclose(read_psf([tmp_path / "p.fits"], 1, limit=LIMIT).image[0], gaussian(21, 1.3), rtol=1e-6)


def test_another_pixel_scale_is_refused(tmp_path):
    path = save(tmp_path / "p.fits", THREE)
    fits.setval(path, "PIXELSCL", value=0.0312)
    assert read_psf([path], 3, limit=LIMIT, pixel_scale=0.0312 * u.arcsec).n_bands == 3
    with pytest.raises(ShapeError, match=r"0\.0312 arcsec.*0\.06.*resample"):
        read_psf([path], 3, limit=LIMIT, pixel_scale=0.06 * u.arcsec)


def cube_file(tmp_path):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", "WAVE"]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600, 1e-10]
    wcs.wcs.crval = [10, 20, 5e-7]
    wcs.wcs.crpix = [1, 1, 1]
    wcs.wcs.cunit = ["deg", "deg", "m"]
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(3, 8, 9)), wcs.to_header()).writeto(tmp_path / "cube.fits")
    return tmp_path / "cube.fits"


@pytest.mark.parametrize("as_list", [True, False])
def test_any_cube_takes_a_psf_file_and_selections_cut_both(tmp_path, as_list):
    path = save(tmp_path / "p.npy", THREE)
    cube = read(cube_file(tmp_path), psf_file=(path,) if as_list else path, wave="500.05:501 nm")
    np.testing.assert_allclose(cube.psf.image, THREE[1:])
    assert any(decision["why"].startswith("PSF: 3 images") for decision in cube.meta["decisions"])


def test_the_scale_of_the_cube_is_compared(tmp_path):
    path = save(tmp_path / "p.fits", THREE)
    fits.setval(path, "PIXELSCL", value=0.1)
    with pytest.raises(ShapeError, match=r"0\.1 arcsec.*0\.2"):
        read(cube_file(tmp_path), psf_file=path)
