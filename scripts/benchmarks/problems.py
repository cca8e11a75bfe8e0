"""The standard factorization problems: data, weights, truth and a common start, at the sizes people have.

name   B x N          K   what it imitates
hs     198 x 10000    4   hyperspectral scene: smooth endmembers, abundances that sum to 1, 30 dB of noise that depends on the band
ifu    3600 x 2500    6   field of an integral-field spectrograph: continua, absorption, emission lines; exponential sources and the sky
muse   3681 x 22500   8   the same at a quarter of a MUSE field
bb     6 x 1000000    5   broad-band images: a thousand galaxies of four spectral types on a sky, K close to B
sc4-6  300 x 1e4-1e6  6   hyperspectral scenes that grow

Any other size is named ``BxNxK``: a field from 1000 bands on, a hyperspectral scene below.

A relative gap of 1e-2 to the lowest objective only looks converged: what is to be learned sits in about K (B + N) / (B N) of the objective.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]

SIZES = {
    "hs": (198, 100, 100, 4),
    "ifu": (3600, 50, 50, 6),
    "muse": (3681, 150, 150, 8),
    "bb": (6, 1000, 1000, 5),
    "sc4": (300, 100, 100, 6),
    "sc5": (300, 316, 316, 6),
    "sc6": (300, 1000, 1000, 6),
}
SEEDS = {name: index + 1 for index, name in enumerate(SIZES)}
HALF = 40  # pixels from the centre of a galaxy's stamp to its edge


@dataclass
class Problem:
    """Y ≈ A S with noise `sigma`, weights `W` of mean 1 (0 where data are absent), and the start that all solvers share."""

    name: str
    Y: Array
    W: Array
    A: Array
    S: Array
    A0: Array
    S0: Array
    sigma: Array

    @property
    def n_components(self) -> int:
        """K."""
        return self.A0.shape[1]


def make(name: str, *, seed: int | None = None, clip: bool = True) -> Problem:
    """One problem, in float32.

    Parameters
    ----------
    name : str
        A standard one, or a size "BxNxK".
    seed : int, optional
        By default each standard problem has its own; sizes have 0.
    clip : bool
        Set negative data to 0, as several peers demand. Real data are signed.

    Raises
    ------
    ValueError
        If the name is neither of them.
    """
    B, ny, nx, K = size_of(name)
    rng = np.random.default_rng(SEEDS.get(name, 0) if seed is None else seed)
    # every problem draws in this order, so that a seed means the same data for ever
    if name == "bb":
        A, S = broad_band_spectra(B, K, rng), galaxies(ny, nx, K, rng)
        X = (A @ S).astype(np.float32)
        sigma = np.sqrt(0.05**2 + 0.01 * X)
    elif is_field(name):
        A = line_spectra(B, K, rng)
        S = np.vstack([3 * exponential_sources(ny, nx, K - 1, rng), 1 + 0.02 * rng.normal(size=(1, ny * nx))])
        X = (A @ S).astype(np.float32)
        sigma = 0.5 * np.sqrt(0.02**2 + 0.03 * X)
    else:
        A, S = smooth_spectra(B, K, rng), abundances(ny, nx, K, rng)
        X = (A @ S).astype(np.float32)
        by_band = 1 + 0.5 * np.sin(9 * np.linspace(0, 1, B)) ** 2
        sigma = np.sqrt((X**2).mean() / 1e3) * by_band[:, None] * np.ones((1, ny * nx))
    sigma = np.asarray(sigma, np.float32)
    Y = X + sigma * rng.standard_normal(X.shape, dtype=np.float32)
    if clip:
        Y = np.clip(Y, 0, None)
    W = 1 / np.maximum(sigma, 1e-3) ** 2
    W /= W.mean()
    W[absent(W.shape, rng)] = 0
    scale = 2 * np.sqrt(Y.mean() / K)
    A0, S0 = (scale * rng.random((B, K))).astype(np.float32), (scale * rng.random((K, ny * nx))).astype(np.float32)
    return Problem(name, Y, W.astype(np.float32), A.astype(np.float32), S.astype(np.float32), A0, S0, sigma)


def size_of(name: str) -> tuple[int, int, int, int]:
    """B, Ny, Nx, K of a standard problem or of a size "BxNxK"; the image is as square as N allows."""
    if name in SIZES:
        return SIZES[name]
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", name)
    if match is None or min(map(int, match.groups())) < 1:
        raise ValueError(f"problem is {name!r}: expected one of {', '.join(SIZES)}, or a size such as 300x10000x6.")
    B, N, K = map(int, match.groups())
    ny = next(n for n in range(math.isqrt(N), 0, -1) if N % n == 0)
    return B, ny, N // ny, K


def is_field(name: str) -> bool:
    """Whether the problem has line spectra and sources rather than smooth spectra and abundances."""
    return name in ("ifu", "muse") or (name not in SIZES and size_of(name)[0] >= 1000)


def bump(x: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    """A Gaussian of height 1."""
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


def smooth_spectra(B: int, K: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Endmembers: a level and six broad bumps, up or down."""
    x = np.linspace(0, 1, B)
    spectra = []
    for _ in range(K):
        level = 0.1 + 0.5 * rng.uniform()
        # the amplitude is drawn before the centre and the width
        bumps = sum(rng.uniform(-0.2, 0.35) * bump(x, rng.uniform(), rng.uniform(0.03, 0.2)) for _ in range(6))
        spectra.append(level + bumps)
    return np.stack(spectra, axis=1).clip(0.01)


def line_spectra(B: int, K: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Continua with one absorption and some emission lines; the last spectrum is the sky with sixty lines."""
    x = np.linspace(0, 1, B)
    A = np.zeros((B, K))
    for k in range(K - 1):
        spectrum = np.abs(1 + rng.normal() * x + rng.normal() * x**2) + 0.05
        spectrum *= 1 - 0.3 * bump(x, rng.uniform(), 0.004)
        for _ in range(rng.integers(3, 9)):
            spectrum += rng.uniform(0.5, 6) * bump(x, rng.uniform(), rng.uniform(0.0006, 0.002))
        A[:, k] = spectrum
    sky = 0.4 + 0.1 * np.sin(6 * x)
    for _ in range(60):
        sky += rng.exponential(1.5) * bump(x, rng.uniform(0.45, 1), 0.0007)
    A[:, K - 1] = sky
    return A


def broad_band_spectra(B: int, K: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Colours of K - 1 types of galaxies, and the sky."""
    x = np.linspace(0, 1, B)
    types = []
    for _ in range(K - 1):
        slope = np.clip(1 + rng.uniform(-1, 3) * (x - 0.3) + rng.uniform(-1, 1) * x**2, 0.05, None)
        types.append(slope * (1 + 0.3 * rng.normal(size=B)).clip(0.2))
    return np.stack([*types, 1 + 0.3 * x], axis=1)


def abundances(ny: int, nx: int, K: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Softmax of smooth random fields: shares that sum to 1 in every pixel."""
    fields = np.stack([gaussian_filter(rng.normal(size=(ny, nx)), max(3, nx / 20), mode="wrap") for _ in range(K)])
    shares = np.exp(2.5 * fields / fields.std(axis=(1, 2), keepdims=True))
    return (shares / shares.sum(0)).reshape(K, ny * nx)


def exponential_sources(ny: int, nx: int, K: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One elliptical exponential profile per component."""
    y, x = np.mgrid[:ny, :nx]
    S = np.zeros((K, ny * nx))
    for k in range(K):
        cy, cx = rng.uniform(0.1, 0.9, 2) * [ny, nx]
        ratio, angle = rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        radius = rng.uniform(0.03, 0.15) * min(ny, nx)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        S[k] = (rng.lognormal(0, 0.6) * np.exp(-1.7 * np.sqrt(along**2 + (across / ratio) ** 2) / radius)).ravel()
    return S


def galaxies(ny: int, nx: int, K: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Maps of K - 1 types, 250 galaxies each, and a flat sky."""
    S = np.zeros((K, ny, nx))
    y, x = np.mgrid[-HALF:HALF, -HALF:HALF]
    for k in range(K - 1):
        for _ in range(250):
            cy, cx = rng.integers(HALF, ny - HALF), rng.integers(HALF, nx - HALF)
            stamp = rng.lognormal() * np.exp(-1.7 * np.sqrt(x**2 + (y / rng.uniform(0.4, 1)) ** 2) / rng.uniform(2, 8))
            S[k, cy - HALF : cy + HALF, cx - HALF : cx + HALF] += stamp
    S[K - 1] = 0.5
    return S.reshape(K, ny * nx)


def absent(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where data are missing, 8 to 10 %: single voxels, half of the bands in dead pixels, most pixels in bad bands."""
    B, N = shape
    missing = rng.random((B, N), dtype=np.float32) < 0.05
    # one draw per line: the pixels or bands first, then which of their entries
    pixels = rng.random(N) < 0.02
    missing[:, pixels] |= rng.random((B, 1)) < 0.5
    bands = rng.random(B) < 0.04
    missing[bands] |= (rng.random(N) < 0.9)[None]
    return missing
