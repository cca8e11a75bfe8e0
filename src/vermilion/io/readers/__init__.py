"""One file per instrument: `name`, `identify(headers)` and `load(file, options)`; the first that identifies a file reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from astropy.io import fits

from ...datamodels import Cube
from ..fits.preflight import FITSFile
from ..options import ReadOptions
from . import (
    arrays,
    bands,
    califa,
    counts,
    envi,
    generic,
    jwst,
    kcwi,
    legacysurvey,
    lvm,
    manga,
    matlab,
    muse,
    netcdf,
    products,
    radio,
    raster,
    sami,
)

__all__ = ["FORMATS", "READERS", "Format", "Reader"]


class Reader(Protocol):
    """What a module in this folder offers."""

    name: str

    def identify(self, headers: Sequence[fits.Header]) -> bool:
        """Whether these are the headers of such a file."""

    def load(self, file: FITSFile, options: ReadOptions) -> Cube:
        """The cube in the file."""


class Format(Protocol):
    """What a module offers that reads files other than FITS."""

    name: str

    def identify(self, path: Path, head: bytes) -> bool:
        """Whether the file is of this format, by its first 2880 bytes, its name, and the files beside it."""

    def load(self, path: Path, options: ReadOptions) -> Cube:
        """The cube in the file."""


# Specific instruments first: `generic` takes everything.
READERS: tuple[Reader, ...] = (products, muse, jwst, manga, kcwi, califa, sami, lvm, counts, raster, radio, legacysurvey, bands, generic)
FORMATS: tuple[Format, ...] = (matlab, netcdf, arrays, envi)
