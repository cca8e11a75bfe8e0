"""What a fit becomes: fluxes, errors and images in the unit of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from ..datamodels import SceneResult, SceneSource
from ..measure import signed_fluxes
from ..renderers import Renderer
from ..renderers import Sequence as Chain
from .fit import SceneFit
from .observed import Observed
from .profiles import LOG_INDEX, LOG_RADIUS, STRETCH

__all__ = ["on_first_grid", "scene_result"]

Array = NDArray[np.float64]

_VISIBLE = 1e-6  # of the brightest pixel: what is kept of a morphology


def scene_result(fit: SceneFit, observed: Sequence[Observed], renderers: Sequence[Renderer], notes: Sequence[str]) -> SceneResult:
    """Images, fluxes and errors in the unit of the data; the catalog is still empty."""
    n, with_sky = len(fit.kinds), len(fit.images) - len(fit.profiles)
    owner = np.concatenate([fit.profiles.owner, n + np.arange(with_sky)])
    members = owner == np.arange(n + with_sky)[:, None]
    scale = np.concatenate([item.scale for item in observed])
    spectra = fit.spectra.numpy() * scale[:, None]
    fluxes = np.where(members[:, None], spectra, 0.0).sum(axis=2)
    models, signed, signed_errors, misfits, chi2, band = [], [], [], [], 0.0, 0
    for item, renderer in zip(observed, renderers, strict=True):
        here = slice(band, band + len(item.data))
        shares = _shares(members, spectra[here], fluxes[:, here])
        unit = _rendered(renderer, fit.images, shares)
        unit[n:] = 1 / fit.images[0].numel()
        found, covariance = signed_fluxes(unit, item.data, item.weights)
        signed.append(found)
        signed_errors.append(np.sqrt(np.diagonal(covariance, axis1=1, axis2=2).T))
        seen = unit * fluxes[:, here, None, None]
        residual = item.weights * (item.data - seen.sum(axis=0)) ** 2
        chi2 += float(residual.sum())
        misfits.append(_misfit(seen, item.weights, residual / item.factor**2))
        if isinstance(renderer, Chain):  # images on another grid: shown on the first one, with their own PSF
            seen = _rendered(renderer.renderers[0], fit.images, shares)
            seen[n:] = 1 / fit.images[0].numel()
            seen *= fluxes[:, here, None, None]
        models.append(seen)
        band += len(item.data)
    errors = np.concatenate(signed_errors, axis=1)
    told = np.concatenate([item.scale / item.factor for item in observed])
    errors[:n] = np.sqrt(fit.variances) * told * np.concatenate(misfits, axis=1)[:n]
    kinds = (*fit.kinds, *["sky"] * with_sky)
    return SceneResult(
        sources=tuple(_source(fit, np.flatnonzero(members[k]), spectra, k, kind) for k, kind in enumerate(kinds)),
        models=np.concatenate(models, axis=1),
        fluxes=fluxes,
        flux_errors=errors,
        signed_fluxes=np.concatenate(signed, axis=1),
        signed_flux_errors=np.concatenate(signed_errors, axis=1),
        catalog=Table(),
        chi2=chi2,
        n_data=sum(int((item.weights > 0).sum()) for item in observed),
        bands=_bands(observed),
        frame=observed[0].cube.frame if len(observed) == 1 else None,
        status=fit.status,
        history=fit.history,
        flux_history=np.column_stack([fit.flux_history, np.full((len(fit.flux_history), with_sky), np.nan)]),
        flux_iterations=fit.flux_iterations,
        notes=tuple(dict.fromkeys(notes)),
    )


def _misfit(models: Array, weights: Array, residual: Array) -> Array:
    """By how much the residual under each source exceeds the noise, (n, B) and alike in all bands; at least 1."""
    told = weights * models**2
    size = told.sum(axis=(1, 2, 3))
    chi2 = (told * residual).sum(axis=(1, 2, 3)) / np.where(size > 0, size, 1)
    return np.repeat(np.sqrt(np.maximum(chi2, 1))[:, None], len(weights), axis=1)


def _shares(members: NDArray[np.bool_], spectra: Array, fluxes: Array) -> Array:
    """Part of each component in the flux of its source, (n, B, C): equal parts where that is 0."""
    own = np.where(members[:, None], spectra, 0.0)
    equal = members / np.maximum(members.sum(axis=1, keepdims=True), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(fluxes[..., None] != 0, own / fluxes[..., None], equal[:, None])


def _rendered(renderer: Renderer, images: torch.Tensor, shares: Array) -> Array:
    """Images (n, B, Ny, Nx) of sources of flux 1."""
    mixed = torch.einsum("kbc,cyx->kbyx", torch.as_tensor(shares).to(images), images)
    return renderer(mixed).double().cpu().numpy()


def _source(fit: SceneFit, components: NDArray[np.int64], spectra: Array, k: int, kind: str) -> SceneSource:
    images = fit.images[torch.from_numpy(components)].double().cpu().numpy()
    box, images = _cut(images)
    if kind == "sky":
        height, width = fit.images.shape[1:]
        return SceneSource(
            kind=kind, center=((height - 1) / 2, (width - 1) / 2), spectra=spectra[:, components], morphologies=images, box=box
        )
    return SceneSource(
        kind=kind,
        center=(float(fit.profiles.centers[k, 0]), float(fit.profiles.centers[k, 1])),
        spectra=spectra[:, components],
        morphologies=images,
        box=box,
        parameters=_parameters(fit, components),
        probabilities=fit.probabilities[k],
    )


def _cut(images: Array) -> tuple[tuple[int, int], Array]:
    """The box outside which nothing is visible, and the images in it, each of sum 1."""
    visible = (images > _VISIBLE * images.max(axis=(1, 2), keepdims=True)).any(axis=0)
    if not visible.any():
        return (0, 0), images
    (top, bottom), (left, right) = (np.flatnonzero(visible.any(axis=axis))[[0, -1]] for axis in (1, 0))
    inside = images[:, top : bottom + 1, left : right + 1]
    total = inside.sum(axis=(1, 2), keepdims=True)
    return (int(top), int(left)), inside / np.where(total > 0, total, 1)


def _parameters(fit: SceneFit, components: NDArray[np.int64]) -> dict[str, float]:
    """Of the profiles: numbers of the second component end in _2."""
    told: dict[str, float] = {}
    for i, component in enumerate(components):
        if fit.profiles.point[component]:
            continue
        shape = fit.profiles.shapes[component]
        e1, e2 = shape[STRETCH]
        numbers = {
            "half_light_radius": math.exp(shape[LOG_RADIUS]),
            "axis_ratio": math.exp(-math.hypot(e1, e2)),
            "angle": math.degrees(0.5 * math.atan2(e2, -e1)) % 180,
            "sersic_index": math.exp(shape[LOG_INDEX]),
        }
        told |= {name if i == 0 else f"{name}_{i + 1}": value for name, value in numbers.items()}
    return told


def _bands(observed: Sequence[Observed]) -> tuple[str, ...]:
    """Names of all bands: those of the files, or numbers."""
    names: list[str] = []
    for item in observed:
        known = item.cube.frame.band_names
        names += known if known is not None else [str(len(names) + i) for i in range(len(item.data))]
    return tuple(names) if len(set(names)) == len(names) else tuple(f"{name}_{i}" for i, name in enumerate(names))


def on_first_grid(observed: Sequence[Observed], n_bands: int) -> tuple[Array, Array]:
    """Data and weights on the grid of the first observation; bands of the others have no weight there."""
    first = observed[0]
    data, weights = (np.zeros((n_bands, *first.cube.frame.shape)) for _ in range(2))
    data[: len(first.data)], weights[: len(first.data)] = first.data, first.weights
    return data, weights
