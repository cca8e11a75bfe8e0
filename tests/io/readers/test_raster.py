"""Solar rasters: one HDU per spectral window, the spectral axis first, missing data of IRIS."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import AmbiguousInputError, ParameterError, ShapeError
from vermilion.io import read

from .helpers import REAL_DATA, whys

TITLES = ("C II 1336", "Si IV 1394", "Si IV 1403", "2796")
STEPS, SLIT = 4, 9


def window(n_bands=6, start=1330.0, fill=None, seed=0, **cards):
    """Image (step, slit, wavelength) with its coordinates, axes in the order of IRIS level 2."""
    data = np.random.default_rng(seed).normal(50, 5, (STEPS, SLIT, n_bands)).astype("f4")
    if fill is not None:
        data[0, 0] = fill
    spectral = {"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRVAL1": start, "CRPIX1": 1.0, "CDELT1": 0.026}
    slit = {"CTYPE2": "HPLT-TAN", "CUNIT2": "arcsec", "CRVAL2": 280.0, "CRPIX2": 5.0, "CDELT2": 0.166}
    steps = {"CTYPE3": "HPLN-TAN", "CUNIT3": "arcsec", "CRVAL3": 490.0, "CRPIX3": 2.0, "CDELT3": 1.995}
    header = fits.Header({**spectral, **slit, **steps, **cards})
    return fits.ImageHDU(data, header)


@pytest.fixture
def save(tmp_path):
    def write(*windows, titles=TITLES, telescope="IRIS", name="raster.fits", **cards):
        header = fits.Header({"TELESCOP": telescope, "INSTRUME": "SPEC", "BUNIT": "Corrected DN", "NWIN": len(windows), **cards})
        for i, (hdu, title) in enumerate(zip(windows, titles, strict=False), 1):
            header[f"TDESC{i}"] = title
            header[f"TWMIN{i}"] = hdu.header["CRVAL1"]
            header[f"TWMAX{i}"] = hdu.header["CRVAL1"] + 1
        auxiliary = fits.ImageHDU(np.ones((STEPS, 47)))
        fits.HDUList([fits.PrimaryHDU(header=header), *windows, auxiliary]).writeto(tmp_path / name)
        return tmp_path / name

    return write


def four():
    return [window(seed=i, start=1000.0 + 100 * i) for i in range(4)]


# ---------------------------------------------------------------- windows


def test_the_windows_are_listed_with_names_and_wavelengths(save):
    with pytest.raises(
        AmbiguousInputError, match=r"4 spectral windows: 1 'C II 1336' \(1000.00 to 1001.00 Angstrom\); 2 'Si IV 1394'.*--data-ext"
    ):
        read(save(*four()))


@pytest.mark.parametrize(
    ("wanted", "number"),
    [("Si IV 1394", 2), ("si iv 1394", 2), ("SI_IV_1403", 3), ("1394", 2), ("2796", 4), ("c ii", 1), ("C II 1336", 1), (3, 3), ("3", 3)],
)
def test_a_window_is_found_by_name_part_of_it_or_number(save, wanted, number):
    windows = four()
    expected = windows[number - 1].data.copy()
    cube = read(save(*windows), data_ext=wanted)
    np.testing.assert_array_equal(cube.data, expected.transpose(2, 1, 0))
    taken = next(decision for decision in cube.meta["decisions"] if decision["taken_as"] == "data")
    assert (taken["hdu"], taken["name"]) == (number, TITLES[number - 1])


@pytest.mark.parametrize(
    ("wanted", "error", "text"), [("si iv", AmbiguousInputError, "fits 2 windows"), ("O I", ParameterError, "no such spectral window")]
)
def test_an_unclear_or_unknown_window_is_refused(save, wanted, error, text):
    with pytest.raises(error, match=text):
        read(save(*four()), data_ext=wanted)


def test_the_only_window_needs_no_name(save):
    assert read(save(window())).data.shape == (6, SLIT, STEPS)


def test_a_file_that_announces_windows_but_has_none_is_refused(save):
    with pytest.raises(ShapeError, match="no HDU holds one"):
        read(save(TDESC1="Si IV 1394"))


# ---------------------------------------------------------------- coordinates


def test_wavelength_is_the_band_the_slit_is_y_and_the_steps_are_x(save):
    cube = read(save(window()))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 1330 + 0.026 * np.arange(6))
    wcs = cube.frame.wcs
    assert [kind[:4] for kind in wcs.wcs.ctype] == ["HPLN", "HPLT", "WAVE"]
    here = np.array(wcs.celestial.wcs_pix2world([[1, 4], [2, 4], [1, 5]], 0)) * 3600
    np.testing.assert_allclose(here[0], (490, 280), rtol=1e-9)
    np.testing.assert_allclose(here[1] - here[0], (1.995, 0), atol=1e-4)
    np.testing.assert_allclose(here[2] - here[0], (0, 0.166), atol=1e-4)


def test_sit_and_stare_keeps_its_wavelengths(save):
    """The raster step is 0: the matrix of the header is singular."""
    matrix = {"PC2_2": 1.0, "PC3_3": 1.0, "PC2_3": 0.0, "PC3_2": 0.0}
    cube = read(save(window(CDELT3=0.0, **matrix)))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), 1330 + 0.026 * np.arange(6))
    assert cube.data.shape == (6, SLIT, STEPS)
    assert not cube.frame.wcs.has_celestial
    assert "sit and stare" in whys(cube)


# ---------------------------------------------------------------- values


def test_corrected_dn_is_a_unit(save):
    cube = read(save(window()))
    assert cube.frame.unit == u.Unit("DN")
    assert "'Corrected DN' is read as DN" in whys(cube)
    assert cube.variance is None
    assert "no errors are made up" in whys(cube)


def test_another_unit_stays_as_it_is(save):
    assert read(save(window(), BUNIT="erg s-1 cm-2 sr-1 Angstrom-1")).frame.unit.is_equivalent("erg s-1 cm-2 sr-1 Angstrom-1")


@pytest.mark.parametrize("fill", [-200.0, -216.3, -181.0])
def test_missing_data_of_iris_are_masked_and_counted(save, fill):
    cube = read(save(window(fill=fill)))
    assert cube.mask.sum() == 6
    assert cube.mask[:, 0, 0].all()
    assert "6 values are missing data of IRIS" in whys(cube)


def test_values_mixed_with_missing_ones_are_masked_only_beside_them(save):
    hdu = window()
    hdu.data[0, 0] = -200
    hdu.data[0, 1, 3] = -60  # beside it along the slit
    hdu.data[2, 7, 3] = -60  # far from it
    cube = read(save(hdu, TDMIN1=-20.0))
    assert cube.mask[3, 1, 0]
    assert not cube.mask[3, 7, 2]
    assert cube.mask.sum() == 7


def test_scaled_integers_give_minus_200(save):
    hdu = window()
    raw = np.round((hdu.data - 7992) / 0.25).astype("i2")
    raw[1, 2] = -32768
    scaled = fits.ImageHDU(raw, hdu.header)
    scaled.header.update(BSCALE=0.25, BZERO=7992)
    cube = read(save(scaled))
    assert np.array_equal(np.argwhere(cube.mask), [[band, 2, 1] for band in range(6)])
    np.testing.assert_allclose(cube.data[~cube.mask], hdu.data.transpose(2, 1, 0)[~cube.mask], atol=0.126)


def test_minus_200_of_another_instrument_is_a_value(save):
    cube = read(save(window(fill=-200.0), telescope="Hinode"))
    assert cube.mask is None
    assert (cube.data == -200).sum() == 6


# ---------------------------------------------------------------- the real file


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no test data: set VERMILION_TEST_DATA")
@pytest.mark.parametrize(("wanted", "number"), [("Mg II k 2796", 9), ("si iv", 5), ("1343", 2), (6, 6)])
def test_a_window_of_a_real_raster_has_no_missing_values_left(wanted, number):
    path = next((REAL_DATA / "solar").glob("iris*.fits"))
    cube = read(path, data_ext=wanted)
    raw = fits.getdata(path, number).transpose(2, 1, 0)
    np.testing.assert_array_equal(cube.data, raw)
    assert cube.mask[raw < -150].all()
    assert cube.data[~cube.mask].min() > -60
    assert 0.6 < np.mean(~cube.mask) < 0.95
    assert 1300 < cube.frame.spectral_axis[0].to_value("Angstrom") < 2900
