"""What the conversions share: optional packages, uncertainties as variances, and coordinates of arrays in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from numpy.typing import NDArray

from ...datamodels import Cube, Frame
from ...errors import ParameterError, ShapeError
from ..record import note

__all__ = ["Carried", "build", "carried", "native", "one_unit", "require", "variance_of"]

KEY = "vermilion"

Array = NDArray[Any]

_POWERS = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}
_MEDIA = {"AWAV": "air", "WAVE": "vacuum"}
_SPECTRAL_TYPES = ("length", "frequency", "energy", "speed", "wavenumber")


def require(module: str, package: str) -> Any:
    """An optional package.

    Raises
    ------
    ParameterError
        If it is not installed; the text says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ParameterError(f"{package} cannot be imported ({error}): pip install {package}, or 'vermilion[interop]'.") from error


@dataclass(frozen=True, eq=False)
class Carried:
    """What a cube knows and another package has no place for.

    Attributes
    ----------
    frame : Frame
    variance, mask : ndarray or None
    psf : PSF or None
    meta : dict
    """

    frame: Frame
    variance: Array | None
    mask: NDArray[np.bool_] | None
    psf: Any
    meta: Mapping[str, Any]

    def __repr__(self) -> str:
        return "what vermilion knows of this cube"  # some packages print metadata into headers

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether this still belongs to data of `shape` (bands, y, x)."""
        return (self.frame.n_bands, *self.frame.shape) == tuple(shape)


def carried(cube: Cube) -> dict[str, Any]:
    """Metadata for the other package: those of the cube, and all of it under one key."""
    return {**cube.meta, KEY: Carried(cube.frame, cube.variance, cube.mask, cube.psf, dict(cube.meta))}


def one_unit(cube: Cube, package: str) -> u.UnitBase:
    """The unit of the data.

    Raises
    ------
    ParameterError
        If each band has its own.
    """
    unit = cube.frame.unit
    if not isinstance(unit, tuple):
        return unit
    if any(other != unit[0] for other in unit):
        raise ParameterError(f"the bands of the cube have {len(set(unit))} units, {package} knows one: bring them to one unit first.")
    return unit[0]


def native(values: Any) -> Array:
    """Contiguous native float32 or float64 that hold every value exactly.

    Raises
    ------
    ShapeError
        If the values are no real numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"the data are of type {array.dtype}: expected real numbers.")
    small = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2)
    return np.ascontiguousarray(array, dtype=np.float32 if small else np.float64)


def variance_of(uncertainty: Any, unit: u.UnitBase) -> Array | None:
    """Variances of an `NDUncertainty` of data in `unit`.

    Raises
    ------
    ParameterError
        If nothing says what kind of uncertainty it is, or its unit does not fit.
    """
    if uncertainty is None:
        return None
    power = next((power for kind, power in _POWERS.items() if isinstance(uncertainty, kind)), None)
    if power is None:
        what = type(uncertainty).__name__
        raise ParameterError(f"the uncertainty is of type {what}: expected StdDevUncertainty, VarianceUncertainty or InverseVariance.")
    values = native(uncertainty.array)
    try:
        factor = 1.0 if uncertainty.unit is None else float(uncertainty.unit.to(unit**power))
    except u.UnitConversionError:
        raise ParameterError(f"the uncertainty is in {uncertainty.unit}: expected {unit**power} beside data in {unit}.") from None
    if power == 2 and factor == 1:
        return values
    wide = values.astype(np.float64) * factor
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if power == 1:
            wide[wide < 0] = np.nan
        wide = wide * wide if power == 1 else 1 / wide if power == -2 else wide
    return wide.astype(values.dtype) if _fit_into(wide, values.dtype) else wide


def _fit_into(values: Array, dtype: np.dtype[Any]) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    limits = np.finfo(dtype)
    return positive.size == 0 or bool(positive.max() < limits.max and positive.min() > limits.tiny)


def build(
    data: Any,
    *,
    source: str,
    variance: Any = None,
    mask: Any = None,
    unit: Any = None,
    wcs: Any = None,
    spectral_axis: u.Quantity | None = None,
    spectral_index: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Cube:
    """A cube from arrays in any order of axes.

    Parameters
    ----------
    data : array
        One to three axes.
    source : str
        Name of the package, for the record.
    variance, mask : array, optional
        In the shape of the data; any nonzero value of the mask is bad.
    unit : Unit, optional
    wcs : WCS, optional
        Its pixel axes are those of the data, in reverse order. It says which axis is spectral.
    spectral_axis : Quantity, optional
        Band centers; it wins over the WCS.
    spectral_index : int, optional
        numpy number of the spectral axis; it wins over the WCS.
    meta : mapping, optional
        With `Carried` under the key ``vermilion`` where the object came from here.

    Raises
    ------
    ShapeError, ParameterError
        If no cube can be made of it.
    """
    values = native(data)
    if not 1 <= values.ndim <= 3 or 0 in values.shape:
        raise ShapeError(f"the data have shape {values.shape}: expected one to three axes.")
    notes = [f"converted from {source}"]
    plain, lost = _fits_wcs(wcs, values.ndim)
    if lost:
        notes.append(f"the {lost} of {source} is no FITS WCS: positions on the sky are not kept")
    band = spectral_index if spectral_index is not None else _spectral_index(plain, values.ndim)
    order = (band, *(axis for axis in range(values.ndim) if axis != band))
    unit = u.dimensionless_unscaled if unit is None else u.Unit(unit)

    def arranged(array: Any) -> Any:
        if array is None:
            return None
        if np.shape(array) != values.shape:
            raise ShapeError(f"an array has shape {np.shape(array)}, the data have {values.shape}: expected equal shapes.")
        ordered = np.transpose(np.asarray(array), order)
        return np.ascontiguousarray(ordered.reshape(len(ordered), *(1,) * (3 - values.ndim), *ordered.shape[1:]))

    cube_values = arranged(values)
    known = dict(meta or {})
    own = known.pop(KEY, None)
    ours = own if isinstance(own, Carried) and own.fits(cube_values.shape) else None
    plain = None if plain is None or values.ndim < 3 else _reordered(plain, values.ndim, order)
    axis = spectral_axis if spectral_axis is not None else _spectral_values(plain, len(cube_values))
    frame = Frame(shape=cube_values.shape[1:], n_bands=len(cube_values), unit=unit, spectral_axis=axis, wcs=plain)
    if ours is not None:
        frame = _restored(frame, ours.frame, wcs_given=wcs is not None)
        known = {**ours.meta}
    else:
        known = {"name": source, "reader": source, "spectral_medium": _medium(plain), "header": {}, **_strings(known)}
        known["decisions"] = [{key: value for key, value in note(text).items() if key != "level"} for text in notes]
    bad = None if mask is None else np.asarray(arranged(mask)) != 0
    return Cube(cube_values, arranged(variance), bad, frame, psf=None if ours is None else ours.psf, meta=known)


def _strings(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in meta.items() if key not in ("decisions", "header")}


def _restored(frame: Frame, ours: Frame, *, wcs_given: bool) -> Frame:
    """The frame that the cube had, unless the other package says something else by now."""
    axis, own = frame.spectral_axis, ours.spectral_axis
    if axis is not None and own is not None and not _same_axis(axis, own):
        return frame
    unit = ours.unit if isinstance(ours.unit, tuple) or ours.unit == frame.unit else frame.unit
    return Frame(
        shape=ours.shape,
        n_bands=ours.n_bands,
        unit=unit,
        spectral_axis=own,
        band_names=ours.band_names,
        wcs=frame.wcs if wcs_given and frame.wcs is not None else ours.wcs,
        lsf=ours.lsf,
        noise_correlation=ours.noise_correlation,
    )


def _same_axis(one: u.Quantity, other: u.Quantity) -> bool:
    if not one.unit.is_equivalent(other.unit):
        return False
    return bool(np.allclose(one.to_value(other.unit), other.value, rtol=1e-9, atol=0))


# -- world coordinates -------------------------------------------------------------------------------------------------


def _fits_wcs(wcs: Any, n_axes: int) -> tuple[WCS | None, str]:
    """A FITS WCS with `n_axes` pixel axes, or the name of what cannot be one."""
    if wcs is None:
        return None, ""
    low = getattr(wcs, "low_level_wcs", wcs)
    if isinstance(low, WCS) and low.naxis == n_axes:
        return low, ""
    inner, cuts = getattr(low, "_wcs", None), getattr(low, "_slices_array", None)  # a part of a FITS WCS, as slicing makes it
    if isinstance(inner, WCS) and inner.naxis == n_axes and cuts is not None and all(isinstance(cut, slice) for cut in cuts):
        return inner.slice(cuts), ""
    return None, type(low).__name__


def _is_spectral(wcs: WCS, axis: int) -> bool:
    if int(wcs.wcs.axis_types[axis]) // 1000 % 10 == 3:
        return True
    unit = u.Unit(wcs.wcs.cunit[axis])
    return any(kind in unit.physical_type for kind in _SPECTRAL_TYPES)


def _spectral_index(wcs: WCS | None, n_axes: int) -> int:
    """numpy number of the spectral axis; the first where nothing says it."""
    found = [] if wcs is None else [n_axes - 1 - axis for axis in range(n_axes) if _is_spectral(wcs, axis)]
    if len(found) > 1:
        raise ParameterError(f"the WCS has {len(found)} spectral axes: expected one.")
    return found[0] if found else 0


def _reordered(wcs: WCS, n_axes: int, order: tuple[int, ...]) -> WCS:
    """The WCS of the transposed array."""
    axes = [n_axes - axis for axis in reversed(order)]
    return wcs if axes == list(range(1, n_axes + 1)) else wcs.sub(axes)


def _spectral_values(wcs: WCS | None, n_bands: int) -> u.Quantity | None:
    if wcs is None or not _is_spectral(wcs, 2):
        return None
    middle = np.zeros(n_bands)
    values = wcs.wcs_pix2world(middle, middle, np.arange(n_bands), 0)[2]
    return u.Quantity(values, wcs.wcs.cunit[2]) if np.isfinite(values).all() else None


def _medium(wcs: WCS | None) -> str | None:
    return None if wcs is None else _MEDIA.get(str(wcs.wcs.ctype[2])[:4])
