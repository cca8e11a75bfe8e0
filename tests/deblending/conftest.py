"""Scenes in the model frame, and the views that the fit takes, without any of the preparations of `vermilion.deblend`."""

import math

import numpy as np
import pytest
import torch

from vermilion.deblending import views_of
from vermilion.deblending.profiles import Profiles, profile_images
from vermilion.observation import Observation
from vermilion.renderers import Convolution

SHAPE, SIGMA = (30, 34), 0.8


@pytest.fixture
def make_profiles():
    """Function that makes profiles from rows (y, x, half-light radius or 0 for a point, e1, e2, Sérsic index), one source each."""

    def make(*rows, owner=None, free_index=True):
        table = np.array(rows, dtype=float)
        n = len(table)
        owner = np.arange(n) if owner is None else np.asarray(owner)
        shapes = np.column_stack([np.log(np.maximum(table[:, 2], 1e-3)), table[:, 3:5], np.log(table[:, 5])])
        centers = np.stack([table[owner == k, :2][0] for k in range(owner.max() + 1)])
        return Profiles(centers, owner, table[:, 2] == 0, shapes, np.full(n, free_index))

    return make


@pytest.fixture
def kernels():
    """Difference kernels of two bands, the second the wider one, with negative pixels as real ones have."""
    y, x = np.mgrid[-6:7, -6:7]
    wide = [np.exp(-(y**2 + x**2) / (2 * s**2)) / s**2 for s in (1.1, 1.5)]
    core = np.exp(-(y**2 + x**2) / (2 * 0.6**2)) / 0.6**2
    made = np.stack([one / one.sum() * 1.1 - 0.1 * core / core.sum() for one in wide])
    return made / made.sum(axis=(1, 2), keepdims=True)


@pytest.fixture
def make_views(kernels):
    """Function that makes the view of profiles with spectra (B, C) and noise of standard deviation 1, or none."""

    def make(profiles, spectra, *, noise_seed=None, weights=None, dtype=torch.float64):
        renderer = Convolution(kernels, SHAPE)
        images = profile_images(profiles, SHAPE, SIGMA, torch.zeros(1, dtype=dtype))
        data = renderer(torch.einsum("bc,cyx->byx", torch.as_tensor(spectra, dtype=dtype), images))
        if noise_seed is not None:
            data = data + torch.from_numpy(np.random.default_rng(noise_seed).normal(size=data.shape)).to(dtype)
        weights = torch.ones_like(data) if weights is None else torch.as_tensor(weights, dtype=dtype)
        return views_of([Observation(data, weights, renderer)])

    return make


@pytest.fixture
def flat():
    """Function that makes the flat image of sum 1."""
    return lambda: torch.full((1, *SHAPE), 1 / math.prod(SHAPE), dtype=torch.float64)
