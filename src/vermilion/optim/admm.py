"""Several proximal operators per block, through linear maps: the alternating direction method of multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ParameterError
from ..prox.base import Prox, as_prox
from .base import Closure, ProximalOptimizer
from .steps import Block, Move, StepRule, change_of, measure

__all__ = ["ADMM", "Constraint", "Residual"]

_MAX_TRIALS = 40
_POWER_ITERATIONS = 30
# the power iteration comes from below; 5 % is what 30 iterations leave for difference operators
_NORM_SAFETY = 1.1
_BALANCED = 2.0
# L x and the multipliers may vanish at the solution: a thousandth of what they could be still is a scale for residuals
_NEGLIGIBLE = 1e-3


class Residual(NamedTuple):
    """How far a constraint is from being settled: relative primal and dual residual, 0 at a solution."""

    primal: float
    dual: float


class Constraint:
    """A proximal operator of L x.

    Parameters
    ----------
    prox : Prox, callable or None
    L : Tensor or array (M, D), pair of callables (L, adjoint of L), or None
        A matrix acts on the first axis of the parameter; None is the identity.

    Raises
    ------
    TypeError
        If `L` is none of these.
    """

    def __init__(self, prox: Any, L: Any = None) -> None:
        self.prox = as_prox(prox)
        self.L: Tensor | tuple[Any, ...] | None
        if isinstance(L, tuple | list):
            if len(L) != 2 or not all(callable(f) for f in L):
                raise TypeError(f"L is {L!r}: expected a matrix, None, or a pair of callables (L, adjoint of L).")
            self.L = tuple(L)
        elif L is None or isinstance(L, Tensor) or hasattr(L, "__array__"):
            matrix = self.L = None if L is None else torch.as_tensor(L)
            if matrix is not None and matrix.ndim != 2:
                raise TypeError(f"L has {matrix.ndim} dimensions: expected a matrix, None, or a pair of callables (L, adjoint of L).")
        else:
            raise TypeError(f"L is {L!r}: expected a matrix, None, or a pair of callables (L, adjoint of L).")

    def forward(self, x: Tensor) -> Tensor:
        """L x."""
        if self.L is None:
            return x.clone()
        return self.L[0](x) if isinstance(self.L, tuple) else self.L.to(x) @ x

    def adjoint(self, y: Tensor) -> Tensor:
        """L' y."""
        if self.L is None:
            return y.clone()
        return self.L[1](y) if isinstance(self.L, tuple) else self.L.to(y).mT @ y

    def squared_norm(self, like: Tensor) -> float:
        """Largest eigenvalue of L'L, by power iteration, with 10 % on top.

        Raises
        ------
        ParameterError
            If the second map is not the adjoint of the first.
        """
        if self.L is None or like.numel() == 0:
            return 1.0
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        image = self.forward(x)
        y = torch.randn(image.shape, generator=generator, dtype=torch.float64).to(like)
        there, back = float((image * y).sum()), float((x * self.adjoint(y)).sum())
        if not abs(there - back) <= 1e-3 * float(image.norm() * y.norm()):
            raise ParameterError(
                f"<L x, y> is {there:g}, <x, L' y> is {back:g}: expected equal numbers; the second map is not the adjoint."
            )
        value = 0.0
        for _ in range(_POWER_ITERATIONS):
            x = self.adjoint(self.forward(x))
            value = float(x.norm())
            if value == 0:
                return 0.0
            x = x / value
        return _NORM_SAFETY * value

    def __repr__(self) -> str:
        return f"Constraint({self.prox!r}, L={'None' if self.L is None else '...'})"


class ADMM(ProximalOptimizer):
    """Block simultaneous direction method of multipliers: ``f(x) + sum g(x) + sum_i g_i(L_i x)`` over all blocks.

    One step goes through the groups. Each makes a proximal gradient step on f and the quadratic ties of the copies
    z_i to L_i x, with its own operator; then every copy its operator, and the multipliers follow. So after `step` a
    parameter satisfies the operator "prox" of its group exactly, the `constraints` only in the limit: see `residuals`.

    No number is needed: the step of f is searched (or `lr`, or a rule), the strength of the ties starts at the
    curvature of f and is balanced so that primal and dual residuals fall together, ever more rarely.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        As in torch; groups may carry their own options, a key "prox" and a key "constraints", which win. One group is
        one block: it is updated with a gradient of its own.
    prox : Prox, callable, None, or list of them
        One for all groups, or a list with one per group. It always holds.
    lr, step_rule
        As in `PGM`: step of the smooth part.
    constraints : sequence of Prox, of (Prox, L) or of Constraint
        Further operators, of L x; L as in `Constraint`.

    Raises
    ------
    ParameterError, TypeError
        If a number is out of range, an operator or a map is none, or a list does not fit the groups.

    References
    ----------
    Moolekamp & Melchior 2018, Optim. Eng. 19, 871 (arXiv:1708.09066), algorithm 3; Boyd et al. 2011, Found. Trends Mach.
    Learn. 3, 1, sections 3.3 and 3.4; Wohlberg 2017, arXiv:1704.06209 (relative residuals).

    Examples
    --------
    >>> from vermilion.prox import NonNegative, Simplex
    >>> x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    >>> optimizer = ADMM([x], NonNegative(), constraints=[Simplex(0)])
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((x - torch.tensor([0.9, 0.5])) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(50):
    ...     loss = optimizer.step(closure)
    >>> x.detach().round(decimals=4)
    tensor([0.7000, 0.3000], dtype=torch.float64)
    """

    _callables: tuple[str, ...] = ("prox", "step_rule", "constraints")

    def __init__(
        self,
        params: Iterable[Any],
        prox: Prox | Callable[..., Any] | list[Any] | tuple[Any, ...] | None = None,
        lr: float | None = None,
        *,
        constraints: Iterable[Any] = (),
        step_rule: str | StepRule | Callable[[], float] = "auto",
    ) -> None:
        super().__init__(params, prox, {"lr": lr, "step_rule": step_rule, "constraints": tuple(constraints)})

    def _check_group(self, group: dict[str, Any]) -> None:
        group["constraints"] = tuple(_as_constraint(c) for c in group["constraints"])

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Update every group once.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes loss and gradients, returns the loss.

        Returns
        -------
        Tensor
            Loss before the step, detached. Where it is not finite nothing moves.

        Raises
        ------
        TypeError
            If there is no closure.
        """
        closure = self._require(closure)
        first = loss = self._evaluate(closure, self.param_groups[:1])
        for i, group in enumerate(self.param_groups):
            if not torch.isfinite(loss):
                break
            following = self.param_groups[i + 1 : i + 2]
            after = self._update(group, closure, loss)
            if after is not None:
                # the evaluation that judged this move serves the next one
                self._count_gradient(following)
                loss = after
            elif following:
                loss = self._evaluate(closure, following)
        return first

    def _update(self, group: dict[str, Any], closure: Closure, loss: Tensor) -> Tensor | None:
        """Move one group; the loss after it, where that was evaluated."""
        moves, rule, after = self._moves_of(group), group["step_rule"], None
        searches = False
        if isinstance(rule, StepRule):
            _prepare(rule, self._block(group, moves, closure))
            searches = rule.searches
        pulls: list[tuple[Tensor, float]] | None = None
        for _ in range(_MAX_TRIALS if searches else 1):
            size = self._step_size(group)
            pulls = [self._pull(move, size) for move in moves] if pulls is None else pulls
            for move, (pull, curvature) in zip(moves, pulls, strict=True):
                step = size / (1 + size * curvature)
                move.parameter.copy_(group["prox"](move.start - step * (move.gradient + pull), step))
            if isinstance(rule, StepRule):
                after = self._evaluate(closure, [group])
                if rule.accepts([group], measure(moves, {id(group): size}, loss, after)):
                    break
        if isinstance(rule, StepRule) and (change := change_of(moves)) is not None:
            rule.observe(group, change)
        for move in moves:
            self._follow(move)
        return after

    def _pull(self, move: Move, size: float) -> tuple[Tensor, float]:
        """Gradient of the ties ``sum rho |L x - z + y / rho|^2 / 2`` at x, and a bound of their curvature."""
        x, state = move.start, self.state[move.parameter]
        constraints = move.group["constraints"]
        pull, curvature = torch.zeros_like(x), 0.0
        if not constraints or not (size > 0 or "rho" in state):
            return pull, curvature
        if "rho" not in state:
            norms = [c.squared_norm(x) for c in constraints]
            # the ties together as stiff as f
            rho = [1 / (size * len(norms) * norm) if norm else 1 / size for norm in norms]
            images = [c.forward(x) for c in constraints]
            copies = [c.prox(image, 1 / r) for c, image, r in zip(constraints, images, rho, strict=True)]
            duals = [torch.zeros_like(image) for image in images]
            state.update(
                step=0, next_balance=5, norms=norms, rho=rho, copies=copies, duals=duals, residuals=[(math.inf, math.inf)] * len(rho)
            )
        for c, norm, rho, z, y in zip(constraints, state["norms"], state["rho"], state["copies"], state["duals"], strict=True):
            pull += c.adjoint(rho * (c.forward(x) - z) + y)
            curvature += rho * norm
        return pull, curvature

    def _follow(self, move: Move) -> None:
        """Update the copies and multipliers of a parameter, and what is known of its residuals."""
        state = self.state[move.parameter]
        if "rho" not in state:
            return
        state["step"] += 1
        balance = state["step"] >= state["next_balance"]
        if balance:
            # ever more rarely: ties that change forever need not converge
            state["next_balance"] = math.ceil(1.3 * state["step"])
        for i, c in enumerate(move.group["constraints"]):
            rho, z, y = state["rho"][i], state["copies"][i], state["duals"][i]
            image = c.forward(move.parameter)
            new = c.prox(image + y / rho, 1 / rho)
            gap = image - new
            state["copies"][i], state["duals"][i] = new, y + rho * gap
            reach = _NEGLIGIBLE * math.sqrt(state["norms"][i]) * move.parameter.norm()
            primal = _ratio(gap.norm(), torch.stack([image.norm(), new.norm(), reach]).amax())
            pull = torch.maximum(c.adjoint(state["duals"][i]).norm(), _NEGLIGIBLE * move.gradient.norm())
            dual = _ratio(rho * c.adjoint(new - z).norm(), pull)
            state["residuals"][i] = (primal, dual)
            if balance:
                state["rho"][i] = rho * _rebalance(primal, dual)

    @torch.no_grad()
    def penalty(self) -> Tensor:
        """Sum of g and of g_i(L_i x) over all parameters, a float64 scalar.

        Where a constraint is not met yet g_i is infinite; then its value at the copy of L x counts.
        """
        total = super().penalty()
        for group in self.param_groups:
            for p in group["params"]:
                copies = self.state.get(p, {}).get("copies", ())
                for i, c in enumerate(group["constraints"]):
                    value = c.prox.penalty(c.forward(p.detach()))
                    if copies:
                        value = torch.where(torch.isinf(value), c.prox.penalty(copies[i]), value)
                    total = total + value
        return total

    def residuals(self) -> list[Residual]:
        """Residuals of all constraints, in the order of groups, parameters, constraints; inf before the first step.

        The usual test of convergence is that all of them are below 1e-3 or so.
        """
        unknown = Residual(math.inf, math.inf)
        return [
            Residual(*values)
            for group in self.param_groups
            for p in group["params"]
            for values in self.state.get(p, {}).get("residuals", [unknown] * len(group["constraints"]))
        ]


def _prepare(rule: StepRule, block: Block) -> None:
    """Let the rule look; where the gradient vanishes but a constraint may pull, show it some other direction."""
    rule.prepare(block)
    if rule.searches and not rule.started(block.group) and block.group["constraints"]:
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(block.gradient.shape, generator=generator, dtype=torch.float64).to(block.gradient)
        curvature = float(block.product(direction).norm()) / float(direction.norm() or 1.0)
        if 0 < curvature < math.inf:
            rule.start(block.group, curvature)


def _as_constraint(constraint: Any) -> Constraint:
    if isinstance(constraint, Constraint):
        return constraint
    return Constraint(*constraint) if isinstance(constraint, tuple) else Constraint(constraint)


def _ratio(value: Tensor, scale: Tensor) -> float:
    return float(value / scale) if scale > 0 else 0.0 if value == 0 else 1.0


def _rebalance(primal: float, dual: float) -> float:
    """Factor for the strength of a tie: up where the copy lags behind, down where it drags."""
    if not (0 < primal < math.inf and 0 < dual < math.inf):
        return 1.0
    change = math.sqrt(primal / dual)
    return min(10.0, max(0.1, change)) if max(change, 1 / change) > math.sqrt(_BALANCED) else 1.0
