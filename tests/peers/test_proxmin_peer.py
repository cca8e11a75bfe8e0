import functools
import sys

import numpy as np
import proxmin.operators
import pytest
import torch

from vermilion.errors import ParameterError, PeerError, ShapeError
from vermilion.fit import RelativeDecrease, fit
from vermilion.models import Factorization
from vermilion.optim import PGM
from vermilion.peers.proxmin import solve
from vermilion.prox import Chain, Identity, MaxEntropy, NonNegative, Simplex, Soft, UnitSum, as_prox


def problem(B=6, N=30, K=2):
    rng = np.random.default_rng(0)
    A, S = rng.random((B, K)), rng.random((K, N))
    return A @ S + 0.01 * rng.normal(size=(B, N)), rng.random((B, K)), rng.random((K, N))


def loss(Y, A, S, W=1.0):
    return 0.5 * float((W * (Y - A @ S) ** 2).sum())


@pytest.mark.parametrize(("algorithm", "spectra"), [("adaprox", NonNegative()), ("adaprox", Simplex(0)), ("pgm", Simplex(0))], ids=repr)
def test_the_peer_reaches_the_objective_of_our_own_fit(algorithm, spectra):
    Y, A0, S0 = problem()
    constraints = {"spectra": spectra, "morphologies": NonNegative()}
    A, S, info = solve(Y, None, A0, S0, **constraints, max_iter=3000, tol=1e-7, algorithm=algorithm)
    model = Factorization(A0, S0)
    groups = [{"params": model.A, "prox": spectra}, {"params": model.S, "prox": NonNegative()}]
    ours = fit(model, Y, PGM(groups, momentum=0.9), stop=RelativeDecrease(1e-9), max_iter=3000)
    assert loss(Y, A, S) == pytest.approx(ours.objective, rel=1e-5)
    assert info["algorithm"] == algorithm
    assert 1 < info["iterations"] < 3000
    assert info["converged"] is True


def test_the_start_and_the_data_are_not_changed():
    arrays = problem()
    copies = [values.copy() for values in arrays]
    solve(arrays[0], np.ones_like(arrays[0]), *arrays[1:], max_iter=5)
    for values, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("algorithm", ["pgm", "adaprox", "bsdmm"])
@pytest.mark.parametrize(
    ("spectra", "positive", "unit"),
    [
        (None, False, False),
        (Identity(), False, False),
        (NonNegative(), True, False),
        (UnitSum(0), False, True),
        (Simplex(0), True, True),
        (Chain(NonNegative(), UnitSum(0)), True, True),
        (Chain(Soft(0.01), NonNegative()), True, False),
        (as_prox(functools.partial(proxmin.operators.prox_unity_plus, axis=0)), True, True),
        (lambda X, step: np.maximum(X, 0), True, False),
    ],
    ids=repr,
)
def test_operators_are_translated(spectra, positive, unit, algorithm):
    Y, A0, S0 = problem()
    A, S, _ = solve(Y, None, A0, S0, spectra=spectra, morphologies=NonNegative(), max_iter=30, algorithm=algorithm)
    assert not positive or (A >= 0).all()
    assert not unit or np.allclose(A.sum(0), 1)
    assert (S >= 0).all()


def test_sparsity_shrinks_like_ours():
    x = np.array([[-3.0, 0.2, 3.0]])
    from_ours = Soft(0.5)(torch.as_tensor(x), 2.0).numpy()
    np.testing.assert_allclose(functools.partial(proxmin.operators.prox_soft, thresh=0.5)(x.copy(), 2.0), from_ours)


@pytest.mark.parametrize(
    "operator", [MaxEntropy(0.1), Simplex(0, total=2.0), Soft(torch.ones(2, 1)), Chain(NonNegative(), MaxEntropy(0.1))], ids=repr
)
def test_what_the_peer_does_not_have_is_said(operator):
    Y, A0, S0 = problem()
    with pytest.raises(PeerError, match="proxmin has no operator for"):
        solve(Y, None, A0, S0, spectra=NonNegative(), morphologies=operator)


def test_weights_go_through_adaprox_and_their_failure_in_pgm_is_explained():
    Y, A0, S0 = problem()
    W = np.random.default_rng(1).random(Y.shape)
    W[0, :5] = 0
    Y[0, :5] = np.nan
    with pytest.raises(PeerError, match=r"proxmin .* broke in pgm: ValueError: .*try algorithm='adaprox'"):
        solve(Y, W, A0, S0, spectra=NonNegative(), morphologies=NonNegative(), algorithm="pgm")
    A, S, _ = solve(Y, W, A0, S0, spectra=NonNegative(), morphologies=NonNegative(), algorithm="adaprox", max_iter=200)
    assert loss(np.nan_to_num(Y), A, S, W) < 0.5 * loss(np.nan_to_num(Y), A0, S0, W)


def test_factors_that_are_not_finite_or_vanish_are_no_result():
    Y, A0, S0 = problem()
    with pytest.raises(PeerError, match="not finite"):
        solve(Y, None, A0, S0, morphologies=lambda X, step: X * np.nan, max_iter=1)
    with pytest.raises(PeerError, match="collapsed"):
        solve(Y, None, A0, S0, morphologies=lambda X, step: X * 0, max_iter=1)


def test_bad_arguments_are_named():
    Y, A0, S0 = problem()
    with pytest.raises(ParameterError, match="algorithm is 'magic': expected one of adaprox, pgm, bsdmm"):
        solve(Y, None, A0, S0, algorithm="magic")
    with pytest.raises(ShapeError, match=r"expected \(B, N\), \(B, K\), \(K, N\)"):
        solve(Y, None, A0, S0[:1])
    with pytest.raises(ShapeError, match="W has shape"):
        solve(Y, np.ones(3), A0, S0)


def test_an_absent_peer_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "proxmin", None)
    with pytest.raises(PeerError, match="proxmin cannot be imported"):
        solve(*problem()[:1], None, *problem()[1:])
