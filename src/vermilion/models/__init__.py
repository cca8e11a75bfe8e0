"""Parameters to expected cubes."""

from .base import Model
from .factorization import Factorization
from .scene import Scene
from .sources import (
    Box,
    ExtendedSource,
    FlatSky,
    GaussianSource,
    PointSource,
    SersicSource,
    Source,
    TemplateSource,
    TwoComponentSource,
    resize_source,
)

__all__ = [
    "Box",
    "ExtendedSource",
    "Factorization",
    "FlatSky",
    "GaussianSource",
    "Model",
    "PointSource",
    "Scene",
    "SersicSource",
    "Source",
    "TemplateSource",
    "TwoComponentSource",
    "resize_source",
]
