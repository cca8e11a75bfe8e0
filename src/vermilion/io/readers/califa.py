"""CALIFA cubes (V500, V1200, COMB) of PMAS/PPak: flux in the primary HDU, ERROR (1 sigma, 1e10 = bad), BADPIX (1 = bad).

Fluxes are in 1e-16 erg/s/cm2/Angstrom; the spelling with ``/A`` says Ampere and is read as Angstrom. Spaxels of 1 arcsec resample
fibers of 2.7 arcsec: noise is strongly correlated. ERRWEIGHT, the factor for it (Husemann et al. 2013, A&A 549, A87), is not applied.
That wavelengths are in air was not checked against a released file.
"""

from collections.abc import Sequence

from astropy.io import fits

from ...datamodels import Cube
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, card
from ..options import ReadOptions

__all__ = ["identify", "load", "name"]

name = "califa"
PROFILE = Profile(
    instrument="CALIFA",
    data=("PRIMARY",),
    errors={"ERROR": "sigma"},
    masks=("BADPIX",),
    companions={
        "ERRWEIGHT": "factor by which co-added errors grow with correlated noise: not applied",
        "FIBCOVER": "number of fibers behind each spaxel",
    },
    error_limit=1e10,
    wave_unit="Angstrom",
    medium="air",
    unit="1e-16 erg s-1 cm-2 Angstrom-1",
    unit_keys=("PIPE UNITS",),
)


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether a cube in the primary HDU has ERROR and BADPIX beside it, and something of PMAS or of CALIFA."""
    primary = headers[0]
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    if card(primary, "NAXIS") != 3 or not {"ERROR", "BADPIX"} <= names:
        return False
    instrument = str(card(primary, "INSTRUME", "")).upper()
    cards = any(key.startswith(("CALIFA", "PIPE ")) for key in primary)
    return bool({"ERRWEIGHT", "FIBCOVER"} & names) or "PMAS" in instrument or "PPAK" in instrument or cards


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a CALIFA file."""
    return assemble(file, options, reader=name, profile=PROFILE)
