"""Reflectance spectra made of what shapes real ones: a continuum, absorption bands, liquid water, chlorophyll.

The logarithm of a reflectance is a smooth continuum minus Gaussians in wavelength, as in the modified Gaussian model of Sunshine et al. The
kinds and the distributions of their parameters were fixed before any method was run on the scenes; they imitate no library.

References
----------
Sunshine, Pieters & Pratt 1990, Journal of Geophysical Research 95, 6955 (absorption bands as Gaussians of the logarithm).
Clark 1999, "Spectroscopy of rocks and minerals", Manual of Remote Sensing vol. 3, ch. 1 (where the bands of water and hydroxyl lie).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError

__all__ = ["KINDS", "WAVELENGTH_RANGE", "distinct_spectra", "random_spectrum"]

Array = NDArray[np.float64]

WAVELENGTH_RANGE = (0.4, 2.5)  # µm, visible to short-wave infrared
KINDS = ("mineral", "vegetation", "water", "pavement")
_SHARES = (0.5, 0.2, 0.1, 0.2)
# center and width (standard deviation) in µm
_LIQUID_WATER = ((0.97, 0.03), (1.19, 0.04), (1.45, 0.06), (1.94, 0.07))
_LIQUID_WATER_DEPTHS = np.array([0.1, 0.15, 0.7, 1.0])  # relative to the strongest
_CHLOROPHYLL = ((0.45, 0.05), (0.67, 0.03))
_TRIES = 200  # draws before the least angle is relaxed
_RELAXATION = 0.9


def random_spectrum(wavelength: Array, rng: np.random.Generator, *, kind: str | None = None) -> Array:
    """One reflectance between 0 and 1.

    Parameters
    ----------
    wavelength : ndarray, shape (B,)
        In µm, within `WAVELENGTH_RANGE`.
    rng : numpy.random.Generator
    kind : str, optional
        One of `KINDS`; None: half of them minerals, a fifth vegetation, a fifth pavement, a tenth water.

    Returns
    -------
    ndarray, shape (B,)
    """
    kind = str(rng.choice(KINDS, p=_SHARES)) if kind is None else kind
    if kind not in KINDS:
        raise ParameterError(f"kind is {kind!r}: expected one of {', '.join(KINDS)}.")
    makers = {"mineral": _mineral, "vegetation": _vegetation, "water": _water, "pavement": _pavement}
    return np.clip(makers[kind](wavelength, rng), 1e-3, 1.0)


def distinct_spectra(wavelength: Array, n_spectra: int, rng: np.random.Generator, *, least_angle: float) -> tuple[Array, float]:
    """Spectra of which no two lie closer than an angle.

    A spectrum too close to an earlier one is drawn again; where 200 draws do not suffice the bound is lowered by a tenth.

    Parameters
    ----------
    wavelength : ndarray, shape (B,)
        In µm.
    n_spectra : int
    rng : numpy.random.Generator
    least_angle : float
        In rad.

    Returns
    -------
    spectra : ndarray, shape (B, n_spectra)
    least_angle : float
        The bound that holds, in rad: the given one unless it had to be lowered.
    """
    columns: list[Array] = []
    tries = 0
    while len(columns) < n_spectra:
        spectrum = random_spectrum(wavelength, rng)
        tries += 1
        if all(_angle(spectrum, other) >= least_angle for other in columns):
            columns.append(spectrum)
            tries = 0
        elif tries == _TRIES:
            least_angle, tries = _RELAXATION * least_angle, 0
    return np.stack(columns, axis=1), least_angle


def _mineral(wavelength: Array, rng: np.random.Generator) -> Array:
    """Rising towards the red, with two to six bands anywhere and the water and hydroxyl bands at 1.4 and 1.9 µm."""
    level, dip, scale = rng.uniform(0.2, 0.7), rng.uniform(0.0, 0.8), rng.uniform(0.1, 0.6)
    tilt = rng.uniform(-0.15, 0.1)
    continuum = level * (1 - dip * np.exp(-(wavelength - 0.4) / scale)) * np.exp(tilt * (wavelength - 1.4))
    depth = _random_bands(wavelength, rng, number=(2, 6), deepest=0.9)
    wet = rng.uniform(0.0, 0.5)
    for center, width in ((1.41, 0.02), (1.91, 0.03)):
        depth = depth + wet * _gaussian(wavelength, center, width)
    return continuum * np.exp(-depth)


def _vegetation(wavelength: Array, rng: np.random.Generator) -> Array:
    """Chlorophyll bands below a red edge at 0.70 to 0.73 µm, liquid water above."""
    plateau, edge, steepness = rng.uniform(0.3, 0.6), rng.uniform(0.70, 0.73), rng.uniform(0.01, 0.02)
    visible = rng.uniform(0.08, 0.25)
    continuum = plateau * (visible + (1 - visible) / (1 + np.exp(-(wavelength - edge) / steepness)))
    decline = np.exp(-rng.uniform(0.1, 0.5) * np.maximum(wavelength - 1.3, 0))
    pigment = rng.uniform(0.3, 1.0) * (_gaussian(wavelength, *_CHLOROPHYLL[0]) + _gaussian(wavelength, *_CHLOROPHYLL[1]))
    return continuum * decline * np.exp(-pigment - rng.uniform(0.5, 2.0) * _liquid_water(wavelength))


def _water(wavelength: Array, rng: np.random.Generator) -> Array:
    """Dark, with a bump in the green, black in the infrared."""
    level, decay = rng.uniform(0.02, 0.12), rng.uniform(0.1, 0.3)
    bump = rng.uniform(0.0, 1.0) * _gaussian(wavelength, rng.uniform(0.5, 0.6), rng.uniform(0.03, 0.08))
    return level * np.exp(-(wavelength - 0.4) / decay) * (1 + bump) + rng.uniform(0.002, 0.01)


def _pavement(wavelength: Array, rng: np.random.Generator) -> Array:
    """Flat, tilted, with up to three weak bands."""
    level, tilt = rng.uniform(0.1, 0.5), rng.uniform(-0.3, 0.4)
    blue = rng.uniform(0.0, 0.3) * np.exp(-(wavelength - 0.4) / 0.15)
    return level * np.exp(tilt * (wavelength - 1.4) - blue - _random_bands(wavelength, rng, number=(0, 3), deepest=0.25))


def _random_bands(wavelength: Array, rng: np.random.Generator, *, number: tuple[int, int], deepest: float) -> Array:
    """Optical depth of bands at random places; widths are log-uniform from 0.015 to 0.2 µm."""
    depth = np.zeros_like(wavelength)
    for _ in range(rng.integers(number[0], number[1] + 1)):
        center, width = rng.uniform(0.45, 2.45), np.exp(rng.uniform(np.log(0.015), np.log(0.2)))
        depth += rng.uniform(0.05, deepest) * _gaussian(wavelength, center, width)
    return depth


def _liquid_water(wavelength: Array) -> Array:
    bands = np.stack([_gaussian(wavelength, *band) for band in _LIQUID_WATER])
    return np.asarray(_LIQUID_WATER_DEPTHS @ bands)


def _gaussian(wavelength: Array, center: float, width: float) -> Array:
    return np.asarray(np.exp(-0.5 * ((wavelength - center) / width) ** 2))


def _angle(a: Array, b: Array) -> float:
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return math.acos(min(cosine, 1.0))
