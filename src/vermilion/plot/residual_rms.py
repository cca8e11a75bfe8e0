"""Scatter of the residuals in every band."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..datamodels import Cube, Result
from ..diagnose.residual import residual_statistics
from .spectral import BandAxis
from .style import COLORS, decade, new_figure, styled, unit_label, with_unit

__all__ = ["residual_rms"]


@styled
def residual_rms(result: Result, cube: Cube, *, axes: Axes | None = None) -> Axes:
    """Root mean square of the residuals per band in units of the claimed noise, and its robust version.

    A line at 1 is what the variances promise. Without variance the scatter is in the unit of the data.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx).
    cube : Cube
        What was fitted.
    axes : Axes, optional
        Where to draw; by default those of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ShapeError
        If result and cube do not have the same bands and pixels.
    """
    statistics = residual_statistics(result, cube)
    axes = axes if axes is not None else new_figure(11.5, 4.6).add_subplot()
    band_axis = BandAxis(cube.frame, cube.frame.n_bands, cube=cube)
    if statistics.rms is not None and statistics.robust is not None:
        rms, robust = statistics.rms, statistics.robust
        axes.axhline(1, color="0.3", lw=1.0, ls="--", zorder=1)
        axes.set_ylabel("Residual scatter / claimed σ")
        if statistics.degrees_of_freedom > 0:
            axes.set_title(f"reduced χ² = {statistics.reduced_chi_square:.3g}", loc="right", fontsize=12)
    else:
        power = decade(statistics.rms_flux)
        rms, robust = statistics.rms_flux / 10.0**power, statistics.robust_flux / 10.0**power
        axes.set_ylabel(with_unit("Residual scatter", unit_label(cube.frame.unit, power=power)))
    band_axis.shade_missing(axes, statistics.n_voxels == 0)
    band_axis.draw(axes, rms, color=COLORS[1], label="root mean square")
    band_axis.draw(axes, robust, color=COLORS[0], label="robust (1.48 × MAD)")
    band_axis.dress(axes)
    shown = np.concatenate([rms, robust, [1.0] if statistics.rms is not None else []])
    low, high = (float(limit(shown)) for limit in (np.nanmin, np.nanmax)) if np.isfinite(shown).any() else (0.0, 1.0)
    axes.set_ylim(0 if low < 0.3 * high else low - 0.1 * high, 1.1 * high or 1.0)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2, borderpad=0.2)
    return axes
