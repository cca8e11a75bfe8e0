"""Data with a known truth."""

from .blends import SimulatedBlend, blend
from .hyperspectral import HyperspectralScene, add_noise, hyperspectral_scene, missing_values

__all__ = ["HyperspectralScene", "SimulatedBlend", "add_noise", "blend", "hyperspectral_scene", "missing_values"]
