"""The one loop for torch optimizers."""

from .fit import fit
from .stopping import RelativeDecrease, StopRule

__all__ = ["RelativeDecrease", "StopRule", "fit"]
