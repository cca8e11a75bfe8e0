"""`model.fits`, `residual.fits` and `source_00.fits` of a scene: images, noise and DQ with the coordinates of the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datamodels import Cube, SceneResult
from .headers import primary_hdu
from .images import cube_hdus
from .layouts import LAYOUTS

__all__ = ["data_hdus", "source_hdus"]

Array = NDArray[np.floating[Any]]


def data_hdus(values: Array, meaning: str, cube: Cube, provenance: Mapping[str, Any]) -> list[Any]:
    """PRIMARY | FLUX | ERR (where it is known) | DQ | what `cube_hdus` adds.

    Parameters
    ----------
    values : ndarray, shape (B, Ny, Nx)
        In the unit of the cube.
    meaning : str
        What they are, for a COMMENT.
    cube : Cube
    provenance : mapping
        As `describe` returns it.
    """
    return cube_hdus(values, meaning, cube, cube.frame, primary_hdu(provenance), LAYOUTS["flux"], dropped=_dropped(cube))


def source_hdus(k: int, share: Array, result: SceneResult, cube: Cube, provenance: Mapping[str, Any]) -> list[Any]:
    """The same for one source: FLUX is its image as the telescope sees it, SHARE its part of the data."""
    source = result.sources[k]
    cards = {
        "NAME": (provenance["names"][k], f"source {k}"),
        "KIND": (source.kind, "what it was taken for"),
        "CENTER_X": (source.center[1], "[pixel] counted from 0"),
        "CENTER_Y": (source.center[0], "[pixel] counted from 0"),
    }
    meaning = f"the data, shared out in proportion to the images of the sources: part of source {k}"
    return cube_hdus(
        result.models[k],
        f"image of source {k}",
        cube,
        cube.frame,
        primary_hdu(provenance, cards),
        LAYOUTS["flux"],
        dropped=_dropped(cube),
        more={"SHARE": (share, meaning)},
    )


def _dropped(cube: Cube) -> NDArray[np.bool_]:
    """Pixels (Ny, Nx) without weight in any band."""
    return np.asarray(~(cube.weights > 0).any(axis=0))
