"""Scenes with a known number of components."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter


def smooth_spectra(rng, n_bands, n_components):
    """Positive spectra of a slope and a few bumps or troughs."""
    x = np.linspace(0, 1, n_bands)
    spectra = []
    for _ in range(n_components):
        spectrum = rng.uniform(0.2, 0.6) + rng.uniform(-0.3, 0.3) * x
        for _ in range(rng.integers(3, 8)):
            spectrum = spectrum + rng.uniform(-0.35, 0.45) * np.exp(-0.5 * ((x - rng.uniform()) / rng.uniform(0.015, 0.2)) ** 2)
        spectra.append(np.clip(spectrum, 0.02, None))
    return np.array(spectra).T


@pytest.fixture(scope="session")
def scene():
    """Function that draws Y (B, N), the noise of each band (B,) and the clean data; abundances add up to 1."""

    def draw(n_components, *, snr=30, noise="white", pure=True, n_bands=80, shape=(36, 36), seed=0):
        rng = np.random.default_rng(seed)
        A = smooth_spectra(rng, n_bands, n_components)
        fields = np.array([gaussian_filter(rng.normal(size=shape), rng.uniform(2, 5), mode="wrap") for _ in range(n_components)])
        S = np.exp(rng.uniform(1.5, 3) * fields / fields.std(axis=(1, 2), keepdims=True))
        S /= S.sum(axis=0)
        for _ in range(0 if pure else 3):
            S = np.minimum(S, 0.75)
            S /= S.sum(axis=0)
        clean = A @ S.reshape(n_components, -1)
        x = np.arange(n_bands)
        profile = np.ones(n_bands) if noise != "by band" else np.exp(-0.5 * ((x - n_bands / 2) / (n_bands / 6)) ** 2) + 0.05
        sigma = profile / np.sqrt(np.mean(profile**2)) * np.sqrt(np.mean(clean**2) / 10 ** (snr / 10))
        errors = rng.normal(size=(n_bands, *shape))
        blur = {"bands share": (0.7, 0, 0), "pixels share": (0, 0.6, 0.6)}.get(noise, (0, 0, 0))
        errors = gaussian_filter(errors, blur)
        return clean + sigma[:, None] * errors.reshape(n_bands, -1) / errors.std(), sigma, clean

    return draw
