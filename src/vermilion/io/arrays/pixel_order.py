"""Matrices with one column per pixel as images: whether the pixels run down the columns or along the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pixel_order", "pixels_to_image"]

Array = NDArray[Any]

_ROUGHER = 0.9  # of two orders of pixels, one with so much smaller differences between neighbors is right
_SAMPLED_BANDS = 16


def pixels_to_image(matrix: Array, sizes: tuple[int, int], *, column_major: bool) -> Array:
    """A matrix (B, N) as images (B, Ny, Nx)."""
    rows, columns = sizes
    if column_major:
        return matrix.reshape(-1, columns, rows).transpose(0, 2, 1)
    return matrix.reshape(-1, rows, columns)


def pixel_order(matrix: Array, sizes: tuple[int, int], usual: bool, wanted: str | None = None) -> tuple[bool, str, bool]:
    """Whether pixels run down the columns, why, and whether that deserves attention.

    `usual` is the custom of the format, `wanted` the option, which wins.
    Images are smooth: in the wrong order, neighbors differ more. Where the image is square the two orders are mirror images of each
    other, and nothing in the data tells them apart.
    """
    words = {True: "pixels run down the columns (MATLAB's order)", False: "pixels run along the rows (C's order)"}
    if wanted is not None:
        return wanted == "columns", f"{words[wanted == 'columns']}: option --pixel-order", False
    rows, columns = sizes
    if min(rows, columns) == 1:
        return usual, words[usual], False
    if rows == columns:
        why = f"by custom: in the other order the image would be transposed (--pixel-order {'rows' if usual else 'columns'})"
        return usual, f"{words[usual]}, {why}", True
    step = max(len(matrix) // _SAMPLED_BANDS, 1)
    sample = np.nan_to_num(np.asarray(matrix[::step][:_SAMPLED_BANDS], dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    usual_roughness, other_roughness = (_roughness(pixels_to_image(sample, sizes, column_major=order)) for order in (usual, not usual))
    if other_roughness < _ROUGHER * usual_roughness:
        ratio = usual_roughness / other_roughness
        return not usual, f"{words[not usual]}: in the usual order neighbors would differ {ratio:.2f} times as much", True
    return (
        usual,
        f"{words[usual]}, by custom"
        + (
            ""
            if usual_roughness >= _ROUGHER * other_roughness
            else f": in the other neighbors would differ {other_roughness / usual_roughness:.2f} times as much"
        ),
        False,
    )


def _roughness(images: Array) -> float:
    """Mean difference between neighbors."""
    return float(np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean())
