"""Gauge, order, known components, and independence of the unit."""

import numpy as np
import pytest
import torch

from vermilion import factorize, read
from vermilion.diagnose.gauge import AS_SOLVED, UNIT_SUM
from vermilion.prox import Chain, Identity, MaxEntropy, NonNegative, Simplex, Soft, UnitSum

FAST = {"tol": 0, "max_iter": 60, "device": "cpu"}


@pytest.mark.parametrize("spectra", [NonNegative(), Simplex(0), UnitSum(0), Chain(NonNegative(), UnitSum(0)), None], ids=repr)
def test_spectra_sum_to_one_where_the_scale_is_open(spectra, problem):
    Y, W, _, _ = problem()
    result = factorize(Y, W, n_components=3, spectra=spectra, **FAST)
    np.testing.assert_allclose(result.spectra.sum(axis=0), 1, rtol=1e-12)
    assert result.normalization == UNIT_SUM


def test_a_unit_sum_that_is_only_a_gauge_changes_nothing(problem):
    Y, W, _, _ = problem()
    plain, summed = (factorize(Y, W, n_components=3, spectra=spectra, **FAST) for spectra in (NonNegative(), Simplex(0)))
    np.testing.assert_array_equal(plain.spectra, summed.spectra)
    np.testing.assert_array_equal(plain.morphologies, summed.morphologies)


def test_components_come_in_order_of_flux(problem):
    Y, W, _, _ = problem()
    for seed in range(3):
        flux = factorize(Y, W, n_components=3, init="random", seed=seed, **FAST).fluxes.sum(axis=0)
        assert list(flux) == sorted(flux, reverse=True)


def test_a_spectrum_whose_sum_vanishes_is_scaled_by_absolute_values_and_it_says_so():
    rng = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * np.arange(20) / 20)
    Y = np.outer(wave, 1 + rng.random(30))
    result = factorize(Y, n_components=1, spectra=None, **FAST)
    assert result.normalization == f"{UNIT_SUM}; by absolute values where a spectrum sums to zero"
    assert np.abs(result.spectra).sum() == pytest.approx(1)
    np.testing.assert_allclose(result.model, Y, atol=1e-4)


@pytest.mark.parametrize(
    ("spectra", "morphologies"),
    [(NonNegative(), Simplex(0)), (Simplex(1), NonNegative()), (Simplex(0), MaxEntropy(1.0, prior=1.0))],
    ids=repr,
)
def test_where_constraints_fix_the_scale_factors_stay_as_solved(spectra, morphologies, problem):
    Y, W, _, _ = problem()
    result = factorize(Y, W, n_components=3, spectra=spectra, morphologies=morphologies, **FAST)
    assert result.normalization == AS_SOLVED
    assert float(spectra.penalty(torch.tensor(result.spectra).float())) == 0
    assert np.isfinite(float(morphologies.penalty(torch.tensor(result.morphologies).float())))


def test_abundances_of_one_per_pixel_leave_the_unit_with_the_spectra():
    rng = np.random.default_rng(1)
    A, S = 1e-18 * rng.random((20, 3)), rng.dirichlet([0.3] * 3, size=200).T
    result = factorize(A @ S, n_components=3, morphologies=Simplex(0), tol=1e-7, max_iter=4000)
    np.testing.assert_allclose(result.morphologies.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(result.model, A @ S, atol=2e-3 * 1e-18)


def test_a_penalty_on_the_maps_holds_the_spectra_to_unit_sum_and_says_so(problem):
    Y, W, _, _ = problem()
    result = factorize(Y, W, n_components=3, morphologies=Chain(Soft(1.0), NonNegative()), **FAST)
    np.testing.assert_allclose(result.spectra.sum(axis=0), 1, rtol=1e-5)
    assert any("held to unit sum" in note for note in result.notes)


@pytest.mark.parametrize("template_unit", [1.0, 1e-20, 1e20])
@pytest.mark.parametrize("k", [0, 2])
def test_a_known_spectrum_is_returned_as_given_at_its_place_and_its_unit_does_not_matter(k, template_unit, problem):
    Y, W, A, _ = problem()
    template = template_unit * A[:, 1]
    result = factorize(Y, W, n_components=3, fixed_spectra={k: template}, **FAST)
    reference = factorize(Y, W, n_components=3, fixed_spectra={k: A[:, 1]}, **FAST)
    assert np.array_equal(result.spectra[:, k], template)
    assert (result.spectra_error[:, k] == 0).all()
    assert result.normalization == f"{UNIT_SUM}; given components as given"
    np.testing.assert_allclose(result.morphologies[k] * template_unit, reference.morphologies[k], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(result.model, reference.model, atol=1e-4 * Y.max())
    np.testing.assert_allclose(result.signed_morphologies[k] * template_unit, reference.signed_morphologies[k], rtol=1e-3, atol=1e-2)


def test_a_known_spectrum_finds_its_map(problem):
    Y, W, A, S = problem(noise=0.02)
    result = factorize(Y, W, n_components=3, fixed_spectra={1: A[:, 2]})
    assert np.corrcoef(result.morphologies[1], S[2])[0, 1] > 0.95


@pytest.mark.parametrize("template_unit", [1.0, 1e-20, 1e20])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_known_map_is_returned_as_given_and_its_unit_does_not_matter(template_unit, weighted, problem):
    Y, W, _, S = problem()
    W = W if weighted else None
    result = factorize(Y, W, n_components=3, fixed_morphologies={1: template_unit * S[0]}, **FAST)
    reference = factorize(Y, W, n_components=3, fixed_morphologies={1: S[0]}, **FAST)
    assert np.array_equal(result.morphologies[1], template_unit * S[0])
    assert (result.morphologies_error[1] == 0).all()
    np.testing.assert_allclose(result.model, reference.model, atol=1e-4 * Y.max())
    np.testing.assert_allclose(result.spectra[:, 1] * template_unit, reference.spectra[:, 1], rtol=1e-3, atol=1e-5)


def test_known_spectra_and_maps_go_together(problem):
    Y, W, A, S = problem()
    result = factorize(Y, W, n_components=3, fixed_spectra={0: A[:, 0], 2: A[:, 2]}, fixed_morphologies={2: S[2]}, **FAST)
    assert np.array_equal(result.spectra[:, [0, 2]], A[:, [0, 2]])
    assert np.array_equal(result.morphologies[2], S[2])
    assert 0.5 * np.sum(W * (Y - result.model) ** 2) == pytest.approx(result.objective, rel=1e-3)


def test_known_components_that_are_right_leave_only_noise(problem):
    Y, W, A, S = problem()
    result = factorize(Y, W, n_components=3, fixed_spectra=dict(enumerate(A.T)), fixed_morphologies=dict(enumerate(S)), **FAST)
    assert np.array_equal(result.model, A @ S)
    assert result.objective == pytest.approx(0.5 * np.sum(W * (Y - A @ S) ** 2), rel=1e-2)


@pytest.mark.parametrize("pair", ["non-negative", "sparse", "entropy"])
def test_known_spectra_are_held_beside_every_constraint(pair, problem):
    Y, W, A, _ = problem()
    spectra, morphologies = {
        "non-negative": (NonNegative(), NonNegative()),
        "sparse": (Simplex(0), Chain(Soft(0.1), NonNegative())),
        "entropy": (Simplex(0), MaxEntropy(0.1, prior=1.0)),
    }[pair]
    result = factorize(Y, W, n_components=3, spectra=spectra, morphologies=morphologies, fixed_spectra={1: A[:, 0]}, **FAST)
    assert np.array_equal(result.spectra[:, 1], A[:, 0])
    assert np.isfinite(result.model).all()


OPERATORS = {
    "non-negative": lambda unit: (NonNegative(), NonNegative()),
    "free": lambda unit: (Identity(), NonNegative()),
    "sparse": lambda unit: (Simplex(0), Chain(Soft(0.5 / unit), NonNegative())),
    "entropy": lambda unit: (NonNegative(), MaxEntropy(0.5 / unit, prior=2.0 * unit)),
    "abundances": lambda unit: (NonNegative(), Simplex(0)),
}
UNITS = [(unit, kind) for unit in (1e-20, 1e20) for kind in ("f4", "f8")] + [(1e-30, "f8"), (1e30, "f8")]


@pytest.mark.parametrize(("unit", "kind"), UNITS)
@pytest.mark.parametrize(
    ("operators", "weighted"),
    # without weights the strength of a penalty is in the square of the unit of the data
    [(name, weighted) for name in OPERATORS for weighted in (True, False) if weighted or name not in ("sparse", "entropy")],
)
def test_the_unit_of_the_data_scales_the_maps_and_nothing_else(operators, unit, kind, weighted, problem):
    Y, W, _, _ = problem(noise=0.1)
    # powers of two: the unit itself must not round float32 data, or different data are compared
    unit = 2.0 ** round(np.log2(unit))
    Y = Y.astype("f4")
    W = W.astype("f4").astype("f8") if weighted else None
    results = []
    for u in (1.0, unit):
        spectra, morphologies = OPERATORS[operators](u)
        scaled = Y.astype("f8") * u
        results.append(
            factorize(
                scaled.astype(kind),
                None if W is None else W / u**2,
                n_components=3,
                spectra=spectra,
                morphologies=morphologies,
                **FAST,
            )
        )
    reference, result = results
    A_unit, S_unit = (unit, 1.0) if operators == "abundances" else (1.0, unit)
    for name, size in (
        ("spectra", A_unit),
        ("spectra_error", A_unit),
        ("morphologies", S_unit),
        ("morphologies_error", S_unit),
        ("signed_morphologies", S_unit),
        ("signed_error", S_unit),
    ):
        expected = getattr(reference, name)
        np.testing.assert_allclose(getattr(result, name) / size, expected, rtol=1e-5, atol=1e-5 * np.nanmax(np.abs(expected)), err_msg=name)
    square = unit**2 if W is None else 1.0
    np.testing.assert_allclose(result.history.objective / square, reference.history.objective, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_powers_of_ten_give_the_same_spectra_too(unit, kind, problem):
    Y, W, _, _ = problem(noise=0.1)
    options = {"n_components": 3, **FAST}
    reference = factorize(Y.astype(kind), W, **options)
    result = factorize((Y.astype(kind) * np.dtype(kind).type(unit)), W / unit**2, **options)
    np.testing.assert_allclose(result.spectra, reference.spectra, atol=1e-5)
    np.testing.assert_allclose(result.morphologies / unit, reference.morphologies, atol=1e-5 * reference.morphologies.max())


@pytest.mark.parametrize("factor", [1e-12, 7.0, 1e12])
def test_a_constant_factor_on_the_weights_changes_nothing_but_the_errors(factor, problem):
    Y, W, _, _ = problem(noise=0.1)
    reference, result = (factorize(Y, W * f, n_components=3, dtype="float64", **FAST) for f in (1.0, factor))
    np.testing.assert_allclose(result.spectra, reference.spectra, atol=1e-7)
    np.testing.assert_allclose(result.signed_morphologies, reference.signed_morphologies, atol=1e-6 * reference.morphologies.max())
    np.testing.assert_allclose(result.signed_error * factor**0.5, reference.signed_error, rtol=1e-6)
    assert result.objective == pytest.approx(factor * reference.objective, rel=1e-6)


@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_single_precision_data_in_another_unit_give_the_same_factors(factor, sample_cube):
    matrix = read(sample_cube).to_matrix()
    Y, W = matrix.data.astype(np.float32), matrix.weights
    here = factorize(Y, W, n_components=4, device="cpu")
    there = factorize(Y * np.float32(factor), W.astype(np.float64) / factor**2, n_components=4, device="cpu")
    np.testing.assert_allclose(there.spectra, here.spectra, rtol=0, atol=1e-6 * here.spectra.max())
    np.testing.assert_allclose(there.morphologies / factor, here.morphologies, rtol=0, atol=1e-6 * here.morphologies.max())


def test_collinear_spectra_are_told():
    rng = np.random.default_rng(0)
    a, b = rng.gamma(1.0, size=(2, 40))
    S = rng.gamma(1.0, size=(3, 60))
    Y = np.stack([a, b, a + 1e-5 * b], axis=1) @ S
    twins = factorize(Y, n_components=2, fixed_spectra={0: a, 1: a + 1e-5 * b}, max_iter=5, tol=0)
    assert twins.provenance["condition_number"] > 1e4
    assert any("linearly dependent" in note for note in twins.notes)
    apart = factorize(Y, n_components=2, fixed_spectra={0: a, 1: b}, max_iter=5, tol=0)
    assert 1 <= apart.provenance["condition_number"] < 10
    assert not any("linearly dependent" in note for note in apart.notes)
