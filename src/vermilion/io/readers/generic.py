"""Any FITS file with an image of three axes, by its headers, the dictionary of names and the options."""

from collections.abc import Sequence

from astropy.io import fits

from ...datamodels import Cube
from ..fits.assemble import assemble
from ..fits.preflight import FITSFile
from ..options import ReadOptions

__all__ = ["identify", "load", "name"]

name = "generic"


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether it is a FITS file: always."""
    return True


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in the file."""
    return assemble(file, options, reader=name)
