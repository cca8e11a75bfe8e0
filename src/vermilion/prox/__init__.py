"""Proximal operators: maps (x, step) to x."""

from .affine import AffineSum
from .balls import L1Ball, L2Ball
from .base import Identity, NonNegative, Prox, as_prox
from .box import Box
from .chain import Chain
from .component import PerComponent
from .compose import Orthogonal, Scaled, Translated, dct_matrix
from .dykstra import Dykstra
from .entropy import MaxEntropy
from .group import GroupL21
from .hard import Hard, L0Ball
from .monotone import MonotoneCone, MonotoneGreedy
from .registry import EXAMPLES
from .ridge import ElasticNet, SquaredL2
from .simplex import Simplex, UnitSum
from .smoothness import Smoothness
from .soft import Soft
from .starlet import Starlet
from .stiefel import Stiefel
from .symmetry import Symmetric
from .total_variation import TotalVariation

__all__ = [
    "EXAMPLES",
    "AffineSum",
    "Box",
    "Chain",
    "Dykstra",
    "ElasticNet",
    "GroupL21",
    "Hard",
    "Identity",
    "L0Ball",
    "L1Ball",
    "L2Ball",
    "MaxEntropy",
    "MonotoneCone",
    "MonotoneGreedy",
    "NonNegative",
    "Orthogonal",
    "PerComponent",
    "Prox",
    "Scaled",
    "Simplex",
    "Smoothness",
    "Soft",
    "SquaredL2",
    "Starlet",
    "Stiefel",
    "Symmetric",
    "TotalVariation",
    "Translated",
    "UnitSum",
    "as_prox",
    "dct_matrix",
]
