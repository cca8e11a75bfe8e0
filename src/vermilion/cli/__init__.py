"""Command line. Neither torch nor matplotlib is imported before a command needs them."""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from .. import __version__
from ..errors import InterruptedRunError, VermilionError

__all__ = ["cli", "main"]

# name of the command → module, short help: the help text must not cost the import of a command
_COMMANDS = {
    "inspect": "Show what a file holds and how it is read.",
    "separate": "Separate a cube into components.",
    "unmix": "Unmix a hyperspectral image into endmembers and abundances.",
    "deblend": "Take images apart into stars and galaxies.",
    "rank": "Count the components of a cube.",
    "compare": "Compare components with a known truth.",
    "benchmark": "Make published tables again.",
    "formats": "List what can be read.",
}


class LazyGroup(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; an error names the nearest."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(_COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="vermilion")
def cli() -> None:
    """Say what a spectral cube is made of: spectra and maps of its components.

    Begin with `vermilion inspect CUBE`, which ends with a command to try.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that the errors name."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if "_VERMILION_COMPLETE" in os.environ:
        cli.main(arguments, prog_name="vermilion")
    try:
        code = _run(arguments)
    except VermilionError as error:
        code = _fail(error.code, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = 2
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        code = _fail("E-USAGE", error.format_message() + where, 2)
    except click.ClickException as error:
        code = _fail("E-USAGE", error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        code = _fail(InterruptedRunError.code, "interrupted; nothing was written.", InterruptedRunError.exit_code)
    except MemoryError as error:
        code = _fail("E-MEMORY", f"out of memory {error}: use fewer bands or pixels.", 7)
    except Exception as error:
        trouble = _stdout_trouble(error)
        if trouble is None and _verbosity(arguments) > 1:
            raise
        code = _bug(error) if trouble is None else trouble
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    """What `click.Command.main` does, but that it leaves every error to the caller: it would hide a broken pipe."""
    try:
        with cli.make_context("vermilion", list(arguments), obj=tuple(arguments)) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as end:  # of --help and --version
        code = end.exit_code
    if sys.stdout is not None:
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _stdout_trouble(error: Exception) -> int | None:
    """The exit code where stdout could not take the output, else None."""
    if isinstance(error, BrokenPipeError):
        code = 141
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        code = _fail("E-OUTPUT", f"stdout cannot be written: {os.strerror(error.errno)}; free some space.", 6)
    else:
        return None
    # what stdout still holds would be written at exit, and fail again
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _bug(error: Exception) -> int:
    """One line; the traceback is for those who ask for it."""
    what = textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")
    return _fail("E-INTERNAL", f"{what}; this is a bug in vermilion, run again with -vv to see where.", 1)


def _fail(code: str, message: str, exit_code: int) -> int:
    # names of files and headers may hold anything, also what moves the cursor
    line = "".join(char if char.isprintable() else "?" for char in " ".join(message.split()))
    click.echo(f"vermilion: error[{code}]: {line}", err=True)
    return exit_code


def _verbosity(arguments: Sequence[str]) -> int:
    count = 0
    for argument in arguments:
        if argument == "--verbose":
            count += 1
        elif argument.startswith("-") and not argument.startswith("--"):
            count += argument.count("v")
    return count
