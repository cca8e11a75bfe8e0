"""The blends in files that deblenders are judged by, read with what is known of their traps.

- In the simulations of scarlet, centers are half a pixel too large along even axes (the first moments of the stars say so), a galaxy has
  one row for each of its components, and there are no weights: noise is that of the sky, measured where no source is, plus the counts of
  the true image.
- The PSFs in the file of the matched simulation (a Gaussian of 0.5 pixel) are not those of its images: they are rebuilt from the true image
  of its isolated star.
- The peaks of the real blends are pairs (x, y), whole pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

DATA = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "broadband"
MATCHED_STAR, STAR_RADIUS = 4, 15
LEAST_SKY_VARIANCE = 1e-3


@dataclass(frozen=True, eq=False, kw_only=True)
class Blend:
    """A blend from a file.

    Parameters
    ----------
    name : str
    images, weights : ndarray, shape (B, Ny, Nx)
    psfs : ndarray, shape (B, h, w)
    centers : ndarray, shape (n, 2)
        Pixel (y, x).
    truths : ndarray or None, shape (n, B, Ny, Nx)
        True image of each source.
    stars : tuple of bool
        Empty where it is not known.
    """

    name: str
    images: Array
    weights: Array
    psfs: Array
    centers: Array
    truths: Array | None = None
    stars: tuple[bool, ...] = ()


def hsc_cosmos(folder: Path = DATA) -> Blend:
    """The scene of scarlet's quick start: all data count."""
    with np.load(folder / "scarlet_hsc_cosmos_35.npz") as file:
        catalog = file["catalog"]
        return Blend(
            name="hsc_cosmos_35",
            images=file["images"].astype(np.float32),
            weights=(1 / file["variance"]).astype(np.float32),
            psfs=file["psfs"].astype(float),
            centers=np.stack([catalog["y"], catalog["x"]], axis=1).astype(float),
        )


def scarlet_simulation(name: str, folder: Path = DATA) -> Blend:
    """``"unmatched"`` or ``"matched"``."""
    with np.load(folder / f"scarlet_psf_{name}_sim.npz") as file:
        images, bands, rows, psfs = file["images"].astype(np.float32), [str(b) for b in file["filters"]], file["catalog"], file["psfs"]
    intensities = np.stack([rows[f"intensity_{band}"] for band in bands], axis=1).astype(float)
    positions, source = np.unique(np.stack([rows["y"], rows["x"]], axis=1).round(3), axis=0, return_inverse=True)
    source = source.ravel()
    _, order = np.unique(source, return_index=True)
    order = np.argsort(order)  # the order of the file
    truths = np.stack([intensities[source == k].sum(axis=0) for k in order])
    centers = positions[order] - 0.5 * (np.array(images.shape[1:]) % 2 == 0)
    if name == "matched":
        psfs = np.repeat(star_stamp(intensities[MATCHED_STAR, 2], centers[source_rank(source, order)[MATCHED_STAR]])[None], len(bands), 0)
    return Blend(
        name=f"psf_{name}_sim",
        images=images,
        weights=(1 / noise_variance(images, truths.sum(axis=0))).astype(np.float32),
        psfs=psfs.astype(float),
        centers=centers,
        truths=truths,
        stars=tuple(bool(rows["is_star"][source == k][0]) for k in order),
    )


def source_rank(source: NDArray[np.integer[Any]], order: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """For each row of the catalog, the place of its source in the order of the file."""
    return np.argsort(order)[source]


def noise_variance(images: Array, total: Array) -> Array:
    """Variance of the sky, from the pixels with the least true flux, plus the counts of the true image."""
    variance = np.empty(images.shape)
    for b, (image, true) in enumerate(zip(images, total, strict=True)):
        empty = true < 1 if (true < 1).sum() > 200 else true < np.percentile(true, 20)
        variance[b] = max((image - true)[empty].var() - true[empty].mean(), LEAST_SKY_VARIANCE) + np.maximum(true, 0)
    return variance


def star_stamp(image: Array, center: Array) -> Array:
    """Centered stamp of sum 1 of the noise-free image of a star."""
    near = np.round(center).astype(int)
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    moved = np.fft.ifft2(np.fft.fft2(image) * np.exp(2j * np.pi * (fy * (center[0] - near[0]) + fx * (center[1] - near[1])))).real
    radius = min(STAR_RADIUS, *near, *(np.array(image.shape) - 1 - near))
    stamp = np.maximum(moved[near[0] - radius : near[0] + radius + 1, near[1] - radius : near[1] + radius + 1], 0)
    return np.asarray(stamp / stamp.sum())


def hsc_blends(folder: Path = DATA) -> list[Blend]:
    """The twenty real blends, in the order of their names."""
    found = []
    for path in sorted((folder / "hsc_blends").glob("*.npz")):
        with np.load(path) as file:
            images, weights = file["images"].astype(np.float32), file["weights"].astype(np.float32)
            centers = file["peaks"].astype(float)[:, ::-1]
            found.append(Blend(name=path.stem, images=images, weights=weights, psfs=file["psfs"].astype(float), centers=centers))
    return found
