"""What a fit gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from .frame import Frame

__all__ = ["History", "Result", "Status"]


class Status(Enum):
    """How a fit ended; the value is the sentence shown to the user."""

    CONVERGED = "converged: the objective no longer decreases by more than the tolerance"
    MAX_ITER = "the iteration limit was reached"
    STOPPED = "stopped before convergence; the last accepted state is returned"
    NONFINITE = "a value that is not finite appeared; the last good state is returned"
    DIVERGED = "the objective grew without bound; the last good state is returned"


class History:
    """One row per iteration: every block updated once; rejected steps count.

    Parameters
    ----------
    blocks : sequence of str
        Names of the blocks whose gradient evaluations are counted.

    Attributes
    ----------
    iteration, objective, objective_evaluations, reads_of_Y, seconds : ndarray, shape (n,)
        The objective is the whole one, loss plus penalties. Counters and seconds are sums since the start.
    gradient_evaluations : ndarray of int, shape (n, n_blocks)
        Sums since the start, inner and rejected steps included.
    """

    _columns = ("iteration", "objective", "objective_evaluations", "reads_of_Y", "seconds")

    def __init__(self, blocks: Sequence[str] = ("A", "S")) -> None:
        self.blocks = tuple(blocks)
        self._rows: list[tuple[float, ...]] = []
        self._gradients: list[tuple[int, ...]] = []

    def append(
        self,
        *,
        objective: float,
        gradient_evaluations: Sequence[int],
        objective_evaluations: int = 0,
        reads_of_Y: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        """Add one iteration; counters are sums since the start."""
        if len(gradient_evaluations) != len(self.blocks):
            raise ShapeError(f"{len(gradient_evaluations)} gradient counts for the blocks {self.blocks}.")
        self._rows.append((len(self._rows) + 1, objective, objective_evaluations, reads_of_Y, seconds))
        self._gradients.append(tuple(int(n) for n in gradient_evaluations))

    def __len__(self) -> int:
        return len(self._rows)

    def objective_at(self, index: int) -> float:
        """One objective, by its place: what a stop rule asks for after every iteration without copying the column."""
        return float(self._rows[index][1])

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise AttributeError(f"History has no column {name!r}; it has {(*self._columns, 'gradient_evaluations')}")
        column = self._columns.index(name)
        kind = np.int64 if name in ("iteration", "objective_evaluations") else np.float64
        return np.array([row[column] for row in self._rows], dtype=kind)

    @property
    def gradient_evaluations(self) -> NDArray[np.int64]:
        """Gradient evaluations per block since the start, shape (n, n_blocks)."""
        return np.array(self._gradients, dtype=np.int64).reshape(-1, len(self.blocks))

    def __repr__(self) -> str:
        if not self._rows:
            return "History(empty)"
        return f"History({len(self)} iterations, objective {self._rows[0][1]:.6g} -> {self._rows[-1][1]:.6g})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """Spectra and morphologies, their errors, and how they were found.

    Parameters
    ----------
    spectra : ndarray, shape (B, K)
        A. NaN in bands without weight when the result belongs to a cube.
    morphologies : ndarray, shape (K, N) or (K, Ny, Nx)
        S: (K, N) from `factorize` (frame is None), maps with NaN where pixels were dropped from `separate`.
    spectra_error, morphologies_error : ndarray or None
        Conditional 1-sigma errors (the other factor fixed), shaped like the factors; NaN where a constraint is active.
    signed_morphologies, signed_error : ndarray or None
        Least-squares maps without any constraint, each pixel fitted with spectra that it did not help to determine, and
        their 1-sigma errors: fluxes in them are unbiased where positive maps are not.
    names : tuple of str
        One per component.
    normalization : str
        The gauge: what fixes the scale between A and S.
    brightness : ndarray, shape of a map, or None
        Factor on the model of each pixel, ``brightness · A S``, where brightness was kept out of S (abundances of normalized pixels);
        None: 1.
    frame : Frame or None
    status : Status
    history : History
    provenance : mapping
        Version, seed, options, input: everything needed to do it again.
    notes : tuple of str
        Sentences that the user must read, such as "not unique: …".
    """

    spectra: NDArray[np.floating[Any]]
    morphologies: NDArray[np.floating[Any]]
    status: Status
    history: History
    spectra_error: NDArray[np.floating[Any]] | None = None
    morphologies_error: NDArray[np.floating[Any]] | None = None
    signed_morphologies: NDArray[np.floating[Any]] | None = None
    signed_error: NDArray[np.floating[Any]] | None = None
    names: tuple[str, ...] = ()
    normalization: str = "as solved"
    brightness: NDArray[np.floating[Any]] | None = None
    frame: Frame | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.spectra.ndim != 2 or self.spectra.shape[1] != len(self.morphologies):
            raise ShapeError(
                f"spectra has shape {self.spectra.shape}, morphologies {self.morphologies.shape}: expected (B, K) and (K, ...)."
            )
        if self.brightness is not None and self.brightness.shape != self.morphologies.shape[1:]:
            raise ShapeError(
                f"brightness has shape {self.brightness.shape}, morphologies {self.morphologies.shape}: expected one value per pixel."
            )
        if not self.names:
            object.__setattr__(self, "names", tuple(f"component_{k:02d}" for k in range(self.n_components)))

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return self.spectra.shape[1]

    @property
    def objective(self) -> float:
        """Last value of the whole objective; NaN if nothing was recorded."""
        return float(self.history.objective[-1]) if len(self.history) else float("nan")

    @property
    def amounts(self) -> NDArray[np.floating[Any]]:
        """What the spectra are multiplied by in the model, shaped like the morphologies: S, times the brightness where there is one."""
        return self.morphologies if self.brightness is None else self.morphologies * self.brightness

    @property
    def fluxes(self) -> NDArray[np.floating[Any]]:
        """Spectra summed over all pixels, A_k times the sum of its amounts, shape (B, K), in the data's unit times pixel."""
        total = np.nansum(self.amounts.reshape(self.n_components, -1), axis=1, dtype=np.float64)
        return self.spectra * total

    @property
    def model(self) -> NDArray[np.floating[Any]]:
        """A S, times the brightness where there is one; shape (B, N) or (B, Ny, Nx)."""
        flat = self.amounts.reshape(self.n_components, -1)
        return (self.spectra @ flat).reshape(len(self.spectra), *self.morphologies.shape[1:])

    def __repr__(self) -> str:
        return (
            f"Result({self.n_components} components, {self.spectra.shape[0]} bands, {len(self.history)} iterations, "
            f"{self.status.name.lower()}, objective {self.objective:.6g})"
        )
