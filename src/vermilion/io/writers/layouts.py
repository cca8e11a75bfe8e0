"""How the HDUs of a cube are named: as Cubeviz, mpdaf or spectral-cube expects them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from astropy import units as u

from ...errors import ParameterError
from .headers import unit_text

__all__ = ["LAYOUTS", "Layout", "layout_named"]

_FITS_SCALE = re.compile(r"^10\*\*(-?\d+)\b")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of the HDUs of a cube.

    Parameters
    ----------
    name : str
    data : str
        EXTNAME of the data; '' for the primary HDU.
    noise : str
        EXTNAME of the noise.
    variance : bool
        The noise is written as a variance; else as one standard deviation.
    opens_in : str
        Programs that look for these names.
    """

    name: str
    data: str
    noise: str
    variance: bool = False
    opens_in: str = ""

    def bunit(self, unit: u.UnitBase | None) -> str:
        """BUNIT of the data. mpdaf turns ``*`` into a blank, and knows the power of ten of MUSE only in the spelling of MUSE."""
        text = unit_text(unit)
        scale = _FITS_SCALE.match(text)
        if self.name != "muse" or scale is None:
            return text
        return ("10**(-20)" if scale[1] == "-20" else f"1e{scale[1]}") + text[scale.end() :]

    def noise_unit(self, unit: u.UnitBase | None) -> str:
        """BUNIT of the noise."""
        return unit_text(unit if unit is None or not self.variance else unit**2)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(name="flux", data="FLUX", noise="ERR", opens_in="Cubeviz"),
        Layout(name="muse", data="DATA", noise="STAT", variance=True, opens_in="mpdaf"),
        Layout(name="primary", data="", noise="ERR", opens_in="spectral-cube"),
    )
}


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises
    ------
    ParameterError
        If there is none.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    near = difflib.get_close_matches(str(name), LAYOUTS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ParameterError(f"layout is {name!r}: expected one of {', '.join(LAYOUTS)}.{hint}")
