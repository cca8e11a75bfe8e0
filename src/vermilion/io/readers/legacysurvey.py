"""Cut-outs of the Legacy Surveys viewer: one image with three axes whose bands are named by BANDS and BAND0, BAND1, ..."""

from collections.abc import Sequence
from dataclasses import replace

from astropy.io import fits

from ...datamodels import Cube
from ..fits.assemble import assemble
from ..fits.preflight import FITSFile, card
from ..options import ReadOptions
from ..record import add_decisions, note

__all__ = ["identify", "load", "name"]

name = "legacysurvey"
_MANY = 100


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether the primary image has three axes and a name for each of its bands."""
    return len(_bands(headers[0])) == card(headers[0], "NAXIS3", 0) > 0


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube in a cut-out, its bands named."""
    cube = assemble(file, options, reader=name)
    names = _bands(file.hdus[0].header)
    if cube.frame.spectral_axis is not None or len(names) != cube.frame.n_bands:
        return cube
    cube = replace(cube, frame=replace(cube.frame, band_names=names), meta={**cube.meta, "band_names": list(names)})
    return add_decisions(cube, [note(f"bands {', '.join(names)}: cards BAND0 to BAND{len(names) - 1}")])


def _bands(header: fits.Header) -> tuple[str, ...]:
    """Different names of the bands by their cards; () where they are not all there."""
    stated = str(card(header, "BANDS", "")).strip()
    names = [str(card(header, f"BAND{i}", "")).strip() for i in range(min(card(header, "NAXIS3", 0), _MANY) if stated else 0)]
    return tuple(names) if all(names) and len(set(names)) == len(names) else ()
