"""``vermilion inspect``: what a file holds, as `separate` would read it. Never writes; needs neither torch nor matplotlib."""

from __future__ import annotations

import json
import logging
import shlex
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .options import input_files, read_options

if TYPE_CHECKING:
    from ..datamodels import Cube
    from ..diagnose.correlation import BandNoise
    from ..diagnose.noise import NoiseReport

__all__ = ["inspect"]

_WIDTH = 80
_LABEL = 16
_TABLE = "noise per band"
_TABULAR = "\t"  # label of a row whose blanks are kept
_COMPONENTS = 4  # of the suggested command and the memory estimate
_GROUPS = 8  # rows of the table of the noise along the bands
_SUSPICIOUS = 0.1  # share by which errors must be wrong before another option is suggested


@click.command("inspect")
@input_files()
@read_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only beside the table.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: everything.")
def inspect(paths: tuple[str, ...], as_json: bool, quiet: bool, verbose: int, **options: Any) -> None:
    """Show what was found in CUBE, and what it was taken for and why.

    Units, axes, missing values, the scatter in the faintest spaxels over the noise that the file claims, alone, in sums over boxes and
    band by band, PSF and line widths, the faintest component that can be found, the memory that a fit needs, and a command to begin
    with. Nothing is written.
    """
    from ..io import read

    with _log_on_stderr(quiet, verbose):
        facts = _facts(read(paths, **options), paths, options)
    click.echo(json.dumps(facts, indent=2) if as_json else _table(facts))


@contextmanager
def _log_on_stderr(quiet: bool, verbose: int) -> Iterator[None]:
    """What the reader says, on stderr while it reads; without -v nothing, as its warnings stand in the table."""
    log, handler = logging.getLogger("vermilion"), logging.StreamHandler()
    before = log.level
    log.setLevel(logging.ERROR if quiet or not verbose else logging.INFO if verbose == 1 else logging.DEBUG)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


# ---------------------------------------------------------------- facts


def _facts(cube: Cube, paths: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Everything that is shown, as plain numbers, strings and lists."""
    from ..diagnose.noise import detection_floor, memory_estimate

    weights = cube.weights > 0
    n_pixels = int(weights.any(axis=0).sum())
    n_bands = int(weights.any(axis=(1, 2)).sum())
    noise, noise_problem = _noise(cube)
    return {
        "path": " ".join(paths),
        "name": cube.meta["name"],
        "object": cube.meta["header"].get("OBJECT", ""),
        "instrument": cube.meta["instrument"],
        "reader": cube.meta["reader"],
        "sha256": cube.meta["sha256"],
        "decisions": cube.meta["decisions"],
        "shape": list(cube.data.shape),
        "dtype": str(cube.data.dtype),
        "unit": _unit(cube),
        "spectral_axis": _spectral(cube),
        "band_names": None if cube.frame.band_names is None else list(cube.frame.band_names),
        "sky": _sky(cube),
        "psf": _psf(cube),
        "beam": _beam(cube),
        "lsf": _lsf(cube),
        "likelihood": cube.meta.get("likelihood", "gaussian"),
        "fractions": _fractions(cube, weights),
        "bands_with_data": n_bands,
        "pixels_with_data": n_pixels,
        "noise": noise,
        "noise_problem": noise_problem,
        "detection_floor": detection_floor(n_bands, n_pixels),
        "memory": memory_estimate(len(cube.data), n_pixels, _COMPONENTS, itemsize=cube.data.dtype.itemsize),
        "command": _command(paths, cube.meta["name"], options),
    }


def _noise(cube: Cube) -> tuple[dict[str, Any] | None, str]:
    """Scatter of voxels, factors of sums over boxes and noise of each band, and what could not be measured and why."""
    from dataclasses import asdict

    from ..diagnose.correlation import band_noise
    from ..diagnose.noise import scatter_ratio
    from ..errors import NoDataError

    try:
        report: NoiseReport = scatter_ratio(cube)
    except NoDataError as error:
        return None, str(error)
    facts: dict[str, Any] = {**asdict(report), "method": report.method, "in_frame": cube.frame.noise_correlation}
    try:
        bands: BandNoise = band_noise(cube)
    except NoDataError as error:
        return {**facts, "correlation": None, "bands": None}, str(error)
    return {**facts, "correlation": _correlation(bands), "bands": _bands(bands)}, ""


def _correlation(bands: BandNoise) -> dict[str, Any]:
    found = bands.correlation
    boxes = {"1x1x1": (1, 1, 1), **found.boxes}
    variance = found.factor((1, 1, 1)) ** 2
    radius = found.lags.shape[-1] // 2
    reach, spread = found.reach[0] + 1, slice(radius - found.reach[1], radius + found.reach[1] + 1)
    return {
        "claimed": found.claimed,
        "factors": {name: found.factor(box) for name, box in boxes.items()},
        "factor_errors": {name: found.error(box) for name, box in boxes.items()},
        "reach": {"bands": found.reach[0], "spaxels": found.reach[1]},
        "spectral_lags": [float(value) / variance for value in found.lags[:reach, radius, radius]],
        "spatial_lags": (found.lags[0, spread, spread] / variance).tolist(),
        "falls": found.falls,
        "light": found.light,
        "method": found.method,
    }


def _bands(bands: BandNoise) -> dict[str, Any]:
    """Noise of each band as lists; null where there are no data."""
    return {
        "sigma": _numbers(bands.sigma),
        "claimed": None if bands.claimed is None else _numbers(bands.claimed),
        "ratio": None if bands.claimed is None else _numbers(bands.ratio),
    }


def _numbers(values: Any) -> list[float | None]:
    """Plain numbers; JSON has no NaN."""
    from math import isfinite

    return [float(value) if isfinite(value) else None for value in values]


def _unit(cube: Cube) -> str | list[str]:
    unit = cube.frame.unit
    return [str(one) for one in unit] if isinstance(unit, tuple) else str(unit)


def _psf(cube: Cube) -> dict[str, Any] | None:
    psf = cube.psf
    if psf is None:
        return None
    return {
        "profile": "image" if psf.fwhm is None else "Gaussian" if psf.beta is None else "Moffat",
        "fwhm": None if psf.fwhm is None else _numbers(psf.fwhm.value),
        "unit": None if psf.fwhm is None else str(psf.fwhm.unit),
        "beta": None if psf.beta is None else _numbers(psf.beta),
        "image": None if psf.image is None else list(psf.image.shape),
        "source": psf.source,
    }


def _beam(cube: Cube) -> dict[str, Any] | None:
    """The beam of an interferometer: axes in arcsec, angle in degrees, area in pixels, one value per band or one for all."""
    import numpy as np
    from astropy import units as u

    beam = cube.meta.get("beam")
    if not isinstance(beam, dict):
        return None
    units = {"major": u.arcsec, "minor": u.arcsec, "pa": u.deg}
    facts: dict[str, Any] = {}
    for name, value in beam.items():
        if isinstance(value, u.Quantity):
            value = value.to_value(units[name]) if name in units else value.value
        if value is None or isinstance(value, str):
            facts[name] = value
        else:
            numbers = _numbers(np.ravel(value))
            facts[name] = numbers[0] if len(set(numbers)) == 1 else numbers
    return facts


def _lsf(cube: Cube) -> dict[str, Any] | None:
    lsf = cube.frame.lsf
    return None if lsf is None else {"fwhm": _numbers(lsf.value), "unit": str(lsf.unit)}


def _spectral(cube: Cube) -> dict[str, Any] | None:
    axis = cube.frame.spectral_axis
    if axis is None:
        return None
    step = float((axis[-1] - axis[0]).value) / max(len(axis) - 1, 1)
    return {
        "first": float(axis[0].value),
        "last": float(axis[-1].value),
        "mean_step": step,
        "unit": str(axis.unit),
        "medium": cube.meta.get("spectral_medium"),
        "values": _numbers(axis.value),
    }


def _sky(cube: Cube) -> dict[str, Any] | None:
    """Center and scale of the image plane, in degrees and arcsec per pixel; None where it has no sky coordinates."""
    from astropy.wcs.utils import proj_plane_pixel_scales

    wcs = cube.frame.wcs
    if wcs is None or not wcs.has_celestial:
        return None
    celestial = wcs.celestial
    n_y, n_x = cube.frame.shape
    center = celestial.wcs_pix2world([[(n_x - 1) / 2, (n_y - 1) / 2]], 0)[0]
    scales = proj_plane_pixel_scales(celestial) * 3600
    return {
        "axes": [str(ctype) for ctype in celestial.wcs.ctype],
        "center_deg": [float(value) for value in center],
        "pixel_arcsec": [float(value) for value in scales],
    }


def _fractions(cube: Cube, weights: Any) -> dict[str, float]:
    import numpy as np

    return {
        "not_finite": float(np.mean(~np.isfinite(cube.data))),
        "masked": 0.0 if cube.mask is None else float(np.mean(cube.mask)),
        "without_weight": float(np.mean(~weights)),
        "negative": float(np.mean(cube.data[weights] < 0)),
    }


def _command(paths: tuple[str, ...], name: str, options: dict[str, Any]) -> str:
    words = ["vermilion", "separate", *paths]
    for key, value in options.items():
        if key == "checksum":
            words += [] if value else ["--no-checksum"]
        elif value is True:
            words.append(f"--{key.replace('_', '-')}")
        elif value not in (None, False, ()) and (key, value) != ("noise", "claimed"):
            for one in value if isinstance(value, tuple) else (value,):
                words += [f"--{key.replace('_', '-')}", str(one)]
    return shlex.join([*words, "-k", str(_COMPONENTS), "-o", f"{name}_components"])


# ---------------------------------------------------------------- table


def _table(facts: dict[str, Any]) -> str:
    n_bands, n_y, n_x = facts["shape"]
    titles = [facts["instrument"], facts["object"], f"reader {facts['reader']}"]
    rows: list[tuple[str, str]] = [("file", facts["path"]), ("", ", ".join(title for title in titles if title))]
    rows += _decision_rows(facts["decisions"])
    rows += [
        ("shape", f"{n_bands} bands x {n_y} x {n_x} (band, y, x), {facts['dtype']}"),
        ("unit", _unit_row(facts["unit"])),
        ("spectral axis", _spectral_row(facts["spectral_axis"], facts["band_names"])),
        ("sky", _sky_row(facts["sky"])),
        *_width_rows(facts),
        ("values", ", ".join(f"{value:.2%} {key.replace('_', ' ')}" for key, value in facts["fractions"].items())),
        ("", f"{facts['bands_with_data']} bands and {facts['pixels_with_data']} spaxels carry weight"),
        *_noise_rows(facts["noise"], facts["noise_problem"], facts["likelihood"]),
        *_band_rows(facts["noise"], facts["spectral_axis"]),
        ("detection floor", f"S/N {facts['detection_floor']:.1f} of a whole component, (bands x spaxels)^(1/4)"),
        ("memory", f"about {_size(facts['memory'])} for -k {_COMPONENTS}"),
        ("try", facts["command"]),
    ]
    return "\n".join(_row(label, text) for label, text in rows)


def _row(label: str, text: str) -> str:
    if label == "try":  # never broken: it is there to be copied
        return f"{label:<{_LABEL}}{text}"
    if label in (_TABULAR, _TABLE):
        return f"{label.strip():<{_LABEL}}{_printable(text)}"
    return textwrap.fill(_printable(text), _WIDTH, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _decision_rows(decisions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    rows = []
    for decision in decisions:
        if decision["hdu"] is None:
            rows.append(("note", decision["why"]))
        else:
            rows.append((f"HDU {decision['hdu']} {decision['name'][: _LABEL - 8]}", f"{decision['taken_as']}: {decision['why']}"))
    return rows


def _unit_row(unit: str | list[str]) -> str:
    if isinstance(unit, list):
        return ", ".join(one or "none" for one in unit)
    return unit or "none (dimensionless)"


def _spectral_row(axis: dict[str, Any] | None, names: list[str] | None) -> str:
    if axis is None and names is not None:
        return f"none: bands {', '.join(names)}"
    if axis is None:
        return "none: bands are numbered (--wave 'start:step unit')"
    medium = f", {axis['medium']}" if axis["medium"] else ""
    return f"{axis['first']:.8g} to {axis['last']:.8g} {axis['unit']}{medium}, mean step {axis['mean_step']:.4g}"


def _sky_row(sky: dict[str, Any] | None) -> str:
    if sky is None:
        return "none: pixels"
    names = ", ".join(name.split("-")[0] for name in sky["axes"])
    center = ", ".join(f"{value:.5f}" for value in sky["center_deg"])
    scale = " x ".join(f"{value:.4g}" for value in sky["pixel_arcsec"])
    return f"{names} = {center} deg at the center, pixels of {scale} arcsec"


def _width_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """PSF, beam and line widths, as far as they are known."""
    rows = []
    psf, beam, lsf = facts["psf"], facts["beam"], facts["lsf"]
    if psf is not None:
        width = "" if psf["fwhm"] is None else f", FWHM {_span(psf['fwhm'])} {psf['unit']}"
        power = "" if psf["beta"] is None else f", beta {_span(psf['beta'])}"
        image = "" if psf["image"] is None else f", image of {psf['image'][-1]} x {psf['image'][-2]} pixels"
        rows.append(("PSF", f"{psf['profile']}{width}{power}{image}{psf['source'] and ' (' + psf['source'] + ')'}"))
    if beam is not None:
        angle = "" if beam.get("pa") is None else f", position angle {_span(beam['pa'])} deg"
        area = "" if beam.get("area") is None else f", {_span(beam['area'])} pixels"
        rows.append(("beam", f"{_span(beam.get('major'))} x {_span(beam.get('minor'))} arcsec{angle}{area}"))
    if lsf is not None:
        rows.append(("line width", f"FWHM {_span(lsf['fwhm'])} {lsf['unit']}"))
    return rows


def _span(values: Any) -> str:
    """One number, or the lowest to the highest of several."""
    numbers = [value for value in (values if isinstance(values, list) else [values]) if value is not None]
    if not numbers:
        return "unknown"
    low, high = f"{min(numbers):.4g}", f"{max(numbers):.4g}"
    return low if low == high else f"{low} to {high}"


def _noise_rows(noise: dict[str, Any] | None, problem: str, likelihood: str) -> list[tuple[str, str]]:
    if noise is None:
        return [("noise", problem)]
    found = noise["correlation"]
    counts = ", counts: their noise is that of Poisson" if likelihood == "poisson" else ""
    if noise["voxel"] is None:
        rows = [("noise", f"no errors in the file{counts}; scatter {noise['scatter']:.4g} per voxel ({noise['method']})")]
        return rows + ([("", f"sums are noisier than independent values: {_boxes(found)}"), ("", found["method"])] if found else [])
    adjacent = "" if noise["adjacent"] is None else f", {noise['adjacent']:.3f} between adjacent bands"
    if found is None:
        box = "no whole box" if noise["box"] is None else f"{noise['box']:.3f} in sums over 3 x 3 spaxels, light of faint sources included"
        return [
            ("scatter / sigma", f"{noise['voxel']:.3f} per voxel, {box}{adjacent}; 1 where the errors are right"),
            ("", noise["method"]),
            ("", problem),
        ]
    factors = found["factors"]
    wrong = max(abs(value - 1) for value in factors.values()) > _SUSPICIOUS
    rows = [
        ("scatter / sigma", f"{factors['1x1x1']:.3f} per voxel, {_boxes(found)}{adjacent}; 1 where the errors are right"),
        ("", found["method"]),
    ]
    if not found["falls"]:
        rows.append(
            ("", "the covariance does not end there: light or a wide beam is counted as noise, the factors of sums are upper limits")
        )
    if wrong and noise["in_frame"] is None:
        rows.append(("", "the errors of sums are wrong by that much: --noise empirical measures them instead"))
    return rows


def _boxes(found: dict[str, Any]) -> str:
    titles = {"1x3x3": "in sums over 3 x 3 spaxels", "5x5x5": "over 5 x 5 x 5 voxels", "5x1x1": "over 5 bands"}
    if "5x5x5" in found["factors"]:
        titles.pop("5x1x1")
    texts = [
        f"{found['factors'][box]:.3f} +/- {found['factor_errors'][box]:.3f} {title}"
        for box, title in titles.items()
        if box in found["factors"]
    ]
    return ", ".join(texts) or "no whole box"


def _band_rows(noise: dict[str, Any] | None, axis: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The noise along the bands, medians of groups of them."""
    if noise is None or noise.get("bands") is None:
        return []
    from statistics import median

    sigma, claimed = noise["bands"]["sigma"], noise["bands"]["claimed"]
    places = axis["values"] if axis is not None else list(range(len(sigma)))
    unit = axis["unit"] if axis is not None else "band"
    heads = ("scatter",) if claimed is None else ("scatter", "claimed", "ratio")
    rows = [(_TABLE, f"{unit:>21}" + "".join(f"{head:>12}" for head in heads))]
    n_groups = min(_GROUPS, len(sigma))
    for group in range(n_groups):
        first, last = len(sigma) * group // n_groups, len(sigma) * (group + 1) // n_groups - 1
        known = [b for b in range(first, last + 1) if sigma[b] is not None]
        if not known:
            continue
        numbers = [f"{median(sigma[b] for b in known):.4g}"]
        if claimed is not None:
            numbers += [f"{median(claimed[b] for b in known):.4g}", f"{median(sigma[b] / claimed[b] for b in known):.3f}"]
        place = f"{places[first]:.6g}" if first == last else f"{places[first]:.6g} to {places[last]:.6g}"
        text = f"{place:>21}" + "".join(f"{number:>12}" for number in numbers)
        rows.append((_TABULAR, text))
    return rows


def _size(n_bytes: int) -> str:
    from ..io.memory import format_bytes

    return format_bytes(n_bytes)
