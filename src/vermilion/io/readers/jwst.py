"""JWST cubes of NIRSpec IFU and MIRI MRS (s3d): SCI in MJy/sr, ERR (1 sigma), DQ; vacuum wavelengths, in a table for several bands.

Outside the footprint SCI is NaN. Only two bits occur in cubes: DO_NOT_USE and NON_SCIENCE (jwst pipeline, step cube_build).
"""

from collections.abc import Sequence

from astropy.io import fits

from ...datamodels import Cube
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, card
from ..options import ReadOptions

__all__ = ["identify", "load", "name"]

name = "jwst"
PROFILE = Profile(
    instrument="JWST",
    data=("SCI",),
    errors={"ERR": "sigma"},
    masks=("DQ",),
    companions={"WMAP": "number of detector pixels behind each value"},
    bits={0: "DO_NOT_USE", 9: "NON_SCIENCE"},
    bad_bits=(0, 9),
    medium="vacuum",
)


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether it is an IFU cube of JWST."""
    primary = headers[0]
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    kind = f"{card(primary, 'FILETYPE', '')} {card(primary, 'DATAMODL', '')}".upper()
    jwst = str(card(primary, "TELESCOP", "")).strip().upper() == "JWST"
    return jwst and "SCI" in names and ("IFU CUBE" in kind or "IFUCUBE" in kind or "WMAP" in names)


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a JWST s3d file."""
    return assemble(file, options, reader=name, profile=PROFILE)
