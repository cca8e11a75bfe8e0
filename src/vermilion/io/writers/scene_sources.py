"""`sources.fits`: all that a scene is made of, from which `io.scene.read_scene` makes it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Frame, SceneResult, SceneSource
from .coordinates import sky_cards, with_axis
from .headers import add_comments, card_text, column_name, common_unit, image_hdu, primary_hdu, spectral_columns, unit_text
from .history import history_hdu

__all__ = ["PARAMETER", "PROBABILITY", "sources_hdus"]

PARAMETER, PROBABILITY = "par_", "prob_"  # how columns begin

Array = NDArray[np.floating[Any]]

_NEGLIGIBLE = 1e-12  # of the peak: what a Fourier transform leaves where an image is zero
_COMPONENT_AXIS = {"CTYPE3": ("COMPONENT", "number of the component, from 0"), "CRVAL3": (0.0, ""), "CDELT3": (1.0, "")}
_BAND_AXIS = {"CTYPE3": ("", "band"), "CRVAL3": (1.0, ""), "CDELT3": (1.0, "")}


def sources_hdus(result: SceneResult, frame: Frame, provenance: Mapping[str, Any]) -> list[Any]:
    """The HDUs of `sources.fits`.

    PRIMARY (provenance, CHI2, NDATA, IMAGE_NX, IMAGE_NY) | SOURCES table, one row per source: kind, y, x, fluxes (B), parameters ``par_…``
    and probabilities ``prob_…`` | SPECTRA table: source, component, flux (B) | BANDS | HISTORY | FLUX_HISTORY, and for source k with
    EXTVER k + 1 MORPH (C, h, w), each component of which sums to 1, and MODEL (B, h, w), the source as the telescope sees it; what lies
    outside the image is below 1e-12 of its peak. Sources, components and pixels are counted from 0. Vectors over the bands have the order
    of BANDS.

    Parameters
    ----------
    result : SceneResult
    frame : Frame
        Of the images.
    provenance : mapping
        As `describe` returns it.
    """
    cards = {
        "NSOURCES": (len(result.sources), "number of sources"),
        "CHI2": (float(result.chi2), "of the data with weight"),
        "NDATA": (result.n_data, "number of data with weight"),
        "IMAGE_NX": (result.models.shape[3], "width of the images [pixel]"),
        "IMAGE_NY": (result.models.shape[2], "height of the images [pixel]"),
    }
    unit = unit_text(common_unit(frame))
    tables = [_sources_hdu(result, unit), _spectra_hdu(result, unit), _bands_hdu(result, frame), history_hdu(result.history)]
    images = [hdu for k, source in enumerate(result.sources) for hdu in _images(k, source, result.models[k], frame, unit)]
    return [primary_hdu(provenance, cards), *tables, _flux_history_hdu(result), *images]


def _sources_hdu(result: SceneResult, unit: str) -> fits.BinTableHDU:
    sources = result.sources
    kinds = [card_text(source.kind) or "-" for source in sources]
    columns = [
        fits.Column("source", "K", array=np.arange(len(sources))),
        fits.Column("kind", f"{max([1, *map(len, kinds)])}A", array=np.array(kinds, dtype="S")),
        *(fits.Column(name, "D", unit="pix", array=_floats(s.center[axis] for s in sources)) for axis, name in enumerate(("y", "x"))),
        fits.Column("components", "K", array=np.array([len(source.morphologies) for source in sources], dtype=np.int64)),
    ]
    fluxes = ("fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors")
    columns += [_vectors(name, getattr(result, name), unit) for name in fluxes]
    said: dict[str, str] = {}
    for prefix, attribute in ((PARAMETER, "parameters"), (PROBABILITY, "probabilities")):
        numbers: list[dict[str, float]] = [getattr(source, attribute) for source in sources]
        for key in dict.fromkeys(key for of_source in numbers for key in of_source):
            name = prefix + column_name(key)
            columns.append(fits.Column(name, "D", array=_floats(of_source.get(key, np.nan) for of_source in numbers)))
            said[f"TCOMM{len(columns)}"] = card_text(key)
    table = fits.BinTableHDU.from_columns(columns, name="SOURCES", nrows=len(sources))
    table.header.update(said)
    texts = (
        "fluxes: under the constraints; errors: 1 sigma, centers and shapes being uncertain too",
        "signed_fluxes: refitted without constraints, shapes held fixed; unbiased where a source is absent",
        f"{PARAMETER}...: numbers that describe a profile, {PROBABILITY}...: probabilities of kinds; NaN where a source has none",
    )
    add_comments(table.header, texts)
    return table


def _spectra_hdu(result: SceneResult, unit: str) -> fits.BinTableHDU:
    """One row per component."""
    rows = [(k, c, source.spectra[:, c]) for k, source in enumerate(result.sources) for c in range(source.spectra.shape[1])]
    spectra = np.array([spectrum for _, _, spectrum in rows], dtype=np.float64).reshape(len(rows), len(result.bands))
    columns = [
        fits.Column("source", "K", array=np.array([k for k, _, _ in rows], dtype=np.int64)),
        fits.Column("component", "K", array=np.array([c for _, c, _ in rows], dtype=np.int64)),
        _vectors("flux", spectra, unit),
    ]
    return fits.BinTableHDU.from_columns(columns, name="SPECTRA", nrows=len(rows))


def _bands_hdu(result: SceneResult, frame: Frame) -> fits.BinTableHDU:
    names = [card_text(name) or "-" for name in result.bands]
    columns = [column for column in spectral_columns(frame) if column.name != "band"]
    columns.insert(0, fits.Column("band", f"{max(map(len, names))}A", array=np.array(names, dtype="S")))
    return fits.BinTableHDU.from_columns(columns, name="BANDS")


def _flux_history_hdu(result: SceneResult) -> fits.BinTableHDU:
    columns = [
        fits.Column("iteration", "K", array=result.flux_iterations),
        _vectors("flux", result.flux_history.reshape(len(result.flux_iterations), len(result.sources)), ""),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="FLUX_HISTORY", nrows=len(result.flux_iterations))
    add_comments(table.header, ("flux of each source summed over the bands, each band in units of its noise",))
    return table


def _images(k: int, source: SceneSource, model: Array, frame: Frame, unit: str) -> list[fits.ImageHDU]:
    first, cut = _trimmed(model)
    morphology = image_hdu(
        "MORPH", source.morphologies.astype(np.float64), _at(frame, source.box, _COMPONENT_AXIS), comments=(f"source {k}: {source.kind}",)
    )
    image = image_hdu("MODEL", cut.astype(np.float64), _at(frame, first, _BAND_AXIS), unit=unit, comments=(f"image of source {k}",))
    for hdu, (y, x) in ((morphology, source.box), (image, first)):
        hdu.ver = k + 1
        hdu.header["SOURCE"] = (k, "number of the source, from 0")
        hdu.header["BOX_Y"] = (int(y), "[pixel] of the images: first row")
        hdu.header["BOX_X"] = (int(x), "[pixel] of the images: first column")
    return [morphology, image]


def _trimmed(model: Array) -> tuple[tuple[int, int], Array]:
    """The smallest box with all that matters of an image (B, Ny, Nx), and where it begins."""
    seen = np.abs(model).max(axis=0, initial=0)
    ys, xs = np.nonzero(seen > _NEGLIGIBLE * seen.max(initial=0))
    if not len(ys):
        return (0, 0), model[:, :1, :1]
    return (int(ys.min()), int(xs.min())), model[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


def _at(frame: Frame, first: tuple[int, int], third: Mapping[str, tuple[object, str]]) -> fits.Header:
    """The coordinates of a box whose first pixel (y, x) is `first`."""
    sky = sky_cards(frame)
    if not sky:
        return sky
    for axis, pixel in ((1, first[1]), (2, first[0])):
        sky[f"CRPIX{axis}"] -= int(pixel)
    return with_axis(sky, third)


def _floats(values: Iterable[float]) -> NDArray[np.float64]:
    return np.fromiter(values, dtype=np.float64)


def _vectors(name: str, values: Array, unit: str) -> fits.Column:
    """A column with a vector in each row."""
    return fits.Column(name, f"{values.shape[1]}D", unit=unit or None, array=np.asarray(values, dtype=np.float64))
