"""`spectrum_00.fits` …: one table per component, as spectrum viewers read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits

from ...datamodels import Frame, Result
from .components import integrated
from .headers import add_comments, common_unit, medium, primary_hdu, spectral_columns, unit_text

__all__ = ["spectrum_hdus"]


def spectrum_hdus(k: int, result: Result, frame: Frame, provenance: Mapping[str, Any]) -> list[Any]:
    """The HDUs of the spectrum of one component: wavelength, flux (A_k ΣS_k, summed over the spaxels), uncertainty (1 sigma).

    The unit is that of the data without the ``pix`` of `components.fits`: spectrum viewers know a flux density by its unit.
    Only a unit "per pixel" loses that factor.
    """
    fluxes, errors = integrated(result)
    unit = _summed(common_unit(frame))
    error = np.full(len(fluxes), np.nan) if errors is None else errors[:, k]
    columns = spectral_columns(frame)
    columns += [fits.Column(name, "D", unit=unit, array=values) for name, values in (("flux", fluxes[:, k]), ("uncertainty", error))]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    if medium(frame):
        table.header["WAVETYPE"] = (medium(frame), "WAVE: in vacuum, AWAV: in air, FREQ, VRAD, ...")
    add_comments(table.header, ["flux is summed over the spaxels; uncertainty: 1 sigma, the map held fixed"])
    return [primary_hdu(provenance, {"NAME": (result.names[k], f"component {k}")}), table]


def _summed(unit: u.UnitBase | None) -> str | None:
    if unit is None:
        return None
    total = unit * u.pix
    return unit_text(unit if u.pix in total.bases else total) or None
