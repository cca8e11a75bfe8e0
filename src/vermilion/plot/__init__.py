"""Pictures of numbers; every function returns Axes, none shows or keeps a figure."""

from .abundances import abundances
from .convergence import convergence
from .maps import maps
from .rank import rank
from .residual_rms import residual_rms
from .save import FIGURES, save_figure, save_figures
from .signed import signed
from .spectra import spectra
from .white_light import white_light

__all__ = [
    "FIGURES",
    "abundances",
    "convergence",
    "maps",
    "rank",
    "residual_rms",
    "save_figure",
    "save_figures",
    "signed",
    "spectra",
    "white_light",
]
