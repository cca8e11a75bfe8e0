"""Fluxes, errors and kinds against known truth."""

import numpy as np
import pytest

from vermilion.deblend import deblend


def field(make_scene, seed, n=3, spacing=15):
    """Stars and galaxies in turn on a grid of places, each off by up to 2 pixels so that neighbors overlap."""
    rng = np.random.default_rng(seed)
    places = spacing * (np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), axis=-1).reshape(-1, 2) + 0.5)
    places = places + rng.uniform(-2, 2, places.shape)
    sizes = np.where(np.arange(n * n) % 2, rng.uniform(1.3, 2.2, n * n), 0)
    fluxes = rng.uniform(120, 600, (n * n, 3)) * np.where(sizes > 0, 2, 1)[:, None]
    scene = make_scene((n * spacing,) * 2, np.column_stack([places, sizes, fluxes]), seed=1000 + seed)
    return scene, places + 0.1 * rng.normal(size=places.shape)


def test_errors_are_those_that_fluxes_have(make_scene):
    pulls, extended, right = [], [], 0
    for seed in range(3):
        scene, given = field(make_scene, seed)
        found = deblend(scene.data, **scene.told | {"catalog": given})
        pulls.append((scene.fluxes - found.fluxes) / found.flux_errors)
        extended.append(scene.extended)
        right += sum((source.kind == "galaxy") == e for source, e in zip(found.sources, scene.extended, strict=True))
        # no noise that could be told from noise is left
        assert abs(found.chi2 - found.n_data) < 5 * np.sqrt(2 * found.n_data)
    pulls, extended = np.concatenate(pulls), np.concatenate(extended)
    assert 0.8 < pulls.std() < 1.3
    assert abs(pulls[~extended].mean()) < 0.3
    assert abs(pulls[extended].mean()) < 0.7  # Gaussians have less light in their wings than galaxies are thought to have
    assert np.abs(pulls).max() < 4.5
    assert right >= 0.9 * extended.size


def test_without_noise_fluxes_are_the_true_ones(make_scene):
    scene = make_scene((32, 36), [(14, 13, 0, 900, 600, 300), (16.1, 21, 2.1, 2000, 1000, 1500)], noise=0.0)
    found = deblend(scene.data, **scene.told | {"weights": np.ones_like(scene.data)})
    np.testing.assert_allclose(found.fluxes, scene.fluxes, rtol=0.03)  # of weights 1: errors would be 1 to 5 %
    np.testing.assert_allclose(found.model, scene.clean, atol=0.01 * scene.clean.max())


def test_errors_of_a_lone_star_are_those_of_a_matched_filter(make_scene, psf):
    scene = make_scene((31, 31), [(15.2, 14.9, 0, 3000, 2000)], noise=2.0)
    found = deblend(scene.data, **scene.told, types=["point"])
    # sum of the squared PSF: 1 / (4 pi sigma^2); the center is known to 0.1 pixel and better, which adds nearly nothing
    expected = 2.0 * np.sqrt(4 * np.pi) * 1.5
    np.testing.assert_allclose(found.flux_errors[0], expected, rtol=0.02)
    np.testing.assert_allclose(found.signed_flux_errors[0], expected, rtol=0.01)
    assert np.all(np.abs(found.fluxes - scene.fluxes) < 4 * expected)


def test_fluxes_of_an_empty_sky_average_to_zero_and_none_is_significant(psf):
    n, spacing = 4, 12
    pulls, signal, surest = [], [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        places = spacing * (np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), axis=-1).reshape(-1, 2) + 0.5)
        places = places + rng.uniform(-0.5, 0.5, places.shape)
        noise = rng.normal(size=(3, n * spacing, n * spacing))
        for sign in (1, -1):  # what is linear in the noise cancels: left is the bias
            found = deblend(sign * noise, weights=np.ones_like(noise), psf=psf, catalog=places)
            pulls.append(found.signed_fluxes / found.signed_flux_errors)
            signal.append(np.nan_to_num(found.fluxes / found.flux_errors))
            surest += [max(source.probabilities.values()) for source in found.sources]
    pulls, signal = np.concatenate(pulls), np.concatenate(signal)
    assert abs(pulls.mean()) < 0.1
    assert 0.8 < pulls.std() < 1.25
    assert signal.max() < 5
    assert np.mean(signal > 3) < 0.02
    assert max(surest) < 0.999


def test_kinds_are_told_and_given_ones_are_kept(blend, deblended):
    assert [source.kind for source in deblended.sources] == ["point", "galaxy"]
    for source in deblended.sources:
        assert sum(source.probabilities.values()) == pytest.approx(1)
    kept = deblend(blend.data, **blend.told, types=["galaxy", "two-component"])
    assert [source.kind for source in kept.sources] == ["galaxy", "two-component"]
    assert [source.probabilities for source in kept.sources] == [{}, {}]
    assert [len(source.morphologies) for source in kept.sources] == [1, 2]
    assert np.all(np.abs(kept.fluxes - blend.fluxes) < 5 * kept.flux_errors)


@pytest.mark.parametrize("regularization", [0.0, 1.0, np.inf])
def test_every_strength_of_the_entropy_gives_non_negative_images_of_sum_one(blend, regularization):
    found = deblend(blend.data, **blend.told, regularization=regularization, max_iter=20)
    for source in found.sources:
        assert np.all(source.morphologies >= 0)
        np.testing.assert_allclose(source.morphologies.sum(axis=(1, 2)), 1, rtol=1e-5)
    assert np.all(found.fluxes >= 0)
    if regularization >= 1:
        assert np.all(np.abs(found.fluxes - blend.fluxes) < 4 * found.flux_errors)


def test_without_regularization_the_data_are_fitted_better_than_with_profiles_alone(blend):
    free, held, profiles = (deblend(blend.data, **blend.told, regularization=s, max_iter=25).chi2 for s in (0.0, 16.0, np.inf))
    assert free < held <= profiles * (1 + 1e-6)


def test_models_are_sources_as_the_telescope_sees_them(blend, deblended):
    np.testing.assert_allclose(deblended.model, deblended.models.sum(axis=0))
    inside = deblended.models.sum(axis=(2, 3))
    np.testing.assert_allclose(inside, deblended.fluxes, rtol=5e-3)
    chi2 = (blend.weights * (blend.data - deblended.model) ** 2).sum()
    assert deblended.chi2 == pytest.approx(chi2, rel=1e-4)
    for k, source in enumerate(deblended.sources):
        np.testing.assert_allclose(source.fluxes, deblended.fluxes[k], rtol=1e-5)
        assert np.hypot(*(np.array(source.center) - blend.centers[k])) < 0.1
    galaxy = deblended.sources[1].parameters
    # the half-light radius of a Gaussian is 1.1774 standard deviations
    assert galaxy["half_light_radius"] == pytest.approx(1.1774 * 2.1, rel=0.1)
    assert galaxy["axis_ratio"] > 0.85


@pytest.mark.parametrize("level", [(-5.0, 7.0, 0.0), (300.0, -2.0, -50.0)])
def test_a_flat_sky_is_found_with_its_sign(blend, level):
    offset = np.array(level)
    found = deblend(blend.data + offset[:, None, None], **blend.told, sky=True)
    n_pixels = blend.data[0].size
    assert found.sources[-1].kind == "sky"
    np.testing.assert_allclose(found.fluxes[-1] / n_pixels, offset, atol=0.2)
    # flat to the edge
    np.testing.assert_allclose(found.models[-1], np.broadcast_to(offset[:, None, None], blend.data.shape), atol=0.2)
    assert np.all(np.abs(found.fluxes[:-1] - blend.fluxes) < 4.5 * found.flux_errors[:-1])


def test_a_sky_that_is_not_there_costs_little(blend, deblended):
    found = deblend(blend.data, **blend.told, sky=True)
    assert np.all(np.abs(found.fluxes[-1]) / blend.data[0].size < 0.2)
    assert np.all(np.abs(found.fluxes[:-1] - deblended.fluxes) < 3 * deblended.flux_errors)


def test_weights_made_of_the_noisy_counts_do_not_bias_fluxes(psf):
    y, x = np.mgrid[:25, :25]
    star = np.exp(-((y - 12.2) ** 2 + (x - 11.7) ** 2) / (2 * 1.7**2)) / (2 * np.pi * 1.7**2)
    flux, sky, ratios = 600.0, 4.0, []
    for seed in range(12):
        counts = np.random.default_rng(seed).poisson(flux * star + sky, (3, 25, 25)) - sky
        told = {"psf": ("gaussian", 1.7 * np.sqrt(8 * np.log(2))), "catalog": [(12.2, 11.7)], "types": ["point"]}
        found = deblend(counts, weights=1 / np.maximum(counts + sky, 1), **told)
        smooth = deblend(counts, weights=np.full(counts.shape, 1 / sky), **told)
        assert any("follow the noise" in note for note in found.notes)
        assert not any("follow the noise" in note for note in smooth.notes)
        ratios.append(found.fluxes[0] / flux)
    # as they are, such weights give 0.88
    assert abs(np.mean(ratios) - 1) < 4 * np.std(ratios) / np.sqrt(36)
    assert np.std(ratios) < 0.1


def test_errors_grow_where_the_model_misfits(make_scene):
    wrong = {"psf": ("gaussian", 2.2), "types": ["point", "point"]}  # far narrower than the true one
    scene = make_scene((40, 40), [(10, 10, 0, 9000, 6000), (30, 30, 0, 150, 100)])
    found, right = deblend(scene.data, **scene.told | wrong), deblend(scene.data, **scene.told | {"types": wrong["types"]})
    factors = found.flux_errors / right.flux_errors
    assert np.all(factors[0] > 3)
    assert np.all(factors[0] > 1.4 * factors[1])
