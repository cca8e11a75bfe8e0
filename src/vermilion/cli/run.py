"""What the commands that fit a cube share: their options, and the way from the file to the products."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import __version__
from ..errors import (
    InterruptedRunError,
    MemoryLimitError,
    NoDataError,
    NotConvergedError,
    ParameterError,
    ShapeError,
    VermilionWarning,
)
from .config import config_option
from .options import split_read_options

if TYPE_CHECKING:
    from ..datamodels import Cube, Result, SceneResult
    from ..io.writers import OutputFolder

    Outcome = Result | SceneResult

__all__ = [
    "GroupedCommand",
    "Job",
    "argv",
    "check_common_options",
    "compute_options",
    "folder_options",
    "message_options",
    "product_options",
    "progress_bar",
    "require_memory",
    "run",
    "signals_noted",
    "threads_for",
    "warnings_to_log",
]

log = logging.getLogger("vermilion")

Command = TypeVar("Command", bound=Callable[..., Any])

_HIDDEN_IN_ARGV = {"--output": 1, "--overwrite": 0, "--resume": 0, "--quiet": 0, "--verbose": 0, "--json": 0}
_HIDDEN_SHORT = re.compile(r"-[qv]+|-[qv]*o(?P<output>.*)", re.DOTALL)
_NOT_IN_RUN_TOML = ("overwrite", "resume", "dry_run", "memory")
_SMALL = 5_000_000  # voxels below which more threads only wait for each other
_DEVICES = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


# ---------------------------------------------------------------- options


class GroupedCommand(click.Command):
    """A command whose help lists the options under headings.

    Parameters
    ----------
    groups : mapping of str to sequence of str
        Names of parameters by heading, in the order in which they are shown; what no group names comes last.
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        # the name of click's own option differs from version to version
        named = (("help" if "--help" in option.opts else option.name, option.get_help_record(ctx)) for option in options)
        records = {name: record for name, record in named if record}
        for title, names in self.groups.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names if name in records])
        if records:
            with formatter.section("Other options"):
                formatter.write_dl(list(records.values()))


_COMPUTE = (
    click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of everything random."),
    click.option(
        "--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda or cuda:0; auto takes a GPU if there is one."
    ),
    click.option("--threads", type=int, metavar="N", help="CPU threads.  [default: 1 for small cubes, else all]"),
)
_PRODUCTS = (
    click.option(
        "--layout",
        type=click.Choice(["flux", "muse", "primary"]),
        default="flux",
        show_default=True,
        help="HDUs of cubes: FLUX/ERR/DQ (Cubeviz), DATA/STAT/DQ (mpdaf), or the data in the primary HDU (spectral-cube).",
    ),
    click.option("--cubes", is_flag=True, help="Also write one cube per component."),
    click.option(
        "--also",
        multiple=True,
        type=click.Choice(["envi", "mat", "tiff"]),
        help="Also write maps and spectra in this format; repeat for more.",
    ),
    click.option("--force", is_flag=True, help="Allow more components than bands or spaxels."),
)
_FOLDER = (
    click.option("--overwrite", is_flag=True, help="Replace the products of an earlier run; other files stay."),
    click.option("--resume", is_flag=True, help="Go on from a checkpoint in OUT; without one, start anew."),
    click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop."),
    config_option,
)
_MESSAGES = (
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of paths."),
    click.option("-q", "--quiet", is_flag=True, help="Errors only."),
    click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: everything."),
)


def _decorated(command: Command, options: Sequence[Callable[[Any], Any]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def compute_options(command: Command) -> Command:
    """Give a command the options ``--seed``, ``--device`` and ``--threads``."""
    return _decorated(command, _COMPUTE)


def product_options(command: Command) -> Command:
    """Give a command the options on what is written, and ``--force``, ``--dry-run`` and ``--config``."""
    return _decorated(command, (*_PRODUCTS, *_FOLDER))


def folder_options(command: Command) -> Command:
    """Give a command the options on the folder of the products, and ``--dry-run`` and ``--config``."""
    return _decorated(command, _FOLDER)


def message_options(command: Command) -> Command:
    """Give a command the options ``--json``, ``-q`` and ``-v``."""
    return _decorated(command, _MESSAGES)


def check_common_options(
    options: Mapping[str, Any], counts: Mapping[str, str] = MappingProxyType({"components": "-k/--components"})
) -> None:
    """Refuse what can be refused of the common options, and of those that count something, without reading a byte."""
    at_least = {**{name: (option, 1) for name, option in counts.items()}, "seed": ("--seed", 0), "threads": ("--threads", 1)}
    for name, (option, least) in at_least.items():
        value = options[name]
        if value is not None and value < least:
            raise ParameterError(f"{option} is {value}: expected an integer >= {least}.")
    if options["seed"] >= 2**63:
        raise ParameterError(f"--seed is {options['seed']}: expected an integer below 2^63.")
    if not _DEVICES.fullmatch(options["device"]):
        raise ParameterError(f"--device is {options['device']!r}: expected auto, cpu, cuda or cuda:0.")


# ---------------------------------------------------------------- the run


def _suits_components(cube: Cube, prepared: Any, options: dict[str, Any]) -> None:
    """Refuse a cube that is too small for so many components, or too large for the memory."""
    from ..diagnose.noise import memory_estimate

    n_bands, n_y, n_x = cube.data.shape
    weights = cube.weights > 0
    most = min(int(weights.any(axis=(1, 2)).sum()), int(weights.any(axis=0).sum()))
    if options["components"] > most and not options["force"]:
        raise ShapeError(f"{options['components']} components from a cube of rank {most} at most are arbitrary: use fewer, or --force.")
    require_memory(memory_estimate(n_bands, n_y * n_x, options["components"]), options["memory"])


def _into_components(prepared: Any, options: dict[str, Any]) -> str:
    return f"into {options['components']} components"


def _write_components(
    folder: OutputFolder, result: Any, cube: Cube, options: dict[str, Any], *, resolved: dict[str, Any], argv: list[str]
) -> list[Path]:
    from .. import pipeline

    chosen = {name: options[name] for name in ("cubes", "layout", "also")}
    return pipeline.write(result, cube, folder, options=resolved, argv=argv, **chosen)


@dataclass(frozen=True)
class Job:
    """What one command does differently from another.

    Parameters
    ----------
    verb : str
        What ``--dry-run`` says: "would separate …".
    check : callable
        ``check(options)`` refuses what can be refused without reading a byte.
    prepare : callable
        ``prepare(cube, options)`` reads what is needed beside the cube, before anything is computed.
    solve : callable
        ``solve(cube, prepared, options, progress=bool)`` returns the Result, or the SceneResult.
    facts : callable
        ``facts(result)`` adds to what ``--json`` prints.
    report : callable
        ``report(result)`` gives the lines that a user sees on stderr unless quiet.
    suits : callable
        ``suits(cube, prepared, options)`` refuses a cube for which the options, those of reading included, ask too much.
    plan : callable
        ``plan(prepared, options)`` says for ``--dry-run`` into what the cube would be taken apart.
    write : callable
        ``write(folder, result, cube, options, resolved=…, argv=…)`` writes the products; `resolved` goes to run.toml.
    """

    verb: str
    check: Callable[[dict[str, Any]], None]
    prepare: Callable[[Cube, dict[str, Any]], Any]
    solve: Callable[..., Outcome]
    facts: Callable[[Any], dict[str, Any]] = lambda result: {}
    report: Callable[[Any], Sequence[str]] = lambda result: ()
    suits: Callable[[Cube, Any, dict[str, Any]], None] = _suits_components
    plan: Callable[[Any, dict[str, Any]], str] = _into_components
    write: Callable[..., list[Path]] = _write_components


def run(
    job: Job,
    context: click.Context,
    paths: tuple[str, ...],
    output: Path,
    parameters: dict[str, Any],
    *,
    quiet: bool,
    verbose: int,
    as_json: bool,
) -> int:
    """Read, fit, write and report; returns the exit code."""
    words = list(context.find_root().obj or sys.argv[1:])
    reading, options = split_read_options(parameters)
    job.check(options)
    with _logging(quiet, verbose, words) as records, _interruptible() as interruption:
        from ..io.writers import OutputFolder

        folder = OutputFolder(output, overwrite=options["overwrite"] or options["resume"])
        folder.check()
        begin = time.perf_counter()
        cube = _read(paths, reading)
        prepared = job.prepare(cube, options)
        job.suits(cube, prepared, options | reading)
        _check_device(options["device"])
        if options["dry_run"]:
            click.echo(f"would {job.verb} {cube!r} {job.plan(prepared, options)} and write {output}", err=True)
            return 0
        with folder:
            result = job.solve(cube, prepared, options, progress=not quiet)
            log.info("%s; %d iterations, %.1f s", result.status.value, _iterations(result), time.perf_counter() - begin)
            for line in job.report(result):
                log.info("%s", line)
                if not (quiet or verbose):
                    click.echo(f"vermilion: {line}", err=True)
            interruption.defer("the products are written first; a second signal stops at once")
            products = _write(job, folder, result, cube, options | reading, argv(words), records)
        _report(products, result, job.facts(result) if as_json else None)
        return _exit_code(result, interruption, endless=options.get("tol") == 0)


def _read(paths: tuple[str, ...], reading: dict[str, Any]) -> Cube:
    from astropy.utils import iers

    from ..io import read

    iers.conf.auto_download = False  # no network, ever
    cube = read(paths, **reading)
    if not (cube.weights > 0).any():
        raise NoDataError(f"{paths[0]}: no value has a positive weight; look at it with: vermilion inspect {shlex.join(paths)}")
    return cube


def require_memory(needed: int, allowed: int | None) -> None:
    """Refuse work that needs more bytes than there are, or than are allowed."""
    from ..io.memory import available_memory, format_bytes

    there = allowed or available_memory()
    if needed > there:
        raise MemoryLimitError(
            f"about {format_bytes(needed)} are needed and {format_bytes(there)} are there: cut the cube, or raise --memory."
        )


def _check_device(device: str) -> None:
    if device.startswith("cuda"):  # asked for by name: it must be there
        from ..factorize import resolve_device

        resolve_device(device)


def threads_for(wanted: int | None, n_voxels: int) -> int:
    """Threads to compute with: what is wanted if there are as many cores, one where the cube is small."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if wanted is not None and wanted > cores:
        log.warning("--threads is %d, but there are %d cores: more threads would only wait for each other", wanted, cores)
    return min(wanted or (1 if n_voxels < _SMALL else cores), cores)


@contextmanager
def progress_bar(total: int | None, wanted: bool, doing: str) -> Iterator[tuple[Callable[[Any, Any], None], Callable[[str], None]]]:
    """A bar on stderr, if somebody is there to see it: what advances it, and what names the stage."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda A, S: None, lambda stage: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("iterations at most"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)

        def advance(A: Any, S: Any) -> None:
            bar.advance(task)

        def announce(stage: str) -> None:
            bar.update(task, description=stage)

        yield advance, announce


def _write(
    job: Job, folder: OutputFolder, result: Outcome, cube: Cube, options: dict[str, Any], argv: list[str], records: io.StringIO
) -> list[Path]:
    resolved = {name: value for name, value in options.items() if name not in _NOT_IN_RUN_TOML}
    resolved = {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(resolved.items()) if value is not None}
    paths = job.write(folder, result, cube, options, resolved=resolved, argv=argv)
    log.info("%d products in %s", len(paths), folder.path)
    folder.write("run.log", lambda target: target.write_text(records.getvalue(), encoding="utf-8"))
    folder.finish(result.status.value)
    return [*paths, folder.path / "run.log", folder.path / "manifest.sha256", folder.path / "DONE"]


def argv(given: list[str]) -> list[str]:
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


def _report(paths: list[Path], result: Outcome, more: dict[str, Any] | None) -> None:
    """Paths on stdout, or a JSON object with them where there is `more` to say."""
    if more is not None:
        facts = {"products": [str(path) for path in paths], "status": result.status.name, "objective": _objective(result)}
        facts |= {"iterations": _iterations(result), "unique": result.provenance.get("unique"), "notes": list(result.notes), **more}
        click.echo(json.dumps(facts, indent=2))
    else:
        for path in paths:
            click.echo(str(path))


def _objective(result: Outcome) -> float | None:
    """The last one, None where nothing was recorded: JSON has no NaN."""
    return result.history.objective_at(-1) if len(result.history) else None


def _iterations(result: Outcome) -> int:
    """As the solver counted them, also where the history keeps only the end."""
    return int(result.provenance.get("iterations", len(result.history)))


def _exit_code(result: Outcome, interruption: _Interruption, *, endless: bool) -> int:
    """What the process ends with; `endless`: the limit of iterations is what was asked for."""
    from ..datamodels import Status

    if interruption.code:
        log.error("error[%s]: %s; the products are written and marked", InterruptedRunError.code, result.status.value)
        return interruption.code
    if result.status is Status.CONVERGED or (result.status is Status.MAX_ITER and endless):
        return 0
    log.error("error[%s]: %s; the products are written and marked", NotConvergedError.code, result.status.value)
    return NotConvergedError.exit_code


# ---------------------------------------------------------------- messages and signals


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
        with warnings_to_log():
            yield text
    finally:
        for handler in (everything, shown):
            root.removeHandler(handler)
        log.setLevel(before)


@contextmanager
def warnings_to_log() -> Iterator[None]:
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
        """From here on the first signal is noted only; with no reason, it is obeyed."""
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


@contextmanager
def signals_noted() -> Iterator[Callable[[], bool]]:
    """Inside, the first signal interrupts nothing: what is yielded tells that it came, for a fit that ends itself."""
    interruption = signal.getsignal(signal.SIGINT)
    if not isinstance(interruption, _Interruption):
        yield lambda: False
        return
    interruption.defer("the fit ends with this iteration; a second signal stops at once")
    try:
        yield lambda: interruption.code != 0
    finally:
        interruption.defer("")
