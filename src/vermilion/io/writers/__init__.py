"""Results to files, each of them whole or absent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...datamodels import Cube, Frame, Result
from ...errors import ShapeError
from .components import components_hdus
from .coordinates import cube_cards
from .folder import OutputFolder, slug
from .headers import write_files
from .images import DQ_BITS, component_hdus, model_hdus, residual_hdus
from .layouts import LAYOUTS, Layout, layout_named
from .provenance import describe, to_json, to_toml
from .spectra import spectrum_ecsv, spectrum_hdus

__all__ = ["DQ_BITS", "LAYOUTS", "OutputFolder", "slug", "write_products"]

logger = logging.getLogger(__name__)


def write_products(
    folder: OutputFolder,
    result: Result,
    cube: Cube,
    *,
    options: Mapping[str, Any],
    argv: Sequence[str],
    cubes: bool = False,
    layout: str = "flux",
) -> list[Path]:
    """Write what a separation found: FITS files, `run.toml` and `provenance.json`.

    Pictures, `run.log`, the manifest and `DONE` are the business of the caller; see `OutputFolder.finish`.

    Parameters
    ----------
    folder : OutputFolder
        Open.
    result : Result
        With maps (K, Ny, Nx), NaN where pixels were dropped.
    cube : Cube
        What was fitted.
    options : mapping
        Every option as it was resolved; saved in `run.toml`.
    argv : sequence of str
        The command line, for the headers.
    cubes : bool
        Also write `component_00.fits` …, one cube per component.
    layout : {"flux", "muse", "primary"}
        Names of the HDUs of `model.fits`, `residual.fits` and the cubes: FLUX / ERR / DQ (as Cubeviz wants them), DATA / STAT
        (a variance) / DQ (mpdaf), or the data in the primary HDU beside ERR / DQ (spectral-cube).

    Returns
    -------
    list of Path
        The products, in the order in which they were written.

    Raises
    ------
    ParameterError
        If the layout is unknown.
    ShapeError
        If the maps or spectra do not belong to the cube.
    OutputError
        If the disk refuses; what is there under a final name is whole.
    """
    chosen = layout_named(layout)
    frame = result.frame or cube.frame
    _require_same_shape(result, cube, frame)
    if chosen.name != "flux" and cube_cards(frame, cube.meta.get("spectral_medium"))[1]:
        logger.warning("the spectral axis needs a table of wavelengths, which %s does not look up: use --layout flux", chosen.opens_in)
    provenance = describe(result, cube, names=result.names, normalization=result.normalization, options=options, argv=argv)
    texts = {f"spectrum_{k:02d}.ecsv": spectrum_ecsv(k, result, frame, provenance) for k in range(result.n_components)}
    texts |= {"run.toml": to_toml(options), "provenance.json": to_json(provenance)}
    return write_files(folder, _fits_products(result, cube, frame, provenance, cubes, chosen), texts)


def _fits_products(
    result: Result, cube: Cube, frame: Frame, provenance: Mapping[str, Any], cubes: bool, layout: Layout
) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """Names, and what builds the HDUs."""
    yield "components.fits", partial(components_hdus, result, frame, provenance)
    yield "model.fits", partial(model_hdus, result, cube, frame, provenance, layout)
    yield "residual.fits", partial(residual_hdus, result, cube, frame, provenance, layout)
    for k in range(result.n_components):
        yield f"spectrum_{k:02d}.fits", partial(spectrum_hdus, k, result, frame, provenance)
    if cubes:
        for k in range(result.n_components):
            yield f"component_{k:02d}.fits", partial(component_hdus, k, result, cube, frame, provenance, layout)


def _require_same_shape(result: Result, cube: Cube, frame: Frame) -> None:
    expected = (result.n_components, *frame.shape)
    if result.morphologies.shape != expected:
        raise ShapeError(
            f"morphologies has shape {result.morphologies.shape}, expected maps {expected}: put the pixels back with frame.to_image."
        )
    if cube.data.shape != (len(result.spectra), *frame.shape):
        raise ShapeError(f"the cube has shape {cube.data.shape}, the result {(len(result.spectra), *frame.shape)} (bands, y, x).")
