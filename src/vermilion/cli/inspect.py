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

from .options import read_options

if TYPE_CHECKING:
    from ..datamodels import Cube
    from ..diagnose.noise import NoiseReport

__all__ = ["inspect"]

_WIDTH = 80
_LABEL = 16
_COMPONENTS = 4  # of the suggested command and the memory estimate


@click.command("inspect")
@click.argument("path", metavar="CUBE", type=click.Path())
@read_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only beside the table.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: everything.")
def inspect(path: str, as_json: bool, quiet: bool, verbose: int, **options: Any) -> None:
    """Show what was found in CUBE, and what it was taken for and why.

    Units, axes, missing values, the scatter in the emptiest spaxels over the noise that the file claims, the faintest component
    that can be found, the memory that a fit needs, and a command to begin with. Nothing is written.
    """
    from ..io import read

    with _log_on_stderr(quiet, verbose):
        facts = _facts(read(path, **options), path, options)
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


def _facts(cube: Cube, path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Everything that is shown, as plain numbers, strings and lists."""
    from ..diagnose.noise import detection_floor, memory_estimate

    weights = cube.weights > 0
    n_pixels = int(weights.any(axis=0).sum())
    n_bands = int(weights.any(axis=(1, 2)).sum())
    noise, noise_problem = _noise(cube)
    return {
        "path": path,
        "name": cube.meta["name"],
        "object": cube.meta["header"].get("OBJECT", ""),
        "instrument": cube.meta["instrument"],
        "reader": cube.meta["reader"],
        "sha256": cube.meta["sha256"],
        "decisions": cube.meta["decisions"],
        "shape": list(cube.data.shape),
        "dtype": str(cube.data.dtype),
        "unit": str(cube.frame.unit),
        "spectral_axis": _spectral(cube),
        "sky": _sky(cube),
        "fractions": _fractions(cube, weights),
        "bands_with_data": n_bands,
        "pixels_with_data": n_pixels,
        "noise": noise,
        "noise_problem": noise_problem,
        "detection_floor": detection_floor(n_bands, n_pixels),
        "memory": memory_estimate(len(cube.data), n_pixels, _COMPONENTS, itemsize=cube.data.dtype.itemsize),
        "command": _command(path, cube.meta["name"], options),
    }


def _noise(cube: Cube) -> tuple[dict[str, Any] | None, str]:
    from dataclasses import asdict

    from ..diagnose.noise import scatter_ratio
    from ..errors import NoDataError

    try:
        report: NoiseReport = scatter_ratio(cube)
    except NoDataError as error:
        return None, str(error)
    return {**asdict(report), "method": report.method}, ""


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


def _command(path: str, name: str, options: dict[str, Any]) -> str:
    words = ["vermilion", "separate", path]
    for key, value in options.items():
        if key == "checksum":
            words += [] if value else ["--no-checksum"]
        elif value is True:
            words.append(f"--{key.replace('_', '-')}")
        elif value not in (None, False):
            words += [f"--{key.replace('_', '-')}", str(value)]
    return shlex.join([*words, "-k", str(_COMPONENTS), "-o", f"{name}_components"])


# ---------------------------------------------------------------- table


def _table(facts: dict[str, Any]) -> str:
    n_bands, n_y, n_x = facts["shape"]
    titles = [facts["instrument"], facts["object"], f"reader {facts['reader']}"]
    rows: list[tuple[str, str]] = [("file", facts["path"]), ("", ", ".join(title for title in titles if title))]
    rows += _decision_rows(facts["decisions"])
    rows += [
        ("shape", f"{n_bands} bands x {n_y} x {n_x} (band, y, x), {facts['dtype']}"),
        ("unit", facts["unit"] or "none (dimensionless)"),
        ("spectral axis", _spectral_row(facts["spectral_axis"])),
        ("sky", _sky_row(facts["sky"])),
        ("values", ", ".join(f"{value:.2%} {key.replace('_', ' ')}" for key, value in facts["fractions"].items())),
        ("", f"{facts['bands_with_data']} bands and {facts['pixels_with_data']} spaxels carry weight"),
        *_noise_rows(facts["noise"], facts["noise_problem"]),
        ("detection floor", f"S/N {facts['detection_floor']:.1f} of a whole component, (bands x spaxels)^(1/4)"),
        ("memory", f"about {_size(facts['memory'])} for -k {_COMPONENTS}"),
        ("try", facts["command"]),
    ]
    return "\n".join(_row(label, text) for label, text in rows)


def _row(label: str, text: str) -> str:
    if label == "try":  # never broken: it is there to be copied
        return f"{label:<{_LABEL}}{text}"
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


def _spectral_row(axis: dict[str, Any] | None) -> str:
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


def _noise_rows(noise: dict[str, Any] | None, problem: str) -> list[tuple[str, str]]:
    if noise is None:
        return [("noise", problem)]
    if noise["voxel"] is None:
        return [("noise", f"no errors in the file; scatter {noise['scatter']:.4g} per voxel ({noise['method']})")]
    box = "no whole box" if noise["box"] is None else f"{noise['box']:.3f} in sums over 3 x 3 spaxels"
    adjacent = "" if noise["adjacent"] is None else f", {noise['adjacent']:.3f} between adjacent bands"
    return [
        ("scatter / sigma", f"{noise['voxel']:.3f} per voxel, {box}{adjacent}; 1 where the errors are right"),
        ("", noise["method"]),
    ]


def _size(n_bytes: int) -> str:
    from ..io.memory import format_bytes

    return format_bytes(n_bytes)
