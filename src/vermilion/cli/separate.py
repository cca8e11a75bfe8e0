"""``vermilion separate``: the main job."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import (
    DeviceError,
    InterruptedRunError,
    MemoryLimitError,
    NoDataError,
    NotConvergedError,
    ParameterError,
    ShapeError,
    VermilionWarning,
)
from .config import config_option
from .options import READ_OPTIONS, input_files, read_options, split_read_options

if TYPE_CHECKING:
    from ..datamodels import Cube, Result
    from ..io.writers import OutputFolder

__all__ = ["separate"]

log = logging.getLogger("vermilion")

_HIDDEN_IN_ARGV = {"--output": 1, "--overwrite": 0, "--resume": 0, "--quiet": 0, "--verbose": 0, "--json": 0}
_HIDDEN_SHORT = re.compile(r"-[qv]+|-[qv]*o(?P<output>.*)", re.DOTALL)
_SMALL = 5_000_000  # voxels below which more threads only wait for each other
_DEVICES = re.compile(r"auto|cpu|cuda(:\d{1,3})?")

_GROUPS = {
    "Components": ("components", "spectra", "maps", "entropy", "sparsity", "templates", "force"),
    "Fit": ("solver", "init", "starts", "seed", "max_iter", "tol", "dtype", "device", "threads"),
    "Reading CUBE": READ_OPTIONS,
    "Products": ("output", "layout", "cubes", "also", "overwrite", "resume", "config", "dry_run"),
    "Messages": ("as_json", "quiet", "verbose", "help"),
}


class GroupedCommand(click.Command):
    """A command whose help lists the options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group; what no group names comes last."""
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        # the name of click's own option differs from version to version
        named = (("help" if "--help" in option.opts else option.name, option.get_help_record(ctx)) for option in options)
        records = {name: record for name, record in named if record}
        for title, names in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names if name in records])
        if records:
            with formatter.section("Other options"):
                formatter.write_dl(list(records.values()))


@click.command(cls=GroupedCommand)
@input_files
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
    type=click.Choice(["auto", "spa", "random"]),
    default="auto",
    show_default=True,
    help="Start from the spectra of extreme pixels (spa), or from random numbers.  auto is spa.",
)
@click.option("--starts", type=int, metavar="N", help="Random starts to test uniqueness with.  [default: 5 unless the cube is large]")
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of everything random.")
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
@click.option("--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda or cuda:0; auto takes a GPU if there is one.")
@click.option("--threads", type=int, metavar="N", help="CPU threads.  [default: 1 for small cubes, else all]")
@read_options
@click.option(
    "--layout",
    type=click.Choice(["flux", "muse", "primary"]),
    default="flux",
    show_default=True,
    help="HDUs of cubes: FLUX/ERR/DQ (Cubeviz), DATA/STAT/DQ (mpdaf), or the data in the primary HDU (spectral-cube).",
)
@click.option("--cubes", is_flag=True, help="Also write one cube per component.")
@click.option(
    "--also", multiple=True, type=click.Choice(["envi", "mat", "tiff"]), help="Also write maps and spectra in this format; repeat for more."
)
@click.option("--overwrite", is_flag=True, help="Replace the products of an earlier run; other files stay.")
@click.option("--resume", is_flag=True, help="Go on from a checkpoint in OUT; without one, start anew.")
@click.option("--force", is_flag=True, help="Allow more components than bands or spaxels.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of paths.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: everything.")
@click.pass_context
def separate(
    context: click.Context, paths: tuple[str, ...], output: Path, quiet: bool, verbose: int, as_json: bool, **parameters: Any
) -> int:
    """Separate CUBE into components; write spectra, maps, model, residual, pictures.

    The paths of the products are printed on stdout; everything else goes to stderr and to OUT/run.log. Exit codes: 0 done, 2 usage,
    3 unreadable input, 4 unusable input, 5 not converged (products written), 6 output, 7 resources, 130 and 143 interrupted, 1 a bug.
    """
    words = list(context.find_root().obj or sys.argv[1:])
    reading, options = split_read_options(parameters)
    _check_options(options)
    with _logging(quiet, verbose, words) as records, _interruptible() as interruption:
        from ..io.writers import OutputFolder

        folder = OutputFolder(output, overwrite=options["overwrite"] or options["resume"])
        folder.check()
        begin = time.perf_counter()
        cube = _read(paths, reading, options)
        known = _read_templates(cube, options)
        _check_device(options["device"])
        if options["dry_run"]:
            click.echo(f"would separate {cube!r} into {options['components']} components and write {output}", err=True)
            return 0
        with folder:
            result = _solve(cube, known, options, progress=not quiet)
            log.info("%s; %d iterations, %.1f s", result.status.value, len(result.history), time.perf_counter() - begin)
            interruption.defer("the products are written first; a second signal stops at once")
            products = _write(folder, result, cube, options | reading, _argv(words), records)
        _report(products, result, as_json)
        return _exit_code(result, options["tol"], interruption)


def _check_options(options: dict[str, Any]) -> None:
    """What can be refused without reading a byte."""
    for name, value, least in (
        ("-k/--components", options["components"], 1),
        ("--max-iter", options["max_iter"], 1),
        ("--seed", options["seed"], 0),
        ("--threads", options["threads"], 1),
        ("--starts", options["starts"], 0),
    ):
        if value is not None and value < least:
            raise ParameterError(f"{name} is {value}: expected an integer >= {least}.")
    if options["seed"] >= 2**63:
        raise ParameterError(f"--seed is {options['seed']}: expected an integer below 2^63.")
    if not _DEVICES.fullmatch(options["device"]):
        raise ParameterError(f"--device is {options['device']!r}: expected auto, cpu, cuda or cuda:0.")
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


def _read(paths: tuple[str, ...], reading: dict[str, Any], options: dict[str, Any]) -> Cube:
    from astropy.utils import iers

    from ..diagnose.noise import memory_estimate
    from ..io import read
    from ..io.memory import available_memory, format_bytes

    iers.conf.auto_download = False  # no network, ever
    cube = read(paths, **reading)
    n_bands, n_y, n_x = cube.data.shape
    weights = cube.weights > 0
    most = min(int(weights.any(axis=(1, 2)).sum()), int(weights.any(axis=0).sum()))
    if most == 0:
        raise NoDataError(f"{paths[0]}: no value has a positive weight; look at it with: vermilion inspect {shlex.join(paths)}")
    if options["components"] > most and not options["force"]:
        raise ShapeError(f"{options['components']} components from a cube of rank {most} at most are arbitrary: use fewer, or --force.")
    needed, there = memory_estimate(n_bands, n_y * n_x, options["components"]), reading["memory"] or available_memory()
    if needed > there:
        raise MemoryLimitError(
            f"about {format_bytes(needed)} are needed and {format_bytes(there)} are there: cut the cube, or raise --memory."
        )
    return cube


def _read_templates(cube: Cube, options: dict[str, Any]) -> dict[int, Any]:
    """Known spectra on the bands of the cube, by component."""
    from ..io.templates import read_template

    return {k: read_template(file, cube.frame.spectral_axis, cube.frame.n_bands) for k, file in enumerate(options["templates"])}


def _check_device(device: str) -> None:
    if device.startswith("cuda"):  # asked for by name: it must be there
        from ..factorize import resolve_device

        resolve_device(device)


def _threads(wanted: int | None, n_voxels: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if wanted is not None and wanted > cores:
        log.warning("--threads is %d, but there are %d cores: more threads would only wait for each other", wanted, cores)
    return min(wanted or (1 if n_voxels < _SMALL else cores), cores)


def _solve(cube: Cube, known: dict[int, Any], options: dict[str, Any], *, progress: bool) -> Result:
    import torch

    from .. import pipeline

    options["threads"] = _threads(options["threads"], cube.data.size)
    torch.set_num_threads(options["threads"])
    spectra, morphologies = _constraints(options)
    with _progress(options["max_iter"], progress) as (advance, announce):
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


@contextmanager
def _progress(total: int, wanted: bool) -> Iterator[tuple[Callable[[Any, Any], None], Callable[[str], None]]]:
    """A bar on stderr, if somebody is there to see it: what advances it, and what names the stage."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda A, S: None, lambda stage: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("iterations at most"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("separating", total=total)

        def advance(A: Any, S: Any) -> None:
            bar.advance(task)

        def announce(stage: str) -> None:
            bar.update(task, description=stage)

        yield advance, announce


def _write(folder: OutputFolder, result: Result, cube: Cube, options: dict[str, Any], argv: list[str], records: io.StringIO) -> list[Path]:
    from .. import pipeline

    resolved = {name: value for name, value in options.items() if name not in ("overwrite", "resume", "dry_run", "memory")}
    resolved = {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(resolved.items()) if value is not None}
    paths = pipeline.write(
        result, cube, folder, cubes=options["cubes"], layout=options["layout"], also=options["also"], options=resolved, argv=argv
    )
    log.info("%d products in %s", len(paths), folder.path)
    folder.write("run.log", lambda target: target.write_text(records.getvalue(), encoding="utf-8"))
    folder.finish(result.status.value)
    return [*paths, folder.path / "run.log", folder.path / "manifest.sha256", folder.path / "DONE"]


def _argv(given: list[str]) -> list[str]:
    """The command without what does not change a product: the name of the folder, and what goes to the terminal."""
    words, skip = ["vermilion"], False
    for word in given:
        name, equals, _ = word.partition("=")
        short = _HIDDEN_SHORT.fullmatch(word)
        if skip:
            skip = False
        elif short:
            skip = short["output"] == ""
        elif name in _HIDDEN_IN_ARGV:
            skip = not equals and bool(_HIDDEN_IN_ARGV[name])
        else:
            words.append(word)
    return words


def _report(paths: list[Path], result: Result, as_json: bool) -> None:
    if as_json:
        facts = {"products": [str(path) for path in paths], "status": result.status.name, "objective": result.objective}
        facts |= {"iterations": len(result.history), "unique": result.provenance.get("unique"), "notes": list(result.notes)}
        click.echo(json.dumps(facts, indent=2))
    else:
        for path in paths:
            click.echo(str(path))


def _exit_code(result: Result, tol: float, interruption: _Interruption) -> int:
    from ..datamodels import Status

    if interruption.code:
        log.error("error[%s]: %s; the products are written and marked", InterruptedRunError.code, result.status.value)
        return interruption.code
    if result.status is Status.CONVERGED or (result.status is Status.MAX_ITER and tol == 0):
        return 0
    log.error("error[%s]: %s; the products are written and marked", NotConvergedError.code, result.status.value)
    return NotConvergedError.exit_code


@contextmanager
def _logging(quiet: bool, verbose: int, words: list[str]) -> Iterator[io.StringIO]:
    """Messages go to stderr by the wish of the user, and all of them to a text that becomes run.log."""
    text = io.StringIO()
    text.write(f"vermilion {__version__}: {shlex.join(['vermilion', *words])}\n")
    everything, shown = logging.StreamHandler(text), logging.StreamHandler()
    everything.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    shown.setFormatter(logging.Formatter("vermilion: %(message)s"))
    shown.setLevel(logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    # other packages have their say in the log, and on stderr when more is asked for
    shown.addFilter(lambda record: bool(verbose) or record.name.partition(".")[0] == "vermilion")
    root, before = logging.getLogger(), log.level
    log.setLevel(logging.DEBUG)
    for handler in (everything, shown):
        root.addHandler(handler)
    try:
        with _warnings_to_log():
            yield text
    finally:
        for handler in (everything, shown):
            root.removeHandler(handler)
        log.setLevel(before)


@contextmanager
def _warnings_to_log() -> Iterator[None]:
    """Warnings of vermilion are messages to the user, those of other packages notes for run.log."""

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        if issubclass(category, VermilionWarning):
            log.warning("%s", message)
        else:
            log.debug("%s:%d: %s: %s", filename, lineno, category.__name__, message)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("always", VermilionWarning)
        warnings.showwarning = show
        yield


class _Interruption:
    """SIGINT and SIGTERM end the fit, not the program: what was found until then is written.

    Attributes
    ----------
    code : int
        Exit code that the last signal asks for; 0 while there was none.
    """

    def __init__(self) -> None:
        self.code = 0
        self._later = ""

    def __call__(self, number: int, frame: Any) -> None:
        """Be the handler of a signal."""
        self.code = 128 + number
        if not self._later:
            raise KeyboardInterrupt
        log.warning("interrupted: %s", self._later)
        self._later = ""

    def defer(self, reason: str) -> None:
        """From here on the first signal is noted only."""
        self._later = reason


@contextmanager
def _interruptible() -> Iterator[_Interruption]:
    """Signals as an `_Interruption`; where one ended more than a fit, the error that says so."""
    interruption = _Interruption()
    handlers = {number: signal.signal(number, interruption) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    except KeyboardInterrupt:
        message = "interrupted; the products in the folder are complete only if it holds DONE."
        raise InterruptedRunError(message, exit_code=interruption.code or 130) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
