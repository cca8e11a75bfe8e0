"""One map of abundances per endmember."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import Result
from ..errors import ParameterError
from .maps import title_component
from .sky import SkyGrid, add_colorbar, add_guides, draw_image, require_images
from .style import styled

__all__ = ["abundances", "has_abundances"]


@styled
def abundances(
    result: Result, *, figure: Figure | SubFigure | None = None, columns: int | None = None, names: tuple[str, ...] | None = None
) -> NDArray[np.object_]:
    """Abundance maps of all endmembers, on one scale from 0 to 1.

    Where abundances go beyond 1 (as solved) the scale ends at the largest of them. Pixels without number are grey.

    Parameters
    ----------
    result : Result
        Of `unmix`, with maps (K, Ny, Nx).
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure, at `axes[0].figure`.
    columns : int, optional
        By default, what fills a slide best.
    names : tuple of str, optional
        Titles; by default `result.names`.

    Returns
    -------
    ndarray of Axes, shape (K,)

    Raises
    ------
    ParameterError
        If the maps of the result are no abundances.
    ShapeError
        If they are no maps.
    """
    require_images(result)
    if not has_abundances(result):
        raise ParameterError(f"the maps of the result are no abundances (normalization: {result.normalization}): `unmix` makes them.")
    images = result.morphologies.astype(np.float64)
    largest = float(np.nanmax(images, initial=0.0))
    norm = Normalize(0.0, largest if largest > 1 + 1e-6 else 1.0)
    grid = SkyGrid(result.frame, (images.shape[1], images.shape[2]), len(images), columns=columns, figure=figure)
    label = grid.explain("abundance")
    drawn = np.empty(len(images), dtype=object)
    for k, (image, name) in enumerate(zip(images, names or result.names, strict=True)):
        axes: Axes = grid.add(k)
        drawn[k] = axes
        last_in_row = (k + 1) % grid.columns == 0 or k == len(images) - 1
        add_colorbar(axes, draw_image(axes, image, norm=norm, aspect=grid.aspect), label if last_in_row else "")
        title_component(axes, k, name, width=grid.image_width)
    add_guides(drawn[0], grid, (images.shape[1], images.shape[2]))
    return drawn


def has_abundances(result: Result) -> bool:
    """Whether the maps of a result are abundances, which its normalization says."""
    return result.normalization.startswith("abundances")
