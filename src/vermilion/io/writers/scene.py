"""A deblended scene to files: the catalog, the sources, the model and what is left of the data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datamodels import Cube, SceneResult
from ...errors import ShapeError
from .folder import OutputFolder
from .headers import write_files
from .provenance import describe, to_json, to_toml
from .scene_catalog import catalog_ecsv, catalog_hdus
from .scene_images import data_hdus, source_hdus
from .scene_sources import sources_hdus

__all__ = ["write_scene"]

logger = logging.getLogger(__name__)

Array = NDArray[np.floating[Any]]

_GAUGE = "morphologies sum to 1 in the model frame, spectra carry the flux and the unit"


def write_scene(
    folder: OutputFolder,
    result: SceneResult,
    cube: Cube,
    *,
    options: Mapping[str, Any],
    argv: Sequence[str],
    shares: Array | None = None,
) -> list[Path]:
    """Write what deblending found: the catalog, FITS files, `run.toml` and `provenance.json`.

    ``catalog.ecsv`` and ``catalog.fits``: one row per source. ``sources.fits``: spectra, morphologies and images of the sources, which
    `io.scene.read_scene` puts together again. ``model.fits`` and ``residual.fits``: FLUX / ERR / DQ with the coordinates of the input.
    Pictures, `run.log`, the manifest and `DONE` are the business of the caller; see `OutputFolder.finish`.

    Parameters
    ----------
    folder : OutputFolder
        Open.
    result : SceneResult
    cube : Cube
        What was deblended.
    options : mapping
        Every option as it was resolved; saved in `run.toml`.
    argv : sequence of str
        The command line, for the headers.
    shares : ndarray, shape (n, B, Ny, Nx), optional
        The data shared out among the sources: written beside the image of each source into ``source_00.fits`` …

    Returns
    -------
    list of Path
        The products, in the order in which they were written.

    Raises
    ------
    ShapeError
        If scene, cube and shares do not belong together, or there is no source.
    OutputError
        If the disk refuses; what is there under a final name is whole.
    """
    _require_same_shape(result, cube, shares)
    names = [f"{k} {source.kind}" for k, source in enumerate(result.sources)]
    provenance = {
        **describe(result, cube, names=names, normalization=_GAUGE, options=options, argv=argv),
        "bands": list(result.bands),
        "chi2": result.chi2,
        "n_data": result.n_data,
        "fit_keys": list(result.provenance),
    }
    texts = {
        "catalog.ecsv": catalog_ecsv(result.catalog, provenance),
        "run.toml": to_toml(options),
        "provenance.json": to_json(provenance),
    }
    return write_files(folder, _fits_products(result, cube, provenance, shares), texts)


def _fits_products(
    result: SceneResult, cube: Cube, provenance: Mapping[str, Any], shares: Array | None
) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """Names, and what builds the HDUs."""
    yield "catalog.fits", partial(catalog_hdus, result.catalog, provenance)
    yield "sources.fits", partial(sources_hdus, result, cube.frame, provenance)
    model = result.model
    yield "model.fits", partial(data_hdus, model, "model: sum of the sources", cube, provenance)
    yield "residual.fits", partial(data_hdus, cube.data - model, "data minus model", cube, provenance)
    if shares is not None:
        digits = max(2, len(str(len(shares) - 1)))
        for k, share in enumerate(shares):
            yield f"source_{k:0{digits}d}.fits", partial(source_hdus, k, share, result, cube, provenance)


def _require_same_shape(result: SceneResult, cube: Cube, shares: Array | None) -> None:
    if not result.sources:
        raise ShapeError("the scene has no source: expected at least one.")
    expected = (len(result.sources), *cube.data.shape)
    for name, shape in (("models", result.models.shape), ("shares", expected if shares is None else shares.shape)):
        if shape != expected:
            raise ShapeError(f"{name} has shape {shape}, the cube {cube.data.shape} and {expected[0]} sources: expected {expected}.")
    if len(result.catalog) != len(result.sources):
        raise ShapeError(f"the catalog has {len(result.catalog)} rows, there are {len(result.sources)} sources: expected one row each.")
