"""`xarray.Dataset`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...datamodels import Cube, Frame
from ...errors import ParameterError, ShapeError
from ..units import parse_unit
from ..writers.coordinates import cube_cards, read_wcs
from .common import build, require

__all__ = ["from_xarray", "to_xarray"]

_NAMES = {"length": "wavelength", "frequency": "frequency", "energy": "energy", "wavenumber": "wavenumber", "speed": "velocity"}


def to_xarray(cube: Cube) -> Any:
    """The cube as an `xarray.Dataset`: variables ``data``, ``variance`` and ``mask`` over (band, y, x).

    Coordinates are the pixel numbers ``band``, ``y`` and ``x`` in the whole cube, and along ``band`` the spectral axis
    (``wavelength``, ``frequency``, ``energy``, ``wavenumber`` or ``velocity``) and the names of the bands. Attributes are text and
    numbers only, so that `Dataset.to_netcdf` can write them: units, the medium of wavelengths, the WCS as a FITS header, and what the
    reader decided.

    Raises
    ------
    ParameterError
        If xarray is not installed.
    """
    xarray = require("xarray", "xarray")
    frame, dims = cube.frame, ("band", "y", "x")
    coords: dict[str, Any] = {"band": np.arange(frame.n_bands), "y": np.arange(frame.shape[0]), "x": np.arange(frame.shape[1])}
    if frame.spectral_axis is not None:
        coords[_name(frame.spectral_axis)] = ("band", frame.spectral_axis.value, _spectral_attributes(cube))
    if frame.band_names is not None:
        coords["band_name"] = ("band", np.array(frame.band_names, dtype=str))
    if isinstance(frame.unit, tuple):
        coords["band_unit"] = ("band", np.array([unit.to_string() for unit in frame.unit], dtype=str))
    unit = {} if isinstance(frame.unit, tuple) else {"units": frame.unit.to_string()}
    variables: dict[str, Any] = {"data": (dims, cube.data, unit)}
    if cube.variance is not None:
        variables["variance"] = (dims, cube.variance, {name: (u.Unit(text) ** 2).to_string() for name, text in unit.items()})
    if cube.mask is not None:
        variables["mask"] = (dims, cube.mask, {"meaning": "True: bad"})
    attributes: dict[str, Any] = {
        key: str(cube.meta[key]) for key in ("name", "path", "sha256", "instrument", "reader") if cube.meta.get(key)
    }
    attributes["decisions"] = json.dumps([dict(decision) for decision in cube.meta.get("decisions", ())], default=str)
    attributes["header"] = json.dumps(dict(cube.meta.get("header", {})), default=str)
    if frame.wcs is not None:
        header, tables = cube_cards(frame, cube.meta.get("spectral_medium"))
        attributes["wcs"] = header.tostring(sep="\n", endcard=False, padding=False)
        if tables and frame.spectral_axis is not None:
            attributes["wcs_table"] = frame.spectral_axis.value
    return xarray.Dataset(variables, coords, attributes)


def from_xarray(dataset: Any, *, data: str | None = None, band: str | None = None) -> Cube:
    """The cube in an `xarray.Dataset` or `DataArray` with three dimensions.

    Parameters
    ----------
    dataset : Dataset or DataArray
    data : str, optional
        Name of the variable; None: ``data``, or the only one with three dimensions.
    band : str, optional
        Name of the spectral dimension; None: ``band``, or the one along which a coordinate has the unit of a wavelength, frequency or
        energy.

    Raises
    ------
    ParameterError
        If a variable or dimension is not found, or several could be meant; the text names the argument to give.
    ShapeError
        If the variable has no three dimensions.
    """
    if hasattr(dataset, "data_vars"):
        array = dataset[_variable(dataset, data)]
        others = {name: dataset[name] for name in ("variance", "mask") if name in dataset and name != array.name}
        attributes = dataset.attrs
    else:
        array, others, attributes = dataset, {}, dataset.attrs
    if array.ndim != 3:
        raise ShapeError(f"the variable {array.name!r} has the dimensions {array.dims}: expected three.")
    dim = _band_dimension(array, band)
    order = (dim, *(name for name in array.dims if name != dim))
    axis, medium = _spectral_axis(array, dim)
    units = _texts(array, "band_unit")
    unit = parse_unit(str(array.attrs["units"]))[0] if array.attrs.get("units") else u.dimensionless_unscaled
    cube = build(
        array.transpose(*order).values,
        source="xarray",
        unit=unit,
        spectral_axis=axis,
        spectral_index=0,
        **{name: other.transpose(*order).values for name, other in others.items()},
    )
    frame = Frame(
        shape=cube.frame.shape,
        n_bands=cube.frame.n_bands,
        unit=cube.frame.unit if units is None else tuple(u.Unit(text) for text in units),
        spectral_axis=axis,
        band_names=_texts(array, "band_name"),
        wcs=_wcs(array, order, attributes),
    )
    meta = {**cube.meta, **{key: attributes[key] for key in ("name", "path", "sha256", "instrument", "reader") if key in attributes}}
    meta |= {key: json.loads(attributes[key]) for key in ("decisions", "header") if isinstance(attributes.get(key), str)}
    meta["spectral_medium"] = medium
    return Cube(cube.data, cube.variance, cube.mask, frame, meta=meta)


def _name(axis: u.Quantity) -> str:
    return next((name for kind, name in _NAMES.items() if kind in axis.unit.physical_type), "spectral")


def _spectral_attributes(cube: Cube) -> dict[str, str]:
    medium = cube.meta.get("spectral_medium")
    return {"units": cube.frame.spectral_axis.unit.to_string(), **({"medium": medium} if medium else {})}  # type: ignore[union-attr]


def _variable(dataset: Any, wanted: str | None) -> str:
    names = [str(name) for name in dataset.data_vars]
    if wanted is not None:
        if wanted not in names:
            raise ParameterError(f"data is {wanted!r}: expected one of {', '.join(names)}.")
        return wanted
    cubes = ["data"] if "data" in names else [name for name in names if dataset[name].ndim == 3]
    if len(cubes) != 1:
        raise ParameterError(f"{len(cubes)} variables could be the data ({', '.join(cubes)}): name one with data=….")
    return cubes[0]


def _band_dimension(array: Any, wanted: str | None) -> str:
    dims = [str(dim) for dim in array.dims]
    found = [dim for dim in dims if dim == "band"] or [dim for dim in dims if _spectral_axis(array, dim)[0] is not None]
    if wanted is not None:
        found = [dim for dim in dims if dim == wanted]
    if len(found) != 1:
        raise ParameterError(f"which of the dimensions {', '.join(dims)} is spectral? Name it with band=….")
    return found[0]


def _spectral_axis(array: Any, dim: str) -> tuple[u.Quantity | None, str | None]:
    """The coordinate along `dim` that has a unit of the spectrum, and the medium that it states."""
    for coordinate in array.coords.values():
        if coordinate.dims == (dim,) and coordinate.attrs.get("units"):
            unit = u.Unit(str(coordinate.attrs["units"]), parse_strict="silent")
            if any(kind in unit.physical_type for kind in _NAMES):
                return u.Quantity(coordinate.values, unit), coordinate.attrs.get("medium")
    return None, None


def _texts(array: Any, name: str) -> tuple[str, ...] | None:
    return tuple(str(text) for text in array.coords[name].values) if name in array.coords else None


def _wcs(array: Any, order: tuple[str, ...], attributes: Any) -> WCS | None:
    """The WCS in the attribute, for the pixels that are left of those that it was written for."""
    text = attributes.get("wcs")
    if not isinstance(text, str) or order != ("band", "y", "x"):
        return None
    cuts = [_cut(array.coords[dim].values) if dim in array.coords else None for dim in order]
    if None in cuts:
        return None
    header = fits.Header.fromstring(text, sep="\n")
    tables = []
    if "wcs_table" in attributes:
        axis = u.Quantity(attributes["wcs_table"], header["CUNIT3"])
        tables = cube_cards(Frame(shape=(1, 1), n_bands=len(axis), spectral_axis=axis))[1]
    wcs = read_wcs(header, tables)
    return wcs if cuts == [slice(0, n, 1) for n in array.shape] else wcs.slice(cuts)


def _cut(numbers: NDArray[Any]) -> slice | None:
    """The slice that leaves pixels of these numbers; None if there is none."""
    first, step = int(numbers[0]), int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    return slice(first, first + step * len(numbers), step) if step > 0 and (np.diff(numbers) == step).all() else None
