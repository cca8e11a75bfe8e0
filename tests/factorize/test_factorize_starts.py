"""Every start by its name, and spectra as a start."""

import inspect

import numpy as np
import pytest
import torch

from vermilion import factorize
from vermilion.diagnose.match import match_components, spectral_angle
from vermilion.factorize import INITS
from vermilion.initialize import STARTS
from vermilion.prox import NonNegative, Simplex

K = 3


def pure(*, n_bands=30, n_pixels=200, noise=0.01, seed=0):
    """Mixtures with pure pixels, and their spectra."""
    rng = np.random.default_rng(seed)
    A = rng.random((n_bands, K))
    S = np.hstack([np.repeat(np.eye(K), 10, axis=1), rng.dirichlet(np.ones(K), size=n_pixels - 10 * K).T])
    return A @ S + noise * rng.normal(size=(n_bands, n_pixels)), A, S


def angles(found, A):
    order = match_components(found, A)
    return np.array([spectral_angle(found[:, j], A[:, k]) for k, j in enumerate(order)])


def test_every_start_has_a_name_and_a_word_in_the_documentation():
    assert tuple(INITS) == ("auto", *STARTS)
    assert all(f'"{name}"' in inspect.getdoc(factorize) for name in INITS)


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_start_leads_to_a_fit(init, weighted):
    Y, _, _ = pure()
    W = np.random.default_rng(1).uniform(0.5, 2, Y.shape) / 0.01**2 if weighted else None
    if W is not None:
        W[:, 40:60], W[5] = 0, 0
        Y = np.where(W > 0, Y, np.nan)
    result = factorize(Y, W, n_components=K, init=init, seed=1)
    assert result.provenance["init"] == init
    live = np.isfinite(Y)
    assert np.std((Y - result.model)[live]) < 0.012
    assert result.status.name == "CONVERGED"


@pytest.mark.parametrize("init", ["nfindr", "snpa", "spa", "vca"])
def test_extreme_pixels_lead_to_the_spectra_where_there_are_pure_ones(init):
    Y, A, _ = pure()
    assert angles(factorize(Y, n_components=K, init=init).spectra, A).mean() < 0.05


@pytest.mark.parametrize("init", STARTS)
def test_every_start_leaves_fixed_spectra_as_they_are(init):
    Y, A, _ = pure()
    result = factorize(Y, n_components=K, init=init, fixed_spectra={1: 2 * A[:, 0]})
    np.testing.assert_array_equal(result.spectra[:, 1], 2 * A[:, 0])
    assert np.std(Y - result.model) < 0.012


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("constraints", [{"morphologies": Simplex(0)}, {"spectra": Simplex(0)}, {"spectra": None, "morphologies": None}])
def test_every_start_goes_with_every_scale(init, constraints):
    Y, _, _ = pure()
    result = factorize(Y, n_components=K, init=init, **constraints)
    assert np.isfinite(result.spectra).all()
    assert np.std(Y - result.model) < 0.1


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize("unit", [1.0, 1e-20])
def test_spectra_alone_are_a_start(kind, unit):
    Y, A, S = pure()
    with pytest.warns(match="iteration limit"):
        result = factorize(unit * Y, n_components=K, init=kind(unit * A), max_iter=1)
    assert angles(result.spectra, A).max() < 0.01
    assert result.provenance["init"] == "given"
    pair = factorize(unit * Y, n_components=K, init=(unit * A, S), max_iter=1, tol=0)
    assert result.history.objective[0] <= pair.history.objective[0] * (1 + 1e-3)


@pytest.mark.parametrize("init", ["nndsvd", "vca"])
def test_a_start_by_name_is_used_for_large_data_too(init):
    rng = np.random.default_rng(0)
    Y = rng.random((300, K)) @ rng.dirichlet(np.full(K, 0.3), size=4000).T + 0.01 * rng.normal(size=(300, 4000))
    result = factorize(Y, n_components=K, init=init, spectra=NonNegative())
    assert result.status.name == "CONVERGED"
    assert np.std(Y - result.model) < 0.0101


def test_spectra_are_a_start_for_large_data_too():
    rng = np.random.default_rng(0)
    A = rng.random((300, K))
    Y = A @ rng.dirichlet(np.full(K, 0.3), size=4000).T + 0.01 * rng.normal(size=(300, 4000))
    result = factorize(Y, n_components=K, init=A)
    assert np.std(Y - result.model) < 0.0101
    assert angles(result.spectra, A).max() < 0.05
