"""``vermilion benchmark``: published tables, made again."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InterruptedRunError, MissingFileError, NotConvergedError, ParameterError
from .run import argv, warnings_to_log

if TYPE_CHECKING:
    from ..benchmark.unmixing import Row

__all__ = ["benchmark"]

log = logging.getLogger("vermilion")


@click.group()
def benchmark() -> None:
    """Make published tables again, with the same judge for every method."""


@benchmark.command()
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME", help="Data set, or group of them; repeat for more.  [default: standard]"
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Method; repeat for more.  [default: vermilion-default, vermilion-in-convention, vca+fclsu]",
)
@click.option("--seeds", type=int, metavar="N", default=10, show_default=True, help="Seeds 0 to N - 1, of noise, scenes and methods.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder with the files.  [default: VERMILION_TEST_DATA]")
@click.option("--any-version", is_flag=True, help="Take files of another checksum than that of the published ones.")
@click.option("--threads", type=int, metavar="N", default=1, show_default=True, help="CPU threads.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Folder for table.md, table.csv, benchmark.json.")
@click.option("--overwrite", is_flag=True, help="Replace the tables of an earlier run.")
@click.option("--dry-run", is_flag=True, help="List what would run, what is missing and how to get it, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a Markdown table.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: everything.")
@click.pass_context
def unmixing(
    context: click.Context,
    datasets: tuple[str, ...],
    methods: tuple[str, ...],
    seeds: int,
    data: Path | None,
    any_version: bool,
    threads: int,
    output: Path | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Unmix hyperspectral scenes of known truth: data sets x methods x seeds.

    One row per data set and method: mean +- standard deviation of the spectral angle (SAD), of the abundance error (RMSE) and more, the
    version of the ground truth, and the cost in units of scipy.optimize.nnls over all pixels. The oracles, which know the true
    endmembers, are always there. --dry-run lists data sets, groups and methods. Exit code 5: some row failed; the others are good.
    """
    _check(seeds, threads, data)
    with _messages(quiet, verbose), warnings_to_log():
        import torch

        from ..benchmark.datasets import resolve
        from ..benchmark.methods import STANDARD, check_methods
        from ..benchmark.report import circumstances
        from ..benchmark.unmixing import run
        from ..io.writers import OutputFolder

        names, wanted = resolve(list(datasets) or ["standard"]), check_methods(list(methods) or list(STANDARD))
        folder = None if output is None else OutputFolder(output, overwrite=overwrite)
        if folder is not None:
            folder.check()
        if dry_run:
            click.echo(_plan(names, wanted, data, as_json))
            return 0
        _require_any(names, data)
        torch.set_num_threads(threads)
        rows: list[Row] = []
        with _stoppable() as signals, _progress(not quiet) as announce:
            try:
                for row in run(names, wanted, seeds=seeds, data=data, any_version=any_version, announce=announce):
                    rows.append(row)
                    _tell(row)
            except KeyboardInterrupt:
                log.warning("interrupted: the %d finished rows are kept", len(rows))
        facts = circumstances(seeds=seeds, argv=argv(list(context.find_root().obj or sys.argv[1:])))
        if folder is not None:
            _write(folder, rows, facts)
        _print(rows, facts, as_json)
        return _exit_code(rows, signals)


def _check(seeds: int, threads: int, data: Path | None) -> None:
    for name, value in (("--seeds", seeds), ("--threads", threads)):
        if value < 1:
            raise ParameterError(f"{name} is {value}: expected an integer >= 1.")
    if data is not None and not data.is_dir():
        raise MissingFileError(f"--data is {str(data)!r}, which is no folder: name the one that holds the scenes.")


def _plan(names: list[str], methods: list[str], data: Path | None, as_json: bool) -> str:
    """What would run, and what is missing."""
    from ..benchmark.datasets import DATASETS, GROUPS, find_file
    from ..benchmark.methods import METHODS, ORACLES

    scenes: list[dict[str, Any]] = []
    for name in names:
        dataset = DATASETS[name]
        missing = [file.name for file in dataset.files if find_file(file, data) is None]
        scenes.append({"name": name, "version": dataset.version, "truth": dataset.truth, "missing": missing, "origin": dataset.origin})
    run = [*ORACLES, *(name for name in methods if name not in ORACLES)]
    if as_json:
        return json.dumps({"datasets": scenes, "methods": run, "groups": GROUPS, "all_methods": list(METHODS)}, indent=2)
    lines = ["data sets"]
    for scene in scenes:
        state = f"missing {', '.join(scene['missing'])}: {scene['origin']}" if scene["missing"] else "there"
        lines.append(f"  {scene['name']:<24}{scene['version']:<8}{state}")
    lines += ["methods", *(f"  {name:<24}{METHODS[name].what}" for name in run)]
    lines += [f"groups of data sets: {', '.join(f'{name} ({len(members)})' for name, members in GROUPS.items())}"]
    lines += [f"other methods: {', '.join(name for name in METHODS if name not in run)}"]
    return "\n".join(lines)


def _require_any(names: list[str], data: Path | None) -> None:
    """With no data set at all there is nothing to do."""
    from ..benchmark.datasets import DATASETS, find_file

    absent = [name for name in names if any(find_file(file, data) is None for file in DATASETS[name].files)]
    if len(absent) == len(names):
        raise MissingFileError(f"the files of {', '.join(absent)} are not there: {DATASETS[absent[0]].origin}.")


def _tell(row: Row) -> None:
    from ..benchmark.report import to_line

    log.info("%s", to_line(row))
    for failure in row.failures:
        log.warning("%s, %s: %s", row.dataset.name, row.method, failure)


def _write(folder: Any, rows: list[Row], facts: dict[str, Any]) -> None:
    from ..benchmark.report import to_csv, to_json, to_markdown

    products = {"table.md": to_markdown(rows, facts), "table.csv": to_csv(rows), "benchmark.json": to_json(rows, facts)}
    with folder:
        for name, text in products.items():
            folder.write(name, lambda target, text=text: target.write_text(text, encoding="utf-8"))
        folder.finish("finished")


def _print(rows: list[Row], facts: dict[str, Any], as_json: bool) -> None:
    from ..benchmark.report import to_json, to_markdown

    click.echo(to_json(rows, facts) if as_json else to_markdown(rows, facts), nl=False)


def _exit_code(rows: list[Row], signals: list[int]) -> int:
    if signals:
        log.error("error[%s]: the table holds what was finished", InterruptedRunError.code)
        return 128 + signals[-1]
    failed = sum(bool(row.failures) for row in rows)
    if failed:
        log.error("error[%s]: %d of %d rows failed, in whole or in part; the others are good", NotConvergedError.code, failed, len(rows))
        return NotConvergedError.exit_code
    return 0


# ---------------------------------------------------------------- messages and signals


@contextmanager
def _messages(quiet: bool, verbose: int) -> Iterator[None]:
    """Rows on stderr as they are finished, by the wish of the user."""
    handler, before = logging.StreamHandler(), log.level
    handler.setFormatter(logging.Formatter("vermilion: %(message)s"))
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose > 1 else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """SIGINT and SIGTERM end the computing, not the program; the list holds those that came."""
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[str], None]]:
    """What is being computed, on stderr if somebody is there to see it."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda stage: None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield status.update
