"""A small blended scene of stars and galaxies in five bands, drawn with GalSim: what `make_sample_data.py` writes as ``sample_scene*``.

Every band has its own PSF, galaxies have bulges redder than their disks, and the noise is that of photons of sources and sky. Fluxes are
in nJy: an AB magnitude is 31.4 - 2.5 log10(flux).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Column, Table
from astropy.wcs import WCS
from numpy.typing import NDArray

__all__ = ["Scene", "image_hdus", "make_scene", "psf_hdus", "truth_hdus", "truth_table"]

Array = NDArray[np.float64]

SIZE, PIXEL = 64, 0.2  # pixels along y and x; arcsec
UNIT, ZERO_POINT = "nJy", 31.4
MOFFAT_BETA, PSF_RADIUS, PSF_SIZE = 3.2, 3.8, 41  # power, arcsec beyond which the PSF is zero, pixels of its stamp
ELECTRONS = 30.0  # per nJy, in all bands
SATURATION = {"r": 1500.0, "i": 2000.0}  # nJy per pixel; the other bands have shorter exposures
DEAD_PIXELS = (slice(30, 32), slice(4, 7))  # (y, x), in all bands
MASK_BITS = {"BAD": 0, "SAT": 1}


@dataclass(frozen=True)
class BandSettings:
    """A filter of LSST, the seeing in it, and the noise of its sky."""

    name: str
    fwhm: float  # arcsec
    ellipticity: float  # g of the shear that the PSF has
    angle: float  # degrees from x towards y
    sky_noise: float  # nJy per pixel, 1 sigma


BANDS = (
    BandSettings("g", 0.82, 0.020, 20.0, 2.5),
    BandSettings("r", 0.72, 0.030, 75.0, 3.0),
    BandSettings("i", 0.60, 0.025, 130.0, 4.0),
    BandSettings("z", 0.68, 0.015, 40.0, 7.0),
    BandSettings("y", 0.75, 0.035, 100.0, 14.0),
)


@dataclass(frozen=True)
class Profile:
    """A Sersic profile with one spectrum; without a radius it is a point, without a redshift its spectrum is a black body."""

    spectrum: str | float  # type of galaxy, or temperature in K
    fraction: float = 1.0  # of the flux in i
    sersic: float = 1.0
    radius: float = 0.0  # half-light radius, arcsec
    axis_ratio: float = 1.0
    angle: float = 0.0  # degrees from x towards y
    redshift: float = 0.0


@dataclass(frozen=True)
class Source:
    """A star, or a galaxy of one or two profiles with one center."""

    name: str
    kind: str
    y: float  # pixels, counted from 0
    x: float
    magnitude: float  # AB, in i
    profiles: tuple[Profile, ...] = field(default=())


# The field is crowded on purpose: sources 2 and 3 lie 0.5 arcsec apart, closer than the seeing in every band.
SOURCES = (
    Source("bright star, saturated in r and i", "point", 46.30, 17.60, 19.6, (Profile(5600.0),)),
    Source(
        "bulge and disk, z = 0.25",
        "two-component",
        27.45,
        37.85,
        20.6,
        (
            Profile("E", 0.45, 4.0, 0.35, 0.85, 30.0, 0.25),
            Profile("Scd", 0.55, 1.0, 1.00, 0.50, 35.0, 0.25),
        ),
    ),
    Source("compact elliptical, z = 0.45", "galaxy", 49.20, 41.70, 22.0, (Profile("E", 1.0, 2.5, 0.35, 0.75, 100.0, 0.45),)),
    Source("red star beside it", "point", 50.90, 43.60, 22.3, (Profile(3300.0),)),
    Source("blue disk, z = 0.60", "galaxy", 19.75, 27.30, 22.2, (Profile("Im", 1.0, 1.0, 0.55, 0.60, 140.0, 0.60),)),
    Source(
        "small bulge and disk, z = 0.40",
        "two-component",
        38.60,
        25.25,
        21.6,
        (
            Profile("E", 0.30, 4.0, 0.20, 0.90, 0.0, 0.40),
            Profile("Im", 0.70, 1.0, 0.70, 0.70, 80.0, 0.40),
        ),
    ),
    Source("faint disk, z = 0.80", "galaxy", 17.10, 49.40, 23.4, (Profile("Scd", 1.0, 1.0, 0.40, 0.55, 10.0, 0.80),)),
    Source("faint star", "point", 35.20, 48.15, 23.6, (Profile(4300.0),)),
)


@dataclass(frozen=True, eq=False)
class Scene:
    """The truth, and what is seen of it.

    Attributes
    ----------
    images : ndarray, shape (n, B, Ny, Nx)
        Noise-free image of each source as seen through the PSFs, in nJy.
    fluxes : ndarray, shape (n, B)
        Also of the light that falls beside the image.
    psfs : ndarray, shape (B, h, w)
        With the response of the pixel.
    data, variance : ndarray, shape (B, Ny, Nx)
    mask : ndarray of uint8, shape (B, Ny, Nx)
        Bits of `MASK_BITS`.
    """

    images: Array
    fluxes: Array
    psfs: Array
    data: Array
    variance: Array
    mask: NDArray[np.uint8]


def make_scene(seed: int) -> Scene:
    """The scene; the seed is that of the noise alone."""
    models = [_psf(band) for band in BANDS]
    images, fluxes = (np.stack(values) for values in zip(*(_draw(source, models) for source in SOURCES), strict=True))
    psfs = np.stack([model.drawImage(nx=PSF_SIZE, ny=PSF_SIZE, scale=PIXEL, dtype=np.float64).array for model in models])
    data, variance, mask = _observe(images.sum(axis=0), np.random.default_rng(seed))
    return Scene(images, fluxes, psfs / psfs.sum(axis=(1, 2), keepdims=True), data, variance, mask)


# ---------------------------------------------------------------- sources


def _psf(band: BandSettings) -> galsim.GSObject:
    """Moffat profile that ends within its stamp, so that the stamp holds all of its light."""
    profile = galsim.Moffat(beta=MOFFAT_BETA, fwhm=band.fwhm, trunc=PSF_RADIUS)
    return profile.shear(g=band.ellipticity, beta=band.angle * galsim.degrees)


def _draw(source: Source, psfs: list[galsim.GSObject]) -> tuple[Array, Array]:
    """Images (B, Ny, Nx) and fluxes (B,) of a source."""
    fluxes = np.stack([_band_fluxes(profile, source.magnitude) for profile in source.profiles])
    shapes = [_shape(profile) for profile in source.profiles]
    offset = (source.x - (SIZE - 1) / 2, source.y - (SIZE - 1) / 2)
    precise = galsim.GSParams(folding_threshold=1e-3, maxk_threshold=1e-4, kvalue_accuracy=1e-5)
    images = np.zeros((len(BANDS), SIZE, SIZE))
    for b, psf in enumerate(psfs):
        for flux, shape in zip(fluxes[:, b], shapes, strict=True):
            seen = (galsim.Convolve(shape, psf, gsparams=precise) if shape else psf.withGSParams(precise)) * flux
            images[b] += seen.drawImage(nx=SIZE, ny=SIZE, scale=PIXEL, offset=offset, dtype=np.float64).array
    return np.maximum(images, 0.0), fluxes.sum(axis=0)


def _shape(profile: Profile) -> galsim.GSObject | None:
    if profile.radius == 0:
        return None
    shape = galsim.Sersic(profile.sersic, half_light_radius=profile.radius)
    return shape.shear(q=profile.axis_ratio, beta=profile.angle * galsim.degrees)


def _band_fluxes(profile: Profile, magnitude: float) -> Array:
    """Flux in each band, shape (B,), of a profile in a source of that magnitude in i."""
    if isinstance(profile.spectrum, float):
        spectrum = galsim.SED(partial(_black_body, temperature=profile.spectrum), wave_type="nm", flux_type="fnu")
    else:
        path = Path(galsim.meta_data.share_dir) / "SEDs" / f"CWW_{profile.spectrum}_ext.sed"
        spectrum = galsim.SED(str(path), wave_type="Ang", flux_type="flambda").atRedshift(profile.redshift)
    colors = np.array([spectrum.calculateMagnitude(band) for band in _filters()])
    reference = colors[[band.name for band in BANDS].index("i")]
    return profile.fraction * 10 ** (-0.4 * (magnitude - ZERO_POINT + colors - reference))


@cache
def _filters() -> tuple[galsim.Bandpass, ...]:
    return tuple(galsim.Bandpass(f"LSST_{band.name}.dat", wave_type="nm").withZeropoint("AB") for band in BANDS)


def _black_body(wavelength: Array, temperature: float) -> Array:
    """Planck's law per frequency, in arbitrary units; wavelengths in nm."""
    return np.asarray(wavelength) ** -3.0 / np.expm1(1.438777e7 / (wavelength * temperature))  # h c / k in nm K


# ---------------------------------------------------------------- what is seen


def _observe(model: Array, rng: np.random.Generator) -> tuple[Array, Array, NDArray[np.uint8]]:
    """Data, variance and mask: signed noise, a star cut off at saturation, dead pixels without number."""
    sky = np.array([band.sky_noise**2 for band in BANDS])[:, None, None]
    variance = sky + model / ELECTRONS
    data = model + np.sqrt(variance) * rng.standard_normal(model.shape)
    mask = np.zeros(model.shape, dtype=np.uint8)
    for b, band in enumerate(BANDS):
        level = SATURATION.get(band.name, np.inf)
        mask[b][model[b] > level] |= 1 << MASK_BITS["SAT"]
        data[b] = np.minimum(data[b], level)
    where = (slice(None), *DEAD_PIXELS)
    mask[where] |= 1 << MASK_BITS["BAD"]
    data[where], variance[where] = np.nan, np.nan
    return data, variance, mask


# ---------------------------------------------------------------- files


def sky_header() -> fits.Header:
    """North up, east left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], ["deg", "deg"], [150.1, 2.2]
    wcs.wcs.crpix, wcs.wcs.cdelt = [(SIZE + 1) / 2] * 2, [-PIXEL / 3600, PIXEL / 3600]
    wcs.wcs.radesys = "ICRS"
    header = wcs.to_header()
    header.remove("MJDREF", ignore_missing=True)
    return header


def _primary(what: str, seed: int) -> fits.PrimaryHDU:
    header = fits.Header()
    header["ORIGIN"] = ("vermilion", "simulated: not an observation")
    header["CREATOR"] = "scripts/make_sample_data.py"
    header["OBJECT"] = what
    header["SEED"] = (seed, "of the noise")
    header["GALSIM"] = (galsim.__version__, "version that drew the sources")
    return fits.PrimaryHDU(header=header)


def image_hdus(scene: Scene, *, seed: int) -> list[fits.hdu.base.ExtensionHDU]:
    """PRIMARY without data; IMAGE, MASK and VARIANCE of each band, as in a calibrated exposure of HSC or LSST."""
    hdus = [_primary("vermilion sample scene", seed)]
    for b, band in enumerate(BANDS):
        planes = (
            ("IMAGE", scene.data[b].astype(np.float32), UNIT),
            ("MASK", scene.mask[b], ""),
            ("VARIANCE", scene.variance[b].astype(np.float32), f"{UNIT}2"),
        )
        for role, values, unit in planes:
            hdu = fits.ImageHDU(values, header=sky_header(), name=f"{role}_{band.name.upper()}")
            hdu.header["FILTER"] = (band.name, "LSST")
            if role == "MASK":
                hdu.header.update({f"MP_{name}": bit for name, bit in MASK_BITS.items()})
            else:
                hdu.header["BUNIT"] = unit
            if role == "IMAGE":
                hdu.header["MAGZERO"] = (ZERO_POINT, "AB magnitude of flux 1")
                hdu.header["SEEING"] = (band.fwhm, "[arcsec] FWHM of the PSF")
            hdus.append(hdu)
    return hdus


def psf_hdus(scene: Scene, *, seed: int) -> list[fits.hdu.base.ExtensionHDU]:
    """One image with three axes (band, y, x), in the primary HDU."""
    primary = _primary("vermilion sample scene, PSF", seed)
    primary.data = scene.psfs.astype(np.float32)
    primary.header["PIXELSCL"] = (PIXEL, "[arcsec] angle of a pixel")
    for b, band in enumerate(BANDS):
        primary.header[f"BAND{b}"] = band.name
    return [primary]


def truth_hdus(scene: Scene, *, seed: int) -> list[fits.hdu.base.ExtensionHDU]:
    """Noise-free image of every source through the PSFs, four axes (source, band, y, x)."""
    image = fits.ImageHDU(scene.images.astype(np.float32), header=sky_header(), name="SOURCES")
    image.header["BUNIT"] = UNIT
    return [_primary("vermilion sample scene, truth", seed), image]


def truth_table(scene: Scene) -> Table:
    """One row per source: what it is, where it is, and its flux in each band."""
    x, y = (np.array([getattr(source, axis) for source in SOURCES]) for axis in "xy")
    sky = WCS(sky_header()).pixel_to_world(x, y)
    place, total = "pixel, counted from 0 at the center of the first one", "total flux, also of what falls beside the image"
    columns = [
        Column(np.arange(len(SOURCES)), "id"),
        Column([source.kind for source in SOURCES], "kind"),
        Column(x, "x", unit="pix", description=place),
        Column(y, "y", unit="pix", description=place),
        Column(np.round(sky.ra.deg, 8), "ra", unit="deg"),
        Column(np.round(sky.dec.deg, 8), "dec", unit="deg"),
        *(Column(np.round(scene.fluxes[:, b], 3), f"flux_{band.name}", unit=UNIT, description=total) for b, band in enumerate(BANDS)),
        Column([source.name for source in SOURCES], "name"),
    ]
    return Table(columns, meta={"creator": "scripts/make_sample_data.py", "zero_point_ab": ZERO_POINT})
