"""The benchmarks of deblending count what they say, on numbers worked out by hand, and read the scenes without their traps."""

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "benchmarks"
DATA = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "broadband"
NAMES = ("deblending_metrics", "scenes", "scarlet2_method", "deblending", "scene_standards", "hsc_injections")

pytest.importorskip("galsim", reason="GalSim is not installed")


@pytest.fixture(scope="module")
def scripts():
    path = list(sys.path)
    sys.path.insert(0, str(SCRIPTS))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    for name in NAMES:
        del sys.modules[name]
    sys.path[:] = path


def test_errors_of_a_source_by_hand(scripts):
    metrics = scripts.deblending_metrics
    truths, fluxes = np.array([[1.0, 2.0], [4.0, 4.0]]), np.array([[1.1, 2.0], [0.0, 4.0]])
    np.testing.assert_allclose(metrics.flux_errors(fluxes, truths), [[0.1, 0], [1, 0]])
    # a flux of 0 counts as 1e-3 of the flux over all bands, 4: a color of 2.5 log10(4 / 4e-3) = 7.5 instead of 0
    np.testing.assert_allclose(metrics.color_errors(fluxes, truths), [[2.5 * np.log10(1.1)], [7.5]])
    images = np.array([[[[0.0, 2.0]]], [[[3.0, 1.0]]]])
    np.testing.assert_allclose(metrics.overlap_errors(images + np.array([0.0, 1.0]), images), [1 / 4, 1 / 8])


def test_bins_hold_every_source_once(scripts):
    metrics = scripts.deblending_metrics
    snr, blendedness = np.array([5, 9.99, 10, 100, 120.0, 4.0]), np.array([-1e-6, 0.1, 0.2, 0.5, 0.99, 1.0])
    nothing = np.zeros((6, 1))
    chosen = metrics.selections(metrics.Sources(np.arange(6), snr, blendedness, nothing, nothing, nothing[:, 0]))
    for kind in ("S/N", "blendedness"):
        assert sum(inside for name, inside in chosen.items() if name.startswith(kind)).tolist() == [1] * 6
    assert chosen["S/N 5-10"].tolist() == [True, True, False, False, False, True]


def test_calibration_by_hand(scripts):
    # bin [0, 0.2): 2 sources of 0.1, none a star; bin [0.8, 1]: 2 of 0.9, one a star: (2 * 0.1 + 2 * 0.4) / 4
    found = scripts.deblending_metrics.calibration(np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]))
    assert found["error"] == pytest.approx(0.25)
    assert found["right"] == 0.75


def test_pulls_leave_out_errors_that_are_not_there(scripts):
    found = scripts.deblending_metrics.pulls(np.array([1.0, 3.0, 9.0]), np.array([1.0, 2.0, np.nan]), np.array([0.0, 1.0, 0.0]))
    assert (found["values"], found["mean"], found["std"]) == (2, 1, 0)


def test_intervals_of_differences_cover_the_true_one(scripts):
    rng, covered = np.random.default_rng(0), 0
    for trial in range(40):
        blends = np.repeat(np.arange(60), 4)
        shared = rng.normal(size=60)[blends]  # sources of a blend are not independent
        first, second = shared + rng.normal(0.3, 1, 240), rng.normal(size=240) + rng.normal(size=60)[blends]
        draws = np.random.default_rng(trial).integers(60, size=(200, 60))
        _, low, high = scripts.deblending_metrics.bootstrap_difference(first, second, blends, np.mean, draws)
        covered += low < 0.3 < high
    assert covered >= 33  # of 40, 95 % each; fewer than 33 by chance in 1 of 3000


def test_true_shapes_find_true_fluxes_where_nothing_is_hidden(scripts):
    made = scripts.deblending.blend(1005, undetected=0, snr=(80, 100), n_sources=(2, 3))
    found = scripts.deblending.run_true_shapes(made)
    assert np.median(np.abs(found.fluxes / made.fluxes - 1)) < 0.05
    assert found.overlap_errors.max() < 0.1
    assert found.chi2 / made.images.size == pytest.approx(1, abs=0.05)


def test_the_table_of_blends_is_made(scripts, tmp_path, capsys):
    report = scripts.deblending.main(
        [
            "--blends",
            "3",
            "--first",
            "1000",
            "--methods",
            "true shapes",
            "--json",
            str(tmp_path / "t.json"),
            "--markdown",
            str(tmp_path / "t.md"),
        ]
    )
    assert (tmp_path / "t.md").read_text(encoding="utf-8") == capsys.readouterr().out
    errors = report["methods"]["true shapes"]["errors"]["all"]
    assert errors["flux_median"] < errors["flux_p90"]
    assert report["methods"]["true shapes"]["failures"] == []


def test_misattributed_flux_by_hand(scripts):
    found = scripts.scene_standards.misattributed(np.array([[2.0], [3.0]]), np.array([[1.0], [4.0]]))
    assert found["per_band"] == [pytest.approx(2 / 5)]
    assert (found["per_source_median"], found["per_source_worst"]) == (pytest.approx(0.625), pytest.approx(1))


def injected_blend(scripts):
    rng, shape = np.random.default_rng(0), (3, 40, 44)
    y, x = np.indices((25, 25)) - 12
    psf = np.exp(-((y - 0.2) ** 2 + (x + 0.1) ** 2) / (2 * 1.7**2))  # off center
    images = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    return scripts.scenes.Blend(
        name="made", images=images, weights=np.full(shape, 100, np.float32), psfs=np.stack([psf] * 3), centers=np.array([[5.0, 5.0]])
    )


@pytest.mark.parametrize("star", [True, False])
def test_injected_sources_have_the_flux_and_place_that_are_stated(scripts, star):
    blend = injected_blend(scripts)
    more, fluxes, image = scripts.hsc_injections.inject(blend, 3, star=star)
    np.testing.assert_allclose(more.images - blend.images, image, atol=1e-6)
    assert 0.9 * fluxes.sum() < image.sum() < 1.01 * fluxes.sum()  # of the light emitted inside the frame some is seen outside
    assert 10 <= np.sqrt((blend.weights * image**2).sum()) <= 100
    y, x = np.indices(image.shape[1:])
    weight = image[0] ** 2  # the core, so that what the edge cuts off counts little
    assert np.hypot((weight * y).sum() / weight.sum() - more.centers[-1, 0], (weight * x).sum() / weight.sum() - more.centers[-1, 1]) < 0.5
    assert len(more.centers) == 2


@pytest.mark.skipif(not DATA.exists(), reason="the scenes are not there: set VERMILION_TEST_DATA")
@pytest.mark.parametrize("name", ["unmatched", "matched"])
def test_simulations_are_read_without_their_traps(scripts, name):
    blend = scripts.scenes.scarlet_simulation(name)
    assert (blend.weights * (blend.images - blend.truths.sum(axis=0)) ** 2).mean() == pytest.approx(1, abs=0.02)
    y, x = np.indices(blend.images.shape[1:])
    for truth, center, star in zip(blend.truths, blend.centers, blend.stars, strict=True):
        image = truth.sum(axis=0)
        near = np.hypot(y - center[0], x - center[1]) < 5
        measured = [(image * axis)[near].sum() / image[near].sum() for axis in (y, x)]
        assert np.abs(measured - center).max() < (0.1 if star else 0.5)


@pytest.mark.skipif(not DATA.exists(), reason="the scenes are not there: set VERMILION_TEST_DATA")
def test_peaks_of_real_blends_lie_on_sources(scripts):
    blends = scripts.scenes.hsc_blends()
    assert len(blends) == 20
    for blend in blends:
        places = tuple(blend.centers.T.astype(int))
        assert (blend.weights[(slice(None), *places)] > 0).all()
        assert np.median(blend.images[(slice(None), *places)].sum(axis=0)) > 0
    assert scripts.scenes.hsc_cosmos().images.size == 13920
