"""``vermilion compare``: what was found beside what is true."""

from __future__ import annotations

import json
import logging
import math
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..diagnose.match import Comparison, Match

__all__ = ["compare"]

logger = logging.getLogger(__name__)

_COLUMNS = (("angle", 7, 4), ("correlation", 7, 4), ("flux_ratio", 6, 3))  # field of Match, width, digits


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--truth", required=True, type=click.Path(path_type=Path), help="True components, laid out like components.fits.")
@click.option("--cube", type=click.Path(path_type=Path), help="Cube for the oracle floor.  [default: the one that OUT was made from]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def compare(out: Path, truth: Path, cube: Path | None, as_json: bool) -> None:
    """Compare the components in OUT with known ones.

    OUT is the folder that `separate` wrote, or a components file. For every true component: the found one that comes nearest, the
    angle between their spectra in rad, the correlation of their maps and found / true flux. Beside them the oracle, the floor
    that noise alone sets: least squares with the true spectra (maps, flux) or the true maps (spectra).
    """
    from ..diagnose.match import compare_components
    from ..io.components import read_components

    found = read_components(out)
    data, weights = _read_cube(out, cube)
    comparison = compare_components(found, read_components(truth), data=data, weights=weights)
    click.echo(_to_json(comparison) if as_json else _to_table(comparison))


def _read_cube(out: Path, cube: Path | None) -> tuple[Any, Any]:
    """Data and weights of `cube`; of the input that OUT names if it is still there; else two None."""
    from ..errors import VermilionError
    from ..io import read

    source = cube or _input_of(out)
    if source is None:
        logger.warning("no oracle floor: the cube that %s was made from is not known or not there; name it with --cube.", out)
        return None, None
    try:
        record = read(source)
    except VermilionError as error:
        if cube is not None:
            raise
        logger.warning("no oracle floor: %s was not read: %s", source, error)
        return None, None
    return record.data, record.weights


def _input_of(out: Path) -> Path | None:
    """The cube that ``provenance.json`` beside the components names, if it is there."""
    folder = out if out.is_dir() else out.parent
    try:
        name = json.loads((folder / "provenance.json").read_text(encoding="utf-8")).get("input")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(name) if isinstance(name, str) and Path(name).is_file() else None


def _to_json(comparison: Comparison) -> str:
    """The comparison as JSON, null where there is no number."""

    def plain(match: Match) -> dict[str, Any]:
        values = asdict(match).items()
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values}

    oracle = comparison.oracle
    return json.dumps(
        {
            "matches": [plain(match) for match in comparison.matches],
            "oracle": None if oracle is None else [plain(match) for match in oracle],
            "unmatched": list(comparison.unmatched),
        },
        indent=2,
    )


def _to_table(comparison: Comparison) -> str:
    """The comparison as lines of at most 80 characters."""
    names = max(4, *(min(len(match.name), 18) for match in comparison.matches))
    oracle = comparison.oracle
    lines = [
        f"{'':{names}} {'':14} {'angle [rad]':^15} {'map correlation':^15} {'flux / true':^13}",
        f"{'true':{names}} {'found':14} {'found':>7} {'oracle':>7} {'found':>7} {'oracle':>7} {'found':>6} {'oracle':>6}",
    ]
    for match, floor in zip(comparison.matches, oracle or (None,) * len(comparison.matches), strict=True):
        pairs = [_number(getattr(side, name, math.nan), width, digits) for name, width, digits in _COLUMNS for side in (match, floor)]
        lines.append(" ".join([f"{match.name[:18]:{names}} {(match.component or '-')[:14]:14}", *pairs]))
    if comparison.unmatched:
        lines.append(textwrap.fill(f"found without a true counterpart: {', '.join(comparison.unmatched)}", 80))
    lines.append("oracle: least squares with the true spectra (maps, flux) or true maps (angle)" if oracle else "oracle: no cube")
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float, width: int, digits: int) -> str:
    return f"{value:{width}.{digits}f}" if math.isfinite(value) else f"{'-':>{width}}"
