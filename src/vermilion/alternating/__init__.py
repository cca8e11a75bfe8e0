"""Closed-form block solver for bilinear Gaussian problems: no autograd, few reads of Y."""

from .alternation import Alternation
from .batch import Batch
from .compress import EXTREMES, OVERSAMPLING, solve_compressed, solve_some_pixels, worth_compressing
from .constraints import Constraints, fixes_scale
from .crossfit import leave_out_spectra
from .extrapolation import Extrapolation
from .known import Known
from .passage import Passage, first_quadratic, loss, passage
from .problem import Problem
from .quadratic import Block, Quadratic, minimize
from .sketch import Sketch
from .sweep import Record, Sweep
from .tiles import TensorTiles, TileSource

__all__ = [
    "EXTREMES",
    "OVERSAMPLING",
    "Alternation",
    "Batch",
    "Block",
    "Constraints",
    "Extrapolation",
    "Known",
    "Passage",
    "Problem",
    "Quadratic",
    "Record",
    "Sketch",
    "Sweep",
    "TensorTiles",
    "TileSource",
    "first_quadratic",
    "fixes_scale",
    "leave_out_spectra",
    "loss",
    "minimize",
    "passage",
    "solve_compressed",
    "solve_some_pixels",
    "worth_compressing",
]
