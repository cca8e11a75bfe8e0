"""The one loop for torch optimizers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..datamodels import History, Result, Status
from ..errors import ParameterError
from ..likelihood import Gaussian
from ..models import Model
from ..observation import as_observations
from ..optim import InertialPALM, ProximalOptimizer
from .certificate import Certificate
from .progress import ProgressBar
from .stopping import RelativeDecrease, Stationarity, StopRule

__all__ = ["fit"]

Likelihood = Callable[[Tensor, Tensor, Tensor], Tensor]
Callback = Callable[[Model, History], Any]

_DEFAULT_TOLERANCE = 1e-5
_DIVERGED, _PATIENCE = 1e6, 10


def fit(
    model: Model,
    observations: Any,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    likelihood: Likelihood | None = None,
    stop: StopRule | None = None,
    max_iter: int = 1000,
    check_every: int = 1,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool = False,
) -> Result:
    """Parameters of `model` that minimize the loss plus the penalties of the optimizer.

    Parameters
    ----------
    model : Model
        Changed in place; it ends in the state that is returned.
    observations : array or Tensor (B, N), tuple (Y, W), Matrix, Observation, or list of these
        Weights are inverse variances.
    optimizer : torch.optim.Optimizer, optional
        Any; those of `vermilion.optim` bring constraints and penalties. Default: `InertialPALM` with the operators that
        the model proposes; it needs no number.
    likelihood : callable, optional
        ``likelihood(prediction, data, weights)``, summed over the observations. Default `Gaussian`.
    stop : StopRule, optional
        Default ``RelativeDecrease(1e-5)``.
    max_iter : int, >= 1
    check_every : int, >= 1
        Every how many iterations the objective is looked at: stop rule, callbacks, progress, and the copy of the
        parameters to fall back to. Larger values spare a GPU the waiting.
    callbacks : callable or sequence of callables
        ``callback(model, history)``; True stops the fit. The history ends one iteration before the model, because the
        objective of a state is known when the next step begins.
    progress : bool
        A bar on stderr, if that is a terminal.

    Returns
    -------
    Result
        Factors as solved, errors None, frame None. ``provenance["stationarity"]`` is the certificate: for every block the norm
        of the prox-gradient map ``|x - prox(x - t grad f)| / t`` at the end, relative to the start. Ctrl-C gives
        `Status.STOPPED`, a value that is not finite `Status.NONFINITE`, an objective that grows beyond 1e6 times that of the
        start `Status.DIVERGED`: each with the last good state, whose objective was known, finite and below that bound.

    Raises
    ------
    ParameterError, ShapeError, NoDataError
        If an argument is out of range or does not fit.

    Examples
    --------
    >>> from vermilion.models import Factorization
    >>> model = Factorization(torch.ones(2, 1), torch.ones(1, 3))
    >>> result = fit(model, torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]), max_iter=200)
    >>> result.status.name
    'CONVERGED'
    """
    for name, value in (("max_iter", max_iter), ("check_every", check_every)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name} is {value!r}: expected an integer >= 1.")
    if optimizer is None:
        optimizer = InertialPALM([{key: block[key] for key in ("name", "params", "prox")} for block in model.blocks()])
    calls = (callbacks,) if callable(callbacks) else tuple(callbacks)
    run = _Run(model, observations, optimizer, likelihood or Gaussian())
    stop = stop or RelativeDecrease(_DEFAULT_TOLERANCE)
    status = Status.MAX_ITER
    with ProgressBar(max_iter, progress) as bar:
        try:
            for iteration in range(max_iter):
                run.step(check=iteration % check_every == 0)
                if iteration % check_every or not iteration:
                    continue
                bar.update(iteration, run.history)
                stopped = [call(model, run.history) is True for call in calls]
                ended = Status.STOPPED if any(stopped) else run.judge(stop)
                if ended is not None:
                    status = ended
                    break
            run.finish()
        except KeyboardInterrupt:
            status = Status.STOPPED
            run.fall_back()
        except (_NotFiniteError, _DivergedError) as error:
            status = Status.DIVERGED if isinstance(error, _DivergedError) else Status.NONFINITE
            run.fall_back()
            run.certify()
    return run.result(status)


class _NotFiniteError(Exception):
    """A loss is NaN or infinite."""


class _DivergedError(Exception):
    """The objective grows and grows."""


class _Run:
    """A fit in progress: what a step costs, what is known of each state, and the last good one.

    A step tells the loss of the state that it starts from, so each state is written down one step later. `_pending` holds
    losses and penalties that nobody has looked at (looking makes a GPU wait), with what it had cost to get there.
    """

    def __init__(self, model: Model, observations: Any, optimizer: torch.optim.Optimizer, likelihood: Likelihood) -> None:
        self.model = model
        self.optimizer = optimizer
        self.likelihood = likelihood
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ParameterError("the model has no parameter that requires a gradient: nothing to fit.")
        self.observations = as_observations(observations, like=self.parameters[0].detach())
        self.history = History([name for name, p in model.named_parameters() if p.requires_grad])
        self._make_feasible()
        self._good = self._snapshot()
        self._pending: list[tuple[Tensor, Tensor, _Cost]] = []
        self._n_steps = self._n_losses = self._n_gradients = self._n_looks = 0
        self._begin = time.perf_counter()
        self._count_from = self._counts()
        self._cost = _Cost(0, self._gradients(), 0, 0.0)
        self._certificate = Certificate(model, optimizer)
        self._stationarity: dict[str, float] | None = None
        self._bound: float | None = None
        self._beyond: list[float] = []

    @torch.no_grad()
    def _make_feasible(self) -> None:
        # with step 0 an operator projects on the set where its g is finite
        if isinstance(self.optimizer, ProximalOptimizer):
            for group in self.optimizer.param_groups:
                for p in group["params"]:
                    if torch.isinf(group["prox"].penalty(p)):
                        p.copy_(group["prox"](p, 0.0))

    def _loss(self) -> Tensor:
        prediction = self.model()
        losses = [self.likelihood(o.render(prediction), o.data, o.weights) for o in self.observations]
        self._n_losses += 1
        return sum(losses[1:], losses[0])

    def _closure(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = self._loss()
        loss.backward()
        self._n_gradients += 1
        self._certificate.begin()
        return loss

    def _counts(self) -> list[int]:
        """Gradient evaluations that the optimizer has counted for the block of each parameter."""
        if not isinstance(self.optimizer, ProximalOptimizer):
            return [0] * len(self.parameters)
        counts = zip(self.optimizer.param_groups, self.optimizer.gradient_evaluations, strict=True)
        of = {p: count for group, count in counts for p in group["params"]}
        return [of.get(p, 0) for p in self.parameters]

    def _gradients(self) -> tuple[int, ...]:
        """Gradient evaluations of each block since the start of the fit."""
        if not isinstance(self.optimizer, ProximalOptimizer):
            return (self._n_gradients,) * len(self.parameters)
        return tuple(now - before + self._n_looks for now, before in zip(self._counts(), self._count_from, strict=True))

    def stationarity(self) -> dict[str, float]:
        """Norm of the prox-gradient map of every block, relative to the start, by one more evaluation of the loss."""
        self._closure()
        self._n_looks += 1
        return self._certificate.relative()

    def certify(self) -> None:
        """Keep the certificate of the present state."""
        self._stationarity = self.stationarity()

    def judge(self, stop: StopRule) -> Status | None:
        """Ask the stop rule."""
        if isinstance(stop, Stationarity):
            return stop(self.history, lambda: list(self.stationarity().values()))
        return stop(self.history)

    def _penalty(self) -> Tensor:
        if isinstance(self.optimizer, ProximalOptimizer):
            return self.optimizer.penalty()
        return torch.zeros((), dtype=torch.float64)

    def _snapshot(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]

    def step(self, *, check: bool) -> None:
        """One iteration; with `check`, look at what is pending and remember the state before it as good."""
        before = self._snapshot() if check else None
        penalty = self._penalty()
        loss = torch.as_tensor(self.optimizer.step(self._closure))  # type: ignore[arg-type]
        self._note(loss, penalty)
        if before is not None:
            self._look()
            if not self._beyond:
                self._good = before

    def finish(self) -> None:
        """Write down the state after the last step."""
        loss = self._closure()
        self._note(loss, self._penalty())
        self._look()
        self._stationarity = self._certificate.relative()

    def _note(self, loss: Tensor, penalty: Tensor) -> None:
        self._pending.append((loss.detach(), penalty, self._cost))
        self._n_steps += 1
        self._cost = _Cost(self._n_steps, self._gradients(), self._n_losses, time.perf_counter() - self._begin)

    def _look(self) -> None:
        """Move what is pending to the history; the start itself is no iteration."""
        rows = [(float(loss), float(penalty), cost) for loss, penalty, cost in self._pending]
        if not all(math.isfinite(loss) for loss, _, _ in rows):
            raise _NotFiniteError
        self._pending = []
        for loss, penalty, cost in rows:
            self._watch(loss + penalty)
            if cost.steps:
                self.history.append(
                    objective=loss + penalty,
                    gradient_evaluations=cost.gradients,
                    objective_evaluations=cost.losses,
                    reads_of_Y=cost.losses,
                    seconds=cost.seconds,
                )

    def _watch(self, objective: float) -> None:
        """Count the states in a row, each worse than the one before, that lie far above the start."""
        if self._bound is None:
            self._bound = _DIVERGED * abs(objective) or math.inf
        growing = objective > self._bound and (not self._beyond or objective > self._beyond[-1])
        self._beyond = [*self._beyond, objective] if growing else []
        if len(self._beyond) >= _PATIENCE:
            raise _DivergedError

    @torch.no_grad()
    def fall_back(self) -> None:
        """Return the parameters to the last good state."""
        for p, good in zip(self.parameters, self._good, strict=True):
            p.copy_(good)

    def result(self, status: Status) -> Result:
        """The state of the model as a record."""
        A, S = (factor.detach().cpu().clone().numpy() for factor in self.model.components())
        provenance: dict[str, Any] = {"optimizer": type(self.optimizer).__name__, "likelihood": repr(self.likelihood)}
        provenance["torch"] = str(torch.__version__)
        if self._stationarity is not None:
            provenance["stationarity"] = self._stationarity
        return Result(spectra=A, morphologies=S, status=status, history=self.history, provenance=provenance)


class _Cost(NamedTuple):
    """What a state had cost: sums since the start."""

    steps: int
    gradients: tuple[int, ...]
    losses: int
    seconds: float
