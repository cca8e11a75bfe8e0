"""The products of a deblended scene: read back they are the scene again, and they agree with each other and with the data."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS

from vermilion import read
from vermilion.datamodels import Cube
from vermilion.errors import CorruptFileError, HeaderError, MissingFileError, ShapeError, VermilionError
from vermilion.io.scene import read_scene
from vermilion.io.writers import OutputFolder
from vermilion.io.writers.scene import write_scene
from vermilion.io.writers.scene_catalog import catalog_hdus

from .scenes import BANDS, NOISE, scene, sky

PRODUCTS = ["catalog.fits", "sources.fits", "model.fits", "residual.fits", "catalog.ecsv", "run.toml", "provenance.json"]


def written(out, result, cube, **options):
    with OutputFolder(out, overwrite=True) as folder:
        paths = write_scene(folder, result, cube, options={"sky": False}, argv=["vermilion", "deblend", "g.fits"], **options)
        folder.finish(result.status.value)
    return paths


@pytest.fixture(scope="module", params=["sky", "pixels"])
def products(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("products") / "out"
    result, cube = scene(sky() if request.param == "sky" else None)
    written(out, result, cube, shares=0.5 * result.models)
    return out, result, cube


def test_what_is_read_back_is_what_was_written(products):
    folder, result, _ = products
    found = read_scene(folder)
    for name in ("fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors", "flux_history", "flux_iterations"):
        np.testing.assert_array_equal(getattr(found, name), getattr(result, name))
        assert getattr(found, name).dtype.isnative
    for name in ("chi2", "n_data", "bands", "status", "notes", "provenance"):
        assert getattr(found, name) == getattr(result, name)
    np.testing.assert_allclose(found.models, result.models, rtol=0, atol=2e-12 * result.models.max())
    for ours, theirs in zip(found.sources, result.sources, strict=True):
        for name in ("kind", "center", "box", "parameters", "probabilities"):
            assert getattr(ours, name) == getattr(theirs, name)
        np.testing.assert_array_equal(ours.spectra, theirs.spectra)
        np.testing.assert_array_equal(ours.morphologies, theirs.morphologies)
    assert found.history.blocks == result.history.blocks == ("centers", "spectra and shapes")
    np.testing.assert_array_equal(found.history.objective, result.history.objective)
    np.testing.assert_array_equal(found.history.gradient_evaluations, result.history.gradient_evaluations)
    assert found.catalog.colnames == result.catalog.colnames
    assert (found.catalog["flux_r"] == result.catalog["flux_r"]).all()
    assert (found.frame.unit, found.frame.band_names) == (u.nJy, BANDS)


def test_what_was_read_back_can_be_written_again(products, tmp_path):
    folder, _, cube = products
    written(tmp_path / "again", read_scene(folder), cube)
    first, second = read_scene(folder), read_scene(tmp_path / "again")
    np.testing.assert_array_equal(first.models, second.models)
    np.testing.assert_array_equal(first.fluxes, second.fluxes)


def test_model_and_residual_add_up_to_the_data_and_shares_lie_beside_images(products):
    folder, result, cube = products
    model, residual = (fits.getdata(folder / name, "FLUX") for name in ("model.fits", "residual.fits"))
    finite = np.isfinite(cube.data)
    np.testing.assert_allclose((model + residual)[finite], cube.data[finite], rtol=3e-6, atol=3e-6 * NOISE)
    np.testing.assert_allclose(sum(fits.getdata(folder / f"source_{k:02d}.fits", "FLUX") for k in range(3)), model, rtol=1e-6)
    for k, source in enumerate(result.sources):
        with fits.open(folder / f"source_{k:02d}.fits") as hdus:
            np.testing.assert_allclose(hdus["SHARE"].data, 0.5 * hdus["FLUX"].data, rtol=1e-6, atol=1e-30)
            assert hdus[0].header["KIND"] == source.kind


def test_quality_and_noise_are_those_of_the_data(products):
    folder, _, cube = products
    with fits.open(folder / "residual.fits") as hdus:
        quality, noise = hdus["DQ"].data, hdus["ERR"].data
    np.testing.assert_array_equal(quality > 0, cube.weights == 0)
    assert (quality[1, 2, 3], quality[2, 5, 5], quality[0, 0, 1]) == (1 + 4, 1 + 2, 1 + 8 + 16)
    assert noise[0, 4, 4] == NOISE
    assert np.isnan(noise[0, 0, 1])


def test_catalogs_agree_in_values_and_units(products):
    folder, result, _ = products
    text, table = QTable.read(folder / "catalog.ecsv"), QTable.read(folder / "catalog.fits", hdu="CATALOG")
    assert text.colnames == table.colnames == result.catalog.colnames
    for name in text.colnames:
        assert (text[name] == table[name]).all()
    assert table["flux_i"].unit == u.nJy
    described = "flux in r under the constraints so that σ holds so that σ holds so that σ holds"
    assert text["flux_r"].info.description.strip() == described
    with fits.open(folder / "catalog.fits") as hdus:
        header = hdus["CATALOG"].header
    assert header[f"TCOMM{text.colnames.index('flux_r') + 1}"] == described.replace("σ", "sigma")
    assert table["flux_r"].info.description == described.replace("σ", "sigma")
    assert table.meta["PIXELS"] == result.catalog.meta["PIXELS"]
    assert "REST1: nan" in list(header["COMMENT"])
    assert text.meta["input"] == "g.fits, r.fits"


def test_boxes_lie_on_the_sky_where_the_sources_are(tmp_path):
    result, cube = scene(sky())
    written(tmp_path / "out", result, cube)
    with fits.open(tmp_path / "out" / "sources.fits") as hdus:
        for k, source in enumerate(result.sources):
            expected = sky().pixel_to_world_values(*source.center[::-1])
            for hdu in (hdus["MORPH", k + 1], hdus["MODEL", k + 1]):
                y, x = source.center[0] - hdu.header["BOX_Y"], source.center[1] - hdu.header["BOX_X"]
                np.testing.assert_allclose(WCS(hdu.header).celestial.pixel_to_world_values(x, y), expected, rtol=1e-12)
    with fits.open(tmp_path / "out" / "model.fits") as hdus:
        corner = WCS(hdus["FLUX"].header).celestial.pixel_to_world_values(29, 23)
    np.testing.assert_allclose(corner, sky().pixel_to_world_values(29, 23), rtol=1e-12)


def test_every_file_carries_checksums_and_provenance(products):
    for path in products[0].glob("*.fits"):
        with fits.open(path, checksum=True) as hdus:  # warnings are errors
            assert all({"CHECKSUM", "DATASUM"} <= set(hdu.header) for hdu in hdus)
            header, history = hdus[0].header, " ".join(hdus[0].header["HISTORY"])
        assert (header["ORIGIN"], header["STATUS"], header["OBJECT"]) == ("vermilion", "CONVERGED", "ete")
        assert "argv: vermilion deblend g.fits" in history
        assert "seed: 7" in history
        assert "note: two sources are 0.3 x the PSF apart" in history


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
@pytest.mark.parametrize("bands", [BANDS, ("y", "Y", "WFC3/F160W ä")], ids=str)
def test_fitsverify_finds_nothing_to_say(tmp_path, bands):
    result, cube = scene(sky(), bands=bands)
    written(tmp_path / "out", result, cube, shares=result.models)
    for path in (tmp_path / "out").glob("*.fits"):
        report = subprocess.run(["fitsverify", path], capture_output=True, text=True, check=False).stdout
        assert "found 0 warning(s) and 0 error(s)" in report, report


def test_the_same_result_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    first, second = (written(tmp_path / name, *scene(sky())) for name in ("first", "second"))
    assert [path.name for path in first] == PRODUCTS
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_model_is_a_cube_that_can_be_read(products):
    folder, result, cube = products
    again = read(folder / "model.fits")
    assert again.frame.band_names == BANDS
    np.testing.assert_array_equal(again.weights > 0, cube.weights > 0)
    np.testing.assert_allclose(again.data, result.model, rtol=1e-6)


def test_without_noise_in_the_input_there_is_none_in_the_products(tmp_path):
    result, cube = scene()
    written(tmp_path / "out", result, Cube(cube.data, None, cube.mask, cube.frame))
    with fits.open(tmp_path / "out" / "model.fits") as hdus:
        assert "ERR" not in hdus
    assert read_scene(tmp_path / "out").n_data == result.n_data


def test_one_band_and_an_image_of_nothing_come_back(tmp_path):
    result, cube = scene()
    frame = replace(cube.frame, n_bands=1, band_names=("g",))
    sources = tuple(replace(source, spectra=source.spectra[:1] * (k > 0)) for k, source in enumerate(result.sources))
    tables = {name: getattr(result, name)[:, :1] for name in ("fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors")}
    models = result.models[:, :1].copy()
    models[0] = 0
    result = replace(
        result,
        sources=sources,
        models=models,
        bands=("g",),
        frame=frame,
        flux_history=np.empty((0, 3)),
        flux_iterations=np.empty(0, int),
        **tables,
    )
    written(tmp_path / "out", result, Cube(cube.data[:1], cube.variance[:1], None, frame))
    found = read_scene(tmp_path / "out")
    assert found.fluxes.shape == (3, 1)
    assert found.flux_history.shape == (0, 3)
    assert not found.models[0].any()
    np.testing.assert_allclose(found.models, models, rtol=0, atol=2e-12 * models.max())


# ---------------------------------------------------------------- damage and misfits


def test_a_scene_of_another_cube_is_refused(tmp_path):
    result, cube = scene()
    with OutputFolder(tmp_path / "out") as folder:
        with pytest.raises(ShapeError, match=r"models has shape \(3, 3, 24, 30\), the cube \(2, 24, 30\)"):
            write_scene(folder, result, Cube(cube.data[:2]), options={}, argv=[])
        with pytest.raises(ShapeError, match=r"shares has shape \(2, 3, 24, 30\)"):
            write_scene(folder, result, cube, options={}, argv=[], shares=result.models[:2])
        _, longer = scene()
        with pytest.raises(ShapeError, match="the catalog has 2 rows, there are 3 sources"):
            write_scene(folder, scene(catalog=result.catalog[:2])[0], longer, options={}, argv=[])
    assert not (tmp_path / "out").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-2880])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def drop_table(path):
    with fits.open(path) as hdus:
        kept = fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != "SPECTRA"])
    path.unlink()
    kept.writeto(path)


def drop_image(path):
    with fits.open(path) as hdus:
        kept = fits.HDUList([hdu.copy() for hdu in hdus[:-1]])
    path.unlink()
    kept.writeto(path)


@pytest.mark.parametrize(
    ("name", "damage", "error", "text"),
    [
        ("sources.fits", os.unlink, MissingFileError, "sources.fits"),
        ("sources.fits", cut, VermilionError, "bytes"),
        ("sources.fits", flip, CorruptFileError, "CHECKSUM|DATASUM|checksum"),
        ("sources.fits", drop_table, HeaderError, "no HDU SPECTRA"),
        ("sources.fits", drop_image, CorruptFileError, "sources.fits"),
        ("catalog.ecsv", lambda path: path.write_text("# %ECSV 1.0\n# ---\n"), CorruptFileError, "catalog.ecsv is damaged"),
        ("catalog.ecsv", lambda path: Table({"a": [1]}).write(path, format="ascii.ecsv", overwrite=True), ShapeError, "of one run"),
        ("provenance.json", lambda path: path.write_text("{"), CorruptFileError, "no JSON"),
        ("provenance.json", lambda path: path.write_text("[1]"), HeaderError, "status and notes"),
        ("provenance.json", lambda path: path.write_text('{"status": "FINE", "notes": []}'), HeaderError, "status is 'FINE'"),
    ],
    ids=str,
)
def test_damaged_products_are_refused(products, tmp_path, name, damage, error, text):
    shutil.copytree(products[0], tmp_path / "out")
    damage(tmp_path / "out" / name)
    with pytest.raises(error, match=text):
        read_scene(tmp_path / "out")


# ---------------------------------------------------------------- the catalog


def test_columns_that_fits_cannot_name_get_other_names():
    catalog = Table({"flux_y": [1.0], "flux_Y": [2.0], "flux_F160W/IR": [3.0], "flag": [True], "ïd": ["é"]})
    _, hdu = catalog_hdus(catalog, {**json.loads(PLAIN), "argv": []})
    assert hdu.columns.names == ["flux_y", "flux_Y_2", "flux_F160W_IR", "flag", "id"]
    assert [hdu.data[name][0] for name in hdu.columns.names] == [1, 2, 3, True, "e"]
    assert "column flux_Y_2: flux_Y" in list(hdu.header["COMMENT"])


def test_what_is_masked_is_absent_in_fits():
    catalog = Table({"kind": ["point", "galaxy"], "flux": [1.0, 2.0], "number": [1, 2]}, masked=True)
    for name in catalog.colnames:
        catalog[name].mask[1] = True
    _, hdu = catalog_hdus(catalog, {**json.loads(PLAIN), "argv": []})
    assert (hdu.data["kind"][1], hdu.data["number"][1]) == ("", 0)
    assert np.isnan(hdu.data["flux"][1])


PLAIN = json.dumps(
    dict.fromkeys(("date", "status", "unique", "normalization", "seed", "input", "input_sha256", "status_text"), "")
    | {"version": "1", "source": {}, "decisions": [], "notes": []}
)
