"""Which axis is spectral, and its values in the unit of the file."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import AmbiguousInputError, ParameterError, ShapeError
from vermilion.io import read

DATA = np.random.default_rng(3).normal(size=(4, 5, 6)).astype("f4")
SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": -1e-4, "CDELT2": 1e-4}


@pytest.fixture
def save(tmp_path):
    def write(data=DATA, **cards):
        path = tmp_path / "cube.fits"
        fits.PrimaryHDU(data, fits.Header(cards)).writeto(path, overwrite=True)
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


SPECTRUM = {"CTYPE3": "WAVE", "CUNIT3": "nm", "CRVAL3": 500.0, "CRPIX3": 1.0}
BROKEN = [  # and whether the spectral axis is whole
    ({"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4, "CD3_3": 1.0}, True),
    ({"CD1_1": 1e-4, "CD2_2": 1e-4, "CD3_3": 0.0}, False),
    ({"CDELT1": 1e-4, "CDELT2": 0.0, "CDELT3": 1.0}, True),
    ({"CD1_1": 1e-4, "CD2_2": 1e-4, "CD3_3": 1.0, "PC1_1": 1.0, "CDELT1": 7e-4}, True),
    ({"CDELT1": 1e-4, "CDELT2": 1e-4, "CDELT3": 1.0, "CRVAL2": "north"}, True),
    ({"CDELT1": 1e-4, "CDELT2": 1e-4, "CDELT3": 1.0, "CRVAL3": "red"}, False),
    ({"CDELT1": 1e-4, "CDELT2": 1e-4, "CDELT3": 1.0, "CTYPE1": "RA--TAN"}, True),
]


@pytest.mark.parametrize(("cards", "whole"), BROKEN)
def test_a_broken_wcs_leaves_pixels_and_a_spectral_axis_where_that_is_whole(save, cards, whole):
    cube = read(save(**{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **SPECTRUM, **cards}))
    notes = [decision["why"] for decision in cube.meta["decisions"]]
    assert cube.frame.wcs is None
    assert any("the WCS cannot be used, coordinates are pixels" in note for note in notes)
    assert ("the spectral axis of the header is used by itself" in notes) == whole
    if whole:
        np.testing.assert_allclose(cube.frame.spectral_axis.to_value("nm"), 500.0 + np.arange(4))
        assert cube.meta["spectral_medium"] == "vacuum"
    else:
        assert cube.frame.spectral_axis is None


def test_a_pc_matrix_that_says_what_the_cd_matrix_says_is_no_contradiction(save):
    cards = {**SKY, **SPECTRUM, "CDELT3": 1.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "CD3_3": 1.0, "PC1_1": 1.0, "PC2_2": 1.0}
    assert read(save(**cards)).frame.wcs.has_celestial


@pytest.mark.parametrize("matrix", [{"CD1_1": -1e-4, "CD2_2": 1e-4, "CD3_3": 1.0}, {"PC1_1": 1.0, "PC2_2": 1.0}])
def test_a_rotation_beside_a_matrix_is_not_used_and_said(save, matrix):
    straight = read(save(**SKY, **SPECTRUM, CDELT3=1.0, **matrix)).frame.wcs
    cube = read(save(**SKY, **SPECTRUM, CDELT3=1.0, CROTA2=30.0, **matrix))
    np.testing.assert_array_equal(cube.frame.wcs.pixel_scale_matrix, straight.pixel_scale_matrix)
    assert any("CROTA2 beside a" in decision["why"] for decision in cube.meta["decisions"])


def test_a_distortion_is_left_out_and_said(save):
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_0_2": 1e-5, "B_ORDER": 2, "B_2_0": 1e-5}
    cube = read(save(**(SKY | sip), **SPECTRUM, CDELT3=1.0))
    assert cube.frame.wcs.has_celestial
    assert any("the distortion in the header is left out" in decision["why"] for decision in cube.meta["decisions"])


@pytest.mark.parametrize(
    ("cards", "text"),
    [
        (
            {"CTYPE3": "WAVE", "CRVAL3": 5000.0, "CRPIX3": 1.0, "CDELT3": 2.0},
            "no CUNIT3: in the default of FITS the wavelengths would run from 5000 m",
        ),
        ({"CTYPE3": "AWAV", "CUNIT3": "nm", "CRPIX3": 1.0, "CDELT3": 2.0}, "the spectral axis would run from 0 nm to 6 nm"),
        ({"CTYPE3": "AWAV", "CUNIT3": "nm", "CRVAL3": 500.0, "CRPIX3": 1.0}, "the header gives no step of the spectral axis"),
        ({"CTYPE3": "LOGLAM", "CRVAL3": 3.5, "CRPIX3": 1.0, "CDELT3": 1e-4}, "no spectral axis in the header"),
    ],
)
def test_wavelengths_that_cannot_be_are_not_used_and_can_be_given(save, cards, text):
    path = save(**SKY, **cards)
    cube = read(path)
    assert cube.frame.spectral_axis is None
    assert any(text in decision["why"] for decision in cube.meta["decisions"])
    np.testing.assert_allclose(read(path, wave="5000:2 Angstrom").frame.spectral_axis.value, 5000 + 2 * np.arange(4))


def test_without_a_unit_a_short_wavelength_is_in_meters_as_the_standard_says(save):
    axis = read(save(**SKY, CTYPE3="WAVE", CRVAL3=5e-7, CRPIX3=1.0, CDELT3=1e-9)).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("nm"), 500 + np.arange(4))


def test_an_ampere_is_an_angstrom_on_a_spectral_axis(save):
    cube = read(save(**SKY, CTYPE3="WAVE", CUNIT3="A", CRVAL3=5000.0, CRPIX3=1.0, CDELT3=2.0))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 5000 + 2 * np.arange(4))
    assert any("CUNIT3 = A spells Ampere" in decision["why"] for decision in cube.meta["decisions"])


def test_logarithms_that_dc_flag_announces_are_raised(save):
    cube = read(save(**SKY, CTYPE3="LINEAR", CUNIT3="Angstrom", CRVAL3=3.6, CRPIX3=1.0, CDELT3=1e-3, **{"DC-FLAG": 1}))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 10 ** (3.6 + 1e-3 * np.arange(4)))


def test_energies_keep_the_digits_of_the_header(save):
    """wcslib has an older electron charge than astropy: there and back costs 8e-8."""
    axis = read(save(**SKY, CTYPE3="ENER", CUNIT3="keV", CRVAL3=2.0, CRPIX3=1.0, CDELT3=0.5)).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("keV"), [2, 2.5, 3, 3.5], rtol=1e-14)


# ---------------------------------------------------------------- an extension with the band centers


@pytest.fixture
def save_with_wave(tmp_path):
    def write(values, name="WAVE", **cards):
        wave = fits.ImageHDU(values, fits.Header(cards), name)
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(DATA, name="FLUX"), wave]).writeto(tmp_path / "wave.fits", overwrite=True)
        return tmp_path / "wave.fits"

    return write


@pytest.mark.parametrize("cards", [{"BUNIT": "nm"}, {"CUNIT1": "nm"}])
@pytest.mark.parametrize("name", ["WAVE", "wavelength", "LAMBDA"])
def test_a_header_without_an_axis_takes_it_from_the_extension_that_holds_it(save_with_wave, name, cards):
    values = np.array([500.0, 501.0, 503.0, 507.0])
    axis = read(save_with_wave(values, name, **cards)).frame.spectral_axis
    np.testing.assert_array_equal(axis, values * u.nm)


def test_an_extension_that_does_not_say_its_unit_is_not_guessed_at(save_with_wave):
    cube = read(save_with_wave(np.arange(1.0, 5)))
    assert cube.frame.spectral_axis is None
    assert any("does not say their unit: it is not used" in decision["why"] for decision in cube.meta["decisions"])


def test_an_extension_of_another_length_is_refused(save_with_wave):
    with pytest.raises(ShapeError, match="expected one wavelength for each of the 4 bands"):
        read(save_with_wave(np.arange(1.0, 4), BUNIT="nm"))


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


def test_a_range_that_was_meant_as_a_selection_is_no_axis(save):
    with pytest.raises(ParameterError, match="no spectral axis to select from"):
        read(save(), wave="4750:9300 Angstrom")


def test_a_single_band_is_a_cube(save):
    assert read(save(DATA[:1])).data.shape == (1, 5, 6)


def test_a_single_spaxel_is_a_cube(save):
    assert read(save(DATA[:, :1, :1], **SKY, CTYPE3="WAVE", CUNIT3="nm")).data.shape == (4, 1, 1)
