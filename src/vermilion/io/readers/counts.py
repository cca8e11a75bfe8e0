"""Cubes of counted photons with an EBOUNDS table: Fermi-LAT counts cubes, X-ray images by energy, the layouts of Gammapy.

The energies are the geometric means of E_MIN and E_MAX, in the unit of the table; the third axis of the WCS cannot say uneven bins
and is not used. Counts have no sigma of their own (the variance is that of the expectation, not of the datum): none is made up,
and ``meta["likelihood"]`` is ``"poisson"``. ``meta["band_edges"]`` is a Quantity (B, 2), ``meta["exposure"]`` and
``meta["background"]`` are arrays that can be broadcast to the cube.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...datamodels import Cube
from ...errors import AmbiguousInputError, HeaderError, NoDataError, UnitError
from ..fits.assemble import assemble
from ..fits.companions import Companion, read_companion
from ..fits.hdus import Decision
from ..fits.preflight import FITSFile, HDUInfo, card, damage_reported
from ..options import ReadOptions
from ..record import add_decisions, drop_decisions, note
from ..units import parse_unit

__all__ = ["identify", "load", "name"]

name = "counts"

_ENDS = ("E_MIN", "E_MAX")
_TOLERANCE = 1e-6  # of energies that are evenly spaced in their logarithm


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether there is a table of energy bounds beside an image with three axes."""
    cubes = any((card(header, "NAXIS", 0) or 0) >= 3 or (card(header, "ZNAXIS", 0) or 0) >= 3 for header in headers)
    return cubes and any(_has_bounds(header) for header in headers[1:])


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube of counts.

    Raises
    ------
    HeaderError
        If the table of bounds does not fit the cube.
    """
    cube = assemble(file, replace(options, wave=None), reader=name)  # --wave selects among the bands of the table
    data_hdu = next(d["hdu"] for d in cube.meta["decisions"] if d["taken_as"] == "data")
    table = _bounds_table(file, file.hdus[data_hdu])
    edges = _edges(file, table, len(cube.data))
    centers = np.sqrt(edges[:, 0] * edges[:, 1])
    why = "E_MIN and E_MAX are the edges of the bands, their geometric means the energies; the spectral axis of the WCS is not used"
    decisions: list[Decision] = [{"hdu": table.index, "name": table.name, "taken_as": "energy bounds", "why": why}]
    meta: dict[str, Any] = {**cube.meta, "band_edges": edges, "spectral_medium": None, "spectral_axis_given": False}
    frame = replace(cube.frame, spectral_axis=centers, wcs=_with_energies(cube.frame.wcs, centers))
    cube = replace(cube, frame=frame, meta=meta)
    cube = _as_counts(cube, file.hdus[data_hdu], file, options, decisions)
    cube = _with_exposure(cube, options, decisions)
    cube = _with_background(cube, options, decisions)
    return add_decisions(cube, decisions)


# ---------------------------------------------------------------- energies


def _columns(header: fits.Header) -> dict[str, int]:
    """Number of each column of a table, by its name."""
    count = card(header, "TFIELDS", 0)
    numbers = range(1, (count if isinstance(count, int) else 0) + 1)
    return {str(card(header, f"TTYPE{i}", "")).strip().upper(): i for i in numbers}


def _has_bounds(header: fits.Header) -> bool:
    return str(card(header, "XTENSION", "")).strip() == "BINTABLE" and set(_ENDS) <= set(_columns(header))


def _bounds_table(file: FITSFile, data: HDUInfo) -> HDUInfo:
    tables = [hdu for hdu in file.hdus if hdu.kind == "table" and _has_bounds(hdu.header)]
    named = str(card(data.header, "BANDSHDU", "")).strip().upper()  # gamma-astro-data-formats: the image names its table
    for choice in ([t for t in tables if named and t.name == named], [t for t in tables if t.name == "EBOUNDS"], tables):
        if len(choice) == 1:
            return choice[0]
    listing = "; ".join(map(str, tables))
    raise AmbiguousInputError(f"{len(tables)} tables hold energy bounds: {listing}. Keep one, or name it with BANDSHDU in HDU {data}.")


def _edges(file: FITSFile, table: HDUInfo, n_bands: int) -> u.Quantity:
    """Edges of the bands (B, 2), in the unit of the table."""
    numbers = _columns(table.header)
    units = [_energy_unit(table, numbers[end]) for end in _ENDS]
    with file.open() as hdulist, damage_reported(f"HDU {table}"):
        rows = hdulist[table.index].data
        order = np.argsort(np.asarray(rows["CHANNEL"]), kind="stable") if "CHANNEL" in numbers else slice(None)
        ends = [
            u.Quantity(np.asarray(rows.field(numbers[end] - 1), dtype=float)[order], unit) for end, unit in zip(_ENDS, units, strict=True)
        ]
    edges = u.Quantity([ends[0], ends[1].to(ends[0].unit)]).T
    if len(edges) != n_bands:
        raise HeaderError(f"HDU {table} has {len(edges)} rows, the cube has {n_bands} bands: expected one row per band; fetch it again.")
    values = edges.value
    if not (np.isfinite(values).all() and (values > 0).all() and (values[:, 1] > values[:, 0]).all()):
        raise HeaderError(f"HDU {table} has bounds that are not 0 < E_MIN < E_MAX: expected energies; leave the table out and add --wave.")
    return edges


def _energy_unit(table: HDUInfo, number: int) -> u.UnitBase:
    text = str(card(table.header, f"TUNIT{number}", "")).strip()
    column = str(card(table.header, f"TTYPE{number}", "")).strip()
    try:
        unit = parse_unit(text)[0] if text else None
    except UnitError:
        unit = None
    if unit is None or not unit.is_equivalent(u.keV, u.spectral()):
        raise UnitError(f"column {column} of HDU {table} has the unit {text!r}: expected an energy such as keV (TUNIT{number}).")
    return unit


def _with_energies(wcs: WCS | None, centers: u.Quantity) -> WCS | None:
    """The celestial coordinates, with the energies where a logarithmic axis can say them."""
    if wcs is None:
        return None
    values, last = centers.to_value(u.J, u.spectral()), len(centers) - 1  # wcslib has another eV than astropy
    ratio = (values[-1] / values[0]) ** (1 / last) if last else 1.0
    kind, unit, first, step = "", "", 1.0, 1.0
    if last and np.allclose(values, values[0] * ratio ** np.arange(last + 1), rtol=_TOLERANCE, atol=0):
        kind, unit, first, step = "ENER-LOG", "J", values[0], values[0] * np.log(ratio)
    matrix = wcs.pixel_scale_matrix.copy()
    matrix[2, :], matrix[:, 2] = 0.0, 0.0
    matrix[2, 2] = step
    ctype, cunit, crval = list(wcs.wcs.ctype), [str(text) for text in wcs.wcs.cunit], list(wcs.wcs.crval)
    fresh = WCS(naxis=3)
    fresh.wcs.ctype, fresh.wcs.cunit = [*ctype[:2], kind], [*cunit[:2], unit]
    fresh.wcs.crval, fresh.wcs.crpix = [*crval[:2], first], [*wcs.wcs.crpix[:2], 1.0]
    fresh.wcs.cdelt, fresh.wcs.pc = [1.0, 1.0, 1.0], matrix
    fresh.wcs.lonpole, fresh.wcs.latpole = wcs.wcs.lonpole, wcs.wcs.latpole
    fresh.wcs.radesys, fresh.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    fresh.wcs.set_pv([parameter for parameter in wcs.wcs.get_pv() if parameter[0] != 3])
    fresh.wcs.set()
    fresh.pixel_shape = wcs.pixel_shape
    return fresh


# ---------------------------------------------------------------- counts


def _as_counts(cube: Cube, hdu: HDUInfo, file: FITSFile, options: ReadOptions, decisions: list[Decision]) -> Cube:
    """The cube in counts with a Poisson likelihood, or as it is where the values are no counts, and why."""
    finite = cube.data[np.isfinite(cube.data)]
    text = str(card(hdu.header, "BUNIT", "") or card(file.hdus[0].header, "BUNIT", "")).strip()
    whole = bool(np.array_equal(finite, np.rint(finite)))
    if not whole or (finite < 0).any():
        what = "negative values" if whole else "values that are not whole numbers"
        decisions.append(note(f"{what}: these are no counts (background subtracted, or a rate?); no likelihood is assumed", loud=True))
        return cube
    unit = cube.frame.unit
    if options.unit is None and not text:
        unit = u.ct
        cube = drop_decisions(cube, "no BUNIT")
        decisions.append(note("no BUNIT: whole numbers beside energy bounds are counts, unit ct", loud=True))
    elif not (isinstance(unit, u.UnitBase) and unit.is_equivalent(u.ct)) and unit not in (u.photon, u.dimensionless_unscaled):
        decisions.append(note(f"the unit is {unit}, not counts: no likelihood is assumed", loud=True))
        return cube
    elif unit == u.dimensionless_unscaled and options.unit is None:
        unit = u.ct
    if cube.variance is None:
        cube = drop_decisions(cube, "no errors in the file")
        decisions.append(
            note("no errors in the file: counts follow Poisson statistics: no sigma is made up (sqrt(n) would bias fluxes low)")
        )
    return replace(cube, frame=replace(cube.frame, unit=unit), meta={**cube.meta, "likelihood": "poisson"})


# ---------------------------------------------------------------- exposure and background


def _with_exposure(cube: Cube, options: ReadOptions, decisions: list[Decision]) -> Cube:
    """The cube with its exposure; bands and pixels that were not exposed are masked."""
    if options.exposure_file is None:
        return cube
    n_bands = len(cube.data)
    found = read_companion(options.exposure_file, cube.data.shape, options, "--exposure-file", bands=(n_bands + 1,))
    values, why = found.values, f"--exposure-file, HDU {found.hdu}"
    if len(values) == n_bands + 1:
        values = _to_centers(found, cube.meta["band_edges"])
        why += ", given at the edges of the bands: interpolated to their geometric means, logarithmically"
    with np.errstate(invalid="ignore"):
        exposed = np.isfinite(values) & (values > 0)
    if not exposed.any():
        raise NoDataError(f"--exposure-file {options.exposure_file}: nowhere above 0: nothing was observed.")
    decisions.append(note(f"exposure: {why}; unit {str(card(found.hdu.header, 'BUNIT', '')).strip() or 'not said'}"))
    mask = cube.mask
    if not exposed.all():
        unseen = np.broadcast_to(~exposed, cube.data.shape)
        decisions.append(note(f"{np.count_nonzero(unseen)} values have no exposure: masked", loud=True))
        mask = unseen.copy() if mask is None else mask | unseen
    return replace(cube, mask=mask, meta={**cube.meta, "exposure": values})


def _to_centers(found: Companion, edges: u.Quantity) -> NDArray[np.floating[Any]]:
    """Exposure at the geometric means of the bands, from planes at their edges (gtexpcube2); its ENERGIES table must agree."""
    tables = [hdu for hdu in found.file.hdus if hdu.kind == "table" and "ENERGY" in _columns(hdu.header)]
    wanted = np.append(edges[:, 0].value, edges[-1, 1].value)
    what = f"{found.file.path} has one plane more than the cube has bands"
    if len(tables) != 1:
        raise HeaderError(f"{what}, and no table says their energies: expected ENERGIES with a column Energy.")
    table = tables[0]
    number = _columns(table.header)["ENERGY"]
    with found.file.open() as hdulist, damage_reported(f"HDU {table}"):
        energies = u.Quantity(np.asarray(hdulist[table.index].data.field(number - 1), dtype=float), _energy_unit(table, number))
    values = energies.to_value(edges.unit)
    if values.shape != wanted.shape or not np.allclose(values, wanted, rtol=1e-3):
        raise HeaderError(
            f"{what}, but their energies are not the edges of the bands: expected {wanted[0]:g} to {wanted[-1]:g} {edges.unit}."
        )
    planes = found.values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.maximum(planes[:-1], 0) * np.maximum(planes[1:], 0))


def _with_background(cube: Cube, options: ReadOptions, decisions: list[Decision]) -> Cube:
    if options.background_file is None:
        return cube
    found = read_companion(options.background_file, cube.data.shape, options, "--background-file")
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(found.values) & (found.values >= 0))
    if bad.any():
        raise HeaderError(
            f"--background-file {options.background_file}: {np.count_nonzero(bad)} values are negative or not finite: expected counts >= 0."
        )
    decisions.append(note(f"expected background: --background-file, HDU {found.hdu}, in the unit of the cube"))
    return replace(cube, meta={**cube.meta, "background": found.values})
