"""`spectral_cube.SpectralCube`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from astropy import units as u

from ...datamodels import Cube
from ...errors import ParameterError
from ..writers.coordinates import cube_cards
from .common import KEY, Carried, build, carried, one_unit, require

__all__ = ["from_spectral_cube", "to_spectral_cube"]


def to_spectral_cube(cube: Cube) -> Any:
    """The cube as `spectral_cube.SpectralCube`: data (band, y, x), mask, unit, and coordinates.

    A SpectralCube has no place for variances; they travel in its metadata, and `from_spectral_cube` finds them there.

    Raises
    ------
    ParameterError
        If spectral-cube is not installed, bands have several units, or the coordinates are not those of sky and spectrum.
    """
    wcs = cube.frame.wcs
    if wcs is None or wcs.naxis != 3 or not (wcs.has_celestial and wcs.has_spectral):
        raise ParameterError("spectral-cube needs a WCS with two celestial axes and a spectral one, which this cube does not have.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between its dependencies
        package = require("spectral_cube", "spectral-cube")
        header, tables = cube_cards(cube.frame, cube.meta.get("spectral_medium"))
        mask = None if cube.mask is None else package.BooleanArrayMask(~cube.mask, wcs=wcs)
        data = u.Quantity(cube.data, one_unit(cube, "spectral-cube"), copy=False)
        return package.SpectralCube(data=data, wcs=wcs, mask=mask, meta={KEY: carried(cube)[KEY]}, header=None if tables else header)


def from_spectral_cube(spectral_cube: Any, *, variance: Any = None) -> Cube:
    """The cube in a `SpectralCube`.

    Parameters
    ----------
    spectral_cube : SpectralCube
    variance : array or SpectralCube, optional
        In the square of its unit. None: those of the cube that it was made of, if it still has that shape.

    Raises
    ------
    ShapeError, ParameterError
        If shapes do not agree.
    """
    unit = u.dimensionless_unscaled if spectral_cube.unit is None else spectral_cube.unit
    ours = spectral_cube.meta.get(KEY)
    if variance is None and isinstance(ours, Carried) and ours.fits(spectral_cube.shape):
        variance = ours.variance
    elif hasattr(variance, "unmasked_data"):
        variance = variance.unmasked_data[:].to_value(unit**2)
    elif isinstance(variance, u.Quantity):
        variance = variance.to_value(unit**2)
    mask = None if spectral_cube.mask is None else ~np.asarray(spectral_cube.mask.include())
    axis = spectral_cube.spectral_axis
    return build(
        spectral_cube.unmasked_data[:].value,
        source="spectral-cube",
        variance=variance,
        mask=mask,
        unit=unit,
        wcs=spectral_cube.wcs,
        spectral_axis=u.Quantity(axis.value, axis.unit),
        spectral_index=0,
        meta=spectral_cube.meta,
    )
