"""`astropy.nddata.NDData`."""

from __future__ import annotations

from typing import Any

from astropy import units as u
from astropy.nddata import NDData, VarianceUncertainty

from ...datamodels import Cube
from .common import build, carried, variance_of

__all__ = ["from_nddata", "to_nddata"]


def to_nddata(cube: Cube) -> NDData:
    """The cube as NDData: data (band, y, x), `VarianceUncertainty`, mask, unit and WCS.

    Where each band has a unit of its own the unit of NDData stays empty.

    Examples
    --------
    >>> import numpy as np
    >>> from vermilion import Cube
    >>> to_nddata(Cube(np.ones((3, 2, 2)))).data.shape
    (3, 2, 2)
    """
    unit = None if isinstance(cube.frame.unit, tuple) else cube.frame.unit
    uncertainty = None if cube.variance is None else VarianceUncertainty(cube.variance, copy=False)
    return NDData(cube.data, uncertainty=uncertainty, mask=cube.mask, unit=unit, wcs=cube.frame.wcs, meta=carried(cube))


def from_nddata(nddata: Any) -> Cube:
    """The cube in an `NDData` of one to three axes, or in one of its subclasses (CCDData, NDCube).

    Parameters
    ----------
    nddata : NDData
        Standard deviations, variances and inverse variances are understood. Its WCS says which axis is spectral; without one it is
        the first.

    Raises
    ------
    ShapeError, ParameterError
        If it holds no cube, or an uncertainty of unknown meaning.
    """
    unit = nddata.unit
    variance = variance_of(nddata.uncertainty, u.dimensionless_unscaled if unit is None else unit)
    return build(nddata.data, source="NDData", variance=variance, mask=nddata.mask, unit=unit, wcs=nddata.wcs, meta=nddata.meta)
