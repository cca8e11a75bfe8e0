"""Known spectra from files, on the bands of a cube."""

import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from vermilion.errors import MissingFileError, NotFITSError, ShapeError, UnitError
from vermilion.io.templates import read_template

BANDS = np.array([5000.0, 5010.0, 5020.0, 5030.0]) * u.AA
FLUX = np.array([1.0, 4.0, 2.0, 3.0])


def table(axis=BANDS, flux=FLUX, name="wavelength"):
    return QTable({name: axis, "flux": flux})


@pytest.fixture
def write(tmp_path):
    def write(what, name="sky.fits"):
        if isinstance(what, str):
            (tmp_path / name).write_text(what)
        else:
            what.write(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["sky.fits", "sky.ecsv"])
def test_a_table_on_the_bands_of_the_cube_is_taken_as_it_is(write, name):
    np.testing.assert_array_equal(read_template(write(table(), name), BANDS, 4), FLUX)


@pytest.mark.parametrize("head", ["", "wavelength flux\n", "# wavelength flux\n"])
def test_two_columns_of_text_are_a_table(write, head):
    path = write(head + "5000 1\n5010 4\n5020 2\n5030 3\n", "sky.txt")
    np.testing.assert_array_equal(read_template(path, BANDS, 4), FLUX)


def test_commas_are_understood(write):
    path = write("wave,flux\n5000,1\n5010,4\n5020,2\n5030,3\n", "sky.csv")
    np.testing.assert_array_equal(read_template(path, BANDS, 4), FLUX)


def test_columns_are_found_by_name_before_their_place(write):
    named = QTable({"error": np.ones(4), "flux": FLUX, "wave": BANDS})
    np.testing.assert_array_equal(read_template(write(named), BANDS, 4), FLUX)


def test_other_units_of_the_axis_are_converted(write):
    np.testing.assert_array_equal(read_template(write(table(BANDS.to(u.um))), BANDS, 4), FLUX)
    frequencies = table(BANDS.to(u.Hz, equivalencies=u.spectral()), name="frequency")
    np.testing.assert_array_equal(read_template(write(frequencies, "nu.fits"), BANDS, 4), FLUX)


def test_another_grid_is_interpolated_linearly_and_said_so(write, caplog):
    found = read_template(write(table(np.array([4990.0, 5030.0]) * u.AA, np.array([1.0, 5.0]))), BANDS, 4)
    np.testing.assert_allclose(found, [2, 3, 4, 5])  # 1 + 4 (λ - 4990) / 40
    assert [record.levelno for record in caplog.records if "interpolated linearly" in record.getMessage()] == [logging.WARNING]


def test_the_order_of_the_rows_does_not_matter(write):
    np.testing.assert_array_equal(read_template(write(table(BANDS[::-1], FLUX[::-1])), BANDS, 4), FLUX)


def test_half_a_step_may_be_missing_at_an_end_but_not_more(write):
    near = np.array([5004.0, 5026.0]) * u.AA
    np.testing.assert_allclose(read_template(write(table(near, np.array([0.0, 22.0]))), BANDS, 4), [0, 6, 16, 22])
    far = np.array([5006.0, 5030.0]) * u.AA
    with pytest.raises(ShapeError, match=r"runs from 5006 to 5030 Angstrom, the cube from 5000 to 5030: the template must cover it"):
        read_template(write(table(far, np.array([0.0, 22.0])), "far.fits"), BANDS, 4)


def test_rows_that_are_not_finite_cover_nothing(write):
    holes = table(np.array([4990, 5000, np.nan, 5040]) * u.AA, np.array([1, np.nan, 7, 6]))
    np.testing.assert_allclose(read_template(write(holes), BANDS, 4), [2, 3, 4, 5])
    empty = table(BANDS + 5 * u.AA, np.full(4, np.nan))
    with pytest.raises(ShapeError, match=r"0 rows with finite numbers"):
        read_template(write(empty, "empty.fits"), BANDS, 4)


@pytest.mark.parametrize("name", ["sky.fits", "sky.ecsv"])
def test_what_is_masked_has_no_value(write, name):
    masked = Table({"wavelength": BANDS.value, "flux": MaskedColumn(FLUX, mask=[False, True, False, False], unit="Jy")})
    np.testing.assert_array_equal(read_template(write(masked, name), BANDS, 4), [1, np.nan, 2, 3])


def test_one_column_must_have_a_row_per_band(write):
    np.testing.assert_array_equal(read_template(write(Table({"flux": FLUX})), BANDS, 4), FLUX)
    np.testing.assert_array_equal(read_template(write(table(), "two.fits"), None, 4), FLUX)
    with pytest.raises(ShapeError, match=r"has 3 rows and the cube 4 bands"):
        read_template(write(Table({"flux": FLUX[:3]}), "short.fits"), BANDS, 4)


@pytest.mark.parametrize("unit", ["kg", "blah"])
def test_an_axis_in_a_wrong_unit_is_refused(tmp_path, unit):
    columns = [fits.Column("wavelength", "D", unit=unit, array=BANDS.value), fits.Column("flux", "D", array=FLUX)]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "sky.fits")
    with pytest.raises(UnitError, match=rf"the axis in '{unit}' cannot be converted to Angstrom"):
        read_template(tmp_path / "sky.fits", BANDS, 4)


def test_a_table_without_numbers_is_refused(write):
    with pytest.raises(ShapeError, match=r"no column of numbers"):
        read_template(write(Table({"name": ["a", "b"]})), BANDS, 4)


def test_what_is_no_table_is_refused(write, tmp_path):
    with pytest.raises(MissingFileError, match=r"does not exist"):
        read_template(tmp_path / "absent.fits", BANDS, 4)
    with pytest.raises(MissingFileError, match=r"no regular file"):
        read_template(tmp_path, BANDS, 4)
    for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(range(256))):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(NotFITSError, match=r"no table: expected FITS, ECSV or text"):
            read_template(tmp_path / "bad", BANDS, 4)
    fits.writeto(tmp_path / "cube.fits", np.zeros((3, 3, 3)))
    with pytest.raises(NotFITSError, match=r"no table"):
        read_template(tmp_path / "cube.fits", BANDS, 4)
