import numpy as np
import pytest
import torch

from vermilion.errors import ParameterError, ShapeError
from vermilion.renderers import Resampling, affine_positions
from vermilion.renderers.resampling import pixel_areas

SHAPE = (41, 44)


def grid(scale, degrees, n=36):
    """A square grid in the middle of the model frame."""
    t = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    n = int(n / scale)
    return affine_positions(matrix, np.array([20.2, 21.4]) - matrix @ [(n - 1) / 2, (n - 1) / 2], (n, n))


def star(positions, center, sigma):
    return np.exp(-((positions - center) ** 2).sum(axis=-1) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


# Largest error in units of the peak: the figures of the docstring.
@pytest.mark.parametrize(("sigma", "error"), [(0.8, 0.05), (1.0, 0.008), (1.2, 1.5e-3), (1.4, 3e-4), (1.8, 2e-5)])
@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (0.7, 30), (1.4, -20)])
def test_stars_are_resampled_to_the_stated_error_with_their_flux(sigma, error, scale, degrees):
    positions = grid(scale, degrees)
    resampling = Resampling(positions, SHAPE, 1, smoothing=sigma)
    centers = np.random.default_rng(2).uniform(18, 23, size=(8, 2))
    model = np.stack([star(np.stack(np.indices(SHAPE), axis=-1), center, sigma) for center in centers])
    images = resampling(torch.from_numpy(model)[:, None]).numpy()[:, 0]
    expected = scale**2 * np.stack([star(positions, center, sigma) for center in centers])
    assert np.abs(images - expected).max() < error * expected.max()
    if sigma >= 1.2:
        np.testing.assert_allclose(images.sum(axis=(1, 2)), 1, rtol=0, atol=2e-3 if scale > 1 and sigma < 1.4 else 1e-4)


def test_a_flat_image_stays_flat_times_the_pixel_area():
    resampling = Resampling(grid(1.3, 25, n=20), SHAPE, 2)
    np.testing.assert_allclose(resampling(torch.ones(1, *SHAPE, dtype=torch.float64)), 1.69, rtol=1e-6)


def test_the_own_grid_and_whole_pixel_shifts_change_nothing():
    x = torch.randn(1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = Resampling(affine_positions(np.eye(2), [0, 0], SHAPE), SHAPE, 1)
    torch.testing.assert_close(own(x), x, rtol=0, atol=1e-12)
    shifted = Resampling(affine_positions(np.eye(2), [-3, 5], SHAPE), SHAPE, 1)
    torch.testing.assert_close(shifted(x)[0, 3:, :-5], x[0, :-3, 5:], rtol=0, atol=1e-12)
    assert shifted(x)[0, :3].abs().max() == 0
    assert not shifted.covered[:3].any()
    assert shifted.covered[3:, :-5].all()


def test_pixels_without_a_place_are_empty():
    positions = grid(1, 0)
    positions[4, 5] = np.nan
    resampling = Resampling(positions, SHAPE, 1)
    image = resampling(torch.ones(1, *SHAPE, dtype=torch.float64))[0]
    assert torch.isfinite(image).all()
    assert image[4, 5] == 0
    assert not resampling.covered[4, 5]


def test_pixel_areas_follow_a_distortion():
    y, x = np.indices((6, 7)).astype(float)
    areas = pixel_areas(np.stack([2 * y + 0.3 * x, 0.05 * x**2 - y], axis=-1))
    # |d(y', x')/d(y, x)| = |2 * 0.1 x + 0.3|, exact for a quadratic away from the border.
    np.testing.assert_allclose(areas[:, 1:-1], (0.2 * x + 0.3)[:, 1:-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("positions", "options", "error", "text"),
    [
        (np.zeros((4, 4)), {}, ShapeError, r"positions has shape \(4, 4\)"),
        (np.zeros((1, 4, 2)), {}, ShapeError, "at least 2 × 2"),
        (np.zeros((4, 4, 2)), {"smoothing": 0.0}, ParameterError, "smoothing is 0.0"),
        (np.zeros((4, 4, 2)), {"reach": 0}, ParameterError, "reach is 0"),
    ],
)
def test_impossible_grids_are_refused(positions, options, error, text):
    with pytest.raises(error, match=text):
        Resampling(positions, SHAPE, 1, **options)
