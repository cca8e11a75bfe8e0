"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["MEMORY", "READ_OPTIONS", "input_files", "read_options", "split_read_options"]

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
    click.option("--mask-bits", metavar="N,N", help="Bits of the mask that mean bad; any: all.  [default: those of the instrument]"),
    click.option("--err-file", type=click.Path(), metavar="FILE", help="File with the errors."),
    click.option("--mask-file", type=click.Path(), metavar="FILE", help="File with the mask."),
    click.option("--psf-file", type=click.Path(), multiple=True, metavar="FILE", help="Image of the PSF; repeat for one per band."),
    click.option("--gain-file", type=click.Path(), metavar="FILE", help="Gain map (primary beam) of an interferometer."),
    click.option("--exposure-file", type=click.Path(), metavar="FILE", help="Exposure map of a counts cube."),
    click.option("--background-file", type=click.Path(), metavar="FILE", help="Expected background of a counts cube."),
    click.option(
        "--variable", metavar="NAME", help="Array of a file that holds several (.mat, .npz, netCDF), or polarization of a radio cube."
    ),
    click.option("--unit", metavar="UNIT", help="Unit of the data; wins over BUNIT."),
    click.option("--wave", metavar="LOW:HIGH UNIT", help="Bands to read.  For a file without a spectral axis START:STEP UNIT: its axis."),
    click.option("--spectral-axis", type=click.IntRange(min=1), metavar="N", help="FITS number of the spectral axis."),
    click.option("--pixel-order", type=click.Choice(["columns", "rows"]), help="How pixels of a matrix run (.mat, .npz)."),
    click.option("--allow-unitless", is_flag=True, help="Read a BUNIT that is not understood as no unit."),
    click.option("--no-checksum", "checksum", is_flag=True, flag_value=False, default=True, help="Do not verify CHECKSUM and DATASUM."),
    click.option("--memory", type=MEMORY, metavar="SIZE", help="Memory that may be used, such as 4GB.  [default: what is free]"),
    click.option("--roi", metavar="X0:X1,Y0:Y1", help="Pixels to read, counted from 0, the last one excluded."),
    click.option("--region", metavar="SHAPE(...)", help="circle(ra, dec, radius) or box(ra, dec, width, height) on the sky."),
    click.option("--bin", metavar="N[,M]", help="Average N x N pixels, and M bands."),
    click.option("--noise", type=click.Choice(["claimed", "empirical"]), default="claimed", help="Noise of the file, or of blank spaxels."),
)
READ_OPTIONS = (
    *("reader", "data_ext", "err_ext", "err_type", "mask_ext", "mask_bits", "err_file", "mask_file", "psf_file", "gain_file"),
    *(
        "exposure_file",
        "background_file",
        "variable",
        "unit",
        "wave",
        "spectral_axis",
        "pixel_order",
        "allow_unitless",
        "checksum",
        "memory",
    ),
    *("roi", "region", "bin", "noise"),
)


def input_files(metavar: str = "CUBE...") -> Callable[[Command], Command]:
    """Give a command the argument `paths`: the file, or the files of a set of bands."""
    return click.argument("paths", metavar=metavar, nargs=-1, required=True, type=click.Path())


def read_options(command: Command) -> Command:
    """Give a command the options of `vermilion.read`, under the same parameter names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def split_read_options(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of `vermilion.read` among the parameters of a command, and the others."""
    read = {name: value for name, value in parameters.items() if name in READ_OPTIONS}
    return read, {name: value for name, value in parameters.items() if name not in READ_OPTIONS}
