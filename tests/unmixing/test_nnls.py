"""Non-negative abundances against `scipy.optimize.nnls`, and the conditions of optimality."""

import numpy as np
import pytest
import scipy.optimize
import torch

from vermilion.errors import ParameterError, ShapeError
from vermilion.unmixing.nnls import nnls, nnls_gram


def scene(n_bands=30, n_spectra=5, n_pixels=60, *, noise=0.3, seed=0):
    """Y, W with a fifth missing, A; float64."""
    rng = np.random.default_rng(seed)
    A = rng.gamma(1.0, size=(n_bands, n_spectra))
    Y = A @ rng.normal(0.3, 0.7, size=(n_spectra, n_pixels)) + noise * rng.normal(size=(n_bands, n_pixels))
    W = rng.gamma(1.0, size=Y.shape) * (rng.random(Y.shape) > 0.2)
    return torch.tensor(Y), torch.tensor(W), torch.tensor(A)


def reference(Y, A, W=None):
    """A loop of scipy's solver over the pixels."""
    W = torch.ones_like(Y) if W is None else W.expand_as(Y)
    columns = [
        scipy.optimize.nnls(np.sqrt(w)[:, None] * A.numpy(), np.sqrt(w) * y)[0] for y, w in zip(Y.T.numpy(), W.T.numpy(), strict=True)
    ]
    return torch.tensor(np.stack(columns, axis=1))


@pytest.mark.parametrize("n_spectra", [1, 3, 10, 25])
@pytest.mark.parametrize("weights", ["none", "entries", "bands", "pixels"])
def test_abundances_are_those_of_scipy(n_spectra, weights):
    Y, W, A = scene(n_spectra=n_spectra)
    W = {"none": None, "entries": W, "bands": W[:, :1], "pixels": W[:1].clamp_min(0.1)}[weights]
    torch.testing.assert_close(nnls(Y, A, W), reference(Y, A, W), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dependence", [1e-3, 1e-6, 1e-9, 0.0])
def test_nearly_dependent_spectra_obey_the_conditions_of_optimality(dependence, weighted):
    Y, W, A = scene(n_spectra=6)
    A[:, 5] = 0.5 * (A[:, 0] + A[:, 1]) + dependence * A[:, 5]
    W = W if weighted else torch.ones_like(Y)
    S = nnls(Y, A, W if weighted else None)
    slope = (A.T @ (W * (Y - A @ S))) / (A.T @ (W * Y)).abs().amax(dim=0)
    assert float(S.min()) >= 0
    assert float(slope.max()) < 1e-13
    assert float(torch.where(S > 0, slope, 0).abs().max()) < 1e-13


def test_what_has_no_weight_is_not_looked_at():
    Y, W, A = scene()
    hidden = torch.where(W > 0, Y, torch.nan)
    torch.testing.assert_close(nnls(hidden, A, W), nnls(Y, A, W), atol=0, rtol=0)
    by_band = (W[:, :1] > 0).double()
    torch.testing.assert_close(nnls(torch.where(by_band > 0, Y, torch.nan), A, by_band), nnls(Y, A, by_band), atol=0, rtol=0)


def test_pixels_without_weight_or_with_nan_are_nan_and_others_are_not():
    Y, W, A = scene()
    W[:, 3], Y[0, 7], W[0, 7] = 0, torch.nan, 1
    bad = torch.zeros(60, dtype=torch.bool)
    bad[[3, 7]] = True
    assert torch.equal(nnls(Y, A, W).isnan().all(dim=0), bad)
    assert torch.equal(nnls(Y, A, W).isnan().any(dim=0), bad)
    assert torch.equal(nnls(Y, A, W[:1].clamp(max=1)).isnan().any(dim=0), (W[0] == 0) | (torch.arange(60) == 7))
    assert nnls(Y, A, torch.zeros(30, 1)).isnan().all()


def test_fewer_bands_than_spectra_give_a_finite_minimizer():
    Y, W, A = scene(n_bands=12, n_spectra=6)
    W[3:] = 0
    S = nnls(Y, A, W)
    best = [scipy.optimize.nnls(np.sqrt(w)[:, None] * A.numpy(), np.sqrt(w) * y)[1] for y, w in zip(Y.T.numpy(), W.T.numpy(), strict=True)]
    seen = W.amax(dim=0) > 0
    residual = (W * (Y - A @ S).square()).sum(dim=0).sqrt()
    torch.testing.assert_close(residual[seen], torch.tensor(best, dtype=torch.float64)[seen], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_change_nothing_but_the_unit(factor, dtype):
    Y, W, A = scene()
    Y, W, A = Y.to(dtype), W.to(dtype), A.to(dtype)
    tol = 1e-5 if dtype == torch.float32 else 1e-12
    for w in (None, W):
        expected = nnls(Y, A, w)
        assert expected.dtype == dtype
        torch.testing.assert_close(nnls(Y * factor, A, w) / factor, expected, atol=tol, rtol=tol)
        torch.testing.assert_close(nnls(Y, A * factor, w) * factor, expected, atol=tol, rtol=tol)
    torch.testing.assert_close(nnls(Y, A, W * factor), nnls(Y, A, W), atol=tol, rtol=tol)
    sizes = torch.logspace(-10, 10, 5, dtype=dtype)
    torch.testing.assert_close(nnls(Y, A * sizes) * sizes[:, None], nnls(Y, A), atol=tol, rtol=tol)


def test_float32_is_rounded_only_once():
    Y, _, A = scene(n_spectra=8)
    exact = nnls(Y.float().double(), A.float().double())
    torch.testing.assert_close(nnls(Y.float(), A.float()), exact.float(), atol=0, rtol=0)


def test_empty_scenes_dark_pixels_and_spectra_of_zeros():
    Y, W, A = scene()
    assert nnls(Y[:, :0], A).shape == (5, 0)
    A[:, 2], Y[:, 4] = 0, 0
    for w in (None, W):
        S = nnls(Y, A, w)
        assert not S[:, 4].any()
        assert not S[2].any()
        rest = [0, 1, 3, 4]
        torch.testing.assert_close(S[rest], reference(Y, A[:, rest], w), atol=1e-10, rtol=1e-10)
    assert not nnls(Y, torch.zeros_like(A)).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_leading_dimensions_are_problems_of_their_own(weighted):
    Y, W, A = scene()
    many = torch.stack([A, A.flip(1) + 0.1, 2 * A]).reshape(3, 1, *A.shape)
    w = W if weighted else None
    S = nnls(Y, many, w)
    assert S.shape == (3, 1, 5, 60)
    for s, a in zip(S[:, 0], many[:, 0], strict=True):
        torch.testing.assert_close(s, nnls(Y, a, w), atol=1e-12, rtol=1e-12)
    both = torch.stack([Y, -Y])
    S = nnls(both, A, w)
    for s, y in zip(S, both, strict=True):
        torch.testing.assert_close(s, nnls(y, A, w), atol=1e-12, rtol=1e-12)


def test_gram_matrices_serve_as_well_as_data():
    Y, _, A = scene()
    many = torch.stack([A, A.flip(1) + 0.1])
    S = nnls_gram(many.mT @ many, many.mT @ Y)
    torch.testing.assert_close(S, nnls(Y, many), atol=1e-10, rtol=1e-10)
    assert nnls_gram((A.T @ A).float(), (A.T @ Y).float()).dtype == torch.float32


def test_the_order_of_tiles_leaves_no_trace(monkeypatch):
    Y, W, A = scene()
    expected = nnls(Y, A), nnls(Y, A, W)
    monkeypatch.setattr("vermilion.unmixing.systems._PACKED_BYTES", 1)
    monkeypatch.setattr("vermilion.unmixing.systems._SHARED_BYTES", 1)
    found = nnls(Y.repeat(1, 40), A), nnls(Y, A, W)
    torch.testing.assert_close(found[0], expected[0].repeat(1, 40), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found[1], expected[1], atol=1e-12, rtol=1e-12)


def test_inputs_are_left_alone():
    Y, W, A = scene()
    before = Y.clone(), W.clone(), A.clone()
    nnls(Y, A, W)
    nnls_gram(A.T @ A, A.T @ Y)
    assert all(torch.equal(a, b) for a, b in zip((Y, W, A), before, strict=True))


def test_what_does_not_fit_is_refused():
    Y, W, A = scene()
    with pytest.raises(ShapeError, match=r"data has shape \(30, 60\) and spectra \(29, 5\)"):
        nnls(Y, A[1:])
    with pytest.raises(ShapeError, match=r"weights has shape \(30, 59\), data has \(30, 60\)"):
        nnls(Y, A, W[:, 1:])
    with pytest.raises(ParameterError, match="spectra must be finite"):
        nnls(Y, torch.where(A > 1, A, torch.nan))
    with pytest.raises(ParameterError, match="weights must be finite and >= 0"):
        nnls(Y, A, -W)
    with pytest.raises(ShapeError, match=r"G has shape \(5, 4\)"):
        nnls_gram(torch.ones(5, 4), torch.ones(5, 3))


def test_the_device_stays(device):
    Y, W, A = (T.to(device) for T in scene())
    for w in (None, W):
        S = nnls(Y, A, w)
        assert S.device.type == device
        torch.testing.assert_close(S.cpu(), reference(Y.cpu(), A.cpu(), None if w is None else w.cpu()), atol=1e-9, rtol=1e-9)
