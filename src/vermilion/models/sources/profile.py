"""Galaxies with parametric profiles: mixtures of Gaussians, smeared exactly by the PSF of the model frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import ParameterError
from .box import Box
from .centered import CenteredSource
from .mixture import INDEX_RANGE, mixture_image, sersic_mixture

__all__ = ["GaussianSource", "SersicSource", "TwoComponentSource"]

_RADII = (0.05, 200.0)
_LOWEST_RATIO = 0.05
# semi-major half-light radii that a box reaches at first; it holds 99.9 % of the flux for n = 1, 95 % for n = 4
_REACH = 6.0
_LARGEST_RADIUS = 200


class _ProfileSource(CenteredSource):
    """Concentric components with elliptical profiles of Sérsic.

    The further numbers are, for each component, the logarithm of the half-light radius and the two parts of the ellipticity
    eta = -ln(axis ratio), along and at 45 degrees to the axes; then the indices that are free.
    """

    def __init__(
        self,
        spectrum: Any,
        center: tuple[float, float],
        radii: Sequence[float],
        ratios: Sequence[float],
        angles: Sequence[float],
        *,
        index: float | None = None,
        model_sigma: float,
        max_shift: float,
        box: Box | None,
    ) -> None:
        starts: list[float] = []
        for radius, ratio, angle in zip(radii, ratios, angles, strict=True):
            starts += _shape(radius, ratio, angle)
        eta = -math.log(_LOWEST_RATIO)
        lows = [math.log(_RADII[0]), -eta, -eta] * len(radii)
        highs = [math.log(_RADII[1]), eta, eta] * len(radii)
        if index is not None:
            low, high = 0.5, INDEX_RANGE[1]
            if not low <= index <= high:
                raise ParameterError(f"index is {index}: expected a Sersic index from {low} to {high}.")
            starts, lows, highs = [*starts, index], [*lows, low], [*highs, high]
        if box is None:
            largest = max(radius / math.sqrt(ratio) for radius, ratio in zip(radii, ratios, strict=True))
            box = Box.around(center, min(math.ceil(_REACH * largest + 5 * model_sigma), _LARGEST_RADIUS))
        super().__init__(spectrum, center, box, model_sigma=model_sigma, max_shift=max_shift, starts=starts, lows=lows, highs=highs)
        if self.n_components != len(radii):
            raise ParameterError(f"spectrum has {self.n_components} components, the profile {len(radii)}: expected one spectrum each.")

    def mixture(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Variances and fractions (C, J) of the profiles."""
        return sersic_mixture(numbers[-1:])

    def images(self) -> Tensor:
        """Profiles (C, h, w)."""
        numbers = self.numbers()
        covariance = _covariance(numbers[2 : 2 + 3 * self.n_components].view(-1, 3))
        center = self.center_in_box(numbers).expand(self.n_components, 2)
        return mixture_image(self.box.shape, center, covariance, *self.mixture(numbers), self.model_sigma)

    @torch.no_grad()
    def description(self) -> dict[str, float]:
        """Half-light radius sqrt(a b) [pixel], axis ratio b / a, angle [degree] from x toward y; numbered if there are several."""
        values: dict[str, float] = {}
        shapes = self.numbers()[2 : 2 + 3 * self.n_components].view(-1, 3).tolist()
        for i, (logarithm, plus, cross) in enumerate(shapes):
            end = "" if self.n_components == 1 else f"_{i}"
            values[f"half_light_radius{end}"] = math.exp(logarithm)
            values[f"axis_ratio{end}"] = math.exp(-math.hypot(plus, cross))
            values[f"angle{end}"] = math.degrees(0.5 * math.atan2(cross, plus)) % 180
        return values


class SersicSource(_ProfileSource):
    """A galaxy with a Sérsic profile of free center, size, ellipticity and index.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B,)
        Total flux in each band, also of what lies outside the box.
    center : (float, float)
        Pixel (y, x) of the frame, counted from 0.
    half_light_radius : float, from 0.05 to 200
        sqrt(a b) of the ellipse that holds half of the flux, in pixels.
    index : float, from 0.5 to 6.2
        Sérsic index.
    axis_ratio : float, in (0, 1]
        b / a.
    angle : float
        Of the major axis from x toward y, in degrees.
    model_sigma : float, > 0
        Of the circular Gaussian PSF of the model frame, in pixels.
    max_shift : float, > 0
        How far the center may move in y and x, in pixels.
    box : Box, optional
        Default: 6 semi-major half-light radii around the center.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Examples
    --------
    >>> galaxy = SersicSource([100.0, 50.0], (20.0, 20.0), half_light_radius=3.0, index=1.0)
    >>> galaxy.morphologies().shape
    torch.Size([1, 45, 45])
    """

    def __init__(
        self,
        spectrum: Any,
        center: tuple[float, float],
        half_light_radius: float,
        *,
        index: float = 1.5,
        axis_ratio: float = 1.0,
        angle: float = 0.0,
        model_sigma: float = 0.8,
        max_shift: float = 2.0,
        box: Box | None = None,
    ) -> None:
        super().__init__(
            spectrum,
            center,
            [half_light_radius],
            [axis_ratio],
            [angle],
            index=index,
            model_sigma=model_sigma,
            max_shift=max_shift,
            box=box,
        )

    @torch.no_grad()
    def description(self) -> dict[str, float]:
        """As of all profiles, with the Sérsic index."""
        return {**super().description(), "sersic_index": float(self.numbers()[-1])}


class GaussianSource(_ProfileSource):
    """A galaxy with a Gaussian profile of free center, size and ellipticity.

    Parameters
    ----------
    spectrum, center, half_light_radius, axis_ratio, angle, model_sigma, max_shift, box
        As for `SersicSource`; the half-light radius of a circular Gaussian is 1.1774 sigma.
    """

    def __init__(
        self,
        spectrum: Any,
        center: tuple[float, float],
        half_light_radius: float,
        *,
        axis_ratio: float = 1.0,
        angle: float = 0.0,
        model_sigma: float = 0.8,
        max_shift: float = 2.0,
        box: Box | None = None,
    ) -> None:
        super().__init__(
            spectrum, center, [half_light_radius], [axis_ratio], [angle], model_sigma=model_sigma, max_shift=max_shift, box=box
        )

    def mixture(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """One Gaussian."""
        one = numbers.new_ones(1, 1)
        return one / (2 * math.log(2)), one


class TwoComponentSource(_ProfileSource):
    """A galaxy with bulge and disk, each with a spectrum, size and ellipticity of its own around one free center.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B, 2)
        Total flux of bulge and disk in each band.
    center : (float, float)
    half_light_radii : (float, float)
        Of bulge and disk, sqrt(a b) in pixels.
    indices : (float, float), from 0.5 to 6.2
        Sérsic indices, which stay.
    axis_ratios, angles : (float, float)
    model_sigma, max_shift, box
        As for `SersicSource`.

    Raises
    ------
    ParameterError
        If a number is out of range, or the spectrum has not two components.
    """

    kind = "two-component"
    indices: Tensor

    def __init__(
        self,
        spectrum: Any,
        center: tuple[float, float],
        half_light_radii: tuple[float, float],
        *,
        indices: tuple[float, float] = (4.0, 1.0),
        axis_ratios: tuple[float, float] = (1.0, 1.0),
        angles: tuple[float, float] = (0.0, 0.0),
        model_sigma: float = 0.8,
        max_shift: float = 2.0,
        box: Box | None = None,
    ) -> None:
        super().__init__(spectrum, center, half_light_radii, axis_ratios, angles, model_sigma=model_sigma, max_shift=max_shift, box=box)
        self.register_buffer("indices", torch.tensor(indices, dtype=self.spectrum.dtype, device=self.spectrum.device))
        self._mixture = sersic_mixture(self.indices)

    def mixture(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the indices, which stay."""
        variances, fractions = self._mixture
        return variances.to(numbers), fractions.to(numbers)

    @torch.no_grad()
    def description(self) -> dict[str, float]:
        """As of all profiles, with the Sérsic indices."""
        return {**super().description(), **{f"sersic_index_{i}": float(n) for i, n in enumerate(self.indices)}}


def _shape(radius: float, ratio: float, angle: float) -> list[float]:
    """Logarithm of the half-light radius, and the parts of the ellipticity."""
    low, high = _RADII
    if not low <= radius <= high:
        raise ParameterError(f"half_light_radius is {radius}: expected {low} to {high} pixels.")
    if not _LOWEST_RATIO < ratio <= 1:
        raise ParameterError(f"axis_ratio is {ratio}: expected above {_LOWEST_RATIO} and at most 1.")
    if not math.isfinite(angle):
        raise ParameterError(f"angle is {angle}: expected degrees.")
    eta, turn = -math.log(ratio), 2 * math.radians(angle)
    return [math.log(radius), eta * math.cos(turn), eta * math.sin(turn)]


def _covariance(shapes: Tensor) -> Tensor:
    """``r^2 exp [[-e1, e2], [e2, e1]]`` (C, 2, 2) with axes (y, x), of determinant r^4, from ln r, e1, e2 (C, 3)."""
    logarithm, plus, cross = shapes.unbind(-1)
    square = plus * plus + cross * cross
    # eta itself has no derivative at 0; its cosh and sinh(eta) / eta are smooth in the square, as these floors keep them
    eta = square.clamp(min=torch.finfo(shapes.dtype).eps).sqrt()
    even, odd = torch.cosh(eta), torch.sinh(eta) / eta
    matrix = torch.stack([even - odd * plus, odd * cross, odd * cross, even + odd * plus], -1).unflatten(-1, (2, 2))
    return torch.exp(2 * logarithm)[:, None, None] * matrix
