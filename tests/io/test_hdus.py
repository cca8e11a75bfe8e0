"""Which HDU is what: options first, then headers, then names, and never silently."""

import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import AmbiguousInputError, HeaderError, NoDataError, ParameterError, ShapeError, UnitError
from vermilion.io import read

RNG = np.random.default_rng(7)
FLUX = RNG.normal(3, 2, (8, 5, 6)).astype("f4")
SIGMA = RNG.uniform(0.5, 2, FLUX.shape).astype("f4")
UNIT = "1e-20 erg s-1 cm-2 Angstrom-1"
WCS_CARDS = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 10.0,
    "CRVAL2": -5.0,
    "CRPIX1": 3.0,
    "CRPIX2": 2.0,
    "CDELT1": -5e-5,
    "CDELT2": 5e-5,
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "CTYPE3": "WAVE",
    "CRVAL3": 5000.0,
    "CRPIX3": 1.0,
    "CDELT3": 2.0,
    "CUNIT3": "Angstrom",
}


def image(data=FLUX, name="", **cards):
    return fits.ImageHDU(np.asarray(data), name=name, header=fits.Header({**WCS_CARDS, "BUNIT": UNIT, **cards}))


@pytest.fixture
def save(tmp_path):
    def write(*hdus, primary=None, name="cube.fits"):
        fits.HDUList([primary or fits.PrimaryHDU(), *hdus]).writeto(tmp_path / name)
        return tmp_path / name

    return write


def decision(cube, name):
    return next(d for d in cube.meta["decisions"] if d["name"] == name)


# ---------------------------------------------------------------- the same cube


def test_any_encoding_and_any_kind_of_error_give_the_same_cube(save):
    """Float64 big-endian, scaled, gzip, permuted axes; variance, sigma, inverse variance: one cube."""
    reference = read(save(image(name="FLUX"), image(SIGMA**2, "VAR", BUNIT="")))
    permuted = {key[:-1] + {"1": "2", "2": "3", "3": "1"}[key[-1]]: value for key, value in WCS_CARDS.items()}
    moved = [np.moveaxis(array, 0, -1) for array in (FLUX, SIGMA)]
    hdus = [
        fits.ImageHDU(array, fits.Header({**permuted, "BUNIT": UNIT}), name) for array, name in zip(moved, ("FLUX", "ERR"), strict=True)
    ]
    variants = [
        save(image(FLUX.astype(">f8"), "FLUX"), image(SIGMA.astype(">f8"), "ERR"), name="float64.fits"),
        save(image(name="FLUX"), image(1 / SIGMA.astype("f8") ** 2, "IVAR", BUNIT=""), name="ivar.fits"),
        save(image(name="FLUX"), image(SIGMA, "ERR"), name="zipped.fits.gz"),
        save(*hdus, name="permuted.fits"),
        save(image(FLUX[None], "FLUX", CTYPE4="STOKES"), image(SIGMA, "ERR"), name="stokes.fits"),
    ]
    sky = reference.frame.wcs.pixel_to_world_values(2.0, 3.0, 4.0)
    for path in variants:
        cube = read(path)
        np.testing.assert_array_equal(cube.data, reference.data)
        np.testing.assert_allclose(cube.weights, reference.weights, rtol=1e-6)
        np.testing.assert_allclose(cube.frame.spectral_axis.value, reference.frame.spectral_axis.value, rtol=1e-12)
        np.testing.assert_allclose(cube.frame.wcs.pixel_to_world_values(2.0, 3.0, 4.0), sky, rtol=1e-12)
        assert cube.frame.spectral_axis.unit == u.AA


def test_fluxes_of_1e_20_keep_their_errors(save):
    tiny = read(
        save(image(FLUX * np.float32(1e-20), "FLUX", BUNIT="erg/s/cm2/Angstrom"), image(SIGMA * np.float32(1e-20), "ERR", BUNIT=""))
    )
    np.testing.assert_allclose(tiny.variance, SIGMA.astype("f8") ** 2 * 1e-40, rtol=1e-5)


# ---------------------------------------------------------------- the data


def test_two_cubes_are_listed_with_the_option_to_add(save):
    with pytest.raises(AmbiguousInputError, match=r"2 images could be the data: 1 RED.*2 BLUE.*--data-ext RED"):
        read(save(image(name="RED"), image(name="BLUE")))


def test_a_cube_in_the_primary_beside_one_named_data_is_ambiguous(save):
    with pytest.raises(AmbiguousInputError, match=r"0 PRIMARY.*1 DATA"):
        read(save(image(name="DATA"), primary=fits.PrimaryHDU(FLUX)))


def test_equal_names_are_chosen_by_number(save):
    path = save(image(name="SCI"), image(FLUX + 1, "SCI"))
    with pytest.raises(AmbiguousInputError, match="--data-ext 1"):
        read(path)
    with pytest.raises(AmbiguousInputError, match="2 HDUs have this name"):
        read(path, data_ext="sci")
    np.testing.assert_array_equal(read(path, data_ext=2).data, FLUX + 1)


def test_a_name_is_found_in_lower_case_and_a_wrong_one_gets_a_suggestion(save):
    path = save(image(name="FLUX"))
    assert read(path, data_ext="flux").data.shape == FLUX.shape
    with pytest.raises(ParameterError, match=r"no such HDU. Did you mean FLUX\?"):
        read(path, data_ext="FLUXX")


def test_a_table_is_no_cube(save):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0, 2.0])])
    with pytest.raises(ShapeError, match=r"no image with three axes.*table"):
        read(save(table))


def test_jwst_cards_in_the_primary_header_are_followed(save):
    primary = fits.PrimaryHDU(header=fits.Header({"FLUXEXT": "X1", "ERREXT": "X2", "ERRTYPE": "VAR", "MASKEXT": "X3"}))
    flags = np.zeros(FLUX.shape, "i4")
    flags[0, 0, 0] = 512
    cube = read(save(image(name="X1"), image(SIGMA**2, "X2"), image(flags, "X3"), primary=primary))
    np.testing.assert_array_equal(cube.variance, SIGMA**2)
    assert np.argwhere(cube.mask).tolist() == [[0, 0, 0]]
    assert "ERRTYPE = VAR" in decision(cube, "X2")["why"]


# ---------------------------------------------------------------- the errors


@pytest.mark.parametrize(
    ("kind", "values"), [("MSE", SIGMA**2), ("RMSE", SIGMA), ("INVMSE", 1 / SIGMA**2), ("INVRMSE", 1 / SIGMA)], ids=lambda x: str(x)[:7]
)
def test_an_eso_header_says_what_the_errors_are(save, kind, values):
    data = image(name="SCI", HDUCLASS="ESO", HDUCLAS1="IMAGE", HDUCLAS2="DATA", ERRDATA="NOISE")
    error = image(values, "NOISE", HDUCLASS="ESO", HDUCLAS1="IMAGE", HDUCLAS2="ERROR", HDUCLAS3=kind, SCIDATA="SCI", BUNIT="")
    cube = read(save(data, error))
    np.testing.assert_allclose(cube.variance, SIGMA**2, rtol=1e-6)
    assert kind in decision(cube, "NOISE")["why"]


@pytest.mark.parametrize(("kind", "bad"), [("MASKZERO", 1), ("FLAG32BIT", 1), ("MASKONE", 0)])
def test_an_eso_header_says_what_a_mask_means(save, kind, bad):
    flags = np.full(FLUX.shape, 1 - bad, "i4")
    flags[2, 3, 4] = bad
    data = image(name="SCI", HDUCLASS="ESO", HDUCLAS1="IMAGE", HDUCLAS2="DATA", QUALDATA="FLAGGED")
    cube = read(save(data, image(flags, "FLAGGED", HDUCLASS="ESO", HDUCLAS1="IMAGE", HDUCLAS2="QUALITY", HDUCLAS3=kind)))
    assert np.argwhere(cube.mask).tolist() == [[2, 3, 4]]
    assert "QUALDATA of the data names it" in decision(cube, "FLAGGED")["why"]


def test_eso_roles_are_found_without_pointers(save):
    flags = np.zeros(FLUX.shape, "i4")
    flags[0, 0, 0] = 4
    data = image(name="X1", HDUCLASS="ESO", HDUCLAS1="IMAGE", HDUCLAS2="DATA")
    error = image(SIGMA**2, "X2", HDUCLASS="ESO", HDUCLAS2="ERROR", HDUCLAS3="MSE", SCIDATA="X1", BUNIT="")
    cube = read(save(data, error, image(flags, "X3", HDUCLASS="ESO", HDUCLAS2="QUALITY", HDUCLAS3="FLAG32BIT", SCIDATA="X1")))
    np.testing.assert_array_equal(cube.variance, SIGMA**2)
    assert np.argwhere(cube.mask).tolist() == [[0, 0, 0]]


def test_where_only_the_name_speaks_the_record_and_the_log_say_so(save, caplog):
    with caplog.at_level(logging.INFO, "vermilion"):
        cube = read(save(image(name="FLUX"), image(SIGMA, "ERR")))
    assert "the name is the only evidence that it is sigma" in decision(cube, "ERR")["why"]
    assert "the name is the only evidence that it is sigma" in caplog.text


def test_the_option_wins_over_the_name(save):
    cube = read(save(image(name="FLUX"), image(SIGMA, "ERR")), err_type="variance")
    np.testing.assert_array_equal(cube.variance, SIGMA)


def test_a_variance_that_is_named_err_is_not_squared_again(save):
    with pytest.raises(AmbiguousInputError, match=r"named as sigma, but its unit .* is that of a variance: add --err-type"):
        read(save(image(name="FLUX"), image(SIGMA**2, "ERR", BUNIT="1e-40 erg2 s-2 cm-4 Angstrom-2")))


def test_errors_of_unknown_kind_are_refused(save):
    path = save(image(name="FLUX"), image(SIGMA, "NOISE"))
    assert read(path).variance is None
    with pytest.raises(AmbiguousInputError, match="add --err-type variance, sigma or ivar"):
        read(path, err_ext="NOISE")
    np.testing.assert_allclose(read(path, err_ext="NOISE", err_type="sigma").variance, SIGMA**2)


def test_errors_can_be_left_out(save):
    assert read(save(image(name="FLUX"), image(SIGMA, "ERR")), err_ext="none").variance is None


def test_errors_of_another_shape_are_refused(save):
    with pytest.raises(ShapeError, match="other shapes"):
        read(save(image(name="FLUX"), image(SIGMA[:-1], "ERR")))


def test_errors_of_another_kind_of_unit_are_refused(save):
    with pytest.raises(UnitError, match="does not fit the data"):
        read(save(image(name="FLUX"), image(SIGMA, "ERR", BUNIT="Jy")))


def test_errors_on_another_scale_are_brought_to_that_of_the_data(save):
    cube = read(save(image(name="FLUX"), image(SIGMA / 100, "ERR", BUNIT="1e-18 erg s-1 cm-2 Angstrom-1")))
    np.testing.assert_allclose(cube.variance, SIGMA**2, rtol=1e-5)


def test_an_error_extension_that_the_header_names_but_the_file_lacks_is_reported(save):
    path = save(image(name="DATA", ERRDATA="STAT"))
    with pytest.raises(HeaderError, match="'STAT', which is not in the file"):
        read(path)
    assert read(path, err_ext="none").variance is None


@pytest.mark.parametrize(
    ("name", "bad"), [("VAR", 0.0), ("VAR", -1.0), ("ERR", 0.0), ("ERR", -1.0), ("IVAR", 0.0), ("IVAR", -1.0), ("VAR", np.inf)]
)
def test_an_impossible_error_means_no_weight(save, name, bad):
    values = np.ones(FLUX.shape, "f4")
    values[2, 3, 4] = bad
    weights = read(save(image(name="FLUX"), image(values, name, BUNIT=""))).weights
    assert np.argwhere(weights == 0).tolist() == [[2, 3, 4]]
    assert np.isfinite(weights).all()


# ---------------------------------------------------------------- nothing to fit


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (np.full(FLUX.shape, np.nan, "f4"), None, "NaN or infinite"),
        (np.zeros(FLUX.shape, "f4"), None, "all 240 values with weight are 0"),
        (np.full(FLUX.shape, 7, "i2"), None, "all 240 values with weight are 7"),
        (FLUX, np.zeros(FLUX.shape, "f4"), "without a positive finite variance"),
    ],
)
def test_a_cube_in_which_nothing_is_left_is_refused(save, data, error, text):
    hdus = [image(data, "DATA")] + ([] if error is None else [image(error, "STAT", BUNIT="")])
    with pytest.raises(NoDataError, match=text):
        read(save(*hdus))


def test_a_cube_that_is_masked_everywhere_is_refused(save):
    with pytest.raises(NoDataError, match="masked"):
        read(save(image(name="DATA"), image(np.ones(FLUX.shape, "i2"), "DQ")))


def test_fillers_are_masked_and_counted(save):
    data = FLUX.copy()
    data[0, :2] = -9999
    data[1, 0, 0] = 1e38
    cube = read(save(image(data, "FLUX")))
    assert np.count_nonzero(cube.weights == 0) == 13
    assert any(d["why"].startswith("13 values are fillers") for d in cube.meta["decisions"])


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8"])
def test_integers_become_floats_that_hold_them_exactly(save, dtype):
    data = np.arange(FLUX.size, dtype=dtype).reshape(FLUX.shape)
    cube = read(save(fits.ImageHDU(data)))
    np.testing.assert_array_equal(cube.data, data)
    assert cube.data.dtype.kind == "f"


# ---------------------------------------------------------------- options


def test_an_unknown_option_gets_a_suggestion(save):
    with pytest.raises(ParameterError, match=r"unknown option 'err_typ'. Did you mean 'err_type'\?"):
        read(save(image()), err_typ="sigma")


def test_an_unknown_reader_gets_a_suggestion(save):
    with pytest.raises(ParameterError, match=r"unknown reader 'musa'. Did you mean 'muse'\?"):
        read(save(image()), reader="musa")


@pytest.mark.parametrize("option", [{"err_type": "std"}, {"memory": -1}, {"spectral_axis": 0}, {"unit": "furlongs/s"}])
def test_an_option_outside_its_range_is_refused(save, option):
    with pytest.raises(ParameterError, match="expected"):
        read(save(image()), **option)


def test_cards_are_propagated_as_clean_values(save):
    primary = fits.PrimaryHDU(header=fits.Header({"OBJECT": "M 87", "EXPTIME": 900.0, "SECRET": "x"}))
    path = save(image(), primary=primary)
    path.write_bytes(path.read_bytes().replace(b"'M 87", b"'M\xe98\x00"))
    assert read(path).meta["header"] == {"OBJECT": "M?8?", "EXPTIME": 900.0}
