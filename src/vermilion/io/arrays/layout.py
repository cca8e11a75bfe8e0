"""From a file of named arrays (.npz, .mat) to the layers of a cube: its data, and what the other arrays are to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datamodels import PSF
from ...errors import AmbiguousInputError, ShapeError
from ..containers import Variable, safe_name
from ..options import ReadOptions
from .array_axes import Convention, arrange_cube, arrange_matrix
from .array_choice import BAND_NAMES, ERRORS, MASKS, PSFS, choose, image_size, listed, named
from .compose import Layers, error_kind, require_room
from .wavelengths import is_spectral_name, spectral_list, unit_in_name, wavelength_unit

__all__ = ["OPTIONS", "layers_of_arrays"]

Array = NDArray[Any]

# of `ReadOptions`, that are heeded here and in `compose`
OPTIONS = (
    *("variable", "spectral_axis", "pixel_order", "err_ext", "err_type", "err_file", "mask_ext", "mask_bits", "mask_file", "unit", "wave"),
)

_UNITS = re.compile(r"b?units?|data_units?|flux_units?")
_SELECTED = ("slectbands", "selectbands", "selectedbands", "selected_bands")


def layers_of_arrays(
    path: Path, variables: Sequence[Variable], options: ReadOptions, convention: Convention, *, mask_planes: Mapping[int, str] | None = None
) -> Layers:
    """The cube in a file of named arrays, with its errors, mask, wavelengths, names and PSF.

    Parameters
    ----------
    path : Path
    variables : sequence of Variable
    options : ReadOptions
    convention : Convention
    mask_planes : mapping of int to str, optional
        Bits that mean bad, and their names, where a mask has many and the user does not say.

    Raises
    ------
    AmbiguousInputError
        If several arrays may be the cube, or nothing says which axis is spectral and the shape speaks against custom.
    ShapeError
        If none may.
    ParameterError
        If `--variable` and the like name no array.
    """
    sizes = image_size(variables)
    chosen, why = choose(path, variables, options, sizes)
    require_room(chosen.shape, chosen.dtype, path, options)
    stored = chosen.read()
    if stored.ndim == 2:
        arrange, how, loud = arrange_matrix(path, chosen, stored, sizes, options, convention)
    else:
        arrange, how, loud = arrange_cube(path, chosen, variables, sizes, options, convention)
    layers = Layers(arrange(stored))
    layers.take(chosen.name, "data", why)
    layers.note(how, loud=loud)
    n_bands = len(layers.data)
    used = {chosen.name}
    used |= _errors(path, chosen, variables, options, arrange, layers)
    used |= _masks(path, chosen, variables, options, mask_planes, arrange, layers)
    used |= _spectral(variables, n_bands, options, layers)
    used |= _psf(variables, n_bands, layers)
    used |= _selected_bands(variables, n_bands, layers)
    others = [variable for variable in variables if variable.name not in used and variable.size > 1]
    if others:
        shown = ", ".join(map(str, others[:12])) + (" …" if len(others) > 12 else "")
        layers.note(f"not used: {shown}")
    return layers


# ---------------------------------------------------------------- what belongs to it


def _declined(option: Any) -> bool:
    return isinstance(option, str) and option.strip().lower() == "none"


def _named_so(variables: Sequence[Variable], chosen: Variable, names: re.Pattern[str]) -> list[Variable]:
    """Arrays of the size of the cube with one of `names`."""
    return [v for v in variables if v.is_real and v.shape == chosen.shape and v.name != chosen.name and names.fullmatch(v.base.lower())]


def _errors(
    path: Path, chosen: Variable, variables: Sequence[Variable], options: ReadOptions, arrange: Callable[[Array], Array], layers: Layers
) -> set[str]:
    if _declined(options.err_ext) or options.err_file is not None:
        return set()
    if options.err_ext is not None:
        found = [named(path, variables, options.err_ext, "--err-ext")]
        if found[0].shape != chosen.shape:
            raise ShapeError(f"{path}: {found[0]} has not the shape of {chosen}: choose with --err-ext, or --err-ext none.")
    else:
        found = _named_so(variables, chosen, ERRORS)
    if len(found) > 1:
        raise AmbiguousInputError(f"{path}: {listed(found)} could be the errors: choose with --err-ext {safe_name(found[0].name)}.")
    if not found:
        return set()
    kind, why = error_kind(found[0].base, options, f"{path}: {safe_name(found[0].name)}")
    require_room(chosen.shape, found[0].dtype, path, options, errors=True)
    values = arrange(found[0].read())
    layers.set_errors(values, kind, found[0].name, why)
    if kind == "ivar":
        with np.errstate(invalid="ignore"):
            layers.mask_where(~(values > 0), f"have no weight in {safe_name(found[0].name)}")
    return {found[0].name}


def _masks(
    path: Path,
    chosen: Variable,
    variables: Sequence[Variable],
    options: ReadOptions,
    planes: Mapping[int, str] | None,
    arrange: Callable[[Array], Array],
    layers: Layers,
) -> set[str]:
    if _declined(options.mask_ext):
        return set()
    if options.mask_ext is not None:
        found = [named(path, variables, options.mask_ext, "--mask-ext")]
    else:
        found = _named_so(variables, chosen, MASKS)
    if len(found) > 1:
        raise AmbiguousInputError(f"{path}: {listed(found)} could be the mask: choose with --mask-ext {safe_name(found[0].name)}.")
    if not found:
        return set()
    mask = found[0]
    if mask.shape == chosen.shape:
        values = arrange(mask.read())
    elif mask.shape == layers.data.shape[1:]:
        values = mask.read()[None]
    else:
        raise ShapeError(f"{path}: {mask} has neither the shape of {chosen} nor that of its image plane: choose with --mask-ext, or none.")
    layers.set_mask(values, mask.name, options, planes=planes)
    return {mask.name}


def _spectral(variables: Sequence[Variable], n_bands: int, options: ReadOptions, layers: Layers) -> set[str]:
    """Wavelengths, names of the bands and unit."""
    used = set()
    texts = {variable.base.lower(): _texts(variable) for variable in variables if variable.dtype.kind in "SU" and variable.size <= 1 << 16}
    for variable in variables:
        base = variable.base.lower()
        if variable.dtype.kind in "SU" and BAND_NAMES.fullmatch(base) and len(texts.get(base, ())) == n_bands:
            layers.band_names = tuple(safe_name(text) for text in texts[base])
            layers.take(variable.name, "names of the bands", "by its name and length")
            used.add(variable.name)
        if base in texts and _UNITS.fullmatch(base) and len(texts[base]) == 1:
            layers.set_unit(texts[base][0], options, safe_name(variable.name))
            used.add(variable.name)
    lists = [v for v in variables if v.is_real and is_spectral_name(v.base) and v.size == n_bands == max(v.shape, default=0)]
    used |= {variable.name for variable in lists}
    for variable in lists:
        if layers.spectral_axis is not None:
            layers.note(f"{safe_name(variable.name)} lists wavelengths as well: not used", loud=True)
            continue
        values = variable.read().reshape(-1).astype(np.float64)
        said, medium = unit_in_name(variable.base)
        given = next((key for key in texts if re.fullmatch(rf"{re.escape(variable.base.lower())}_?units?", key)), None)
        unit, why = wavelength_unit(texts[given][0] if given and texts[given] else said, values)
        layers.spectral_axis = spectral_list(values, unit, why, variable.name, layers)
        layers.medium = medium if layers.spectral_axis is not None else None
    return used


def _texts(variable: Variable) -> tuple[str, ...]:
    """Lines of text: of an array of strings, or of MATLAB's matrix of characters."""
    array = variable.read()
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype == np.dtype("U1") and array.ndim == 2 and array.shape[0] * array.shape[1]:
        return tuple("".join(row).strip() for row in array.tolist())
    return tuple(str(text).strip() for text in array.reshape(-1).tolist())


def _psf(variables: Sequence[Variable], n_bands: int, layers: Layers) -> set[str]:
    found = [v for v in variables if v.is_real and PSFS.fullmatch(v.base.lower()) and len(v.shape) in (2, 3) and 0 < v.size <= 1 << 26]
    if len(found) != 1:
        return set()
    image = found[0].read().astype(np.float64)
    image = np.repeat(image[None], n_bands, axis=0) if image.ndim == 2 else image
    name = safe_name(found[0].name)
    sums = image.sum(axis=(1, 2)) if np.isfinite(image).all() else np.zeros(1)
    if len(image) != n_bands or not np.all(sums > 0):
        layers.note(f"{name} is not used as the PSF: expected {n_bands} finite images with positive sums", loud=True)
        return set()
    if np.max(np.abs(sums - 1)) > 1e-3:
        layers.note(f"{name} sums to {sums.min():.4g} to {sums.max():.4g}: every band was divided by its sum", loud=True)
    layers.psf = PSF(image=image / sums[:, None, None], source=name)
    layers.take(found[0].name, "PSF", "by its name")
    return {found[0].name}


def _selected_bands(variables: Sequence[Variable], n_bands: int, layers: Layers) -> set[str]:
    """Bands that the file itself leaves out: the others are listed, counted from 1, where all bands are stored."""
    for variable in variables:
        if variable.base.lower() in _SELECTED and variable.is_real and 0 < variable.size < n_bands:
            chosen = variable.read().reshape(-1).astype(np.int64)
            if chosen.min() >= 1 and chosen.max() <= n_bands:
                bad = np.ones(n_bands, dtype=bool)
                bad[chosen - 1] = False
                layers.mask_where(bad[:, None, None], f"lie in {bad.sum()} bands that {safe_name(variable.name)} leaves out", loud=True)
                return {variable.name}
    return set()
