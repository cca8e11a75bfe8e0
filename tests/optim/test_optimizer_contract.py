"""Every optimizer on every problem whose answer is known, and what torch expects of an optimizer."""

import copy
import io
import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

import vermilion.optim
from vermilion.errors import ParameterError
from vermilion.optim import ADMM, FISTA, PALM, PGM, AdaProx, AdaptivePGM, BarzilaiBorwein, InertialPALM, ProximalOptimizer, TopCurvature
from vermilion.prox import Identity, NonNegative, Prox, Simplex, Soft

OPTIMIZERS = {
    "PGM": PGM,
    "PGM momentum": lambda params, prox=None, **k: PGM(params, prox, momentum=0.9, **k),
    "PGM adaptive": lambda params, prox=None, **k: PGM(params, prox, step_rule=AdaptivePGM(), **k),
    "PALM": PALM,
    "PALM Barzilai-Borwein": lambda params, prox=None, **k: PALM(params, prox, step_rule=BarzilaiBorwein(), **k),
    "PALM adaptive": lambda params, prox=None, **k: PALM(params, prox, step_rule=AdaptivePGM(), **k),
    "InertialPALM": InertialPALM,
    "InertialPALM curvature": lambda params, prox=None, **k: InertialPALM(params, prox, step_rule=TopCurvature(), **k),
    "InertialPALM Barzilai-Borwein": lambda params, prox=None, **k: InertialPALM(params, prox, step_rule=BarzilaiBorwein(), **k),
    "FISTA": FISTA,
    "FISTA curvature": lambda params, prox=None, **k: FISTA(params, prox, step_rule=TopCurvature(), **k),
}
ELSEWHERE = {AdaProx, ADMM}  # with tests of their own
NEED_CLOSURE = (PALM, InertialPALM, FISTA)


class Problem(NamedTuple):
    """Parameters, one operator for each, the loss, and the least value of loss plus penalties."""

    parameters: list[Tensor]
    proxes: list[Prox]
    loss: object
    minimum: float


def leaf(values):
    return torch.as_tensor(values, dtype=torch.float64).clone().requires_grad_()


def nonnegative_least_squares():
    rng = np.random.default_rng(1)
    M, y = rng.normal(size=(30, 8)), rng.normal(size=30)
    _, residual = scipy.optimize.nnls(M, y)
    M, y, x = torch.as_tensor(M), torch.as_tensor(y), leaf(np.ones(8))
    return Problem([x], [NonNegative()], lambda: 0.5 * (M @ x - y).square().sum(), 0.5 * residual**2)


def orthogonal_lasso():
    # with M'M = 1 the solution is Soft(M'y)
    rng = np.random.default_rng(2)
    M = torch.as_tensor(np.linalg.qr(rng.normal(size=(20, 6)))[0])
    y, x = torch.as_tensor(rng.normal(size=20)), leaf(np.zeros(6))
    best = torch.nn.functional.softshrink(M.T @ y, 0.3)
    minimum = float(0.5 * (M @ best - y).square().sum() + 0.3 * best.abs().sum())
    return Problem([x], [Soft(0.3)], lambda: 0.5 * (M @ x - y).square().sum(), minimum)


def exact_factorization():
    generator = torch.Generator().manual_seed(3)
    Y = torch.tensor([[1.0], [2.0], [0.5]], dtype=torch.float64) @ torch.tensor([[3.0, 0.0, 1.0, 2.0]], dtype=torch.float64)
    A, S = (leaf(torch.rand(shape, generator=generator) + 0.1) for shape in ((3, 1), (1, 4)))
    return Problem([A, S], [NonNegative(), NonNegative()], lambda: 0.5 * (A @ S - Y).square().sum(), 0.0)


def curved_valley():
    # a mild form of Rosenbrock's function; the minimum is at (1, 1)
    x, y = leaf([-0.5]), leaf([0.8])
    return Problem([x, y], [Identity(), Identity()], lambda: ((1 - x) ** 2 + 2 * (y - x**2) ** 2).sum(), 0.0)


def simplex_least_squares():
    # nearest point of the simplex to (0.6, 0.8, -1): (0.4, 0.6, 0), at squared distance 0.04 + 0.04 + 1
    x, y = leaf([1.0, 0.0, 0.0]), torch.tensor([0.6, 0.8, -1.0], dtype=torch.float64)
    return Problem([x], [Simplex(0)], lambda: 0.5 * (x - y).square().sum(), 0.54)


PROBLEMS = [nonnegative_least_squares, orthogonal_lasso, exact_factorization, curved_valley, simplex_least_squares]
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
every_problem = pytest.mark.parametrize("make", PROBLEMS, ids=lambda make: make.__name__)


def groups_of(problem):
    return [{"params": [p], "prox": prox} for p, prox in zip(problem.parameters, problem.proxes, strict=True)]


def closure_of(problem, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = problem.loss()
        loss.backward()
        return loss

    return closure


def objective(problem, optimizer):
    with torch.no_grad():
        return float(problem.loss()) + float(optimizer.penalty())


def test_no_optimizer_is_forgotten():
    public = [getattr(vermilion.optim, name) for name in vermilion.optim.__all__]
    optimizers = {item for item in public if isinstance(item, type) and issubclass(item, ProximalOptimizer)} - {ProximalOptimizer}
    made = {type(make([torch.zeros(1, requires_grad=True)])) for make in OPTIMIZERS.values()}
    assert made == optimizers - ELSEWHERE


@every_optimizer
@every_problem
def test_the_known_minimum_is_found_without_a_number(name, make):
    problem = make()
    optimizer = OPTIMIZERS[name](groups_of(problem))
    start = objective(problem, optimizer)
    closure = closure_of(problem, optimizer)
    for _ in range(400):
        optimizer.step(closure)
    end = objective(problem, optimizer)
    assert problem.minimum - 1e-12 <= end <= problem.minimum + 1e-6 * (start - problem.minimum)


@every_optimizer
@every_problem
def test_every_state_is_feasible_and_its_loss_is_returned(name, make):
    problem = make()
    optimizer = OPTIMIZERS[name](groups_of(problem))
    closure = closure_of(problem, optimizer)
    for _ in range(25):
        with torch.no_grad():
            before = float(problem.loss())
        loss = optimizer.step(closure)
        assert float(loss) == pytest.approx(before, rel=1e-12, abs=1e-14)
        assert not loss.requires_grad
        assert math.isfinite(float(optimizer.penalty()))


@every_optimizer
@every_problem
@pytest.mark.parametrize("moment", [1, 13])
def test_a_run_that_is_saved_and_resumed_is_bit_equal(name, make, moment):
    problem, twin = make(), make()
    optimizer = OPTIMIZERS[name](groups_of(problem))
    for _ in range(moment):
        optimizer.step(closure_of(problem, optimizer))
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "parameters": [p.detach() for p in problem.parameters]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    with torch.no_grad():
        for p, value in zip(twin.parameters, saved["parameters"], strict=True):
            p.copy_(value)
    resumed = OPTIMIZERS[name](groups_of(twin))
    resumed.load_state_dict(saved["optimizer"])
    for _ in range(12):
        losses = [o.step(closure_of(p, o)) for p, o in ((problem, optimizer), (twin, resumed))]
        assert torch.equal(*losses)
    for p, q in zip(problem.parameters, twin.parameters, strict=True):
        assert torch.equal(p, q)
    assert resumed.gradient_evaluations == optimizer.gradient_evaluations
    assert resumed.objective_evaluations == optimizer.objective_evaluations


@every_optimizer
def test_a_copy_goes_the_same_way(name):
    problem = exact_factorization()
    optimizer = OPTIMIZERS[name](groups_of(problem))
    for _ in range(3):
        optimizer.step(closure_of(problem, optimizer))
    state = copy.deepcopy(optimizer.state_dict())
    optimizer.step(closure_of(problem, optimizer))
    # the state that was handed out is the optimizer's no more
    assert state["param_groups"][0]["gradient_evaluations"] < optimizer.gradient_evaluations[0]


@every_optimizer
def test_every_evaluation_is_counted(name):
    problem = exact_factorization()
    optimizer = OPTIMIZERS[name](groups_of(problem))
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        return closure_of(problem, optimizer)()

    for _ in range(20):
        optimizer.step(closure)
    assert optimizer.objective_evaluations == calls
    assert len(optimizer.gradient_evaluations) == 2
    assert all(20 <= n <= calls for n in optimizer.gradient_evaluations)


@every_optimizer
def test_learning_rates_stay_numbers_that_schedulers_change(name):
    problem = exact_factorization()
    optimizer = OPTIMIZERS[name](groups_of(problem))
    schedulers = [
        torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
    ]
    for _ in range(4):
        optimizer.step(closure_of(problem, optimizer))
        for scheduler in schedulers:
            scheduler.step()
    assert all(isinstance(group["lr"], float) and 0 < group["lr"] < 1 for group in optimizer.param_groups)


@every_optimizer
def test_hooks_are_called(name):
    problem, seen = exact_factorization(), []
    optimizer = OPTIMIZERS[name](groups_of(problem))
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.step(closure_of(problem, optimizer))
    assert seen == ["before", "after"]


@every_optimizer
def test_a_loss_that_is_not_finite_at_the_start_moves_nothing(name):
    x = leaf([1.0, 2.0])
    problem = Problem([x], [NonNegative()], lambda: (x * math.nan).sum(), math.nan)
    optimizer = OPTIMIZERS[name](groups_of(problem))
    for _ in range(3):
        assert torch.isnan(optimizer.step(closure_of(problem, optimizer)))
    assert x.tolist() == [1.0, 2.0]


@every_optimizer
def test_a_stationary_point_stays(name):
    x = leaf([0.0, 0.0])
    problem = Problem([x], [Soft(1.0)], lambda: 0.5 * x.square().sum(), 0.0)
    optimizer = OPTIMIZERS[name](groups_of(problem))
    for _ in range(5):
        optimizer.step(closure_of(problem, optimizer))
    assert x.tolist() == [0.0, 0.0]


@every_optimizer
def test_a_parameter_that_needs_no_gradient_stays(name):
    x, fixed = leaf([3.0]), torch.tensor([-1.0], dtype=torch.float64)
    optimizer = OPTIMIZERS[name]([{"params": [x, fixed], "prox": NonNegative()}])
    problem = Problem([x], [NonNegative()], lambda: (x - 1).square().sum(), 0.0)
    for _ in range(30):
        optimizer.step(closure_of(problem, optimizer))
    assert fixed.tolist() == [-1.0]


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_precision_gets_as_far_as_it_can(name, dtype):
    generator = torch.Generator().manual_seed(8)
    M, y = torch.randn(30, 5, generator=generator).to(dtype), torch.randn(30, generator=generator).to(dtype)
    x = torch.zeros(5, dtype=dtype, requires_grad=True)
    best = torch.linalg.lstsq(M.double(), y.double()[:, None]).solution[:, 0]
    problem = Problem([x], [Identity()], lambda: 0.5 * (M @ x - y).square().sum(), math.nan)
    optimizer = OPTIMIZERS[name](groups_of(problem))
    for _ in range(200):
        optimizer.step(closure_of(problem, optimizer))
    assert x.dtype == dtype
    assert float((x.detach().double() - best).norm() / best.norm()) < 30 * torch.finfo(dtype).eps ** 0.5


@every_optimizer
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_unit_of_the_loss_does_not_matter(name, scale):
    losses = []
    for factor in (1.0, scale):
        problem = nonnegative_least_squares()
        scaled = problem._replace(loss=lambda loss=problem.loss, factor=factor: factor * loss())
        optimizer = OPTIMIZERS[name](groups_of(scaled))
        for _ in range(200):
            optimizer.step(closure_of(scaled, optimizer))
        losses.append(float(problem.loss().detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-7)


@pytest.mark.parametrize("cls", NEED_CLOSURE)
def test_a_closure_is_demanded(cls):
    with pytest.raises(TypeError, match=rf"{cls.__name__}.step\(\) without closure: expected step\(closure\)"):
        cls([torch.zeros(1, requires_grad=True)]).step()


@pytest.mark.parametrize("cls", [PGM, *NEED_CLOSURE])
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"lr": -0.1}, ParameterError, "lr is -0.1: expected a finite number >= 0"),
        ({"lr": "fast"}, TypeError, "lr is 'fast': expected a number"),
        ({"step_rule": "magic"}, ParameterError, "step_rule is 'magic': expected 'auto'"),
        ({"step_rule": None}, ParameterError, "neither lr nor step_rule is given"),
        ({"prox": [NonNegative()] * 3}, ParameterError, "prox has length 3, there are 1 parameter groups"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_options_out_of_range_are_refused(cls, options, error, text):
    with pytest.raises(error, match=text):
        cls([torch.zeros(1, requires_grad=True)], **options)


@pytest.mark.parametrize("cls", [InertialPALM, FISTA])
@every_problem
def test_with_momentum_the_objective_never_rises(cls, make):
    problem = make()
    optimizer = cls(groups_of(problem))
    values = []
    for _ in range(150):
        optimizer.step(closure_of(problem, optimizer))
        values.append(objective(problem, optimizer))
    assert all(b <= a + 1e-14 * max(1, abs(a)) for a, b in itertools.pairwise(values))
