"""Make the sample data with known truth: a cube of three galaxies and a ring of ionized gas, and a blended scene in five bands.

    python scripts/make_sample_data.py [--seed N] [--output DIR] [--snr 300] [--only {cube,scene}]

Writes ``sample_cube.fits`` (MUSE layout) and ``sample_truth.fits`` (the layout of ``components.fits``), then the files of the scene in
`sample_scene`. The same seed gives the same bytes. Needs GalSim (``pip install 'vermilion[sim]'``), whose own galaxy spectra are used.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.units import Unit
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.special import erf

try:
    import galsim
except ImportError:
    sys.exit("make_sample_data: GalSim is not installed, and the galaxies are made with it. Try: pip install 'vermilion[sim]'")

import sample_scene

Array = NDArray[np.float64]

N_BANDS, N_SPAXELS, SPAXEL = 250, 40, 0.2  # arcsec
FIRST_WAVELENGTH, BAND_WIDTH = 4750.0, 17.5  # Å in air: 14 MUSE channels of 1.25 Å
UNIT = "10**(-20)*erg/s/cm**2/Angstrom"  # as MUSE spells it
STANDARD_UNIT = Unit("1e-20 erg s-1 cm-2 Angstrom-1")  # the same, as the FITS standard does
DEAD_BAND = 187
DEAD_SPAXELS = ((0, 0), (0, 39), (3, 31), (21, 25), (38, 4), (39, 39))  # (y, x)
SKY = 0.005  # continuum of the sky at 7000 Å, relative to the brightest voxel of the objects
AIRGLOW = ((5577, 20), (5890, 3), (6300, 8), (7750, 4), (8344, 7), (8827, 9), (8919, 8))  # Å, strength relative to the continuum
SEEING, MOFFAT_BETA = 0.65, 2.8  # FWHM in arcsec; one PSF for all bands, so that each component stays spectrum × map


@dataclass(frozen=True)
class Galaxy:
    """A galaxy with one spectrum: an observed SED, moved to a redshift, and a Sersic profile."""

    sed: str
    redshift: float
    sersic: float
    half_light_radius: float  # arcsec
    position: tuple[float, float]  # (y, x) in spaxels from the center of the field
    axis_ratio: float
    angle: float  # degrees
    peak: float  # brightest voxel, in units of UNIT

    @property
    def name(self) -> str:
        """Type and redshift."""
        return f"{self.sed}, z = {self.redshift:.2f}"


@dataclass(frozen=True)
class Ring:
    """An expanding shell of ionized gas seen as a knotty ring, brightest in its lines."""

    redshift: float
    radius: float  # arcsec
    position: tuple[float, float]
    axis_ratio: float
    angle: float
    n_knots: int
    knot_fwhm: float  # arcsec
    peak: float

    @property
    def name(self) -> str:
        """What it is, and its redshift."""
        return f"ring, z = {self.redshift:.2f}"


# Redshifts and sizes leave every pair of spectra 0.4 rad apart and light in nearly all spaxels: in dark ones the noise would decide
# what counts as an extreme pixel, and how far non-negative factors may drift apart without being seen.
GALAXIES = (
    Galaxy("E", 0.80, 4.0, 0.45, (-8.0, -9.0), 0.80, 30.0, 1000.0),
    Galaxy("Scd", 0.65, 1.0, 0.55, (9.0, -9.0), 0.60, 110.0, 900.0),
    Galaxy("Im", 0.10, 1.0, 0.50, (-7.0, 9.0), 0.75, 70.0, 900.0),
)
RING = Ring(0.10, 1.50, (6.5, 8.0), 0.85, 20.0, 24, 0.45, 900.0)

# Rest wavelength in air (Å) and strength relative to H-beta: an H II region of intermediate excitation, case B for the Balmer lines.
LINES = (
    (4340.46, 0.47),
    (4861.33, 1.00),
    (4958.91, 0.90),
    (5006.84, 2.70),
    (5875.62, 0.12),
    (6300.30, 0.06),
    (6548.05, 0.20),
    (6562.80, 2.86),
    (6583.45, 0.60),
    (6716.44, 0.40),
    (6730.82, 0.30),
    (7135.79, 0.12),
)
LINE_SIGMA = 100.0 / 299792.458  # 100 km/s, gas and instrument together
CONTINUUM = 2e-4  # nebular continuum per Å relative to H-beta


def wavelengths() -> Array:
    """Centers of the bands in air, shape (B,), in Å."""
    return FIRST_WAVELENGTH + BAND_WIDTH * np.arange(N_BANDS)


def galaxy_spectrum(galaxy: Galaxy) -> Array:
    """Flux density per wavelength, averaged over each band, shape (B,), summing to 1."""
    folder = Path(galsim.meta_data.share_dir) / "SEDs"
    sed = galsim.SED(str(folder / f"CWW_{galaxy.sed}_ext.sed"), wave_type="Ang", flux_type="flambda").atRedshift(galaxy.redshift)
    inside = (np.arange(8) + 0.5) / 8 - 0.5
    wavelength = (wavelengths()[:, None] + BAND_WIDTH * inside) / 10  # nm
    flux = (sed(wavelength) / wavelength).mean(axis=1)  # GalSim counts photons
    return flux / flux.sum()


def ring_spectrum(ring: Ring) -> Array:
    """Lines integrated over each band on a weak, slightly blue continuum, shape (B,), summing to 1."""
    edges = np.append(wavelengths(), wavelengths()[-1] + BAND_WIDTH) - BAND_WIDTH / 2
    flux = CONTINUUM * BAND_WIDTH * (wavelengths() / 6500.0) ** -0.5
    for rest, strength in LINES:
        center = rest * (1 + ring.redshift)
        flux = flux + strength * np.diff(erf((edges - center) / (np.sqrt(2) * LINE_SIGMA * center))) / 2
    return flux / flux.sum()


def draw(profile: galsim.GSObject, position: tuple[float, float]) -> Array:
    """Image of `profile` as seen through the PSF, shape (Ny, Nx), summing to about 1."""
    # Tight transform settings: the default ones leave faint negative ripples around the galaxies
    precise = galsim.GSParams(folding_threshold=1e-3, maxk_threshold=1e-4, kvalue_accuracy=1e-6)
    seen = galsim.Convolve(profile, galsim.Moffat(beta=MOFFAT_BETA, fwhm=SEEING), gsparams=precise)
    y, x = position
    image = seen.drawImage(nx=N_SPAXELS, ny=N_SPAXELS, scale=SPAXEL, offset=(x, y), dtype=np.float64)
    return np.maximum(image.array, 0.0)


def galaxy_map(galaxy: Galaxy) -> Array:
    """Image of the galaxy, shape (Ny, Nx)."""
    profile = galsim.Sersic(galaxy.sersic, half_light_radius=galaxy.half_light_radius)
    return draw(profile.shear(q=galaxy.axis_ratio, beta=galaxy.angle * galsim.degrees), galaxy.position)


def ring_map(ring: Ring) -> Array:
    """Image of the ring: knots of unequal brightness on an inclined circle, shape (Ny, Nx)."""
    angle = 2 * np.pi * np.arange(ring.n_knots) / ring.n_knots
    brightness = 1 + 0.35 * np.cos(angle - 0.6) + 0.2 * np.cos(3 * angle)
    knots = [
        galsim.Gaussian(fwhm=ring.knot_fwhm, flux=b).shift(ring.radius * np.cos(a), ring.radius * np.sin(a))
        for a, b in zip(angle, brightness / brightness.sum(), strict=True)
    ]
    return draw(galsim.Sum(knots).shear(q=ring.axis_ratio, beta=ring.angle * galsim.degrees), ring.position)


def make_truth() -> tuple[tuple[str, ...], Array, Array]:
    """Names, spectra (B, K) whose columns sum to 1, and maps (K, Ny, Nx) that carry the flux."""
    components = (*GALAXIES, RING)
    spectra = np.stack([*(galaxy_spectrum(g) for g in GALAXIES), ring_spectrum(RING)], axis=1)
    maps = np.stack([*(galaxy_map(g) for g in GALAXIES), ring_map(RING)])
    for k, component in enumerate(components):
        maps[k] *= component.peak / (maps[k].max() * spectra[:, k].max())
    return tuple(c.name for c in components), spectra, maps


def noise_variance(model: Array, snr: float) -> Array:
    """Variance (B, Ny, Nx) of photon noise from sources and sky, scaled so that the best voxel of `model` has signal-to-noise `snr`."""
    wavelength = wavelengths()[:, None, None]
    sky = 1 + 0.3 * (wavelength - 7000) / 2000
    for center, strength in AIRGLOW:
        sky = sky + strength * np.exp(-0.5 * ((wavelength - center) / (1.5 * BAND_WIDTH)) ** 2)
    throughput = np.exp(-0.5 * ((wavelength - 6900) / 1900) ** 2)
    variance = (model + SKY * model.max() * sky) / throughput
    return variance * ((model / np.sqrt(variance)).max() / snr) ** 2


def observe(spectra: Array, maps: Array, *, seed: int, snr: float) -> tuple[Array, Array]:
    """Data and variance (B, Ny, Nx): signed Gaussian noise, NaN in the dead band and the dead spaxels."""
    model = np.einsum("bk,kyx->byx", spectra, maps)
    variance = noise_variance(model, snr)
    data = model + np.sqrt(variance) * np.random.default_rng(seed).standard_normal(model.shape)
    absent = np.zeros(model.shape, dtype=bool)
    absent[DEAD_BAND] = True
    for y, x in DEAD_SPAXELS:
        absent[:, y, x] = True
    return np.where(absent, np.nan, data), np.where(absent, np.nan, variance)


def sky_header() -> fits.Header:
    """Celestial and spectral axes as MUSE writes them: a CD matrix for all three."""
    header = fits.Header()
    axes = (
        ("RA---TAN", "deg", 150.0, (N_SPAXELS + 1) / 2, -SPAXEL / 3600),
        ("DEC--TAN", "deg", 2.2, (N_SPAXELS + 1) / 2, SPAXEL / 3600),
        ("AWAV", "Angstrom", FIRST_WAVELENGTH, 1.0, BAND_WIDTH),
    )
    for i, (kind, unit, value, pixel, step) in enumerate(axes, start=1):
        header[f"CTYPE{i}"], header[f"CUNIT{i}"], header[f"CRVAL{i}"], header[f"CRPIX{i}"] = kind, unit, value, pixel
        for j in range(1, 4):
            header[f"CD{i}_{j}"] = step if i == j else 0.0
    header["RADESYS"] = "ICRS"
    header["EQUINOX"] = 2000.0
    return header


def primary_header(what: str, *, seed: int, snr: float) -> fits.Header:
    """Who made the file, and with what."""
    header = fits.Header()
    header["ORIGIN"] = ("vermilion", "simulated: not an observation")
    header["CREATOR"] = "scripts/make_sample_data.py"
    header["OBJECT"] = what
    header["SEED"] = (seed, "of the noise")
    header["PEAKSNR"] = (snr, "signal-to-noise of the best voxel")
    header["GALSIM"] = (galsim.__version__, "version that drew the components")
    return header


def cube_hdus(data: Array, variance: Array, *, seed: int, snr: float) -> list[fits.hdu.base.ExtensionHDU]:
    """PRIMARY without data, DATA and STAT (variance), as in a MUSE cube."""
    primary = fits.PrimaryHDU(header=primary_header("vermilion sample", seed=seed, snr=snr))
    primary.header["TELESCOP"], primary.header["INSTRUME"] = "ESO-VLT-U4", ("MUSE", "whose layout this is")
    first, last = wavelengths()[[0, -1]]
    psf = {"FSFMODE": "MOFFAT1", "FSFLB1": first, "FSFLB2": last, "NFIELDS": 1, "FSF00FNC": 1, "FSF00F00": SEEING}
    primary.header.update(psf | {"FSF00BNC": 1, "FSF00B00": MOFFAT_BETA})
    hdus = [primary]
    meanings = (
        ("DATA", data, UNIT, {"HDUCLAS2": "DATA", "ERRDATA": "STAT"}),
        ("STAT", variance, f"({UNIT})**2", {"HDUCLAS2": "ERROR", "HDUCLAS3": "MSE", "SCIDATA": "DATA"}),
    )
    for name, values, unit, role in meanings:
        hdu = fits.ImageHDU(values.astype(np.float32), header=sky_header(), name=name)
        hdu.header.update({"HDUCLASS": "ESO", "HDUDOC": "DICD", "HDUCLAS1": "IMAGE"} | role)
        hdu.header["BUNIT"] = unit
        hdus.append(hdu)
    return hdus


def truth_hdus(names: tuple[str, ...], spectra: Array, maps: Array, *, seed: int, snr: float) -> list[fits.hdu.base.ExtensionHDU]:
    """PRIMARY, SPECTRA and MAPS, laid out like the ``components.fits`` that a separation writes."""
    primary = fits.PrimaryHDU(header=primary_header("vermilion sample, truth", seed=seed, snr=snr))
    primary.header["NCOMP"] = (len(names), "number of components")
    for k, name in enumerate(names):
        primary.header[f"NAME{k}"] = (name, f"component {k}")
    fluxes = spectra * maps.sum(axis=(1, 2))
    columns = [fits.Column("wavelength", "D", unit="Angstrom", array=wavelengths())]
    for k in range(len(names)):
        columns.append(fits.Column(f"shape_{k}", "D", array=spectra[:, k]))
        columns.append(fits.Column(f"flux_{k}", "D", unit=(STANDARD_UNIT * Unit("pix")).to_string("fits"), array=fluxes[:, k]))
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRA")
    table.header["WAVETYPE"] = ("AWAV", "wavelengths in air")
    image = fits.ImageHDU(maps.astype(np.float32), header=WCS(sky_header()).celestial.to_header(), name="MAPS")
    image.header.remove("MJDREF", ignore_missing=True)
    image.header["BUNIT"] = (STANDARD_UNIT.to_string("fits"), "unit of the data")
    image.header.add_comment("noise-free, as seen through the PSF; fluxes summed over the bands")
    return [primary, table, image]


def write(hdus: list[fits.hdu.base.ExtensionHDU], path: Path) -> None:
    """Write `hdus` with checksums; astropy's would carry the time of writing, and the same seed gives the same bytes."""
    file = fits.HDUList(hdus)
    file.update_extend()
    for hdu in file:
        hdu.add_checksum(when="at creation")
    file.writeto(path, overwrite=True)


def write_cube(folder: Path, *, seed: int, snr: float) -> tuple[Path, ...]:
    """The cube and its truth."""
    names, spectra, maps = make_truth()
    data, variance = observe(spectra, maps, seed=seed, snr=snr)
    paths = folder / "sample_cube.fits", folder / "sample_truth.fits"
    write(cube_hdus(data, variance, seed=seed, snr=snr), paths[0])
    write(truth_hdus(names, spectra, maps, seed=seed, snr=snr), paths[1])
    return paths


def write_scene(folder: Path, *, seed: int) -> tuple[Path, ...]:
    """The blended scene, its PSFs, the true images of its sources and the table of them."""
    scene = sample_scene.make_scene(seed)
    paths = tuple(folder / f"sample_scene{part}" for part in (".fits", "_psf.fits", "_truth.fits", "_truth.ecsv"))
    for hdus, path in zip((sample_scene.image_hdus, sample_scene.psf_hdus, sample_scene.truth_hdus), paths, strict=False):
        write(hdus(scene, seed=seed), path)
    sample_scene.truth_table(scene).write(paths[-1], overwrite=True)
    return paths


def main(arguments: list[str] | None = None) -> None:
    """Write the files and say where they are."""
    parser = argparse.ArgumentParser(description="Make the sample cube, the sample scene and their truth.")
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise (default: %(default)s)")
    parser.add_argument("--snr", type=float, default=300.0, help="signal-to-noise of the best voxel of the cube (default: %(default)g)")
    parser.add_argument("--only", choices=("cube", "scene"), help="make these files alone")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "data", help="folder (default: data)")
    options = parser.parse_args(arguments)
    if options.snr <= 0 or options.seed < 0:
        parser.error(f"--snr {options.snr:g} --seed {options.seed}: expected a positive ratio and a seed of 0 or more")
    options.output.mkdir(parents=True, exist_ok=True)
    paths: tuple[Path, ...] = ()
    if options.only != "scene":
        paths += write_cube(options.output, seed=options.seed, snr=options.snr)
    if options.only != "cube":
        paths += write_scene(options.output, seed=options.seed)
    print(*paths, sep="\n")


if __name__ == "__main__":
    main()
