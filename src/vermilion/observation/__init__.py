"""What the telescope records of a model cube."""

from .observation import Observation, as_observations, identity

__all__ = ["Observation", "as_observations", "identity"]
