"""Examples of every source: what the property tests run over. A new source adds one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from .base import Source
from .extended import ExtendedSource
from .fixed import FlatSky, TemplateSource
from .mixture import point_image
from .point import PointSource
from .profile import GaussianSource, SersicSource, TwoComponentSource

__all__ = ["EXAMPLES"]

_SPECTRUM = torch.tensor([30.0, 20.0, 40.0], dtype=torch.float64)
_IMAGE = point_image((9, 11), torch.tensor([4.0, 5.0], dtype=torch.float64), 1.7)

# functions: an example is a new source every time, in float64, for a frame of 24 x 20 pixels and 3 bands
EXAMPLES: Mapping[str, tuple[Callable[[], Source], ...]] = MappingProxyType(
    {
        "ExtendedSource": (
            lambda: ExtendedSource(_SPECTRUM, _IMAGE, (12, 9)),
            lambda: ExtendedSource(_SPECTRUM, _IMAGE, (2, 18), monotone="greedy", symmetric=True),
            lambda: ExtendedSource(_SPECTRUM, _IMAGE, (12, 9), symmetric=True),
            lambda: ExtendedSource(_SPECTRUM, _IMAGE, (12, 9), monotone=None, entropy=50.0),
            lambda: ExtendedSource(_SPECTRUM, _IMAGE, (12, 9), monotone=None, starlet=20.0),
            lambda: ExtendedSource(torch.stack([_SPECTRUM, _SPECTRUM.flip(0)], 1), torch.stack([_IMAGE, _IMAGE.square()]), (12, 9)),
        ),
        "FlatSky": (lambda: FlatSky(torch.tensor([0.1, -0.2, 0.0], dtype=torch.float64), (24, 20)),),
        "GaussianSource": (lambda: GaussianSource(_SPECTRUM, (11.6, 9.2), 1.8, axis_ratio=0.6, angle=30.0),),
        "PointSource": (lambda: PointSource(_SPECTRUM, (12.3, 8.6)), lambda: PointSource(_SPECTRUM, (-0.4, 19.2), model_sigma=1.1)),
        "SersicSource": (
            lambda: SersicSource(_SPECTRUM, (11.6, 9.2), 2.0, index=1.3),
            lambda: SersicSource(_SPECTRUM, (3.0, 2.5), 2.5, index=3.5, axis_ratio=0.5, angle=70.0),
        ),
        "TemplateSource": (
            lambda: TemplateSource(_SPECTRUM, _IMAGE, (-2, 4)),
            lambda: TemplateSource(-_SPECTRUM, _IMAGE, (3, 4), signed=True),
        ),
        "TwoComponentSource": (
            lambda: TwoComponentSource(torch.stack([_SPECTRUM, _SPECTRUM.flip(0)], 1), (12.2, 9.9), (1.0, 3.0), axis_ratios=(0.9, 0.5)),
        ),
    }
)
