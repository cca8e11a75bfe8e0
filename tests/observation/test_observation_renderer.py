import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.wcs import WCS

from vermilion.errors import ParameterError, ShapeError, UnitError
from vermilion.observation import Observation, observation_renderer, psf_images, resample_psfs
from vermilion.observation.psf_moments import stamp_moments
from vermilion.observation.psf_profiles import gaussian_stamp
from vermilion.renderers import Convolution

MODEL_SHAPE = (61, 64)
ARCSEC = 1 / 3600


def tangent_plane(scale, degrees=0.0, middle=(30.0, 31.0), center=(150.0, 2.0)):
    """Sky coordinates with `scale` arcsec per pixel whose reference lies at pixel (y, x) = `middle`, counted from 0."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = center
    wcs.wcs.crpix = [middle[1] + 1, middle[0] + 1]
    t = np.deg2rad(degrees)
    wcs.wcs.cd = scale * ARCSEC * np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    return wcs


def elongated(shape, center, major, minor):
    """A Gaussian PSF with two standard deviations, turned by half a radian."""
    y, x = np.indices(shape) - np.array(center)[:, None, None]
    along, across = np.cos(0.5) * x + np.sin(0.5) * y, np.cos(0.5) * y - np.sin(0.5) * x
    return np.exp(-0.5 * ((along / major) ** 2 + (across / minor) ** 2)) / (2 * np.pi * major * minor)


MODEL_WCS = tangent_plane(0.2)


@pytest.mark.parametrize(("scale", "degrees"), [(0.2, 0), (0.27, 35), (0.13, -110)])
@pytest.mark.parametrize("stamp_size", [35, 36])
def test_a_star_lands_on_the_other_image_as_its_psf_says(scale, degrees, stamp_size):
    n = int(50 * 0.2 / scale)
    data_wcs = tangent_plane(scale, degrees, middle=(n / 2 + 0.3, n / 2 - 0.6))
    axes = 0.5 / scale, 0.36 / scale
    psf = elongated((stamp_size, stamp_size), [(stamp_size - 1) / 2] * 2, *axes)
    renderer, kernels = observation_renderer(psf, 2, MODEL_SHAPE, data_shape=(n, n + 1), model_wcs=MODEL_WCS, data_wcs=data_wcs)
    assert renderer.data_shape == (n, n + 1)
    rng = np.random.default_rng(4)
    for _ in range(3):
        y, x = n / 2 + rng.uniform(-3, 3, size=2)
        there = MODEL_WCS.world_to_pixel(data_wcs.pixel_to_world(x, y))
        model = gaussian_stamp(MODEL_SHAPE, kernels.model_sigma, center=(float(there[1]), float(there[0])))
        image = renderer(torch.from_numpy(model)[None]).numpy()[1]
        expected = elongated(image.shape, (y, x), *axes)
        np.testing.assert_allclose(stamp_moments(image)[0], (y, x), rtol=0, atol=0.01)
        assert image.sum() == pytest.approx(1, abs=1e-3)
        assert np.abs(image - expected).max() < 0.005 * expected.max()


def test_extended_light_keeps_its_flux_on_both_grids():
    model = gaussian_stamp(MODEL_SHAPE, 4.0, center=(28.3, 33.1))[None]
    fluxes = []
    for scale, degrees in ((0.2, 0.0), (0.31, 20.0)):
        wcs = tangent_plane(scale, degrees, middle=(24, 25))
        renderer, _ = observation_renderer(
            ("moffat", 3.0, 3.0), 1, MODEL_SHAPE, 0.8, data_shape=(52, 52), model_wcs=MODEL_WCS, data_wcs=wcs
        )
        fluxes.append(float(renderer(torch.from_numpy(model)).sum()))
    assert fluxes == pytest.approx([1, 1], abs=3e-3)


def test_the_same_grid_needs_no_resampling():
    for wcs in ({}, {"model_wcs": MODEL_WCS, "data_wcs": MODEL_WCS.deepcopy()}):
        renderer, _ = observation_renderer(("gaussian", 3.0), 3, MODEL_SHAPE, data_shape=MODEL_SHAPE, **wcs)
        assert type(renderer) is Convolution
        assert (renderer.n_bands, renderer.model_shape, renderer.data_shape) == (3, MODEL_SHAPE, MODEL_SHAPE)


def test_an_observation_renders_with_it():
    renderer, kernels = observation_renderer(("gaussian", 3.0), 2, MODEL_SHAPE)
    model = torch.from_numpy(gaussian_stamp(MODEL_SHAPE, kernels.model_sigma, center=(20, 22)))[None]
    data = renderer(model)
    observation = Observation(data, torch.ones_like(data), renderer).to(dtype=torch.float32)
    torch.testing.assert_close(observation.render(model.float()), observation.data, rtol=0, atol=1e-6)


def test_an_angle_becomes_pixels_by_the_coordinate_system():
    wcs = {"model_wcs": MODEL_WCS, "data_wcs": MODEL_WCS}
    by_angle, _ = observation_renderer(("gaussian", 0.6 * u.arcsec), 1, MODEL_SHAPE, **wcs)
    by_pixels, _ = observation_renderer(("gaussian", 3.0), 1, MODEL_SHAPE)
    torch.testing.assert_close(by_angle.kernels, by_pixels.kernels, rtol=1e-6, atol=1e-12)
    with pytest.raises(UnitError, match="pixel_scale"):
        observation_renderer(("gaussian", 0.6 * u.arcsec), 1, MODEL_SHAPE)


def test_pixels_outside_the_model_frame_are_said_so_and_empty():
    data_wcs = tangent_plane(0.2, middle=(50.0, 31.0))
    renderer, kernels = observation_renderer(
        ("gaussian", 3.0), 1, MODEL_SHAPE, data_shape=MODEL_SHAPE, model_wcs=MODEL_WCS, data_wcs=data_wcs
    )
    # 20 of 61 rows
    assert kernels.notes == (
        "32.8% of the images' pixels lie outside the model frame and are modeled as empty: give them weight 0 or a larger model frame.",
    )
    assert float(renderer(torch.ones(1, *MODEL_SHAPE))[0, :10].abs().max()) == 0


def test_a_psf_keeps_its_second_moments_on_the_sky():
    jacobian = np.array([[0.0, 1.6], [-1.2, 0.3]])
    covariance = stamp_moments(resample_psfs(psf_images(elongated((25, 25), (12, 12), 2.4, 1.7), 1), jacobian)[0])[1]
    expected = jacobian @ stamp_moments(elongated((25, 25), (12, 12), 2.4, 1.7))[1] @ jacobian.T
    np.testing.assert_allclose(covariance, expected, rtol=0.01, atol=0.01)


def test_grids_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"data_shape is \(5, 6\), model_shape \(61, 64\)"):
        observation_renderer(("gaussian", 3.0), 1, MODEL_SHAPE, data_shape=(5, 6))
    with pytest.raises(ParameterError, match="one of model_wcs and data_wcs is missing"):
        observation_renderer(("gaussian", 3.0), 1, MODEL_SHAPE, data_wcs=MODEL_WCS)
    for center in ((150.1, 2.0), (330.0, -2.0)):
        with pytest.raises(ParameterError, match="no pixel of the images lies in the model frame"):
            observation_renderer(("gaussian", 3.0), 1, MODEL_SHAPE, model_wcs=MODEL_WCS, data_wcs=tangent_plane(0.2, center=center))
