"""Several starts find the same components, or it is said that they do not."""

import numpy as np
import pytest

from vermilion import factorize, read
from vermilion.rank import stability
from vermilion.rank.stability import NOT_UNIQUE_ABOVE


@pytest.fixture(scope="module")
def separable():
    """Every component alone in some pixels and in some bands: the solution is unique."""
    rng = np.random.default_rng(0)
    A, S = np.full((30, 3), 0.0), np.full((3, 90), 0.0)
    for k in range(3):
        A[10 * k : 10 * k + 10, k] = rng.uniform(0.5, 1, 10)
        S[k, 30 * k : 30 * k + 30] = rng.uniform(5, 10, 30)
    Y = A @ S + 0.01 * rng.normal(size=(30, 90))
    return Y, np.full(Y.shape, 1e4), factorize(Y, np.full(Y.shape, 1e4), n_components=3)


def test_a_separable_problem_is_unique(separable):
    Y, W, result = separable
    found = stability(Y, W, result, seeds=(1, 2, 3))
    assert found.unique
    assert found.spread.shape == (3,)
    assert found.spread.max() < NOT_UNIQUE_ABOVE
    assert found.note().startswith("3 random starts lead to the same spectra within 0.0")


def test_the_starts_are_tabulated(separable):
    Y, W, result = separable
    found = stability(Y, W, result, seeds=(1, 2), init="spa", seed=7, n_components=99)  # those of the other starts, whatever is passed
    assert [start.name for start in found.starts] == ["spa", "random 1", "random 2"]
    assert min(start.gap for start in found.starts) == 0
    assert all(0 <= start.gap < 1 for start in found.starts)
    assert found.starts[0].angle == 0
    assert found.starts[0].iterations == len(result.history)
    assert found.starts[0].objective == result.objective
    assert len(found.table().splitlines()) == 4
    assert found.rows()[1]["name"] == "random 1"


def test_no_other_start_is_no_news(separable):
    Y, W, result = separable
    found = stability(Y, W, result, seeds=())
    assert found.unique
    assert (found.spread == 0).all()


def test_a_problem_with_a_valley_is_not_unique():
    # mixtures everywhere: the corners of the simplex are open
    rng = np.random.default_rng(1)
    A, S = 0.5 + rng.random((20, 2)), rng.uniform(1, 2, size=(2, 100))
    Y = A @ S + 0.01 * rng.normal(size=(20, 100))
    found = stability(Y, None, factorize(Y, n_components=2, tol=1e-3), seeds=(1, 2), tol=1e-3)
    assert not found.unique
    assert found.note().startswith("not unique: spectra differ by up to 0.")
    assert "components 0, 1" in found.note()
    objectives = [start.objective for start in found.starts]
    assert max(objectives) < 1.1 * min(objectives)  # and yet they fit as well


def test_the_sample_cube_is_not_unique(sample_cube):
    matrix = read(sample_cube).to_matrix()
    options = {"tol": 1e-3}
    result = factorize(matrix.data, matrix.weights, n_components=4, **options)
    found = stability(matrix.data, matrix.weights, result, seeds=(1,), **options)
    assert not found.unique
    assert f"{found.spread.max():.2f} rad" in found.note()


def test_every_start_is_announced(separable):
    Y, W, result = separable
    stages = []
    stability(Y, W, result, seeds=(4, 5), announce=stages.append, max_iter=20, tol=0)
    assert stages == ["random start 1 of 2", "random start 2 of 2"]
