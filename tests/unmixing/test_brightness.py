"""Brightness: what pixels are divided by, and whether it varies."""

import numpy as np
import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.unmixing.brightness import brightness_varies, pixel_brightness
from vermilion.unmixing.subspace_points import subspace_points


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("l1", [7.0, 1.0, 1.0]), ("l2", [5.0, 1.0, 1.0]), ("l2-floor", [5.0, 1.5, 1.5])],
)
def test_brightness_by_hand(kind, expected):
    # norms 5 and 1, and a dark pixel that counts for no mean: half of it is 1.5
    Y = torch.tensor([[3.0, 1.0, 0.0], [4.0, 0.0, 0.0]], dtype=torch.float64)
    assert pixel_brightness(Y, kind).tolist() == expected


def test_none_divides_nothing():
    assert pixel_brightness(torch.ones(2, 3), "none") is None


def test_unknown_kind_is_refused():
    with pytest.raises(ParameterError, match="normalize is 'l3': expected one of 'auto', 'none', 'l1', 'l2', 'l2-floor'"):
        pixel_brightness(torch.ones(2, 3), "l3")


@pytest.mark.parametrize("spread", [0.0, 0.001, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_brightness_is_found_to_vary_where_it_exceeds_the_noise(spread, seed):
    rng = np.random.default_rng(seed)
    Y = rng.random((60, 4)) @ rng.dirichlet(np.ones(4), 1500).T * (1 + spread * rng.normal(size=1500))
    noisy = Y + 0.01 * rng.normal(size=Y.shape)
    assert brightness_varies(subspace_points(torch.tensor(noisy), None, 4)) is (spread == 0.1)
