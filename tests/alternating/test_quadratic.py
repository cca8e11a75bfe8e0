"""The small quadratics against eigenvalues, scipy and the case K = 1."""

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, nnls
from scipy.optimize import minimize as scipy_minimize

from vermilion.alternating import Block, NormalEquations, minimize
from vermilion.alternating.quadratic import majorizer
from vermilion.prox import Identity, MaxEntropy, NonNegative, Simplex

K, M = 4, 6


def draw(seed, *, shared, rank=K):
    """A design per column, with columns of very different size: G = DᵀD, c = Dᵀy."""
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(1 if shared else M, 8, rank)) @ rng.normal(size=(rank, K)) * np.array([1.0, 0.1, 3.0, 1.0])
    y = rng.normal(size=(M, 8))
    D = np.broadcast_to(D, (M, 8, K))
    G = np.einsum("mik,mil->klm", D, D)
    system = NormalEquations(torch.tensor(G[:, :, 0] if shared else G), torch.tensor(np.einsum("mik,mi->km", D, y)))
    return system, D, y


def block(prox, separable="element"):
    return Block(prox, lambda x: float(prox.penalty(x)), separable)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("separable", ["element", "column", "no"])
@pytest.mark.parametrize("rank", [1, K])
def test_the_majorizer_dominates_every_gram_matrix(shared, separable, rank):
    system, _, _ = draw(1, shared=shared, rank=rank)
    D = majorizer(system, separable)
    assert D.shape[0] == (K if separable == "element" else 1)
    full = D.expand(K, M)
    G = system.G if system.G.ndim == 3 else system.G[:, :, None].expand(K, K, M)
    for m in range(M):
        assert float(torch.linalg.eigvalsh(torch.diag(full[:, m]) - G[:, :, m])[0]) >= -1e-10 * float(full.max())


@pytest.mark.parametrize("separable", ["element", "column", "no"])
def test_the_majorizer_of_a_column_without_weight_is_positive_and_finite(separable):
    system = NormalEquations(torch.zeros(2, 2, 3).index_fill(2, torch.tensor([1]), 5.0), torch.zeros(2, 3))
    for dtype in (torch.float32, torch.float64):
        D = majorizer(NormalEquations(system.G.to(dtype), system.C.to(dtype)), separable)
        assert bool((D > 0).all() & torch.isfinite(D).all() & torch.isfinite(1 / D).all())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_non_negative_columns_are_those_of_nnls(shared, seed):
    system, D, y = draw(seed, shared=shared)
    X, n = minimize(torch.zeros(K, M, dtype=torch.float64), system, block(NonNegative()), steps=5000, tol=1e-13)
    expected = np.stack([nnls(D[m], y[m])[0] for m in range(M)], axis=1)
    np.testing.assert_allclose(X, expected, atol=1e-7)
    assert 1 <= n <= 5000


def test_without_constraint_the_linear_system_is_solved():
    system, D, y = draw(0, shared=False)
    X, _ = minimize(torch.zeros(K, M, dtype=torch.float64), system, block(Identity()), steps=20000, tol=1e-14)
    np.testing.assert_allclose(X, np.stack([np.linalg.lstsq(D[m], y[m], rcond=None)[0] for m in range(M)], axis=1), atol=1e-6)


@pytest.mark.parametrize("separable", ["column", "no"])
def test_columns_on_the_simplex_are_those_of_a_general_solver(separable):
    system, D, y = draw(2, shared=False)
    X, _ = minimize(torch.full((K, M), 1 / K, dtype=torch.float64), system, block(Simplex(0), separable), steps=20000, tol=1e-13)
    for m in range(M):
        best = scipy_minimize(
            lambda x, m=m: 0.5 * np.sum((D[m] @ x - y[m]) ** 2),
            np.full(K, 1 / K),
            jac=lambda x, m=m: D[m].T @ (D[m] @ x - y[m]),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(np.ones(K), 1, 1),
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(X[:, m], best.x, atol=1e-5)


def test_columns_with_entropy_are_those_of_a_general_solver():
    system, D, y = draw(3, shared=False)
    prox = MaxEntropy(0.7, prior=0.4)
    X, _ = minimize(torch.full((K, M), 0.4, dtype=torch.float64), system, block(prox), steps=20000, tol=1e-13)

    def objective(x, m):
        return 0.5 * np.sum((D[m] @ x - y[m]) ** 2) + 0.7 * np.sum(x * np.log(x / 0.4) - x + 0.4)

    for m in range(M):
        bounds = [(1e-12, None)] * K
        best = scipy_minimize(
            objective, np.full(K, 0.4), args=(m,), bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}
        )
        assert objective(X[:, m].numpy(), m) <= best.fun + 1e-9
        np.testing.assert_allclose(X[:, m], best.x, atol=1e-4)


def test_one_component_is_solved_by_a_single_division():
    # G = 2, c = (6, -4): x = max(c / G, 0) = (3, 0)
    system = NormalEquations(torch.tensor([[2.0]]), torch.tensor([[6.0, -4.0]]))
    X, _ = minimize(torch.zeros(1, 2), system, block(NonNegative()), steps=3)
    torch.testing.assert_close(X, torch.tensor([[3.0, 0.0]]), rtol=1e-4, atol=1e-6)


def test_the_start_is_not_modified_and_need_not_be_feasible():
    system, _, _ = draw(0, shared=True)
    start = torch.full((K, M), -1.0, dtype=torch.float64)
    X, _ = minimize(start, system, block(NonNegative()), steps=4)
    assert bool((start == -1).all())
    assert bool((X >= 0).all())


def test_the_number_of_steps_is_a_limit():
    system, _, _ = draw(0, shared=True)
    for steps in (1, 2, 7):
        assert minimize(torch.ones(K, M, dtype=torch.float64), system, block(NonNegative()), steps=steps, tol=0)[1] == steps
