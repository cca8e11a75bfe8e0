"""Blends of stars and galaxies in five bands, with what a survey tells of them and with the truth; needs GalSim.

All distributions were fixed before any method was run on the blends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .galaxies import BANDS, Profile, bulge_and_disk, hubble_galaxy, read_stamps, star

if TYPE_CHECKING:
    import galsim

__all__ = ["PIXEL_SCALE", "SimulatedBlend", "blend"]

Array = NDArray[np.float64]

PIXEL_SCALE = 0.168  # arcsec
_FWHM = np.array([0.77, 0.70, 0.58, 0.63, 0.65])  # arcsec: typical of Hyper Suprime-Cam in g r i z y
_FWHM_SCATTER = 0.08  # of the logarithm, blend to blend and band to band
_MOFFAT_BETA = (2.8, 4.5)  # uniform; half of the PSFs are Moffat, half Kolmogorov
_PSF_ELLIPTICITY = 0.02  # standard deviation of each component of the shear
_PSF_SIDE = 41
_DEPTH = np.array([26.5, 26.1, 25.9, 25.1, 24.4])  # magnitude of a point source at five standard deviations of the sky noise
_ZEROPOINT = 27.0  # magnitude of flux 1
_GAIN = 1000.0  # electrons per unit of flux
_MARGIN = 18  # pixels between the outermost source and the edge
_APART = (2.5, 12.0)  # pixels from a new source to one that is there, uniform
_LEAST_DISTANCE = 2.5  # pixels between any two sources that are in the catalog
_STARS = 0.3  # share
_FAINT_SNR = 8.0  # sources that are not in the catalog lie below


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedBlend:
    """Images of a blend, what is told about it, and the truth.

    Parameters
    ----------
    images : ndarray of float32, shape (B, Ny, Nx)
        Noisy; flux 1 is magnitude 27.
    weights : ndarray of float32, shape (B, Ny, Nx)
        Inverse variance of the sky and of the sources, exact.
    psfs, true_psfs : ndarray, shape (B, 41, 41)
        As told, and as they are; the pixel included, centered, sum 1.
    centers, true_centers : ndarray, shape (n, 2)
        Pixel (y, x) of every source, as told and as it is: for galaxies the centroid of all their light.
    kinds : tuple of str
        "point", "galaxy" (one color) or "two-component" (a bulge and a disk).
    true_images : ndarray of float32, shape (n, B, Ny, Nx)
        Each source without noise, as the telescope sees it.
    fluxes : ndarray, shape (n, B)
        Of the whole source; what falls outside the image counts.
    detected : ndarray of bool, shape (n,)
        Whether the source is in the catalog: told are the centers of these only.
    snr : ndarray, shape (n,)
        Signal-to-noise ratio of the flux of all bands that a matched filter would reach against the noise of the sky, were it alone.
    blendedness : ndarray, shape (n,)
        ``1 - (t·t) / (t·m)``, t the source and m the sum of all sources, each datum divided by the noise of the sky; 0: alone.
    seed : int
    """

    images: NDArray[np.float32]
    weights: NDArray[np.float32]
    psfs: Array
    true_psfs: Array
    centers: Array
    true_centers: Array
    kinds: tuple[str, ...]
    true_images: NDArray[np.float32]
    fluxes: Array
    detected: NDArray[np.bool_]
    snr: Array
    blendedness: Array
    seed: int
    bands: tuple[str, ...] = BANDS

    @property
    def catalog(self) -> Array:
        """Centers that are told, shape (number of detected sources, 2)."""
        return self.centers[self.detected]


def blend(
    seed: int,
    *,
    stamps: str | Path | None = None,
    n_sources: tuple[int, int] = (2, 10),
    snr: tuple[float, float] = (5.0, 100.0),
    psf_error: float = 0.01,
    center_error: float = 0.1,
    undetected: float = 0.1,
) -> SimulatedBlend:
    """A cluster of stars and galaxies as a ground-based survey sees it in g r i z y.

    Sources, positions, PSFs, what is told, and noise have random streams of their own: blends that differ in one of them agree in the
    others.

    Parameters
    ----------
    seed : int
        Decides everything, together with the options.
    stamps : path, optional
        Folder of Hubble stamps (`galaxies.read_stamps`): half of the galaxies come from there. None: all are a bulge and a disk.
    n_sources : (int, int)
        Least and largest number of sources, at least 2 of them in the catalog where there are 2.
    snr : (float, float)
        Range of the signal-to-noise ratios, log-uniform.
    psf_error : float
        Standard deviation of the relative error of the width of the PSFs that are told; their shears err by half of it.
    center_error : float
        Standard deviation of each coordinate of the centers that are told, in pixels.
    undetected : float
        Share of the sources that are faint (a signal-to-noise ratio below 8) and not in the catalog; two sources always are.

    Returns
    -------
    SimulatedBlend

    Raises
    ------
    ParameterError
        If an option is outside its range.
    MissingFileError
        If `stamps` is no such folder.

    Examples
    --------
    >>> made = blend(1000, n_sources=(3, 3))
    >>> made.true_images.shape[:2], made.images.shape[0]
    ((3, 5), 5)
    """
    _check(seed, n_sources, snr, psf_error, center_error, undetected)
    sources, places, blur, told, noise = (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(5))
    n = int(sources.integers(n_sources[0], n_sources[1] + 1))
    detected = np.arange(n) < 2
    detected |= sources.random(n) >= undetected * n / max(n - 2, 1)
    snrs = np.exp(sources.uniform(math.log(snr[0]), math.log(snr[1]), n))
    snrs[~detected] = np.exp(sources.uniform(math.log(snr[0]), math.log(max(_FAINT_SNR, snr[0])), int((~detected).sum())))
    galaxies = None if stamps is None else read_stamps(Path(stamps))
    profiles = [_draw_profile(galaxies, sources) for _ in range(n)]
    centers, shape = _place(detected, places)
    true_blur, told_blur = _psfs(blur, told, psf_error)
    true_psfs, psfs = (np.stack([_stamp(one) for one in some]) for some in (true_blur, told_blur))
    sigma = _sky_noise(true_psfs)
    clean, fluxes = _render(profiles, centers, true_blur, shape, snrs, sigma)
    whole = clean.sum(axis=0)
    variance = sigma[:, None, None] ** 2 + np.maximum(whole, 0) / _GAIN
    scaled = clean / sigma[:, None, None]
    own, all_light = (scaled**2).sum(axis=(1, 2, 3)), (scaled * scaled.sum(axis=0)).sum(axis=(1, 2, 3))
    return SimulatedBlend(
        images=(whole + np.sqrt(variance) * noise.standard_normal(whole.shape)).astype(np.float32),
        weights=(1 / variance).astype(np.float32),
        psfs=psfs,
        true_psfs=true_psfs,
        centers=centers + center_error * told.standard_normal(centers.shape),
        true_centers=centers,
        kinds=tuple(profile.kind for profile in profiles),
        true_images=clean.astype(np.float32),
        fluxes=fluxes,
        detected=detected,
        snr=snrs,
        blendedness=1 - own / all_light,
        seed=seed,
    )


def _check(
    seed: int, n_sources: tuple[int, int], snr: tuple[float, float], psf_error: float, center_error: float, undetected: float
) -> None:
    if seed < 0:
        raise ParameterError(f"seed is {seed}: expected an integer >= 0.")
    if not 1 <= n_sources[0] <= n_sources[1]:
        raise ParameterError(f"n_sources is {n_sources}: expected (least, largest) with 1 <= least <= largest.")
    if not 0 < snr[0] <= snr[1] < math.inf:
        raise ParameterError(f"snr is {snr}: expected (least, largest), both positive.")
    if not 0 <= psf_error <= 0.2:
        raise ParameterError(f"psf_error is {psf_error}: expected a relative error from 0 to 0.2.")
    if not 0 <= center_error < math.inf:
        raise ParameterError(f"center_error is {center_error}: expected a number of pixels >= 0.")
    if not 0 <= undetected <= 1:
        raise ParameterError(f"undetected is {undetected}: expected a share from 0 to 1.")


def _draw_profile(galaxies: tuple[galsim.GSObject, ...] | None, rng: np.random.Generator) -> Profile:
    if rng.random() < _STARS:
        return star(rng)
    if galaxies is not None and rng.random() < 0.5:
        return hubble_galaxy(galaxies, rng)
    return bulge_and_disk(rng)


def _place(detected: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Array, tuple[int, int]]:
    """Centers (n, 2) of a cluster that grows source by source, and the shape of the image around it."""
    centers = np.zeros((1, 2))
    for k in range(1, len(detected)):
        while True:
            distance, angle = rng.uniform(*_APART), rng.uniform(0, 2 * math.pi)
            new = centers[rng.integers(k)] + distance * np.array([math.sin(angle), math.cos(angle)])
            catalogued = centers[detected[:k]]
            if not detected[k] or (np.hypot(*(catalogued - new).T) >= _LEAST_DISTANCE).all():
                break
        centers = np.vstack([centers, new])
    centers += _MARGIN - centers.min(axis=0) + rng.uniform(0, 1, 2)
    ny, nx = (math.ceil(largest) + _MARGIN + 1 for largest in centers.max(axis=0))
    return centers, (ny, nx)


def _psfs(rng: np.random.Generator, told: np.random.Generator, error: float) -> tuple[list[galsim.GSObject], list[galsim.GSObject]]:
    """The PSF of each band before the pixel, as it is and as it is told."""
    import galsim

    moffat, beta = rng.random() < 0.5, rng.uniform(*_MOFFAT_BETA)
    common = _FWHM_SCATTER * rng.standard_normal()
    true, believed = [], []
    for typical in _FWHM:
        fwhm = typical * math.exp(common + _FWHM_SCATTER * rng.standard_normal())
        profile = galsim.Moffat(beta=beta, fwhm=fwhm) if moffat else galsim.Kolmogorov(fwhm=fwhm)
        shear = _PSF_ELLIPTICITY * rng.standard_normal(2)
        width, off = 1 + error * told.standard_normal(), shear + error / 2 * told.standard_normal(2)
        true.append(profile.shear(g1=shear[0], g2=shear[1]))
        believed.append(profile.dilate(width).shear(g1=off[0], g2=off[1]))
    return true, believed


def _stamp(psf: galsim.GSObject) -> Array:
    stamp = np.asarray(psf.drawImage(nx=_PSF_SIDE, ny=_PSF_SIDE, scale=PIXEL_SCALE, dtype=np.float64).array)
    return np.asarray(stamp / stamp.sum())


def _sky_noise(psfs: Array) -> Array:
    """Standard deviation of the sky per pixel and band, such that the depths hold."""
    faintest = 10 ** (-0.4 * (_DEPTH - _ZEROPOINT))
    return np.asarray(faintest / 5 * np.sqrt((psfs**2).sum(axis=(1, 2))))


def _render(
    profiles: list[Profile], centers: Array, psfs: list[galsim.GSObject], shape: tuple[int, int], snrs: Array, sigma: Array
) -> tuple[Array, Array]:
    """Images (n, B, Ny, Nx) and fluxes (n, B) of sources of the given signal-to-noise ratios."""
    import galsim

    images = np.empty((len(profiles), len(psfs), *shape))
    fluxes = np.stack([profile.spectra.sum(axis=1) for profile in profiles])
    for k, (profile, center) in enumerate(zip(profiles, centers, strict=True)):
        y, x = center - (np.array(shape) - 1) / 2
        for b, psf in enumerate(psfs):
            seen = galsim.Convolve(profile.band(b), psf)
            drawn = seen.drawImage(nx=shape[1], ny=shape[0], scale=PIXEL_SCALE, offset=(x, y), dtype=np.float64)
            images[k, b] = drawn.array
        factor = snrs[k] / np.sqrt(((images[k] / sigma[:, None, None]) ** 2).sum())
        images[k] *= factor
        fluxes[k] *= factor
    return images, fluxes
