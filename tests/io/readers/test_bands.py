"""Broad-band images in one file or several become one cube, or are refused with the option to add."""

import bz2
import gzip

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, Sip

from vermilion.errors import (
    AmbiguousInputError,
    HeaderError,
    MemoryLimitError,
    NoDataError,
    ParameterError,
    ShapeError,
    UnitError,
)
from vermilion.io import read

from .helpers import REAL_DATA, notes

SHAPE = (12, 15)
SCALE = 0.2 / 3600


def sky(*, shift=0.0, frame="ICRS", distortion=0.0, rotation=20.0):
    """Header with celestial coordinates of an image of SHAPE, `shift` pixels off along x."""
    center = SkyCoord(150.1, 2.2, unit="deg")
    wcs = WCS(naxis=2)
    wcs.wcs.crpix = [7 + shift, 6]
    wcs.wcs.cdelt = [-SCALE, SCALE]
    angle = np.deg2rad(rotation)
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [center.ra.deg, center.dec.deg]
    wcs.wcs.radesys = frame
    if frame == "FK5":
        wcs.wcs.equinox = 2000.0
    if distortion:
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        a = np.zeros((3, 3))
        a[2, 0] = distortion
        wcs.sip = Sip(a, a, None, None, wcs.wcs.crpix)
    return wcs.to_header(relax=True)


def truth(n, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, *shape)).astype("f4"), rng.uniform(0.5, 2, size=(n, *shape)).astype("f4")


def header(cards=None, **options):
    result = sky(**options)
    for key, value in (cards or {}).items():
        result[key] = value
    return result


def write(path, *hdus):
    """Write image HDUs given as (data, header, name); the first is primary where its name is PRIMARY, else that is empty."""
    made = [fits.PrimaryHDU(*hdus[0][:2])] if hdus[0][2] == "PRIMARY" else [fits.PrimaryHDU()]
    for data, cards, name in hdus[1:] if hdus[0][2] == "PRIMARY" else hdus:
        made.append(fits.ImageHDU(data, cards, name=name))
    fits.HDUList(made).writeto(path)
    return path


def single(path, data, cards=None, **options):
    return write(path, (data, header(cards, **options), "PRIMARY"))


def several(tmp_path, n=3, cards=({"FILTER": "g"}, {"FILTER": "r"}, {"FILTER": "i"}), names=("x1", "x2", "x3"), **options):
    flux, _ = truth(n)
    return flux, [single(tmp_path / f"{name}.fits", image, dict(c), **options) for name, image, c in zip(names, flux, cards, strict=True)]


# ---------------------------------------------------------------- one image per file


def test_files_become_bands_in_the_order_given(tmp_path):
    flux, paths = several(tmp_path)
    cube = read([paths[2], paths[0], paths[1]])
    np.testing.assert_array_equal(cube.data, flux[[2, 0, 1]])
    assert cube.frame.band_names == ("i", "g", "r")
    assert cube.variance is None
    assert cube.meta["reader"] == "bands"
    assert cube.meta["sha256"].count(", ") == 2
    assert cube.meta["name"] == "x3-x1-x2"
    assert {"name", "path", "instrument", "header", "spectral_medium", "spectral_axis_given", "decisions"} <= set(cube.meta)


def test_the_celestial_coordinates_are_those_of_the_images(tmp_path):
    _, paths = several(tmp_path, distortion=1e-4)
    cube = read(paths)
    expected = WCS(fits.getheader(paths[0])).pixel_to_world(3, 4)
    assert cube.frame.wcs.celestial.pixel_to_world(3, 4).separation(expected) < 1e-6 * u.arcsec
    assert cube.frame.wcs.naxis == 3


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_and_plain_files_are_mixed(tmp_path, pack):
    flux, paths = several(tmp_path)
    packed = tmp_path / ("x3.fits.gz" if pack is gzip.compress else "x3.fits.bz2")
    packed.write_bytes(pack(paths[2].read_bytes()))
    np.testing.assert_array_equal(read([*paths[:2], packed]).data, flux)


def test_degenerate_axes_and_integers_are_read(tmp_path):
    flux, _ = truth(2)
    a = single(tmp_path / "a.fits", flux[0][None])
    b = single(tmp_path / "b.fits", (flux[1] * 100).astype("i2"))
    cube = read([a, b])
    np.testing.assert_array_equal(cube.data, [flux[0], (flux[1] * 100).astype("i2")])
    assert cube.frame.band_names == ("a", "b")


@pytest.mark.parametrize(
    ("cards", "names", "expected"),
    [
        (({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}, {"FILTER1": "F606W", "FILTER2": "CLEAR2L"}), ("x", "y"), ("F814W", "F606W")),
        (({"FILTER": "F322W2", "PUPIL": "F323N"}, {"FILTER": "F444W", "PUPIL": "CLEAR"}), ("x", "y"), ("F322W2+F323N", "F444W")),
        (({"FILTER": "CLEAR", "PUPIL": "F090W"}, {"FILTER": "CLEAR", "PUPIL": "F115W"}), ("x", "y"), ("F090W", "F115W")),
        (({"FILTER": "g DECam SDSS c0001 4720.0 1520.0"}, {"FILTER": "r DECam SDSS c0002 6415.0 1480.0"}), ("x", "y"), ("g", "r")),
        (({"HIERARCH LSST BUTLER DATAID BAND": "u"}, {"HIERARCH LSST BUTLER DATAID BAND": "y"}), ("x", "y"), ("u", "y")),
        (({"BAND": 1, "TELESCOP": "WISE"}, {"BAND": 2, "TELESCOP": "WISE"}), ("x", "y"), ("W1", "W2")),
        (({}, {}), ("field_v2_g_sub", "field_v2_r_sub"), ("g", "r")),
        (({}, {}), ("night1_halpha_long", "night2_oiii"), ("night1_halpha_long", "night2_oiii")),
        (({"FILTER": "g"}, {"FILTER": "g"}), ("frame-g-1", "frame-r-1"), ("g", "r")),  # a header copied by the reprojection
        (({"FILTER": "g"}, {}), ("x", "y"), ("g", "2")),
    ],
)
def test_bands_are_named_by_headers_or_files(tmp_path, cards, names, expected):
    _, paths = several(tmp_path, 2, cards, names)
    cube = read(paths)
    assert cube.frame.band_names == expected
    assert "FILTER" not in cube.meta["header"]


def test_names_that_contradict_the_headers_are_told(tmp_path, caplog):
    _, paths = several(tmp_path, 2, ({"FILTER": "g"}, {"FILTER": "g"}), ("a_g", "a_r"))
    assert "although the headers say g" in notes(read(paths))
    assert any(record.levelname == "WARNING" and "although" in record.message for record in caplog.records)


def test_wavelengths_that_the_headers_state_are_the_spectral_axis(tmp_path):
    cards = ({"PHOTPLAM": 5921.1, "FILTER": "F606W"}, {"PHOTPLAM": 8057.0, "FILTER": "F814W"})
    flux, paths = several(tmp_path, 2, cards, ("x", "y"))
    cube = read(paths)
    np.testing.assert_array_equal(cube.frame.spectral_axis.to_value("Angstrom"), [5921.1, 8057.0])
    assert cube.frame.band_names == ("F606W", "F814W")
    part = read(paths, wave="0.7:0.9 um")
    np.testing.assert_array_equal(part.data, flux[1:])
    assert part.frame.band_names == ("F814W",)


@pytest.mark.parametrize(
    "cards",
    [
        {"WAVELNTH": 171, "WAVEUNIT": "angstrom"},
        {"WAVELEN": (17.1e-9, "[m] effective wavelength")},
    ],
)
def test_wavelengths_have_the_unit_that_the_header_states(tmp_path, cards):
    other = {
        key: ((2 * value[0], value[1]) if isinstance(value, tuple) else 2 * value if key == "WAVELNTH" else value)
        for key, value in cards.items()
    }
    _, paths = several(tmp_path, 2, (cards, other), ("x", "y"))
    assert read(paths).frame.spectral_axis.to_value("nm") == pytest.approx([17.1, 34.2])


@pytest.mark.parametrize(
    "cards", [({"WAVELNTH": 171}, {"WAVELNTH": 193}), ({"PHOTPLAM": 5000.0}, {}), ({"PHOTPLAM": 5000.0}, {"PHOTPLAM": 5000.0})]
)
def test_wavelengths_without_unit_or_for_some_bands_only_are_no_axis(tmp_path, cards):
    _, paths = several(tmp_path, 2, cards, ("x", "y"))
    assert read(paths).frame.spectral_axis is None
    given = read(paths, wave=[0.4, 0.6] * u.um)
    assert given.frame.spectral_axis.unit == u.um
    assert given.meta["spectral_axis_given"]


# ---------------------------------------------------------------- what must agree


@pytest.mark.parametrize(("shift", "accepted"), [(0.0, True), (0.045, True), (0.055, False), (1.0, False), (400.0, False)])
def test_images_may_be_displaced_by_a_twentieth_of_a_pixel(tmp_path, shift, accepted):
    flux, _ = truth(2)
    paths = [single(tmp_path / "a.fits", flux[0]), single(tmp_path / "b.fits", flux[1], shift=shift)]
    if accepted:
        assert read(paths).data.shape == (2, *SHAPE)
    else:
        with pytest.raises(HeaderError, match=r"bands a and b differ by up to .* pixels, 0\.05 are allowed.*reproject"):
            read(paths)


def test_a_rotation_about_the_center_is_seen_at_the_corners(tmp_path):
    flux, _ = truth(2)
    paths = [single(tmp_path / "a.fits", flux[0]), single(tmp_path / "b.fits", flux[1], rotation=21)]
    with pytest.raises(HeaderError, match="differ by up to"):
        read(paths)


def test_a_distortion_in_one_band_only_is_seen(tmp_path):
    flux, _ = truth(2)
    paths = [single(tmp_path / "a.fits", flux[0]), single(tmp_path / "b.fits", flux[1], distortion=1e-2)]
    with pytest.raises(HeaderError, match="differ by up to"):
        read(paths)


def test_the_same_numbers_in_fk5_and_icrs_agree(tmp_path):
    flux, _ = truth(2)
    paths = [single(tmp_path / "a.fits", flux[0]), single(tmp_path / "b.fits", flux[1], frame="FK5")]
    cube = read(paths)
    assert cube.data.shape == (2, *SHAPE)
    assert "in FK5 by one header" in notes(cube)
    moved = single(tmp_path / "c.fits", flux[1] + 1, frame="FK5", shift=1)
    with pytest.raises(HeaderError, match="differ by up to"):
        read([paths[0], moved])


def test_coordinates_in_one_band_only_are_refused_and_none_at_all_are_read(tmp_path):
    flux, _ = truth(3)
    bare = [write(tmp_path / f"{n}.fits", (image, None, "PRIMARY")) for n, image in enumerate(flux[:2])]
    assert read(bare).frame.wcs is None
    with pytest.raises(HeaderError, match="band 0 has no celestial coordinates"):
        read([single(tmp_path / "a.fits", flux[2]), bare[0]])


def test_other_shapes_are_refused(tmp_path):
    a, b = (single(tmp_path / f"{n}.fits", np.ones(shape, "f4")) for n, shape in (("a", SHAPE), ("b", (12, 14))))
    with pytest.raises(ShapeError, match=r"12 x 15 pixels.*12 x 14 pixels.*one pixel grid"):
        read([a, b])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("nJy", "nJy", u.nJy),
        ("nJy", "uJy", (u.nJy, u.uJy)),
        ("", "", u.dimensionless_unscaled),
        ("MJy/sr", "nJy", None),
        ("nJy", "", None),
        ("electron/s", "adu", None),
        ("erg/s/cm2/Angstrom", "erg/s/cm2/Hz", None),
    ],
)
def test_units_of_one_kind_are_kept_and_of_two_kinds_refused(tmp_path, first, second, expected):
    cards = ({"BUNIT": first}, {"BUNIT": second})
    flux, paths = several(tmp_path, 2, cards, ("x", "y"))
    if expected is None:
        with pytest.raises(UnitError, match=r"expected units of one kind.*--unit"):
            read(paths)
        assert read(paths, unit="nJy").frame.unit == u.nJy
        return
    cube = read(paths)
    assert cube.frame.unit == expected
    np.testing.assert_array_equal(cube.data, flux)  # nothing is converted


def test_a_unit_that_is_not_understood_names_the_options(tmp_path):
    _, paths = several(tmp_path, 2, ({"BUNIT": "frobs"},) * 2, ("x", "y"))
    with pytest.raises(UnitError, match=r"'frobs'.*--unit.*--allow-unitless"):
        read(paths)
    assert read(paths, allow_unitless=True).frame.unit == u.dimensionless_unscaled


def test_the_same_file_or_band_or_pixels_twice_are_refused(tmp_path):
    flux, paths = several(tmp_path, 2, ({"FILTER": "g"}, {"FILTER": "g"}), ("night1", "night2"))
    with pytest.raises(ParameterError, match="are the same file"):
        read([paths[0], paths[0]])
    with pytest.raises(AmbiguousInputError, match="are both of band 'g'"):
        read(paths)
    again = single(tmp_path / "c.fits", flux[0], {"FILTER": "z"})
    with pytest.raises(AmbiguousInputError, match="hold the same pixels"):
        read([paths[0], again])


def test_cubes_tables_and_scaled_images_in_a_set_are_refused(tmp_path):
    _, paths = several(tmp_path, 1, ({"FILTER": "g"},), ("x",))
    cube = write(tmp_path / "cube.fits", (truth(3)[0], None, "PRIMARY"))
    with pytest.raises(AmbiguousInputError, match=r"cube\.fits of 2 files hold cubes"):
        read([*paths, cube])
    table = tmp_path / "t.fits"
    fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])]).writeto(table)
    with pytest.raises(ShapeError, match=r"t\.fits: no image with two axes.*leave it out"):
        read([*paths, table])
    stretched = single(tmp_path / "ps1.fits", truth(1, 5)[0][0], {"BSOFTEN": 3.0, "BOFFSET": 0.1})
    with pytest.raises(HeaderError, match="asinh"):
        read([*paths, stretched])


def test_options_of_single_files_and_other_readers_are_refused(tmp_path):
    _, paths = several(tmp_path)
    with pytest.raises(ParameterError, match="--reader muse reads one file"):
        read(paths, reader="muse")
    with pytest.raises(ParameterError, match="--err-file belongs to one file"):
        read(paths, err_file=paths[0])
    with pytest.raises(ParameterError, match="no image holds errors"):
        read(paths, err_type="ivar")
    with pytest.raises(ParameterError, match="--err-ext FOO"):
        read(paths, err_ext="FOO")


def test_memory_is_checked_before_reading(tmp_path):
    _, paths = several(tmp_path)
    with pytest.raises(MemoryLimitError, match="--memory"):
        read(paths, memory=2000)


def test_nothing_left_to_fit_is_refused_and_one_empty_band_is_told(tmp_path):
    flux, paths = several(tmp_path, 2, ({}, {}), ("x", "y"))
    empty = [single(tmp_path / f"e{n}.fits", np.full(SHAPE, np.nan, "f4"), {"DUMMY": n}) for n in range(2)]
    with pytest.raises(NoDataError):
        read(empty)
    cube = read([paths[0], empty[0]])
    assert "has no value with weight" in notes(cube)
    np.testing.assert_array_equal(cube.data[0], flux[0])


def test_fillers_are_masked(tmp_path):
    flux, _ = truth(2)
    flux[0, 1, 2], flux[1, 3, 4] = -9999, 1e38
    cube = read([single(tmp_path / f"{n}.fits", image) for n, image in enumerate(flux)])
    assert np.argwhere(cube.mask).tolist() == [[0, 1, 2], [1, 3, 4]]


# ---------------------------------------------------------------- errors and masks beside the images

PLANES = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "SUSPECT": 7, "NO_DATA": 8}


def lsst(path, flux, variance, mask, planes, band, *, exttype=False):
    cards = {f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}": bit for name, bit in planes.items()}
    hdus = [(flux, header({"FLUXMAG0": 6.3e10}), "IMAGE"), (mask, header(cards), "MASK"), (variance, header(), "VARIANCE")]
    made = [fits.PrimaryHDU()]
    made[0].header["FILTER"] = band
    for data, card, name in hdus:
        made.append(fits.ImageHDU(data, card, name=None if exttype else name))
        if exttype:
            made[-1].header["EXTTYPE"] = name
    made.append(fits.BinTableHDU.from_columns([fits.Column("cat", "D", array=[1.0])], name="ARCHIVE_INDEX"))
    fits.HDUList(made).writeto(path)
    return path


@pytest.mark.parametrize("exttype", [False, True])
@pytest.mark.parametrize(
    ("wanted", "bad"),
    [
        (None, {"BAD", "SAT", "CR", "EDGE", "SUSPECT", "NO_DATA"}),
        ("SAT,CR", {"SAT", "CR"}),
        ("mp_intrp", {"INTRP"}),
        ("any", set(PLANES)),
        (["EDGE", "DETECTED"], {"EDGE", "DETECTED"}),
    ],
)
def test_mask_planes_are_found_by_the_cards_of_each_band(tmp_path, wanted, bad, exttype):
    flux, variance = truth(2)
    paths = []
    for n, planes in enumerate((PLANES, {name: 9 - bit for name, bit in PLANES.items()})):  # the numbers differ between releases
        mask = np.zeros(SHAPE, "i4")
        for x, name in enumerate(PLANES):
            mask[n, x] = 1 << planes[name]
        paths.append(lsst(tmp_path / f"calexp-{n}.fits", flux[n], variance[n], mask, planes, "GI"[n], exttype=exttype))
    cube = read(paths, mask_bits=wanted)
    expected = np.zeros(cube.data.shape, bool)
    for x, name in enumerate(PLANES):
        expected[0, 0, x] = expected[1, 1, x] = name in bad
    np.testing.assert_array_equal(cube.mask, expected)
    np.testing.assert_array_equal(cube.variance, variance)
    assert cube.frame.band_names == ("G", "I")
    assert "FLUXMAG0 = 6.3e+10" in notes(cube)


def test_mask_bits_by_number_and_unknown_names(tmp_path):
    flux, variance = truth(1)
    mask = np.zeros(SHAPE, "i4")
    mask[0, :3] = 1, 4, 1 << 8
    path = lsst(tmp_path / "a.fits", flux[0], variance[0], mask, PLANES, "G")
    cube = read(path, reader="bands", mask_bits="2,8")
    assert cube.mask[0, 0, :4].tolist() == [False, True, True, False]
    with pytest.raises(ParameterError, match=r"mask_bits.*NO_DATA"):
        read(path, reader="bands", mask_bits="BRIGHT")


def hst(path, flux, weight, band, wavelength):
    cards = {"BUNIT": "ELECTRONS/S", "PHOTFLAM": 7.8e-20, "PHOTPLAM": wavelength}
    context = np.ones(flux.shape, "i4")
    write(path, (flux, header(cards), "SCI"), (weight, header(), "WHT"), (context, header(), "CTX"))
    fits.setval(path, "FILTER", value=band)
    return path


def test_drizzled_weights_need_the_word_of_the_user(tmp_path):
    flux, weight = truth(2)
    weight[:, 0, :3] = 0
    bands = (("F606W", 5921.1), ("F814W", 8057.0))
    paths = [hst(tmp_path / f"{n}_drz.fits", flux[n], weight[n], *band) for n, band in enumerate(bands)]
    with pytest.raises(AmbiguousInputError, match=r"WHT.*holds weights.*--err-type ivar.*--err-ext none"):
        read(paths)
    cube = read(paths, err_type="ivar")
    np.testing.assert_allclose(cube.weights, weight, rtol=1e-6)
    assert cube.frame.unit == u.electron / u.s
    assert cube.frame.spectral_axis.unit == u.AA
    assert "PHOTFLAM = 7.8e-20" in notes(cube)
    without = read(paths, err_ext="none")
    assert without.variance is None
    np.testing.assert_array_equal(without.weights, weight > 0)  # weight 0 still means no data


def test_jwst_mosaics_have_sigma_and_ignore_weights_and_parts(tmp_path):
    flux, sigma = truth(2)
    paths = []
    for n, band in enumerate(("F200W", "F444W")):
        card = header({"BUNIT": "MJy/sr", "PIXAR_SR": 2.3e-14})
        hdus = [(flux[n], card, "SCI"), (sigma[n], card, "ERR"), (np.ones((1, *SHAPE), "i4"), None, "CON"), (sigma[n], None, "WHT")]
        hdus += [(sigma[n], None, f"VAR_{part}") for part in ("POISSON", "RNOISE", "FLAT")]
        paths.append(write(tmp_path / f"{band}_i2d.fits", *hdus))
        for key, value in (("TELESCOP", "JWST"), ("FILTER", band), ("PUPIL", "CLEAR")):
            fits.setval(paths[-1], key, value=value)
    cube = read(paths)
    np.testing.assert_allclose(cube.variance, sigma**2, rtol=1e-6)
    assert cube.frame.unit == u.MJy / u.sr
    assert cube.frame.band_names == ("F200W", "F444W")
    assert cube.mask is None


def test_jwst_data_quality_means_bad_by_its_first_bit(tmp_path):
    flux, sigma = truth(2)
    quality = np.zeros(SHAPE, "u4")
    quality[0, :3] = 1, 4, 5  # JUMP_DET alone is no reason to discard a pixel
    paths = []
    for n in range(2):
        paths.append(write(tmp_path / f"{n}.fits", (flux[n], header(), "SCI"), (sigma[n], None, "ERR"), (quality, None, "DQ")))
        fits.setval(paths[-1], "TELESCOP", value="JWST")
    assert read(paths).mask[0, 0, :4].tolist() == [True, False, True, False]
    assert read(paths, mask_bits="2").mask[0, 0, :4].tolist() == [False, True, True, False]
    assert read(paths, mask_ext="none").mask is None


@pytest.mark.parametrize(("image", "errors", "kind"), [("image", "invvar", "ivar"), ("img", "std", "sigma"), ("sci", "var", "variance")])
@pytest.mark.parametrize("packed", [False, True])
def test_errors_in_files_of_their_own_find_their_image_by_name(tmp_path, image, errors, kind, packed):
    flux, values = truth(2)
    paths = []
    for n, band in enumerate("gr"):
        for what, array in ((image, flux[n]), (errors, values[n])):
            path = tmp_path / f"brick-0001-{what}-{band}.fits{'.fz' if packed else ''}"
            made = (
                fits.CompImageHDU(array, header(), compression_type="GZIP_1", quantize_level=0)
                if packed
                else fits.PrimaryHDU(array, header())
            )
            fits.HDUList([fits.PrimaryHDU(), made] if packed else [made]).writeto(path)
            paths.append(path)
    cube = read([paths[3], *paths[:3]])  # errors may come first
    expected = {"ivar": 1 / values, "sigma": values**2, "variance": values}[kind]
    np.testing.assert_array_equal(cube.data, flux)
    np.testing.assert_allclose(cube.variance, expected, rtol=1e-6)
    assert cube.frame.band_names == ("g", "r")
    with pytest.raises(AmbiguousInputError, match="1 of 2 bands have errors"):
        read(paths[:3])
    with pytest.raises(AmbiguousInputError, match="no image of the set belongs to it"):
        read([paths[0], paths[3]])
    assert read([paths[1], paths[3]], data_ext=1 if packed else 0).variance is None  # errors as the data, by the user's word


def test_weight_and_mask_files_beside_images(tmp_path):
    flux, weight = truth(2)
    paths = []
    for n, band in enumerate("gr"):
        mask = np.zeros(SHAPE, "u1")
        mask[n, 0] = 7
        for what, array in (("sci", flux[n]), ("wht", weight[n]), ("mask", mask)):
            paths.append(write(tmp_path / f"cosmos_{band}_{what}.fits", (array, header(), "PRIMARY")))
    with pytest.raises(AmbiguousInputError, match=r"--err-type ivar"):
        read(paths)
    cube = read(paths, err_type="ivar")
    np.testing.assert_allclose(cube.variance, 1 / weight, rtol=1e-6)
    assert np.argwhere(cube.mask).tolist() == [[0, 0, 0], [1, 1, 0]]
    np.testing.assert_array_equal(read(paths, err_ext="none", mask_ext="none").weights, np.ones_like(flux))


def test_errors_in_another_unit_are_converted_and_in_a_wrong_one_refused(tmp_path):
    flux, sigma = truth(2)
    scaled = [
        write(tmp_path / f"{n}.fits", (flux[n], header({"BUNIT": "uJy"}), "SCI"), (sigma[n] * 1000, header({"BUNIT": "nJy"}), "ERR"))
        for n in range(2)
    ]
    np.testing.assert_allclose(read(scaled).variance, sigma**2, rtol=1e-5)
    inverse = [
        write(tmp_path / f"i{n}.fits", (flux[n], header({"BUNIT": "uJy"}), "SCI"), (sigma[n], header({"BUNIT": "nJy-2"}), "IVAR"))
        for n in range(2)
    ]
    np.testing.assert_allclose(read(inverse).variance, 1e-6 / sigma, rtol=1e-5)
    wrong = [
        write(tmp_path / f"w{n}.fits", (flux[n], header({"BUNIT": "uJy"}), "SCI"), (sigma[n], header({"BUNIT": "uJy2"}), "ERR"))
        for n in range(2)
    ]
    with pytest.raises(AmbiguousInputError, match=r"named as sigma, but its unit 'uJy2'.*--err-type"):
        read(wrong)
    np.testing.assert_allclose(read(wrong, err_type="variance").variance, sigma, rtol=1e-6)


def test_errors_of_another_shape_and_two_kinds_of_errors_are_refused(tmp_path):
    flux, sigma = truth(2)
    cut = [write(tmp_path / f"{n}.fits", (flux[n], header(), "SCI"), (sigma[n][1:], None, "ERR")) for n in range(2)]
    with pytest.raises(ShapeError, match=r"have other shapes.*--err-ext"):
        read(cut)
    two = [write(tmp_path / f"t{n}.fits", (flux[n], header(), "SCI"), (sigma[n], None, "ERR"), (sigma[n], None, "VAR")) for n in range(2)]
    with pytest.raises(AmbiguousInputError, match=r"2 images fit as errors.*--err-ext"):
        read(two)
    np.testing.assert_array_equal(read(two, err_ext="VAR").variance, sigma)


def test_unlabeled_images_in_a_file_need_the_option(tmp_path):
    flux, _ = truth(4)
    paths = [write(tmp_path / f"{n}.fits", (flux[n], header(), "FOO"), (flux[n + 2], header(), "BAR")) for n in range(2)]
    with pytest.raises(AmbiguousInputError, match=r"2 images could be the data.*--data-ext 1"):
        read(paths)
    np.testing.assert_array_equal(read(paths, data_ext="bar").data, flux[2:])
    with pytest.raises(ParameterError, match="--data-ext BAZ"):
        read(paths, data_ext="BAZ")


# ---------------------------------------------------------------- several bands in one file

ORDERS = {
    "alternating": [("image", "g"), ("invvar", "g"), ("image", "r"), ("invvar", "r")],
    "images first": [("image", "g"), ("image", "r"), ("invvar", "g"), ("invvar", "r")],
    "mixed": [("invvar", "r"), ("image", "g"), ("invvar", "g"), ("image", "r")],
}


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("labels", ["cards", "names", "versions"])
def test_alternating_images_and_errors_are_paired_by_their_band(tmp_path, order, labels):
    flux, weight = truth(2)
    hdus = [fits.PrimaryHDU()]
    for what, band in ORDERS[order]:
        array = (flux if what == "image" else weight)["gr".index(band)]
        hdu = fits.ImageHDU(array, header())
        if labels == "cards":
            hdu.header["IMTYPE"], hdu.header["BAND"] = what, band
        elif labels == "names":
            hdu.name = f"{what}_{band}"
        else:
            hdu.name, hdu.ver = what, "gr".index(band) + 1
        hdus.append(hdu)
    path = tmp_path / "cutout.fits"
    fits.HDUList(hdus).writeto(path)
    cube = read(path)
    np.testing.assert_array_equal(cube.data, flux)
    np.testing.assert_allclose(cube.variance, 1 / weight, rtol=1e-6)
    expected = {"cards": ("g", "r"), "names": ("G", "R"), "versions": ("1", "2")}[labels]
    assert cube.frame.band_names == expected
    assert cube.meta["reader"] == "bands"


def test_names_alone_pair_alternating_images_by_their_order_and_nothing_else(tmp_path):
    flux, weight = truth(2)
    for order in ("alternating", "images first", "mixed"):
        hdus = [(flux if what == "image" else weight)["gr".index(band)] for what, band in ORDERS[order]]
        named = [(array, header(), what) for array, (what, _) in zip(hdus, ORDERS[order], strict=True)]
        path = write(tmp_path / f"{order.replace(' ', '')}.fits", *named)
        if order == "alternating":
            cube = read(path)
            np.testing.assert_allclose(cube.variance, 1 / weight, rtol=1e-6)
            assert "it follows its image" in notes(cube)
        else:
            with pytest.raises(AmbiguousInputError, match=r"nothing tells which errors and masks belong to which image.*--err-ext none"):
                read(path)
            np.testing.assert_array_equal(read(path, err_ext="none").data, flux)


def test_chips_of_one_detector_are_no_bands(tmp_path):
    flux, sigma = truth(2)
    hdus = [fits.PrimaryHDU()]
    for n in range(2):
        hdus += [fits.ImageHDU(flux[n], header(shift=2000 * n), name="SCI", ver=n + 1), fits.ImageHDU(sigma[n], name="ERR", ver=n + 1)]
    path = tmp_path / "flt.fits"
    fits.HDUList(hdus).writeto(path)
    with pytest.raises(HeaderError, match="one pixel grid"):
        read(path)


def test_a_single_image_is_refused_unless_the_reader_is_named(tmp_path):
    flux, _ = truth(1)
    path = single(tmp_path / "a.fits", flux[0], {"FILTER": "r"})
    with pytest.raises(ShapeError, match="three axes"):
        read(path)
    with pytest.raises(ShapeError, match="three axes"):
        read([path])
    cube = read(path, reader="bands")
    np.testing.assert_array_equal(cube.data, flux)
    assert cube.frame.band_names == ("r",)


def test_cutouts_with_named_bands_in_one_cube(tmp_path):
    flux, _ = truth(3)
    cards = header({"BANDS": "grz", "BAND0": "g", "BAND1": "r", "BAND2": "z", "SURVEY": "LegacySurvey"})
    path = write(tmp_path / "cutout.fits", (flux, cards, "PRIMARY"))
    cube = read(path)
    assert cube.frame.band_names == ("g", "r", "z")
    assert cube.meta["reader"] == "legacysurvey"
    np.testing.assert_array_equal(cube.data, flux)
    fits.setval(path, "BAND2", value="g")
    assert read(path).frame.band_names is None


# ---------------------------------------------------------------- real files


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no test data: set VERMILION_TEST_DATA")
def test_reprojected_sdss_frames_are_one_cube():
    paths = [REAL_DATA / "broadband" / f"sdss_reprojected_{band}.fits.bz2" for band in "gri"]
    cube = read(paths)
    assert cube.data.shape == (3, 496, 682)
    assert cube.frame.band_names == ("g", "r", "i")  # all three headers say g
    assert cube.frame.unit == u.Unit("nmgy")
    assert cube.meta["name"] == "sdss_reprojected"
    with fits.open(paths[2]) as hdulist:
        np.testing.assert_array_equal(cube.data[2], hdulist[0].data)
        expected = WCS(hdulist[0].header).pixel_to_world(341, 247)
    assert cube.frame.wcs.celestial.pixel_to_world(341, 247).separation(expected) < 1e-6 * u.arcsec


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no test data: set VERMILION_TEST_DATA")
def test_a_simulated_set_of_bands_in_one_file_is_read_without_its_mixing_matrix():
    cube = read(REAL_DATA / "broadband" / "muscadet_Simu_simple_Cube.fits")
    assert cube.data.shape == (7, 256, 256)
    assert cube.frame.spectral_axis is None
    with pytest.raises(AmbiguousInputError, match="hold cubes"):
        read([REAL_DATA / "broadband" / "muscadet_Simu_simple_Cube.fits", REAL_DATA / "broadband" / "muscadet_Simu_simple_A.fits"])
