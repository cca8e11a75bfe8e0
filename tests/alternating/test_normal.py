"""Normal equations and loss against explicit dense formulas."""

import numpy as np
import pytest
import torch

from vermilion.alternating import TensorTiles, loss, morphology_equations, spectra_equations

B, N, K = 5, 7, 3


def draw(seed=0, *, weighted, dtype=torch.float64, tile_bytes=64):
    rng = np.random.default_rng(seed)
    Y, A, S = rng.normal(size=(B, N)), rng.normal(size=(B, K)), rng.normal(size=(K, N))
    W = rng.gamma(1.0, size=(B, N)) * (rng.random((B, N)) > 0.3)
    W[2], W[:, 4] = 0, 0
    tiles = TensorTiles(torch.tensor(Y, dtype=dtype), torch.tensor(W, dtype=dtype) if weighted else None, tile_bytes=tile_bytes)
    return tiles, Y, W if weighted else np.ones((B, N)), A, S


def gram(G, column):
    return G if G.ndim == 2 else G[:, :, column]


@pytest.mark.parametrize("weighted", [True, False])
def test_morphology_equations_are_those_of_weighted_least_squares_per_pixel(weighted):
    tiles, Y, W, A, _ = draw(weighted=weighted)
    system = morphology_equations(tiles, torch.tensor(A))
    assert system.G.shape == ((K, K, N) if weighted else (K, K))
    for n in range(N):
        np.testing.assert_allclose(gram(system.G, n), A.T @ np.diag(W[:, n]) @ A, atol=1e-12)
        np.testing.assert_allclose(system.C[:, n], A.T @ (W[:, n] * Y[:, n]), atol=1e-12)


@pytest.mark.parametrize("weighted", [True, False])
def test_spectra_equations_are_those_of_weighted_least_squares_per_band(weighted):
    tiles, Y, W, _, S = draw(weighted=weighted)
    system = spectra_equations(tiles, torch.tensor(S))
    assert system.G.shape == ((K, K, B) if weighted else (K, K))
    for b in range(B):
        np.testing.assert_allclose(gram(system.G, b), S @ np.diag(W[b]) @ S.T, atol=1e-12)
        np.testing.assert_allclose(system.C[:, b], S @ (W[b] * Y[b]), atol=1e-12)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_gradient_is_that_of_the_loss(weighted):
    tiles, Y, W, A, S = draw(weighted=weighted)
    residual = W * (A @ S - Y)
    to_S = morphology_equations(tiles, torch.tensor(A)).gradient(torch.tensor(S))
    to_A = spectra_equations(tiles, torch.tensor(S)).gradient(torch.tensor(A.T))
    np.testing.assert_allclose(to_S, A.T @ residual, atol=1e-12)
    np.testing.assert_allclose(to_A.T, residual @ S.T, atol=1e-12)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_diagonal_broadcasts_against_the_unknown(weighted):
    tiles, _, W, A, _ = draw(weighted=weighted)
    system = morphology_equations(tiles, torch.tensor(A))
    np.testing.assert_allclose(system.diagonal().expand(K, N), (A**2).T @ W, atol=1e-12)


def test_systems_add_and_subtract():
    tiles, _, _, A, _ = draw(weighted=True)
    system = morphology_equations(tiles, torch.tensor(A))
    twice = system + system
    assert torch.equal(twice.G, 2 * system.G)
    assert torch.equal((twice - system).C, system.C)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_half_the_weighted_sum_of_squares(weighted):
    tiles, Y, W, A, S = draw(weighted=weighted)
    assert loss(tiles, torch.tensor(A), torch.tensor(S)) == pytest.approx(0.5 * np.sum(W * (Y - A @ S) ** 2), rel=1e-13)


def test_the_loss_of_two_numbers_by_hand():
    # (3 - 1·2)² · 2 / 2 + (0 - 1·4)² · 0.5 / 2 = 1 + 4
    tiles = TensorTiles(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.5]]))
    assert loss(tiles, torch.tensor([[1.0]]), torch.tensor([[2.0, 4.0]])) == 5


def test_the_loss_in_float32_keeps_its_digits_under_a_signal_of_ten_thousand_times_the_noise():
    rng = np.random.default_rng(1)
    A, S = rng.random((50, 2)).astype("f4"), 1e4 * rng.random((2, 400)).astype("f4")
    Y = (A.astype("f8") @ S + rng.normal(size=(50, 400))).astype("f4")
    exact = 0.5 * np.sum((Y.astype("f8") - A.astype("f8") @ S.astype("f8")) ** 2)
    assert loss(TensorTiles(torch.tensor(Y)), torch.tensor(A), torch.tensor(S)) == pytest.approx(exact, rel=1e-4)
