"""LVM frames (lvmFrame, lvmFFrame, lvmCFrame, lvmSFrame): row-stacked spectra, one fiber a row, FLUX, IVAR, MASK, WAVE, LSF, SLITMAP.

They have no image plane: N fibers are read as an image of 1 x N pixels. Fibers that SLITMAP calls sky, standard star or broken are
masked. That the wavelengths of WAVE are in air stands in the data model; it was not checked against a released file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Cube
from ...errors import NoDataError
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, card, damage_reported
from ..options import ReadOptions
from ..record import add_decisions, note

__all__ = ["identify", "load", "name"]

name = "lvm"
PROFILE = Profile(
    instrument="LVM",
    data=("FLUX",),
    errors={"IVAR": "ivar"},
    masks=("MASK",),
    companions={
        "LSF": "width of the line-spread function, fiber by fiber: no header says of which kind",
        **dict.fromkeys(("SKY", "SKY_IVAR", "SKY_EAST", "SKY_WEST", "SKY_EAST_IVAR", "SKY_WEST_IVAR"), "spectra of the sky"),
    },
    wave=("WAVE",),
    wave_unit="Angstrom",
    medium="air",
    rows=True,
)


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether there are spectra in rows, and LVM in the primary header or a SLITMAP."""
    flux = [header for header in headers[1:] if str(card(header, "EXTNAME", "")).strip().upper() == "FLUX"]
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    said = "LVM" in f"{card(headers[0], 'INSTRUME', '')} {card(headers[0], 'SURVEY', '')}".upper()
    return len(flux) == 1 and card(flux[0], "NAXIS") == 2 and (said or {"IVAR", "WAVE", "SLITMAP"} <= names)


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The spectra of an LVM frame, as (band, 1, fiber)."""
    cube = assemble(file, options, reader=name, profile=PROFILE)
    unmasked = isinstance(options.mask_ext, str) and options.mask_ext.strip().lower() == "none"
    return cube if unmasked else _science_only(cube, file)


def _science_only(cube: Cube, file: FITSFile) -> Cube:
    """The cube with fibers masked that did not look at the target or are broken."""
    tables = [hdu for hdu in file.hdus if hdu.name == "SLITMAP" and hdu.kind == "table"]
    if len(tables) != 1:
        return cube
    with file.open() as hdulist, damage_reported(f"the table in HDU {tables[0]}"):
        table = hdulist[tables[0].index]
        columns = {column.lower(): np.array(table.data[column]) for column in table.columns.names}
    n_fibers = cube.frame.shape[1]
    other = _unlike(columns.get("targettype"), n_fibers)
    broken = _nonzero(columns.get("fibstatus"), n_fibers)
    if not (other | broken).any():
        return cube
    if (other | broken).all():
        raise NoDataError(f"SLITMAP of {file.path.name} lists no working science fiber: read all fibers with --mask-ext none.")
    added = np.broadcast_to(other | broken, cube.data.shape)
    mask = np.array(added) if cube.mask is None else cube.mask | added
    text = f"SLITMAP: {other.sum()} fibers of sky and standard stars and {(broken & ~other).sum()} broken ones are masked"
    return add_decisions(replace(cube, mask=mask), [note(f"{text}; read all with --mask-ext none", loud=True)])


def _unlike(values: NDArray[Any] | None, n_fibers: int) -> NDArray[np.bool_]:
    """Fibers whose target type is known and not science."""
    if values is None or values.shape != (n_fibers,) or values.dtype.kind not in "SU":
        return np.zeros(n_fibers, dtype=bool)
    words = np.char.lower(np.char.strip(values.astype("U")))
    return (words != "science") & (words != "")


def _nonzero(values: NDArray[Any] | None, n_fibers: int) -> NDArray[np.bool_]:
    """Fibers whose status is not 0."""
    if values is None or values.shape != (n_fibers,) or values.dtype.kind not in "iu":
        return np.zeros(n_fibers, dtype=bool)
    return np.asarray(values != 0)
