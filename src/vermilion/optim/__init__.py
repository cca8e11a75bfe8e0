"""Optimizers with proximal operators."""

from .base import ProximalOptimizer
from .pgm import PGM
from .steps import Backtracking, StepRule

__all__ = ["PGM", "Backtracking", "ProximalOptimizer", "StepRule"]
