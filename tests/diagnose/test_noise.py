"""Scatter over claimed sigma is 1 where the errors are right, and tells by how much they are wrong."""

import os
from pathlib import Path

import numpy as np
import pytest

from vermilion.datamodels import Cube
from vermilion.diagnose.noise import detection_floor, memory_estimate, scatter_ratio
from vermilion.errors import NoDataError
from vermilion.io import read

ROOT = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def noisy(shape=(200, 36, 36), *, seed=0, claimed=1.0, scale=1.0):
    """Sky of a sloping continuum, a bright source in a corner, and white noise whose sigma varies between 1 and 3."""
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(1, 3, shape)
    data = np.linspace(2, 4, shape[0])[:, None, None] + sigma * rng.normal(size=shape)
    data[:, : shape[1] // 3, : shape[2] // 3] += 500
    return Cube(scale * data, variance=scale**2 * sigma**2 * claimed)


def test_right_variances_give_ratios_of_one():
    report = scatter_ratio(noisy())
    assert report.voxel == pytest.approx(1, abs=0.02)
    assert report.box == pytest.approx(1, abs=0.05)
    assert report.adjacent == pytest.approx(1, abs=0.02)


def test_variances_too_small_by_four_give_ratios_of_two():
    report = scatter_ratio(noisy(claimed=0.25))
    assert report.voxel == pytest.approx(2, abs=0.04)
    assert report.box == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("n_bands", [5, 10, 30, 60])
def test_few_bands_are_enough(n_bands):
    data = np.random.default_rng(n_bands).normal(size=(n_bands, 90, 90))
    report = scatter_ratio(Cube(data, variance=np.ones_like(data)))
    assert report.voxel == pytest.approx(1, abs=0.05)
    assert report.box == pytest.approx(1, abs=0.12)  # at least 1000 sums: 3 sigma of their scatter


def test_correlated_neighbors_show_in_boxes_and_not_in_voxels():
    """Means of 3 x 3 white values have variance 1/9, but their sums over 3 x 3 weigh the white values 1 2 3 2 1 per axis.

    The sum of squares is 19 per axis, so the variance is (19 / 9)**2 instead of 9 / 9: sigma is 19 / 9 times what is claimed.
    """
    white = np.random.default_rng(2).normal(size=(300, 62, 62))
    smooth = sum(white[:, i : i + 60, j : j + 60] for i in range(3) for j in range(3)) / 9
    report = scatter_ratio(Cube(smooth, variance=np.full(smooth.shape, 1 / 9)))
    assert report.voxel == pytest.approx(1, abs=0.02)
    assert report.box == pytest.approx(19 / 9, abs=0.1)


def test_correlated_bands_show_in_differences():
    white = np.random.default_rng(4).normal(size=(301, 30, 30))
    cube = Cube((white[1:] + white[:-1]) / np.sqrt(2), variance=np.ones((300, 30, 30)))
    assert scatter_ratio(cube).adjacent == pytest.approx(np.sqrt(0.5), abs=0.02)  # correlation 1/2: variance 2 (1 - 1/2) of 2


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_unit_does_not_matter(scale):
    report, reference = scatter_ratio(noisy(scale=scale)), scatter_ratio(noisy())
    assert report.voxel == pytest.approx(reference.voxel, rel=1e-6)
    assert report.scatter == pytest.approx(reference.scatter * scale, rel=1e-6)


def test_missing_values_are_left_out():
    cube = noisy(seed=5)
    data = cube.data.copy()
    data[100:103] = np.nan
    data[::40, 10, :] = np.inf
    variance = cube.variance.copy()
    variance[20] = 0
    report = scatter_ratio(Cube(data, variance=variance))
    assert report.voxel == pytest.approx(1, abs=0.03)
    assert report.box == pytest.approx(1, abs=0.06)


def test_without_errors_there_is_a_scatter_and_no_ratio():
    data = 7 * np.random.default_rng(6).normal(size=(100, 20, 20))
    report = scatter_ratio(Cube(data))
    assert (report.voxel, report.box, report.adjacent) == (None, None, None)
    assert report.scatter == pytest.approx(7, rel=0.02)


def test_an_image_plane_without_a_whole_box_has_no_box_ratio():
    data = np.random.default_rng(8).normal(size=(400, 2, 2))
    report = scatter_ratio(Cube(data, variance=np.ones_like(data)))
    assert report.box is None
    assert report.voxel == pytest.approx(1, abs=0.08)


def test_two_bands_tell_nothing():
    with pytest.raises(NoDataError, match="expected at least 3"):
        scatter_ratio(Cube(np.ones((2, 5, 5))))


def test_a_cube_with_gaps_everywhere_tells_nothing():
    data = np.random.default_rng(9).normal(size=(100, 4, 4))
    data[::2] = np.nan
    data[::3, ::2] = np.nan
    data[1::4, 1::2] = np.nan
    with pytest.raises(NoDataError, match="no spaxel has data"):
        scatter_ratio(Cube(data))


def test_the_input_is_not_changed():
    cube = noisy()
    before = cube.data.copy()
    scatter_ratio(cube)
    np.testing.assert_array_equal(cube.data, before)


def test_the_detection_floor_is_the_fourth_root():
    assert detection_floor(10, 1000) == pytest.approx(10)
    assert detection_floor(3681, 90000) == pytest.approx(134.9, abs=0.1)


def test_memory_grows_with_the_cube():
    small = memory_estimate(600, 1600, 4)
    assert memory_estimate(1200, 1600, 4) > 1.9 * small
    assert small > 600 * 1600 * 4 * 4  # at least data, variance, Y and W


@pytest.mark.skipif(not ROOT.is_dir(), reason="no test data: set VERMILION_TEST_DATA")
def test_boxes_of_a_muse_cube_are_noisier_than_its_variances_say():
    report = scatter_ratio(read(ROOT / "ifu/muse_A478_halpha_600ch.fits"))
    assert report.adjacent < report.voxel < 1.1
    assert 1.15 < report.box < 1.4
