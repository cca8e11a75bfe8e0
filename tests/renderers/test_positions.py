import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from vermilion.errors import HeaderError, ShapeError
from vermilion.renderers import affine_positions, inside_frame, sky_positions


def tangent_plane(scale, degrees=0.0, frame=("RA---TAN", "DEC--TAN"), center=(150.0, 2.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = frame
    wcs.wcs.crval = center
    wcs.wcs.crpix = [11, 9]
    t = np.deg2rad(degrees)
    wcs.wcs.cd = scale / 3600 * np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    return wcs


def test_affine_positions_are_the_matrix_times_the_pixel():
    positions = affine_positions([[2, 1], [0, 3]], [5, 7], (4, 6))
    assert positions.shape == (4, 6, 2)
    assert positions[3, 2].tolist() == [2 * 3 + 2 + 5, 3 * 2 + 7]
    with pytest.raises(ShapeError, match=r"matrix has shape \(3, 3\), offset \(2,\)"):
        affine_positions(np.eye(3), [0, 0], (4, 4))


def test_sky_positions_are_those_of_the_same_sky_in_another_frame():
    model = tangent_plane(0.2)
    galactic = SkyCoord(150 * u.deg, 2 * u.deg).galactic
    data = tangent_plane(0.3, 40, ("GLON-TAN", "GLAT-TAN"), (galactic.l.deg, galactic.b.deg))
    positions = sky_positions(model, data, (20, 24))
    for y, x in ((0, 0), (19, 3), (7, 23)):
        there = model.pixel_to_world(positions[y, x, 1], positions[y, x, 0])
        assert data.pixel_to_world(x, y).separation(there) < 1e-6 * u.arcsec


def test_spectral_axes_do_not_matter():
    cube = WCS(naxis=3)
    cube.wcs.ctype = ["RA---TAN", "DEC--TAN", "WAVE"]
    cube.wcs.crval, cube.wcs.crpix, cube.wcs.cdelt = [150, 2, 5e-7], [11, 9, 1], [-0.2 / 3600, 0.2 / 3600, 1e-10]
    positions = sky_positions(tangent_plane(0.2), cube, (5, 6))
    np.testing.assert_allclose(positions, affine_positions(np.eye(2), [0, 0], (5, 6)), atol=1e-6)


def test_a_wcs_without_sky_is_refused():
    with pytest.raises(HeaderError, match="data_wcs has axes"):
        sky_positions(tangent_plane(0.2), WCS(naxis=2), (4, 4))


def test_a_pixel_is_inside_up_to_its_edges():
    assert inside_frame(np.array([[-0.5, 3.5], [2.6, 0], [np.nan, 0]]), (3, 4)).tolist() == [True, False, False]
