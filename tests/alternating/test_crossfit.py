"""Spectra that a group of pixels has not seen."""

import numpy as np
import pytest
import torch

from vermilion.alternating import Problem, Sweep, leave_out_spectra
from vermilion.prox import NonNegative

CPU = torch.device("cpu")


def converged(Y, W=None, *, K=2, held=None, iterations=30):
    p = Problem.normalized(torch.as_tensor(Y), None if W is None else torch.as_tensor(W), dtype=torch.float64, device=CPU)
    generator = torch.Generator().manual_seed(0)
    A = torch.rand(Y.shape[0], K, generator=generator, dtype=torch.float64)
    S = torch.rand(K, Y.shape[1], generator=generator, dtype=torch.float64)
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative(), held)
    state = Sweep(p.tiles(*blocks), A, blocks[1].prox(S, 1.0), *blocks)
    for _ in range(iterations):
        state.step()
    return state


@pytest.mark.parametrize("n_pixels", [1, 2, 3, 4, 5, 50])
def test_every_pixel_is_in_one_group(n_pixels):
    state = converged(np.random.default_rng(0).random((6, n_pixels)), iterations=2)
    groups, spectra = leave_out_spectra(state, iterations=2)
    assert torch.cat(groups).sort().values.tolist() == list(range(n_pixels))
    assert len(groups) == len(spectra) == min(4, n_pixels)
    assert all(A.shape == (6, 2) and bool(torch.isfinite(A).all()) for A in spectra)


@pytest.mark.parametrize("weighted", [True, False])
def test_left_out_pixels_do_not_touch_their_spectra(weighted, problem):
    Y, W, _, _ = problem(8, 40, 2, noise=0.3)
    state = converged(Y, W if weighted else None)
    groups, spectra = leave_out_spectra(state)
    spoiled = state.tiles.Y.clone()
    spoiled[:, groups[0]] += torch.randn(8, len(groups[0]), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    state.tiles.Y = spoiled
    _, again = leave_out_spectra(state)
    torch.testing.assert_close(again[0], spectra[0], rtol=1e-9, atol=1e-12)
    assert float((again[1] - spectra[1]).abs().max()) > 1e-3  # the others did see them


def test_a_source_of_one_pixel_keeps_its_spectrum():
    # without its pixel nothing is known of it: the full fit is the best there is
    rng = np.random.default_rng(1)
    S = np.zeros((2, 40))
    S[0], S[1, 7] = 1 + rng.random(40), 30
    Y = rng.random((12, 2)) @ S + 0.001 * rng.normal(size=(12, 40))
    state = converged(Y, iterations=200)
    k = int(torch.argmax(state.S.max(dim=1).values / state.S.sum(dim=1)))
    groups, spectra = leave_out_spectra(state)
    which = next(i for i, group in enumerate(groups) if 7 in group)
    assert torch.equal(spectra[which][:, k], state.A[:, k])


def test_components_that_are_held_stay_held(problem):
    Y, _, _, S = problem(8, 40, 2)
    given = torch.tensor(S[1])
    state = converged(Y, held={1: given})
    _, spectra = leave_out_spectra(state)
    assert torch.equal(state.S[1], given)
    # the scale of a spectrum beside a known map is set by the data
    for A in spectra:
        torch.testing.assert_close(A[:, 1].sum(), state.A[:, 1].sum(), rtol=0.02, atol=0)


def test_the_state_of_the_fit_is_left_alone(problem):
    Y, W, _, _ = problem(8, 40, 2)
    state = converged(Y, W)
    A, S, f = state.A.clone(), state.S.clone(), state.objective
    leave_out_spectra(state)
    assert torch.equal(state.A, A)
    assert torch.equal(state.S, S)
    assert state.objective == f
