"""From named arrays to a Cube: what the readers of formats other than FITS share."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ...datamodels import PSF, Cube, Frame
from ...errors import AmbiguousInputError, ParameterError, ShapeError
from ..containers import safe_name
from ..fits.hdus import Decision
from ..fits.masks import bad_values, describe_bits, parse_bits
from ..memory import require_memory
from ..options import ReadOptions
from ..record import add_decisions, content_notes, note
from ..units import parse_wave, stated_unit, unit_option
from ..values import FILLERS, fillers, float_size, native_floats, variances
from .side_files import side_image

__all__ = ["Layers", "compose", "error_kind", "require_room"]

Array = NDArray[Any]

_ERROR_WORDS = {
    "variance": {"var", "variance", "variances", "stat"},
    "ivar": {"ivar", "invvar", "weight", "weights", "wht", "wt"},
    "sigma": {
        *("sigma", "sig", "std", "stdev", "stddev", "err", "error", "errors", "rms"),
        *("unc", "uncert", "uncertainty", "uncertainties", "rflunc", "rfluncert", "noise"),
    },
}


@dataclass(eq=False)
class Layers:
    """What a file says about its cube; the loader fills in what it finds.

    Attributes
    ----------
    data : ndarray, shape (B, Ny, Nx)
        Real numbers of any type.
    mask : ndarray of bool, shape (B, Ny, Nx), optional
        True = bad.
    variance : ndarray, shape (B, Ny, Nx), optional
    unit : Unit or None
        None: the file does not say one.
    spectral_axis, lsf : Quantity, shape (B,), optional
    medium : {"air", "vacuum", None}
    band_names : tuple of str, optional
    psf : PSF, optional
    instrument : str
    header : dict
        Cards that FITS products repeat.
    extra : dict
        More for `Cube.meta`.
    decisions : list
    """

    data: Array
    mask: NDArray[np.bool_] | None = None
    variance: Array | None = None
    unit: Any = None
    spectral_axis: u.Quantity | None = None
    lsf: u.Quantity | None = None
    medium: str | None = None
    band_names: tuple[str, ...] | None = None
    psf: PSF | None = None
    instrument: str = ""
    header: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def note(self, text: str, *, loud: bool = False) -> None:
        """Record a decision that concerns no single array."""
        self.decisions.append(note(text, loud=loud))

    def take(self, name: str, what: str, why: str) -> None:
        """Record what an array of the file was taken for."""
        shown = safe_name(name)
        decision = {"hdu": None, "name": shown, "taken_as": what, "why": f"{shown}: {what} ({why})", "level": logging.INFO}
        self.decisions.append(decision)

    def set_errors(self, errors: Array, kind: str, name: str, why: str) -> None:
        """Take `errors`, in the shape of the data, as variances, sigmas or inverse variances."""
        self.variance = variances(native_floats(errors), kind)
        self.take(name, kind, why)

    def set_unit(self, text: Any, options: ReadOptions, where: str) -> None:
        """Take a text as the unit of the data, unless it says none or the option does.

        Raises
        ------
        UnitError
            If it is not understood and `allow_unitless` is not set.
        """
        spelled = str(text).strip()
        if options.unit is not None or spelled.lower() in ("", "unknown"):
            return
        self.unit, remark = stated_unit(spelled, where, allow_unitless=options.allow_unitless, card="unit")
        if remark:
            self.note(remark, loud=True)

    def set_mask(self, values: Array, name: str, options: ReadOptions, *, planes: Mapping[int, str] | None = None) -> None:
        """Take `values` as the mask; integers with other values than 0 and 1 only if it is known which bits mean bad.

        Raises
        ------
        AmbiguousInputError, ParameterError
        """
        bits, why = None, "nonzero = bad"
        if options.mask_bits is not None:
            bits, why = parse_bits(options.mask_bits, planes), "option --mask-bits"
            if bits is not None and values.dtype.kind not in "iub":
                raise ParameterError(f"{safe_name(name)} is of type {values.dtype}, which has no bits: leave --mask-bits out.")
        elif values.dtype.kind in "iu" and int(values.max(initial=0)) > 1 and len(np.unique(values)) > 2:
            if planes is None:
                raise AmbiguousInputError(
                    f"{safe_name(name)} has values up to {int(values.max())}, and nothing says which bits mean bad: add --mask-bits '0,1' "
                    "(their numbers), --mask-bits any, or --mask-ext none."
                )
            bits, why = tuple(planes), f"bad are the bits {describe_bits(planes, planes)}"
        self.take(name, "mask", why)
        self.mask_where(bad_values(values, bits), f"are bad in {safe_name(name)}")

    def mask_where(self, bad: NDArray[np.bool_], why: str, *, loud: bool = False) -> None:
        """Mask values, and say how many; nothing is said where there are none."""
        whole = np.broadcast_to(bad, self.data.shape)
        count = int(np.count_nonzero(whole))
        if count:
            self.mask = np.array(whole) if self.mask is None else self.mask | whole
            self.note(f"{count} values {why}: masked", loud=loud)


def error_kind(name: str, options: ReadOptions, option: str) -> tuple[str, str]:
    """What errors are, by the option or by their name, and why.

    Raises
    ------
    AmbiguousInputError
        If the name does not say it.
    """
    if options.err_type is not None:
        return options.err_type, "option --err-type"
    words = re.split(r"[^a-z]+", name.rsplit("/", 1)[-1].lower())
    kinds = {kind for word in words for kind, known in _ERROR_WORDS.items() if word in known}
    if len(kinds) != 1:
        raise AmbiguousInputError(f"{option}: its name does not say what the errors are: add --err-type variance, sigma or ivar.")
    return kinds.pop(), "by its name"


def require_room(shape: Sequence[int], dtype: np.dtype[Any], path: Path, options: ReadOptions, *, errors: bool = False) -> None:
    """Refuse a cube, or its errors, that would not fit into memory before they are read.

    Counted are the numbers of the file, their copy as floats and two masks; for errors the data as well, and variances in float64.

    Raises
    ------
    MemoryLimitError
    """
    itemsize = dtype.itemsize + float_size(dtype)
    size = " x ".join(map(str, shape))
    needed = math.prod(shape) * ((2 * itemsize + 8 if errors else itemsize) + 2)
    require_memory(needed, options.limit, path, f"the cube {size}")


def compose(path: Path, layers: Layers, options: ReadOptions, *, reader: str, digest_of: Path | None = None) -> Cube:
    """The cube that the layers make, with the options applied and every decision recorded.

    Parameters
    ----------
    path : Path
        As it was given.
    layers : Layers
        Their arrays may be changed.
    options : ReadOptions
    reader : str
        Its name, for the record.
    digest_of : Path, optional
        The file whose SHA-256 is recorded, where it is not `path`.

    Raises
    ------
    ShapeError, UnitError, ParameterError, NoDataError
        If no cube can be made of them.
    """
    if layers.data.ndim != 3 or 0 in layers.data.shape:
        raise ShapeError(f"{path}: the data have shape {layers.data.shape}: expected bands, rows and columns, all at least 1.")
    layers.data = native_floats(layers.data)
    filled = fillers(layers.data, layers.mask)
    if filled is not None:
        layers.mask_where(filled, f"are {FILLERS}", loud=True)
    _apply_side_files(layers, options)
    given = _apply_wave(layers, options)
    unit = _unit(layers, options)
    if layers.variance is None:
        layers.note("no errors in the file: every finite value has weight 1")
    n_bands, *plane = layers.data.shape
    axis = layers.spectral_axis
    if axis is not None and n_bands > 2 and not (np.all(np.diff(axis.value) > 0) or np.all(np.diff(axis.value) < 0)):
        layers.note("the bands are not in the order of their wavelengths; they are kept as they are", loud=True)
    frame = Frame(
        shape=(plane[0], plane[1]),
        n_bands=n_bands,
        unit=unit,
        spectral_axis=axis,
        band_names=None if axis is not None else layers.band_names,
        lsf=layers.lsf,
    )
    meta = _meta(path, layers, reader, given, digest_of or path)
    cube = Cube(layers.data, layers.variance, layers.mask, frame, layers.psf, meta)
    return add_decisions(cube, [*layers.decisions, *content_notes(cube)])


def _apply_side_files(layers: Layers, options: ReadOptions) -> None:
    """Errors and mask from files of their own, which win over those in the file."""
    if options.err_file is not None:
        image = side_image(options.err_file, layers.data.shape, options, "--err-file")
        kind, why = error_kind(image.name, options, f"--err-file {image.name}")
        if image.bad is not None:
            image.values[np.broadcast_to(image.bad, image.values.shape)] = np.nan
        layers.set_errors(np.broadcast_to(image.values, layers.data.shape), kind, image.name, why)
    if options.mask_file is not None:
        image = side_image(options.mask_file, layers.data.shape, options, "--mask-file")
        layers.set_mask(image.values, image.name, options)


def _apply_wave(layers: Layers, options: ReadOptions) -> bool:
    """Take the option as the axis of a file without one; whether that was done."""
    if layers.spectral_axis is not None:
        return False
    if options.wave is not None:
        layers.spectral_axis = parse_wave(options.wave, len(layers.data))
        layers.note("spectral axis: option --wave")
        return True
    named = "named" if layers.band_names else "numbered"
    layers.note(f"no spectral axis in the file: bands are {named}; give one with --wave 'start:step unit'")
    return False


def _unit(layers: Layers, options: ReadOptions) -> Any:
    if options.unit is not None:
        layers.note("unit: option --unit")
        return unit_option(options.unit)
    if layers.unit is None:
        layers.note("no unit in the file: the data are read as dimensionless; give their unit with --unit")
        return u.dimensionless_unscaled
    return layers.unit


def _meta(path: Path, layers: Layers, reader: str, given: bool, digest_of: Path) -> Mapping[str, Any]:
    with digest_of.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "name": path.name.removesuffix(".hdr").rsplit(".", 1)[0] or path.name,
        "path": str(path),
        "sha256": digest,
        "reader": reader,
        "instrument": layers.instrument,
        "header": layers.header,
        "spectral_medium": layers.medium,
        "spectral_axis_given": given,
        "decisions": [],
        **layers.extra,
    }
