"""`specutils.Spectrum`."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import VarianceUncertainty

from ...datamodels import Cube
from ...errors import ParameterError
from .common import build, carried, one_unit, require, variance_of

__all__ = ["from_specutils", "to_specutils"]


def to_specutils(cube: Cube) -> Any:
    """The cube as `specutils.Spectrum`: flux (band, y, x), `VarianceUncertainty`, mask, spectral axis and WCS.

    Raises
    ------
    ParameterError
        If specutils is not installed, bands have several units, or the spectral axis is not monotone.
    """
    specutils = require("specutils", "specutils")
    axis = cube.frame.spectral_axis
    options: dict[str, Any] = {"spectral_axis_index": 0}
    if axis is not None:
        steps = np.diff(axis.value)
        if len(axis) > 1 and not ((steps > 0).all() or (steps < 0).all()):
            raise ParameterError("the spectral axis neither rises nor falls throughout, as specutils wants it: choose bands with wave=….")
        options["spectral_axis"] = axis
        wcs = cube.frame.wcs
        if wcs is not None and wcs.naxis == 3 and wcs.has_spectral:
            options["wcs"] = wcs
    uncertainty = None if cube.variance is None else VarianceUncertainty(cube.variance, copy=False)
    flux = u.Quantity(cube.data, one_unit(cube, "specutils"), copy=False)
    return specutils.Spectrum(flux=flux, uncertainty=uncertainty, mask=cube.mask, meta=carried(cube), **options)


def from_specutils(spectrum: Any) -> Cube:
    """The cube in a `specutils.Spectrum` of one to three axes; several spectra (spectrum, band) become an image plane 1 × N.

    Raises
    ------
    ShapeError, ParameterError
        If it holds no cube, or an uncertainty of unknown meaning.
    """
    flux = spectrum.flux
    index = getattr(spectrum, "spectral_axis_index", None)
    axis = u.Quantity(spectrum.spectral_axis.value, spectrum.spectral_axis.unit)
    return build(
        flux.value,
        source="specutils",
        variance=variance_of(spectrum.uncertainty, flux.unit),
        mask=spectrum.mask,
        unit=flux.unit,
        wcs=spectrum.wcs if flux.ndim == 3 else None,
        spectral_axis=None if axis.unit == u.pix else axis,
        spectral_index=flux.ndim - 1 if index is None else index,
        meta=spectrum.meta,
    )
