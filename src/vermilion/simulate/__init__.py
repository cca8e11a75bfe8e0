"""Data with a known truth."""

from .hyperspectral import HyperspectralScene, add_noise, hyperspectral_scene, missing_values

__all__ = ["HyperspectralScene", "add_noise", "hyperspectral_scene", "missing_values"]
