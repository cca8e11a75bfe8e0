"""``vermilion rank``: how many components a cube holds, as far as it tells."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import MemoryLimitError, NoDataError
from .config import config_option
from .options import input_files, read_options, split_read_options
from .run import check_common_options, compute_options, message_options, threads_for, warnings_to_log

if TYPE_CHECKING:
    from ..datamodels import Cube
    from ..rank import RankReport

__all__ = ["rank"]

log = logging.getLogger("vermilion")

_WIDTH = 80


@click.command("rank")
@input_files()
@click.option("--max", "most", type=int, metavar="K", help="Largest number to try.  [default: 12, or a third of the bands]")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Folder for rank.json and figures/rank.png.")
@click.option("--spectra", type=click.Choice(["nonneg", "free"]), default="nonneg", show_default=True, help="Constraint on the spectra.")
@click.option("--maps", type=click.Choice(["nonneg", "free"]), default="nonneg", show_default=True, help="Constraint on the maps.")
@click.option("--folds", type=int, metavar="N", default=2, show_default=True, help="Drawings of held-out values.")
@compute_options
@read_options
@click.option("--overwrite", is_flag=True, help="Replace the products of an earlier run; other files stay.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@config_option
@message_options
def rank(paths: tuple[str, ...], output: Path | None, as_json: bool, quiet: bool, verbose: int, **parameters: Any) -> int:
    """Count the components that stand above the noise of CUBE, in several ways.

    The counts and a conclusion go to stderr; where they disagree, or the noise is not what the file says, the conclusion says so and
    gives the range. With -o the paths of rank.json and a picture are printed on stdout, with --json the numbers. Exit codes are those
    of `separate`; that the number is not certain is no error.
    """
    reading, options = split_read_options(parameters)
    check_common_options(options, {"most": "--max", "folds": "--folds"})
    with _log_on_stderr(quiet, verbose):
        cube = _read(paths, reading)
        if output is not None:
            _folder(output, options["overwrite"]).check()
        if options["dry_run"]:
            click.echo(f"would count the components of {cube!r}" + ("" if output is None else f" and write {output}"), err=True)
            return 0
        report = _estimate(cube, options, progress=not quiet)
        written = [] if output is None else _write(report, output, options["overwrite"])
    if not quiet:
        click.echo(_text(report), err=True)
    if as_json:
        click.echo(json.dumps({**report.to_dict(), "products": [str(path) for path in written]}, indent=2))
    else:
        for path in written:
            click.echo(str(path))
    return 0


def _read(paths: tuple[str, ...], reading: dict[str, Any]) -> Cube:
    from astropy.utils import iers

    from ..diagnose.noise import memory_estimate
    from ..io import read
    from ..io.memory import available_memory, format_bytes

    iers.conf.auto_download = False  # no network, ever
    cube = read(paths, **reading)
    if not (cube.weights > 0).any():
        raise NoDataError(f"{paths[0]}: no value has a positive weight; look at it with: vermilion inspect {shlex.join(paths)}")
    # the eigenvalues are computed from a copy in double precision, and another one
    needed = memory_estimate(len(cube.data), cube.data[0].size, 10, itemsize=8)
    there = reading["memory"] or available_memory()
    if needed > there:
        raise MemoryLimitError(
            f"about {format_bytes(needed)} are needed and {format_bytes(there)} are there: cut the cube with --roi, --wave or --bin, "
            "or raise --memory."
        )
    return cube


def _folder(output: Path, overwrite: bool) -> Any:
    from ..io.writers import OutputFolder

    return OutputFolder(output, overwrite=overwrite)


def _estimate(cube: Cube, options: dict[str, Any], *, progress: bool) -> RankReport:
    import torch

    from ..prox import Identity, NonNegative
    from ..rank import estimate_rank

    torch.set_num_threads(threads_for(options["threads"], cube.data.size))
    constraint = {"nonneg": NonNegative(), "free": Identity()}
    with _progress(progress) as announce:
        return estimate_rank(
            cube,
            max_components=options["most"],
            seed=options["seed"],
            folds=options["folds"],
            spectra=constraint[options["spectra"]],
            morphologies=constraint[options["maps"]],
            device=options["device"],
            announce=announce,
        )


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[str], None]]:
    """The stage on stderr while it lasts, if somebody is there to see it; else in the log."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda stage: log.info("%s", stage)
        return
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield lambda stage: status.update(stage)


def _write(report: RankReport, output: Path, overwrite: bool) -> list[Path]:
    from ..plot.rank import rank as draw
    from ..plot.save import save_figure

    with _folder(output, overwrite) as folder:
        text = json.dumps(report.to_dict(), indent=2) + "\n"
        folder.write("rank.json", lambda target: target.write_text(text, encoding="utf-8"))
        folder.write("figures/rank.png", lambda target: save_figure(draw(report), target))
        folder.finish(report.sentence)
        return [folder.path / name for name in ("rank.json", "figures/rank.png", "manifest.sha256", "DONE")]


def _text(report: RankReport) -> str:
    """The estimates and the conclusion as lines of at most 80 characters."""
    width = max(len(row.name) for row in report.estimates)
    lines = [f"{report.shape[0]} bands x {report.shape[1]} pixels, up to {report.max_components} components"]
    for row in report.estimates:
        count = "-" if row.n_components is None else str(row.n_components)
        lead = f"{row.name:<{width}} {count:>4}  "
        lines.append(textwrap.fill(row.note, _WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)))
    for spread in report.spreads:
        lead = f"{'spread over starts':<{width}} {spread.n_components:>4}  "
        word = "the same spectra" if spread.unique else "other spectra"
        lines.append(f"{lead}{word} from other starts, {spread.angle:.2g} rad apart")
    return "\n".join([*lines, textwrap.fill(report.sentence, _WIDTH, break_on_hyphens=False)])


@contextmanager
def _log_on_stderr(quiet: bool, verbose: int) -> Iterator[None]:
    """Messages of vermilion on stderr, as many as were asked for."""
    handler, before = logging.StreamHandler(), log.level
    handler.setFormatter(logging.Formatter("vermilion: %(message)s"))
    log.setLevel(logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    log.addHandler(handler)
    try:
        with warnings_to_log():
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
