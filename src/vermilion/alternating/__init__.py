"""Closed-form block solver for bilinear Gaussian problems: no autograd, few reads of Y."""

from .constraints import Constraints, fixes_scale
from .crossfit import leave_out_spectra
from .known import Known
from .normal import NormalEquations, loss, morphology_equations, spectra_equations
from .problem import Problem
from .quadratic import Block, minimize
from .sweep import Extrapolation, Record, Sweep
from .tiles import TensorTiles, TileSource

__all__ = [
    "Block",
    "Constraints",
    "Extrapolation",
    "Known",
    "NormalEquations",
    "Problem",
    "Record",
    "Sweep",
    "TensorTiles",
    "TileSource",
    "fixes_scale",
    "leave_out_spectra",
    "loss",
    "minimize",
    "morphology_equations",
    "spectra_equations",
]
