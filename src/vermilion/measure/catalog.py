"""One row per source: where it is, what it is, how bright, of what color and shape, and how far to trust it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray

from ..datamodels import SceneResult, SceneSource
from ..errors import ParameterError, ShapeError
from .blending import BadPixels, bad_pixel_fraction, blendedness, footprints
from .centroids import Centroids, centroid
from .colors import Colors, colors, magnitude_errors, magnitudes
from .flags import MEANINGS, flags
from .fluxes import signal_to_noise
from .normal_equations import Array
from .redistribution import unassigned
from .shapes import NO_SHAPE, Shape, moments
from .sky import SkyPlane, sky_ellipse, sky_plane

__all__ = ["band_suffixes", "build_catalog", "source_shape"]

_MODEL_SIGMA = 0.8


@dataclass
class _Columns:
    """Columns in their order."""

    table: QTable = field(default_factory=QTable)

    def add(self, name: str, values: ArrayLike, description: str, unit: Any = None) -> None:
        column = np.array(values)
        self.table[name] = column if unit is None else u.Quantity(column, unit, copy=False)
        self.table[name].info.description = description


def band_suffixes(bands: Sequence[str]) -> tuple[str, ...]:
    """What stands for each band in the names of columns: letters, digits and ``_``, different without regard to case, as FITS wants it.

    Where the names of the bands cannot be told apart so, or would be mistaken for the name of another column, they are numbered from 1.
    """
    plain = tuple(re.sub(r"[^A-Za-z0-9]+", "_", str(band)).strip("_")[:16] for band in bands)
    lower = [name.lower() for name in plain]
    # bands a, b_c next to a_b, c would have the same color a_b_c
    joined = [["_".join(lower[i : i + size]) for i in range(len(lower) - size + 1)] for size in (1, 2, 3)]
    different = all(len(set(names)) == len(names) for names in joined)
    if different and all(plain) and not any(name.startswith(("error", "covariance")) for name in lower):
        return plain
    return tuple(str(b + 1) for b in range(len(plain)))


def source_shape(source: SceneSource, model_sigma: float) -> Shape:
    """Shape of a source before the PSF of the model frame blurred it, its components added up as bright as they are in all bands.

    Parameters
    ----------
    source : SceneSource
    model_sigma : float
        Standard deviation in pixels of the PSF of the model frame.

    Returns
    -------
    Shape
        Radius 0 for a point source; all NaN for a sky.
    """
    if source.kind == "sky":
        return NO_SHAPE
    if source.kind == "point":
        point = {"half_light_radius": 0.0, "major_axis": 0.0, "axis_ratio": np.nan, "angle": np.nan}
        return Shape(**point, center=source.center, covariance=np.zeros((2, 2)))
    light = np.nan_to_num(source.spectra).clip(min=0).sum(axis=0)
    light = light / light.sum() if light.sum() > 0 else np.full(len(light), 1 / max(len(light), 1))
    return moments(np.tensordot(light, source.morphologies, axes=1), sigma=model_sigma)


def build_catalog(
    result: SceneResult,
    data: Array,
    weights: Array,
    *,
    wcs: Any = None,
    bands: Sequence[str] | None = None,
    unit: Any = None,
    zero_points: ArrayLike | None = None,
    model_sigma: float | None = None,
    saturated: NDArray[np.bool_] | None = None,
) -> QTable:
    """Catalog of the sources of a scene, in their order.

    Parameters
    ----------
    result : SceneResult
        Its `catalog` is not read.
    data, weights : ndarray, shape (B, Ny, Nx)
        What was fitted; inverse variances, 0 where data are absent.
    wcs : astropy.wcs.WCS, optional
        First two pixel axes x and y; default that of ``result.frame``.
    bands : sequence of str, optional
        Default ``result.bands``. They end the names of columns, see `band_suffixes`.
    unit : Unit or sequence of Unit, optional
        Of the fluxes, one or one per band; default that of ``result.frame``.
    zero_points : array_like, shape () or (B,), optional
        Magnitude of unit flux; adds magnitudes and calibrates colors.
    model_sigma : float, optional
        Standard deviation in pixels of the PSF of the model frame; default ``result.provenance["model_sigma"]``, else 0.8.
    saturated : ndarray of bool, shape (B, Ny, Nx), optional

    Returns
    -------
    QTable
        Every column has a description, every dimensional one a unit. Absent numbers are NaN, unbounded errors inf. The meta says how
        pixels are counted, names the bits of ``flags``, and gives the flux per band that lies where no model is positive.

    Raises
    ------
    ShapeError, ParameterError
        If shapes disagree, weights are negative or not finite, models or data with weight are not finite.
    """
    data, weights, models = np.asarray(data), np.asarray(weights), np.asarray(result.models, dtype=np.float64)
    n, n_bands = result.fluxes.shape
    names = tuple(map(str, result.bands if bands is None else bands))
    if len(names) != n_bands:
        raise ShapeError(f"there are {len(names)} band names for {n_bands} bands: give one per band with bands=.")
    if saturated is not None and saturated.shape != weights.shape:
        raise ShapeError(f"saturated has shape {saturated.shape}, weights {weights.shape}: expected equal shapes (B, Ny, Nx).")
    points = _zero_points(zero_points, n_bands)
    if model_sigma is None:
        model_sigma = float(result.provenance.get("model_sigma", _MODEL_SIGMA))
    columns, suffixes, units = _Columns(), band_suffixes(names), _units(result, unit, n_bands)
    centers = np.array([source.center for source in result.sources], dtype=np.float64).reshape(n, 2)
    places = centroid(models, data, weights, centers)
    plane = sky_plane(wcs if wcs is not None else getattr(result.frame, "wcs", None), centers)
    snr, total_snr = signal_to_noise(result.signed_fluxes, result.signed_flux_errors)
    bad = bad_pixel_fraction(models, weights)
    mixing = colors(result.fluxes, result.flux_errors, zero_points=0.0 if points is None else points)
    bits = flags(
        result.sources,
        models,
        weights,
        fluxes=result.fluxes,
        signed_fluxes=result.signed_fluxes,
        signed_flux_errors=result.signed_flux_errors,
        bad_pixels=bad,
        total_signal_to_noise=total_snr,
        centroids=places.centers,
        color_magnitudes=mixing.magnitudes,
        saturated=saturated,
    )

    columns.add("id", np.arange(n), "place of the source in the scene, counted from 0")
    _add_positions(columns, centers, places)
    if plane is not None:
        _add_sky_positions(columns, plane, places)
    _add_kinds(columns, result.sources)
    _add_fluxes(columns, result, names, suffixes, units)
    if points is not None:
        _add_magnitudes(columns, result, names, suffixes, points)
    for b, (name, suffix) in enumerate(zip(names, suffixes, strict=True)):
        columns.add(f"snr_{suffix}", snr[:, b], f"signed flux over its error in {name}")
    columns.add(
        "snr", total_snr, f"root of the summed squares of the positive snr of the bands; about {np.sqrt(n_bands / 2):.1f} in pure noise"
    )
    _add_colors(columns, mixing, names, suffixes, calibrated=points is not None)
    _add_shapes(columns, [source_shape(source, model_sigma) for source in result.sources], plane)
    _add_trust(columns, models, bad, names, suffixes)
    columns.add(
        "chi2_datum", _chi2_per_datum(models, data, weights), "chi2 of the scene per datum where the source has a tenth of its peak"
    )
    columns.add("flags", bits, "sum of bits, named in the meta")
    columns.table.meta = _meta(models, data, weights, names, units, model_sigma)
    return columns.table


def _units(result: SceneResult, unit: Any, n_bands: int) -> list[u.UnitBase | None]:
    """Unit of the flux in each band; None where there is none."""
    given = getattr(result.frame, "unit", None) if unit is None else unit
    each = list(given) if isinstance(given, list | tuple) else [given] * n_bands
    if len(each) != n_bands:
        raise ShapeError(f"there are {len(each)} units for {n_bands} bands: give one, or one per band.")
    parsed = [None if one is None else u.Unit(one) for one in each]
    return [None if one is None or one == u.dimensionless_unscaled else one for one in parsed]


def _zero_points(zero_points: ArrayLike | None, n_bands: int) -> NDArray[np.float64] | None:
    if zero_points is None:
        return None
    points = np.asarray(zero_points, dtype=np.float64)
    if points.shape not in {(), (1,), (n_bands,)}:
        raise ShapeError(f"zero_points has shape {points.shape}, expected one number or {n_bands}, one per band.")
    if not np.isfinite(points).all():
        raise ParameterError("zero_points has entries that are not finite: give the magnitude of unit flux in each band.")
    return np.broadcast_to(points, n_bands)


def _add_positions(columns: _Columns, centers: NDArray[np.float64], places: Centroids) -> None:
    for axis, name in ((1, "x"), (0, "y")):
        columns.add(name, centers[:, axis], f"{name} of the center of the model, pixel centers at whole numbers counted from 0", u.pix)
        columns.add(f"{name}_error", places.errors[:, axis], f"standard error of {name}, shapes fixed, fluxes and positions free", u.pix)
    for axis, name in ((1, "x"), (0, "y")):
        columns.add(f"{name}_centroid", places.centers[:, axis], f"{name} at which the data place the model; NaN over a pixel away", u.pix)


def _add_sky_positions(columns: _Columns, plane: SkyPlane, places: Centroids) -> None:
    errors = plane.errors(places.covariance)
    columns.add("ra", plane.ra, "right ascension of (x, y), ICRS", u.deg)
    columns.add("dec", plane.dec, "declination of (x, y), ICRS", u.deg)
    columns.add("ra_error", errors[:, 0], "standard error towards east, on the sky", u.arcsec)
    columns.add("dec_error", errors[:, 1], "standard error towards north", u.arcsec)


def _add_kinds(columns: _Columns, sources: tuple[SceneSource, ...]) -> None:
    columns.add("kind", np.array([source.kind for source in sources], dtype=None if sources else "U1"), "what the source was taken for")
    for kind in sorted({kind for source in sources for kind in source.probabilities}):
        values = [source.probabilities.get(kind, np.nan) for source in sources]
        columns.add(
            f"probability_{re.sub('[^a-z0-9]+', '_', kind.lower())}", values, f"probability of {kind}; NaN where it was not compared"
        )


def _add_fluxes(
    columns: _Columns, result: SceneResult, names: tuple[str, ...], suffixes: tuple[str, ...], units: list[u.UnitBase | None]
) -> None:
    kinds = (
        ("flux", result.fluxes, "flux in {} under the constraints"),
        (
            "flux_error",
            result.flux_errors,
            "standard error of the flux in {}, shapes being uncertain too; NaN where a constraint is active",
        ),
        ("signed_flux", result.signed_fluxes, "flux in {} refitted without constraints, shapes fixed: unbiased where the source is absent"),
        ("signed_flux_error", result.signed_flux_errors, "standard error of the signed flux in {}; inf where the data do not determine it"),
    )
    for kind, values, description in kinds:
        for b, (name, suffix, unit) in enumerate(zip(names, suffixes, units, strict=True)):
            columns.add(f"{kind}_{suffix}", values[:, b].astype(np.float64), description.format(name), unit)


def _add_magnitudes(
    columns: _Columns, result: SceneResult, names: tuple[str, ...], suffixes: tuple[str, ...], points: NDArray[np.float64]
) -> None:
    values, errors = magnitudes(result.fluxes, points), magnitude_errors(result.fluxes, result.flux_errors)
    for b, (name, suffix) in enumerate(zip(names, suffixes, strict=True)):
        columns.add(
            f"mag_{suffix}", values[:, b], f"magnitude in {name}, zero point {points[b]:g}; NaN where the flux is not positive", u.mag
        )
        columns.add(f"mag_error_{suffix}", errors[:, b], f"standard error of the magnitude in {name}, to first order", u.mag)


def _add_colors(columns: _Columns, found: Colors, names: tuple[str, ...], suffixes: tuple[str, ...], *, calibrated: bool) -> None:
    scale = "zero points applied" if calibrated else "no zero points: of the numbers as they are"
    pairs = [(f"{names[b]} and {names[b + 1]}", f"{suffixes[b]}_{suffixes[b + 1]}") for b in range(len(names) - 1)]
    for c, (pair, suffix) in enumerate(pairs):
        columns.add(
            f"color_{suffix}", found.magnitudes[:, c], f"magnitude difference of {pair}, {scale}; NaN where a flux is not positive", u.mag
        )
        columns.add(f"color_error_{suffix}", found.errors[:, c], f"standard error of the magnitude difference of {pair}", u.mag)
    for c, (pair, suffix) in enumerate(pairs[:-1]):
        columns.add(
            f"color_covariance_{suffix}_{suffixes[c + 2]}",
            found.covariance[:, c, c + 1],
            f"covariance of the color of {pair} with the next one",
            u.mag**2,
        )
    for c, (pair, suffix) in enumerate(pairs):
        columns.add(f"ratio_{suffix}", found.ratios[:, c], f"flux ratio of {pair}; NaN where the second is not positive")
        columns.add(f"ratio_error_{suffix}", found.ratio_errors[:, c], f"standard error of the flux ratio of {pair}")


def _add_shapes(columns: _Columns, shapes: list[Shape], plane: SkyPlane | None) -> None:
    radii, axes, ratios, angles = (
        np.array([getattr(shape, name) for shape in shapes]) for name in ("half_light_radius", "major_axis", "axis_ratio", "angle")
    )
    columns.add(
        "half_light_radius", radii, "root of the product of the half axes of half the light, PSF removed; 0 where not resolved", u.pix
    )
    columns.add("major_axis", axes, "major half axis of half the light, PSF removed", u.pix)
    columns.add("axis_ratio", ratios, "minor over major axis, PSF removed")
    columns.add("angle", angles, "of the major axis, from the x axis towards the y axis", u.deg)
    if plane is None:
        return
    ellipses = np.array([sky_ellipse(*row) for row in zip(plane.jacobian, axes, ratios, angles, strict=True)]).reshape(-1, 3)
    scales = np.sqrt(np.abs(np.linalg.det(plane.jacobian)))
    columns.add("half_light_radius_sky", scales * radii, "root of the product of the half axes on the sky", u.arcsec)
    columns.add("major_axis_sky", ellipses[:, 0], "major half axis of half the light on the sky", u.arcsec)
    columns.add("axis_ratio_sky", ellipses[:, 1], "minor over major axis on the sky")
    columns.add("position_angle", ellipses[:, 2], "of the major axis on the sky, from north towards east", u.deg)


def _add_trust(columns: _Columns, models: Array, bad: BadPixels, names: tuple[str, ...], suffixes: tuple[str, ...]) -> None:
    per_band, total = blendedness(models)
    for b, (name, suffix) in enumerate(zip(names, suffixes, strict=True)):
        columns.add(f"blendedness_{suffix}", per_band[:, b], f"1 - sum m_k^2 / sum m_k m in {name}: 0 alone, near 1 drowned in others")
    columns.add("blendedness", total, "the same, sums over all bands")
    for b, (name, suffix) in enumerate(zip(names, suffixes, strict=True)):
        columns.add(f"bad_light_{suffix}", bad.by_light[:, b], f"share of the light in {name} on pixels without data")
        columns.add(
            f"bad_pixels_{suffix}", bad.by_count[:, b], f"share of the pixels above a tenth of the peak in {name} that have no data"
        )


def _chi2_per_datum(models: Array, data: Array, weights: Array) -> NDArray[np.float64]:
    under = footprints(models).astype(np.float64)
    used = (weights > 0).astype(np.float64)
    terms = weights * np.square(np.where(weights > 0, data, 0.0) - models.sum(axis=0) * used)
    with np.errstate(invalid="ignore"):
        return np.einsum("kbyx,byx->k", under, terms) / np.einsum("kbyx,byx->k", under, used)


def _meta(
    models: Array, data: Array, weights: Array, names: tuple[str, ...], units: list[u.UnitBase | None], model_sigma: float
) -> dict[str, Any]:
    """Plain values under names that FITS takes: what the columns do not say themselves."""
    rest = np.nansum(unassigned(models, data, weights), axis=(1, 2))
    meta: dict[str, Any] = {
        "PIXELS": "centers at whole numbers, counted from 0; x along rows, y along columns",
        "ANGLES": "angle from x towards y in pixels, position_angle from north towards east; 0 to 180 degrees",
        "ERRORS": "one standard deviation; those of signed fluxes and positions hold shapes fixed",
        "MODELSIG": float(model_sigma),
    }
    for b, (name, unit) in enumerate(zip(names, units, strict=True)):
        meta[f"BAND{b + 1}"] = name
        meta[f"REST{b + 1}"] = float(rest[b])
        meta[f"UNIT{b + 1}"] = "" if unit is None else str(unit)
    meta["REST"] = "REST1 ...: flux of the data where no model is positive, in the unit of the band"
    for i, (flag, meaning) in enumerate(MEANINGS.items()):
        meta[f"FLAG{i}"] = f"{flag.name} ({int(flag)}): {meaning}"
    return meta
