"""What a user may say about how a file is to be read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ParameterError
from .memory import available_memory

__all__ = ["ERROR_TYPES", "NOISE", "PIXEL_ORDERS", "ReadOptions"]

ERROR_TYPES = ("variance", "sigma", "ivar")
NOISE = ("claimed", "empirical")
PIXEL_ORDERS = ("columns", "rows")


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
    mask_bits : str, int or sequence of int, optional
        Numbers of the bits that mean bad, such as ``"0,10"``; ``"any"``: every nonzero value. None: what the instrument's mask means.
    err_file, mask_file : str or Path, optional
        Errors or mask in a file of their own.
    psf_file : str, Path or sequence of them, optional
        Image of the point-spread function, (B, h, w) or one file per band.
    gain_file : str or Path, optional
        Gain map of an interferometer (primary beam), 1 at its center.
    exposure_file, background_file : str or Path, optional
        Exposure map and expected background of a counts cube.
    variable : str, optional
        Name of the array in a file that holds several (.mat, .npz, netCDF), or the polarization of a radio cube, such as ``"I"``.
    unit : str or Unit, optional
        Unit of the data; it wins over BUNIT.
    wave : str or Quantity, optional
        ``"low:high unit"``: the bands to read. For a file without a spectral axis ``"start:step unit"``, or one value per band: its axis.
    spectral_axis : int, optional
        FITS number (1, 2, ...) of the spectral axis, for a file whose header does not say it.
    pixel_order : {"columns", "rows"}, optional
        Whether the pixels of a matrix (bands x pixels) in a .mat or .npz file run down the columns of the image or along its rows.
        None: the smoother image, else the custom of the format.
    allow_unitless : bool
        Read a BUNIT that is not understood as no unit.
    checksum : bool
        Compare CHECKSUM and DATASUM with the data.
    memory : int, optional
        Bytes that reading may use; None: what the system allows.
    roi : str or tuple of int, optional
        ``"x0:x1,y0:y1"``: pixels to read, counted from 0, the last one excluded, as in numpy.
    region : str, optional
        ``"circle(ra, dec, radius)"`` or ``"box(ra, dec, width, height)"`` on the sky; the cube is cut to it, pixels outside are masked.
    bin : str or int, optional
        Pixels and bands to average: ``"2"`` (2 x 2 pixels) or ``"2,4"`` (and 4 bands).
    noise : {"claimed", "empirical"}
        Variances as the file has them, or from the scatter of blank spaxels, band by band.
    """

    reader: str | None = None
    data_ext: str | int | None = None
    err_ext: str | int | None = None
    err_type: str | None = None
    mask_ext: str | int | None = None
    mask_bits: Any = None
    err_file: Any = None
    mask_file: Any = None
    psf_file: Any = None
    gain_file: Any = None
    exposure_file: Any = None
    background_file: Any = None
    variable: str | None = None
    unit: Any = None
    wave: Any = None
    spectral_axis: int | None = None
    pixel_order: str | None = None
    allow_unitless: bool = False
    checksum: bool = True
    memory: int | None = None
    roi: Any = None
    region: str | None = None
    bin: Any = None
    noise: str = "claimed"

    def __post_init__(self) -> None:
        if self.err_type is not None and self.err_type not in ERROR_TYPES:
            raise ParameterError(f"err_type is {self.err_type!r}: expected one of {', '.join(ERROR_TYPES)}.")
        if self.pixel_order is not None and self.pixel_order not in PIXEL_ORDERS:
            raise ParameterError(f"pixel_order is {self.pixel_order!r}: expected one of {', '.join(PIXEL_ORDERS)}.")
        if self.psf_file == ():  # not given on the command line
            object.__setattr__(self, "psf_file", None)
        if self.noise not in NOISE:
            raise ParameterError(f"noise is {self.noise!r}: expected one of {', '.join(NOISE)}.")
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
