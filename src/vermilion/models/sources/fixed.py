"""Sources whose image is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import ParameterError, ShapeError
from .base import Source
from .box import Box

__all__ = ["FlatSky", "TemplateSource"]


class FlatSky(Source):
    """The same brightness in all pixels of the frame, of either sign.

    Parameters
    ----------
    level : Tensor or array, shape (B,)
        Brightness per pixel in each band.
    frame : (int, int)
        (H, W).
    """

    kind = "sky"

    def __init__(self, level: Any, frame: tuple[int, int]) -> None:
        n_pixels = frame[0] * frame[1]
        super().__init__(torch.as_tensor(level) * n_pixels, Box((0, 0), frame), signed=True)

    def images(self) -> Tensor:
        """1 / (H W) everywhere."""
        h, w = self.box.shape
        return self.spectrum.new_full((1, h, w), 1 / (h * w))

    @property
    def level(self) -> Tensor:
        """Brightness (B,) per pixel."""
        return self.spectrum[:, 0] / (self.box.shape[0] * self.box.shape[1])

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the frame."""
        h, w = self.box.shape
        return (h - 1) / 2, (w - 1) / 2


class TemplateSource(Source):
    """A fixed image with a free spectrum.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B,) or (B, C)
        Flux in each band.
    image : Tensor or array, shape (h, w) or (C, h, w)
        Any scale; copied, each component scaled to sum 1.
    origin : (int, int)
        Pixel (y, x) of the frame where the first pixel of the image lies.
    signed : bool
        The flux may be negative.

    Raises
    ------
    ShapeError
        If there is not one image per component.
    ParameterError
        If an image is not finite, or its sum is not positive.
    """

    kind = "template"
    image: Tensor

    def __init__(self, spectrum: Any, image: Any, origin: tuple[int, int] = (0, 0), *, signed: bool = False) -> None:
        image = torch.as_tensor(image).detach()
        image = image[None] if image.ndim == 2 else image
        if image.ndim != 3:
            raise ShapeError(f"image has shape {tuple(image.shape)}: expected (h, w) or (C, h, w).")
        h, w = image.shape[1:]
        super().__init__(spectrum, Box(origin, (h, w)), signed=signed)
        if len(image) != self.n_components:
            raise ShapeError(f"{len(image)} images for {self.n_components} components of the spectrum: expected one each.")
        total = image.sum((-2, -1), keepdim=True)
        if not bool((torch.isfinite(total) & (total > 0)).all()):
            raise ParameterError(f"the images sum to {total.flatten().tolist()}: expected finite sums > 0.")
        self.register_buffer("image", (image / total).to(self.spectrum))

    def images(self) -> Tensor:
        """The templates (C, h, w)."""
        return self.image

    def move_to(self, box: Box) -> dict[Tensor, tuple[Any, Any]]:
        """A template has the box of its image.

        Raises
        ------
        ParameterError
            Always.
        """
        raise ParameterError(f"box is {box}: a template keeps the box of its image, {self.box}.")

    @property
    def center(self) -> tuple[float, float]:
        """Centroid of the brightest component in the frame."""
        image = self.image[int(self.spectrum.detach().sum(0).argmax())]
        return tuple(  # type: ignore[return-value]
            float((image.sum(1 - d) * torch.arange(image.shape[d]).to(image)).sum()) + self.box.origin[d] for d in (0, 1)
        )
