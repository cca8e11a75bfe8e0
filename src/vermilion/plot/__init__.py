"""Pictures of numbers; every function returns Axes, none shows or keeps a figure."""

from .abundances import abundances
from .convergence import convergence
from .flux_history import flux_history
from .maps import maps
from .rank import rank
from .residual_rms import residual_rms
from .save import FIGURES, save_figure, save_figures
from .scene import scene_rgb
from .signed import signed
from .source_rows import source_rows
from .spectra import spectra
from .white_light import white_light

__all__ = [
    "FIGURES",
    "abundances",
    "convergence",
    "flux_history",
    "maps",
    "rank",
    "residual_rms",
    "save_figure",
    "save_figures",
    "scene_rgb",
    "signed",
    "source_rows",
    "spectra",
    "white_light",
]
