"""Constrained maps beside least-squares maps that may be negative."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import Result
from ..errors import ParameterError
from .maps import component_maps, title_component
from .sky import SkyGrid, add_colorbar, add_guides, asinh_norm, draw_image, require_images, symmetric_norm
from .style import DIVERGING, decade, styled, unit_label, with_unit

__all__ = ["signed"]


@styled
def signed(
    result: Result, *, figure: Figure | SubFigure | None = None, columns: int | None = None, names: tuple[str, ...] | None = None
) -> NDArray[np.object_]:
    """For every component, its constrained map beside the signed least-squares map in units of its error.

    Where positivity alone made flux, the signed map shows noise around zero.

    Parameters
    ----------
    result : Result
        With `signed_morphologies` and `signed_error` (K, Ny, Nx).
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure, at `axes[0, 0].figure`.
    columns : int, optional
        Components beside each other: by default one up to three components, then two, three beyond eight.
    names : tuple of str, optional
        Titles; by default `result.names`.

    Returns
    -------
    ndarray of Axes, shape (K, 2)

    Raises
    ------
    ParameterError
        If the result has no signed maps.
    ShapeError
        If the morphologies are no maps.
    """
    require_images(result)
    if result.signed_morphologies is None or result.signed_error is None:
        raise ParameterError("the result has no signed maps or no errors of them: `separate` makes both.")
    images, significance = component_maps(result), _significance(result.signed_morphologies, result.signed_error)
    power = decade(images)
    images = images / 10.0**power
    n, shape = len(images), (images.shape[1], images.shape[2])
    side_by_side = columns or (1 if n <= 3 else 2 if n <= 8 else 3)
    grid = SkyGrid(result.frame, shape, 2 * n, columns=2 * side_by_side, figure=figure)
    flux = with_unit("mean flux", unit_label(result.frame.unit if result.frame is not None else None, power=power))
    if not grid.labeled:
        grid.explain(f"{flux}; signed maps: S/N")
    drawn = np.empty((n, 2), dtype=object)
    for k, name in enumerate(names or result.names):
        left, right = drawn[k] = grid.add(2 * k), grid.add(2 * k + 1)
        add_colorbar(left, draw_image(left, images[k], norm=asinh_norm(images[k]), aspect=grid.aspect), flux if grid.labeled else "")
        norm = symmetric_norm(significance[k], at_least=5.0, linear=3.0)
        add_colorbar(
            right,
            draw_image(right, significance[k], norm=norm, aspect=grid.aspect, cmap=DIVERGING),
            "signed map / σ" if grid.labeled else "",
        )
        title_component(left, k, name, width=grid.image_width + 0.5)
        right.set_title("signed, S/N", loc="left", fontsize=12)
    add_guides(drawn[0, 0], grid, shape)
    return drawn


def _significance(maps: NDArray[np.floating], error: NDArray[np.floating]) -> NDArray[np.float64]:
    """Maps over errors; NaN where the error is no positive number."""
    known = np.isfinite(maps) & np.isfinite(error) & (error > 0)
    return np.divide(maps, error, out=np.full(maps.shape, np.nan), where=known, dtype=np.float64)
