"""A rectangle of pixels, which may leave the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import ParameterError

__all__ = ["Box"]

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Box:
    """Pixels ``origin`` to ``origin + shape - 1`` of a frame.

    Parameters
    ----------
    origin : (int, int)
        Pixel (y, x) of the frame where the box begins; may be negative.
    shape : (int, int)
        (h, w), at least 1.

    Raises
    ------
    ParameterError
        If a number is not an integer, or a size is below 1.

    Examples
    --------
    >>> Box((-1, 2), (3, 3)).overlap((4, 4))
    ((slice(0, 2, None), slice(2, 4, None)), (slice(1, 3, None), slice(0, 2, None)))
    """

    origin: tuple[int, int]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        for name, pair in (("origin", self.origin), ("shape", self.shape)):
            if len(pair) != 2 or not all(isinstance(n, int) for n in pair) or (name == "shape" and min(pair) < 1):
                raise ParameterError(f"{name} is {pair}: expected two integers, of a shape at least 1.")

    @classmethod
    def around(cls, center: tuple[float, float], radius: int | tuple[int, int]) -> Box:
        """Box of odd size ``2 radius + 1`` around the pixel that holds `center` (y, x); one radius, or one along y and one along x."""
        if not all(math.isfinite(c) for c in center):
            raise ParameterError(f"center is {center}: expected a pixel (y, x), counted from 0.")
        y, x = (round(float(c)) for c in center)
        ry, rx = (radius, radius) if isinstance(radius, int) else radius
        return cls((y - ry, x - rx), (2 * ry + 1, 2 * rx + 1))

    @property
    def center(self) -> tuple[int, int]:
        """Pixel (y, x) of the frame in the middle, or next after it."""
        return self.origin[0] + self.shape[0] // 2, self.origin[1] + self.shape[1] // 2

    def overlap(self, frame: tuple[int, int]) -> tuple[Slices, Slices]:
        """Where a frame (H, W) and the box share pixels: slices of the frame, and of the box; empty ones where they do not."""
        return self.overlap_with(Box((0, 0), frame))

    def overlap_with(self, other: Box) -> tuple[Slices, Slices]:
        """Where two boxes share pixels: slices of the other, and of this one; empty ones where they do not."""
        theirs, ours = [], []
        for begin, size, start, extent in zip(self.origin, self.shape, other.origin, other.shape, strict=True):
            first = max(begin, start)
            last = max(first, min(begin + size, start + extent))
            shares = last > first
            theirs.append(slice(first - start, last - start) if shares else slice(0, 0))
            ours.append(slice(first - begin, last - begin) if shares else slice(0, 0))
        return (theirs[0], theirs[1]), (ours[0], ours[1])
