"""Scores of a prediction against data and weights."""

from .base import Likelihood
from .gaussian import Gaussian
from .poisson import Poisson
from .registry import EXAMPLES
from .student import StudentT

__all__ = ["EXAMPLES", "Gaussian", "Likelihood", "Poisson", "StudentT"]
