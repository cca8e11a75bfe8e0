"""HISTORY: the course of a fit as a table."""

from __future__ import annotations

from astropy.io import fits

from ...datamodels import History
from .headers import card_text, column_name

__all__ = ["GRADIENTS", "history_hdu"]

GRADIENTS = "gradient_evaluations_"  # how the columns of the blocks begin


def history_hdu(history: History) -> fits.BinTableHDU:
    """One row per iteration. Elapsed seconds are left out, because the same command twice must give the same bytes.

    A block whose name is none for a column stands in the TCOMMn of its column.
    """
    columns = [fits.Column("iteration", "K", array=history.iteration), fits.Column("objective", "D", array=history.objective)]
    for block, counts in zip(history.blocks, history.gradient_evaluations.T, strict=True):
        columns.append(fits.Column(GRADIENTS + column_name(block), "K", array=counts))
    columns.append(fits.Column("objective_evaluations", "K", array=history.objective_evaluations))
    columns.append(fits.Column("reads_of_Y", "D", array=history.reads_of_Y))
    table = fits.BinTableHDU.from_columns(columns, name="HISTORY", nrows=len(history))
    for number, block in enumerate(history.blocks, 3):
        if column_name(block) != block:
            table.header[f"TCOMM{number}"] = card_text(block)
    return table
