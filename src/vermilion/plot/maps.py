"""One map per component."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import Result
from .sky import SkyGrid, add_colorbar, add_guides, asinh_norm, draw_image, require_images
from .style import color, decade, fitting, number, styled, unit_label, with_unit

__all__ = ["component_maps", "maps", "title_component"]


@styled
def maps(
    result: Result, *, figure: Figure | SubFigure | None = None, columns: int | None = None, names: tuple[str, ...] | None = None
) -> NDArray[np.object_]:
    """Maps of all components, in the unit of the data averaged over the bands.

    A map is drawn as ``mean_b |A_bk| · S_k``, times the brightness where there is one, which does not depend on how the scale is shared
    between A and S. Each has its own asinh stretch; all have the same unit, so that their color bars can be compared. Pixels without number
    are grey.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx).
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
    ShapeError
        If the morphologies are no maps.
    """
    require_images(result)
    images = component_maps(result)
    power = decade(images)
    images = images / 10.0**power
    shape = (images.shape[1], images.shape[2])
    unit = result.frame.unit if result.frame is not None else None
    label = with_unit("mean flux", unit_label(unit, power=power)) if result.frame is not None else f"mean flux × $10^{{{-power}}}$"
    grid = SkyGrid(result.frame, shape, len(images), columns=columns, figure=figure)
    label = grid.explain(label)
    drawn = np.empty(len(images), dtype=object)
    for k, (image, name) in enumerate(zip(images, names or result.names, strict=True)):
        axes = drawn[k] = grid.add(k)
        shown = draw_image(axes, image, norm=asinh_norm(image), aspect=grid.aspect)
        last_in_row = (k + 1) % grid.columns == 0 or k == len(images) - 1
        add_colorbar(axes, shown, label if last_in_row else "")
        title_component(axes, k, name, width=1.08 * grid.image_width - 0.5)
        _note_total(axes, float(np.nansum(image)))
    add_guides(drawn[0], grid, shape)
    return drawn


def component_maps(result: Result) -> NDArray[np.float64]:
    """Maps (K, Ny, Nx) in the unit of the data, averaged over the bands with a spectrum."""
    spectra = np.abs(result.spectra.astype(np.float64))
    known = np.isfinite(spectra).all(axis=1)
    strength = spectra[known].mean(axis=0) if known.any() else np.full(result.n_components, np.nan)
    return strength[:, None, None] * result.amounts.astype(np.float64)


def title_component(axes: Axes, k: int, name: str, *, width: float) -> None:
    """Name of component k above the left edge, in its color and as long as `width` inches allow."""
    size = 13.0 if width > 1.8 else 11.0
    title = fitting(name, width, size=size, bold=True)
    axes.set_title(title, loc="left", color=color(k), fontsize=size, fontweight="bold", parse_math=False)


def _note_total(axes: Axes, total: float) -> None:
    """The flux of the component, over the right end of its color bar."""
    axes.annotate(
        f"total {number(total)}",
        xy=(1.05, 1),
        xycoords="axes fraction",
        xytext=(38, 6),
        textcoords="offset points",
        ha="right",
        va="baseline",
        fontsize=11,
        annotation_clip=False,
    )
