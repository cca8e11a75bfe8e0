import numpy as np
import pytest
import torch

from vermilion.datamodels import Frame, Matrix
from vermilion.errors import NoDataError, ParameterError, ShapeError
from vermilion.observation import Observation, as_observations

LIKE = torch.zeros((), dtype=torch.float64)


def test_a_matrix_becomes_tensors():
    matrix = Matrix(np.ones((2, 6), "f4"), np.full((2, 6), 0.5, "f4"), Frame(shape=(2, 3), n_bands=2))
    observation = Observation.from_matrix(matrix, dtype=torch.float64)
    assert observation.data.dtype == torch.float64
    assert observation.weights.tolist() == [[0.5] * 6] * 2
    assert torch.equal(observation.render(observation.data), observation.data)


def test_everything_that_fit_takes_becomes_a_list():
    Y, W = np.ones((2, 3)), np.full((2, 3), 2.0)
    observation = Observation(torch.ones(2, 3), torch.ones(2, 3), lambda cube: 2 * cube)
    matrix = Matrix(Y, W, Frame(shape=(1, 3), n_bands=2))
    for thing, weight in ((Y, 1), (torch.as_tensor(Y), 1), ((Y, W), 2), ((Y, None), 1), (observation, 1), (matrix, 2), ([observation], 1)):
        (result,) = as_observations(thing, like=LIKE)
        assert result.data.dtype == torch.float64
        assert (result.weights == weight).all()
    assert len(as_observations([observation, Y], like=LIKE)) == 2
    assert as_observations(observation, like=LIKE)[0].render is observation.render


def test_data_alone_are_absent_where_they_are_not_finite():
    (result,) = as_observations(np.array([[1.0, np.nan], [np.inf, 2.0]]), like=LIKE)
    assert result.weights.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("data", "weights", "error", "text"),
    [
        (torch.ones(2, 3), torch.ones(3), ShapeError, r"weights has shape \(3,\), data has \(2, 3\)"),
        (torch.ones(2), -torch.ones(2), ParameterError, "expected inverse variances >= 0"),
        (torch.ones(2), torch.full((2,), float("nan")), ParameterError, "expected inverse variances >= 0"),
        (torch.ones(2), torch.zeros(2), NoDataError, "every weight is 0"),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), NoDataError, "set their weight to 0"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(data, weights, error, text):
    with pytest.raises(error, match=text):
        Observation(data, weights)


def test_a_tuple_of_three_and_an_empty_list_are_refused():
    with pytest.raises(ParameterError, match=r"expected \(Y, W\)"):
        as_observations((1, 2, 3), like=LIKE)
    with pytest.raises(NoDataError, match="empty"):
        as_observations([], like=LIKE)
