"""A cube in, components on the sky out."""

import logging

import numpy as np
import pytest
from astropy import units as u

from vermilion import Cube, Frame, Status, read, separate, write
from vermilion.errors import NoDataError, ParameterError, ShapeError
from vermilion.prox import NonNegative, Simplex

FAST = {"tol": 0, "max_iter": 40, "starts": 0, "device": "cpu"}


def scene(*, seed=0, unit=1.0, variance=True, kind="f8", noise=0.5):
    """Three sources on a sky of 12 × 10 pixels in 25 bands; one dead band, one dead pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:12, :10]
    S = np.stack([100 * np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) / 2) for a, b in ((2, 2), (6, 7), (10, 2))])
    A = rng.gamma(0.7, size=(25, 3))
    A /= A.sum(axis=0)
    sigma = noise * rng.uniform(0.5, 2, size=(25, 12, 10))
    data = np.einsum("bk,kyx->byx", A, S) + sigma * rng.normal(size=sigma.shape)
    data[7], data[:, 4, 5] = np.nan, np.nan
    frame = Frame(shape=(12, 10), n_bands=25, unit=u.Jy)
    return Cube((unit * data).astype(kind), (unit * sigma) ** 2 if variance else None, frame=frame), A, S


def test_components_stand_on_the_sky_with_nan_where_there_were_no_data():
    cube, _, _ = scene()
    result = separate(cube, n_components=3, **FAST)
    assert result.spectra.shape == (25, 3)
    for maps in (result.morphologies, result.morphologies_error, result.signed_morphologies, result.signed_error):
        assert maps.shape == (3, 12, 10)
        assert np.isnan(maps[:, 4, 5]).all()
    live = np.arange(25) != 7
    for spectra in (result.spectra, result.spectra_error):
        assert np.isnan(spectra[7]).all()
    assert np.isfinite(result.spectra[live]).all()
    assert np.isnan(result.morphologies).sum() == 3
    np.testing.assert_allclose(np.nansum(result.spectra, axis=0), 1)
    assert result.frame.unit == u.Jy
    assert result.frame.n_pixels == 119


def test_the_model_fits_the_data_to_the_noise():
    cube, _, _ = scene()
    result = separate(cube, n_components=3, starts=0)
    chi = (cube.data - result.model) * np.sqrt(cube.weights)
    assert np.nanstd(chi) == pytest.approx(1, abs=0.1)
    assert result.status is Status.CONVERGED


@pytest.mark.parametrize("init", ["spa", "random"])
def test_a_start_does_not_change_the_gauge_through_bands_without_data(init):
    cube, _, _ = scene()
    np.testing.assert_allclose(np.nansum(separate(cube, n_components=3, init=init, **FAST).spectra, axis=0), 1)


def test_without_variances_errors_come_from_the_residuals_even_if_data_are_missing():
    cube, _, _ = scene(variance=False, noise=0.5)
    result = separate(cube, n_components=3, **FAST)
    assert result.provenance["noise"].startswith("from the residuals")
    # the noise is 0.5 times a number between 0.5 and 2: rms 0.5 · sqrt(1.75)
    rms = np.nanstd(cube.data - result.model)
    assert rms == pytest.approx(0.5 * 1.75**0.5, rel=0.2)
    scaled = separate(scene(variance=False, unit=1e-20)[0], n_components=3, **FAST)
    np.testing.assert_allclose(scaled.signed_error * 1e20, result.signed_error, rtol=1e-3)
    assert np.nanmedian(result.signed_error) > rms  # an error of a sum over many bands is larger than that of one


@pytest.mark.parametrize("unit", [1e-30, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("penalty", [{}, {"entropy": 0.5}, {"sparsity": 0.5}], ids=["none", "entropy", "sparsity"])
def test_the_unit_of_the_cube_does_not_matter(unit, variance, penalty):
    reference = separate(scene(variance=variance)[0], n_components=3, **penalty, **FAST)
    result = separate(scene(variance=variance, unit=unit)[0], n_components=3, **penalty, **FAST)
    np.testing.assert_allclose(result.spectra, reference.spectra, atol=1e-5 * np.nanmax(reference.spectra))
    for name in ("morphologies", "signed_morphologies"):
        expected = getattr(reference, name)
        np.testing.assert_allclose(getattr(result, name) / unit, expected, atol=1e-5 * np.nanmax(np.abs(expected)), err_msg=name)
    np.testing.assert_allclose(result.signed_error / unit, reference.signed_error, rtol=1e-5)


# at convergence: far beyond it float32 fits drift along the valley by their own rounding
@pytest.mark.parametrize("unit", [1e-20, 1e20])
@pytest.mark.parametrize("penalty", [{}, {"entropy": 0.5}], ids=["none", "entropy"])
def test_the_unit_of_a_float32_cube_does_not_matter(unit, penalty):
    reference = separate(scene(kind="f4")[0], n_components=3, **penalty, starts=0)
    result = separate(scene(kind="f4", unit=unit)[0], n_components=3, **penalty, starts=0)
    np.testing.assert_allclose(result.spectra, reference.spectra, atol=1e-5 * np.nanmax(reference.spectra))
    np.testing.assert_allclose(result.morphologies / unit, reference.morphologies, atol=1e-5 * np.nanmax(reference.morphologies))


def test_entropy_smooths_and_sparsity_empties_the_maps():
    cube, _, _ = scene()
    plain, smooth, sparse = (separate(cube, n_components=3, **p, **FAST) for p in ({}, {"entropy": 30.0}, {"sparsity": 30.0}))
    assert np.nanmin(smooth.morphologies) > 0  # the entropy is infinitely steep at zero
    assert np.nanstd(smooth.morphologies) < np.nanstd(plain.morphologies)
    assert (sparse.morphologies == 0).sum() > (plain.morphologies == 0).sum()
    for result in (smooth, sparse):
        assert any("held to unit sum" in note for note in result.notes)


@pytest.mark.parametrize("strength", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["entropy", "sparsity"])
def test_strengths_are_positive_numbers(name, strength):
    with pytest.raises(
        ParameterError, match=rf"{name} is {strength!r}: expected a finite number > 0".replace("(", r"\(").replace(")", r"\)")
    ):
        separate(scene()[0], n_components=2, **{name: strength})


def test_entropy_and_sparsity_exclude_each_other():
    with pytest.raises(ParameterError, match="pull in opposite directions"):
        separate(scene()[0], n_components=2, entropy=1, sparsity=1)


@pytest.mark.parametrize("n_components", [0, "four", 2.5])
@pytest.mark.parametrize("penalty", [{}, {"entropy": 1.0}])
@pytest.mark.parametrize("variance", [True, False])
def test_the_number_of_components_is_checked_whatever_else_is_asked(n_components, penalty, variance):
    with pytest.raises(ParameterError, match=f"n_components is {n_components!r}: expected an integer >= 1"):
        separate(scene(variance=variance)[0], n_components=n_components, **penalty)


@pytest.mark.parametrize("starts", [-1, 1.5, "many", True, None])
def test_the_number_of_starts_is_checked(starts):
    with pytest.raises(ParameterError, match=f"starts is {starts!r}: expected 'auto' or an integer >= 0"):
        separate(scene()[0], n_components=2, tol=0, max_iter=2, starts=starts)


@pytest.mark.parametrize("cube", [Cube(np.full((3, 2, 4), np.nan)), Cube(np.ones((3, 2, 4)), np.zeros((3, 2, 4)))])
def test_a_cube_without_weight_is_refused(cube):
    with pytest.raises(NoDataError, match="no value of the cube has a positive weight"):
        separate(cube, n_components=2)


def test_a_cube_of_zeros_is_refused():
    with pytest.raises(NoDataError, match="nothing to factorize"):
        separate(Cube(np.zeros((3, 2, 4))), n_components=2)


def test_a_known_spectrum_may_be_nan_where_the_cube_is_dead():
    cube, A, S = scene()
    template = 1e-17 * A[:, 1]
    template[7] = np.nan
    result = separate(cube, n_components=3, fixed_spectra={0: template}, **FAST)
    np.testing.assert_array_equal(result.spectra[:, 0], template)
    seen = np.isfinite(result.morphologies[0])
    assert np.corrcoef(result.morphologies[0][seen], S[1][seen])[0, 1] > 0.95


def test_a_known_map_is_held_on_the_sky():
    _, A, S = scene()
    known = S[2].copy()
    known[4, 5] = np.nan
    for variance in (True, False):
        result = separate(scene(variance=variance)[0], n_components=3, fixed_morphologies={1: known}, **FAST)
        np.testing.assert_array_equal(result.morphologies[1], known)
    live = np.arange(25) != 7
    assert np.corrcoef(result.spectra[live, 1], A[live, 2])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fixed_spectra": {0: np.ones(24)}}, r"fixed_spectra\[0\] has shape \(24,\): expected \(25,\)"),
        ({"fixed_spectra": {0: 1.0}}, r"fixed_spectra\[0\] has shape \(\): expected \(25,\)"),
        ({"fixed_morphologies": {0: np.ones((10, 12))}}, r"has shape \(10, 12\): expected the image plane \(12, 10\)"),
        ({"fixed_morphologies": {0: np.ones(120)}}, r"has shape \(120,\): expected the image plane"),
    ],
)
def test_templates_of_the_wrong_shape_are_refused(options, sentence):
    with pytest.raises(ShapeError, match=sentence):
        separate(scene()[0], n_components=2, **options)


def test_callbacks_see_the_fit_and_not_the_other_starts():
    calls = []
    separate(scene()[0], n_components=2, tol=0, max_iter=5, starts=2, callbacks=[lambda A, S: calls.append(A)])
    assert len(calls) == 5


def test_constraints_reach_the_solver():
    result = separate(scene()[0], n_components=2, spectra=NonNegative(), morphologies=Simplex(0), **FAST)
    np.testing.assert_allclose(np.nansum(result.morphologies, axis=0)[0], 1, rtol=1e-5)
    assert result.provenance["morphologies"] == "Simplex(dim=0, total=1.0)"


def test_a_unique_solution_is_not_called_into_question():
    # every component alone in some pixels and in some bands
    rng = np.random.default_rng(0)
    A, S = np.kron(np.eye(3), rng.uniform(0.5, 1, size=(8, 1))), np.kron(np.eye(3), rng.uniform(5, 10, size=(1, 20)))
    cube = Cube((A @ S + 0.01 * rng.normal(size=(24, 60))).reshape(24, 6, 10), np.full((24, 6, 10), 1e-4))
    result = separate(cube, n_components=3, device="cpu")
    assert result.provenance["unique"] is True
    assert len(result.provenance["starts"]) == 6  # the result and five random ones
    assert max(result.provenance["spread_rad"]) < 0.03
    assert not any("unique" in note for note in result.notes)


def test_the_sample_cube_is_called_not_unique_in_result_and_log(sample_cube, caplog):
    with caplog.at_level(logging.INFO, logger="vermilion"):
        result = separate(read(sample_cube), n_components=4, tol=1e-3, starts=2, device="cpu")
    assert result.provenance["unique"] is False
    assert [row["name"] for row in result.provenance["starts"]] == ["spa", "random 1", "random 2"]
    assert len(result.provenance["spread_rad"]) == 4
    assert max(result.provenance["spread_rad"]) > 0.03
    assert any(note.startswith("not unique: spectra differ by up to") for note in result.notes)
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert any(message.startswith("not unique") for message in warned)
    assert np.isnan(result.spectra[187]).all()  # the dead band of the sample
    assert np.isnan(result.morphologies).sum() == 4 * 6  # its NaN spaxels


@pytest.mark.parametrize("options", [{"starts": 0}, {"starts": 3, "solver": "proxmin"}])
def test_where_nothing_was_compared_nothing_is_claimed(options):
    result = separate(scene()[0], n_components=2, tol=0, max_iter=5, **options)
    assert result.provenance["unique"] is None


def test_products_are_written_for_a_result(tmp_path):
    cube, _, _ = scene()
    result = separate(cube, n_components=2, **FAST)
    paths = write(result, cube, tmp_path / "out", figures=False)
    assert paths
    assert all(path.is_file() for path in paths)
    assert (tmp_path / "out" / "DONE").is_file()
    assert {"components.fits", "model.fits", "residual.fits"} <= {path.name for path in paths}


def test_maps_and_spectra_are_also_written_for_other_programs(tmp_path):
    cube, *_ = scene()
    result = separate(cube, n_components=2, starts=0, max_iter=30)
    paths = write(result, cube, tmp_path / "out", figures=False, also=("envi", "mat", "tiff"))
    names = {path.name for path in paths}
    assert {"maps.img", "maps.hdr", "spectra.sli", "spectra.hdr", "components.mat", "maps.tif"} <= names
    np.testing.assert_array_equal(read(tmp_path / "out" / "maps.hdr").data, result.morphologies)
    with pytest.raises(ParameterError, match="expected envi, mat, tiff"):
        write(result, cube, tmp_path / "other", figures=False, also=("jpeg",))


@pytest.mark.parametrize("seed", [0, 1])
def test_faint_counts_keep_their_flux(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    maps = np.stack([np.exp(-0.5 * ((y - 20) ** 2 + (x - 14) ** 2) / 16), np.ones_like(x, dtype=float)])
    spectra = np.stack([np.linspace(6, 1, 12), np.full(12, 0.4)], axis=1)
    expected = np.einsum("bk,kyx->byx", spectra, maps)
    cube = Cube(rng.poisson(expected).astype(np.float32), meta={"likelihood": "poisson"})
    result = separate(cube, n_components=2, fixed_spectra={0: spectra[:, 0], 1: spectra[:, 1]}, starts=0)
    flux = np.nansum(result.spectra, axis=0) * np.nansum(result.signed_morphologies, axis=(1, 2))
    true = spectra.sum(axis=0) * maps.sum(axis=(1, 2))
    np.testing.assert_allclose(flux / true, 1, atol=0.05)
    error = np.nansum(result.spectra, axis=0) * np.sqrt(np.nansum(result.signed_error**2, axis=(1, 2)))
    assert (np.abs(flux - true) < 4 * error).all()  # weights of 1/n would lose more than a tenth of it
