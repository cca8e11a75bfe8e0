"""Counts cubes: energies from the table of bounds, counts without a made-up sigma, exposure and background."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from vermilion.errors import AmbiguousInputError, HeaderError, NoDataError, ShapeError, UnitError
from vermilion.io import read

from .helpers import whys

EDGES = np.geomspace(1e5, 1e8, 6)  # keV
COUNTS = np.random.default_rng(0).poisson(np.geomspace(20, 0.1, 5)[:, None, None], (5, 6, 7))
SKY = (
    {"CTYPE1": "GLON-CAR", "CRVAL1": 83.6, "CRPIX1": 4.0, "CDELT1": -0.2, "CUNIT1": "deg"}
    | {"CTYPE2": "GLAT-CAR", "CRVAL2": 0.0, "CRPIX2": 10.0, "CDELT2": 0.2, "CUNIT2": "deg"}
    | {"CTYPE3": "Energy", "CRVAL3": 100.0, "CRPIX3": 1.0, "CDELT3": 30.0, "CUNIT3": "MeV"}
)


def bounds(edges=EDGES, unit="keV", name="EBOUNDS", channels=None):
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, len(edges)) if channels is None else channels),
        fits.Column("E_MIN", "D", unit=unit, array=edges[:-1]),
        fits.Column("E_MAX", "D", unit=unit, array=edges[1:]),
    ]
    return fits.BinTableHDU.from_columns(columns, name=name)


@pytest.fixture
def save(tmp_path):
    def write(data, *hdus, name="ccube.fits", **cards):
        header = fits.Header({**SKY, **cards})
        fits.HDUList([fits.PrimaryHDU(np.asarray(data), header), *hdus]).writeto(tmp_path / name)
        return tmp_path / name

    return write


# ---------------------------------------------------------------- counts and energies


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "f4", "f8"])
def test_whole_numbers_beside_energy_bounds_are_counts(save, dtype):
    cube = read(save(COUNTS.astype(dtype), bounds()))
    assert cube.meta["reader"] == "counts"
    np.testing.assert_array_equal(cube.data, COUNTS)
    assert cube.frame.unit == u.ct
    assert cube.variance is None
    assert cube.meta["likelihood"] == "poisson"
    assert "no sigma is made up" in whys(cube)
    assert "dimensionless" not in whys(cube)


@pytest.mark.parametrize("unit", ["keV", "MeV", "GeV", "eV"])
def test_the_energies_are_geometric_means_in_the_unit_of_the_table(save, unit):
    cube = read(save(COUNTS, bounds(unit=unit)))
    assert cube.frame.spectral_axis.unit == u.Unit(unit)
    np.testing.assert_allclose(cube.frame.spectral_axis.value, np.sqrt(EDGES[:-1] * EDGES[1:]))
    np.testing.assert_allclose(cube.meta["band_edges"].to_value(unit), np.stack([EDGES[:-1], EDGES[1:]], axis=1))


@pytest.mark.parametrize("edges", [EDGES, np.array([1.0, 2, 5, 6, 20, 21])], ids=["log", "uneven"])
def test_the_world_coordinates_agree_with_the_table_or_have_no_energy(save, edges):
    path = save(COUNTS, bounds(edges))
    cube = read(path)
    sky = WCS(fits.getheader(path)).celestial
    for band in (0, 4):
        lon, lat, energy = cube.frame.wcs.wcs_pix2world([[2, 3, band]], 0)[0]
        np.testing.assert_allclose((lon, lat), sky.wcs_pix2world([[2, 3]], 0)[0], rtol=1e-12)
        if edges is EDGES:
            expected = cube.frame.spectral_axis[band].to_value("J")
            assert u.Quantity(energy, cube.frame.wcs.wcs.cunit[2]).to_value("J") == pytest.approx(expected, rel=1e-9)
        else:
            assert cube.frame.wcs.wcs.ctype[2] == ""


def test_rows_in_another_order_are_sorted_by_channel(save):
    table = bounds()
    table.data = table.data[::-1]
    np.testing.assert_allclose(read(save(COUNTS, table)).frame.spectral_axis.value, np.sqrt(EDGES[:-1] * EDGES[1:]))


def test_bands_are_selected_by_the_energies_of_the_table(save):
    cube = read(save(COUNTS, bounds()), wave="0.3:20 GeV")
    assert cube.data.shape[0] == 3
    np.testing.assert_array_equal(cube.data, COUNTS[1:4])


def test_the_image_names_its_table(save):
    other = bounds(np.arange(1.0, 7.0), name="OTHER_BANDS")
    path = save(COUNTS, other, bounds(name="COUNTS_BANDS"), BANDSHDU="COUNTS_BANDS")
    np.testing.assert_allclose(read(path).frame.spectral_axis[0].value, np.sqrt(EDGES[0] * EDGES[1]))
    with pytest.raises(AmbiguousInputError, match="2 tables hold energy bounds"):
        read(save(COUNTS, other.copy(), bounds(name="COUNTS_BANDS"), name="two.fits"))


@pytest.mark.parametrize(
    ("table", "error", "text"),
    [
        (bounds(EDGES[:-1]), HeaderError, "has 4 rows, the cube has 5 bands"),
        (bounds(EDGES[::-1]), HeaderError, "not 0 < E_MIN < E_MAX"),
        (bounds(EDGES * np.nan), HeaderError, "not 0 < E_MIN < E_MAX"),
        (bounds(unit=None), UnitError, "column E_MIN"),
        (bounds(unit="Jy"), UnitError, "expected an energy such as keV"),
    ],
)
def test_bounds_that_do_not_fit_are_refused(save, table, error, text):
    with pytest.raises(error, match=text):
        read(save(COUNTS, table))


@pytest.mark.parametrize(
    ("data", "cards", "text"),
    [
        (COUNTS - 3.5, {}, "not whole numbers"),
        (COUNTS - 3, {}, "negative values"),
        (COUNTS, {"BUNIT": "ct/s"}, "not counts"),
    ],
)
def test_what_is_no_count_gets_no_poisson_likelihood(save, data, cards, text):
    cube = read(save(data, bounds(), **cards))
    assert "likelihood" not in cube.meta
    assert cube.frame.unit != u.ct
    assert text in whys(cube)


def test_a_spectrum_file_with_bounds_but_no_cube_is_not_taken(save):
    with pytest.raises(ShapeError, match="no image with three axes"):
        read(save(COUNTS[0], bounds()))


# ---------------------------------------------------------------- exposure and background


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 6, 7), (6, 7), (5,)], ids=str)
def test_exposure_and_background_come_from_files_that_fit(save, shape):
    values = np.random.default_rng(1).uniform(1, 2, shape)
    exposure, background = save(values, name="exp.fits"), save(2 * values, name="bkg.fits")
    cube = read(save(COUNTS, bounds()), exposure_file=exposure, background_file=background)
    expected = np.broadcast_to(values.reshape(5, 1, 1) if shape == (5,) else values, COUNTS.shape)
    np.testing.assert_allclose(np.broadcast_to(cube.meta["exposure"], COUNTS.shape), expected)
    np.testing.assert_allclose(np.broadcast_to(cube.meta["background"], COUNTS.shape), 2 * expected)
    assert cube.mask is None


def energies(edges=EDGES, unit="keV"):
    return fits.BinTableHDU.from_columns([fits.Column("Energy", "D", unit=unit, array=edges)], name="ENERGIES")


def test_exposure_at_the_edges_of_bands_is_interpolated_to_their_middle(save):
    """A power law in energy is interpolated exactly."""
    law = EDGES**0.7
    planes = np.broadcast_to(law[:, None, None], (6, 6, 7))
    cube = read(save(COUNTS, bounds()), exposure_file=save(planes, energies(EDGES / 1e3, "MeV"), name="exp.fits"))
    np.testing.assert_allclose(cube.meta["exposure"][:, 2, 2], np.sqrt(EDGES[:-1] * EDGES[1:]) ** 0.7)
    assert "interpolated" in whys(cube)


def test_exposure_at_other_energies_is_refused(save):
    planes = np.ones((6, 6, 7)) + np.arange(6)[:, None, None]
    with pytest.raises(HeaderError, match="are not the edges of the bands"):
        read(save(COUNTS, bounds()), exposure_file=save(planes, energies(2 * EDGES), name="exp.fits"))
    with pytest.raises(HeaderError, match="expected ENERGIES"):
        read(save(COUNTS, bounds(), name="b.fits"), exposure_file=save(planes, name="exp2.fits"))


def test_what_was_not_exposed_is_masked(save):
    exposure = np.ones((6, 7))
    exposure[0], exposure[1, 1] = 0, np.nan
    cube = read(save(COUNTS, bounds()), exposure_file=save(exposure, name="exp.fits"))
    assert np.array_equal(cube.mask, np.broadcast_to(~(exposure > 0), COUNTS.shape))
    with pytest.raises(NoDataError, match="nothing was observed"):
        read(save(COUNTS, bounds(), name="b.fits"), exposure_file=save(np.zeros((6, 7)), name="none.fits"))


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_an_impossible_background_is_refused(save, value):
    background = np.ones((6, 7))
    background[2, 2] = value
    with pytest.raises(HeaderError, match="1 values are negative or not finite"):
        read(save(COUNTS, bounds()), background_file=save(background, name="bkg.fits"))


def test_an_exposure_of_another_shape_is_refused(save):
    with pytest.raises(ShapeError, match=r"--exposure-file .*no image fits the cube of 5 x 6 x 7"):
        read(save(COUNTS, bounds()), exposure_file=save(np.ones((7, 6)), name="exp.fits"))
