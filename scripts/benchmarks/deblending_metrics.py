"""How well blends are taken apart: numbers per source, their summaries, and intervals over blends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Statistic = Callable[[Array], float]

FFT_SHAPE = (5, 128, 128)
LEAST_SHARE = 1e-3  # of the flux over all bands: fluxes below it, negative ones too, count as this in colors
SNR_EDGES = (5.0, 10.0, 20.0, 50.0, 100.0)
BLENDEDNESS_EDGES = (0.0, 0.2, 0.5, 1.0)
DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Sources:
    """Values of the sources of all blends that one method was run on; the sources are in the same order for every method.

    Parameters
    ----------
    blend : ndarray of int, shape (n,)
        Number of the blend that the source belongs to, from 0.
    snr, blendedness : ndarray, shape (n,)
    flux : ndarray, shape (n, B)
        ``|F - F*| / F*``.
    color : ndarray, shape (n, B - 1)
        Magnitudes.
    overlap : ndarray, shape (n,)
        ``sum |m - t| / 2 sum t``.
    """

    blend: NDArray[np.integer[Any]]
    snr: Array
    blendedness: Array
    flux: Array
    color: Array
    overlap: Array


def fft_seconds(calls: int = 100, repeats: int = 3) -> float:
    """CPU seconds of 1000 `torch.fft.rfft2` of 5 x 128 x 128 in float32: the unit of time. Median of several passes."""
    x = torch.zeros(FFT_SHAPE)
    torch.fft.rfft2(x)
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        for _ in range(calls):
            torch.fft.rfft2(x)
        seconds.append((time.process_time() - begin) * 1000 / calls)
    return median(seconds)


def overlap_errors(models: Array, truths: Array) -> Array:
    """``sum |m - t| / 2 sum t`` of each source (n,) over the bands and pixels of its image."""
    return np.asarray(np.abs(models - truths).sum(axis=(1, 2, 3)) / (2 * truths.sum(axis=(1, 2, 3))))


def flux_errors(fluxes: Array, truths: Array) -> Array:
    """``|F - F*| / F*``, shape (n, B)."""
    return np.asarray(np.abs(fluxes - truths) / truths)


def color_errors(fluxes: Array, truths: Array) -> Array:
    """Absolute errors of the colors of neighboring bands in magnitudes, shape (n, B - 1)."""

    def colors(F: Array) -> Array:
        return np.diff(-2.5 * np.log10(np.maximum(F, LEAST_SHARE * np.abs(F).sum(axis=1, keepdims=True) + 1e-30)), axis=1)

    return np.asarray(np.abs(colors(fluxes) - colors(truths)))


def percentile(q: float) -> Statistic:
    """The statistic of that name; NaN of nothing."""
    return lambda values: float(np.percentile(values, q)) if values.size else float("nan")


def selections(sources: Sources) -> dict[str, NDArray[np.bool_]]:
    """All sources, and the bins of signal-to-noise ratio and blendedness."""
    chosen = {"all": np.ones(len(sources.snr), dtype=bool)}
    for name, values, edges in (("S/N", sources.snr, SNR_EDGES), ("blendedness", sources.blendedness, BLENDEDNESS_EDGES)):
        for number, (low, high) in enumerate(pairwise(edges)):
            above = values >= low if number else np.ones(len(values), dtype=bool)
            below = values < high if number < len(edges) - 2 else np.ones(len(values), dtype=bool)
            chosen[f"{name} {low:g}-{high:g}"] = above & below
    return chosen


def summary(sources: Sources) -> dict[str, dict[str, float]]:
    """Median and 90th percentile of each error in each selection."""
    return {
        name: {"sources": int(inside.sum())}
        | {
            f"{metric}_{label}": percentile(q)(getattr(sources, metric)[inside])
            for metric in ("flux", "color", "overlap")
            for label, q in (("median", 50), ("p90", 90))
        }
        for name, inside in selections(sources).items()
    }


def differences(first: Sources, second: Sources, *, seed: int = 0) -> dict[str, dict[str, list[float]]]:
    """First less second of every number of `summary`: the difference and its 95 % interval, blends drawn with replacement."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(first.blend.max() + 1, size=(DRAWS, first.blend.max() + 1))
    table: dict[str, dict[str, list[float]]] = {}
    for name, inside in selections(first).items():
        table[name] = {}
        for metric in ("flux", "color", "overlap"):
            one, two = (getattr(method, metric)[inside] for method in (first, second))
            for label, q in (("median", 50), ("p90", 90)):
                table[name][f"{metric}_{label}"] = bootstrap_difference(one, two, first.blend[inside], percentile(q), draws)
    return table


def bootstrap_difference(
    first: Array, second: Array, blend: NDArray[np.integer[Any]], statistic: Statistic, draws: NDArray[np.integer[Any]]
) -> list[float]:
    """Difference of a statistic of two methods, and its 95 % interval.

    `first` and `second` have one row per source, `blend` (n,) says to which blend it belongs, `draws` (D, blends) which blends each draw
    takes.
    """
    rows = [np.flatnonzero(blend == number) for number in range(draws.shape[1])]
    drawn = []
    for draw in draws:
        chosen = np.concatenate([rows[number] for number in draw])
        drawn.append(statistic(first[chosen]) - statistic(second[chosen]))
    return [statistic(first) - statistic(second), *np.nanpercentile(drawn, [2.5, 97.5]).tolist()]


def calibration(probabilities: Array, happened: NDArray[np.bool_], bins: int = 5) -> dict[str, Any]:
    """Mean over the sources of ``|share that happened - mean probability|`` in equal bins of probability, and the bins."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows: list[dict[str, float]] = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            rows.append(
                {"sources": int(inside.sum()), "probability": float(probabilities[inside].mean()), "share": float(happened[inside].mean())}
            )
    error = sum(row["sources"] * abs(row["share"] - row["probability"]) for row in rows) / max(len(probabilities), 1)
    return {"error": error, "right": float(np.mean((probabilities > 0.5) == happened)) if len(happened) else float("nan"), "bins": rows}


def pulls(fluxes: Array, errors: Array, truths: Array) -> dict[str, float]:
    """Mean, standard deviation and median of the absolute value of ``(F - F*) / error``; errors that are not finite do not count."""
    there = np.isfinite(errors) & (errors > 0)
    values = ((fluxes - truths) / np.where(there, errors, 1))[there]
    if not values.size:
        return {"values": 0}
    return {
        "values": int(values.size),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "std": float(values.std()),
        "median_absolute": float(np.median(np.abs(values))),
    }


def forced_fluxes(templates: Array, data: Array, weights: Array) -> Array:
    """Signed fluxes (n, B) of templates (n, B, Ny, Nx) of flux 1 by least squares, band by band."""
    found = np.empty(templates.shape[:2])
    for b in range(templates.shape[1]):
        T = templates[:, b].reshape(len(templates), -1).astype(float)
        w = weights[b].ravel().astype(float)
        found[:, b] = np.linalg.lstsq((T * w) @ T.T, (T * w) @ data[b].ravel(), rcond=None)[0]
    return found


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the documentation."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
