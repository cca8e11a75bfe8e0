import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from vermilion.errors import ParameterError
from vermilion.prox import Simplex, UnitSum


def test_a_point_worked_out_by_hand():
    # both entries stay positive: subtract (0.6 + 0.8 - 1) / 2 = 0.2 from each; -1 would stay negative and becomes 0
    y = Simplex(0)(torch.tensor([0.6, 0.8, -1.0], dtype=torch.float64), 1.0)
    torch.testing.assert_close(y, torch.tensor([0.4, 0.6, 0.0], dtype=torch.float64))


def test_the_projection_agrees_with_a_general_optimizer():
    x = np.random.default_rng(0).normal(size=7)
    constraint = {"type": "eq", "fun": lambda y: y.sum() - 2.5}
    found = minimize(lambda y: ((y - x) ** 2).sum(), np.full(7, 2.5 / 7), bounds=[(0, None)] * 7, constraints=[constraint], tol=1e-12)
    np.testing.assert_allclose(Simplex(0, total=2.5)(torch.as_tensor(x), 1.0).numpy(), found.x, atol=1e-6)


@pytest.mark.parametrize("way", ["compiled", "python", "torch"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_compiled_interpreted_and_without_kernel_the_projection_is_that_by_sorting(way, dim, monkeypatch):
    if way != "compiled":
        monkeypatch.setattr("vermilion.prox.simplex.compiled", lambda kernel: kernel if way == "python" else None)
    x = 10 * np.random.default_rng(3).normal(size=(5, 9, 4)) ** 3
    x[1:3] = 0.7  # ties
    z = -np.sort(-x, axis=dim)
    rank = np.arange(1, x.shape[dim] + 1).reshape([-1 if axis == dim % 3 else 1 for axis in range(3)])
    thresholds = (np.cumsum(z, axis=dim) - 2.5) / rank
    kept = (z > thresholds).sum(axis=dim, keepdims=True)  # Duchi et al. 2008: the first so many of the sorted ones stay positive
    expected = np.maximum(x - np.take_along_axis(thresholds, kept - 1, axis=dim), 0)
    before = torch.tensor(x)
    np.testing.assert_allclose(Simplex(dim, total=2.5)(before, 1.0), expected, atol=1e-12)
    np.testing.assert_array_equal(before, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sum_is_right_for_a_million_entries_around_a_large_number(dtype):
    x = 1000 + torch.rand(1_000_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    y = Simplex(0)(x, 1.0)
    assert float(y.sum(dtype=torch.float64)) == pytest.approx(1, abs=10 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("total", [0.0, -1.0, float("nan"), float("inf")])
def test_a_total_that_is_not_positive_is_refused(total):
    with pytest.raises(ParameterError, match=r"total is .*: expected a finite number > 0"):
        Simplex(0, total=total)


def test_points_off_the_simplex_have_infinite_penalty():
    for point in ([0.5, 0.6], [1.5, -0.5], [0.5, float("nan")]):
        assert float(Simplex(0).penalty(torch.tensor(point))) == float("inf")


def test_the_rescaling_is_division_by_the_sum():
    torch.testing.assert_close(UnitSum(0)(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), 1.0), torch.tensor([[0.25, 0.5], [0.75, 0.5]]))
    assert not UnitSum(0).exact


@pytest.mark.parametrize(
    "column",
    [[0.0, 0.0, 0.0], [1.0, -1.0, 0.0], [float("nan"), 1.0, 2.0], [float("inf"), 1.0, 1.0], [3e38, 3e38, 3e38], [1e30, -1e30, 1.0]],
)
def test_the_rescaling_falls_back_to_equal_entries_where_the_sum_says_nothing(column):
    x = torch.tensor([column, [1.0, 1.0, 2.0]]).T
    expected = torch.tensor([[1 / 3] * 3, [0.25, 0.25, 0.5]]).T
    torch.testing.assert_close(UnitSum(0)(x, 1.0), expected)


def test_the_rescaling_keeps_a_spectrum_of_one_bright_line():
    x = torch.zeros(100_000)
    x[7] = 5.0
    assert float(UnitSum(0)(x, 1.0)[7]) == 1.0
