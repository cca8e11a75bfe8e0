"""How many components, and how stable they are."""

from .cross_validation import CrossValidation, cross_validation
from .eigenvalues import Edge, claimed_edge, eigengap, eigenvalues, measured_edge, sign_flips
from .estimate import estimate_rank
from .hysime import hysime
from .report import Estimate, RankReport, Spread
from .stability import Stability, Start, stability

__all__ = [
    "CrossValidation",
    "Edge",
    "Estimate",
    "RankReport",
    "Spread",
    "Stability",
    "Start",
    "claimed_edge",
    "cross_validation",
    "eigengap",
    "eigenvalues",
    "estimate_rank",
    "hysime",
    "measured_edge",
    "sign_flips",
    "stability",
]
