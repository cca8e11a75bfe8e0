"""A scene in color: data, model and what is left."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import SceneResult
from ..errors import ShapeError
from .lupton import LuptonScale
from .sky import SkyGrid, add_colorbar, add_guides, draw_image, symmetric_norm
from .source_marks import add_kind_legend, mark_sources
from .style import DIVERGING, fitting, styled

__all__ = ["known_data", "residual_sigma", "scene_rgb"]

Array = NDArray[np.float64]


@styled
def scene_rgb(
    data: NDArray[np.floating], weights: NDArray[np.floating], result: SceneResult, *, figure: Figure | SubFigure | None = None
) -> NDArray[np.object_]:
    """Data | model | residual of a scene.

    Data and model are color images on one scale (`LuptonScale`). The residual is in units of its noise, summed over the bands with the
    weights. Pixels without weight are grey. Sources are marked by kind, with their numbers in the catalog.

    Parameters
    ----------
    data : ndarray, shape (B, Ny, Nx)
        What was fitted; may be NaN where the weight is 0.
    weights : ndarray, shape (B, Ny, Nx)
        Inverse variances.
    result : SceneResult
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure, at `axes[0].figure`.

    Returns
    -------
    ndarray of Axes, shape (3,)

    Raises
    ------
    ShapeError
        If data, weights and models do not have the same bands and pixels.
    """
    seen, model = known_data(data, weights, result), result.model
    scale = LuptonScale.of(seen, result.bands, result.frame)
    residual = residual_sigma(seen, weights, model)
    shape = (seen.shape[1], seen.shape[2])
    grid = SkyGrid(result.frame, shape, 3, columns=1 if shape[1] > 3 * shape[0] else 3, figure=figure)
    drawn = np.empty(3, dtype=object)
    for index, (image, title) in enumerate(((scale.rgb(seen), "Data"), (scale.rgb(model), "Model"), (residual, "Residual"))):
        axes: Axes = grid.add(index)
        drawn[index] = axes
        if index < 2:
            axes.imshow(image, origin="lower", aspect=grid.aspect, interpolation="nearest")  # type: ignore[arg-type]
        else:
            norm = symmetric_norm(residual, at_least=5.0, linear=5.0)
            add_colorbar(axes, draw_image(axes, image, norm=norm, aspect=grid.aspect, cmap=DIVERGING), "residual / σ")
        axes.set_title(title, loc="left", fontweight="bold")
        mark_sources(axes, result, color="white" if index < 2 else "black")
    colors = fitting(scale.describe(result.bands), grid.image_width - 0.7, size=10)
    drawn[0].set_title(colors, loc="right", fontsize=10, parse_math=False)
    drawn[2].set_title(f"χ²/datum = {result.chi2 / max(result.n_data, 1):.3g}", loc="right", fontsize=10)
    add_guides(drawn[1], grid, shape)
    add_kind_legend(grid.figure, result)
    return drawn


def known_data(data: NDArray[np.floating], weights: NDArray[np.floating], result: SceneResult) -> Array:
    """Data (B, Ny, Nx) with NaN where they have no weight."""
    shape = result.models.shape[1:]
    if data.shape != shape or weights.shape != shape:
        raise ShapeError(f"data has shape {data.shape}, weights {weights.shape}, models of the result {shape}: expected equal shapes.")
    return np.where(weights > 0, data, np.nan).astype(np.float64)


def residual_sigma(data: Array, weights: NDArray[np.floating], model: NDArray[np.floating]) -> Array:
    """Residual (Ny, Nx) summed over the bands with the weights, in units of its standard error; NaN where no band has weight."""
    known = np.isfinite(data) & (weights > 0)
    weight = np.where(known, weights, 0.0).astype(np.float64)
    total = weight.sum(axis=0)
    summed = (weight * np.where(known, data - model, 0.0)).sum(axis=0)
    return np.divide(summed, np.sqrt(total), out=np.full(total.shape, np.nan), where=total > 0)
