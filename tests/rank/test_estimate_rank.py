"""Several ways of counting side by side, and no confidence where there is no reason for it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vermilion import read
from vermilion.datamodels import Cube, Frame
from vermilion.errors import NoDataError, ParameterError, ShapeError
from vermilion.rank import CrossValidation, Edge, estimate_rank
from vermilion.rank import estimate as module
from vermilion.rank.conclusion import Evidence, conclude
from vermilion.rank.noise_checks import Whiteness

QUICK = {"max_components": 8, "folds": 1}


@pytest.fixture(autouse=True)
def few_values(monkeypatch):
    """Fits with fewer pixels: the tests are about the conclusion."""
    monkeypatch.setattr(module, "_VALUES", 12_000)


@pytest.mark.parametrize(
    ("n_components", "options"),
    [
        (3, {"snr": 20}),
        (4, {"snr": 30, "noise": "by band", "pure": False}),
        (5, {"snr": 40, "noise": "by band"}),
    ],
)
def test_the_number_is_right_where_all_components_stand_out(scene, n_components, options):
    Y, _, _ = scene(n_components, seed=n_components, **options)
    found = estimate_rank(Y, shape=(36, 36), **QUICK)
    assert found.n_components == n_components
    assert found.low <= n_components <= found.high
    assert found.confident == (not found.reasons)


@pytest.mark.parametrize("noise", ["bands share", "pixels share"])
def test_correlated_noise_is_noticed(scene, noise):
    Y, sigma, _ = scene(4, noise=noise, seed=2)
    found = estimate_rank(Y, np.broadcast_to(1 / sigma[:, None] ** 2, Y.shape), shape=(36, 36), **QUICK)
    assert not found.confident
    assert not found.whiteness.white
    assert "what is left is no white noise" in found.sentence
    assert found.n_components == 4  # the gap is there all the same
    assert found.cross_validation.blocks is not None


def test_wrong_variances_are_noticed(scene):
    Y, sigma, _ = scene(3, seed=3)
    found = estimate_rank(Y, np.broadcast_to((1.4 / sigma[:, None]) ** 2, Y.shape), **QUICK)
    assert not found.confident
    assert "the noise is 1.4 times what the variances say" in found.sentence
    assert found.n_components == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_noise_has_no_component(weighted):
    Y = np.random.default_rng(4).normal(size=(40, 900))
    found = estimate_rank(Y, np.ones(Y.shape) if weighted else None, shape=(30, 30), **QUICK)
    assert found.n_components == 0
    assert found.spreads == ()
    assert len(found.component_snr) == 0


def test_more_components_than_were_tried_give_no_number(scene):
    Y, _, _ = scene(5, snr=40, seed=5)
    found = estimate_rank(Y, shape=(36, 36), max_components=3, folds=1)
    assert found.n_components is None
    assert not found.confident
    assert "no number up to 3 can be named" in found.sentence


def test_a_cube_with_holes_signed_data_and_a_faint_line():
    rng = np.random.default_rng(6)
    n_bands, shape = 60, (20, 20)
    y, x = np.mgrid[: shape[0], : shape[1]]
    band = np.arange(n_bands)
    galaxy = np.exp(-0.5 * ((x - 9) ** 2 + (y - 11) ** 2) / 9.0)
    knot = ((abs(x - 15) < 2) & (abs(y - 4) < 2)).astype(float)
    sky = np.sin(x / 3.0)
    clean = 1e-20 * (
        30 * galaxy * (1 + band / 60)[:, None, None]
        + 25 * knot * np.exp(-0.5 * ((band - 33) / 1.5) ** 2)[:, None, None]
        + 2 * sky * rng.normal(size=n_bands)[:, None, None]
    )
    sigma = 1e-20 * rng.uniform(0.5, 2, size=(n_bands, 1, 1)) * np.ones(shape)
    data = clean + sigma * rng.normal(size=clean.shape)
    mask = rng.random(data.shape) < 0.03
    mask[:, 0, :4] = True
    data[mask] = np.nan
    cube = Cube(data, sigma**2, mask)
    found = estimate_rank(cube, **QUICK)
    assert found.n_components == 3
    assert found.shape == (60, 396)
    scaled = replace(cube, data=cube.data * 1e25, variance=cube.variance * 1e50)
    np.testing.assert_allclose(estimate_rank(scaled, **QUICK).eigenvalues, found.eigenvalues, rtol=1e-6)


def test_noise_correlation_of_the_frame_holds_out_blocks_and_forbids_confidence():
    rng = np.random.default_rng(7)
    frame = Frame(shape=(18, 18), n_bands=40, noise_correlation={"1x3x3": 1.3})
    clean = np.einsum("bk,kyx->byx", rng.random((40, 2)), 20 * rng.random((2, 18, 18)))
    found = estimate_rank(Cube(clean + rng.normal(size=clean.shape), np.ones(clean.shape), frame=frame), **QUICK)
    assert not found.confident
    assert "sums over neighbors are 1.3 times noisier" in found.sentence
    assert found.cross_validation.blocks is not None


def test_the_report_is_plain_json_and_the_same_twice(scene):
    Y, _, _ = scene(3, seed=8)
    stages = []
    first, second = (estimate_rank(Y, shape=(36, 36), announce=stages.append, **QUICK) for _ in range(2))
    text = json.dumps(first.to_dict(), allow_nan=False)
    assert text == json.dumps(second.to_dict())
    assert json.loads(text)["n_components"] == first.n_components
    assert {line.split("  ")[0] for line in first.table().splitlines()[1:]} == {row.name for row in first.estimates}
    assert stages[0] == "noise and eigenvalues"
    assert len(stages) > 5


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((np.ones(5),), {}, ShapeError, "expected .bands, pixels."),
        ((np.ones((5, 6)), np.ones((6, 5))), {}, ShapeError, "expected equal shapes"),
        ((np.ones((5, 6)), -np.ones((5, 6))), {}, ParameterError, "negative"),
        ((np.ones((5, 6)),), {"max_components": 0}, ParameterError, "max_components is 0"),
        ((np.ones((5, 6)),), {"max_components": 2.5}, ParameterError, "max_components is 2.5"),
        ((np.ones((5, 6)),), {"shape": (2, 2)}, ShapeError, "Y has 6 pixels"),
        ((np.ones((5, 6), dtype=complex),), {}, ParameterError, "real numbers"),
        ((np.zeros((5, 6)),), {}, NoDataError, "different from 0"),
        ((np.full((5, 6), np.nan),), {}, NoDataError, "no finite value"),
        ((Cube(np.ones((3, 2, 2))), np.ones((3, 4))), {}, ParameterError, "leave out W"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments, options, error, text):
    with pytest.raises(error, match=text):
        estimate_rank(*arguments, **options)


# ---------------------------------------------------------------- the conclusion alone


def evidence(**changes):
    """Everything agrees on three components."""
    edge = Edge(3, 1.2, 1.0)
    base = {
        "guess": 3,
        "most": 12,
        "measured": edge,
        "claimed": edge,
        "flips": edge,
        "gap": 3,
        "hysime": 4,
        "binned": {(4, 1): 3},
        "validation": CrossValidation(np.arange(5), np.array([9.0, 5, 3, 1, 1.1]), np.zeros(5), 2, None, 100),
        "whiteness": Whiteness(1.0, 0.0, 0.0, 1e-3),
        "margin": 5.0,
        "faintest": 9.0,
        "correlated": 1.0,
        "component_snr": np.array([90.0, 80.0, 70.0]),
        "floor": 30.0,
        "shape": (100, 4000),
    }
    return Evidence(**{**base, **changes})


def test_agreement_is_confident():
    found = conclude(evidence())
    assert (found.n_components, found.low, found.high, found.reasons) == (3, 3, 3, ())
    assert found.sentence.startswith("3 components stand above the noise: all estimates agree")
    assert "fainter than a signal-to-noise of 30 " in found.sentence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"claimed": Edge(9, 1.2, 1.0)}, "noise edge, claimed noise says 9"),
        ({"gap": 2}, "eigengap says 2"),
        ({"flips": Edge(2, 1.2, 1.0)}, "sign flips says 2"),
        ({"binned": {(4, 1): 3, (2, 2): 5}}, "binned says 5"),
        ({"hysime": 71}, "HySime says 71"),
        ({"measured": Edge(3, 1.2, 1.5)}, "1.22 times what the variances say"),
        ({"whiteness": Whiteness(1.0, 0.2, 0.0, 1e-3)}, "correlation 0.20 of neighboring bands"),
        ({"whiteness": Whiteness(1.0, 0.0, -0.2, 1e-3)}, "-0.20 of neighboring pixels"),
        ({"correlated": 1.2}, "1.2 times noisier"),
        ({"margin": 1.02}, "only 1.02 times the largest one of noise"),
        ({"faintest": 1.3}, "1.3 times the faintest that could be seen"),
        ({"component_snr": np.array([90.0, 80.0, 7.0])}, "only 2 of 3 fitted components"),
        ({"most": 3}, "no more than 3 components were tried"),
    ],
)
def test_every_doubt_takes_the_confidence(changes, reason):
    found = conclude(evidence(**changes))
    assert reason in found.sentence
    assert len(found.reasons) == 1


def test_hysime_is_heard_only_where_it_can_count():
    assert not conclude(evidence(hysime=20, shape=(100, 900))).reasons
    assert not conclude(evidence(hysime=None)).reasons


# ---------------------------------------------------------------- real data


@pytest.mark.parametrize("name", ["hsi/moffett.npz", "radio/l1448_13co.fits"])
def test_real_scenes_are_never_certain(real_data, name):
    found = estimate_rank(read(real_data / name), max_components=4, folds=1)
    assert not found.confident
    assert found.high > 4
    assert "not certain" in found.sentence
