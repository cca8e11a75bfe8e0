from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS

from vermilion.datamodels import Cube, Frame, History, Result, Status

FLUX = u.Unit("1e-20 erg s-1 cm-2 AA-1")
DEAD_BANDS = slice(20, 23)
DEAD_PIXEL = (2, 3)


def make_wcs(shape: tuple[int, int], *, rotation: float = 0.0, n_bands: int | None = None) -> WCS:
    """0.2 arcsec spaxels; north up and east left, or turned clockwise by `rotation` degrees."""
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    wcs = WCS(naxis=2 if n_bands is None else 3)
    matrix = np.eye(wcs.naxis) * 1.25
    matrix[:2, :2] = 0.2 / 3600 * np.array([[-cos, sin], [sin, cos]])
    extra = [] if n_bands is None else ["AWAV"]
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", *extra]
    wcs.wcs.cunit = ["deg", "deg", *(["Angstrom"] if extra else [])]
    wcs.wcs.crval = [53.16, -27.78, *([5000.0] if extra else [])]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2, *([1.0] if extra else [])]
    wcs.wcs.cd = matrix
    return wcs


@pytest.fixture(scope="session")
def sky() -> Callable[..., WCS]:
    return make_wcs


@pytest.fixture(scope="session")
def make() -> Callable[..., tuple[Result, Cube]]:
    """A cube that is its model plus noise of the claimed size, with dead bands and a dead pixel."""

    def build(
        *,
        n: int = 2,
        shape: tuple[int, int] = (14, 18),
        n_bands: int = 40,
        scale: float = 100.0,
        frame: dict[str, Any] | None = None,
        variance: bool = True,
        names: tuple[str, ...] = (),
        history: tuple[float, ...] = (9.0, 5.0, 2.0, 1.0),
        status: Status = Status.CONVERGED,
        meta: dict[str, Any] | None = None,
    ) -> tuple[Result, Cube]:
        rng = np.random.default_rng(7)
        spectra = rng.uniform(0.5, 1.5, (n_bands, n)) / n_bands
        maps = scale * n_bands * rng.uniform(0, 1, (n, *shape)) ** 4
        sigma = 0.05 * scale
        data = np.einsum("bk,kyx->byx", spectra, maps) + sigma * rng.normal(size=(n_bands, *shape))
        if n_bands > 30:
            data[DEAD_BANDS] = np.nan
            spectra[DEAD_BANDS] = np.nan
        data[:, DEAD_PIXEL[0] % shape[0], DEAD_PIXEL[1] % shape[1]] = np.nan
        maps[:, DEAD_PIXEL[0] % shape[0], DEAD_PIXEL[1] % shape[1]] = np.nan
        defaults = {"unit": FLUX, "spectral_axis": (5000 + 1.25 * np.arange(n_bands)) * u.AA, "wcs": make_wcs(shape, n_bands=n_bands)}
        where = Frame(shape=shape, n_bands=n_bands, **(defaults if frame is None else frame))
        cube = Cube(data, variance=np.full(data.shape, sigma**2) if variance else None, frame=where, meta=meta or {})
        record = History()
        for iteration, objective in enumerate(history):
            record.append(objective=objective, gradient_evaluations=(iteration, iteration))
        result = Result(
            spectra=spectra,
            morphologies=maps,
            status=status,
            history=record,
            spectra_error=0.1 * np.abs(spectra),
            signed_morphologies=maps - 0.5 * scale,
            signed_error=np.full(maps.shape, 0.1 * scale),
            names=names,
            frame=where,
        )
        return result, cube

    return build
