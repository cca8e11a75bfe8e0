"""netCDF-3, netCDF-4 and HDF5 files with one cube: EMIT, PACE and the like, NEON's AOP, other files whose axes have names.

EMIT (L1B, L2A): `reflectance` (downtrack, crosstrack, bands), and in the group `sensor_band_parameters` `wavelengths`, `fwhm` and
`good_wavelengths` (0 = bad); `_FillValue` -9999; sigmas in the variable `reflectance_uncertainty` of a sibling file. NEON:
`Reflectance_Data` is divided by `Scale_Factor`, `Data_Ignore_Value` is masked. Both were checked with public programs that read such
files, not with native ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datamodels import Cube
from ...errors import AmbiguousInputError, ParameterError, ShapeError
from ..arrays.array_choice import named
from ..arrays.compose import Layers, compose, error_kind, require_room
from ..arrays.wavelengths import is_spectral_name, spectral_list, wavelength_unit
from ..containers import Variable, safe_name
from ..containers.hdf_file import attributes_of_file, is_hdf, read_hdf
from ..containers.netcdf3_file import is_netcdf3, read_netcdf3
from ..options import ReadOptions

__all__ = ["identify", "load", "name"]

name = "netcdf"
INSTRUMENTS = "EMIT, PACE OCI, NEON AOP; any file with one cube whose axes have names or coordinates"
NOISE = "a variable named like the data with _uncertainty, _unc, _variance …; --err-ext, --err-file (EMIT: *_RFLUNCERT_*.nc)"
MASK = "_FillValue, missing_value, valid_min, valid_max, good_wavelengths; --mask-ext, --mask-bits, --mask-file"
WAVELENGTHS = "a coordinate of the spectral axis with a unit (nm, um, Hz …); fwhm as line-spread function"
OPTIONS = ("variable", "spectral_axis", "err_ext", "err_type", "err_file", "mask_ext", "mask_bits", "mask_file", "unit", "wave")

_ERROR_SUFFIX = r"_?(uncertainty|uncert|unc|error|err|sigma|std|stdev|variance|var|ivar)"
_SPECTRAL_DIMS = re.compile(r"\w*(bands?|wavelengths?|wavelength_3d|lambda|wl|wvl|channels?|spectral|frequency|freq)\w*", re.IGNORECASE)
_X_DIMS = re.compile(r"(x|lon|longitude|easting|crosstrack|samples?|columns?|cols?|pixels_per_line|across_track|ortho_x)", re.IGNORECASE)
_Y_DIMS = re.compile(r"(y|lat|latitude|northing|downtrack|lines?|rows?|number_of_lines|along_track|ortho_y)", re.IGNORECASE)
_FILLS = ("_FillValue", "missing_value", "Data_Ignore_Value")
_UNITS = ("units", "unit", "Units", "Unit")
_WIDTH_NAMES = ("fwhm", "bandwidth")


def identify(path: Path, head: bytes) -> bool:
    """Whether it begins as netCDF-3 or HDF5 files do, and MATLAB's do not."""
    return is_netcdf3(head) or is_hdf(head)


def load(path: Path, options: ReadOptions) -> Cube:
    """The cube in a netCDF or HDF5 file."""
    with path.open("rb") as stream:
        head = stream.read(2880)
    if is_netcdf3(head):
        variables, whole = read_netcdf3(path, options.limit)
    else:
        variables, whole = read_hdf(path, options.limit), attributes_of_file(path)
    chosen, why = _choose(path, variables, options)
    band, how, loud = _spectral_axis(path, chosen, variables, options)
    order = _order(chosen, band)
    shape = tuple(_squeezed(chosen.shape)[axis] for axis in order)
    require_room(shape, chosen.dtype, path, options)

    def arrange(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(_squeezed(array.shape)).transpose(order)

    stored = arrange(chosen.read())
    layers = Layers(stored)
    layers.take(chosen.name, "data", why)
    layers.note(how, loud=loud)
    if order[1] > order[2]:
        layers.note(f"the axes {_axis_names(chosen)} were put into the order (y, x)")
    _mask_by_attributes(chosen, stored, layers)
    layers.data = _unpacked(chosen, stored, layers)
    layers.set_unit(_first(chosen.attributes, _UNITS), options, safe_name(chosen.name))
    _errors(path, chosen, variables, options, arrange, layers)
    _mask(path, chosen, variables, options, arrange, layers)
    _bands(chosen, band, variables, layers)
    layers.instrument, layers.header = _cards(whole)
    return compose(path, layers, options, reader=name)


# ---------------------------------------------------------------- the data


def _choose(path: Path, variables: Sequence[Variable], options: ReadOptions) -> tuple[Variable, str]:
    if options.variable is not None:
        chosen = named(path, variables, options.variable, "--variable")
        if not _is_cube(chosen):
            raise ShapeError(f"{path}: {chosen} is no cube: expected real numbers with three axes longer than 1.")
        return chosen, "option --variable"
    cubes = [variable for variable in variables if _is_cube(variable)]
    errors = {error.name for data in cubes for error in _errors_of(data, cubes)}
    plain = [variable for variable in cubes if variable.name not in errors]
    if len(plain) == 1:
        return plain[0], "the only variable with three axes" + (" beside its errors" if errors else "")
    if not plain:
        listing = ", ".join(map(str, variables[:15])) or "nothing"
        raise ShapeError(f"{path} holds no variable with three axes longer than 1: expected a cube; it holds {listing}.")
    listing = ", ".join(map(str, plain[:15])) + (" …" if len(plain) > 15 else "")
    raise AmbiguousInputError(
        f"{path}: {len(plain)} variables could be the cube: {listing}. Choose with --variable {safe_name(plain[0].name)}."
    )


def _is_cube(variable: Variable) -> bool:
    return variable.dtype.kind in "fiu" and len(_squeezed(variable.shape)) == 3 and 0 not in variable.shape


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1, as many as there are beyond three."""
    while len(shape) > 3 and 1 in shape:
        shape = shape[: shape.index(1)] + shape[shape.index(1) + 1 :]
    return shape


def _dims(variable: Variable) -> tuple[str, ...]:
    """Names of the axes that remain; "" where there is none."""
    dims, shape = list(variable.dims or [""] * len(variable.shape)), list(variable.shape)
    while len(shape) > 3 and 1 in shape:
        at = shape.index(1)
        del shape[at], dims[at]
    return tuple(dims)


def _axis_names(variable: Variable) -> str:
    return " x ".join(safe_name(dim or f"{n}") for dim, n in zip(_dims(variable), _squeezed(variable.shape), strict=True))


# ---------------------------------------------------------------- axes


def _spectral_axis(path: Path, chosen: Variable, variables: Sequence[Variable], options: ReadOptions) -> tuple[int, str, bool]:
    shape, dims = _squeezed(chosen.shape), _dims(chosen)
    names = _axis_names(chosen)
    if options.spectral_axis is not None:
        if not 1 <= options.spectral_axis <= 3:
            raise ParameterError(f"spectral_axis is {options.spectral_axis}: expected 1, 2 or 3.")
        axis = 3 - options.spectral_axis
        return axis, f"spectral axis is number {axis + 1} of {names}: option --spectral-axis", False
    by_name = [axis for axis in range(3) if _SPECTRAL_DIMS.fullmatch(dims[axis])]
    if len(by_name) == 1:
        return by_name[0], f"spectral axis is number {by_name[0] + 1} of {names}: by its name", False
    lists = [v for v in variables if len(v.shape) == 1 and v.is_real and (is_spectral_name(v.base) or _has_spectral_unit(v))]
    by_list = [axis for axis in range(3) if any(_belongs(v, dims[axis], shape[axis]) for v in lists)]
    if len(by_list) == 1:
        return by_list[0], f"spectral axis is number {by_list[0] + 1} of {names}: a list of wavelengths has its length", False
    on_ground = [axis for axis in range(3) if _X_DIMS.fullmatch(dims[axis]) or _Y_DIMS.fullmatch(dims[axis])]
    if len(on_ground) == 2:
        axis = next(axis for axis in range(3) if axis not in on_ground)
        return axis, f"spectral axis is number {axis + 1} of {names}: the others are on the ground", False
    raise AmbiguousInputError(
        f"{path}: nothing says which axis of {chosen} ({names}) is spectral: add --spectral-axis 3 for the first, 2 for the second "
        "or 1 for the last."
    )


def _belongs(coordinate: Variable, dim: str, length: int) -> bool:
    """Whether a list describes an axis: by the name of its own axis where both have one, else by its length."""
    if coordinate.shape[0] != length:
        return False
    own = coordinate.dims[0] if coordinate.dims else ""
    return own == dim or not own or not dim


def _has_spectral_unit(variable: Variable) -> bool:
    text = str(_first(variable.attributes, _UNITS)).strip()
    unit, why = wavelength_unit(text, np.zeros(0)) if text else (None, "")
    return unit is not None and "taken as" not in why and not _X_DIMS.fullmatch(variable.base) and not _Y_DIMS.fullmatch(variable.base)


def _order(chosen: Variable, band: int) -> tuple[int, int, int]:
    """Indices of the spectral axis, y and x: the other two as the file has them, unless their names say that x comes first."""
    first, second = (axis for axis in range(3) if axis != band)
    dims = _dims(chosen)
    if _X_DIMS.fullmatch(dims[first]) and _Y_DIMS.fullmatch(dims[second]):
        first, second = second, first
    return band, first, second


def _bands(chosen: Variable, band: int, variables: Sequence[Variable], layers: Layers) -> None:
    """Wavelengths, widths and flags of the bands."""
    dim, n_bands = _dims(chosen)[band], len(layers.data)
    lists = [v for v in variables if len(v.shape) == 1 and v.is_real and _belongs(v, dim, n_bands)]
    axes = [v for v in lists if is_spectral_name(v.base)] or [v for v in lists if v.base == dim and _has_spectral_unit(v)]
    axes = sorted(axes, key=lambda v: not _has_spectral_unit(v))
    if axes:
        values = axes[0].read().astype(np.float64)
        unit, why = wavelength_unit(str(_first(axes[0].attributes, _UNITS)), values)
        layers.spectral_axis = spectral_list(values, unit, why, axes[0].name, layers)
        for other in axes[1:]:
            layers.note(f"{safe_name(other.name)} lists wavelengths as well: not used")
    widths = next((v for v in lists if v.base.lower() in _WIDTH_NAMES), None)
    if widths is not None and layers.spectral_axis is not None:
        unit, _ = wavelength_unit(str(_first(widths.attributes, _UNITS)), np.zeros(0))
        values = widths.read().astype(np.float64)
        if np.all(np.isfinite(values) & (values > 0)):
            layers.lsf = values * (unit or layers.spectral_axis.unit)
            layers.take(widths.name, "line-spread function (full width at half maximum)", "by its name")
    good = next((v for v in lists if v.base.lower() == "good_wavelengths"), None)
    if good is not None:
        flags = good.read()
        layers.take(good.name, "flags of the bands", "0 = bad")
        layers.mask_where((flags == 0)[:, None, None], f"lie in {np.count_nonzero(flags == 0)} bands that {safe_name(good.name)} calls bad")


# ---------------------------------------------------------------- values


def _mask_by_attributes(chosen: Variable, stored: NDArray[Any], layers: Layers) -> None:
    """Mask fillers and values outside the range that is called valid, both as they are stored."""
    for key in _FILLS:
        for fill in np.atleast_1d(_numbers(chosen.attributes.get(key))):
            bad = np.isnan(stored) if math.isnan(fill) else stored == fill
            layers.mask_where(bad, f"are {key} {fill:g} of {safe_name(chosen.name)}")
    valid = np.atleast_1d(_numbers(chosen.attributes.get("valid_range")))
    low = valid[0] if len(valid) == 2 else _one(chosen.attributes.get("valid_min"))
    high = valid[1] if len(valid) == 2 else _one(chosen.attributes.get("valid_max"))
    already = np.zeros(1, dtype=bool) if layers.mask is None else layers.mask
    with np.errstate(invalid="ignore"):
        if low is not None:
            layers.mask_where((stored < low) & ~already, f"are below the valid minimum {low:g}")
        if high is not None:
            layers.mask_where((stored > high) & ~already, f"are above the valid maximum {high:g}")


def _unpacked(chosen: Variable, stored: NDArray[Any], layers: Layers) -> NDArray[Any]:
    """The values that packed numbers stand for."""
    scale, offset = _one(chosen.attributes.get("scale_factor")), _one(chosen.attributes.get("add_offset"))
    divisor = _one(chosen.attributes.get("Scale_Factor"))
    if scale in (None, 1) and offset in (None, 0) and divisor in (None, 0, 1):
        return stored
    small = stored.dtype.itemsize <= (4 if stored.dtype.kind == "f" else 2)
    data: NDArray[Any] = np.array(stored, dtype=np.float32 if small else np.float64, order="C")
    if divisor not in (None, 0, 1) and scale is None:
        np.divide(data, divisor, out=data)
        layers.note(f"values were divided by Scale_Factor {divisor:g}", loud=True)
        return data
    np.multiply(data, 1 if scale is None else scale, out=data)
    np.add(data, 0 if offset is None else offset, out=data)
    layers.note(f"values were unpacked: scale_factor {1 if scale is None else scale:g}, add_offset {0 if offset is None else offset:g}")
    return data


def _errors_of(data: Variable, variables: Sequence[Variable]) -> list[Variable]:
    """Variables that are named like `data` with a word for errors behind, and have its shape."""
    pattern = re.compile(re.escape(data.base) + _ERROR_SUFFIX, re.IGNORECASE)
    return [v for v in variables if v.shape == data.shape and pattern.fullmatch(v.base)]


def _errors(
    path: Path, chosen: Variable, variables: Sequence[Variable], options: ReadOptions, arrange: Callable[..., NDArray[Any]], layers: Layers
) -> None:
    if options.err_file is not None or (isinstance(options.err_ext, str) and options.err_ext.strip().lower() == "none"):
        return
    found = _errors_of(chosen, variables) if options.err_ext is None else [named(path, variables, options.err_ext, "--err-ext")]
    if not found:
        return
    if len(found) > 1 or found[0].shape != chosen.shape:
        listing = ", ".join(map(str, found))
        raise AmbiguousInputError(f"{path}: {listing}: expected one variable with errors in the shape of {chosen}; choose with --err-ext.")
    error = found[0]
    kind, why = error_kind(error.base, options, f"{path}: {safe_name(error.name)}")
    require_room(layers.data.shape, error.dtype, path, options, errors=True)
    stored = arrange(error.read())
    values = np.array(_unpacked(error, stored, layers), dtype=np.float32 if error.dtype.itemsize <= 4 else np.float64)
    for key in _FILLS:
        for fill in np.atleast_1d(_numbers(error.attributes.get(key))):
            values[np.isnan(stored) if math.isnan(fill) else stored == fill] = np.nan
    layers.set_errors(values, kind, error.name, why)


def _mask(
    path: Path, chosen: Variable, variables: Sequence[Variable], options: ReadOptions, arrange: Callable[..., NDArray[Any]], layers: Layers
) -> None:
    if options.mask_ext is None or str(options.mask_ext).strip().lower() == "none":
        return
    mask = named(path, variables, options.mask_ext, "--mask-ext")
    if mask.shape == chosen.shape:
        values = arrange(mask.read())
    elif _squeezed(mask.shape) == layers.data.shape[1:]:
        values = mask.read().reshape(1, *layers.data.shape[1:])
    else:
        raise ShapeError(f"{path}: {mask} has neither the shape of {chosen} nor that of its image plane: choose with --mask-ext, or none.")
    layers.set_mask(values, mask.name, options)


# ---------------------------------------------------------------- attributes


def _first(attributes: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((attributes[key] for key in keys if key in attributes), "")


def _numbers(value: Any) -> NDArray[np.float64]:
    """The finite or NaN numbers in an attribute, none where it is text."""
    try:
        return np.asarray([] if value is None else value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)


def _one(value: Any) -> float | None:
    numbers = np.atleast_1d(_numbers(value))
    return float(numbers[0]) if numbers.size == 1 and math.isfinite(numbers[0]) else None


def _cards(attributes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Instrument, and cards for products, from the attributes that ACDD defines."""
    cards: dict[str, Any] = {}
    for key, names in {"INSTRUME": ("instrument",), "TELESCOP": ("platform",), "OBJECT": ("granule_id", "product_name")}.items():
        text = re.sub(r"[^ -~]", "?", str(_first(attributes, names))).strip()[:60]
        if text:
            cards[key] = text
    date = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", str(_first(attributes, ("time_coverage_start",))))
    if date:
        cards["DATE-OBS"] = date[0]
    return str(cards.get("INSTRUME", "")), cards
