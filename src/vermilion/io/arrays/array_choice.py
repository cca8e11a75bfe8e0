"""Which array of a file of named arrays (.npz, .mat) is the cube, by the option, by its axes or by what the others are called."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import AmbiguousInputError, ParameterError, ShapeError
from ..containers import Variable, safe_name
from ..options import ReadOptions

__all__ = ["BAND_NAMES", "ERRORS", "MASKS", "PSFS", "choose", "image_size", "listed", "named", "scalar"]

# what arrays beside the data are, by their names in lower case
_TRUTH = re.compile(r"(a|s|e|m|d|end_?members?|abundances?|library|maps?|truth|gt|labels?|classes|ground_?truth)(_?gt|_\w+|\d+)?|gt_\w+")
ERRORS = re.compile(r"(\w+_)?(variances?|vars?|sigmas?|std|stdev|errors?|err|rms|uncertaint(y|ies)|unc|uncert|ivar|invvar|weights?|wht)")
MASKS = re.compile(r"(\w+_)?(masks?|bad|dq|quality|flags?)")
PSFS = re.compile(r"(\w+_)?psfs?|beams?")
BAND_NAMES = re.compile(r"filters?|channels?|bands?|band_?names?|(\w+_)?names")
# pairs of names of numbers of rows and columns, and names of the number of bands
_SIZES = (
    ("nrow", "ncol"),
    ("h", "w"),
    ("rows", "cols"),
    ("nrows", "ncols"),
    ("height", "width"),
    ("lines", "samples"),
    ("nl", "nc"),
    ("ny", "nx"),
)


def named(path: Path, variables: Sequence[Variable], wanted: Any, option: str) -> Variable:
    """The array that the user names: by its whole name, by its last part, in any case if that is unique.

    Raises
    ------
    ParameterError
        If there is none; the text says which there are.
    """
    text = str(wanted).strip("/")
    tests: tuple[Callable[[Variable], bool], ...] = (
        lambda variable: variable.name == text,
        lambda variable: variable.base == text,
        lambda variable: text.lower() in (variable.name.lower(), variable.base.lower()),
    )
    for test in tests:
        found = [variable for variable in variables if test(variable)]
        if len(found) == 1:
            return found[0]
    names = [variable.name for variable in variables]
    near = difflib.get_close_matches(text, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ParameterError(f"{path} holds no array {text!r} ({option}).{hint} There are {listed(variables)}.")


def choose(path: Path, variables: Sequence[Variable], options: ReadOptions, sizes: tuple[int, int] | None) -> tuple[Variable, str]:
    """The array that is the cube, and why.

    Parameters
    ----------
    path : Path
    variables : sequence of Variable
    options : ReadOptions
    sizes : tuple of int or None
        Rows and columns of the image, by which a matrix is known (`image_size`).

    Raises
    ------
    ShapeError
        If none can be.
    AmbiguousInputError
        If several can.
    """
    if options.variable is not None:
        chosen = named(path, variables, options.variable, "--variable")
        if not chosen.is_real or len(chosen.shape) not in (2, 3) or (len(chosen.shape) == 2 and not _is_matrix(chosen, sizes)):
            raise ShapeError(f"{path}: {chosen} is no cube: {_expectation(sizes)}.")
        return chosen, "option --variable"
    real = [variable for variable in variables if variable.is_real]
    fitting = [v for v in real if (len(v.shape) == 3 and v.size > 1) or (len(v.shape) == 2 and _is_matrix(v, sizes))]
    plain = [variable for variable in fitting if not _is_other(variable)]
    cubes = [variable for variable in plain if len(variable.shape) == 3]
    for candidates in (plain, cubes if len(plain) > 1 else [], fitting if not plain else []):
        if len(candidates) == 1:
            kind = "three axes" if len(candidates[0].shape) == 3 else "one column or row per pixel"
            return candidates[0], f"the only array with {kind} that is not named as something else"
    if not fitting:
        listing = listed(variables) if variables else "none"
        raise ShapeError(f"{path} holds no cube: {_expectation(sizes)}; its arrays are {listing}.")
    names = plain or fitting
    raise AmbiguousInputError(
        f"{path}: {len(names)} arrays could be the data: {listed(names)}. Choose with --variable {safe_name(names[0].name)}."
    )


def _expectation(sizes: tuple[int, int] | None) -> str:
    if sizes is None:
        return "expected real numbers with three axes, or a matrix (bands x pixels) beside the numbers H and W (or nRow and nCol)"
    return f"expected real numbers with three axes, or a matrix with {sizes[0]} x {sizes[1]} pixels"


def _is_matrix(variable: Variable, sizes: tuple[int, int] | None) -> bool:
    return sizes is not None and math.prod(sizes) in variable.shape and min(variable.shape) > 0


def _is_other(variable: Variable) -> bool:
    base = variable.base.lower()
    return any(pattern.fullmatch(base) for pattern in (_TRUTH, ERRORS, MASKS, PSFS)) or variable.dtype.kind == "b"


def listed(variables: Sequence[Variable]) -> str:
    """Names, sizes and types of the first arrays, for an error."""
    return ", ".join(map(str, variables[:15])) + (" …" if len(variables) > 15 else "")


def scalar(variables: Sequence[Variable], name: str) -> int | None:
    """The positive integer in the variable of that name, in any case."""
    for variable in variables:
        if variable.base.lower() == name and variable.is_real and variable.size == 1:
            value = float(variable.read().reshape(-1)[0])
            return int(value) if value.is_integer() and 0 < value < 1e9 else None
    return None


def image_size(variables: Sequence[Variable]) -> tuple[int, int] | None:
    """Rows and columns, where the file says them."""
    for names in _SIZES:
        rows, columns = (scalar(variables, name) for name in names)
        if rows is not None and columns is not None:
            return rows, columns
    return None
