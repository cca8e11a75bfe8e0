"""Blind unmixing by default: near the floor that true endmembers set, in any unit, with holes, and honest about its choices."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from vermilion.errors import NoDataError, ParameterError, ShapeError
from vermilion.unmixing.blind import unmix_matrix
from vermilion.unmixing.convention import abundances_of
from vermilion.unmixing.fclsu import fclsu


def spectra_of(n_bands, n_spectra, rng):
    """Smooth positive spectra with bumps and slopes, well apart."""
    x = np.linspace(0, 1, n_bands)[:, None]
    center, width, height = rng.random((3, 1, 4, n_spectra))
    bumps = height * np.exp(-((x[:, :, None] - center) ** 2) / (0.02 + 0.1 * width) ** 2)
    return 0.1 + bumps.sum(axis=1)


def scene(n_spectra=4, n_pixels=2500, n_bands=70, *, snr=30, pure=False, seed=0, shade=0.0):
    """Y, A and S; without pure pixels no share exceeds 0.8."""
    rng = np.random.default_rng(seed)
    A = spectra_of(n_bands, n_spectra, rng)
    S = rng.dirichlet(np.full(n_spectra, 0.7), 5 * n_pixels).T
    S = S[:, :n_pixels] if pure else S[:, S.max(axis=0) < 0.8][:, :n_pixels]
    if pure:
        S[:, : 5 * n_spectra] = np.repeat(np.eye(n_spectra), 5, axis=1)
    Y = A @ S * np.exp(shade * rng.normal(size=S.shape[1]))
    sigma = np.sqrt((Y**2).mean() / 10 ** (snr / 10))
    return Y + sigma * rng.normal(size=Y.shape), A, S


def score(found, A, S):
    """Mean spectral angle (rad) and rms error of abundances, matched by spectra."""
    E, X = np.asarray(found.spectra), np.asarray(found.abundances)
    cosine = (E / np.linalg.norm(E, axis=0)).T @ (A / np.linalg.norm(A, axis=0))
    angle = np.arccos(np.clip(cosine, -1, 1))
    rows, columns = linear_sum_assignment(angle)
    return angle[rows, columns].mean(), np.sqrt(np.nanmean((X[rows] - S[columns]) ** 2))


def floor(Y, A, S):
    return np.sqrt(((fclsu(torch.tensor(Y), torch.tensor(A)).numpy() - S) ** 2).mean())


@pytest.mark.parametrize("pure", [True, False])
@pytest.mark.parametrize(("n_spectra", "snr", "seed"), [(3, 30, 0), (4, 20, 1), (6, 40, 2)])
def test_default_comes_near_the_floor(pure, n_spectra, snr, seed):
    Y, A, S = scene(n_spectra, snr=snr, pure=pure, seed=seed)
    found = unmix_matrix(Y, n_endmembers=n_spectra)
    angle, error = score(found, A, S)
    assert (found.method, found.normalize, found.convention) == ("minimum-volume", "none", "fclsu")
    assert error < 1.25 * floor(Y, A, S)
    assert angle < 0.05


def test_shade_is_seen_and_removed():
    Y, A, S = scene(3, shade=0.3, snr=35)
    found = unmix_matrix(Y, n_endmembers=3)
    assert (found.normalize, found.convention) == ("l1", "nnls-renormalized")
    assert found.brightness.shape == (Y.shape[1],)
    assert score(found, A, S)[0] < 0.03


def test_spectra_that_vary_are_not_extrapolated():
    rng = np.random.default_rng(4)
    Y = scene(3, snr=60, pure=True)[0]
    bumps = spectra_of(70, 20, rng) @ rng.normal(size=(20, Y.shape[1]))
    found = unmix_matrix(np.abs(Y + 0.02 * bumps), n_endmembers=3)
    assert found.method == "archetypes"
    assert not found.provenance["linear_mixing"]
    assert "mixtures of actual pixels" in found.notes[0]


@pytest.fixture(scope="module")
def complete():
    Y, A, S = scene(4, seed=5)
    return Y, A, S, unmix_matrix(Y, n_endmembers=4)


@pytest.mark.parametrize("holes", ["scattered", "blocks", "nan"])
def test_holes_cost_little(complete, holes):
    Y, A, S, found = complete
    rng = np.random.default_rng(0)
    W = (rng.random(Y.shape) > 0.2).astype(float)
    if holes == "blocks":
        W = np.ones(Y.shape)
        W[15:35, rng.random(Y.shape[1]) < 0.5] = 0
    data = np.where(W > 0, Y, np.nan)
    again = unmix_matrix(data, None if holes == "nan" else W, n_endmembers=4)
    assert again.method == "minimum-volume"
    assert abs(score(again, A, S)[0] - score(found, A, S)[0]) < 0.01
    assert np.isfinite(np.asarray(again.abundances)).all()


def test_pixels_and_bands_without_weight(complete):
    Y, A, S, _ = complete
    W = np.ones(Y.shape)
    W[:5], W[:, 100:200] = 0, 0
    found = unmix_matrix(np.where(W > 0, Y, np.nan), W, n_endmembers=4)
    assert bool(found.abundances[:, 100:200].isnan().all())
    assert not bool(found.abundances[:, :100].isnan().any())
    assert not bool(found.spectra[:5].any())
    assert "100 pixels have no data: their abundances are NaN." in found.notes
    assert score(dataclasses.replace(found, spectra=found.spectra[5:]), A[5:], S)[0] < 0.03


@pytest.mark.parametrize("unit", [1e-30, 1e30])
@pytest.mark.parametrize("method", ["auto", "archetypes"])
def test_unit_of_the_data_is_free(complete, unit, method):
    Y = complete[0][:, :600]
    plain, scaled = (unmix_matrix(Y * u, n_endmembers=4, method=method) for u in (1.0, unit))
    assert torch.allclose(scaled.abundances, plain.abundances, atol=1e-6)
    assert torch.allclose(scaled.spectra / unit, plain.spectra, atol=1e-6)
    assert scaled.objective == pytest.approx(plain.objective * unit**2, rel=1e-6)


def test_same_seed_same_bytes(complete):
    Y, _, _, found = complete
    again = unmix_matrix(Y, n_endmembers=4)
    assert torch.equal(found.spectra, again.spectra)
    assert torch.equal(found.abundances, again.abundances)


@pytest.mark.parametrize("normalize", ["none", "l1", "l2", "l2-floor"])
@pytest.mark.parametrize("method", ["archetypes", "minimum-volume", "nmf", "vertices"])
def test_every_method_goes_with_every_brightness(method, normalize):
    Y, A, S = scene(3, 800, 40, pure=True)
    found = unmix_matrix(Y, n_endmembers=3, method=method, normalize=normalize, convention="as-solved")
    assert (found.method, found.normalize, found.convention) == (method, normalize, "as-solved")
    assert score(found, A, S)[0] < 0.2
    assert torch.allclose(found.abundances.sum(dim=0), torch.ones(Y.shape[1], dtype=torch.float64), atol=1e-6)
    assert bool((found.abundances >= 0).all())
    assert bool((found.spectra >= 0).all())


def test_conventions_agree_where_mixing_is_linear_and_differ_by_the_scale():
    _, A, S = scene(3, 300, snr=80)
    scaled = A / A.max(axis=0)
    data = torch.tensor(scaled @ S)
    for convention in ("fclsu", "nnls-renormalized", "as-solved"):
        assert np.allclose(abundances_of(data, torch.tensor(scaled), convention=convention), S, atol=1e-6)
    shaded = data * torch.linspace(0.2, 2, data.shape[1])
    assert np.allclose(abundances_of(shaded, torch.tensor(scaled), convention="nnls-renormalized"), S, atol=1e-6)
    assert not np.allclose(abundances_of(shaded, torch.tensor(scaled), convention="fclsu"), S, atol=0.05)


def test_float32_comes_back_as_float32(complete):
    Y = complete[0]
    found = unmix_matrix(torch.tensor(Y, dtype=torch.float32), n_endmembers=4)
    assert found.spectra.dtype is found.abundances.dtype is torch.float32
    assert torch.allclose(found.abundances.double(), complete[3].abundances, atol=0.02)


@pytest.mark.parametrize("n_endmembers", [1, 2])
def test_few_endmembers(n_endmembers):
    Y = scene(n_endmembers + 1 if n_endmembers > 1 else 2, 500, 30)[0]
    found = unmix_matrix(Y, n_endmembers=n_endmembers)
    assert found.abundances.shape == (n_endmembers, Y.shape[1])
    assert bool(torch.isfinite(found.spectra).all())


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"method": "magic"}, ParameterError, "method is 'magic': expected one of 'auto', 'archetypes'"),
        ({"normalize": "max"}, ParameterError, "normalize is 'max'"),
        ({"convention": "any"}, ParameterError, "convention is 'any': expected one of 'auto', 'fclsu'"),
        ({"n_endmembers": 0}, ParameterError, "n_endmembers is 0: expected an integer >= 1"),
        ({"n_endmembers": 31}, ParameterError, "n_endmembers is 31: expected at most 30"),
        ({"init": "guess"}, ParameterError, "init is 'guess'"),
        ({"init": np.ones((3, 3))}, ShapeError, r"init has shape \(3, 3\): expected"),
        ({"spatial": 1.0}, ShapeError, r"expected \(Ny, Nx\) of the whole image"),
        ({"spatial": -1.0}, ParameterError, "spatial is -1.0: expected a finite number >= 0"),
        ({"W": np.ones((2, 2))}, ShapeError, r"W has shape \(2, 2\)"),
        ({"W": np.zeros((30, 200))}, NoDataError, "no datum is finite"),
        ({"W": -np.ones((30, 200))}, ParameterError, "W holds negative values"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, text):
    Y, _, _ = scene(3, 200, 30)
    with pytest.raises(error, match=text):
        unmix_matrix(Y, **{"n_endmembers": 3, **options})


def test_pixels_that_do_not_differ_are_refused():
    with pytest.raises(NoDataError, match="All pixels have the same spectrum"):
        unmix_matrix(np.ones((10, 30)), n_endmembers=2, method="minimum-volume")


def test_stages_are_announced():
    said = []
    unmix_matrix(scene(2, 200, 30)[0], n_endmembers=2, announce=said.append)
    assert len(said) == 2
    assert "convention" in said[1]


def test_device_does_not_matter(device):
    Y, A, S = scene(4)
    here, there = (unmix_matrix(Y, n_endmembers=4, device=where) for where in ("cpu", device))
    assert abs(score(here, A, S)[0] - score(there, A, S)[0]) < 1e-3


@pytest.mark.parametrize(("name", "angle", "error"), [("sim1_clean", 0.035, 4 * 0.012), ("dc1_clean", 0.0075, 1.15 * 0.0206)])
def test_published_scenes_at_30_db(real_data, name, angle, error):
    file = real_data / "hsi" / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"no {file}")
    scene = np.load(file)
    Y = scene["Y"].astype(float).reshape(len(scene["Y"]), -1)
    Y = Y + np.sqrt((Y**2).mean() / 1e3) * np.random.default_rng(0).normal(size=Y.shape)
    found = unmix_matrix(Y, n_endmembers=scene["M"].shape[1])
    measured = score(found, scene["M"].astype(float), scene["A"].reshape(scene["M"].shape[1], -1))
    assert measured[0] <= angle
    assert measured[1] <= error
