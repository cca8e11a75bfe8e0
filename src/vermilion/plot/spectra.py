"""The spectrum of every component."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import Cube, Result
from .spectral import BandAxis
from .style import color, decade, fitting, new_figure, styled, unit_label, with_unit

__all__ = ["spectra"]

STACKED = 4


@styled
def spectra(
    result: Result, cube: Cube | None = None, *, figure: Figure | SubFigure | None = None, names: tuple[str, ...] | None = None
) -> NDArray[np.object_]:
    """Spectra of all components in physical units, ``flux_k = A_k ΣS_k``, with their 1-sigma errors.

    The errors are conditional (maps fixed). One panel per component: a stack up to four, two columns beyond. Each panel has its
    own scale and all have the same unit; bands without number are left blank on grey.

    Parameters
    ----------
    result : Result
    cube : Cube, optional
        Gives the coordinates if the result has none, and the medium of the wavelengths if its meta knows.
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure, at `axes[0].figure`.
    names : tuple of str, optional
        Titles; by default `result.names`.

    Returns
    -------
    ndarray of Axes, shape (K,)
    """
    fluxes, errors = result.fluxes.astype(np.float64), _flux_errors(result)
    frame = result.frame if result.frame is not None or cube is None else cube.frame
    power = decade(fluxes)
    band_axis = BandAxis(frame, len(fluxes), cube=cube)
    n = result.n_components
    columns = 1 if n <= STACKED else 2
    rows = math.ceil(n / columns)
    figure = figure if figure is not None else new_figure(11.5 if columns == 1 else 13.0, max(1.75 * rows + 1.0, 4.4))
    drawn = np.empty(n, dtype=object)
    for k, name in enumerate(names or result.names):
        axes = drawn[k] = figure.add_subplot(rows, columns, k + 1, sharex=drawn[0])
        flux, error = fluxes[:, k] / 10.0**power, None if errors is None else errors[:, k] / 10.0**power
        band_axis.shade_missing(axes, ~np.isfinite(flux))
        if not _is_positive(flux):
            axes.axhline(0, color="0.6", lw=0.8, zorder=1)
        band_axis.draw(axes, flux, error=error, color=color(k))
        band_axis.dress(axes, ticks=k + columns >= n, label=False)
        axes.set_ylim(*_limits(flux, error))
        axes.locator_params(axis="y", nbins=4)
        axes.set_title(fitting(name, 9.0 / columns, size=13, bold=True), loc="left", color=color(k), fontweight="bold", parse_math=False)
    label = unit_label(frame.unit, power=power) if frame is not None else unit_label(None, power=power)
    summed = "Flux summed over the field" + ("\n" if rows == 1 and label else "")
    figure.supylabel(with_unit(summed, label), fontsize=12, ha="center", multialignment="center")
    figure.supxlabel(band_axis.label, fontsize=12)
    return drawn


def _flux_errors(result: Result) -> NDArray[np.float64] | None:
    """1-sigma errors of the fluxes (B, K), maps fixed."""
    if result.spectra_error is None:
        return None
    totals = np.nansum(result.amounts.reshape(result.n_components, -1), axis=1, dtype=np.float64)
    return result.spectra_error.astype(np.float64) * np.abs(totals)


def _is_positive(flux: NDArray[np.float64]) -> bool:
    return bool(np.all(flux[np.isfinite(flux)] > 0))


def _limits(flux: NDArray[np.float64], error: NDArray[np.float64] | None) -> tuple[float, float]:
    """Limits that every line fits in; bands of noise, far noisier than the typical one and below 5 sigma, have no say.

    Zero is shown unless the spectrum varies little around a value far from it.
    """
    trusted = np.isfinite(flux)
    if error is not None and np.isfinite(error[trusted]).any():
        trusted &= ~((error > 5 * np.nanmedian(error[trusted])) & (np.abs(flux) < 5 * error))
    if not trusted.any():
        return 0.0, 1.0
    low, high = float(flux[trusted].min()), float(flux[trusted].max())
    if low > 0 and low < 0.6 * high:
        low = 0.0
    margin = 0.07 * (high - low) or abs(high) or 1.0
    return (low if low == 0.0 else low - margin), high + margin
