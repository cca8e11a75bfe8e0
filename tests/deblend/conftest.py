"""Scenes of Gaussian stars and galaxies whose fluxes inside the image are known, as `vermilion.deblend` takes them."""

from dataclasses import dataclass

import numpy as np
import pytest

PSF_SIGMA = 1.5
PSF = ("gaussian", 2 * np.sqrt(2 * np.log(2)) * PSF_SIGMA)


def image_of(shape, center, covariance):
    """A Gaussian of flux 1."""
    offset = np.indices(shape) - np.reshape(center, (2, 1, 1))
    exponent = np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(covariance), offset)
    return np.exp(-0.5 * exponent) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


@dataclass(frozen=True)
class Sky:
    """What the telescope saw, what is told about it, and the truth: `fluxes` (n, B) are those inside the image."""

    data: np.ndarray
    clean: np.ndarray
    weights: np.ndarray
    centers: np.ndarray
    fluxes: np.ndarray
    extended: np.ndarray

    @property
    def told(self):
        return {"weights": self.weights, "psf": PSF, "catalog": self.centers}


@pytest.fixture(scope="session")
def make_scene():
    """Function that makes a scene from rows (y, x, size beyond the PSF or 0 for a star, flux per band...), noise 1 in every pixel."""

    def make(shape, rows, *, seed=0, noise=1.0, psf_sigma=PSF_SIGMA):
        rows = [np.array(row, dtype=float) for row in rows]
        images = np.stack([image_of(shape, row[:2], (psf_sigma**2 + row[2] ** 2) * np.eye(2)) for row in rows])
        fluxes = np.stack([row[3:] for row in rows])
        clean = np.einsum("kb,kyx->byx", fluxes, images)
        data = clean + noise * np.random.default_rng(seed).normal(size=clean.shape)
        return Sky(
            data=data,
            clean=clean,
            weights=np.full(clean.shape, 1 / max(noise, 1e-3) ** 2),
            centers=np.stack([row[:2] for row in rows]),
            fluxes=fluxes * images.sum(axis=(1, 2))[:, None],
            extended=np.array([row[2] > 0 for row in rows]),
        )

    return make


@pytest.fixture(scope="session")
def blend(make_scene):
    """A star on the outskirts of a galaxy, in three bands."""
    return make_scene((32, 36), [(14, 13, 0, 900, 600, 300), (16.1, 21, 2.1, 2000, 1000, 1500)])


@pytest.fixture(scope="session")
def deblended(blend):
    """What the default makes of it."""
    from vermilion.deblend import deblend

    return deblend(blend.data, **blend.told)


@pytest.fixture(scope="session")
def psf():
    """Of all scenes, as it is told."""
    return PSF
