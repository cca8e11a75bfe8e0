"""Spectral libraries from files: ENVI libraries, tables, .npz, folders of two-column text, and `components.fits`."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ..errors import (
    AmbiguousInputError,
    HeaderError,
    MissingFileError,
    NotFITSError,
    ShapeError,
    TruncatedFileError,
    UnitError,
    VermilionError,
)
from .arrays.wavelengths import is_spectral_name, unit_in_name, wavelength_unit
from .components import read_components
from .containers import Variable, safe_name
from .containers.envi_file import EnviImage, _data_file, _dtype, _integer, find_header, parse_header
from .containers.numpy_file import is_npz, read_npz
from .memory import available_memory
from .sources import local_file
from .templates import read_table

__all__ = ["LibrarySpectrum", "read_library"]

log = logging.getLogger(__name__)

Values = NDArray[np.float64]

_ERRORS = re.compile(r"(^|[_ ])(err(or)?s?|unc(ertainty)?|sigma|std(dev)?|variance|ivar)([_ ]|\d|$)", re.IGNORECASE)
_AXES = ("wavelength", "wave", "lambda", "frequency", "energy", "wavenumber")
_SUFFIXES = ("", ".txt", ".dat", ".csv", ".asc", ".ascii", ".tab", ".ecsv")
_ABSENT = 1e30  # numbers beyond stand for "no value": -1.23e34 in the USGS library
_MOST_TEXT = 50_000_000
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?|nan", re.IGNORECASE)
_UNIT_WORD = re.compile(r"nanomet(?:er|re)s?|micromet(?:er|re)s?|microns?|angstroms?|\bnm\b|\bum\b|µm|μm|cm-1|wavenumbers?", re.IGNORECASE)


@dataclass(frozen=True, eq=False, kw_only=True)
class LibrarySpectrum:
    """One spectrum of a library, on its own grid.

    Parameters
    ----------
    name : str
    wavelength : Quantity, shape (L,), or None
        None where the file does not say it: then the values must be on the bands of the scene.
    values : ndarray, shape (L,)
        In the file's own unit; NaN where there is none.
    fwhm : Quantity, shape (L,), optional
        Resolution of the library.
    """

    name: str
    wavelength: u.Quantity | None
    values: Values
    fwhm: u.Quantity | None = None

    def __repr__(self) -> str:
        axis = "no wavelengths" if self.wavelength is None else f"{self.wavelength[0]:.6g} to {self.wavelength[-1]:.6g}"
        return f"LibrarySpectrum({self.name}: {len(self.values)} values, {axis})"


def read_library(path: str | PathLike[str]) -> tuple[LibrarySpectrum, ...]:
    """The spectra that a file, or a folder of files, holds.

    Parameters
    ----------
    path : path-like
        One of: an ENVI spectral library, by its data or its header; a FITS, ECSV or text table, its first column (or the one named
        wavelength) the wavelength and every other column of numbers a spectrum; a .npz with a list of wavelengths, spectra and maybe names;
        a `components.fits`; a folder with one two-column text file per spectrum, named as the files are, or as their line "Name:" says.

    Returns
    -------
    tuple of LibrarySpectrum
        In the order of the file; of a folder, by name.

    Raises
    ------
    MissingFileError, NotFITSError, EmptyFileError, CorruptFileError
        If there is nothing to read.
    HeaderError, ShapeError, AmbiguousInputError
        If it is no library.
    """
    folder = Path(path).expanduser()
    if folder.is_dir() and not (folder / "components.fits").is_file():
        found = _folder(folder)
    elif folder.is_dir():
        found = _components(folder)
    else:
        found = _file(local_file(path))
    if not found:
        raise ShapeError(f"{path} holds no spectrum: expected one at least.")
    for spectrum in found:
        if np.isfinite(spectrum.values).sum() < 2:
            raise ShapeError(f"{path}: the spectrum {safe_name(spectrum.name)!r} has fewer than two finite values; remove it.")
    log.info("%s: library of %d spectra", path, len(found))
    return tuple(found)


def _file(path: Path) -> list[LibrarySpectrum]:
    with path.open("rb") as stream:
        head = stream.read(2880)
    header = find_header(path, head)
    if header is not None:
        return _envi(header, path)
    if is_npz(path, head):
        return _arrays(path, read_npz(path, available_memory()))
    if head.startswith(b"SIMPLE  =") and _is_components(path):
        return _components(path)
    if not head.startswith(b"SIMPLE  =") and b"\0" not in head:
        text = _two_columns(path)
        if text is not None:
            return [text]
    return _table(path)


# ---------------------------------------------------------------- ENVI


def _envi(header_path: Path, given: Path) -> list[LibrarySpectrum]:
    library = _envi_image(header_path, given)
    values = np.asarray(library.data()[0], dtype=np.float64)
    scale = _single(library.text("reflectance scale factor"), header_path, default=1.0)
    values = _without_absent(values / scale)
    names = library.items("spectra names")
    if len(names) != len(values):
        names = tuple(f"spectrum {k}" for k in range(len(values)))
    listed = library.items("wavelength")
    axis = fwhm = None
    if listed:
        if len(listed) != values.shape[1]:
            raise HeaderError(f"{header_path} lists {len(listed)} wavelengths for {values.shape[1]} samples: correct it.")
        numbers = np.array([_single(text, header_path) for text in listed])
        axis = _axis(numbers, library.text("wavelength units"), header_path)
        widths = library.items("fwhm")
        if len(widths) == len(listed):
            fwhm = np.array([_single(text, header_path) for text in widths]) * axis.unit
    return [LibrarySpectrum(name=safe_name(name), wavelength=axis, values=row, fwhm=fwhm) for name, row in zip(names, values, strict=True)]


def _envi_image(header_path: Path, given: Path) -> EnviImage:
    """The library as an image of one band: a line per spectrum, a sample per wavelength."""
    header = parse_header(header_path)
    if str(header.get("file type", "")).lower() != "envi spectral library":
        raise HeaderError(f"{header_path} describes no library: expected file type = ENVI Spectral Library.")
    shape = 1, _integer(header_path, header, "lines", least=1), _integer(header_path, header, "samples", least=1)
    offset, dtype = _integer(header_path, header, "header offset", default=0), _dtype(header_path, header)
    needed = offset + shape[1] * shape[2] * dtype.itemsize
    path = given if given != header_path else _data_file(header_path, needed)
    if path.stat().st_size < needed:
        raise TruncatedFileError(f"{path} has {path.stat().st_size} bytes, its header announces {needed}: copy it again.")
    return EnviImage(header_path, path, header, shape, dtype, "bsq", offset)


def _single(text: str, path: Path, *, default: float | None = None) -> float:
    if not text.strip() and default is not None:
        return default
    try:
        return float(text)
    except ValueError:
        raise HeaderError(f"{path} has {safe_name(text)!r} in a list of numbers: expected a number.") from None


# ---------------------------------------------------------------- arrays and tables


def _arrays(path: Path, variables: list[Variable]) -> list[LibrarySpectrum]:
    """Spectra of the only matrix that has the length of the list of wavelengths."""
    real = [variable for variable in variables if variable.is_real]
    axes = [variable for variable in real if len(_squeezed(variable)) == 1 and is_spectral_name(variable.base)]
    if not axes:
        found = ", ".join(str(variable) for variable in variables[:8])
        raise ShapeError(f"{path} has no list of wavelengths among {found}: expected an array named, for example, wavelength_nm.")
    length = axes[0].size
    matrices = [variable for variable in real if len(_squeezed(variable)) == 2 and length in _squeezed(variable)]
    named = [variable for variable in matrices if variable.base.lower() in ("spectra", "library", "spectrum", "endmembers", "reflectance")]
    chosen = named or matrices
    if not chosen:
        raise ShapeError(f"{path} holds no matrix of real numbers with {length} wavelengths: expected one, named 'spectra'.")
    if len(chosen) > 1:
        found = ", ".join(str(variable) for variable in chosen)
        raise AmbiguousInputError(f"{path}: matrices with {length} wavelengths are {found}: expected one, or one named 'spectra'.")
    values = np.squeeze(np.asarray(chosen[0].read(), dtype=np.float64))
    if values.shape[0] == values.shape[1]:
        raise AmbiguousInputError(f"{path}: {chosen[0]} has as many spectra as bands: add a spectrum, or save it as a table.")
    rows = values if values.shape[1] == length else values.T
    texts = [variable for variable in variables if variable.dtype.kind == "U" and variable.size == len(rows)]
    names = [str(text) for text in texts[0].read().reshape(-1)] if texts else [f"spectrum {k}" for k in range(len(rows))]
    axis = _axis(np.asarray(axes[0].read(), dtype=np.float64).reshape(-1), unit_in_name(axes[0].base)[0], path)
    return [
        LibrarySpectrum(name=safe_name(name), wavelength=axis, values=_without_absent(row)) for name, row in zip(names, rows, strict=True)
    ]


def _squeezed(variable: Variable) -> tuple[int, ...]:
    return tuple(size for size in variable.shape if size != 1)


def _table(path: Path) -> list[LibrarySpectrum]:
    table = read_table(str(path))
    columns = [name for name in table.colnames if table[name].ndim == 1 and np.asarray(table[name]).dtype.kind in "fiu"]
    if len(columns) < 2 or len(table) < 2:
        found = f"{len(columns)} columns of numbers and {len(table)} rows"
        raise ShapeError(f"{path} has {found}: expected wavelengths and one spectrum at least.")
    first = next((name for name in columns if _words(name)[0].lower() in _AXES or is_spectral_name(name)), columns[0])
    given = str(getattr(table[first], "unit", None) or "") or unit_in_name(first)[0] or _words(first)[1]
    axis = _axis(np.asarray(getattr(table[first], "value", table[first]), dtype=np.float64), given, path)
    spectra = [name for name in columns if name != first and not _ERRORS.search(name)]
    return [LibrarySpectrum(name=safe_name(name), wavelength=axis, values=_column(table[name])) for name in spectra]


def _words(name: str) -> tuple[str, str]:
    """Name and unit of a heading such as ``Wavelength (nm)`` or ``wavelength [um]``."""
    match = re.fullmatch(r"\s*([^\s(\[]+)\s*[(\[]?\s*([^)\]]*?)\s*[)\]]?\s*", name)
    return (match[1], match[2]) if match else (name, "")


def _column(column: Any) -> Values:
    values = np.array(getattr(column, "unmasked", getattr(column, "value", column)), dtype=np.float64)
    values[np.broadcast_to(getattr(column, "mask", False), values.shape)] = np.nan
    return _without_absent(values)


def _is_components(path: Path) -> bool:
    try:
        read_components(path)
    except VermilionError:
        return False
    return True


def _components(path: Path) -> list[LibrarySpectrum]:
    found = read_components(path)
    return [
        LibrarySpectrum(name=name, wavelength=found.wavelength, values=np.asarray(found.spectra[:, k], dtype=np.float64))
        for k, name in enumerate(found.names)
    ]


# ---------------------------------------------------------------- text


def _folder(folder: Path) -> list[LibrarySpectrum]:
    """One spectrum per file; what is no spectrum is left out, and said."""
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    except OSError as error:
        raise MissingFileError(f"{folder} cannot be read: {error.strerror}.") from None
    found, skipped = [], []
    for file in files:
        spectrum = _two_columns(file) if file.suffix.lower() in _SUFFIXES else None
        if spectrum is None:
            skipped.append(file.name)
        else:
            found.append(spectrum)
    if not found:
        raise NotFITSError(f"{folder} holds no text file with two columns of numbers: expected one per spectrum.")
    if skipped:
        names = ", ".join(safe_name(name) for name in skipped[:5])
        log.warning("%s: %d files that hold no two columns of numbers are left out: %s", folder, len(skipped), names)
    return found


def _two_columns(path: Path) -> LibrarySpectrum | None:
    """The spectrum in a text file whose rows are wavelength and value, whatever stands above them; None where there is none."""
    if path.stat().st_size > _MOST_TEXT or not path.stat().st_size:
        return None
    raw = path.read_bytes()
    if b"\0" in raw:
        return None
    rows, said = [], []
    for line in raw.decode("utf-8-sig", "replace").splitlines():
        numbers = _row(line)
        if numbers is not None:
            rows.append(numbers)
        elif rows:
            return None  # text below the numbers: this is no plain list
        else:
            said.append(line)
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        return None
    values = np.array(rows)
    header = "\n".join(said)
    unit = _UNIT_WORD.search(header)
    named = re.search(r"^\W*name\s*[:=]\s*(\S.*?)\s*$", header, re.IGNORECASE | re.MULTILINE)
    axis = _axis(values[:, 0], unit[0] if unit else "", path)
    return LibrarySpectrum(name=safe_name(named[1] if named else path.stem), wavelength=axis, values=_without_absent(values[:, 1]))


def _row(line: str) -> list[float] | None:
    """The numbers of a line that holds nothing else."""
    words = [word for word in re.split(r"[\s,;]+", line.strip()) if word]
    if not words or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    return [float(word.lower().replace("d", "e")) for word in words]


# ---------------------------------------------------------------- shared


def _axis(values: Values, said: str, path: Path) -> u.Quantity:
    """The wavelengths with their unit, said or evident."""
    unit, why = wavelength_unit(said, values)
    if unit is None:
        raise UnitError(f"{path}: the unit of the wavelengths is not known ({why}); name it in the header or in the name of the column.")
    log.debug("%s: wavelengths in %s (%s)", path, unit, why)
    return values * unit


def _without_absent(values: NDArray[Any]) -> Values:
    """Values with NaN for the numbers that stand for none."""
    values = np.array(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        values[~(np.abs(values) < _ABSENT)] = np.nan
    return values
