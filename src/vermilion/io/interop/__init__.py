"""Cubes to the records of other packages and back: data, variances, mask, unit, spectral axis and coordinates.

Each package is imported when it is asked for; without it, the error says what to install. Arrays are shared with the cube where the other
package allows it, thus change neither in place. What a package has no place for (band names, units per band, the medium of wavelengths)
travels under the key ``vermilion`` of its metadata and is used on the way back as long as it still fits the data.
"""

from .hyperspy import from_hyperspy, to_hyperspy
from .nddata import from_nddata, to_nddata
from .spectral_cube import from_spectral_cube, to_spectral_cube
from .specutils import from_specutils, to_specutils
from .xarray import from_xarray, to_xarray

__all__ = [
    "from_hyperspy",
    "from_nddata",
    "from_spectral_cube",
    "from_specutils",
    "from_xarray",
    "to_hyperspy",
    "to_nddata",
    "to_spectral_cube",
    "to_specutils",
    "to_xarray",
]
