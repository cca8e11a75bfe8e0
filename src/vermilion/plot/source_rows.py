"""One row of pictures per source: what belongs to it, and what is left without it."""

from __future__ import annotations

import math

import numpy as np
from astropy import units as u
from astropy.wcs.utils import proj_plane_pixel_scales
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..datamodels import Frame, SceneResult
from ..errors import ParameterError
from .lupton import LuptonScale
from .scene import known_data, residual_sigma
from .sky import draw_image
from .source_marks import identifiers, mark_sources
from .spectral import BandAxis
from .style import COLORS, DIVERGING, decade, fitting, new_figure, plain, styled, unit_label, with_unit

__all__ = ["source_rows"]

Array = NDArray[np.float64]

TITLES = ("Data", "Model", "Data − others", "Residual")
LIMIT = 5.0  # sigma
SMALLEST, LARGEST = 8, 32  # pixels from the center to the edge of a cut-out
ENCLOSED = 0.95  # share of the flux that a cut-out should hold
ROW, LEFT = 1.75, 1.5  # inches


@styled
def source_rows(
    data: NDArray[np.floating],
    weights: NDArray[np.floating],
    result: SceneResult,
    *,
    n_rows: int = 10,
    figure: Figure | SubFigure | None = None,
) -> NDArray[np.object_]:
    """A row per source, brightest first: data | its model | data without all the others | residual | its spectrum.

    The three color images of a row share one scale, on which the brightest pixel of the source's model is white. The residual is that of
    the whole scene, in units of its noise and summed over the bands. The spectrum has the fluxes of the fit and, as open signs, those of
    the refit that may be negative.

    Parameters
    ----------
    data : ndarray, shape (B, Ny, Nx)
        What was fitted; may be NaN where the weight is 0.
    weights : ndarray, shape (B, Ny, Nx)
        Inverse variances.
    result : SceneResult
        With at least one source.
    n_rows : int
        Sources shown at most; the figure says how many are left out.
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure, at `axes[0, 0].figure`.

    Returns
    -------
    ndarray of Axes, shape (rows, 5)

    Raises
    ------
    ParameterError
        If there is no source, or `n_rows` is below 1.
    ShapeError
        If data, weights and models do not have the same bands and pixels.
    """
    seen, model = known_data(data, weights, result), result.model
    if not result.sources or n_rows < 1:
        raise ParameterError(f"{len(result.sources)} sources in {n_rows} rows: expected at least one of each.")
    order = np.argsort(-np.nan_to_num(result.fluxes).sum(axis=1), kind="stable")[:n_rows]
    scale = LuptonScale.of(seen, result.bands, result.frame)
    residual = residual_sigma(seen, weights, model)
    figure = new_figure(13.0, ROW * len(order) + 1.1) if figure is None else figure
    grid = figure.add_gridspec(len(order), 5, width_ratios=(1, 1, 1, 1, 1.7))
    norm = Normalize(-LIMIT, LIMIT)
    drawn = np.empty((len(order), 5), dtype=object)
    for row, k in enumerate(order):
        box = _cut_out(result.models[k], result.sources[k].center)
        own = result.models[k]
        colored = scale.with_white(own[:, *box])
        for column, image in enumerate((seen, own, seen - (model - own))):
            axes = drawn[row, column] = figure.add_subplot(grid[row, column])
            axes.imshow(colored.rgb(image[:, *box]), origin="lower", interpolation="nearest", extent=_extent(box))
        axes = drawn[row, 3] = figure.add_subplot(grid[row, 3])
        draw_image(axes, residual[box], norm=norm, cmap=DIVERGING).set_extent(_extent(box))
        _dress(drawn[row, :4], result, int(k), box)
        drawn[row, 4] = figure.add_subplot(grid[row, 4])
        _spectrum(drawn[row, 4], result, int(k), last=row == len(order) - 1)
    for axes, title in zip(drawn[0], TITLES, strict=False):
        axes.set_title(title, loc="left", fontweight="bold")
    figure.align_ylabels(list(drawn[:, 4]))
    drawn[0, 4].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1, handletextpad=0.2)
    bar = figure.colorbar(ScalarMappable(norm, DIVERGING), ax=drawn[-1, 3], location="bottom", pad=0.04, aspect=14, extend="both")
    bar.set_label("residual / σ", fontsize=11)
    _say_what_is_left_out(figure, len(order), len(result.sources))
    return drawn


def _cut_out(model: NDArray[np.floating], center: tuple[float, float]) -> tuple[slice, slice]:
    """The pixels (y, x) around a source that hold most of its light, as far as the image goes."""
    n_y, n_x = model.shape[-2:]
    total = np.nan_to_num(model.sum(axis=0))
    y, x = (float(np.clip(c if math.isfinite(c) else (n - 1) / 2, 0, n - 1)) for c, n in zip(center, (n_y, n_x), strict=True))
    rows, columns = np.indices((n_y, n_x))
    distance = np.maximum(np.abs(rows - y), np.abs(columns - x)).ravel()
    outward = np.argsort(distance, kind="stable")
    grown = np.cumsum(np.abs(total).ravel()[outward])
    radius = distance[outward[np.searchsorted(grown, ENCLOSED * grown[-1])]] if grown[-1] > 0 else 0.0
    half = int(np.clip(math.ceil(1.3 * radius), SMALLEST, LARGEST))
    return tuple(slice(max(round(c) - half, 0), min(round(c) + half + 1, n)) for c, n in ((y, n_y), (x, n_x)))  # type: ignore[return-value]


def _extent(box: tuple[slice, slice]) -> tuple[float, float, float, float]:
    y, x = box
    return x.start - 0.5, x.stop - 0.5, y.start - 0.5, y.stop - 0.5


def _dress(panels: NDArray[np.object_], result: SceneResult, k: int, box: tuple[slice, slice]) -> None:
    """Signs of the sources, the name of this one on the left, the size of the cut-out."""
    names = identifiers(result)
    left, right, bottom, top = _extent(box)
    for index, axes in enumerate(panels):
        axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
        if index in (0, 3):
            mark_sources(axes, result, within=box, color="black" if index == 3 else "white")
    source = result.sources[k]
    lines = [names[k], fitting(source.kind, LEFT, size=11)]
    if source.probabilities.get(source.kind) is not None:
        lines.append(f"p = {source.probabilities[source.kind]:.2f}")
    panels[0].set_ylabel("\n".join(lines), rotation=0, ha="right", va="center", labelpad=8, parse_math=False)
    panels[1].text(
        0.04,
        0.04,
        _width(result.frame, box),
        color="white",
        transform=panels[1].transAxes,
        fontsize=9,
        path_effects=[patheffects.withStroke(linewidth=2, foreground="black", alpha=0.7)],
    )


def _width(frame: Frame | None, box: tuple[slice, slice]) -> str:
    """Width of a cut-out on the sky, or in pixels."""
    pixels = box[1].stop - box[1].start
    if frame is None or frame.wcs is None or not frame.wcs.has_celestial:
        return f"↔ {pixels} pixels"
    return f"↔ {pixels * proj_plane_pixel_scales(frame.wcs.celestial)[0] * u.deg.to(u.arcsec):.3g}″"


def _spectrum(axes: Axes, result: SceneResult, k: int, *, last: bool) -> None:
    """Fluxes of the fit with their errors, and signed ones beside them."""
    n_bands = result.fluxes.shape[1]
    shape = result.models.shape[-2:]
    frame = result.frame if result.frame is not None else Frame(shape=shape, n_bands=n_bands, band_names=result.bands)
    band_axis = BandAxis(frame, n_bands)
    power = decade(result.fluxes[k] if np.nan_to_num(result.fluxes[k]).any() else result.signed_fluxes[k])
    fit, fit_error, signed, signed_error = (
        table[k][band_axis.order].astype(np.float64) / 10.0**power
        for table in (result.fluxes, result.flux_errors, result.signed_fluxes, result.signed_flux_errors)
    )
    step = 0.12 * np.diff(band_axis.edges)
    axes.axhline(0, color="0.75", lw=0.8, zorder=1)
    series = ((-step, fit, fit_error, COLORS[0], COLORS[0], "fit"), (step, signed, signed_error, COLORS[1], "white", "signed"))
    for shift, fluxes, errors, color, face, label in series:
        axes.errorbar(
            band_axis.centers + shift, fluxes, _lengths(errors), fmt="o", ms=5, mfc=face, color=color, capsize=2.5, lw=1.2, label=label
        )
    band_axis.dress(axes, ticks=last, label=last)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylim(*_limits(fit, fit_error, signed, signed_error))
    axes.locator_params(axis="y", nbins=4)
    unit = unit_label(result.frame.unit, power=power) if result.frame is not None else (f"$10^{{{power}}}$" if power else "")
    axes.set_ylabel(with_unit("Flux", unit), fontsize=11)


def _limits(fit: Array, fit_error: Array, signed: Array, signed_error: Array) -> tuple[float, float]:
    """Limits that the fluxes of the fit decide: where sources cannot be told apart, signed ones and errors lie far outside."""
    reach = float(np.nanmax(np.abs(fit), initial=0.0)) or float(np.nanmedian(np.nan_to_num(np.abs(signed)))) or 1.0
    ends = np.concatenate([x + s * _lengths(e) for x, e in ((fit, fit_error), (signed, signed_error)) for s in (-1, 1)])
    ends = np.clip(ends[np.isfinite(ends)], -0.5 * reach, 1.5 * reach)
    low, high = min(float(ends.min(initial=0.0)), 0.0), max(float(ends.max(initial=0.0)), 0.0)
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


def _lengths(errors: Array) -> Array:
    """Errors that can be drawn: none where there is no finite one."""
    return np.where(np.isfinite(errors), errors, 0.0)


def _say_what_is_left_out(figure: Figure | SubFigure, shown: int, n: int) -> None:
    if shown < n:
        text = f"The {plain(shown)} brightest of {n} sources: {n - shown} are not shown."
        figure.supxlabel(text, fontsize=11, x=0.02, ha="left")
