"""Random starts have the size of the data and depend on the seed alone."""

import numpy as np
import pytest
import torch

from vermilion.initialize import random_start


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_the_product_has_the_size_of_the_data(unit):
    Y = torch.tensor(unit * np.random.default_rng(0).random((60, 500)))
    A, S = random_start(Y, None, 3)
    assert float((A @ S).mean() / Y.mean()) == pytest.approx(1, rel=0.1)
    assert bool((A >= 0).all() & (S >= 0).all())


def test_entries_without_weight_do_not_count():
    Y = torch.ones(4, 5, dtype=torch.float64)
    W = torch.ones_like(Y)
    Y[0], W[0] = 1e9, 0
    A, S = random_start(Y, W, 2)
    reference, _ = random_start(torch.ones_like(Y), None, 2)
    torch.testing.assert_close(A, reference)
    assert S.shape == (2, 5)


def test_seeds_decide():
    Y = torch.ones(4, 5)
    assert torch.equal(random_start(Y, None, 2, seed=1)[0], random_start(Y, None, 2, seed=1)[0])
    assert not torch.equal(random_start(Y, None, 2, seed=1)[0], random_start(Y, None, 2, seed=2)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_numbers_are_the_same_on_every_device(device, dtype):
    Y = torch.ones(4, 5, dtype=dtype)
    for here, there in zip(random_start(Y, None, 2), random_start(Y.to(device), None, 2), strict=True):
        assert there.device.type == device
        assert there.dtype == dtype
        assert torch.equal(here, there.cpu())
