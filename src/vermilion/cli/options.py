"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["MEMORY", "READ_OPTIONS", "read_options", "split_read_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_SIZE = re.compile(r"^\s*(\d+(?:\.\d*)?)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)


class MemorySize(click.ParamType):
    """A number of bytes such as 800MB, 4GB or 2GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value))
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is no size: expected, for example, 800MB, 4GB or 2GiB.", param, ctx)
        base = 1024 if match[3] else 1000
        return int(float(match[1]) * base ** " kmgt".index(match[2].lower() or " "))


MEMORY = MemorySize()

# The parameter names are those of `vermilion.read`.
_OPTIONS = (
    click.option("--reader", metavar="NAME", help="Reader to use.  [default: the first that knows the file]"),
    click.option("--data-ext", metavar="HDU", help="Name or number of the HDU that holds the data."),
    click.option("--err-ext", metavar="HDU", help="Name or number of the HDU that holds the errors; none: do not use them."),
    click.option("--err-type", type=click.Choice(["variance", "sigma", "ivar"]), help="What the errors are."),
    click.option("--mask-ext", metavar="HDU", help="Name or number of the HDU that holds the mask; none: do not use it."),
    click.option("--unit", metavar="UNIT", help="Unit of the data; wins over BUNIT."),
    click.option("--wave", metavar="START:STEP UNIT", help="Spectral axis of a file that has none."),
    click.option("--spectral-axis", type=click.IntRange(min=1), metavar="N", help="FITS number of the spectral axis."),
    click.option("--allow-unitless", is_flag=True, help="Read a BUNIT that is not understood as no unit."),
    click.option("--no-checksum", "checksum", is_flag=True, flag_value=False, default=True, help="Do not verify CHECKSUM and DATASUM."),
    click.option("--memory", type=MEMORY, metavar="SIZE", help="Memory that may be used, such as 4GB.  [default: what is free]"),
)
READ_OPTIONS = (
    *("reader", "data_ext", "err_ext", "err_type", "mask_ext", "unit", "wave", "spectral_axis", "allow_unitless", "checksum", "memory"),
)


def read_options(command: Command) -> Command:
    """Give a command the options of `vermilion.read`, under the same parameter names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def split_read_options(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of `vermilion.read` among the parameters of a command, and the others."""
    read = {name: value for name, value in parameters.items() if name in READ_OPTIONS}
    return read, {name: value for name, value in parameters.items() if name not in READ_OPTIONS}
