"""Images of profiles and their derivatives."""

import numpy as np
import pytest
import torch

from vermilion.deblending.profiles import LOG_INDEX, LOG_RADIUS, Profiles, covariances, profile_images, profile_jacobian

LIKE = torch.zeros(1, dtype=torch.float64)
SHAPE, SIGMA = (30, 34), 0.8
ROWS = [(14.3, 16.8, 0, 0, 0, 1), (14.3, 16.8, 2.1, 0.3, -0.4, 1.0), (12.0, 15.5, 1.2, 0.0, 0.0, 2.7), (15.2, 15.9, 3.0, -0.5, 0.2, 0.8)]


def moved(profiles, component, parameter, step):
    centers, shapes = profiles.centers.copy(), profiles.shapes.copy()
    if parameter < 2:
        centers[profiles.owner[component], parameter] += step
    else:
        shapes[component, parameter - 2] += step
    return profiles.moved(centers, shapes)


@pytest.mark.parametrize("component", range(len(ROWS)))
@pytest.mark.parametrize("parameter", range(6))
def test_derivatives_are_those_of_finite_differences(make_profiles, component, parameter):
    profiles = make_profiles(*ROWS)
    images, jacobian = profile_jacobian(profiles, SHAPE, SIGMA, LIKE)
    # round to 1e-10: the formula for a stretch has a limit at 0, which the third row stands on
    step = 1e-5
    ahead, behind = (profile_images(moved(profiles, component, parameter, s), SHAPE, SIGMA, LIKE)[component] for s in (step, -step))
    torch.testing.assert_close(images, profile_images(profiles, SHAPE, SIGMA, LIKE))
    if profiles.point[component] and parameter >= 2:
        return  # points have no shape
    assert jacobian[component, parameter].abs().max() > 1e-6
    torch.testing.assert_close(jacobian[component, parameter], (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-8)


def test_a_point_is_the_psf_of_the_model_frame(make_profiles):
    y, x = np.indices(SHAPE)
    expected = np.exp(-((y - 14.3) ** 2 + (x - 16.8) ** 2) / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2)
    image = profile_images(make_profiles(ROWS[0]), SHAPE, SIGMA, LIKE)[0]
    np.testing.assert_allclose(image.numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("index", [0.5, 1.0, 2.5])
def test_a_galaxy_is_a_sersic_profile_smeared_by_the_psf_of_the_model_frame(make_profiles, index):
    from astropy.modeling.models import Sersic2D
    from scipy.ndimage import gaussian_filter

    # e = (0.4, 0): axes exp(+-0.2) along y and x, at the same area
    fine, radius = 11, 3.0
    y, x = (np.arange(fine * n) / fine - (fine - 1) / (2 * fine) for n in SHAPE)
    sersic = Sersic2D(1, radius * np.exp(0.2), index, x_0=16.8, y_0=14.3, ellip=1 - np.exp(-0.4), theta=np.pi / 2)
    smeared = gaussian_filter(sersic(x[None], y[:, None]), SIGMA * fine, mode="constant")
    expected = smeared[fine // 2 :: fine, fine // 2 :: fine]
    image = profile_images(make_profiles((14.3, 16.8, radius, 0.4, 0, index)), SHAPE, SIGMA, LIKE)[0].numpy()
    # 1 % of the peak: the wings of the profile are cut softly, which the model says of itself
    scale = (expected * image).sum() / (expected**2).sum()
    np.testing.assert_allclose(image, scale * expected, atol=0.01 * image.max())


def test_the_stretch_keeps_the_area_and_turns_with_the_axes():
    shapes = np.zeros((3, 4))
    shapes[:, LOG_RADIUS] = np.log([1.0, 2.0, 1.5])
    shapes[1, 1:3], shapes[2, 1:3] = (0.6, 0.0), (0.0, -0.8)
    made = covariances(shapes)
    np.testing.assert_allclose(np.linalg.det(made), np.array([1.0, 2.0, 1.5]) ** 4, rtol=1e-11)
    np.testing.assert_allclose(made[1], 4 * np.diag(np.exp([0.6, -0.6])), rtol=1e-11)
    # exp([[0, e], [e, 0]]) = [[cosh e, sinh e], [sinh e, cosh e]]
    np.testing.assert_allclose(made[2], 2.25 * np.array([[np.cosh(0.8), -np.sinh(0.8)], [-np.sinh(0.8), np.cosh(0.8)]]), rtol=1e-11)


def test_points_have_no_free_shape_and_the_index_is_free_only_where_said():
    profiles = Profiles(
        np.zeros((2, 2)), np.array([0, 1, 1]), np.array([True, False, False]), np.zeros((3, 4)), np.array([True, True, False])
    )
    assert profiles.free.sum(axis=1).tolist() == [0, 4, 3]
    assert profiles.free[:, LOG_INDEX].tolist() == [False, True, False]
