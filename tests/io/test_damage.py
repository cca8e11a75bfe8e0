"""A damaged file gives a cube or one of our errors: never a foreign one, never a warning on the screen."""

import bz2
import gzip
import io

import numpy as np
import pytest
from astropy.io import fits

from vermilion.errors import VermilionError
from vermilion.io import read

SHAPE = (6, 7, 8)
SPOILERS = [b"SIMPLE", b"BITPIX", b"NAXIS1", b"CTYPE3", b"CUNIT3", b"CRPIX3", b"BUNIT", b"EXTNAME", b"PCOUNT", b"END"]


def file_bytes(kind: str) -> bytes:
    rng = np.random.default_rng(13)
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "WAVE", "CUNIT3": "nm", "CDELT3": 1.0, "CRPIX3": 1.0, "CRVAL3": 500.0}
    header = fits.Header({**wcs, "CDELT1": -1e-4, "CDELT2": 1e-4, "BUNIT": "Jy"})
    data = rng.normal(size=SHAPE).astype("f4")
    image = fits.CompImageHDU if kind == "tiled" else fits.ImageHDU
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image(data, header, name="DATA"), image(data**2, header, name="STAT")]).writeto(buffer)
    raw = buffer.getvalue()
    return gzip.compress(raw) if kind == "gzip" else bz2.compress(raw) if kind == "bzip2" else raw


def exit_code(path) -> int:
    """0 for a cube, the exit code of our error; a foreign error or a warning fails the test."""
    try:
        read(path)
    except VermilionError as error:
        return error.exit_code
    return 0


@pytest.mark.parametrize("kind", ["plain", "tiled", "gzip", "bzip2"])
def test_random_damage_ends_in_a_cube_or_in_an_error_of_ours(kind, tmp_path):
    raw, rng, path = file_bytes(kind), np.random.default_rng(17), tmp_path / "damaged.fits"
    codes = set()
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(len(damaged))] = rng.integers(32, 127)
        if rng.random() < 0.2:
            del damaged[rng.integers(1, len(damaged)) :]
        path.write_bytes(damaged)
        codes.add(exit_code(path))
    assert 3 in codes
    assert codes <= {0, 3, 4, 7}


@pytest.mark.parametrize("kind", ["plain", "tiled"])
@pytest.mark.parametrize("card", SPOILERS, ids=lambda card: card.decode())
def test_a_spoiled_card_ends_in_a_cube_or_in_an_error_of_ours(kind, card, tmp_path):
    raw, path = file_bytes(kind), tmp_path / "damaged.fits"
    start = raw.find(card.ljust(8))
    for value in (b"= 'x", b"= 1e999", b"= -7", b"=", b"= (1,2)", b"= T / ", b"\xff\x00\xff"):
        path.write_bytes(raw[:start] + (card.ljust(8) + value).ljust(80) + raw[start + 80 :])
        assert exit_code(path) in {0, 3, 4, 7}
