"""The contract of a proximal operator, the two simplest operators, and what makes any callable one."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ParameterError, ShapeError

__all__ = [
    "Identity",
    "NonNegative",
    "Prox",
    "Wrapped",
    "as_prox",
    "axis_name",
    "check_weight",
    "indicator",
    "joint_coupling",
    "near",
    "scaled",
    "tolerance",
]

_AXES = {0: "component axis", 1: "pixel axis", -1: "pixel axis", -2: "component axis"}


class Prox(ABC):
    """A map ``prox(x, step) = argmin_y step g(y) + |y - x|^2 / 2`` for a constraint or penalty g.

    Operators are pure: the input is not modified; shape, dtype and device are kept. `step` is a float or a tensor
    broadcastable to `x`, one step per entry, where g is separable accordingly.

    No operator raises on values: an entry that is NaN stays NaN (an inexact operator may replace it) and may spoil those
    that it is coupled with, but no others. Of infinite entries nothing is promised.

    Attributes
    ----------
    exact : bool
        The result is the minimizer above. Otherwise it is only feasible and finite.
    convex : bool
        g is convex.
    couples : {"element", "component axis", "pixel axis", "image"}
        Which entries depend on each other, named for morphologies (K, N): dim 0 is the component axis, dim 1 the pixel
        axis (for spectra (B, K) these names also mean dim 0 and dim 1).
    cone : bool
        g(c x) = g(x) for every c > 0: it does not fix a scale.
    projection : bool
        g is 0 on a set and inf elsewhere.
    """

    exact: bool = True
    convex: bool = True
    couples: str = "element"
    cone: bool = False
    projection: bool = False

    @abstractmethod
    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : Tensor
            Any real values; not modified.
        step : float or Tensor, >= 0
            Step of the gradient method; multiplies the strength of a penalty, means nothing to a constraint.

        Returns
        -------
        Tensor
            Shape, dtype and device of `x`.
        """

    @abstractmethod
    def penalty(self, x: Tensor) -> Tensor:
        """Value g(x), a float64 scalar; for a constraint 0, or inf beyond rounding (`tolerance`)."""

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in inspect.signature(type(self)).parameters)
        return f"{type(self).__name__}({arguments})"


def tolerance(dtype: torch.dtype) -> float:
    """Relative violation of a constraint that counts as rounding: the square root of the machine precision."""
    return torch.finfo(dtype).eps ** 0.5


def indicator(feasible: Tensor) -> Tensor:
    """0 where `feasible`, inf where not, as a float64 scalar."""
    infeasible = torch.logical_not(feasible).to(torch.float64)
    return torch.where(infeasible > 0, torch.inf, infeasible)


def near(x: Tensor, nearest: Tensor) -> Tensor:
    """0 where `x` is its nearest feasible point up to rounding relative to the largest entry, inf where not."""
    if x.numel() == 0:
        return torch.zeros((), dtype=torch.float64, device=x.device)
    return indicator(((x - nearest).abs() <= tolerance(x.dtype) * nearest.abs().amax()).all())


def axis_name(dim: int | None) -> str:
    """What an operator couples that acts along `dim`; None is the whole array."""
    return _AXES.get(dim, "image") if dim is not None else "image"


def joint_coupling(operators: Iterable[Prox]) -> str:
    """What several operators couple that act on the same array."""
    ranges = {operator.couples for operator in operators} - {"element"}
    return ranges.pop() if len(ranges) == 1 else "image" if ranges else "element"


def check_weight(weight: float | Tensor, name: str = "weight") -> float | Tensor:
    """`weight` itself, if it is finite and not negative.

    Raises
    ------
    ParameterError
        Otherwise.
    """
    values = torch.as_tensor(weight).detach()
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise ParameterError(f"{name} is {weight}: expected finite numbers >= 0.")
    return weight


def scaled(weight: float | Tensor, step: float | Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`weight` times `step` as a tensor on the device of `like`, in its dtype unless another is named."""
    dtype = dtype or like.dtype
    return torch.as_tensor(weight, dtype=dtype, device=like.device) * torch.as_tensor(step, dtype=dtype, device=like.device)


class Identity(Prox):
    """No constraint: g = 0."""

    cone = True
    projection = True

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Return a copy of `x`."""
        return x.clone()

    def penalty(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros((), dtype=torch.float64, device=x.device)


class NonNegative(Prox):
    """Projection on x >= 0.

    Examples
    --------
    >>> NonNegative()(torch.tensor([-1.0, 0.0, 2.0]), 1.0)
    tensor([0., 0., 2.])
    """

    cone = True
    projection = True

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Return max(x, 0)."""
        return x.clamp(min=0)

    def penalty(self, x: Tensor) -> Tensor:
        """0 if no entry is below zero by more than rounding relative to the largest, else inf."""
        if x.numel() == 0:
            return torch.zeros((), dtype=torch.float64, device=x.device)
        # relative to the largest entry, so that g(c x) = g(x) holds
        return indicator((x >= -tolerance(x.dtype) * x.abs().amax()).all())


class Wrapped(Prox):
    """Any callable as a proximal operator whose g is not known.

    Parameters
    ----------
    function : callable
        ``f(x, step)`` or ``f(x)``, of tensors or of numpy arrays. It always gets a copy, which it may overwrite.
    takes_step : bool
    takes_numpy : bool
    """

    exact = False
    convex = False
    couples = "image"

    def __init__(self, function: Callable[..., Any], takes_step: bool = True, takes_numpy: bool = False) -> None:
        self.function = function
        self.takes_step = takes_step
        self.takes_numpy = takes_numpy

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Hand a copy of `x` to the function.

        Raises
        ------
        ShapeError
            If the function changes the shape.
        TypeError
            If it returns no array.
        """
        arguments: list[Any] = [x.detach().clone(), step] if self.takes_step else [x.detach().clone()]
        if self.takes_numpy:
            arguments = [a.detach().cpu().numpy() if isinstance(a, Tensor) else a for a in arguments]
        result = self.function(*arguments)
        if not hasattr(result, "shape"):
            raise TypeError(f"{self.function!r} returned {result!r}: a prox returns a tensor or an array.")
        y = torch.as_tensor(result)
        if y.shape != x.shape:
            raise ShapeError(f"{self.function!r} returned shape {tuple(y.shape)} for {tuple(x.shape)}: a prox keeps the shape.")
        return y.to(dtype=x.dtype, device=x.device)

    def penalty(self, x: Tensor) -> Tensor:
        """0, for want of better knowledge."""
        return torch.zeros((), dtype=torch.float64, device=x.device)


def as_prox(operator: Any) -> Prox:
    """`operator` as a `Prox`.

    None is no constraint, a `Prox` stays itself, rectifiers are `NonNegative`. Any other callable is tried once:
    ``f(x, step)``, on a TypeError ``f(x)``, and the form that worked is remembered. Operators of proxmin, and callables
    that only work so, get numpy arrays.

    Raises
    ------
    ParameterError
        If `operator` is a class or returns no tensor.
    TypeError
        If it is not callable; a list belongs to the optimizer.
    """
    if operator is None:
        return Identity()
    if isinstance(operator, Prox):
        return operator
    if isinstance(operator, list | tuple):
        raise TypeError(f"prox is a {type(operator).__name__}: expected one operator; use Chain(*operators) to apply several.")
    if not callable(operator):
        raise TypeError(f"prox is {operator!r}: expected None, a Prox or a callable f(x, step) or f(x).")
    if isinstance(operator, type):
        raise ParameterError(f"prox is the class {operator.__name__}: pass an instance, {operator.__name__}(...).")
    return _equivalent(operator) or _try(operator)


def _equivalent(operator: Callable[..., Any]) -> Prox | None:
    """The operator of vermilion that is the same as a well-known callable."""
    if operator in (torch.relu, nn.functional.relu) or isinstance(operator, nn.ReLU):
        return NonNegative()
    if isinstance(operator, nn.Threshold) and operator.threshold == 0 and operator.value == 0:
        return NonNegative()
    if _of_proxmin(operator):
        known: dict[str, type[Prox]] = {"prox_plus": NonNegative, "prox_id": Identity}
        name = getattr(operator, "__name__", "")
        return known[name]() if name in known else None
    return None


def _of_proxmin(operator: Callable[..., Any]) -> bool:
    while isinstance(operator, functools.partial):
        operator = operator.func
    # an instance of a class of proxmin has the module of its class
    return str(getattr(operator, "__module__", "")).split(".")[0] == "proxmin"


def _try(operator: Callable[..., Any]) -> Wrapped:
    """`operator` in the first form of call that works on a small matrix."""
    x = torch.tensor([[0.5, 0.25], [1.0, -0.5], [0.125, 2.0]])
    forms = [(True, True)] if _of_proxmin(operator) else [(True, False), (False, False), (True, True), (False, True)]
    accepted: list[Wrapped] = []
    for takes_step, takes_numpy in forms:
        wrapped = Wrapped(operator, takes_step, takes_numpy)
        try:
            wrapped(x, 0.5)
        except ShapeError:
            raise
        except TypeError:
            continue
        except Exception:  # the call was accepted, but perhaps this matrix was not: keep the form, prefer one that works
            accepted.append(wrapped)
        else:
            return wrapped
    if accepted:
        return accepted[0]
    raise ParameterError(f"prox {operator!r} works neither as f(x, step) nor as f(x), on a tensor {tuple(x.shape)} or a numpy array.")
