"""Y, W → Result: chooses start, solver, gauge and errors."""

from __future__ import annotations

import functools
import logging
import math
import numbers
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from . import __version__
from .alternating import (
    EXTREMES,
    OVERSAMPLING,
    Block,
    Constraints,
    Known,
    Problem,
    Sweep,
    fixes_scale,
    leave_out_spectra,
    solve_compressed,
    solve_some_pixels,
    worth_compressing,
)
from .datamodels import History, Result, Status
from .diagnose.gauge import AS_SOLVED, UNIT_SUM, condition_number, flux_order, unit_sum_gauge
from .diagnose.uncertainty import least_squares_maps, morphology_errors, noise_from_residuals, spectra_errors
from .errors import ConvergenceWarning, DeviceError, ParameterError, ShapeError
from .fit import fit
from .fit.stopping import RelativeDecrease
from .initialize import PAIRS, STARTS, Subspace, starting_directions, weighted_subspace
from .models import Factorization, Model
from .optim import ADMM, PGM, AdaProx, InertialPALM
from .peers import proxmin as proxmin_peer
from .prox import Identity, NonNegative, Prox, as_prox

__all__ = ["INITS", "SOLVERS", "factorize", "resolve_device"]

log = logging.getLogger(__name__)

Callback = Callable[[Tensor, Tensor], bool | None]
SMALL = 1 << 20
COLLINEAR = 1e3  # condition number of spectra of unit length beyond which it is said
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def factorize(
    Y: ArrayLike | Tensor,
    W: ArrayLike | Tensor | None = None,
    *,
    n_components: int,
    spectra: Prox | Callable[..., Any] | None = NonNegative(),  # noqa: B008 (operators are immutable)
    morphologies: Prox | Callable[..., Any] | None = NonNegative(),  # noqa: B008
    init: str | NDArray[Any] | Tensor | tuple[ArrayLike | Tensor, ArrayLike | Tensor] = "auto",
    fixed_spectra: Mapping[int, ArrayLike] | None = None,
    fixed_morphologies: Mapping[int, ArrayLike] | None = None,
    solver: str = "auto",
    max_iter: int = 2000,
    tol: float = 1e-5,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "auto",
    callbacks: Sequence[Callback] = (),
    allow_inexact: bool = False,
) -> Result:
    """Spectra A and morphologies S with Y ≈ A S under constraints.

    Minimizes ``½ Σ W (Y − A S)² + g_A(A) + g_S(S)``.

    Parameters
    ----------
    Y : array_like or Tensor, shape (B, N)
        Data, one row per band, in any unit. Negative values are normal; values that are not finite count as absent.
    W : array_like or Tensor, shape (B, N), optional
        Inverse variances >= 0; 0 means absent. None: all 1, and the noise is taken from the residuals.
    n_components : int
        K >= 1.
    spectra : Prox, callable or None
        Constraint on A (B, K). None: no constraint.
    morphologies : Prox, callable or None
        Constraint on S (K, N).
    init : {"auto", "kmeans", "nfindr", "nndsvd", "random", "sivm", "snpa", "spa", "vca"}, array (B, K) or tuple (A0, S0)
        Start. "auto" is "spa": the most extreme pixels in the weighted K-dimensional subspace. "vca", "nfindr", "snpa" and "sivm" look
        for extreme pixels in other ways, "kmeans" takes the centers of clusters; "nndsvd" and "random" start both factors. Of spectra
        alone, an ndarray or Tensor A0, the morphologies follow by least squares.
    fixed_spectra : mapping of int to array_like (B,), optional
        Known spectra by component; returned as given.
    fixed_morphologies : mapping of int to array_like (N,), optional
        Known morphologies by component; returned as given.
    solver : {"auto", "block", "palm", "pgm", "adaprox", "admm", "proxmin"}
        "block" alternates closed-form steps. "palm", "pgm", "adaprox" and "admm" go through autograd and `InertialPALM`, `PGM`, `AdaProx`
        and `ADMM`, without a step size. "proxmin" hands the problem to that package, as a cross-check.
    max_iter : int
        Largest number of iterations, >= 1.
    tol : float
        Relative decrease of the objective over 10 iterations that counts as none; 0 runs exactly `max_iter` iterations.
    seed : int
        Of random starts.
    dtype : {"float32", "float64"}
        Of products with the data; factors, their small systems and all sums are float64, and so is everything where the data have
        fewer than a million values.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:0" …
    callbacks : sequence of callable
        Each is called as ``callback(A, S)`` after every iteration, in the unit of the data; a true return value stops the fit.
    allow_inexact : bool
        Permit operators that are marked as no true minimizer.

    Returns
    -------
    Result
        With `frame` None. Where both constraints leave the scale open, columns of A sum to 1 and S carries flux and unit;
        `Result.normalization` says so. Components come in order of total flux, known ones at the place given.

    Raises
    ------
    ParameterError
        A parameter is out of range, unknown, or contradicts another.
    ShapeError
        Shapes do not agree.
    NoDataError
        Nothing finite and different from 0 has a positive weight.
    DeviceError
        The device is absent.

    Warns
    -----
    ConvergenceWarning
        The iteration limit was reached before the tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> Y = rng.random((20, 2)) @ rng.random((2, 50)) + 0.01 * rng.normal(size=(20, 50))
    >>> result = factorize(Y, n_components=2)
    >>> bool(np.allclose(result.model, Y, atol=0.05)), result.status.name
    (True, 'CONVERGED')
    """
    options = _check_options(n_components, solver, max_iter, tol, seed, dtype, init)
    where = resolve_device(device)
    Y, W = _tensors(Y, W)
    constraints = Constraints.checked(
        as_prox(spectra), as_prox(morphologies), allow_inexact=allow_inexact or solver not in ("auto", "block")
    )
    solver = "block" if solver == "auto" else solver
    small = solver == "block" and Y.numel() <= SMALL  # digits are free there
    problem = Problem.normalized(
        Y,
        W,
        dtype=torch.float64 if small else DTYPES[dtype],
        device=where,
        carrier=constraints.carrier,
        scale=constraints.free_scale,
    )
    known = Known.checked(fixed_spectra, fixed_morphologies, problem, constraints, n_components)
    if solver == "proxmin" and known.components:
        raise ParameterError("solver='proxmin' cannot hold components fixed: use solver='block' or 'pgm'.")
    sweep, compressed = _start(problem, constraints, known, n_components, init, seed, compress=solver == "block" and max_iter >= 20)
    begin = sweep.objective * problem.objective_scale
    loop = _LOOPS[solver]
    status, history = loop(sweep, problem, constraints, max_iter=int(max_iter), tol=float(tol), callbacks=callbacks)
    if status is Status.MAX_ITER and tol > 0:
        warnings.warn(f"{status.value} ({max_iter}) before the tolerance {tol:g}; raise max_iter or tol.", ConvergenceWarning, stacklevel=2)
    provenance = options | {
        "version": __version__,
        "solver": solver,
        "spectra": repr(constraints.A_asked),
        "morphologies": repr(constraints.S_asked),
        "device": where.type,
        "objective_start": begin,
        "compression": None if compressed is None else _compression(compressed, problem, begin, history),
    }
    return _result(sweep, problem, constraints, known, status, history, provenance, (Y, W))


def _compression(told: dict[str, Any], problem: Problem, begin: float, history: History) -> dict[str, Any]:
    """What compressed data did: objectives in the data's unit, whether the solution was kept, and its bias after one exact iteration."""
    units = {name: told[name] * problem.objective_scale for name in ("objective_start", "objective")}
    first = float(history.objective[0]) if len(history) else begin
    kept = len(history) > 0 and first < begin
    return told | units | {"kept": kept, "bias": units["objective"] / first - 1 if kept and first > 0 else None}


SOLVERS = ("auto", "block", "palm", "pgm", "adaprox", "admm", "proxmin")
INITS = ("auto", *STARTS)


def resolve_device(device: str) -> torch.device:
    """The device that `device` names; "auto" is a GPU if there is one.

    Raises
    ------
    DeviceError
        If it is absent.
    ParameterError
        If there is no such kind of device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda"):
        raise ParameterError(f"device is {device!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:0'.")
    if wanted.type == "cuda" and (not torch.cuda.is_available() or (wanted.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"device {device!r} is not there ({torch.cuda.device_count()} CUDA devices found). Use 'auto' or 'cpu'.")
    return wanted


def _check_options(n_components: Any, solver: str, max_iter: Any, tol: Any, seed: Any, dtype: str, init: Any) -> dict[str, Any]:
    for name, value, least in (("n_components", n_components, 1), ("max_iter", max_iter, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
            raise ParameterError(f"{name} is {value!r}: expected an integer >= {least}.")
    if not isinstance(tol, numbers.Real) or not (0 <= float(tol) < 1):
        raise ParameterError(f"tol is {tol!r}: expected a number in [0, 1).")
    choices: tuple[tuple[str, Any, Sequence[str]], ...] = (("solver", solver, SOLVERS), ("dtype", dtype, tuple(DTYPES)))
    if isinstance(init, str):
        choices += (("init", init, INITS),)
    for name, value, known in choices:
        if value not in known:
            raise ParameterError(f"{name} is {value!r}: expected one of {', '.join(map(repr, known))}.")
    start = ("spa" if init == "auto" else init) if isinstance(init, str) else "given"
    return {
        "n_components": int(n_components),
        "max_iter": int(max_iter),
        "tol": float(tol),
        "seed": int(seed),
        "dtype": dtype,
        "init": start,
    }


def _tensors(Y: Any, W: Any) -> tuple[Tensor, Tensor | None]:
    """Y and W as real tensors of equal shape (B, N)."""

    def tensor(name: str, X: Any) -> Tensor:
        if not isinstance(X, Tensor):
            X = np.asarray(X)
            if X.dtype.kind not in "fiub":
                raise ParameterError(f"{name} is of type {X.dtype}: expected real numbers.")
            # FITS arrays are big-endian, which torch refuses
            wanted = np.float32 if X.dtype.itemsize <= 2 else np.float64 if X.dtype.itemsize > 8 else X.dtype.newbyteorder("=")
            X = X.astype(wanted, copy=False)
            if min(X.strides, default=1) < 0 or X.dtype.kind == "b":
                X = np.ascontiguousarray(X)
            with warnings.catch_warnings():  # of arrays that may not be written: nothing is written here
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                X = torch.from_numpy(X)
        if X.is_complex():
            raise ParameterError(f"{name} is complex: expected real numbers.")
        if X.ndim != 2 or 0 in X.shape:
            raise ShapeError(
                f"{name} has shape {tuple(X.shape)}: expected (bands, pixels); use Cube.to_matrix or reshape a cube to (B, -1)."
            )
        return X.detach() if X.is_floating_point() else X.detach().to(torch.float64)

    Y = tensor("Y", Y)
    if W is None:
        return Y, None
    W = tensor("W", W)
    if W.shape != Y.shape:
        raise ShapeError(f"W has shape {tuple(W.shape)}, Y has {tuple(Y.shape)}: expected equal shapes.")
    if not float(W.amin()) >= 0 and bool((W < 0).any()):  # the first is fast, the second right where there are NaN
        raise ParameterError("W holds negative values: expected inverse variances >= 0.")
    return Y, W.to(Y.device)


def _start(
    problem: Problem, constraints: Constraints, known: Known, n_components: int, init: Any, seed: int, *, compress: bool
) -> tuple[Sweep, dict[str, Any] | None]:
    """Feasible first values, ready to iterate, and what compressed data did for them."""
    blocks = (
        problem.block("A", constraints.A, known.solved("A", problem.Y)),
        problem.block("S", constraints.S, known.solved("S", problem.Y)),
    )
    tiles = problem.tiles(*blocks)
    bands, pixels = problem.seen()

    def sweep(A: Tensor, S: Tensor) -> Sweep:
        # factors and their small systems are float64, or rounding in a flat valley is 1e-5; but a start needs no digits beyond the data's
        A, S = (X.to(problem.Y.dtype) for X in (A, S))
        step = torch.ones(1, 1, dtype=torch.float64, device=S.device)
        if bands is not None and pixels is not None:  # where nothing is known there is nothing, or it would count in the gauge
            A, S = A * bands[:, None], S * pixels
        return Sweep(tiles, blocks[0].prox(A.T.double().contiguous(), step).T, blocks[1].prox(S.double().contiguous(), step), *blocks)

    many, compress = compress, compress and worth_compressing(problem, blocks, n_components)
    space = None
    spectra_given = isinstance(init, (np.ndarray, Tensor))
    if not isinstance(init, str) and not spectra_given:
        begun = sweep(*_given_start(init, problem, n_components))
    elif isinstance(init, str) and init in PAIRS:
        begun = sweep(*(X.double() * problem.gain**0.5 for X in PAIRS[init](problem.Y, problem.W, n_components, seed=seed)))
    else:
        if spectra_given:
            first = _given_factor("A", init, (problem.Y.shape[0], n_components), problem)
        else:
            width = n_components + OVERSAMPLING if compress else None
            rank = min(n_components, *problem.Y.shape)
            space = weighted_subspace(problem.Y, problem.W, rank, width=width, extremes=EXTREMES if compress else 0, seed=seed)
            first = _found_spectra("spa" if init == "auto" else init, problem, constraints, known, n_components, seed, space)
        S = problem.Y.new_full((n_components, problem.Y.shape[1]), 1 / n_components if fixes_scale(constraints.S) else 0.0)
        begun = sweep(first, S)
        begun = sweep(begun.A, begun.solve_morphologies(begun.A, begun.S, steps=200, tol=1e-4))
        unknown = None if space is None else space.band_scale == 0
        if unknown is not None and bool(unknown.any()):
            begun = sweep(torch.where(unknown[:, None], begun.solve_spectra(begun.A, begun.S, steps=20), begun.A), begun.S)
    if constraints.gauge and not known.components:
        # one step length then suits both factors; a power of two costs no digit
        balance = (0.5 * (_norms(begun.S, dim=1) / _norms(begun.A, dim=0)).log2()).round().exp2()
        begun.A.mul_(balance)
        begun.S.div_(balance[:, None])
    if not compress:
        if (ahead := solve_some_pixels(begun, problem) if many else None) is not None:
            begun.look_ahead(ahead, begun.S)
        return begun, None
    within = space is None
    if space is None:
        rank = min(n_components, *problem.Y.shape)
        space = weighted_subspace(
            problem.Y,
            problem.W,
            rank,
            width=rank + OVERSAMPLING,
            within=begun.A,
            extremes=EXTREMES,
            seed=seed,
            power=0 if blocks[0].floor is not None else 1,  # what the basis lacks of other spectra comes back slowly
            fills=2,
            noise=False,
        )
    A, S, told = solve_compressed(begun, problem, space.basis, space.coordinates, space.band_scale, space.pixel_scale, space.squares)
    # spectra of a given start lie in the basis; what the sketch says of a good one is rounding
    if within and problem.W is None and told["objective_start"] > 0.05 * space.squares * problem.gain**2:
        begun.known_objective(told["objective_start"])
    begun.look_ahead(A, S)
    return begun, told


def _norms(X: Tensor, *, dim: int) -> Tensor:
    """Norms along `dim`, 1 where they vanish."""
    norms = torch.linalg.vector_norm(X, dim=dim)
    return torch.where(norms > 0, norms, torch.ones_like(norms))


def _found_spectra(
    init: str, problem: Problem, constraints: Constraints, known: Known, n_components: int, seed: int, space: Subspace
) -> Tensor:
    """Spectra (B, K) that a start finds beside the known ones, in the scale that the constraint wants."""
    A = problem.Y.new_zeros(len(problem.Y), n_components)
    given = known.solved("A", problem.Y)
    for k, values in given.items():
        A[:, k] = values
    free = [k for k in range(n_components) if k not in given]
    if free:
        # vertices are directions: of brightness one in data made white
        A[:, free] = (problem.rms * problem.gain * problem.mean_weight**0.5) * starting_directions(
            init,
            problem.Y,
            problem.W,
            len(free),
            known=A[:, list(given)] if given else None,
            seed=seed,
            space=space.leading(min(n_components, *problem.Y.shape)),
        )
    if constraints.carrier == "S":
        A[:, free] *= getattr(constraints.A, "total", 1.0) / A[:, free].abs().sum(dim=0).clamp_min(torch.finfo(A.dtype).tiny)
    return A


def _given_start(init: Any, problem: Problem, n_components: int) -> tuple[Tensor, Tensor]:
    try:
        A0, S0 = init
    except (TypeError, ValueError):
        raise ParameterError(
            f"init is {type(init).__name__}: expected one of {', '.join(INITS)}, an array A0 of spectra, or a pair (A0, S0)."
        ) from None
    n_bands, n_pixels = problem.Y.shape
    return _given_factor("A", A0, (n_bands, n_components), problem), _given_factor("S", S0, (n_components, n_pixels), problem)


def _given_factor(name: Literal["A", "S"], X: Any, shape: tuple[int, int], problem: Problem) -> Tensor:
    """A given factor in the unit of the problem."""
    X = X if isinstance(X, Tensor) else torch.as_tensor(np.asarray(X))
    if X.shape != shape:
        raise ShapeError(f"the start {name}0 has shape {tuple(X.shape)}: expected {shape}.")
    if not bool(torch.isfinite(X).all()):
        raise ParameterError(f"the start {name}0 holds values that are not finite.")
    return X.to(problem.Y.device, torch.float64, copy=True).div_(problem.factor_scale(name))


def _alternate(
    sweep: Sweep, problem: Problem, constraints: Constraints, *, max_iter: int, tol: float, callbacks: Sequence[Callback]
) -> tuple[Status, History]:
    """Iterate the block solver until it stops."""
    history, stop = History(("A", "S")), RelativeDecrease(tol)
    # data without noise: the residual falls for ever, but below this it is rounding
    rounding = 0.5 * problem.Y.numel() * (4 * torch.finfo(problem.Y.dtype).eps) ** 2 if tol > 0 else -1.0
    try:
        for _ in range(max_iter):
            record = sweep.step()
            history.append(
                objective=record.objective * problem.objective_scale,
                gradient_evaluations=record.gradient_evaluations,
                objective_evaluations=record.objective_evaluations,
                reads_of_Y=record.reads_of_Y,
                seconds=record.seconds,
            )
            if sweep.nonfinite > 1:  # the first may be the extrapolation's fault
                return Status.NONFINITE, history
            if _asked_to_stop(callbacks, sweep, problem):
                return Status.STOPPED, history
            if stop(history) is not None or record.objective < rounding:
                return Status.CONVERGED, history
    except KeyboardInterrupt:
        log.warning("interrupted after %d iterations; the last accepted state is kept", len(history))
        return Status.STOPPED, history
    return Status.MAX_ITER, history


def _through_autograd(
    optimizer_class: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
    sweep: Sweep,
    problem: Problem,
    constraints: Constraints,
    *,
    max_iter: int,
    tol: float,
    callbacks: Sequence[Callback],
) -> tuple[Status, History]:
    """The same problem through autograd, with an optimizer that finds its steps itself."""
    model = Factorization(sweep.A.to(problem.Y.dtype).contiguous(), sweep.S.to(problem.Y.dtype).contiguous())
    optimizer = optimizer_class(
        [
            {"name": "A", "params": [model.A], "prox": _BlockProx(sweep.spectra, transposed=True)},
            {"name": "S", "params": [model.S], "prox": _BlockProx(sweep.morphologies, transposed=False)},
        ]
    )

    def asked_to_stop(model: Model, history: History) -> bool:
        A, S = (factor.detach().double() for factor in model.components())
        sweep.factors = A.T, S
        return _asked_to_stop(callbacks, sweep, problem)

    Y, W = problem.data()
    solved = fit(
        model,
        Y if W is None else (Y, W),
        optimizer,
        stop=RelativeDecrease(tol),
        max_iter=max_iter,
        callbacks=[asked_to_stop] if callbacks else [],
    )
    sweep.factors = model.A.detach().T.double(), model.S.detach().double()
    history = History(("A", "S"))
    for objective, gradients, losses, reads, seconds in zip(
        solved.history.objective * problem.objective_scale,
        solved.history.gradient_evaluations.tolist(),
        solved.history.objective_evaluations,
        solved.history.reads_of_Y,
        solved.history.seconds,
        strict=True,
    ):
        history.append(objective=objective, gradient_evaluations=gradients, objective_evaluations=losses, reads_of_Y=reads, seconds=seconds)
    return solved.status, history


class _BlockProx(Prox):
    """The constraint of the block solver as an operator on a parameter of the model."""

    def __init__(self, block: Block, *, transposed: bool) -> None:
        self.block, self.transposed = block, transposed
        self.couples = "element" if block.separable == "element" else "image"

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        return self.block.prox(x.T, step).T if self.transposed else self.block.prox(x, step)

    def penalty(self, x: Tensor) -> Tensor:
        return torch.tensor(self.block.penalty(x.T if self.transposed else x), dtype=torch.float64)

    def __repr__(self) -> str:
        return f"_BlockProx({self.block!r})"


def _through_proxmin(
    sweep: Sweep, problem: Problem, constraints: Constraints, *, max_iter: int, tol: float, callbacks: Sequence[Callback]
) -> tuple[Status, History]:
    """The same problem handed to proxmin, in the data's own unit."""
    if callbacks:
        raise ParameterError("solver='proxmin' takes no callbacks: use solver='block' or 'pgm'.")
    sizes = problem.factor_scale("A"), problem.factor_scale("S")
    Y, W = problem.data()
    A, S, info = proxmin_peer.solve(
        Y.double().cpu().numpy() * problem.data_scale,
        None if W is None else W.double().cpu().numpy() * problem.weight_scale,
        sweep.A.double().cpu().numpy() * sizes[0],
        sweep.S.double().cpu().numpy() * sizes[1],
        spectra=constraints.A_asked,
        morphologies=constraints.S_asked,
        max_iter=max_iter,
        tol=tol,
        algorithm="pgm" if problem.W is None else "adaprox",
    )
    spectra, morphologies = (torch.as_tensor(X / size).to(sweep.A) for X, size in zip((A, S), sizes, strict=True))
    sweep.factors = spectra.T, morphologies
    n = int(info["iterations"])
    history = History(("A", "S"))
    history.append(objective=sweep.evaluate(sweep.A, sweep.S) * problem.objective_scale, gradient_evaluations=(n, n), reads_of_Y=n)
    return Status.CONVERGED if info["converged"] else Status.MAX_ITER, history


_LOOPS: dict[str, Callable[..., tuple[Status, History]]] = {
    "block": _alternate,
    "palm": functools.partial(_through_autograd, InertialPALM),
    "pgm": functools.partial(_through_autograd, PGM),
    "adaprox": functools.partial(_through_autograd, AdaProx),
    "admm": functools.partial(_through_autograd, ADMM),
    "proxmin": _through_proxmin,
}


def _asked_to_stop(callbacks: Sequence[Callback], sweep: Sweep, problem: Problem) -> bool:
    if not callbacks:
        return False
    A, S = sweep.A * problem.factor_scale("A"), sweep.S * problem.factor_scale("S")
    answers = [callback(A, S) for callback in callbacks]  # every one is called
    return any(answers)


def _result(
    sweep: Sweep,
    problem: Problem,
    constraints: Constraints,
    known: Known,
    status: Status,
    history: History,
    provenance: dict[str, Any],
    data: tuple[Tensor, Tensor | None],
) -> Result:
    """Gauge, order and errors of the solved factors, in the unit of the data and in float64."""
    A, S = (factor.numpy() for factor in known.in_data_unit(sweep.A, sweep.S, problem))
    notes = list(constraints.notes)
    normalization = AS_SOLVED
    scale = np.ones(A.shape[1])
    if constraints.gauge:
        signed = not isinstance(constraints.S, NonNegative)
        scale, by_absolute = unit_sum_gauge(A, S, keep=known.components, signed=signed)
        normalization = UNIT_SUM
        if known.components:
            normalization += "; given components as given"
        if by_absolute.any():
            normalization += "; by absolute values where a spectrum sums to zero"
    A /= scale
    S *= scale[:, None]
    order = flux_order(A, S, keep=known.components)
    A, S = A[:, order], S[order]
    Y = data[0].cpu().numpy()
    W = None if data[1] is None else data[1].cpu().numpy()
    if problem.W is not data[1]:  # data that are not finite have no weight
        W = np.where(np.isfinite(Y) & np.isfinite(1.0 if W is None else W), 1.0 if W is None else W, 0.0)
    condition = condition_number(A)
    provenance["condition_number"] = condition if math.isfinite(condition) else None
    if condition > COLLINEAR:
        notes.append(
            f"the spectra are nearly linearly dependent (condition number {condition:.3g}): their components can hardly be told apart."
        )
    provenance["noise"] = "from the weights" if data[1] is not None else "from the residuals: no weights were given"
    noise = 1.0
    if data[1] is None:
        squares = 2 * sweep.loss(sweep.A, sweep.S) * problem.objective_scale
        noise = noise_from_residuals(squares, Y.size if W is None else int(np.count_nonzero(W)), Y.shape, len(S))
    maps, maps_error = _signed_maps(sweep, problem, known, scale, order, (Y, W))
    A_error, S_error = spectra_errors(S, W, len(A)), morphology_errors(A, W, S.shape[1])
    for errors in (A_error, S_error, maps_error):
        errors *= noise
    for k in known.A:
        A_error[:, k] = 0.0
    for k in known.S:
        S_error[k] = 0.0
    # an entry at exactly zero stands on its constraint: it has no symmetric error
    if not isinstance(constraints.A, Identity):
        A_error[A == 0] = np.nan
    if not isinstance(constraints.S, Identity):
        S_error[S == 0] = np.nan
    return Result(
        spectra=A,
        morphologies=S,
        spectra_error=A_error,
        morphologies_error=S_error,
        signed_morphologies=maps,
        signed_error=maps_error,
        status=status,
        history=history,
        normalization=normalization,
        provenance=provenance,
        notes=tuple(notes),
    )


def _signed_maps(
    sweep: Sweep,
    problem: Problem,
    known: Known,
    scale: NDArray[np.float64],
    order: NDArray[np.integer[Any]],
    data: tuple[NDArray[Any], NDArray[Any] | None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares maps and errors, each pixel with spectra that it did not help to determine.

    With the final spectra themselves, maps of pure noise are positive in the mean: the spectra have learned the noise they are fitted to.
    """
    whole = known.spectra_in_data_unit(sweep.A, problem).numpy() / scale
    groups, sets = np.zeros(data[0].shape[1], dtype=np.int64), []
    for g, (pixels, spectra) in enumerate(zip(*leave_out_spectra(sweep), strict=True)):
        A = known.spectra_in_data_unit(spectra, problem).numpy() / scale
        sets.append((A * _ratio(whole.sum(axis=0), A.sum(axis=0), np.abs(whole).sum(axis=0)))[:, order])
        groups[pixels.cpu().numpy()] = g
    return least_squares_maps(*data, np.stack(sets), groups=groups)


def _ratio(wanted: NDArray[np.float64], found: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """``wanted / found`` where neither sum vanishes beside the sum of absolute values, else 1."""
    usable = (np.abs(found) > 1e-3 * size) & (np.abs(wanted) > 1e-3 * size)
    return np.where(usable, wanted / np.where(usable, found, 1.0), 1.0)
