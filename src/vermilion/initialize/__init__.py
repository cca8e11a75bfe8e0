"""First values from the data."""

from .random import random_start
from .subspace import Subspace, weighted_subspace
from .vertices import spa

__all__ = ["Subspace", "random_start", "spa", "weighted_subspace"]
