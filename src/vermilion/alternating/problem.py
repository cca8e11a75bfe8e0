"""The bilinear problem in numbers of order one, whatever the unit of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import NoDataError
from ..prox.base import Identity, NonNegative, Prox, Wrapped
from ..prox.entropy import MaxEntropy
from ..prox.simplex import Simplex
from .quadratic import Block
from .tiles import TensorTiles

__all__ = ["Problem"]

_SEPARABLE_S: dict[str, Literal["element", "column", "no"]] = {"element": "element", "component axis": "column"}
# transposed: for spectra (B, K) dim 1, called "pixel axis", runs over the components
_SEPARABLE_A: dict[str, Literal["element", "column", "no"]] = {"element": "element", "pixel axis": "column"}


# squares and products of values in this range stay far from the limits of float32
_SAFE = (1e-12, 1e12)


@dataclass(frozen=True)
class Problem:
    """Y ≈ A S with data and weights in their own sizes.

    With ``Y = y Y'`` and ``W = w W'`` the loss is ``w y² ½ Σ W' (Y' − A' S')²``; the factor that carries the scale is y times the primed.
    Data of a usual size and of the right type are not copied: they are multiplied by `gain` where they are read.

    Attributes
    ----------
    Y : Tensor, shape (B, N)
        ``gain · Y`` has a root mean square of about 1.
    W : Tensor, shape (B, N), or None
        ``weight_gain · W`` has a mean of about 1 where positive; None: all 1.
    data_scale, weight_scale : float
        y and w.
    carrier : {"A", "S"}
        The factor that carries the scale of the data.
    gain, weight_gain : float
        ``1/y`` and ``1/w``, or 1 where they are divided out already.
    hidden : bool
        Y may hold values that are not finite where the weight is 0.
    rms, mean_weight : float
        Of Y and W as they are, where the weight is positive.
    """

    Y: Tensor
    W: Tensor | None
    data_scale: float
    weight_scale: float
    carrier: Literal["A", "S"] = "S"
    gain: float = 1.0
    weight_gain: float = 1.0
    hidden: bool = False
    rms: float = 1.0
    mean_weight: float = 1.0

    @classmethod
    def normalized(
        cls,
        Y: Tensor,
        W: Tensor | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        carrier: Literal["A", "S"] = "S",
        scale: bool = True,
    ) -> Problem:
        """The problem of data and weights in any unit.

        Parameters
        ----------
        Y : Tensor, shape (B, N)
            May hold NaN where the weight is 0.
        W : Tensor, shape (B, N), optional
            Inverse variances; None: 1 where Y is finite.
        scale : bool
            False leaves the data's size alone: both factors have constraints that fix their scale.

        Raises
        ------
        NoDataError
            If no entry with weight is finite and different from 0.
        """
        size = _Size.of(Y, W)
        if size.peak == 0:
            raise NoDataError("no finite value different from 0 has a positive weight: there is nothing to factorize.")
        y_scale, w_scale = (size.rms if scale else 1.0), size.weight
        # powers of two cost no digit of float32, so that scaled copies are the same numbers
        if Y.dtype == dtype == torch.float32:
            y_scale = _power_of_two(y_scale)
        if W is not None and W.dtype == dtype == torch.float32:
            w_scale = _power_of_two(w_scale)
        usual = size.sound and _SAFE[0] <= size.largest <= _SAFE[1] and _SAFE[0] <= size.largest_weight <= _SAFE[1]
        if usual and (Y.dtype, Y.device) == (dtype, device) and (W is None or (W.dtype, W.device) == (dtype, device)):
            return cls(Y, W, y_scale, w_scale, carrier, 1 / y_scale, 1 / w_scale, size.hidden, size.rms, size.weight)

        def scaled(X: Tensor, by: float) -> Tensor:
            out = torch.empty(X.shape, dtype=dtype, device=device)
            for rows in _row_tiles(Y):
                x = X[rows].double() / by
                out[rows] = torch.where(_usable(Y[rows], None if W is None else W[rows]), x, 0).to(out)
            return out

        weights = None if W is None and not size.hidden else scaled(torch.ones_like(Y) if W is None else W, w_scale)
        return cls(scaled(Y, y_scale), weights, y_scale, w_scale, carrier, rms=size.rms / y_scale, mean_weight=size.weight / w_scale)

    def tiles(self, spectra: Block | None = None, morphologies: Block | None = None) -> TensorTiles:
        """The data for the solver, cut along the axis that suits constraints and layout.

        Only a factor whose constraint can be solved in pieces can be solved tile by tile. Where both can, tiles follow the layout of the
        data, unless that of the other axis is hardly worse and cuts the larger factor.
        """
        cuts = [block is None or block.cut is not None for block in (spectra, morphologies)]
        along = 0 if self.Y.stride(-1) == 1 else 1
        lines, length = (self.Y.shape[along], self.Y.shape[1 - along])
        axis = along if length <= lines or lines > 512 else 1 - along
        if not cuts[axis]:
            axis = 1 - axis if cuts[1 - axis] else along
        return TensorTiles(
            self.Y,
            self.W,
            axis=1 if axis else 0,
            gain=self.gain,
            weight_gain=self.weight_gain,
            hidden=self.hidden,
        )

    def seen(self) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Which bands and which pixels have any weight."""
        if self.W is None:
            return None, None
        return torch.amax(self.W, dim=1) > 0, torch.amax(self.W, dim=0) > 0

    def data(self) -> tuple[Tensor, Tensor | None]:
        """Y and W of order one, 0 where there is no weight: copies, for solvers without tiles."""
        if self.gain == self.weight_gain == 1 and not self.hidden:
            return self.Y, self.W
        Y = self.Y * self.gain
        if self.W is None:
            return Y, None
        return torch.where(self.W > 0, Y, 0), self.W * self.weight_gain

    @property
    def objective_scale(self) -> float:
        """What the objective of the normalized problem is multiplied by to be that of the data."""
        return self.weight_scale * self.data_scale**2

    def factor_scale(self, factor: Literal["A", "S"]) -> float:
        """The size of a factor in the data's unit: y for the carrier, else 1."""
        return self.data_scale if factor == self.carrier else 1.0

    def block(self, factor: Literal["A", "S"], prox: Prox, fixed: Mapping[int, Tensor] | None = None) -> Block:
        """The constraint on one factor for the solver: scaled, in orientation (K, M), with known components held.

        Parameters
        ----------
        factor : {"A", "S"}
        prox : Prox
            Acts on A (B, K) or S (K, N) in the data's unit.
        fixed : mapping of int to Tensor, optional
            Values (M,) of known components, in the normalized unit.
        """
        size = self.factor_scale(factor)
        # argmin t g(c x)/(w y²) + |x' − x|²/2 is prox_g at c x' with step t c²/(w y²), divided by c
        strength = size**2 / self.objective_scale
        transposed = factor == "A"
        separable = (_SEPARABLE_A if transposed else _SEPARABLE_S).get(prox.couples, "no")
        plain = prox.cone and prox.projection
        floor = {NonNegative: 0.0, Identity: -math.inf}.get(type(prox))
        along = "component axis" if transposed else "pixel axis"
        by_component = prox.couples == along and prox.exact and prox.projection and not isinstance(prox, Wrapped)
        by_component &= not _depends_on_place(prox, axis=1 if transposed else 0)
        entropy = _entropy(prox, size, self.objective_scale)
        apart = separable != "no" and not _depends_on_place(prox, axis=0 if transposed else 1)

        def block(held: list[tuple[int, Tensor]]) -> Block:
            def apply(X: Tensor, step: Tensor | float) -> Tensor:
                if X.ndim > 2:
                    steps = step.expand(len(X), *step.shape[-2:]) if isinstance(step, Tensor) else [step] * len(X)
                    return torch.stack([apply(x, t) for x, t in zip(X, steps, strict=True)])
                x = X.T if transposed else X
                t = step.T if transposed and isinstance(step, Tensor) and step.ndim == 2 else step
                if plain:
                    out = prox(x, t)
                elif isinstance(prox, Wrapped):
                    out = prox(x * size, float(t) * strength) / size
                else:  # in float64: at fluxes of 1e-20 the strength is 1e-44, which float32 does not hold
                    amount: Any = t.double() * strength if isinstance(t, Tensor) else t * strength
                    out = (prox(x.double() * size, amount) / size).to(x.dtype)
                out = out.T.contiguous() if transposed else out
                out = out.clone() if held and out.data_ptr() == X.data_ptr() else out
                for k, values in held:
                    out[k] = values
                return out

            def penalty(X: Tensor) -> float:
                if prox.projection:  # feasible by construction
                    return 0.0
                x = X * size  # in its own type: feasibility up to rounding is judged by that
                if held and separable == "element":  # what is given costs nothing
                    x = x[[k for k in range(len(X)) if k not in dict(held)]]
                    return float(prox.penalty(x.T if transposed else x)) / self.objective_scale if len(x) else 0.0
                return float(prox.penalty(x.T if transposed else x)) / self.objective_scale

            def cut(columns: slice | Tensor) -> Block:
                return block([(k, values[columns]) for k, values in held])

            indices = tuple(k for k, _ in held)
            adds_up = isinstance(prox, Simplex) and separable == "column"
            return Block(
                apply,
                penalty,
                separable,
                floor,
                entropy,
                by_component,
                indices,
                cut=cut if apart else None,
                adds_up=adds_up,
                rows_add_up=isinstance(prox, Simplex) and by_component,
            )

        return block(sorted((fixed or {}).items()))


@dataclass
class _Size:
    """How large data and weights are, where they count."""

    peak: float = 0.0  # of the values with weight
    largest: float = 0.0  # of all finite values
    rms: float = 1.0
    weight: float = 1.0
    largest_weight: float = 1.0
    sound: bool = True  # the arrays can be used as they are
    hidden: bool = False  # some values are not finite

    @classmethod
    def of(cls, Y: Tensor, W: Tensor | None) -> _Size:
        """In one read where the numbers are of a usual size; sums in float64."""
        size = cls()
        count, squares, weights = 0, 0.0, 0.0
        for rows in _row_tiles(Y):
            y, w = Y[rows], None if W is None else W[rows]
            low, high = (float(x) for x in torch.aminmax(y))
            most = 0.0 if w is None else float(w.amax())
            finite = math.isfinite(low) and math.isfinite(high) and (w is None or math.isfinite(float(w.sum())))
            if finite:
                size.largest = max(size.largest, -low, high)
                there = None if w is None else w.sign()  # a number: on a CPU truth values are slow
            else:
                usable = _usable(y, w)
                size.hidden = True
                size.largest = max(size.largest, float(torch.where(torch.isfinite(y), y, 0).abs().max()))
                size.sound &= w is not None and bool(torch.isfinite(w).all()) and not bool(((w > 0) & ~usable).any())
                there, y = usable.to(y), torch.where(usable, y, 0)
                if w is not None:
                    w = torch.where(usable, w, 0)
                    most = float(w.max())
            if there is None:
                count += y.numel()
            else:
                count += int(there.sum(dim=1).double().sum())
                y = y * there
                low, high = (float(x) for x in torch.aminmax(y))
            if w is not None:
                size.largest_weight = max(size.largest_weight if weights else 0.0, most)
                weights += (
                    float(w.sum(dim=1, dtype=w.dtype).double().sum())
                    if size.largest_weight < _SAFE[1]
                    else float(w.sum(dtype=torch.float64))
                )
            size.peak = max(size.peak, -low, high)
            squares += float(torch.linalg.vector_norm(y, dim=1).double().square().sum())
        if size.peak == 0:
            return size
        if not _SAFE[0] <= size.peak <= _SAFE[1]:  # squares leave the range of the type
            parts = (torch.where(_usable(Y[r], None if W is None else W[r]), Y[r], 0).double() / size.peak for r in _row_tiles(Y))
            squares = sum(float(part.square().sum()) for part in parts) * size.peak**2
        size.rms = math.sqrt(squares / count) if squares > 0 else size.peak
        size.weight = weights / count if W is not None else 1.0
        return size


def _power_of_two(x: float) -> float:
    return math.ldexp(1.0, round(math.log2(x)))


def _row_tiles(Y: Tensor) -> Iterator[slice]:
    """Slices of rows of about a megabyte; of all rows where they do not lie one after the other."""
    step = max(1, (1 << 18) // max(1, Y.shape[1])) if Y.stride(-1) == 1 else len(Y)
    return (slice(start, start + step) for start in range(0, len(Y), step))


def _usable(y: Tensor, w: Tensor | None) -> Tensor:
    return torch.isfinite(y) if w is None else torch.isfinite(y) & torch.isfinite(w) & (w > 0)


def _entropy(prox: Prox, size: float, objective_scale: float) -> tuple[float, float] | None:
    """Weight and map of an entropy in the normalized unit; of ``x ln x`` the map is 1/e."""
    if not isinstance(prox, MaxEntropy) or not isinstance(prox.weight, int | float) or not isinstance(prox.prior, int | float | None):
        return None
    prior = math.exp(-1) if prox.prior is None else float(prox.prior)
    weight = float(prox.weight) * size / objective_scale
    return (weight, prior / size) if weight > 0 else None


def _depends_on_place(prox: Prox, *, axis: int) -> bool:
    """The operator has parameters that differ along this axis of its factor, or may have."""
    if isinstance(prox, Wrapped):
        return True
    members: list[Any] = list(vars(prox).values())
    while members:
        member = members.pop()
        if isinstance(member, Wrapped):
            return True
        if isinstance(member, Prox):
            members += vars(member).values()
        elif isinstance(member, Mapping):
            members += member.values()
        elif isinstance(member, list | tuple):
            members += member
        elif isinstance(shape := getattr(member, "shape", None), tuple) and len(shape) > 1 - axis and shape[axis - 2] > 1:
            return True
    return False
