"""Newton's method for mixtures goes where alternation creeps, by a quadratic that is the objective's own, and never up."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from vermilion import factorize
from vermilion.alternating import Problem, Sweep
from vermilion.alternating.mixing import Mixing, decides_mixing, inverses, mix
from vermilion.prox import Box, MaxEntropy, NonNegative, Simplex, Soft

compress = sys.modules["vermilion.alternating.compress"]
K, N_BANDS, N_PIXELS = 3, 40, 300


def draw(*, n_bands=N_BANDS, n_pixels=N_PIXELS, n_components=K, noise=0.02, seed=0):
    """Smooth spectra of unit sum, abundances that overlap, noise: a problem whose components are told apart by little."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, n_bands)[:, None]
    A = 0.2 + np.exp(-((x - np.linspace(0.2, 0.8, n_components)) ** 2) / 0.1)
    A /= A.sum(axis=0)
    S = 10 * n_bands * rng.dirichlet(np.full(n_components, 0.7), n_pixels).T
    Y = A @ S
    return Y + noise * Y.mean() * rng.normal(size=Y.shape), A, S


def begun(Y, A, S, *, weight=0.3, prior=50.0, device="cpu", spectra=Simplex(0), steps=0):  # noqa: B008
    p = Problem.normalized(torch.as_tensor(Y), None, dtype=torch.float64, device=torch.device(device))
    blocks = p.block("A", spectra), p.block("S", MaxEntropy(weight, prior=prior))
    A, S = (torch.as_tensor(X, device=device) / p.factor_scale(name) for X, name in ((A, "A"), (S, "S")))
    sweep = Sweep(p.tiles(*blocks), A, S.clamp_min(1e-6), *blocks)
    for _ in range(steps):
        sweep.step()
    return sweep


def model_at(sweep):
    return Mixing(sweep.system(0, sweep.factors), sweep.system(1, sweep.factors), sweep.morphologies.entropy)


def settle(sweep, A):
    """The best morphologies for the spectra A, and the objective there."""
    S = sweep.solve_morphologies(A, sweep.S, steps=3000, tol=0)
    return S, sweep.evaluate(A, S)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_inverses_are_those_of_lapack(size, device):
    X = torch.rand(size, size + 2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    M = torch.einsum("kin,lin->kln", X, X) * 10.0 ** torch.linspace(-9, 9, 50, device=device).double()
    expected = torch.linalg.inv(M.permute(2, 0, 1)).permute(1, 2, 0)
    torch.testing.assert_close(inverses(M) / expected.abs().amax((0, 1)), expected / expected.abs().amax((0, 1)), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("weight", [0.03, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_quadratic_is_that_of_the_objective_with_the_best_morphologies(weight, seed, device):
    Y, A, S = draw(seed=seed)
    sweep = begun(Y, A, S, weight=weight, device=device)
    S, here = settle(sweep, sweep.A)
    sweep.factors = sweep.factors[0], S
    model = model_at(sweep)
    mixture = torch.randn(K, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)
    mixture -= mixture.sum(dim=0) / K  # sums of spectra stay
    assert model.settling == pytest.approx(0, abs=1e-9 * here)
    errors = []
    for size in (4e-4, 2e-4):
        bends = []
        for sign in (1, -1):
            moved = sweep.A @ (torch.eye(K, device=device) + sign * size * mixture)
            bends.append((model.fall(moved.mT), here - settle(sweep, moved)[1]))
        (a, b), (c, d) = bends
        assert a - c == pytest.approx(b - d, rel=2e-3)  # slope
        errors.append(abs((a + c) / (b + d) - 1))  # curvature
    assert max(errors) < 2e-3


def test_morphologies_follow_the_spectra_they_are_told_of():
    Y, A, S = draw()
    sweep = begun(Y, A, S, weight=3.0)
    sweep.factors = sweep.factors[0], settle(sweep, sweep.A)[0]
    model = model_at(sweep)
    moved = sweep.A @ (torch.eye(K) + 0.01 * torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0]]).double())
    best, value = settle(sweep, moved)
    followed = sweep.evaluate(moved, model.follow(moved.mT))
    assert followed - value < 0.02 * (sweep.evaluate(moved, sweep.S) - value)
    assert torch.linalg.vector_norm(model.follow(moved.mT) - best) < 0.2 * torch.linalg.vector_norm(sweep.S - best)


@pytest.mark.parametrize("damping", [1.0, 1e-2, 1e-5])
def test_a_proposal_is_feasible_and_expects_a_fall(damping, device):
    Y, A, S = draw(seed=4)
    sweep = begun(Y, A, S[::-1].copy(), device=device, steps=20)
    A, fall = model_at(sweep).propose(damping)
    assert bool((A >= 0).all())
    torch.testing.assert_close(A.sum(dim=1), torch.ones(K, dtype=torch.float64, device=device))
    assert fall > 0


@pytest.mark.parametrize(("weight", "seed"), [(0.1, 0), (1.0, 1), (10.0, 0)])
def test_it_is_soon_lower_than_alternation_after_many_iterations(weight, seed, device):
    Y, A, S = draw(seed=seed)
    rng = np.random.default_rng(9)
    start = A * rng.uniform(0.7, 1.3, A.shape), S * rng.uniform(0.7, 1.3, S.shape)
    ours, theirs = (begun(Y, *start, weight=weight, device=device, steps=10) for _ in range(2))
    values = [ours.objective]
    step = ours.step
    ours.step = lambda: (step(), values.append(ours.objective))[0]
    iterations, damping = mix(ours, 60, 1e-7)
    for _ in range(4 * iterations):
        theirs.step()
    assert damping <= 1
    assert iterations == len(values) - 1 < 60
    assert all(after <= before for before, after in pairwise(values))
    assert ours.objective < theirs.objective
    for _ in range(1500):
        theirs.step()
    assert ours.objective <= theirs.objective * (1 + 1e-5)


def test_it_ends_where_nothing_is_left_to_gain():
    """At the minimum the slope is the same for all bands of a component that are not 0, and higher for those that are."""
    Y, A, S = draw(seed=1)
    sweep = begun(Y, A, S, weight=1.0, steps=20)
    mix(sweep, 300, 1e-12)
    sweep.factors = sweep.factors[0], settle(sweep, sweep.A)[0]
    slope = sweep.system(0, sweep.factors).gradient
    free = sweep.factors[0] > 1e-9
    scale = (sweep.S @ sweep.S.mT).diagonal()[:, None] * sweep.factors[0].amax(dim=1, keepdim=True)
    for row, inside in zip(slope / scale, free, strict=True):
        assert float(row[inside].max() - row[inside].min()) < 1e-4
        assert bool((row[~inside] > row[inside].mean() - 1e-4).all())


def test_components_that_are_alike_are_left_to_alternation():
    Y, A, S = draw()
    sweep = begun(Y, A[:, [0, 0, 1]], S)
    before = sweep.objective
    assert mix(sweep, 10, 1e-5) == (0, float("inf"))
    assert sweep.objective == before
    alone = begun(Y, A[:, :1], S[:1])
    assert mix(alone, 10, 1e-5) == (0, float("inf"))


def test_what_it_applies_to():
    p = Problem.normalized(torch.ones(8, 9), None, dtype=torch.float64, device=torch.device("cpu"))
    maps, unit = p.block("S", MaxEntropy(1.0)), p.block("A", Simplex(0))
    assert decides_mixing(unit, maps)
    assert decides_mixing(p.block("A", Simplex(0, total=5.0)), maps)
    for A in (NonNegative(), Box(0.0, 1.0), Simplex(1)):
        assert not decides_mixing(p.block("A", A), maps)
    for S in (NonNegative(), Soft(0.1), MaxEntropy(torch.full((9,), 0.1))):
        assert not decides_mixing(unit, p.block("S", S))
    assert not decides_mixing(p.block("A", Simplex(0), {0: torch.ones(8) / 8}), maps)
    assert not decides_mixing(unit, p.block("S", MaxEntropy(1.0), {0: torch.ones(9)}))


# ---- as a part of the fit


def fitted(Y, K, init, *, unit=1.0, weight=1.0, prior=50.0, max_iter=40, **options):
    A, S = init
    return factorize(
        unit * Y,
        n_components=K,
        spectra=Simplex(0),
        morphologies=MaxEntropy(unit * weight, prior=unit * prior),
        init=(A, unit * S),
        max_iter=max_iter,
        tol=0,
        device="cpu",
        **options,
    )


@pytest.mark.parametrize(("n_components", "n_pixels", "weight"), [(2, 3000, 0.1), (4, 5000, 1e-3), (4, 5000, 3.0), (7, 5000, 0.1)])
def test_compressed_data_lead_as_near_as_alternation(weight, n_components, n_pixels, monkeypatch):
    Y, _, S = draw(n_bands=100, n_pixels=n_pixels, n_components=n_components)
    rng = np.random.default_rng(3)
    init = rng.dirichlet(np.ones(100), n_components).T, S.mean() * 2 * rng.random(S.shape)
    ours = fitted(Y, n_components, init, weight=weight)
    assert bool(np.all(np.diff(ours.history.objective) <= 1e-9 * ours.objective))
    monkeypatch.setattr(compress, "decides_mixing", lambda *_: False)
    theirs = fitted(Y, n_components, init, weight=weight)
    best = min(ours.objective, theirs.objective)
    assert ours.history.objective[0] < best * (1 + 1e-4)
    assert ours.objective < best * (1 + 5e-5)


def test_the_unit_of_the_data_is_no_matter():
    Y, A, S = draw(n_bands=100, n_pixels=5000)
    init = A[:, ::-1] + 0.002, S * np.random.default_rng(3).uniform(0.5, 1.5, S.shape)
    one, other = fitted(Y, K, init), fitted(Y, K, init, unit=1e-20)
    names = ("iterations", "coarse_iterations")
    assert [one.provenance["compression"][n] for n in names] == [other.provenance["compression"][n] for n in names]
    assert other.objective == pytest.approx(1e-40 * one.objective, rel=1e-8)
    np.testing.assert_allclose(other.spectra, one.spectra, atol=1e-8)


def test_a_component_too_many_does_no_harm():
    Y, A, S = draw(n_bands=100, n_pixels=5000, n_components=2, noise=0.1)
    init = np.c_[A, A[:, :1], A[:, 1:] + 1e-12], np.r_[S, S] + 1.0
    result = fitted(Y, 4, init, weight=0.5)
    assert np.isfinite(result.objective)
    assert result.objective <= result.provenance["objective_start"]
