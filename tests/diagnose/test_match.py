"""Matching of components, and the numbers that say how close they are."""

from types import SimpleNamespace

import numpy as np
import pytest

from vermilion.diagnose.match import compare_components, match_components, spectral_angle, spread_of_spectra
from vermilion.errors import ShapeError


def scene(seed=0, *, n_bands=30, shape=(6, 7), n_components=3):
    """Components without zeros, in no special gauge."""
    rng = np.random.default_rng(seed)
    names = tuple(f"true {k}" for k in range(n_components))
    return SimpleNamespace(
        names=names, spectra=rng.gamma(1.0, size=(n_bands, n_components)), maps=rng.gamma(1.0, size=(n_components, *shape))
    )


def cube_of(components):
    return np.einsum("bk,kyx->byx", components.spectra, components.maps)


def shuffled(truth, order, names=None):
    names = names or tuple(f"component_{k:02d}" for k in range(len(order)))
    return SimpleNamespace(names=names, spectra=truth.spectra[:, order], maps=truth.maps[order])


def test_spectral_angle_does_not_see_brightness():
    a, b = np.random.default_rng(1).gamma(1.0, size=(2, 50))
    assert spectral_angle(a, b) == pytest.approx(spectral_angle(1e-200 * a, 1e200 * b), rel=1e-12)
    assert spectral_angle(a, 7 * a) < 1e-15


def test_spectral_angle_by_hand():
    # between the diagonal of a square and its side, and between that of a cube and its edge: cos = 1/sqrt(3)
    assert spectral_angle(np.array([1.0, 1.0]), np.array([0.0, 5.0])) == pytest.approx(np.pi / 4, rel=1e-14)
    assert spectral_angle(np.ones(3), np.array([0.0, 2.0, 0.0])) == pytest.approx(np.arccos(3**-0.5), rel=1e-14)


def test_spectral_angle_keeps_its_digits_where_arccos_loses_them():
    a, b = np.array([1.0, 0.0]), np.array([1.0, 1e-10])
    assert spectral_angle(a, b) == pytest.approx(1e-10, rel=1e-6)
    assert np.arccos(min(1.0, a @ b / np.linalg.norm(b))) == 0


def test_spectral_angle_at_the_edges():
    a = np.array([1.0, 2.0, np.nan])
    assert spectral_angle(a, np.array([1.0, 2.0, 9.0])) < 1e-15
    assert spectral_angle(np.zeros(3), np.ones(3)) == pytest.approx(np.pi / 2)
    assert np.isnan(spectral_angle(np.full(3, np.nan), np.ones(3)))
    assert spectral_angle(np.array([1.0]), np.array([-1.0])) == pytest.approx(np.pi)
    with pytest.raises(ShapeError, match=r"shapes \(3,\) and \(4,\)"):
        spectral_angle(np.ones(3), np.ones(4))


def test_matching_finds_the_order_that_was_shuffled():
    A = scene().spectra
    for order in ([2, 0, 1], [1, 0, 2]):
        partner = match_components(A[:, order] * [1.0, 20.0, 0.3], A)
        assert [order[j] for j in partner] == [0, 1, 2]


def test_matching_minimizes_the_sum_where_the_nearest_first_does_not():
    # in the plane, angles 0, 0.4 (true) and 0.3, 0.9 (found): greedy takes 0.3 for 0.4 and pays 0.9 for the other (sum 1.0);
    # 0.3 for 0 and 0.9 for 0.4 costs 0.8
    at = lambda *angles: np.array([np.cos(angles), np.sin(angles)])  # noqa: E731
    assert match_components(at(0.3, 0.9), at(0.0, 0.4)).tolist() == [0, 1]


def test_matching_leaves_out_what_has_no_partner():
    A = scene(n_components=4).spectra
    assert match_components(A[:, [3, 1]], A).tolist() == [-1, 1, -1, 0]
    assert match_components(A, A[:, [3, 1]]).tolist() == [3, 1]


def test_matching_refuses_spectra_without_a_band_in_common():
    A = np.ones((3, 2))
    with pytest.raises(ShapeError, match="no band is finite"):
        match_components(A * np.nan, A)
    with pytest.raises(ShapeError, match="on the same bands"):
        match_components(A, np.ones((4, 2)))


def test_the_truth_in_another_gauge_and_order_is_perfect():
    truth = scene()
    found = shuffled(truth, [1, 2, 0])
    found.spectra, found.maps = found.spectra / 5, found.maps * 5
    comparison = compare_components(found, truth)
    assert [match.component for match in comparison.matches] == ["component_02", "component_00", "component_01"]
    for match in comparison.matches:
        assert match.angle < 1e-14
        assert (match.correlation, match.flux_ratio) == pytest.approx((1, 1), rel=1e-12)
    assert comparison.unmatched == ()
    assert comparison.oracle is None


def test_flux_and_correlation_by_hand():
    truth = SimpleNamespace(names=("a",), spectra=np.array([[1.0], [1.0]]), maps=np.array([[[1.0, 2.0, 3.0]]]))
    found = SimpleNamespace(names=("x",), spectra=np.array([[1.0], [1.0]]), maps=np.array([[[1.0, 3.0, 2.0]]]))
    (match,) = compare_components(found, truth).matches
    # deviations (-1, 0, 1) and (-1, 1, 0): 1 / (sqrt 2 sqrt 2)
    assert match.correlation == pytest.approx(0.5)
    assert match.flux_ratio == pytest.approx(1.0)
    found.maps = 3 * found.maps
    assert compare_components(found, truth).matches[0].flux_ratio == pytest.approx(3.0)


def test_what_is_absent_on_one_side_counts_on_neither():
    truth = scene()
    found = shuffled(truth, [0, 1, 2])
    found.spectra, found.maps = found.spectra.copy(), found.maps.copy()
    found.spectra[4] = np.nan
    found.maps[:, 0, 2] = np.nan
    truth.spectra[9, 1] = np.nan
    for match in compare_components(found, truth).matches:
        assert match.angle < 1e-14
        assert match.flux_ratio == pytest.approx(1, rel=1e-12)


def test_numbers_of_components_may_differ():
    truth = scene()
    fewer = compare_components(shuffled(truth, [2]), truth)
    assert [match.component for match in fewer.matches] == [None, None, "component_00"]
    assert np.isnan(fewer.matches[0].angle)
    more = compare_components(truth, shuffled(truth, [2]))
    assert [match.component for match in more.matches] == ["true 2"]
    assert more.unmatched == ("true 0", "true 1")


@pytest.mark.parametrize("unit", [1.0, 1e-20, 1e20])
def test_oracle_is_perfect_without_noise_in_any_unit(unit):
    truth = scene()
    truth.maps = truth.maps * unit
    data = cube_of(truth)
    comparison = compare_components(truth, truth, data=data, weights=np.full(data.shape, unit**-2))
    for match in comparison.oracle:
        assert match.angle < 1e-9
        assert (match.correlation, match.flux_ratio) == pytest.approx((1, 1), rel=1e-9)


def test_oracle_is_the_weighted_least_squares_fit():
    truth = scene(3, n_components=2)
    rng = np.random.default_rng(4)
    data = cube_of(truth) + rng.standard_normal((30, 6, 7))
    weights = rng.uniform(0, 2, size=data.shape)
    weights[rng.random(data.shape) < 0.1] = 0
    A, root = truth.spectra, np.sqrt(weights.reshape(30, -1))
    maps = np.stack([np.linalg.lstsq(A * w[:, None], y * w, rcond=None)[0] for w, y in zip(root.T, data.reshape(30, -1).T, strict=True)], 1)
    oracle = compare_components(truth, truth, data=data, weights=weights).oracle
    expected = maps.sum(axis=1) / truth.maps.sum(axis=(1, 2))
    assert [match.flux_ratio for match in oracle] == pytest.approx(expected, rel=1e-9)


def test_oracle_survives_absent_data():
    truth = scene()
    data = cube_of(truth)
    weights = np.ones(data.shape)
    data[7], weights[8] = np.nan, 0.0
    data[:, 1, 1], weights[:, 2, 2] = np.nan, 0.0
    data[2:, 3, 3] = np.inf  # two bands are left there for three components: no unique map value
    for match in compare_components(truth, truth, data=data, weights=weights).oracle:
        assert match.angle < 0.2
        assert match.correlation > 0.9
        assert np.isfinite(match.flux_ratio)


def test_comparison_says_which_shapes_disagree():
    truth = scene()
    with pytest.raises(ShapeError, match=r"maps have shape \(6, 6\), the true ones \(6, 7\)"):
        compare_components(SimpleNamespace(names=truth.names, spectra=truth.spectra, maps=truth.maps[:, :, :-1]), truth)
    with pytest.raises(ShapeError, match=r"data has shape \(29, 6, 7\)"):
        compare_components(truth, truth, data=cube_of(truth)[1:])
    with pytest.raises(ShapeError, match="nothing to compare"):
        compare_components(SimpleNamespace(names=truth.names, spectra=truth.spectra, maps=truth.maps * np.nan), truth)


def test_spread_is_the_largest_angle_between_any_two_solutions():
    at = lambda *angles: np.array([np.cos(angles), np.sin(angles)])  # noqa: E731
    spread = spread_of_spectra([at(0.5, 1.2), at(1.25, 0.4), at(0.52, 1.1)])
    # first components: 0.5, 0.4, 0.52; second: 1.2, 1.25, 1.1
    assert spread.components == pytest.approx([0.12, 0.15])
    assert spread.maximum == pytest.approx(0.15)


def test_spread_of_one_solution_is_zero_and_of_none_an_error():
    assert spread_of_spectra([np.ones((4, 2))]).maximum == 0
    with pytest.raises(ShapeError, match="expected at least one"):
        spread_of_spectra([])
    with pytest.raises(ShapeError, match="expected at least one, all of shape"):
        spread_of_spectra([np.ones((4, 2)), np.ones((4, 3))])
