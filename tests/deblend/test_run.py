"""How a run goes: its stages, its end, its memory, what it writes down, and what it refuses."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from vermilion.datamodels import Cube, Status
from vermilion.deblend import deblend
from vermilion.errors import DeviceError, MissingFileError, NoDataError, ParameterError, ShapeError, VermilionError


def test_callbacks_see_every_iteration_and_may_end_the_fit(blend):
    seen = []
    found = deblend(blend.data, **blend.told, callbacks=lambda iteration, objective: seen.append((iteration, objective)))
    assert [iteration for iteration, _ in seen] == list(range(1, len(found.history) + 1))
    np.testing.assert_array_equal([objective for _, objective in seen], found.history.objective)
    for last in (1, len(seen) - 1):
        calls = []
        stopped = deblend(
            blend.data, **blend.told, callbacks=[lambda i, _, calls=calls: calls.append(i), lambda i, _, last=last: i == last]
        )
        assert stopped.status is Status.STOPPED
        assert calls == list(range(1, last + 1))
        assert np.isfinite(stopped.fluxes).all()


@pytest.mark.parametrize("max_iter", [1, 2, 6])
def test_the_limit_of_iterations_holds_and_is_said(blend, max_iter):
    found = deblend(blend.data, **blend.told, max_iter=max_iter)
    assert len(found.history) <= max_iter
    assert found.status is Status.MAX_ITER
    assert np.isfinite(found.fluxes).all()
    assert np.isfinite(found.models).all()


def test_fluxes_are_stable_once_the_fit_has_converged(blend, deblended):
    assert deblended.status is Status.CONVERGED
    longer = deblend(blend.data, **blend.told, tol=0, max_iter=40)
    changes = np.abs(longer.fluxes - deblended.fluxes).sum(axis=0) / deblended.fluxes.sum(axis=0)
    assert np.all(changes < 0.01)


def test_what_happened_is_written_down(blend, deblended):
    n = len(deblended.history)
    assert deblended.flux_history.shape == (n, 2)
    assert deblended.flux_iterations.tolist() == list(range(1, n + 1))
    assert deblended.bands == ("0", "1", "2")
    assert len(deblended.catalog) == 2
    np.testing.assert_allclose(deblended.catalog["y"].value, [source.center[0] for source in deblended.sources], atol=0.5)
    assert deblended.provenance["dtype"] == "float64"
    assert all(isinstance(value, str | int | float | list) for value in deblended.provenance.values())
    stages = []
    deblend(blend.data, **{k: v for k, v in blend.told.items() if k != "catalog"}, announce=stages.append)
    assert stages == ["preparing the PSFs", "detecting sources", "fitting the sources", "measuring"]


def test_memory_stays_flat(make_scene):
    resource = pytest.importorskip("resource")
    status = Path("/proc/self/statm")
    if not status.is_file():
        pytest.skip("resident memory cannot be read here")

    scene = make_scene((22, 22), [(11, 10, 1.8, 900, 600)])

    def resident_and_tensors():
        gc.collect()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        return int(status.read_text(encoding="ascii").split()[1]) * resource.getpagesize(), tensors

    def repeat(times):
        for _ in range(times):
            deblend(scene.data, **scene.told, types=["galaxy"], max_iter=3)

    repeat(5)
    memory, tensors = resident_and_tensors()
    repeat(30)
    later, more = resident_and_tensors()
    assert more == tensors
    assert later - memory < 2e6  # a planar image has 2 kB, of which each run makes hundreds


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"images": np.ones((4, 5))}, ShapeError, r"images has shape \(4, 5\)"),
        ({"images": np.ones((0, 4, 5))}, ShapeError, r"images has shape \(0, 4, 5\)"),
        ({"images": []}, ShapeError, "images has shape"),
        ({"images": "scene.fits"}, ShapeError, "images has shape"),
        ({"images": np.ones((3, 32, 36), dtype=complex)}, ShapeError, "complex128"),
        ({"weights": np.ones((3, 4, 5))}, ShapeError, r"weights has shape \(3, 4, 5\), images \(3, 32, 36\)"),
        ({"weights": -np.ones((3, 32, 36))}, ParameterError, "weights has negative or non-finite"),
        ({"weights": np.full((3, 32, 36), np.nan)}, ParameterError, "weights has negative or non-finite"),
        ({"weights": np.zeros((3, 32, 36))}, NoDataError, "every weight is 0"),
        ({"images": np.full((3, 32, 36), np.nan)}, NoDataError, "every weight is 0"),
        ({"images": np.ones((3, 32, 36)), "weights": None}, NoDataError, "give weights"),
        ({"psf": None}, ParameterError, "no PSF: give psf"),
        ({"psf": ("airy", 3.0)}, ParameterError, "airy"),
        ({"psf": np.ones((2, 5, 5))}, ShapeError, "expected 3"),
        ({"catalog": np.ones((2, 3))}, ShapeError, r"\(2, 3\)"),
        ({"catalog": "no_such_catalog.fits"}, MissingFileError, "no_such_catalog"),
        ({"catalog": [(np.nan, 3.0)]}, NoDataError, "no position"),
        ({"catalog": []}, NoDataError, "catalog"),
        ({"types": "star"}, ParameterError, "expected 'auto', 'given'"),
        ({"types": ["quasar", "galaxy"]}, ParameterError, "'quasar'"),
        ({"types": ["point"]}, ShapeError, "1 types are given for 2 sources"),
        ({"types": ["point"], "catalog": None}, ParameterError, "without a catalog"),
        ({"threshold": 0.0}, ParameterError, "threshold is 0"),
        ({"threshold": "high"}, ParameterError, "threshold is 'high'"),
        ({"center_error": -1.0}, ParameterError, "center_error is -1"),
        ({"regularization": -1.0}, ParameterError, "regularization is -1"),
        ({"regularization": np.nan}, ParameterError, "regularization is nan"),
        ({"regularization": "strong"}, ParameterError, "regularization is 'strong'"),
        ({"max_iter": 0}, ParameterError, "max_iter is 0"),
        ({"max_iter": 2.5}, ParameterError, "max_iter is 2.5"),
        ({"max_iter": True}, ParameterError, "max_iter is True"),
        ({"seed": -1}, ParameterError, "seed is -1"),
        ({"tol": 1.0}, ParameterError, "tol is 1"),
        ({"tol": None}, ParameterError, "tol is None"),
        ({"dtype": "float16"}, ParameterError, "'float16'"),
        ({"device": "cuda:99"}, DeviceError, "cuda:99"),
        ({"device": "abacus"}, ParameterError, "abacus"),
        ({"zero_points": [25.0, 26.0]}, ShapeError, "zero_points"),
        ({"callbacks": 3}, ParameterError, "callbacks"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_sentence(blend, changes, error, text):
    arguments = {"images": blend.data} | blend.told | changes
    with pytest.raises(error, match=text) as caught:
        deblend(arguments.pop("images"), **arguments)
    assert isinstance(caught.value, VermilionError)
    assert str(caught.value).count(". ") <= 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("psf", "weights", "error", "text"),
    [
        ([("gaussian", 3.5)], None, ShapeError, "1 PSFs are given for 2 cubes"),
        (("gaussian", 3.5), None, ShapeError, "one for each|for 2 cubes"),
        ([("gaussian", 3.5)] * 2, True, ParameterError, "several cubes"),
        ([("gaussian", 3.5)] * 2, None, ParameterError, "need sky coordinates"),
    ],
)
def test_several_cubes_that_do_not_go_together_are_refused(blend, psf, weights, error, text):
    cube = Cube(data=blend.data, variance=1 / blend.weights)
    with pytest.raises(error, match=text):
        deblend([cube, cube], psf=psf, weights=blend.weights if weights else None, catalog=blend.centers)


def test_cubes_and_arrays_are_not_mixed(blend, psf):
    with pytest.raises(ShapeError):
        deblend([Cube(data=blend.data, variance=1 / blend.weights), blend.data], psf=[psf, psf], catalog=blend.centers)
