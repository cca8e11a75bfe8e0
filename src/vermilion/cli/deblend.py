"""``vermilion deblend``: the stars and galaxies of a scene, each with its own flux in every band."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import DeviceError, ParameterError, ShapeError
from .options import READ_OPTIONS, input_files, read_options
from .run import (
    GroupedCommand,
    Job,
    check_common_options,
    compute_options,
    folder_options,
    message_options,
    progress_bar,
    require_memory,
    run,
    signals_noted,
    threads_for,
)

if TYPE_CHECKING:
    from ..datamodels import PSF, Cube, SceneResult
    from ..io.source_catalog import Positions
    from ..io.writers import OutputFolder

__all__ = ["deblend"]

log = logging.getLogger("vermilion")

_GROUPS = {
    "Scene": ("psf", "catalog", "coordinates", "threshold", "types", "sky", "zero_point"),
    "Fit": ("max_iter", "tol", "seed", "device", "threads"),
    "Reading IMAGES": READ_OPTIONS,
    "Products": ("output", "sources", "overwrite", "resume", "config", "dry_run"),
    "Messages": ("as_json", "quiet", "verbose", "help"),
}
_PROFILE = re.compile(r"(gaussian|moffat):", re.IGNORECASE)
_NO_FILE = re.compile(r"[A-Za-z]+:[0-9.]")
_WIDTHS = re.compile(r"(?P<numbers>[0-9.,eE+-]+) *(?P<unit>[A-Za-z]*)")
_PIXELS = ("px", "pix", "pixel", "pixels")
_HIGHEST_THRESHOLD = 30
_POOR = 1.5  # chi2 per datum that calls for a word
_COPIES = 12  # of the images in float64: data, weights, model, residual, gradients and their transforms


@dataclass(frozen=True)
class _Start:
    """What is known of the scene beside its images: a PSF that replaces that of the files, and the positions of a catalog."""

    psf: PSF | None
    positions: Positions | None


@click.command(cls=GroupedCommand, groups=_GROUPS)
@input_files("IMAGES...")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", required=True, help="Folder for the products.")
@click.option(
    "--psf",
    multiple=True,
    metavar="PSF",
    help="Image of the PSF; repeat for one per band.  Or gaussian:FWHM or moffat:FWHM:BETA, with one number or one per band (0.7,0.8); "
    "FWHM in arcsec, or px (gaussian:3.2px).  [default: that of the file]",
)
@click.option(
    "--catalog",
    type=click.Path(),
    metavar="FILE",
    help="Positions of the sources, on the sky or in pixels from 0: FITS, ECSV or CSV.  [default: sources are detected]",
)
@click.option(
    "--coordinates",
    type=click.Choice(["auto", "pixel", "sky"]),
    default="auto",
    show_default=True,
    help="Which positions of a catalog that has both to take; auto: those on the sky if the images have sky coordinates.",
)
@click.option(
    "--threshold", type=float, metavar="SNR", default=5.0, show_default=True, help="Signal-to-noise ratio of the faintest source to detect."
)
@click.option(
    "--types",
    type=click.Choice(["auto", "given"]),
    default="auto",
    show_default=True,
    help="Star, galaxy or two components: by evidence, or as the catalog says.",
)
@click.option("--sky", is_flag=True, help="Fit a constant sky in each band as well.")
@click.option(
    "--zero-point", metavar="MAG[,MAG...]", help="Magnitude of a flux of 1, for all bands or for each: adds magnitudes to the catalog."
)
@click.option("--sources", is_flag=True, help="Also write the image of each source, and its share of the data.")
@click.option("--max-iter", type=int, metavar="N", default=200, show_default=True, help="Iterations after which the fit ends.")
@click.option(
    "--tol",
    type=float,
    metavar="X",
    default=1e-5,
    show_default=True,
    help="Relative decrease of the objective over 10 iterations below which the fit ends; 0: go on to --max-iter.",
)
@compute_options
@read_options
@folder_options
@message_options
@click.pass_context
def deblend(
    context: click.Context, paths: tuple[str, ...], output: Path, quiet: bool, verbose: int, as_json: bool, **parameters: Any
) -> int:
    """Take IMAGES apart into stars and galaxies; write a catalog, the sources, model, residual, pictures.

    IMAGES are a cube of bands, or one file per band. The paths of the products are printed on stdout; everything else goes to stderr and
    to OUT/run.log. Exit codes: 0 done, 2 usage, 3 unreadable input, 4 unusable input, 5 not converged (products written), 6 output,
    7 resources, 130 and 143 interrupted, 1 a bug.
    """
    job = Job(
        "deblend", _check_options, _read_start, _solve, facts=_facts, report=_report, suits=_suits_sources, plan=_into_sources, write=_write
    )
    parameters |= _psf_parameters(context, parameters)
    return run(job, context, paths, output, parameters, quiet=quiet, verbose=verbose, as_json=as_json)


# ---------------------------------------------------------------- options


def _psf_parameters(context: click.Context, parameters: dict[str, Any]) -> dict[str, Any]:
    """--psf with files is --psf-file; of the two, the one on the command line wins over the one in --config."""
    psf, files = parameters["psf"], parameters["psf_file"]
    if psf and files:
        sources = {name: context.get_parameter_source(name) for name in ("psf", "psf_file")}
        told = [name for name, source in sources.items() if source is not ParameterSource.DEFAULT_MAP]
        if len(told) != 1:
            raise ParameterError("--psf and --psf-file are both given: give one of them.")
        psf, files = (psf, ()) if told == ["psf"] else ((), files)
    if psf and not any(_PROFILE.match(text) for text in psf):
        if odd := next((text for text in psf if _NO_FILE.match(text) and not Path(text).exists()), None):
            raise ParameterError(f"--psf is {odd!r}: expected a file, gaussian:FWHM or moffat:FWHM:BETA.")
        psf, files = (), psf
    return {"psf": psf, "psf_file": files}


def _check_options(options: dict[str, Any]) -> None:
    """What can be refused without reading a byte."""
    check_common_options(options, {"max_iter": "--max-iter"})
    if not 0 <= options["tol"] < 1:
        raise ParameterError(f"--tol is {options['tol']}: expected a number in [0, 1).")
    if not 0 < options["threshold"] <= _HIGHEST_THRESHOLD:
        raise ParameterError(f"--threshold is {options['threshold']}: expected a number > 0 and <= {_HIGHEST_THRESHOLD}.")
    if options["types"] == "given" and options["catalog"] is None:
        raise ParameterError("--types given needs a catalog that says what each source is: add --catalog FILE.")
    _zero_points(options["zero_point"])
    if options["psf"]:
        _profile(options["psf"])


def _zero_points(text: str | None) -> list[float]:
    return [] if text is None else _numbers(text, f"--zero-point is {text!r}")


def _numbers(text: str, what: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ParameterError(f"{what}: expected a number, or one per band with commas between them.")
    return numbers


def _profile(words: tuple[str, ...]) -> tuple[list[float], str, list[float] | None]:
    """Widths, their unit ('' where none is given) and powers of the profile that --psf names."""
    if len(words) > 1:
        raise ParameterError(f"--psf is given {len(words)} times: expected one profile, or one file per band.")
    name, _, rest = words[0].partition(":")
    width, colon, power = rest.partition(":")
    what = f"--psf is {words[0]!r}"
    found = _WIDTHS.fullmatch(width.strip())
    if found is None or bool(colon) != (name.lower() == "moffat"):
        raise ParameterError(f"{what}: expected gaussian:FWHM or moffat:FWHM:BETA, such as gaussian:0.7 or moffat:3.2px:2.5.")
    widths, powers = _numbers(found["numbers"], what), _numbers(power, what) if colon else None
    if min(widths) <= 0:
        raise ParameterError(f"{what}: expected a FWHM > 0.")
    if powers is not None and min(powers) <= 1:
        raise ParameterError(f"{what}: expected a BETA > 1, where the flux of a Moffat profile is finite.")
    return widths, found["unit"], powers


# ---------------------------------------------------------------- the run


def _read_start(cube: Cube, options: dict[str, Any]) -> _Start:
    """The PSF and the positions, before anything is computed."""
    n_zero_points = len(_zero_points(options["zero_point"]))
    if n_zero_points not in (0, 1, cube.frame.n_bands):
        raise ShapeError(f"--zero-point gives {n_zero_points} magnitudes for {cube.frame.n_bands} bands: expected one per band, or one.")
    psf = _psf_of(cube, options["psf"])
    if psf is None and cube.psf is None:
        raise ParameterError("the images carry no PSF: add --psf FILE (one image per band, or one for all) or --psf gaussian:FWHM.")
    return _Start(psf, _positions(cube, options))


def _psf_of(cube: Cube, words: tuple[str, ...]) -> PSF | None:
    """The profile that --psf names, if it names one."""
    if not words:
        return None
    import numpy as np
    from astropy import units as u

    from ..datamodels import PSF

    widths, unit, powers = _profile(words)
    n_bands = cube.frame.n_bands
    for what, numbers in (("widths", widths), ("powers", powers or widths)):
        if len(numbers) not in (1, n_bands):
            raise ShapeError(
                f"--psf {words[0]} gives {len(numbers)} {what}, the images have {n_bands} bands: expected one per band, or one."
            )
    on_sky = cube.frame.wcs is not None and cube.frame.wcs.has_celestial
    if not unit:
        unit = "arcsec" if on_sky else "px"
        log.info("--psf %s: FWHM in %s, as the images have %s", words[0], unit, "sky coordinates" if on_sky else "no sky coordinates")
    parsed = u.pix if unit.lower() in _PIXELS else u.Unit(unit, parse_strict="silent")
    if parsed is not u.pix and not parsed.is_equivalent(u.arcsec):
        raise ParameterError(f"--psf {words[0]}: {unit!r} is no unit of a width: expected arcsec or px.")
    if parsed is not u.pix and not on_sky:
        raise ParameterError(f"--psf {words[0]}: the images have no sky coordinates that tell how large a pixel is: give the FWHM in px.")
    fwhm = u.Quantity(np.broadcast_to(widths, n_bands), parsed)
    beta = None if powers is None else np.broadcast_to(powers, n_bands).astype(float)
    return PSF(fwhm=fwhm, beta=beta, source=f"option --psf {words[0]}")


def _positions(cube: Cube, options: dict[str, Any]) -> Positions | None:
    """The positions in the catalog, if there is one."""
    if options["catalog"] is None:
        return None
    from ..io.source_catalog import read_catalog

    wcs = cube.frame.wcs
    celestial = wcs.celestial if wcs is not None and wcs.has_celestial else None
    positions = read_catalog(options["catalog"], wcs=celestial, shape=cube.frame.shape, coordinates=options["coordinates"])
    if options["types"] == "given" and None in positions.kinds:
        unknown = positions.identifiers[positions.kinds.index(None)]
        raise ParameterError(f"--types given: {options['catalog']} does not say what source {unknown} is: use --types auto.")
    return positions


def _suits_sources(cube: Cube, start: _Start, options: dict[str, Any]) -> None:
    """Refuse a scene whose images of single sources would not fit into the memory."""
    n_sources = 1 if start.positions is None else len(start.positions)
    images_each = 2 if options["sources"] else 1
    require_memory(8 * cube.data.size * (_COPIES + images_each * n_sources), options["memory"])


def _into_sources(start: _Start, options: dict[str, Any]) -> str:
    if start.positions is None:
        return f"into the sources of a signal-to-noise ratio above {options['threshold']:g}"
    return f"into the {len(start.positions)} sources of {options['catalog']}"


def _solve(cube: Cube, start: _Start, options: dict[str, Any], *, progress: bool) -> SceneResult:
    import torch

    from ..deblend import deblend as deblend_images

    options["threads"] = threads_for(options["threads"], cube.data.size)
    torch.set_num_threads(options["threads"])
    with progress_bar(options["max_iter"], progress, "deblending") as (advance, announce), signals_noted() as interrupted:

        def watch(iteration: int, objective: float) -> bool:
            advance(iteration, objective)
            return interrupted()

        try:
            return deblend_images(
                cube,
                psf=start.psf,
                catalog=start.positions,
                types=start.positions.kinds if start.positions is not None and options["types"] == "given" else None,
                zero_points=_zero_points(options["zero_point"]) or None,
                announce=announce,
                callbacks=watch,
                **{name: options[name] for name in ("sky", "threshold", "max_iter", "tol", "seed", "device")},
            )
        except torch.OutOfMemoryError as error:
            raise DeviceError(f"the device ran out of memory ({error}): use --device cpu, or cut the images.") from error


# ---------------------------------------------------------------- products and messages


def _write(
    folder: OutputFolder, result: SceneResult, cube: Cube, options: dict[str, Any], *, resolved: dict[str, Any], argv: list[str]
) -> list[Path]:
    from ..io.writers.scene import write_scene

    shares = None
    if options["sources"]:
        from ..measure import redistribute

        shares = redistribute(result.models, cube.data, cube.weights)
    paths = write_scene(folder, result, cube, options=resolved, argv=argv, shares=shares)
    return [*paths, *_draw(folder, result, cube)]


def _draw(folder: OutputFolder, result: SceneResult, cube: Cube) -> list[Path]:
    """The pictures, one at a time."""
    from ..plot import flux_history, save_figure, scene_rgb, source_rows

    data, weights = cube.data, cube.weights
    pictures = {
        "scene": lambda: scene_rgb(data, weights, result),
        "sources": lambda: source_rows(data, weights, result),
        "flux_history": lambda: flux_history(result),
    }
    if len(result.flux_iterations) < 2:
        del pictures["flux_history"]
    return [
        folder.write(f"figures/{name}.png", lambda path, draw=draw: save_figure(draw(), path))  # type: ignore[misc]
        for name, draw in pictures.items()
    ]


def _facts(result: SceneResult) -> dict[str, Any]:
    """What ``--json`` tells beyond paths and status."""
    return {
        "n_sources": len(result.sources),
        "kinds": dict(Counter(source.kind for source in result.sources)),
        "chi2": result.chi2,
        "n_data": result.n_data,
        "sources": [
            {
                "kind": source.kind,
                "x": source.center[1],
                "y": source.center[0],
                "fluxes": _by_band(result, result.fluxes[k]),
                "flux_errors": _by_band(result, result.flux_errors[k]),
                "probabilities": source.probabilities,
            }
            for k, source in enumerate(result.sources)
        ],
    }


def _by_band(result: SceneResult, values: Any) -> dict[str, float | None]:
    """Plain numbers; JSON has no NaN."""
    return {band: float(value) if math.isfinite(value) else None for band, value in zip(result.bands, values, strict=True)}


def _report(result: SceneResult) -> list[str]:
    """The lines that a user sees: what the scene was taken for, how well it fits, and what must be read."""
    kinds = Counter(source.kind for source in result.sources).most_common()
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds)
    per_datum = result.chi2 / max(result.n_data, 1)
    chi2 = f"chi2 {result.chi2:.6g} for {result.n_data} data, {per_datum:.4g} per datum"
    notes = [*result.notes]
    if per_datum > _POOR:
        notes.append(f"chi2 is {per_datum:.3g} per datum: sources are missing, or PSF or noise are not those told; see figures/scene.png")
    plural = "" if len(result.sources) == 1 else "s"
    return [f"{len(result.sources)} source{plural}: {counts}", chi2, *(f"note: {note}" for note in notes)]
