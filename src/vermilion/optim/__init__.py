"""Optimizers with proximal operators."""

from .adaprox import AdaProx
from .admm import ADMM, Constraint, Residual
from .base import ProximalOptimizer
from .fista import FISTA
from .inertial_palm import InertialPALM
from .palm import PALM
from .pgm import PGM
from .steps import AdaptivePGM, Backtracking, BarzilaiBorwein, GramLipschitz, StepRule, TopCurvature

__all__ = [
    "ADMM",
    "FISTA",
    "PALM",
    "PGM",
    "AdaProx",
    "AdaptivePGM",
    "Backtracking",
    "BarzilaiBorwein",
    "Constraint",
    "GramLipschitz",
    "InertialPALM",
    "ProximalOptimizer",
    "Residual",
    "StepRule",
    "TopCurvature",
]
