"""MUSE: units as they were ever spelled, NaN and Euro3D bits, and the PSF in the FSF cards."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.io import read

from .helpers import SKY, whys, write_hdus

RNG = np.random.default_rng(11)
SHAPE = (9, 5, 6)
FLUX = RNG.normal(20, 5, SHAPE).astype("f4")
STAT = RNG.uniform(1, 3, SHAPE).astype("f4")
MUSE_UNIT = u.Unit("1e-20 erg s-1 cm-2 Angstrom-1")
WCS_CARDS = {
    **SKY,
    "CRPIX1": 3.0,
    "CD1_1": -5.5e-5,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": 5.5e-5,
    "CD3_3": 500.0,
    "CD1_3": 0.0,
    "CD2_3": 0.0,
    "CTYPE3": "AWAV",
    "CUNIT3": "Angstrom",
    "CRVAL3": 5000.0,
    "CRPIX3": 1.0,
    "CRVAL1": 10.0,
    "CRVAL2": -30.0,
}
WAVE = 5000 + 500.0 * np.arange(9)
TWO = {"FSFMODE": 2, "FSFLB1": 5000.0, "FSFLB2": 9000.0}


def field(number, fwhm, beta):
    cards = {f"FSF{number:02d}FNC": len(fwhm), f"FSF{number:02d}BNC": len(beta)}
    cards |= {f"FSF{number:02d}F{k:02d}": value for k, value in enumerate(fwhm)}
    return cards | {f"FSF{number:02d}B{k:02d}": value for k, value in enumerate(beta)}


@pytest.fixture
def save(tmp_path):
    def write(data=FLUX, dq=None, unit="10**(-20)*erg/s/cm**2/Angstrom", **primary):
        header = fits.Header({**WCS_CARDS, "BUNIT": unit, "HDUCLASS": "ESO", "HDUCLAS1": "IMAGE", "HDUCLAS2": "DATA", "ERRDATA": "STAT"})
        error = fits.Header({**WCS_CARDS, "BUNIT": f"({unit})**2", "HDUCLASS": "ESO", "HDUCLAS2": "ERROR", "HDUCLAS3": "MSE"})
        images = [fits.ImageHDU(data, header, "DATA"), fits.ImageHDU(STAT, error, "STAT"), *([] if dq is None else [(dq, "DQ")])]
        return write_hdus(tmp_path / "cube.fits", {"INSTRUME": "MUSE", **primary}, *images)

    return write


# ---------------------------------------------------------------- flux, noise, mask


@pytest.mark.parametrize(
    "unit",
    [
        "10**(-20)*erg/s/cm**2/Angstrom",
        "10**(-20) erg/s/cm^2/Angstrom",
        "1e-20 erg / (Angstrom cm2 s)",
        "10**-20 Angstrom-1 cm-2 erg s-1",
        "10**(-20)*erg*s**(-1)*cm**(-2)*angstrom**(-1)",
    ],
)
def test_every_spelling_of_the_unit_is_the_same_unit(save, unit):
    cube = read(save(unit=unit))
    assert cube.meta["reader"] == "muse"
    assert (1 * cube.frame.unit).to_value(MUSE_UNIT) == pytest.approx(1)
    np.testing.assert_array_equal(cube.variance, STAT)


def test_per_mum_is_per_micrometer(save):
    unit = read(save(unit="10**(-20)*erg/s/cm**2/mum")).frame.unit
    assert (1 * unit).to_value(MUSE_UNIT) == pytest.approx(1e-4)


def test_nan_is_absent_without_a_dq(save):
    data = FLUX.copy()
    data[3] = np.nan  # the notch of the sodium laser
    cube = read(save(data))
    assert (cube.weights[3] == 0).all()
    assert (np.delete(cube.weights, 3, axis=0) > 0).all()
    assert "30 of 270 values carry no weight" in whys(cube)


def test_every_bit_of_the_dq_is_bad_unless_bits_are_named(save):
    dq = np.zeros(SHAPE, "i4")
    dq[0, 0, 0], dq[0, 0, 1], dq[0, 0, 2], dq[0, 0, 3] = 1, 32, 1 << 30, -(1 << 31)
    path = save(dq=dq)
    assert np.argwhere(read(path).mask).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]
    some = read(path, mask_bits="30, 31")
    assert np.argwhere(some.mask).tolist() == [[0, 0, 2], [0, 0, 3]]
    assert "bits of the mask that are set but not taken as bad: 0 telluric, corrected, 5 cosmic ray" in whys(some)
    assert np.argwhere(read(path, mask_bits="cosmic ray").mask).tolist() == [[0, 0, 1]]


def test_a_dq_that_the_header_names_and_the_file_lacks_is_said(save, tmp_path):
    with fits.open(save()) as hdulist:
        hdulist["DATA"].header["QUALDATA"] = "DQ"
        hdulist.writeto(tmp_path / "cut.fits")
    cube = read(tmp_path / "cut.fits")
    assert cube.mask is None
    assert "QUALDATA names DQ, which is not in the file" in whys(cube)


# ---------------------------------------------------------------- the PSF


def test_fwhm_and_beta_are_polynomials_with_the_highest_power_first(save):
    """By hand, x = (5000 - 5000) / 4000 - 0.5 = -0.5 in the first band: FWHM = -0.1 x + 0.6 = 0.65, beta = 2.8."""
    cube = read(save(**TWO, **field(0, [-0.1, 0.6], [2.8])))
    assert cube.psf.fwhm[0].to_value("arcsec") == pytest.approx(0.65)
    x = (WAVE - 5000) / 4000 - 0.5
    np.testing.assert_allclose(cube.psf.fwhm.to_value("arcsec"), 0.6 - 0.1 * x)
    np.testing.assert_array_equal(cube.psf.beta, 2.8)
    assert "PSF: FSF cards, field 00" in whys(cube)


def test_a_beta_that_changes_is_followed(save):
    cube = read(save(**TWO, **field(0, [0.01, 0.02, -0.12, 0.7], [0.5, -0.2, 2.2])))
    x = (WAVE - 5000) / 4000 - 0.5
    np.testing.assert_allclose(cube.psf.beta, 0.5 * x**2 - 0.2 * x + 2.2)
    np.testing.assert_allclose(cube.psf.fwhm.value, 0.01 * x**3 + 0.02 * x**2 - 0.12 * x + 0.7)


FIELDS = {**field(1, [0.5], [2.0]), **field(2, [0.7], [3.0])}


@pytest.mark.parametrize(
    ("cards", "fwhm", "beta"),
    [
        ({"NFIELDS": 2, **FIELDS}, 0.6, 2.5),  # the mean, not the first
        ({"NFIELDS": 2, **FIELDS, **field(0, [0.9], [4.0])}, 0.9, 4.0),  # 00 is the mean of the fields
        ({"NFIELDS": 2, **FIELDS, **field(99, [0.8], [2.8])}, 0.8, 2.8),  # 99 is the mosaic
        ({"NFIELDS": 1, **field(1, [0.5], [2.0])}, 0.5, 2.0),
        (field(0, [0.9], [4.0]), 0.9, 4.0),
    ],
)
def test_several_fields_give_their_mean_and_never_the_first(save, cards, fwhm, beta):
    psf = read(save(**TWO, **cards)).psf
    np.testing.assert_allclose(psf.fwhm.to_value("arcsec"), fwhm)
    np.testing.assert_allclose(psf.beta, beta)


def test_the_old_cards_mean_a_line_in_wavelength(save):
    """FWHM = 0.8 - 3e-5 * 5000 = 0.65 in the first band."""
    psf = read(save(FSFMODE="MOFFAT1", FSF00BET=2.8, FSF00FWA=0.8, FSF00FWB=-3e-5)).psf
    np.testing.assert_allclose(psf.fwhm.to_value("arcsec"), 0.8 - 3e-5 * WAVE)
    np.testing.assert_allclose(psf.beta, 2.8)


def test_the_old_mode_with_new_cards_is_read_as_the_new_mode(save):
    psf = read(save(**(TWO | {"FSFMODE": "MOFFAT1"}), **field(0, [-0.1, 0.6], [2.8]))).psf
    assert psf.fwhm[0].value == pytest.approx(0.65)


GOOD = field(0, [-0.1, 0.6], [2.8])


@pytest.mark.parametrize(
    ("cards", "text"),
    [
        ({**TWO, **GOOD, "FSFMODE": "GAUSS"}, "FSFMODE = 'GAUSS' is unknown"),
        ({**TWO, **GOOD, "FSFMODE": 7}, "FSFMODE = '7' is unknown"),
        ({**TWO, **GOOD, "NFIELDS": 99}, "NFIELDS = 99"),
        ({**TWO, **GOOD, "NFIELDS": -1}, "NFIELDS = -1"),
        ({**TWO, **GOOD, "NFIELDS": "many"}, "NFIELDS = 'many'"),
        ({**TWO}, "the fields 01 are missing"),
        ({**TWO, "NFIELDS": 3, **FIELDS}, "the fields 03 are missing"),
        ({**TWO, **GOOD, "FSFLB2": 5000.0}, "are no range"),
        ({"FSFMODE": 2, **GOOD}, "FSFLB1 is missing"),
        ({**TWO, **GOOD, "FSF00FNC": 3}, "FSF00F02 is missing"),
        ({**TWO, **GOOD, "FSF00FNC": 10**9}, "expected 1 to 20 coefficients"),
        ({**TWO, **GOOD, "FSF00FNC": 1.5}, "expected 1 to 20 coefficients"),
        ({**TWO, **GOOD, "FSF00F01": "wide"}, "FSF00F01 is 'wide'"),
        ({**TWO, **GOOD, "FSF00F01": -0.6}, "FWHM -0.65"),
        ({**TWO, **GOOD, "FSF00B00": 0.5}, "beta 0.5"),
        ({**TWO, **GOOD, "FSF00F01": 1e300, "FSF00F00": 1e300}, "FWHM"),
        ({"FSFMODE": "MOFFAT1", "FSF00BET": 2.8}, "FSF00FWA is missing"),
    ],
)
def test_garbage_in_the_fsf_cards_is_ignored_with_a_note(save, cards, text):
    cube = read(save(**cards))
    assert cube.psf is None
    assert f"the PSF in the FSF cards is ignored: {text}" in whys(cube) or (text in whys(cube) and "is ignored" in whys(cube))


def test_without_wavelengths_the_psf_is_ignored(save, tmp_path):
    with fits.open(save(**TWO, **GOOD)) as hdulist:
        for hdu in hdulist[1:]:
            for key in ("CTYPE3", "CUNIT3", "CRVAL3", "CRPIX3", "CD3_3"):
                del hdu.header[key]
        hdulist.writeto(tmp_path / "bare.fits")
    cube = read(tmp_path / "bare.fits")
    assert cube.psf is None
    assert "the cube has no wavelengths" in whys(cube)


def test_a_part_of_the_bands_keeps_its_part_of_the_psf(save):
    part = read(save(**TWO, **GOOD), wave="5900:7100 Angstrom")
    np.testing.assert_allclose(part.psf.fwhm.value, 0.6 - 0.1 * ((np.array([6000, 6500, 7000]) - 5000) / 4000 - 0.5))


def test_garbage_dates_do_no_harm(save):
    header = read(save(**{"DATE-OBS": "yesterday", "MJD-OBS": "NaN"})).meta["header"]
    assert header["DATE-OBS"] == "yesterday"
