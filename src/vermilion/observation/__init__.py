"""What the telescope records of a model cube."""

from .observation import Observation, as_observations, identity
from .observation_renderer import observation_renderer, resample_psfs
from .psf_images import psf_images
from .psf_matching import Kernels, choose_model_sigma, difference_kernels

__all__ = [
    "Kernels",
    "Observation",
    "as_observations",
    "choose_model_sigma",
    "difference_kernels",
    "identity",
    "observation_renderer",
    "psf_images",
    "resample_psfs",
]
