import numpy as np
import pytest
import torch
from scipy.signal import convolve

from vermilion.errors import ParameterError, ShapeError
from vermilion.renderers import Convolution


@pytest.mark.parametrize("shape", [(12, 9), (1, 1), (58, 48), (6, 31)])
@pytest.mark.parametrize("kernel_shape", [(1, 1), (3, 7), (21, 5)])
def test_convolution_is_the_direct_sum(shape, kernel_shape):
    rng = np.random.default_rng(5)
    kernels, x = rng.normal(size=(2, *kernel_shape)), rng.normal(size=(2, *shape))
    # "same" of scipy is cut from the middle of the full sum: kernels larger than the image need the frame made by hand.
    top, left = (n // 2 for n in kernel_shape)
    expected = [
        convolve(i, k, mode="full", method="direct")[top : top + shape[0], left : left + shape[1]] for i, k in zip(x, kernels, strict=True)
    ]
    np.testing.assert_allclose(Convolution(kernels, shape)(torch.from_numpy(x)), expected, rtol=0, atol=1e-10)


def test_a_point_becomes_the_kernel_and_nothing_wraps_around():
    kernels = np.arange(1.0, 16.0).reshape(1, 3, 5)
    x = torch.zeros(1, 8, 8, dtype=torch.float64)
    x[0, 0, 7] = 1
    image = Convolution(kernels, (8, 8))(x)[0]
    expected = torch.zeros(8, 8, dtype=torch.float64)
    expected[:2, 5:] = torch.from_numpy(kernels[0, 1:, :3])
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_pixels", "n_kernel"), [(58, 43), (48, 43), (4, 21), (1, 1), (97, 3), (500, 65)])
def test_transform_sizes_are_even_5_smooth_and_hold_the_padding(n_pixels, n_kernel):
    size = Convolution(np.ones((1, n_kernel, 1)), (n_pixels, 4)).fft_shape[0]
    assert size % 2 == 0
    assert n_pixels + n_kernel // 2 <= size <= 1.3 * max(n_pixels + n_kernel // 2, n_kernel) + 2
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1


def test_transforms_are_made_once_per_dtype():
    convolution = Convolution(np.ones((1, 3, 3)), (4, 4))
    for dtype in (torch.float32, torch.float64):
        transform = convolution.transform(dtype, torch.device("cpu"))
        convolution(torch.zeros(1, 4, 4, dtype=dtype))
        assert convolution.transform(dtype, torch.device("cpu")) is transform


@pytest.mark.parametrize(
    ("kernels", "shape", "error", "text"),
    [
        (np.ones((2, 4, 3)), (5, 5), ShapeError, r"kernels has shape \(2, 4, 3\): expected \(B, kh, kw\) with odd"),
        (np.ones((3, 3)), (5, 5), ShapeError, "expected .B, kh, kw"),
        (np.ones((1, 3, 3)), (5, 0), ShapeError, r"shape is \(5, 0\)"),
        (np.full((1, 3, 3), np.nan), (5, 5), ParameterError, "non-finite"),
    ],
)
def test_what_is_no_kernel_is_refused(kernels, shape, error, text):
    with pytest.raises(error, match=text):
        Convolution(kernels, shape)
