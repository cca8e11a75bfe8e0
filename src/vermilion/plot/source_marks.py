"""Sources marked on an image by what they are, with their numbers."""

from __future__ import annotations

import math

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..datamodels import SceneResult
from .style import plain

__all__ = ["add_kind_legend", "identifiers", "mark_sources"]

MARKERS = {"point": "+", "galaxy": "o", "two-component": "D", "undecided": "s"}
OTHER = "x"
FEW = 12  # sources; more of them are marked smaller


def identifiers(result: SceneResult) -> tuple[str, ...]:
    """What sources are called in the catalog: its column id, or their places counted from 0."""
    if len(result.catalog) == len(result.sources) and "id" in result.catalog.colnames:
        return tuple(plain(value, limit=10) for value in result.catalog["id"])
    return tuple(map(str, range(len(result.sources))))


def mark_sources(axes: Axes, result: SceneResult, *, within: tuple[slice, slice] | None = None, color: str = "white") -> None:
    """A sign at each source that has a place in the image, or in the part of it `within`, its number beside it; the sky has none."""
    box = within if within is not None else (slice(0, result.models.shape[-2]), slice(0, result.models.shape[-1]))
    shown = [
        (source.center, source.kind, name)
        for source, name in zip(result.sources, identifiers(result), strict=True)
        if source.kind != "sky" and _inside(source.center, box)
    ]
    small = len(shown) > FEW
    edge = "black" if color == "white" else "white"
    directions = _free_directions(np.array([center for center, _, _ in shown]).reshape(-1, 2), box, margin=0.07 if within is None else 0.2)
    for ((y, x), kind, name), (up, right) in zip(shown, directions, strict=True):
        marker = MARKERS.get(kind, OTHER)
        for line, width in ((edge, 2.6), (color, 1.1)):
            axes.plot(x, y, marker, ms=5 if small else 7, mec=line, mfc="none", mew=width)
        axes.annotate(
            name,
            (x, y),
            xytext=(5 * right, 4 * up),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
            va="bottom" if up > 0 else "top",
            color=color,
            fontsize=8 if small else 10,
            parse_math=False,
            path_effects=[patheffects.withStroke(linewidth=2.2, foreground=edge, alpha=0.8)],
        )


def _inside(center: tuple[float, float], box: tuple[slice, slice]) -> bool:
    return all(math.isfinite(c) and part.start - 0.5 <= c <= part.stop - 0.5 for c, part in zip(center, box, strict=True))


def _free_directions(centers: NDArray[np.float64], box: tuple[slice, slice], *, margin: float) -> NDArray[np.int64]:
    """Signs (n, 2) of (y, x) that point away from a close neighbor, and from an edge nearer than that share of the image.

    Up and right where all is free.
    """
    start, size = (np.array([getter(part) for part in box]) for getter in (lambda s: s.start, lambda s: s.stop - s.start))
    signs = np.ones(centers.shape, dtype=np.int64)
    if len(centers) > 1:
        steps = centers[:, None] - centers
        distances = np.hypot(steps[..., 0], steps[..., 1]) + np.where(np.eye(len(centers), dtype=bool), np.inf, 0.0)
        nearest = distances.argmin(axis=1)
        close = distances.min(axis=1) < max(0.12, margin) * size.max()
        away = np.where(steps[np.arange(len(centers)), nearest] < 0, -1, 1)
        signs[close] = away[close]
    signs[centers > start + (1 - margin) * size] = -1
    signs[centers < start + margin * size] = 1
    return signs


def add_kind_legend(figure: Figure | SubFigure, result: SceneResult) -> None:
    """What the signs mean, below the figure; nothing where there is no sign."""
    kinds = list(dict.fromkeys(source.kind for source in result.sources if source.kind != "sky"))
    kinds.sort(key=lambda kind: (*MARKERS, kind).index(kind))
    signs = [Line2D([], [], ls="", marker=MARKERS.get(kind, OTHER), mec="0.15", mfc="none", mew=1.2, ms=8) for kind in kinds]
    labels = [f"{plain(kind)} ({sum(source.kind == kind for source in result.sources)})" for kind in kinds]
    if labels:
        figure.legend(signs, labels, loc="outside lower center", ncols=len(labels), handletextpad=0.2)
