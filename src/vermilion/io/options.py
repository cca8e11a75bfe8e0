"""What a user may say about how a file is to be read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ParameterError
from .memory import available_memory

__all__ = ["ERROR_TYPES", "ReadOptions"]

ERROR_TYPES = ("variance", "sigma", "ivar")


@dataclass(frozen=True)
class ReadOptions:
    """Options of `vermilion.read`.

    Attributes
    ----------
    reader : str, optional
        Name of the reader; None: the first that identifies the file.
    data_ext, err_ext, mask_ext : str or int, optional
        Name or number of an HDU; ``"none"``: do not use errors or a mask.
    err_type : {"variance", "sigma", "ivar"}, optional
        What the errors are.
    unit : str or Unit, optional
        Unit of the data; it wins over BUNIT.
    wave : str or Quantity, optional
        ``"start:step unit"`` or one value per band, for a file without a spectral axis.
    spectral_axis : int, optional
        FITS number (1, 2, ...) of the spectral axis, for a file whose header does not say it.
    allow_unitless : bool
        Read a BUNIT that is not understood as no unit.
    checksum : bool
        Compare CHECKSUM and DATASUM with the data.
    memory : int, optional
        Bytes that reading may use; None: what the system allows.
    """

    reader: str | None = None
    data_ext: str | int | None = None
    err_ext: str | int | None = None
    err_type: str | None = None
    mask_ext: str | int | None = None
    unit: Any = None
    wave: Any = None
    spectral_axis: int | None = None
    allow_unitless: bool = False
    checksum: bool = True
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.err_type is not None and self.err_type not in ERROR_TYPES:
            raise ParameterError(f"err_type is {self.err_type!r}: expected one of {', '.join(ERROR_TYPES)}.")
        if self.memory is not None and not (isinstance(self.memory, int) and self.memory > 0):
            raise ParameterError(f"memory is {self.memory!r}: expected a positive number of bytes.")
        if self.spectral_axis is not None and not (isinstance(self.spectral_axis, int) and self.spectral_axis >= 1):
            raise ParameterError(f"spectral_axis is {self.spectral_axis!r}: expected the FITS number of an axis, 1, 2 or 3.")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> ReadOptions:
        """The options by name.

        Raises
        ------
        ParameterError
            If a name is unknown; the text says which is nearest.
        """
        known = [option.name for option in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ParameterError(f"unknown option {name!r}.{hint} Options of read are {', '.join(known)}.")
        return cls(**options)

    @property
    def limit(self) -> int:
        """Bytes that reading may use."""
        return available_memory() if self.memory is None else self.memory
