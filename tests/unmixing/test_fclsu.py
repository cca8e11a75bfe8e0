"""Abundances on the simplex: the conditions of optimality, a general solver, and cases worked out by hand."""

import numpy as np
import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.unmixing.fclsu import fclsu, fclsu_gram


def scene(n_bands=30, n_spectra=5, n_pixels=60, *, noise=0.5, seed=0):
    """Y, W with a fifth missing, A, and the true abundances; float64."""
    rng = np.random.default_rng(seed)
    A = rng.gamma(1.0, size=(n_bands, n_spectra))
    S = rng.dirichlet(np.full(n_spectra, 0.4), n_pixels).T
    Y = A @ S + noise * rng.normal(size=(n_bands, n_pixels))
    W = rng.gamma(1.0, size=Y.shape) * (rng.random(Y.shape) > 0.2)
    return torch.tensor(Y), torch.tensor(W), torch.tensor(A), torch.tensor(S)


def violation(Y, A, S, W=None):
    """Largest breach of the conditions: on the support all slopes are equal, elsewhere none is larger."""
    W = torch.ones_like(Y) if W is None else W
    slope = A.T @ (W * (Y - A @ S))
    slope = (slope - (S * slope).sum(dim=0)) / (A.T @ (W * (Y.abs() + A.abs() @ S))).abs().amax(dim=0)
    return float(torch.maximum(slope, torch.where(S > 0, -slope, 0)).max())


@pytest.mark.parametrize("n_spectra", [1, 3, 10, 25])
@pytest.mark.parametrize("weighted", [False, True])
def test_abundances_are_optimal_to_rounding(n_spectra, weighted):
    Y, W, A, _ = scene(n_spectra=n_spectra)
    W = W if weighted else None
    S = fclsu(Y, A, W)
    assert float(S.min()) >= 0
    torch.testing.assert_close(S.sum(dim=0), torch.ones(60, dtype=torch.float64), atol=1e-14, rtol=0)
    assert violation(Y, A, S, W) < 1e-14


@pytest.mark.parametrize("weighted", [False, True])
def test_abundances_are_those_of_a_general_quadratic_solver(weighted):
    quadprog = pytest.importorskip("quadprog")
    Y, W, A, _ = scene(n_spectra=6)
    S = fclsu(Y, A, W if weighted else None)
    constraints, limits = np.column_stack([np.ones(6), np.eye(6)]), np.append(1.0, np.zeros(6))
    for n in range(Y.shape[1]):
        w = W[:, n].numpy() if weighted else np.ones(30)
        G, c = A.numpy().T @ (w[:, None] * A.numpy()), A.numpy().T @ (w * Y[:, n].numpy())
        np.testing.assert_allclose(S[:, n], quadprog.solve_qp(G, c, constraints, limits, 1)[0], atol=1e-10)


def test_mixtures_without_noise_are_found_as_they_are():
    Y, _, A, truth = scene(noise=0.0)
    torch.testing.assert_close(fclsu(Y, A), truth, atol=1e-13, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dependence", [1e-4, 1e-8, 0.0])
def test_spectra_that_mix_into_one_another_are_no_obstacle(dependence, weighted):
    Y, W, A, _ = scene(n_spectra=6)
    A[:, 5] = 0.5 * (A[:, 0] + A[:, 1]) + dependence * A[:, 5]
    W = W if weighted else None
    S = fclsu(Y, A, W)
    torch.testing.assert_close(S.sum(dim=0), torch.ones(60, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(S.min()) >= 0
    assert violation(Y, A, S, W) < 1e-13


def test_the_same_spectrum_twice_shares_what_one_has():
    Y, _, A, _ = scene()
    twice = fclsu(Y, torch.cat([A, A[:, :1]], dim=1))
    once = fclsu(Y, A)
    torch.testing.assert_close(twice[0] + twice[5], once[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(twice[1:5], once[1:], atol=1e-10, rtol=0)
    same = fclsu(Y, A[:, :1].expand(-1, 4))
    torch.testing.assert_close(same.sum(dim=0), torch.ones(60, dtype=torch.float64))
    assert float(same.min()) >= 0


def test_shade_is_what_a_sum_of_at_most_one_leaves():
    Y, W, A, _ = scene()
    Y = Y * torch.linspace(0.1, 1.5, 60, dtype=torch.float64)
    shaded = torch.cat([A, torch.zeros(30, 1, dtype=torch.float64)], dim=1)
    for w in (None, W):
        S = fclsu(Y, A, w, sum_to_one="at most")
        torch.testing.assert_close(S, fclsu(Y, shaded, w)[:5], atol=1e-11, rtol=0)
        assert (S.sum(dim=0) < 0.9).any()
        assert (S.sum(dim=0) > 1 - 1e-12).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_shift_of_data_and_spectra_changes_nothing(weighted):
    Y, W, A, _ = scene()
    shift = 1e4 * torch.rand(30, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w = W if weighted else None
    torch.testing.assert_close(fclsu(Y + shift, A + shift, w), fclsu(Y, A, w), atol=1e-9, rtol=0)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_change_nothing(factor, dtype):
    Y, W, A = (T.to(dtype) for T in scene()[:3])
    tol = 1e-5 if dtype == torch.float32 else 1e-12
    for w in (None, W):
        expected = fclsu(Y, A, w)
        assert expected.dtype == dtype
        torch.testing.assert_close(fclsu(Y * factor, A * factor, w), expected, atol=tol, rtol=0)
    torch.testing.assert_close(fclsu(Y, A, W * factor), fclsu(Y, A, W), atol=tol, rtol=0)


def test_pixels_far_outside_go_to_the_nearest_corner():
    A = torch.eye(3, dtype=torch.float64)
    Y = torch.tensor([[1e8, -5.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.0, 1 / 3], [0.0, 1.0, 1 / 3], [0.0, 0.0, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(fclsu(Y, A), expected, atol=1e-14, rtol=0)


def test_pixels_without_weight_are_nan_and_with_too_few_bands_feasible():
    Y, W, A, _ = scene()
    W[:, 3] = 0
    W[2:, 5] = 0
    S = fclsu(torch.where(W > 0, Y, torch.nan), A, W)
    assert torch.equal(S.isnan().any(dim=0), torch.arange(60) == 3)
    seen = torch.arange(60) != 3
    torch.testing.assert_close(S[:, seen].sum(dim=0), torch.ones(59, dtype=torch.float64), atol=1e-12, rtol=0)
    assert violation(Y[:, seen], A, S[:, seen], W[:, seen]) < 1e-13


def test_gram_matrices_and_leading_dimensions():
    Y, W, A, _ = scene()
    many = torch.stack([A, A.flip(1) + 0.1])
    S = fclsu(Y, many)
    torch.testing.assert_close(fclsu_gram(many.mT @ many, many.mT @ Y), S, atol=1e-10, rtol=0)
    torch.testing.assert_close(S[1], fclsu(Y, many[1]), atol=1e-12, rtol=0)
    torch.testing.assert_close(fclsu(Y, many, W)[1], fclsu(Y, many[1], W), atol=1e-12, rtol=0)


def test_an_unknown_kind_of_sum_is_refused():
    Y, _, A, _ = scene()
    with pytest.raises(ParameterError, match="sum_to_one is 'less': expected 'equal' or 'at most'"):
        fclsu(Y, A, sum_to_one="less")
