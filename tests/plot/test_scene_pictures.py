from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from numpy.testing import assert_allclose

from vermilion import plot
from vermilion.datamodels import Frame, History, SceneResult, SceneSource, Status
from vermilion.errors import ParameterError, ShapeError
from vermilion.plot.scene import residual_sigma

CENTERS = ((8.0, 7.0), (9.0, 18.0), (17.5, 12.25), (2.0, 22.0))
KINDS = ("point", "galaxy", "two-component", "undecided")


@pytest.fixture(scope="module")
def scene(sky: Callable[..., Any]) -> Callable[..., tuple[Any, Any, SceneResult]]:
    """Data that are their model plus noise of the claimed size; a dead pixel, and one that only some bands have."""

    def build(
        *,
        n: int = 4,
        shape: tuple[int, int] = (24, 28),
        bands: tuple[str, ...] = ("g", "r", "i", "z", "y"),
        scale: float = 1.0,
        wcs: bool = True,
    ) -> tuple[Any, Any, SceneResult]:
        rng = np.random.default_rng(5)
        y, x = np.indices(shape)
        spectra = rng.uniform(50, 300, (n, len(bands))) * np.arange(n, 0, -1)[:, None]
        shapes = np.array([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 6) / (6 * np.pi) for a, b in CENTERS[:n]]).reshape(n, *shape)
        models = scale * spectra[:, :, None, None] * shapes[:, None]
        sigma = scale * np.linspace(0.5, 1.5, len(bands))[:, None, None] * np.ones(models.shape[1:])
        data, weights = models.sum(axis=0) + sigma * rng.normal(size=sigma.shape), sigma**-2
        data[:, 0, 0], weights[:, 0, 0] = np.nan, 0.0
        weights[: len(bands) // 2, -1, -1] = 0.0
        fluxes, errors = scale * spectra, scale * np.full(spectra.shape, 3.0)
        sources = tuple(
            SceneSource(
                kind=kind, center=center, spectra=f[:, None], morphologies=s[None], box=(0, 0), probabilities={kind: 0.75, "x": 0.25}
            )
            for kind, center, f, s in zip(KINDS, CENTERS, fluxes, shapes, strict=False)
        )
        record = History()
        record.append(objective=1.0, gradient_evaluations=(1, 1))
        totals = fluxes.sum(axis=1)
        result = SceneResult(
            sources=sources,
            models=models,
            fluxes=fluxes,
            flux_errors=errors,
            signed_fluxes=fluxes + errors,
            signed_flux_errors=2 * errors,
            catalog=Table({"id": [f"s{k}" for k in range(n)]}),
            chi2=float(2 * data.size),
            n_data=data.size,
            bands=bands,
            frame=Frame(shape=shape, n_bands=len(bands), unit=u.nJy, band_names=bands, wcs=sky(shape)) if wcs else None,
            status=Status.CONVERGED,
            history=record,
            flux_history=totals * (1 + 0.5 * 0.1 ** np.arange(5)[:, None]) * np.append(np.ones((4, 1)), [[1 / (1 + 5e-5)]], axis=0),
            flux_iterations=np.array([1, 10, 20, 99, 100]),
        )
        return data, weights, result

    return build


@pytest.fixture(scope="module")
def drawn(scene: Any) -> Any:
    return plot.scene_rgb(*scene())


@pytest.fixture(scope="module")
def rows(scene: Any) -> Any:
    return plot.source_rows(*scene(), n_rows=3)


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def saved(axes: Any) -> bytes:
    buffer = io.BytesIO()
    plot.save_figure(axes, buffer, dpi=30)
    return buffer.getvalue()


# ---------------------------------------------------------------- the scene


def test_data_and_model_share_one_scale_and_missing_pixels_are_grey(drawn: Any) -> None:
    panels = drawn
    assert [axes.get_title(loc="left") for axes in panels] == ["Data", "Model", "Residual"]
    shown, model = (axes.images[0].get_array() for axes in panels[:2])
    assert_allclose(shown[0, 0], 0.62)
    assert_allclose(shown[-1, -1], 0.62)  # a color needs all bands
    assert not (shown[1:-1, 1:-1] == 0.62).all(axis=-1).any()
    assert shown.shape == (24, 28, 3)
    assert np.abs(shown - model)[8, 7].max() < 0.1


def test_the_residual_is_the_weighted_sum_over_the_bands_in_sigma(scene: Any, drawn: Any) -> None:
    data, weights, result = scene()
    image = drawn[2].images[0]
    shown = np.ma.filled(image.get_array(), np.nan)
    assert np.isnan(shown[0, 0])
    assert np.isfinite(shown[-1, -1])  # some bands have it
    expected = (weights[:, 5, 6] * (data - result.model)[:, 5, 6]).sum() / np.sqrt(weights[:, 5, 6].sum())
    assert shown[5, 6] == pytest.approx(expected)
    assert np.nanstd(shown) == pytest.approx(1, abs=0.1)
    assert image.norm.vmin == -image.norm.vmax <= -5


def test_scaled_weights_scale_the_residual_and_nothing_else(scene: Any, drawn: Any) -> None:
    data, weights, result = scene()
    other = plot.scene_rgb(data, 4 * weights, result)
    assert_allclose(other[0].images[0].get_array(), drawn[0].images[0].get_array())
    assert_allclose(other[2].images[0].get_array(), 2 * drawn[2].images[0].get_array())


def test_sources_are_marked_where_they_are_with_their_names_and_kinds(drawn: Any) -> None:
    for axes in drawn:
        assert [text for text in texts(axes) if text.startswith("s")] == ["s0", "s1", "s2", "s3"]
        places = {(line.get_ydata()[0], line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
        assert places == set(CENTERS)
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert labels == [f"{kind} (1)" for kind in KINDS]


def test_labels_of_close_sources_point_away_from_each_other(scene: Any) -> None:
    data, weights, result = scene(n=2)
    near = tuple(SceneSource(**{**vars(s), "center": c}) for s, c in zip(result.sources, ((10.0, 10.0), (11.0, 11.5)), strict=True))
    pair = SceneResult(**{**vars(result), "sources": near})
    labels = [text for text in plot.scene_rgb(data, weights, pair)[0].texts if text.get_text() in ("s0", "s1")]
    assert [text.get_ha() for text in labels] == ["right", "left"]
    assert [text.get_va() for text in labels] == ["top", "bottom"]


def test_sky_axes_appear_where_the_frame_knows_the_sky(scene: Any, drawn: Any) -> None:
    without = plot.scene_rgb(*scene(wcs=False))
    assert (drawn[0].get_xlabel(), drawn[0].get_ylabel()) == ("RA", "Dec")
    assert {"N", "E"} <= set(texts(drawn[1]))
    assert (without[0].get_xlabel(), without[0].get_ylabel()) == ("x [pixel]", "y [pixel]")


def test_the_colors_are_explained_as_far_as_there_is_room(scene: Any, drawn: Any) -> None:
    assert drawn[0].get_title(loc="right") == "blue to red: g, r, i, z, y"
    long = plot.scene_rgb(*scene(n=1, bands=tuple(f"band {b}" for b in range(12)), wcs=False))[0].get_title(loc="right")
    assert long.startswith("blue to red: ba")
    assert "…" in long


def test_the_sky_has_no_sign(scene: Any) -> None:
    data, weights, result = scene(n=2)
    sky = SceneSource(**{**vars(result.sources[1]), "kind": "sky", "center": (float("nan"), float("nan"))})
    panel = plot.scene_rgb(data, weights, SceneResult(**{**vars(result), "sources": (result.sources[0], sky)}))[0]
    assert "s1" not in texts(panel)
    assert [text.get_text() for text in panel.figure.legends[0].get_texts()] == ["point (1)"]


def test_other_shapes_are_refused(scene: Any) -> None:
    data, weights, result = scene()
    for draw in (plot.scene_rgb, plot.source_rows):
        with pytest.raises(ShapeError, match=r"data has shape \(4, 24, 28\).*expected equal shapes"):
            draw(data[:4], weights, result)


# ---------------------------------------------------------------- rows of sources


def test_rows_go_from_bright_to_faint_and_say_what_is_left_out(scene: Any, rows: Any) -> None:
    _, _, result = scene()
    assert rows.shape == (3, 5)
    order = np.argsort(-result.fluxes.sum(axis=1))[:3]
    assert [axes.get_ylabel().split("\n") for axes in rows[:, 0]] == [[f"s{k}", KINDS[k], "p = 0.75"] for k in order]
    assert rows[0, 0].figure.get_supxlabel() == "The 3 brightest of 4 sources: 1 are not shown."


def test_a_row_holds_the_source_and_the_data_without_the_others(scene: Any) -> None:
    _, weights, result = scene(n=2)
    first = plot.source_rows(result.model, np.where(weights > 0, weights, 1.0), result)[0]
    assert first[0].figure.get_supxlabel() == ""  # nothing is left out
    alone = first[2].images[0].get_array()
    assert_allclose(alone, first[1].images[0].get_array(), atol=1e-6)  # perfect data minus the others are the model
    assert_allclose(first[3].images[0].get_array(), 0, atol=1e-6)
    left, right = first[0].get_xlim()
    assert left < CENTERS[0][1] < right
    assert "↔ 3.2″" in texts(first[1])  # 16 pixels of 0.2 arcsec, as far as the image goes


def test_spectra_of_fit_and_refit_stand_beside_each_other_with_errors(scene: Any, rows: Any) -> None:
    _, _, result = scene()
    axes = rows[0, 4]
    k = int(np.argmax(result.fluxes.sum(axis=1)))
    fit, signed = axes.containers
    assert_allclose(fit.lines[0].get_ydata(), result.fluxes[k])
    assert_allclose(signed.lines[0].get_ydata(), result.signed_fluxes[k])
    segments = np.array(signed.lines[2][0].get_segments())
    assert_allclose(np.ptp(segments[:, :, 1], axis=1) / 2, result.signed_flux_errors[k])
    assert axes.get_ylabel() == r"Flux [$\mathrm{nJy}$]"
    assert axes.get_ylim()[0] <= 0


def test_an_undetermined_refit_does_not_squeeze_the_fit(scene: Any) -> None:
    data, weights, result = scene(n=1)
    wild = SceneResult(**{**vars(result), "signed_fluxes": result.signed_fluxes * 1e6, "signed_flux_errors": np.full((1, 5), np.inf)})
    low, high = plot.source_rows(data, weights, wild)[0, 4].get_ylim()
    assert high < 10 * result.fluxes.max() < 1e6
    assert low <= 0


@pytest.mark.parametrize("n_rows", [0, -1])
def test_no_rows_are_refused(scene: Any, n_rows: int) -> None:
    with pytest.raises(ParameterError, match=f"4 sources in {n_rows} rows: expected at least one"):
        plot.source_rows(*scene(), n_rows=n_rows)


# ---------------------------------------------------------------- fluxes against iteration


@pytest.mark.parametrize(("longer", "scale"), [(1, "linear"), (10, "log")])
def test_flux_history_is_relative_to_the_end(scene: Any, longer: int, scale: str) -> None:
    _, _, result = scene()
    axes = plot.flux_history(SceneResult(**{**vars(result), "flux_iterations": 1 + longer * (result.flux_iterations - 1)}))
    lines = [line for line in axes.lines if line.get_label().startswith("s")]
    assert [line.get_label() for line in lines] == ["s0", "s1", "s2", "s3"]
    assert_allclose(lines[0].get_ydata()[:2], [50, 5], rtol=1e-2)
    assert lines[0].get_ydata()[-1] == pytest.approx(0, abs=1e-10)
    assert axes.get_xscale() == scale
    assert axes.get_title(loc="left") == "Fluxes moved by at most 0.05 % in the last tenth of the iterations"


def test_sources_without_flux_are_counted_instead_of_drawn(scene: Any) -> None:
    _, _, result = scene(n=3)
    dark = result.flux_history.copy()
    dark[-1, 1] = 0
    axes = plot.flux_history(SceneResult(**{**vars(result), "flux_history": dark}))
    assert "1 without flux at the end is not drawn" in axes.get_title(loc="left")
    assert {line.get_label() for line in axes.lines} >= {"s0", "s2"}


@pytest.mark.parametrize("rows", [0, 1])
def test_short_histories_are_drawn(scene: Any, rows: int) -> None:
    _, _, result = scene(n=2)
    short = SceneResult(**{**vars(result), "flux_history": result.flux_history[:rows], "flux_iterations": result.flux_iterations[:rows]})
    assert saved(plot.flux_history(short)).startswith(b"\x89PNG")


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    "case",
    [
        {"n": 0},
        {"n": 1, "bands": ("$$", r"\frac{"), "scale": 1e30, "wcs": False},
        {"n": 1, "shape": (1, 1), "bands": ("HSC-I",), "scale": 1e-30},
    ],
    ids=str,
)
def test_strange_scenes_are_drawn(scene: Any, case: dict[str, Any]) -> None:
    data, weights, result = scene(**case)
    assert saved(plot.scene_rgb(data, weights, result)).startswith(b"\x89PNG")
    if result.sources:
        assert saved(plot.source_rows(data, weights, result, n_rows=1)).startswith(b"\x89PNG")
    else:
        with pytest.raises(ParameterError, match="0 sources"):
            plot.source_rows(data, weights, result)


def test_scenes_without_any_data_are_drawn(scene: Any) -> None:
    data, weights, result = scene(n=1)
    panels = plot.scene_rgb(np.full_like(data, np.nan), np.zeros_like(weights), result)
    assert_allclose(panels[0].images[0].get_array(), 0.62)
    assert np.isnan(residual_sigma(data, np.zeros_like(weights), result.model)).all()


def test_pictures_are_drawn_where_the_caller_wants(scene: Any) -> None:
    data, weights, result = scene(n=2)
    figure = mpl.figure.Figure(figsize=(13, 12))
    upper, lower = figure.subfigures(2)
    assert plot.scene_rgb(data, weights, result, figure=upper)[0].get_figure(root=True) is figure
    assert plot.source_rows(data, weights, result, figure=lower)[0, 0].get_figure(root=True) is figure
    axes = mpl.figure.Figure().add_subplot()
    assert plot.flux_history(result, axes=axes) is axes
