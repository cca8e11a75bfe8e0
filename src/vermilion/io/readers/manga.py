"""MaNGA cubes: LOGCUBE and LINCUBE of the DRP, the model cubes of the DAP, and the row-stacked spectra (LOGRSS, LINRSS).

FLUX in 1e-17 erg/s/cm2/Angstrom/spaxel, IVAR (0 = no data), MASK bits, vacuum wavelengths in WAVE. Outside the bundle values are 0.
The noise of neighboring spaxels is correlated; CORREL images of the file say how, for griz only.

References
----------
Bits: sdssMaskbits.par, MANGA_DRP3PIXMASK and MANGA_DAPSPECMASK, and mangadap's table of the latter. Line spread: Law et al. 2021,
AJ 161, 52. Effective wavelengths of griz: SDSS DR7, camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import PSF, Cube
from ...errors import MemoryLimitError
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, HDUInfo, card, damage_reported
from ..memory import format_bytes
from ..options import ReadOptions
from ..record import add_decisions, note

__all__ = ["identify", "load", "name"]

name = "manga"
_DRP_BITS = {0: "NOCOV", 1: "LOWCOV", 2: "DEADFIBER", 3: "FORESTAR", 10: "DONOTUSE"}
_DAP_BITS = dict(
    enumerate(
        ("IGNORED", "FORESTAR", "FLUXINVALID", "IVARINVALID", "ARTIFACT", "FITIGNORED", "FITFAILED", "ELIGNORED", "ELFAILED", "NOMODEL")
    )
)
_MODEL = "model of the DAP, not data"
_WIDTH = "width of the line-spread function"
DRP = Profile(
    instrument="MaNGA",
    data=("FLUX",),
    errors={"IVAR": "ivar"},
    masks=("MASK",),
    companions={
        **dict.fromkeys(("LSFPOST", "LSFPRE", "DISP", "PREDISP", "SPECRES", "SPECRESD", "PRESPECRES", "PRESPECRESD"), _WIDTH),
        **{f"{band}CORREL": f"correlation of neighboring spaxels in {band.lower()}: not applied" for band in "GRIZ"},
        **dict.fromkeys(("XPOS", "YPOS"), "positions of the fibers"),
    },
    bits=_DRP_BITS,
    bad_bits=(0, 10),
    wave=("WAVE",),
    wave_unit="Angstrom",
    medium="vacuum",
)
DAP = replace(
    DRP,
    companions={
        **dict.fromkeys(("MODEL", "MODEL_MASK", "EMLINE", "EMLINE_BASE", "EMLINE_MASK", "STELLAR", "STELLAR_MASK"), _MODEL),
        "LSF": _WIDTH,
        "REDCORR": "correction for Galactic extinction: not applied",
        "BINID": "numbers of the spatial bins",
    },
    bits=_DAP_BITS,
    bad_bits=(0, 2, 3, 4),
)
_SIGMA_TO_FWHM = math.sqrt(8 * math.log(2))
# of the profile after the convolution with a pixel first: that is what the samples show
_DISPERSIONS = ("LSFPOST", "DISP", "LSF", "LSFPRE", "PREDISP")
_RESOLUTIONS = ("SPECRES", "PRESPECRES")
_GRIZ = {"GFWHM": 4686.0, "RFWHM": 6165.0, "IFWHM": 7481.0, "ZFWHM": 8931.0}  # Angstrom


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether the primary header says MaNGA and there are FLUX, IVAR and WAVE."""
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    said = "MANGA" in str(card(headers[0], "INSTRUME", "")).upper() or any(key in headers[0] for key in ("MANGAID", "PLATEIFU"))
    return said and {"FLUX", "IVAR"} <= names


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube, or the row-stacked spectra, in a MaNGA file."""
    dap = any(hdu.name == "MODEL" for hdu in file.hdus) or "DAPFRMT" in file.hdus[0].header
    profile = DAP if dap else DRP
    rows = all(len(hdu.shape) == 2 for hdu in file.hdus if hdu.name == "FLUX")
    width = _width_hdu(file)
    companions = profile.companions if width is None else {**profile.companions, width.name: ""}
    cube = assemble(file, options, reader=name, profile=replace(profile, rows=rows, companions=companions))
    return _with_psf(_with_lsf(cube, file, width), file)


# ---------------------------------------------------------------- line spread


def _width_hdu(file: FITSFile) -> HDUInfo | None:
    """The HDU with the widths of the line-spread function; None where there is none."""
    found = {hdu.name: hdu for hdu in file.hdus if hdu.kind in ("image", "compressed") and hdu.shape}
    return next((found[known] for known in (*_DISPERSIONS, *_RESOLUTIONS) if known in found), None)


def _with_lsf(cube: Cube, file: FITSFile, hdu: HDUInfo | None) -> Cube:
    """The cube with the full width at half maximum of its line-spread function, the median over its spaxels, band by band."""
    axis = cube.frame.spectral_axis
    values = None if hdu is None or axis is None else _median(file, hdu, cube.frame.n_bands)
    if hdu is None or axis is None:
        return cube
    if values is None:
        text = f"HDU {hdu.index} {hdu.name} has no positive width for these bands: no line-spread function"
        return add_decisions(cube, [note(text)])
    if hdu.name in _RESOLUTIONS:
        fwhm, why = axis / values, "FWHM = wavelength / resolution"
    else:
        fwhm, why = u.Quantity(_SIGMA_TO_FWHM * values, u.AA), "FWHM = 2.355 sigma"
    if len(hdu.shape) > 1:
        why += ", the median over the spaxels, band by band"
    taken = {"hdu": hdu.index, "name": hdu.name, "taken_as": "line-spread function", "why": why}
    return add_decisions(replace(cube, frame=replace(cube.frame, lsf=fwhm.to(axis.unit))), [taken])


def _median(file: FITSFile, hdu: HDUInfo, n_bands: int) -> NDArray[np.float64] | None:
    """Median of the positive values of each band, interpolated over bands that have none; None: no band has one."""
    needed = math.prod(hdu.shape) * 8
    if needed > file.limit:
        raise MemoryLimitError(f"{file.path}: HDU {hdu} needs {format_bytes(needed)}: give more with --memory.")
    with file.open() as hdulist, damage_reported(f"the data of HDU {hdu}"):
        values = np.asarray(hdulist[hdu.index].data, dtype=float)
    if values.ndim == 2:  # row-stacked spectra: (spectrum, band)
        values = values.T
    if values.shape[0] != n_bands:
        return None
    values = values.reshape(n_bands, -1)
    good = np.isfinite(values) & (values > 0)
    some = good.any(axis=1)
    if not some.any():
        return None
    medians = np.array([np.median(row[kept]) for row, kept in zip(values[some], good[some], strict=True)])
    bands = np.arange(n_bands)
    return np.interp(bands, bands[some], medians)


# ---------------------------------------------------------------- point spread


def _with_psf(cube: Cube, file: FITSFile) -> Cube:
    """The cube with the widths of its reconstructed PSF in griz, interpolated to its bands."""
    axis = cube.frame.spectral_axis
    headers = [hdu.header for hdu in file.hdus if hdu.name in ("PRIMARY", "FLUX")]
    widths: dict[float, float] = {}
    for key, wavelength in _GRIZ.items():
        value: Any = next((card(header, key) for header in headers if card(header, key) is not None), None)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            widths[wavelength] = float(value)
    if axis is None or not widths:
        return cube
    fwhm = u.Quantity(np.interp(axis.to_value(u.AA), list(widths), list(widths.values())), u.arcsec)
    psf = PSF(fwhm=fwhm, source="GFWHM, RFWHM, IFWHM, ZFWHM of the header")
    text = f"PSF: Gaussian, FWHM of {len(widths)} of the bands griz by the header, interpolated in wavelength and constant beyond"
    return add_decisions(replace(cube, psf=psf), [note(text)])
