"""Proximal operators: maps (x, step) to x."""

from .base import Identity, NonNegative, Prox, as_prox
from .chain import Chain
from .entropy import MaxEntropy
from .registry import EXAMPLES
from .simplex import Simplex, UnitSum
from .soft import Soft
from .stiefel import Stiefel

__all__ = ["EXAMPLES", "Chain", "Identity", "MaxEntropy", "NonNegative", "Prox", "Simplex", "Soft", "Stiefel", "UnitSum", "as_prox"]
