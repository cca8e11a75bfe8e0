"""Parameters to expected cubes."""

from .base import Model
from .factorization import Factorization

__all__ = ["Factorization", "Model"]
