"""Rules that find step sizes where nobody knows them: how far, not which way."""

from .adaptive import AdaptivePGM
from .backtracking import Backtracking
from .barzilai_borwein import BarzilaiBorwein
from .base import Block, Change, Move, StepRule, Trial, change_of, curvature_along_gradient, measure
from .curvature import TopCurvature
from .gram import GramLipschitz

__all__ = [
    "AdaptivePGM",
    "Backtracking",
    "BarzilaiBorwein",
    "Block",
    "Change",
    "GramLipschitz",
    "Move",
    "StepRule",
    "TopCurvature",
    "Trial",
    "change_of",
    "curvature_along_gradient",
    "measure",
]
