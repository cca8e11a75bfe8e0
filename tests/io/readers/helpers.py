"""What tests of several readers share: cards of the sky, the record in words, damage."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from vermilion.errors import VermilionError
from vermilion.io import read

REAL_DATA = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no test data: set VERMILION_TEST_DATA")

SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "CRPIX1": 2.0,
    "CRPIX2": 3.0,
    "CRVAL1": 200.0,
    "CRVAL2": 30.0,
}


def notes(cube):
    """What was taken for what, and why, in one line."""
    return " | ".join(f"{decision['name']} {decision['taken_as']} {decision['why']}" for decision in cube.meta["decisions"])


def whys(cube):
    """Why, in one line."""
    return " | ".join(decision["why"] for decision in cube.meta["decisions"])


def write_hdus(path, primary, *extensions):
    """Write a file of a primary HDU (header, or data and header) and extensions (values, name) or HDUs; its path."""
    data, cards = primary if isinstance(primary, tuple) else (None, primary)
    hdus = [fits.PrimaryHDU(data, fits.Header(cards))]
    hdus += [fits.ImageHDU(hdu[0], name=hdu[1]) if isinstance(hdu, tuple) else hdu for hdu in extensions]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def read_damaged(path, raw, *, trials, seed, shortest=1, given=None, head=None):
    """Read files with four bytes changed, every other time among the first `head`, a third cut off too: any error but ours is raised."""
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        damaged = bytearray(raw)
        for _ in range(4):
            damaged[rng.integers(head if head and trial % 2 else len(raw))] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(shortest, len(raw))] if trial % 3 == 0 else damaged)
        with suppress(VermilionError):
            read(given or path, memory=10**8)
