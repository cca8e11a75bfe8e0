"""MATLAB files as scipy and h5py write them: three layouts, the order of the pixels, and variables that are never opened."""

import struct
import zlib

import numpy as np
import pytest
from astropy import units as u
from scipy.io import loadmat, savemat

from vermilion.errors import (
    AmbiguousInputError,
    CorruptFileError,
    MemoryLimitError,
    ParameterError,
    ShapeError,
    TruncatedFileError,
)
from vermilion.io import read
from vermilion.io.containers.mat_file import read_mat

from .helpers import REAL_DATA, needs_data, read_damaged, whys

B, NY, NX = 12, 9, 14


@pytest.fixture
def values():
    """A smooth image, whose pixels cannot be put into another order without being noticed."""
    y, x = np.mgrid[:NY, :NX]
    spectra = np.random.default_rng(4).uniform(0.2, 1, size=(B, 3))
    maps = np.stack([np.exp(-((y - 2) ** 2 + (x - 3) ** 2) / 9), np.exp(-((y - 6) ** 2 + (x - 10) ** 2) / 16), np.full((NY, NX), 0.1)])
    return np.einsum("bk,kyx->byx", spectra, maps)


@pytest.fixture
def save(tmp_path):
    def save(variables, **options):
        savemat(tmp_path / "scene.mat", variables, **options)
        return tmp_path / "scene.mat"

    return save


def by_columns(values):
    """Bands x pixels as MATLAB's reshape makes it of rows x columns x bands."""
    return values.transpose(1, 2, 0).reshape(-1, len(values), order="F").T


def by_rows(values):
    return values.reshape(len(values), -1)


# ---------------------------------------------------------------- the container


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}], ids=["level 5", "compressed", "level 4"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "i2", "u2", "u1"])
def test_numbers_of_every_type_are_those_that_scipy_reads(tmp_path, options, dtype):
    path = tmp_path / "x.mat"
    arrays = {"a": np.random.default_rng(0).uniform(0, 200, size=(6, 5)).astype(dtype), "one": np.array([[7]], dtype=dtype)}
    savemat(path, arrays, **options)
    oracle = loadmat(path)
    found = {variable.name: variable for variable in read_mat(path, 10**8)}
    assert set(found) == set(arrays)
    for name, variable in found.items():
        values = variable.read()
        assert (values.shape, values.dtype.kind) == (oracle[name].shape, oracle[name].dtype.kind)
        np.testing.assert_array_equal(values, oracle[name])
        assert values.dtype.isnative


@pytest.mark.parametrize("dtype", ["i1", "i8", "u4", "u8", "?"])
def test_the_types_of_level_5_only(tmp_path, dtype):
    array = (np.arange(24) % 2 if dtype == "?" else np.arange(24)).astype(dtype).reshape(2, 3, 4)
    savemat(tmp_path / "x.mat", {"a": array})
    values = read_mat(tmp_path / "x.mat", 10**8)[0].read()
    np.testing.assert_array_equal(values, array)
    assert values.dtype == array.dtype


def test_numbers_stored_in_a_smaller_type_keep_their_class(tmp_path):
    """MATLAB itself stores doubles that are small integers as bytes: format document, level 5, "automatic compression"."""

    def element(kind, content):
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    body = (
        element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<3i", 2, 3, 2)) + element(1, b"cube") + element(2, bytes(range(12)))
    )
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element(14, body))
    values = read_mat(tmp_path / "x.mat", 10**6)[0].read()
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, np.arange(12.0).reshape(2, 3, 2, order="F"))
    np.testing.assert_array_equal(values, loadmat(tmp_path / "x.mat")["cube"])


def test_structures_cells_objects_and_complex_numbers_are_listed_but_never_opened(save, values):
    others = {"s": {"a": 1}, "c": np.array([1, "x"], dtype=object), "z": np.ones((2, 2, 2)) * 1j, "e": np.zeros((0, 0))}
    path = save({"cube": values.transpose(1, 2, 0), **others})
    np.testing.assert_array_equal(read(path).data, values)
    for name, kind in (("s", "struct"), ("c", "cell"), ("z", "complex")):
        with pytest.raises(ShapeError, match=rf"{name} \("):
            read(path, variable=name)
        with pytest.raises(CorruptFileError, match=f"{kind}.*never opened"):
            next(variable for variable in read_mat(path, 10**8) if variable.name == name).read()
    with pytest.raises(CorruptFileError, match=r"only s \(struct\)"):
        read(save({"s": {"a": 1}}))


def test_a_compressed_variable_is_inflated_no_further_than_its_size(tmp_path):
    """A tag that announces 2 GB in a variable of 8 numbers."""

    def element(kind, length, content):
        return struct.pack("<II", kind, length) + content + bytes(-len(content) % 8)

    body = element(6, 8, struct.pack("<II", 6, 0)) + element(5, 12, struct.pack("<3i", 2, 2, 2)) + element(1, 4, b"cube")
    body += element(9, 2**31, bytes(50_000_000))
    packed = zlib.compress(struct.pack("<II", 14, len(body)) + body)
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(CorruptFileError, match="it holds 2147483648 bytes"):
        read(tmp_path / "x.mat")


def test_memory_is_compared_before_a_variable_is_read(save):
    path = save({"cube": np.zeros((100, 100, 40))}, do_compression=True)
    assert path.stat().st_size < 10_000
    with pytest.raises(MemoryLimitError, match="--memory"):
        read(path, memory=1_000_000)


def test_dimensions_that_the_file_cannot_hold_are_damage(save, values):
    path = save({"cube": values.transpose(1, 2, 0)})
    raw = path.read_bytes()
    dims = struct.pack("<3i", NY, NX, B)
    path.write_bytes(raw.replace(dims, struct.pack("<3i", 100_000, 100_000, 1000)))
    with pytest.raises(CorruptFileError, match="does not fit"):
        read(path)


def test_files_that_end_early_say_so(save, values):
    path = save({"cube": values.transpose(1, 2, 0)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TruncatedFileError, match="the file ends after"):
        read(path)


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}], ids=["level 5", "compressed", "level 4"])
def test_damaged_files_end_in_one_of_our_errors(save, values, options):
    path = save({"Y": by_columns(values), "H": NY, "W": NX, "wavelength": np.linspace(400, 900, B), "name": "x"}, **options)
    read_damaged(path, path.read_bytes(), trials=150, seed=6, head=400)


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("names", [("H", "W"), ("nRow", "nCol"), ("rows", "cols"), ("lines", "samples")])
@pytest.mark.parametrize("name", ["Y", "V", "X", "data"])
def test_a_matrix_of_pixels_by_columns_is_an_image(save, values, names, name):
    cube = read(save({name: by_columns(values), names[0]: NY, names[1]: NX}))
    np.testing.assert_array_equal(cube.data, values)
    assert "down the columns" in whys(cube)


def test_the_matrix_may_lie_on_its_side(save, values):
    np.testing.assert_array_equal(read(save({"Y": by_columns(values).T, "nRow": NY, "nCol": NX})).data, values)


def test_pixels_by_rows_are_noticed_by_the_smoothness_of_the_image(save, values):
    cube = read(
        save({"Y": by_rows(values), "H": NY, "W": NX, "E": np.ones((B, 3)), "A": np.ones((3, NY * NX)), "p": 3, "L": B, "N": NY * NX})
    )
    np.testing.assert_array_equal(cube.data, values)
    assert "along the rows" in whys(cube)
    assert "times as much" in whys(cube)


@pytest.mark.parametrize("seed", range(5))
def test_noise_leaves_the_usual_order(save, seed):
    noise = np.random.default_rng(seed).normal(size=(B, NY, NX))
    np.testing.assert_array_equal(read(save({"Y": by_columns(noise), "H": NY, "W": NX})).data, noise)


@pytest.mark.parametrize("stored", [by_columns, by_rows], ids=["columns", "rows"])
@pytest.mark.parametrize("wanted", ["columns", "rows"])
@pytest.mark.parametrize("n_x", [NX, NY], ids=["oblong", "square"])
def test_the_option_says_how_pixels_run_whatever_the_image_says(save, values, stored, wanted, n_x):
    image = values[:, :, :n_x]
    cube = read(save({"Y": stored(image), "H": NY, "W": n_x, "mask": stored(image) < 0.2}), pixel_order=wanted)
    expected = stored(image).reshape(B, NY, n_x, order="C") if wanted == "rows" else stored(image).reshape(B, n_x, NY).swapaxes(1, 2)
    np.testing.assert_array_equal(cube.data, expected)
    np.testing.assert_array_equal(cube.mask, expected < 0.2)
    assert "option --pixel-order" in whys(cube)


def test_another_order_of_pixels_is_refused(save, values):
    with pytest.raises(ParameterError, match=r"pixel_order is 'C': expected one of columns, rows"):
        read(save({"Y": by_rows(values), "H": NY, "W": NX}), pixel_order="C")


def test_a_square_image_is_taken_by_columns_and_the_log_says_so(save, caplog):
    caplog.set_level("WARNING", "vermilion")
    square = np.random.default_rng(0).normal(size=(B, 8, 8))
    np.testing.assert_array_equal(read(save({"V": by_columns(square), "nRow": 8, "nCol": 8, "nBand": B})).data, square)
    assert "in the other order the image would be transposed (--pixel-order rows)" in caplog.text


@pytest.mark.parametrize("name", ["paviaU", "indian_pines_corrected", "salinas", "hypercube"])
def test_rows_columns_bands_is_the_usual_order(save, values, name):
    cube = read(save({name: values.transpose(1, 2, 0)}))
    np.testing.assert_array_equal(cube.data, values)
    assert f"spectral axis is the last of {NY} x {NX} x {B}: by custom" in whys(cube)


@pytest.mark.parametrize(("number", "axes"), [(1, (0, 1, 2)), (2, (1, 0, 2)), (3, (1, 2, 0))])
def test_the_spectral_axis_may_be_named_by_matlabs_number(save, values, number, axes):
    np.testing.assert_array_equal(read(save({"cube": values.transpose(axes)}), spectral_axis=number).data, values)


@pytest.mark.parametrize(
    "evidence",
    [{"wavelength": np.linspace(400, 900, B)}, {"nBand": B}, {"M": np.ones((B, 3))}, {"H": NY, "W": NX}],
    ids=lambda d: next(iter(d)),
)
def test_what_the_file_says_finds_the_spectral_axis(save, values, evidence):
    np.testing.assert_array_equal(read(save({"cube": values, **evidence})).data, values)


def test_two_equal_sides_that_speak_against_custom_are_not_guessed(save):
    cube = np.random.default_rng(0).normal(size=(20, 9, 9))
    with pytest.raises(AmbiguousInputError, match="add --spectral-axis 1 for that, or --spectral-axis 3"):
        read(save({"cube": cube}))
    np.testing.assert_array_equal(read(save({"cube": cube}), spectral_axis=1).data, cube)


def test_a_ground_truth_of_labels_is_not_the_cube(save, values):
    cube = read(save({"scene": values.transpose(1, 2, 0), "scene_gt": np.ones((NY, NX), "u1"), "abundances": np.ones((NY, NX, 3))}))
    np.testing.assert_array_equal(cube.data, values)
    assert "not used: scene_gt" in whys(cube)


def test_several_cubes_are_refused_until_one_is_named(save, values):
    path = save({"before": values.transpose(1, 2, 0), "after": 2 * values.transpose(1, 2, 0)})
    with pytest.raises(AmbiguousInputError, match="--variable"):
        read(path)
    np.testing.assert_array_equal(read(path, variable="after").data, 2 * values)


def test_a_matrix_without_the_size_of_the_image_is_refused(save, values):
    with pytest.raises(ShapeError, match="H and W"):
        read(save({"Y": by_columns(values)}))
    with pytest.raises(ShapeError, match=r"9 x 13 pixels"):
        read(save({"Y": by_columns(values), "H": NY, "W": NX - 1}))
    with pytest.raises(ParameterError, match="holds no array 'Z'"):
        read(save({"Y": by_columns(values)}), variable="Z")


def test_bands_that_the_file_leaves_out_are_masked(save, values):
    chosen = np.array([1, 2, 3, 7, 8, B])
    cube = read(save({"Y": by_columns(values), "nRow": NY, "nCol": NX, "SlectBands": chosen[:, None], "maxValue": 1000}))
    np.testing.assert_array_equal(np.flatnonzero(~cube.mask.all(axis=(1, 2))) + 1, chosen)


def test_wavelengths_errors_and_text_are_found(save, values):
    variables = {"cube": values.transpose(1, 2, 0), "sigma": np.full((NY, NX, B), 0.5), "lambda": np.linspace(0.4, 2.4, B)[:, None]}
    cube = read(save({**variables, "lambda_unit": "um", "unit": "W m-2 um-1 sr-1"}))
    assert cube.frame.spectral_axis.unit == u.um
    assert cube.frame.unit == u.Unit("W m-2 um-1 sr-1")
    np.testing.assert_allclose(cube.variance, 0.25)


# ---------------------------------------------------------------- 7.3


@pytest.fixture
def save73(tmp_path):
    h5py = pytest.importorskip("h5py")

    def save(variables):
        path = tmp_path / "scene.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, array in variables.items():
                kind = "char" if isinstance(array, str) else "double"
                stored = np.array([[ord(c)] for c in array], "u2") if kind == "char" else np.atleast_2d(array).T
                file.create_dataset(name, data=stored).attrs["MATLAB_class"] = np.bytes_(kind)
            file.create_group("#refs#").create_dataset("a", data=np.ones((3, 4, 5)))
        raw = bytearray(path.read_bytes())
        raw[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 1".ljust(124) + b"\x00\x02IM"
        path.write_bytes(raw)
        return path

    return save


def test_level_7_3_has_the_same_layouts(save73, values):
    cube = read(save73({"cube": values.transpose(1, 2, 0), "wavelength": np.linspace(400, 900, B), "unit": "Jy"}))
    np.testing.assert_array_equal(cube.data, values)
    assert cube.meta["reader"] == "matlab"
    assert cube.frame.unit == u.Jy
    assert cube.frame.spectral_axis[0] == 400 * u.nm
    np.testing.assert_array_equal(read(save73({"Y": by_columns(values), "H": NY, "W": NX})).data, values)


# ---------------------------------------------------------------- real scenes


@needs_data
@pytest.mark.parametrize("options", [{}, {"do_compression": True}], ids=["plain", "compressed"])
def test_samson_by_columns_is_samson(save, options):
    with np.load(REAL_DATA / "hsi" / "samson.npz") as truth:
        scene = truth["Y"]
    cut = scene[:, 10:70]
    for image in (scene, cut):
        cube = read(save({"V": by_columns(image), "nRow": image.shape[1], "nCol": image.shape[2], "nBand": len(image)}, **options))
        np.testing.assert_array_equal(cube.data, image)
    np.testing.assert_array_equal(read(save({"Y": by_rows(cut), "H": 60, "W": 95})).data, cut)
