"""Options of a command from a TOML file; the command line wins over it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import click

from ..errors import EmptyFileError, ParameterError

__all__ = ["config_option"]

Command = TypeVar("Command", bound=Callable[..., Any])

_LARGEST = 1_000_000  # bytes; a file of options has a few hundred


def config_option(command: Command) -> Command:
    """Give a command the option ``--config FILE.toml``.

    Keys are the names of the options, with - or _, at the top or in a table named as the command; `run.toml` of an earlier run is such
    a file.
    """
    return click.option(
        "--config",
        type=click.Path(),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=_set_defaults,
        help="File with options, such as run.toml of an earlier run; the command line wins.",
    )(command)


def _set_defaults(context: click.Context, _: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    text = _text(path)
    try:
        table = tomllib.loads(text + "\n")  # its errors then tell a line also at the end
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(f"--config {path} is no TOML: {error}.") from None
    except RecursionError:
        raise ParameterError(f"--config {path} is no file of options: it is nested too deeply.") from None
    context.default_map = _options(context, path, text, table)


def _text(path: str) -> str:
    from ..io.sources import local_file

    try:
        with local_file(path).open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except EmptyFileError:  # no option: nothing wrong with that
        return ""
    if len(content) > _LARGEST:
        raise ParameterError(f"--config {path} has more than {_LARGEST // 10**6} MB: expected a TOML file with a few options.")
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ParameterError(f"--config {path} is no TOML: line {line} holds bytes that are no UTF-8.") from None


def _options(context: click.Context, path: str, text: str, table: dict[str, Any]) -> dict[str, Any]:
    """Values by the names of the parameters, each of the type that its option takes."""
    command = context.command
    known = _names(command)
    own = table.pop(command.name or "", {})
    if not isinstance(own, dict):
        raise ParameterError(f"--config {path}, {_line(text, str(command.name))}{command.name} is {own!r}: expected a table of options.")
    found: dict[str, Any] = {}
    for key, value in [*table.items(), *own.items()]:
        where = f"--config {path}, {_line(text, key)}"
        option = known.get(key.replace("_", "-"))
        if option is None or option.name is None:
            near = get_close_matches(key.replace("_", "-"), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" They are named as those of: vermilion {command.name} --help."
            raise ParameterError(f"{where}unknown option {key!r}.{hint}")
        if option.name in found:
            raise ParameterError(f"{where}{key!r} is given twice: leave one out.")
        found[option.name] = _checked(option, value, f"{where}{key}")
    return found


def _names(command: click.Command) -> dict[str, click.Option]:
    """Options by what they may be called: by the parameter, as in run.toml, or as on the command line."""
    options = [param for param in command.params if isinstance(param, click.Option) and param.expose_value and param.name]
    names = {str(option.name).replace("_", "-"): option for option in options}
    for option in options:
        plain = not (option.is_flag and option.flag_value is False)  # --no-checksum means checksum = false
        names |= {word[2:]: option for word in option.opts if word.startswith("--") and plain}
    return names


def _checked(option: click.Option, value: Any, where: str) -> Any:
    """The value, if TOML has it in the type of the option."""
    if option.multiple:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        if isinstance(value, str):
            return [value]
        raise ParameterError(f"{where} is {_shown(value)}: expected a list of strings.")
    types, expected = _types(option)
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ParameterError(f"{where} is {_shown(value)}: expected {expected}.")
    return str(value) if str in types and option.type.name != "size" else value


def _types(option: click.Option) -> tuple[tuple[type, ...], str]:
    if option.is_flag:
        return (bool,), "true or false"
    if option.count or isinstance(option.type, click.types.IntParamType):
        return (int,), "an integer"
    if isinstance(option.type, click.types.FloatParamType):
        return (int, float), "a number"
    if isinstance(option.type, click.Choice):
        return (str,), "one of " + ", ".join(repr(choice) for choice in option.type.choices)
    return (str, int), "a string"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + " …"


def _line(text: str, key: str) -> str:
    """Where a key stands, for the error; "" where it is written in a way that is hard to find."""
    found = re.search(rf"^[ \t]*(?:\[[ \t]*)?[\"']?{re.escape(key)}[\"']?[ \t]*[=.\]]", text, re.MULTILINE)
    return "" if found is None else f"line {text.count(chr(10), 0, found.start()) + 1}: "
