"""KCWI and KCRM: the unit with the wrong exponent, zeros where nothing was seen, noise and mask in files of their own."""

import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import AmbiguousInputError, ParameterError, ShapeError
from vermilion.io import read

from .helpers import SKY, notes, write_hdus

RNG = np.random.default_rng(14)
SHAPE = (6, 7, 5)
FLUX = RNG.normal(2, 1, SHAPE)
SIGMA = RNG.uniform(0.1, 0.4, SHAPE)
FLUX_DENSITY = u.erg / u.s / u.cm**2 / u.AA
CARDS = {
    **SKY,
    "CD1_1": -1.9e-4,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": 8e-5,
    "CD3_3": 0.5,
    "CTYPE3": "AWAV",
    "CUNIT3": "Angstrom",
    "CRVAL3": 3500.0,
    "CRPIX3": 1.0,
    "INSTRUME": "KCWI",
    "CAMERA": "BLUE",
}
WRONG = "1e+16 erg / (Angstrom cm2 s)"


@pytest.fixture
def save(tmp_path):
    def write(flux=FLUX, sigma=SIGMA, mask=None, unit=WRONG, name="kb_icubes.fits", extensions=True, **cards):
        images = [fits.ImageHDU(sigma, fits.Header({"BUNIT": unit, "UTYPE": "StdDevUncertainty"}), "UNCERT")]
        images += [(np.zeros(SHAPE, "u1") if mask is None else mask, "MASK"), (np.zeros(SHAPE, "u1"), "FLAGS"), (FLUX + 9, "NOSKYSUB")]
        return write_hdus(tmp_path / name, (flux, {**CARDS, "BUNIT": unit, **cards}), *(images if extensions else []))

    return write


@pytest.mark.parametrize("unit", [WRONG, "1e16 erg/s/cm2/Angstrom", "FLAM16", "1e-16 erg / (Angstrom cm2 s)"])
@pytest.mark.parametrize("instrument", ["KCWI", "KCRM"])
def test_the_unit_has_the_exponent_that_is_meant(save, unit, instrument, caplog):
    with caplog.at_level(logging.WARNING, "vermilion"):
        cube = read(save(unit=unit, INSTRUME=instrument))
    assert cube.meta["reader"] == "kcwi"
    assert (1 * cube.frame.unit).to_value(FLUX_DENSITY) == pytest.approx(1e-16)
    np.testing.assert_allclose(cube.variance, SIGMA**2)
    assert ("was read as" in caplog.text) == (unit != "1e-16 erg / (Angstrom cm2 s)")


def test_the_exponent_is_mended_for_this_instrument_only(save):
    unit = read(save(INSTRUME="OTHER"), mask_ext="MASK").frame.unit
    assert (1 * unit).to_value(FLUX_DENSITY) == pytest.approx(1e16)


def test_the_option_wins_over_the_mended_unit(save):
    assert read(save(), unit="Jy").frame.unit == u.Jy


def test_zeros_with_no_error_have_no_weight_and_any_mask_value_is_bad(save):
    flux, sigma, mask = FLUX.copy(), SIGMA.copy(), np.zeros(SHAPE, "u1")
    flux[:, 0], sigma[:, 0], mask[:, 6] = 0, 0, 128
    weights = read(save(flux, sigma, mask)).weights
    assert (weights[:, [0, 6]] == 0).all()
    assert (weights[:, 1:6] > 0).all()


def test_companions_are_said(save):
    said = notes(read(save()))
    assert "FLAGS not used" in said
    assert "NOSKYSUB not used the cube before sky subtraction" in said


@pytest.mark.parametrize(("ctype", "medium"), [("AWAV", "air"), ("WAVE", "vacuum")])
def test_the_type_of_the_axis_says_air_or_vacuum(save, ctype, medium):
    assert read(save(CTYPE3=ctype)).meta["spectral_medium"] == medium


# ---------------------------------------------------------------- files of their own


@pytest.fixture
def apart(save, tmp_path):
    """A cube, its variances and its mask in three files, as the older pipeline writes them."""
    cube = save(extensions=False, unit="FLAM16")
    fits.PrimaryHDU(SIGMA**2, fits.Header(CARDS)).writeto(tmp_path / "kb_vcubes.fits")
    mask = np.zeros(SHAPE, "u1")
    mask[0, 0, 0], mask[0, 0, 1] = 1, 8
    fits.PrimaryHDU(mask).writeto(tmp_path / "kb_mcubes.fits")
    return cube, tmp_path / "kb_vcubes.fits", tmp_path / "kb_mcubes.fits"


def test_noise_and_mask_come_from_files_of_their_own(apart):
    cube, variances, mask = apart
    got = read(cube, err_file=variances, err_type="variance", mask_file=mask)
    np.testing.assert_array_equal(got.variance, SIGMA**2)
    assert np.argwhere(got.mask).tolist() == [[0, 0, 0], [0, 0, 1]]
    assert "option --err-file kb_vcubes.fits; option --err-type" in notes(got)
    assert "option --mask-file kb_mcubes.fits" in notes(got)
    assert np.argwhere(read(cube, mask_file=mask, mask_bits=3).mask).tolist() == [[0, 0, 1]]


def test_errors_of_unknown_kind_in_another_file_are_asked_about(apart):
    with pytest.raises(AmbiguousInputError, match="nothing says of which kind: add --err-type"):
        read(apart[0], err_file=apart[1])


@pytest.mark.parametrize(("name", "values"), [("UNCERT", SIGMA), ("VARIANCE", SIGMA**2), ("IVAR", SIGMA**-2)])
def test_a_name_in_the_other_file_says_the_kind_and_wins_over_the_file_itself(save, tmp_path, name, values):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(FLUX, name="MODEL"), fits.ImageHDU(values, name=name)]
    fits.HDUList(hdus).writeto(tmp_path / "errors.fits")
    got = read(save(sigma=SIGMA * 7), err_file=tmp_path / "errors.fits")
    np.testing.assert_allclose(got.variance, SIGMA**2, rtol=1e-12)


def test_one_of_several_images_in_the_other_file_is_named(save, tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(SIGMA, name="A"), fits.ImageHDU(SIGMA * 2, name="B")]
    fits.HDUList(hdus).writeto(tmp_path / "errors.fits")
    with pytest.raises(AmbiguousInputError, match=r"2 HDUs fit: 1 A.*Choose one with --err-ext"):
        read(save(), err_file=tmp_path / "errors.fits")
    got = read(save(), err_file=tmp_path / "errors.fits", err_ext="b", err_type="sigma")
    np.testing.assert_allclose(got.variance, 4 * SIGMA**2)


def test_another_file_of_another_shape_is_refused(save, tmp_path):
    fits.PrimaryHDU(SIGMA[:-1]).writeto(tmp_path / "errors.fits")
    with pytest.raises(ShapeError, match=r"--err-file errors.fits holds no image of the shape of the data, 6 x 7 x 5"):
        read(save(), err_file=tmp_path / "errors.fits", err_type="sigma")


def test_a_file_and_none_contradict_each_other(apart):
    with pytest.raises(ParameterError, match="contradict each other"):
        read(apart[0], mask_file=apart[2], mask_ext="none")
