"""NumPy files: .npy as (band, y, x), .npz with images, errors, mask, PSFs, wavelengths or filters under their usual names.

Pickles are never opened.
"""

from __future__ import annotations

from pathlib import Path

from ...datamodels import Cube
from ..arrays.array_axes import Convention
from ..arrays.compose import compose
from ..arrays.layout import OPTIONS, layers_of_arrays
from ..containers import Variable
from ..containers.numpy_file import is_npy, is_npz, read_npy, read_npz
from ..options import ReadOptions

__all__ = ["OPTIONS", "identify", "load", "name"]

name = "numpy"
INSTRUMENTS = "any: hyperspectral scenes, broad-band blends (scarlet, HSC)"
NOISE = "variance, sigma, error, ivar or weights (0 = no weight); --err-ext, --err-file"
MASK = "mask, bad, dq; --mask-ext, --mask-bits, --mask-file"
WAVELENGTHS = "wavelength, wave or lambda, unit in the name (wavelength_nm); filters or channels"

CONVENTION = Convention(spectral_last=False, column_major=False, fits_axis=lambda axis: 3 - axis)
# planes of lsst.afw.image.Mask whose numbers are fixed; those from 9 on differ between releases
_LSST_BAD = {0: "BAD", 1: "SAT", 3: "CR", 4: "EDGE", 7: "SUSPECT", 8: "NO_DATA"}
_LSST_FILTERS = set("ugrizy")


def identify(path: Path, head: bytes) -> bool:
    """Whether it begins as .npy does, or is a zip archive of such files."""
    return is_npy(head) or is_npz(path, head)


def load(path: Path, options: ReadOptions) -> Cube:
    """The cube in a .npy or .npz file."""
    with path.open("rb") as stream:
        head = stream.read(16)
    variables = [read_npy(path, options.limit)] if is_npy(head) else read_npz(path, options.limit)
    planes = _LSST_BAD if _is_lsst(variables) else None
    layers = layers_of_arrays(path, variables, options, CONVENTION, mask_planes=planes)
    if planes and any(decision["taken_as"] == "mask" for decision in layers.decisions):
        layers.note("the filters are those of LSST and HSC: bits of the mask are read as the LSST pipelines write them", loud=True)
    return compose(path, layers, options, reader=name)


def _is_lsst(variables: list[Variable]) -> bool:
    """Whether the bands are all among u, g, r, i, z and y."""
    found = [v for v in variables if v.base.lower() in ("filters", "channels") and v.dtype.kind == "U" and 1 < v.size <= len(_LSST_FILTERS)]
    return bool(found) and {str(text) for text in found[0].read().reshape(-1)} <= _LSST_FILTERS
