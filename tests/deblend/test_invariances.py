"""What must not change the fluxes: units, absent data, the order of sources, repetition."""

import numpy as np
import pytest

from vermilion.deblend import deblend


def assert_same_fluxes(found, expected, *, rel=1e-4, unit=1.0):
    np.testing.assert_allclose(found.fluxes / unit, expected.fluxes, rtol=rel)
    np.testing.assert_allclose(found.signed_fluxes / unit, expected.signed_fluxes, rtol=rel)
    np.testing.assert_allclose(found.models / unit, expected.models, rtol=rel, atol=rel * np.abs(expected.models).max())
    assert [source.kind for source in found.sources] == [source.kind for source in expected.sources]


@pytest.mark.parametrize("factor", [1e-6, 0.3, 1e6])
def test_a_common_factor_of_the_weights_changes_the_errors_alone(blend, deblended, factor):
    found = deblend(blend.data, **blend.told | {"weights": factor * blend.weights})
    assert_same_fluxes(found, deblended)
    for name in ("flux_errors", "signed_flux_errors"):
        np.testing.assert_allclose(getattr(found, name) * np.sqrt(factor), getattr(deblended, name), rtol=1e-4)
    assert found.chi2 == pytest.approx(factor * deblended.chi2, rel=1e-4)
    assert any("noise" in note for note in found.notes) == (not 0.25 < factor < 4)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_the_unit_of_the_images_is_that_of_the_fluxes(blend, deblended, unit):
    found = deblend(unit * blend.data, **blend.told | {"weights": blend.weights / unit**2})
    assert_same_fluxes(found, deblended, unit=unit)
    np.testing.assert_allclose(found.flux_errors / unit, deblended.flux_errors, rtol=1e-4)
    assert found.chi2 == pytest.approx(deblended.chi2, rel=1e-4)


def test_every_band_may_have_a_unit_of_its_own(blend, deblended):
    units = np.array([1e-6, 1.0, 3e5])
    found = deblend(units[:, None, None] * blend.data, **blend.told | {"weights": blend.weights / units[:, None, None] ** 2})
    np.testing.assert_allclose(found.fluxes / units, deblended.fluxes, rtol=1e-4)
    np.testing.assert_allclose(found.flux_errors / units, deblended.flux_errors, rtol=1e-4)


@pytest.fixture(scope="module")
def masked(blend):
    """Weights with holes, and what the default makes of zeros there."""
    weights = blend.weights.copy()
    weights[0, 12:15, 14:17] = 0
    weights[:, 25, :] = 0
    return weights, deblend(np.where(weights > 0, blend.data, 0.0), **blend.told | {"weights": weights})


@pytest.mark.parametrize("absent", [np.nan, -np.inf, 1e30])
def test_what_has_no_weight_changes_nothing_whatever_stands_there(blend, masked, absent):
    weights, plain = masked
    found = deblend(np.where(weights > 0, blend.data, absent), **blend.told | {"weights": weights})
    np.testing.assert_array_equal(found.fluxes, plain.fluxes)
    np.testing.assert_array_equal(found.models, plain.models)
    assert found.n_data == np.count_nonzero(weights)
    pulls = (found.fluxes - blend.fluxes) / found.flux_errors
    assert np.all(np.abs(pulls) < 4)


def test_a_band_without_any_weight_leaves_the_others_as_they_are(blend):
    weights = blend.weights.copy()
    weights[1] = 0
    found = deblend(blend.data, **blend.told | {"weights": weights})
    alone = deblend(blend.data[[0, 2]], **blend.told | {"weights": weights[[0, 2]]})
    np.testing.assert_allclose(found.fluxes[:, [0, 2]], alone.fluxes, rtol=0.01)
    assert np.isnan(found.flux_errors[:, 1]).all() or np.isinf(found.flux_errors[:, 1]).all()


def test_duplicate_runs_are_the_same_to_the_last_bit(blend, deblended):
    again = deblend(blend.data, **blend.told)
    for name in ("models", "fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors", "flux_history"):
        assert getattr(again, name).tobytes() == getattr(deblended, name).tobytes(), name
    assert again.chi2 == deblended.chi2
    assert again.history.objective.tobytes() == deblended.history.objective.tobytes()


def test_sources_keep_their_order(blend, deblended):
    swapped = deblend(blend.data, **blend.told | {"catalog": blend.centers[::-1]})
    np.testing.assert_allclose(swapped.fluxes[::-1], deblended.fluxes, rtol=1e-3)
    assert [source.kind for source in swapped.sources] == ["galaxy", "point"]
    near = [np.hypot(*(np.array(source.center) - center)) for source, center in zip(swapped.sources, blend.centers[::-1], strict=True)]
    assert max(near) < 0.2


def test_the_images_may_be_turned(blend, deblended):
    turned = deblend(
        np.ascontiguousarray(blend.data.transpose(0, 2, 1)),
        **blend.told | {"weights": blend.weights.transpose(0, 2, 1), "catalog": blend.centers[:, ::-1]},
    )
    np.testing.assert_allclose(turned.fluxes, deblended.fluxes, rtol=2e-3)


def test_single_and_double_precision_agree_within_a_small_part_of_the_errors(blend, deblended):
    found = deblend(blend.data, **blend.told, dtype="float64")
    assert np.all(np.abs(found.fluxes - deblended.fluxes) < 0.05 * deblended.flux_errors)
    assert found.provenance["dtype"] == "float64"


@pytest.mark.parametrize("kind", [">f4", "f2"])
def test_the_number_format_of_the_images_does_not_matter(blend, deblended, kind):
    found = deblend(blend.data.astype(kind), **blend.told)
    assert np.all(np.abs(found.fluxes - deblended.fluxes) < 0.2 * deblended.flux_errors)


def test_the_images_and_weights_are_not_changed(blend):
    data, weights, centers = blend.data.copy(), blend.weights.copy(), blend.centers.copy()
    deblend(data, weights=weights, psf=blend.told["psf"], catalog=centers, max_iter=3)
    np.testing.assert_array_equal(data, blend.data)
    np.testing.assert_array_equal(weights, blend.weights)
    np.testing.assert_array_equal(centers, blend.centers)
