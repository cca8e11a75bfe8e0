"""The programs of the field open the products: flux, noise, mask, wavelengths and units are what they were."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable
from astropy.wcs import WCS

from vermilion import Cube, Frame, History, Result, Status
from vermilion.errors import ParameterError
from vermilion.io import read
from vermilion.io.writers import LAYOUTS, OutputFolder, write_products

CGS = u.Unit("1e-20 erg / (s cm2 AA)")
AXIS = 4750 + 1.25 * np.arange(12)
DEAD_PIXEL, MASKED = (0, 1), (4, 1, 1)
CUBES = ("model.fits", "residual.fits", "component_00.fits", "component_01.fits")


def sky():
    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN", "AWAV"], ["deg", "deg", "m"]
    wcs.wcs.crval, wcs.wcs.crpix = [63.3, 10.4, 4750e-10], [3, 2, 1]
    wcs.wcs.cd = np.diag([-5.6e-5, 5.6e-5, 1.25e-10])
    wcs.wcs.set()
    return wcs


def separation(unit=CGS, axis=AXIS * u.AA, *, noise=True, dtype="f4", header=None):
    rng = np.random.default_rng(1)
    frame = Frame(shape=(6, 5), n_bands=12, unit=unit, spectral_axis=axis, wcs=sky())
    spectra, maps = rng.random((12, 2)).astype(dtype), 100 * rng.random((2, 6, 5)).astype(dtype)
    data = np.tensordot(spectra, maps, 1).astype(dtype)
    data[:, *DEAD_PIXEL], maps[:, *DEAD_PIXEL] = np.nan, np.nan
    mask = np.zeros(data.shape, dtype=bool)
    mask[MASKED] = True
    variance = (1 + rng.random(data.shape)).astype(dtype) if noise else None
    if noise:
        variance[7, 3, 3] = 0
    cube = Cube(data, variance, mask, frame, meta={"header": header or {}, "spectral_medium": "air"})
    errors = {"spectra_error": 0.1 * spectra} if noise else {}
    return Result(spectra=spectra, morphologies=maps, status=Status.MAX_ITER, history=History(), frame=frame, **errors), cube


def written(folder, result, cube, layout, *, cubes=False):
    with OutputFolder(folder) as out:
        paths = write_products(out, result, cube, options={}, argv=["vermilion"], cubes=cubes, layout=layout)
    return {path.name: path for path in paths}


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """Layout -> file name -> path, and what was written."""
    result, cube = separation()
    folder = tmp_path_factory.mktemp("layouts")
    return {name: written(folder / name, result, cube, name, cubes=True) for name in LAYOUTS}, result, cube


def peer(module):
    """A package that is only here to be a witness; its own warnings are none of our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "names", "unit_of_noise"),
    [
        ("flux", ["PRIMARY", "FLUX", "ERR", "DQ"], CGS),
        ("muse", ["PRIMARY", "DATA", "STAT", "DQ"], CGS**2),
        ("primary", ["PRIMARY", "ERR", "DQ"], CGS),
    ],
)
def test_every_cube_has_the_names_and_units_of_its_layout(products, layout, names, unit_of_noise):
    paths, _, cube = products
    for name in CUBES:
        with fits.open(paths[layout][name]) as hdus:
            assert [hdu.name for hdu in hdus] == names
            assert hdus[0].header["LAYOUT"] == layout
            data, noise, quality = hdus[-3], hdus[-2], hdus[-1]
            assert u.Unit(noise.header["BUNIT"]) == unit_of_noise
            assert (data.header["CTYPE3"], data.header["CD3_3"], data.header["CRVAL3"]) == ("AWAV", 1.25, 4750)
            expected = cube.variance.copy() if layout == "muse" else np.sqrt(cube.variance)
            expected[7, 3, 3] = np.nan
            np.testing.assert_allclose(noise.data, expected, rtol=1e-6)
            np.testing.assert_array_equal(quality.data > 0, cube.weights == 0)
            meanings = " ".join(quality.header["COMMENT"])
            assert "DQ & 1: not used by the fit" in meanings
            assert "DQ & 32: band without weight in any pixel" in meanings


def test_the_same_cubes_whatever_the_layout(products):
    paths, _, _ = products
    for name in CUBES:
        images = [fits.getdata(paths[layout][name], 0 if layout == "primary" else 1) for layout in LAYOUTS]
        np.testing.assert_array_equal(images[0], images[1])
        np.testing.assert_array_equal(images[0], images[2])


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_fitsverify_finds_nothing_to_say(products, layout):
    for path in products[0][layout].values():
        if path.suffix == ".fits":
            report = subprocess.run(["fitsverify", path], capture_output=True, text=True, check=False).stdout
            assert "found 0 warning(s) and 0 error(s)" in report, report


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_result_gives_the_same_bytes(tmp_path, monkeypatch, layout):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    first, second = (written(tmp_path / name, *separation(), layout) for name in ("first", "second"))
    assert {name: path.read_bytes() for name, path in first.items()} == {name: path.read_bytes() for name, path in second.items()}


def test_provenance_stands_beside_the_cube_in_a_primary_hdu(products):
    header = fits.getheader(products[0]["primary"]["model.fits"], 0)
    assert header["CREATOR"].startswith("vermilion ")
    assert header["NAXIS"] == 3
    assert not {"PCOUNT", "GCOUNT", "XTENSION", "EXTNAME"} & set(header)
    assert any("argv: vermilion" in line for line in header["HISTORY"])
    assert header["COMMENT"][0] == "model A S"


def test_an_unknown_layout_is_refused(tmp_path):
    result, cube = separation()
    with pytest.raises(ParameterError, match=r"layout is 'muze': expected one of flux, muse, primary\. Did you mean 'muse'\?"):
        written(tmp_path / "out", result, cube, "muze")


def test_variances_that_float32_cannot_hold_are_written_in_float64(tmp_path):
    result, cube = separation(unit=u.Unit("erg / (s cm2 AA)"), dtype="f8")
    cube = Cube(1e-20 * cube.data, 1e-40 * cube.variance, cube.mask, cube.frame, meta=cube.meta)
    back = read(written(tmp_path / "out", result, cube, "muse")["residual.fits"])
    known = cube.weights > 0
    np.testing.assert_allclose(back.variance[known], cube.variance[known], rtol=1e-6)


def test_a_table_of_wavelengths_is_announced_to_those_whose_program_knows_none(tmp_path, caplog):
    result, cube = separation(axis=np.geomspace(1, 2, 12) * u.um + 1e-3 * np.arange(12) ** 2 * u.um)
    written(tmp_path / "flux", result, cube, "flux")
    assert caplog.text == ""
    written(tmp_path / "muse", result, cube, "muse")
    assert "needs a table of wavelengths, which mpdaf does not look up: use --layout flux" in caplog.text


# -- witnesses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [CGS, u.Unit("1e-17 erg / (s cm2 AA)"), u.mJy, u.Unit("erg / (s cm2 um)")])
def test_mpdaf_reads_flux_variance_mask_unit_and_wavelengths(tmp_path, unit):
    peer("mpdaf")
    result, cube = separation(unit)
    paths = written(tmp_path / "out", result, cube, "muse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mpdaf.obj import Cube as MpdafCube

        found = MpdafCube(str(paths["model.fits"]))
        data, variance, mask = found.data, found.var, found.mask
    np.testing.assert_array_equal(mask, cube.weights == 0)
    np.testing.assert_allclose(data.data, np.tensordot(result.spectra, result.morphologies, 1), rtol=1e-6)
    np.testing.assert_allclose(variance.compressed(), cube.variance[cube.weights > 0], rtol=1e-7)
    assert float((found.unit / unit).to("")) == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(found.wave.coord(unit=u.AA), AXIS, rtol=1e-13)
    dec, ra = found.wcs.pix2sky([[5, 4]])[0]
    np.testing.assert_allclose([ra, dec], sky().wcs_pix2world([[4, 5, 0]], 0)[0, :2], rtol=1e-12)


def test_spectral_cube_reads_the_primary_layout(products):
    spectral_cube = peer("spectral_cube")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spectral_cube.SpectralCube.read(products[0]["primary"]["model.fits"])
        data = found.unmasked_data[:].value
    np.testing.assert_allclose(data, np.tensordot(products[1].spectra, products[1].morphologies, 1), rtol=1e-6)
    assert found.unit == CGS
    assert found.spectral_axis.unit == u.AA
    np.testing.assert_allclose(found.spectral_axis.value, AXIS, rtol=1e-13)


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
@pytest.mark.parametrize(
    ("unit", "axis", "telescope"),
    [
        (CGS, AXIS * u.AA, "ESO-VLT-U4"),
        (u.mJy, np.linspace(230, 231, 12) * u.GHz, "HST"),
        (CGS / u.pix, AXIS / 10 * u.nm, "SDSS 2.5-M"),
        (u.ct, np.geomspace(1, 9, 12) * u.keV, "JWST"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_specutils_reads_spectra_with_uncertainty(tmp_path, unit, axis, suffix, telescope):
    specutils = peer("specutils")
    result, cube = separation(unit, axis, header={"TELESCOP": telescope, "INSTRUME": "MUSE"})
    path = written(tmp_path / "out", result, cube, "flux")[f"spectrum_01.{suffix}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = specutils.Spectrum.read(str(path))
    fluxes = result.spectra[:, 1].astype(float) * np.nansum(result.morphologies[1], dtype=float)
    np.testing.assert_allclose(found.flux.value, fluxes, rtol=1e-12)
    assert isinstance(found.uncertainty, StdDevUncertainty)
    np.testing.assert_allclose(found.uncertainty.array, 0.1 * fluxes, rtol=1e-6)
    assert found.flux.unit in (unit, unit * u.pix)
    np.testing.assert_allclose(found.spectral_axis.to_value(axis.unit), axis.value, rtol=1e-14)
    if suffix == "fits":
        assert fits.getheader(path, 1)["TELESCOP"] == telescope


@pytest.mark.parametrize("noise", [True, False])
def test_the_two_forms_of_a_spectrum_agree(tmp_path, noise):
    paths = written(tmp_path / "out", *separation(noise=noise), "flux")
    binary, text = QTable.read(paths["spectrum_00.fits"]), QTable.read(paths["spectrum_00.ecsv"])
    assert binary.colnames == text.colnames == ["wavelength", "flux", "uncertainty"]
    for name in binary.colnames:
        assert binary[name].unit == text[name].unit
        np.testing.assert_array_equal(binary[name].value, text[name].value)
    assert np.isnan(text["uncertainty"]).all() == (not noise)
    assert text.meta["wavetype"] == "AWAV"
    assert text.meta["creator"].startswith("vermilion ")
    assert text.meta["name"] == "component_00"


def test_tables_of_bands_have_names_and_units(tmp_path):
    result, cube = separation()
    units = (u.nJy,) * 11 + (u.Unit("3.6 mJy"),)
    frame = Frame(shape=(6, 5), n_bands=12, unit=units, band_names=tuple("ugrizyYJHKLå"), wcs=sky().sub([1, 2]))
    result = Result(spectra=result.spectra, morphologies=result.morphologies, status=Status.MAX_ITER, history=History())
    paths = written(tmp_path / "out", result, Cube(cube.data, frame=frame), "flux")
    table = QTable.read(paths["spectrum_00.ecsv"])
    assert table.colnames == ["band", "unit", "flux", "uncertainty"]
    assert list(table["band"]) == [*"ugrizyYJHKL", "a"]
    bands = QTable.read(paths["model.fits"], hdu="BANDS")
    assert [u.Unit(unit) for unit in bands["unit"]] == list(units)
