"""KCWI and KCRM cubes (icube, icubed, icubew, icubes): flux in the primary HDU, UNCERT (1 sigma), MASK, FLAGS.

KCWI_DRP writes the unit of flux-calibrated cubes as ``1e+16 erg / (Angstrom cm2 s)``, with the wrong sign of the exponent: the values
are in 1e-16 (FluxCalibrate.py; issue 199 of KCWI_DRP). The older IDL pipeline calls the same unit FLAM16 and keeps variances and mask
in files of their own: see --err-file, --err-type and --mask-file. Where a spaxel saw nothing, flux and error are 0.
"""

from collections.abc import Sequence

from astropy import units as u
from astropy.io import fits

from ...datamodels import Cube
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, card
from ..options import ReadOptions

__all__ = ["identify", "load", "name"]

name = "kcwi"
_FLUX_DENSITY = u.erg / (u.s * u.cm**2 * u.AA)


def _right_exponent(unit: u.UnitBase) -> tuple[u.UnitBase, str] | None:
    if not unit.is_equivalent(_FLUX_DENSITY) or unit.to(_FLUX_DENSITY) < 1e15:
        return None
    return u.Unit(1e-16 * _FLUX_DENSITY), "unit '1e+16 erg / (Angstrom cm2 s)' was read as 1e-16: KCWI_DRP writes the wrong sign"


PROFILE = Profile(
    instrument="KCWI",
    data=("PRIMARY",),
    errors={"UNCERT": "sigma"},
    masks=("MASK",),
    companions={"FLAGS": "flags of the detector pixels; see --mask-ext", "NOSKYSUB": "the cube before sky subtraction"},
    mend_unit=_right_exponent,
)


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether the primary header says KCWI or KCRM and holds a cube."""
    instrument = str(card(headers[0], "INSTRUME", "")).strip().upper()
    return instrument.startswith(("KCWI", "KCRM")) and card(headers[0], "NAXIS") == 3


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a KCWI or KCRM file."""
    return assemble(file, options, reader=name, profile=PROFILE)
