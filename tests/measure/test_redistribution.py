"""Shares of the data, blendedness and bad pixels."""

import numpy as np
import pytest

from vermilion.errors import ShapeError
from vermilion.measure import bad_pixel_fraction, blendedness, footprints, redistribute, unassigned


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shares_sum_to_the_data_where_a_model_is_positive(make_truth, scale, dtype):
    truth = make_truth()
    data = (scale * truth.draw(np.random.default_rng(0))).astype(dtype)
    models = (scale * truth.models).astype(dtype)
    models[:, :, :3] = 0
    models[0, :, 30:] = -scale
    shares = redistribute(models, data, truth.weights)
    seen, lit = truth.weights > 0, (models > 0).any(axis=0)
    np.testing.assert_allclose(shares.sum(axis=0)[seen & lit], data[seen & lit], rtol=1e-12)
    np.testing.assert_array_equal(shares.sum(axis=0)[seen & ~lit], 0)
    assert (seen & ~lit).any()
    assert np.isnan(shares[:, ~seen]).all()
    rest = unassigned(models, data, truth.weights)
    np.testing.assert_array_equal(rest[seen & ~lit], data[seen & ~lit])
    np.testing.assert_array_equal(rest[seen & lit], 0)
    assert np.isnan(rest[~seen]).all()
    assert (shares[0, :, 30:][seen[:, 30:]] == 0).all()


def test_a_perfect_model_gets_its_own_light_back(make_truth):
    truth = make_truth(bad=0)
    np.testing.assert_allclose(redistribute(truth.models, truth.models.sum(axis=0), truth.weights), truth.models, rtol=1e-10)


def test_absent_pixels_are_filled_with_the_model_on_request(make_truth):
    truth = make_truth()
    data = truth.draw(np.random.default_rng(1))
    filled = redistribute(truth.models, data, truth.weights, fill=True)
    blind = truth.weights == 0
    np.testing.assert_array_equal(filled[:, blind], truth.models[:, blind])
    np.testing.assert_array_equal(filled[:, ~blind], redistribute(truth.models, data, truth.weights)[:, ~blind])


def test_no_source_leaves_all_data_unassigned():
    empty, data = np.zeros((0, 1, 2, 2)), np.ones((1, 2, 2))
    assert redistribute(empty, data, data).shape == (0, 1, 2, 2)
    np.testing.assert_array_equal(unassigned(empty, data, data), data)
    assert blendedness(empty)[0].shape == (0, 1)
    assert bad_pixel_fraction(empty, data).by_light.shape == (0, 1)


def test_blendedness_by_hand():
    # m1 = (2, 1), m2 = (0, 1): sum m1² = 5, sum m1 m = 2·2 + 1·2 = 6; sum m2² = 1, sum m2 m = 2
    models = np.array([[[[2.0, 1.0]]], [[[0.0, 1.0]]], [[[0.0, 0.0]]]])
    per_band, total = blendedness(models)
    np.testing.assert_allclose(per_band[:2, 0], [1 / 6, 1 / 2])
    np.testing.assert_allclose(total[:2], [1 / 6, 1 / 2])
    assert np.isnan(per_band[2]).all()
    assert np.isnan(total[2])


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e30])
def test_blendedness_is_the_formula_whatever_the_unit(make_truth, scale):
    models = make_truth().models * np.array([1.0, 3.0, 0.2])[:, None, None]
    per_band, total = blendedness(models * scale)
    expected = [[1 - (m[b] ** 2).sum() / (m[b] * models.sum(axis=0)[b]).sum() for b in range(3)] for m in models]
    np.testing.assert_allclose(per_band, expected, rtol=1e-9)
    np.testing.assert_allclose(total, [1 - (m**2).sum() / (m * models.sum(axis=0)).sum() for m in models], rtol=1e-9)
    alone, _ = blendedness(models[:1])
    np.testing.assert_allclose(alone, 0, atol=1e-12)


def test_bad_pixels_by_light_and_by_count():
    models = np.array([[[[8.0, 4.0, 0.5, -1.0]]], [[[0.0, 0.0, 0.0, 0.0]]]])
    weights = np.array([[[1.0, 0.0, 0.0, 0.0]]])
    found = bad_pixel_fraction(models, weights)
    np.testing.assert_allclose(found.by_light[0], 4.5 / 12.5)
    np.testing.assert_allclose(found.by_count[0], 1 / 2)
    assert np.isnan(found.by_light[1]).all()
    assert np.isnan(found.by_count[1]).all()
    np.testing.assert_array_equal(footprints(models)[0, 0, 0], [True, True, False, False])


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"expected \(n, B, Ny, Nx\)"):
        redistribute(np.ones((2, 3, 3)), np.ones((2, 3, 3)), np.ones((2, 3, 3)))
