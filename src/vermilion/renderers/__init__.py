"""How a scene in the model frame becomes the images that a telescope records."""

from .base import Renderer
from .convolution import Convolution
from .positions import affine_positions, inside_frame, sky_positions
from .resampling import Resampling
from .sequence import Sequence

__all__ = ["Convolution", "Renderer", "Resampling", "Sequence", "affine_positions", "inside_frame", "sky_positions"]
