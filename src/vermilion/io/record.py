"""What a reader decided: into the record of the cube and into the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..datamodels import Cube
from .fits.hdus import Decision
from .values import require_content

__all__ = ["add_decisions", "content_notes", "drop_decisions", "logged", "note"]

logger = logging.getLogger(__name__)


def note(text: str, *, loud: bool = False) -> Decision:
    """A decision about no HDU in particular; `loud`: a warning in the log."""
    return {"hdu": None, "name": "", "taken_as": "note", "why": text, "level": logging.WARNING if loud else logging.INFO}


def logged(decisions: Iterable[Decision]) -> list[Decision]:
    """`decisions` as they are kept, after each went to the log at its level."""
    kept = []
    for decision in decisions:
        logger.log(decision.get("level", logging.INFO), "%s", _sentence(decision))
        kept.append({key: value for key, value in decision.items() if key != "level"})
    return kept


def _sentence(decision: Decision) -> str:
    if decision["hdu"] is None:
        return str(decision["why"])
    return f"HDU {decision['hdu']} {decision['name']}: {decision['taken_as']} ({decision['why']})"


def add_decisions(cube: Cube, decisions: Sequence[Decision]) -> Cube:
    """`cube` with more decisions in ``meta["decisions"]``; they are logged as well."""
    return replace(cube, meta={**cube.meta, "decisions": [*cube.meta["decisions"], *logged(decisions)]})


def drop_decisions(cube: Cube, start: str) -> Cube:
    """`cube` without the notes that begin with `start`: a reader has found out what `assemble` could not know."""
    kept = [decision for decision in cube.meta["decisions"] if decision["hdu"] is not None or not str(decision["why"]).startswith(start)]
    return replace(cube, meta={**cube.meta, "decisions": kept})


def content_notes(cube: Cube) -> list[Decision]:
    """How many values carry no weight, where there are any.

    Raises
    ------
    NoDataError
        If there is nothing to fit.
    """
    size, count = cube.data.size, require_content(cube)
    if count == size:
        return []
    broken = size - int(np.count_nonzero(np.isfinite(cube.data)))
    return [note(f"{size - count} of {size} values carry no weight; {broken} of them are NaN or infinite")]
