"""SAMI: an axis that no library calls spectral, extensions without unit or WCS, the PSF of the header."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.io import read

from .helpers import SKY, notes, write_hdus

RNG = np.random.default_rng(16)
SHAPE = (6, 5, 5)
FLUX = RNG.normal(0.2, 0.1, SHAPE)
VARIANCE = RNG.uniform(0.001, 0.004, SHAPE)
CARDS = {
    **SKY,
    "CUNIT1": "degree",
    "CUNIT2": "degree",
    "CRPIX1": 3.0,
    "CRVAL2": 0.5,
    "CDELT1": -1.4e-4,
    "CDELT2": 1.4e-4,
    "CDELT3": 1.05,
    "CRVAL3": 4724.5,
    "CRPIX3": 3.5,
    "CTYPE3": "Wavelength",
    "CUNIT3": "Angstroms",
    "BUNIT": "10**(-16) erg /s /cm**2 /angstrom /pixel",
    "INSTRUME": "AAOMEGA-SAMI",
}


@pytest.fixture
def save(tmp_path):
    def write(**cards):
        table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])], name="QC")
        images = [(VARIANCE, "VARIANCE"), (np.ones(SHAPE), "WEIGHT"), (np.zeros((2, 5, 5, 5, 5)), "COVAR")]
        return write_hdus(tmp_path / "sami.fits", (FLUX, {**CARDS, **cards}), *images, table, (np.ones(6), "DUST"))

    return write


def test_wavelengths_unit_and_variances_of_a_cube_that_states_none_of_them_well(save):
    cube = read(save())
    assert cube.meta["reader"] == "sami"
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 4724.5 + 1.05 * (np.arange(6) - 2.5), rtol=1e-12)
    assert cube.meta["spectral_medium"] == "air"
    assert (1 * cube.frame.unit).to_value(u.Unit("1e-16 erg s-1 cm-2 Angstrom-1 pix-1")) == pytest.approx(1)
    np.testing.assert_array_equal(cube.variance, VARIANCE)
    assert cube.frame.wcs.has_celestial


@pytest.mark.parametrize("cards", [{"CUNIT3": ""}, {"CUNIT3": "Angstrom"}, {"CTYPE3": "AWAV", "CUNIT3": "Angstrom"}])
def test_other_spellings_of_the_axis(save, cards):
    axis = read(save(**cards)).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("Angstrom"), 4724.5 + 1.05 * (np.arange(6) - 2.5), rtol=1e-12)


def test_what_is_not_applied_is_said(save):
    said = notes(read(save()))
    assert "COVAR not used covariance with neighboring spaxels: not applied" in said
    assert "WEIGHT not used" in said
    assert "no header says whether wavelengths are in air or vacuum" in said


def test_the_psf_of_the_header_holds_for_all_bands(save):
    psf = read(save(PSFFWHM=2.1, PSFALPHA=1.9, PSFBETA=3.2)).psf
    np.testing.assert_array_equal(psf.fwhm.to_value("arcsec"), np.full(6, 2.1))
    np.testing.assert_array_equal(psf.beta, 3.2)


def test_without_psffwhm_the_moffat_gives_it(save):
    """FWHM = 2 alpha sqrt(2**(1/beta) - 1)."""
    psf = read(save(PSFALPHA=1.5, PSFBETA=2.3)).psf
    assert psf.fwhm[0].to_value("arcsec") == pytest.approx(2 * 1.5 * math.sqrt(2 ** (1 / 2.3) - 1))


@pytest.mark.parametrize("cards", [{}, {"PSFFWHM": -1.0}, {"PSFFWHM": "good"}, {"PSFALPHA": 2.0}, {"PSFALPHA": 2.0, "PSFBETA": 0.5}])
def test_a_psf_that_makes_no_sense_is_none(save, cards):
    assert read(save(**cards)).psf is None
