import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from vermilion.errors import ParameterError
from vermilion.prox import Starlet
from vermilion.prox.starlet import starlet_transform

IMAGE = torch.randn(20, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(20, 31), (1, 1), (1, 7), (3, 2)])
@pytest.mark.parametrize("scales", [1, 3, 6])
def test_the_planes_add_up_to_the_image(shape, scales):
    image = IMAGE[: shape[0], : shape[1]]
    planes = starlet_transform(image, scales)
    assert len(planes) == scales + 1
    torch.testing.assert_close(sum(planes), image, rtol=0, atol=1e-14)


def test_each_smoothing_is_the_cubic_spline_with_holes():
    smooth = IMAGE.numpy()
    for j, detail in enumerate(starlet_transform(IMAGE, 3)[:-1]):
        taps = np.zeros(4 * 2**j + 1)
        taps[:: 2**j] = np.array([1, 4, 6, 4, 1]) / 16
        # scipy's "mirror" reflects about the centers of the pixels at the edge
        coarser = correlate1d(correlate1d(smooth, taps, axis=0, mode="mirror"), taps, axis=1, mode="mirror")
        np.testing.assert_allclose(detail.numpy(), smooth - coarser, atol=1e-14)
        smooth = coarser


def test_a_constant_has_no_details_and_stays():
    image = torch.full((9, 9), 3.0)
    assert float(Starlet(1.0).penalty(image)) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(Starlet(1.0)(image, 5.0), image)


def test_no_weight_leaves_the_image_and_a_large_one_only_the_smooth_rest():
    torch.testing.assert_close(Starlet(0.0, scales=2)(IMAGE, 1.0), IMAGE)
    torch.testing.assert_close(Starlet(1e9, scales=2)(IMAGE, 1.0), starlet_transform(IMAGE, 2)[-1])


def test_noise_goes_and_the_source_stays():
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij")
    source = 8 * torch.exp(-((y - 20) ** 2 + (x - 20) ** 2) / 18)
    noisy = source + torch.randn(41, 41, generator=torch.Generator().manual_seed(1))
    denoised = Starlet(1.0, scales=3)(noisy, 1.0)
    assert float((denoised - source).std()) < 0.6 * float((noisy - source).std())


def test_each_component_may_have_its_own_weight_and_step():
    maps = IMAGE.flatten().repeat(2, 1)
    y = Starlet(torch.tensor([[0.0], [0.5]]), shape=(20, 31))(maps, torch.tensor([[1.0], [2.0]]))
    torch.testing.assert_close(y[0], maps[0])
    torch.testing.assert_close(y[1].view(20, 31), Starlet(1.0)(IMAGE, 1.0))


def test_the_penalty_is_the_sum_of_the_details():
    expected = 0.5 * sum(float(detail.abs().sum()) for detail in starlet_transform(IMAGE, 3)[:-1])
    assert float(Starlet(0.5).penalty(IMAGE)) == pytest.approx(expected, rel=1e-12)


def test_an_image_with_a_hole_of_nan_is_no_error():
    image = IMAGE.clone()
    image[3, 4] = math.nan
    assert torch.isnan(Starlet(0.5)(image, 1.0)[3, 4])


@pytest.mark.parametrize("scales", [0, 1.5])
def test_a_number_of_scales_below_one_is_refused(scales):
    with pytest.raises(ParameterError, match="expected an integer >= 1"):
        Starlet(1.0, scales=scales)
