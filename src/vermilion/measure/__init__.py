"""Numbers about the sources of a scene, in numpy: fluxes, colors, centers, shapes, shares of the data, and the catalog of them."""

from .blending import BadPixels, bad_pixel_fraction, blendedness, footprints
from .catalog import band_suffixes, build_catalog, source_shape
from .centroids import Centroids, centroid
from .colors import Colors, colors, magnitude_errors, magnitudes
from .flags import MEANINGS, Flag, flags
from .fluxes import constrained_errors, positive_fluxes, signal_to_noise, signed_fluxes
from .redistribution import redistribute, unassigned
from .shapes import Shape, moments
from .sky import SkyPlane, sky_ellipse, sky_plane

__all__ = [
    "MEANINGS",
    "BadPixels",
    "Centroids",
    "Colors",
    "Flag",
    "Shape",
    "SkyPlane",
    "bad_pixel_fraction",
    "band_suffixes",
    "blendedness",
    "build_catalog",
    "centroid",
    "colors",
    "constrained_errors",
    "flags",
    "footprints",
    "magnitude_errors",
    "magnitudes",
    "moments",
    "positive_fluxes",
    "redistribute",
    "signal_to_noise",
    "signed_fluxes",
    "sky_ellipse",
    "sky_plane",
    "source_shape",
    "unassigned",
]
