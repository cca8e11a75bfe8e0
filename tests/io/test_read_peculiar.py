"""Every dialect of one cube is read as the same cube, or refused for the right reason."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from vermilion.errors import AmbiguousInputError, NoDataError, ShapeError
from vermilion.io import read

ROOT = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "peculiar"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no test data: set VERMILION_TEST_DATA")

REFUSED = {
    "spectral_axis_1.fits": (AmbiguousInputError, "--spectral-axis 1"),
    "image2d.fits": (ShapeError, "no image with three axes"),
    "empty_primary_only.fits": (ShapeError, "no data"),
    "table_only.fits": (ShapeError, "table"),
    "all_nan.fits": (NoDataError, "NaN or infinite"),
    "all_zero.fits": (NoDataError, "no signal"),
}
NO_AXIS = {"no_wcs.fits"}
OTHER_VALUES = {"int_counts.fits", "negative_mean.fits"}
WITH_VARIANCE = ("ref_data_stat.fits", "ivar.fits", "sigma_err.fits")


def expected() -> dict:
    return json.loads((ROOT / "expect.json").read_text()) if ROOT.is_dir() else {"files": {}}


def reference(name: str) -> np.ndarray:
    with np.load(ROOT / "reference.npz") as arrays:
        return arrays[name]


READABLE = sorted(set(expected()["files"]) - set(REFUSED))


def test_every_peculiar_file_has_a_row_here():
    assert set(REFUSED) <= set(expected()["files"])
    assert len(READABLE) + len(REFUSED) == 26


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_a_clear_cube_is_refused_with_its_reason(name):
    error, text = REFUSED[name]
    with pytest.raises(error, match=text) as caught:
        read(ROOT / name)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", READABLE)
def test_a_dialect_is_read_as_native_floats_in_band_y_x(name):
    cube = read(ROOT / name)
    assert list(cube.data.shape) == expected()["shape"]
    assert cube.data.dtype in (np.float32, np.float64)
    assert cube.data.dtype.isnative
    assert cube.data.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(set(READABLE) - OTHER_VALUES))
def test_a_dialect_has_the_flux_of_the_reference(name):
    row = expected()["files"][name]
    cube, flux = read(ROOT / name), reference("flux")
    finite = np.isfinite(cube.data)
    np.testing.assert_allclose(cube.data[finite], flux[finite], rtol=row.get("rtol", 1e-6), atol=row.get("atol", 0))
    absent = row.get("nonfinite", len(row.get("masked", [])))
    assert np.count_nonzero(~finite) == absent


@pytest.mark.parametrize("name", sorted(set(READABLE) - NO_AXIS))
def test_a_dialect_has_the_wavelengths_of_the_reference_in_its_own_unit(name):
    cube = read(ROOT / name)
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("Angstrom"), reference("wave_A"), rtol=1e-12)
    assert cube.meta["spectral_medium"] == "air"


@pytest.mark.parametrize(("name", "unit"), [("wave_nm.fits", "nm"), ("wave_um.fits", "um"), ("wave_m.fits", "m")])
def test_the_unit_of_the_axis_is_the_one_of_the_file(name, unit):
    assert str(read(ROOT / name).frame.spectral_axis.unit) == unit


@pytest.mark.parametrize("name", WITH_VARIANCE)
def test_variance_sigma_and_inverse_variance_give_the_same_variance(name):
    np.testing.assert_allclose(read(ROOT / name).variance, reference("var"), rtol=2e-6)


def test_values_blanked_by_an_integer_become_absent():
    cube = read(ROOT / "int16_bscale_bzero_blank.fits")
    for index in expected()["files"]["int16_bscale_bzero_blank.fits"]["masked"]:
        assert np.isnan(cube.data[tuple(index)])
        assert cube.weights[tuple(index)] == 0


def test_bad_variances_have_no_weight_and_never_an_infinite_one():
    weights = read(ROOT / "bad_variance.fits").weights
    assert np.count_nonzero(weights == 0) == expected()["files"]["bad_variance.fits"]["bad"]
    assert np.isfinite(weights).all()


def test_nan_and_infinity_have_no_weight():
    weights = read(ROOT / "nan_inf.fits").weights
    assert np.count_nonzero(weights == 0) == expected()["files"]["nan_inf.fits"]["nonfinite"]


def test_a_missing_unit_is_none_and_is_noted():
    cube = read(ROOT / "no_wcs.fits")
    assert str(cube.frame.unit) == ""
    assert any("no BUNIT" in decision["why"] for decision in cube.meta["decisions"])


def test_the_spectral_axis_can_be_named():
    np.testing.assert_array_equal(read(ROOT / "spectral_axis_1.fits", spectral_axis=1).data, reference("flux"))


def test_counts_are_read_exactly():
    data = read(ROOT / "int_counts.fits").data
    np.testing.assert_array_equal(data, np.round(data))
    assert data.dtype == np.float64


def test_a_negative_mean_is_normal():
    assert read(ROOT / "negative_mean.fits").data.mean() < 0
