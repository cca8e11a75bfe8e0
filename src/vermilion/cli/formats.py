"""``vermilion formats``: what can be read, as the readers themselves describe it."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..io.formats import FormatInfo

__all__ = ["formats"]

_WIDTH = 80
_LABEL = 14


@click.command("formats")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def formats(name: str | None, as_json: bool) -> None:
    """List what can be read; with NAME everything about one reader.

    Readers are listed in the order in which they are asked; `vermilion inspect` says which one took a file, and why.
    """
    from dataclasses import asdict

    from ..io.formats import describe_formats

    found = describe_formats()
    if name is not None:
        found = [_named(found, name)]
    if as_json:
        click.echo(json.dumps([asdict(info) for info in found], indent=2))
    else:
        click.echo(_page(found[0]) if name is not None else "\n".join(map(_entry, found)))


def _named(found: list[FormatInfo], name: str) -> FormatInfo:
    from ..errors import ParameterError

    for info in found:
        if info.name == name.lower():
            return info
    raise ParameterError(f"unknown reader {name!r}: expected one of {', '.join(info.name for info in found)}.")


def _entry(info: FormatInfo) -> str:
    return _row(info.name, info.summary)


def _page(info: FormatInfo) -> str:
    options = " ".join(f"--{'no-' if option == 'checksum' else ''}{option.replace('_', '-')}" for option in info.options)
    rows = {
        "reader": f"{info.name} ({info.kind})",
        "reads": info.summary,
        "taken when": info.recognized,
        "instruments": info.instruments,
        "noise": info.noise,
        "mask": info.mask,
        "wavelengths": info.wavelengths,
        "options": options,
    }
    details = "\n\n".join(_paragraph(part) for part in info.details.split("\n\n") if part.strip())
    return "\n".join(_row(label, text) for label, text in rows.items() if text) + (f"\n\n{details}" if details else "")


def _paragraph(text: str) -> str:
    """A paragraph of a docstring; a heading and its underline become words in front."""
    lines = text.splitlines()
    if len(lines) > 2 and set(lines[1].strip()) == {"-"}:
        lines = [f"{lines[0]}:", *lines[2:]]
    return textwrap.fill(" ".join(" ".join(lines).split()), _WIDTH)


def _row(label: str, text: str) -> str:
    indent = " " * _LABEL
    return textwrap.fill(text, _WIDTH, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=indent, break_on_hyphens=False)
