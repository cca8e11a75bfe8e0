"""The one loop for torch optimizers."""

from .fit import fit
from .stopping import RelativeDecrease, Stationarity, StopRule

__all__ = ["RelativeDecrease", "Stationarity", "StopRule", "fit"]
