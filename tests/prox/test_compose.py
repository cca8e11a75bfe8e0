import math

import numpy as np
import pytest
import torch
from scipy.fft import dct

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import (
    Box,
    MaxEntropy,
    NonNegative,
    Orthogonal,
    Scaled,
    Simplex,
    Soft,
    SquaredL2,
    Stiefel,
    Translated,
    UnitSum,
    dct_matrix,
)

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_scaled_penalty_is_one_of_another_weight():
    # |c x| = |c| |x| and (c x)^2 = c^2 x^2
    torch.testing.assert_close(Scaled(Soft(0.3), -2.0)(X, 0.7), Soft(0.6)(X, 0.7))
    torch.testing.assert_close(Scaled(SquaredL2(0.3), 2.0)(X, 0.7), SquaredL2(1.2)(X, 0.7))
    assert float(Scaled(Soft(0.3), -2.0).penalty(X)) == pytest.approx(float(Soft(0.6).penalty(X)), rel=1e-14)


def test_a_scaled_set_is_a_set_of_another_size():
    torch.testing.assert_close(Scaled(Simplex(0), 0.5)(X, 1.0), Simplex(0, total=2.0)(X, 1.0))
    torch.testing.assert_close(Scaled(NonNegative(), -3.0)(X, 1.0), X.clamp(max=0))


def test_scales_may_differ_between_entries():
    scale = torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    torch.testing.assert_close(Scaled(Soft(0.3), scale)(X, 0.7), Soft(0.3 * scale.abs())(X, 0.7))


def test_a_translated_penalty_pulls_to_the_template():
    template = torch.arange(6.0)
    y = Translated(SquaredL2(1.0), template)(X, 1.0)
    torch.testing.assert_close(y, (X + template) / 2)
    assert float(Translated(SquaredL2(1.0), template).penalty(template.repeat(2, 1))) == 0


def test_a_translated_box_is_another_box():
    torch.testing.assert_close(Translated(Box(0.0, 1.0), -0.5)(X, 1.0), Box(-0.5, 0.5)(X, 1.0))


def test_the_cosine_transform_is_that_of_scipy():
    np.testing.assert_allclose(X.numpy() @ dct_matrix(6).numpy().T, dct(X.numpy(), norm="ortho"), atol=1e-14)


def test_few_cosines_are_a_threshold_of_the_transform():
    U = dct_matrix(6)
    y = Orthogonal(Soft(0.3), U)(X, 1.0)
    torch.testing.assert_close(y @ U.T, Soft(0.3)(X @ U.T, 1.0))
    assert float(Orthogonal(Soft(0.3), U).penalty(y)) == pytest.approx(float(Soft(0.3).penalty(y @ U.T)), rel=1e-12)


def test_where_rows_are_missing_the_rest_of_x_stays():
    U = dct_matrix(6)
    y = Orthogonal(Box(0.0, 0.0), U[3:])(X, 1.0)
    torch.testing.assert_close(y @ U[:3].T, X @ U[:3].T)
    torch.testing.assert_close(y @ U[3:].T, torch.zeros(4, 3, dtype=torch.float64), rtol=0, atol=1e-14)


def test_a_fast_transform_may_come_as_a_pair_of_functions():
    def forward(x):
        return x.flip(-1)

    assert torch.equal(Orthogonal(Simplex(1), forward, adjoint=forward)(X, 1.0), Simplex(1)(X, 1.0))
    assert Orthogonal(Soft(1.0), forward, adjoint=forward).couples == "image"
    assert "forward" in repr(Orthogonal(Soft(1.0), forward, adjoint=forward))


@pytest.mark.parametrize("compose", [lambda p: Scaled(p, 2.0), lambda p: Translated(p, 1.0), lambda p: Orthogonal(p, dct_matrix(6))])
def test_compositions_are_as_exact_and_convex_as_what_they_hold(compose):
    assert not compose(UnitSum(0)).exact
    assert not compose(Stiefel()).convex
    assert compose(NonNegative()).projection
    assert not compose(MaxEntropy(0.1)).projection


def test_a_translation_makes_no_cone_unless_it_is_none():
    assert not Translated(NonNegative(), 1.0).cone
    assert Translated(NonNegative(), 0.0).cone


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf])
def test_a_scale_of_zero_is_refused(scale):
    with pytest.raises(ParameterError, match="expected finite numbers other than 0"):
        Scaled(Soft(1.0), scale)


def test_a_shift_that_is_not_finite_is_refused():
    with pytest.raises(ParameterError, match="shift is nan"):
        Translated(Soft(1.0), math.nan)


def test_rows_that_are_not_orthonormal_are_refused():
    with pytest.raises(ParameterError, match="U U' differs from I by 3"):
        Orthogonal(Soft(1.0), 2 * dct_matrix(3))
    with pytest.raises(ParameterError, match="rows <= columns"):
        Orthogonal(Soft(1.0), dct_matrix(3)[:, :2])


def test_a_function_without_its_adjoint_is_refused():
    with pytest.raises(ParameterError, match="expected adjoint="):
        Orthogonal(Soft(1.0), torch.fft.fft)


def test_a_wrong_number_of_pixels_is_refused():
    with pytest.raises(ShapeError, match=r"x has shape \(4, 6\), U \(3, 3\)"):
        Orthogonal(Soft(1.0), dct_matrix(3))(X, 1.0)
