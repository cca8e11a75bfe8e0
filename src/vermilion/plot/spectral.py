"""Spectral axes: which numbers stand along x, how they are named, where bands are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..datamodels import Cube, Frame
from .style import plain, unit_label, with_unit

__all__ = ["BandAxis"]

QUANTITIES = {"length": "Wavelength", "frequency": "Frequency", "speed": "Velocity", "velocity": "Velocity", "energy": "Energy"}
FEW = 12


class BandAxis:
    """Positions of the bands along x.

    Parameters
    ----------
    frame : Frame or None
    n_bands : int
    cube : Cube, optional
        Its meta may say whether wavelengths are in air or in vacuum.

    Attributes
    ----------
    order : ndarray of int, shape (B,)
        Bands by increasing position.
    centers, edges : ndarray, shape (B,), (B + 1,)
        Sorted, in the unit of the label.
    names : tuple of str or None
        Of broad bands that have no spectral axis.
    """

    def __init__(self, frame: Frame | None, n_bands: int, *, cube: Cube | None = None) -> None:
        axis = None if frame is None else frame.spectral_axis
        self.names = frame.band_names if frame is not None and axis is None else None
        if axis is None:
            values, self.label = np.arange(n_bands, dtype=np.float64), "Band"
        else:
            axis = _handy(axis)
            values, self.label = np.asarray(axis.value, dtype=np.float64), _axis_label(axis, frame, cube)
        self.order = np.argsort(values, kind="stable")
        self.centers = values[self.order]
        self.edges = _edges(self.centers)
        self.few = n_bands <= FEW

    def dress(self, axes: Axes, *, ticks: bool = True, label: bool = True) -> None:
        """Limits, label and, for named bands, ticks."""
        axes.set_xlim(self.edges[0], self.edges[-1])
        if self.names is not None and self.few:
            axes.set_xticks(self.centers)
            axes.set_xticklabels([plain(name, limit=10) for name in self.names], parse_math=False)
        elif self.names is not None or self.label == "Band":
            axes.locator_params(axis="x", integer=True)
        axes.tick_params(labelbottom=ticks)
        if label:
            axes.set_xlabel(self.label)

    def draw(self, axes: Axes, values: NDArray[Any], *, color: str, error: NDArray[Any] | None = None, **style: Any) -> None:
        """`values` (B,) as steps with a band of `error`, or as points if there are few; nothing where they are NaN."""
        y = np.asarray(values, dtype=np.float64)[self.order]
        sigma = None if error is None else np.asarray(error, dtype=np.float64)[self.order]
        if self.few:
            axes.plot(self.centers, y, color=color, marker="o", ms=6, **style)
            if sigma is not None:
                axes.errorbar(self.centers, y, np.nan_to_num(sigma), fmt="none", color=color, capsize=4)
            return
        axes.stairs(y, self.edges, baseline=None, color=color, **style)
        if sigma is not None:
            axes.stairs(y + sigma, self.edges, baseline=np.nan_to_num(y - sigma), fill=True, color=color, alpha=0.3, lw=0)

    def shade_missing(self, axes: Axes, missing: NDArray[np.bool_]) -> None:
        """Grey where bands have no number."""
        padded = np.concatenate([[False], missing[self.order], [False]]).astype(int)
        for first, last in zip(np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1), strict=True):
            axes.axvspan(self.edges[first], self.edges[last], color="0.88", lw=0, zorder=0)


def _handy(axis: u.Quantity) -> u.Quantity:
    """SI wavelengths and frequencies in the unit that people use; all else as it is."""
    if axis.unit == u.m and np.nanmax(axis.value) < 1e-4:
        return axis.to(u.AA if np.nanmax(axis.value) < 1.1e-6 else u.um)
    if axis.unit == u.Hz and np.nanmax(axis.value) > 1e8:
        return axis.to(u.GHz)
    if axis.unit == u.m / u.s:
        return axis.to(u.km / u.s)
    return axis


def _axis_label(axis: u.Quantity, frame: Frame | None, cube: Cube | None) -> str:
    kind = str(axis.unit.physical_type)
    name = next((name for key, name in QUANTITIES.items() if key in kind.split("/")), "Spectral axis")
    medium = _medium(frame, cube) if name == "Wavelength" else ""
    return with_unit(f"{name} in {medium}" if medium else name, unit_label(axis.unit))


def _medium(frame: Frame | None, cube: Cube | None) -> str:
    """ "air", "vacuum", or "" if nobody says."""
    said = "" if cube is None else str(cube.meta.get("spectral_medium", "")).lower()
    if said in ("air", "vacuum"):
        return said
    ctypes = [] if frame is None or frame.wcs is None else [str(ctype)[:4] for ctype in frame.wcs.wcs.ctype]
    return "air" if "AWAV" in ctypes else "vacuum" if "WAVE" in ctypes else ""


def _edges(centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between sorted centers."""
    if len(centers) == 1:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
