"""Members of a library that explain the data."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from vermilion.errors import ParameterError, ShapeError
from vermilion.initialize import choose_from_library, library


def draw(*, n_members=30, n_pixels=300, noise=0.0, seed=0, members=(3, 11, 20)):
    """Smooth spectra like those of minerals, and mixtures of a few of them without pure pixels."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, 60)[:, None]
    D = 0.6 - sum(rng.uniform(0, 0.3, n_members) * np.exp(-(((x - rng.random(n_members)) / 0.08) ** 2)) for _ in range(4))
    S = rng.dirichlet(np.full(len(members), 2.0), size=n_pixels).T * rng.uniform(0.3, 3, n_pixels)
    return D, D[:, members] @ S + noise * rng.normal(size=(60, n_pixels))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_the_members_that_were_mixed_are_found(seed, noise):
    D, Y = draw(seed=seed, noise=noise)
    found = choose_from_library(torch.tensor(Y), None, 3, spectra=torch.tensor(D))
    assert sorted(found.tolist()) == [3, 11, 20]


def test_the_choice_is_nearly_the_best_of_all():
    # mixtures of what the library does not hold
    rng = np.random.default_rng(1)
    D, Y = draw(n_members=9, n_pixels=40, members=(1, 4, 7, 8))
    Y = Y / Y.mean(axis=0) + 0.02 * rng.normal(size=Y.shape)

    def loss(chosen):
        return sum(nnls(D[:, list(chosen)], y)[1] ** 2 for y in Y.T)

    losses = sorted(loss(chosen) for chosen in itertools.combinations(range(9), 3))
    found = loss(choose_from_library(torch.tensor(Y), None, 3, spectra=torch.tensor(D)).tolist())
    assert found <= losses[2] * (1 + 1e-9)


def test_units_of_data_and_library_do_not_matter():
    D, Y = draw(noise=0.005)
    for unit in (1e-30, 1e30):
        found = choose_from_library(torch.tensor(Y * unit), None, 3, spectra=torch.tensor(D / unit))
        assert sorted(found.tolist()) == [3, 11, 20]


def test_bands_and_pixels_without_weight_do_not_count():
    D, Y = draw(noise=0.005)
    W = np.ones_like(Y)
    W[10:14], W[:, ::7] = 0, 0
    W[np.random.default_rng(3).random(Y.shape) < 0.2] = 0
    D[12] = 0
    found = choose_from_library(torch.tensor(np.where(W > 0, Y, np.nan)), torch.tensor(W), 3, spectra=torch.tensor(D))
    assert sorted(found.tolist()) == [3, 11, 20]


def test_known_spectra_are_not_chosen_again():
    D, Y = draw(noise=0.002)
    known = torch.tensor(7.0 * D[:, [11]])
    assert sorted(choose_from_library(torch.tensor(Y), None, 2, spectra=torch.tensor(D), known=known).tolist()) == [3, 20]


def test_the_spectra_are_those_of_the_library():
    D, Y = draw()
    found = library(torch.tensor(Y), None, 3, spectra=torch.tensor(D))
    which = choose_from_library(torch.tensor(Y), None, 3, spectra=torch.tensor(D))
    assert torch.equal(found, torch.tensor(D)[:, which])


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda D: D[:-1], ShapeError, r"the library has shape \(59, 30\), the data \(60, 300\): expected \(60, members\)"),
        (lambda D: D[:, :2], ParameterError, r"the library has 2 members: expected at least n_components = 3"),
        (lambda D: np.where(np.arange(30) == 4, 0, D), ParameterError, r"members \[4\] of the library are 0 or not finite"),
        (lambda D: np.where(np.arange(30) == 6, np.nan, D), ParameterError, r"members \[6\] of the library are 0 or not finite"),
    ],
)
def test_a_library_that_does_not_fit_is_refused(change, error, sentence):
    D, Y = draw()
    with pytest.raises(error, match=sentence):
        choose_from_library(torch.tensor(Y), None, 3, spectra=torch.tensor(change(D)))
