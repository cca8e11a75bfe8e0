"""Real cubes of several instruments are read with the right shapes, axes and units."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u

from vermilion.errors import AmbiguousInputError
from vermilion.io import read

ROOT = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no test data: set VERMILION_TEST_DATA")

A478 = "ifu/muse_A478_halpha_600ch.fits"
MUSE_UNIT = u.Unit("1e-20 erg s-1 cm-2 Angstrom-1")
# file, shape, reader, first and last wavelength in Angstrom (CRVAL3 + (i - CRPIX3 + 1) CD3_3, worked out by hand)
IFU = [
    (A478, (600, 40, 40), "muse", 4749.890625 + 1740 * 1.25, 4749.890625 + 2339 * 1.25),
    ("ifu/muse_A478_red_1281ch.fits", (1281, 40, 40), "muse", 4749.890625 + 2400 * 1.25, 4749.890625 + 3680 * 1.25),
    ("ifu/muse_HDFS_cube_10x20.fits", (1595, 10, 20), "muse", 7300.0, 7300 + 1594 * 1.25),
    ("ifu/muse_central_10ch.fits", (10, 101, 101), "muse", 6050.0, 6050 + 9 * 1.25),
    ("ifu/muse_galpak_subcube_A.fits", (20, 30, 30), "muse", 6731.0302734375, 6731.0302734375 + 19 * 1.25),
    ("ifu/galpak_1101_noisy.fits", (30, 30, 30), "generic", 6564 - 14 * 1.25, 6564 + 15 * 1.25),
    ("ifu/galpak_ref_cube_clean.fits", (30, 30, 30), "generic", None, None),
    ("ifu/galpak_ref_cube_conv.fits", (30, 30, 30), "generic", None, None),
]


@pytest.mark.parametrize(("name", "shape", "reader", "first", "last"), IFU)
def test_an_ifu_cube_has_its_shape_reader_and_wavelengths(name, shape, reader, first, last):
    cube = read(ROOT / name)
    assert cube.data.shape == shape
    assert cube.meta["reader"] == reader
    axis = cube.frame.spectral_axis
    if first is None:
        assert axis is None
    else:
        assert axis.unit == u.AA
        assert axis[0].value == pytest.approx(first, rel=1e-12)
    if last is not None:
        assert axis[-1].value == pytest.approx(last, rel=1e-12)


def test_a_muse_cube_has_unit_variance_mask_and_record():
    cube = read(ROOT / A478)
    assert cube.frame.unit.is_equivalent(MUSE_UNIT)
    assert cube.frame.unit.to(MUSE_UNIT) == pytest.approx(1)
    assert cube.variance.dtype == np.float32
    assert cube.mask.dtype == np.bool_
    taken = {decision["name"]: decision["taken_as"] for decision in cube.meta["decisions"] if decision["hdu"] is not None}
    assert taken == {"DATA": "data", "STAT": "variance", "DQ": "mask (nonzero = bad)"}
    assert cube.meta["name"] == "muse_A478_halpha_600ch"
    assert cube.meta["sha256"] == hashlib.sha256((ROOT / A478).read_bytes()).hexdigest()
    assert cube.meta["header"]["OBJECT"] == "Abell 478"
    assert cube.meta["instrument"] == "MUSE"
    assert cube.frame.wcs.has_celestial


def test_checksums_copied_from_a_larger_cube_are_noted_not_believed():
    notes = [decision["why"] for decision in read(ROOT / A478).meta["decisions"]]
    assert any("written for another header" in note for note in notes)


def test_float64_data_beside_float32_variance_keep_their_types():
    cube = read(ROOT / "ifu/muse_HDFS_cube_10x20.fits")
    assert (cube.data.dtype, cube.variance.dtype) == (np.float64, np.float32)


def test_a_degenerate_axis_without_a_name_is_dropped():
    cube = read(ROOT / "radio/iras2a_example_cube_4d.fits")
    assert cube.data.shape == (7, 4, 3)
    assert cube.frame.wcs.naxis == 3


def test_several_windows_in_one_file_are_listed():
    path = next((ROOT / "solar").glob("iris*.fits"))
    with pytest.raises(AmbiguousInputError, match=r"9 spectral windows: 1 'C II 1336' .* --data-ext 'C II 1336'"):
        read(path)
    window = read(path, data_ext=9, unit="DN")
    assert window.data.shape == (63, 109, 8)
    assert window.frame.spectral_axis.unit == u.AA
    assert 1300 < window.frame.spectral_axis[0].value < 2900
