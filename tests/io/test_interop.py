"""A cube handed to another package and taken back is the cube it was; what others made is read right or refused."""

import warnings
from importlib import import_module

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from astropy.wcs import WCS

from vermilion import Cube, Frame
from vermilion.errors import ParameterError, ShapeError
from vermilion.io import interop
from vermilion.io.interop import common
from vermilion.io.writers.coordinates import cube_cards, read_wcs

CGS = u.Unit("1e-20 erg / (s cm2 AA)")
SHAPE = 5, 3, 4
# package, module that must be there, name in the functions
PACKAGES = {
    "nddata": "astropy.nddata",
    "specutils": "specutils",
    "spectral_cube": "spectral_cube",
    "xarray": "xarray",
    "hyperspy": "hyperspy.api",
}


def celestial(ctype3="AWAV", crval3=4750e-10, cdelt3=1.25e-10, unit3="m"):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", ctype3]
    wcs.wcs.crval, wcs.wcs.crpix = [63.3, 10.4, crval3], [2, 1.5, 1]
    wcs.wcs.cunit = ["deg", "deg", unit3]
    wcs.wcs.cdelt = [-5.6e-5, 5.6e-5, cdelt3]
    wcs.wcs.set()
    return wcs


def muse(dtype="f4", **changes):
    frame = Frame(shape=SHAPE[1:], n_bands=5, unit=CGS, spectral_axis=(4750 + 1.25 * np.arange(5)) * u.AA, wcs=celestial())
    return filled(frame, dtype, spectral_medium="air", **changes)


def filled(frame, dtype="f4", *, variance=True, mask=True, **meta):
    rng = np.random.default_rng(3)
    data = rng.normal(size=SHAPE).astype(dtype)
    data[1, 2, 3] = np.nan
    noise = rng.random(SHAPE).astype(dtype) + dtype_one(dtype) if variance else None
    bad = rng.random(SHAPE) < 0.2 if mask else None
    known = {
        "name": "ngc 1",
        "header": {"OBJECT": "NGC 1"},
        "decisions": [{"hdu": 1, "name": "DATA", "taken_as": "data", "why": "its name"}],
    }
    return Cube(data, noise, bad, frame, meta={**known, "spectral_medium": None, **meta})


def dtype_one(dtype):
    return np.ones((), dtype)


def looked_up():
    """A JWST cube: its wavelengths stand in a table."""
    axis = np.array([1.0, 1.1, 1.3, 1.6, 2.0]) * u.um
    frame = Frame(shape=SHAPE[1:], n_bands=5, unit=u.Unit("MJy / sr"), spectral_axis=axis, wcs=celestial("WAVE"))
    return filled(Frame(shape=frame.shape, n_bands=5, unit=frame.unit, spectral_axis=axis, wcs=read_wcs(*cube_cards(frame))))


def radio():
    axis = np.linspace(12e3, -4e3, 5) * u.m / u.s
    wcs = celestial("VRAD", 12e3, -4e3, "m/s")
    return filled(Frame(shape=SHAPE[1:], n_bands=5, unit=u.Jy / u.beam, spectral_axis=axis, wcs=wcs), "f8", variance=False, mask=False)


def bands():
    units = (u.nJy, u.nJy, u.nJy, u.mJy, u.Jy)
    return filled(Frame(shape=SHAPE[1:], n_bands=5, unit=units, band_names=tuple("grizy"), wcs=celestial().sub([1, 2])))


def bare():
    return filled(Frame(shape=SHAPE[1:], n_bands=5), variance=False, mask=False)


CUBES = {"MUSE": muse, "double": lambda: muse("f8"), "table": looked_up, "radio": radio, "bands": bands, "bare": bare}


@pytest.fixture(params=PACKAGES)
def package(request):
    if request.param != "nddata":
        imported(PACKAGES[request.param])
    return request.param


def imported(module):
    """Their own deprecations are none of our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


def to(package, cube):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(interop, f"to_{package}")(cube)


def back(package, other, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(interop, f"from_{package}")(other, **options)


def assert_same_cube(found, cube):
    assert found.data.dtype == cube.data.dtype
    np.testing.assert_array_equal(found.data, cube.data)
    for name in ("variance", "mask"):
        expected = getattr(cube, name)
        if expected is None:
            assert getattr(found, name) is None
        else:
            assert getattr(found, name).dtype == expected.dtype
            np.testing.assert_array_equal(getattr(found, name), expected)
    ours, theirs = cube.frame, found.frame
    assert (theirs.unit, theirs.band_names) == (ours.unit, ours.band_names)
    assert found.meta["spectral_medium"] == cube.meta["spectral_medium"]
    assert found.meta["name"] == cube.meta["name"]
    assert found.meta["header"] == cube.meta["header"]
    assert found.meta["decisions"] == cube.meta["decisions"]
    if ours.spectral_axis is None:
        assert theirs.spectral_axis is None
    else:
        assert theirs.spectral_axis.unit == ours.spectral_axis.unit
        np.testing.assert_array_equal(theirs.spectral_axis.value, ours.spectral_axis.value)
    if ours.wcs is None:
        assert theirs.wcs is None
    else:
        at = [np.array([0.0, 3.0]), np.array([2.0, 0.0]), np.array([0.0, 4.0])][: ours.wcs.naxis]
        found_at = np.array(theirs.wcs.wcs_pix2world(*at, *([np.arange(2)] * (theirs.wcs.naxis - ours.wcs.naxis)), 0))[: ours.wcs.naxis]
        np.testing.assert_allclose(found_at[:2], np.array(ours.wcs.wcs_pix2world(*at, 0))[:2], rtol=1e-13)


# what a package cannot hold at all, and says so
REFUSED = {
    ("specutils", "bands"): "specutils knows one",
    ("hyperspy", "bands"): "HyperSpy knows one",
    ("spectral_cube", "bands"): "two celestial axes and a spectral one",
    ("spectral_cube", "bare"): "two celestial axes and a spectral one",
}


@pytest.mark.parametrize("name", CUBES)
def test_a_cube_comes_back_as_it_went(package, name):
    cube = CUBES[name]()
    if (package, name) in REFUSED:
        with pytest.raises(ParameterError, match=REFUSED[package, name]):
            to(package, cube)
        return
    assert_same_cube(back(package, to(package, cube)), cube)


def test_other_packages_see_flux_noise_mask_and_wavelengths(package):
    cube = muse()
    other = to(package, cube)
    if package == "nddata":
        assert isinstance(other.uncertainty, VarianceUncertainty)
        seen = other.data, other.uncertainty.array, other.mask, other.unit, other.wcs.spectral.pixel_to_world(np.arange(5)).to("AA")
    elif package == "specutils":
        noise = other.uncertainty.represent_as(VarianceUncertainty)
        seen = other.flux.value, noise.array, other.mask, other.flux.unit, other.spectral_axis
        assert other.wcs.has_celestial
    elif package == "spectral_cube":
        assert np.isnan(other.filled_data[:].value[cube.mask]).all()
        seen = other.unmasked_data[:].value, cube.variance, ~other.mask.include(), other.unit, other.spectral_axis
        assert other.spectral_axis.unit == u.AA
    elif package == "xarray":
        assert other["data"].dims == ("band", "y", "x")
        wavelength = u.Quantity(other["wavelength"].values, other["wavelength"].attrs["units"])
        assert other["wavelength"].attrs["medium"] == "air"
        seen = other["data"].values, other["variance"].values, other["mask"].values, other["data"].attrs["units"], wavelength
    else:
        spectral = other.axes_manager.signal_axes[0]
        assert other.data.shape == (3, 4, 5)
        noise = other.metadata.Signal.Noise_properties.variance.data
        seen = np.moveaxis(other.data, -1, 0), np.moveaxis(noise, -1, 0), cube.mask, CGS, u.Quantity(spectral.axis, spectral.units)
    data, variance, mask, unit, axis = seen
    np.testing.assert_array_equal(data, cube.data)
    np.testing.assert_array_equal(variance, cube.variance)
    np.testing.assert_array_equal(mask, cube.mask)
    assert u.Unit(unit) == CGS
    np.testing.assert_allclose(u.Quantity(axis).to_value("AA"), cube.frame.spectral_axis.value, rtol=1e-14)


@pytest.mark.parametrize("module", ["specutils", "spectral_cube", "xarray", "hyperspy"])
def test_a_missing_package_is_named(monkeypatch, module):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(common, "import_module", absent)
    named = module.replace("_", "-")
    with pytest.raises(ParameterError, match=rf"{named} cannot be imported.*pip install {named}, or 'vermilion\[interop\]'"):
        getattr(interop, f"to_{module}")(muse())


def test_nothing_is_imported_before_it_is_asked_for():
    for module in ("hyperspy", "nddata", "spectral_cube", "specutils", "xarray"):
        assert not hasattr(import_module(f"vermilion.io.interop.{module}"), module)


# -- what others made --------------------------------------------------------------------------------------------------

SIGMA = np.array([0.5, 1.0, 2.0, 4.0, 0.0]).reshape(5, 1, 1) * np.ones(SHAPE)


@pytest.mark.parametrize(
    ("kind", "values"),
    [(StdDevUncertainty, SIGMA), (VarianceUncertainty, SIGMA**2), (InverseVariance, np.where(SIGMA > 0, SIGMA, np.inf) ** -2.0)],
)
@pytest.mark.parametrize("scale", [None, 1e-3])
def test_every_kind_of_uncertainty_becomes_a_variance(kind, values, scale):
    unit = u.mJy
    if scale is None:
        uncertainty = kind(values)
    else:  # stated in Jy beside data in mJy
        power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[kind]
        uncertainty = kind(values * scale**power, unit=u.Jy**power)
    cube = interop.from_nddata(NDData(np.ones(SHAPE), uncertainty=uncertainty, unit=unit))
    np.testing.assert_allclose(cube.variance[:4], SIGMA[:4] ** 2, rtol=1e-14)
    assert (cube.weights[4] == 0).all()
    assert (cube.weights[:4] > 0).all()


def test_float32_noise_too_small_to_be_squared_stays_positive():
    cube = interop.from_nddata(NDData(np.full(SHAPE, 1e-24, "f4"), uncertainty=StdDevUncertainty(np.full(SHAPE, 1e-25, "f4"))))
    np.testing.assert_allclose(cube.variance, 1e-50, rtol=1e-6)


def test_uncertainties_that_say_nothing_are_refused():
    with pytest.raises(ParameterError, match="of type UnknownUncertainty: expected StdDevUncertainty"):
        interop.from_nddata(NDData(np.ones(SHAPE), uncertainty=UnknownUncertainty(np.ones(SHAPE))))


@pytest.mark.parametrize("spectral", [1, 2, 3])
def test_the_wcs_says_which_axis_is_spectral(spectral):
    order = [1, 2]
    order.insert(spectral - 1, 3)
    wcs = celestial().sub(order)
    data = np.arange(60.0).reshape(SHAPE)
    moved = np.moveaxis(data, 0, 3 - spectral)
    cube = interop.from_nddata(NDData(moved, unit=u.Jy, wcs=wcs, mask=moved == 7))
    np.testing.assert_array_equal(cube.data, data)
    np.testing.assert_array_equal(cube.mask, data == 7)
    np.testing.assert_allclose(cube.frame.spectral_axis.to_value("AA"), 4750 + 1.25 * np.arange(5), rtol=1e-13)
    np.testing.assert_allclose(cube.frame.wcs.wcs_pix2world([[1, 2, 3]], 0), celestial().wcs_pix2world([[1, 2, 3]], 0), rtol=1e-14)
    assert cube.meta["spectral_medium"] == "air"


def test_integers_flags_and_fewer_axes_are_taken():
    cube = interop.from_nddata(NDData(np.arange(5, dtype=">i4"), mask=np.array([0, 1, 0, 512, 0])))
    assert cube.data.shape == (5, 1, 1)
    assert cube.data.dtype == np.float64
    assert cube.mask[:, 0, 0].tolist() == [False, True, False, True, False]
    assert interop.from_nddata(CCDData(np.ones((4, 3)), unit="adu")).data.shape == (4, 1, 3)


@pytest.mark.parametrize("data", [np.ones(SHAPE, complex), np.ones((2, 2, 2, 2)), np.ones((0, 2, 2)), np.array(["a"])])
def test_what_is_no_cube_is_refused(data):
    with pytest.raises(ShapeError, match="expected"):
        interop.from_nddata(NDData(data))


def test_a_part_of_a_cube_has_the_coordinates_of_the_part(package):
    cube = muse()
    if package == "hyperspy":
        part = to(package, cube).isig[2:].inav[1:, :]
    elif package == "xarray":
        part = to(package, cube).isel(band=slice(2, None), x=slice(1, None))
    elif package == "nddata":
        from astropy.nddata import NDDataRef

        whole = to(package, cube)
        part = NDDataRef(whole, uncertainty=whole.uncertainty)[2:, :, 1:]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            part = to(package, cube)[2:, :, 1:]
    found = back(package, part)
    np.testing.assert_array_equal(found.data, cube.data[2:, :, 1:])
    np.testing.assert_allclose(found.frame.spectral_axis.to_value("AA"), cube.frame.spectral_axis[2:].value, rtol=1e-13)
    if package in ("nddata", "xarray", "spectral_cube"):
        np.testing.assert_allclose(found.frame.wcs.wcs_pix2world([[0, 1, 0]], 0), celestial().wcs_pix2world([[1, 1, 2]], 0), rtol=1e-13)
    if package == "spectral_cube":  # whose parts have lost them
        assert found.variance is None
        found = back(package, part, variance=cube.variance[2:, :, 1:])
    np.testing.assert_array_equal(found.variance, cube.variance[2:, :, 1:])


def test_a_dataset_says_which_dimension_is_spectral():
    xarray = imported("xarray")
    values = np.arange(60.0).reshape(3, 4, 5)
    scene = xarray.Dataset(
        {"reflectance": (("downtrack", "crosstrack", "channel"), values), "quality": (("downtrack", "crosstrack"), values[..., 0])},
        coords={"wl": ("channel", 400.0 + 10 * np.arange(5), {"units": "nm"})},
    )
    cube = interop.from_xarray(scene)
    np.testing.assert_array_equal(cube.data, np.moveaxis(values, -1, 0))
    assert cube.frame.spectral_axis[1] == 410 * u.nm
    np.testing.assert_array_equal(interop.from_xarray(scene["reflectance"]).data, cube.data)
    with pytest.raises(ParameterError, match=r"which of the dimensions downtrack, crosstrack, channel is spectral\? Name it with band="):
        interop.from_xarray(scene.drop_vars("wl"))
    assert interop.from_xarray(scene.drop_vars("wl"), band="channel").frame.spectral_axis is None
    with pytest.raises(ParameterError, match="2 variables could be the data"):
        interop.from_xarray(scene.assign(other=scene["reflectance"]))
    with pytest.raises(ParameterError, match="data is 'nothing': expected one of reflectance, quality"):
        interop.from_xarray(scene, data="nothing")


def test_a_spectrum_and_a_stack_of_spectra_become_cubes():
    specutils = imported("specutils")
    axis = np.linspace(1, 2, 5) * u.um
    flux = np.arange(10.0).reshape(2, 5) * u.Jy
    stack = interop.from_specutils(specutils.Spectrum(flux=flux, spectral_axis=axis, spectral_axis_index=1))
    np.testing.assert_array_equal(stack.data, flux.value.T[:, None, :])
    one = interop.from_specutils(specutils.Spectrum(flux=flux[1], spectral_axis=axis, uncertainty=InverseVariance(np.full(5, 4.0))))
    assert one.data.shape == (5, 1, 1)
    assert one.frame.spectral_axis[-1] == 2 * u.um
    np.testing.assert_allclose(one.variance, 0.25)


def test_a_folded_spectral_axis_is_refused_by_specutils_alone():
    imported("specutils")
    cube = muse()
    folded = Frame(shape=cube.frame.shape, n_bands=5, unit=CGS, spectral_axis=[1, 2, 3, 2.5, 4] * u.um)
    with pytest.raises(ParameterError, match="neither rises nor falls"):
        to("specutils", Cube(cube.data, frame=folded))


def test_a_dataset_survives_netcdf_attributes():
    imported("xarray")
    for make in CUBES.values():
        for name, value in interop.to_xarray(make()).attrs.items():
            assert isinstance(value, str | int | float | np.ndarray), name
