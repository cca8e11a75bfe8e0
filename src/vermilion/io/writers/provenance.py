"""How a result was made: `provenance.json`, and `run.toml` with every option as it was resolved."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from importlib import metadata
from typing import Any

import numpy as np

from ...datamodels import Cube, Result, SceneResult

__all__ = ["creation_date", "describe", "to_json", "to_toml"]

logger = logging.getLogger(__name__)

_PACKAGES = ("astropy", "numpy", "proxmin", "scikit-image", "scipy", "torch")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def describe(
    result: Result | SceneResult, cube: Cube, *, names: Sequence[str], normalization: str, options: Mapping[str, Any], argv: Sequence[str]
) -> dict[str, Any]:
    """Everything needed to make `result` again, as plain values.

    What `result.provenance` says wins over what `cube.meta` and `options` say. Keys with a meaning here: ``input`` and
    ``input_sha256`` (the file), ``seed``, ``unique`` (True, False, or None where it was not tested). Of `cube.meta`: ``path``,
    ``sha256``, ``header`` (cards to repeat) and ``decisions`` of the reader. `names` are those of the components or sources.

    Returns
    -------
    dict
        Strings, numbers, booleans, None, lists and dictionaries with string keys.
    """
    known = dict(result.provenance)
    facts = {
        "decisions": [_sentence(decision) for decision in cube.meta.get("decisions", ())],
        "input": cube.meta.get("path", cube.meta.get("name")),
        "input_sha256": cube.meta.get("sha256"),
        "seed": options.get("seed"),
        **known,
        "argv": list(argv),
        "date": creation_date(),
        "names": names,
        "normalization": normalization,
        "notes": result.notes,
        "options": options,
        "packages": _versions(),
        "source": cube.meta.get("header", {}),
        "spectral_medium": cube.meta.get("spectral_medium"),
        "status": result.status.name,
        "status_text": result.status.value,
        "unique": {True: "T", False: "F", None: "untested"}.get(known.get("unique"), str(known.get("unique"))),
        "version": known.get("version") or _version("vermilion"),
    }
    plain: dict[str, Any] = _plain(facts)
    return plain


def _sentence(decision: Any) -> str:
    """What the reader took an HDU for, and why; or a remark of the reader as it is."""
    if not isinstance(decision, Mapping):
        return str(decision)
    if decision.get("hdu") is None:
        return str(decision.get("why"))
    where = f"HDU {decision['hdu']} {decision.get('name', '')}".rstrip()
    return f"{where}: {decision.get('taken_as')} ({decision.get('why')})"


def creation_date() -> str:
    """Now in UTC, or the second that the environment variable SOURCE_DATE_EPOCH names."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch and not epoch.isdecimal():
        logger.warning("SOURCE_DATE_EPOCH is %r: expected seconds since 1970; the present time is used.", epoch)
        epoch = ""
    when = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S")


def to_json(values: Mapping[str, Any]) -> bytes:
    """`values` as JSON with sorted keys; numbers that are not finite become strings."""
    return (json.dumps(_plain(values), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def to_toml(values: Mapping[str, Any]) -> bytes:
    """`values` as TOML, in their order; what is None is left out, because TOML has no such value.

    Examples
    --------
    >>> print(to_toml({"components": 4, "maps": {"sparsity": 0.5}}).decode())
    components = 4
    <BLANKLINE>
    [maps]
    sparsity = 0.5
    <BLANKLINE>
    """
    return "\n".join(_toml_lines(_plain(values, finite=False), ())).lstrip("\n").encode() + b"\n"


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in table.items() if not isinstance(value, dict | None)]
    for key, value in table.items():
        if isinstance(value, dict):
            inner = (*path, _toml_key(key))
            lines += ["", f"[{'.'.join(inner)}]", *_toml_lines(value, inner)]
    return lines


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A basic string of TOML is one of JSON but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value if item is not None) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None) + "}"
    return repr(value)  # int and float: Python's inf and nan are TOML's


def _plain(value: Any, *, finite: bool = True) -> Any:
    """`value` made of what JSON and TOML know; other objects by their text, without addresses that differ from run to run."""
    if isinstance(value, Mapping):
        return {_text(key): _plain(item, finite=finite) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(item, finite=finite) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), finite=finite)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float) and finite and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else _text(value)


def _text(value: object) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode()  # file names may hold bytes that are no UTF-8
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _versions() -> dict[str, str | None]:
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
