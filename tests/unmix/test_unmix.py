"""`unmix`: units, order, conventions, weights and masks, names, and what is written."""

from itertools import permutations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

import vermilion
from vermilion.datamodels import Cube, Frame
from vermilion.errors import NoDataError, ParameterError, ShapeError, UnitError
from vermilion.io.spectral_library import LibrarySpectrum
from vermilion.simulate import hyperspectral_scene
from vermilion.unmix import CONVENTIONS, library_on_bands, name_endmembers, unmix


@pytest.fixture(scope="module")
def scene():
    """Three endmembers with pure pixels."""
    return hyperspectral_scene(n_endmembers=3, shape=(24, 20), n_bands=50, snr_db=40.0, seed=4)


@pytest.fixture(scope="module")
def uneven():
    """The same in light that changes from place to place by 20 %."""
    return hyperspectral_scene(n_endmembers=3, shape=(24, 20), n_bands=50, snr_db=40.0, brightness_variation=0.2, seed=4)


@pytest.fixture(scope="module")
def result(scene):
    return unmix(scene.cube, 3, normalize="none")


def library_of(scene, n_points=700, unit=u.nm):
    wave = np.linspace(0.35, 2.6, n_points) * u.um
    at = scene.cube.frame.spectral_axis.to_value(u.um)
    return [
        LibrarySpectrum(name=f"material {k}", wavelength=wave.to(unit), values=np.interp(wave.value, at, scene.spectra[:, k]))
        for k in range(scene.spectra.shape[1])
    ]


def angle(a, b):
    known = np.isfinite(a) & np.isfinite(b)
    return np.arccos(np.clip(a[known] @ b[known] / np.linalg.norm(a[known]) / np.linalg.norm(b[known]), -1, 1))


def nearest(result, scene):
    """Index of the true endmember of each found one."""
    angles = np.array([[angle(a, e) for e in scene.spectra.T] for a in result.spectra.T])
    return angles.argmin(axis=1), angles.min(axis=1)


# ---------------------------------------------------------------- what comes back


def test_endmembers_and_abundances_are_the_true_ones(scene, result):
    which, angles = nearest(result, scene)
    assert sorted(which) == [0, 1, 2]
    assert angles.max() < 0.05
    assert np.sqrt(np.mean((result.morphologies - scene.abundances[which]) ** 2)) < 0.08


def test_endmembers_come_in_the_order_of_their_light(result):
    light = np.nansum(result.amounts, axis=(1, 2))
    assert (np.diff(light) <= 0).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_every_convention_says_what_it_is_and_its_model_fits(uneven, convention, normalize):
    found = unmix(uneven.cube, 3, abundances=convention, normalize=normalize)
    assert f"({convention})" in found.normalization
    assert f"({normalize})" in found.normalization
    np.testing.assert_allclose(found.morphologies.sum(axis=0), 1, atol=1e-6)
    light = convention == "nnls-renormalized" or (convention == "as-solved" and normalize != "none")
    assert any("not area fractions" in note for note in found.notes) is light
    if light:
        missed = np.linalg.norm(uneven.cube.data - found.model) / np.linalg.norm(uneven.cube.data)
        assert found.brightness.mean() == pytest.approx(1)
        assert missed < 0.06  # without the brightness it would be 0.2
    else:
        assert found.brightness is None  # this convention has no word for light that varies


def test_light_that_varies_is_found_as_brightness(uneven):
    found = unmix(uneven.cube, 3, abundances="nnls-renormalized")
    which, angles = nearest(found, uneven)
    assert angles.max() < 0.1
    # shares of light of equally bright materials: those of the truth, by the maxima of its spectra
    shares = uneven.abundances[which] * uneven.spectra.max(axis=0)[which][:, None, None]
    assert np.sqrt(np.mean((found.morphologies - shares / shares.sum(axis=0)) ** 2)) < 0.1
    expected = uneven.brightness * shares.sum(axis=0)
    assert np.corrcoef(found.brightness.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_unit_of_the_data_changes_nothing_but_the_spectra(scene, result, scale):
    cube = Cube(scene.cube.data * scale, scene.cube.variance * scale**2, None, scene.cube.frame)
    found = unmix(cube, 3, normalize="none")
    np.testing.assert_allclose(found.spectra, result.spectra * scale, rtol=1e-4)
    np.testing.assert_allclose(found.morphologies, result.morphologies, atol=1e-4)


def test_an_array_is_as_good_as_a_cube(scene):
    plain = unmix(scene.cube.data, 3)
    weighed = unmix(scene.cube.data, 3, weights=1 / scene.cube.variance)
    np.testing.assert_allclose(weighed.morphologies, unmix(scene.cube, 3).morphologies, atol=1e-6)
    assert "from the residuals" in plain.provenance["noise"]
    assert weighed.provenance["noise"] == "from the weights"


def test_dead_bands_and_pixels_are_nan_and_harm_nothing(scene, result):
    data, mask = scene.cube.data.copy(), np.zeros(scene.cube.data.shape, dtype=bool)
    mask[[0, 17]] = True
    mask[:, 3, 5] = True
    data[mask] = 1e6
    found = unmix(Cube(data, scene.cube.variance, mask, scene.cube.frame), 3, normalize="none")
    assert np.flatnonzero(np.isnan(found.spectra).all(axis=1)).tolist() == [0, 17]
    assert np.argwhere(np.isnan(found.morphologies).any(axis=0)).tolist() == [[3, 5]]
    assert nearest(found, scene)[1].max() < 0.05
    assert np.nanmax(np.abs(found.morphologies - result.morphologies)) < 0.1


def test_smooth_maps_are_nearer_to_the_truth_and_fill_dead_pixels():
    noisy = hyperspectral_scene(n_endmembers=3, shape=(24, 20), n_bands=50, snr_db=15.0, seed=4)
    image = np.array(noisy.cube.data, dtype=np.float64)
    image[:, 5, 6] = np.nan

    def error(spatial):
        found = unmix(image, 3, init=noisy.spectra, method="vertices", spatial=spatial).morphologies
        known = np.isfinite(found).all(axis=0)
        assert known[5, 6] == (spatial > 0)
        orders = [found[list(order)] for order in permutations(range(3))]
        return min(float(((maps - noisy.abundances)[:, known] ** 2).mean()) for maps in orders)

    assert error(1.0) < 0.9 * error(0.0)


def test_spectra_to_start_from_are_given_on_all_bands(scene):
    found = unmix(scene.cube, 3, init=scene.spectra, method="vertices", normalize="none")
    assert nearest(found, scene)[1].max() < 1e-3


def test_the_same_seed_gives_the_same_bytes(scene, result):
    again = unmix(scene.cube, 3, normalize="none")
    np.testing.assert_array_equal(again.morphologies, result.morphologies)
    np.testing.assert_array_equal(again.spectra, result.spectra)


def test_errors_are_finite_where_abundances_are_free_and_of_the_size_of_the_scatter(scene, result):
    found = result
    which, _ = nearest(found, scene)
    free = (found.morphologies > 0.02) & (found.morphologies < 0.98)
    assert np.isfinite(found.morphologies_error[free]).mean() > 0.9
    deviation = np.abs(found.morphologies - scene.abundances[which])[free]
    assert 0.05 < np.nanmedian(found.morphologies_error[free]) / np.median(deviation) < 20


# ---------------------------------------------------------------- names


def test_endmembers_are_named_by_a_library_on_another_grid(scene):
    found = unmix(scene.cube, 3, normalize="none", library=library_of(scene))
    which, angles = nearest(found, scene)
    assert found.names == tuple(f"material {k}" for k in which)
    table = found.provenance["names_from_library"]
    np.testing.assert_allclose([row["angle"] for row in table], angles, atol=0.02)
    assert all(row["margin"] > 0 for row in table)
    assert sum("ahead of" in note for note in found.notes) == 3


def test_what_the_library_does_not_know_is_unknown(scene, result):
    library = [one for one in library_of(scene) if one.name != "material 1"]
    which, _ = nearest(result, scene)
    stranger = which.tolist().index(1)
    found = name_endmembers(result, library, limit=0.06)
    assert found.names[stranger] == f"unknown {stranger}"
    assert any(f"component {stranger}: unlike anything in the library" in note for note in found.notes)


def test_bands_see_a_library_through_their_response():
    """A narrow line of height 1 and width 0.01 um, seen with Gaussian bands of 0.1 um: height = ratio of the widths."""
    wave = np.linspace(0.3, 1.2, 9001)
    line = np.exp(-4 * np.log(2) * ((wave - 0.7) / 0.01) ** 2)
    axis = np.linspace(0.4, 1.1, 71) * u.um
    library = [LibrarySpectrum(name="line", wavelength=wave * u.um, values=line)]
    seen = library_on_bands(library, Frame(shape=(1, 1), n_bands=71, spectral_axis=axis, lsf=np.full(71, 0.1) * u.um))
    assert seen[30, 0] == pytest.approx(0.01 / np.hypot(0.01, 0.1), rel=1e-4)
    boxes = library_on_bands(library, Frame(shape=(1, 1), n_bands=71, spectral_axis=axis))
    assert boxes[:, 0].sum() * 0.01 == pytest.approx(line.sum() * 1e-4, rel=1e-6)  # boxes side by side keep the flux


def test_bands_beyond_the_library_and_in_its_gaps_are_nan():
    wave = np.linspace(0.5, 1.0, 501)
    values = np.where((wave > 0.7) & (wave < 0.8), np.nan, 1 + wave)
    frame = Frame(shape=(1, 1), n_bands=9, spectral_axis=np.linspace(400, 1200, 9) * u.nm)
    frame_small = Frame(shape=(1, 1), n_bands=90, spectral_axis=np.linspace(400, 1200, 90) * u.nm)
    library = [LibrarySpectrum(name="gap", wavelength=wave * u.um, values=values)]
    assert np.isnan(library_on_bands(library, frame)[[0, 1, 7, 8], 0]).all()
    seen, at = library_on_bands(library, frame_small)[:, 0], frame_small.spectral_axis.to_value(u.um)
    inside = (at > 0.71) & (at < 0.79)
    assert np.isnan(seen[inside | (at < 0.49) | (at > 1.01)]).all()
    known = np.isfinite(seen)
    assert known.sum() > 35
    np.testing.assert_allclose(seen[known], 1 + at[known], atol=0.01)


def test_a_library_without_wavelengths_must_have_the_bands(scene):
    with pytest.raises(ShapeError, match="has 9 values and the image 50 bands"):
        unmix(scene.cube, 3, library=[LibrarySpectrum(name="a", wavelength=None, values=np.ones(9))])
    with pytest.raises(UnitError, match="expected axes that can be compared"):
        unmix(scene.cube, 3, library=[LibrarySpectrum(name="a", wavelength=np.arange(9) * u.s, values=np.ones(9))])


# ---------------------------------------------------------------- products and refusals


def test_products_carry_units_brightness_and_names(scene, tmp_path):
    frame = Frame(shape=(24, 20), n_bands=50, unit=u.Unit("W m-2 sr-1 um-1"), spectral_axis=scene.cube.frame.spectral_axis)
    cube = Cube(scene.cube.data, scene.cube.variance, None, frame)
    found = unmix(cube, 3, abundances="nnls-renormalized", library=library_of(scene))
    vermilion.write(found, cube, tmp_path / "out", figures=False)
    with fits.open(tmp_path / "out" / "components.fits") as hdus:
        np.testing.assert_allclose(hdus["MAPS"].data.sum(axis=0), 1, atol=1e-6)
        assert "BUNIT" not in hdus["MAPS"].header
        np.testing.assert_array_equal(hdus["BRIGHTNESS"].data, found.brightness)
        columns = hdus["SPECTRA"].columns
        assert u.Unit(columns["shape_0"].unit) == frame.unit
        assert u.Unit(columns["flux_0"].unit) == frame.unit * u.pix
        assert hdus["SPECTRA"].header["NORMALIZ"] == "abundances divided by their sum (nnls-renormalized)"
        assert [hdus[0].header[f"NAME{k}"] for k in range(3)] == list(found.names)
        assert any("ahead of material" in str(line) for line in hdus[0].header["HISTORY"])
        fluxes = sum(hdus["SPECTRA"].data[f"flux_{k}"] for k in range(3))
    model, residual = (fits.getdata(tmp_path / "out" / f"{name}.fits", "FLUX") for name in ("model", "residual"))
    np.testing.assert_allclose(model + residual, scene.cube.data, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model, found.model, rtol=1e-5)
    np.testing.assert_allclose(fluxes, model.sum(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_endmembers": 0}, ParameterError, "n_endmembers is 0"),
        ({"n_endmembers": True}, ParameterError, "n_endmembers is True"),
        ({"abundances": "asc"}, ParameterError, "abundances is 'asc': expected one of 'auto', 'fclsu'"),
        ({"seed": -1}, ParameterError, "seed is -1"),
        ({"weights": np.ones((2, 2))}, ShapeError, "weights has shape"),
        ({"weights": np.full((50, 24, 20), -1.0)}, ParameterError, "negative or not finite"),
        ({"weights": np.zeros((50, 24, 20))}, NoDataError, "nothing to unmix"),
        ({"init": np.ones((9, 3))}, ShapeError, r"init has shape \(9, 3\)"),
        ({"image": np.ones((4, 5))}, ShapeError, r"array of shape \(4, 5\)"),
        ({"image": np.full((4, 5, 6), np.nan)}, NoDataError, "nothing to unmix"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused(scene, options, error, text):
    with pytest.raises(error, match=text):
        unmix(**({"image": scene.cube, "n_endmembers": 3} | options))
