"""``vermilion unmix``: endmembers and abundances of a hyperspectral image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DeviceError, ParameterError
from .options import READ_OPTIONS, input_files, read_options
from .run import (
    GroupedCommand,
    Job,
    check_common_options,
    compute_options,
    message_options,
    product_options,
    progress_bar,
    run,
    threads_for,
)

if TYPE_CHECKING:
    from ..datamodels import Cube, Result

__all__ = ["unmix"]

_HALF_PI = 1.5707963267948966
_GROUPS = {
    "Endmembers": ("components", "method", "normalize", "abundances", "spatial", "init", "force"),
    "Names": ("library", "name_limit"),
    "Computing": ("seed", "device", "threads"),
    "Reading IMAGE": READ_OPTIONS,
    "Products": ("output", "layout", "cubes", "also", "overwrite", "resume", "config", "dry_run"),
    "Messages": ("as_json", "quiet", "verbose", "help"),
}


@click.command(cls=GroupedCommand, groups=_GROUPS)
@input_files("IMAGE...")
@click.option("-k", "--components", "--endmembers", type=int, metavar="K", required=True, help="Number of endmembers.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", required=True, help="Folder for the products.")
@click.option(
    "--method",
    type=click.Choice(["auto", "archetypes", "minimum-volume", "nmf", "vertices"]),
    default="auto",
    show_default=True,
    help="How endmembers are found; vertices: the start alone.  auto decides from the data and says so.",
)
@click.option(
    "--normalize",
    type=click.Choice(["auto", "none", "l1", "l2", "l2-floor"]),
    default="auto",
    show_default=True,
    help="What each pixel is divided by before endmembers are looked for.  auto decides from the data.",
)
@click.option(
    "--abundances",
    type=click.Choice(["auto", "fclsu", "nnls-renormalized", "as-solved"]),
    default="auto",
    show_default=True,
    help="Sum to 1 in the fit to the data; by dividing non-negative ones by their sum; in the fit to normalized pixels.  auto decides.",
)
@click.option("--spatial", type=float, metavar="X", default=0.0, show_default=True, help="Strength of the smoothness of the maps.")
@click.option("--init", metavar="NAME", help="Start, such as vca, spa, nfindr or random.  [default: that of the method]")
@click.option(
    "--library",
    type=click.Path(),
    metavar="LIB",
    help="Known spectra to name the endmembers by: ENVI library, table, .npz, components.fits, or a folder of two-column text.",
)
@click.option(
    "--name-limit",
    type=float,
    metavar="RAD",
    default=0.15,
    show_default=True,
    help="Spectral angle beyond which an endmember is unlike anything in LIB.",
)
@compute_options
@read_options
@product_options
@message_options
@click.pass_context
def unmix(context: click.Context, paths: tuple[str, ...], output: Path, quiet: bool, verbose: int, as_json: bool, **parameters: Any) -> int:
    """Unmix IMAGE into endmembers; write their spectra, abundance maps, model, residual, pictures.

    Reads ENVI, MATLAB, NumPy, netCDF and FITS files. The paths of the products are printed on stdout; everything else goes to stderr and to
    OUT/run.log. Exit codes: 0 done, 2 usage, 3 unreadable input, 4 unusable input, 5 not converged (products written), 6 output,
    7 resources, 130 and 143 interrupted, 1 a bug.
    """
    job = Job("unmix", _check_options, _read_library, _solve, facts=_facts, report=_report)
    return run(job, context, paths, output, parameters, quiet=quiet, verbose=verbose, as_json=as_json)


def _check_options(options: dict[str, Any]) -> None:
    """What can be refused without reading a byte."""
    check_common_options(options)
    if not 0 <= options["spatial"] < float("inf"):
        raise ParameterError(f"--spatial is {options['spatial']}: expected a finite number >= 0.")
    if not 0 < options["name_limit"] <= _HALF_PI:
        raise ParameterError(f"--name-limit is {options['name_limit']}: expected an angle in rad, above 0 and at most pi/2.")


def _read_library(cube: Cube, options: dict[str, Any]) -> Any:
    """The library, if it can be brought onto the bands of the image."""
    if options["library"] is None:
        return None
    from ..io.spectral_library import read_library
    from ..unmix import library_on_bands

    library = read_library(options["library"])
    library_on_bands(library, cube.frame)
    return library


def _solve(cube: Cube, library: Any, options: dict[str, Any], *, progress: bool) -> Result:
    import torch

    from ..unmix import name_endmembers
    from ..unmix import unmix as unmix_image

    options["threads"] = threads_for(options["threads"], cube.data.size)
    torch.set_num_threads(options["threads"])
    with progress_bar(None, progress, "unmixing") as (_, announce):
        try:
            result = unmix_image(
                cube,
                options["components"],
                announce=announce,
                **{name: options[name] for name in ("method", "normalize", "abundances", "spatial", "init", "seed", "device")},
            )
        except torch.OutOfMemoryError as error:
            raise DeviceError(f"the device ran out of memory ({error}): use --device cpu, or cut the image.") from error
    if library is None:
        return result
    return name_endmembers(result, library, limit=options["name_limit"], source=options["library"])


def _facts(result: Result) -> dict[str, Any]:
    """What ``--json`` tells beyond paths and status."""
    told = {name: result.provenance.get(name) for name in ("method", "normalize", "convention")}
    return told | {"normalization": result.normalization, "endmembers": _finite(result)}


def _finite(result: Result) -> list[dict[str, Any]]:
    """One table per endmember, for JSON: it has no number for NaN."""
    named = result.provenance.get("names_from_library") or [{"component": k, "name": name} for k, name in enumerate(result.names)]
    return [{key: None if value != value else value for key, value in table.items()} for table in named]


def _report(result: Result) -> list[str]:
    """The lines that a user sees: how the maps are normalized, and the names."""
    return [result.normalization, *(f"note: {note}" for note in result.notes)]
