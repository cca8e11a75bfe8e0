"""Signed abundances against numpy's least squares, pixel by pixel."""

import numpy as np
import pytest
import torch

from vermilion.unmixing.least_squares import least_squares


def scene(n_bands=20, n_spectra=4, n_pixels=30, seed=0):
    rng = np.random.default_rng(seed)
    A, Y = rng.gamma(1.0, size=(n_bands, n_spectra)), rng.normal(size=(n_bands, n_pixels))
    W = rng.gamma(1.0, size=Y.shape) * (rng.random(Y.shape) > 0.2)
    return torch.tensor(Y), torch.tensor(W), torch.tensor(A)


def reference(Y, A, W):
    roots = W.expand_as(Y).sqrt().T.numpy()
    columns = [np.linalg.lstsq(r[:, None] * A.numpy(), r * y, rcond=1e-12)[0] for y, r in zip(Y.T.numpy(), roots, strict=True)]
    return torch.tensor(np.stack(columns, axis=1))


@pytest.mark.parametrize("weights", ["none", "entries", "bands", "pixels"])
@pytest.mark.parametrize("spectra", ["independent", "dependent", "with zeros", "more than bands"])
def test_abundances_are_the_shortest_of_least_squares(weights, spectra):
    Y, W, A = scene(n_bands=3 if spectra == "more than bands" else 20)
    if spectra == "dependent":
        A[:, 3] = A[:, 0] - 2 * A[:, 1]
    if spectra == "with zeros":
        A[:, 3] = 0
    W = {"none": None, "entries": W.clamp_min(1e-3), "bands": W[:, :1], "pixels": W[:1].clamp_min(0.1)}[weights]
    expected = reference(Y, A, torch.ones_like(Y) if W is None else W)
    torch.testing.assert_close(least_squares(Y, A, W), expected, atol=1e-9, rtol=1e-9)


def test_missing_entries_pixels_and_bands():
    Y, W, A = scene()
    W[:, 2], W[2:, 4] = 0, 0
    S = least_squares(torch.where(W > 0, Y, torch.nan), A, W)
    assert torch.equal(S.isnan().any(dim=0), torch.arange(30) == 2)
    seen = torch.arange(30) != 2
    torch.testing.assert_close(S[:, seen], reference(Y, A, W)[:, seen], atol=1e-9, rtol=1e-9)
    assert least_squares(Y, A, torch.zeros(20, 1)).isnan().all()


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_units_change_nothing_but_the_unit_in_single_precision(factor):
    Y, W, A = (T.float() for T in scene())
    for w in (None, W):
        S = least_squares(factor * Y, A, w)
        assert S.dtype == torch.float32
        torch.testing.assert_close(S / factor, least_squares(Y, A, w), atol=1e-5, rtol=1e-5)


def test_leading_dimensions_are_problems_of_their_own():
    Y, W, A = scene()
    many = torch.stack([A, A.flip(0)])
    for w in (None, W):
        torch.testing.assert_close(least_squares(Y, many, w)[1], least_squares(Y, many[1], w), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(least_squares(torch.stack([Y, 2 * Y]), many)[1], 2 * least_squares(Y, many[1]), atol=1e-12, rtol=1e-12)
