"""CALIFA: 1e10 is no error, /A is no Ampere, and what no header says."""

import numpy as np
import pytest
from astropy import units as u

from vermilion.io import read

from .helpers import SKY, notes, write_hdus

RNG = np.random.default_rng(15)
SHAPE = (5, 6, 7)
FLUX = RNG.normal(2, 1, SHAPE).astype("f4")
ERROR = RNG.uniform(0.1, 0.4, SHAPE).astype("f4")
UNIT = u.Unit("1e-16 erg s-1 cm-2 Angstrom-1")
CARDS = {
    **SKY,
    "CDELT1": -2.8e-4,
    "CDELT2": 2.8e-4,
    "CRVAL3": 3749.0,
    "CRPIX3": 1.0,
    "CDELT3": 2.0,
}


@pytest.fixture
def save(tmp_path):
    def write(error=ERROR, badpix=None, drop=(), **cards):
        names = {"ERROR": error, "ERRWEIGHT": np.ones(SHAPE, "f4"), "BADPIX": np.zeros(SHAPE, "u1") if badpix is None else badpix}
        extensions = [(values, name) for name, values in names.items() if name not in drop]
        return write_hdus(tmp_path / "x.rscube.fits", (FLUX, {**CARDS, **cards}), *extensions, (np.ones(SHAPE[1:], "u1"), "FIBCOVER"))

    return write


def test_an_error_of_1e10_and_a_bad_pixel_are_masked(save):
    error, badpix = ERROR.copy(), np.zeros(SHAPE, "u1")
    error[0, 0, 0], error[0, 0, 1], badpix[0, 0, 2] = 1e10, 3e12, 1
    cube = read(save(error, badpix))
    assert cube.meta["reader"] == "califa"
    assert np.argwhere(cube.mask).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    np.testing.assert_allclose(cube.variance[1:], ERROR[1:].astype("f8") ** 2, rtol=1e-6)
    assert "2 errors are 1e+10 or more" in notes(cube)


def test_without_a_badpix_the_errors_still_tell(save):
    error = ERROR.copy()
    error[2] = 1e10
    cube = read(save(error, drop=("BADPIX",)), reader="califa")
    assert cube.mask[2].all()
    assert not cube.mask[:2].any()


@pytest.mark.parametrize("unit", ["10^-16 erg/s/cm^2/A", "10**(-16)*erg/s/cm**2/Angstrom", "1e-16 erg s-1 cm-2 A-1"])
def test_per_ampere_is_per_angstrom(save, unit):
    assert (1 * read(save(BUNIT=unit)).frame.unit).to_value(UNIT) == pytest.approx(1)


def test_without_a_bunit_the_unit_of_the_pipeline_or_of_the_survey_is_taken_and_said(save):
    cube = read(save(**{"HIERARCH PIPE UNITS": "10^-17 erg/s/cm^2/A"}))
    assert (1 * cube.frame.unit).to_value(UNIT) == pytest.approx(0.1)
    assert "PIPE UNITS = '10^-17 erg/s/cm^2/A' is taken for it" in notes(cube)
    cube = read(save())
    assert (1 * cube.frame.unit).to_value(UNIT) == pytest.approx(1)
    assert "as CALIFA has it; else add --unit" in notes(cube)


@pytest.mark.parametrize(
    ("cards", "medium"),
    [
        ({}, "air"),
        ({"CTYPE3": "LAMBDA"}, "air"),
        ({"CTYPE3": "AWAV", "CUNIT3": "Angstrom"}, "air"),
        ({"CTYPE3": "WAVE", "CUNIT3": "A"}, "vacuum"),
    ],
)
def test_wavelengths_are_found_however_little_the_header_says(save, cards, medium):
    cube = read(save(**cards))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 3749 + 2.0 * np.arange(5), rtol=1e-12)
    assert cube.meta["spectral_medium"] == medium


def test_the_correlation_of_the_noise_is_not_applied_and_said(save):
    assert "ERRWEIGHT not used factor by which co-added errors grow with correlated noise: not applied" in notes(read(save()))
