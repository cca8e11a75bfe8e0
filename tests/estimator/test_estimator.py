"""The scikit-learn estimator: the checks of scikit-learn itself, and what it promises beyond them."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.sparse import csr_array

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import vermilion  # noqa: E402
from vermilion.errors import ParameterError, ShapeError  # noqa: E402
from vermilion.estimator import ConstrainedNMF  # noqa: E402
from vermilion.prox import NonNegative  # noqa: E402

VARIANTS = [
    ConstrainedNMF(),
    ConstrainedNMF(spectra=None, morphologies="simplex"),
]


@parametrize_with_checks(VARIANTS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learn_finds_nothing_to_complain_of(estimator, check):
    check(estimator)


def test_the_checks_pass_with_the_array_api_switched_on():
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        "from vermilion.estimator import ConstrainedNMF\n"
        "done = check_estimator(ConstrainedNMF(), on_fail=None)\n"
        "bad = [(one['check_name'], str(one['exception'])) for one in done if one['status'] != 'passed']\n"
        "assert len(done) > 40, len(done)\n"
        "assert any('array_api' in one['check_name'] for one in done)\n"
        "assert not bad, bad\n"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


# ---------------------------------------------------------------- what it computes


@pytest.fixture
def mixture(problem):
    """X (samples, features), weights, true components (K, features), true amounts (samples, K)."""
    Y, W, A, S = problem(n_bands=25, n_pixels=120, n_components=3, noise=0.02)
    return Y.T, W.T, A.T, S.T


def test_it_is_the_factorization_of_the_transposed_data(mixture):
    X, W, _, _ = mixture
    model = ConstrainedNMF(3, random_state=0).fit(X, weights=W)
    result = vermilion.factorize(X.T, W.T, n_components=3, seed=5)  # the start is not random
    np.testing.assert_allclose(model.components_, result.spectra.T, rtol=1e-10)
    assert (model.n_iter_, model.status_, model.normalization_) == (len(result.history), result.status, result.normalization)


@pytest.mark.parametrize("weighted", [False, True])
def test_transform_is_non_negative_least_squares_with_the_components_held(mixture, weighted):
    X, W, _, _ = mixture
    W = W if weighted else np.ones_like(X)
    model = ConstrainedNMF(3).fit(X, weights=W)
    new = X[:7] + 0.3
    root = np.sqrt(W[:7])
    expected = [nnls(model.components_.T * r[:, None], x * r)[0] for x, r in zip(new, root, strict=True)]
    np.testing.assert_allclose(model.transform(new, weights=W[:7]), expected, rtol=1e-7, atol=1e-9)


def test_fit_transform_is_fit_and_transform(mixture):
    X, W, _, _ = mixture
    model = ConstrainedNMF(3)
    amounts = model.fit_transform(X, weights=W)
    np.testing.assert_array_equal(amounts, model.transform(X, weights=W))


def test_the_reconstruction_error_is_the_norm_of_what_is_left(mixture):
    X, W, _, _ = mixture
    model = ConstrainedNMF(3)
    residual = X - model.inverse_transform(model.fit_transform(X, weights=W))
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(np.sum(W * residual**2)), rel=1e-10)
    assert ConstrainedNMF(3).fit(X).reconstruction_err_ == pytest.approx(np.linalg.norm(residual), rel=0.5)


def test_abundances_sum_to_one_and_are_those_of_the_truth(mixture):
    _, _, components, amounts = mixture
    shares = amounts / amounts.sum(axis=1, keepdims=True)
    X = shares @ (10 * components)
    start = 10 * components * np.random.default_rng(0).uniform(0.9, 1.1, components.shape)
    model = ConstrainedNMF(3, morphologies="simplex", init=start, tol=1e-9, max_iter=5000)
    found = model.fit_transform(X)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    assert found.min() >= 0
    assert model.reconstruction_err_ < 1e-2 * np.linalg.norm(X)


def test_what_is_nan_does_not_count(mixture):
    X, _, _, _ = mixture
    rng = np.random.default_rng(2)
    absent = rng.random(X.shape) < 0.2
    holed = np.where(absent, np.nan, X)
    model = ConstrainedNMF(3, max_iter=60, tol=0, random_state=0).fit(holed, weights=np.ones_like(X))
    weighed = ConstrainedNMF(3, max_iter=60, tol=0, random_state=0).fit(np.where(absent, 1e3, X), weights=~absent)
    np.testing.assert_allclose(model.transform(holed), weighed.transform(X, weights=~absent), rtol=1e-6, atol=1e-6)
    assert np.abs(model.inverse_transform(model.transform(holed)) - X)[absent].mean() < 0.1 * X.mean()


def test_a_sample_without_values_gives_nan(mixture):
    X, _, _, _ = mixture
    model = ConstrainedNMF(3).fit(X)
    new = X[:3].copy()
    new[1] = np.nan
    assert np.isnan(model.transform(new)).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(model.transform(X[:3], weights=[1.0, 0.0, 1.0])).all(axis=1).tolist() == [False, True, False]


def test_a_weight_per_sample_counts_for_all_its_features(mixture):
    X, _, _, _ = mixture
    per_sample = np.random.default_rng(3).uniform(0.5, 2, len(X))
    one = ConstrainedNMF(3).fit(X, weights=per_sample)
    other = ConstrainedNMF(3).fit(X, weights=np.broadcast_to(per_sample[:, None], X.shape))
    np.testing.assert_allclose(one.components_, other.components_, rtol=1e-9, atol=1e-12)


def test_an_operator_of_ones_own_constrains_the_transform(mixture):
    X, _, _, _ = mixture
    amounts = ConstrainedNMF(3, spectra="simplex", morphologies=NonNegative(), tol=1e-10).fit(X).transform(X)
    by_name = ConstrainedNMF(3, tol=1e-10).fit(X).transform(X)
    np.testing.assert_allclose(amounts, by_name, atol=2e-3 * by_name.max())


def test_negative_data_are_normal_and_free_factors_reach_the_truncated_svd(mixture):
    X, _, _, _ = mixture
    X = X - X.mean()
    model = ConstrainedNMF(2, spectra=None, morphologies=None, tol=1e-12, max_iter=5000).fit(X)
    floor = np.sqrt(np.sum(np.linalg.svd(X, compute_uv=False)[2:] ** 2))
    assert floor <= model.reconstruction_err_ <= 1.0001 * floor


# ---------------------------------------------------------------- manners


def test_it_survives_clone_pickle_and_a_pipeline(mixture):
    X, _, _, _ = mixture
    model = ConstrainedNMF(3, random_state=1).set_output(transform="default").fit(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert clone(model).get_params() == model.get_params()
    steps = make_pipeline(FunctionTransformer(np.abs, feature_names_out="one-to-one"), ConstrainedNMF(3)).fit(X)
    assert steps.get_feature_names_out().tolist() == ["constrainednmf0", "constrainednmf1", "constrainednmf2"]


def test_equal_seeds_give_equal_components(mixture):
    X, _, _, _ = mixture

    def fit(seed):
        return ConstrainedNMF(3, init="random", random_state=seed, max_iter=30, tol=0).fit(X).components_

    np.testing.assert_array_equal(fit(4), fit(4))
    assert not np.array_equal(fit(4), fit(5))


def test_an_early_end_is_said(mixture):
    with pytest.warns(ConvergenceWarning, match=r"iteration limit \(2\)"):
        ConstrainedNMF(3, max_iter=2).fit(mixture[0])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_components": 0}, ParameterError, "n_components is 0"),
        ({"spectra": "positive"}, ParameterError, "spectra is 'positive': expected 'non-negative', 'simplex'"),
        ({"morphologies": "sum-to-one"}, ParameterError, "morphologies is 'sum-to-one'"),
        ({"init": np.ones((2, 25))}, ShapeError, r"init has shape \(2, 25\): expected \(3, 25\)"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(mixture, options, error, text):
    with pytest.raises(error, match=text):
        ConstrainedNMF(**({"n_components": 3} | options)).fit(mixture[0])


@pytest.mark.parametrize(
    ("weights", "text"),
    [(np.ones((2, 2)), "weights has shape"), (np.full(120, -1.0), "negative or not finite"), (np.full(120, np.nan), "not finite")],
    ids=["shape", "negative", "nan"],
)
def test_weights_that_are_none_are_refused(mixture, weights, text):
    with pytest.raises(ValueError, match=text):
        ConstrainedNMF(3).fit(mixture[0], weights=weights)


def test_sparse_and_infinite_data_are_refused(mixture):
    X, _, _, _ = mixture
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        ConstrainedNMF(3).fit(csr_array(X))
    with pytest.raises(ValueError, match="infinity"):
        ConstrainedNMF(3).fit(np.where(np.eye(*X.shape, dtype=bool), np.inf, X))
