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
    for _ in range(60):
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


# ---------------------------------------------------------------- files of instruments


def cube_header(**cards) -> fits.Header:
    wcs = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CTYPE3": "AWAV",
        "CUNIT3": "Angstrom",
        "CDELT3": 9.0,
        "CRPIX3": 1.0,
        "CRVAL3": 5000.0,
    }
    return fits.Header({**wcs, "CDELT1": -1e-4, "CDELT2": 1e-4, "BUNIT": "1e-17 erg/s/cm2/Angstrom", **cards})


def muse(data) -> list:
    fsf = {
        "FSFMODE": 2,
        "FSFLB1": 5000.0,
        "FSFLB2": 9000.0,
        "FSF00FNC": 2,
        "FSF00F00": -0.1,
        "FSF00F01": 0.6,
        "FSF00BNC": 1,
        "FSF00B00": 2.8,
    }
    eso = {"HDUCLASS": "ESO", "HDUCLAS2": "DATA", "ERRDATA": "STAT", "QUALDATA": "DQ"}
    stat = cube_header(HDUCLASS="ESO", HDUCLAS2="ERROR", HDUCLAS3="MSE", SCIDATA="DATA", BUNIT="")
    dq = fits.ImageHDU(np.zeros(SHAPE, "i4"), name="DQ")
    primary = fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MUSE", "NFIELDS": 1, **fsf}))
    return [primary, fits.ImageHDU(data, cube_header(**eso), "DATA"), fits.ImageHDU(data**2, stat, "STAT"), dq]


def jwst(data) -> list:
    tab = {
        "CTYPE3": "WAVE-TAB",
        "CUNIT3": "um",
        "CRVAL3": 1.0,
        "CDELT3": 1.0,
        "PS3_0": "WCS-TABLE",
        "PS3_1": "wavelength",
        "BUNIT": "MJy/sr",
    }
    wavelengths = np.linspace(1, 2, SHAPE[0])[np.newaxis, :, np.newaxis]
    column = fits.Column("wavelength", f"{SHAPE[0]}E", dim=f"(1,{SHAPE[0]})", unit="um", array=wavelengths)
    hdus = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "JWST", "FILETYPE": "3d ifu cube"}))]
    hdus += [fits.ImageHDU(values, cube_header(**tab), name) for name, values in (("SCI", data), ("ERR", data**2))]
    return [*hdus, fits.ImageHDU(np.zeros(SHAPE, "u4"), name="DQ"), fits.BinTableHDU.from_columns([column], name="WCS-TABLE")]


def manga(data) -> list:
    wave = 5000 * 10 ** (1e-4 * np.arange(SHAPE[0]))
    hdus = [
        fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MaNGA", "GFWHM": 2.5, "ZFWHM": 2.2})),
        fits.ImageHDU(data, cube_header(), "FLUX"),
    ]
    extra = {"IVAR": data**2, "MASK": np.zeros(SHAPE, "i4"), "LSFPOST": np.ones(SHAPE, "f4"), "WAVE": wave, "SPECRES": wave / 2}
    return hdus + [fits.ImageHDU(values, name=name) for name, values in extra.items()]


def lvm(data) -> list:
    rows = data.reshape(SHAPE[0], -1)
    columns = [fits.Column("targettype", "8A", array=["science"] * SHAPE[0]), fits.Column("fibstatus", "J", array=np.zeros(SHAPE[0]))]
    hdus = [fits.PrimaryHDU(header=fits.Header({"INSTRUME": "LVM"})), fits.ImageHDU(rows, fits.Header({"BUNIT": "Jy"}), "FLUX")]
    hdus += [fits.ImageHDU(rows**2, name="IVAR"), fits.ImageHDU(np.arange(1.0, rows.shape[1] + 1), name="WAVE")]
    return [*hdus, fits.BinTableHDU.from_columns(columns, name="SLITMAP")]


def califa(data) -> list:
    extra = {"ERROR": data**2, "BADPIX": np.zeros(SHAPE, "u1"), "ERRWEIGHT": data}
    return [fits.PrimaryHDU(data, cube_header())] + [fits.ImageHDU(values, name=name) for name, values in extra.items()]


def sami(data) -> list:
    header = cube_header(CTYPE3="Wavelength", INSTRUME="AAOMEGA-SAMI", PSFFWHM=2.0, PSFBETA=3.0)
    return [fits.PrimaryHDU(data, header), fits.ImageHDU(data**2, name="VARIANCE"), fits.ImageHDU(data, name="WEIGHT")]


def kcwi(data) -> list:
    header = cube_header(INSTRUME="KCWI", BUNIT="1e+16 erg / (Angstrom cm2 s)")
    return [fits.PrimaryHDU(data, header), fits.ImageHDU(data**2, name="UNCERT"), fits.ImageHDU(np.zeros(SHAPE, "u1"), name="MASK")]


@pytest.mark.parametrize("instrument", [muse, jwst, manga, lvm, califa, sami, kcwi], ids=lambda function: function.__name__)
def test_damaged_cards_of_an_instrument_end_in_a_cube_or_in_an_error_of_ours(instrument, tmp_path):
    rng, path, buffer = np.random.default_rng(19), tmp_path / "damaged.fits", io.BytesIO()
    fits.HDUList(instrument(rng.normal(5, 1, SHAPE).astype("f4"))).writeto(buffer)
    raw = buffer.getvalue()
    path.write_bytes(raw)
    assert read(path).meta["reader"] == instrument.__name__
    cards = [start for start in range(0, len(raw), 80) if raw[start + 8 : start + 10] == b"= " and raw[start : start + 8].isascii()]
    codes = set()
    for _ in range(35):
        damaged = bytearray(raw)
        for start in rng.choice(cards, rng.integers(1, 4)):
            at = start + rng.integers(0, 32)
            damaged[at] = rng.choice(list(b" 0123456789.'-+EABTxyz\x00\xff"))
        path.write_bytes(damaged)
        codes.add(exit_code(path))
    assert 0 in codes
    assert codes <= {0, 3, 4, 7}
