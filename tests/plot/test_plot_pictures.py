from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from astropy import units as u
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from numpy.testing import assert_allclose

from vermilion import plot
from vermilion.datamodels import Cube, Result, Status
from vermilion.diagnose.residual import residual_statistics, white_light
from vermilion.errors import ParameterError, ShapeError
from vermilion.plot.style import color

Make = Callable[..., tuple[Result, Cube]]


def lines(axes: Any) -> list[StepPatch]:
    return [patch for patch in axes.patches if isinstance(patch, StepPatch) and not patch.get_fill()]


def copy_of(result: Result, **changes: Any) -> Result:
    fields = {name: getattr(result, name) for name in ("spectra", "morphologies", "status", "history", "names", "frame")}
    return Result(**{**fields, **changes})


def test_maps_show_the_flux_averaged_over_the_bands(make: Make) -> None:
    result, _ = make(n=3)
    drawn = plot.maps(result)
    assert drawn.shape == (3,)
    for k, axes in enumerate(drawn):
        expected = np.nanmean(result.spectra[:, k]) * result.morphologies[k]
        assert_allclose(np.ma.filled(axes.images[0].get_array(), np.nan), expected, rtol=1e-12)


def test_maps_do_not_depend_on_the_gauge(make: Make) -> None:
    result, _ = make()
    other = copy_of(result, spectra=result.spectra * 1e3, morphologies=result.morphologies * 1e-3)
    for here, there in zip(plot.maps(result), plot.maps(other), strict=True):
        assert_allclose(there.images[0].get_array(), here.images[0].get_array(), rtol=1e-12)


def test_dropped_pixels_are_grey_on_a_colored_map(make: Make) -> None:
    result, _ = make()
    image = plot.maps(result)[0].images[0]
    shown = image.to_rgba(image.get_array())
    dead = np.isnan(result.morphologies[0])
    assert_allclose(shown[dead][:, :3], 0.62, atol=0.01)
    assert dead.sum() == 1
    assert np.ptp(shown[~dead][:, :3], axis=0).min() > 0.5


def test_maps_carry_name_total_unit_and_coordinates(make: Make) -> None:
    result, _ = make(names=("bulge", "disk"))
    first, last = plot.maps(result)
    assert first.get_title(loc="left") == "bulge"
    total = np.nansum(np.nanmean(result.spectra[:, 0]) * result.morphologies[0])
    assert f"total {total:.4g}" in [text.get_text() for text in first.texts]
    assert {"N", "E"} <= {text.get_text() for text in first.texts}
    assert (first.get_xlabel(), first.get_ylabel()) == ("RA", "Dec")
    assert r"10^{-20}\,erg" in last.child_axes[0].get_ylabel()


@pytest.mark.parametrize("n", range(1, 13))
def test_maps_work_for_one_to_twelve_components(make: Make, n: int) -> None:
    result, _ = make(n=n, shape=(6, 7), n_bands=8)
    assert len(plot.maps(result)) == n


def test_a_component_has_one_color_in_maps_and_spectra(make: Make) -> None:
    result, _ = make(n=4)
    for k, (image, spectrum) in enumerate(zip(plot.maps(result), plot.spectra(result), strict=True)):
        assert to_hex(image._left_title.get_color()).upper() == color(k)
        assert to_hex(lines(spectrum)[0].get_edgecolor()).upper() == color(k)


def test_spectra_are_summed_over_the_field_in_a_stated_unit(make: Make) -> None:
    result, _ = make(scale=1000.0)
    axes = plot.spectra(result)
    figure = axes[0].figure
    assert "10^{-17}" in figure.get_supylabel()  # totals of some 5e4 in the file's 1e-20
    assert figure.get_supxlabel() == r"Wavelength in air [$\mathrm{Å}$]"
    for k, panel in enumerate(axes):
        flux = lines(panel)[0].get_data().values
        expected = result.spectra[:, k] * np.nansum(result.morphologies[k]) / 1e3
        assert_allclose(flux, expected, rtol=1e-12)
        error = next(patch for patch in panel.patches if isinstance(patch, StepPatch) and patch.get_fill()).get_data()
        assert_allclose((error.values - flux)[~np.isnan(flux)], 0.1 * flux[~np.isnan(flux)], rtol=1e-9)


def test_dead_bands_are_gaps_on_grey(make: Make) -> None:
    result, _ = make()
    panel = plot.spectra(result)[0]
    assert np.isnan(lines(panel)[0].get_data().values).sum() == 3
    grey = next(patch for patch in panel.patches if not isinstance(patch, StepPatch))
    low, high = grey.get_x(), grey.get_x() + grey.get_width()
    assert (low, high) == (5000 + 1.25 * 19.5, 5000 + 1.25 * 22.5)


def test_a_noisy_band_does_not_hide_the_spectrum_and_a_line_is_not_cut(make: Make) -> None:
    result, _ = make(n=1)
    spectra, error = result.spectra.copy(), result.spectra_error.copy()  # type: ignore[union-attr]
    spectra[5], error[5] = 30 * np.nanmax(spectra), 100 * np.nanmax(error)
    spectra[9] = 8 * np.nanmax(result.spectra)
    axes = plot.spectra(copy_of(result, spectra=spectra, spectra_error=error))[0]
    flux = lines(axes)[0].get_data().values
    assert flux[9] < axes.get_ylim()[1] < flux[5]


@pytest.mark.parametrize(
    ("axis", "label", "first"),
    [
        (np.linspace(4.75e-7, 9.35e-7, 15) * u.m, r"Wavelength [$\mathrm{Å}$]", 4750),
        (np.linspace(5e-6, 28e-6, 15) * u.m, r"Wavelength [$\mathrm{\mu m}$]", 5),
        (np.linspace(330e9, 329e9, 15) * u.Hz, r"Frequency [$\mathrm{GHz}$]", 329),
        (np.linspace(-5e3, 5e3, 15) * u.m / u.s, r"Velocity [$\mathrm{km\,s^{-1}}$]", -5),
        (np.linspace(1, 5, 15) * u.keV, r"Energy [$\mathrm{keV}$]", 1),
    ],
)
def test_spectral_axes_are_named_by_what_they_measure(make: Make, axis: u.Quantity, label: str, first: float) -> None:
    result, _ = make(n_bands=15, frame={"spectral_axis": axis})
    axes = plot.spectra(result)
    assert axes[0].figure.get_supxlabel() == label
    step = abs(np.diff(lines(axes[0])[0].get_data().edges)[0])
    assert_allclose(axes[0].get_xlim()[0], first - step / 2)


def test_the_meta_of_the_cube_says_air_or_vacuum(make: Make) -> None:
    result, cube = make(frame={"spectral_axis": np.arange(40) * u.nm}, meta={"spectral_medium": "vacuum"})
    assert plot.spectra(result, cube)[0].figure.get_supxlabel().startswith("Wavelength in vacuum")


def test_broad_bands_are_points_with_their_names(make: Make) -> None:
    result, cube = make(n_bands=5, frame={"band_names": ("g", "r", "$$", "<script>alert(1)</script>", "y")})
    for axes in (plot.spectra(result)[-1], plot.residual_rms(result, cube)):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["g", "r", "$$", "<scrip…pt>", "y"]
        assert axes.lines


def test_white_light_shows_data_and_model_alike_and_residuals_in_sigma(make: Make) -> None:
    result, cube = make()
    data, model, residual = plot.white_light(result, cube)
    assert data.images[0].get_clim() == model.images[0].get_clim()
    low, high = residual.images[0].get_clim()
    assert low == -high <= -3
    white = white_light(result, cube)
    assert_allclose(np.ma.filled(residual.images[0].get_array(), np.nan), white.residual / white.sigma)
    assert [axes.get_title(loc="left") for axes in (data, model, residual)] == ["Data", "Model", "Residual"]


def test_white_light_without_variance_shows_residuals_in_flux(make: Make) -> None:
    result, cube = make(variance=False)
    residual = plot.white_light(result, cube)[2]
    assert_allclose(np.ma.filled(residual.images[0].get_array(), np.nan), white_light(result, cube).residual)


def test_residual_rms_has_a_line_at_one_and_the_numbers_of_the_statistics(make: Make) -> None:
    result, cube = make()
    axes = plot.residual_rms(result, cube)
    statistics = residual_statistics(result, cube)
    assert axes.lines[0].get_ydata() == [1, 1]
    rms, robust = lines(axes)
    assert_allclose(rms.get_data().values, statistics.rms)
    assert_allclose(robust.get_data().values, statistics.robust)
    assert axes.get_ylim()[0] < 1 < axes.get_ylim()[1]
    assert axes.get_title(loc="right") == f"reduced χ² = {statistics.reduced_chi_square:.3g}"


def test_residual_rms_without_variance_is_in_flux(make: Make) -> None:
    axes = plot.residual_rms(*make(variance=False))
    assert axes.get_ylabel().startswith("Residual scatter [")
    assert axes.get_title(loc="right") == ""


def test_convergence_draws_the_excess_over_the_best_and_the_sentence(make: Make) -> None:
    result, _ = make(history=(9.0, 5.0, float("nan"), 2.0, 1.0), status=Status.MAX_ITER)
    axes = plot.convergence(result)
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 4]
    assert axes.lines[0].get_ydata().tolist() == [8, 4, 1]
    assert axes.get_title(loc="left") == "The iteration limit was reached (5 iterations)"


@pytest.mark.parametrize("history", [(), (3.0,), (2.0, 2.0), (float("nan"),)])
def test_convergence_of_nothing_is_a_picture_too(make: Make, history: tuple[float, ...]) -> None:
    axes = plot.convergence(make(history=history)[0])
    assert "no decrease was recorded" in [text.get_text() for text in axes.texts]


def test_signed_maps_stand_beside_the_constrained_ones_in_units_of_their_error(make: Make) -> None:
    result, _ = make(n=3)
    drawn = plot.signed(result)
    assert drawn.shape == (3, 2)
    for k in range(3):
        shown = np.ma.filled(drawn[k, 1].images[0].get_array(), np.nan)
        assert_allclose(shown, result.signed_morphologies[k] / result.signed_error[k])  # type: ignore[index]
        low, high = drawn[k, 1].images[0].get_clim()
        assert low == -high


def test_signed_maps_that_do_not_exist_are_refused(make: Make) -> None:
    with pytest.raises(ParameterError, match="no signed maps"):
        plot.signed(copy_of(make()[0]))


def test_morphologies_without_place_are_refused(make: Make) -> None:
    result, _ = make()
    flat = copy_of(result, morphologies=result.morphologies.reshape(2, -1))
    with pytest.raises(ShapeError, match=r"expected maps \(K, Ny, Nx\).*Frame.to_image"):
        plot.maps(flat)


def test_pictures_can_be_drawn_where_the_caller_wants_them(make: Make) -> None:
    result, cube = make()
    figure = mpl.figure.Figure(figsize=(12, 8))
    upper, lower = figure.subfigures(2)
    assert plot.maps(result, figure=upper)[0].get_figure(root=True) is figure
    assert plot.white_light(result, cube, figure=lower)[0].get_figure(root=True) is figure
    axes = mpl.figure.Figure().add_subplot()
    assert plot.convergence(result, axes=axes) is axes
    assert plot.residual_rms(result, cube, axes=axes) is axes


def test_a_bright_line_is_not_cut_off_because_its_error_is_large(make: Make) -> None:
    result, cube = make(n=1)
    finite = np.flatnonzero(np.isfinite(result.spectra[:, 0]))
    line, noise = finite[3], finite[5]
    spectra = result.spectra.copy()
    error = np.full_like(spectra, 0.01 * np.nanmedian(spectra))
    spectra[line] *= 50
    error[line] = 0.02 * spectra[line]
    spectra[noise] *= 500
    error[noise] = spectra[noise]
    changed = Result(
        spectra=spectra,
        spectra_error=error,
        morphologies=result.morphologies,
        status=result.status,
        history=result.history,
        frame=result.frame,
    )
    top = plot.spectra(changed, cube)[0].get_ylim()[1]
    unit = lines(plot.spectra(changed, cube)[0])[0].get_data().values[line] / spectra[line, 0]
    assert unit * spectra[line, 0] < top < unit * spectra[noise, 0]
