import numpy as np
import pytest

from vermilion.diagnose.pixel_noise import pixel_noise


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("axes", [(1,), (0, 1)])
def test_white_noise_is_found_beside_smooth_light_and_gaps(order, axes):
    image = 3e-18 * np.random.default_rng(2).normal(size=(200, 200))
    y, x = np.indices(image.shape)
    image = image + 3e-17 * np.exp(-((y - 90) ** 2 + (x - 70) ** 2) / 800)
    image[::7] = np.nan
    assert pixel_noise(image, order=order, axes=axes) == pytest.approx(3e-18, rel=0.05)


def test_without_neighbors_there_is_no_answer():
    assert np.isnan(pixel_noise(np.full((4, 4), np.nan)))
    assert np.isnan(pixel_noise(np.ones((1, 1))))


def test_second_differences_do_not_see_a_slope():
    assert pixel_noise(np.arange(30.0)[None] * np.ones((5, 1)), order=2, axes=(0, 1)) < 1e-12
