"""The fit of a scene: centers, shapes and kinds of sources, their spectra, and every pixel of the resolved ones."""

from .fit import SceneFit, fit_scene
from .shapes import Prior
from .views import views_of

__all__ = ["Prior", "SceneFit", "fit_scene", "views_of"]
