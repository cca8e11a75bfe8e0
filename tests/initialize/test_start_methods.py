"""Each start against an independent way to the same numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2
from scipy.optimize import nnls

from vermilion.diagnose.match import match_components, spectral_angle
from vermilion.initialize import kmeans, nfindr, nndsvd, sivm, snpa, starts, vca
from vermilion.initialize.sivm import volume_gain
from vermilion.initialize.snpa import hull_residuals


def angles(found, A):
    order = match_components(found, A)
    return np.array([spectral_angle(found[:, j], A[:, k]) for k, j in enumerate(order)])


def plane(rng, n_bands, K, n_pixels, *, alpha=1.0):
    """Mixtures without noise and without pure pixels."""
    A = rng.random((n_bands, K))
    return A, A @ rng.dirichlet(np.full(K, alpha), size=n_pixels).T


# ---- N-FINDR


def simplex_volumes(Y, sets):
    """Of the simplex of every set of pixels, each divided by its coordinate along the mean pixel: relative."""
    left = np.linalg.svd(Y, full_matrices=False)[0][:, : len(sets[0])]
    x = left.T @ Y
    x = x / (x.sum(axis=1) @ x)
    return np.array([abs(np.linalg.det(x[:, s])) for s in sets])


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_nfindr_finds_the_largest_of_all_simplices(K, seed):
    _, Y = plane(np.random.default_rng(seed), 8, K, 16)
    sets = [list(s) for s in itertools.combinations(range(16), K)]
    volumes = simplex_volumes(Y, sets)
    best = [
        volumes[sets.index(sorted(np.abs(Y[:, :, None] - A[:, None]).max(axis=0).argmin(axis=0).tolist()))]
        for A in starts("nfindr", torch.tensor(Y), None, K, seeds=range(8)).numpy()
    ]
    assert max(best) == pytest.approx(volumes.max(), rel=1e-9)  # exchanges end in a local maximum: the best of a few starts
    assert min(best) > 0.5 * volumes.max()


@pytest.mark.parametrize("seed", range(5))
def test_no_exchange_enlarges_the_simplex_of_nfindr(seed):
    _, Y = plane(np.random.default_rng(seed), 10, 5, 400)
    A = nfindr(torch.tensor(Y), None, 5, seed=seed).numpy()
    chosen = np.abs(Y[:, :, None] - A[:, None]).max(axis=0).argmin(axis=0).tolist()
    others = [[*chosen[:k], n, *chosen[k + 1 :]] for k in range(5) for n in range(400)]
    assert simplex_volumes(Y, others).max() <= simplex_volumes(Y, [chosen])[0] * (1 + 1e-8)


# ---- SNPA


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_distances_from_a_hull_are_those_of_scipy(k):
    rng = np.random.default_rng(k)
    V, X = rng.normal(size=(6, k)) + 0.5, rng.normal(size=(6, 60)) + 0.5
    X[:, 0], X[:, 1], X[:, 2] = 0, V[:, 0], 0.3 * V.mean(axis=1)  # inside
    # a share of 0 takes up what the others leave of one, which a heavy row asks for
    heavy = 1e5
    system = np.vstack([np.hstack([V, np.zeros((6, 1))]), np.full((1, k + 1), heavy)])
    expected = [nnls(system, np.append(x, heavy))[1] ** 2 for x in X.T]
    found = hull_residuals(torch.tensor(X), torch.tensor(V)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.sum(X**2, axis=0).max())
    assert found[:3].max() < 1e-12


def test_vertices_that_depend_on_each_other_do_no_harm():
    V = torch.tensor([[1.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.5, 1.0]], dtype=torch.float64)
    X = torch.tensor([[0.5, 2.0, -1.0], [0.2, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(hull_residuals(X, V), torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-9)


def test_snpa_takes_at_every_step_the_pixel_farthest_from_the_hull():
    rng = np.random.default_rng(0)
    _, Y = plane(rng, 8, 4, 1500)
    A = snpa(torch.tensor(Y), None, 4, neighbors=1).numpy()
    chosen = np.abs(Y[:, :, None] - A[:, None]).max(axis=0).argmin(axis=0)
    left = np.linalg.svd(Y, full_matrices=False)[0][:, :4]
    x = left.T @ Y
    x = x / (x.sum(axis=1) / np.linalg.norm(x.sum(axis=1)) @ x)
    for k in range(1, 4):
        away = hull_residuals(torch.tensor(x), torch.tensor(x[:, chosen[:k]])).numpy()
        assert away[chosen[k]] == pytest.approx(away.max(), rel=1e-6)


def test_snpa_tells_more_components_than_the_spectra_have_dimensions():
    # the corners of a square in a plane: four spectra of rank three
    rng = np.random.default_rng(0)
    basis = rng.random((12, 3))
    corners = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [3, 3, 3, 3]]) / 3
    A = basis @ corners
    Y = A @ np.hstack([np.eye(4), rng.dirichlet(np.ones(4), size=200).T])
    assert angles(snpa(torch.tensor(Y), None, 4).numpy(), A).max() < 1e-6


# ---- SiVM


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_volume_of_sivm_is_that_of_cayley_and_menger(n):
    # n vertices of a regular simplex of edge 1, and any other point
    vertices = np.eye(n) / math.sqrt(2)
    points = np.random.default_rng(n).normal(size=(n, 20))
    squared = ((vertices.T[:, :, None] - points[None]) ** 2).sum(axis=1)
    expected = []
    for d in squared.T:
        D = np.ones((n + 2, n + 2)) - np.eye(n + 2)
        D[1 : n + 1, n + 1] = D[n + 1, 1 : n + 1] = d
        expected.append(abs(np.linalg.det(D)))  # 2ⁿ (n!)² V²
    np.testing.assert_allclose(volume_gain(torch.tensor(squared)).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_sivm_begins_with_pixels_that_are_far_apart():
    _, Y = plane(np.random.default_rng(1), 8, 3, 300)
    A = sivm(torch.tensor(Y), None, 2, neighbors=1).numpy()
    assert np.isfinite(A).all()
    assert angles(A[:, :1], A[:, 1:]).min() > 0.2


# ---- VCA


def test_vca_leaves_brightness_aside_only_where_the_signal_is_strong():
    # one dim pure pixel: the projection that divides by brightness sees it, the one about the mean pixel does not
    rng = np.random.default_rng(0)
    A, Y = plane(rng, 30, 3, 500, alpha=8.0)
    Y[:, :3] = A * [1.0, 1.0, 0.4]
    weak = Y + 0.25 * rng.normal(size=Y.shape)
    strong = [angles(found, A)[2] for found in starts("vca", torch.tensor(Y), None, 3, seeds=range(10)).numpy()]
    assert max(strong) < 1e-6
    found = starts("vca", torch.tensor(weak), None, 3, seeds=range(10)).numpy()
    assert np.isfinite(found).all()
    assert max(angles(one, A).mean() for one in found) < 0.5


def test_vca_with_known_spectra_below_the_threshold():
    rng = np.random.default_rng(1)
    A, Y = plane(rng, 60, 3, 2000, alpha=0.2)
    Y = Y + 0.12 * rng.normal(size=Y.shape)
    found = vca(torch.tensor(Y), None, 2, known=torch.tensor(A[:, :1]), seed=2).numpy()
    assert angles(found, A[:, 1:]).max() < 0.25


# ---- NNDSVD


def factors_of_sklearn(Y, K):
    return pytest.importorskip("sklearn.decomposition._nmf")._initialize_nmf(Y, K, init="nndsvd", random_state=0)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 7000)])
def test_nndsvd_is_that_of_sklearn(shape):
    rng = np.random.default_rng(0)
    Y = rng.gamma(0.5, size=(shape[0], 4)) @ rng.gamma(0.5, size=(4, shape[1])) + 1e-3 * rng.random(shape)
    A, S = (X.numpy() for X in nndsvd(torch.tensor(Y), None, 4))
    A_sklearn, S_sklearn = factors_of_sklearn(Y, 4)
    balance = np.linalg.norm(A, axis=0) / np.linalg.norm(A_sklearn, axis=0)
    np.testing.assert_allclose(balance, 1, rtol=1e-5)
    np.testing.assert_allclose(A, A_sklearn, atol=1e-4 * A.max())
    np.testing.assert_allclose(S, S_sklearn, atol=1e-4 * S.max())


def test_nndsvd_with_weights_that_factor_is_that_of_the_scaled_data():
    rng = np.random.default_rng(1)
    Y = rng.gamma(0.5, size=(20, 4)) @ rng.gamma(0.5, size=(4, 60))
    u, v = rng.uniform(0.5, 2, (20, 1)), rng.uniform(0.5, 2, (1, 60))
    A, S = (X.numpy() for X in nndsvd(torch.tensor(Y), torch.tensor(u * v), 4))
    A_scaled, S_scaled = (X.numpy() for X in nndsvd(torch.tensor(np.sqrt(u) * Y * np.sqrt(v)), None, 4))
    np.testing.assert_allclose(A @ S, (A_scaled @ S_scaled) / np.sqrt(u * v), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_nndsvd_shares_the_unit_between_both_factors(unit):
    Y = torch.rand(20, 50, generator=torch.Generator().manual_seed(0)) * unit
    A, S = nndsvd(Y, None, 3)
    assert bool((A >= 0).all() & (S >= 0).all())
    assert float((A.double() @ S.double()).mean() / Y.double().mean()) == pytest.approx(1, rel=0.2)
    assert float(A.max()) / unit**0.5 == pytest.approx(1, abs=0.99)


# ---- k-means


def sum_of_squares(points, centers):
    return (((points[:, :, None] - centers[:, None]) ** 2).sum(axis=0)).min(axis=1).sum()


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_is_as_good_as_that_of_scipy(seed):
    # of equal brightness along the mean pixel, so that points are pixels
    rng = np.random.default_rng(seed)
    label = rng.integers(5, size=400)
    Y = (2 + rng.random((6, 5)))[:, label] + 0.02 * rng.normal(size=(6, 400))
    for _ in range(50):
        mean = Y.mean(axis=1) / np.linalg.norm(Y.mean(axis=1))
        Y = Y / (mean @ Y)
    ours = min(sum_of_squares(Y, A) for A in starts("kmeans", torch.tensor(Y), None, 6, seeds=range(5)).numpy())
    theirs = min(sum_of_squares(Y, kmeans2(Y.T, 6, seed=s, minit="++", iter=50)[0].T) for s in range(5))
    assert ours < theirs * 1.1


def test_faint_pixels_do_not_pull_the_centers():
    rng = np.random.default_rng(0)
    A = rng.random((30, 3))
    label = rng.integers(3, size=900)
    flux = np.where(np.arange(900) < 300, 1.0, 2e-3)
    Y = A[:, label] * flux + 2e-3 * rng.normal(size=(30, 900))
    assert min(angles(found, A).max() for found in starts("kmeans", torch.tensor(Y), None, 3, seeds=range(4)).numpy()) < 0.01
    assert kmeans(torch.tensor(Y), None, 3).shape == (30, 3)
