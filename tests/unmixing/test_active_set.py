"""The active set: the same minimizers by compiled loops, by the same loops in Python, and by torch; against all sets tried in turn."""

import itertools

import numpy as np
import pytest
import torch

from vermilion.alternating.quadratic import pairs
from vermilion.unmixing import active_set

WAYS = ("compiled", "python", "torch")


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    if request.param != "compiled":
        monkeypatch.setattr(active_set, "compiled", lambda kernel: kernel if request.param == "python" else None)
    return request.param


def draw(n_unknowns, n_pixels, *, bands=20, seed=0):
    """G (1, K, K) and C (1, K, N) with minimizers on faces of every dimension."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(bands, n_unknowns)) + 0.7
    Y = A @ rng.normal(size=(n_unknowns, n_pixels)) + rng.normal(size=(bands, n_pixels))
    return torch.tensor(A.T @ A)[None], torch.tensor(A.T @ Y)[None]


def solved(G, C, *, total=None, packed=False, ridge=0.0):
    scale = C.abs().amax(dim=1)
    return active_set.solve(G, C, torch.zeros_like(C), scale, packed=packed, total=total, ridge=ridge)


def best_of_all_sets(G, c, total):
    """The minimizer among those of every set of free variables that are feasible."""
    K, best = len(c), (np.inf, None)
    for size in range(0 if total is None else 1, K + 1):
        for free in map(list, itertools.combinations(range(K), size)):
            x = np.zeros(K)
            if total is None:
                x[free] = np.linalg.solve(G[np.ix_(free, free)], c[free]) if free else []
            else:
                bordered = np.block([[G[np.ix_(free, free)], np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
                x[free] = np.linalg.solve(bordered, np.append(c[free], total))[:-1]
            if (x >= 0).all():
                best = min(best, (0.5 * x @ G @ x - c @ x, tuple(x)))
    return np.array(best[1])


@pytest.mark.parametrize("total", [None, 1.0, 2.5])
@pytest.mark.parametrize("n_unknowns", [1, 2, 5])
def test_solutions_are_the_best_of_all_sets_of_free_variables(way, n_unknowns, total):
    G, C = draw(n_unknowns, 25)
    X = solved(G, C, total=total)
    expected = np.stack([best_of_all_sets(G[0].numpy(), c, total) for c in C[0].T.numpy()], axis=1)
    np.testing.assert_allclose(X[0].numpy(), expected, atol=1e-12)
    assert (X == 0).any() or n_unknowns == 1  # faces were met


@pytest.mark.parametrize("total", [None, 1.0])
@pytest.mark.parametrize("packed", [False, True])
def test_variables_freed_one_at_a_time_end_at_the_same_point(way, monkeypatch, packed, total):
    G, C = draw(6, 30)
    expected = solved(G, C, total=total)
    monkeypatch.setattr(active_set, "_EXCHANGES", 0)
    if packed:
        rows, columns = torch.triu_indices(6, 6)
        G = G[:, rows, columns, None].expand(-1, -1, 30)
    torch.testing.assert_close(solved(G, C, total=total, packed=packed), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("total", [None, 1.0])
def test_a_matrix_for_every_pixel_is_that_of_the_pixel(way, total):
    rng = np.random.default_rng(3)
    A, W, Y = rng.normal(size=(12, 4)), rng.gamma(1.0, size=(12, 15)), rng.normal(size=(12, 15))
    packed = (pairs(torch.tensor(A.T)) @ torch.tensor(W))[None]
    C = torch.tensor(A.T @ (W * Y))[None]
    X = solved(packed, C, total=total, packed=True)[0]
    for n in range(15):
        G = torch.tensor(A.T @ (W[:, n, None] * A))[None]
        torch.testing.assert_close(X[:, n], solved(G, C[:, :, n : n + 1], total=total)[0, :, 0], atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("total", [None, 1.0])
def test_refinement_at_a_solution_returns_it_and_away_from_it_finds_it(way, total):
    G, C = draw(5, 40)
    X = solved(G, C, total=total)
    scale = C.abs().amax(dim=1)
    feasible = torch.full_like(X, 0.2)
    feasible[:, 0] = 0.0
    feasible /= feasible.sum(dim=1, keepdim=True)
    for at in (X, feasible):
        again = active_set.solve(G, C - G @ at, at, scale, total=total, ridge=0.0)
        torch.testing.assert_close(again, X, atol=1e-12, rtol=1e-12)


def test_ways_agree_where_exchanging_all_at_once_has_to_choose_among_many_sets(monkeypatch):
    G, C = draw(24, 60, bands=30, seed=5)
    expected = solved(G, C, total=1.0)
    monkeypatch.setattr(active_set, "compiled", lambda kernel: None)
    torch.testing.assert_close(solved(G, C, total=1.0), expected, atol=1e-11, rtol=1e-11)


def test_more_variables_than_bits_are_solved_too(monkeypatch):
    G, C = draw(70, 8, bands=100)
    X = solved(G, C)
    slope = C - G @ X
    assert float(X.min()) >= 0
    assert float(slope.max()) < 1e-9 * float(C.abs().max())
    monkeypatch.setattr(active_set, "compiled", lambda kernel: None)
    torch.testing.assert_close(solved(G, C), X, atol=1e-10, rtol=1e-10)


def test_a_slope_that_is_not_finite_spoils_its_own_pixel_only(way):
    G, C = draw(3, 6)
    expected = solved(G, C)
    C[0, 1, 2], C[0, 0, 4] = torch.nan, torch.inf
    X = solved(G, C)
    assert X[0, :, [2, 4]].isnan().all()
    torch.testing.assert_close(X[0, :, [0, 1, 3, 5]], expected[0, :, [0, 1, 3, 5]])


def test_nothing_to_solve_is_nothing():
    assert active_set.solve(torch.eye(3)[None], torch.empty(1, 3, 0), torch.empty(1, 3, 0), torch.empty(1, 0)).shape == (1, 3, 0)
