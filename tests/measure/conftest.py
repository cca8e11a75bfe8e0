"""Scenes of Gaussian sources with known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy.table import Table

from vermilion.datamodels import Frame, History, SceneResult, SceneSource, Status
from vermilion.measure import constrained_errors, positive_fluxes, signed_fluxes


def gaussian(shape, center, sigma, axis_ratio=1.0, angle=0.0, blur=0.0):
    """Image of total flux 1 (on an infinite plane); `sigma` along the major axis, `angle` in degrees from x towards y."""
    y, x = np.indices(shape) - np.reshape(center, (2, 1, 1))
    turn = np.radians(angle)
    along, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    covariance = sigma**2 * (np.outer(along, along) + axis_ratio**2 * np.outer(across, across)) + blur**2 * np.eye(2)
    a, b, c = np.linalg.inv(covariance)[[0, 0, 1], [0, 1, 1]]
    return np.exp(-0.5 * (a * y**2 + 2 * b * y * x + c * x**2)) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


@dataclass(frozen=True)
class Truth:
    """Templates (n, B, Ny, Nx) at unit flux, fluxes (n, B), weights (B, Ny, Nx), what the sources are."""

    templates: np.ndarray
    fluxes: np.ndarray
    weights: np.ndarray
    sources: tuple[SceneSource, ...]

    @property
    def models(self):
        return self.fluxes[:, :, None, None] * self.templates

    def draw(self, rng):
        """Data with noise, NaN where the weight is 0."""
        sigma = 1 / np.sqrt(np.where(self.weights > 0, self.weights, np.nan))
        return self.models.sum(axis=0) + sigma * rng.normal(size=sigma.shape)

    def result(self, data, **changes):
        """What a perfect deblender would return."""
        fluxes, _ = positive_fluxes(self.templates, data, self.weights)
        signed, signed_covariance = signed_fluxes(self.templates, data, self.weights)
        models = np.nan_to_num(fluxes)[:, :, None, None] * self.templates
        scene = SceneResult(
            sources=self.sources,
            models=models,
            fluxes=fluxes,
            flux_errors=constrained_errors(self.templates, self.weights, fluxes),
            signed_fluxes=signed,
            signed_flux_errors=np.sqrt(np.einsum("bii->ib", signed_covariance)),
            catalog=Table(),
            chi2=0.0,
            n_data=int((self.weights > 0).sum()),
            bands=tuple("grizy"[: len(self.weights)]),
            frame=Frame(shape=self.weights.shape[1:], n_bands=len(self.weights)),
            status=Status.CONVERGED,
            history=History(),
            flux_history=np.zeros((0, len(self.sources))),
            flux_iterations=np.zeros(0, dtype=int),
            provenance={"model_sigma": 0.8},
        )
        return replace(scene, **changes)


SOURCES = (
    # kind, center, sigma, axis ratio, angle
    ("point", (15.2, 14.7), 0.0, 1.0, 0.0),
    ("galaxy", (19.1, 19.4), 3.0, 0.5, 30.0),
    ("two-component", (30.3, 24.0), 2.0, 0.8, 100.0),
)


@pytest.fixture
def make_truth():
    """Function that makes a blend of three sources in `n_bands` bands; the PSF grows from band to band."""

    def make(n_bands=3, *, shape=(40, 44), flux=300.0, sources=SOURCES, seed=0, bad=0.05):
        rng = np.random.default_rng(seed)
        psf = np.linspace(1.3, 1.8, n_bands)
        templates, records = [], []
        for kind, center, sigma, ratio, angle in sources:
            templates.append([gaussian(shape, center, sigma, ratio, angle, blur=s) for s in psf])
            corner = np.round(center).astype(int) - 15
            morphology = gaussian((31, 31), center - corner, sigma, ratio, angle, blur=0.8)
            morphologies = np.stack([morphology / morphology.sum()] * (2 if kind == "two-component" else 1))
            spectra = np.full((n_bands, len(morphologies)), flux / len(morphologies))
            records.append(
                SceneSource(kind=kind, center=center, spectra=spectra, morphologies=morphologies, box=(int(corner[0]), int(corner[1])))
            )
        templates = np.array(templates).reshape(len(sources), n_bands, *shape)
        weights = rng.uniform(0.5, 2.0, size=(n_bands, *shape)) * (rng.random((n_bands, *shape)) > bad)
        fluxes = flux * rng.uniform(0.5, 1.5, size=(len(sources), n_bands))
        return Truth(templates, fluxes, weights, tuple(records))

    return make
