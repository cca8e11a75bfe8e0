"""What can be read: every reader as it describes itself, by its docstrings and its profile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from .fits.hdus import Profile
from .fits.masks import describe_bits
from .readers import FORMATS, READERS

__all__ = ["FormatInfo", "describe_formats"]

_FITS_OPTIONS = (
    *("data_ext", "err_ext", "err_type", "err_file", "mask_ext", "mask_bits", "mask_file", "unit", "wave", "spectral_axis"),
    *("allow_unitless", "checksum"),
)
_EVERYWHERE = ("reader", "memory", "psf_file", "roi", "region", "bin", "noise")


@dataclass(frozen=True, kw_only=True)
class FormatInfo:
    """One reader.

    Attributes
    ----------
    name : str
        What ``--reader`` takes.
    kind : {"FITS", "file format"}
    summary : str
        The first line of the module's docstring.
    recognized : str
        When the file is taken for this.
    instruments, noise, mask, wavelengths : str
        What it understands; "" where only `details` say it.
    options : tuple of str
        Of `vermilion.read`; those that hold for every file come last.
    details : str
        The rest of the module's docstring.
    """

    name: str
    kind: str
    summary: str
    recognized: str
    instruments: str
    noise: str
    mask: str
    wavelengths: str
    options: tuple[str, ...]
    details: str


def describe_formats() -> list[FormatInfo]:
    """Every reader in the order in which they are asked: formats other than FITS first."""
    return [*(_describe(reader, "file format") for reader in FORMATS), *(_describe(reader, "FITS") for reader in READERS)]


def _describe(reader: Any, kind: str) -> FormatInfo:
    module = reader if hasattr(reader, "__file__") else sys.modules[type(reader).__module__]
    summary, _, details = cleandoc(module.__doc__ or "").partition("\n")
    profile = getattr(module, "PROFILE", None) or Profile()
    options: Sequence[str] = getattr(module, "OPTIONS", _FITS_OPTIONS if kind == "FITS" else ())
    return FormatInfo(
        name=reader.name,
        kind=kind,
        summary=summary.strip(),
        recognized=_condition(reader.identify.__doc__ or ""),
        instruments=getattr(module, "INSTRUMENTS", profile.instrument),
        noise=getattr(module, "NOISE", ", ".join(f"{name} = {meaning}" for name, meaning in profile.errors.items())),
        mask=getattr(module, "MASK", _mask(profile)),
        wavelengths=getattr(module, "WAVELENGTHS", _wavelengths(profile, kind)),
        options=(*options, *(option for option in _EVERYWHERE if option not in options)),
        details=details.strip(),
    )


def _condition(text: str) -> str:
    """The sentence of `identify` as a condition."""
    sentence = cleandoc(text).partition("\n\n")[0]
    return " ".join(sentence.split()).removeprefix("Whether ").rstrip(".")


def _mask(profile: Profile) -> str:
    if not profile.masks:
        return ""
    bad = "any value but 0 is bad" if profile.bad_bits is None else f"bad bits: {describe_bits(profile.bad_bits, profile.bits)}"
    return f"{', '.join(profile.masks)} ({bad})"


def _wavelengths(profile: Profile, kind: str) -> str:
    if kind != "FITS":
        return ""
    where = ", ".join((*profile.wave, "header"))
    return f"{where} ({profile.medium})" if profile.medium else where
