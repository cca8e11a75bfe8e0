"""Several fits in one: each goes its own way, and the data are read once."""

import pytest
import torch

from vermilion.alternating import Batch, Problem, Sketch, Sweep
from vermilion.alternating.alternation import turn
from vermilion.prox import Identity, MaxEntropy, NonNegative, Simplex

CPU = torch.device("cpu")
PAIRS = {
    "non-negative": (NonNegative(), NonNegative()),
    "free spectra": (Identity(), NonNegative()),
    "abundances": (NonNegative(), Simplex(0)),
    "unit maps": (NonNegative(), Simplex(1)),
    "entropy": (Simplex(0), MaxEntropy(0.3, prior=0.5)),
}


def starts(problem_, K, n):
    generator = torch.Generator().manual_seed(3)
    n_bands, n_pixels = problem_.Y.shape
    return (
        torch.rand(n, n_bands, K, generator=generator, dtype=torch.float64),
        torch.rand(n, K, n_pixels, generator=generator, dtype=torch.float64),
    )


def feasible(block, X):
    return torch.stack([block.prox(x.contiguous(), 1.0) for x in X])


@pytest.mark.parametrize("pair", sorted(PAIRS))
@pytest.mark.parametrize("weighted", [True, False])
def test_a_batch_goes_the_ways_of_its_members(pair, weighted, problem):
    Y, W, _, _ = problem(12, 40, 3, noise=0.3)
    p = Problem.normalized(torch.tensor(Y), torch.tensor(W) if weighted else None, dtype=torch.float64, device=CPU)
    blocks = [p.block(factor, prox) for factor, prox in zip("AS", PAIRS[pair], strict=True)]
    A, S = starts(p, 3, 4)
    A, S = feasible(blocks[0], A.mT).mT, feasible(blocks[1], S)
    batch = Batch(p.tiles(*blocks), A, S, *blocks, steps=(3, 3))
    members = [Sweep(p.tiles(*blocks), a, s, *blocks, steps=(3, 3)) for a, s in zip(A, S, strict=True)]
    torch.testing.assert_close(batch.objective.tolist(), [one.objective for one in members], rtol=1e-10, atol=0)
    for _ in range(12):
        objectives = batch.step().tolist()
        torch.testing.assert_close(objectives, [one.step().objective for one in members], rtol=1e-7, atol=0)
    for r, one in enumerate(members):
        torch.testing.assert_close(batch.A[r] @ batch.S[r], one.A @ one.S, rtol=1e-5, atol=1e-6)


def test_one_iteration_of_a_batch_reads_the_data_once(problem):
    Y, W, _, _ = problem(12, 40, 3)
    p = Problem.normalized(torch.tensor(Y), torch.tensor(W), dtype=torch.float64, device=CPU)
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    batch = Batch(p.tiles(*blocks), *starts(p, 3, 5), *blocks)
    before = batch.tiles.reads
    batch.step()
    assert batch.tiles.reads - before == pytest.approx(1)


def test_the_objective_of_no_member_rises(problem):
    Y, W, _, _ = problem(12, 40, 3, noise=0.5)
    p = Problem.normalized(torch.tensor(Y), torch.tensor(W), dtype=torch.float64, device=CPU)
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    batch = Batch(p.tiles(*blocks), *starts(p, 3, 6), *blocks)
    before = batch.objective
    for _ in range(60):
        after = batch.step()
        assert bool((after <= before).all())
        before = after
    exact = batch.losses(batch.factors)
    torch.testing.assert_close(before, exact, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weighted", [True, False])
def test_other_numbers_of_components_are_padded_with_zeros(weighted, problem):
    Y, W, _, _ = problem(12, 40, 3, noise=0.3)
    p = Problem.normalized(torch.tensor(Y), torch.tensor(W) if weighted else None, dtype=torch.float64, device=CPU)
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    A, S = starts(p, 3, 2)
    A[0, :, 2], S[0, 2] = 0, 0
    batch = Batch(p.tiles(*blocks), A, S, *blocks, steps=(3, 3))
    alone = Sweep(p.tiles(*blocks), A[0, :, :2], S[0, :2], *blocks, steps=(3, 3))
    for _ in range(10):
        batch.step()
        alone.step()
    assert not bool(batch.A[0, :, 2].any())
    assert not bool(batch.S[0, 2].any())
    assert float(batch.objective[0]) == pytest.approx(alone.objective, rel=1e-8)


def test_compressed_data_serve_a_batch_too(problem):
    Y, _, _, _ = problem(12, 40, 3, noise=0.3)
    U, s, V = torch.linalg.svd(torch.tensor(Y), full_matrices=False)
    sketch = Sketch(U, s[:, None] * V, float((s**2).sum()))
    p = Problem.normalized(torch.tensor(Y), None, dtype=torch.float64, device=CPU)
    blocks = p.block("A", NonNegative()), p.block("S", NonNegative())
    A, S = starts(p, 3, 3)
    batch, members = Batch(sketch, A, S, *blocks), [Sweep(sketch, a, s, *blocks) for a, s in zip(A, S, strict=True)]
    for _ in range(8):
        objectives = batch.step().tolist()
        torch.testing.assert_close(objectives, [one.step().objective for one in members], rtol=1e-8, atol=0)


def test_a_turn_is_the_product_of_correction_and_move_in_units_of_the_factor():
    generator = torch.Generator().manual_seed(0)
    ahead, before, after = torch.randn(3, 4, 2, 5, generator=generator, dtype=torch.float64)
    expected = ((ahead - after) * (after - before)).sum(dim=(1, 2)) / after.square().sum(dim=(1, 2))
    torch.testing.assert_close(turn(ahead, before, after), expected)
    torch.testing.assert_close(turn(ahead[0], before[0], after[0]), expected[0])
    assert float(turn(ahead[0], before[0], 0 * after[0])) == 0
