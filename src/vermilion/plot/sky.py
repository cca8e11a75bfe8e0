"""Images on the sky: axes, stretch, color bar, scale bar and compass."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
from astropy import units as u
from astropy.wcs import WCS, WcsError
from astropy.wcs.utils import proj_plane_pixel_scales
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from ..datamodels import Frame
from ..errors import ShapeError
from .style import MISSING, SEQUENTIAL, new_figure

__all__ = ["SkyGrid", "add_colorbar", "add_guides", "asinh_norm", "draw_image", "require_images", "symmetric_norm"]

SLIDE = 16 / 9
# Inches: a color bar with its numbers, its label, the tick labels left of the grid, title and tick labels of a row.
BAR, LABEL, LEFT, TOP = 0.95, 0.35, 1.35, 0.65
# The label of a color bar needs that height.
LABELED = 2.3
TALLEST = 9.6
LABELS = {"RA": "RA", "DEC": "Dec", "GLON": "Galactic longitude", "GLAT": "Galactic latitude"}
NICE_ARCSEC = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000)


class SkyGrid:
    """Places for `n` images of one frame on one figure, with sky axes where the frame knows the sky.

    Parameters
    ----------
    frame : Frame or None
    shape : tuple of int
        (Ny, Nx).
    n : int
        Number of images.
    columns : int, optional
        By default, what fills a slide best.
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure of fitting size.
    """

    def __init__(
        self,
        frame: Frame | None,
        shape: tuple[int, int],
        n: int,
        *,
        columns: int | None = None,
        figure: Figure | SubFigure | None = None,
    ) -> None:
        self.wcs, self.shape, self.n = _celestial(frame), shape, n
        scale = (1.0, 1.0) if self.wcs is None else tuple(proj_plane_pixel_scales(self.wcs))
        ratio = shape[0] * scale[1] / (shape[1] * scale[0])
        # A slit of 3 × 200 pixels is stretched until something can be seen in it.
        self.to_scale = 1 / 6 <= ratio <= 3
        self.aspect: float | str = scale[1] / scale[0] if self.to_scale else "auto"
        self.ratio = min(max(ratio, 1 / 6), 3.0)
        self.columns = columns or self._best_columns(n)
        self.rows = math.ceil(n / self.columns)
        widest = (13.2 - LEFT) / self.columns - BAR - LABEL
        highest = (TALLEST - 0.6) / self.rows - TOP
        self.image_width = max(min(widest, highest / self.ratio, 4.6 / math.sqrt(min(self.ratio, 2.0))), 1.5)
        self.labeled = self.image_width * self.ratio >= LABELED
        width = self.columns * (self.image_width + BAR + LABEL * self.labeled) + LEFT
        height = self.rows * (self.image_width * self.ratio + TOP) + 0.6 + 0.4 * (not self.labeled)
        self.figure = figure if figure is not None else new_figure(width, height)

    def _best_columns(self, n: int) -> int:
        """Columns for which the figure comes nearest to the shape of a slide, few places staying empty."""

        def badness(columns: int) -> float:
            rows = math.ceil(n / columns)
            shape = columns / (rows * (0.7 * self.ratio + 0.3))
            return abs(math.log(shape / SLIDE)) + 0.8 * (rows * columns - n) / columns

        return min(range(1, min(n, 4) + 1), key=badness)

    def explain(self, label: str) -> str:
        """`label` if color bars have room for it; otherwise it is written once below the grid, and "" comes back."""
        if self.labeled:
            return label
        self.figure.supxlabel(f"Color bars: {label}", fontsize=11)
        return ""

    def add(self, index: int) -> Axes:
        """Axes of image `index`; only the outer ones of the grid carry coordinates."""
        axes = self.figure.add_subplot(self.rows, self.columns, index + 1, projection=self.wcs)
        left = index % self.columns == 0
        bottom = index + self.columns >= self.n
        if self.wcs is None:
            _label_pixels(axes, left=left, bottom=bottom)
        else:
            _label_sky(
                axes,
                self.wcs,
                self.shape,
                left=left,
                bottom=bottom,
                ticks=2 if self.image_width < 2.2 else 3 if self.image_width < 2.9 else 4,
            )
        return axes


def require_images(result: Any) -> None:
    """Refuse morphologies (K, N) that have no place on the sky."""
    if result.morphologies.ndim != 3:
        raise ShapeError(
            f"morphologies has shape {result.morphologies.shape}: expected maps (K, Ny, Nx); Frame.to_image makes maps of (K, N)."
        )


def _celestial(frame: Frame | None) -> WCS | None:
    """The two sky axes of the frame's coordinates, None where there are none or they cannot be inverted."""
    if frame is None or frame.wcs is None:
        return None
    try:
        if not frame.wcs.has_celestial:
            return None
        wcs = frame.wcs.celestial
        center = wcs.wcs_pix2world((frame.shape[1] - 1) / 2, (frame.shape[0] - 1) / 2, 0)
    except WcsError:
        return None
    scales = proj_plane_pixel_scales(wcs)
    usable = np.isfinite([*scales, *center]).all() and np.all(scales > 0)
    return wcs if usable else None


def _label_pixels(axes: Axes, *, left: bool, bottom: bool) -> None:
    axes.locator_params(integer=True, nbins=5)
    axes.tick_params(labelleft=left, labelbottom=bottom)
    if left:
        axes.set_ylabel("y [pixel]")
    if bottom:
        axes.set_xlabel("x [pixel]")


def _label_sky(axes: Any, wcs: WCS, shape: tuple[int, int], *, left: bool, bottom: bool, ticks: int) -> None:
    # On a rotated image both coordinates cross each edge: each is written on the edge along which it runs more.
    _, east = _north_east(wcs, shape)
    across, along = (wcs.wcs.lng, wcs.wcs.lat) if not abs(east[0]) < abs(east[1]) else (wcs.wcs.lat, wcs.wcs.lng)
    for world, side, shown in ((across, "b", bottom), (along, "l", left)):
        coordinate, name = axes.coords[world], wcs.wcs.ctype[world].split("-")[0]
        coordinate.set_ticks(number=ticks if side == "b" else max(ticks, 3))  # labels stand side by side below
        coordinate.set_ticks_position(side)
        coordinate.set_ticklabel(exclude_overlapping=True, simplify=True)
        coordinate.set_ticklabel_position(side if shown else "")
        coordinate.set_axislabel_position(side if shown else "")
        coordinate.set_axislabel(LABELS.get(name, name) if shown else "", minpad=0.6)
        coordinate.set_auto_axislabel(False)


def _north_east(wcs: WCS, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Directions of north and east (2, xy) on the drawing, of length 1, at the center of the image; NaN beside a pole."""
    center = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    scale = np.asarray(proj_plane_pixel_scales(wcs))
    world, step, lon, lat = np.array(wcs.wcs_pix2world(*center, 0)), float(scale.min()), wcs.wcs.lng, wcs.wcs.lat
    if abs(world[lat]) + step >= 90:
        return np.full((2, 2), np.nan)
    sky = np.stack([world, world])
    sky[0, lat] += step
    sky[1, lon] += step / math.cos(math.radians(world[lat]))
    arrows = (wcs.wcs_world2pix(sky, 0) - center) * scale  # pixels may be oblong, their drawing is not distorted
    return arrows / np.linalg.norm(arrows, axis=1, keepdims=True)


def asinh_norm(image: NDArray[Any]) -> AsinhNorm:
    """A stretch that shows the faint and keeps the bright, and that no single pixel decides.

    The upper limit leaves out the brightest pixel of 300 (at least one); the lower limit is 0, or what one pixel in 100 lies below.
    It is linear up to about the median of what is positive, or of the sizes where nothing is.
    """
    values = image[np.isfinite(image)].astype(np.float64)
    if values.size == 0 or not values.any():
        return AsinhNorm(linear_width=1.0, vmin=0.0, vmax=1.0)
    rank = max(values.size - 2 - values.size // 300, 0) if values.size > 20 else values.size - 1
    upper = np.partition(values, rank)[rank]
    lower = min(float(np.percentile(values, 1)), 0.0)
    if upper <= max(lower, 0.0):
        upper = values.max() if values.max() > lower else lower + abs(lower)
    reach = max(upper, -lower)
    typical = float(np.median(values[values > 0])) if upper > 0 else float(np.median(np.abs(values)))
    return AsinhNorm(linear_width=float(np.clip(typical, 0.02 * reach, 0.3 * reach)) or 1.0, vmin=lower, vmax=float(upper))


def symmetric_norm(image: NDArray[Any], *, at_least: float = 0.0, linear: float | None = None) -> Normalize:
    """Limits around 0 that leave out the most extreme pixel of 200; asinh beyond `linear` if the limits are far beyond it."""
    values = np.abs(image[np.isfinite(image)])
    limit = float(np.percentile(values, 99.5)) if values.size else 0.0
    limit = max(limit, at_least) or 1.0
    if linear is not None and limit > 4 * linear:
        return AsinhNorm(linear_width=linear, vmin=-limit, vmax=limit)
    return Normalize(vmin=-limit, vmax=limit)


def draw_image(axes: Axes, image: NDArray[Any], *, norm: Normalize, aspect: float | str = "equal", cmap: str = SEQUENTIAL) -> AxesImage:
    """`image` on `axes`, first row below, grey where there is no number."""
    colors = mpl.colormaps[cmap].with_extremes(bad=MISSING)
    return axes.imshow(image, norm=norm, cmap=colors, origin="lower", aspect=aspect, interpolation="nearest")  # type: ignore[arg-type]


def add_colorbar(axes: Axes, image: AxesImage, label: str = "") -> Axes:
    """A color bar as high as the image, with arrows where values lie outside the limits."""
    values = np.ma.filled(np.ma.masked_invalid(image.get_array()), np.nan)  # type: ignore[arg-type]
    norm = image.norm
    vmin, vmax = np.array([norm.vmin, norm.vmax], dtype=np.float64)
    below, above = bool(np.any(values < vmin)), bool(np.any(values > vmax))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
    place = mpl.axes.Axes.inset_axes(axes, (1.03, 0.0, 0.05, 1.0), projection="rectilinear")
    bar = axes.get_figure(root=True).colorbar(image, cax=place, extend=extend, extendfrac=0.035)  # type: ignore[union-attr]
    if isinstance(norm, AsinhNorm):
        bar.set_ticks(_asinh_ticks(norm), minor=False)
        bar.minorticks_off()
        bar.formatter = mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))
    bar.ax.tick_params(labelsize=10, length=3)
    if label:
        bar.set_label(label, fontsize=11)
    return bar.ax


def _asinh_ticks(norm: AsinhNorm) -> list[float]:
    """About five round values, evenly spread over the bar rather than over the flux."""
    vmin, vmax = np.array([norm.vmin, norm.vmax], dtype=np.float64)
    symmetric = vmin == -vmax
    ticks = [0.0] if vmin <= 0 <= vmax else []
    for value in np.asarray(norm.inverse(np.array([0.67, 0.82, 0.97] if symmetric else [0.25, 0.5, 0.75, 0.97])), dtype=np.float64):
        step = 10.0 ** math.floor(math.log10(abs(value))) if value else 1.0
        digits = 1 if abs(value) / step >= 2 else 0.5
        rounded = math.floor(value / (step * digits)) * step * digits
        if vmin <= rounded <= vmax and all(abs(norm(rounded) - norm(tick)) > 0.12 for tick in ticks):
            ticks.append(rounded)
    return sorted({*ticks, *(-tick for tick in ticks)} if symmetric else ticks)


def add_guides(axes: Axes, grid: SkyGrid, shape: tuple[int, int]) -> None:
    """A scale bar and a compass (north, east) in the lower corners, where the sky is known and the image to scale."""
    if grid.wcs is None or not grid.to_scale:
        return
    _scale_bar(axes, grid.wcs, shape)
    _compass(axes, grid.wcs, shape, length=min(0.13 * min(1.0, grid.ratio), 0.4 / grid.image_width))


def _outlined() -> list[Any]:
    return [patheffects.withStroke(linewidth=2.5, foreground="black", alpha=0.75)]


def _scale_bar(axes: Axes, wcs: WCS, shape: tuple[int, int]) -> None:
    arcsec_per_pixel = float(proj_plane_pixel_scales(wcs)[0] * u.deg.to(u.arcsec))
    width = shape[1] * arcsec_per_pixel
    length = max((size for size in NICE_ARCSEC if size <= 0.34 * width), default=None)
    if length is None or width > 4 * NICE_ARCSEC[-1]:
        return
    text = f"{length:g}″" if length < 60 else f"{length / 60:g}′" if length < 3600 else f"{length / 3600:g}°"
    start, size = 0.06, length / width
    axes.plot([start, start + size], [0.06, 0.06], color="white", lw=2.5, transform=axes.transAxes, path_effects=_outlined())
    axes.text(
        start + size / 2,
        0.085,
        text,
        color="white",
        ha="center",
        va="bottom",
        fontsize=11,
        transform=axes.transAxes,
        path_effects=_outlined(),
    )


def _compass(axes: Axes, wcs: WCS, shape: tuple[int, int], *, length: float) -> None:
    """Arrows as long as `length` times the width of the image, where the coordinates are equatorial."""
    arrows = _north_east(wcs, shape)
    if np.isfinite(arrows).all() and wcs.wcs.lngtyp.strip() == "RA":
        scale = np.asarray(proj_plane_pixel_scales(wcs))
        _draw_compass(axes, arrows * length * shape[1] * scale[0], extent=scale * (shape[1], shape[0]))


def _draw_compass(axes: Axes, arrows: NDArray[Any], *, extent: NDArray[Any]) -> None:
    # The letters stand beyond the tips: keep both inside the lower right corner whatever way they point.
    reach = np.vstack([arrows * 1.7, [[0, 0]]])
    corner = np.array([extent[0] * 0.96 - reach[:, 0].max(), extent[1] * 0.04 - reach[:, 1].min()])
    for arrow, letter in zip(arrows, "NE", strict=True):
        tip, label = (corner + arrow) / extent, (corner + 1.4 * arrow) / extent
        axes.annotate(
            "",
            xy=tuple(tip),
            xytext=tuple(corner / extent),
            xycoords="axes fraction",
            arrowprops={"arrowstyle": "-|>", "color": "white", "lw": 1.6, "shrinkA": 0, "shrinkB": 0, "path_effects": _outlined()},
        )
        axes.text(
            label[0],
            label[1],
            letter,
            color="white",
            ha="center",
            va="center",
            fontsize=11,
            transform=axes.transAxes,
            path_effects=_outlined(),
        )
