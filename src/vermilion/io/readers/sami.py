"""SAMI cubes: flux in the primary HDU, VARIANCE, WEIGHT, COVAR; the PSF in PSFFWHM, PSFALPHA and PSFBETA.

The extensions have neither unit nor WCS. WEIGHT is the part of the exposure that a spaxel got; flux and variance are corrected for it
already. COVAR holds the covariance of each spaxel with its 5 x 5 neighbors (Sharp et al. 2015, MNRAS 446, 1551): it is not applied,
and sums over spaxels have larger errors than VARIANCE says. Wavelengths are in air (2dfdr), though CTYPE3 does not say it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from astropy import units as u
from astropy.io import fits

from ...datamodels import PSF, Cube
from ..fits.assemble import assemble
from ..fits.hdus import Profile
from ..fits.preflight import FITSFile, card
from ..options import ReadOptions
from ..record import add_decisions, note

__all__ = ["identify", "load", "name"]

name = "sami"
PROFILE = Profile(
    instrument="SAMI",
    data=("PRIMARY",),
    errors={"VARIANCE": "variance"},
    companions={
        "WEIGHT": "part of the exposure that each spaxel got; flux and variance are corrected for it",
        "COVAR": "covariance with neighboring spaxels: not applied, errors of sums are larger than the variances say",
        "DUST": "correction for Galactic extinction: not applied",
        "BIN_MASK": "numbers of the spatial bins: spaxels of one bin share one spectrum",
    },
    wave_unit="Angstrom",
    medium="air",
)


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether a cube in the primary HDU has VARIANCE beside it, and the header or COVAR says SAMI."""
    names = {str(card(header, "EXTNAME", "")).strip().upper() for header in headers[1:]}
    said = "SAMI" in str(card(headers[0], "INSTRUME", "")).upper()
    return card(headers[0], "NAXIS") == 3 and "VARIANCE" in names and (said or {"WEIGHT", "COVAR"} <= names)


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a SAMI file."""
    cube = assemble(file, options, reader=name, profile=PROFILE)
    fwhm, alpha, beta = (_positive(file.hdus[0].header, key) for key in ("PSFFWHM", "PSFALPHA", "PSFBETA"))
    if beta is not None and beta <= 1:
        beta = None  # such a profile has no finite flux
    said = "PSFFWHM"
    if fwhm is None and alpha is not None and beta is not None:
        fwhm, said = 2 * alpha * math.sqrt(2 ** (1 / beta) - 1), "PSFALPHA"
    if fwhm is None:
        return cube
    shape = cube.frame.n_bands
    psf = PSF(
        fwhm=u.Quantity(np.full(shape, fwhm), u.arcsec),
        beta=None if beta is None else np.full(shape, beta),
        source=f"{said} of the primary header",
    )
    kind = "Gaussian" if beta is None else f"Moffat with beta = {beta:.3g}"
    return add_decisions(replace(cube, psf=psf), [note(f"PSF: {said}, FWHM {fwhm:.3g} arcsec, {kind}, the same in all bands")])


def _positive(header: fits.Header, key: str) -> float | None:
    value = card(header, key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if good else None
