"""What a fit gives back."""

import numpy as np
import pytest

from vermilion import History, Result, Status
from vermilion.errors import ShapeError


def result(**options):
    A, S = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]])
    return Result(**{"spectra": A, "morphologies": S, "status": Status.CONVERGED, "history": History(), **options})


def test_fluxes_are_spectra_times_the_sums_of_maps():
    # sums 6 and 2
    assert result().fluxes.tolist() == [[6, 4], [18, 8]]


def test_the_model_is_the_product():
    assert result().model.tolist() == [[3, 2, 5], [7, 6, 13]]


def test_maps_with_dropped_pixels_have_fluxes_and_a_model_with_holes():
    maps = np.array([[[1.0, np.nan], [2.0, 3.0]], [[1.0, np.nan], [0.0, 1.0]]])
    r = result(morphologies=maps)
    assert r.fluxes.tolist() == [[6, 4], [18, 8]]
    np.testing.assert_array_equal(r.model[0], [[3, np.nan], [2, 5]])


def test_components_get_names():
    assert result().names == ("component_00", "component_01")
    assert result(names=("disk", "ring")).names == ("disk", "ring")


def test_factors_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"spectra has shape \(2, 2\), morphologies \(3, 5\): expected \(B, K\) and \(K, ...\)"):
        result(morphologies=np.zeros((3, 5)))


def test_the_objective_is_the_last_of_the_history():
    history = History()
    assert np.isnan(result(history=history).objective)
    history.append(objective=5.0, gradient_evaluations=(1, 1))
    history.append(objective=4.0, gradient_evaluations=(2, 3), objective_evaluations=2, reads_of_Y=3.0, seconds=0.1)
    r = result(history=history)
    assert r.objective == 4
    assert repr(r) == "Result(2 components, 2 bands, 2 iterations, converged, objective 4)"


def test_the_history_has_a_row_per_iteration():
    history = History(("A", "S"))
    assert (len(history), repr(history)) == (0, "History(empty)")
    assert history.gradient_evaluations.shape == (0, 2)
    history.append(objective=5.0, gradient_evaluations=(1, 2))
    history.append(objective=4.0, gradient_evaluations=(3, 4), objective_evaluations=2, reads_of_Y=1.5, seconds=0.1)
    assert history.iteration.tolist() == [1, 2]
    assert history.objective.tolist() == [5, 4]
    assert history.gradient_evaluations.tolist() == [[1, 2], [3, 4]]
    assert history.reads_of_Y.tolist() == [0, 1.5]
    assert repr(history) == "History(2 iterations, objective 5 -> 4)"


def test_the_history_says_what_it_does_not_have():
    with pytest.raises(AttributeError, match="no column 'chi2'; it has"):
        History().chi2  # noqa: B018
    with pytest.raises(ShapeError, match="1 gradient counts for the blocks"):
        History().append(objective=1.0, gradient_evaluations=(1,))


def test_a_status_is_a_sentence():
    assert all(len(status.value.split()) > 4 for status in Status)
    assert {status.name for status in Status} == {"CONVERGED", "MAX_ITER", "STOPPED", "NONFINITE", "DIVERGED"}
