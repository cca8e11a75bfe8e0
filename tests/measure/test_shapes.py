"""Shapes of blurred images against the unblurred truth, and ellipses on the sky against the sky."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from scipy.special import gammaincinv

from vermilion.datamodels import SceneSource
from vermilion.measure import moments, sky_ellipse, sky_plane, source_shape


def gaussian(shape, center, covariance):
    y, x = np.indices(shape) - np.reshape(center, (2, 1, 1))
    a, b, c = np.linalg.inv(covariance)[[0, 0, 1], [0, 1, 1]]
    return np.exp(-0.5 * (a * y**2 + 2 * b * y * x + c * x**2))


def ellipse(ratio, angle):
    turn = np.radians(angle)
    along, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    return np.outer(along, along) + ratio**2 * np.outer(across, across)


def sersic(index, radius, ratio, angle, *, shape, center, sigma):
    """Sersic profile blurred with a Gaussian, as a sum over points drawn from the profile."""
    rng = np.random.default_rng(0)
    n = 8_000
    # the light within r follows a gamma distribution in b (r/re)^(1/index), drawn evenly
    u1, u2 = ((np.arange(n) + 0.5) / n), rng.permutation((np.arange(n) + 0.5) / n)
    b = gammaincinv(2 * index, 0.5)
    r = radius * (gammaincinv(2 * index, u1) / b) ** index
    phi, turn = 2 * np.pi * u2, np.radians(angle)
    major, minor = r * np.cos(phi), ratio * r * np.sin(phi)
    y, x = center[0] + major * np.sin(turn) + minor * np.cos(turn), center[1] + major * np.cos(turn) - minor * np.sin(turn)
    rows = np.exp(-0.5 * (np.arange(shape[0])[:, None] - y) ** 2 / sigma**2)
    columns = np.exp(-0.5 * (np.arange(shape[1])[:, None] - x) ** 2 / sigma**2)
    return rows @ columns.T / (2 * np.pi * sigma**2 * n)


@pytest.mark.parametrize(("ratio", "angle"), [(0.5, 30.0), (0.3, 120.0), (0.8, 179.0), (0.6, 0.0)])
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_blurred_gaussian_gives_back_its_own_shape(ratio, angle, size):
    image = gaussian((41, 45), (20.3, 21.8), size**2 * ellipse(ratio, angle) + 0.8**2 * np.eye(2))
    found = moments(image, sigma=0.8)
    np.testing.assert_allclose(found.center, (20.3, 21.8), atol=2e-3)
    assert found.axis_ratio == pytest.approx(ratio, abs=0.01)
    assert (found.angle - angle + 90) % 180 - 90 == pytest.approx(0, abs=0.5)
    assert found.half_light_radius == pytest.approx(1.17741 * size * ratio**0.5, rel=0.02)
    assert found.major_axis == pytest.approx(1.17741 * size, rel=0.02)
    np.testing.assert_allclose(found.covariance, size**2 * ellipse(ratio, angle), atol=0.02 * size**2)


@pytest.mark.parametrize(("index", "ratio"), [(1.0, 0.4), (1.0, 0.9), (2.5, 0.5), (4.0, 0.5)])
def test_a_sersic_profile_that_the_box_cuts_gives_back_its_shape(index, ratio):
    image = sersic(index, 4.0, ratio, 40.0, shape=(61, 61), center=(30.0, 30.0), sigma=0.8)
    found = moments(image, sigma=0.8)
    assert found.axis_ratio == pytest.approx(ratio, abs=0.03)
    assert found.angle == pytest.approx(40, abs=2)
    # half of the light in the box, or of all light: the fitted mixture sees a part of what was cut
    within = 4.0 * (gammaincinv(2 * index, 0.5 * image.sum()) / gammaincinv(2 * index, 0.5)) ** index
    assert 0.96 * within < found.major_axis < 1.03 * 4.0


def test_the_unit_of_the_image_does_not_matter():
    image = gaussian((25, 25), (12, 12), 4 * ellipse(0.5, 30) + 0.64 * np.eye(2))
    for scale in (1e-300, 1e-20, 1e20):
        assert moments(scale * image, sigma=0.8).half_light_radius == pytest.approx(moments(image, sigma=0.8).half_light_radius)
    single = moments(image.astype(np.float32), sigma=0.8)
    assert single.axis_ratio == pytest.approx(0.5, abs=0.01)


def test_a_point_has_no_size_and_a_circle_no_angle():
    point = moments(gaussian((21, 21), (10.4, 9.7), 0.64 * np.eye(2)), sigma=0.8)
    assert point.half_light_radius == 0
    assert np.isnan([point.axis_ratio, point.angle]).all()
    circle = moments(gaussian((41, 41), (20, 20), (9 + 0.64) * np.eye(2)), sigma=0.8)
    assert circle.axis_ratio == pytest.approx(1, abs=1e-3)
    assert np.isnan(circle.angle)
    unblurred = moments(gaussian((41, 41), (20, 20), 9 * ellipse(0.5, 60)))
    assert unblurred.major_axis == pytest.approx(3.532, rel=0.02)
    assert unblurred.angle == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.full((5, 5), -1.0), np.full((3, 3), np.nan), np.zeros((0, 0))])
def test_an_image_without_light_has_no_shape(image):
    found = moments(image, sigma=0.8)
    assert np.isnan([found.half_light_radius, found.axis_ratio, found.angle, *found.center]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 2), (3, 3)])
def test_tiny_images_do_no_harm(shape):
    found = moments(np.ones(shape), sigma=0.8)
    assert found.half_light_radius >= 0


@pytest.mark.parametrize("seed", range(4))
def test_any_light_has_a_shape(seed):
    rng = np.random.default_rng(seed)
    found = moments(rng.gamma(0.05, size=(17, 23)), sigma=0.8)
    assert found.half_light_radius >= 0
    assert 0 <= found.axis_ratio <= 1 or np.isnan(found.axis_ratio)


def test_components_count_by_their_flux():
    narrow, wide = (gaussian((41, 41), (20, 20), (s**2 + 0.64) * np.eye(2)) for s in (1.0, 4.0))
    both = np.stack([narrow / narrow.sum(), wide / wide.sum()])

    def radius(*fluxes):
        source = SceneSource(kind="two-component", center=(20.0, 20.0), spectra=np.array([fluxes]), morphologies=both, box=(0, 0))
        return source_shape(source, 0.8).half_light_radius

    assert radius(1.0, 0.0) == pytest.approx(1.177, rel=0.03)
    assert radius(0.0, 5.0) == pytest.approx(4.71, rel=0.03)
    # half of the light of 1/2 exp(-R²/2) + 1/2 exp(-R²/32) lies within 2.05
    assert radius(2.0, 2.0) == pytest.approx(2.05, rel=0.05)
    assert 1.177 < radius(0.0, 0.0) < 4.71
    sky = SceneSource(kind="sky", center=(0.0, 0.0), spectra=np.ones((1, 1)), morphologies=np.ones((1, 3, 3)) / 9, box=(0, 0))
    assert np.isnan(source_shape(sky, 0.8).half_light_radius)


def sky(rotation=0.0, *, center=(150.0, 2.2), scale=0.168, mirror=1.0, ctype="RA---TAN", axes=2):
    wcs = WCS(naxis=axes)
    lat = ctype.replace("RA--", "DEC-").replace("GLON", "GLAT")
    wcs.wcs.ctype = [ctype, lat, "WAVE"][:axes]
    wcs.wcs.crval = [*center, 5e-7][:axes]
    wcs.wcs.crpix = [21, 16, 1][:axes]
    turn = np.radians(rotation)
    pc = np.eye(axes)
    pc[:2, :2] = [[-mirror * np.cos(turn), mirror * np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    wcs.wcs.pc = pc
    wcs.wcs.cdelt = [scale / 3600, scale / 3600, 1e-10][:axes]
    wcs.wcs.cunit = ["deg", "deg", "m"][:axes]
    return wcs


@pytest.mark.parametrize("rotation", [0.0, 35.0, 200.0])
@pytest.mark.parametrize("center", [(150.0, 2.2), (359.99999, -80.0), (10.0, 89.9999)], ids=["equator", "south", "pole"])
def test_the_jacobian_goes_where_the_sky_goes(rotation, center):
    wcs, at = sky(rotation, center=center), np.array([[15.0, 20.0], [17.5, 11.25]])
    plane = sky_plane(wcs, at)
    for k, (y, x) in enumerate(at):
        here = wcs.pixel_to_world(x, y)
        assert here.separation(SkyCoord(plane.ra[k], plane.dec[k], unit="deg")) < 1e-6 * u.arcsec
        for step in ((1.0, 0.0), (0.0, 1.0), (0.6, -0.8)):
            there = wcs.pixel_to_world(x + step[1], y + step[0])
            east, north = plane.jacobian[k] @ step
            assert np.hypot(east, north) == pytest.approx(here.separation(there).arcsec, rel=1e-4)
            turn = np.degrees(np.arctan2(east, north)) - here.position_angle(there).deg
            assert (turn + 180) % 360 - 180 == pytest.approx(0, abs=0.5)


def test_position_angles_run_from_north_towards_east():
    # north up, east to the left: the x axis points west (PA 270 = 90), 30 degrees towards y (north) is PA 270 + 30 = 300, or 120
    jacobian = sky_plane(sky(), [(15.0, 20.0)]).jacobian[0]
    radius, ratio, angle = sky_ellipse(jacobian, 10.0, 0.5, 30.0)
    np.testing.assert_allclose([radius, ratio, angle], [1.68, 0.5, 120.0], rtol=1e-5)
    mirrored = sky_ellipse(sky_plane(sky(mirror=-1.0), [(15.0, 20.0)]).jacobian[0], 10.0, 0.5, 30.0)
    np.testing.assert_allclose(mirrored, [1.68, 0.5, 60.0], rtol=1e-5)
    assert np.isnan(sky_ellipse(jacobian, 10.0, 1.0, np.nan)[2])
    assert sky_ellipse(jacobian, 0.0, np.nan, np.nan)[0] == 0
    assert np.isnan(sky_ellipse(np.full((2, 2), np.nan), 0.0, np.nan, np.nan)[0])


def test_galactic_coordinates_become_icrs():
    plane = sky_plane(sky(ctype="GLON-TAN", center=(30.0, 60.0)), [(15.0, 20.0)])
    expected = SkyCoord(30, 60, unit="deg", frame="galactic").icrs
    np.testing.assert_allclose([plane.ra[0], plane.dec[0]], [expected.ra.deg, expected.dec.deg], rtol=1e-9)


def test_errors_turn_with_the_sky():
    covariance = np.array([[[0.04, 0.0], [0.0, 0.01]], [[np.inf, np.nan], [np.nan, 0.01]]])
    at = [(15.0, 20.0)] * 2
    errors = sky_plane(sky(), at).errors(covariance)
    np.testing.assert_allclose(errors[0], 0.168 * np.array([0.1, 0.2]), rtol=1e-5)
    np.testing.assert_allclose(sky_plane(sky(90.0), at).errors(covariance)[0], 0.168 * np.array([0.2, 0.1]), rtol=1e-5)
    assert np.isinf(errors[1]).all()


def test_a_cube_has_a_sky_too_and_a_spectrum_none():
    np.testing.assert_allclose(sky_plane(sky(axes=3), [(15.0, 20.0)]).ra, sky_plane(sky(), [(15.0, 20.0)]).ra)
    spectrum = WCS(naxis=1)
    spectrum.wcs.ctype = ["WAVE"]
    assert sky_plane(spectrum, [(0.0, 0.0)]) is None
    assert sky_plane(None, [(0.0, 0.0)]) is None
    assert sky_plane(sky(), []).jacobian.shape == (0, 2, 2)
