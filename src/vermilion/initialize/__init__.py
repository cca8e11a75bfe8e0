"""First values from the data."""

from .kmeans import kmeans
from .members import choose_from_library, library
from .nfindr import nfindr
from .nndsvd import nndsvd
from .peaks import Peaks, detect_in_residual, detect_sources
from .random import random_start
from .registry import PAIRS, SEARCHES, STARTS, starting_directions, starts
from .resample import resample_spectra
from .sivm import sivm
from .snpa import snpa
from .spa import spa
from .subspace import Subspace, weighted_subspace
from .vca import vca

__all__ = [
    "PAIRS",
    "SEARCHES",
    "STARTS",
    "Peaks",
    "Subspace",
    "choose_from_library",
    "detect_in_residual",
    "detect_sources",
    "kmeans",
    "library",
    "nfindr",
    "nndsvd",
    "random_start",
    "resample_spectra",
    "sivm",
    "snpa",
    "spa",
    "starting_directions",
    "starts",
    "vca",
    "weighted_subspace",
]
