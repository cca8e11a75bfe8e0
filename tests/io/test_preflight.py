"""Before data are touched: regular files only, every byte accounted for, checksums verified."""

import gzip
import os
import re
import threading

import numpy as np
import pytest
from astropy.io import fits

from vermilion.errors import (
    CorruptFileError,
    EmptyFileError,
    MemoryLimitError,
    MissingFileError,
    NotFITSError,
    ParameterError,
    TruncatedFileError,
)
from vermilion.io import read

SHAPE = (12, 30, 40)


@pytest.fixture
def cube_file(tmp_path):
    """DATA and STAT in float32, with checksums; 57600 bytes of data each, of 20 blocks."""
    rng = np.random.default_rng(1)
    data = fits.ImageHDU(rng.normal(5, 1, SHAPE).astype("f4"), name="DATA")
    stat = fits.ImageHDU(np.ones(SHAPE, "f4"), name="STAT")
    path = tmp_path / "cube.fits"
    fits.HDUList([fits.PrimaryHDU(), data, stat]).writeto(path, checksum=True)
    return path


def notes(cube):
    return [decision["why"] for decision in cube.meta["decisions"] if decision["hdu"] is None]


def test_a_whole_file_is_read_without_notes_about_its_bytes(cube_file):
    assert not [note for note in notes(read(cube_file)) if re.search("CHECKSUM|padding|after the last", note)]


# ---------------------------------------------------------------- no such file


@pytest.mark.parametrize("name", ["absent.fits", "absent/cube.fits", "a\0b.fits", "x" * 5000])
def test_a_path_that_leads_nowhere_is_missing(tmp_path, name):
    with pytest.raises(MissingFileError, match="cannot read") as caught:
        read(f"{tmp_path}/{name}")
    assert caught.value.exit_code == 3


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(MissingFileError, match="is a directory"):
        read(tmp_path)


def test_a_device_is_no_file():
    with pytest.raises(MissingFileError, match="device"):
        read("/dev/zero")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    outcome = []

    def attempt():
        with pytest.raises(MissingFileError, match="pipe"):
            read(tmp_path / "pipe.fits")
        outcome.append("refused")

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert outcome == ["refused"]


def test_links_in_a_circle_lead_nowhere(tmp_path):
    (tmp_path / "a.fits").symlink_to(tmp_path / "b.fits")
    (tmp_path / "b.fits").symlink_to(tmp_path / "a.fits")
    with pytest.raises(MissingFileError, match="cannot read"):
        read(tmp_path / "a.fits")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named_so(cube_file):
    cube_file.chmod(0)
    with pytest.raises(MissingFileError, match="Permission denied"):
        read(cube_file)


@pytest.mark.parametrize("url", ["http://localhost/cube.fits", "s3://bucket/cube.fits", "file:///elsewhere/cube.fits"])
def test_a_url_is_a_wrong_parameter(url):
    with pytest.raises(ParameterError, match="download it first") as caught:
        read(url)
    assert caught.value.exit_code == 2


def test_an_extension_in_brackets_gets_a_hint(cube_file):
    with pytest.raises(MissingFileError, match="--data-ext '1'"):
        read(f"{cube_file}[1]")


def test_a_strange_name_is_no_obstacle(cube_file):
    strange = cube_file.with_name("cubé de\nmoi.fits")
    cube_file.rename(strange)
    assert read(strange).meta["name"] == "cubé de\nmoi"


# ---------------------------------------------------------------- no FITS file


def test_an_empty_file_is_named_so(tmp_path):
    (tmp_path / "empty.fits").write_bytes(b"")
    with pytest.raises(EmptyFileError, match="0 bytes"):
        read(tmp_path / "empty.fits")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"wavelength,flux\n1,2\n", "text beginning with 'wavelength,flux"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG picture"),
        (b"<!DOCTYPE html><title>Login</title>", "an HTML page"),
        (bytes(range(128)), "binary data beginning with 00 01"),
        (gzip.compress(b"hello, this is text"), "text beginning with .* inside gzip"),
    ],
)
def test_other_bytes_are_called_by_their_name(tmp_path, content, text):
    (tmp_path / "cube.fits").write_bytes(content)
    with pytest.raises(NotFITSError, match=text):
        read(tmp_path / "cube.fits")


# ---------------------------------------------------------------- every byte


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.6, 0.9])
def test_a_file_cut_anywhere_is_truncated(cube_file, keep):
    whole = cube_file.read_bytes()
    cube_file.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(TruncatedFileError, match=r"\d+ bytes"):
        read(cube_file)


def test_a_cut_in_the_data_tells_expected_and_actual_bytes(cube_file):
    whole = cube_file.read_bytes()  # blocks: primary 1, DATA 1 + 20, STAT 1 + 20
    cube_file.write_bytes(whole[: 2880 * 5])
    with pytest.raises(TruncatedFileError, match=f"HDU 1 DATA needs a file of at least {2880 * 22} bytes, this one has {2880 * 5}"):
        read(cube_file)


@pytest.mark.parametrize("extra", [3, 100, 400])
def test_a_cut_inside_a_later_header_is_truncated(cube_file, extra):
    whole = cube_file.read_bytes()
    cube_file.write_bytes(whole[: 2880 * 22 + extra])
    with pytest.raises(TruncatedFileError, match="inside the header of HDU 2"):
        read(cube_file)


def test_missing_padding_is_noted(tmp_path):
    data = np.random.default_rng(0).normal(size=(3, 5, 7)).astype("f4")
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(data).writeto(path)
    path.write_bytes(path.read_bytes()[: 2880 + data.nbytes])
    cube = read(path)
    np.testing.assert_array_equal(cube.data, data)
    assert any("padding" in note for note in notes(cube))


def test_trailing_bytes_are_noted(cube_file):
    cube_file.write_bytes(cube_file.read_bytes() + b"junk" * 7)
    assert any(note.startswith("28 bytes after the last HDU") for note in notes(read(cube_file)))


@pytest.mark.parametrize(
    ("old", "new", "error", "text"),
    [
        ("BITPIX  =                  -32", "BITPIX  =                  -31", CorruptFileError, "BITPIX = -31"),
        ("NAXIS1  =                   40", "NAXIS1  =                  -40", CorruptFileError, "NAXIS1 = -40"),
        ("NAXIS1  =                   40", "NAXIS1  =           2000000000", TruncatedFileError, "needs a file of at least 2880000005760"),
        ("NAXIS   =                    3", "NAXIS   =                 3000", CorruptFileError, "NAXIS = 3000"),
        ("NAXIS2  =                   30", "NAXIS2  =                 'ab'", CorruptFileError, "expected an integer"),
        ("NAXIS3  =                   12", "NAXIX3  =                   12", CorruptFileError, "no readable NAXIS3"),
    ],
)
def test_an_absurd_header_is_refused_before_anything_is_allocated(cube_file, old, new, error, text):
    raw = cube_file.read_bytes()
    assert old.encode() in raw
    cube_file.write_bytes(raw.replace(old.encode(), new.encode(), 1))
    with pytest.raises(error, match=text) as caught:
        read(cube_file)
    assert caught.value.exit_code == 3


# ---------------------------------------------------------------- checksums


def flip(path, offset):
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 4
    path.write_bytes(raw)


def test_a_flipped_bit_in_the_data_does_not_pass(cube_file):
    flip(cube_file, 2880 * 2 + 1003)
    with pytest.raises(CorruptFileError, match=r"HDU 1 DATA does not agree with its checksum.*--no-checksum"):
        read(cube_file)
    assert read(cube_file, checksum=False).data.shape == SHAPE


def test_a_card_edited_later_is_noted_and_the_data_still_verified(cube_file):
    raw = cube_file.read_bytes()
    cube_file.write_bytes(
        raw.replace(b"EXTNAME = 'DATA    '           / extension name", b"EXTNAME = 'DATA    '           / edited by hand", 1)
    )
    assert any("DATASUM agrees with the data" in note for note in notes(read(cube_file)))


# ---------------------------------------------------------------- compressed


def compressed(path):
    target = path.with_name("cube.fits.gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


@pytest.mark.parametrize("keep", [0.3, 0.999])
def test_a_broken_download_of_a_gzip_file_is_truncated(cube_file, keep):
    target = compressed(cube_file)
    raw = target.read_bytes()
    target.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(TruncatedFileError, match="without its end marker"):
        read(target)


def test_a_damaged_gzip_stream_is_corrupt(cube_file):
    target = compressed(cube_file)
    flip(target, len(target.read_bytes()) - 6)  # in the CRC of the trailer
    with pytest.raises(CorruptFileError, match="gzip stream is damaged"):
        read(target)


def test_a_gzip_bomb_stops_at_the_memory_allowed(tmp_path):
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3), ("NAXIS1", 500), ("NAXIS2", 500), ("NAXIS3", 100)])
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(header.tostring().encode() + bytes(100_002_240)))
    with pytest.raises(MemoryLimitError, match=r"inflates to 100.0 MB, 10.0 MB are allowed") as caught:
        read(path, memory=10_000_000)
    assert caught.value.exit_code == 7


def test_a_bomb_behind_the_last_hdu_stops_too(tmp_path):
    header = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0)])
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(header.tostring().encode() + bytes(30_000_000)))
    with pytest.raises(MemoryLimitError, match=r"more than the 5\.0 MB"):
        read(path, memory=5_000_000)


def test_a_cube_beyond_the_memory_allowed_is_refused_before_it_is_read(cube_file):
    with pytest.raises(MemoryLimitError, match=r"reading needs 115\.2 kB"):
        read(cube_file, memory=100_000)
