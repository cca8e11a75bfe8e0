"""What every start promises: the same properties over the whole registry."""

import numpy as np
import pytest
import torch

from vermilion.diagnose.match import match_components, spectral_angle
from vermilion.errors import NoDataError, ParameterError
from vermilion.initialize import PAIRS, SEARCHES, STARTS, spa, starting_directions, starts, weighted_subspace

VERTICES = sorted(set(SEARCHES) - {"kmeans"})  # look for extreme pixels
K = 4


def mixed(*, n_bands=25, n_pixels=300, seed=0, noise=0.0, pure=3):
    """Mixtures in known fractions and of any brightness, with a few pure pixels per component."""
    rng = np.random.default_rng(seed)
    A = rng.random((n_bands, K))
    fractions = rng.dirichlet(np.ones(K), size=n_pixels).T
    for k in range(K):
        fractions[:, pure * k : pure * (k + 1)] = np.eye(K)[:, [k]]
    Y = A @ (fractions * rng.uniform(0.5, 2, n_pixels))
    return A, Y + noise * rng.normal(size=Y.shape)


def angles(found, A):
    order = match_components(found, A)
    return np.array([spectral_angle(found[:, j], A[:, k]) for k, j in enumerate(order)])


def spectra(name, Y, W=None, n_components=K, **options):
    found = STARTS[name](torch.tensor(Y), None if W is None else torch.tensor(W), n_components, **options)
    return found.numpy()


def test_every_start_is_a_search_or_gives_both_factors():
    assert set(STARTS) == set(SEARCHES) | set(PAIRS)
    assert not set(SEARCHES) & set(PAIRS)


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_device_are_those_of_the_data(name, dtype, device):
    _, Y = mixed(noise=0.01)
    Y = torch.tensor(Y, dtype=dtype, device=device)
    found = STARTS[name](Y, None, K, seed=1)
    assert found.shape == (25, K)
    assert (found.dtype, found.device.type) == (dtype, device)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("name", STARTS)
def test_inputs_are_left_as_they_are(name):
    _, Y = mixed(noise=0.01)
    Y, W = torch.tensor(Y), torch.ones(Y.shape, dtype=torch.float64)
    W[2, 5] = 0
    before = Y.clone(), W.clone()
    STARTS[name](Y, W, K)
    assert torch.equal(Y, before[0])
    assert torch.equal(W, before[1])


@pytest.mark.parametrize("name", STARTS)
def test_a_seed_always_gives_the_same_bytes(name):
    _, Y = mixed(noise=0.1)
    assert np.array_equal(spectra(name, Y, seed=3), spectra(name, Y, seed=3))


@pytest.mark.parametrize("name", ["kmeans", "random", "vca"])
def test_other_seeds_give_other_starts(name):
    rng = np.random.default_rng(0)
    Y = rng.random((25, K)) @ rng.dirichlet(np.full(K, 3.0), size=300).T
    found = [spectra(name, Y, seed=seed) for seed in range(4)]
    assert any(angles(found[0], other).max() > 1e-3 for other in found[1:])


@pytest.mark.parametrize("name", [*sorted(SEARCHES), "nndsvd"])
def test_the_order_of_the_pixels_does_not_matter(name):
    _, Y = mixed(noise=1e-3)
    shuffled = Y[:, np.random.default_rng(1).permutation(Y.shape[1])]
    assert angles(spectra(name, shuffled, seed=2), spectra(name, Y, seed=2)).max() < 1e-3


@pytest.mark.parametrize("name", VERTICES)
@pytest.mark.parametrize("pure", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_pure_pixels_are_found_exactly_in_noiseless_data(name, pure, seed):
    A, Y = mixed(seed=seed, pure=pure)
    assert angles(spectra(name, Y, seed=seed), A).max() < 1e-6


@pytest.mark.parametrize("name", VERTICES)
def test_a_spectrum_is_that_of_its_pixel_in_the_unit_of_the_data(name):
    _, Y = mixed(pure=1)
    for spectrum in spectra(name, 1e-3 * Y).T:
        assert np.abs(1e-3 * Y - spectrum[:, None]).max(axis=0).min() < 1e-9
    _, Y = mixed(pure=1, noise=0.01)
    W = np.random.default_rng(2).uniform(0.5, 2, (25, 1)) * np.random.default_rng(3).uniform(0.5, 2, (1, 300)) * 1e4
    for spectrum in spectra(name, Y, W).T:
        assert np.abs(Y - spectrum[:, None]).max(axis=0).min() < 0.15  # the mean brightness of up to three pixels of alike direction


def test_clusters_have_the_spectra_of_their_pixels():
    rng = np.random.default_rng(0)
    A = rng.random((25, K))
    label = rng.integers(K, size=200)
    Y = A[:, label] * np.array([1.0, 2.0, 3.0, 4.0])[label] + 1e-3 * rng.normal(size=(25, 200))
    found = spectra("kmeans", Y, seed=1)
    order = match_components(found, A)
    np.testing.assert_allclose(found[:, order], A * [1.0, 2.0, 3.0, 4.0], atol=0.005)


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("hidden", [np.nan, np.inf, 1e9])
def test_what_has_no_weight_does_not_matter(name, hidden):
    _, Y = mixed(noise=0.01)
    W = np.ones_like(Y)
    W[3], W[:, 50], W[7, 20:40] = 0, 0, 0
    clean, spoiled = np.where(W > 0, Y, 0.0), np.where(W > 0, Y, hidden)
    found = spectra(name, spoiled, W)
    np.testing.assert_allclose(found, spectra(name, clean, W), rtol=1e-6, atol=1e-9)
    assert np.isfinite(found).all()
    if name != "random":
        assert not found[3].any()


@pytest.mark.parametrize("name", VERTICES)
@pytest.mark.parametrize("block", [False, True])
def test_a_fifth_missing_changes_the_angles_little(name, block):
    A, Y = mixed(n_bands=60, n_pixels=600, noise=0.01, pure=30)
    W = (np.random.default_rng(4).random(Y.shape) > 0.2).astype(float)
    if block:
        W[20:40, ::2] = 0  # and a third of the bands in every other pixel
    full, holed = (angles(found, A).mean() for found in (spectra(name, Y), spectra(name, np.where(W > 0, Y, np.nan), W)))
    assert full < 0.02
    assert holed < full + 0.01


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(("unit", "dtype"), [(1e-30, torch.float64), (1e30, torch.float64), (1e-30, torch.float32), (1e30, torch.float32)])
def test_the_unit_of_the_data_does_not_matter(name, unit, dtype):
    _, Y = mixed(noise=0.01)
    Y = torch.tensor(Y, dtype=dtype)
    one, other = (STARTS[name](X, None, K, seed=1).double().numpy() for X in (Y, Y * unit))
    factor = unit**0.5 if name in PAIRS else unit
    np.testing.assert_allclose(
        other / factor, one, rtol=1e-8 if dtype is torch.float64 else 1e-3, atol=1e-8 if dtype is torch.float64 else 1e-4
    )


@pytest.mark.parametrize("name", STARTS)
def test_signed_data_are_welcome(name):
    rng = np.random.default_rng(0)
    found = spectra(name, rng.normal(size=(12, K)) @ rng.normal(size=(K, 80)))
    assert np.isfinite(found).all()
    assert (np.linalg.norm(found, axis=0) > 0).all()


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(("n_bands", "n_pixels"), [(1, 8), (8, 1), (2, 3), (3, 9), (1, 1)])
def test_more_components_than_dimensions_give_finite_spectra(name, n_bands, n_pixels):
    found = spectra(name, np.random.default_rng(0).random((n_bands, n_pixels)), n_components=5)
    assert found.shape == (n_bands, 5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("n_pixels", [100, 7000])
def test_more_components_than_the_data_hold_give_finite_spectra(name, n_pixels):
    rng = np.random.default_rng(0)
    Y = rng.random((20, 2)) @ rng.random((2, n_pixels))
    assert np.isfinite(spectra(name, Y, n_components=5)).all()


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_known_spectra_are_not_found_again(name):
    A, Y = mixed(pure=70)  # nearly all are pure: clusters too are components
    found = spectra(name, Y, n_components=2, known=torch.tensor(3.0 * A[:, [0, 2]]))
    assert angles(found, A[:, [1, 3]]).max() < (0.1 if name == "kmeans" else 1e-6)


@pytest.mark.parametrize("name", STARTS)
def test_many_at_once_are_those_one_by_one(name):
    _, Y = mixed(noise=0.02)
    Y, seeds = torch.tensor(Y), (4, 0, 7)
    space = None if name == "random" else weighted_subspace(Y, None, K)
    options = {} if name == "random" else {"space": space}
    together = starts(name, Y, None, K, seeds=seeds, space=space)
    assert together.shape == (3, 25, K)
    for found, seed in zip(together, seeds, strict=True):
        torch.testing.assert_close(found, STARTS[name](Y, None, K, seed=seed, **options), rtol=1e-9, atol=1e-12)


def test_directions_are_the_spectra_but_for_their_brightness():
    _, Y = mixed(noise=0.01)
    Y = torch.tensor(Y)
    space = weighted_subspace(Y, None, K)
    one, other = starting_directions("spa", Y, None, K, space=space).numpy(), spa(Y, None, K, space=space).numpy()
    assert max(spectral_angle(one[:, k], other[:, k]) for k in range(K)) < 1e-7
    brightness = space.coordinates.sum(dim=1) @ space.basis.T / space.coordinates.sum(dim=1).norm()
    np.testing.assert_allclose(brightness.numpy() @ one, 1, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("pca", {"seeds": (0,)}, r"start is 'pca': expected one of 'kmeans', .*'vca'"),
        ("vca", {"seeds": ()}, r"seeds is empty: expected at least one"),
        ("nndsvd", {"seeds": (0,), "known": torch.ones(25, 1)}, r"start 'nndsvd' takes no known spectra: use one of 'kmeans'"),
    ],
)
def test_what_cannot_be_started_is_refused(name, options, sentence):
    with pytest.raises(ParameterError, match=sentence):
        starts(name, torch.tensor(mixed()[1]), None, K, **options)


@pytest.mark.parametrize("name", sorted(set(STARTS) - {"random"}))
def test_data_without_signal_are_refused(name):
    Y = np.random.default_rng(0).random((4, 9))
    for data, W in ((0 * Y, None), (Y, 0 * Y)):
        with pytest.raises(NoDataError, match="no finite value other than 0 has a positive weight"):
            spectra(name, data, W, n_components=2)
