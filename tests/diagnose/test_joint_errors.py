"""Joint errors against the dense inverse of the whole Fisher matrix, and against what noise really does."""

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import lsq_linear

from vermilion.diagnose.joint_errors import GAUGES, joint_errors, unmixing_errors
from vermilion.diagnose.uncertainty import morphology_errors
from vermilion.errors import ParameterError, ShapeError

SHAPE = (7, 3, 12)


def pure_scene(seed=0, *, shape=SHAPE, closure=True):
    """Factors in which every component is alone in one pixel, and absent from some others."""
    B, K, N = shape
    rng = np.random.default_rng(seed)
    A, S = 0.1 + rng.random((B, K)), 0.2 + rng.random((K, N))
    for k in range(K):
        S[:, k] = np.eye(K)[k]
        S[(k + 1) % K, [K + k, 2 * K + k]] = 0
    A[0, 0] = 0
    return (A / A.sum(axis=0), S / S.sum(axis=0)) if closure else (A / A.sum(axis=0), S)


def weights(kind, shape=SHAPE, seed=1):
    B, _, N = shape
    rng = np.random.default_rng(seed)
    return (
        1e4
        * {
            "none": np.ones((B, N)),
            "product": rng.uniform(0.2, 1, (B, 1)) * rng.uniform(0.2, 1, (1, N)),
            "any": rng.uniform(0.2, 1, (B, N)) * (rng.random((B, N)) > 0.1),
        }[kind]
    )


def dense(A, S, W, gauge):
    """Square roots of the diagonal of the inverse Fisher matrix on the tangent space of all constraints."""
    (B, K), N = A.shape, S.shape[1]
    of_A, of_S = np.einsum("bc,kn->bnck", np.eye(B), S), np.einsum("bk,nm->bnkm", A, np.eye(N))
    J = np.hstack([of_A.reshape(B * N, -1), of_S.reshape(B * N, -1)])
    held = [np.eye(J.shape[1])[np.r_[A.ravel(), S.ravel()] == 0]]
    if gauge == "unit-sum":
        held.append(np.hstack([np.tile(np.eye(K), B), np.zeros((K, K * N))]))
    if gauge == "simplex":
        held.append(np.hstack([np.zeros((N, B * K)), np.tile(np.eye(N), K)]))
    Z = null_space(np.vstack(held))
    covariance = Z @ np.linalg.inv(Z.T @ (J.T * W.ravel()) @ J @ Z) @ Z.T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    return errors[: B * K].reshape(B, K), errors[B * K :].reshape(K, N)


@pytest.mark.parametrize("gauge", ["unit-sum", "simplex"])
@pytest.mark.parametrize("kind", ["none", "product", "any"])
def test_errors_are_those_of_the_whole_fisher_matrix(gauge, kind):
    A, S = pure_scene(closure=gauge == "simplex")
    W = weights(kind)
    found = joint_errors(A, S, W, gauge=gauge)
    for errors, factor, expected in zip((found.spectra, found.morphologies), (A, S), dense(A, S, W, gauge), strict=True):
        held = (factor == 0) | ((factor == 1) & (gauge == "simplex") & (factor.shape == S.shape))
        assert np.isnan(errors[held]).all()
        np.testing.assert_allclose(errors[~held], expected[~held], rtol=1e-8)
    assert found.n_free == 0
    assert found.neglected == 0
    assert found.identified.all()
    assert found.note() == ""


def test_without_memory_what_is_neglected_is_told_and_errors_come_near():
    A, S = pure_scene()
    W = weights("any")
    found, exact = joint_errors(A, S, W, gauge="simplex", memory=0), joint_errors(A, S, W, gauge="simplex")
    assert 0 < found.neglected < 0.3
    assert "approximate" in found.note()
    for name in ("spectra", "morphologies"):
        ratio = getattr(found, name) / getattr(exact, name)
        assert 0.8 < np.nanmin(ratio) <= np.nanmax(ratio) < 1.1


def test_product_weights_need_no_memory():
    A, S = pure_scene()
    found = joint_errors(A, S, weights("product"), gauge="simplex", memory=0)
    assert found.neglected == 0


@pytest.mark.parametrize(("gauge", "n_free"), [("unit-sum", 6), ("simplex", 6), ("as-solved", 9)])
@pytest.mark.parametrize("kind", ["none", "any"])
@pytest.mark.parametrize("memory", [0, 3e8])
def test_what_nothing_determines_is_said_to_be_open(gauge, n_free, kind, memory):
    # all entries positive: K² mixtures, K of them fixed by the gauge or by the sums of abundances
    rng = np.random.default_rng(0)
    shape = (20, 3, 60)
    A, S = rng.uniform(0.1, 1, shape[:2]), rng.uniform(0.1, 1, shape[1:])
    found = joint_errors(A, S, weights(kind, shape), gauge=gauge, memory=memory)
    assert found.n_free == n_free
    assert not found.identified.any()
    assert np.isinf(found.spectra).all()
    assert np.isinf(found.morphologies).all()
    assert found.note().startswith(f"not identified: the components can be mixed in {n_free} independent ways")


def test_a_penalty_with_curvature_closes_what_was_open():
    rng = np.random.default_rng(0)
    A, S = rng.uniform(0.1, 1, (10, 2)), rng.uniform(0.1, 1, (2, 30))
    found = joint_errors(A, S, gauge="as-solved", curvature_spectra=np.ones_like(A), curvature_morphologies=np.ones_like(S))
    assert found.n_free == 0
    assert np.isfinite(found.spectra).all()


def test_a_known_factor_leaves_the_conditional_errors_of_the_other():
    A, S = pure_scene(closure=False)
    W = weights("any")
    found = joint_errors(A, S, W, fixed_spectra=np.ones(A.shape, bool), fixed_morphologies=np.zeros(S.shape, bool), gauge="as-solved")
    assert np.isnan(found.spectra).all()
    np.testing.assert_allclose(found.morphologies, morphology_errors(A, W, S.shape[1]), rtol=1e-9)


def test_joint_errors_are_not_smaller_than_conditional_ones():
    A, S = pure_scene(closure=False)
    W = weights("any")
    joint = joint_errors(A, S, W, fixed_morphologies=S == 0).morphologies
    free = joint_errors(A, S, W, fixed_spectra=np.ones(A.shape, bool), gauge="as-solved").morphologies
    assert (joint[S != 0] >= free[S != 0] * (1 - 1e-9)).all()


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_errors_follow_the_unit_of_the_data(unit):
    A, S = pure_scene()
    W = weights("any")
    one, other = joint_errors(A, S, W, gauge="simplex"), joint_errors(unit * A, S, W / unit**2, gauge="simplex")
    np.testing.assert_allclose(other.spectra, unit * one.spectra, rtol=1e-6)
    np.testing.assert_allclose(other.morphologies, one.morphologies, rtol=1e-6)


def test_bands_and_pixels_without_data_have_no_errors_and_change_none():
    A, S = pure_scene()
    W = weights("none")
    W[3], W[:, 11] = 0, 0
    found = joint_errors(A, S, W, gauge="simplex")
    kept = joint_errors(np.delete(A, 3, axis=0), S[:, :11], np.delete(W, 3, axis=0)[:, :11], gauge="simplex")
    assert np.isnan(found.spectra[3]).all()
    assert np.isnan(found.morphologies[:, 11]).all()
    np.testing.assert_allclose(np.delete(found.spectra, 3, axis=0), kept.spectra, rtol=1e-8)
    np.testing.assert_allclose(found.morphologies[:, :11], kept.morphologies, rtol=1e-8)


def scatter_of_refits(A, S, W, n=400):
    """Standard deviations over fits to noisy data, by alternating least squares on the entries that are not 0, sums to 1 kept."""
    rng = np.random.default_rng(5)
    B, N = W.shape
    spaces = [(np.flatnonzero(S[:, m]), null_space(np.ones((1, np.count_nonzero(S[:, m]))))) for m in range(N)]
    found = []
    for _ in range(n):
        Y, A_now, S_now = A @ S + rng.normal(size=W.shape) / np.sqrt(W), A.copy(), S.copy()
        for _ in range(30):
            for b in range(B):
                free, root = A[b] != 0, np.sqrt(W[b])
                A_now[b, free] = np.linalg.lstsq((root * S_now[free]).T, root * Y[b], rcond=None)[0]
            for m, (free, Z) in enumerate(spaces):
                root = np.sqrt(W[:, m])[:, None]
                left = Y[:, m] - A_now @ S[:, m]
                S_now[free, m] = S[free, m] + Z @ np.linalg.lstsq(root * A_now[:, free] @ Z, root[:, 0] * left, rcond=None)[0]
        found.append((A_now, S_now))
    return np.std([a for a, _ in found], axis=0), np.std([s for _, s in found], axis=0)


def test_joint_errors_are_the_scatter_of_refits():
    A, S = pure_scene(shape=(5, 2, 6))
    W = 1e2 * weights("product", (5, 2, 6))
    errors = joint_errors(A, S, W, gauge="simplex")
    spectra, maps = scatter_of_refits(A, S, W, n=150)
    free = np.isfinite(errors.spectra)
    assert np.median(spectra[free] / errors.spectra[free]) == pytest.approx(1, abs=0.06)
    np.testing.assert_allclose(spectra[free], errors.spectra[free], rtol=0.25)  # 6 % each, one sigma
    free = np.isfinite(errors.morphologies)
    np.testing.assert_allclose(maps[free], errors.morphologies[free], rtol=0.25)


def fully_constrained(Y, A):
    """Abundances by least squares with a sum of 1; interior, so that signs do not matter."""
    Z = null_space(np.ones((1, A.shape[1])))
    middle = np.full((A.shape[1], 1), 1 / A.shape[1])
    return middle + Z @ np.linalg.lstsq(A @ Z, Y - A @ middle, rcond=None)[0]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("snr_db", [20, 30, 40])
def test_supervised_errors_of_interior_abundances_cover_68_percent(snr_db, weighted):
    rng = np.random.default_rng(snr_db)
    A = rng.uniform(0, 1, (80, 4))
    S = 0.15 + 0.4 * rng.dirichlet(np.ones(4), 1000).T
    clean = A @ S
    sigma = np.sqrt(np.square(clean).mean() * 10 ** (-snr_db / 10))
    Y = clean + sigma * rng.normal(size=clean.shape)
    found = fully_constrained(Y, A)
    spectra, errors = unmixing_errors(Y, np.full(Y.shape, sigma**-2) if weighted else None, A, found, supervised=True)
    assert (spectra == 0).all()
    assert 0.65 < np.mean(np.abs(found - S) < errors) < 0.715


def test_errors_of_renormalized_abundances_are_those_of_their_scatter():
    rng = np.random.default_rng(2)
    A = rng.uniform(0, 1, (30, 3))
    x = np.array([2.0, 1.0, 3.0])
    Y = (A @ x)[:, None] + 0.05 * rng.normal(size=(30, 3000))
    fits = np.array([lsq_linear(A, y, bounds=(0, np.inf)).x for y in Y.T]).T
    S = fits / fits.sum(axis=0)
    _, errors = unmixing_errors(Y, np.full(Y.shape, 400.0), A, S, convention="nnls-renormalized", supervised=True)
    np.testing.assert_allclose(S.std(axis=1), np.median(errors, axis=1), rtol=0.06)


def test_brightness_that_was_divided_out_is_part_of_the_noise():
    A, S = pure_scene()
    rng = np.random.default_rng(0)
    size = rng.uniform(0.5, 2, S.shape[1])
    Y, W = A @ S * size, weights("any")
    found = unmixing_errors(Y, W, A, S, brightness=size)
    expected = unmixing_errors(A @ S, W * size**2, A, S)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_noise_of_vertices_reaches_the_abundances():
    # spectra that are single noisy pixels in the leading subspace of the data
    rng = np.random.default_rng(3)
    A = rng.uniform(0, 1, (40, 3))
    S = 0.1 + 0.7 * rng.dirichlet(np.ones(3), 300).T
    pulls_A, pulls_S = [], []
    for _ in range(30):
        Y = A @ S + 0.01 * rng.normal(size=(40, 300))
        basis = np.linalg.svd(Y, full_matrices=False)[0][:, :3]
        A_seen = basis @ (basis.T @ (A + 0.01 * rng.normal(size=A.shape)))
        found = fully_constrained(Y, A_seen)
        spectra, errors = unmixing_errors(Y, np.full(Y.shape, 1e4), A_seen, found, vertex_noise=np.ones(3))
        pulls_A.append((A_seen - A) / spectra)
        pulls_S.append((found - S) / errors)
    assert np.std(pulls_A) == pytest.approx(1, abs=0.15)
    assert np.std(pulls_S) == pytest.approx(1, abs=0.1)


def test_what_does_not_fit_is_refused():
    A, S = pure_scene()
    with pytest.raises(ParameterError, match="gauge is 'other'"):
        joint_errors(A, S, gauge="other")
    with pytest.raises(ShapeError, match=r"A has shape \(7, 3\)"):
        joint_errors(A, S[:2])
    with pytest.raises(ShapeError, match="fixed entries"):
        joint_errors(A, S, fixed_spectra=np.zeros((2, 2), bool))
    with pytest.raises(ParameterError, match="convention is 'sum'"):
        unmixing_errors(A @ S, None, A, S, convention="sum")
    with pytest.raises(ShapeError, match="vertex_noise"):
        unmixing_errors(A @ S, None, A, S, vertex_noise=[1.0])
    with pytest.raises(ShapeError, match="W has shape"):
        unmixing_errors(A @ S, np.ones((2, 2)), A, S)
    assert "simplex" in GAUGES
