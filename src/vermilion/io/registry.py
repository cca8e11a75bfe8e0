"""`read`: the reader of a file is the first of `READERS` that identifies it, or the one that was named."""

from __future__ import annotations

import difflib
import logging
import warnings
from typing import Any

from ..datamodels import Cube
from ..errors import ParameterError
from .options import ReadOptions
from .preflight import FITSFile, preflight
from .readers import READERS, Reader

__all__ = ["read"]

logger = logging.getLogger(__name__)


def read(path: Any, **options: Any) -> Cube:
    """The spectral cube in a local FITS file.

    Headers are checked and every byte is accounted for before data are touched. Which HDU was taken for what, and why, stands in
    ``cube.meta["decisions"]``.

    Parameters
    ----------
    path : str or Path
        Plain, gzip, bzip2 or tile-compressed; never a URL.
    **options
        The fields of `vermilion.io.options.ReadOptions`: reader, data_ext, err_ext, err_type, mask_ext, unit, wave, spectral_axis,
        allow_unitless, checksum, memory.

    Returns
    -------
    Cube
        Native float32 or float64 data (band, y, x), variances, mask, coordinates and unit.

    Raises
    ------
    ParameterError
        If an option is unknown or outside its range.
    MissingFileError, EmptyFileError, NotFITSError, TruncatedFileError, CorruptFileError
        If the file cannot be read.
    ShapeError, AmbiguousInputError, HeaderError, UnitError, NoDataError
        If it can be read, but no cube can be made of it; the text names the option to add.
    MemoryLimitError
        If it is too large.
    """
    parsed = ReadOptions.parse(options)
    chosen = None if parsed.reader is None else _named(parsed.reader)
    with warnings.catch_warnings(record=True) as caught:  # what astropy remarks on goes to the log, not to the screen
        warnings.simplefilter("always")
        file = preflight(path, limit=parsed.limit, checksum=parsed.checksum)
        reader = chosen or _identify(file)
        logger.info("%s: reader %s", file.path.name, reader.name)
        cube = reader.load(file, parsed)
    for warning in caught:
        logger.debug("%s", " ".join(str(warning.message).split()))
    return cube


def _named(name: str) -> Reader:
    for reader in READERS:
        if reader.name == name:
            return reader
    known = [reader.name for reader in READERS]
    near = difflib.get_close_matches(name, known, n=1)
    raise ParameterError(f"unknown reader {name!r}.{f' Did you mean {near[0]!r}?' if near else ''} Readers are {', '.join(known)}.")


def _identify(file: FITSFile) -> Reader:
    headers = [hdu.header for hdu in file.hdus]
    return next(reader for reader in READERS if reader.identify(headers))
