"""Broad-band images: one file per band, or one file with an image per band; with errors and masks beside them.

HSC and LSST (IMAGE, MASK with MP_* cards, VARIANCE), HST (SCI, WHT), JWST (SCI, ERR, WHT), Legacy Surveys (``-image`` and ``-invvar``
files, or the two alternating in one file), SDSS frames, and any other images on one pixel grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astropy.io import fits

from ...datamodels import Cube
from ...errors import AmbiguousInputError, ParameterError
from ..fits.hdus import is_cube
from ..fits.preflight import FITSFile, card, preflight
from ..images.planes import find_bands, image_label
from ..images.stack import stack
from ..options import ReadOptions

__all__ = ["identify", "load", "load_files", "name"]

name = "bands"


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether several images with two axes call themselves data, and none has three."""
    sizes = [_n_axes(header) for header in headers]
    return (
        max(sizes) == 2 and sum(n == 2 and bool(image_label(h) or i == 0) for i, (n, h) in enumerate(zip(sizes, headers, strict=True))) > 1
    )


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube of the images in one file."""
    return stack(find_bands([file], options), options, reader=name)


def load_files(paths: Sequence[Any], options: ReadOptions) -> Cube:
    """The cube of the images in several files, in the order given.

    Raises
    ------
    ParameterError
        If a file is given twice, or options for one file only are given.
    AmbiguousInputError
        If several files are cubes.
    """
    if options.reader not in (None, name):
        raise ParameterError(f"--reader {options.reader} reads one file, {len(paths)} are given: expected none, or --reader {name}.")
    for option in ("err_file", "mask_file"):
        if getattr(options, option) is not None:
            raise ParameterError(
                f"--{option.replace('_', '-')} belongs to one file, {len(paths)} are given: give it as one more file of the set."
            )
    files: list[FITSFile] = []
    spent = 0
    for path in paths:
        file = preflight(path, limit=max(options.limit - spent, 0), checksum=options.checksum)
        spent += 0 if file.buffer is None else len(file.buffer)
        files.append(file)
    _refuse_twice(files)
    cubes = [file.path.name for file in files if any(is_cube(hdu) and sum(n > 1 for n in hdu.shape) == 3 for hdu in file.hdus)]
    if cubes:
        raise AmbiguousInputError(
            f"{', '.join(cubes)} of {len(files)} files hold cubes: expected one image per band; read cubes one by one."
        )
    return stack(find_bands(files, options), options, reader=name)


def _refuse_twice(files: Sequence[FITSFile]) -> None:
    seen: dict[str, FITSFile] = {}
    for file in files:
        before = seen.setdefault(file.sha256, file)
        if before is not file:
            raise ParameterError(f"{file.given} and {before.given} are the same file: expected one file per band.")


def _n_axes(header: fits.Header) -> int:
    """Number of axes of an image that are not degenerate; 0 where there is no image."""
    prefix = "Z" if card(header, "ZIMAGE") is True else ""
    if not prefix and str(card(header, "XTENSION", "IMAGE")).strip() != "IMAGE":
        return 0
    number = card(header, f"{prefix}NAXIS", 0)
    lengths = [card(header, f"{prefix}NAXIS{axis}", 0) for axis in range(1, number + 1)]
    return max(2, sum(n > 1 for n in lengths)) if len(lengths) >= 2 and all(lengths) else 0
