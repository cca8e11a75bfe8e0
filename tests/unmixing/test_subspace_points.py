"""Pixels in the subspace that K spectra span, however much of them is missing."""

import numpy as np
import pytest
import torch

from vermilion.errors import NoDataError
from vermilion.unmixing.subspace_points import band_noise, subspace_points

B, N, K = 40, 1500, 4


def draw(*, seed=0, sigma=0.01, weak=0.15, lack="nothing"):
    """Data of rank K, one dimension of them weak, and weights that say what is missing."""
    rng = np.random.default_rng(seed)
    A, S = rng.random((B, K)), rng.dirichlet(np.ones(K), N).T
    A[:, -1] = A[:, 0] + weak * (A[:, -1] - 0.5)
    clean, sigmas = A @ S, sigma * rng.uniform(0.5, 2, (B, 1))
    W = np.broadcast_to(1 / sigmas**2, (B, N)).copy()
    if lack == "values":
        W[rng.random((B, N)) < 0.2] = 0
    elif lack == "bands":
        W[10:22, rng.random(N) < 0.5] = 0
    elif lack == "both":
        W[10:22, : N // 2] = 0
        W[3], W[:, 7] = 0, 0
        W *= rng.uniform(0.3, 1, (B, N))
    Y = np.where(W > 0, clean + sigmas * rng.normal(size=(B, N)), 0)
    return torch.tensor(Y), torch.tensor(W), torch.tensor(clean), torch.tensor(A)


def left_over(Y, W, basis, X):
    return float((W * (Y - basis @ X).square()).sum())


@pytest.mark.parametrize("lack", ["values", "bands", "both"])
@pytest.mark.parametrize("seed", range(3))
def test_gaps_leave_the_model_as_good_as_complete_data_do(lack, seed):
    Y, W, clean, _ = draw(seed=seed, lack=lack)
    points = subspace_points(Y, W / W.mean(), K)
    there = (W > 0).any(dim=1)[:, None] & points.seen
    model = (points.basis @ points.coordinates)[there.expand(B, N)]
    whole, V, *_ = draw(seed=seed)
    complete = subspace_points(whole, V[:, :1].expand(B, N) / V.mean(), K)
    of_complete = (complete.basis @ complete.coordinates)[there.expand(B, N)]
    truth = clean[there.expand(B, N)]
    assert float((model - truth).square().mean()) < 2 * float((of_complete - truth).square().mean())
    assert points.misfit == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("lack", ["values", "bands", "both"])
def test_alternation_by_hand_from_there_finds_nothing_better(lack):
    Y, W, *_ = draw(seed=5, lack=lack, weak=0.05)
    W = W / W.mean()
    points = subspace_points(Y, W, K, whiten=False)
    U, X = points.basis.numpy(), points.coordinates.numpy()
    y, w = Y.numpy(), W.numpy()
    before = left_over(Y, W, points.basis, points.coordinates)
    for _ in range(100):
        U = np.stack([np.linalg.lstsq(np.sqrt(w[b])[:, None] * X.T, np.sqrt(w[b]) * y[b], rcond=None)[0] for b in range(B)])
        gram = np.einsum("bi,bn,bj->nij", U, w, U) + 1e-12 * np.eye(K)
        X = np.linalg.solve(gram, ((w * y).T @ U)[:, :, None])[:, :, 0].T
    after = float((w * (y - U @ X) ** 2).sum())
    assert after > (1 - 1e-4) * before


def test_complete_data_give_the_subspace_of_the_singular_vectors():
    Y, _, _, _ = draw(sigma=0.01)
    points = subspace_points(Y, None, K, whiten=False)
    left = torch.linalg.svd(Y, full_matrices=False)[0][:, :K]
    basis = torch.linalg.qr(points.basis)[0]
    assert float(torch.linalg.matrix_norm(left - basis @ (basis.T @ left), 2)) < 1e-8


def test_the_covariance_is_that_of_the_coordinates():
    Y, W, clean, _ = draw(lack="values", sigma=0.02)
    points = subspace_points(Y, W / W.mean(), K)
    exact = torch.linalg.lstsq(points.basis, clean).solution
    pulls = torch.linalg.solve_triangular(torch.linalg.cholesky(points.covariance), (points.coordinates - exact).T[:, :, None], upper=False)
    assert float(pulls.square().mean()) == pytest.approx(1, abs=0.1)


def test_the_noise_of_a_band_is_what_other_bands_do_not_explain():
    rng = np.random.default_rng(2)
    sigmas = rng.uniform(0.04, 0.06, B)
    Y = rng.random((B, K)) @ rng.dirichlet(np.ones(K), N).T + sigmas[:, None] * rng.normal(size=(B, N))
    found = band_noise(torch.tensor(Y)).numpy()
    for b in (0, 7, 39):
        others = np.delete(Y, b, axis=0).T
        rest = Y[b] - others @ np.linalg.lstsq(others, Y[b], rcond=None)[0]
        assert found[b] == pytest.approx(np.sqrt((rest**2).sum() / (N - B + 1)), rel=1e-6)
    np.testing.assert_allclose(found / sigmas, 1, atol=0.25)  # the others are noisy themselves


def test_a_model_that_misses_something_is_seen():
    Y, *_ = draw()
    assert subspace_points(Y, None, K).misfit < 1.1
    assert subspace_points(Y, None, K - 2).misfit > 5


@pytest.mark.parametrize("lack", ["nothing", "values"])
def test_dimensions_that_noise_alone_fills_do_not_count(lack):
    Y, W, *_ = draw(lack=lack)
    assert subspace_points(Y, W / W.mean(), K).above_noise() == K
    noise = torch.randn(Y.shape, generator=torch.Generator().manual_seed(0), dtype=Y.dtype)
    assert subspace_points(torch.where(W > 0, noise, 0), (W > 0).double(), K).above_noise() == 0
    assert subspace_points(Y, W / W.mean(), K + 2).above_noise() == K


def test_too_few_pixels_are_refused():
    Y, W, *_ = draw()
    W[:, K - 1 :] = 0
    with pytest.raises(NoDataError, match="ask for fewer endmembers"):
        subspace_points(Y, W, K)
