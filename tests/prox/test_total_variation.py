import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from skimage.restoration import denoise_tv_chambolle

from vermilion.errors import ConvergenceWarning, ParameterError, ShapeError
from vermilion.prox import TotalVariation, total_variation

FIELD = (2, 4, 3)


@pytest.fixture(params=["torch", "numba"])
def path(request, monkeypatch):
    """Both ways to compute the same."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is optional and not installed")
    else:
        monkeypatch.setattr(total_variation, "compiled", lambda kernel: None)
    return request.param


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(operator, y, x):
    return float(operator.penalty(y) + ((y - x) ** 2).sum() / 2)


def test_lines_worked_out_by_hand(path):
    operator = TotalVariation(1.0, dim=0)
    # ends move by c; the two zeros share it
    torch.testing.assert_close(operator(torch.tensor([0.0, 0.0, 9.0]), 1.0), torch.tensor([0.5, 0.5, 8.0]))
    # a peak of one pixel loses 2 c, its neighbors at the ends gain c
    torch.testing.assert_close(operator(torch.tensor([0.0, 9.0, 0.0]), 2.0), torch.tensor([2.0, 5.0, 2.0]))
    # a step in the middle of a staircase stays: it is pulled both ways
    torch.testing.assert_close(operator(torch.tensor([0.0, 5.0, 9.0]), 1.0), torch.tensor([1.0, 5.0, 8.0]))
    # 2 c above half the difference: the mean
    torch.testing.assert_close(operator(torch.tensor([0.0, 3.0]), 2.0), torch.tensor([1.5, 1.5]))


@pytest.mark.parametrize("strength", [1e-3, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("n", [1, 2, 7, 500])
def test_lines_meet_the_conditions_of_a_minimum(path, strength, n):
    # p = - cumsum(x - y) is bounded by c, reaches it with the sign of every jump, and ends at 0
    x = noise(n, seed=n).cumsum(0) + noise(n, seed=n + 1)
    x[n // 2 :] = x[n // 2 :].round()
    y = TotalVariation(strength, dim=0)(x, 1.0)
    p = -(x - y).cumsum(0)
    assert float(p[-1]) == pytest.approx(0, abs=1e-10 * n)
    assert float(p.abs().max()) <= strength + 1e-10 * n
    jump = y.diff()
    torch.testing.assert_close((p[:-1] * jump), strength * jump.abs(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("isotropic", [True, False])
def test_small_images_agree_with_a_general_optimizer(path, isotropic):
    x, c = noise(4, 3, seed=2), 0.4

    def shrunk(p):  # x - grad' p, element by element
        p = p.reshape(FIELD)
        y = x.numpy().copy()
        y[:-1] += p[0, :-1]
        y[1:] -= p[0, :-1]
        y[:, :-1] += p[1, :, :-1]
        y[:, 1:] -= p[1, :, :-1]
        return y

    def slope(p):
        y = shrunk(p)
        g = np.zeros(FIELD)
        g[0, :-1] = np.diff(y, axis=0)
        g[1, :, :-1] = np.diff(y, axis=1)
        return -g.ravel()

    constraints = {"type": "ineq", "fun": lambda p: c**2 - (p.reshape(FIELD) ** 2).sum(0).ravel()} if isotropic else ()
    found = minimize(
        lambda p: (shrunk(p) ** 2).sum() / 2,
        np.zeros(24),
        jac=slope,
        bounds=[(-c, c)] * 24,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert found.success
    y = TotalVariation(0.8, isotropic=isotropic, tol=1e-14)(x, 0.5)
    np.testing.assert_allclose(y.numpy(), shrunk(found.x), rtol=0, atol=2e-6)


def test_no_image_of_a_peer_is_better(path):
    x = torch.zeros(24, 20, dtype=torch.float64)
    x[6:15, 5:12] = 1
    x += 0.2 * noise(24, 20)
    operator = TotalVariation(0.2, tol=1e-6)
    y = operator(x, 1.0)
    peer = torch.as_tensor(denoise_tv_chambolle(x.numpy(), weight=0.2, eps=1e-9, max_num_iter=3000))
    assert objective(operator, y, x) <= objective(operator, peer, x)
    assert objective(operator, peer, x) == pytest.approx(objective(operator, y, x), rel=1e-4)


@pytest.mark.parametrize("isotropic", [True, False])
def test_an_image_of_equal_rows_is_a_line(path, isotropic):
    line = noise(15, seed=4)
    y = TotalVariation(0.5, isotropic=isotropic, tol=1e-13)(line.expand(4, 15), 1.0)
    torch.testing.assert_close(y, TotalVariation(0.5, dim=-1)(line, 1.0).expand(4, 15), rtol=0, atol=1e-6)


@pytest.mark.parametrize("isotropic", [True, False])
def test_the_duality_gap_bounds_what_is_missing(path, isotropic):
    x = noise(12, 9, seed=5)
    best = objective(TotalVariation(0.3, isotropic=isotropic, tol=1e-14), TotalVariation(0.3, isotropic=isotropic, tol=1e-14)(x, 1.0), x)
    for tol in (1e-2, 1e-4, 1e-6):
        operator = TotalVariation(0.3, isotropic=isotropic, tol=tol)
        missing = objective(operator, operator(x, 1.0), x) - best
        assert -1e-12 <= missing <= tol * float((x - x.mean()).square().sum()) / 2


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("weight", [0.03, 0.3, 3.0])
def test_both_paths_give_the_same(isotropic, weight, monkeypatch):
    pytest.importorskip("numba", reason="numba is optional and not installed")
    x = noise(3, 14, 11, seed=6) * torch.tensor([1.0, 1e-3, 1e3], dtype=torch.float64).view(3, 1, 1)
    operators = [TotalVariation(weight, isotropic=isotropic), TotalVariation(weight, dim=1)]
    fast = [operator(x, 1.0) for operator in operators]
    monkeypatch.setattr(total_variation, "compiled", lambda kernel: None)
    for operator, expected in zip(operators, fast, strict=True):
        torch.testing.assert_close(operator(x, 1.0), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("operator", [TotalVariation(1e6), TotalVariation(1e6, isotropic=False), TotalVariation(1e6, dim=1)], ids=repr)
def test_a_large_weight_leaves_the_mean_and_none_leaves_the_image(path, operator):
    x = noise(2, 8, 5)
    mean = x.mean(1, keepdim=True) if operator.dim == 1 else x.mean((1, 2), keepdim=True)
    torch.testing.assert_close(operator(x, 1.0), mean.expand(2, 8, 5), rtol=0, atol=1e-10)
    torch.testing.assert_close(operator(x, 0.0), x, rtol=0, atol=1e-14)


def test_every_image_has_its_own_weight_and_stops_on_its_own(path):
    x = noise(3, 6, 5, seed=7)
    together = TotalVariation(torch.tensor([0.1, 0.5, 2.0]).view(3, 1, 1))(x, 0.5)
    rows = TotalVariation(0.5, shape=(6, 5))(x.flatten(1), torch.tensor([[0.1], [0.5], [2.0]]))
    torch.testing.assert_close(together, rows.view(3, 6, 5), rtol=0, atol=1e-7)
    for image, y, weight in zip(x, together, (0.1, 0.5, 2.0), strict=True):
        torch.testing.assert_close(TotalVariation(weight)(image, 0.5), y, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("dim", "along"), [(0, "component axis"), (1, "pixel axis"), (-1, "pixel axis"), (-2, "component axis")])
def test_lines_may_lie_along_any_dimension(path, dim, along):
    x = noise(6, 7, seed=8)
    operator = TotalVariation(0.4, dim=dim)
    y = operator(x, 1.0)
    assert operator.couples == along
    lines, results = (x.T, y.T) if along == "component axis" else (x, y)
    for line, result in zip(lines, results, strict=True):
        torch.testing.assert_close(TotalVariation(0.4, dim=0)(line, 1.0), result, rtol=0, atol=0)


def test_the_penalty_counts_edges():
    x = torch.zeros(4, 4)
    x[1:, 1:] = 3.0
    # the edge has 3 pixels on either side; at its corner both differences belong to no common pixel
    assert float(TotalVariation(0.5, isotropic=False).penalty(x)) == 0.5 * 18
    assert float(TotalVariation(0.5).penalty(x)) == 0.5 * 18
    # flipped, the corner pixel has both: sqrt(2) in place of 2
    assert float(TotalVariation(0.5).penalty(x.flip(0, 1))) == pytest.approx(0.5 * 3 * (4 + 2**0.5))
    assert float(TotalVariation(0.5, dim=1).penalty(x)) == 0.5 * 9


def test_too_few_iterations_are_told(path):
    with pytest.warns(ConvergenceWarning, match=r"gap of .* within 3 iterations, expected 1\.0e-08: raise max_iter or tol"):
        TotalVariation(0.3, max_iter=3)(noise(9, 9), 1.0)


def test_an_image_with_nan_comes_back_as_nan_and_alone(path):
    x = noise(3, 5, 4)
    x[1, 2, 2] = torch.nan
    for operator in (TotalVariation(0.2), TotalVariation(0.2, isotropic=False)):
        y = operator(x, 1.0)
        assert torch.isnan(y[1]).all()
        torch.testing.assert_close(y[::2], operator(x[::2], 1.0), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weight": -1.0}, "weight is -1.0: expected finite numbers >= 0"),
        ({"weight": 1.0, "tol": 0.0}, "tol is 0.0: expected a finite number > 0"),
        ({"weight": 1.0, "max_iter": 0}, "max_iter is 0: expected an integer > 0"),
        ({"weight": 1.0, "shape": (2, 3), "dim": 0}, "expected shape for images or dim for lines, not both"),
        ({"weight": 1.0, "shape": (2, -3)}, r"shape is \(2, -3\): expected \(Ny, Nx\), two integers > 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, text):
    with pytest.raises(ParameterError, match=text):
        TotalVariation(**arguments)


def test_a_step_for_every_pixel_is_refused():
    with pytest.raises(ShapeError, match=r"shape \(5, 4\) for x of shape \(5, 4\): expected one number per image or line"):
        TotalVariation(1.0)(torch.zeros(5, 4), torch.ones(5, 4))
    with pytest.raises(ShapeError, match=r"x has shape \(4,\): expected a dimension 1 for the lines"):
        TotalVariation(1.0, dim=1)(torch.zeros(4), 1.0)
