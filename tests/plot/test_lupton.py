from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.visualization import make_lupton_rgb
from numpy.testing import assert_allclose

from vermilion.datamodels import Frame
from vermilion.errors import ShapeError
from vermilion.plot.lupton import LuptonScale, channel_weights, wavelength_order


def noisy(fluxes: tuple[float, ...], *, sigma: float = 1.0) -> np.ndarray:
    """A round source of those fluxes at the center of 40 × 40 pixels."""
    y, x = np.indices((40, 40)) - 20
    source = np.exp(-(x**2 + y**2) / 18)
    return np.array(fluxes)[:, None, None] * source + sigma * np.random.default_rng(0).normal(size=(len(fluxes), 40, 40))


def test_three_bands_are_one_channel_each_and_the_last_is_red() -> None:
    assert_allclose(channel_weights(3), np.eye(3)[::-1])


@pytest.mark.parametrize("n", range(1, 13))
def test_every_channel_has_some_band_and_every_band_some_channel(n: int) -> None:
    weights = channel_weights(n)
    assert weights.shape == (3, n)
    assert_allclose(weights.sum(axis=1), 1)
    assert (weights.sum(axis=0) > 0).all()
    centers = weights @ np.arange(n)
    assert (np.diff(centers) < 0).all() or n == 1  # red, green, blue


def test_two_bands_are_red_and_blue_and_green_is_their_mean() -> None:
    assert_allclose(channel_weights(2), [[0, 1], [0.5, 0.5], [1, 0]])


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("yzirg", (4, 3, 2, 1, 0)),
        (("HSC-Z", "HSC-G", "HSC-I"), (1, 2, 0)),
        (("g", "r", "NB921"), (0, 1, 2)),
        ("gug", (1, 0, 2)),
        ((), (0, 1, 2)),
    ],
)
def test_names_of_one_letter_tell_the_order(names: tuple[str, ...], order: tuple[int, ...]) -> None:
    assert wavelength_order(tuple(names), len(order)) == order


def test_the_spectral_axis_decides_whatever_its_kind() -> None:
    wavelength = Frame(shape=(2, 2), n_bands=3, spectral_axis=[900, 500, 700] * u.nm)
    frequency = Frame(shape=(2, 2), n_bands=3, spectral_axis=[900, 500, 700] * u.THz)
    velocity = Frame(shape=(2, 2), n_bands=3, spectral_axis=[900, 500, 700] * u.K)
    assert wavelength_order(("g", "r", "i"), 3, wavelength) == (1, 2, 0)
    assert wavelength_order(("g", "r", "i"), 3, frequency) == (0, 2, 1)
    assert wavelength_order(("1", "2", "3"), 3, velocity) == (0, 1, 2)


def test_colors_are_those_of_astropy() -> None:
    data = noisy((80.0, 200.0, 400.0))
    scale = LuptonScale.of(data, "gri")
    red, green, blue = np.einsum("cb,byx->cyx", scale.channels, data)
    # astropy: f(I) = 0.1 asinh(Q I / stretch) / asinh(0.1 Q)
    q = 10 * np.sinh(0.1 * np.arcsinh((scale.white - scale.black) / scale.soft))
    theirs = make_lupton_rgb(red, green, blue, minimum=scale.black, stretch=scale.soft * q, Q=q) / 255.0
    assert_allclose(scale.rgb(data), theirs, atol=1 / 255 + 1e-6)


def test_the_typical_source_is_white_and_a_redder_one_is_red() -> None:
    data = noisy((30.0, 100.0, 300.0))
    scale = LuptonScale.of(data, "gri")
    core = scale.rgb(data)[18:23, 18:23].mean(axis=(0, 1))
    assert np.ptp(core) < 0.1
    redder = scale.rgb(noisy((10.0, 100.0, 900.0), sigma=0))[20, 20]
    assert redder[0] > 1.5 * redder[2]


def test_the_order_of_the_bands_does_not_change_the_picture() -> None:
    data = noisy((30.0, 100.0, 300.0, 200.0))
    ours = LuptonScale.of(data, "griz").rgb(data)
    back = data[::-1]
    assert_allclose(LuptonScale.of(back, "zirg").rgb(back), ours, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_unit_does_not_change_the_picture(factor: float) -> None:
    data = noisy((30.0, 100.0, 300.0))
    assert_allclose(LuptonScale.of(data * factor).rgb(data * factor), LuptonScale.of(data).rgb(data), rtol=1e-6, atol=1e-9)


def test_pixels_without_number_are_grey_and_do_not_change_others() -> None:
    data = noisy((30.0, 100.0, 300.0))
    holed = data.copy()
    holed[1, 3, 4] = np.nan
    ours, theirs = LuptonScale.of(data).rgb(data), LuptonScale.of(holed).rgb(holed)
    assert_allclose(theirs[3, 4], 0.62)
    others = np.ones((40, 40), dtype=bool)
    others[3, 4] = False
    assert_allclose(theirs[others], ours[others], atol=0.02)


def test_a_band_without_any_number_is_left_out() -> None:
    data = noisy((30.0, 100.0, 300.0, 200.0))
    data[0] = np.nan
    colors = LuptonScale.of(data, "griz").rgb(data)
    assert not (colors == 0.62).all(axis=-1).any()
    assert np.isfinite(colors).all()


@pytest.mark.parametrize("data", [np.zeros((3, 8, 8)), np.full((3, 8, 8), np.nan), np.ones((1, 1, 1)), -np.ones((2, 5, 5))])
def test_colors_stay_between_0_and_1_whatever_comes(data: np.ndarray) -> None:
    colors = LuptonScale.of(data).rgb(data)
    assert np.isfinite(colors).all()
    assert ((colors >= 0) & (colors <= 1)).all()


def test_a_single_image_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"data has shape \(4, 4\): expected \(B, Ny, Nx\)"):
        LuptonScale.of(np.zeros((4, 4)))
