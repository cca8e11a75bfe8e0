"""Sparse abundances: against general solvers, and the operator of total variation."""

import numpy as np
import pytest
import scipy.optimize
import torch

from vermilion.errors import ConvergenceWarning, MemoryLimitError, ParameterError, ShapeError
from vermilion.prox import TotalVariation
from vermilion.unmixing.fclsu import fclsu
from vermilion.unmixing.nnls import nnls
from vermilion.unmixing.sparse import sparse

SHAPE = (4, 5)


def scene(n_bands=12, n_spectra=3, n_pixels=20, *, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.gamma(1.0, size=(n_bands, n_spectra))
    Y = A @ rng.dirichlet(np.ones(n_spectra), n_pixels).T + noise * rng.normal(size=(n_bands, n_pixels))
    W = rng.gamma(1.0, size=Y.shape) * (rng.random(Y.shape) > 0.2)
    return torch.tensor(Y), torch.tensor(W), torch.tensor(A)


def differences(shape):
    """Matrix of the differences between neighbors."""
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    ends = [(number[1:], number[:-1]), (number[:, 1:], number[:, :-1])]
    later, earlier = (np.concatenate([pair[i].ravel() for pair in ends]) for i in (0, 1))
    return np.eye(number.size)[later] - np.eye(number.size)[earlier]


def objective(S, Y, A, W, weight, variation=0.0, *, isotropic=True):
    penalty = TotalVariation(variation, shape=SHAPE, isotropic=isotropic).penalty(S) if variation else 0.0
    return float(0.5 * (W * (Y - A @ S).square()).sum() + weight * S.sum() + penalty)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3, 3.0, 1e3])
def test_the_objective_is_that_of_a_general_solver(weight, weighted):
    Y, W, A = scene(n_spectra=30)  # more spectra than bands
    W = W if weighted else torch.ones_like(Y)
    S = sparse(Y, A, W if weighted else None, weight=weight)
    for n in range(0, 20, 4):
        a, y = W[:, n].sqrt()[:, None].numpy() * A.numpy(), W[:, n].sqrt().numpy() * Y[:, n].numpy()

        def fun(s, a=a, y=y):
            return 0.5 * np.sum((y - a @ s) ** 2) + weight * s.sum(), a.T @ (a @ s - y) + weight

        best = scipy.optimize.minimize(
            fun, np.zeros(30), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 30, options={"maxiter": 20000, "ftol": 0, "gtol": 1e-9}
        )
        found = fun(S[:, n].numpy())[0]
        assert found <= best.fun * (1 + 1e-12) + 1e-13  # without a price the library fits the data, and what is left is rounding
        assert found == pytest.approx(best.fun, rel=1e-6, abs=1e-13)


def test_a_price_empties_the_library_and_none_is_least_squares():
    Y, W, A = scene(n_spectra=8)
    torch.testing.assert_close(sparse(Y, A, W, weight=0.0), nnls(Y, A, W))
    assert not sparse(Y, A, weight=float((A.T @ Y).max())).any()
    used = [int((sparse(Y, A, weight=w) > 0).sum()) for w in (0.0, 1.0, 5.0)]
    assert used[0] > used[1] > used[2] > 0


def test_weights_per_pixel_are_weights_of_all_its_bands():
    Y, W, A = scene()
    per_pixel = W[:1].clamp_min(0.1)
    torch.testing.assert_close(sparse(Y, A, per_pixel, weight=0.5), sparse(Y, A, per_pixel.expand_as(Y), weight=0.5), atol=1e-10, rtol=0)
    per_band = W[:, :1]
    torch.testing.assert_close(sparse(Y, A, per_band, weight=0.5), sparse(Y, A, per_band.expand_as(Y), weight=0.5), atol=1e-10, rtol=0)
    torch.testing.assert_close(sparse(Y, A, 7 * W, weight=3.5), sparse(Y, A, W, weight=0.5), atol=1e-12, rtol=0)


def test_with_a_sum_of_one_a_price_of_abundance_is_a_constant():
    Y, W, A = scene()
    torch.testing.assert_close(sparse(Y, A, W, weight=2.0, sum_to_one=True), fclsu(Y, A, W))


@pytest.mark.parametrize("weights", ["none", "entries", "bands", "pixels"])
@pytest.mark.parametrize("sum_to_one", [False, True])
def test_maps_with_total_variation_are_those_of_a_general_solver(weights, sum_to_one):
    cvxopt = pytest.importorskip("cvxopt")
    Y, W, A = scene()
    W = {"none": None, "entries": W, "bands": W[:, :1], "pixels": W[:1]}[weights]
    S = sparse(Y, A, W, weight=0.5, total_variation=1.0, shape=SHAPE, isotropic=False, sum_to_one=sum_to_one, tol=1e-7)
    W = torch.ones_like(Y) if W is None else W.expand_as(Y)
    # unknowns: S row by row, and bounds of the differences
    D = np.kron(np.eye(3), differences(SHAPE))
    m, n = D.shape
    P, q = np.zeros((n + m, n + m)), np.ones(n + m)
    for pixel in range(20):
        where = np.arange(3) * 20 + pixel
        P[np.ix_(where, where)] = A.numpy().T @ (W[:, pixel, None].numpy() * A.numpy())
        q[where] = 0.5 - A.numpy().T @ (W[:, pixel] * Y[:, pixel]).numpy()
    limits = np.block([[-np.eye(n), np.zeros((n, m))], [D, -np.eye(m)], [-D, -np.eye(m)]])
    equal = {"A": np.hstack([np.tile(np.eye(20), 3), np.zeros((20, m))]), "b": np.ones(20)} if sum_to_one else {}
    options = {"show_progress": False, "abstol": 1e-11, "reltol": 1e-11, "feastol": 1e-11}
    found = cvxopt.solvers.qp(
        *map(cvxopt.matrix, (P, q, limits, np.zeros(len(limits)))), **{k: cvxopt.matrix(v) for k, v in equal.items()}, options=options
    )
    best = objective(torch.tensor(np.array(found["x"])[:n].reshape(3, 20)), Y, A, W, 0.5, 1.0, isotropic=False)
    assert float(S.min()) >= 0
    assert objective(S, Y, A, W, 0.5, 1.0, isotropic=False) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("isotropic", [True, False])
def test_with_one_bright_spectrum_the_map_is_that_of_the_operator(isotropic):
    rng = np.random.default_rng(2)
    a = torch.tensor(rng.gamma(1.0, size=(12, 1)))
    a /= a.norm()
    Y = a @ torch.tensor(5 + rng.normal(size=(1, 20)))
    expected = TotalVariation(0.7, shape=SHAPE, isotropic=isotropic, tol=1e-12)(a.T @ Y - 0.2, 1.0)
    S = sparse(Y, a, weight=0.2, total_variation=0.7, shape=SHAPE, isotropic=isotropic, tol=1e-8)
    torch.testing.assert_close(S, expected, atol=1e-5, rtol=0)


def test_pixels_without_weight_are_filled_in_from_their_neighbors():
    a = torch.ones(3, 1, dtype=torch.float64)
    Y = 2 * torch.ones(3, 20, dtype=torch.float64)
    W = torch.ones_like(Y)
    Y[:, 7], W[:, 7] = torch.nan, 0
    S = sparse(Y, a, W, weight=0.0, total_variation=0.1, shape=SHAPE, tol=1e-8)
    torch.testing.assert_close(S, torch.full((1, 20), 2.0, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_units_change_nothing_but_the_unit(factor):
    Y, W, A = (T.float() for T in scene())
    smooth = {"total_variation": 0.5, "shape": SHAPE}
    expected = sparse(Y, A, W, weight=0.5), sparse(Y, A, W, weight=0.5, **smooth)
    # W Y² stays as it is
    Y, W, A = Y * factor, W.double() / factor**2, A * factor
    torch.testing.assert_close(sparse(Y, A, W, weight=0.5), expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(sparse(Y, A, W, weight=0.5, **smooth), expected[1], atol=1e-4, rtol=0)


def test_maps_that_are_not_finished_say_so():
    Y, _, A = scene()
    with pytest.warns(ConvergenceWarning, match="after 3 iterations"):
        sparse(Y, A, weight=0.1, total_variation=1.0, shape=SHAPE, max_iter=3)


def test_what_does_not_fit_is_refused(monkeypatch):
    Y, W, A = scene()
    with pytest.raises(ParameterError, match=r"weight is -1\.0"):
        sparse(Y, A, weight=-1.0)
    with pytest.raises(ShapeError, match="shape is None, and there are 20 pixels"):
        sparse(Y, A, weight=0.1, total_variation=1.0)
    with pytest.raises(ParameterError, match="expected both > 0"):
        sparse(Y, A, weight=0.1, total_variation=1.0, shape=SHAPE, tol=0.0)
    Y[0, 0] = torch.nan
    with pytest.raises(ParameterError, match="must be finite where maps vary together"):
        sparse(Y, A, weight=0.1, total_variation=1.0, shape=SHAPE)
    monkeypatch.setattr("vermilion.unmixing.variation._MOST_NUMBERS", 100)
    with pytest.raises(MemoryLimitError, match="20 pixels with weights for every entry"):
        sparse(Y.nan_to_num(), A, W, weight=0.1, total_variation=1.0, shape=SHAPE)
