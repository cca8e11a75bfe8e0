import math

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import Symmetric

IMAGE = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_result_is_the_mean_with_the_turned_image():
    turned = rotate(IMAGE.numpy(), 180, order=0)
    np.testing.assert_allclose(Symmetric()(IMAGE, 1.0).numpy(), (IMAGE.numpy() + turned) / 2, atol=1e-15)


def test_what_is_taken_away_is_orthogonal_to_all_symmetric_images():
    # which defines the projection on a subspace
    y = Symmetric()(IMAGE, 1.0)
    other = IMAGE.flip(0) + IMAGE.flip(1)
    assert float(((IMAGE - y) * (other + other.flip(0, 1))).sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("center", [(1, 1), (0.5, 2.0), (4, 5), (2.0, 2.5)])
def test_about_a_center_partners_are_equal_and_pixels_without_partner_stay(center):
    y = Symmetric(center=center)(IMAGE, 1.0)
    for i in range(5):
        for j in range(6):
            p, q = int(2 * center[0]) - i, int(2 * center[1]) - j
            inside = 0 <= p < 5 and 0 <= q < 6
            expected = (IMAGE[i, j] + IMAGE[p, q]) / 2 if inside else IMAGE[i, j]
            assert float(y[i, j]) == pytest.approx(float(expected), rel=1e-14)


def test_rows_of_pixels_and_stacks_of_images_are_the_same():
    stack = torch.stack([IMAGE, 2 * IMAGE.flip(0), IMAGE**2])
    y = Symmetric(center=(1, 2))(stack, 1.0)
    torch.testing.assert_close(Symmetric(center=(1, 2), shape=(5, 6))(stack.flatten(1), 1.0), y.flatten(1))
    torch.testing.assert_close(y[1], Symmetric(center=(1, 2))(stack[1], 1.0))
    assert Symmetric(shape=(5, 6)).couples == "pixel axis"


def test_an_image_without_symmetry_has_infinite_penalty():
    assert float(Symmetric().penalty(IMAGE)) == math.inf
    assert float(Symmetric().penalty(IMAGE + IMAGE.flip(0, 1))) == 0


def test_a_center_between_the_halves_of_pixels_is_refused():
    with pytest.raises(ParameterError, match=r"expected \(y, x\) in multiples of 1/2"):
        Symmetric(center=(1.3, 2.0))


@pytest.mark.parametrize("center", [(7, 2), (2, -1)])
def test_a_center_outside_is_refused(center):
    with pytest.raises(ShapeError, match="expected a center inside"):
        Symmetric(center=center)(IMAGE, 1.0)
