"""NumPy files: arrays by their names, weights and masks as they are meant, and nothing that only a pickle could hold."""

import os
import zipfile
from io import BytesIO

import numpy as np
import pytest
from astropy import units as u

from vermilion.errors import (
    AmbiguousInputError,
    CorruptFileError,
    MemoryLimitError,
    NotFITSError,
    ParameterError,
    ShapeError,
    TruncatedFileError,
    UnitError,
)
from vermilion.io import read

from .helpers import REAL_DATA, needs_data, read_damaged, whys

B, NY, NX = 5, 6, 7


@pytest.fixture
def values():
    return np.random.default_rng(2).normal(5, 1, size=(B, NY, NX)).astype("f4")


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        path = tmp_path / "scene.npz"
        np.savez(path, **arrays)
        return path

    return save


# ---------------------------------------------------------------- .npy


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", ">i2", "u1", "f2", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_as_band_y_x(tmp_path, values, dtype, order):
    stored = np.asarray(values if dtype != "?" else values > 5).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", stored)
    cube = read(tmp_path / "x.npy")
    np.testing.assert_array_equal(cube.data, stored.astype("f8"))
    assert cube.data.dtype.isnative
    assert (cube.meta["reader"], cube.meta["name"]) == ("numpy", "x")
    assert "by custom" in whys(cube)


@pytest.mark.parametrize(("number", "axis"), [(3, 0), (2, 1), (1, 2)])
def test_the_spectral_axis_may_be_named(tmp_path, values, number, axis):
    np.save(tmp_path / "x.npy", np.moveaxis(values, 0, axis))
    np.testing.assert_array_equal(read(tmp_path / "x.npy", spectral_axis=number).data, values)


def test_two_equal_sides_that_speak_against_custom_are_not_guessed(tmp_path):
    cube = np.random.default_rng(0).normal(size=(9, 9, 20))
    np.save(tmp_path / "x.npy", cube)
    with pytest.raises(AmbiguousInputError, match=r"add --spectral-axis 1 for that, or --spectral-axis 3"):
        read(tmp_path / "x.npy")
    np.testing.assert_array_equal(read(tmp_path / "x.npy", spectral_axis=1).data, np.moveaxis(cube, 2, 0))


@pytest.mark.parametrize("shape", [(4,), (4, 5), (2, 3, 4, 5), (0, 3, 4), ()])
def test_what_is_no_cube_is_refused(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape))
    with pytest.raises(ShapeError, match="expected"):
        read(tmp_path / "x.npy")


def test_complex_numbers_and_tables_are_refused(tmp_path):
    for array in (np.ones((2, 3, 4), complex), np.zeros((2, 3, 4), [("a", "f4")]), np.full((2, 3, 4), "x")):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(ShapeError, match="no cube"):
            read(tmp_path / "x.npy")


def test_python_objects_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.save(tmp_path / "x.npy", np.array([Trap()] * 8, dtype=object).reshape(2, 2, 2), allow_pickle=True)
    np.savez(tmp_path / "x.npz", images=np.array([Trap()], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(CorruptFileError, match="Python objects"):
            read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def header_of(shape):
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_header_that_announces_more_than_there_is_allocates_nothing(tmp_path):
    (tmp_path / "x.npy").write_bytes(header_of((1000, 100000, 100000)) + b"\0" * 100)
    with pytest.raises(TruncatedFileError, match="there are 100"):
        read(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header_of((1000, 100000, 100000)) + b"\0" * 100)
    with pytest.raises(CorruptFileError, match="cannot come out"):
        read(tmp_path / "x.npz")


def test_a_zip_bomb_is_refused_by_its_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header_of((20, 1000, 250)) + bytes(8 * 5_000_000))
    assert (tmp_path / "x.npz").stat().st_size < 100_000
    with pytest.raises(MemoryLimitError, match="--memory"):
        read(tmp_path / "x.npz", memory=30_000_000)


def test_a_flipped_bit_in_an_archive_is_seen(tmp_path, values):
    np.savez(tmp_path / "x.npz", images=values)
    raw = bytearray((tmp_path / "x.npz").read_bytes())
    raw[500] ^= 1
    (tmp_path / "x.npz").write_bytes(raw)
    with pytest.raises(CorruptFileError, match="CRC"):
        read(tmp_path / "x.npz")


def test_a_zip_archive_without_arrays_is_no_numpy_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(NotFITSError, match="zip archive"):
        read(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_damaged_files_end_in_one_of_our_errors(tmp_path, values, kind):
    path = tmp_path / ("x.npy" if kind == "npy" else "x.npz")
    if kind == "npy":
        np.save(path, values)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, images=values, mask=values > 6)
    read_damaged(path, path.read_bytes(), trials=100, seed=3, head=150)


# ---------------------------------------------------------------- .npz


@pytest.mark.parametrize("name", ["images", "data", "flux", "cube", "Y", "whatever"])
def test_the_only_array_with_three_axes_is_the_cube(save, values, name):
    np.testing.assert_array_equal(read(save(**{name: values, "peaks": np.ones((3, 2))})).data, values)


@pytest.mark.parametrize(
    ("name", "option", "as_variance"),
    [
        ("variance", None, lambda e: e),
        ("var", None, lambda e: e),
        ("sigma", None, np.square),
        ("error", None, np.square),
        ("data_unc", None, np.square),
        ("weights", None, np.reciprocal),
        ("ivar", None, np.reciprocal),
        ("err", "variance", lambda e: e),
    ],
)
def test_errors_are_taken_by_their_name_or_the_option(save, values, name, option, as_variance):
    errors = np.random.default_rng(0).uniform(0.5, 2, size=values.shape)
    cube = read(save(data=values, **{name: errors}), err_type=option)
    np.testing.assert_allclose(cube.variance, as_variance(errors), rtol=1e-12)
    assert read(save(data=values, **{name: errors}), err_ext="none").variance is None


def test_weight_zero_is_masked(save, values):
    weights = np.ones(values.shape)
    weights[1, 2, 3], weights[0, 0, 0], weights[4, 5, 6] = 0, -1, np.nan
    cube = read(save(images=values, weights=weights))
    assert cube.mask.sum() == 3
    assert (cube.weights == 0).sum() == 3
    assert "3 values have no weight in weights" in whys(cube)


@pytest.mark.parametrize("dtype", ["?", "u1", "f8"])
def test_a_mask_of_zeros_and_ones_means_what_it_says(save, values, dtype):
    bad = values > 6
    np.testing.assert_array_equal(read(save(images=values, mask=bad.astype(dtype))).mask, bad)
    assert read(save(images=values, mask=bad.astype(dtype)), mask_ext="none").mask is None


def test_bits_of_unknown_meaning_are_not_guessed(save, values):
    mask = np.random.default_rng(0).integers(0, 8, size=values.shape)
    path = save(images=values, mask=mask)
    with pytest.raises(AmbiguousInputError, match="--mask-bits"):
        read(path)
    np.testing.assert_array_equal(read(path, mask_bits="1").mask, mask & 2 != 0)
    np.testing.assert_array_equal(read(path, mask_bits="any").mask, mask != 0)


def test_masks_beside_the_filters_of_lsst_have_its_planes(save, values):
    mask = np.random.default_rng(0).integers(0, 2**17, size=values.shape, dtype="i4")
    cube = read(save(images=values, mask=mask, filters=np.array(list("grizy"))))
    np.testing.assert_array_equal(cube.mask, mask & (1 | 2 | 8 | 16 | 128 | 256) != 0)  # BAD SAT CR EDGE SUSPECT NO_DATA
    assert cube.frame.band_names == tuple("grizy")
    assert "LSST" in whys(cube)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("wavelength_nm", u.nm), ("wave_um", u.um), ("wave_A", u.AA), ("wavelengths_angstrom", u.AA), ("lambda_nm", u.nm)],
)
def test_wavelengths_have_the_unit_of_their_name(save, values, name, expected):
    axis = read(save(data=values, **{name: np.linspace(1, 2, B)})).frame.spectral_axis
    np.testing.assert_array_equal(axis.value, np.linspace(1, 2, B))
    assert axis.unit == expected


def test_a_unit_beside_the_wavelengths_and_one_for_the_data(save, values):
    cube = read(save(data=values, wavelength=np.arange(1.0, 6), wavelength_unit="um", unit="MJy/sr"))
    assert cube.frame.spectral_axis.unit == u.um
    assert cube.frame.unit == u.MJy / u.sr
    with pytest.raises(UnitError, match="--unit"):
        read(save(data=values, unit="furlongs per fortnight"))
    assert read(save(data=values, unit="furlongs per fortnight"), unit="Jy").frame.unit == u.Jy


def test_wavelengths_find_the_spectral_axis(save, values):
    cube = read(save(data=np.moveaxis(values, 0, 2), wavelengths=np.linspace(400, 800, B)))
    np.testing.assert_array_equal(cube.data, values)
    assert "wavelengths has as many values" in whys(cube)


def test_a_matrix_with_height_and_width_is_an_image_by_rows(save, values):
    np.testing.assert_array_equal(read(save(Y=values.reshape(B, -1), H=NY, W=NX)).data, values)


def test_pixels_of_a_matrix_may_run_down_the_columns_by_option(save, values):
    by_columns = values.transpose(0, 2, 1).reshape(B, -1)
    np.testing.assert_array_equal(read(save(Y=by_columns, H=NY, W=NX), pixel_order="columns").data, values)


def test_psfs_are_brought_to_unit_sum_and_kept_out_of_the_data(save, values):
    psfs = np.random.default_rng(0).uniform(0, 1, size=(B, 3, 3))
    cube = read(save(images=values, psfs=psfs))
    np.testing.assert_allclose(cube.psf.image, psfs / psfs.sum(axis=(1, 2), keepdims=True))
    assert "divided by its sum" in whys(cube)
    broken = read(save(images=values, psfs=psfs[:2]))
    assert broken.psf is None
    assert "not used as the PSF" in whys(broken)


def test_several_cubes_are_refused_until_one_is_named(save, values):
    path = save(night1=values, night2=2 * values)
    with pytest.raises(AmbiguousInputError, match=r"night1 \(5 x 6 x 7, float32\), night2 .*--variable night1"):
        read(path)
    np.testing.assert_array_equal(read(path, variable="night2").data, 2 * values)
    np.testing.assert_array_equal(read(path, variable="NIGHT2").data, 2 * values)
    with pytest.raises(ParameterError, match="Did you mean 'night2'"):
        read(path, variable="nigt2")


def test_names_with_control_characters_do_not_reach_the_terminal(tmp_path, values):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("a\x1b[2J.npy", "b\n.npy"):
            stream = BytesIO()
            np.save(stream, values)
            archive.writestr(name, stream.getvalue())
    with pytest.raises(AmbiguousInputError) as refused:
        read(tmp_path / "x.npz")
    assert str(refused.value).isprintable()


def test_a_reader_may_be_named(save, values):
    assert read(save(data=values), reader="numpy").meta["reader"] == "numpy"
    with pytest.raises(ParameterError, match="not of the format"):
        read(save(data=values), reader="envi")


# ---------------------------------------------------------------- real files


@needs_data
@pytest.mark.parametrize(
    ("name", "shape"),
    [("samson", (156, 95, 95)), ("moffett", (184, 50, 50)), ("dc1_clean", (224, 75, 75)), ("sim1_clean", (224, 105, 105))],
)
def test_the_scenes_at_hand_are_their_array_y(name, shape):
    cube = read(REAL_DATA / "hsi" / f"{name}.npz")
    with np.load(REAL_DATA / "hsi" / f"{name}.npz") as truth:
        np.testing.assert_array_equal(cube.data, truth["Y"])
    assert cube.data.shape == shape
    axis = cube.frame.spectral_axis
    assert axis is None if name != "samson" else (axis.unit == u.nm and axis[0].value == 401)


@needs_data
def test_the_blends_at_hand_have_their_weights_and_psfs():
    paths = sorted((REAL_DATA / "broadband" / "hsc_blends").glob("*.npz"))
    assert len(paths) == 20
    for path in paths:
        cube = read(path)
        with np.load(path) as truth:
            np.testing.assert_array_equal(cube.data, truth["images"])
            np.testing.assert_allclose(cube.weights, truth["weights"], rtol=1e-6)
            np.testing.assert_array_equal(cube.mask, truth["weights"] == 0)
            np.testing.assert_allclose(cube.psf.image, truth["psfs"], rtol=1e-9, atol=1e-12)


@needs_data
def test_the_scarlet_scenes_have_bands_psfs_variance_and_mask():
    hsc = read(REAL_DATA / "broadband" / "scarlet_hsc_cosmos_35.npz")
    with np.load(REAL_DATA / "broadband" / "scarlet_hsc_cosmos_35.npz") as truth:
        np.testing.assert_array_equal(hsc.variance, truth["variance"])
        np.testing.assert_array_equal(hsc.mask, truth["mask"] & 8 != 0)  # only CR of the bad planes occurs; DETECTED covers 79 %
    assert hsc.frame.band_names == tuple("grizy")
    matched = read(REAL_DATA / "broadband" / "scarlet_psf_matched_sim.npz")
    assert matched.frame.band_names == tuple("ugrizy")
    assert matched.psf.image.shape == (6, 31, 31)
    assert matched.variance is None
