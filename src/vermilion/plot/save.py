"""All pictures of a result as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ..datamodels import Cube, Result
from .abundances import abundances, has_abundances
from .convergence import convergence
from .maps import maps
from .residual_rms import residual_rms
from .signed import signed
from .spectra import spectra
from .style import styled
from .white_light import white_light

__all__ = ["FIGURES", "save_figure", "save_figures"]

Path = str | PathLike[str]

# The pictures of a result, in the order in which they are shown. A new picture is one line here.
FIGURES: Mapping[str, Callable[[Result, Cube], Any]] = MappingProxyType(
    {
        "abundances": lambda result, cube: abundances(result),
        "maps": lambda result, cube: maps(result),
        "spectra": lambda result, cube: spectra(result, cube),
        "white_light": lambda result, cube: white_light(result, cube),
        "residual_rms": lambda result, cube: residual_rms(result, cube),
        "convergence": lambda result, cube: convergence(result),
        "signed": lambda result, cube: signed(result),
    }
)


def save_figures(result: Result, cube: Cube, write: Callable[[str, Callable[[Path], None]], Any]) -> list[str]:
    """Names of the pictures of a result, each handed to `write`.

    Parameters
    ----------
    result : Result
        With maps (K, Ny, Nx).
    cube : Cube
        What was fitted.
    write : callable
        Called as ``write(name, producer)`` with names like ``"figures/maps.png"``; ``producer(path)`` draws the picture and saves
        it there as PNG, whatever the path ends with. Pictures are drawn one at a time, when they are produced.

    Returns
    -------
    list of str
        The signed maps, maps of abundances, and the convergence are left out if the result has none.
    """
    names = []
    for picture, draw in FIGURES.items():
        if picture == "signed" and (result.signed_morphologies is None or result.signed_error is None):
            continue
        if picture == "abundances" and not has_abundances(result):
            continue
        if picture == "convergence" and len(result.history) == 1:
            continue
        name = f"figures/{picture}.png"
        write(name, lambda path, draw=draw: save_figure(draw(result, cube), path))  # type: ignore[misc]
        names.append(name)
    return names


@styled
def save_figure(axes: Any, path: Path, *, dpi: float = 150) -> None:
    """Save the figure of `axes` (Axes, or an array of them) as PNG; equal figures give equal bytes."""
    first: Axes = axes if isinstance(axes, Axes) else np.ravel(axes)[0]
    figure = first.get_figure(root=True)
    assert figure is not None
    FigureCanvasAgg(figure)
    # Without the version of the drawing software, which would change the bytes.
    figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})
