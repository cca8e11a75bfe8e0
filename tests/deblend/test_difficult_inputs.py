"""Sources where it is hard to have one, images with little in them, and several grids."""

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from vermilion.datamodels import Cube, Frame, Status
from vermilion.deblend import deblend
from vermilion.errors import NoDataError


@pytest.mark.parametrize("place", [(0.0, 0.0), (31.4, 20.0), (-4.0, 12.0), (-200.0, 500.0)])
def test_sources_at_the_edge_and_outside_do_no_harm(blend, deblended, place):
    found = deblend(blend.data, **blend.told | {"catalog": [*blend.centers, place]})
    assert len(found.sources) == 3
    assert np.isfinite(found.fluxes).all()
    assert np.isfinite(found.models).all()
    assert np.all(np.abs(found.fluxes[:2] - deblended.fluxes) < 2 * deblended.flux_errors)
    assert np.abs(found.models[2]).max() < 5


def test_a_star_on_the_edge_has_the_flux_that_lies_inside(make_scene):
    scene = make_scene((30, 30), [(0.2, 15.1, 0, 2000, 1000), (18, 14, 1.8, 1500, 1500)])
    found = deblend(scene.data, **scene.told)
    np.testing.assert_allclose(found.models[0].sum(axis=(1, 2)), scene.fluxes[0], rtol=0.03)
    assert np.all(np.abs(found.fluxes[1] - scene.fluxes[1]) < 4 * found.flux_errors[1])


def test_the_flux_behind_a_mask_is_uncertain_and_said_to_be_so(blend, deblended):
    weights = blend.weights.copy()
    weights[:, 8:21, 7:20] = 0
    found = deblend(np.where(weights > 0, blend.data, np.nan), **blend.told | {"weights": weights})
    errors = np.nan_to_num(found.signed_flux_errors[0], nan=np.inf)
    assert np.all(errors > 10 * deblended.signed_flux_errors[0])
    assert np.isfinite(found.fluxes).all()
    assert np.all(np.abs(found.fluxes[1] - blend.fluxes[1]) < 4.5 * found.flux_errors[1])


def test_a_source_that_no_datum_sees_has_no_flux(blend):
    weights = blend.weights.copy()
    weights[:, :, :26] = 0
    hidden = (5.0, 3.0)
    found = deblend(blend.data, **blend.told | {"weights": weights, "catalog": [hidden, blend.centers[1]]})
    assert np.isfinite(found.fluxes).all()
    assert np.isnan(found.flux_errors[0]).all() or np.all(np.nan_to_num(found.fluxes[0] / found.flux_errors[0]) < 3)


def test_two_sources_at_one_place_have_the_flux_of_one(blend, deblended):
    found = deblend(blend.data, **blend.told | {"catalog": [*blend.centers, blend.centers[0]]})
    np.testing.assert_allclose(found.fluxes[0] + found.fluxes[2], deblended.fluxes[0], rtol=0.02)
    assert any("cannot be told apart" in note for note in found.notes)


def test_one_band_is_enough(make_scene):
    scene = make_scene((32, 36), [(14, 13, 0, 900), (16.1, 21, 2.1, 2000)])
    found = deblend(scene.data, **scene.told)
    assert [source.kind for source in found.sources] == ["point", "galaxy"]
    assert np.all(np.abs(found.fluxes - scene.fluxes) < 4 * found.flux_errors)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 30), (2, 25)])
def test_tiny_images_are_fitted(make_scene, shape):
    center = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    scene = make_scene(shape, [(*center, 0, 3000, 3000)])
    found = deblend(scene.data, **scene.told, types=["point"])
    np.testing.assert_allclose(found.models.sum(axis=(2, 3)), scene.fluxes, rtol=0.05)
    # what is emitted inside the frame is more than what is seen there
    assert np.all(found.fluxes > scene.fluxes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sign", [0.0, -1.0])
def test_images_without_light_leave_no_flux(blend, sign, dtype):
    data = sign * blend.clean + (np.random.default_rng(1).normal(size=blend.data.shape) if sign else 0.0)
    found = deblend(data, **blend.told, dtype=dtype)
    assert np.all(found.fluxes < 3)
    assert np.isfinite(found.models).all()
    assert np.isfinite(found.chi2)
    assert found.status is Status.CONVERGED


def test_without_a_catalog_sources_are_detected(blend, psf):
    found = deblend(blend.data, weights=blend.weights, psf=psf)
    for center, fluxes in zip(blend.centers, blend.fluxes, strict=True):
        distance = [np.hypot(*(np.array(source.center) - center)) for source in found.sources]
        k = int(np.argmin(distance))
        assert distance[k] < 0.3
        assert np.all(np.abs(found.fluxes[k] - fluxes) < 5 * found.flux_errors[k])
    assert found.chi2 < 1.1 * found.n_data


def test_without_weights_the_noise_is_that_of_neighboring_pixels(blend, psf):
    found = deblend(blend.data, psf=psf, catalog=blend.centers)
    told = deblend(blend.data, **blend.told)
    np.testing.assert_allclose(found.flux_errors, told.flux_errors, rtol=0.15)
    assert np.all(np.abs(found.fluxes - told.fluxes) < told.flux_errors)


def test_nothing_detected_is_no_data(psf):
    noise = np.random.default_rng(2).normal(size=(3, 32, 36))
    with pytest.raises(NoDataError, match=r"no source stands above 5 times the noise: lower the threshold, or give a catalog\.$"):
        deblend(noise, weights=np.ones_like(noise), psf=psf)


def test_a_sky_alone_is_measured(psf):
    data = 3 + np.random.default_rng(3).normal(size=(2, 20, 20))
    found = deblend(data, weights=np.ones_like(data), psf=psf, catalog=[], sky=True)
    assert [source.kind for source in found.sources] == ["sky"]
    np.testing.assert_allclose(found.fluxes[0] / 400, data.mean(axis=(1, 2)), rtol=1e-3)


def test_a_catalog_says_kinds_and_names(blend):
    table = Table({"id": ["a7", "b3"], "y": blend.centers[:, 0], "x": blend.centers[:, 1], "type": ["galaxy", "star"]})
    found = deblend(blend.data, **blend.told | {"catalog": table}, types="given")
    assert [source.kind for source in found.sources] == ["galaxy", "point"]
    assert found.provenance["identifiers"] == ["a7", "b3"]


def tangent(shape, scale, degrees):
    """Sky coordinates whose reference lies in the middle of the image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    turn = np.radians(degrees)
    wcs.wcs.cd = scale / 3600 * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return wcs


@pytest.fixture(scope="module")
def two_grids(make_scene):
    """The same star and galaxy on a coarser and turned grid: cubes, PSFs, places of the sources and true fluxes."""
    shape, other, coarser = (26, 28), (18, 20), 1.25
    wcs, turned = tangent(shape, 0.2, 0), tangent(other, 0.2 * coarser, 25)
    first = [(12, 10, 0, 900, 600), (13.5, 17, 1.8, 2000, 1000)]
    places = np.array([row[:2] for row in first], dtype=float)
    x, y = turned.world_to_pixel(wcs.pixel_to_world(places[:, 1], places[:, 0]))
    second = [(y[k], x[k], first[k][2] / coarser, *first[k][3:]) for k in range(2)]
    scenes = [make_scene(shape, first, seed=1), make_scene(other, second, seed=2, psf_sigma=1.5 / coarser)]
    cubes = [
        Cube(data=scene.data, variance=1 / scene.weights, frame=Frame(shape=scene.data.shape[1:], n_bands=2, wcs=one))
        for scene, one in zip(scenes, (wcs, turned), strict=True)
    ]
    fwhm = 1.5 * 2 * np.sqrt(2 * np.log(2))
    return (
        cubes,
        [("gaussian", fwhm), ("gaussian", fwhm / coarser)],
        [scene.centers for scene in scenes],
        np.array([row[3:] for row in first]),
    )


def test_several_grids_give_the_fluxes_of_one(two_grids):
    cubes, psfs, centers, fluxes = two_grids
    options = {"regularization": np.inf, "types": ["point", "galaxy"]}
    alone = [deblend(cube, psf=psf, catalog=center, **options) for cube, psf, center in zip(cubes, psfs, centers, strict=True)]
    both = deblend(cubes, psf=psfs, catalog=centers[0], **options)
    errors = np.hstack([one.flux_errors for one in alone])
    assert both.fluxes.shape == (2, 4)
    assert np.all(np.abs(both.fluxes - np.hstack([one.fluxes for one in alone])) < 3 * errors)
    assert np.all(np.abs(both.fluxes - np.hstack([fluxes, fluxes])) < 4 * errors)
    assert np.all(both.flux_errors < 1.1 * errors)
    assert both.models.shape == (2, 4, 26, 28)
    assert both.n_data == sum(cube.data.size for cube in cubes)
    assert abs(both.chi2 - both.n_data) < 5 * np.sqrt(2 * both.n_data)


def test_free_pixels_on_several_grids_keep_the_fluxes(two_grids):
    cubes, psfs, centers, fluxes = two_grids
    both = deblend(cubes, psf=psfs, catalog=centers[0], types=["point", "galaxy"], max_iter=20)
    assert np.all(np.abs(both.fluxes - np.hstack([fluxes, fluxes])) < 4 * both.flux_errors)


def test_the_same_cube_twice_says_the_same_with_smaller_errors(two_grids):
    cubes, psfs, centers, _ = two_grids
    options = {"regularization": np.inf, "types": ["point", "galaxy"]}
    once, twice = (
        deblend(cubes[0], psf=psfs[0], catalog=centers[0], **options),
        deblend([cubes[0]] * 2, psf=[psfs[0]] * 2, catalog=centers[0], **options),
    )
    np.testing.assert_allclose(twice.fluxes[:, :2], twice.fluxes[:, 2:], rtol=1e-4)
    assert np.all(np.abs(twice.fluxes[:, :2] - once.fluxes) < once.flux_errors)
    # shapes and centers are known better, each band's noise is what it was
    assert np.all(twice.flux_errors[:, :2] <= once.flux_errors * (1 + 1e-6))
