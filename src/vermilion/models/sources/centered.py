"""Sources whose images follow from a few numbers: a center, and perhaps a shape."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ParameterError
from ...prox import Identity
from .base import Source
from .box import Box
from .coordinates import bounded

__all__ = ["CenteredSource"]

_FREE = Identity()


class CenteredSource(Source):
    """A source with a free sub-pixel center and further numbers, each of which keeps between its bounds.

    They are read from one parameter, `coordinates`: the first number moves by ``coordinates / scale - 1`` from its start and so
    on, all 0 at the start. So faint and bright sources curve alike, and no optimizer has to know a unit.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B,) or (B, C)
    center : (float, float)
        Pixel (y, x) of the frame, counted from 0.
    box : Box
    model_sigma : float, > 0
        Of the PSF of the model frame, in pixels.
    max_shift : float, > 0
        How far the center may move in y and x, in pixels.
    starts, lows, highs : sequences of float
        Of the further numbers.

    Raises
    ------
    ParameterError
        If a number is out of range.
    """

    starts: Tensor
    lows: Tensor
    highs: Tensor

    def __init__(
        self,
        spectrum: Any,
        center: tuple[float, float],
        box: Box,
        *,
        model_sigma: float,
        max_shift: float,
        starts: list[float] | None = None,
        lows: list[float] | None = None,
        highs: list[float] | None = None,
    ) -> None:
        super().__init__(spectrum, box)
        for name, value in (("model_sigma", model_sigma), ("max_shift", max_shift)):
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"{name} is {value}: expected a finite number > 0, in pixels.")
        begin = [float(c) for c in center]
        dtype, device = self.spectrum.dtype, self.spectrum.device
        for name, values in (
            ("starts", begin + (starts or [])),
            ("lows", [c - max_shift for c in begin] + (lows or [])),
            ("highs", [c + max_shift for c in begin] + (highs or [])),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=dtype, device=device))
        self.coordinates = nn.Parameter(self.scale * torch.ones_like(self.starts))
        self.model_sigma = float(model_sigma)

    def numbers(self) -> Tensor:
        """Center (y, x) in the frame, and the further numbers."""
        return bounded(self.coordinates / self.scale - 1, self.starts, self.lows, self.highs)

    @property
    def center(self) -> tuple[float, float]:
        """Pixel (y, x) of the frame."""
        y, x = self.numbers().detach()[:2].tolist()
        return y, x

    def center_in_box(self, numbers: Tensor) -> Tensor:
        """Center (2,) in pixels of the box."""
        return numbers[:2] - torch.tensor(self.box.origin, dtype=numbers.dtype, device=numbers.device)

    def blocks(self) -> list[dict[str, Any]]:
        """Spectra, and the coordinates."""
        return [*super().blocks(), {"name": "coordinates", "params": [self.coordinates], "prox": _FREE}]
