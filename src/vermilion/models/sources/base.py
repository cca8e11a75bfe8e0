"""The contract of a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...datamodels import SceneSource
from ...errors import ParameterError, ShapeError
from ...prox import Identity, NonNegative
from .box import Box

__all__ = ["Source"]

_NONNEGATIVE, _FREE = NonNegative(), Identity()


class Source(nn.Module, ABC):
    """One to a few components, each a spectrum times an image in the box that they share.

    Parameters and operators are such that sources of any brightness curve alike, and one step serves all that are in a block:
    whatever is not a spectrum is counted in units of the flux at the start, `scale`.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B,) or (B, C)
        Flux of each component in each band; copied. C components unless it is (B,), which is one.
    box : Box
    signed : bool
        The spectrum may be negative.

    Attributes
    ----------
    kind : str
        As in `SceneSource`.
    spectrum : Parameter, shape (B, C)
    scale : Tensor
        Absolute flux of the source at the start, summed over bands and components; 1 where it vanishes.

    Raises
    ------
    ShapeError
        If the spectrum is neither a vector nor a matrix.
    ParameterError
        If it is not finite.
    """

    kind = "galaxy"
    scale: Tensor

    def __init__(self, spectrum: Any, box: Box, *, signed: bool = False) -> None:
        super().__init__()
        spectrum = torch.as_tensor(spectrum).detach()
        if spectrum.ndim not in (1, 2) or not spectrum.numel():
            raise ShapeError(f"spectrum has shape {tuple(spectrum.shape)}: expected (B,) or (B, C), a flux per band and component.")
        if not spectrum.is_floating_point():
            spectrum = spectrum.to(torch.get_default_dtype())
        if not bool(torch.isfinite(spectrum).all()):
            raise ParameterError("spectrum has entries that are not finite: expected fluxes in every band.")
        self.spectrum = nn.Parameter(spectrum.reshape(len(spectrum), -1).clone())
        total = spectrum.abs().sum()
        self.register_buffer("scale", torch.where(total > 0, total, torch.ones_like(total)))
        self.box = box
        self.signed = signed

    @abstractmethod
    def images(self) -> Tensor:
        """Images (C, h, w) of the components that the spectrum multiplies; they sum to about 1."""

    @property
    @abstractmethod
    def center(self) -> tuple[float, float]:
        """Pixel (y, x) of the frame."""

    @property
    def n_components(self) -> int:
        """C."""
        return self.spectrum.shape[1]

    def forward(self) -> Tensor:
        """Model (B, h, w) in the box."""
        images = self.images()
        return (self.spectrum @ images.flatten(1)).unflatten(1, images.shape[1:])

    def morphologies(self) -> Tensor:
        """Images (C, h, w) scaled to sum 1; where one vanishes it stays 0."""
        images = self.images()
        total = images.sum((-2, -1), keepdim=True)
        return images / torch.where(total > 0, total, torch.ones_like(total))

    def fluxes(self) -> Tensor:
        """Flux (B, C) of each component within the box: what multiplies `morphologies`."""
        return self.spectrum * self.images().sum((-2, -1))

    def blocks(self) -> list[dict[str, Any]]:
        """Parameter groups of this source: name, params, prox.

        Those of other sources with the same name and the same operator may be put into one.
        """
        name, prox = ("sky", _FREE) if self.signed else ("spectra", _NONNEGATIVE)
        return [{"name": name, "params": [self.spectrum], "prox": prox}]

    def description(self) -> dict[str, float]:
        """Numbers that describe the profile."""
        return {}

    @torch.no_grad()
    def move_to(self, box: Box) -> dict[Tensor, tuple[Any, Any]]:
        """Take another box; parameters that live on its pixels are padded with 0 or cropped.

        Returns
        -------
        dict
            For each such parameter, its operator before and after.
        """
        self.box = box
        return {}

    @torch.no_grad()
    def record(self) -> SceneSource:
        """The source as a record."""
        spectra, morphologies = (values.detach().cpu().double().numpy() for values in (self.fluxes(), self.morphologies()))
        return SceneSource(
            kind=self.kind,
            center=self.center,
            spectra=np.asarray(spectra),
            morphologies=np.asarray(morphologies),
            box=self.box.origin,
            parameters=self.description(),
        )

    def extra_repr(self) -> str:
        """Center and box, for `repr`."""
        y, x = self.center
        return f"center=({y:.2f}, {x:.2f}), box={self.box.shape} at {self.box.origin}, {self.n_components} components"
