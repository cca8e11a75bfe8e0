"""A progress bar for people who watch."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..datamodels import History

__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar on stderr; nothing at all unless `wanted` and stderr is a terminal.

    Parameters
    ----------
    total : int
        Number of iterations.
    wanted : bool
    """

    def __init__(self, total: int, wanted: bool) -> None:
        self._progress: Progress | None = None
        if wanted and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("fit", total=total)

    def __enter__(self) -> ProgressBar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, iteration: int, history: History) -> None:
        """Show how far the fit is."""
        if self._progress is not None:
            objective = history.objective_at(-1)
            self._progress.update(self._task, completed=iteration, description=f"objective {objective:.6g}")
