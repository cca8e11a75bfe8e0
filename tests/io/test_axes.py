"""Which axis is spectral, and its values in the unit of the file."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import AmbiguousInputError, ParameterError
from vermilion.io import read

DATA = np.random.default_rng(3).normal(size=(4, 5, 6)).astype("f4")
SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": -1e-4, "CDELT2": 1e-4}


@pytest.fixture
def save(tmp_path):
    def write(data=DATA, **cards):
        path = tmp_path / "cube.fits"
        fits.PrimaryHDU(data, fits.Header(cards)).writeto(path)
        return path

    return write


def test_band_centers_follow_crpix_and_cdelt(save):
    cube = read(save(**SKY, CTYPE3="AWAV", CUNIT3="nm", CRVAL3=500.0, CRPIX3=3.0, CDELT3=0.5))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("nm"), [499.0, 499.5, 500.0, 500.5], rtol=1e-13)
    assert cube.frame.spectral_axis.unit == u.nm
    assert cube.meta["spectral_medium"] == "air"


def test_a_logarithmic_axis_is_not_linear(save):
    """WAVE-LOG (FITS paper III, eq. 5): w = w_r exp(step / w_r), step = CDELT times pixels from CRPIX."""
    axis = read(save(**SKY, CTYPE3="WAVE-LOG", CUNIT3="Angstrom", CRVAL3=5000.0, CRPIX3=1.0, CDELT3=100.0)).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("Angstrom"), 5000 * np.exp(np.arange(4) * 100 / 5000), rtol=1e-12)


def test_a_falling_frequency_stays_falling(save):
    axis = read(save(**SKY, CTYPE3="FREQ", CUNIT3="GHz", CRVAL3=110.0, CRPIX3=1.0, CDELT3=-0.5)).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("GHz"), [110, 109.5, 109, 108.5])


@pytest.mark.parametrize("ctype", ["Wavelength", "LINEAR", ""])
def test_an_unusual_type_is_recognized_by_its_unit(save, ctype):
    cube = read(save(CTYPE3=ctype, CUNIT3="Angstroms", CRVAL3=5000.0, CRPIX3=1.0, CDELT3=2.0))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), [5000, 5002, 5004, 5006])


def test_an_axis_coupled_to_the_sky_is_taken_at_the_central_pixel(save):
    cards = {**SKY, "CTYPE3": "WAVE", "CUNIT3": "Angstrom", "CRVAL3": 5000.0, "CRPIX3": 1.0, "CDELT3": 2.0, "PC3_1": 0.5}
    axis = read(save(**cards)).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("Angstrom"), 5000 + 2 * (np.arange(4) + 0.5 * 2.5))


SINGULAR = [
    {"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4, "CD3_3": 1.0},
    {"CD1_1": 1e-4, "CD2_2": 1e-4, "CD3_3": 0.0},
    {"CDELT1": 1e-4, "CDELT2": 0.0, "CDELT3": 1.0},
]


@pytest.mark.parametrize("matrix", SINGULAR)
def test_a_singular_wcs_leaves_pixels_and_says_so(save, matrix):
    cube = read(save(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CTYPE3="WAVE", CUNIT3="nm", **matrix))
    assert cube.frame.wcs is None
    assert cube.frame.spectral_axis is None
    assert any("the WCS cannot be used" in decision["why"] for decision in cube.meta["decisions"])


def test_an_axis_that_the_cd_matrix_leaves_out_keeps_its_cdelt(save):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -1e-4, "CD2_2": 1e-4}
    cube = read(save(**cards, CTYPE3="AWAV", CUNIT3="Angstrom", CRVAL3=6000.0, CRPIX3=1.0, CDELT3=1.25))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 6000 + 1.25 * np.arange(4))
    assert any("CDELT3 = 1.25 is used" in decision["why"] for decision in cube.meta["decisions"])


def test_without_any_hint_the_third_axis_is_taken_and_said(save):
    cube = read(save())
    assert cube.data.shape == (4, 5, 6)
    assert any("by custom" in decision["why"] for decision in cube.meta["decisions"])


@pytest.mark.parametrize(("shape", "likely"), [((5, 5, 9), 1), ((5, 9, 5), 2)])
def test_without_any_hint_a_shape_against_the_custom_is_asked_about(save, shape, likely):
    path = save(np.random.default_rng(0).normal(size=shape))
    with pytest.raises(AmbiguousInputError, match=f"add --spectral-axis {likely}"):
        read(path)
    assert read(path, spectral_axis=likely).data.shape == (9, 5, 5)


def test_wavelengths_can_be_given_where_the_file_has_none(save):
    path = save()
    np.testing.assert_allclose(read(path, wave="4750:1.25 Angstrom").frame.spectral_axis.value, 4750 + 1.25 * np.arange(4))
    given = [1, 2, 4, 8] * u.um
    np.testing.assert_array_equal(read(path, wave=given).frame.spectral_axis, given)


@pytest.mark.parametrize("wave", ["4750", "a:b nm", "1:0 nm", "1:2 furlongs", [1, 2] * u.nm])
def test_wavelengths_that_say_nothing_are_refused(save, wave):
    with pytest.raises(ParameterError, match="expected"):
        read(save(), wave=wave)


def test_wavelengths_are_refused_where_the_file_has_its_own(save):
    with pytest.raises(ParameterError, match="leave --wave out"):
        read(save(CUNIT3="nm", CRVAL3=1.0, CDELT3=1.0), wave="1:1 nm")


def test_a_single_band_is_a_cube(save):
    assert read(save(DATA[:1])).data.shape == (1, 5, 6)


def test_a_single_spaxel_is_a_cube(save):
    assert read(save(DATA[:, :1, :1], **SKY, CTYPE3="WAVE", CUNIT3="nm")).data.shape == (4, 1, 1)
