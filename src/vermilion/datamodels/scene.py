"""What a deblended scene is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from ..errors import ShapeError
from .frame import Frame
from .result import History, Status

__all__ = ["SceneResult", "SceneSource"]

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneSource:
    """One source of a scene, in the model frame.

    Parameters
    ----------
    kind : str
        "point", "galaxy", "two-component", "undecided", "sky" or "template".
    center : (float, float)
        Pixel (y, x), counted from 0.
    spectra : ndarray, shape (B, C)
        Flux of each component in each band, in the unit of the images.
    morphologies : ndarray, shape (C, h, w)
        Each sums to 1; smeared by the PSF of the model frame.
    box : (int, int)
        Pixel (y, x) of the frame in which the first pixel of `morphologies` lies; may be negative.
    parameters : dict
        Numbers that describe its profile, such as half_light_radius [pixel], axis_ratio, angle [degree] and sersic_index.
    probabilities : dict
        Probability of each kind that was compared; they sum to 1. Empty where the kind was given.
    """

    kind: str
    center: tuple[float, float]
    spectra: Array
    morphologies: Array
    box: tuple[int, int]
    parameters: dict[str, float] = field(default_factory=dict)
    probabilities: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spectra.ndim != 2 or self.morphologies.ndim != 3 or self.spectra.shape[1] != self.morphologies.shape[0]:
            raise ShapeError(
                f"spectra has shape {self.spectra.shape}, morphologies {self.morphologies.shape}: expected (B, C) and (C, h, w)."
            )

    @property
    def fluxes(self) -> Array:
        """Flux per band, shape (B,)."""
        return self.spectra.sum(axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneResult:
    """A scene as a sum of sources.

    Parameters
    ----------
    sources : tuple of SceneSource
        In the order of the catalog that was given, or of detection (brightest first).
    models : ndarray, shape (n, B, Ny, Nx)
        Image of each source as the telescope sees it.
    fluxes, flux_errors : ndarray, shape (n, B)
        Flux of each source under the constraints, of the light that is emitted inside the frame, and its standard error, center and
        shape being as uncertain as they are, times the factor (at least 1) by which the residual under the source exceeds the noise; in
        the unit of the images. NaN where a constraint holds the flux at 0.
    signed_fluxes, signed_flux_errors : ndarray, shape (n, B)
        Fluxes refitted without constraints, shapes fixed: unbiased where a source is absent; their standard errors.
    catalog : Table
        One row per source; `measure.build_catalog`.
    chi2 : float
        Of the data with weight.
    n_data : int
        Number of data with weight.
    bands : tuple of str
    frame : Frame or None
        Sky coordinates and units.
    status : Status
    history : History
    flux_history : ndarray, shape (iterations, n)
        Flux of each source summed over the bands, each band in units of its noise, as the fit went on; NaN for a sky.
    flux_iterations : ndarray, shape (iterations,)
        Iteration of each row of `flux_history`.
    notes : tuple of str
        Sentences the user must read.
    provenance : dict
        Plain types only.
    """

    sources: tuple[SceneSource, ...]
    models: Array
    fluxes: Array
    flux_errors: Array
    signed_fluxes: Array
    signed_flux_errors: Array
    catalog: Table
    chi2: float
    n_data: int
    bands: tuple[str, ...]
    frame: Frame | None = None
    status: Status
    history: History
    flux_history: Array
    flux_iterations: NDArray[np.integer[Any]]
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.sources)
        if self.models.ndim != 4 or len(self.models) != n or any(x.shape != self.models.shape[:2] for x in self._tables):
            raise ShapeError(
                f"models has shape {self.models.shape}, fluxes {self.fluxes.shape}, for {n} sources: expected (n, B, Ny, Nx) and (n, B)."
            )

    @property
    def _tables(self) -> tuple[Array, ...]:
        return self.fluxes, self.flux_errors, self.signed_fluxes, self.signed_flux_errors

    @property
    def model(self) -> Array:
        """Image of the whole scene, shape (B, Ny, Nx)."""
        return self.models.sum(axis=0)

    def __repr__(self) -> str:
        n, n_bands = self.fluxes.shape
        return f"SceneResult({n} sources, {n_bands} bands, chi2/datum {self.chi2 / max(self.n_data, 1):.3g}, {self.status.name})"
