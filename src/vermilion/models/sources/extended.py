"""Galaxies of any form: every pixel is free."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ParameterError, ShapeError
from ...prox import Chain, Identity, MaxEntropy, MonotoneCone, MonotoneGreedy, NonNegative, Prox, Scaled, Starlet, Symmetric
from ...prox.base import indicator, tolerance
from .base import Source
from .box import Box

__all__ = ["ExtendedSource"]

_MONOTONE = (None, "cone", "greedy")


class ExtendedSource(Source):
    """A source whose pixels are all free, under the constraints asked for.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B,) or (B, C)
        Flux of each component in each band.
    image : Tensor or array, shape (h, w) or (C, h, w)
        Start, of odd height and width, any scale; copied. Each component is scaled to sum 1.
    center : (float, float)
        Pixel (y, x) of the frame; the middle of the image lies in it.
    positive : bool
        No pixel is negative.
    monotone : {"cone", "greedy", None}
        Brightness never rises outward: by projection, by clipping, or not asked for.
    symmetric : bool
        The image equals itself turned by 180 degrees.
    entropy : float, >= 0
        Strength of ``sum [s ln(s/m) - s + m]`` of the image s of sum 1, in units of the log-likelihood.
    prior : Tensor or array, shape of `image`, > 0, optional
        Default map m, any scale. Default: the start, with a thousandth of its mean added.
    starlet : float, >= 0
        Strength of the sum of absolute starlet details of the image of sum 1, in units of the log-likelihood. The sum then stays 1.

    Raises
    ------
    ShapeError
        If height or width is even, or there is not one image per component.
    ParameterError
        If an image has no positive finite sum, a prior is not positive, or an option is out of range.

    Examples
    --------
    >>> galaxy = ExtendedSource([3.0, 1.0], torch.ones(5, 5), (10, 12))
    >>> galaxy().shape, galaxy.box.origin
    (torch.Size([2, 5, 5]), (8, 10))
    """

    prior: Tensor | None

    def __init__(
        self,
        spectrum: Any,
        image: Any,
        center: tuple[float, float],
        *,
        positive: bool = True,
        monotone: str | None = "cone",
        symmetric: bool = False,
        entropy: float = 0.0,
        prior: Any = None,
        starlet: float = 0.0,
    ) -> None:
        image = _as_images(image)
        h, w = image.shape[1:]
        if not (h % 2 and w % 2):
            raise ShapeError(
                f"image is {h} x {w}: expected odd numbers, so that it has a middle pixel; pad it by one row or column of zeros."
            )
        if monotone not in _MONOTONE:
            raise ParameterError(f"monotone is {monotone!r}: expected 'cone', 'greedy' or None.")
        for name, weight in (("entropy", entropy), ("starlet", starlet)):
            if not (math.isfinite(weight) and weight >= 0):
                raise ParameterError(f"{name} is {weight}: expected a finite number >= 0.")
        super().__init__(spectrum, Box.around(center, (h // 2, w // 2)))
        if len(image) != self.n_components:
            raise ShapeError(f"{len(image)} images for {self.n_components} components of the spectrum: expected one each.")
        image = _unit_sum(image, "image").to(self.spectrum)
        self.image = nn.Parameter(self.scale * image)
        self.register_buffer("prior", self._prior(image, prior) if entropy else None)
        self.positive, self.monotone, self.symmetric = positive, monotone, symmetric
        self.entropy, self.starlet = float(entropy), float(starlet)
        self._center = (float(center[0]), float(center[1]))
        self._operator = self._make_operator()

    def images(self) -> Tensor:
        """The images (C, h, w); they sum to 1 at the start."""
        return self.image / self.scale

    @property
    def center(self) -> tuple[float, float]:
        """Pixel (y, x) of the frame that was given."""
        return self._center

    @property
    def operator(self) -> Prox:
        """What acts on `image`, which is in units of flux."""
        return self._operator

    def blocks(self) -> list[dict[str, Any]]:
        """Spectra, and the image with its operator."""
        return [*super().blocks(), {"name": "images", "params": [self.image], "prox": self._operator}]

    @torch.no_grad()
    def move_to(self, box: Box) -> dict[Tensor, tuple[Any, Any]]:
        """Pad the image with 0, or crop it; the prior is continued with its smallest value.

        Raises
        ------
        ParameterError
            If the box has not the same middle pixel, or is even.
        """
        if box.center != self.box.center or not (box.shape[0] % 2 and box.shape[1] % 2):
            raise ParameterError(f"box is {box}: expected odd sizes around the same pixel as {self.box}.")
        before = self._operator
        self.image.data = reframed(self.image.data, self.box, box)
        self.image.grad = None
        if self.prior is not None:
            floor = self.prior.amin((-2, -1), keepdim=True)
            self.prior = floor + reframed(self.prior - floor, self.box, box)
        self.box = box
        self._operator = self._make_operator()
        return {self.image: (before, self._operator)}

    def _prior(self, image: Tensor, prior: Any) -> Tensor:
        if prior is None:
            return _unit_sum(image.clamp(min=0) + 1e-3 * image.mean((-2, -1), keepdim=True), "image")
        prior = _as_images(prior).to(image)
        if prior.shape != image.shape or not bool((prior > 0).all()):
            raise ParameterError(f"prior has shape {tuple(prior.shape)}: expected positive numbers, one per pixel of {tuple(image.shape)}.")
        return _unit_sum(prior, "prior")

    def _make_operator(self) -> Prox:
        forms = _forms(self.positive, self.monotone, self.symmetric)
        per_flux = float(1 / self.scale)
        members: list[Prox] = []
        if self.prior is not None:
            members.append(Scaled(MaxEntropy(self.entropy, self.prior), per_flux))
        if self.starlet:
            members.append(Scaled(Starlet(self.starlet), per_flux))
        if not members:
            return forms
        if not isinstance(forms, Identity):
            members.append(forms)
        if self.starlet:
            members.append(_FixedSum(float(self.scale)))
        return members[0] if len(members) == 1 else Chain(*members)


class _FixedSum(Prox):
    """Each image rescaled to a given sum; a penalty that is not scale-free would otherwise move flux into the spectrum for ever."""

    exact = False
    couples = "image"
    projection = True

    def __init__(self, total: float) -> None:
        self.total = total

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Rescale; an image without positive sum becomes flat."""
        sums = x.sum((-2, -1), keepdim=True)
        usable = sums > tolerance(x.dtype) * x.abs().sum((-2, -1), keepdim=True)
        return torch.where(usable, x * (self.total / sums), self.total / (x.shape[-1] * x.shape[-2]))

    def penalty(self, x: Tensor) -> Tensor:
        """0 if the sums are right up to rounding, else inf."""
        sums = x.sum((-2, -1), dtype=torch.float64)
        return indicator(((sums - self.total).abs() <= tolerance(x.dtype) * self.total).all())


@functools.cache
def _forms(positive: bool, monotone: str | None, symmetric: bool) -> Prox:
    """Constraints on the form, one and the same object for all sources that share them.

    In this order they meet: the neighbors that monotony refers to are symmetric around a middle pixel, and clipping keeps both.
    """
    members: list[Prox] = []
    if symmetric:
        members.append(Symmetric())
    if monotone:
        members.append(MonotoneCone() if monotone == "cone" else MonotoneGreedy())
    if positive:
        members.append(NonNegative())
    return Chain(*members) if len(members) > 1 else members[0] if members else Identity()


def reframed(values: Tensor, before: Box, after: Box) -> Tensor:
    """Pixels (..., h, w) of one box as those of another, 0 where they are new."""
    theirs, ours = before.overlap_with(after)
    result = values.new_zeros(*values.shape[:-2], *after.shape)
    result[(..., *theirs)] = values[(..., *ours)]
    return result


def _as_images(image: Any) -> Tensor:
    image = torch.as_tensor(image).detach()
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3:
        raise ShapeError(f"image has shape {tuple(image.shape)}: expected (h, w) or (C, h, w).")
    return image


def _unit_sum(image: Tensor, name: str) -> Tensor:
    total = image.sum((-2, -1), keepdim=True)
    if not bool((torch.isfinite(total) & (total > 0)).all()):
        raise ParameterError(f"{name} sums to {total.flatten().tolist()}: expected finite sums > 0.")
    return image / total
