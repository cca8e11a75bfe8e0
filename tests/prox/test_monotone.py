import math

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import MonotoneCone, MonotoneGreedy, kernels, monotone

OPERATORS = [MonotoneGreedy(), MonotoneGreedy(neighbors="nearest"), MonotoneCone()]


@pytest.fixture(params=["torch", "numba"])
def path(request, monkeypatch):
    """Both ways to compute the same."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is optional and not installed")
    else:
        monkeypatch.setattr(monotone, "compiled", lambda kernel: None)
    return request.param


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inner_neighbors(shape, center):
    """For every pixel, by increasing distance, (pixel, neighbors nearer to the center, cosines), written as loops."""
    pixels = sorted(np.ndindex(*shape), key=lambda p: (p[0] - center[0]) ** 2 + (p[1] - center[1]) ** 2)
    for y, x in pixels[1:]:
        to_center = np.array([center[0] - y, center[1] - x])
        found = []
        for step in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
            q = (y + step[0], x + step[1])
            cosine = float(np.dot(step, to_center)) / (math.hypot(*step) * math.hypot(*to_center))
            inside = 0 <= q[0] < shape[0] and 0 <= q[1] < shape[1]
            if inside and math.dist(q, center) < math.dist((y, x), center) and cosine > 0:
                found.append((cosine, q))
        yield (y, x), [q for _, q in found], [cosine for cosine, _ in found]


def parents(shape, center):
    return {p: neighbors[int(np.argmax(cosines))] for p, neighbors, cosines in inner_neighbors(shape, center)}


@pytest.mark.parametrize("center", [(3, 3), (0, 0), (6, 2)])
def test_the_projection_agrees_with_a_quadratic_program(path, center):
    shape = (7, 6)
    x = noise(*shape, seed=sum(center))
    steps = np.zeros((41, 42))
    for row, (pixel, parent) in zip(steps, parents(shape, center).items(), strict=True):
        row[np.ravel_multi_index(parent, shape)], row[np.ravel_multi_index(pixel, shape)] = 1, -1
    # the dual of  min |y - x|^2  s.t.  steps y >= 0:  y = x + steps' m with the multipliers m >= 0 that make y shortest
    multipliers, _ = nnls(steps.T, -x.numpy().ravel())
    expected = x.numpy().ravel() + steps.T @ multipliers
    assert (multipliers > 0).any()
    np.testing.assert_allclose(MonotoneCone(center=center)(x, 1.0).numpy().ravel(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smooth", [True, False], ids=["galaxy", "noise"])
def test_the_projection_of_a_large_image_meets_the_conditions_of_a_minimum(path, smooth):
    # multipliers of the edges are the sums of x - y over all that lies beyond: none negative, 0 where the edge is slack
    shape, center = (58, 48), (29, 24)
    x = 0.1 * noise(*shape) + (profile(shape, center) if smooth else 0)
    y = MonotoneCone(center=center)(x, 1.0)
    multiplier = (x - y).numpy().copy()
    tree = parents(shape, center)
    for pixel, parent in reversed(tree.items()):
        assert y[pixel] <= y[parent]
        assert multiplier[pixel] >= -1e-10
        assert multiplier[pixel] * float(y[parent] - y[pixel]) <= 1e-10
        multiplier[parent] += multiplier[pixel]
    assert abs(multiplier[center]) <= 1e-10


def profile(shape, center):
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    return torch.exp(-torch.hypot((y - center[0]) / 6, (x - center[1]) / 4))


def test_points_worked_out_by_hand(path):
    # a row around its middle: to the right 2, 1, -1 fall already; to the left 2, 1, 3 do not: their mean is 2
    x = torch.tensor([[3.0, 1.0, 2.0, 1.0, -1.0]])
    torch.testing.assert_close(MonotoneCone()(x, 1.0), torch.tensor([[2.0, 2.0, 2.0, 1.0, -1.0]]))
    torch.testing.assert_close(MonotoneGreedy()(x, 1.0), torch.tensor([[1.0, 1.0, 2.0, 1.0, -1.0]]))
    # around the corner (0, 0) the pixel (1, 1) is clipped to the mean of its neighbors with weights 1/sqrt(2), 1/sqrt(2), 1
    x = torch.tensor([[4.0, 3.0], [1.0, 9.0]], dtype=torch.float64)
    expected = (4 + (3 + 1) / math.sqrt(2)) / (1 + 2 / math.sqrt(2))
    assert float(MonotoneGreedy(center=(0, 0))(x, 1.0)[1, 1]) == pytest.approx(expected, rel=1e-14)
    assert float(MonotoneGreedy(center=(0, 0), neighbors="nearest")(x, 1.0)[1, 1]) == 4


@pytest.mark.parametrize("neighbors", ["angle", "nearest"])
def test_the_greedy_form_is_the_loop_over_pixels_by_distance(path, neighbors):
    shape, center = (13, 10), (4, 7)
    x = noise(*shape, seed=1)
    expected = x.numpy().copy()
    for pixel, inner, cosines in inner_neighbors(shape, center):
        weights = np.array(cosines) / sum(cosines) if neighbors == "angle" else np.arange(len(inner)) == np.argmax(cosines)
        expected[pixel] = min(expected[pixel], sum(w * expected[q] for w, q in zip(weights, inner, strict=True)))
    np.testing.assert_allclose(MonotoneGreedy(center=center, neighbors=neighbors)(x, 1.0).numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 58, 48), (2, 1, 1), (2, 1, 9), (2, 30, 2)])
def test_both_paths_give_the_same(operator, dtype, shape, monkeypatch):
    pytest.importorskip("numba", reason="numba is optional and not installed")
    x = (noise(*shape) * 10 ** noise(*shape, seed=1)).to(dtype)
    fast = operator(x, 1.0)
    monkeypatch.setattr(monotone, "compiled", lambda kernel: None)
    torch.testing.assert_close(operator(x, 1.0), fast, rtol=1e-6, atol=1e-6 * float(x.abs().max()))


def test_the_projection_is_nearer_than_the_greedy_form_and_keeps_the_sum(path):
    x = profile((58, 48), (29, 24)) + 0.1 * noise(58, 48)
    exact, greedy = MonotoneCone()(x, 1.0), MonotoneGreedy(neighbors="nearest")(x, 1.0)
    assert float(MonotoneCone().penalty(greedy)) == 0
    assert float((exact - x).norm()) < float((greedy - x).norm())
    assert float(exact.sum()) == pytest.approx(float(x.sum()), rel=1e-12)
    assert (greedy <= x).all()


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_an_image_that_falls_everywhere_stays(path, operator):
    x = profile((9, 12), (4, 6))
    torch.testing.assert_close(operator(x, 1.0), x, rtol=0, atol=1e-15)
    assert float(operator.penalty(x)) == 0
    assert float(operator.penalty(-x)) == math.inf


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_rows_of_pixels_are_images_of_the_given_shape(path, operator):
    x = noise(3, 7, 5)
    shaped = type(operator)(shape=(7, 5), center=(2, 3))
    rows = shaped(x.flatten(1), 1.0)
    torch.testing.assert_close(rows.view(3, 7, 5), shaped(x, 1.0), rtol=0, atol=0)
    torch.testing.assert_close(rows[1], shaped(x[1].flatten(), 1.0), rtol=0, atol=0)
    assert (shaped.couples, operator.couples) == ("pixel axis", "image")


def test_a_faint_rising_wing_beside_a_bright_center_is_not_taken_for_rounding():
    x = torch.tensor([[1e6, 1.0, 2.0]])
    assert float(MonotoneCone(center=(0, 0)).penalty(x)) == math.inf
    assert float(MonotoneGreedy(center=(0, 0)).penalty(x)) == math.inf


def test_an_image_with_nan_comes_back_as_nan_and_alone(path):
    x = noise(3, 5, 4)
    x[1, 2, 2] = torch.nan
    for operator in OPERATORS:
        y = operator(x, 1.0)
        assert torch.isnan(y[1]).all()
        torch.testing.assert_close(y[::2], operator(x[::2], 1.0), rtol=0, atol=0)
        assert float(operator.penalty(y)) == math.inf


def test_parameters_that_require_gradients_are_taken(path):
    x = noise(5, 4).requires_grad_()
    for operator in OPERATORS:
        assert not operator(x, 1.0).requires_grad


@pytest.mark.parametrize("center", [(7, 0), (0, 6), (-1, 0), (1.5, 2), (1,)])
def test_a_center_that_is_no_pixel_of_the_image_is_refused(center):
    for operator in (MonotoneCone, MonotoneGreedy):
        with pytest.raises(ParameterError, match=r"center is .*: expected \(y, x\)"):
            operator(shape=(7, 6), center=center)


def test_a_center_outside_the_image_at_hand_is_refused():
    with pytest.raises(ParameterError, match=r"center is \(5, 5\), outside images of shape \(4, 4\)"):
        MonotoneCone(center=(5, 5))(torch.zeros(4, 4), 1.0)


def test_other_arguments_are_refused_with_the_way_out():
    with pytest.raises(ParameterError, match="neighbors is 'flat': expected one of angle, nearest"):
        MonotoneGreedy(neighbors="flat")
    with pytest.raises(ParameterError, match=r"shape is \(3, 0\): expected \(Ny, Nx\)"):
        MonotoneCone(shape=(3, 0))
    with pytest.raises(ShapeError, match=r"x has shape \(2, 10\): expected \(..., 12\) or \(..., 3, 4\)"):
        MonotoneCone(shape=(3, 4))(torch.zeros(2, 10), 1.0)
    with pytest.raises(ShapeError, match=r"x has shape \(10,\): expected \(..., Ny, Nx\); pass shape"):
        MonotoneGreedy()(torch.zeros(10), 1.0)


def test_kernels_compile_where_their_code_cannot_be_kept(monkeypatch):
    numba = pytest.importorskip("numba", reason="numba is optional and not installed")

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda kernel: (kernel, options)

    monkeypatch.setattr(numba, "njit", njit)
    assert kernels.compiled.__wrapped__(kernels.fit_line) == (kernels.fit_line, kernels.OPTIONS)
