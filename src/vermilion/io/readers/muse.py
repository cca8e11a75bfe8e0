"""MUSE cubes of the ESO pipeline and of mpdaf: DATA, STAT (variance), DQ (Euro3D bits, 0 = good)."""

from collections.abc import Sequence

from astropy.io import fits

from ...datamodels import Cube
from ..assemble import assemble
from ..hdus import Profile
from ..options import ReadOptions
from ..preflight import FITSFile, card

__all__ = ["identify", "load", "name"]

name = "muse"
PROFILE = Profile(instrument="MUSE", data=("DATA",), errors={"STAT": "variance"}, masks=("DQ",))


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether the primary header says MUSE, or mpdaf wrote DATA beside STAT."""
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    said = str(card(headers[0], "INSTRUME", "")).strip().upper() == "MUSE"
    mpdaf = str(card(headers[0], "AUTHOR", "")).strip().upper() == "MPDAF"
    return "DATA" in names and (said or (mpdaf and "STAT" in names))


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a MUSE file."""
    return assemble(file, options, reader=name, profile=PROFILE)
