"""MaNGA: bits, inverse variances, WAVE, the widths of line and point spread, the cubes of the DAP, row-stacked spectra."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import ParameterError, ShapeError
from vermilion.io import read

from .helpers import SKY, notes, write_hdus

RNG = np.random.default_rng(13)
SHAPE = (7, 5, 4)
FLUX = RNG.normal(2, 1, SHAPE).astype("f4")
IVAR = RNG.uniform(5, 9, SHAPE).astype("f4")
WAVE = 3621.6 * 10 ** (1e-4 * np.arange(7))
UNIT = "1E-17 erg/s/cm^2/Ang/spaxel"
CARDS = {
    **SKY,
    "CD1_1": -1.4e-4,
    "CD2_2": 1.4e-4,
    "CD3_3": WAVE[0] * 1e-4 * np.log(10),
    "CTYPE3": "WAVE-LOG",
    "CUNIT3": "Angstrom",
    "CRVAL3": WAVE[0],
    "CRPIX3": 1,
    "BUNIT": UNIT,
}


@pytest.fixture
def save(tmp_path):
    def write(*extra, flux=FLUX, ivar=IVAR, mask=None, wave=WAVE, cards=CARDS, **primary):
        header = fits.Header(cards)
        start = {"INSTRUME": "MaNGA", "TELESCOP": "SDSS 2.5-M", "PLATEIFU": "8485-1901", "AIRORVAC": "vac"}
        images = [(ivar, "IVAR"), (np.zeros(flux.shape, "i4") if mask is None else mask, "MASK")]
        images += [] if wave is None else [(wave, "WAVE")]
        data = fits.ImageHDU(flux, header, "FLUX")
        return write_hdus(tmp_path / "manga-LOGCUBE.fits.gz", {**start, **primary}, data, *images, *extra)

    return write


def test_unit_inverse_variance_and_medium(save):
    ivar = IVAR.copy()
    ivar[:, 0, 0] = 0
    cube = read(save(ivar=ivar))
    assert cube.meta["reader"] == "manga"
    assert (1 * cube.frame.unit).to_value(u.Unit("1e-17 erg s-1 cm-2 Angstrom-1 pix-1")) == pytest.approx(1)
    np.testing.assert_allclose(cube.weights, ivar, rtol=1e-6)
    assert cube.meta["spectral_medium"] == "vacuum"


def test_only_two_bits_are_bad_unless_others_are_named(save):
    mask = np.zeros(SHAPE, "i4")
    mask[0, 0, :] = [1, 2, 8, 1024]
    path = save(mask=mask)
    cube = read(path)
    assert np.argwhere(cube.mask)[:, 2].tolist() == [0, 3]
    assert "not taken as bad: 1 LOWCOV, 3 FORESTAR" in notes(cube)
    assert np.argwhere(read(path, mask_bits="3,10").mask)[:, 2].tolist() == [2, 3]
    assert np.argwhere(read(path, mask_bits="FORESTAR,DONOTUSE").mask)[:, 2].tolist() == [2, 3]
    assert np.argwhere(read(path, mask_bits="any").mask)[:, 2].tolist() == [0, 1, 2, 3]
    with pytest.raises(ParameterError, match=r"names: NOCOV, LOWCOV, DEADFIBER, FORESTAR, DONOTUSE"):
        read(path, mask_bits="STARS")


def test_the_wave_extension_wins_over_a_linear_header(save):
    """CRVAL3 + CD3_3 i is wrong for a logarithmic axis; so is a header that someone changed."""
    cube = read(save(cards={**CARDS, "CTYPE3": "WAVE", "CD3_3": 1.0}))
    np.testing.assert_array_equal(cube.frame.spectral_axis.to_value("Angstrom"), WAVE)
    assert "band centers: HDU 4 WAVE, in Angstrom; the header of the data differs by 0.99" in notes(cube)


def test_without_the_wave_extension_the_logarithmic_header_is_used_and_said(save):
    cube = read(save(wave=None))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), WAVE, rtol=1e-10)
    assert "no extension WAVE: the spectral axis is that of the header" in notes(cube)


def test_a_wave_extension_of_another_length_is_refused(save):
    with pytest.raises(ShapeError, match=r"HDU 4 WAVE has the shape \(6,\): expected one wavelength for each of the 7 bands"):
        read(save(wave=WAVE[:-1]))


@pytest.mark.parametrize("broken", [np.full(7, np.nan), WAVE[[0, 2, 1, 3, 4, 5, 6]]])
def test_a_wave_extension_that_makes_no_sense_is_not_used(save, broken):
    cube = read(save(wave=broken))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), WAVE, rtol=1e-10)
    assert "not finite or not in order" in notes(cube)


# ---------------------------------------------------------------- line and point spread


def test_the_width_of_the_lines_is_the_median_over_the_spaxels_that_have_one(save):
    """Gaussian: FWHM = 2 sqrt(2 ln 2) sigma = 2.35482 sigma. Spaxels outside the bundle hold 0."""
    sigma = np.broadcast_to(np.linspace(1.0, 1.6, 7)[:, None, None], SHAPE).astype("f4").copy()
    sigma[:, :2] = 0
    sigma[:, 2, 0] *= 3
    cube = read(save(fits.ImageHDU(sigma, name="LSFPOST"), fits.ImageHDU(sigma / 2, name="LSFPRE")))
    np.testing.assert_allclose(cube.frame.lsf.to_value("Angstrom"), 2.354820045 * np.linspace(1.0, 1.6, 7), rtol=1e-6)
    assert "LSFPOST line-spread function FWHM = 2.355 sigma, the median over the spaxels" in notes(cube)
    assert "LSFPRE not used" in notes(cube)


@pytest.mark.parametrize(("name", "unlike"), [("DISP", "PREDISP"), ("LSFPRE", "SPECRES")])
def test_older_names_of_the_width_are_known(save, name, unlike):
    planes = np.full(SHAPE, 1.5, "f4")
    cube = read(
        save(fits.ImageHDU(np.full(SHAPE, 9.0, "f4") if unlike != "SPECRES" else WAVE, name=unlike), fits.ImageHDU(planes, name=name))
    )
    np.testing.assert_allclose(cube.frame.lsf.value, 2.354820045 * 1.5, rtol=1e-6)


def test_a_resolution_gives_wavelength_over_resolution(save):
    cube = read(save(fits.ImageHDU(np.full(7, 1800.0), name="SPECRES")))
    np.testing.assert_allclose(cube.frame.lsf.to_value("Angstrom"), WAVE / 1800)


def test_a_width_of_nothing_but_zeros_is_none(save):
    cube = read(save(fits.ImageHDU(np.zeros(SHAPE, "f4"), name="LSFPOST")))
    assert cube.frame.lsf is None
    assert "no positive width" in notes(cube)


def test_the_widths_in_griz_become_a_psf_between_them(save):
    """Halfway between g (4686 A) and r (6165 A) the FWHM is halfway; before g it stays that of g."""
    wave = np.array([4000.0, 4686.0, 5425.5, 6165.0, 7000.0, 8931.0, 9500.0])
    cube = read(save(wave=wave, cards={**CARDS, "GFWHM": 2.6, "RFWHM": 2.4, "IFWHM": 2.4, "ZFWHM": 2.2}))
    np.testing.assert_allclose(cube.psf.fwhm.to_value("arcsec"), [2.6, 2.6, 2.5, 2.4, 2.4, 2.2, 2.2])
    assert cube.psf.beta is None
    assert "PSF: Gaussian" in notes(cube)


# ---------------------------------------------------------------- other products


def test_the_model_cube_of_the_dap_gives_its_flux_with_its_own_bits(save):
    """NOMODEL, FITIGNORED and ELIGNORED are about the fit, not about the flux."""
    mask = np.zeros(SHAPE, "i4")
    mask[0, 0, :] = [1, 4, 32, 512]
    cube = read(save(fits.ImageHDU(FLUX + 1, name="MODEL"), fits.ImageHDU(FLUX, name="STELLAR"), mask=mask, DAPFRMT="MODEL"))
    np.testing.assert_array_equal(cube.data, FLUX)
    assert np.argwhere(cube.mask)[:, 2].tolist() == [0, 1]
    assert "MODEL not used model of the DAP, not data" in notes(cube)


def test_row_stacked_spectra_are_read_without_an_image_plane(save):
    rows = np.ascontiguousarray(FLUX.reshape(7, -1).T)
    mask = np.zeros(rows.shape, "i4")
    mask[3, 2] = 1024
    cube = read(save(flux=rows, ivar=np.ones_like(rows), mask=mask, cards={"BUNIT": "1E-17 erg/s/cm^2/Ang/fiber"}))
    assert cube.data.shape == (7, 1, 20)
    assert cube.frame.wcs is None
    np.testing.assert_array_equal(cube.data[:, 0], rows.T)
    np.testing.assert_array_equal(cube.frame.spectral_axis.value, WAVE)
    assert np.argwhere(cube.mask).tolist() == [[2, 0, 3]]
    assert "20 spectra without an image plane" in notes(cube)
