"""Cards about the observation that products repeat."""

from __future__ import annotations

import math

from astropy.io import fits

from .preflight import card

__all__ = ["propagated"]

_PROPAGATED = (
    *("OBJECT", "TELESCOP", "INSTRUME", "OBSERVER", "PI-COI", "ORIGIN", "PROG_ID", "DATE-OBS", "MJD-OBS", "DATE-END", "MJD-END"),
    *("EXPTIME", "TEXPTIME", "RA", "DEC", "AIRMASS", "FILTER", "SPECSYS", "SSYSOBS", "RESTFRQ", "RESTWAV", "VELOSYS", "BARYCORR"),
    *("BMAJ", "BMIN", "BPA", "ARCFILE", "PIPEFILE"),
)


def propagated(*headers: fits.Header) -> dict[str, str | int | float | bool]:
    """Cards worth repeating; the first header that has one wins. Text is printable ASCII already."""
    found: dict[str, str | int | float | bool] = {}
    for header in headers:
        for key in _PROPAGATED:
            value = card(header, key)
            finite = isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
            if finite and key not in found:
                found[key] = value.strip() if isinstance(value, str) else value
    return found
