"""``vermilion separate``: the main job."""

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

__all__ = ["separate"]

_GROUPS = {
    "Components": ("components", "spectra", "maps", "entropy", "sparsity", "templates", "force"),
    "Fit": ("solver", "init", "starts", "seed", "max_iter", "tol", "dtype", "device", "threads"),
    "Reading CUBE": READ_OPTIONS,
    "Products": ("output", "layout", "cubes", "also", "overwrite", "resume", "config", "dry_run"),
    "Messages": ("as_json", "quiet", "verbose", "help"),
}


@click.command(cls=GroupedCommand, groups=_GROUPS)
@input_files()
@click.option("-k", "--components", type=int, metavar="K", required=True, help="Number of components.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", required=True, help="Folder for the products.")
@click.option(
    "--spectra",
    type=click.Choice(["nonneg", "simplex", "unit-sum", "free"]),
    default="nonneg",
    show_default=True,
    help="Constraint on the spectra: >= 0; >= 0 with sum 1, by projection or by division; none.",
)
@click.option(
    "--maps", type=click.Choice(["nonneg", "free"]), default="nonneg", show_default=True, help="Constraint on the maps: >= 0, or none."
)
@click.option(
    "--entropy",
    type=float,
    metavar="ALPHA",
    help="Pull the maps towards flat ones: relative entropy of strength ALPHA; maps are >= 0.",
)
@click.option("--sparsity", type=float, metavar="LAMBDA", help="Pull the maps towards zero with strength LAMBDA; maps are >= 0.")
@click.option(
    "--fix-spectrum",
    "templates",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Table with a known spectrum, which is held; repeat for more.",
)
@click.option(
    "--solver",
    type=click.Choice(["auto", "block", "palm", "pgm", "adaprox", "admm", "proxmin"]),
    default="auto",
    show_default=True,
    help="block: closed-form steps in turn; palm, pgm, adaprox, admm: gradients by autograd; proxmin: that package.  auto is block.",
)
@click.option(
    "--init",
    type=click.Choice(["auto", "kmeans", "nfindr", "nndsvd", "random", "sivm", "snpa", "spa", "vca"]),
    default="auto",
    show_default=True,
    help="Start: extreme pixels (spa, vca, nfindr, snpa, sivm), centers of clusters, singular vectors or random numbers.  auto is spa.",
)
@click.option("--starts", type=int, metavar="N", help="Random starts to test uniqueness with.  [default: 5 unless the cube is large]")
@click.option("--max-iter", type=int, metavar="N", default=2000, show_default=True, help="Iterations after which the fit ends.")
@click.option(
    "--tol",
    type=float,
    metavar="X",
    default=1e-5,
    show_default=True,
    help="Relative decrease of the objective over 10 iterations below which the fit ends; 0: go on to --max-iter.",
)
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True, help="Precision of the computation."
)
@compute_options
@read_options
@product_options
@message_options
@click.pass_context
def separate(
    context: click.Context, paths: tuple[str, ...], output: Path, quiet: bool, verbose: int, as_json: bool, **parameters: Any
) -> int:
    """Separate CUBE into components; write spectra, maps, model, residual, pictures.

    The paths of the products are printed on stdout; everything else goes to stderr and to OUT/run.log. Exit codes: 0 done, 2 usage,
    3 unreadable input, 4 unusable input, 5 not converged (products written), 6 output, 7 resources, 130 and 143 interrupted, 1 a bug.
    """
    job = Job("separate", _check_options, _read_templates, _solve)
    return run(job, context, paths, output, parameters, quiet=quiet, verbose=verbose, as_json=as_json)


def _check_options(options: dict[str, Any]) -> None:
    """What can be refused without reading a byte."""
    check_common_options(options)
    for name, value, least in (("--max-iter", options["max_iter"], 1), ("--starts", options["starts"], 0)):
        if value is not None and value < least:
            raise ParameterError(f"{name} is {value}: expected an integer >= {least}.")
    if not 0 <= options["tol"] < 1:
        raise ParameterError(f"--tol is {options['tol']}: expected a number in [0, 1).")
    if len(options["templates"]) > options["components"]:
        raise ParameterError(f"{len(options['templates'])} spectra are fixed, but there are only {options['components']} components.")
    for name in ("entropy", "sparsity"):
        if options[name] is not None and not 0 < options[name] < float("inf"):
            raise ParameterError(f"--{name} is {options[name]}: expected a finite number > 0.")
    if options["entropy"] is not None and options["sparsity"] is not None:
        raise ParameterError("--entropy and --sparsity pull in opposite directions: give one of them.")
    given = next((name for name in ("entropy", "sparsity") if options[name] is not None), None)
    if given and options["maps"] == "free":
        raise ParameterError(f"--{given} makes the maps non-negative, --maps free does not: give one of them.")


def _read_templates(cube: Cube, options: dict[str, Any]) -> dict[int, Any]:
    """Known spectra on the bands of the cube, by component."""
    from ..io.templates import read_template

    return {k: read_template(file, cube.frame.spectral_axis, cube.frame.n_bands) for k, file in enumerate(options["templates"])}


def _solve(cube: Cube, known: dict[int, Any], options: dict[str, Any], *, progress: bool) -> Result:
    import torch

    from .. import pipeline

    options["threads"] = threads_for(options["threads"], cube.data.size)
    torch.set_num_threads(options["threads"])
    spectra, morphologies = _constraints(options)
    with progress_bar(options["max_iter"], progress, "separating") as (advance, announce):
        try:
            return pipeline.separate(
                cube,
                n_components=options["components"],
                spectra=spectra,
                morphologies=morphologies,
                entropy=options["entropy"],
                sparsity=options["sparsity"],
                fixed_spectra=known,
                starts="auto" if options["starts"] is None else options["starts"],
                announce=announce,
                callbacks=() if options["solver"] == "proxmin" else (advance,),
                **{name: options[name] for name in ("init", "solver", "max_iter", "tol", "seed", "dtype", "device")},
            )
        except torch.OutOfMemoryError as error:
            raise DeviceError(f"the device ran out of memory ({error}): use --device cpu, or cut the cube.") from error


def _constraints(options: dict[str, Any]) -> tuple[Any, Any]:
    from ..prox import Chain, Identity, NonNegative, Simplex, UnitSum

    spectra = {"nonneg": NonNegative(), "simplex": Simplex(0), "unit-sum": Chain(NonNegative(), UnitSum(0)), "free": Identity()}
    maps = {"nonneg": NonNegative(), "free": Identity()}
    return spectra[options["spectra"]], maps[options["maps"]]
