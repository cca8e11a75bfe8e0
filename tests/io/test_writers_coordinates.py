"""Products stand where the input stood: the coordinates that are written read back as those of the cube."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from vermilion import Cube, Frame, History, Result, Status
from vermilion.errors import VermilionError
from vermilion.io import read
from vermilion.io.writers import OutputFolder, write_products
from vermilion.io.writers.coordinates import cube_cards, medium, read_wcs, sky_cards

ROOT = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
N_BANDS, SHAPE = 7, (4, 6)
LOG = 4000 * np.exp(1e-3 * np.arange(N_BANDS)) * u.AA


def coordinates(ctype, crval, cdelt, cunit, crpix=(3.5, 2.0, 1.0), **cards):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.cunit, wcs.wcs.crpix = ctype, crval, cdelt, cunit, crpix
    for name, value in cards.items():
        setattr(wcs.wcs, name, value)
    wcs.wcs.set()
    return wcs


TAN = ("RA---TAN", "DEC--TAN")
DEG = ("deg", "deg")


def sky(third, crval, cdelt, unit, **cards):
    return coordinates((*TAN, third), (63.3, 10.4, crval), (-5.6e-5, 5.6e-5, cdelt), (*DEG, unit), **cards)


def turned():
    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.cunit = [*TAN, "AWAV"], [*DEG, "m"]
    wcs.wcs.crval, wcs.wcs.crpix = [210.80250001, -54.34999, 4749.890625e-10], [3.1, 2.7, 1]
    wcs.wcs.cd = np.array([[-4e-5, 3.9e-5, 0], [3.9e-5, 4e-5, 0], [0, 0, 1.25e-10]])
    wcs.wcs.set()
    return wcs


def distorted(**more):
    header = sky("WAVE", 5e-7, 1e-10, "m").sub([1, 2]).to_header()
    header.update({"PC1_1": 0.8, "PC1_2": 0.6, "PC2_1": -0.6, "PC2_2": 0.8})
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 4, "B_ORDER": 3, "A_2_0": 2e-4, "A_1_3": 1e-6})
    header.update({"B_0_2": -3e-4, "B_1_1": 1e-4, "B_0_3": 2e-5} | more)
    return WCS(header)


def steps(start, step, unit):
    return (start + step * np.arange(N_BANDS)) * u.Unit(unit)


# name: WCS, spectral axis, CTYPE3 that is expected, and what the reader found about the medium
CASES = {
    "rotated CD matrix": (turned(), steps(4749.890625, 1.25, "Angstrom"), "AWAV", "air"),
    "micrometres": (sky("WAVE", 4.9e-6, 8e-10, "m"), steps(4.9, 8e-4, "um"), "WAVE", "vacuum"),
    "descending frequency": (sky("FREQ", 2.3e11, -2.5e5, "Hz", restfrq=2.305e11), steps(230, -2.5e-4, "GHz"), "FREQ", None),
    "radio velocity through zero": (sky("VRAD", -6e3, 2e3, "m/s", restfrq=1.4e9), steps(-6, 2, "km / s"), "VRAD", None),
    "logarithmic": (sky("WAVE-LOG", 4e-7, 4e-10, "m"), LOG, "WAVE-LOG", "vacuum"),
    "frequency steps in velocity": (sky("VOPT-F2W", 1e6, -2e3, "m/s", restfrq=1.42e9), None, "VOPT-F2W", None),
    "energies": (sky("ENER", 1.6e-10, 1.6e-11, "J"), None, "ENER", None),
    "galactic plate carree": (
        coordinates(("GLON-CAR", "GLAT-CAR", "ENER"), (83.6, 0, 1e-10), (-0.1, 0.1, 1e-11), (*DEG, "J"), crpix=(3, 60, 1)),
        None,
        "ENER",
        None,
    ),
    "latitude first": (
        coordinates(("HPLT-TAN", "HPLN-TAN", "WAVE"), (0.07, 0.13, 1.3e-7), (4.6e-5, 5.5e-4, 2.6e-12), (*DEG, "m"), crpix=(54.75, 4, 0.1)),
        steps(1300 + 0.9 * 0.026, 0.026, "Angstrom"),
        "WAVE",
        "vacuum",
    ),
    "raster in time": (
        coordinates(("TIME", "SOLARY", "WAVE"), (12, -300, 1.9e-8), (9.5, 0.33, 2.2e-12), ("s", "arcsec", "m")),
        None,
        "WAVE",
        "vacuum",
    ),
    "sky coupled with the spectrum": (
        sky("AWAV", 5e-7, 1e-10, "m", pc=[[1, 0, 0.2], [0, 1, 0], [0, 0, 1]]),
        steps(5000, 1, "Angstrom"),
        "AWAV",
        "air",
    ),
    "distorted sky": (distorted(), steps(5000, 1, "Angstrom"), "WAVE", "vacuum"),
    "medium unknown": (sky("", 5e-7, 1e-10, "m"), steps(5000, 1, "Angstrom"), "WAVE", None),
    "air by the reader": (sky("WAVE-LOG", 4e-7, 4e-10, "m"), LOG, "AWAV-LOG", "air"),
    "axis of the user": (sky("WAVE", 4e-7, 4e-10, "m"), steps(1, 0.1, "GHz"), "FREQ", None),
    "uneven": (sky("WAVE", 4e-7, 4e-10, "m"), [1, 1.1, 1.3, 1.6, 2, 2.5, 3] * u.um, "WAVE-TAB", "vacuum"),
    "float32 steps": (sky("WAVE", 4e-7, 4e-10, "m"), np.float32(4000.1 + 0.7 * np.arange(7)) * u.AA, "WAVE-TAB", "vacuum"),
    "no sky": (None, steps(400, 10, "nm"), "WAVE", None),
    "no spectrum": (sky("", 1, 1, "").sub([1, 2]), None, "", None),
    "one band": (sky("WAVE", 4e-7, 4e-10, "m"), steps(4000, 4, "Angstrom")[:1], "WAVE", "vacuum"),
}


def framed(name):
    wcs, axis, kind, stated = CASES[name]
    n_bands = N_BANDS if axis is None else len(axis)
    if axis is None and wcs.naxis > 2:
        axis = u.Quantity(wcs.wcs_pix2world(np.zeros((n_bands, 3)) + np.outer(np.arange(n_bands), [0, 0, 1]), 0)[:, 2], wcs.wcs.cunit[2])
    return Frame(shape=SHAPE, n_bands=n_bands, spectral_axis=axis, wcs=wcs), kind, stated


def pixels(n_axes, n_bands, n_y=SHAPE[0], n_x=SHAPE[1]):
    y, x, band = np.meshgrid([0, n_y - 1], [0, n_x - 1], [0, n_bands - 1], indexing="ij")
    return [axis.ravel() for axis in (x, y, band)][:n_axes]


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize("name", CASES)
def test_coordinates_read_back_to_the_last_digit(name):
    frame, kind, stated = framed(name)
    header, tables = cube_cards(frame, stated)
    header = fits.Header.fromstring(header.tostring())
    assert header["CTYPE3"] == kind
    assert bool(tables) == kind.endswith("-TAB")
    wcs = read_wcs(header, tables)
    at = pixels(3, frame.n_bands)
    found = wcs.wcs_pix2world(*at, 0)
    if frame.wcs is not None:
        expected = frame.wcs.wcs_pix2world(*at[: frame.wcs.naxis], 0)
        for ours, theirs in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=0)
        assert list(wcs.wcs.ctype)[:2] == [ctype.removesuffix("-SIP") for ctype in frame.wcs.wcs.ctype][:2]
    if frame.spectral_axis is not None:
        unit = wcs.wcs.cunit[2] if not tables else frame.spectral_axis.unit
        bands = u.Quantity(found[2], unit).to_value(frame.spectral_axis.unit)
        expected = frame.spectral_axis.value[at[2]]
        np.testing.assert_allclose(bands, expected, rtol=0, atol=1e-11 * np.abs(frame.spectral_axis.value).max())
        assert u.Unit(header["CUNIT3"]) == frame.spectral_axis.unit


def test_a_distortion_of_the_sky_stands_in_the_plane_that_may_have_it(tmp_path):
    frame, _, stated = framed("distorted sky")
    assert WCS(sky_cards(frame)).sip is not None
    rng = np.random.default_rng(0)
    cube = Cube(rng.random((frame.n_bands, *SHAPE)), frame=frame, meta={"spectral_medium": stated})
    for layout in ("flux", "primary"):
        back = read(products_of(cube, tmp_path / layout, layout))
        x, y = pixels(2, 1)
        expected = frame.wcs.all_pix2world(x, y, 0)
        np.testing.assert_allclose(back.frame.wcs.all_pix2world(x, y, 0), expected, rtol=1e-12)
        assert np.abs(np.array(expected) - frame.wcs.wcs_pix2world(x, y, 0)).max() > 1e-8
        np.testing.assert_allclose(back.frame.spectral_axis.value, frame.spectral_axis.value, rtol=1e-12)
        # the largest is g(u, v) = -3e-4 v^2 + 1e-4 u v + 2e-5 v^3 at u = -2.5, v = 2
        said = str(fits.getheader(tmp_path / layout / "model.fits", "MASK")["COMMENT"]).replace("\n", " ")
        assert "the distortion of the sky, up to 0.0015 pixels, stands in the HDU MASK only" in said


def test_rest_frequency_and_frame_of_velocities_are_repeated():
    wcs = sky("VRAD", -6e3, 2e3, "m/s", restfrq=1.420405751e9, specsys="LSRK", velosys=123.4)
    header, _ = cube_cards(Frame(shape=SHAPE, n_bands=N_BANDS, spectral_axis=steps(-6, 2, "km / s"), wcs=wcs))
    assert (header["RESTFRQ"], header["SPECSYS"], header["VELOSYS"]) == (1.420405751e9, "LSRK", 123.4)


def test_a_step_is_written_where_simple_viewers_look_for_it():
    header, _ = cube_cards(*framed("rotated CD matrix")[::2])
    assert (header["CD3_3"], header["CRVAL3"], header["CUNIT3"]) == (1.25, 4749.890625, "Angstrom")
    assert "CDELT3" not in header
    header, _ = cube_cards(*framed("micrometres")[::2])
    assert (header["CDELT3"], header["CRVAL3"]) == (8e-4, 4.9)


def test_an_unknown_medium_stays_unknown():
    header, _ = cube_cards(*framed("medium unknown")[::2])
    assert header["WAVETYPE"] == "unknown"
    for name in ("micrometres", "air by the reader", "energies"):
        assert "WAVETYPE" not in cube_cards(*framed(name)[::2])[0]


def test_maps_keep_the_order_of_their_axes():
    frame, _, _ = framed("latitude first")
    header = sky_cards(frame)
    assert [header["CTYPE1"], header["CTYPE2"]] == ["HPLT-TAN", "HPLN-TAN"]
    np.testing.assert_allclose(WCS(header).wcs_pix2world([[0, 3]], 0)[0], frame.wcs.wcs_pix2world([[0, 3, 0]], 0)[0, :2], rtol=1e-13)


def test_coordinates_that_no_header_can_hold_are_left_out_and_said(caplog):
    coupled = framed("sky coupled with the spectrum")[0]
    assert len(sky_cards(coupled)) == 0
    assert "the coordinates of the image plane cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("axis", "own", "stated", "expected"),
    [
        ("Angstrom", "AWAV", None, "AWAV"),
        ("Angstrom", "AWAV", "vacuum", "WAVE"),
        ("Angstrom", "", "air", "AWAV"),
        ("Angstrom", "", None, "WAVE"),
        ("Hz", "WAVE", "air", "FREQ"),
        ("km/s", "VOPT", None, "VOPT"),
        ("km/s", "", None, "VELO"),
        ("keV", "", None, "ENER"),
        ("1/cm", "", None, "WAVN"),
        ("", "ZOPT", None, "ZOPT"),
        ("", "", None, ""),
        ("s", "", None, ""),
    ],
)
def test_the_kind_of_a_spectral_axis_follows_its_unit_and_what_is_known(axis, own, stated, expected):
    wcs = None
    if own:
        wcs = WCS(naxis=3)
        wcs.wcs.ctype = [*TAN, own]
    assert medium(Frame(shape=SHAPE, n_bands=2, spectral_axis=[1, 2] * u.Unit(axis), wcs=wcs), stated) == expected


# -- whole products ----------------------------------------------------------------------------------------------------


def products_of(cube, folder, layout="flux", **changes):
    rng = np.random.default_rng(2)
    finite = np.abs(cube.data[np.isfinite(cube.data)])
    maps = rng.random((2, *cube.frame.shape)) * (float(np.median(finite)) or 1.0)
    result = Result(spectra=rng.random((cube.frame.n_bands, 2)), morphologies=maps, status=Status.MAX_ITER, history=History(), **changes)
    with OutputFolder(folder) as out:
        write_products(out, result, cube, options={}, argv=["vermilion"], layout=layout)
    return folder / "model.fits"


def same_place(cube, back):
    ours, theirs = cube.frame, back.frame
    assert back.data.shape == cube.data.shape
    assert theirs.unit == ours.unit
    assert theirs.band_names == ours.band_names
    assert back.meta["spectral_medium"] == cube.meta["spectral_medium"]
    assert (theirs.spectral_axis is None) == (ours.spectral_axis is None)
    if ours.spectral_axis is not None:
        assert theirs.spectral_axis.unit == ours.spectral_axis.unit
        scale = np.abs(ours.spectral_axis.value).max()
        np.testing.assert_allclose(theirs.spectral_axis.value, ours.spectral_axis.value, rtol=0, atol=1e-10 * scale)
    if ours.wcs is not None and any(list(ours.wcs.wcs.ctype)[:2]):
        found, expected = (
            frame.wcs.wcs_pix2world(*pixels(frame.wcs.naxis, frame.n_bands, *frame.shape), 0)[:2] for frame in (theirs, ours)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=0)


def cropped(frame, n_y, n_x):
    """The lower left part, which has the coordinates of the whole."""
    return replace(frame, shape=(min(n_y, frame.shape[0]), min(n_x, frame.shape[1])))


FILES = [file for room in ("layouts", "peculiar", "ifu", "radio", "solar") for file in sorted((ROOT / room).glob("*.fits*"))]
NEEDED = {"spectral_axis_1.fits": {"spectral_axis": 1}, "iris": {"data_ext": 1, "unit": "DN"}}


@pytest.mark.filterwarnings("ignore::vermilion.errors.VermilionWarning")
@pytest.mark.skipif(not FILES, reason="no test data: set VERMILION_TEST_DATA")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_product_of_a_real_file_stands_where_the_file_stands(file, tmp_path):
    options = next((options for start, options in NEEDED.items() if file.name.startswith(start)), {})
    try:
        cube = read(file, **options)
    except VermilionError as error:
        pytest.skip(f"not readable: {error.code}")
    if cube.data.size > 1e5:
        cube = replace(cube, data=cube.data[:, :6, :9], variance=None, mask=None, frame=cropped(cube.frame, 6, 9))
    layout = ("flux", "muse", "primary")[len(file.name) % 3]
    same_place(cube, read(products_of(cube, tmp_path / "out", layout)))


@pytest.mark.parametrize("layout", ["flux", "muse", "primary"])
@pytest.mark.parametrize("kind", ["names and units", "units", "row of spectra", "nothing", "spectral first"])
def test_products_of_unusual_cubes_read_back(tmp_path, layout, kind):
    rng = np.random.default_rng(0)
    shape, frame = {
        "names and units": ((3, 4, 5), {"band_names": ("g", "r i", "é"), "unit": (u.nJy, u.Jy, u.Unit("3.6 mJy"))}),
        "units": ((3, 4, 5), {"unit": (u.nJy, u.Jy, u.dimensionless_unscaled)}),
        "row of spectra": ((6, 1, 5), {"spectral_axis": np.geomspace(1, 2, 6) * u.um, "unit": u.Jy}),
        "nothing": ((3, 4, 5), {}),
        "spectral first": ((9, 4, 9), {}),  # without CTYPE its shape alone would be ambiguous
    }[kind]
    frame = Frame(shape=shape[1:], n_bands=shape[0], **frame)
    cube = Cube(rng.random(shape), np.full(shape, 0.04), frame=frame, meta={"spectral_medium": None, "header": {"INSTRUME": "MUSE"}})
    back = read(products_of(cube, tmp_path / "out", layout))
    assert back.meta["reader"] == "vermilion"
    np.testing.assert_allclose(back.variance, 0.04, rtol=1e-7)
    if kind == "names and units":
        assert back.frame.band_names == ("g", "r i", "e")  # FITS holds ASCII
        assert back.frame.unit == frame.unit
    else:
        same_place(cube, back)


def test_decisions_of_the_reader_stand_in_the_header_whatever_they_hold(tmp_path):
    decisions = [{"hdu": 1, "name": "DATA", "taken_as": "data", "why": "option --data-ext"}]
    decisions += [{"hdu": None, "name": "", "taken_as": "note", "why": "unit 'Å\n\x00' was read as \x1b[31m" + "x" * 5000}]
    decisions += [{"hdu": None, "name": "", "taken_as": "note", "why": f"window {n}"} for n in range(1000)]
    cube = Cube(np.random.default_rng(0).random((3, 4, 5)), meta={"decisions": decisions})
    for layout in ("flux", "primary"):
        header = fits.getheader(products_of(cube, tmp_path / layout, layout), 0)
        lines = list(header["HISTORY"])
        text = " ".join(lines)
        assert "read: HDU 1 DATA: data (option --data-ext)" in text
        assert "read: unit 'A ' was read as [31mxxx" in text
        assert "x" * 72 in text
        assert "x" * 501 not in text.replace(" ", "")
        assert "read: window 197" in text
        assert "read: window 198" not in text
        assert "read: and 802 more, see provenance.json" in text
        assert all(line.isprintable() and line.isascii() and len(line) <= 72 for line in lines)
