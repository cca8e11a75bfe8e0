"""The same cube written in other ways is the same cube when it is read: bit by bit, or to rounding where numbers were scaled."""

import bz2
import gzip
import io
from itertools import permutations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.io import read

SHAPE = (9, 6, 7)
AXES = {
    "x": {"CTYPE": "RA---TAN", "CUNIT": "deg", "CRPIX": 2.0, "CRVAL": 30.0, "CDELT": -1e-4},
    "y": {"CTYPE": "DEC--TAN", "CUNIT": "deg", "CRPIX": 3.0, "CRVAL": -5.0, "CDELT": 1e-4},
    "w": {"CTYPE": "AWAV", "CUNIT": "Angstrom", "CRPIX": 1.0, "CRVAL": 4750.0, "CDELT": 1.25},
}
UNIT = "erg/s/cm2/Angstrom"


@pytest.fixture(scope="module")
def truth():
    """Data with absent values, sigmas with useless ones, a mask."""
    rng = np.random.default_rng(3)
    data, sigma, bad = rng.normal(2, 3, SHAPE), rng.uniform(0.5, 2, SHAPE), rng.random(SHAPE) < 0.1
    data[0, 0, :2] = np.nan, np.inf
    return data.astype("f4"), sigma.astype("f4"), bad


def header(order="xyw", unit=UNIT):
    cards = {f"{key}{i}": value for i, axis in enumerate(order, 1) for key, value in AXES[axis].items()}
    return fits.Header({**cards, "BUNIT": unit})


def hdus(data, *others, order="xyw", unit=UNIT, image=fits.ImageHDU):
    """Primary, DATA, and the other images by their names."""
    found = [fits.PrimaryHDU(), image(data, header(order, unit), name="DATA")]
    return fits.HDUList(found + [image(array, name=name) for name, array in others])


def file_bytes(hdulist):
    buffer = io.BytesIO()
    hdulist.writeto(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def reference(truth, tmp_path_factory):
    data, sigma, bad = truth
    path = tmp_path_factory.mktemp("reference") / "cube.fits"
    path.write_bytes(file_bytes(hdus(data, ("ERR", sigma), ("DQ", bad.astype("u1")))))
    return path, read(path)


def same(cube, other, *, rtol=0.0):
    """Whether two cubes are the same: data, weights, mask, axis, unit, positions on the sky."""
    compare = np.testing.assert_array_equal if rtol == 0 else lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=0)
    good = other.weights > 0
    np.testing.assert_array_equal(cube.weights > 0, good)
    compare(cube.data[good], other.data[good])
    np.testing.assert_allclose(cube.weights, other.weights, rtol=max(rtol, 1e-6))
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value(u.AA), other.frame.spectral_axis.to_value(u.AA), rtol=1e-12)
    assert cube.frame.unit == other.frame.unit
    pixels = np.array([[0.0, 0.0, 0.0], [5.0, 4.0, 8.0]])
    np.testing.assert_allclose(cube.frame.wcs.wcs_pix2world(pixels, 0), other.frame.wcs.wcs_pix2world(pixels, 0), rtol=1e-12)
    return True


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gzip", "bzip2"])
def test_compressed_files_are_the_same(pack, reference, tmp_path):
    path, cube = reference
    (tmp_path / "cube.fits").write_bytes(pack(path.read_bytes()))
    assert same(read(tmp_path / "cube.fits"), cube)


@pytest.mark.parametrize("algorithm", ["GZIP_1", "GZIP_2"])
def test_tiles_without_loss_are_the_same(algorithm, truth, reference, tmp_path):
    data, sigma, bad = truth

    def image(array, *cards, name):
        return fits.CompImageHDU(array, *cards, name=name, compression_type=algorithm, quantize_level=0)

    hdus(data, ("ERR", sigma), ("DQ", bad.astype("u1")), image=image).writeto(tmp_path / "cube.fits.fz")
    assert same(read(tmp_path / "cube.fits.fz"), reference[1])


def test_byte_order_is_no_matter(truth, reference, tmp_path):
    data, sigma, bad = truth
    for order in "<>":
        others = [("ERR", sigma.astype(f"{order}f4")), ("DQ", bad.astype("i2").astype(f"{order}i2"))]
        hdus(data.astype(f"{order}f4"), *others).writeto(tmp_path / "cube.fits", overwrite=True)
        cube = read(tmp_path / "cube.fits")
        assert cube.data.dtype.isnative
        assert same(cube, reference[1])


def test_double_precision_holds_the_same_values(truth, reference, tmp_path):
    data, sigma, bad = truth
    hdus(data.astype("f8"), ("ERR", sigma.astype("f8")), ("DQ", bad.astype("i8"))).writeto(tmp_path / "cube.fits")
    cube = read(tmp_path / "cube.fits")
    assert cube.data.dtype == np.float64
    assert same(cube, reference[1])


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize(
    "order", ["".join(order) for order in permutations("xyw") if "".join(order).index("x") < "".join(order).index("y")]
)
@pytest.mark.parametrize("stokes", [None, 1, 4])
def test_the_order_of_the_axes_is_no_matter(order, stokes, truth, reference, tmp_path):
    turn = ["wyx".index(axis) for axis in order[::-1]]
    images = [np.ascontiguousarray(array.transpose(turn)) for array in (truth[0], truth[1], truth[2].astype("u1"))]
    made = hdus(images[0], ("ERR", images[1]), ("DQ", images[2]), order=order)
    if stokes is not None:
        for hdu in made[1:]:
            hdu.data = np.expand_dims(hdu.data, 0 if stokes == 4 else 3)
        cards = made[1].header
        for key in AXES["x"]:  # Stokes comes first or last: the others move
            moved = [cards[f"{key}{i}"] for i in (1, 2, 3)]
            value = {"CTYPE": "STOKES", "CUNIT": "", "CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0}[key]
            for i, entry in enumerate([value, *moved] if stokes == 1 else [*moved, value], 1):
                cards[f"{key}{i}"] = entry
    made.writeto(tmp_path / "cube.fits")
    assert same(read(tmp_path / "cube.fits"), reference[1])


@pytest.mark.parametrize("matrix", ["CD", "PC", "CD beside CDELT of 1", "CROTA2 of 0"])
def test_the_spelling_of_the_matrix_is_no_matter(matrix, truth, reference, tmp_path):
    data, sigma, bad = truth
    made = hdus(data, ("ERR", sigma), ("DQ", bad.astype("u1")))
    cards = made[1].header
    steps = [cards[f"CDELT{i}"] for i in (1, 2, 3)]
    for i, step in enumerate(steps, 1):
        if matrix.startswith("CD"):
            cards[f"CD{i}_{i}"] = step
            cards[f"CDELT{i}"] = 1.0
            if "beside" not in matrix:
                del cards[f"CDELT{i}"]
        elif matrix == "PC":
            cards[f"PC{i}_{i}"] = 2.0
            cards[f"CDELT{i}"] = step / 2
    if matrix.startswith("CROTA2"):
        cards["CROTA2"] = 0.0
    made.writeto(tmp_path / "cube.fits")
    assert same(read(tmp_path / "cube.fits"), reference[1])


@pytest.mark.parametrize(("unit", "factor"), [("nm", 0.1), ("um", 1e-4), ("m", 1e-10), ("angstrom", 1.0), ("Angstroms", 1.0), ("A", 1.0)])
def test_the_unit_of_the_axis_is_no_matter(unit, factor, truth, reference, tmp_path):
    data, sigma, bad = truth
    made = hdus(data, ("ERR", sigma), ("DQ", bad.astype("u1")))
    made[1].header["CUNIT3"] = unit
    for key in ("CRVAL3", "CDELT3"):
        made[1].header[key] *= factor
    made.writeto(tmp_path / "cube.fits")
    assert same(read(tmp_path / "cube.fits"), reference[1])


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize(("name", "power"), [("STAT", 2), ("VAR", 2), ("ERR", 1), ("IVAR", -2)])
@pytest.mark.parametrize("where", ["same file", "other file", "other file by number"])
def test_variance_sigma_and_inverse_variance_are_the_same(name, power, where, truth, reference, tmp_path):
    data, sigma, bad = truth
    noise = (name, sigma.astype("f8") ** power)
    mask = ("DQ", bad.astype("u1"))
    if where == "same file":
        hdus(data, noise, mask).writeto(tmp_path / "cube.fits")
        assert same(read(tmp_path / "cube.fits"), reference[1], rtol=1e-6)
        return
    hdus(data).writeto(tmp_path / "cube.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(noise[1], name=name)]).writeto(tmp_path / "errors.fits")
    fits.HDUList([fits.PrimaryHDU(mask[1])]).writeto(tmp_path / "mask.fits")
    options = {"err_ext": 1} if where.endswith("number") else {}
    cube = read(tmp_path / "cube.fits", err_file=tmp_path / "errors.fits", mask_file=tmp_path / "mask.fits", **options)
    assert same(cube, reference[1], rtol=1e-6)


@pytest.mark.parametrize(("said", "power"), [("MSE", 2), ("RMSE", 1), ("INVMSE", -2), ("INVRMSE", -1)])
def test_what_the_header_says_of_the_errors_wins_over_their_name(said, power, truth, reference, tmp_path):
    data, sigma, bad = truth
    made = hdus(data, ("STAT", sigma.astype("f8") ** power), ("DQ", bad.astype("u1")))
    made[1].header.update({"HDUCLASS": "ESO", "HDUCLAS2": "DATA", "ERRDATA": "STAT", "QUALDATA": "DQ"})
    made[2].header.update({"HDUCLASS": "ESO", "HDUCLAS2": "ERROR", "HDUCLAS3": said, "SCIDATA": "DATA"})
    made.writeto(tmp_path / "cube.fits")
    assert same(read(tmp_path / "cube.fits"), reference[1], rtol=1e-6)


# ---------------------------------------------------------------- scale


@pytest.mark.parametrize("exponent", [-20, -17, 16])
@pytest.mark.parametrize("spelling", ["1e{} {}", "10**({})*{}", "10^{} {}"])
def test_a_factor_in_the_unit_and_in_the_data_is_the_same_flux(exponent, spelling, truth, reference, tmp_path):
    data, sigma, bad = truth
    factor = 10.0**-exponent
    made = hdus(data * factor, ("ERR", sigma * factor), ("DQ", bad.astype("u1")), unit=spelling.format(exponent, UNIT))
    made.writeto(tmp_path / "cube.fits")
    cube, other = read(tmp_path / "cube.fits"), reference[1]
    good = other.weights > 0
    scale = cube.frame.unit.to(other.frame.unit)
    np.testing.assert_array_equal(cube.weights > 0, good)
    np.testing.assert_allclose(cube.data[good].astype("f8") * scale, other.data[good], rtol=1e-6)
    np.testing.assert_allclose(cube.weights.astype("f8") / scale**2, other.weights, rtol=1e-5)


@pytest.mark.parametrize("bitpix", ["i2", "i4"])
def test_scaled_integers_are_the_values_they_stand_for(bitpix, tmp_path):
    rng = np.random.default_rng(9)
    stored = rng.integers(-3000, 3000, SHAPE).astype(bitpix)
    made = hdus(stored)
    path = tmp_path / "cube.fits"
    made.writeto(path)
    raw = path.read_bytes()
    start = raw.index(b"BUNIT   =")
    cards = b"".join(f"{key:<8}= {value:>20}".encode().ljust(80) for key, value in (("BSCALE", 0.25), ("BZERO", 100.0), ("BLANK", 77)))
    end = raw.index(b"END".ljust(80), start)
    path.write_bytes(raw[:end] + cards + b"END".ljust(80) + raw[end + 320 :])
    cube = read(path)
    blank = stored == 77
    np.testing.assert_array_equal(cube.data[~blank], (stored * 0.25 + 100)[~blank])
    assert np.isnan(cube.data[blank]).all()


@pytest.mark.parametrize("kind", ["i1", "u2", "u4"])
def test_blanks_of_unsigned_integers_are_absent(kind, tmp_path):
    """Astropy reads them as integers, and the blanks as numbers."""
    offset = {"i1": -128, "u2": 2**15, "u4": 2**31}[kind]
    stored = np.random.default_rng(4).integers(1, 100, SHAPE)
    path = tmp_path / "cube.fits"
    raw = file_bytes(fits.HDUList([fits.PrimaryHDU(stored.astype({"i1": "u1", "u2": "i2", "u4": "i4"}[kind]))]))
    end = raw.rindex(b"END".ljust(80), 0, 2880)
    cards = b"".join(f"{key:<8}= {value:>20}".encode().ljust(80) for key, value in (("BSCALE", 1), ("BZERO", offset), ("BLANK", 50)))
    path.write_bytes(raw[:end] + cards + b"END".ljust(80) + raw[end + 320 :])
    cube = read(path)
    np.testing.assert_array_equal(np.isnan(cube.data), stored == 50)
    np.testing.assert_array_equal(cube.data[stored != 50], stored[stored != 50] + offset)
