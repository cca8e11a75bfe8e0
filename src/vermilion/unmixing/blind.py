"""Endmembers and abundances from the data alone."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import NoDataError, ParameterError, ShapeError
from ..factorize import resolve_device
from ..initialize import STARTS
from ..prox import Prox
from .brightness import check_normalize
from .convention import CONVENTIONS, abundances_of
from .endmembers import METHODS, Plan, find_endmembers, make_plan
from .spatial import KINDS
from .subspace_points import SubspacePoints, subspace_points

__all__ = ["Unmixed", "unmix_matrix"]


@dataclass(frozen=True)
class Unmixed:
    """Endmembers, their abundances, and how they were found.

    Attributes
    ----------
    spectra : Tensor, shape (B, K)
        Endmembers in the unit of the data, ordered by total abundance; 0 in bands without weight.
    abundances : Tensor, shape (K, N)
        In the stated convention; NaN in pixels without weight.
    brightness : Tensor, shape (N,), or None
        What every pixel was divided by before endmembers were looked for, in the unit of the data; None: nothing.
    method : {"archetypes", "minimum-volume", "nmf", "vertices"}
        As used.
    normalize : {"none", "l1", "l2", "l2-floor"}
        As used.
    convention : {"fclsu", "nnls-renormalized", "as-solved"}
        As used.
    objective : float
        ``½ Σ W (Y − model)²``, W = 1 without weights. The model is endmembers times abundances in their convention, for "as-solved" times
        the brightness.
    iterations : int
        Of the search for endmembers.
    notes : tuple of str
        Sentences that the user must read.
    provenance : dict
        Choices and the numbers that they rest on; plain types.
    """

    spectra: Tensor
    abundances: Tensor
    brightness: Tensor | None
    method: str
    normalize: str
    convention: str
    objective: float
    iterations: int
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Data:
    """Data of order one and weights of order one, float64, 0 where there is nothing; `unit` and `weight` lead back to what was given."""

    Y: Tensor
    W: Tensor | None
    unit: float
    weight: float


@torch.no_grad()
def unmix_matrix(
    Y: ArrayLike | Tensor,
    W: ArrayLike | Tensor | None = None,
    n_endmembers: int = 0,
    *,
    method: str = "auto",
    normalize: str = "auto",
    convention: str = "auto",
    init: str | ArrayLike | Tensor | None = None,
    spectra: Prox | None = None,
    spatial: float = 0.0,
    spatial_kind: str = "tv",
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    device: str = "auto",
    announce: Callable[[str], object] | None = None,
) -> Unmixed:
    """Endmembers A and abundances S of Y ≈ A S from the data alone.

    Two questions are put to the data, neither of which has a threshold to tune. *Do K spectra explain every pixel down to the noise?* The
    noise is what a band has beyond a linear combination of the other bands. If so, mixtures may be trusted beyond the pixels that are
    there, and the smallest simplex that the noise admits is looked for ("minimum-volume"), whether pure pixels exist or not. If not,
    spectra vary by more than the noise, a simplex that encloses everything would follow the outliers, and the endmembers are mixtures of
    actual pixels ("archetypes"). *Do abundances add up to one?* If the pixels fill one dimension more than that allows, their brightness
    varies, and they are divided by it: by their sum where mixing is linear, by their norm with a floor where it is only nearly so.

    Parameters
    ----------
    Y : array_like or Tensor, shape (B, N)
        Data in any unit; may be NaN where the weight is 0. Values that are not finite count as absent.
    W : array_like or Tensor, shape (B, N), optional
        Inverse variances, up to a factor; 0 means absent.
    n_endmembers : int
        K >= 1.
    method : {"auto", "archetypes", "minimum-volume", "nmf", "vertices"}
        "nmf": non-negative factors with abundances that add up to one, from the vertices of `init`, by `vermilion.factorize`.
        "vertices": the start `init` itself.
    normalize : {"auto", "none", "l1", "l2", "l2-floor"}
        What pixels are divided by before endmembers are looked for, see `pixel_brightness`.
    convention : {"auto", "fclsu", "nnls-renormalized", "as-solved"}
        What abundances mean, see `abundances_of`. "auto" is "nnls-renormalized" where mixing is linear and only the brightness varies,
        else "fclsu".
    init : str or array_like (B, K), optional
        A start of `vermilion.initialize.STARTS`, or spectra in the unit of the data, for "nmf", "vertices" and "minimum-volume".
        By default "vca".
    spectra : Prox, optional
        Constraint on the spectra for "nmf"; by default they are not negative.
    spatial : float, >= 0
        Price of spatial structure in the maps, see `smooth_abundances`; 0: every pixel by itself.
    spatial_kind : {"tv", "graph", "starlet"}
    shape : (int, int), optional
        (Ny, Nx) with N = Ny Nx, needed for `spatial`.
    seed : int
        Of all random choices. The same seed gives the same bytes on one device.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda" …
    announce : callable, optional
        Called with one sentence at each stage.

    Returns
    -------
    Unmixed
        In the type of the data, on the device of the data.

    Raises
    ------
    ParameterError
        A parameter is out of range, unknown, or contradicts another.
    ShapeError
        Shapes do not agree.
    NoDataError
        Too few pixels or bands with weight, or pixels that do not differ.
    DeviceError
        The device is absent.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> spectra = torch.rand(30, 2, generator=generator)
    >>> shares = torch.linspace(0, 1, 200).expand(2, -1) * torch.tensor([[1.0], [-1.0]]) + torch.tensor([[0.0], [1.0]])
    >>> data = spectra @ shares + 1e-3 * torch.randn(30, 200, generator=generator)
    >>> found = unmix_matrix(data, n_endmembers=2)
    >>> found.method, found.normalize, bool(((found.spectra @ found.abundances - data).abs() < 0.01).all())
    ('minimum-volume', 'none', True)
    """
    _check_options(n_endmembers, method, normalize, convention, spatial, spatial_kind, seed, init)
    where = resolve_device(device)
    given = _tensor(Y)
    data = _prepare(given, W, int(n_endmembers), where)
    if spatial > 0 and (shape is None or shape[0] * shape[1] != given.shape[1]):
        raise ShapeError(f"shape is {shape}, the data have {given.shape[1]} pixels: expected (Ny, Nx) of the whole image; give shape=.")
    say = announce or (lambda sentence: None)
    points = subspace_points(data.Y, data.W, int(n_endmembers), shape=shape, seed=seed)
    plan = make_plan(points, method, normalize)
    say(plan.sentence)
    start = init if init is None or isinstance(init, str) else _given_spectra(init, data, int(n_endmembers))
    found = find_endmembers(data.Y, data.W, points, plan, init=start, spectra=spectra, seed=seed)
    if convention == "auto":
        convention = "nnls-renormalized" if plan.linear and plan.normalize != "none" else "fclsu"
    say(f"Endmembers found by {plan.method!r}; abundances follow by the convention {convention!r}.")
    solved = convention == "as-solved"
    A = found.divided if solved else found.spectra
    S = found.abundances if solved and spatial == 0 else None
    if S is None:
        options: dict[str, Any] = {"spatial": spatial, "spatial_kind": spatial_kind, "shape": shape}
        S = abundances_of(data.Y, A, data.W, convention=convention, brightness=found.brightness, **options)
    order = S.nan_to_num().sum(dim=1).argsort(descending=True, stable=True)
    S = S[order]
    provenance = {
        "misfit": points.misfit,
        "linear_mixing": plan.linear,
        "brightness_varies": plan.varies,
        "method_asked": method,
        "normalize_asked": normalize,
        "seed": int(seed),
        "device": where.type,
        "spatial": float(spatial),
        "spatial_kind": spatial_kind if spatial > 0 else None,
        "init": init if init is None or isinstance(init, str) else "given",
        **found.provenance,
    }
    out: dict[str, Any] = {"dtype": given.dtype if given.is_floating_point() else torch.float64, "device": given.device}
    return Unmixed(
        spectra=(found.spectra[:, order] * data.unit).to(**out),
        abundances=S.to(**out),
        brightness=None if found.brightness is None else (found.brightness * data.unit).to(**out),
        method=plan.method,
        normalize=plan.normalize,
        convention=convention,
        objective=_objective(data, A[:, order], S, found.brightness if solved else None),
        iterations=found.iterations,
        notes=(*_notes(plan, points, convention, S), *found.notes),
        provenance=provenance,
    )


def _check_options(
    n_endmembers: Any, method: str, normalize: str, convention: str, spatial: Any, spatial_kind: str, seed: Any, init: Any
) -> None:
    for name, value, least in (("n_endmembers", n_endmembers, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
            raise ParameterError(f"{name} is {value!r}: expected an integer >= {least}.")
    check_normalize(normalize)
    choices = [("method", method, METHODS), ("convention", convention, ("auto", *CONVENTIONS)), ("spatial_kind", spatial_kind, KINDS)]
    if isinstance(init, str):
        choices.append(("init", init, tuple(STARTS)))
    for name, value, known in choices:
        if value not in known:
            raise ParameterError(f"{name} is {value!r}: expected one of {', '.join(map(repr, known))}.")
    if isinstance(spatial, bool) or not isinstance(spatial, numbers.Real) or not 0 <= float(spatial) < float("inf"):
        raise ParameterError(f"spatial is {spatial!r}: expected a finite number >= 0.")


def _tensor(X: ArrayLike | Tensor) -> Tensor:
    """A real tensor, floating point."""
    if not isinstance(X, Tensor):
        array = np.asarray(X)
        if array.dtype.kind not in "fiub":
            raise ParameterError(f"data are of type {array.dtype}: expected real numbers.")
        wanted = np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64
        X = torch.from_numpy(np.array(array, dtype=wanted))
    if X.is_complex():
        raise ParameterError("data are complex: expected real numbers.")
    return X.detach() if X.is_floating_point() else X.detach().double()


def _prepare(given: Tensor, W: ArrayLike | Tensor | None, count: int, where: torch.device) -> _Data:
    """Data of order one, weights of mean one, both 0 where there is nothing."""
    if given.ndim != 2 or 0 in given.shape:
        raise ShapeError(f"Y has shape {tuple(given.shape)}: expected (bands, pixels); reshape an image (B, Ny, Nx) to (B, -1).")
    if count > min(given.shape):
        raise ParameterError(f"n_endmembers is {count}: expected at most {min(given.shape)} for data of shape {tuple(given.shape)}.")
    Y = given.to(where, torch.float64)
    there = torch.isfinite(Y)
    weights = None
    if W is not None:
        weights = _tensor(W).to(where, torch.float64)
        if weights.shape != Y.shape:
            raise ShapeError(f"W has shape {tuple(weights.shape)}, Y has {tuple(Y.shape)}: expected equal shapes.")
        if bool((weights < 0).any()):
            raise ParameterError("W holds negative values: expected inverse variances >= 0.")
        there = there & torch.isfinite(weights) & (weights > 0)
    if not bool((Y[there] != 0).any()):
        raise NoDataError("no datum is finite, different from 0, and has a positive weight: expected some; check the mask.")
    unit = float(Y[there].abs().max())
    if weights is None and bool(there.all()):
        return _Data(Y / unit, None, unit, 1.0)
    weights = there.double() if weights is None else torch.where(there, weights, 0)
    mean = float(weights[there].mean()) if float(weights[there].max()) < 1e300 else float(weights[there].max())
    return _Data(torch.where(there, Y, 0) / unit, weights / mean, unit, mean)


def _given_spectra(init: ArrayLike | Tensor, data: _Data, count: int) -> Tensor:
    start = _tensor(init).to(data.Y)
    if start.shape != (len(data.Y), count):
        raise ShapeError(f"init has shape {tuple(start.shape)}: expected (bands, endmembers) = {(len(data.Y), count)}.")
    if not bool(torch.isfinite(start).all()):
        raise ParameterError("init holds values that are not finite: expected spectra that are known in all bands.")
    return start / data.unit


def _objective(data: _Data, A: Tensor, S: Tensor, brightness: Tensor | None) -> float:
    """``½ Σ W (Y − A S)²`` of pixels with abundances; of pixels divided by their brightness if given, times the mean brightness."""
    model = A @ S.nan_to_num()
    rest = (data.Y - (model if brightness is None else model * brightness)).square()
    rest = rest if data.W is None else data.W * rest
    return 0.5 * float(rest.sum()) * data.unit**2 * data.weight


def _notes(plan: Plan, points: SubspacePoints, convention: str, S: Tensor) -> tuple[str, ...]:
    notes = [plan.sentence]
    above, count = points.above_noise(), len(S)
    if above < count:
        notes.append(
            f"Only {above} of {count} dimensions stand clearly above the noise: endmembers beyond that number are arbitrary; ask for fewer."
        )
    if plan.varies and convention == "fclsu":
        notes.append(
            "The brightness of pixels varies by more than abundances that add up to one explain; 'fclsu' takes shade for a share of darker "
            "endmembers, 'nnls-renormalized' leaves it out."
        )
    empty = int(S.isnan().any(dim=0).sum())
    if empty:
        notes.append(f"{empty} pixels have no data: their abundances are NaN.")
    return tuple(notes)
