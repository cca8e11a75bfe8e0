"""PALM with momentum that restarts itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .base import Closure
from .palm import PALM
from .steps import AdaptivePGM, StepRule

__all__ = ["InertialPALM"]


class InertialPALM(PALM):
    """PALM from points ahead of the newest iterate, with momentum that is dropped where it leads uphill.

    In pass k since the last restart each block starts from ``y = x + k / (k + 3) (x - x_before)``, and sees the blocks before
    it at their new values. Two tests restart the momentum:

    - ``sum <y - x_new, x_new - x> / step > 0`` over all blocks: the prox-gradient points against the movement;
    - the whole objective, loss plus penalties, rose: the pass is taken back.

    Where it rose without momentum the steps were too long: they are halved, and return slowly. So the objective never rises,
    up to rounding. Parameters are feasible after each step, the momentum lives in the state. The closure has to be
    deterministic.

    Parameters
    ----------
    params, prox, lr, step_rule
        As for `PALM`; "auto" is `AdaptivePGM`.

    Raises
    ------
    ParameterError
        If a number is out of range, or the operators do not fit the groups.

    References
    ----------
    Pock & Sabach 2016, SIAM J. Imaging Sci. 9, 1756 (inertial PALM); O'Donoghue & Candès 2015, Found. Comput. Math. 15, 715
    (both tests).

    Examples
    --------
    >>> x = torch.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = InertialPALM([x], torch.nn.Threshold(0, 0))
    >>> for _ in range(30):
    ...     loss = optimizer.step(lambda: (optimizer.zero_grad(), (l := ((x - 0.5) ** 2).sum()).backward(), l)[-1])
    >>> x
    tensor([0.5000, 0.5000], requires_grad=True)
    """

    # steps longer than 1 / L pay, and a pass that goes wrong is taken back
    _automatic: Callable[[], StepRule] = AdaptivePGM

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Update every block once; one evaluation of the closure per block and one of the result.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes loss and gradients, returns the loss.

        Returns
        -------
        Tensor
            Loss before the step, detached. If it is not finite, the parameters stay where they are.

        Raises
        ------
        TypeError
            Without a closure.
        """
        closure = self._require(closure)
        parameters = [p for group in self.param_groups for p in group["params"]]
        inertia = self.state[parameters[0]].setdefault("inertia", {"passes": 0, "loss": math.nan})
        here = [p.detach().clone() for p in parameters]
        penalty = float(self.penalty())
        moving = self._go_ahead(parameters)
        first, uphill = self._sweep(closure, dict(zip(parameters, here, strict=True)))
        if not moving:
            inertia["loss"] = float(first)  # it was taken at the iterate itself
        after = self._arrive(closure) if uphill is not None else math.nan
        before = inertia["loss"]
        slack = 4 * torch.finfo(parameters[0].dtype).eps * abs(before + penalty) if math.isfinite(penalty) else 0.0
        if math.isfinite(after) and after + float(self.penalty()) <= before + penalty + slack:
            # the way from an infeasible start to a feasible point is no direction to go on in
            restart = (uphill or 0.0) > 0 or not math.isfinite(penalty)
            inertia |= {"passes": 0 if restart else inertia["passes"] + 1, "loss": after}
            self._lead(parameters, here, inertia["passes"])
            self._lengthen()
        else:
            inertia["passes"] = 0
            self._take_back(parameters, here)
            if not moving and torch.isfinite(first):
                self._shorten()
        return first.new_tensor(before)

    def _go_ahead(self, parameters: list[Tensor]) -> bool:
        """Move to the extrapolated point; False if there is no momentum."""
        moving = all("lead" in self.state[p] for p in parameters)
        if moving:
            for p in parameters:
                p.add_(self.state[p]["lead"])
        return moving

    def _sweep(self, closure: Closure, here: dict[Tensor, Tensor]) -> tuple[Tensor, float | None]:
        """Update all blocks; return the loss at the start, and how far the prox-gradients point against the movement.

        None if a loss is not finite.
        """
        losses, uphill = [], 0.0
        for group in self.param_groups:
            starts = [(p, p.detach().clone()) for p in group["params"]]
            loss, size = self._descend(group, closure)
            losses.append(loss)
            if not torch.isfinite(loss):
                return losses[0], None
            if size > 0:
                uphill += sum(float(((start - p) * (p - here[p])).sum(dtype=torch.float64)) for p, start in starts) / size
        return losses[0], uphill

    def _arrive(self, closure: Closure) -> float:
        """Loss where the pass has led to."""
        loss = float(self._evaluate(closure, ()))
        self._report()
        return loss

    def _lead(self, parameters: list[Tensor], here: list[Tensor], passes: int) -> None:
        """Keep how far ahead of the present point the next pass starts."""
        for p, before in zip(parameters, here, strict=True):
            self.state[p].pop("lead", None)
            if passes:
                self.state[p]["lead"] = passes / (passes + 3) * (p - before)

    def _take_back(self, parameters: list[Tensor], here: list[Tensor]) -> None:
        """Return to the iterate, without momentum."""
        self._forget()
        for p, before in zip(parameters, here, strict=True):
            p.copy_(before)
            self.state[p].pop("lead", None)
