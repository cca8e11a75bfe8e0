"""Sources of a scene, each a spectrum times a morphology in a box."""

from .base import Source
from .box import Box
from .extended import ExtendedSource
from .fixed import FlatSky, TemplateSource
from .mixture import mixture_image, mixture_jacobian, point_image, sersic_mixture, sersic_mixture_slopes
from .point import PointSource
from .profile import GaussianSource, SersicSource, TwoComponentSource
from .registry import EXAMPLES
from .resize import adapt_boxes, adapted_box, resize_source

__all__ = [
    "EXAMPLES",
    "Box",
    "ExtendedSource",
    "FlatSky",
    "GaussianSource",
    "PointSource",
    "SersicSource",
    "Source",
    "TemplateSource",
    "TwoComponentSource",
    "adapt_boxes",
    "adapted_box",
    "mixture_image",
    "mixture_jacobian",
    "point_image",
    "resize_source",
    "sersic_mixture",
    "sersic_mixture_slopes",
]
