"""A scene of three sources made by hand, the images of it, and files of these images."""

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from vermilion.datamodels import Cube, Frame, History, SceneResult, SceneSource, Status

SHAPE, BANDS, PSF_SIGMA, NOISE = (24, 30), ("g", "r", "i"), (1.2, 1.4, 1.6), 0.5
SOURCES = {  # kind: center, flux per component and band, width per component, parameters and probabilities
    "point": ((8.25, 9.5), [[400.0, 300.0, 200.0]], [0.8], {}, {"point": 0.9, "galaxy": 0.1}),
    "galaxy": ((13.0, 14.75), [[100.0, 400.0, 900.0]], [2.5], {"half_light_radius": 2.9}, {"point": 0.25, "galaxy": 0.75}),
    "two-component": (
        (19.5, 26.0),
        [[50.0, 120.0, 240.0], [200.0, 160.0, 120.0]],
        [1.0, 3.0],
        {"half_light_radius": 3.5, "axis_ratio": 1.0},
        {},
    ),
}


def sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.1, 2.2], [10.5, 7.0]
    wcs.wcs.cdelt = [-5e-5, 5e-5]
    return wcs


def scene_frame(wcs=None, unit=u.nJy):
    """Frame of the images, with the coordinates that a reader gives to a stack of bands."""
    cube_wcs = None if wcs is None else wcs.sub([1, 2, 0])
    return Frame(shape=SHAPE, n_bands=len(BANDS), unit=unit, band_names=BANDS, wcs=cube_wcs)


def gaussian(shape, center, sigma):
    y, x = np.indices(shape)
    return np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def sources_and_models():
    sources, models = [], []
    for kind, (center, fluxes, widths, parameters, probabilities) in SOURCES.items():
        spectra = np.array(fluxes).T
        box = (int(center[0]) - 7, int(center[1]) - 8)  # some begin outside the images
        own = (center[0] - box[0], center[1] - box[1])
        morphologies = np.array([gaussian((15, 17), own, np.hypot(width, 0.8)) for width in widths])
        morphologies /= morphologies.sum(axis=(1, 2), keepdims=True)
        sources.append(
            SceneSource(
                kind=kind,
                center=center,
                spectra=spectra,
                morphologies=morphologies,
                box=box,
                parameters=parameters,
                probabilities=probabilities,
            )
        )
        images = [
            sum(f * gaussian(SHAPE, center, np.hypot(w, s)) for f, w in zip(row, widths, strict=True))
            for row, s in zip(spectra, PSF_SIGMA, strict=True)
        ]
        models.append(images)
    return tuple(sources), np.array(models)


def scene(wcs=None, *, unit=u.nJy, bands=BANDS, **changes):
    """A result and the cube that it describes up to noise, with a masked pixel, a datum that is NaN and a pixel without weight."""
    sources, models = sources_and_models()
    rng = np.random.default_rng(4)
    data = models.sum(axis=0) + rng.normal(0, NOISE, models.shape[1:])
    variance = np.full(data.shape, NOISE**2)
    variance[:, 0, 1], data[1, 2, 3] = 0, np.nan
    mask = np.zeros(data.shape, dtype=bool)
    mask[2, 5, 5] = True
    frame = scene_frame(wcs, unit)
    cube = Cube(data.astype("f4"), variance.astype("f4"), mask, frame, meta={"header": {"OBJECT": "été"}, "path": "g.fits, r.fits"})
    fluxes = np.array([source.fluxes for source in sources])
    history = History(("centers", "spectra and shapes"))
    for objective in (30.0, 20.0, 19.5):
        history.append(objective=objective, gradient_evaluations=(1, 2), objective_evaluations=1, reads_of_Y=1, seconds=rng.random())
    catalog = QTable({"source": np.arange(3), "kind": [source.kind for source in sources]})
    for axis, name in enumerate("yx"):
        catalog[name] = [source.center[axis] for source in sources]
    for b, band in enumerate(bands):
        catalog[f"flux_{band}"], catalog[f"flux_error_{band}"] = fluxes[:, b] * unit, np.full(3, 2.5) * unit
    catalog["flux_r" if "flux_r" in catalog.colnames else "x"].info.description = (
        "flux in r under the constraints " + 3 * "so that σ holds "
    )
    catalog.meta = {"PIXELS": "counted from 0", "REST1": float("nan"), "very long name of a key": 70 * "x "}
    residual = np.where(cube.weights > 0, cube.data - models.sum(axis=0), 0)
    parts = {
        "sources": sources,
        "models": models,
        "fluxes": fluxes,
        "flux_errors": np.full((3, 3), 2.5),
        "signed_fluxes": fluxes - 1,
        "signed_flux_errors": np.full((3, 3), 3.0),
        "catalog": catalog,
        "chi2": float((residual**2 * cube.weights).sum()),
        "n_data": int((cube.weights > 0).sum()),
        "bands": tuple(bands),
        "frame": frame,
        "status": Status.CONVERGED,
        "history": history,
        "flux_history": np.array([[800.0, 1300.0, 900.0], [890.0, 1390.0, 880.0]]),
        "flux_iterations": np.array([1, 3]),
        "notes": ("two sources are 0.3 × the PSF apart",),
        "provenance": {"seed": 7, "model_sigma": 0.8},
    }
    return SceneResult(**parts | changes), cube


def write_images(folder, cube, wcs=None):
    """One file per band (IMAGE, VARIANCE), the PSFs in one file and a catalog; their paths."""
    paths = []
    for data, variance, name in zip(cube.data, cube.variance, BANDS, strict=True):
        header = fits.Header() if wcs is None else wcs.to_header()
        header["BUNIT"], header["FILTER"] = "nJy", name
        noise = header.copy()
        noise["BUNIT"] = "nJy2"
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, header, name="IMAGE"), fits.ImageHDU(variance, noise, name="VARIANCE")]
        paths.append(folder / f"{name}.fits")
        fits.HDUList(hdus).writeto(paths[-1])
    psf = np.array([gaussian((15, 15), (7, 7), sigma) for sigma in PSF_SIGMA])
    fits.writeto(folder / "psf.fits", psf)
    return paths
