import functools

import numpy as np
import proxmin.operators
import pytest
import torch
from torch import nn

from vermilion.errors import ParameterError, ShapeError
from vermilion.prox import Identity, NonNegative, Soft, as_prox

X = torch.tensor([[-1.0, 0.5], [2.0, -3.0]])


def test_none_is_no_constraint_and_an_operator_stays_itself():
    soft = Soft(0.1)
    assert isinstance(as_prox(None), Identity)
    assert as_prox(soft) is soft


@pytest.mark.parametrize(
    "rectifier", [torch.relu, nn.functional.relu, nn.ReLU(), nn.ReLU(inplace=True), nn.Threshold(0, 0), proxmin.operators.prox_plus]
)
def test_rectifiers_are_the_positivity_constraint(rectifier):
    operator = as_prox(rectifier)
    assert isinstance(operator, NonNegative)
    assert torch.equal(operator(X, 1.0), X.clamp(min=0))


def test_a_threshold_at_another_level_is_just_a_callable():
    operator = as_prox(nn.Threshold(0.6, 0.1))
    assert not operator.exact
    torch.testing.assert_close(operator(X, 1.0), torch.tensor([[0.1, 0.1], [2.0, 0.1]]))


def test_a_callable_with_a_step_gets_the_step():
    torch.testing.assert_close(as_prox(lambda x, step: x - step)(X, 0.25), X - 0.25)


def test_a_callable_without_a_step_is_called_without_it():
    def prox_unity(x):
        return x / x.sum(dim=0).unsqueeze(dim=0)

    torch.testing.assert_close(as_prox(prox_unity)(X, 0.25).sum(0), torch.ones(2))


def test_the_trial_call_is_made_once():
    calls = []

    def operator(x):
        calls.append(x.shape)
        return x

    prox = as_prox(operator)
    assert len(calls) == 1
    prox(X, 1.0)
    prox(X, 1.0)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "operator", [proxmin.operators.prox_soft, functools.partial(proxmin.operators.prox_soft, thresh=0.4)], ids=["bare", "partial"]
)
def test_operators_of_proxmin_get_a_numpy_copy(operator):
    weight = getattr(operator, "keywords", {}).get("thresh", 0)
    x = X.clone()
    y = as_prox(operator)(x, 0.5)
    assert torch.equal(x, X)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, Soft(weight)(X, 0.5))


def test_combined_operators_of_proxmin_work():
    operator = as_prox(proxmin.operators.AlternatingProjections([proxmin.operators.prox_unity, proxmin.operators.prox_plus]))
    torch.testing.assert_close(operator(X, 1.0), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_a_function_of_numpy_arrays_gets_numpy_arrays():
    def clip(x, step):
        assert isinstance(x, np.ndarray)
        return np.clip(x, 0, step)

    torch.testing.assert_close(as_prox(clip)(X, torch.tensor(1.5)), X.clamp(0, 1.5))


def test_a_callable_that_overwrites_its_input_does_no_harm():
    x = X.clone()
    y = as_prox(lambda x, step: x.mul_(2))(x, 1.0)
    assert torch.equal(x, X)
    assert torch.equal(y, 2 * X)


def test_a_callable_for_one_image_shape_is_accepted_although_the_trial_fails():
    operator = as_prox(lambda x, step: x.reshape(5, 2, 2).flip(0).reshape(5, 4))
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(operator(x, 1.0), x.flip(0))


def test_a_callable_that_changes_the_shape_is_refused():
    with pytest.raises(ShapeError, match="a prox keeps the shape"):
        as_prox(lambda x, step: x.sum(0))


@pytest.mark.parametrize("useless", [lambda: None, lambda x: None, lambda x, y, z: x], ids=["nothing", "none", "three"])
def test_a_callable_that_works_in_no_form_is_refused(useless):
    with pytest.raises(ParameterError, match=r"works neither as f\(x, step\) nor as f\(x\)"):
        as_prox(useless)


def test_a_class_in_place_of_an_instance_is_named():
    with pytest.raises(ParameterError, match=r"pass an instance, NonNegative\(\.\.\.\)"):
        as_prox(NonNegative)


@pytest.mark.parametrize(
    ("thing", "text"), [([NonNegative()], "use Chain"), (3, "expected None, a Prox or a callable"), ("nonneg", "callable")]
)
def test_other_things_are_no_operators(thing, text):
    with pytest.raises(TypeError, match=text):
        as_prox(thing)
