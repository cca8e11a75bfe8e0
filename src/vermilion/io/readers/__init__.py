"""One file per instrument: `name`, `identify(headers)` and `load(file, options)`; the first that identifies a file reads it."""

from collections.abc import Sequence
from typing import Protocol

from astropy.io import fits

from ...datamodels import Cube
from ..options import ReadOptions
from ..preflight import FITSFile
from . import generic, muse

__all__ = ["READERS", "Reader"]


class Reader(Protocol):
    """What a module in this folder offers."""

    name: str

    def identify(self, headers: Sequence[fits.Header]) -> bool:
        """Whether these are the headers of such a file."""

    def load(self, file: FITSFile, options: ReadOptions) -> Cube:
        """The cube in the file."""


# Specific instruments first: `generic` takes everything.
READERS: tuple[Reader, ...] = (muse, generic)
