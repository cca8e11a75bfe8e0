"""A sum of sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..datamodels import SceneResult, SceneSource
from ..errors import ParameterError, ShapeError
from .base import Model
from .sources import ExtendedSource, FlatSky, PointSource, Source, TemplateSource

__all__ = ["Scene"]


class Scene(Model):
    """Stars and galaxies in a frame: each source a spectrum times a morphology in its box.

    Parameters
    ----------
    sources : iterable of Source
        At least one, of one dtype, on one device.
    shape : (int, int)
        (H, W) of the frame.
    n_bands : int

    Raises
    ------
    ShapeError
        If a source has another number of bands.
    ParameterError
        If there is no source, they differ in dtype or device, or a size is below 1.

    Examples
    --------
    >>> scene = Scene([PointSource([100.0, 50.0], (8.0, 8.0))], (16, 16), 2)
    >>> [round(float(flux), 2) for flux in scene().sum((1, 2)).detach()]
    [100.0, 50.0]
    """

    def __init__(self, sources: Iterable[Source], shape: tuple[int, int], n_bands: int) -> None:
        super().__init__()
        self.sources = nn.ModuleList(sources)
        self.shape = (int(shape[0]), int(shape[1]))
        self.n_bands = int(n_bands)
        if not len(self.sources) or min(*self.shape, self.n_bands) < 1:
            raise ParameterError(
                f"{len(self.sources)} sources in a frame of {self.shape} pixels and {self.n_bands} bands: expected at least 1 of each."
            )
        kinds = {(source.spectrum.dtype, source.spectrum.device) for source in self}
        if len(kinds) > 1:
            raise ParameterError(f"the sources are of {sorted(map(str, kinds))}: expected one dtype and device; convert with .to().")
        for i, source in enumerate(self):
            if len(source.spectrum) != self.n_bands:
                raise ShapeError(f"source {i} has {len(source.spectrum)} bands: expected {self.n_bands}.")

    @classmethod
    def from_result(cls, result: SceneResult, *, model_sigma: float = 0.8, **constraints: Any) -> Scene:
        """A scene that starts from a deblended one.

        Stars, sky and templates become what they are; everything else an `ExtendedSource` with the morphologies of the result.

        Parameters
        ----------
        result : SceneResult
        model_sigma : float
            Of the PSF of the model frame of `result`, in pixels.
        **constraints
            Of `ExtendedSource`.
        """
        shape = (result.models.shape[-2], result.models.shape[-1])
        return cls([_from_record(s, shape, model_sigma, constraints) for s in result.sources], shape, result.fluxes.shape[1])

    def __iter__(self) -> Iterator[Source]:
        """The sources in turn."""
        return (cast(Source, source) for source in self.sources)

    def forward(self) -> Tensor:
        """Return the model cube (B, H, W)."""
        cube = self._empty(self.n_bands)
        for source in self:
            frame, own = source.box.overlap(self.shape)
            cube[(..., *frame)] += source()[(..., *own)]
        return cube

    def models(self) -> Tensor:
        """Each source alone, (n, B, H, W)."""
        return torch.stack([self._place(source(), source) for source in self])

    def components(self) -> tuple[Tensor, Tensor]:
        """Fluxes (B, K) and morphologies (K, H, W) of all components, detached; of sum 1, but for what lies outside the frame."""
        with torch.no_grad():
            spectra = torch.cat([source.fluxes() for source in self], 1)
            return spectra, torch.cat([self._place(source.morphologies(), source) for source in self])

    def fluxes(self) -> Tensor:
        """Flux (n, B) of each source within its box."""
        return torch.stack([source.fluxes().sum(1) for source in self])

    def records(self) -> tuple[SceneSource, ...]:
        """The sources as records."""
        return tuple(source.record() for source in self)

    def blocks(self) -> list[dict[str, Any]]:
        """Parameter groups, each over all sources that share its name and operator; steps by the rule of the optimizer.

        Their parameters are scaled such that one step serves bright and faint sources.
        """
        groups: list[dict[str, Any]] = []
        for source in self:
            for block in source.blocks():
                for group in groups:
                    if group["name"] == block["name"] and group["prox"] is block["prox"]:
                        group["params"].extend(block["params"])
                        break
                else:
                    groups.append({**block, "params": list(block["params"]), "step_rule": "auto"})
        return groups

    def _empty(self, n: int) -> Tensor:
        return next(iter(self)).spectrum.new_zeros(n, *self.shape)

    def _place(self, images: Tensor, source: Source) -> Tensor:
        """Images (n, h, w) of the box in the frame (n, H, W)."""
        frame, own = source.box.overlap(self.shape)
        placed = self._empty(len(images))
        placed[(..., *frame)] = images[(..., *own)]
        return placed

    def extra_repr(self) -> str:
        """Frame and bands, for `repr`."""
        return f"shape={self.shape}, n_bands={self.n_bands}"


def _from_record(record: SceneSource, shape: tuple[int, int], model_sigma: float, constraints: dict[str, Any]) -> Source:
    spectra = torch.as_tensor(record.spectra)
    if record.kind == "point":
        return PointSource(spectra.sum(1), record.center, model_sigma=model_sigma)
    if record.kind == "sky":
        return FlatSky(spectra.sum(1) / (shape[0] * shape[1]), shape)
    images = torch.as_tensor(record.morphologies)
    if record.kind == "template":
        return TemplateSource(spectra, images, record.box, signed=bool((spectra < 0).any()))
    # odd, with the pixel of the center in the middle
    y, x = (round(c) - b for c, b in zip(record.center, record.box, strict=True))
    (h, w) = images.shape[1:]
    radii = max(y, h - 1 - y), max(x, w - 1 - x)
    padding = (radii[1] - x, radii[1] - (w - 1 - x), radii[0] - y, radii[0] - (h - 1 - y))
    return ExtendedSource(spectra, nn.functional.pad(images, padding), record.center, **constraints)
