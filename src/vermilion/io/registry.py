"""`read`: the reader of a file is the first of `READERS` that identifies it, or the one that was named."""

from __future__ import annotations

import difflib
import logging
import warnings
from typing import Any

from ..datamodels import Cube
from ..errors import ParameterError
from .fits.preflight import FITSFile, preflight
from .options import ReadOptions
from .psf_files import with_psf
from .readers import FORMATS, READERS, Reader, bands
from .selection.select import select
from .sources import local_file

__all__ = ["read"]

logger = logging.getLogger(__name__)


def read(path: Any, **options: Any) -> Cube:
    """The spectral cube, the set of broad-band images or the hyperspectral scene in local files.

    Headers are checked and every byte is accounted for before data are touched. Which HDU was taken for what, and why, stands in
    ``cube.meta["decisions"]``.

    Parameters
    ----------
    path : str, Path or sequence of them
        FITS, plain, gzip, bzip2 or tile-compressed, or another format of `vermilion formats`; never a URL. Several files are the bands
        of one cube, in the order given.
    **options
        The fields of `vermilion.io.options.ReadOptions`.

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
    with warnings.catch_warnings(record=True) as caught:  # what astropy remarks on goes to the log, not to the screen
        warnings.simplefilter("always")
        cube = with_psf(_load(path, parsed), parsed)
    for warning in caught:
        logger.debug("%s", " ".join(str(warning.message).split()))
    return select(cube, parsed)


def _load(path: Any, options: ReadOptions) -> Cube:
    """The whole cube, by the reader that knows the file."""
    paths = list(path) if isinstance(path, list | tuple) else [path]
    if not paths:
        raise ParameterError("no file is given: expected a path, or several.")
    known = None if options.reader is None else _named(options.reader)
    if len(paths) > 1:
        return bands.load_files(paths, options)
    if known is None or known in FORMATS:
        found = local_file(paths[0])
        with found.open("rb") as stream:
            head = stream.read(2880)
        for form in FORMATS if known is None else (known,):
            if form.identify(found, head):
                logger.info("%s: reader %s", found.name, form.name)
                return form.load(found, options)
        if known is not None:
            raise ParameterError(f"{found} is not of the format that reader {options.reader!r} reads: leave --reader out.")
    file = preflight(paths[0], limit=options.limit, checksum=options.checksum)
    reader = known or _identify(file)
    logger.info("%s: reader %s", file.path.name, reader.name)
    return reader.load(file, options)


def _named(name: str) -> Any:
    readers: tuple[Any, ...] = (*READERS, *FORMATS)
    for reader in readers:
        if reader.name == name:
            return reader
    known = [str(reader.name) for reader in readers]
    near = difflib.get_close_matches(name, known, n=1)
    raise ParameterError(f"unknown reader {name!r}.{f' Did you mean {near[0]!r}?' if near else ''} Readers are {', '.join(known)}.")


def _identify(file: FITSFile) -> Reader:
    headers = [hdu.header for hdu in file.hdus]
    return next(reader for reader in READERS if reader.identify(headers))
