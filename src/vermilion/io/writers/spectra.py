"""`spectrum_00.fits`, `spectrum_00.ecsv` …: one table per component, as spectrum viewers read them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from ...datamodels import Frame, Result
from .components import integrated
from .coordinates import add_medium
from .headers import add_comments, card_text, common_unit, primary_hdu, spectral_columns, unit_text

__all__ = ["spectrum_ecsv", "spectrum_hdus"]

_LIMIT = 500
_MEANING = "flux is summed over the spaxels; uncertainty: 1 sigma, the map held fixed"


def spectrum_hdus(k: int, result: Result, frame: Frame, provenance: Mapping[str, Any]) -> list[Any]:
    """The HDUs of the spectrum of one component: wavelength, flux (A_k ΣS_k, summed over the spaxels), uncertainty (1 sigma).

    The unit is that of the data without the ``pix`` of `components.fits`: spectrum viewers know a flux density by its unit.
    Only a unit "per pixel" loses that factor.
    """
    flux, error, unit = _values(k, result, frame)
    columns = spectral_columns(frame)
    columns += [
        fits.Column(name, "D", unit=unit_text(unit) or None, array=values) for name, values in (("flux", flux), ("uncertainty", error))
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    add_medium(table.header, frame, provenance)
    add_comments(table.header, [_MEANING])
    primary = primary_hdu(provenance, {"NAME": (result.names[k], f"component {k}")})
    if "TELESCOP" in primary.header:  # by which specutils takes the file for one of an archive, and then stumbles over it
        table.header["TELESCOP"] = (primary.header.pop("TELESCOP"), "from the input")
    return [primary, table]


def spectrum_ecsv(k: int, result: Result, frame: Frame, provenance: Mapping[str, Any]) -> bytes:
    """The same table as ECSV: text with names and units, for TOPCAT, spreadsheets and eyes."""
    flux, error, unit = _values(k, result, frame)
    cards = fits.Header()
    add_medium(cards, frame, provenance)
    known = {
        name: provenance[name] for name in ("input", "input_sha256", "seed", "status", "normalization") if provenance.get(name) is not None
    }
    table = Table(
        meta={
            "name": card_text(result.names[k]),
            "component": k,
            "meaning": _MEANING,
            **{key.lower(): value for key, value in cards.items()},
            "creator": f"vermilion {provenance['version']}",
            **{name: card_text(value, _LIMIT) if isinstance(value, str) else value for name, value in known.items()},
        }
    )
    for column in spectral_columns(frame):
        table[column.name] = np.asarray(column.array)
        if column.unit:
            table[column.name].unit = u.Unit(column.unit)
    table["flux"], table["uncertainty"] = flux, error
    for name in ("flux", "uncertainty"):
        table[name].unit = unit
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    return text.getvalue().encode()


def _values(k: int, result: Result, frame: Frame) -> tuple[NDArray[Any], NDArray[Any], u.UnitBase | None]:
    """Flux and uncertainty of one component, float64, and their unit."""
    fluxes, errors = integrated(result)
    error = np.full(len(fluxes), np.nan) if errors is None else errors[:, k]
    return fluxes[:, k].astype(float), error.astype(float), _summed(common_unit(frame))


def _summed(unit: u.UnitBase | None) -> u.UnitBase | None:
    if unit is None or unit == u.dimensionless_unscaled:
        return None
    total = unit * u.pix
    return unit if u.pix in total.bases else total
