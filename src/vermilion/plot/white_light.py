"""Data, model and residual as white-light images."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import Cube, Result
from ..diagnose.residual import white_light as combine_bands
from .sky import SkyGrid, add_colorbar, add_guides, asinh_norm, draw_image, symmetric_norm
from .style import DIVERGING, decade, styled, unit_label, with_unit

__all__ = ["white_light"]


@styled
def white_light(result: Result, cube: Cube, *, figure: Figure | SubFigure | None = None) -> NDArray[np.object_]:
    """Data | model | residual, averaged over the same voxels of all bands.

    Data and model share one asinh stretch. The residual is in units of the claimed noise of the average, or of flux where the
    cube has no variance, with symmetric limits.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx).
    cube : Cube
        What was fitted.
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure, at `axes[0].figure`.

    Returns
    -------
    ndarray of Axes, shape (3,)

    Raises
    ------
    ShapeError
        If result and cube do not have the same bands and pixels.
    """
    white = combine_bands(result, cube)
    power = decade(white.data)
    data, model, residual = (image / 10.0**power for image in (white.data, white.model, white.residual))
    flux_label = with_unit("mean flux", unit_label(cube.frame.unit, power=power))
    residual_label, at_least = flux_label, 0.0
    if white.sigma is not None:
        residual, residual_label, at_least = white.residual / white.sigma, "residual / claimed σ", 3.0
    shape = (data.shape[0], data.shape[1])
    grid = SkyGrid(cube.frame, shape, 3, columns=1 if shape[1] > 3 * shape[0] else 3, figure=figure)
    if not grid.labeled:
        grid.explain(" and ".join(dict.fromkeys((flux_label, residual_label))))
    shared, linear = asinh_norm(data), symmetric_norm(residual, at_least=at_least)
    drawn = np.empty(3, dtype=object)
    for index, (image, title, label) in enumerate(
        ((data, "Data", flux_label), (model, "Model", flux_label), (residual, "Residual", residual_label))
    ):
        axes = drawn[index] = grid.add(index)
        signed = index == 2
        shown = draw_image(axes, image, norm=linear if signed else shared, aspect=grid.aspect, **({"cmap": DIVERGING} if signed else {}))
        add_colorbar(axes, shown, label if grid.labeled and index else "")  # data and model share the scale
        axes.set_title(title, loc="left", fontweight="bold")
    add_guides(drawn[0], grid, shape)
    return drawn
