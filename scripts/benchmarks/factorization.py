"""The factorization against its peers: time to a gap, memory, reads of the data.

    python scripts/benchmarks/factorization.py [--problems hs ifu muse] [--sections weighted unweighted] [--repeats 3] [--limit 120]

All solvers get the same float32 data and the same start. Measured is CPU time on one thread (unless told otherwise), in a fresh process per
run, the solvers in turn. Compiling and first calls come before the clock starts and are printed apart. States are copied while the clock
stands still, and their objectives computed afterwards in float64, by the same few lines for everybody. A gap is relative to the lowest
objective that anyone found, a long float64 run of vermilion and one from the best state of all included.

A peer with several settings is tried with each of them for a quarter of the limit, and races with the one that does best. Who does not
arrive within the limit is not repeated. Sections:

weighted     with weights and missing data: proxmin's AMSGrad
unweighted   scikit-learn's coordinate descent, nmf-torch's block principal pivoting, proxmin, plain projected gradients
constraints  spectra of unit sum with an entropy prior on S, and abundances that sum to 1, against the plain problem
memory       largest memory beyond the data, and reads of the data
growth       time of an iteration against the number of pixels
cuda         the same on a GPU, if there is one
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import io
import itertools
import json
import math
import os
import platform
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import vermilion
from vermilion.errors import ConvergenceWarning
from vermilion.prox import MaxEntropy, Simplex

sys.path.insert(0, str(Path(__file__).parent))  # the neighbour, also where this file is loaded by its path

from problems import Problem, make

Array = NDArray[Any]
State = tuple[Array, Array]
Record = Callable[[Any, Any], bool]

GAPS = (1e-1, 1e-2, 1e-3, 1e-4)
CHUNK = 2**22  # voxels that are held in float64 at once
SMALL = 1e7  # voxels up to which the slow peers take part
TINY = "200x300"  # bands and pixels of the first call
WITHIN, FRACTION = 0.1, 0.95  # spectra have settled when this fraction of the entries is within so many errors of the best
DEFAULTS: dict[str, tuple[str, ...]] = {
    "weighted": ("hs", "ifu", "muse"),
    "unweighted": ("hs", "ifu", "muse", "sc5", "sc4", "bb"),
    "constraints": ("hs",),
    "memory": ("hs", "ifu", "muse", "sc5", "sc6", "bb"),
    "growth": ("sc4", "sc5", "sc6"),
    "cuda": ("3681x90000x10",),
}


# ---------------------------------------------------------------- objective


class Objective:
    """``½ Σ W (Y − A S)² + penalty(S)`` in float64, a few rows at a time."""

    def __init__(self, Y: Array, W: Array | None = None, penalty: MaxEntropy | None = None, device: str = "cpu") -> None:
        self.Y = torch.from_numpy(Y).to(device)
        self.W = None if W is None else torch.from_numpy(W).to(device)
        self.penalty = penalty
        self.rows = max(1, CHUNK // Y.shape[1])

    def __call__(self, A: Array, S: Array) -> float:
        """Value at one state."""
        spectra, maps = (torch.from_numpy(factor).to(self.Y.device, torch.float64) for factor in (A, S))
        total = 0.0 if self.penalty is None else float(self.penalty.penalty(maps))
        for first in range(0, len(self.Y), self.rows):
            rows = slice(first, first + self.rows)
            residual = (spectra[rows] @ maps).sub_(self.Y[rows])
            weighted = residual if self.W is None else residual * self.W[rows]
            total += 0.5 * float(torch.dot(weighted.flatten(), residual.flatten()))
        return total


# ---------------------------------------------------------------- clock and trace


class Enough(Exception):  # noqa: N818
    """Stops a solver from within its callback."""


@dataclass
class Trace:
    """Objectives of one run against its CPU seconds."""

    solver: str
    seconds: list[float] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    iterations: int = 0
    stopped: str = "iterations"
    first_call: float = 0.0
    lowest: State | None = None
    spectra: list[Array] = field(default_factory=list)

    @property
    def least(self) -> float:
        """The lowest objective; inf if none was finite."""
        return min((value for value in self.objectives if math.isfinite(value)), default=math.inf)


class Recorder:
    """Copies states while the clock stands still, and says when a run has lasted long enough.

    Kept are the first `dense` states and afterwards one whenever the time has grown by 5 %; whether to stop is asked whenever it has
    grown by a quarter. A run ends at its limit, at `goal` unless it still falls, or when it no longer falls at all.

    Parameters
    ----------
    objective : callable
        ``f(A, S)``.
    limit : float
        CPU seconds.
    goal : float
        Objective that is low enough.
    falls : float
        Relative fall between two questions with which a run goes on below the goal: it may be on the way to a lower optimum.
    keep_spectra : bool
        Keep A of every state.
    standstill : float
        Relative fall between two questions that counts as none; three of them end the run.
    memory : float
        Bytes of states that wait for their objective.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        objective: Callable[[Array, Array], float],
        *,
        limit: float = math.inf,
        goal: float = -math.inf,
        falls: float = 1e-5,
        keep_spectra: bool = False,
        dense: int = 20,
        standstill: float = 1e-8,
        memory: float = 5e8,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.objective, self.limit, self.goal, self.falls, self.keep_spectra = objective, limit, goal, falls, keep_spectra
        self.dense, self.standstill, self.memory, self.clock = dense, standstill, memory, clock
        self.trace = Trace("")
        self.waiting: list[tuple[int, State]] = []
        self.kept = self.asked = 0.0
        self.before = math.inf
        self.still = 0
        self.lowest = math.inf
        self.start()

    def start(self) -> None:
        """Set the clock to 0."""
        self.away, self.begin = 0.0, self.clock()

    def __call__(self, A: Any, S: Any) -> bool:
        """Take note of a state; true if the run may stop."""
        now = self.clock()
        enough = self._note(now - self.begin - self.away, A, S)
        self.away += self.clock() - now
        return enough

    def finish(self) -> Trace:
        """The trace with all its objectives."""
        self._evaluate()
        return self.trace

    def _note(self, seconds: float, A: Any, S: Any) -> bool:
        trace = self.trace
        trace.iterations += 1
        over = seconds > self.limit
        if trace.iterations > self.dense and seconds < 1.05 * self.kept and not over:
            return False
        self.kept = seconds
        state = _copy(A), _copy(S)
        trace.seconds.append(seconds)
        trace.objectives.append(math.nan)
        if self.keep_spectra:
            trace.spectra.append(state[0].astype(np.float32))
        self.waiting.append((len(trace.seconds) - 1, state))
        if over:
            trace.stopped = "limit"
            return True
        if seconds > 1.25 * self.asked:
            self.asked = seconds
            return self._low_enough()
        if sum(a.nbytes + s.nbytes for _, (a, s) in self.waiting) > self.memory:
            self._evaluate()
        return False

    def _low_enough(self) -> bool:
        index, state = self.waiting.pop()
        value = self._store(index, state)
        fall, self.before = self.before - value, value
        if not math.isfinite(value):
            self.trace.stopped = "not finite"
            return True
        self.still = self.still + 1 if abs(fall) < self.standstill * abs(value) else 0
        if self.still >= 3:
            self.trace.stopped = "standstill"
        elif value <= self.goal and fall < self.falls * abs(value):
            self.trace.stopped = "goal"
        return self.trace.stopped in ("standstill", "goal")

    def _evaluate(self) -> None:
        for index, state in self.waiting:
            self._store(index, state)
        self.waiting.clear()

    def _store(self, index: int, state: State) -> float:
        value = self.trace.objectives[index] = self.objective(*state)
        if value < self.lowest:
            self.lowest, self.trace.lowest = value, state
        return value


def _copy(factor: Array | Tensor) -> Array:
    """An array of its own, wherever the factor lies."""
    return np.array(factor.detach().cpu().numpy() if isinstance(factor, Tensor) else factor, order="C")


def seconds_to(trace: Trace, best: float, gap: float) -> float | None:
    """CPU seconds until the objective was within ``gap * |best|`` of the best; None if it never was."""
    reached = (seconds for seconds, value in zip(trace.seconds, trace.objectives, strict=True) if value <= best + gap * abs(best))
    return next(reached, None)


def median(times: Sequence[float | None]) -> float | None:
    """The middle one, where a run that did not arrive counts as late; None if the middle one did not arrive."""
    middle = float(np.median([math.inf if t is None else t for t in times]))
    return middle if math.isfinite(middle) else None


# ---------------------------------------------------------------- solvers: each calls record(A, S) after every iteration


def by_vermilion(problem: Problem, W: Array | None, max_iter: int, record: Record, **options: Any) -> None:
    """The default solver; `options` go to `factorize`."""

    def show(A: Tensor, S: Tensor) -> None:
        if record(A, S):
            raise Enough  # without the errors and maps that follow the last iteration

    call_factorize(problem, W, max_iter=max_iter, callbacks=[show], **options)


def call_factorize(problem: Problem, W: Array | None, **options: Any) -> vermilion.Result:
    """The factorization from the common start."""
    options = {"n_components": problem.n_components, "init": (problem.A0, problem.S0), "device": "cpu", "tol": 0.0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return vermilion.factorize(problem.Y, W, **options)


def by_sklearn(problem: Problem, W: Array | None, max_iter: int, record: Record, *, transposed: bool = False) -> None:
    """Coordinate descent of scikit-learn, sweep by sweep as in its own loop with the default ``shuffle=False``.

    `transposed`: factorize Yᵀ, so that the maps come first.
    """
    from sklearn.decomposition._cdnmf_fast import _update_cdnmf_fast

    A, St = problem.A0.copy(), np.ascontiguousarray(problem.S0.T)
    order = np.arange(A.shape[1], dtype=np.intp)
    for _ in range(max_iter):
        if transposed:
            _update_cdnmf_fast(St, A.T @ A, problem.Y.T @ A, order)
        _update_cdnmf_fast(A, St.T @ St, problem.Y @ St, order)
        if not transposed:
            _update_cdnmf_fast(St, A.T @ A, problem.Y.T @ A, order)
        if record(A, St.T):
            return


def by_nmf_torch(problem: Problem, W: Array | None, max_iter: int, record: Record, *, transposed: bool = False) -> None:
    """Block principal pivoting of nmf-torch: the class that its `run_nmf` calls for ``algo="bpp"``, from the given start.

    `transposed`: factorize Yᵀ.
    """
    from nmf.nmf_models import NMFBatchNnlsBpp

    class Watched(NMFBatchNnlsBpp):
        """Starts where it is told, shows its factors after every iteration, and goes on: its rounded loss stalls before they do."""

        def _initialize_H_W(self, eps: float = 1e-6) -> None:  # noqa: N802
            start = (problem.S0.T, problem.A0.T) if transposed else (problem.A0, problem.S0)
            self.H, self.W = (torch.tensor(np.ascontiguousarray(factor)) for factor in start)

        def _update_W(self) -> None:  # noqa: N802
            super()._update_W()
            if record(*((self.W.T, self.H.T) if transposed else (self.H, self.W))):
                raise Enough

        def _is_converged(self, *errors: Any) -> bool:
            return False

    penalties = dict.fromkeys(("alpha_W", "l1_ratio_W", "alpha_H", "l1_ratio_H"), 0.0)
    options: dict[str, Any] = {
        "tol": 0.0,
        "random_state": 0,
        "fp_precision": "float",
        "device_type": "cpu",
        "n_jobs": -1,
        "max_iter": max_iter,
    }
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cholesky.*")
        Watched(problem.n_components, "random", 2.0, **penalties, **options).fit(problem.Y.T if transposed else problem.Y)


def by_amsgrad(problem: Problem, W: Array | None, max_iter: int, record: Record, *, step: float = 0.1, remember: bool = True) -> None:
    """AMSGrad of proxmin, with steps of `step` times the mean of each component: its own rule, where `step` is 0.1.

    `remember`: hand over an array for the largest second moment, as the paper has it. proxmin on its own forgets it in every iteration.
    """
    from proxmin import algorithms, nmf

    factors = problem.A0.copy(), problem.S0.copy()
    limit = min(max_iter, 10**6)
    nmf.nmf(
        problem.Y,
        *factors,
        W=1 if W is None else W,
        algorithm=algorithms.adaprox,
        scheme="amsgrad",
        step=lambda A, S, it=None: (step * A.mean(axis=0), step * S.mean(axis=1)[:, None]),
        b1=np.full(limit, 0.9, np.float32),  # its default would turn float32 into float64
        Vhat=[np.zeros_like(factor) for factor in factors] if remember else None,
        check_convergence=False,
        max_iter=limit,
        e_rel=1e-6,
        callback=_shown_by_proxmin(record),
    )


def by_proxmin_pgm(problem: Problem, W: Array | None, max_iter: int, record: Record) -> None:
    """The proximal gradient method of proxmin, which takes no weights."""
    from proxmin import algorithms, nmf

    factors = problem.A0.copy(), problem.S0.copy()
    nmf.nmf(problem.Y, *factors, algorithm=algorithms.pgm, e_rel=0.0, max_iter=max_iter, callback=_shown_by_proxmin(record))


def _shown_by_proxmin(record: Record) -> Callable[..., None]:
    def show(*factors: Array, it: int) -> None:
        if it > 0 and record(*factors):  # called before each iteration
            raise Enough

    return show


def by_plain_pgm(problem: Problem, W: Array | None, max_iter: int, record: Record) -> None:
    """Projected gradient steps of 1/L on both factors at once, L from the Gram matrices."""
    A, S = problem.A0.copy(), problem.S0.copy()
    for _ in range(max_iter):
        gram_A, gram_S = A.T @ A, S @ S.T
        # both gradients belong to the same state
        gradient_A, gradient_S = A @ gram_S - problem.Y @ S.T, gram_A @ S - A.T @ problem.Y
        A = np.maximum(A - gradient_A / np.linalg.norm(gram_S, 2), 0)
        S = np.maximum(S - gradient_S / np.linalg.norm(gram_A, 2), 0)
        if record(A, S):
            return


@dataclass(frozen=True)
class Entry:
    """A solver with the settings that it may be tried with."""

    name: str
    solve: Callable[..., None]
    settings: tuple[Mapping[str, Any], ...] = ({},)
    package: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    largest: float = math.inf

    def takes_part(self, problem: Problem) -> str:
        """Empty, or why it does not."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return "" if problem.Y.size <= self.largest else f"only up to {self.largest:.0e} voxels"


BOTH_WAYS = ({"transposed": False}, {"transposed": True})
OURS = (
    Entry("vermilion", by_vermilion),
    Entry("vermilion, no numba", by_vermilion, environment={"VERMILION_NUMBA": "0"}),
)
AMSGRAD = Entry(
    "proxmin AMSGrad",
    by_amsgrad,
    tuple({"step": step, "remember": remember} for step in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0) for remember in (True, False)),
    "proxmin",
)
ENTRIES: dict[str, tuple[Entry, ...]] = {
    "weighted": (*OURS, AMSGRAD),
    "unweighted": (
        *OURS,
        Entry("scikit-learn CD", by_sklearn, BOTH_WAYS, "sklearn"),
        Entry("nmf-torch BPP", by_nmf_torch, BOTH_WAYS, "nmf"),
        Entry("plain PGM", by_plain_pgm),
        Entry("proxmin PGM", by_proxmin_pgm, package="proxmin", largest=SMALL),
        replace(AMSGRAD, largest=SMALL),
    ),
}

# ---------------------------------------------------------------- one run, in a process of its own


@dataclass(frozen=True)
class Task:
    """What a process is to solve, and until when."""

    folder: Path
    name: str
    solve: Callable[..., None]
    options: Mapping[str, Any] = field(default_factory=dict)
    weighted: bool = False
    limit: float = math.inf
    goal: float = -math.inf
    falls: float = 1e-5
    standstill: float = 1e-8
    keep_spectra: bool = False
    max_iter: int = 10**9
    threads: int = 1
    start: State | None = None


def run(task: Task) -> Trace:
    """Trace of one solver, after a first call on a tiny problem and two iterations of this one that do not count."""
    torch.set_num_threads(task.threads)
    problem = load(task.folder, weighted=task.weighted)
    if task.start is not None:
        problem.A0, problem.S0 = task.start
    W = problem.W if task.weighted else None
    first_call = warm_up(task, problem)
    penalty = task.options.get("morphologies")
    objective = Objective(problem.Y, W, penalty if isinstance(penalty, MaxEntropy) else None)
    options = {name: getattr(task, name) for name in ("limit", "goal", "falls", "standstill", "keep_spectra")}
    recorder = Recorder(objective, **options)
    recorder.start()
    with contextlib.suppress(Enough), np.errstate(all="ignore"):
        task.solve(problem, W, task.max_iter, recorder, **task.options)
    trace = recorder.finish()
    trace.solver, trace.first_call = task.name, first_call
    return trace


def warm_up(task: Task, problem: Problem) -> float:
    """CPU seconds of the first call on a tiny problem: imports and compilation; then two iterations of the real one."""
    begin = time.process_time()
    _iterate(task, make(f"{TINY}x{problem.n_components}"), 10)
    seconds = time.process_time() - begin
    _iterate(task, problem, 2)
    return seconds


def _iterate(task: Task, problem: Problem, n: int) -> None:
    counter = itertools.count(1)
    with contextlib.suppress(Enough), np.errstate(all="ignore"):
        # more than asked for: proxmin shows a state before the next iteration, and short fits of vermilion do not start compressed
        task.solve(problem, problem.W if task.weighted else None, n + 20, lambda A, S: next(counter) >= n, **task.options)


def save(problem: Problem, folder: Path) -> None:
    """The arrays for other processes."""
    for name in ("Y", "W", "A0", "S0"):
        np.save(folder / f"{name}.npy", getattr(problem, name))


def load(folder: Path, *, weighted: bool) -> Problem:
    """Data and start; weights only where they are wanted, the truth not at all."""
    Y, A0, S0 = (np.load(folder / f"{name}.npy") for name in ("Y", "A0", "S0"))
    W = np.load(folder / "W.npy") if weighted else np.empty((0, 0), np.float32)
    nothing = np.empty((0, 0), np.float32)
    return Problem(folder.name, Y, W, nothing, nothing, A0, S0, nothing)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def in_process(function: Callable[..., Any], *arguments: Any, threads: int, variables: Mapping[str, str] | None = None) -> Any:
    """What the function returns in a new process with so many threads."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMBA")
    settings = {f"{name}_NUM_THREADS": str(threads) for name in names} | dict(variables or {})
    with environment(settings), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# ---------------------------------------------------------------- contests


@dataclass
class Contest:
    """The runs of several solvers on one problem."""

    problem: str
    section: str
    folder: Path
    options: argparse.Namespace
    traces: dict[str, list[Trace]] = field(default_factory=dict)
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    best: float = math.inf
    best_state: State | None = None
    best_by: str = ""
    reference: float = math.inf

    @property
    def target(self) -> float:
        """The gap that ranks the settings of a peer."""
        return 1e-2 if self.section == "weighted" else 1e-3

    def task(self, entry: Entry, settings: Mapping[str, Any], **changes: Any) -> Task:
        """A run of a solver; it ends somewhat below the smallest gap, weighted ones where the spectra have settled too."""
        margin = 3e-7 if self.section == "weighted" else 3e-5
        task = Task(
            self.folder,
            entry.name,
            entry.solve,
            settings,
            weighted=self.section == "weighted",
            limit=self.options.limit,
            goal=self.reference * (1 + margin) if math.isfinite(self.reference) else -math.inf,
            keep_spectra=self.section == "weighted",
            threads=self.options.threads,
        )
        return replace(task, **changes)

    def attempt(self, entry: Entry, settings: Mapping[str, Any], **changes: Any) -> Trace | None:
        """A run in a process of its own; None, and a line, if it broke."""
        task = self.task(entry, settings, **changes)
        try:
            trace: Trace = in_process(run, task, threads=self.options.threads, variables=entry.environment)
        except BrokenProcessPool:
            self.absent[entry.name] = "its process died"
        except Exception as error:  # whatever a peer raises
            self.absent[entry.name] = f"{type(error).__name__}: {error}"
        else:
            self._take_note(trace)
            return trace
        print(f"  {entry.name} {dict(settings) or ''}: {self.absent[entry.name]}", flush=True)
        return None

    def _take_note(self, trace: Trace) -> None:
        if trace.least < self.best:
            self.best, self.best_state, self.best_by = trace.least, trace.lowest, trace.solver

    def find_reference(self, settings: Mapping[str, Any]) -> None:
        """A long run in float64 from the common start."""
        entry = Entry("float64 reference", by_vermilion)
        trace = self.attempt(entry, {**settings, "dtype": "float64"}, limit=3 * self.options.limit, standstill=1e-9, keep_spectra=False)
        if trace is not None:
            self.reference = trace.least

    def polish(self, settings: Mapping[str, Any]) -> None:
        """Go on in float64 from the best state of all."""
        entry = Entry(f"float64 after {self.best_by}", by_vermilion)
        changes = {"limit": self.options.limit, "standstill": 1e-9, "start": self.best_state, "goal": -math.inf, "keep_spectra": False}
        self.attempt(entry, {**settings, "dtype": "float64"}, **changes)

    def choose_settings(self, entry: Entry) -> Mapping[str, Any]:
        """The settings with which a solver arrives first, or gets lowest, within a quarter of the limit."""
        if len(entry.settings) == 1:
            return entry.settings[0]
        ranks = []
        changes = {"limit": self.options.limit / 4, "goal": self.reference * (1 + self.target), "falls": math.inf, "keep_spectra": False}
        for index, settings in enumerate(entry.settings):
            trace = self.attempt(entry, settings, **changes)
            if trace is not None:
                seconds = seconds_to(trace, self.reference, self.target)
                ranks.append((math.inf if seconds is None else seconds, trace.least, index))
        return entry.settings[min(ranks)[2]] if ranks else entry.settings[0]

    def race(self, entries: Sequence[Entry]) -> None:
        """One more run of each solver, but of one that was late once."""
        for entry in entries:
            done = self.traces.setdefault(entry.name, [])
            if entry.name in self.absent or (done and done[-1].stopped == "limit"):
                continue
            trace = self.attempt(entry, self.settings[entry.name])
            if trace is not None:
                done.append(trace)

    def seconds(self, name: str, gap: float) -> float | None:
        """Median CPU seconds to a gap."""
        return median([seconds_to(trace, self.best, gap) for trace in self.traces[name]])

    def shown(self, name: str, seconds: float | None, divisor: float | None = 1.0) -> str:
        """Seconds or a ratio as text; who was stopped by the limit took longer than it."""
        if divisor is None:
            return "-"
        if seconds is not None:
            return f"{seconds / divisor:.3g}"
        late = any(trace.stopped == "limit" for trace in self.traces[name])
        return f"> {self.options.limit / divisor:.3g}" if late else "never"

    def rows(self) -> list[dict[str, Any]]:
        """What JSON holds of each solver."""
        rows = []
        for name, traces in self.traces.items():
            if not traces:
                continue
            row: dict[str, Any] = {"solver": name, "settings": {key: repr(value) for key, value in self.settings[name].items()}}
            row["median_seconds"] = {f"{gap:g}": self.seconds(name, gap) for gap in GAPS}
            row["seconds"] = {f"{gap:g}": [seconds_to(trace, self.best, gap) for trace in traces] for gap in GAPS}
            row["lowest_gap"] = [trace.least / self.best - 1 for trace in traces]
            row |= {key: [getattr(trace, key) for trace in traces] for key in ("iterations", "stopped", "first_call")}
            row["ended"] = [trace.seconds[-1] for trace in traces]
            rows.append(row)
        return rows


def print_contest(contest: Contest, rows: Sequence[Mapping[str, Any]]) -> None:
    """Seconds to each gap, and the ratio to ours."""
    print(f"\n{contest.problem}, {contest.section}: lowest objective {contest.best:.9g} by {contest.best_by}; CPU seconds to gap")
    print(f"{'':24}" + "".join(f"{gap:>9.0e}" for gap in GAPS) + "   lowest gap  first call  settings")
    for row in rows:
        name = row["solver"]
        times = "".join(f"{contest.shown(name, contest.seconds(name, gap)):>9}" for gap in GAPS)
        settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
        print(f"{name:24}{times}   {min(row['lowest_gap']):>10.1e}  {max(row['first_call']):8.2f} s  {settings}")
    if not contest.traces.get("vermilion"):
        return
    print("time / time of vermilion")
    for row in rows:
        name = row["solver"]
        if name != "vermilion":
            print(f"{name:24}" + "".join(_ratio(contest, name, gap) for gap in GAPS))
    for name, reason in contest.absent.items():
        print(f"{name:24}{reason}", flush=True)


def _ratio(contest: Contest, name: str, gap: float) -> str:
    return f"{contest.shown(name, contest.seconds(name, gap), contest.seconds('vermilion', gap)):>9}"


def compete(problem: Problem, section: str, options: argparse.Namespace) -> tuple[dict[str, Any], Contest]:
    """All solvers on one problem, with or without weights."""
    with tempfile.TemporaryDirectory() as folder:
        save(problem, Path(folder))
        contest = Contest(problem.name, section, Path(folder), options)
        contest.find_reference({})
        entries = []
        for entry in ENTRIES[section]:
            reason = entry.takes_part(problem)
            if reason:
                contest.absent[entry.name] = reason
            else:
                contest.settings[entry.name] = contest.choose_settings(entry)
                contest.absent.pop(entry.name, None)  # a setting that breaks is none
                entries.append(entry)
        for _ in range(options.repeats):
            contest.race(entries)
        contest.polish({})
    rows = contest.rows()
    print_contest(contest, rows)
    result: dict[str, Any] = {
        "problem": problem.name,
        "shape": [*problem.Y.shape, problem.n_components],
        "best": contest.best,
        "best_by": contest.best_by,
    }
    if section == "weighted":
        result |= settle(problem, contest, rows)
    return result | {"solvers": rows, "absent": contest.absent}, contest


# ---------------------------------------------------------------- when the spectra have settled


def settle(problem: Problem, contest: Contest, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Adds the seconds until the spectra have settled to the rows; what they were measured with."""
    assert contest.best_state is not None
    A, S = contest.best_state
    degrees = int(np.count_nonzero(problem.W)) - problem.n_components * sum(problem.Y.shape)
    noise = math.sqrt(2 * contest.best / (degrees if degrees > 0 else 1))  # weights are relative
    errors = conditional_errors(A, S, problem.W) * noise
    print(f"seconds until {FRACTION:.0%} of the entries of A are within {WITHIN} errors of the best (weights times {noise**-2:.3g}),")
    print("each component by itself, and up to a mixing of the components, which the data may leave open")
    for row in rows:
        for key, align in (("settled", matched), ("settled_up_to_mixing", unmixed)):
            row[key] = [seconds_until_settled(trace, A, errors, align) for trace in contest.traces[row["solver"]]]
            row[f"median_{key}"] = median(row[key])
        texts = (contest.shown(row["solver"], row[f"median_{key}"]) for key in ("settled", "settled_up_to_mixing"))
        print(f"{row['solver']:24}" + "".join(f"{text:>9}" for text in texts), flush=True)
    return {"noise": noise}


def conditional_errors(A: Array, S: Array, W: Array) -> Array:
    """``sqrt(diag((S W_b Sᵀ)⁻¹))`` of each band in the gauge of unit sum, shape (B, K); inf where a band does not determine it."""
    maps = S.astype(np.float64) * A.sum(axis=0, dtype=np.float64)[:, None]
    errors = np.full(A.shape, math.inf)
    rows = max(1, CHUNK // W.shape[1])
    for first in range(0, len(W), rows):
        normal = np.stack([(maps * w) @ maps.T for w in W[first : first + rows].astype(np.float64)])
        for band, matrix in enumerate(normal, start=first):
            with contextlib.suppress(np.linalg.LinAlgError):
                variances = np.diag(np.linalg.inv(matrix))
                errors[band] = np.sqrt(np.where(variances > 0, variances, math.inf))
    return errors


def seconds_until_settled(trace: Trace, best: Array, errors: Array, align: Callable[[Array, Array, Array], Array]) -> float | None:
    """CPU seconds until most entries of A were within a tenth of an error of the best, the components put in their places first."""
    wanted = unit_sum(best)
    for seconds, A in zip(trace.seconds, trace.spectra, strict=True):
        if (np.abs(align(unit_sum(A), wanted, errors) - wanted) <= WITHIN * errors).mean() >= FRACTION:
            return seconds
    return None


def unit_sum(A: Array) -> Array:
    """Columns that sum to 1; one that vanishes stays."""
    sums = A.sum(axis=0, dtype=np.float64)
    return A / np.where(sums > 0, sums, 1.0)


def matched(A: Array, wanted: Array, errors: Array) -> Array:
    """The columns of A in the order in which they resemble those of another most."""
    distances = ((A[:, :, None] - wanted[:, None, :]) ** 2).sum(axis=0)
    found, place = linear_sum_assignment(distances)
    return A[:, found[np.argsort(place)]]


def unmixed(A: Array, wanted: Array, errors: Array) -> Array:
    """The combinations of the columns of A that are nearest to those of another in units of their errors."""
    usable = np.isfinite(errors)
    columns = [np.linalg.lstsq(A[u] / e[u, None], w[u] / e[u], rcond=None)[0] for u, e, w in zip(usable.T, errors.T, wanted.T, strict=True)]
    return A @ np.stack(columns, axis=1)


# ---------------------------------------------------------------- constraints


def constrained(problem: Problem, options: argparse.Namespace) -> dict[str, Any]:
    """Time to 1e-4 of the own best with constraints, and without."""
    weight = float(np.mean(problem.sigma**2)) / float(np.mean(problem.Y))  # as strong as a pixel's noise makes sense of
    cases: dict[str, dict[str, Any]] = {
        "plain": {},
        "Simplex(0), MaxEntropy": {"spectra": Simplex(0), "morphologies": MaxEntropy(weight)},
        "abundances Simplex(0)": {"morphologies": Simplex(0)},
    }
    entry = Entry("vermilion", by_vermilion)
    with tempfile.TemporaryDirectory() as folder:
        save(problem, Path(folder))
        contests = {name: Contest(problem.name, name, Path(folder), options) for name in cases}
        for name, contest in contests.items():
            contest.settings[entry.name] = cases[name]
            contest.find_reference(cases[name])
        for _ in range(options.repeats):
            for contest in contests.values():
                contest.race([entry])
        for name, contest in contests.items():
            contest.polish(cases[name])
    print(f"\n{problem.name}, constraints (weight of the entropy {weight:.3g}): CPU seconds to gap of the own best, ratio to plain at 1e-4")
    rows = {}
    plain = contests["plain"].seconds(entry.name, 1e-4)
    for name, contest in contests.items():
        rows[name] = contest.rows()
        seconds = contest.seconds(entry.name, 1e-4)
        times = "".join(f"{contest.shown(entry.name, contest.seconds(entry.name, gap)):>9}" for gap in GAPS)
        print(f"{name:24}{times}   ratio {contest.shown(entry.name, seconds, plain)}", flush=True)
    return {"problem": problem.name, "entropy_weight": weight, "cases": rows}


# ---------------------------------------------------------------- memory and growth


def memory(problem: Problem, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory beyond the data in bytes of Y, and reads of Y in an iteration."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        save(problem, Path(folder))
        for weighted in (False, True):
            try:
                row = in_process(measure_memory, Path(folder), weighted, options.threads, threads=options.threads)
            except BrokenProcessPool:
                print(f"{problem.name:8}{'weighted' if weighted else 'unweighted':12}its process died (memory?)", flush=True)
                continue
            rows.append({"problem": problem.name, "weighted": weighted} | row)
            print(
                f"{problem.name:8}{'weighted' if weighted else 'unweighted':12}peak {row['beyond'] / row['data']:6.3f} |Y|, after "
                f"{row['iterations']} iterations; {row['reads']:.3g} reads of Y per iteration, {row['first_reads']:.3g} with the first; "
                f"factors {row['factors'] / row['data']:.3f} |Y|; {row['how']}",
                flush=True,
            )
    return rows


def measure_memory(folder: Path, weighted: bool, threads: int, max_iter: int = 30) -> dict[str, Any]:
    """Bytes that `factorize` takes at most beyond what was there before it, its result included."""
    torch.set_num_threads(threads)
    problem = load(folder, weighted=weighted)
    other = make(f"300x4000x{problem.n_components}")  # large enough for every kind of step: pages of libraries do not count
    call_factorize(other, other.W if weighted else None, max_iter=20)
    gc.collect()
    reset = reset_peak()
    before = resident("VmRSS") if reset else peak_ever()
    result = call_factorize(problem, problem.W if weighted else None, max_iter=max_iter, tol=1e-5)
    peak = resident("VmHWM") if reset else peak_ever()
    reads, n = result.history.reads_of_Y, len(result.history)
    return {
        "beyond": peak - before,
        "data": problem.Y.nbytes,
        "factors": problem.A0.nbytes + problem.S0.nbytes,
        "iterations": n,
        "reads": float(reads[-1] - reads[0]) / max(n - 1, 1),
        "first_reads": float(reads[0]),
        "how": "high-water mark" if reset else "largest ever",
    }


def reset_peak() -> bool:
    """Whether the high-water mark of this process could be set to what it holds now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return resident("VmHWM") <= 1.1 * resident("VmRSS") + 2**24
    except (OSError, KeyError):
        return False


def resident(name: str) -> int:
    """Bytes that the kernel states under this name."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return 1024 * int({words[0].rstrip(":"): words[1:] for words in lines if words}[name][0])


def peak_ever() -> int:
    """Bytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(names: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of an iteration that reads all of Y, problems in turn."""
    sizes: dict[str, tuple[int, ...]] = {}
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            problem = make(name, seed=options.seed)
            (folder := Path(root) / name).mkdir()
            save(problem, folder)
            sizes[name] = problem.Y.shape
            del problem
        for _ in range(options.repeats):
            for name in names:
                times[name].append(in_process(seconds_of_iteration, Path(root) / name, options.threads, threads=options.threads))
    rows: list[dict[str, Any]] = []
    for name in names:
        seconds = float(np.median([run["seconds"] for run in times[name]]))
        rows.append({"problem": name, "shape": sizes[name], "seconds": seconds, "runs": times[name]})
        more, longer = sizes[name][1] / sizes[names[0]][1], seconds / rows[0]["seconds"]
        exact = times[name][0]["exact"]
        print(
            f"{name:8}{seconds:9.4f} s per exact iteration ({exact} of them)   N x {more:<6.4g} time x {longer:<6.4g} {longer / more:.3f}",
            flush=True,
        )
    return rows


def seconds_of_iteration(folder: Path, threads: int, max_iter: int = 40) -> dict[str, Any]:
    """Median CPU seconds of the iterations that read all of Y at least once; of all, if there are none."""
    torch.set_num_threads(threads)
    problem = load(folder, weighted=False)
    call_factorize(make(f"{TINY}x{problem.n_components}"), None, max_iter=5)
    ends: list[float] = []
    result = call_factorize(problem, None, max_iter=max_iter, callbacks=[lambda A, S: ends.append(time.process_time())])
    durations, reads = np.diff(ends), np.diff(result.history.reads_of_Y)
    exact = reads >= 0.999
    chosen = durations[exact] if exact.any() else durations
    return {"seconds": float(np.median(chosen)), "exact": int(exact.sum()), "iterations": len(ends), "all": float(np.median(durations))}


# ---------------------------------------------------------------- GPU


def on_gpu(problem: Problem, options: argparse.Namespace) -> dict[str, Any]:
    """Bytes per iteration against a copy, synchronizations of the host, and time to 1e-3 against the CPU."""
    size = problem.Y.nbytes
    copy = copy_bandwidth()
    seconds, reads = gpu_iterations(problem)
    syncs = host_synchronizations(problem)
    traces = {device: wall_trace(problem, device, options.limit) for device in ("cuda", "cpu")}
    best = min(trace.least for trace in traces.values())
    times = {device: seconds_to(trace, best, 1e-3) for device, trace in traces.items()}
    row: dict[str, Any] = {
        "problem": problem.name,
        "gpu": torch.cuda.get_device_name(),
        "bytes_per_iteration": reads * size,
        "seconds_per_iteration": seconds,
        "bytes_per_second": reads * size / seconds,
        "copy_bytes_per_second": copy,
        "host_synchronizations": syncs,
        "wall_seconds_to_1e-3": times,
    }
    print(f"\n{problem.name} on {row['gpu']}: {reads:.3g} reads of Y ({reads * size / 1e9:.3g} GB) in {1e3 * seconds:.3g} ms per iteration")
    print(f"{row['bytes_per_second'] / 1e9:.4g} GB/s, a copy {copy / 1e9:.4g} GB/s; {syncs:.3g} host synchronizations per iteration")
    print("wall seconds to 1e-3 (the GPU waited for after each iteration): " + ", ".join(f"{k} {v}" for k, v in times.items()), flush=True)
    return row


def copy_bandwidth(n_bytes: int = 2**31, repeats: int = 10) -> float:
    """Bytes read and written per second by copying a tensor on the GPU."""
    source = torch.zeros(n_bytes // 4, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(repeats):
        target.copy_(source)
    torch.cuda.synchronize()
    return 2 * n_bytes * repeats / (time.perf_counter() - begin)


def gpu_iterations(problem: Problem, first: int = 5, last: int = 45) -> tuple[float, float]:
    """Wall seconds and reads of Y of an iteration, the GPU waited for only at both ends."""
    ends: list[float] = []
    counter = itertools.count(1)

    def watch(A: Tensor, S: Tensor) -> None:
        if next(counter) in (first, last):
            torch.cuda.synchronize()
            ends.append(time.perf_counter())

    call_factorize(problem, None, max_iter=5, device="cuda")
    result = call_factorize(problem, None, max_iter=last, device="cuda", callbacks=[watch])
    reads = result.history.reads_of_Y
    return (ends[1] - ends[0]) / (last - first), float(reads[last - 1] - reads[first - 1]) / (last - first)


def host_synchronizations(problem: Problem, first: int = 5, last: int = 25) -> float:
    """Times per iteration that the host waited for the GPU, as torch warns of them."""
    counts: list[int] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def watch(A: Tensor, S: Tensor) -> None:
            counts.append(sum("synchroniz" in str(warning.message) for warning in caught))
            if len(counts) >= last:
                raise Enough

        torch.cuda.set_sync_debug_mode("warn")
        try:
            with contextlib.suppress(Enough):
                call_factorize(problem, None, device="cuda", max_iter=last, callbacks=[watch])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return (counts[-1] - counts[first - 1]) / (len(counts) - first)


def wall_trace(problem: Problem, device: str, limit: float) -> Trace:
    """Objectives against wall seconds."""

    def clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    with contextlib.suppress(Enough):
        by_vermilion(problem, None, 2, lambda A, S: False, device=device)
    recorder = Recorder(Objective(problem.Y, device="cuda"), limit=limit, standstill=1e-6, clock=clock)
    recorder.start()
    with contextlib.suppress(Enough):
        by_vermilion(problem, None, 10**9, recorder, device=device)
    return recorder.finish()


# ---------------------------------------------------------------- report


def machine() -> dict[str, Any]:
    """Where and with what this ran."""
    cpu = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = {"python": platform.python_version()}
    for name in ("vermilion", "torch", "numpy", "numba", "scikit-learn", "nmf-torch", "proxmin"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"cpu": cpu, "cores": os.cpu_count(), "versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def draw(contests: Sequence[Contest], file: Path) -> None:
    """Gap against CPU seconds, one panel per problem."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = min(3, len(contests))
    lines = math.ceil(len(contests) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 4 * lines), squeeze=False, layout="constrained")
    for ax, contest in itertools.zip_longest(axes.flat, contests):
        if contest is None:
            ax.set_axis_off()
            continue
        for name, traces in contest.traces.items():
            if traces:
                gaps = np.asarray(traces[0].objectives) / contest.best - 1
                ax.loglog(traces[0].seconds, np.maximum(gaps, 1e-7), ".-", ms=3, label=name, lw=2.5 if name == "vermilion" else 1.2)
        for gap in GAPS:
            ax.axhline(gap, color="0.85", lw=0.6, zorder=0)
        ax.set(title=f"{contest.problem}, {contest.section}", xlabel="CPU seconds", ylabel="gap", ylim=(1e-6, 10))
        ax.legend(fontsize="x-small")
    figure.savefig(file, dpi=120)
    plt.close(figure)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", help="standard names, or sizes BxNxK (default: those of each section)")
    parser.add_argument("--sections", nargs="+", choices=list(DEFAULTS), default=list(DEFAULTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=120, help="CPU seconds of a run")
    parser.add_argument("--seed", type=int, help="of the data (default: one for each problem)")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--figure", type=Path, default=Path(__file__).with_suffix(".png"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print the tables, write them as JSON, draw the traces."""
    options = parse(arguments)
    report: dict[str, Any] = machine()
    report["options"] = {name: getattr(options, name) for name in ("repeats", "threads", "limit", "seed")}
    print(f"{report['cpu']}, {report['cores']} cores, {options.threads} thread(s); {report['versions']}", flush=True)
    contests: list[Contest] = []
    for section in options.sections:
        names = options.problems or DEFAULTS[section]
        if section in ("weighted", "unweighted"):
            pairs = [compete(make(name, seed=options.seed), section, options) for name in names]
            report[section] = [result for result, _ in pairs]
            contests += [contest for _, contest in pairs]
        elif section == "constraints":
            report[section] = [constrained(make(name, seed=options.seed), options) for name in names]
        elif section == "memory":
            print("\nmemory")
            report[section] = list(itertools.chain.from_iterable(memory(make(name, seed=options.seed), options) for name in names))
        elif section == "growth":
            print("\ngrowth")
            report[section] = growth(names, options)
        elif torch.cuda.is_available():
            report[section] = [on_gpu(make(name, seed=options.seed), options) for name in names]
        else:
            print("\ncuda: not run, there is no GPU here")
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")  # after every section: runs are long
    if contests:
        draw(contests, options.figure)
    return report


if __name__ == "__main__":
    main()
