"""Bits of masks: numbers, names, all of them; against a loop over the values."""

import numpy as np
import pytest
from astropy.io import fits

from vermilion.errors import ParameterError
from vermilion.io import read
from vermilion.io.fits.masks import bad_values, parse_bits, set_bits

NAMES = {0: "NOCOV", 10: "DONOTUSE"}


@pytest.mark.parametrize(
    ("wanted", "bits"),
    [
        ("0,10", (0, 10)),
        (" 10 , 0 ", (0, 10)),
        (3, (3,)),
        ((0, 5), (0, 5)),
        (["NOCOV", 4], (0, 4)),
        ("donotuse", (10,)),
        ("63", (63,)),
        ("ANY", None),
    ],
)
def test_bits_are_numbers_names_or_any(wanted, bits):
    assert parse_bits(wanted, NAMES) == bits


@pytest.mark.parametrize("wanted", ["", "a", "1.5", "-1", "64", (), True, 2.5, "0,,1", "0;1"])
def test_what_is_no_bit_is_refused(wanted):
    with pytest.raises(ParameterError, match=r"mask_bits is .*expected bit numbers"):
        parse_bits(wanted, NAMES)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">i2"])
@pytest.mark.parametrize("bits", [None, (0,), (1, 6), (0, 7, 31)])
def test_bad_values_are_those_with_a_bit_set(dtype, bits):
    info = np.iinfo(dtype)
    values = (
        np.random.default_rng(4).integers(info.min, info.max, 200, dtype=np.dtype(dtype).newbyteorder("="), endpoint=True).astype(dtype)
    )
    values[::5] = 0
    width = 8 * np.dtype(dtype).itemsize
    expected = [v != 0 if bits is None else any((int(v) % (1 << width)) >> bit & 1 for bit in bits if bit < width) for v in values]
    np.testing.assert_array_equal(bad_values(values, bits), expected)


def test_the_bits_that_are_set_anywhere():
    assert set_bits(np.array([[0, 1], [8, 9]], "i4")) == (0, 3)
    assert set_bits(np.array([-1], "i2")) == tuple(range(16))
    assert set_bits(np.zeros(3, "u1")) == ()


# ---------------------------------------------------------------- in files


@pytest.fixture
def save(tmp_path):
    def write(mask):
        data = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("f4")
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, name="FLUX")]
        fits.HDUList(hdus + ([] if mask is None else [fits.ImageHDU(mask, name="MASK")])).writeto(tmp_path / "cube.fits", overwrite=True)
        return tmp_path / "cube.fits"

    return write


def test_bits_of_a_mask_of_floats_are_refused_and_any_is_not(save):
    mask = np.zeros((3, 4, 5), "f4")
    mask[0, 0, 0], mask[0, 0, 1] = 1, np.nan
    with pytest.raises(ParameterError, match="holds no integers, thus no bits; use any") as caught:
        read(save(mask), mask_bits="0")
    assert caught.value.exit_code == 2
    assert read(save(mask), mask_bits="any").mask.sum() == 2


def test_a_bit_beyond_the_mask_is_refused(save):
    with pytest.raises(ParameterError, match="has the bits 0 to 7"):
        read(save(np.zeros((3, 4, 5), "u1")), mask_bits="10")


def test_bits_without_a_mask_are_refused(save):
    with pytest.raises(ParameterError, match="no HDU holds a mask: add --mask-ext or --mask-file"):
        read(save(None), mask_bits="0")


def test_the_record_names_the_bits_and_counts_the_values(save):
    mask = np.zeros((3, 4, 5), "i2")
    mask[1] = 4
    mask[2, 0] = 2
    cube = read(save(mask), mask_bits="2")
    said = {decision["name"]: decision["taken_as"] for decision in cube.meta["decisions"]}
    notes = [decision["why"] for decision in cube.meta["decisions"]]
    assert said["MASK"] == "mask (bad bits: 2)"
    assert "the mask takes out 20 of 60 values" in notes
    assert "bits of the mask that are set but not taken as bad: 1" in notes
