"""What is refused, by class and sentence."""

import numpy as np
import pytest
import torch

from vermilion import factorize
from vermilion.errors import DeviceError, NoDataError, ParameterError, ShapeError
from vermilion.prox import Chain, MaxEntropy, NonNegative, Simplex, Soft, UnitSum

Y = np.random.default_rng(0).random((6, 10))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_components": 0}, r"n_components is 0: expected an integer >= 1"),
        ({"n_components": -1}, r"n_components is -1: expected an integer >= 1"),
        ({"n_components": 2.5}, r"n_components is 2.5: expected an integer"),
        ({"n_components": 2.0}, r"n_components is 2.0: expected an integer"),
        ({"n_components": "four"}, r"n_components is 'four': expected an integer"),
        ({"n_components": True}, r"n_components is True: expected an integer"),
        ({"n_components": None}, r"n_components is None: expected an integer"),
        ({"tol": float("nan")}, r"tol is nan: expected a number in \[0, 1\)"),
        ({"tol": -1e-3}, r"tol is -0.001: expected"),
        ({"tol": 1}, r"tol is 1: expected"),
        ({"tol": "small"}, r"tol is 'small': expected"),
        ({"max_iter": 0}, r"max_iter is 0: expected an integer >= 1"),
        ({"max_iter": 10.5}, r"max_iter is 10.5: expected"),
        ({"seed": -1}, r"seed is -1: expected an integer >= 0"),
        ({"seed": None}, r"seed is None: expected"),
        ({"solver": "magic"}, r"solver is 'magic': expected one of 'auto', 'block', 'palm', 'pgm', 'adaprox', 'admm', 'proxmin'"),
        ({"init": "pca"}, r"init is 'pca': expected one of 'auto', 'kmeans', 'nfindr', 'nndsvd', 'random', 'sivm', 'snpa', 'spa', 'vca'"),
        ({"init": None}, r"init is NoneType: expected one of auto, kmeans, .* an array A0 of spectra, or a pair"),
        ({"init": np.full((6, 2), np.nan)}, r"the start A0 holds values that are not finite"),
        ({"init": (np.ones((6, 2)),)}, r"init is tuple: expected one of"),
        ({"init": (np.full((6, 2), np.nan), np.ones((2, 10)))}, r"the start A0 holds values that are not finite"),
        ({"dtype": "float16"}, r"dtype is 'float16': expected one of 'float32', 'float64'"),
        ({"device": "tpu9"}, r"device is 'tpu9': expected 'auto', 'cpu'"),
        ({"device": "meta"}, r"device is 'meta': expected 'auto', 'cpu'"),
        ({"device": None}, r"device is None: expected 'auto', 'cpu'"),
        ({"spectra": Simplex(0), "morphologies": Simplex(1)}, r"nothing is left to carry the flux"),
        ({"spectra": UnitSum(0), "morphologies": UnitSum(1), "allow_inexact": True}, r"nothing is left to carry the flux"),
        ({"spectra": None, "morphologies": Soft(1.0)}, r"penalty Soft\(weight=1.0\) on the morphologies needs spectra of fixed scale"),
        ({"spectra": Soft(1.0)}, r"penalty Soft\(weight=1.0\) on the spectra needs morphologies of fixed scale"),
        ({"spectra": MaxEntropy(1.0)}, r"on the spectra needs morphologies of fixed scale"),
        ({"morphologies": UnitSum(0)}, r"morphologies=UnitSum\(dim=0\) is no exact proximal operator"),
        ({"morphologies": Chain(NonNegative(), UnitSum(0))}, r"is no exact proximal operator.*solver='pgm', or allow_inexact=True"),
        ({"fixed_spectra": {2: np.ones(6)}}, r"fixed_spectra names component 2: expected 0 to 1"),
        ({"fixed_spectra": {"sky": np.ones(6)}}, r"fixed_spectra names component 'sky'"),
        ({"fixed_spectra": {0: np.zeros(6)}}, r"fixed_spectra\[0\] must be finite and not all zero"),
        ({"fixed_morphologies": {1: np.full(10, np.nan)}}, r"fixed_morphologies\[1\] must be finite and not all zero"),
        ({"morphologies": Simplex(0), "fixed_morphologies": {0: np.ones(10)}}, r"fixed_morphologies cannot be held while"),
        ({"spectra": Simplex(1), "fixed_spectra": {0: np.ones(6)}}, r"fixed_spectra cannot be held while"),
    ],
    ids=lambda value: None if isinstance(value, str) else ",".join(f"{k}={v!r:.30}" for k, v in value.items()),
)
def test_a_parameter_out_of_range_is_refused_with_a_way_out(options, sentence):
    with pytest.raises(ParameterError, match=sentence) as caught:
        factorize(Y, **{"n_components": 2, **options})
    assert (caught.value.code, caught.value.exit_code) == ("E-PARAM", 2)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (Y[0], {}, r"Y has shape \(10,\): expected \(bands, pixels\)"),
        (Y[None], {}, r"Y has shape \(1, 6, 10\): expected \(bands, pixels\); use Cube.to_matrix"),
        (Y[:0], {}, r"Y has shape \(0, 10\): expected"),
        (Y[:, :0], {}, r"Y has shape \(6, 0\): expected"),
        (Y, {"W": np.ones((6, 9))}, r"W has shape \(6, 9\), Y has \(6, 10\): expected equal shapes"),
        (Y, {"W": np.ones(10)}, r"W has shape \(10,\)"),
        (Y, {"fixed_spectra": {0: np.ones(5)}}, r"fixed_spectra\[0\] has shape \(5,\): expected \(6,\)"),
        (Y, {"fixed_morphologies": {0: np.ones((2, 5))}}, r"fixed_morphologies\[0\] has shape \(2, 5\): expected \(10,\)"),
        (Y, {"init": np.ones((6, 3))}, r"the start A0 has shape \(6, 3\): expected \(6, 2\)"),
        (Y, {"init": (np.ones((6, 3)), np.ones((2, 10)))}, r"the start A0 has shape \(6, 3\): expected \(6, 2\)"),
        (Y, {"init": (np.ones((6, 2)), np.ones((2, 9)))}, r"the start S0 has shape \(2, 9\): expected \(2, 10\)"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(data, options, sentence):
    with pytest.raises(ShapeError, match=sentence):
        factorize(data, n_components=2, **options)


@pytest.mark.parametrize(
    ("data", "W", "sentence"),
    [
        (Y + 1j, None, r"Y is of type complex128: expected real numbers"),
        (torch.tensor(Y + 1j), None, r"Y is complex: expected real numbers"),
        (np.array([["a", "b"]]), None, r"Y is of type <U1: expected real numbers"),
        (Y, Y + 1j, r"W is of type complex128: expected real numbers"),
        (Y, np.where(Y > 0.5, 1.0, -1.0), r"W holds negative values: expected inverse variances >= 0"),
    ],
)
def test_numbers_that_are_not_data_are_refused(data, W, sentence):
    with pytest.raises(ParameterError, match=sentence):
        factorize(data, W, n_components=1)


@pytest.mark.parametrize(
    ("data", "W"),
    [(np.full((3, 4), np.nan), None), (np.zeros((3, 4)), None), (Y, np.zeros_like(Y)), (np.full((3, 4), np.inf), np.ones((3, 4)))],
    ids=["all NaN", "all zero", "no weight", "all infinite"],
)
@pytest.mark.parametrize("init", ["spa", "random"])
def test_nothing_to_fit_is_refused(data, W, init):
    with pytest.raises(NoDataError, match="nothing to factorize"):
        factorize(data, W, n_components=2, init=init)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(DeviceError, match=r"device 'cuda:99' is not there .*Use 'auto' or 'cpu'"):
        factorize(Y, n_components=2, device="cuda:99")


def test_an_inexact_operator_is_taken_when_allowed():
    result = factorize(Y, n_components=2, morphologies=UnitSum(0), allow_inexact=True, tol=0, max_iter=20)
    assert np.isfinite(result.model).all()
    np.testing.assert_allclose(result.morphologies.sum(axis=0), 1, rtol=1e-5)


def test_a_callable_is_taken_as_an_operator():
    ours = factorize(Y, n_components=2, tol=0, max_iter=20)
    theirs = factorize(Y, n_components=2, tol=0, max_iter=20, spectra=torch.relu, morphologies=torch.nn.Threshold(0, 0))
    np.testing.assert_array_equal(ours.spectra, theirs.spectra)
    clipped = factorize(Y, n_components=2, tol=0, max_iter=20, morphologies=lambda x: x.clamp(0, 0.5))
    assert clipped.morphologies.max() <= 0.5 * (1 + 1e-6)
    assert clipped.morphologies.min() >= 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (2, 2)])
@pytest.mark.parametrize("n_components", [1, 4])
@pytest.mark.parametrize("init", ["spa", "random"])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_smallest_problems_are_fitted_with_any_number_of_components(shape, n_components, init, weighted):
    data = 1 + np.random.default_rng(0).random(shape)
    W = np.ones(shape) if weighted else None
    result = factorize(data, W, n_components=n_components, init=init, tol=0, max_iter=200, dtype="float64")
    assert result.spectra.shape == (shape[0], n_components)
    if n_components >= min(shape):
        np.testing.assert_allclose(result.model, data, rtol=1e-3)
