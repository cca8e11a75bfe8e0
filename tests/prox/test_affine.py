import math

import pytest
import torch

from vermilion.errors import ParameterError
from vermilion.prox import AffineSum, Simplex


def test_the_missing_amount_is_shared_equally():
    # sum 2, one too much: each of three entries gives a third
    y = AffineSum(0)(torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64), 1.0)
    torch.testing.assert_close(y, torch.tensor([8.0, -1.0, -4.0], dtype=torch.float64) / 3)


def test_where_the_result_is_positive_it_is_the_simplex():
    x = 0.25 + 0.05 * torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(AffineSum(0)(x, 1.0), Simplex(0)(x, 1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_large_offset_does_not_hide_the_total(dtype):
    x = torch.full((5,), 1e30, dtype=dtype)
    torch.testing.assert_close(AffineSum(0, total=2.0)(x, 1.0), torch.full((5,), 0.4, dtype=dtype))


def test_only_a_total_of_zero_is_a_cone():
    assert AffineSum(0, total=0.0).cone
    assert not AffineSum(0, total=1.0).cone


def test_other_sums_have_infinite_penalty():
    assert float(AffineSum(1, total=-1.0).penalty(torch.tensor([[1.0, -2.0], [0.0, -1.0]]))) == 0
    assert float(AffineSum(1, total=-1.0).penalty(torch.tensor([[1.0, -2.0], [0.0, 1.0]]))) == math.inf


@pytest.mark.parametrize("total", [math.nan, math.inf])
def test_a_total_that_is_not_finite_is_refused(total):
    with pytest.raises(ParameterError, match=r"total is .*: expected a finite number"):
        AffineSum(0, total=total)
