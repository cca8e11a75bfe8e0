"""Catalogs of positions become pixels counted from 0, or are refused with a way out."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.wcs import WCS

from vermilion.errors import (
    AmbiguousInputError,
    CorruptFileError,
    EmptyFileError,
    HeaderError,
    MemoryLimitError,
    MissingFileError,
    NoDataError,
    NotFITSError,
    ParameterError,
    ShapeError,
    UnitError,
)
from vermilion.io.source_catalog import read_catalog

SHAPE = (40, 60)
YX = np.array([[3.25, 10.5], [39.0, 0.0], [17.125, 44.75]])


def celestial(*, distorted=False):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"] if distorted else ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.1, 2.2], [25.0, 18.0]
    wcs.wcs.cd = np.array([[-1.1, 0.3], [0.3, 1.1]]) * 5e-5
    if distorted:
        header = wcs.to_header(relax=True)
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        for name in "AB":
            header[f"{name}_ORDER"], header[f"{name}_2_0"], header[f"{name}_0_2"] = 2, 2e-3, -1e-3
        return WCS(header)
    return wcs


WCS_OF_IMAGE = celestial()
SKY = WCS_OF_IMAGE.pixel_to_world(YX[:, 1], YX[:, 0])


def table(**columns):
    return Table({"id": ["a", "b", "c"], **columns})


def test_an_array_is_y_and_x():
    positions = read_catalog(YX)
    np.testing.assert_array_equal(positions.yx, YX)
    assert positions.identifiers == ("0", "1", "2")
    assert positions.kinds == (None, None, None)
    assert read_catalog([[1, 2]]).yx.dtype == np.float64


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("y", "x"), 0),
        (("Y", "X"), 0),
        (("ycentroid", "xcentroid"), 0),
        (("y_fit", "x_fit"), 0),
        (("Y_IMAGE", "X_IMAGE"), 1),
        (("YWIN_IMAGE", "XWIN_IMAGE"), 1),
    ],
)
def test_pixels_are_counted_as_their_program_does(names, first):
    positions = read_catalog(table(**dict(zip(names, (YX + first).T, strict=True))))
    np.testing.assert_allclose(positions.yx, YX, atol=1e-12)
    assert any(f"counted from {first}" in note for note in positions.notes)
    assert positions.identifiers == ("a", "b", "c")


@pytest.mark.parametrize(
    "columns",
    [
        {"ra": SKY.ra, "dec": SKY.dec},
        {"RA": SKY.ra.deg, "DEC": SKY.dec.deg},
        {"RA_ICRS": SKY.ra.to(u.rad), "DE_ICRS": SKY.dec.to(u.arcmin)},
        {"ALPHA_J2000": SKY.transform_to(FK5()).ra.deg, "DELTA_J2000": SKY.transform_to(FK5()).dec.deg},
        {"l": SKY.galactic.l, "b": SKY.galactic.b},
        {"position": SKY},
        {"position": SKY.galactic},
        {
            "ra": SKY.ra.to_string(u.hour, sep=":", precision=6),
            "dec": SKY.dec.to_string(u.deg, sep=":", precision=6),
        },
        {"ra": [f"{a:.9f}" for a in SKY.ra.deg], "dec": [f"{d:.9f}" for d in SKY.dec.deg]},
    ],
    ids=["quantity", "bare", "units", "fk5", "galactic", "mixin", "mixin galactic", "sexagesimal", "text"],
)
def test_positions_on_the_sky_are_those_of_astropy(columns):
    positions = read_catalog(QTable(columns), wcs=WCS_OF_IMAGE, shape=SHAPE)
    np.testing.assert_allclose(positions.yx, YX, atol=1e-3)


def test_sky_coordinates_themselves_and_a_cube_s_wcs_do():
    header = WCS_OF_IMAGE.to_header()
    header.update(NAXIS=3, WCSAXES=3, CTYPE3="WAVE", CUNIT3="m", CRVAL3=5e-7, CRPIX3=1.0, CDELT3=1e-10)
    np.testing.assert_allclose(read_catalog(SKY, wcs=WCS(header)).yx, YX, atol=1e-6)


def test_a_distorted_image_is_inverted_and_what_is_far_outside_does_no_harm():
    wcs = celestial(distorted=True)
    sky = wcs.pixel_to_world(YX[:, 1], YX[:, 0])
    far = SkyCoord([*sky.ra.deg, 155.0, 330.0], [*sky.dec.deg, 2.0, -2.2], unit="deg")
    positions = read_catalog(QTable({"ra": far.ra, "dec": far.dec}), wcs=wcs, shape=SHAPE)
    np.testing.assert_allclose(positions.yx, YX, atol=1e-3)
    assert positions.n_outside + sum("no finite position" in note for note in positions.notes) == 2


@pytest.mark.parametrize("name", ["c.fits", "c.ecsv", "c.csv", "c.txt"])
@pytest.mark.parametrize("sky", [False, True])
def test_files_round_trip(tmp_path, name, sky):
    columns = {"ra": SKY.ra.deg, "dec": SKY.dec.deg} if sky else {"x": YX[:, 1], "y": YX[:, 0]}
    kind = {"fits": "fits", "ecsv": "ascii.ecsv", "csv": "ascii.csv", "txt": "ascii.basic"}[name.split(".")[1]]
    table(**columns, type=["star", "EXP", "odd"]).write(tmp_path / name, format=kind)
    positions = read_catalog(tmp_path / name, wcs=WCS_OF_IMAGE, shape=SHAPE)
    np.testing.assert_allclose(positions.yx, YX, atol=1e-5)
    assert positions.identifiers == ("a", "b", "c")
    assert positions.kinds == ("point", "galaxy", None)


@pytest.mark.parametrize("arrays", [{"peaks": YX, "images": np.zeros((2, 4, 4))}, {"anything": YX}])
def test_npz_files_are_read(tmp_path, arrays):
    np.savez(tmp_path / "c.npz", **arrays)
    np.testing.assert_array_equal(read_catalog(str(tmp_path / "c.npz")).yx, YX)


def test_npy_files_are_read_structured_ones_by_their_names(tmp_path):
    np.save(tmp_path / "plain.npy", YX)
    records = np.array([(x, y, True) for y, x in YX], dtype=[("x", "f8"), ("y", "f8"), ("is_star", "?")])
    np.save(tmp_path / "records.npy", records)
    np.testing.assert_array_equal(read_catalog(tmp_path / "plain.npy").yx, YX)
    positions = read_catalog(tmp_path / "records.npy")
    np.testing.assert_array_equal(positions.yx, YX)
    assert positions.kinds == ("point",) * 3


def test_rows_without_a_position_are_left_out_and_counted():
    x = MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])
    positions = read_catalog(table(x=x, y=[5.0, 6.0, np.nan], CLASS_STAR=[0.99, 0.5, 0.5]))
    np.testing.assert_array_equal(positions.yx, [[5, 1]])
    assert positions.identifiers == ("a",)
    assert positions.kinds == ("point",)
    assert "2 of 3 rows have no finite position: left out" in positions.notes


@pytest.mark.parametrize("keep", [False, True])
def test_positions_outside_are_kept_or_left_out_as_asked(keep):
    yx = np.array([[-0.5, 0.0], [-0.51, 0.0], [39.4, 59.4], [39.6, 3.0], [1e300, 0.0]])
    positions = read_catalog(yx, shape=SHAPE, keep_outside=keep)
    np.testing.assert_array_equal(positions.yx, yx if keep else yx[[0, 2]])
    assert positions.identifiers == (("0", "1", "2", "3", "4") if keep else ("0", "2"))
    assert positions.n_outside == 3
    assert any(("kept" if keep else "left out") in note for note in positions.notes)


def test_of_two_kinds_of_coordinates_the_sky_is_taken_where_there_is_a_wcs():
    both = table(x=[1.0, 2, 3], y=[4.0, 5, 6], ra=SKY.ra.deg, dec=SKY.dec.deg)
    np.testing.assert_allclose(read_catalog(both, wcs=WCS_OF_IMAGE).yx, YX, atol=1e-6)
    assert any("coordinates='pixel'" in note for note in read_catalog(both, wcs=WCS_OF_IMAGE).notes)
    pixels = [[4, 1], [5, 2], [6, 3]]
    np.testing.assert_array_equal(read_catalog(both).yx, pixels)
    np.testing.assert_array_equal(read_catalog(both, wcs=WCS_OF_IMAGE, coordinates="pixel").yx, pixels)


def test_positions_that_coincide_are_noted():
    assert any("are the same" in note for note in read_catalog([[1, 1], [2, 2], [1, 1.001]]).notes)
    assert read_catalog(YX).notes == ()


@pytest.mark.parametrize(
    ("source", "options", "error", "text"),
    [
        (np.zeros((3, 3)), {}, ShapeError, r"shape \(3, 3\): expected \(n, 2\)"),
        ([["a", "b"]], {}, ShapeError, "no array of numbers"),
        (object(), {}, ShapeError, "no array of numbers"),
        (table(u=[1, 2, 3]), {}, HeaderError, "columns are id, u"),
        (table(x=["p", "q", "r"], y=[1, 2, 3]), {}, HeaderError, "column x holds no numbers"),
        (table(x=[1, 2, 3] * u.mm, y=[1, 2, 3]), {}, UnitError, "in mm: expected pixels"),
        (table(ra=[1, 2, 3] * u.m, dec=[1, 2, 3]), {"wcs": WCS_OF_IMAGE}, UnitError, "in m: expected an angle"),
        (table(ra=["1", "2", "what"], dec=[1, 2, 3]), {"wcs": WCS_OF_IMAGE}, UnitError, "'what' in the column ra"),
        (table(ra=[1, 2, 3], dec=[1, 2, 3]), {}, ParameterError, "there is no WCS"),
        (table(ra=[1, 2, 3], dec=[1, 2, 3]), {"wcs": WCS(naxis=2)}, ParameterError, "no celestial axes"),
        (table(x=[1, 2, 3], y=[1, 2, 3]), {"coordinates": "sky"}, HeaderError, "'ra' and 'dec'"),
        (table(ra=[1, 2, 3], dec=[1, 2, 3]), {"coordinates": "pixel"}, HeaderError, "no columns of pixels"),
        (YX, {"coordinates": "galactic"}, ParameterError, "expected 'auto', 'pixel' or 'sky'"),
        (YX + 100, {"shape": SHAPE}, NoDataError, "3 outside the image"),
        (YX * np.nan, {}, NoDataError, "3 without a finite position"),
        (np.empty((0, 2)), {}, NoDataError, "0 rows"),
        (table(ra=[1, 2, 3], dec=[95, 91, -100]), {"wcs": WCS_OF_IMAGE}, NoDataError, "3 without a finite position"),
        ("https://example.org/c.fits", {}, ParameterError, "URL"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_way_out(source, options, error, text):
    with pytest.raises(error, match=text):
        read_catalog(source, **options)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("empty.fits", b"", EmptyFileError),
        ("bytes.fits", bytes(range(256)) * 20, NotFITSError),
        ("header.fits", b"SIMPLE  =                    T" + b" " * 50, NotFITSError),
        ("damaged.npz", b"PK\x03\x04" + b"\1" * 50, CorruptFileError),
        ("unnamed.txt", b"1.0 2.0\n3.0 4.0\n", AmbiguousInputError),
    ],
)
def test_hostile_files_are_refused(tmp_path, name, content, error):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error):
        read_catalog(tmp_path / name)


def test_a_missing_file_pickles_images_and_too_large_files_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        read_catalog(tmp_path / "nowhere.fits")
    np.savez(tmp_path / "objects.npz", peaks=np.array([{}, {}], dtype=object))
    with pytest.raises(CorruptFileError, match="pickle"):
        read_catalog(tmp_path / "objects.npz")
    np.savez(tmp_path / "two.npz", one=YX, other=YX)
    with pytest.raises(AmbiguousInputError, match="peaks"):
        read_catalog(tmp_path / "two.npz")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(NotFITSError):
        read_catalog(tmp_path / "image.fits")
    table(x=[1, 2, 3], y=[1, 2, 3]).write(tmp_path / "c.ecsv")
    with pytest.raises(MemoryLimitError):
        read_catalog(tmp_path / "c.ecsv", limit=100)


def test_a_structured_array_has_columns():
    rows = np.array([(3.0, 5.5), (7.25, 1.0)], dtype=[("x", "f8"), ("y", "f8")])
    np.testing.assert_array_equal(read_catalog(rows, shape=(10, 10)).yx, [[5.5, 3.0], [1.0, 7.25]])
