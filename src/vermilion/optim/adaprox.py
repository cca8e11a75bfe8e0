"""Adam and AMSGrad with proximal operators in their metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..prox.base import Prox
from .base import Closure, ProximalOptimizer, check_number
from .steps import StepRule

__all__ = ["AdaProx"]

# measured on a simplex-constrained unmixing, 12 starts: growth 1.03-1.05 and halving were the fastest, 1.1 and 0.7 a third slower
_GROWTH, _FIRST_GROWTH, _SHRINK = 1.05, 2.0, 0.5
_FIRST_FACTOR = 0.1
_MAX_TRIALS = 20
_MAX_FACTOR = 1e12


class AdaProx(ProximalOptimizer):
    """Adaptive proximal gradient method: one step size per entry, from the size of its gradients.

    ``x <- argmin_z  g(z) + <phi, z - x> + (z - x)' diag(psi) (z - x) / (2 step)``, with phi the running mean of the
    gradients and psi the root of their running mean square ("adam": both corrected for their start at zero; "amsgrad":
    psi never shrinks, no corrections). If g acts entry by entry this is one call of the operator with the steps step / psi;
    otherwise sub-iterations solve it, started at x: a stationary point stays one however few of them are made.

    Without `lr` the step is a fraction of the mean size of the parameter, one fraction for all groups: it grows while the
    objective falls, is halved where it rises, and the attempt that rose is made again with the momentum forgotten. So the
    objective never rises (by more than rounding). That costs one evaluation per attempt, because the last one of
    a step serves the next step too, and it needs a closure that gives the same loss twice.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        As in torch; groups may carry their own options and a key "prox", which wins.
    prox : Prox, callable, None, or list of them
        One for all groups, or a list with one per group.
    lr : float, >= 0, optional
        The step; in units of the parameter, as always with Adam. None searches it, see above.
    betas : (float, float), in [0, 1)
        Memory of the mean and of the mean square.
    eps : float, >= 0
        Smallest psi relative to the largest of the parameter: results do not depend on the unit of the loss.
    scheme : "amsgrad" or "adam"
    step_rule : "auto" or function
        A function without arguments returns the step, `lr` is its factor.
    prox_max_iter : int, >= 1
        Bound on the sub-iterations of a step.
    prox_tol : float, >= 0
        They end when one changes the step by less than this fraction.

    Raises
    ------
    ParameterError
        If a number is out of range, the scheme is unknown, or the operators do not fit the groups.

    References
    ----------
    Melchior, Joseph & Moolekamp 2019, arXiv:1910.10094, algorithm 1; Reddi, Kale & Kumar 2018, ICLR (AMSGrad).

    Examples
    --------
    >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> optimizer = AdaProx([x], prox=torch.relu)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((x - torch.tensor([3.0, -1.0])) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(100):
    ...     loss = optimizer.step(closure)
    >>> x.detach().round(decimals=2)
    tensor([3., 0.])
    """

    def __init__(
        self,
        params: Iterable[Any],
        prox: Prox | Callable[..., Any] | list[Any] | tuple[Any, ...] | None = None,
        lr: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        scheme: str = "amsgrad",
        step_rule: str | Callable[[], float] = "auto",
        prox_max_iter: int = 100,
        prox_tol: float = 0.01,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "scheme": scheme, "step_rule": step_rule}
        super().__init__(params, prox, options | {"prox_max_iter": prox_max_iter, "prox_tol": prox_tol})

    @classmethod
    def _settle_step(cls, group: dict[str, Any]) -> None:
        """As in the base, but without any number the step is relative to the parameter."""
        if isinstance(group["step_rule"], StepRule):
            # those know the curvature of f, not that of f in the metric
            raise TypeError(f"step_rule is {group['step_rule']!r}: AdaProx expects 'auto' or a function that returns a step.")
        group["relative"] = group["lr"] is None and group["step_rule"] == "auto"
        group["factor"] = _FIRST_FACTOR if group["relative"] else 1.0
        group["risen"] = False
        if group["relative"]:
            group["lr"], group["step_rule"] = 1.0, None
        else:
            super()._settle_step(group)

    def _check_group(self, group: dict[str, Any]) -> None:
        if group["scheme"] not in ("amsgrad", "adam"):
            raise ParameterError(f"scheme is {group['scheme']!r}: expected 'amsgrad' or 'adam'.")
        for i, beta in enumerate(group["betas"]):
            if check_number(f"betas[{i}]", beta) >= 1:
                raise ParameterError(f"betas[{i}] is {beta:g}: expected a number in [0, 1).")
        for name in ("eps", "prox_tol"):
            check_number(name, group[name])
        check_number("prox_max_iter", group["prox_max_iter"], minimum=1)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Make one step.

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
        searching = any(group["relative"] for group in self.param_groups)
        loss = self._recall() if searching else None
        loss = self._evaluate(closure) if loss is None else loss
        if torch.isfinite(loss):
            self._observe()
            if searching:
                self._search(closure, loss)
            else:
                self._go()
        return loss

    def _entries(self) -> list[tuple[dict[str, Any], Tensor]]:
        return [(group, p) for group in self.param_groups for p in group["params"] if p.requires_grad]

    def _recall(self) -> Tensor | None:
        """Loss and gradients from the end of the last step, if the parameters are still there."""
        entries = self._entries()
        if not all("point" in self.state[p] and torch.equal(self.state[p]["point"], p) for _, p in entries):
            return None
        loss = self.state[entries[0][1]].get("loss") if entries else None
        if loss is None:
            return None
        for _, p in entries:
            p.grad = self.state[p]["gradient"].clone()
        return torch.as_tensor(loss, dtype=p.dtype, device=p.device)

    def _observe(self) -> None:
        """Note where the parameters stand, and average their gradients."""
        for group, p in self._entries():
            state, (beta1, beta2) = self.state[p], group["betas"]
            gradient = torch.zeros_like(p) if p.grad is None else p.grad
            if "mean" not in state:
                state.update(step=0, age=0, mean=torch.zeros_like(p), rms=torch.zeros_like(p), largest_rms=torch.zeros_like(p))
            state["step"] += 1
            state["age"] += 1
            state["mean"] = torch.lerp(gradient, state["mean"], beta1)
            # the root itself: squares of gradients would leave the range of float32
            state["rms"] = torch.hypot(math.sqrt(beta2) * state["rms"], math.sqrt(1 - beta2) * gradient)
            state["largest_rms"] = torch.maximum(state["largest_rms"], state["rms"])
            state["point"], state["gradient"] = p.clone(), gradient.clone()

    def _go(self) -> None:
        """Move all parameters from their points."""
        # all steps before any move: a rule may look at the other parameters
        sizes = {id(group): group["factor"] * self._step_size(group) for group in self.param_groups}
        for group, p in self._entries():
            state, size = self.state[p], sizes[id(group)]
            mean, metric = _moments(state, group)
            if group["relative"]:
                # without bias the mean keeps its proportion to g; the small first steps that the bias meant do good, measured
                trust = 1 - group["betas"][0] ** state["age"]
                size *= (float(state["point"].abs().mean()) or 1.0) * trust
                mean = state["mean"] / trust
            operator, limits = group["prox"], (group["prox_max_iter"], group["prox_tol"])
            p.copy_(_minimize_model(operator, state["point"], mean, metric, size, *limits) if p.numel() and size else operator(p, 0.0))

    def _search(self, closure: Closure, loss: Tensor) -> None:
        """Move; where the objective rises, forget the momentum and try shorter steps."""
        penalty = float(self.penalty())
        before = float(loss) + penalty
        precision = max((torch.finfo(p.dtype).eps for _, p in self._entries()), default=0.0)
        slack = 2 * precision * (abs(float(loss)) + (abs(penalty) if math.isfinite(penalty) else 0.0))
        for _ in range(_MAX_TRIALS):
            self._go()
            after = self._evaluate(closure)
            if float(after) + float(self.penalty()) <= before + slack:
                self._scale_steps(risen=False)
                self._keep(after)
                return
            self._scale_steps(risen=True)
            self._forget_momentum()
        for _, p in self._entries():
            p.copy_(self.state[p]["point"])
            self.state[p]["loss"] = float(loss)

    def _scale_steps(self, *, risen: bool) -> None:
        for group in self.param_groups:
            group["risen"] = risen or group["risen"]
            change = _SHRINK if risen else _GROWTH if group["risen"] else _FIRST_GROWTH
            # a given step may be shortened for a while, it is never exceeded
            group["factor"] = min(group["factor"] * change, _MAX_FACTOR if group["relative"] else 1.0)

    def _keep(self, loss: Tensor) -> None:
        for _, p in self._entries():
            gradient = torch.zeros_like(p) if p.grad is None else p.grad.clone()
            self.state[p].update(point=p.clone(), gradient=gradient, loss=float(loss))

    def _forget_momentum(self) -> None:
        for group, p in self._entries():
            state = self.state[p]
            state["mean"], state["age"] = (1 - group["betas"][0]) * state["gradient"], 1


def _moments(state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """phi and psi of the paper; psi > 0."""
    beta1, beta2 = group["betas"]
    if group["scheme"] == "adam":
        mean = state["mean"] / (1 - beta1 ** state["age"])
        rms = state["rms"] / math.sqrt(1 - beta2 ** state["step"])
    else:
        mean, rms = state["mean"], state["largest_rms"]
    if not rms.numel():
        return mean, rms
    top = rms.amax()
    floor = torch.finfo(rms.dtype).tiny
    return mean, torch.where(top > 0, rms + group["eps"] * top, 1).clamp(min=floor)


def _minimize_model(prox: Prox, x: Tensor, mean: Tensor, metric: Tensor, size: float, max_iter: int, tol: float) -> Tensor:
    """``argmin_z g(z) + <mean, z - x> + (z - x)' diag(metric) (z - x) / (2 size)``.

    In closed form if g acts entry by entry, else by accelerated proximal gradient iterations from x, with one step per
    line that the operator couples.
    """
    if prox.couples == "element":
        return prox(x - size * mean / metric, size / metric)
    top, bottom = _extremes(metric, prox.couples)
    # of largest curvature top / size and condition top / bottom: the momentum for strongly convex functions
    momentum = (1 - (bottom / top).sqrt()) / (1 + (bottom / top).sqrt()) if prox.convex else torch.zeros_like(top)
    step = size / top
    z = y = x
    for _ in range(max_iter):
        new = prox(y - step * mean - metric / top * (y - x), step if step.ndim else float(step))
        change = new - z
        z, behind = new, y - new
        if bool(change.norm() <= tol * (z - x).norm()):
            break
        # restart where the momentum points uphill (O'Donoghue & Candes 2015, section 3.2)
        y = z if bool((behind * change).sum() > 0) else z + momentum * change
    return z


def _extremes(metric: Tensor, couples: str) -> tuple[Tensor, Tensor]:
    """Largest and smallest metric over what is coupled: a line of a matrix, or everything."""
    dim = {"component axis": 0, "pixel axis": 1}.get(couples)
    if metric.ndim != 2 or dim is None:
        return metric.amax(), metric.amin()
    return metric.amax(dim, keepdim=True), metric.amin(dim, keepdim=True)
