"""How many components, and how stable they are."""

from .bootstrap import Bootstrap, bootstrap
from .cross_validation import CrossValidation, cross_validation
from .eigenvalues import Edge, claimed_edge, eigengap, eigenvalues, measured_edge, sign_flips
from .estimate import estimate_rank
from .feasible import FeasibleBands, feasible_bands
from .hysime import hysime
from .report import Estimate, RankReport, Spread
from .stability import Stability, Start, stability

__all__ = [
    "Bootstrap",
    "CrossValidation",
    "Edge",
    "Estimate",
    "FeasibleBands",
    "RankReport",
    "Spread",
    "Stability",
    "Start",
    "bootstrap",
    "claimed_edge",
    "cross_validation",
    "eigengap",
    "eigenvalues",
    "estimate_rank",
    "feasible_bands",
    "hysime",
    "measured_edge",
    "sign_flips",
    "stability",
]
