"""JWST s3d: linear axes and axes in a table, ERR in whatever form the primary header says, two bits of DQ."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.io import read

from .helpers import SKY, notes, write_hdus

RNG = np.random.default_rng(12)
SHAPE = (6, 4, 5)
SCI = RNG.normal(3, 1, SHAPE).astype("f4")
ERR = RNG.uniform(0.1, 0.3, SHAPE).astype("f4")
OWN = {
    **SKY,
    "CRPIX2": 2.0,
    "CRVAL1": 5.0,
    "CRVAL2": 1.0,
    "CDELT1": 2.7e-5,
    "CDELT2": 2.7e-5,
    "PC1_1": -1.0,
    "PC2_2": 1.0,
    "PC3_3": 1.0,
    "WCSAXES": 3,
    "PIXAR_SR": 2.35e-13,
}
LINEAR = {**OWN, "CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": 5.66, "CRPIX3": 1.0, "CDELT3": 0.0008}
TABLE = {
    **OWN,
    "CTYPE3": "WAVE-TAB",
    "CUNIT3": "um",
    "CRVAL3": 1.0,
    "CRPIX3": 1.0,
    "CDELT3": 1.0,
    "PS3_0": "WCS-TABLE",
    "PS3_1": "wavelength",
}
WAVELENGTHS = np.array([0.6, 0.601, 0.605, 1.1, 2.0, 5.3])


def lookup(values=WAVELENGTHS, unit="um"):
    """The table of cube_build: the number of elements, and the wavelengths as an array of (n, 1)."""
    columns = [
        fits.Column("nelem", "I", array=[len(values)]),
        fits.Column(
            "wavelength", f"{len(values)}E", dim=f"(1,{len(values)})", unit=unit, array=values[np.newaxis, :, np.newaxis].astype("f4")
        ),
    ]
    return fits.BinTableHDU.from_columns(columns, name="WCS-TABLE")


@pytest.fixture
def save(tmp_path):
    def write(cards=LINEAR, sci=SCI, err=ERR, dq=None, table=None, names=("SCI", "ERR", "DQ"), **primary):
        header = fits.Header({**cards, "BUNIT": "MJy/sr"})
        start = {"TELESCOP": "JWST", "INSTRUME": "MIRI", "EXP_TYPE": "MIR_MRS", "FILETYPE": "3d ifu cube", "DATAMODL": "IFUCubeModel"}
        images = [fits.ImageHDU(sci, header, names[0]), fits.ImageHDU(err, header, names[1])]
        images += [(np.zeros(SHAPE, "u4") if dq is None else dq, names[2]), (np.ones(SHAPE, "f4"), "WMAP")]
        return write_hdus(tmp_path / "cube_s3d.fits", {**start, **primary}, *images, *([] if table is None else [table]))

    return write


def test_a_linear_cube_has_its_unit_sigma_and_vacuum_wavelengths(save):
    cube = read(save())
    assert cube.meta["reader"] == "jwst"
    assert cube.frame.unit == u.MJy / u.sr
    np.testing.assert_allclose(cube.variance, ERR.astype("f8") ** 2, rtol=1e-6)
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("um"), 5.66 + 0.0008 * np.arange(6))
    assert cube.frame.spectral_axis.unit == u.um
    assert cube.meta["spectral_medium"] == "vacuum"


@pytest.mark.parametrize(("unit", "factor"), [("um", 1.0), ("micron", 1.0), ("nm", 1e-3), ("m", 1e6)])
def test_a_table_overrides_the_cards_and_says_the_unit(save, unit, factor):
    axis = read(save(TABLE, table=lookup(WAVELENGTHS / factor, unit))).frame.spectral_axis
    np.testing.assert_allclose(axis.to_value("um"), WAVELENGTHS, rtol=1e-6)


def test_the_sky_of_a_cube_with_a_table_is_still_right(save):
    sky = read(save(TABLE, table=lookup())).frame.wcs.celestial.pixel_to_world_values(1.0, 1.0)
    np.testing.assert_allclose(sky, (5.0, 1.0), atol=1e-10)


def test_a_table_that_is_missing_leaves_bands_without_wavelengths_and_says_so(save):
    cube = read(save(TABLE))
    assert cube.frame.spectral_axis is None
    assert "no spectral axis" in notes(cube)


def test_two_bits_are_bad_and_others_are_said(save):
    dq = np.zeros(SHAPE, "u4")
    dq[0, 0, :4] = [1, 512, 513, 4]
    cube = read(save(dq=dq))
    assert np.argwhere(cube.mask)[:, 2].tolist() == [0, 1, 2]
    assert "bad bits: 0 DO_NOT_USE, 9 NON_SCIENCE" in notes(cube)
    assert "not taken as bad: 2" in notes(cube)
    assert np.argwhere(read(save(dq=dq), mask_bits="any").mask)[:, 2].tolist() == [0, 1, 2, 3]
    assert np.argwhere(read(save(dq=dq), mask_bits="NON_SCIENCE").mask)[:, 2].tolist() == [1, 2]


def test_the_highest_bit_of_an_unsigned_mask_is_seen(save):
    dq = np.zeros(SHAPE, "u4")
    dq[1, 2, 3] = 1 << 31
    assert np.argwhere(read(save(dq=dq), mask_bits=31).mask).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(("kind", "values"), [("ERR", ERR), ("IERR", 1 / ERR), ("VAR", ERR**2), ("IVAR", 1 / ERR**2)])
def test_the_primary_header_says_what_the_errors_are(save, kind, values):
    path = save(err=values, names=("X", "Y", "Z"), FLUXEXT="X", ERREXT="Y", ERRTYPE=kind, MASKEXT="Z")
    np.testing.assert_allclose(read(path, reader="jwst").variance, ERR**2, rtol=1e-5)


def test_outside_the_footprint_is_no_weight(save):
    sci = SCI.copy()
    sci[:, 0] = np.nan
    cube = read(save(sci=sci))
    assert (cube.weights[:, 0] == 0).all()
    assert (cube.weights[:, 1:] > 0).all()


def test_wmap_is_a_companion_and_said(save):
    assert "not used number of detector pixels behind each value" in notes(read(save()))
