from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy.wcs import WCS
from matplotlib.colors import AsinhNorm
from numpy.testing import assert_allclose

from vermilion.datamodels import Frame
from vermilion.plot.sky import SkyGrid, _asinh_ticks, _north_east, asinh_norm, symmetric_norm


def test_one_pixel_does_not_decide_the_stretch() -> None:
    image = np.random.default_rng(3).uniform(0, 1, (30, 30))
    hurt = image.copy()
    hurt[4, 4] = 1e6
    assert asinh_norm(hurt).vmax == pytest.approx(asinh_norm(image).vmax, rel=0.01)
    assert asinh_norm(hurt).vmin == 0


def test_the_stretch_is_the_same_in_every_unit() -> None:
    image = np.random.default_rng(3).normal(1, 1, (30, 30))
    here, there = asinh_norm(image), asinh_norm(image * 1e-20)
    assert_allclose([there.vmin, there.vmax, there.linear_width], np.array([here.vmin, here.vmax, here.linear_width]) * 1e-20)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.full((4, 4), np.nan),
        np.ones((1, 1)),
        -np.ones((5, 5)),
        -1 - np.arange(100.0).reshape(10, 10),
        np.where(np.arange(100).reshape(10, 10) == 5, 3.0, -2.0),
        np.eye(30)[:, :1],
        np.full((30, 30), 1e-300),
        np.array([[np.nan, 2.0], [-1.0, 0.0]]),
    ],
)
def test_every_image_has_increasing_limits(image: np.ndarray) -> None:
    norm = asinh_norm(image)
    assert np.isfinite([norm.vmin, norm.vmax, norm.linear_width]).all()
    assert norm.vmin < norm.vmax
    assert norm.linear_width > 0
    ticks = _asinh_ticks(norm)
    assert all(norm.vmin <= tick <= norm.vmax for tick in ticks)
    limits = symmetric_norm(image)
    assert limits.vmin == -limits.vmax < 0


def test_residual_limits_are_symmetric_and_at_least_what_is_asked() -> None:
    image = np.linspace(-1, 0.5, 400).reshape(20, 20)
    assert symmetric_norm(image, at_least=3.0).vmax == 3.0
    assert symmetric_norm(image).vmax == pytest.approx(np.percentile(np.abs(image), 99.5))
    assert not isinstance(symmetric_norm(image, linear=3.0), AsinhNorm)
    assert isinstance(symmetric_norm(image * 100, linear=3.0), AsinhNorm)


def test_ticks_of_a_symmetric_bar_mirror_each_other() -> None:
    ticks = _asinh_ticks(AsinhNorm(linear_width=3, vmin=-200, vmax=200))
    assert ticks == [-tick for tick in reversed(ticks)]
    assert len(ticks) >= 5


def test_north_is_up_and_east_is_left_where_the_header_says_so(sky: Callable[..., WCS]) -> None:
    assert_allclose(_north_east(sky((20, 30)), (20, 30)), [[0, 1], [-1, 0]], atol=1e-6)
    # Turned clockwise by 90 degrees: north to the right, east up.
    assert_allclose(_north_east(sky((20, 30), rotation=90), (20, 30)), [[1, 0], [0, 1]], atol=1e-6)


def test_coordinates_stand_on_the_edge_along_which_they_run(sky: Callable[..., WCS]) -> None:
    for rotation, names in ((0, ("RA", "Dec")), (90, ("Dec", "RA"))):
        frame = Frame(shape=(20, 30), n_bands=1, wcs=sky((20, 30), rotation=rotation))
        axes = SkyGrid(frame, frame.shape, 1).add(0)
        assert (axes.get_xlabel(), axes.get_ylabel()) == names


def test_images_without_sky_or_with_a_singular_matrix_have_pixel_axes(sky: Callable[..., WCS]) -> None:
    singular = sky((20, 30))
    singular.wcs.cd = np.zeros((2, 2))
    for wcs in (None, singular, WCS(naxis=2)):
        axes = SkyGrid(Frame(shape=(20, 30), n_bands=1, wcs=wcs), (20, 30), 1).add(0)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("x [pixel]", "y [pixel]")


def test_oblong_spaxels_are_drawn_oblong(sky: Callable[..., WCS]) -> None:
    wcs = sky((20, 30))
    wcs.wcs.cd = np.array([[-0.35, 0], [0, 0.7]]) / 3600
    assert SkyGrid(Frame(shape=(20, 30), n_bands=1, wcs=wcs), (20, 30), 1).aspect == pytest.approx(2)


def test_a_slit_is_stretched_and_says_so() -> None:
    grid = SkyGrid(None, (3, 200), 1)
    assert not grid.to_scale
    assert grid.aspect == "auto"
    assert SkyGrid(None, (30, 40), 1).to_scale


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (6, 2, 3), (9, 3, 3), (12, 3, 4)])
def test_grids_of_square_images_have_the_shape_of_a_slide(n: int, rows: int, columns: int) -> None:
    grid = SkyGrid(None, (40, 40), n)
    assert (grid.rows, grid.columns) == (rows, columns)
    width, height = grid.figure.get_size_inches()
    assert width <= 13.5
    assert height <= 10.5
