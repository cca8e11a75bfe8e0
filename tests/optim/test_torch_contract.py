"""Every optimizer keeps torch's own contract, as `torch.testing._internal.common_optimizers` and torch's tests have it."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch.nn import Parameter
from torch.optim import lr_scheduler

import vermilion.optim
from vermilion.optim import ProximalOptimizer
from vermilion.prox import NonNegative, Simplex, Soft

OPTIMIZERS = sorted(
    name
    for name in vermilion.optim.__all__
    if inspect.isclass(cls := getattr(vermilion.optim, name)) and issubclass(cls, ProximalOptimizer) and cls is not ProximalOptimizer
)
SCHEDULERS = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.9),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.99),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=100),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, threshold=1e-4),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=0.4, end_factor=0.8, total_iters=4),
}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]
    ),
]

every = pytest.mark.parametrize("name", OPTIMIZERS)
on_every_device = pytest.mark.parametrize("device", DEVICES)


def has_lr(name):
    return "lr" in inspect.signature(getattr(vermilion.optim, name)).parameters


def forms(name):
    """Options to construct an optimizer with: none at all, and a number."""
    return [{}, {"lr": 0.01}] if has_lr(name) else [{}]


def make(name, params, **options):
    return getattr(vermilion.optim, name)(params, **options)


class Problem:
    """Weights and a bias that bring a linear map of a fixed input to a fixed output; two blocks, one loss."""

    def __init__(self, seed=0, dtype=torch.float64, device="cpu", contiguous=True):
        generator = torch.Generator().manual_seed(seed)
        weight, bias, self.x, self.y = (
            torch.rand(shape, generator=generator, dtype=torch.float64).to(device, dtype) for shape in ((6, 4), (6, 1), (4, 9), (6, 9))
        )
        if not contiguous:
            weight = weight.T.contiguous().T
        self.weight, self.bias = Parameter(weight), Parameter(bias)

    def groups(self, **options):
        return [{"params": [self.weight], "prox": NonNegative()}, {"params": [self.bias], "prox": Soft(0.01), **options}]

    def loss(self):
        return 0.5 * (self.weight @ self.x + self.bias - self.y).square().sum()

    def closure(self, optimizer):
        def evaluate():
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        return evaluate

    def parameters(self):
        return [self.weight, self.bias]

    def run(self, optimizer, n):
        return [optimizer.step(self.closure(optimizer)) for _ in range(n)]


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@on_every_device
@every
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_goes_down(name, dtype, contiguous, device):
    for options in forms(name):
        problem = Problem(dtype=dtype, device=device, contiguous=contiguous)
        stride = problem.weight.stride()
        optimizer = make(name, problem.groups(), **options)
        losses = problem.run(optimizer, 40)
        assert float(losses[-1]) < 0.8 * float(losses[0])
        assert problem.weight.stride() == stride
        assert problem.weight.dtype == dtype
        assert all(loss.ndim == 0 and not loss.requires_grad for loss in losses)


@every
def test_memory_layout_does_not_change_the_result(name):
    # with a given step where there is one: in a search rounding may decide whether a step is just short enough
    options, found = forms(name)[-1], []
    for contiguous in (True, False):
        problem = Problem(contiguous=contiguous)
        problem.run(make(name, problem.groups(), **options), 10)
        found.append(problem.weight.detach())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@every
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers_work_and_the_loss_goes_down(name, scheduler):
    for options in forms(name):
        problem = Problem()
        optimizer = make(name, problem.groups(), **options)
        steering, losses, rates = SCHEDULERS[scheduler](optimizer), [], set()
        for _ in range(30):
            losses += problem.run(optimizer, 1)
            steering.step(*([losses[-1]] if scheduler == "ReduceLROnPlateau" else []))
            rates |= {group["lr"] for group in optimizer.param_groups}
        assert float(losses[-1]) < 0.8 * float(losses[0])
        assert len(rates) > 1 or scheduler == "ReduceLROnPlateau"
        state = through_a_file(steering.state_dict())
        SCHEDULERS[scheduler](make(name, Problem().groups(), **options)).load_state_dict(state)


@every
def test_a_group_with_step_zero_stays(name):
    if not has_lr(name):
        pytest.skip(f"{name} takes no lr")
    problem = Problem()
    with torch.no_grad():
        problem.bias.clamp_(min=0)
    before = problem.bias.detach().clone()
    optimizer = make(name, [{"params": [problem.weight]}, {"params": [problem.bias], "lr": 0.0}], prox=NonNegative(), lr=0.01)
    losses = problem.run(optimizer, 10)
    assert torch.equal(problem.bias, before)
    assert losses[-1] < losses[0]


@every
def test_groups_and_names_are_kept(name):
    problem = Problem()
    optimizer = make(name, [{"params": [("weight", problem.weight)]}, {"params": [("bias", problem.bias)], "note": 3}])
    assert [group["param_names"] for group in optimizer.param_groups] == [["weight"], ["bias"]]
    assert optimizer.param_groups[1]["note"] == 3
    problem.run(optimizer, 2)
    assert through_a_file(optimizer.state_dict())["param_groups"][1]["param_names"] == ["bias"]


@every
def test_a_group_may_be_added_later(name):
    problem = Problem()
    optimizer = make(name, [problem.weight], prox=NonNegative())
    problem.run(optimizer, 2)
    optimizer.add_param_group({"params": [problem.bias], "prox": Simplex(0)})
    problem.run(optimizer, 2)
    assert float(problem.bias.detach().sum()) == pytest.approx(1)


@every
def test_what_torch_refuses_is_refused(name):
    a, b = Parameter(torch.randn(1, 1)), Parameter(torch.randn(1, 1))
    with pytest.raises(TypeError, match="params"):
        make(name, a)
    with pytest.raises(UserWarning, match="a parameter group with duplicate parameters"):
        make(name, [a, a])
    for error, text, params in (
        (ValueError, "some parameters appear in more than one parameter group", [{"params": a}, {"params": b}, {"params": a}]),
        (ValueError, "all optimizer params should be with/without names", [("weight", a), b]),
        (ValueError, "all optimizer param groups should be with/without names", [{"params": [a]}, {"params": [("weight", b)]}]),
        (ValueError, "optimizer got an empty parameter list", []),
        (ValueError, "can't optimize a non-leaf Tensor", [a * 2]),
        (TypeError, "optimizer can only optimize Tensors", [{"params": [3]}]),
    ):
        with pytest.raises(error, match=text):
            make(name, params)
    if has_lr(name):
        with pytest.raises((TypeError, ValueError), match="lr"):
            make(name, [a], lr=torch.tensor([0.001, 0.001]))
        with pytest.raises(ValueError, match="lr is -1"):
            make(name, [a], lr=-1)


@every
def test_the_error_inputs_of_torch_raise(name):
    try:
        from torch.testing._internal.common_optimizers import OptimizerErrorEnum, get_error_inputs_for_all_optims
    except ImportError as error:
        pytest.skip(f"torch's test helpers need a package that is absent: {error}")
    for case in get_error_inputs_for_all_optims("cpu", torch.float32):
        assert case.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
        given = case.optimizer_error_input
        params = [Parameter(torch.randn(1, 1))] if given.params is None else given.params
        if given.kwargs and not has_lr(name):
            continue
        with pytest.raises((TypeError, ValueError, UserWarning)):
            make(name, params, **given.kwargs)


@on_every_device
@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_save_and_resume_give_the_same_bytes(name, dtype, device):
    for options in forms(name):
        problem, twin = Problem(dtype=dtype, device=device), Problem(seed=7, dtype=dtype, device=device)
        optimizer = make(name, problem.groups(), **options)
        problem.run(optimizer, 7)
        saved = through_a_file({"optimizer": optimizer.state_dict(), "weight": problem.weight, "bias": problem.bias})
        twin.x, twin.y = problem.x, problem.y
        with torch.no_grad():
            twin.weight.copy_(saved["weight"])
            twin.bias.copy_(saved["bias"])
        other = make(name, twin.groups(), **options)
        other.load_state_dict(saved["optimizer"])
        for a, b in zip(problem.run(optimizer, 7), twin.run(other, 7), strict=True):
            assert torch.equal(a, b)
        assert same(problem, twin)
        mine, theirs = optimizer.state_dict(), other.state_dict()
        assert mine["param_groups"] == theirs["param_groups"]


@every
def test_the_state_holds_no_callable_and_loading_changes_nothing(name):
    problem = Problem()
    optimizer = make(name, problem.groups())
    problem.run(optimizer, 3)
    state = copy.deepcopy(optimizer.state_dict())
    assert set(state) == {"state", "param_groups"}
    assert not any(callable(value) for group in state["param_groups"] for value in group.values())
    optimizer.load_state_dict(state)
    assert str(optimizer.state_dict()) == str(state)
    assert isinstance(optimizer.param_groups[0]["prox"], NonNegative)


@every
def test_a_state_of_other_groups_is_refused(name):
    problem = Problem()
    state = make(name, problem.groups()).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        make(name, [problem.weight]).load_state_dict(state)


@every
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"])
def test_copies_go_on_alike(name, clone):
    for options in forms(name):
        problem = Problem()
        optimizer = make(name, problem.groups(), **options)
        problem.run(optimizer, 3)
        twin, other = clone((problem, optimizer))
        assert {key for key in vars(optimizer) if not key.startswith("_")} == {key for key in vars(other) if not key.startswith("_")}
        problem.run(optimizer, 3)
        assert not same(problem, twin)
        twin.run(other, 3)
        assert same(problem, twin)


@every
def test_hooks_around_a_step_are_called(name):
    problem, calls = Problem(), []
    optimizer = make(name, problem.groups())
    before = optimizer.register_step_pre_hook(lambda opt, args, kwargs: calls.append(("pre", opt is optimizer)))
    after = optimizer.register_step_post_hook(lambda opt, args, kwargs: calls.append(("post", opt is optimizer)))
    problem.run(optimizer, 2)
    assert calls == [("pre", True), ("post", True)] * 2
    before.remove()
    after.remove()
    problem.run(optimizer, 1)
    assert len(calls) == 4


@every
def test_hooks_around_the_state_are_called(name):
    problem, calls = Problem(), []
    optimizer = make(name, problem.groups())
    optimizer.register_state_dict_pre_hook(lambda opt: calls.append("before saving"))
    optimizer.register_state_dict_post_hook(lambda opt, state: calls.append("after saving"))
    optimizer.register_load_state_dict_pre_hook(lambda opt, state: calls.append("before loading"))
    optimizer.register_load_state_dict_post_hook(lambda opt: calls.append("after loading"))
    problem.run(optimizer, 2)
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["before saving", "after saving", "before loading", "after loading"]


@every
@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_may_be_cleared_either_way(name, to_none):
    for options in forms(name):
        found = []
        for clear in (to_none, True):
            problem = Problem()
            optimizer = make(name, problem.groups(), **options)

            def closure(problem=problem, optimizer=optimizer, clear=clear):
                optimizer.zero_grad(set_to_none=clear)
                loss = problem.loss()
                loss.backward()
                return loss

            for _ in range(5):
                optimizer.step(closure)
            found.append(problem)
            optimizer.zero_grad(set_to_none=to_none)
            assert all((p.grad is None) if to_none else (p.grad == 0).all() for p in problem.parameters())
        assert same(*found)


@every
def test_parameters_without_gradient_stay_or_become_feasible(name):
    for options in forms(name):
        problem = Problem()
        unused, fixed = Parameter(torch.tensor([1.0, -1.0])), torch.tensor([-1.0])
        optimizer = make(name, [{"params": [problem.weight, problem.bias]}, {"params": [unused, fixed]}], prox=NonNegative(), **options)
        losses = problem.run(optimizer, 10)
        assert losses[-1] < losses[0]
        assert fixed.tolist() == [-1.0]
        assert unused.detach()[0] == 1
        assert unused.detach()[1] == -1 or unused.detach()[1] >= 0


@every
def test_a_parameter_without_entries_is_harmless(name):
    problem, nothing = Problem(), Parameter(torch.zeros(0, 3, dtype=torch.float64))
    optimizer = make(name, [*problem.groups(), {"params": [nothing]}])
    losses = problem.run(optimizer, 10)
    assert losses[-1] < losses[0]


@every
def test_the_closure_is_needed_where_the_docstring_says_so(name):
    problem = Problem()
    with pytest.raises(TypeError, match=name + r".*closure"):
        make(name, problem.groups()).step()


@every
def test_the_closure_runs_with_gradients_and_the_step_leaves_no_graph(name):
    problem = Problem()
    optimizer, seen = make(name, problem.groups()), []

    def closure():
        seen.append(torch.is_grad_enabled())
        return problem.closure(optimizer)()

    with torch.no_grad():
        optimizer.step(closure)
    assert seen
    assert all(seen)
    assert all(p.is_leaf and p.requires_grad for p in problem.parameters())
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    assert not any(value.requires_grad for value in tensors)


@every
def test_the_representation_names_the_optimizer_and_its_operator(name):
    text = repr(make(name, Problem().groups()))
    assert text.startswith(name)
    assert "NonNegative()" in text


@on_every_device
@every
def test_two_runs_give_the_same_bytes(name, device):
    for options in forms(name):
        problems = [Problem(device=device) for _ in range(2)]
        for problem in problems:
            problem.run(make(name, problem.groups(), **options), 15)
        assert same(*problems)
