"""`components.fits`, read back."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from ..errors import CorruptFileError, EmptyFileError, HeaderError, MissingFileError, NotFITSError, ShapeError, VermilionError

__all__ = ["Components", "read_components"]

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Components:
    """Spectra and maps of components, as a file holds them.

    Parameters
    ----------
    names : tuple of str
        One per component.
    wavelength : Quantity, shape (B,), or None
        None where the bands are only named or counted.
    spectra, spectra_error : ndarray, shape (B, K)
        The columns ``shape_k`` and ``shape_error_k``; the error is None if the file has none.
    fluxes, fluxes_error : ndarray, shape (B, K)
        The columns ``flux_k`` and ``flux_error_k``; without flux columns, shapes times the sums over the maps.
    maps, maps_error, signed_maps, signed_error : ndarray, shape (K, Ny, Nx)
        All but `maps` are None if the file has none.
    header : astropy.io.fits.Header
        Of the primary HDU.
    """

    names: tuple[str, ...]
    wavelength: u.Quantity | None
    spectra: Values
    fluxes: Values
    maps: Values
    header: fits.Header
    spectra_error: Values | None = None
    fluxes_error: Values | None = None
    maps_error: Values | None = None
    signed_maps: Values | None = None
    signed_error: Values | None = None

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.maps)

    def __repr__(self) -> str:
        n_y, n_x = self.maps.shape[1:]
        return f"Components({', '.join(self.names)}: {len(self.spectra)} bands, maps {n_y} x {n_x})"


def read_components(path: str | os.PathLike[str]) -> Components:
    """The components that `path` holds.

    Parameters
    ----------
    path : path-like
        A file laid out like `components.fits` (table SPECTRA and image MAPS are enough), or a folder with one in it.

    Returns
    -------
    Components

    Raises
    ------
    MissingFileError, EmptyFileError, NotFITSError
        If there is nothing to read.
    CorruptFileError
        If a checksum does not agree, or the file ends early.
    HeaderError
        If SPECTRA, MAPS or the columns ``shape_0`` … are missing.
    ShapeError
        If the maps and the columns do not belong together.
    """
    file = _locate(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # what is wrong is found, and said, by _require_whole
            with fits.open(file, memmap=False, lazy_load_hdus=False) as hdus:
                _require_whole(file, hdus)
                return _components(file, hdus)
    except VermilionError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:  # what astropy raises on damaged files
        raise CorruptFileError(f"{file} is damaged: {error}; write it again.") from error


def _locate(path: Path) -> Path:
    try:
        file = path / "components.fits" if path.is_dir() else path
        if not file.is_file():
            raise MissingFileError(f"{file} does not exist or is no regular file: expected a components.fits, or a folder with one.")
        with open(file, "rb") as stream:
            start = stream.read(10)
    except PermissionError as error:
        raise MissingFileError(f"{path} may not be read: {error.strerror}.") from error
    if not start:
        raise EmptyFileError(f"{file} is empty: expected a FITS file.")
    if start[:9] != b"SIMPLE  =":
        raise NotFITSError(f"{file} starts with {start!r}: expected a FITS file.")
    return file


def _require_whole(file: Path, hdus: fits.HDUList) -> None:
    """Every byte and every checksum, where the file carries checksums."""
    last = hdus[-1].fileinfo()
    expected, size = last["datLoc"] + last["datSpan"], file.stat().st_size
    if size != expected:
        raise CorruptFileError(f"{file} has {size} bytes, its headers announce {expected}: it was cut or added to; copy it again.")
    for hdu in hdus:
        if 0 in (hdu.verify_datasum(), hdu.verify_checksum()):  # 2: the file carries none
            raise CorruptFileError(f"{file}: the checksum of HDU {hdu.name} does not agree with its content; it is damaged.")


def _components(file: Path, hdus: fits.HDUList) -> Components:
    for name in ("SPECTRA", "MAPS"):
        if name not in hdus:
            present = ", ".join(hdu.name for hdu in hdus)
            raise HeaderError(f"{file} has no HDU {name}, only {present}: expected the layout of components.fits.")
    table, maps = hdus["SPECTRA"], _native(hdus["MAPS"].data)
    columns = {name.lower(): name for name in table.columns.names}
    spectra = _stack(table, columns, "shape_")
    if spectra is None:
        raise HeaderError(f"{file}: SPECTRA has the columns {', '.join(table.columns.names)}, expected shape_0, shape_1, …")
    if maps.ndim != 3 or len(maps) != spectra.shape[1]:
        raise ShapeError(f"{file}: MAPS has shape {maps.shape}, SPECTRA {spectra.shape[1]} shapes: expected (components, y, x).")
    sums = np.nansum(maps.reshape(len(maps), -1), axis=1, dtype=np.float64)
    fluxes = _stack(table, columns, "flux_")
    return Components(
        names=tuple(str(hdus[0].header.get(f"NAME{k}", f"component_{k:02d}")) for k in range(len(maps))),
        wavelength=_wavelength(table, columns),
        spectra=spectra,
        spectra_error=_stack(table, columns, "shape_error_"),
        fluxes=spectra * sums if fluxes is None else fluxes,
        fluxes_error=_stack(table, columns, "flux_error_"),
        maps=maps,
        maps_error=_image(hdus, "MAPS_ERR"),
        signed_maps=_image(hdus, "MAPS_SIGNED"),
        signed_error=_image(hdus, "MAPS_SIGNED_ERR"),
        header=hdus[0].header.copy(),
    )


def _image(hdus: fits.HDUList, name: str) -> Values | None:
    return _native(hdus[name].data) if name in hdus else None


def _stack(table: fits.BinTableHDU, columns: dict[str, str], prefix: str) -> Values | None:
    """The columns `prefix` 0, 1, … side by side, None if there is no first one."""
    count = 0
    while f"{prefix}{count}" in columns:
        count += 1
    if not count:
        return None
    return np.stack([_native(table.data[columns[f"{prefix}{k}"]]) for k in range(count)], axis=1)


def _wavelength(table: fits.BinTableHDU, columns: dict[str, str]) -> u.Quantity | None:
    if "wavelength" not in columns:
        return None
    unit = table.columns[columns["wavelength"]].unit
    return u.Quantity(_native(table.data[columns["wavelength"]]), u.Unit(unit or "", parse_strict="silent"))


def _native(values: NDArray[Any] | None) -> Values:
    """FITS is big-endian; the rest of the program is not."""
    if values is None:  # an HDU without data
        return np.empty(0)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=") if values.dtype.kind == "f" else np.float64)
