"""The unit that errors state for themselves, compared with that of the data they belong to."""

from __future__ import annotations

import math
from collections.abc import Callable

from astropy import units as u

from ...errors import AmbiguousInputError, UnitError
from ..units import parse_unit

__all__ = ["error_factor"]

_EXPONENT = {"variance": 2, "sigma": 1, "ivar": -2, "isigma": -1}


def _spelled(text: str) -> u.UnitBase:
    return parse_unit(text)[0]


def error_factor(
    kind: str,
    text: str,
    data_text: str,
    unit: u.UnitBase,
    where: str,
    *,
    stated: bool,
    by_option: bool,
    meant: Callable[[str], u.UnitBase] = _spelled,
) -> tuple[float, str]:
    """Factor that brings errors to the scale of the data, as far as their own unit says one, and a remark ("": nothing to say).

    Files often copy the header of the data, or its BUNIT with ``**2`` behind it: neither is a statement about the errors.

    Parameters
    ----------
    kind : {"variance", "sigma", "ivar", "isigma"}
        What the errors are taken for.
    text, data_text : str
        BUNIT of the errors and of the data, "" where there is none.
    unit : Unit
        Of the data, as it was understood.
    where : str
        Names the errors.
    stated, by_option : bool
        Whether more than a name says the kind; whether the option --err-type does.
    meant : callable, optional
        The unit that a text means, or UnitError.

    Raises
    ------
    UnitError
        If their unit fits neither the data nor their kind.
    AmbiguousInputError
        If they are named as sigma, but have the unit of a variance.
    """
    expected = unit ** _EXPONENT[kind]
    if not text or unit == u.dimensionless_unscaled or text.replace(" ", "") == f"{data_text}**2".replace(" ", ""):
        return 1.0, ""
    try:
        own = meant(text)
    except UnitError:
        return 1.0, f"BUNIT {text!r} of {where} is not understood: the errors are taken in {expected}"
    if not stated and kind == "sigma" and own.is_equivalent(unit**2):
        raise AmbiguousInputError(f"{where} is named as sigma, but its unit {text!r} is that of a variance: add --err-type.")
    if own.is_equivalent(expected):
        factor = float(own.to(expected))
        if math.isclose(factor, 1, rel_tol=1e-9):
            return 1.0, ""
        return factor, f"errors in {text!r} were multiplied by {factor:g} to fit the data"
    if own == unit or by_option:
        return 1.0, f"BUNIT of {where} is {text!r}: the errors are taken in {expected}"
    raise UnitError(
        f"BUNIT {text!r} of {where} does not fit the data in {unit}: expected {expected}; add --err-type {kind} to take it so, "
        "or --err-ext none."
    )
