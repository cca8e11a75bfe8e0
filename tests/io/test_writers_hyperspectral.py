"""ENVI, MATLAB and TIFF files: what is written is what SPy, scipy and tifffile read, and what vermilion reads back."""

import hashlib
import os

import numpy as np
import pytest
import tifffile
from astropy import units as u
from PIL import Image
from scipy.io import loadmat

from vermilion.datamodels import Cube, Frame, History, Result, Status
from vermilion.errors import OutputError, OutputExistsError, ParameterError, ShapeError
from vermilion.io import read
from vermilion.io.writers import OutputFolder
from vermilion.io.writers.hyperspectral import KINDS, hyperspectral_products, write_envi, write_mat, write_spectral_library, write_tiff

spy = pytest.importorskip("spectral.io.envi", reason="SPy is not installed")

B, K, NY, NX = 6, 3, 5, 7
NAMES = ("soil", "tree, wet {dense}", "water")
UTM = ("UTM", "1", "1", "321711.2", "5561737.6", "0.8", "0.8", "33", "North", "WGS-84")


@pytest.fixture(params=["f4", "f8"])
def cube(request):
    rng = np.random.default_rng(8)
    data = rng.normal(size=(B, NY, NX)).astype(request.param)
    frame = Frame(
        shape=(NY, NX),
        n_bands=B,
        unit=u.Unit("1e-20 erg s-1 cm-2 Angstrom-1"),
        spectral_axis=np.cumsum(rng.uniform(1, 9, B)) * u.nm + 400 * u.nm,
        lsf=rng.uniform(1, 2, B) * u.nm,
    )
    return Cube(data, None, data > 1.2, frame)


@pytest.fixture
def maps():
    maps = np.random.default_rng(9).uniform(0, 1, size=(K, NY, NX)).astype("f4")
    maps[:, 0, 0] = np.nan
    return maps


@pytest.fixture
def result(maps):
    spectra = np.random.default_rng(10).uniform(0, 1, size=(B, K))
    return Result(spectra=spectra, morphologies=maps, status=Status.CONVERGED, history=History(()), names=NAMES)


def test_a_cube_comes_back_from_envi_exactly(tmp_path, cube):
    data_path, header_path = write_envi(tmp_path / "cube.img", cube)
    for path in (data_path, header_path):
        back = read(path)
        assert back.data.dtype == cube.data.dtype
        np.testing.assert_array_equal(back.data[~cube.mask], cube.data[~cube.mask])
        np.testing.assert_array_equal(back.mask, cube.mask)
        np.testing.assert_array_equal(back.frame.spectral_axis, cube.frame.spectral_axis)
        np.testing.assert_array_equal(back.frame.lsf, cube.frame.lsf)
        assert back.frame.unit == cube.frame.unit


@pytest.mark.parametrize("unit", ["nm", "um", "AA", "m", "GHz", "MHz", "cm-1", "Hz", "keV", "km/s"])
def test_the_unit_of_the_axis_comes_back(tmp_path, maps, unit):
    axis = [1.5, 2.5, 4.0] * u.Unit(unit)
    write_envi(tmp_path / "x.img", maps, wavelength=axis)
    back = read(tmp_path / "x.img").frame.spectral_axis
    np.testing.assert_array_equal(back.value, axis.value)
    assert back.unit == axis.unit


def test_spy_reads_the_image_the_names_and_the_wavelengths(tmp_path, cube, maps):
    _, header = write_envi(tmp_path / "cube.img", cube)
    image = spy.open(str(header))
    np.testing.assert_array_equal(np.asarray(image.open_memmap()), np.where(cube.mask, np.nan, cube.data).transpose(1, 2, 0))
    np.testing.assert_allclose(image.bands.centers, cube.frame.spectral_axis.value, rtol=1e-12)
    np.testing.assert_allclose(image.bands.bandwidths, cube.frame.lsf.value, rtol=1e-12)
    _, header = write_envi(tmp_path / "maps.img", maps, names=NAMES)
    assert spy.open(str(header)).metadata["band names"] == ["soil", "tree wet dense", "water"]


def test_spy_reads_the_spectral_library(tmp_path, result, cube):
    _, header = write_spectral_library(tmp_path / "spectra.sli", result.spectra, wavelength=cube.frame.spectral_axis, names=NAMES)
    library = spy.open(str(header))
    np.testing.assert_array_equal(library.spectra, result.spectra.T)
    assert library.names == ["soil", "tree wet dense", "water"]
    np.testing.assert_allclose(library.bands.centers, cube.frame.spectral_axis.value)


def test_a_cube_comes_back_from_matlab_exactly(tmp_path, cube):
    path = write_mat(tmp_path / "cube.mat", cube)
    oracle = loadmat(path)
    expected = np.where(cube.mask, np.nan, cube.data)
    np.testing.assert_array_equal(oracle["cube"], expected.transpose(1, 2, 0))
    assert oracle["cube"].dtype == cube.data.dtype
    back = read(path)
    np.testing.assert_array_equal(back.data, expected)
    np.testing.assert_array_equal(back.frame.spectral_axis, cube.frame.spectral_axis)
    assert back.frame.unit == cube.frame.unit


def test_maps_and_spectra_in_one_matlab_file(tmp_path, maps, result, cube):
    path = write_mat(tmp_path / "x.mat", maps, spectra=result.spectra, wavelength=cube.frame.spectral_axis, names=NAMES)
    oracle = loadmat(path)
    np.testing.assert_array_equal(oracle["maps"], maps.transpose(1, 2, 0))
    np.testing.assert_array_equal(oracle["spectra"], result.spectra)
    np.testing.assert_array_equal(oracle["wavelength"][:, 0], cube.frame.spectral_axis.value)
    assert [name.strip() for name in oracle["names"]] == list(NAMES)
    np.testing.assert_array_equal(read(path).data, maps)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("count", [1, 3])
def test_tiff_planes_are_the_maps(tmp_path, maps, dtype, count):
    images = maps[:count].astype(dtype)
    path = write_tiff(tmp_path / "x.tif", images, names=NAMES[:count], map_info=UTM)
    back = tifffile.imread(path)
    np.testing.assert_array_equal(back.reshape(images.shape), images)
    assert back.dtype == dtype
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].geotiff_tags
        assert tags["ProjectedCSTypeGeoKey"] == 32633
        assert (tags["ModelTiepoint"], tags["ModelPixelScale"]) == ([0, 0, 0, 321711.2, 5561737.6, 0], [0.8, 0.8, 0])
        assert 'sample="0" role="description">soil<' in file.pages[0].tags[42112].value


def test_pillow_opens_a_tiff_of_one_plane(tmp_path, maps):
    with Image.open(write_tiff(tmp_path / "x.tif", maps[:1])) as image:
        np.testing.assert_array_equal(np.asarray(image), maps[0])


@pytest.mark.parametrize(
    ("map_info", "expected"),
    [
        (("Geographic Lat/Lon", "1.5", "1.5", "10", "50", "0.1", "0.1", "WGS-84"), 4326),
        (("UTM", "1", "1", "1", "2", "3", "3", "7", "South", "WGS-84"), 32707),
        (("UTM", "1", "1", "1", "2", "3", "3", "7", "South", "WGS-84", "rotation=30"), None),
        (("Arbitrary", "1", "1", "0", "0", "1", "1"), None),
        (("nonsense",), None),
        ((), None),
    ],
)
def test_only_maps_that_are_understood_become_georeferences(tmp_path, maps, map_info, expected):
    with tifffile.TiffFile(write_tiff(tmp_path / "x.tif", maps, map_info=map_info)) as file:
        tags = file.pages[0].geotiff_tags or {}
        assert {tags.get("ProjectedCSTypeGeoKey"), tags.get("GeographicTypeGeoKey")} - {None} == ({expected} - {None})
        if map_info[:2] == ("Geographic Lat/Lon", "1.5"):
            assert tags["ModelTiepoint"] == [0.5, 0.5, 0, 10, 50, 0]


# ---------------------------------------------------------------- products of a run


def test_the_products_of_a_run_are_whole_and_the_same_each_time(tmp_path, result, cube):
    digests = []
    for run in ("first", "second"):
        with OutputFolder(tmp_path / run) as folder:
            for name, producer in hyperspectral_products(KINDS, result, cube.frame):
                folder.write(name, producer)
            folder.finish("converged")
            assert folder.written[:6] == ["maps.img", "maps.hdr", "spectra.sli", "spectra.hdr", "components.mat", "maps.tif"]
        digests.append([hashlib.sha256((tmp_path / run / name).read_bytes()).hexdigest() for name in folder.written])
    assert digests[0] == digests[1]
    np.testing.assert_array_equal(read(tmp_path / "first" / "maps.img").data, result.morphologies)
    np.testing.assert_array_equal(loadmat(tmp_path / "first" / "components.mat")["spectra"], result.spectra)


def test_the_map_goes_along_where_the_image_has_its_size(result, cube, tmp_path):
    for shape, expected in (((NY, NX), True), ((NY + 1, NX), False)):
        meta = {"map_info": UTM, "map_shape": shape}
        products = dict(hyperspectral_products(["envi"], result, cube.frame, meta))
        products["maps.hdr"](tmp_path / "maps.hdr")
        assert ("map info = {UTM" in (tmp_path / "maps.hdr").read_text()) is expected


def test_an_unknown_kind_is_refused(result, cube):
    with pytest.raises(ParameterError, match="expected envi, mat, tiff"):
        list(hyperspectral_products(["png"], result, cube.frame))


# ---------------------------------------------------------------- refusals


WRITERS = [write_envi, write_mat, write_tiff]


@pytest.mark.parametrize("writer", WRITERS)
def test_files_that_are_there_stay_unless_told(tmp_path, maps, writer):
    writer(tmp_path / "x.img", maps)
    before = (tmp_path / "x.img").read_bytes()
    with pytest.raises(OutputExistsError, match="overwrite=True"):
        writer(tmp_path / "x.img", 2 * maps)
    assert (tmp_path / "x.img").read_bytes() == before
    writer(tmp_path / "x.img", 2 * maps, overwrite=True)
    assert (tmp_path / "x.img").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path, maps, writer):
    with pytest.raises(OutputError, match="was not written"):
        writer(tmp_path / "absent" / "x.img", maps)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_what_does_not_fit_together_is_refused(tmp_path, maps, writer):
    with pytest.raises(ShapeError, match="2 names for 3 bands"):
        writer(tmp_path / "x.img", maps, names=["a", "b"])
    with pytest.raises(ShapeError, match="expected \\(bands, y, x\\)"):
        writer(tmp_path / "x.img", maps[0])


def test_integers_are_written_as_floats_that_hold_them(tmp_path):
    values = np.arange(24).reshape(2, 3, 4) + 2**30
    write_envi(tmp_path / "x.img", values)
    np.testing.assert_array_equal(read(tmp_path / "x.img").data, values)
