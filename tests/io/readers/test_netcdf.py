"""netCDF and HDF5: EMIT-like, CF-like, NEON-like files of both generations, and what leads out of a file is not followed."""

from contextlib import suppress

import numpy as np
import pytest
from astropy import units as u
from scipy.io import netcdf_file

from vermilion.errors import AmbiguousInputError, CorruptFileError, MemoryLimitError, ShapeError, UnitError, VermilionError
from vermilion.io import read

from .helpers import read_damaged, whys

h5py = pytest.importorskip("h5py")
h5netcdf = pytest.importorskip("h5netcdf")

B, NY, NX = 9, 6, 5
WAVES = np.linspace(381, 2493, B)


@pytest.fixture
def values():
    return np.random.default_rng(3).uniform(0.1, 0.6, size=(B, NY, NX)).astype("f4")


def write_emit(path, name, data, *, good=(1, 1, 1, 0, 0, 1, 1, 1, 1), units="unitless"):
    """A file laid out like EMIT L2A, with bands last."""
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"downtrack": NY, "crosstrack": NX, "bands": B, "ortho_y": 7, "ortho_x": 8}
        image = file.create_variable(name, ("downtrack", "crosstrack", "bands"), data=data, fillvalue=np.float32(-9999), compression="gzip")
        image.attrs["units"] = units
        bands = file.create_group("sensor_band_parameters")
        for key, array, unit in (("wavelengths", WAVES, "nm"), ("fwhm", np.full(B, 8.5), "nm"), ("good_wavelengths", np.array(good), "")):
            bands.create_variable(key, ("bands",), data=array.astype("f4")).attrs["units"] = unit
        place = file.create_group("location")
        for key in ("lon", "lat", "elev"):
            place.create_variable(key, ("downtrack", "crosstrack"), data=np.zeros((NY, NX)))
        for key in ("glt_x", "glt_y"):
            place.create_variable(key, ("ortho_y", "ortho_x"), data=np.zeros((7, 8), "i4"))
        file.attrs["instrument"] = "EMIT"
        file.attrs["platform"] = "ISS"
        file.attrs["time_coverage_start"] = "2023-03-16T04:51:33+0000"
    return path


# ---------------------------------------------------------------- EMIT


def test_an_emit_cube_has_its_wavelengths_widths_flags_and_fillers(tmp_path, values):
    stored = values.transpose(1, 2, 0).copy()
    stored[2, 3] = -9999
    cube = read(write_emit(tmp_path / "EMIT_L2A_RFL.nc", "reflectance", stored))
    np.testing.assert_array_equal(cube.data, stored.transpose(2, 0, 1))
    np.testing.assert_array_equal(cube.frame.spectral_axis, WAVES.astype("f4") * u.nm)
    np.testing.assert_array_equal(cube.frame.lsf, np.full(B, 8.5) * u.nm)
    expected = np.zeros((B, NY, NX), dtype=bool)
    expected[:, 2, 3] = expected[3:5] = True
    np.testing.assert_array_equal(cube.mask, expected)
    assert cube.frame.unit == u.dimensionless_unscaled
    assert (cube.meta["reader"], cube.meta["instrument"]) == ("netcdf", "EMIT")
    assert cube.meta["header"] == {"INSTRUME": "EMIT", "TELESCOP": "ISS", "DATE-OBS": "2023-03-16T04:51:33"}


def test_uncertainties_come_from_the_sibling_file(tmp_path, values):
    cube_path = write_emit(tmp_path / "EMIT_L2A_RFL.nc", "reflectance", values.transpose(1, 2, 0))
    sigma = (values * 0.02).transpose(1, 2, 0)
    sigma[0, 0, 0] = -9999
    cube = read(cube_path, err_file=write_emit(tmp_path / "EMIT_L2A_RFLUNCERT.nc", "reflectance_uncertainty", sigma))
    expected = np.square(values * 0.02, dtype="f8")
    np.testing.assert_allclose(cube.variance.ravel()[1:], expected.ravel()[1:], rtol=1e-5)
    assert np.isnan(cube.variance[0, 0, 0])
    assert "reflectance_uncertainty: sigma (by its name)" in whys(cube)


def test_radiance_in_the_units_of_emit(tmp_path, values):
    cube = read(write_emit(tmp_path / "rad.nc", "radiance", values.transpose(1, 2, 0), units="uW/cm^2/SR/nm"))
    assert cube.frame.unit == u.Unit("uW cm-2 sr-1 nm-1")


def test_errors_in_the_same_file_are_found_by_name(tmp_path, values):
    path = tmp_path / "gridded.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"bands": B, "lat": NY, "lon": NX}
        file.create_variable("reflectance", ("bands", "lat", "lon"), data=values)
        file.create_variable("reflectance_uncertainty", ("bands", "lat", "lon"), data=values / 10)
        file.create_variable("lat", ("lat",), data=np.arange(NY)).attrs["units"] = "degrees_north"
        file.create_variable("lon", ("lon",), data=np.arange(NX)).attrs["units"] = "degrees_east"
    cube = read(path)
    np.testing.assert_array_equal(cube.data, values)
    np.testing.assert_allclose(cube.variance, (values / 10) ** 2, rtol=1e-5)
    assert read(path, err_ext="none").variance is None
    assert read(path, variable="reflectance_uncertainty").variance is None


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("dims", "axes"),
    [
        (("wavelength", "y", "x"), (0, 1, 2)),
        (("y", "x", "band"), (1, 2, 0)),
        (("number_of_lines", "pixels_per_line", "wavelength_3d"), (1, 2, 0)),
        (("lon", "lat", "bands"), (2, 1, 0)),
        (("lat", "lon", "number"), (1, 2, 0)),
        (("lines", "channel", "samples"), (1, 0, 2)),
    ],
)
def test_axes_are_known_by_their_names(tmp_path, values, dims, axes):
    with h5netcdf.File(tmp_path / "x.nc", "w") as file:
        file.dimensions = {dims[i]: values.shape[axes[i]] for i in range(3)}
        file.create_variable("Rrs", dims, data=np.ascontiguousarray(values.transpose(axes)))
    np.testing.assert_array_equal(read(tmp_path / "x.nc").data, values)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (1, 0, 2)])
def test_axes_without_names_are_known_by_the_wavelengths(tmp_path, values, axes):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = values.transpose(axes)
        file["wavelengths"] = WAVES
        file["wavelengths"].attrs["units"] = "nm"
    cube = read(tmp_path / "x.h5")
    np.testing.assert_array_equal(cube.data, values)
    np.testing.assert_array_equal(cube.frame.spectral_axis, WAVES * u.nm)


def test_nothing_is_guessed_where_nothing_says_the_axis(tmp_path, values):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = values.transpose(1, 2, 0)
    with pytest.raises(AmbiguousInputError, match=r"cube \(6 x 5 x 9, float32\).*--spectral-axis"):
        read(tmp_path / "x.h5")
    np.testing.assert_array_equal(read(tmp_path / "x.h5", spectral_axis=1).data, values)


def test_an_axis_of_length_one_is_dropped(tmp_path, values):
    with h5netcdf.File(tmp_path / "x.nc", "w") as file:
        file.dimensions = {"time": 1, "wavelength": B, "y": NY, "x": NX}
        file.create_variable("radiance", ("time", "wavelength", "y", "x"), data=values[None])
    np.testing.assert_array_equal(read(tmp_path / "x.nc").data, values)


def test_several_cubes_are_listed_and_one_may_be_named(tmp_path, values):
    with h5py.File(tmp_path / "x.he5", "w") as file:
        file["SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube"] = values.transpose(1, 0, 2)
        file["SWATHS/PRS_L2D_HCO/Data Fields/SWIR_Cube"] = values.transpose(1, 0, 2)
    with pytest.raises(AmbiguousInputError, match=r"2 variables could be the cube: .*SWIR_Cube.*--variable"):
        read(tmp_path / "x.he5")
    np.testing.assert_array_equal(read(tmp_path / "x.he5", variable="VNIR_Cube", spectral_axis=2).data, values)


def test_a_file_without_a_cube_says_what_it_holds(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["table"] = np.ones((4, 5))
    with pytest.raises(ShapeError, match=r"it holds table \(4 x 5, float64\)"):
        read(tmp_path / "x.h5")


# ---------------------------------------------------------------- values


def test_packed_numbers_are_unpacked_and_their_fillers_masked(tmp_path, values):
    packed = np.round((values - 0.3) / 1e-4).astype("i2")
    packed[0, 0, 0] = -32767
    with h5netcdf.File(tmp_path / "x.nc", "w") as file:
        file.dimensions = {"wavelength": B, "y": NY, "x": NX}
        image = file.create_variable("reflectance", ("wavelength", "y", "x"), data=packed, fillvalue=np.int16(-32767))
        image.attrs["scale_factor"] = 1e-4
        image.attrs["add_offset"] = 0.3
        image.attrs["valid_min"] = np.int16(-30000)
    cube = read(tmp_path / "x.nc")
    np.testing.assert_allclose(cube.data.ravel()[1:], values.ravel()[1:], atol=6e-5)
    assert cube.mask.sum() == 1
    assert "unpacked" in whys(cube)


def test_values_outside_the_valid_range_are_masked(tmp_path, values):
    with h5netcdf.File(tmp_path / "x.nc", "w") as file:
        file.dimensions = {"wavelength": B, "y": NY, "x": NX}
        file.create_variable("r", ("wavelength", "y", "x"), data=values).attrs["valid_range"] = np.array([0.2, 0.5], "f4")
    np.testing.assert_array_equal(read(tmp_path / "x.nc").mask, (values < np.float32(0.2)) | (values > np.float32(0.5)))


def test_neon_reflectance_is_divided_by_its_factor(tmp_path, values):
    stored = np.round(values * 10000).astype("i2").transpose(1, 2, 0)
    stored[0, 0] = -9999
    with h5py.File(tmp_path / "NEON.h5", "w") as file:
        image = file.create_dataset("SITE/Reflectance/Reflectance_Data", data=stored)
        image.attrs["Scale_Factor"] = 10000.0
        image.attrs["Data_Ignore_Value"] = -9999.0
        bands = file.create_dataset("SITE/Reflectance/Metadata/Spectral_Data/Wavelength", data=WAVES)
        bands.attrs["Units"] = "nanometers"
        file.create_dataset("SITE/Reflectance/Metadata/Spectral_Data/FWHM", data=np.full(B, 5.0))
    cube = read(tmp_path / "NEON.h5")
    np.testing.assert_allclose(cube.data[:, 1:], values[:, 1:], atol=6e-5)
    assert cube.mask.sum() == B
    np.testing.assert_array_equal(cube.frame.lsf, np.full(B, 5) * u.nm)


def test_a_unit_that_is_not_understood_is_refused(tmp_path, values):
    path = write_emit(tmp_path / "x.nc", "reflectance", values.transpose(1, 2, 0), units="quux")
    with pytest.raises(UnitError, match="--unit"):
        read(path)
    assert read(path, allow_unitless=True).frame.unit == u.dimensionless_unscaled
    assert read(path, unit="Jy").frame.unit == u.Jy


# ---------------------------------------------------------------- netCDF-3


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("unlimited", [False, True])
def test_the_old_format_is_read_as_well(tmp_path, values, version, unlimited):
    with netcdf_file(tmp_path / "x.nc", "w", version=version) as file:
        for name, length in (("wavelength", None if unlimited else B), ("y", NY), ("x", NX)):
            file.createDimension(name, length)
        image = file.createVariable("radiance", "f4", ("wavelength", "y", "x"))
        image[:] = values
        image.units = b"W m-2 um-1 sr-1"
        image.missing_value = np.float32(values[1, 1, 1])
        axis = file.createVariable("wavelength", "f8", ("wavelength",))
        axis[:] = WAVES / 1000
        axis.units = b"um"
    cube = read(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.data, values)
    assert cube.data.dtype.isnative
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("nm"), WAVES)
    assert cube.frame.unit == u.Unit("W m-2 um-1 sr-1")
    assert cube.mask.sum() == 1


def test_damaged_files_of_the_old_format_end_in_one_of_our_errors(tmp_path, values):
    path = tmp_path / "x.nc"
    with netcdf_file(path, "w") as file:
        for name, length in zip("byx", values.shape, strict=True):
            file.createDimension(name, length)
        file.createVariable("cube", "f4", ("b", "y", "x"))[:] = values
    raw, rng = path.read_bytes(), np.random.default_rng(1)
    for trial in range(100):
        damaged = bytearray(raw)
        for _ in range(3):
            damaged[rng.integers(200)] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(4, len(raw))] if trial % 3 == 0 else damaged)
        with suppress(VermilionError):
            read(path, memory=10**8)
    path.write_bytes(b"CDF\x05" + raw[4:])
    with pytest.raises(CorruptFileError, match="netCDF-3"):
        read(path)


# ---------------------------------------------------------------- hostile HDF5


def test_links_and_data_in_other_files_are_never_followed(tmp_path, values):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["cube"] = values
    (tmp_path / "secret.raw").write_bytes(values.tobytes())
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/cube")
        file["soft"] = h5py.SoftLink("/cube")
    with pytest.raises(ShapeError, match="it holds nothing"):
        read(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("cube", values.shape, "f4", external=[(str(tmp_path / "secret.raw"), 0, values.nbytes)])
    with h5py.File(tmp_path / "z.h5", "w") as file:
        layout = h5py.VirtualLayout(values.shape, "f4")
        layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "cube", values.shape)
        file.create_virtual_dataset("cube", layout)
    for name in ("y.h5", "z.h5"):
        with pytest.raises(CorruptFileError, match="never followed"):
            read(tmp_path / name, spectral_axis=3)


def test_a_huge_array_in_a_small_file_is_refused_by_its_size(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("cube", (1000, 50_000, 50_000), "f4", chunks=(1, 500, 500))
    with pytest.raises(MemoryLimitError, match="--memory"):
        read(tmp_path / "x.h5", spectral_axis=3)


def test_a_chunk_larger_than_memory_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("cube", (3, 4, 5), "f8", chunks=(100, 1000, 1000), maxshape=(None, None, None), compression="gzip")
    with pytest.raises(MemoryLimitError, match="--memory"):
        read(tmp_path / "x.h5", spectral_axis=3, memory=10**8)


def test_damaged_hdf5_files_end_in_one_of_our_errors(tmp_path, values):
    path = write_emit(tmp_path / "x.nc", "reflectance", values.transpose(1, 2, 0))
    read_damaged(path, path.read_bytes(), trials=40, seed=1, shortest=9)


def test_without_h5py_the_extra_is_named(tmp_path, values, monkeypatch):
    import sys

    path = write_emit(tmp_path / "x.nc", "reflectance", values.transpose(1, 2, 0))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(VermilionError, match=r"pip install 'vermilion\[hyperspectral\]'"):
        read(path)
