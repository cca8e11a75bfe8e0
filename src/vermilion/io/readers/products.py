"""Cubes that vermilion wrote: FLUX / ERR / DQ, DATA / STAT / DQ or a primary HDU with ERR / DQ, whatever instrument their cards name.

A product repeats INSTRUME and TELESCOP of its input, but its units, masks and axes are set right already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from astropy.io import fits
from astropy.wcs import WCS

from ...datamodels import Cube
from ...errors import ShapeError
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, HDUInfo, card, damage_reported
from ..options import ReadOptions
from ..record import add_decisions, note
from ..units import parse_unit

__all__ = ["identify", "load", "name"]

name = "vermilion"
PROFILE = Profile(
    instrument="vermilion",
    data=("FLUX", "DATA", "PRIMARY", ""),
    errors={"ERR": "sigma", "STAT": "variance"},
    masks=("DQ",),
    bits=dict(enumerate(("not used", "masked", "not finite", "no noise", "pixel dropped", "band without weight"))),
)


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether vermilion says that it wrote this cube."""
    return str(card(headers[0], "CREATOR", "")).startswith("vermilion ") and card(headers[0], "LAYOUT") is not None


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a product of vermilion."""
    if options.spectral_axis is None and options.data_ext is None:
        options = replace(options, spectral_axis=3)  # bands always come last
    cube = assemble(file, options, reader=name, profile=PROFILE)
    if any(str(card(hdu.header, "WAVETYPE", "")).strip() == "unknown" for hdu in file.hdus):
        text = "wavelengths in air or in vacuum: WAVETYPE says that it is not known, CTYPE3 is no statement about it"
        cube = add_decisions(replace(cube, meta={**cube.meta, "spectral_medium": None}), [note(text)])
    return _with_sky(_with_bands(cube, file, options), file)


def _with_sky(cube: Cube, file: FITSFile) -> Cube:
    """The coordinates of the HDU MASK, where they have a distortion that the header of a cube cannot hold."""
    found = [hdu for hdu in file.hdus if hdu.name == "MASK" and str(card(hdu.header, "CTYPE1", "")).endswith("-SIP")]
    if not found or found[0].shape != cube.frame.shape:
        return cube
    with damage_reported(f"the WCS of HDU {found[0]}"):
        wcs = WCS(found[0].header)
    return add_decisions(
        replace(cube, frame=replace(cube.frame, wcs=wcs)), [note("positions on the sky: the HDU MASK, with their distortion")]
    )


def _with_bands(cube: Cube, file: FITSFile, options: ReadOptions) -> Cube:
    """Names and units of the bands, where the table BANDS has them."""
    found = [hdu for hdu in file.hdus if hdu.name == "BANDS"]
    if not found:
        return cube
    columns = _text_columns(file, found[0])
    if any(len(values) != len(cube.data) for values in columns.values()):
        raise ShapeError(
            f"HDU {found[0]} has {len(next(iter(columns.values())))} rows, the cube {len(cube.data)} bands: expected equal numbers."
        )
    changes: dict[str, Any] = {}
    if "band" in columns:
        changes["band_names"] = tuple(columns["band"])
    if "unit" in columns and options.unit is None:
        changes["unit"] = tuple(parse_unit("" if text == "-" else text)[0] for text in columns["unit"])
    return add_decisions(replace(cube, frame=replace(cube.frame, **changes)), [note("names and units of the bands: table BANDS")])


def _text_columns(file: FITSFile, hdu: HDUInfo) -> dict[str, list[str]]:
    with file.open() as hdulist, damage_reported(f"HDU {hdu}"):
        table = hdulist[hdu.index]
        text = [column.name for column in table.columns if column.name in ("band", "unit") and column.format.endswith("A")]
        return {name: [str(value).strip() for value in table.data[name]] for name in text}
