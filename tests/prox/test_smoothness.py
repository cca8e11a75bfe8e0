import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import Smoothness


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def second_differences(n, boundary):
    difference = torch.eye(n, dtype=torch.float64).roll(1, 1) - torch.eye(n, dtype=torch.float64)
    if boundary == "reflect":
        difference = difference[:-1]
    return difference.T @ difference


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
@pytest.mark.parametrize("shape", [(5, 4), (1, 6), (7, 1), (2, 2)])
def test_the_result_solves_the_linear_system(boundary, shape):
    x = noise(*shape)
    laplacian = torch.kron(second_differences(shape[0], boundary), torch.eye(shape[1], dtype=torch.float64)) + torch.kron(
        torch.eye(shape[0], dtype=torch.float64), second_differences(shape[1], boundary)
    )
    expected = torch.linalg.solve(torch.eye(x.numel(), dtype=torch.float64) + 0.6 * laplacian, x.flatten())
    operator = Smoothness(2.0, boundary=boundary)
    torch.testing.assert_close(operator(x, 0.3), expected.view(shape), rtol=0, atol=1e-13)
    assert float(operator.penalty(x)) == pytest.approx(float(x.flatten() @ laplacian @ x.flatten()), rel=1e-12)


def test_one_number_by_hand():
    # two pixels: the mean stays, the difference shrinks by 1 / (1 + 2 c)
    y = Smoothness(1.0, dim=0)(torch.tensor([0.0, 3.0], dtype=torch.float64), 1.0)
    torch.testing.assert_close(y, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert float(Smoothness(1.0, dim=0).penalty(torch.tensor([0.0, 3.0]))) == 4.5


def test_reflecting_boundaries_are_a_cosine_filter():
    x = noise(16, 9)
    k = [2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in x.shape]
    expected = idctn(dctn(x.numpy(), norm="ortho") / (1 + 5 * (k[0][:, None] + k[1])), norm="ortho")
    np.testing.assert_allclose(Smoothness(5.0)(x, 1.0).numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
def test_a_large_weight_leaves_the_mean_and_none_leaves_the_image(boundary):
    x = noise(2, 8, 5)
    operator = Smoothness(1e30, boundary=boundary)
    torch.testing.assert_close(operator(x, 1.0), x.mean((1, 2), keepdim=True).expand(2, 8, 5), rtol=0, atol=1e-14)
    torch.testing.assert_close(operator(x, 0.0), x, rtol=0, atol=1e-14)


def test_every_image_has_its_own_weight_and_rows_are_images():
    x, weights = noise(3, 6, 5), torch.tensor([0.1, 0.5, 20.0], dtype=torch.float64)
    together = Smoothness(weights.view(3, 1, 1))(x, 0.5)
    rows = Smoothness(0.5, shape=(6, 5))(x.flatten(1), weights[:, None])
    torch.testing.assert_close(rows.view(3, 6, 5), together, rtol=0, atol=1e-14)
    for image, y, weight in zip(x, together, weights, strict=True):
        torch.testing.assert_close(Smoothness(float(weight))(image, 0.5), y, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dim", [0, 1, 2, -2])
def test_lines_may_lie_along_any_dimension(dim):
    x = noise(4, 5, 6)
    y = Smoothness(3.0, dim=dim)(x, 1.0).movedim(dim, -1)
    matrix = torch.eye(y.shape[-1], dtype=torch.float64) + 3 * second_differences(y.shape[-1], "reflect")
    torch.testing.assert_close(y @ matrix, x.movedim(dim, -1), rtol=0, atol=1e-13)


def test_a_batch_spoiled_in_one_image_is_right_in_the_others():
    x = noise(3, 5, 4)
    x[1, 0, 0] = torch.inf
    y = Smoothness(0.2)(x, 1.0)
    assert torch.isnan(y[1]).all()
    torch.testing.assert_close(y[::2], Smoothness(0.2)(x[::2], 1.0), rtol=0, atol=1e-15)


def test_bad_arguments_are_refused():
    with pytest.raises(ParameterError, match="boundary is 'wrap': expected one of reflect, periodic"):
        Smoothness(1.0, boundary="wrap")
    with pytest.raises(ParameterError, match="weight is nan"):
        Smoothness(float("nan"))
    with pytest.raises(ParameterError, match="not both"):
        Smoothness(1.0, shape=(2, 2), dim=0)
    with pytest.raises(ShapeError, match=r"expected one number per image or line, broadcastable to \(3, 1, 1\)"):
        Smoothness(1.0)(torch.zeros(3, 4, 5), torch.ones(3, 4, 1))
    with pytest.raises(ShapeError, match=r"x has shape \(2, 10\): expected \(..., 12\) or \(..., 3, 4\)"):
        Smoothness(1.0, shape=(3, 4))(torch.zeros(2, 10), 1.0)
