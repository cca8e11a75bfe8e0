"""The products of `vermilion deblend`, read back."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from numpy.typing import NDArray

from ..datamodels import History, SceneResult, SceneSource, Status
from ..errors import CorruptFileError, HeaderError, ShapeError
from .fits.preflight import FITSFile, damage_reported, preflight
from .memory import available_memory
from .registry import read
from .sources import local_file
from .writers.history import GRADIENTS
from .writers.scene_sources import PARAMETER, PROBABILITY

__all__ = ["read_scene"]

Array = NDArray[np.float64]

_TABLES = ("SOURCES", "SPECTRA", "BANDS", "HISTORY", "FLUX_HISTORY")


def read_scene(folder: str | os.PathLike[str]) -> SceneResult:
    """The scene that a run of `vermilion deblend` wrote into `folder`.

    It is the one that was written but for a few things: images of sources are zero where they were below 1e-12 of their peak, the history
    has no seconds, names of bands are ASCII, and provenance has the types of JSON.

    Parameters
    ----------
    folder : path-like
        With sources.fits, catalog.ecsv, model.fits and provenance.json.

    Returns
    -------
    SceneResult

    Raises
    ------
    MissingFileError, EmptyFileError, NotFITSError, TruncatedFileError, CorruptFileError
        If a product is missing or damaged.
    HeaderError, ShapeError
        If the products are not those of `vermilion deblend`, or do not belong together.
    """
    folder = Path(folder)
    file = preflight(folder / "sources.fits", limit=available_memory(), checksum=True)
    facts = _facts(local_file(folder / "provenance.json"))
    catalog = _catalog(local_file(folder / "catalog.ecsv"))
    frame = read(folder / "model.fits").frame
    with file.open() as hdus:
        _require_hdus(file, hdus)
        with damage_reported(f"{file.path}"):
            parts = _parts(hdus)
    if len(catalog) != len(parts["sources"]) or frame.shape != parts["models"].shape[2:] or frame.n_bands != len(parts["bands"]):
        raise ShapeError(f"{folder}: catalog, model and sources have other numbers of sources, bands or pixels: expected those of one run.")
    known = {name: facts[name] for name in facts.get("fit_keys", ()) if name in facts}
    return SceneResult(**parts, catalog=catalog, frame=frame, status=_status(facts), notes=tuple(facts["notes"]), provenance=known)


def _parts(hdus: fits.HDUList) -> dict[str, Any]:
    header, table = hdus[0].header, hdus["SOURCES"].data
    flux_history, bands = hdus["FLUX_HISTORY"].data, tuple(str(name) for name in hdus["BANDS"].data["band"])
    n = len(table)
    images = {(hdu.name, hdu.ver): hdu for hdu in hdus if hdu.is_image}
    models = np.zeros((n, len(bands), header["IMAGE_NY"], header["IMAGE_NX"]))
    for k in range(n):
        image = images["MODEL", k + 1]
        y, x = image.header["BOX_Y"], image.header["BOX_X"]
        height, width = image.shape[1:]
        models[k, :, y : y + height, x : x + width] = image.data
    return {
        "sources": tuple(_source(hdus, k, images["MORPH", k + 1]) for k in range(n)),
        "models": models,
        **{name: _floats(table[name], (n, len(bands))) for name in ("fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors")},
        "chi2": float(header["CHI2"]),
        "n_data": int(header["NDATA"]),
        "bands": bands,
        "history": _history(hdus["HISTORY"]),
        "flux_history": _floats(flux_history["flux"], (len(flux_history), n)),
        "flux_iterations": np.array(flux_history["iteration"], dtype=np.int64),
    }


def _source(hdus: fits.HDUList, k: int, image: fits.ImageHDU) -> SceneSource:
    row, spectra = hdus["SOURCES"].data[k], hdus["SPECTRA"].data
    own = spectra[spectra["source"] == k]
    own = own[np.argsort(own["component"])]
    numbers = {
        prefix: {key: float(row[name]) for name, key in _keys(hdus["SOURCES"], prefix).items() if np.isfinite(row[name])}
        for prefix in (PARAMETER, PROBABILITY)
    }
    return SceneSource(
        kind=str(row["kind"]),
        center=(float(row["y"]), float(row["x"])),
        spectra=_floats(own["flux"], (len(own), len(hdus["BANDS"].data))).T,
        morphologies=np.array(image.data, dtype=np.float64),
        box=(int(image.header["BOX_Y"]), int(image.header["BOX_X"])),
        parameters=numbers[PARAMETER],
        probabilities=numbers[PROBABILITY],
    )


def _history(hdu: fits.BinTableHDU) -> History:
    """The course of the fit, without its seconds."""
    blocks = _keys(hdu, GRADIENTS)
    history = History(list(blocks.values()))
    for row in hdu.data:
        history.append(
            objective=float(row["objective"]),
            gradient_evaluations=[int(row[name]) for name in blocks],
            objective_evaluations=int(row["objective_evaluations"]),
            reads_of_Y=float(row["reads_of_Y"]),
        )
    return history


def _keys(hdu: fits.BinTableHDU, prefix: str) -> dict[str, str]:
    """Columns that begin with `prefix`, and what they stand for: their TCOMMn, or the rest of their name."""
    names = {name: number for number, name in enumerate(hdu.columns.names, 1) if name.startswith(prefix)}
    return {name: str(hdu.header.get(f"TCOMM{number}", name.removeprefix(prefix))) for name, number in names.items()}


def _floats(values: NDArray[Any], shape: tuple[int, int]) -> Array:
    """A column of vectors as a native array; FITS forgets that vectors of one number are vectors."""
    return np.array(values, dtype=np.float64).reshape(shape)


def _require_hdus(file: FITSFile, hdus: fits.HDUList) -> None:
    missing = [name for name in _TABLES if name not in hdus]
    if missing:
        raise HeaderError(f"{file.path} has no HDU {', '.join(missing)}: expected a sources.fits as vermilion deblend writes it.")


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is no JSON: {error}; write it again.") from None
    if not isinstance(facts, dict) or "notes" not in facts or "status" not in facts:
        raise HeaderError(f"{path} does not tell status and notes: expected a provenance.json of vermilion.")
    return facts


def _status(facts: dict[str, Any]) -> Status:
    try:
        return Status[facts["status"]]
    except (KeyError, TypeError):
        raise HeaderError(f"status is {facts['status']!r} in provenance.json: expected one of {', '.join(Status.__members__)}.") from None


def _catalog(path: Path) -> QTable:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return QTable.read(path, format="ascii.ecsv")
    except Exception as error:  # astropy has many kinds of failure for a damaged table
        raise CorruptFileError(f"{path} is damaged: {' '.join(str(error).split())}; write it again.") from error
