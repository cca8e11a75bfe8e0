"""Abundances that know their neighbors: a price that is paid, on the simplex."""

import numpy as np
import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.unmixing.fclsu import fclsu
from vermilion.unmixing.spatial import KINDS, smooth_abundances

SHAPE = (24, 20)


@pytest.fixture
def scene():
    """Data of three materials in blocks, spectra, and true shares."""
    rng = np.random.default_rng(0)
    A = rng.random((15, 3))
    truth = np.zeros((3, *SHAPE))
    truth[0, :, :8], truth[1, :12, 8:], truth[2, 12:, 8:] = 1, 1, 1
    truth = 0.8 * truth + 0.2 / 3
    Y = A @ truth.reshape(3, -1)
    return torch.tensor(Y + 0.3 * rng.normal(size=Y.shape)), torch.tensor(A), torch.tensor(truth.reshape(3, -1))


@pytest.mark.parametrize(("kind", "weight"), list(zip(KINDS, (2.0, 4.0, 1.0), strict=True)))
def test_neighbors_help_where_maps_are_smooth(scene, kind, weight):
    Y, A, truth = scene
    alone = fclsu(Y, A)
    smooth = smooth_abundances(Y, A, None, alone, weight=weight, kind=kind, shape=SHAPE)
    assert (smooth - truth).square().mean() < 0.75 * (alone - truth).square().mean()
    assert bool((smooth >= 0).all())
    assert torch.allclose(smooth.sum(dim=0), torch.ones_like(smooth[0]))


def test_vanishing_price_changes_nothing(scene):
    Y, A, _ = scene
    alone = fclsu(Y, A)
    assert torch.allclose(smooth_abundances(Y, A, None, alone, weight=1e-9, kind="tv", shape=SHAPE), alone, atol=2e-3)


def test_high_price_makes_maps_flat(scene):
    Y, A, _ = scene
    flat = smooth_abundances(Y, A, None, fclsu(Y, A), weight=1e4, kind="tv", shape=SHAPE)
    assert float(flat.std(dim=1).max()) < 0.03


def test_missing_pixels_are_filled_in_and_units_do_not_matter(scene):
    Y, A, truth = scene
    W = torch.ones_like(Y)
    W[:, 30:33] = 0
    first = torch.where(W[:1] > 0, fclsu(Y, A), torch.nan)
    smooth = smooth_abundances(Y, A, W, first, weight=2.0, kind="tv", shape=SHAPE)
    assert float((smooth - truth)[:, 30:33].abs().max()) < 0.35
    again = smooth_abundances(1e3 * Y, 1e3 * A, W, first, weight=2.0, kind="tv", shape=SHAPE)
    assert torch.allclose(smooth, again, atol=1e-6)


def test_unknown_kind_is_refused(scene):
    Y, A, truth = scene
    with pytest.raises(ParameterError, match="spatial kind is 'wavelet': expected one of 'tv', 'graph', 'starlet'"):
        smooth_abundances(Y, A, None, truth, weight=1.0, kind="wavelet", shape=SHAPE)
