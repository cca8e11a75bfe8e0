"""Profiles of stars and galaxies with known fluxes, for simulated images; needs GalSim.

Distributions were fixed before any method was run on the images. Galaxies are Hubble stamps, one color each, or a bulge and a disk of
different colors.

References
----------
Coleman, Wu & Weedman 1980, ApJS 43, 393 (the spectra of galaxies that come with GalSim).
Mandelbaum et al. 2012, MNRAS 420, 1518 (Hubble stamps as galaxies without a PSF).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label

from ..errors import MissingFileError, NoDataError

if TYPE_CHECKING:
    import galsim

__all__ = ["BANDS", "Profile", "bulge_and_disk", "hubble_galaxy", "read_stamps", "star"]

Array = NDArray[np.float64]

BANDS = ("g", "r", "i", "z", "y")
_WAVELENGTHS = np.array([0.4755, 0.6184, 0.7661, 0.8897, 0.9762])  # µm: effective, of Hyper Suprime-Cam
_HC_PER_K = 14388.0  # µm K: second radiation constant
_TEMPERATURE = (3200.0, 9000.0)  # K: of stars, log-uniform
_REDSHIFT = (0.1, 1.1)  # uniform
_OLD, _YOUNG = ("CWW_E_ext", "CWW_Sbc_ext"), ("CWW_Scd_ext", "CWW_Im_ext")
_DISK_RADIUS = (0.15, 0.9)  # arcsec: half-light radius, log-uniform
_BULGE_RADIUS = (0.3, 0.7)  # of that of the disk
_BULGE_SHARE = (0.1, 0.8)  # of the flux in r
_TRUNCATION = 6.0  # half-light radii at which a de Vaucouleurs bulge ends
_STAMP_SNR = 20.0  # least signal-to-noise ratio of a Hubble stamp
_STAMP_SMOOTHING, _STAMP_LEVEL, _STAMP_MARGIN = 2.0, 2.0, 4  # pixels, standard deviations, pixels: where a stamp is kept


@dataclass(frozen=True, eq=False)
class Profile:
    """What a source looks like before the PSF.

    Parameters
    ----------
    kind : str
        "point", "galaxy" (one color) or "two-component".
    components : tuple
        GalSim profiles of flux 1, in arcsec.
    spectra : ndarray, shape (B, C)
        Flux of each component in each band, up to a common factor.
    """

    kind: str
    components: tuple[galsim.GSObject, ...]
    spectra: Array

    def band(self, b: int) -> galsim.GSObject:
        """The source in one band."""
        import galsim

        return galsim.Add([component * float(flux) for component, flux in zip(self.components, self.spectra[b], strict=True)])


def star(rng: np.random.Generator) -> Profile:
    """A point with the colors of a black body."""
    import galsim

    temperature = np.exp(rng.uniform(*np.log(_TEMPERATURE)))
    per_frequency = _WAVELENGTHS**-3 / np.expm1(_HC_PER_K / (_WAVELENGTHS * temperature))
    return Profile("point", (galsim.DeltaFunction(flux=1.0),), (per_frequency / per_frequency[1])[:, None])


def bulge_and_disk(rng: np.random.Generator) -> Profile:
    """A red de Vaucouleurs bulge in a blue exponential disk, with one center."""
    import galsim

    redshift, share = rng.uniform(*_REDSHIFT), rng.uniform(*_BULGE_SHARE)
    radius = np.exp(rng.uniform(*np.log(_DISK_RADIUS)))
    angle = rng.uniform(0, np.pi) * galsim.radians
    disk = galsim.Exponential(half_light_radius=radius).shear(q=rng.uniform(0.3, 1), beta=angle)
    inner = radius * rng.uniform(*_BULGE_RADIUS)
    bulge = galsim.DeVaucouleurs(half_light_radius=inner, trunc=_TRUNCATION * inner).shear(q=rng.uniform(0.6, 1), beta=angle)
    spectra = np.stack([share * _colors(str(rng.choice(_OLD)), redshift), (1 - share) * _colors(str(rng.choice(_YOUNG)), redshift)], axis=1)
    return Profile("two-component", (bulge.withFlux(1.0), disk.withFlux(1.0)), spectra)


def hubble_galaxy(stamps: tuple[galsim.GSObject, ...], rng: np.random.Generator) -> Profile:
    """A galaxy from a Hubble stamp, turned and mirrored at random, of one color."""
    import galsim

    profile = stamps[rng.integers(len(stamps))].rotate(rng.uniform(0, 2 * np.pi) * galsim.radians)
    if rng.random() < 0.5:
        profile = profile.transform(-1, 0, 0, 1)
    return Profile("galaxy", (profile.withFlux(1.0),), _colors(str(rng.choice(_OLD + _YOUNG)), rng.uniform(*_REDSHIFT))[:, None])


@cache
def read_stamps(folder: Path) -> tuple[galsim.GSObject, ...]:
    """Galaxies of a folder of Hubble stamps, each without the PSF of Hubble, of flux 1 and centered on its light.

    Parameters
    ----------
    folder : Path
        Holds a catalog ``real_galaxy_catalog*.fits`` in the format of GalSim and the files it names.

    Returns
    -------
    tuple of galsim.GSObject
        In arcsec. Stamps of too little signal, and what belongs to no galaxy in them, are left out.

    Raises
    ------
    MissingFileError
        If there is no catalog.
    NoDataError
        If no stamp has enough signal.
    """
    catalogs = sorted(folder.glob("real_galaxy_catalog*.fits"))
    if not catalogs:
        raise MissingFileError(f"{folder} holds no file real_galaxy_catalog*.fits: expected a folder of stamps in the format of GalSim.")
    table = fits.getdata(catalogs[0])
    images, psfs = (fits.open(folder / str(table[column][0]).strip()) for column in ("GAL_FILENAME", "PSF_FILENAME"))
    with images, psfs:
        made = [
            _without_psf(images[row["GAL_HDU"]].data, psfs[row["PSF_HDU"]].data, float(row["PIXEL_SCALE"]), float(row["NOISE_VARIANCE"]))
            for row in table
        ]
    stamps = tuple(one for one in made if one is not None)
    if not stamps:
        raise NoDataError(f"{folder}: no stamp has a signal-to-noise ratio above {_STAMP_SNR:g}.")
    return stamps


def _without_psf(image: NDArray[Any], psf: NDArray[Any], scale: float, variance: float) -> galsim.GSObject | None:
    """One galaxy; None where the signal is too weak."""
    import galsim

    data, blur = (np.ascontiguousarray(x, dtype=np.float64) for x in (image, psf))
    inside = _galaxy_pixels(data, np.sqrt(variance))
    kept = np.where(inside, data, 0)
    flux = kept.sum()
    if flux < _STAMP_SNR * np.sqrt(variance * max(inside.sum(), 1)):
        return None
    seen = galsim.InterpolatedImage(galsim.Image(kept, scale=scale), flux=1.0)
    profile = galsim.Convolve(seen, galsim.Deconvolve(galsim.InterpolatedImage(galsim.Image(blur, scale=scale), flux=1.0)))
    y, x = np.indices(kept.shape) - (np.array(kept.shape)[:, None, None] - 1) / 2
    return profile.shift(-scale * float((x * kept).sum() / flux), -scale * float((y * kept).sum() / flux))


def _galaxy_pixels(data: Array, sigma: float) -> NDArray[np.bool_]:
    """Where the source at the center of a stamp is."""
    smooth = gaussian_filter(data, _STAMP_SMOOTHING)
    noise = sigma / (2 * np.sqrt(np.pi) * _STAMP_SMOOTHING)  # of white noise after smoothing
    regions, _ = label(smooth > _STAMP_LEVEL * noise)
    y, x = np.array(data.shape) // 2
    here = regions[y - 3 : y + 4, x - 3 : x + 4]
    numbers = here[here > 0]
    if not numbers.size:
        return np.zeros(data.shape, dtype=bool)
    return np.asarray(binary_dilation(regions == np.bincount(numbers).argmax(), iterations=_STAMP_MARGIN))


def _colors(name: str, redshift: float) -> Array:
    """Flux per band, that in r being 1."""
    sed, bands = _tables(name)
    magnitudes = np.array([sed.atRedshift(redshift).calculateMagnitude(band) for band in bands])
    return np.asarray(10 ** (-0.4 * (magnitudes - magnitudes[1])))


@cache
def _tables(name: str) -> tuple[galsim.SED, tuple[galsim.Bandpass, ...]]:
    import galsim

    bands = tuple(galsim.Bandpass(f"LSST_{band}.dat", "nm").withZeropoint("AB") for band in BANDS)
    return galsim.SED(f"{name}.sed", "Ang", "flambda"), bands
