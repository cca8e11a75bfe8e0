import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from vermilion.datamodels import Cube, Frame, History, Result, Status
from vermilion.errors import OutputError, ShapeError
from vermilion.io.components import read_components
from vermilion.io.writers import DQ_BITS, OutputFolder, write_products
from vermilion.io.writers.headers import card_text
from vermilion.io.writers.provenance import to_json, to_toml

UNIT_SUM = "columns of A sum to 1 over the bands, S carries the flux and the unit"
CGS = u.Unit("1e-20 erg / (s cm2 AA)")
DEAD_BAND, DEAD_PIXEL, MASKED = 2, (0, 1), (4, 1, 1)


def muse_wcs():
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", "AWAV"]
    wcs.wcs.crval, wcs.wcs.crpix = [63.3, 10.4, 4750e-10], [3, 2, -10]
    wcs.wcs.cunit = ["deg", "deg", "m"]
    wcs.wcs.cd = np.diag([-5.6e-5, 5.6e-5, 1.25e-10])
    wcs.wcs.set()
    return wcs


def muse_frame(shape=(6, 5), n_bands=12):
    axis = 4750 * u.AA + 1.25 * u.AA * (np.arange(n_bands) + 11)
    return Frame(shape=shape, n_bands=n_bands, unit=CGS, spectral_axis=axis, wcs=muse_wcs())


def uneven_frame():
    return Frame(shape=(6, 5), n_bands=12, unit=u.Unit("MJy / sr"), spectral_axis=np.geomspace(1, 2, 12) * u.um, wcs=muse_wcs())


def band_frame():
    units = (u.nJy,) * 11 + (u.Unit("3.6 mJy"),)
    return Frame(shape=(6, 5), n_bands=12, unit=units, band_names=tuple("ugrizyYJHKLå"))


def bare_frame():
    return Frame(shape=(6, 5), n_bands=12)


FRAMES = {"MUSE": muse_frame, "uneven axis": uneven_frame, "named bands": band_frame, "no coordinates": bare_frame}


def separation(frame, n_components=3, dtype="f4", errors=True, **changes):
    """A cube with a dead band, a dead pixel and a masked voxel, and factors that describe it up to noise."""
    rng = np.random.default_rng(1)
    spectra = rng.random((frame.n_bands, n_components)).astype(dtype)
    spectra /= spectra.sum(axis=0)
    maps = 1e4 * rng.random((n_components, *frame.shape)).astype(dtype)
    data = np.tensordot(spectra, maps, 1) + rng.normal(0, 10, (frame.n_bands, *frame.shape)).astype(dtype)
    data[DEAD_BAND], data[:, *DEAD_PIXEL] = np.nan, np.nan
    mask = np.zeros(data.shape, dtype=bool)
    mask[MASKED] = True
    cube = Cube(data.astype(dtype), np.full(data.shape, 100, dtype) if errors else None, mask, frame, meta={"header": {"OBJECT": "été"}})
    spectra[DEAD_BAND], maps[:, *DEAD_PIXEL] = np.nan, np.nan
    history = History()
    for objective in (3.0, 2.0):
        history.append(objective=objective, gradient_evaluations=(1, 2), objective_evaluations=1, reads_of_Y=1, seconds=rng.random())
    known = dict.fromkeys(("spectra_error", "morphologies_error", "signed_morphologies", "signed_error"))
    if errors:
        known = {"spectra_error": 0.1 * spectra, "morphologies_error": 0.1 * maps}
        known |= {"signed_morphologies": maps - 1, "signed_error": 0.2 * maps}
    known |= {"normalization": UNIT_SUM, "notes": ("not unique: spectra differ by 0.2 rad × 3\nin 5 starts",)}
    known["provenance"] = {"seed": 314, "unique": False, "input": "cube.fits", "input_sha256": "ab" * 32}
    matrix_frame = cube.to_matrix().frame
    return Result(spectra=spectra, morphologies=maps, status=Status.CONVERGED, history=history, frame=matrix_frame, **known | changes), cube


def written(out, result, cube, **options):
    with OutputFolder(out, overwrite=True) as folder:
        paths = write_products(
            folder, result, cube, options={"components": 3, "init": None}, argv=["vermilion", "separate", "c.fits"], **options
        )
        folder.finish(result.status.value)
    return paths


@pytest.fixture(params=FRAMES)
def products(request, tmp_path):
    result, cube = separation(FRAMES[request.param](), errors=request.param != "uneven axis")
    return written(tmp_path / "out", result, cube, cubes=True), result, cube


def image(path, name="FLUX"):
    with fits.open(path) as hdus:
        return hdus[name].data.astype(float)


def test_fluxes_of_components_sum_to_the_model_and_model_plus_residual_is_the_data(products):
    paths, _, cube = products
    folder = paths[0].parent
    model, residual = image(folder / "model.fits"), image(folder / "residual.fits")
    fluxes = read_components(folder).fluxes.sum(axis=1)
    alive = np.arange(12) != DEAD_BAND
    np.testing.assert_allclose(np.nansum(model, axis=(1, 2))[alive], fluxes[alive], rtol=1e-6)
    assert np.isnan(fluxes[DEAD_BAND])
    finite = np.isfinite(cube.data)
    np.testing.assert_allclose((model + residual)[finite], cube.data[finite], rtol=3e-7, atol=3e-7 * np.nanmax(model))
    assert np.isnan(model[:, *DEAD_PIXEL]).all()
    assert np.isnan(model[DEAD_BAND]).all()


def test_component_cubes_add_up_to_the_model(products):
    folder = products[0][0].parent
    parts = sum(image(folder / f"component_{k:02d}.fits") for k in range(3))
    np.testing.assert_allclose(parts, image(folder / "model.fits"), rtol=3e-7)


def test_components_read_back_as_they_were(products):
    paths, result, cube = products
    found = read_components(paths[0])
    assert found.names == result.names
    assert found.n_components == 3
    assert found.maps.dtype == np.float32
    np.testing.assert_array_equal(found.spectra, result.spectra)
    np.testing.assert_array_equal(found.maps, result.morphologies)
    np.testing.assert_array_equal(found.fluxes, result.fluxes)
    for ours, theirs in (("spectra_error", "spectra_error"), ("maps_error", "morphologies_error"), ("signed_maps", "signed_morphologies")):
        expected = getattr(result, theirs)
        if expected is None:
            assert getattr(found, ours) is None
        else:
            np.testing.assert_array_equal(getattr(found, ours), expected)
    if cube.frame.spectral_axis is None:
        assert found.wavelength is None
    else:
        assert (found.wavelength == cube.frame.spectral_axis).all()


def test_every_file_carries_checksums_and_provenance(products):
    for path in products[0]:
        if path.suffix != ".fits":
            continue
        with fits.open(path, checksum=True) as hdus:
            assert all({"CHECKSUM", "DATASUM"} <= set(hdu.header) for hdu in hdus)
            header = hdus[0].header
            cards = {key: header[key] for key in ("ORIGIN", "STATUS", "UNIQUE", "OBJECT", "NORMALIZ")}
            history = " ".join(header["HISTORY"])
        assert cards == {"ORIGIN": "vermilion", "STATUS": "CONVERGED", "UNIQUE": "F", "OBJECT": "ete", "NORMALIZ": UNIT_SUM.split(",")[0]}
        assert "argv: vermilion separate c.fits" in history
        assert "seed: 314" in history
        assert f"input SHA-256: {'ab' * 32}" in history
        assert "note: not unique: spectra differ by 0.2 rad x 3 in 5 starts" in history


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
def test_fitsverify_finds_nothing_to_say(products):
    for path in products[0]:
        if path.suffix == ".fits":
            report = subprocess.run(["fitsverify", path], capture_output=True, text=True, check=False).stdout
            assert "found 0 warning(s) and 0 error(s)" in report, report


def test_products_stand_where_the_cube_stood(tmp_path):
    result, cube = separation(muse_frame())
    written(tmp_path / "out", result, cube)
    at = np.array([0.0, 4.0]), np.array([5.0, 0.0]), np.array([0.0, 11.0])
    expected = muse_wcs().wcs_pix2world(*at, 0)
    for name in ("model.fits", "residual.fits"):
        with fits.open(tmp_path / "out" / name) as hdus:
            for hdu in hdus[1:]:
                assert hdu.header["CUNIT3"] == "Angstrom"
                np.testing.assert_allclose(WCS(hdu.header).wcs_pix2world(*at, 0), expected, rtol=1e-12)
            assert u.Unit(hdus["FLUX"].header["BUNIT"]) == CGS
    with fits.open(tmp_path / "out" / "components.fits") as hdus:
        assert u.Unit(hdus["MAPS"].header["BUNIT"]) == CGS
        for name in ("MAPS", "MAPS_ERR", "MAPS_SIGNED", "MAPS_SIGNED_ERR", "MASK"):
            np.testing.assert_allclose(WCS(hdus[name].header).celestial.wcs_pix2world(*at[:2], 0), expected[:2], rtol=1e-12)
        assert hdus["SPECTRA"].header["WAVETYPE"] == "AWAV"


def test_an_uneven_spectral_axis_is_looked_up_in_a_table(tmp_path):
    frame = uneven_frame()
    result, cube = separation(frame, errors=False)
    written(tmp_path / "out", result, cube)
    with fits.open(tmp_path / "out" / "model.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "FLUX", "DQ", "WCS-TABLE"]
        wcs = WCS(hdus["FLUX"].header, fobj=hdus)
        bands = wcs.wcs_pix2world(np.zeros(12), np.zeros(12), np.arange(12), 0)[2]
        # The unit of the table is that of the axis; the WCS may put its own label on it.
        assert hdus["WCS-TABLE"].columns["wavelength"].unit == "um"
    np.testing.assert_allclose(bands, frame.spectral_axis.to_value("um"), rtol=1e-12)


def test_units_follow_the_gauge(tmp_path):
    for normalization, shape_unit, map_unit in ((UNIT_SUM, None, CGS), ("as solved: the constraints fix the scale", CGS, None)):
        result, cube = separation(muse_frame(), normalization=normalization)
        written(tmp_path / "out", result, cube)
        table = QTable.read(tmp_path / "out" / "components.fits", hdu="SPECTRA")
        assert table["wavelength"].unit == u.AA
        assert getattr(table["shape_0"], "unit", None) == shape_unit
        assert table["flux_2"].unit == CGS * u.pix
        with fits.open(tmp_path / "out" / "components.fits") as hdus:
            assert hdus["MAPS"].header.get("BUNIT") == (None if map_unit is None else map_unit.to_string("fits"))


@pytest.mark.parametrize(("unit", "expected"), [(CGS, CGS), (CGS / u.pix, CGS), (u.Unit("MJy / sr"), u.Unit("MJy / sr"))])
def test_a_spectrum_is_a_table_of_wavelength_flux_and_uncertainty(tmp_path, unit, expected):
    frame = muse_frame()
    result, cube = separation(Frame(shape=frame.shape, n_bands=12, unit=unit, spectral_axis=frame.spectral_axis, wcs=frame.wcs))
    written(tmp_path / "out", result, cube)
    table = QTable.read(tmp_path / "out" / "spectrum_01.fits")
    assert table.colnames == ["wavelength", "flux", "uncertainty"]
    assert table["flux"].unit == table["uncertainty"].unit == expected
    alive = np.arange(12) != DEAD_BAND
    np.testing.assert_allclose(table["flux"].value[alive], result.fluxes[alive, 1], rtol=1e-12)
    np.testing.assert_allclose(table["uncertainty"].value[alive], 0.1 * result.fluxes[alive, 1], rtol=1e-6)


def test_data_quality_says_why_a_datum_was_not_used(tmp_path):
    result, cube = separation(muse_frame())
    cube.variance[7, 3, 3] = 0
    written(tmp_path / "out", result, cube)
    quality = image(tmp_path / "out" / "residual.fits", "DQ").astype(int)
    assert quality[5, 4, 4] == 0
    assert quality[MASKED] == 1 + 2
    assert quality[5, *DEAD_PIXEL] == 1 + 4 + 16
    assert quality[7, 3, 3] == 1 + 8
    assert quality[DEAD_BAND, 4, 4] == 1 + 4 + 32
    np.testing.assert_array_equal(quality > 0, cube.weights == 0)
    assert sum(DQ_BITS) == 63
    noise = image(tmp_path / "out" / "residual.fits", "ERR")
    assert noise[5, 4, 4] == 10
    assert np.isnan(noise[7, 3, 3])
    np.testing.assert_array_equal(np.argwhere(image(tmp_path / "out" / "components.fits", "MASK")), [DEAD_PIXEL])


def test_history_holds_the_course_of_the_fit_but_no_times(tmp_path):
    result, cube = separation(muse_frame())
    written(tmp_path / "out", result, cube)
    table = QTable.read(tmp_path / "out" / "components.fits", hdu="HISTORY")
    assert table.colnames == [
        "iteration",
        "objective",
        "gradient_evaluations_A",
        "gradient_evaluations_S",
        "objective_evaluations",
        "reads_of_Y",
    ]
    assert [list(row) for row in table.iterrows()] == [[1, 3, 1, 2, 1, 1], [2, 2, 1, 2, 1, 1]]


def test_the_same_result_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    first, second = (written(tmp_path / name, *separation(muse_frame()), cubes=True) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert (tmp_path / "first" / "manifest.sha256").read_bytes() == (tmp_path / "second" / "manifest.sha256").read_bytes()
    assert fits.getheader(first[0])["DATE"] == "2001-09-09T01:46:40"


def test_a_date_that_is_none_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    written(tmp_path / "out", *separation(muse_frame()))
    assert "expected seconds since 1970" in caplog.text


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_data_that_float32_cannot_hold_are_written_in_float64(tmp_path, scale):
    result, cube = separation(muse_frame(), dtype="f8")
    cube = Cube(cube.data * scale, cube.variance * scale**2, cube.mask, cube.frame)
    result = replace(result, morphologies=result.morphologies * scale)
    written(tmp_path / "out", result, cube)
    total = image(tmp_path / "out" / "model.fits") + image(tmp_path / "out" / "residual.fits")
    finite = np.isfinite(cube.data)
    np.testing.assert_allclose(total[finite], cube.data[finite], rtol=1e-12)


def test_one_band_one_pixel_and_one_component_are_enough(tmp_path):
    frame = Frame(shape=(1, 1), n_bands=1, spectral_axis=[5000] * u.AA)
    cube = Cube(np.ones((1, 1, 1), "f4"), frame=frame)
    result = Result(spectra=np.ones((1, 1)), morphologies=np.ones((1, 1, 1)), status=Status.MAX_ITER, history=History())
    written(tmp_path / "out", result, cube)
    assert read_components(tmp_path / "out").fluxes == 1
    assert image(tmp_path / "out" / "residual.fits") == 0


def test_hostile_headers_become_harmless_cards(tmp_path):
    hostile = {
        "OBJECT": "<script>\n'" + "x" * 300,
        "DATE-OBS": "garbage",
        "EXPTIME": float("nan"),
        "lower": 1,
        "TOO_LONG_KEY": 2,
        "RA": 12.5,
    }
    result, cube = separation(muse_frame(), names=("../../etc/x", "a\0b", "'" * 90), provenance={"unique": None, "input": "\udcff.fits"})
    paths = written(tmp_path / "out", result, Cube(cube.data, cube.variance, cube.mask, cube.frame, meta={"header": hostile}))
    header = fits.getheader(paths[0])
    assert header["OBJECT"] == "<script> `" + "x" * 55
    assert header["RA"] == 12.5
    assert not {"DATE-OBS", "EXPTIME", "LOWER", "TOO_LONG_KEY"} & set(header)
    assert header["UNIQUE"] == "untested"
    assert read_components(paths[0]).names[:2] == ("../../etc/x", "a b")
    assert sorted(path.name for path in paths) == sorted(set(os.listdir(tmp_path / "out")) - {"DONE", "manifest.sha256"})
    if shutil.which("fitsverify"):
        report = subprocess.run(["fitsverify", paths[0]], capture_output=True, text=True, check=False).stdout
        assert "found 0 warning(s) and 0 error(s)" in report, report


def test_card_text_is_printable_ascii():
    assert card_text("3σ × 2 Å ± 1\n\0“naïve”") == '3sigma x 2 A +/- 1 "naive"'


def test_factors_of_another_cube_are_refused(tmp_path):
    result, cube = separation(muse_frame())
    flat = replace(result, morphologies=result.morphologies.reshape(3, 30))
    with OutputFolder(tmp_path / "out") as folder:
        with pytest.raises(ShapeError, match=r"morphologies has shape \(3, 30\), expected maps \(3, 6, 5\)"):
            write_products(folder, flat, cube, options={}, argv=[])
        with pytest.raises(ShapeError, match=r"the cube has shape \(11, 6, 5\), the result \(12, 6, 5\)"):
            write_products(folder, result, Cube(cube.data[1:]), options={}, argv=[])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [(28, "No space left on device"), ("Not enough space on disk: requested 2880, available 0.",)])
def test_a_full_disk_keeps_the_earlier_products(tmp_path, monkeypatch, words):
    result, cube = separation(muse_frame())
    paths = written(tmp_path / "out", result, cube)
    earlier = {path: path.read_bytes() for path in paths}

    def full(self, *arguments, **options):
        Path(arguments[0]).write_bytes(b"SIMPLE  =")
        raise OSError(*words)

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(OutputError, match=r"components\.fits was not written: No space left on device; free some space"):
        written(tmp_path / "out", result, cube)
    assert {path: path.read_bytes() for path in paths} == earlier
    assert not (tmp_path / "out" / "DONE").exists()
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_toml_reads_back_as_it_was():
    options = {
        "cube": Path('a "b"\\c.fits'),
        "input": "tab\t newline\n delete\x7f bell\x07 \U0001f30c",
        "components": np.int64(4),
        "tol": 1e-5,
        "large": 1e300,
        "limit": float("inf"),
        "unset": None,
        "cubes": False,
        "fix": ["a", 2.5, [1, 2]],
        "needs quotes": 1,
        "maps": {"prox": "NonNegative()", "deeper": {"x": 1}, "list": [{"a": 1}]},
        "last": "after a table",
    }
    found = tomllib.loads(to_toml(options).decode())
    expected = {**options, "cube": 'a "b"\\c.fits', "components": 4}
    del expected["unset"]
    assert found == expected


def test_provenance_says_how_to_do_it_again(tmp_path):
    result, cube = separation(muse_frame())
    written(tmp_path / "out", result, cube)
    text = (tmp_path / "out" / "provenance.json").read_text()
    found = json.loads(text)
    assert list(found) == sorted(found)
    assert found["options"] == {"components": 3, "init": None}
    assert (found["seed"], found["input"], found["unique"], found["normalization"]) == (314, "cube.fits", "F", UNIT_SUM)
    assert found["packages"]["numpy"] == np.__version__
    assert tomllib.loads((tmp_path / "out" / "run.toml").read_text()) == {"components": 3}


def test_json_holds_no_addresses_and_no_numbers_that_are_none():
    assert json.loads(to_json({"a": np.float32("nan"), "b": {3: object()}, "c": Status.CONVERGED, "d": {2, 1}})) == {
        "a": "nan",
        "b": {"3": "<object object>"},
        "c": "CONVERGED",
        "d": [1, 2],
    }


# Files are written in slow pieces, so that most kills come in the middle of one.
KILLS = """
import hashlib, io, json, os, random, runpy, signal, sys, time
from pathlib import Path
from vermilion.io.writers import headers
out, tests = Path(sys.argv[1]), runpy.run_path(sys.argv[2])
result, cube = tests["separation"](tests["muse_frame"]())
at_once = headers.write_hdus
random.seed(5)

def in_pieces(hdus, path):
    whole = io.BytesIO()
    at_once(hdus, whole)
    with open(path, "wb") as stream:
        for start in range(0, whole.tell(), 8000):
            stream.write(whole.getvalue()[start : start + 8000])
            stream.flush()
            time.sleep(0.01)

headers.write_hdus = in_pieces

def digests():
    visible = [path for path in out.iterdir() if not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in visible}

start = time.perf_counter()
tests["written"](out, result, cube)
once, reference, seen = time.perf_counter() - start, digests(), []
for _ in range(8):
    child = os.fork()
    if child == 0:
        while True:
            tests["written"](out, result, cube)
    time.sleep(random.uniform(0.2, 2) * once)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = digests()
    partial = [name for name, digest in found.items() if reference.get(name) != digest]
    halves = [path.name for path in out.iterdir() if path.name.endswith(".tmp")]
    seen.append({"partial": partial, "done": "DONE" in found, "missing": sorted(set(reference) - set(found)), "halves": halves})
print(json.dumps(seen))
"""


def test_a_kill_at_any_time_leaves_no_partial_product(tmp_path):
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1000000000"}
    command = [sys.executable, "-c", KILLS, tmp_path / "out", __file__]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert all(not state["partial"] for state in seen), seen  # bit for bit the products of a whole run
    assert all(not state["missing"] for state in seen if state["done"]), seen
    assert any(state["halves"] for state in seen), "no kill came in the middle of a file: the test shows nothing"
    result, cube = separation(muse_frame())
    written(tmp_path / "out", result, cube)  # the lock died with its owner
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]
