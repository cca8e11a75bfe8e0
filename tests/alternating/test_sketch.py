"""Compressed data against the data they stand for."""

import numpy as np
import pytest
import torch

from vermilion.alternating import Problem, Quadratic, Sketch, Sweep, TensorTiles, first_quadratic, loss, passage
from vermilion.prox import NonNegative

B, N, K, RANK = 12, 40, 3, 6


def draw(rank=RANK, *, noise=0.0, seed=0):
    """A sketch and its data: Y = U V, and what lies outside the basis beside it."""
    rng = np.random.default_rng(seed)
    U = torch.tensor(np.linalg.qr(rng.normal(size=(B, rank)))[0])
    V = torch.tensor(rng.normal(size=(rank, N)))
    outside = torch.tensor(noise * rng.normal(size=(B, N)))
    Y = U @ V + outside - U @ (U.T @ outside)
    F, R = torch.tensor(rng.random((K, N))), torch.tensor(rng.random((K, B)))
    return Sketch(U, V, float(Y.square().sum())), Y, F, R


def assert_same(a: Quadratic, b: Quadratic):
    for name in ("G", "gradient", "at"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-10)
    assert not a.packed
    assert not b.packed


def descend(columns, system):
    X = system.at - 0.01 * system.gradient
    return X, system.change(X)


@pytest.mark.parametrize("rank", [RANK, B])
def test_data_inside_the_basis_lose_nothing(rank):
    sketch, Y, F, R = draw(rank)
    tiles = TensorTiles(Y, axis=1)
    assert sketch.shape == tiles.shape
    torch.testing.assert_close(sketch.loss(F, R), loss(tiles, F, R))
    assert_same(sketch.first_quadratic(F, R), first_quadratic(tiles, F, R))
    for solve, new in ((descend, None), (None, F + 0.1)):
        ours, theirs = sketch.passage(F, R, solve, new), passage(tiles, F, R, solve, new)
        torch.testing.assert_close(ours.first, theirs.first)
        torch.testing.assert_close(ours.loss, theirs.loss)
        assert_same(ours.second, theirs.second)


def test_for_spectra_inside_the_basis_the_loss_is_that_of_the_data_whatever_the_maps():
    sketch, Y, F, R = draw(noise=0.5)
    tiles = TensorTiles(Y, axis=1)
    inside = R @ sketch.U @ sketch.U.T
    for maps in (F, F + 1, -3 * F):
        torch.testing.assert_close(sketch.loss(maps, inside), loss(tiles, maps, inside))
    assert_same(sketch.first_quadratic(F, inside), first_quadratic(tiles, F, inside))
    # and outside it is not: what the basis lacks is not seen
    assert abs(float(sketch.loss(F, R) - loss(tiles, F, R))) > 1e-3


def test_the_loss_of_two_numbers_by_hand():
    # basis (1, 0), coordinate 3, of data (3, 4): at spectrum (1, 1) and map 2 half of 25 − 2·(3·2) + 2·4 = 21
    sketch = Sketch(torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[3.0]]).double(), 25.0)
    assert float(sketch.loss(torch.tensor([[2.0]]).double(), torch.ones(1, 2).double())) == 10.5


def test_coordinates_in_float32_and_more_pixels_than_a_slice_change_nothing():
    rng = np.random.default_rng(1)
    V = torch.tensor(rng.normal(size=(4, 70_000)), dtype=torch.float32)
    U = torch.tensor(np.linalg.qr(rng.normal(size=(9, 4)))[0])
    fine, coarse = (Sketch(U, V.to(kind), float(V.double().square().sum())) for kind in (torch.float64, torch.float32))
    F, R = torch.tensor(rng.random((2, 70_000))), torch.tensor(rng.random((2, 9)))
    torch.testing.assert_close(coarse.loss(F, R), fine.loss(F, R))
    assert_same(coarse.passage(F, R, descend).second, fine.passage(F, R, descend).second)


def test_iterations_with_compressed_data_are_those_with_the_data():
    rng = np.random.default_rng(2)
    Y = torch.tensor(rng.random((B, K)) @ rng.random((K, N)))
    U, _, _ = torch.linalg.svd(Y)
    p = Problem.normalized(Y, None, dtype=torch.float64, device=torch.device("cpu"))
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    A, S = torch.tensor(rng.random((B, K))), torch.tensor(rng.random((K, N)))
    U = U[:, :K]
    sketch = Sketch(U, U.T @ Y * p.gain, float(Y.square().sum()) * p.gain**2)
    here, there = (Sweep(data, A, S, *blocks, steps=(2, 2)) for data in (sketch, TensorTiles(Y, axis=1, gain=p.gain)))
    for _ in range(20):
        here.step()
        there.step()
        torch.testing.assert_close(here.A, there.A, rtol=1e-6, atol=1e-8)
        assert here.objective == pytest.approx(there.objective, rel=1e-6)
    assert here.tiles.reads == 0  # of the data, none


def test_maps_and_spectra_are_solved_for_compressed_data_as_for_the_data():
    sketch, Y, F, R = draw()
    p = Problem.normalized(Y, None, dtype=torch.float64, device=torch.device("cpu"))
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    here, there = (Sweep(data, R.T, F, *blocks) for data in (sketch, TensorTiles(Y, axis=1)))
    torch.testing.assert_close(here.solve_morphologies(R.T, F, steps=50), there.solve_morphologies(R.T, F, steps=50))
    torch.testing.assert_close(here.solve_spectra(R.T, F, steps=50), there.solve_spectra(R.T, F, steps=50))
