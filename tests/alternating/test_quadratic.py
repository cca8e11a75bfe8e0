"""The small quadratics against explicit matrices, eigenvalues and scipy."""

import importlib.util
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, nnls
from scipy.optimize import minimize as scipy_minimize

from vermilion.alternating import Block, Quadratic, minimize
from vermilion.alternating.quadratic import majorizer, pairs, place
from vermilion.prox import Box, Identity, MaxEntropy, NonNegative, Simplex

K, M = 4, 6
METHODS = [
    "accelerated",
    pytest.param("kernel", marks=pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")),
    "torch",
]


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    """Name of a method of `minimize`, with coordinate descent in its compiled and in its plain form."""
    if request.param == "torch":
        monkeypatch.setattr("vermilion.alternating.kernels.compiled", lambda kernel: None)
    return "accelerated" if request.param == "accelerated" else "descent"


def draw(seed, *, shared, rank=K, at=None, dtype=torch.float64):
    """A design D per column, with components of very different size, as moves from X₀: G = DᵀD, g = Dᵀ(D X₀ − y)."""
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(1 if shared else M, 8, rank)) @ rng.normal(size=(rank, K)) * np.array([1.0, 0.1, 3.0, 1.0])
    y = rng.normal(size=(M, 8))
    D = np.broadcast_to(D, (M, 8, K))
    at = rng.normal(size=(K, M)) if at is None else np.full((K, M), at)
    G = np.einsum("mik,mil->mkl", D, D)
    g = np.einsum("mik,mi->km", D, np.einsum("mik,km->mi", D, at) - y)
    return quadratic(G[0] if shared else G, g, at, dtype), D, y


def quadratic(G, gradient, at, dtype=torch.float64):
    """G (K, K) for all columns, or (M, K, K), of which the upper triangles are kept, row by row."""
    G, gradient, at = (torch.as_tensor(np.ascontiguousarray(X), dtype=dtype) for X in (G, gradient, at))
    if G.ndim == 2:
        return Quadratic(G, gradient, at)
    upper = [G[:, k, m] for k in range(G.shape[1]) for m in range(k, G.shape[1])]
    return Quadratic(torch.stack(upper), gradient, at, packed=True)


def block(prox, separable="element", *, held=(), frozen=None):
    """The constraint on (K, M) with the lower limit that it is, and values of `held` rows (k, value)."""

    def apply(X, step):
        out = prox(X, step)
        for k, value in held:
            out[k] = value
        return out

    return Block(
        apply,
        lambda x: float(prox.penalty(x)),
        separable,
        floor={NonNegative: 0.0, Identity: -np.inf}.get(type(prox)),
        held=tuple(k for k, _ in held),
        frozen=frozen,
        cut=lambda columns: block(prox, separable, held=held),
    )


def solve(system, *arguments, **options):
    """What `minimize` returns, with the value there checked on the way."""
    X, n, value = minimize(system, *arguments, **options)
    expected = system.change(X)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max() + 1))
    assert value.dtype == torch.float64
    return X, n


# ---- the quadratic itself


@pytest.mark.parametrize("shared", [True, False])
def test_a_quadratic_is_that_of_its_explicit_matrices(shared):
    system, D, _ = draw(0, shared=shared)
    X = np.random.default_rng(1).normal(size=(K, M))
    products, diagonals = system.times(torch.tensor(X)), system.diagonal().expand(K, M)
    for m in range(M):
        G = D[m].T @ D[m]
        np.testing.assert_allclose(products[:, m], G @ X[:, m], atol=1e-12)
        np.testing.assert_allclose(diagonals[:, m], np.diag(G), atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_the_value_at_a_point_is_the_difference_of_the_losses(shared):
    system, D, y = draw(0, shared=shared)
    X = np.random.default_rng(1).normal(size=(K, M))

    def loss(x):
        return sum(0.5 * np.sum((D[m] @ x[:, m] - y[m]) ** 2) for m in range(M))

    expected = loss(X) - loss(system.at.numpy())
    for columns in (1, 4, 1 << 14):
        assert float(system.change(torch.tensor(X), columns=columns)) == pytest.approx(expected, rel=1e-12)
    assert float(system.change(system.at)) == 0


def test_the_value_of_one_number_by_hand():
    # ⟨g, D⟩ + ½ G D² with G = 2, g = -6 from X₀ = 1 to X = 3: D = 2, -12 + 4 = -8; and from 1 to 0: 6 + 1 = 7
    system = Quadratic(torch.tensor([[2.0]]), torch.tensor([[-6.0, -6.0]]), torch.ones(1, 2))
    assert float(system.change(torch.tensor([[3.0, 1.0]]))) == -8
    assert float(system.change(torch.tensor([[3.0, 0.0]]))) == -1


@pytest.mark.parametrize("shared", [True, False])
def test_some_columns_are_a_quadratic_of_their_own(shared):
    system, _, _ = draw(0, shared=shared)
    X = torch.randn(K, M, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part = system.columns(slice(2, 5))
    assert part.packed is system.packed
    torch.testing.assert_close(part.times(X[:, 2:5]), system.times(X)[:, 2:5])
    torch.testing.assert_close(part.diagonal().expand(K, 3), system.diagonal().expand(K, M)[:, 2:5])
    whole = part.change(X[:, 2:5]) + system.columns(slice(0, 2)).change(X[:, :2]) + system.columns(slice(5, M)).change(X[:, 5:])
    torch.testing.assert_close(whole, system.change(X))


def test_the_packed_form_of_one_matrix_for_all_columns_is_the_shared_one():
    shared, _, _ = draw(0, shared=True)
    packed = quadratic(np.broadcast_to(shared.G.numpy(), (M, K, K)), shared.gradient, shared.at)
    X = torch.randn(K, M, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(packed.times(X), shared.times(X))
    torch.testing.assert_close(packed.diagonal(), shared.diagonal().expand(K, M))
    torch.testing.assert_close(packed.change(X), shared.change(X))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pairs_stand_where_place_says(n):
    X = torch.randn(3, n, 4, generator=torch.Generator().manual_seed(0))
    where, products = place(n, X.device), pairs(X)
    assert products.shape == (3, n * (n + 1) // 2, 4)
    for k in range(n):
        for m in range(n):
            assert torch.equal(products[:, where[k, m]], X[:, k] * X[:, m])


@pytest.mark.parametrize("shared", [True, False])
def test_problems_in_a_batch_are_those_one_by_one(shared):
    each = [draw(seed, shared=shared)[0] for seed in range(3)]
    batch = Quadratic(*(torch.stack([getattr(q, name) for q in each]) for name in ("G", "gradient", "at")), packed=not shared)
    X = torch.randn(3, K, M, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert batch.change(X).shape == (3,)
    for i, one in enumerate(each):
        torch.testing.assert_close(batch.times(X)[i], one.times(X[i]))
        torch.testing.assert_close(batch.diagonal()[i], one.diagonal())
        torch.testing.assert_close(batch.change(X)[i], one.change(X[i]))
        for separable in ("element", "column", "no"):
            torch.testing.assert_close(majorizer(batch, separable)[i], majorizer(one, separable))


# ---- the bound on G


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("separable", ["element", "column", "no"])
@pytest.mark.parametrize("rank", [1, K])
def test_the_majorizer_dominates_every_gram_matrix(shared, separable, rank):
    for seed in range(10):
        system, designs, _ = draw(seed, shared=shared, rank=rank)
        D = majorizer(system, separable)
        assert D.shape[0] == (K if separable == "element" else 1)
        assert D.shape[1] == (1 if shared or separable == "no" else M)
        full = D.expand(K, M).numpy()
        for m in range(M):
            G = designs[m].T @ designs[m]
            assert np.linalg.eigvalsh(np.diag(full[:, m]) - G)[0] >= -1e-10 * full.max()


@pytest.mark.parametrize("shared", [True, False])
def test_the_majorizer_of_one_component_is_its_matrix(shared):
    system = quadratic(np.array([[2.0]]) if shared else np.array([[[2.0]], [[3.0]]]), np.zeros((1, 2)), np.zeros((1, 2)))
    expected = torch.tensor([[2.0, 2.0]] if shared else [[2.0, 3.0]], dtype=torch.float64)
    for separable in ("element", "column"):
        torch.testing.assert_close(majorizer(system, separable).expand(1, 2), expected, rtol=2e-5, atol=0)


@pytest.mark.parametrize("separable", ["element", "column", "no"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_majorizer_of_columns_and_rows_without_weight_is_positive_and_finite(separable, dtype):
    nothing, some = np.zeros((2, 2)), np.full((2, 2), 5.0)
    dead_row = np.diag([5.0, 0.0])
    for G in (nothing, dead_row, np.stack([nothing, some, dead_row]), np.stack([nothing] * 3)):
        D = majorizer(quadratic(G, np.zeros((2, 3)), np.zeros((2, 3)), dtype), separable)
        assert bool((D > 0).all() & torch.isfinite(D).all() & torch.isfinite(1 / D).all())


# ---- its minimum


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_non_negative_columns_are_those_of_nnls(method, shared, seed):
    system, D, y = draw(seed, shared=shared)
    X, n = solve(system, block(NonNegative()), steps=5000, tol=1e-13, method=method)
    expected = np.stack([nnls(D[m], y[m])[0] for m in range(M)], axis=1)
    np.testing.assert_allclose(X, expected, atol=1e-7)
    assert 1 <= n <= 5000


@pytest.mark.parametrize("shared", [True, False])
def test_without_constraint_the_linear_system_is_solved(method, shared):
    system, D, y = draw(0, shared=shared)
    X, _ = solve(system, block(Identity()), steps=20000 if method == "accelerated" else 5000, tol=1e-14, method=method)
    np.testing.assert_allclose(X, np.stack([np.linalg.lstsq(D[m], y[m], rcond=None)[0] for m in range(M)], axis=1), atol=1e-6)


def on_simplex(separable="column", **options):
    """Columns that sum to 1."""
    return replace(block(Simplex(0), separable, **options), adds_up=separable == "column")


@pytest.mark.parametrize("separable", ["column", "no"])
@pytest.mark.parametrize("shared", [True, False])
def test_columns_on_the_simplex_are_those_of_a_general_solver(separable, shared, method):
    system, D, y = draw(2, shared=shared)
    X, _ = solve(
        system,
        on_simplex(separable),
        steps=20000 if method == "accelerated" or separable == "no" else 300,
        tol=1e-13,
        method="auto" if method == "descent" else method,
    )
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
    system, D, y = draw(3, shared=False, at=0.4)
    prox = MaxEntropy(0.7, prior=0.4)
    X, _ = solve(system, block(prox), steps=20000, tol=1e-13)

    def objective(x, m):
        return 0.5 * np.sum((D[m] @ x - y[m]) ** 2) + 0.7 * np.sum(x * np.log(x / 0.4) - x + 0.4)

    for m in range(M):
        bounds = [(1e-12, None)] * K
        best = scipy_minimize(
            objective, np.full(K, 0.4), args=(m,), bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}
        )
        assert objective(X[:, m].numpy(), m) <= best.fun + 1e-9
        np.testing.assert_allclose(X[:, m], best.x, atol=1e-4)


def repeated(system, constraint, times):
    """`minimize` again and again from where it ended."""
    for _ in range(times):
        X, _ = solve(system, constraint, steps=5)
        system = Quadratic(system.G, system.gradient + system.times(X - system.at), X, system.packed)
    return X


@pytest.mark.parametrize("shared", [True, False])
def test_coordinate_descent_with_entropy_ends_where_proximal_gradients_end(shared):
    prox = MaxEntropy(0.7, prior=0.4)
    constraint = block(prox, held=[(1, 0.2)])
    fast = replace(constraint, entropy=(0.7, 0.4))
    for start in (0.4, 0.0, 50.0):  # and from where the logarithm has no end
        system, _, _ = draw(3, shared=shared, at=start)
        expected, _ = solve(system, constraint, steps=20000, tol=1e-13)
        X = repeated(system, fast, 200)
        assert bool((X[1] == 0.2).all())
        torch.testing.assert_close(X, expected, rtol=1e-4, atol=1e-5)


def test_descent_by_components_ends_where_proximal_gradients_end():
    # every row on its simplex: rows are not tied to each other, their columns are
    system, _, _ = draw(3, shared=True, at=0.2)
    tied = Block(lambda X, step: Simplex(1)(X, step), lambda X: 0.0, "no")
    expected, _ = solve(system, tied, steps=20000, tol=1e-13)
    X = repeated(system, replace(tied, by_component=True), 500)
    torch.testing.assert_close(X.sum(dim=1), torch.ones(K, dtype=torch.float64))
    torch.testing.assert_close(X, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS[1:], indirect=True)
@pytest.mark.parametrize("shared", [True, False])
def test_two_entries_that_add_up_are_solved_by_one_exchange(method, shared):
    # ½ (3 a² + b²) with a + b = 1 is least where 3 a = b: (1/4, 3/4); and with the gradient (-9, 0) beside it at a = 1
    G = np.diag([3.0, 1.0])
    at, gradient = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[3.0, -6.0], [0.0, 0.0]])
    system = quadratic(G if shared else np.stack([G, G]), gradient, at)
    X, _ = solve(system, on_simplex(), steps=1)
    torch.testing.assert_close(X, torch.tensor([[0.25, 1.0], [0.75, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("method", METHODS[1:], indirect=True)
def test_no_sweep_of_exchanges_raises_the_value_or_leaves_the_simplex(method):
    system, _, _ = draw(2, shared=False)
    values = []
    for n in range(1, 9):
        X, _ = solve(system, on_simplex(), steps=n)
        values.append(float(system.change(X)))
        torch.testing.assert_close(X.sum(dim=0), torch.ones(M, dtype=torch.float64))
        assert bool((X >= 0).all())
    assert all(after <= before + 1e-12 for before, after in pairwise(values))


@pytest.mark.parametrize("method", METHODS[1:], indirect=True)
def test_components_that_cannot_be_told_apart_keep_what_they_have(method):
    # twice the same spectrum: the curvature of an exchange between the two is 0
    system = quadratic(np.ones((3, 3)) + np.diag([0.0, 0.0, 1.0]), np.zeros((3, 2)), np.array([[0.5, 0.1], [0.3, 0.2], [0.2, 0.7]]))
    X, _ = solve(system, on_simplex(), steps=6)
    torch.testing.assert_close(X, system.at)


def test_a_held_row_leaves_the_simplex_to_proximal_gradients():
    assert on_simplex().descends
    assert not on_simplex(held=[(1, 0.2)]).descends


@pytest.mark.parametrize("method", METHODS[1:], indirect=True)
@pytest.mark.parametrize("start", [1e-300, 1e-200, 0.3, 1e200])
def test_entropy_alone_ends_at_its_map_from_anywhere(method, start):
    # ln(y/m) = 0: without data every entry becomes the map
    nothing = quadratic(np.zeros((2, 2)), np.zeros((2, 3)), np.full((2, 3), start))
    X = repeated(nothing, replace(block(MaxEntropy(0.7, prior=0.4)), entropy=(0.7, 0.4)), 300)
    torch.testing.assert_close(X, torch.full((2, 3), 0.4, dtype=torch.float64), rtol=1e-12, atol=0)


def test_boxes_are_those_of_a_general_solver():
    system, D, y = draw(4, shared=False)
    X, _ = solve(system, block(Box(-0.2, 0.3)), steps=20000, tol=1e-13)
    for m in range(M):
        best = scipy_minimize(
            lambda x, m=m: (0.5 * np.sum((D[m] @ x - y[m]) ** 2), D[m].T @ (D[m] @ x - y[m])),
            np.zeros(K),
            jac=True,
            bounds=[(-0.2, 0.3)] * K,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        np.testing.assert_allclose(X[:, m], best.x, atol=1e-5)


def test_one_component_is_solved_by_a_single_division(method):
    # G = 2, from X₀ = 1 with gradient 2·1 − c, c = (6, -4): x = max(c / G, 0) = (3, 0)
    system = Quadratic(torch.tensor([[2.0]]), torch.tensor([[-4.0, 6.0]]), torch.ones(1, 2))
    X, _ = solve(system, block(NonNegative()), steps=3, method=method)
    torch.testing.assert_close(X, torch.tensor([[3.0, 0.0]]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_every_sweep_of_coordinate_descent_lowers_the_value(shared):
    system, _, _ = draw(0, shared=shared, at=0.5)
    values = [float(system.change(solve(system, block(NonNegative()), steps=n, method="descent")[0])) for n in range(1, 12)]
    assert values[0] < 0
    assert all(after <= before + 1e-14 for before, after in pairwise(values))


@pytest.mark.parametrize("shared", [True, False])
def test_the_start_is_not_modified_and_need_not_be_feasible(method, shared):
    system, _, _ = draw(0, shared=shared, at=-1.0)
    before = [X.clone() for X in (system.G, system.gradient, system.at)]
    for prox in (NonNegative(), Identity()):
        X, _ = solve(system, block(prox), steps=4, method=method)
        assert X.data_ptr() != system.at.data_ptr()
        assert all(torch.equal(X, old) for X, old in zip((system.G, system.gradient, system.at), before, strict=True))
    X, _ = solve(system, block(NonNegative()), steps=4, method=method)
    assert bool((X >= 0).all())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("prox", [NonNegative(), Identity()], ids=repr)
def test_rows_that_are_held_stay_and_the_others_are_solved_beside_them(method, shared, prox):
    system, D, y = draw(1, shared=shared)
    given = torch.linspace(0.5, 1.5, M, dtype=torch.float64)
    X, _ = solve(system, block(prox, held=[(2, given)]), steps=20000 if method == "accelerated" else 5000, tol=1e-14, method=method)
    assert torch.equal(X[2], given)
    free = [0, 1, 3]
    for m in range(M):
        left = y[m] - D[m][:, 2] * float(given[m])
        best = nnls(D[m][:, free], left)[0] if isinstance(prox, NonNegative) else np.linalg.lstsq(D[m][:, free], left, rcond=None)[0]
        np.testing.assert_allclose(X[free, m], best, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_columns_that_are_frozen_stay_as_they_were_and_the_others_are_solved(method, shared):
    frozen = torch.tensor([False, True, False, False, True, False])
    system, _, _ = draw(1, shared=shared, at=0.3)
    X, _ = solve(system, block(NonNegative(), frozen=frozen), steps=3000, tol=1e-13, method=method)
    free, _ = solve(system, block(NonNegative()), steps=3000, tol=1e-13, method=method)
    assert bool((X[:, frozen] == 0.3).all())
    torch.testing.assert_close(X[:, ~frozen], free[:, ~frozen], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shared", [True, False])
def test_columns_and_rows_that_nothing_is_known_of_stay_where_they_are(method, shared):
    system, D, _ = draw(1, shared=shared, at=0.3)
    G = np.einsum("mik,mil->mkl", D, D).copy()
    gradient = system.gradient.numpy().copy()
    G[:, 1], G[:, :, 1], gradient[1] = 0, 0, 0  # nothing is known of component 1
    if not shared:
        G[4], gradient[:, 4] = 0, 0  # nor of column 4
    X, _ = solve(quadratic(G[0] if shared else G, gradient, system.at), block(NonNegative()), steps=50, method=method)
    assert bool(torch.isfinite(X).all())
    assert bool((X[1] == 0.3).all())
    if not shared:
        assert bool((X[:, 4] == 0.3).all())


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_is_solved_as_its_members_one_by_one(method, shared):
    each = [draw(seed, shared=shared)[0] for seed in range(6)]
    batch = Quadratic(
        *(torch.stack([getattr(q, name) for q in each]).unflatten(0, (2, 3)) for name in ("G", "gradient", "at")), packed=not shared
    )
    X, _ = solve(batch, block(NonNegative()), steps=7, tol=0, method=method)
    assert X.shape == (2, 3, K, M)
    for i, one in enumerate(each):
        torch.testing.assert_close(X.flatten(0, 1)[i], solve(one, block(NonNegative()), steps=7, tol=0, method=method)[0])


@pytest.mark.parametrize("separable", ["element", "column"])
def test_columns_solved_in_groups_are_those_solved_together(separable):
    system, _, _ = draw(5, shared=False)
    constraint = block(NonNegative() if separable == "element" else Simplex(0), separable)
    whole, n = solve(system, constraint, steps=9, tol=0, method="accelerated")
    for columns in (1, 4):
        parts, taken = solve(system, constraint, steps=9, tol=0, method="accelerated", columns=columns)
        torch.testing.assert_close(parts, whole)
        assert taken == n


def test_a_constraint_that_ties_columns_together_is_not_cut():
    system, _, _ = draw(5, shared=False)
    tied = Block(lambda X, step: Simplex(1)(X, step), lambda X: 0.0, "no")
    X, _ = solve(system, tied, steps=9, columns=2)
    torch.testing.assert_close(X.sum(dim=1), torch.ones(K, dtype=torch.float64))
    with pytest.raises(ValueError, match="ties columns together"):
        tied.part(slice(0, 2))


def test_a_part_of_a_block_freezes_its_own_columns():
    frozen = torch.tensor([True, False, False, True, False, False])
    part = block(NonNegative(), frozen=frozen).part(torch.tensor([3, 4]))
    assert part.frozen.tolist() == [True, False]


def test_the_number_of_steps_is_a_limit():
    system, _, _ = draw(0, shared=True)
    for steps in (1, 2, 7):
        for method in ("accelerated", "descent"):
            assert solve(system, block(NonNegative()), steps=steps, tol=0, method=method)[1] == steps


# ---- the compiled kernel

WAYS = {
    "non-negative": (lambda: block(NonNegative(), held=[(3, 0.25)])),
    "free": (lambda: block(Identity(), held=[(3, 0.25)])),
    "entropy": (lambda: replace(block(MaxEntropy(0.7, prior=0.4), held=[(3, 0.25)]), entropy=(0.7, 0.4))),
    "adds up": on_simplex,
}


def drawn_for_kernels(columns, *, shared, dtype=torch.float64):
    """A system with an entry without curvature, at a float64 point beside data of either type."""
    rng = np.random.default_rng(7)
    D = rng.normal(size=(1 if shared else columns, 8, K))
    G = np.einsum("mik,mil->mkl", D, D)
    G[0, 1], G[0, :, 1] = 0, 0
    at = torch.tensor(rng.normal(size=(K, columns)))
    gradient = rng.normal(size=(K, columns))
    gradient[1, 0 if not shared else slice(None)] = 0
    system = quadratic(G[0] if shared else G, gradient, at, dtype)
    return Quadratic(system.G, system.gradient, at, system.packed)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 255, 256, 700])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_the_compiled_kernel_does_what_plain_torch_does(shared, dtype, columns, way, monkeypatch):
    pytest.importorskip("numba")
    system = drawn_for_kernels(columns, shared=shared, dtype=dtype)
    fast, _ = solve(system, WAYS[way](), steps=8)
    monkeypatch.setattr("vermilion.alternating.kernels.compiled", lambda kernel: None)
    plain, _ = solve(system, WAYS[way](), steps=8)
    assert fast.dtype == plain.dtype == torch.float64
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_the_kernel_runs_as_plain_python(shared, way, monkeypatch):
    system = drawn_for_kernels(300, shared=shared)
    monkeypatch.setattr("vermilion.alternating.kernels.compiled", lambda kernel: kernel)
    interpreted, _ = solve(system, WAYS[way](), steps=2)
    monkeypatch.setattr("vermilion.alternating.kernels.compiled", lambda kernel: None)
    plain, _ = solve(system, WAYS[way](), steps=2)
    torch.testing.assert_close(interpreted, plain, rtol=1e-10, atol=1e-10)


def test_the_compiled_kernel_takes_tensors_in_any_layout():
    pytest.importorskip("numba")
    system, _, _ = draw(1, shared=False)
    turned = Quadratic(*(X.T.contiguous().T for X in (system.G, system.gradient, system.at)), packed=True)
    here, there = (solve(q, block(NonNegative()), steps=5, method="descent")[0] for q in (system, turned))
    torch.testing.assert_close(here, there)
