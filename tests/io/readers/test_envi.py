"""ENVI images: what SPy writes is read back, headers of every dialect are understood, and what cannot be trusted is refused."""

import numpy as np
import pytest
from astropy import units as u

from vermilion.errors import (
    AmbiguousInputError,
    CorruptFileError,
    HeaderError,
    MemoryLimitError,
    MissingFileError,
    NotFITSError,
    TruncatedFileError,
)
from vermilion.io import read

from .helpers import read_damaged, whys

spy = pytest.importorskip("spectral.io.envi", reason="SPy is not installed")

B, NY, NX = 4, 5, 7
START = ["ENVI", "description = {a test}", f"samples = {NX}", f"lines = {NY}", f"bands = {B}", "header offset = 0", "byte order = 0"]
TYPES = {1: "u1", 2: "<i2", 3: "<i4", 4: "<f4", 5: "<f8", 12: "<u2", 13: "<u4", 14: "<i8", 15: "<u8"}


@pytest.fixture
def values():
    return np.random.default_rng(1).uniform(1, 200, size=(B, NY, NX))


@pytest.fixture
def write(tmp_path, values):
    """Function that writes a band-sequential image with extra lines in its header, and gives the path of the header."""

    def write(*lines, data=None, code=4, name="scene.img", start=START):
        array = np.asarray(values if data is None else data).astype(TYPES[code])
        (tmp_path / name).write_bytes(array.tobytes())
        header = tmp_path / f"{name.rsplit('.', 1)[0]}.hdr"
        header.write_text("\n".join([*start, f"data type = {code}", "interleave = bsq", *lines]) + "\n", encoding="utf-8")
        return header

    return write


# ---------------------------------------------------------------- data


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_an_image_that_spy_wrote_has_its_values(tmp_path, values, interleave, order, dtype):
    stored = values.astype(dtype)
    spy.save_image(str(tmp_path / "x.hdr"), stored.transpose(1, 2, 0), interleave=interleave, byteorder=order, dtype=dtype)
    for path in (tmp_path / "x.hdr", tmp_path / "x.img"):
        cube = read(path)
        np.testing.assert_array_equal(cube.data, stored)
        assert cube.data.dtype == (np.float64 if dtype in ("int32", "float64") else np.float32)
        assert cube.data.dtype.isnative
        assert cube.data.flags.c_contiguous
        assert cube.meta["reader"] == "envi"


@pytest.mark.parametrize("code", TYPES)
def test_every_data_type_is_read(write, values, code):
    cube = read(write(code=code))
    np.testing.assert_array_equal(cube.data, values.astype(TYPES[code]))


@pytest.mark.parametrize(
    ("data", "header"),
    [("cube", "cube.hdr"), ("cube.raw", "cube.hdr"), ("cube.IMG", "cube.HDR"), ("cube.dat", "cube.dat.hdr"), ("rdn_img", "rdn_img.hdr")],
)
def test_data_and_header_find_each_other(write, tmp_path, values, data, header):
    write(name="first.img").rename(tmp_path / header)
    (tmp_path / "first.img").rename(tmp_path / data)
    (tmp_path / "cube.aux.xml").write_text("<PAMDataset/>")  # of GDAL
    for name in (data, header):
        np.testing.assert_array_equal(read(tmp_path / name).data, values.astype("f4"))


def test_the_size_decides_between_several_data_files(write, tmp_path, values):
    header = write()
    (tmp_path / "scene.dat").write_bytes(b"other")
    np.testing.assert_array_equal(read(header).data, values.astype("f4"))
    (tmp_path / "scene.raw").write_bytes((tmp_path / "scene.img").read_bytes())
    with pytest.raises(AmbiguousInputError, match="name the data file instead"):
        read(header)


def test_a_header_offset_and_bytes_behind_the_data_are_no_data(tmp_path, values):
    (tmp_path / "x.img").write_bytes(b"p" * 100 + values.astype("f4").tobytes() + b"tail")
    lines = [line if "offset" not in line else "header offset = 100" for line in START]
    (tmp_path / "x.hdr").write_text("\n".join([*lines, "data type = 4", "interleave = bsq"]))
    cube = read(tmp_path / "x.img")
    np.testing.assert_array_equal(cube.data, values.astype("f4"))
    assert "4 bytes behind the data" in whys(cube)


# ---------------------------------------------------------------- header


def test_keys_in_any_case_lists_over_lines_comments_and_a_byte_order_mark(tmp_path, values):
    (tmp_path / "x.img").write_bytes(values.astype("f4").tobytes())
    text = (
        "\ufeffENVI\r\n; a comment = {not a list\r\nDescription = {\r\n  two lines, with samples = 3\r\n  in it}\r\n"
        f"Samples={NX}\r\nLINES   =  {NY}\r\nbands = {B}\r\nHeader Offset = 0\r\ndata  type = 4\r\nInterleave = BSQ\r\nbyte_order = 0\r\n"
        "Wavelength Units = Micrometers\r\nwavelength = {\r\n 0.4, 0.5,\r\n; in between\r\n 0.6,\r\n 0.7,}\r\n"
    )
    (tmp_path / "x.hdr").write_bytes(text.encode("utf-8"))
    cube = read(tmp_path / "x.img")
    np.testing.assert_array_equal(cube.frame.spectral_axis, [0.4, 0.5, 0.6, 0.7] * u.um)


@pytest.mark.parametrize(
    ("spelled", "unit"),
    [
        ("Nanometers", u.nm),
        ("nm", u.nm),
        ("nanometer", u.nm),
        ("Micrometers", u.um),
        ("um", u.um),
        ("µm", u.um),
        ("Microns", u.um),
        ("Angstroms", u.AA),
        ("Millimeters", u.mm),
        ("Wavenumber", u.cm**-1),
        ("GHz", u.GHz),
        ("MHz", u.MHz),
        ("m", u.m),
    ],
)
def test_wavelength_units_are_understood(write, spelled, unit):
    axis = read(write("wavelength = {1, 2, 3, 4}", f"wavelength units = {spelled}")).frame.spectral_axis
    assert axis.unit == unit
    np.testing.assert_array_equal(axis.value, [1, 2, 3, 4])


@pytest.mark.parametrize("said", ["", "wavelength units = Unknown"])
@pytest.mark.parametrize(("numbers", "unit"), [("400, 500, 600, 700", u.nm), ("0.4, 0.5, 0.6, 2.5", u.um)])
def test_wavelengths_without_a_unit_are_taken_by_their_size_and_it_says_so(write, said, numbers, unit):
    cube = read(write(f"wavelength = {{{numbers}}}", *([said] if said else [])))
    assert cube.frame.spectral_axis.unit == unit
    assert "are taken as" in whys(cube)


@pytest.mark.parametrize("lines", [("wavelength = {1, 2, 3, 4000}",), ("wavelength = {1, 2, 3, 4}", "wavelength units = Index")])
def test_wavelengths_whose_unit_nothing_tells_become_names(write, lines):
    cube = read(write(*lines))
    assert cube.frame.spectral_axis is None
    assert cube.frame.band_names[1] == "wavelength 2"
    assert "--wave" in whys(cube)


def test_the_axis_may_be_given_where_there_is_none(write):
    cube = read(write(), wave="400:10 nm")
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("nm"), [400, 410, 420, 430])
    assert cube.meta["spectral_axis_given"] is True


def test_bands_may_be_selected_where_there_is_an_axis(write, values):
    cube = read(write("wavelength = {400, 500, 600, 700}", "wavelength units = nm", "fwhm = {5, 6, 7, 8}"), wave="0.45:0.65 um")
    np.testing.assert_array_equal(cube.data, values[1:3].astype("f4"))
    np.testing.assert_array_equal(cube.frame.lsf, [6, 7] * u.nm)


def test_band_names_serve_where_there_are_no_wavelengths(write):
    assert read(write("band names = {blue, green , red,\n NIR}")).frame.band_names == ("blue", "green", "red", "NIR")


def test_bands_out_of_order_are_kept_and_it_says_so(write, values):
    cube = read(write("wavelength = {400, 600, 500, 700}", "wavelength units = nm"))
    np.testing.assert_array_equal(cube.data, values.astype("f4"))
    assert "not in the order" in whys(cube)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("code", "filler"), [(2, "-9999"), (2, "-9999.0"), (4, "-9999"), (4, "-3.4028235e+38"), (5, "1e-300"), (12, "65535"), (1, "0")]
)
def test_the_data_ignore_value_is_masked(write, values, code, filler):
    data = values.astype(TYPES[code])
    data[:, 0, 0] = np.array(float(filler)).astype(TYPES[code])
    data[2, 3, 3] = np.array(float(filler)).astype(TYPES[code])
    cube = read(write(f"data ignore value = {filler}", data=data, code=code))
    expected = np.zeros(data.shape, dtype=bool)
    expected[:, 0, 0] = expected[2, 3, 3] = True
    np.testing.assert_array_equal(cube.mask, expected)
    assert f"{B + 1} values are the data ignore value" in whys(cube)


def test_an_ignore_value_that_the_type_cannot_hold_masks_nothing(write):
    assert read(write("data ignore value = -9999", code=12)).mask is None


def test_bad_bands_are_masked_by_number(write):
    cube = read(write("bbl = {1, 0, 1.0, 0}"))
    np.testing.assert_array_equal(cube.mask.all(axis=(1, 2)), [False, True, False, True])
    assert "2 bad bands (bbl = 0): 1, 3" in whys(cube)


def test_fillers_are_masked_before_scaling(write, values):
    data = np.round(values * 10)
    data[0, 0, 0] = -9999
    cube = read(write("reflectance scale factor = 10000", data=data, code=2))
    np.testing.assert_allclose(cube.data[1:], data[1:] / 10000, rtol=1e-6)
    assert cube.mask.sum() == 1
    assert cube.mask[0, 0, 0]
    assert "divided by the reflectance scale factor 10000" in whys(cube)


def test_gains_and_offsets_scale_their_bands(write, values):
    data = np.round(values)
    cube = read(write("data gain values = {1, 2, 3, 4}", "data offset values = {0, 10, 0, -5}", data=data, code=2))
    expected = data * np.array([1, 2, 3, 4])[:, None, None] + np.array([0, 10, 0, -5])[:, None, None]
    np.testing.assert_allclose(cube.data, expected, rtol=1e-6)


def test_gains_of_one_are_no_scaling(write, values):
    cube = read(write("data gain values = {1, 1, 1, 1}", "reflectance scale factor = 100", data=values))
    np.testing.assert_allclose(cube.data, values / 100, rtol=1e-6)


def test_units_map_and_instrument_are_kept(write):
    lines = (
        "data units = uW/cm^2/SR/nm",
        "map info = {UTM, 1, 1, 321711.2, 5561737.6, 0.8, 0.8, 33, North, WGS-84}",
        "sensor type = AVIRIS",
    )
    cube = read(write(*lines, "acquisition time = 2017-05-18T12:00:34.5Z"))
    assert cube.frame.unit == u.Unit("uW cm-2 sr-1 nm-1")
    assert cube.meta["map_info"][0] == "UTM"
    assert cube.meta["instrument"] == "AVIRIS"
    assert cube.meta["header"] == {"INSTRUME": "AVIRIS", "DATE-OBS": "2017-05-18T12:00:34.5"}
    assert cube.frame.wcs is None


# ---------------------------------------------------------------- errors and mask in other files


@pytest.mark.parametrize(("name", "option"), [("scene_unc.img", None), ("other.img", "sigma")])
def test_errors_come_from_an_image_of_their_own(write, values, name, option):
    sigma = values / 10
    sigma[0, 0, 0] = -9999
    errors = write("data ignore value = -9999", name=name, data=sigma)
    cube = read(write(), err_file=errors, err_type=option)
    assert np.isnan(cube.variance[0, 0, 0])
    np.testing.assert_allclose(cube.variance.ravel()[1:], (values.astype("f4").ravel()[1:] / 10) ** 2, rtol=1e-5)
    assert cube.weights[0, 0, 0] == 0


def test_errors_of_unknown_kind_are_refused_naming_the_option(write):
    with pytest.raises(AmbiguousInputError, match="add --err-type"):
        read(write(), err_file=write(name="second.img"))


def test_a_mask_with_one_band_holds_for_all(write, tmp_path):
    mask = np.zeros((1, NY, NX))
    mask[0, 2, 3] = 1
    start = [line if "bands" not in line else "bands = 1" for line in START]
    cube = read(write(), mask_file=write(name="mask.img", data=mask, code=1, start=start))
    assert cube.mask[:, 2, 3].all()
    assert cube.mask.sum() == B


# ---------------------------------------------------------------- refusals


def without(key):
    return [line for line in START if not line.startswith(key)]


def replaced(key, line):
    return [*without(key), line]


@pytest.mark.parametrize(
    ("start", "lines", "error", "text"),
    [
        (without("samples"), (), HeaderError, "does not say 'samples'"),
        (without("byte order"), (), HeaderError, "add 'byte order = 0'"),
        (replaced("lines", "lines = 0"), (), CorruptFileError, "lines = 0"),
        (replaced("lines", "lines = -5"), (), CorruptFileError, "expected an integer >= 1"),
        (replaced("lines", "lines = many"), (), CorruptFileError, "lines = many"),
        (replaced("byte order", "byte order = 7"), (), CorruptFileError, "byte order = 7"),
        (replaced("lines", "lines = 2000000000"), (), TruncatedFileError, "needs"),
        (START, ("samples = 8",), CorruptFileError, "says 'samples' twice"),
        (START, ("wavelength = {400, 500",), CorruptFileError, "does not end"),
        (START, ("wavelength = {400, 500}", "wavelength units = nm"), HeaderError, "2 wavelengths for 4 bands.*--wave"),
        (START, ("wavelength = {400, 500, x, 700}",), HeaderError, "wavelength = x"),
        (START, ("bbl = {1, 0}",), HeaderError, "2 bbl for 4 bands"),
        (START, ("file type = ENVI Spectral Library",), HeaderError, "spectral library"),
        (START, ("file type = ENVI Classification",), HeaderError, "classification"),
        (START, ("file compression = 1",), HeaderError, "decompress"),
        (START, ("major frame offsets = {0, 12}",), HeaderError, "frame offsets"),
        (START, ("reflectance scale factor = 0",), HeaderError, "positive"),
        (START, ("data gain values = {1, 2, 3, 4}", "reflectance scale factor = 100"), AmbiguousInputError, "remove the one"),
    ],
)
def test_a_header_that_cannot_be_trusted_is_refused(write, start, lines, error, text):
    with pytest.raises(error, match=text):
        read(write(*lines, start=start))


@pytest.mark.parametrize(("code", "error"), [(6, HeaderError), (9, HeaderError), (7, CorruptFileError), (99, CorruptFileError)])
def test_data_types_that_are_no_real_numbers_are_refused(write, code, error):
    header = write()
    header.write_text(header.read_text().replace("data type = 4", f"data type = {code}"))
    with pytest.raises(error, match=f"data type = {code}"):
        read(header)


def test_an_unknown_interleave_is_refused(write):
    header = write()
    header.write_text(header.read_text().replace("bsq", "tiled"))
    with pytest.raises(HeaderError, match="expected bsq, bil or bip"):
        read(header)


def test_data_that_end_early_are_refused_with_both_sizes(write, tmp_path):
    header = write()
    (tmp_path / "scene.img").write_bytes((tmp_path / "scene.img").read_bytes()[:-1])
    with pytest.raises(TruncatedFileError, match=f"needs {4 * B * NY * NX} bytes, the file has {4 * B * NY * NX - 1}"):
        read(header)


def test_a_header_without_data_and_data_of_another_format_are_refused(write, tmp_path):
    header = write()
    (tmp_path / "scene.img").write_bytes(b"II*\x00" + b"tiff" * 100)
    with pytest.raises(NotFITSError, match="another format"):
        read(header)
    (tmp_path / "scene.img").unlink()
    with pytest.raises(MissingFileError, match="without its data"):
        read(header)


def test_memory_is_compared_before_anything_is_read(write):
    with pytest.raises(MemoryLimitError, match="--memory"):
        read(write(), memory=1000)


def test_a_fits_file_beside_a_header_is_still_fits(write, tmp_path):
    from astropy.io import fits

    write(name="scene.img")
    data = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("f4")
    fits.PrimaryHDU(data).writeto(tmp_path / "scene.fits")
    assert read(tmp_path / "scene.fits").data.shape == (3, 4, 5)


def test_damaged_headers_end_in_one_of_our_errors(write, tmp_path):
    header = write("wavelength = {400, 500, 600, 700}", "wavelength units = nm", "bbl = {1, 1, 0, 1}", "data ignore value = 0")
    read_damaged(header, header.read_bytes(), trials=100, seed=5)
