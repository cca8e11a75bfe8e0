import copy
import io

import proxmin.operators
import pytest
import torch
from torch import nn

from vermilion.errors import ParameterError
from vermilion.models import Factorization
from vermilion.optim import PGM, Backtracking
from vermilion.prox import Chain, Identity, MaxEntropy, NonNegative, Simplex, Soft, Stiefel, UnitSum


def problem(seed=0, B=6, N=12, K=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    Y = torch.rand(B, N, generator=generator, dtype=dtype)
    return Factorization.random(B, N, K, generator, dtype=dtype), Y


def closure_of(model, Y, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = ((model() - Y) ** 2).sum()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.5}, {"momentum": 0.5, "dampening": 0.3}, {"momentum": 0.5, "nesterov": True}], ids=repr
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_constraints_the_steps_are_those_of_sgd(options, dtype):
    mine, Y = problem(dtype=dtype)
    theirs = copy.deepcopy(mine)
    pgm, sgd = PGM(mine.parameters(), lr=0.01, **options), torch.optim.SGD(theirs.parameters(), lr=0.01, foreach=False, **options)
    for _ in range(20):
        a = pgm.step(closure_of(mine, Y, pgm))
        b = sgd.step(closure_of(theirs, Y, sgd))
        assert torch.equal(a, b.detach())
    assert torch.equal(mine.A, theirs.A)
    assert torch.equal(mine.S, theirs.S)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}], ids=repr)
def test_with_a_constraint_the_steps_are_those_of_sgd_and_then_the_operator(options):
    mine, Y = problem()
    theirs = copy.deepcopy(mine)
    prox = Simplex(0)
    pgm, sgd = PGM(mine.parameters(), prox, lr=0.01, **options), torch.optim.SGD(theirs.parameters(), lr=0.01, foreach=False, **options)
    for _ in range(20):
        pgm.step(closure_of(mine, Y, pgm))
        sgd.step(closure_of(theirs, Y, sgd))
        with torch.no_grad():
            for p in theirs.parameters():
                p.copy_(prox(p, 0.01))
    assert torch.equal(mine.A, theirs.A)


def test_one_step_by_hand():
    # f = (x - 3)^2 at x = 1: gradient -4, step 0.5 leads to 3, Soft(1) with step 0.5 to 2.5
    x = torch.tensor([1.0], requires_grad=True)
    optimizer = PGM([x], Soft(1.0), lr=0.5)
    ((x - 3) ** 2).sum().backward()
    assert optimizer.step() is None
    assert x.tolist() == [2.5]


@pytest.mark.parametrize(
    "prox", [nn.Threshold(0, 0), torch.relu, lambda x: x.clamp(min=0), proxmin.operators.prox_plus, NonNegative(), [NonNegative()]]
)
def test_the_forms_of_the_customary_incantation(prox):
    model, Y = problem()
    optimizer = PGM(model.parameters(), prox, lr=0.05, momentum=0.5)
    for _ in range(30):
        loss = nn.MSELoss(reduction="sum")(model(), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert (model.A >= 0).all()
        assert (model.S >= 0).all()


def test_a_list_gives_each_group_its_operator_and_a_key_in_a_group_wins():
    model, _ = problem()
    optimizer = PGM([{"params": model.A, "lr": 0.01}, {"params": model.S, "lr": 10, "prox": Soft(1)}], [Simplex(0), None], momentum=0.5)
    assert [type(group["prox"]) for group in optimizer.param_groups] == [Simplex, Soft]
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 10.0]
    bare = PGM([{"params": model.A}, {"params": model.S, "prox": None}], NonNegative(), lr=0.1)
    assert [type(group["prox"]) for group in bare.param_groups] == [NonNegative, Identity]


def test_the_groups_of_the_caller_are_not_changed():
    model, _ = problem()
    groups = [{"params": [model.A]}, {"params": [model.S]}]
    PGM(groups, [NonNegative(), None], lr=0.1)
    assert [set(group) for group in groups] == [{"params"}, {"params"}]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_list_of_another_length_is_refused(n):
    model, _ = problem()
    with pytest.raises(ParameterError, match=rf"prox has length {n}, there are 2 parameter groups: expected one operator per group"):
        PGM([{"params": model.A}, {"params": model.S}], [NonNegative()] * n, lr=0.1)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"lr": -0.1}, ParameterError, "lr is -0.1: expected a finite number >= 0"),
        ({"lr": float("nan")}, ParameterError, "lr is nan"),
        ({"lr": float("inf")}, ParameterError, "lr is inf"),
        ({"lr": "fast"}, TypeError, "lr is 'fast': expected a number"),
        ({"lr": 0.1, "momentum": -1}, ParameterError, "momentum is -1"),
        ({"lr": 0.1, "momentum": float("nan")}, ParameterError, "momentum is nan"),
        ({"lr": 0.1, "nesterov": True}, ParameterError, "expected momentum > 0 and dampening 0"),
        ({"lr": 0.1, "momentum": 0.5, "dampening": 0.1, "nesterov": True}, ParameterError, "dampening 0.1"),
        ({"step_rule": "magic"}, ParameterError, "step_rule is 'magic': expected 'auto'"),
        ({"step_rule": 3}, TypeError, "step_rule is 3"),
        ({"step_rule": None}, ParameterError, "neither lr nor step_rule is given"),
        ({"lr": 0.1, "prox": 3}, TypeError, "expected None, a Prox or a callable"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_options_out_of_range_are_named(options, error, text):
    with pytest.raises(error, match=text):
        PGM(problem()[0].parameters(), **options)


def test_options_are_checked_in_groups_too():
    model, _ = problem()
    with pytest.raises(ParameterError, match="lr is -1"):
        PGM([{"params": model.A, "lr": -1}, {"params": model.S}], lr=0.1)
    optimizer = PGM([model.A], lr=0.1)
    with pytest.raises(ParameterError, match="momentum is -2"):
        optimizer.add_param_group({"params": model.S, "momentum": -2})


def test_a_single_tensor_is_no_list_of_parameters():
    with pytest.raises(TypeError, match=r"iterable of Tensors or dicts, but got a Tensor: pass \[tensor\]"):
        PGM(torch.zeros(3, requires_grad=True), lr=0.1)


def test_bad_numbers_are_value_errors_for_those_who_catch_them():
    with pytest.raises(ValueError, match="lr"):
        PGM(problem()[0].parameters(), lr=-1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("prox_A", "prox_S"),
    [
        (NonNegative(), NonNegative()),
        (Chain(NonNegative(), UnitSum(0)), MaxEntropy(0.1)),
        (Simplex(0), Chain(Soft(0.1), NonNegative())),
        (Stiefel(), None),
    ],
    ids=repr,
)
@pytest.mark.parametrize("lr", [None, 0.02])
def test_parameters_are_feasible_after_every_step(prox_A, prox_S, momentum, lr):
    model, Y = problem()
    optimizer = PGM([{"params": model.A}, {"params": model.S}], [prox_A, prox_S], lr=lr, momentum=momentum)
    for _ in range(15):
        optimizer.step(closure_of(model, Y, optimizer))
        assert torch.isfinite(optimizer.penalty())


def test_the_loss_returned_is_that_before_the_step_and_detached():
    model, Y = problem()
    for lr in (0.01, None):
        before = float(((model() - Y) ** 2).sum().detach())
        optimizer = PGM(model.parameters(), NonNegative(), lr=lr)
        loss = optimizer.step(closure_of(model, Y, optimizer))
        assert not loss.requires_grad
        assert float(loss) == before


def test_parameters_without_gradient_stay_or_are_only_projected():
    fixed = torch.tensor([-1.0])
    unused = torch.tensor([-1.0], requires_grad=True)
    optimizer = PGM([fixed, unused], NonNegative(), lr=0.1, momentum=0.5)
    optimizer.step()
    assert fixed.tolist() == [-1.0]
    assert unused.tolist() == [0.0]


def test_the_state_goes_through_a_file_without_callables():
    model, Y = problem()
    groups = [{"params": [model.A], "prox": lambda x: x.clamp(min=0)}, {"params": [model.S], "prox": Soft(0.1)}]
    optimizer = PGM(groups, momentum=0.7)
    for _ in range(5):
        optimizer.step(closure_of(model, Y, optimizer))
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "model": model.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    twin, _ = problem(seed=5)
    twin.load_state_dict(saved["model"])
    live = Soft(0.1)
    other = PGM([{"params": [twin.A], "prox": nn.Threshold(0, 0)}, {"params": [twin.S], "prox": live}], momentum=0.1)
    other.load_state_dict(saved["optimizer"])
    assert other.param_groups[1]["prox"] is live
    assert isinstance(other.param_groups[0]["step_rule"], Backtracking)
    assert other.param_groups[0]["momentum"] == 0.7
    for _ in range(5):
        a, b = optimizer.step(closure_of(model, Y, optimizer)), other.step(closure_of(twin, Y, other))
        assert torch.equal(a, b)
    assert torch.equal(model.S, twin.S)


@pytest.mark.filterwarnings("error")
def test_schedulers_find_a_number_to_change():
    model, Y = problem()
    optimizer = PGM(model.parameters(), NonNegative(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step(closure_of(model, Y, optimizer))
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert all(isinstance(group["lr"], float) for group in PGM(model.parameters()).param_groups)


def test_an_explicit_rule_gives_the_step_and_lr_is_its_factor():
    x = torch.tensor([1.0], requires_grad=True)
    for lr, expected in ((None, -0.25), (0.5, 0.375)):
        with torch.no_grad():
            x.fill_(1.0)
        optimizer = PGM([x], lr=lr, step_rule=lambda: 0.25)
        x.grad = torch.tensor([5.0])
        optimizer.step()
        assert x.tolist() == [expected]


def test_named_parameters_are_taken():
    model, Y = problem()
    optimizer = PGM(model.named_parameters(), NonNegative(), lr=0.01)
    optimizer.step(closure_of(model, Y, optimizer))
    assert optimizer.param_groups[0]["param_names"] == ["A", "S"]
