import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vermilion.optim import PALM, InertialPALM, TopCurvature
from vermilion.prox import Identity, NonNegative, Simplex, Soft, Stiefel


def closure_of(loss, optimizer):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def data(seed, n_bands=40, n_pixels=25):
    generator = torch.Generator().manual_seed(seed)
    A, S = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((n_bands, 3), (3, n_pixels)))
    return Simplex(1)(2 * A, 1) @ S + 0.02 * torch.randn(n_bands, n_pixels, generator=generator, dtype=torch.float64)


def unmixing(seed, Y, cls=InertialPALM, penalty=None, **options):
    """Optimizer, loss and its closure from a random start."""
    generator = torch.Generator().manual_seed(100 + seed)
    A, S = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((len(Y), 3), (3, Y.shape[1])))
    A, S = Simplex(1)(A, 1).requires_grad_(), S.requires_grad_()
    optimizer = cls([{"params": [A], "prox": Simplex(1)}, {"params": [S], "prox": penalty or NonNegative()}], **options)

    def loss():
        return 0.5 * (Y - A @ S).square().sum()

    return optimizer, loss, closure_of(loss, optimizer)


@pytest.mark.parametrize("rule", ["auto", TopCurvature()], ids=["auto", "curvature"])
def test_all_starts_come_to_the_same_objective(rule):
    Y, reached = data(0), []
    for seed in range(6):
        optimizer, loss, closure = unmixing(seed, Y, step_rule=rule)
        while max(optimizer.gradient_evaluations) < 400:
            optimizer.step(closure)
        reached.append(float(loss().detach()))
    assert max(reached) <= min(reached) * (1 + 1e-3)


def test_the_objective_never_rises_and_every_state_is_feasible():
    optimizer, loss, closure = unmixing(1, data(1), penalty=Soft(0.01))
    values = []
    for _ in range(120):
        optimizer.step(closure)
        values.append(float(loss().detach()) + float(optimizer.penalty()))
    assert math.isfinite(values[0])
    assert all(b <= a * (1 + 1e-13) for a, b in itertools.pairwise(values))


def test_momentum_helps():
    Y, ends = data(2), {}
    for cls in (PALM, InertialPALM):
        optimizer, loss, closure = unmixing(3, Y, cls, step_rule=TopCurvature())
        for _ in range(60):
            optimizer.step(closure)
        ends[cls] = float(loss().detach())
    assert ends[InertialPALM] < 0.99 * ends[PALM]


def test_steps_far_too_long_are_shortened_until_the_objective_falls():
    x = torch.tensor([1.0, -3.0], dtype=torch.float64, requires_grad=True)
    optimizer = InertialPALM([x], lr=1000.0)
    closure = closure_of(lambda: 0.5 * x.square().sum(), optimizer)
    losses = [float(optimizer.step(closure)) for _ in range(60)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert losses[-1] < 1e-3 * losses[0]


def test_parameters_that_were_changed_from_outside_are_respected():
    optimizer, loss, closure = unmixing(0, data(0))
    for _ in range(30):
        optimizer.step(closure)
    with torch.no_grad():
        optimizer.param_groups[1]["params"][0].mul_(3)
    risen = float(loss().detach())
    for _ in range(60):
        optimizer.step(closure)
    assert float(loss().detach()) < 0.5 * risen


def test_a_decomposition_into_orthogonal_factors_is_found():
    generator = torch.Generator().manual_seed(4)
    M, U, V = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((5, 4), (5, 4), (4, 4)))
    d = torch.rand(4, generator=generator, dtype=torch.float64).requires_grad_()
    U, V = (Stiefel()(x, 1.0).requires_grad_() for x in (U, V))
    optimizer = InertialPALM([{"params": [U], "prox": Stiefel()}, {"params": [d]}, {"params": [V], "prox": Stiefel()}])
    closure = closure_of(lambda: (U * d @ V.T - M).square().sum(), optimizer)
    for _ in range(400):
        optimizer.step(closure)
    found = d.detach().abs().sort(descending=True).values
    torch.testing.assert_close(found, torch.linalg.svdvals(M), rtol=1e-5, atol=1e-6)


def stationarity(parameters, proxes, loss, step):
    gradients = torch.autograd.grad(loss(), parameters)
    with torch.no_grad():
        moves = [p - prox(p - step * g, step) for p, g, prox in zip(parameters, gradients, proxes, strict=True)]
    return math.sqrt(sum(float(move.square().sum()) for move in moves)) / step


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(2, 8), st.integers(2, 8), st.integers(1, 2)),
    proxes=st.tuples(*[st.sampled_from([NonNegative(), Identity(), Simplex(0)])] * 2),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_random_small_models_become_stationary(seed, shape, proxes, scale):
    B, N, K = shape
    generator = torch.Generator().manual_seed(seed)
    Y = scale * torch.rand(B, N, generator=generator, dtype=torch.float64)
    starts = [
        prox(torch.rand(size, generator=generator, dtype=torch.float64), 1.0) for prox, size in zip(proxes, ((B, K), (K, N)), strict=True)
    ]
    A, S = (x.clone().requires_grad_() for x in starts)

    def loss():
        return 0.5 * (A @ S - Y).square().sum()

    step = 1 / float(A.detach().norm() ** 2 + S.detach().norm() ** 2)
    first = stationarity([A, S], proxes, loss, step)
    optimizer = InertialPALM([{"params": [A], "prox": proxes[0]}, {"params": [S], "prox": proxes[1]}])
    closure = closure_of(loss, optimizer)
    while max(optimizer.gradient_evaluations) < 5000:
        for _ in range(25):
            optimizer.step(closure)
        if stationarity([A, S], proxes, loss, step) <= 1e-6 * first:
            break
    assert stationarity([A, S], proxes, loss, step) <= 1e-6 * first
