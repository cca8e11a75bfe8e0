"""`vermilion deblend` on the sample scene, whose truth is known: the whole way from the file to the catalog, pictures left out."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable, Table

from vermilion.io.scene import read_scene

DATA = Path(__file__).parents[2] / "data"
ZERO_POINT = 31.4


@pytest.fixture(scope="module")
def truth():
    return Table.read(DATA / "sample_scene_truth.ecsv")


@pytest.fixture
def deblend(call, monkeypatch, tmp_path):
    monkeypatch.setattr("vermilion.cli.deblend._draw", lambda *_: [])
    files = (DATA / "sample_scene.fits", "--psf", DATA / "sample_scene_psf.fits", "-o", tmp_path / "out", "--zero-point", ZERO_POINT)
    return lambda *arguments: call("deblend", *files, *arguments)


def test_with_positions_given_fluxes_and_kinds_are_those_of_the_truth(deblend, truth, tmp_path):
    run = deblend("--catalog", DATA / "sample_scene_truth.ecsv")
    assert run.code == 0, run.err
    result, table = read_scene(tmp_path / "out"), QTable.read(tmp_path / "out" / "catalog.fits")
    true = np.column_stack([truth[f"flux_{band}"] for band in "grizy"])
    assert result.bands == tuple("grizy")
    assert (np.abs(result.fluxes - true).sum(axis=0) / true.sum(axis=0)).max() < 0.03
    relative = np.abs(result.fluxes / true - 1)
    assert np.median(relative) < 0.03
    assert relative.max() < 0.2
    assert np.median(np.abs(result.fluxes - true) / result.flux_errors) < 1.5
    assert np.median(np.abs(result.signed_fluxes / true - 1)) < 0.03
    pairs = [(source.kind, kind) for source, kind in zip(result.sources, truth["kind"], strict=True)]
    assert sum(found not in (kind, "undecided") for found, kind in pairs) <= 1
    assert sum(found == kind for found, kind in pairs) >= 6
    assert 0.95 < result.chi2 / result.n_data < 1.02
    bright = true[:, 2] > 4000
    np.testing.assert_allclose(table["mag_i"].value[bright], ZERO_POINT - 2.5 * np.log10(true[bright, 2]), atol=0.05)
    np.testing.assert_allclose(table["ra"].value, truth["ra"], atol=0.1 * 0.2 / 3600)
    np.testing.assert_allclose(table["dec"].value, truth["dec"], atol=0.1 * 0.2 / 3600)


def test_without_positions_all_are_found_but_the_pair_that_is_closer_than_the_seeing(deblend, truth, tmp_path):
    run = deblend("-q")
    assert run.code in (0, 5), run.err
    table = QTable.read(tmp_path / "out" / "catalog.ecsv")
    distance = np.hypot(table["x"].value - truth["x"][:, None], table["y"].value - truth["y"][:, None])
    pair = np.isin(truth["id"], (2, 3))
    assert (distance.min(axis=1)[~pair] < 0.3).all()
    assert (distance.min(axis=0) < 2).all()
    assert 7 <= len(table) <= 8
