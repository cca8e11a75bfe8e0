"""The rows as a table for a page (Markdown), for a program (CSV), and whole (JSON)."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

import torch

from .. import __version__
from .methods import DEFAULTS
from .unmixing import Row

__all__ = ["circumstances", "to_csv", "to_json", "to_line", "to_markdown"]

_FIGURES = (
    *("sad_mean", "rmse_total", "rmse_over_oracle", "rmse_renormalized", "sre", "correlation_mean"),
    *("reconstruction_rmse", "reconstruction_sre", "cpu_seconds", "cost"),
)
_HEADINGS = (
    *("data set", "truth", "method", "seeds", "SAD [rad]", "RMSE [%]", "RMSE / oracle", "SRE [dB]", "reconstruction"),
    *("CPU [s]", "cost [nnls]", "goal"),
)


def circumstances(*, seeds: int, argv: Sequence[str] = ()) -> dict[str, Any]:
    """What the figures depend on beside data and methods: versions, threads, machine."""
    return {
        "vermilion": __version__,
        "packages": {name: metadata.version(name) for name in ("torch", "numpy", "scipy")},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "seeds": seeds,
        "argv": list(argv),
    }


def to_markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """A table, and below it what was judged by which truth, what failed and from which files the data came.

    Parameters
    ----------
    rows : sequence of Row
    facts : dict
        From `circumstances`.

    Returns
    -------
    str
    """
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    lines = [
        f"vermilion {facts['vermilion']}, {packages}, {facts['threads']} thread(s), {facts['machine']}; mean ± standard deviation "
        f"over {facts['seeds']} seed(s). Cost: median CPU time in units of `scipy.optimize.nnls` over all pixels in the same run. "
        "Reconstruction: root mean square of the residuals, in the unit of the data.",
        "",
        "| " + " | ".join(_HEADINGS) + " |",
        "|" + "---|" * len(_HEADINGS),
        *("| " + " | ".join(_cells(row)) + " |" for row in rows),
        "",
        "Ground truths:",
        "",
    ]
    for row in {row.dataset.name: row for row in rows}.values():
        sums = "".join(f" `{name}` SHA-256 {digest}." for name, digest in row.sha256.items())
        changes = f" Changes with the seed: {row.dataset.random}." if row.dataset.random else ""
        truth = f"{row.dataset.truth} ({row.dataset.convention})"
        lines.append(f"- {row.dataset.name}, {row.dataset.version}: {truth}. {row.dataset.reference}.{changes}{sums}")
    remarks = _remarks(rows)
    if remarks:
        lines += ["", "Remarks:", "", *(f"- {remark}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """One line per row: mean and standard deviation of every figure, median of the times."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f"{figure}_{what}" for figure in _FIGURES for what in ("mean", "sd", "median")]
    writer.writerow(["dataset", "truth", "method", "seeds", "failures", *names])
    for row in rows:
        values = [f(figure) for figure in _FIGURES for f in (row.mean, row.deviation, row.median)]
        figures = ["" if math.isnan(value) else repr(value) for value in values]
        writer.writerow([row.dataset.name, row.dataset.version, row.method, len(row.trials), len(row.failures), *figures])
    return out.getvalue()


def to_json(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Everything, seed by seed; null where there is no number."""
    return json.dumps({**facts, "rows": [_plain_row(row) for row in rows]}, indent=2, allow_nan=False) + "\n"


def to_line(row: Row) -> str:
    """A row in one line, to be seen while the others are computed."""
    if not row.trials:
        return f"{row.dataset.name}, {row.method}: failed"
    figures = f"SAD {_spread(row, 'sad_mean', 4)} rad, RMSE {_spread(row, 'rmse_total', 2)} %, cost {_number(row.median('cost'), 1)} nnls"
    return f"{row.dataset.name}, {row.method}: {figures}, {len(row.trials)} seed(s)"


def _cells(row: Row) -> list[str]:
    names = [row.dataset.name, row.dataset.version, row.method]
    goal = str(row.dataset.goal) if row.method in DEFAULTS else ""
    if not row.trials:
        return [*names, "0", "failed", *[""] * (len(_HEADINGS) - 6), goal]
    return [
        *names,
        str(len(row.trials)),
        _spread(row, "sad_mean", 4),
        _spread(row, "rmse_total", 2),
        _spread(row, "rmse_over_oracle", 2),
        _spread(row, "sre", 2),
        f"{row.mean('reconstruction_rmse'):.3g}",
        _number(row.median("cpu_seconds"), 2),
        _number(row.median("cost"), 1),
        goal,
    ]


def _spread(row: Row, figure: str, digits: int) -> str:
    mean, deviation = row.mean(figure), row.deviation(figure)
    return _number(mean, digits) + ("" if math.isnan(deviation) else f" ± {deviation:.{digits}f}")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–" if math.isnan(value) else str(value)


def _remarks(rows: Sequence[Row]) -> list[str]:
    remarks = []
    for row in rows:
        name = f"{row.dataset.name}, {row.method}"
        differ = sum(trial.matchings_differ for trial in row.trials)
        if differ:
            remarks.append(f"{name}: matching by abundances pairs the endmembers otherwise in {differ} of {len(row.trials)} seeds.")
        notes = dict.fromkeys(note for trial in row.trials for note in trial.notes)
        remarks += [f"{name}: {note}" for note in [*notes, *row.failures]]
    return remarks


def _plain_row(row: Row) -> dict[str, Any]:
    dataset = row.dataset
    return {
        "dataset": dataset.name,
        "truth": {"version": dataset.version, "what": dataset.truth, "reference": dataset.reference},
        "pixel_order": dataset.pixel_order,
        "changes_with_seed": dataset.random,
        "sha256": dict(row.sha256),
        "goal": asdict(dataset.goal),
        "method": row.method,
        "figures": {
            figure: {"mean": _plain(row.mean(figure)), "sd": _plain(row.deviation(figure)), "median": _plain(row.median(figure))}
            for figure in _FIGURES
        },
        "trials": [{name: _plain(value) for name, value in asdict(trial).items()} for trial in row.trials],
        "failures": list(row.failures),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
