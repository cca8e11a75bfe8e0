"""Pixels go out of the image plane and come back."""

import numpy as np
import pytest
from astropy import units as u

from vermilion import Frame
from vermilion.errors import ShapeError


def test_kept_pixels_come_back_to_their_places():
    frame = Frame(shape=(2, 3), n_bands=4, pixels=np.array([0, 4, 5]))  # y * 3 + x
    image = frame.to_image(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(image, [[[1, np.nan, np.nan], [np.nan, 2, 3]]])
    np.testing.assert_array_equal(frame.to_pixels(image), [[1, 2, 3]])
    assert frame.n_pixels == 3
    assert frame.to_image(np.array([1.0, 2.0, 3.0]), fill=-1).tolist() == [[1, -1, -1], [-1, 2, 3]]


def test_without_dropped_pixels_images_are_reshaped():
    frame = Frame(shape=(2, 3), n_bands=1)
    values = np.arange(12).reshape(2, 6)
    assert frame.n_pixels == 6
    np.testing.assert_array_equal(frame.to_image(values), values.reshape(2, 2, 3))
    np.testing.assert_array_equal(frame.to_pixels(frame.to_image(values)), values)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (0, 3), "n_bands": 1}, "at least one band and pixel"),
        ({"shape": (2, 3, 4), "n_bands": 1}, r"expected \(Ny, Nx\)"),
        ({"shape": (2, 3), "n_bands": 0}, "at least one band"),
        ({"shape": (2, 3), "n_bands": 4, "spectral_axis": np.arange(3) * u.nm}, r"spectral_axis has shape \(3,\), expected \(4,\)"),
        ({"shape": (2, 3), "n_bands": 2, "band_names": ("g",)}, "1 band names for 2 bands"),
        ({"shape": (2, 3), "n_bands": 2, "unit": (u.Jy,)}, "1 units for 2 bands"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, sentence):
    with pytest.raises(ShapeError, match=sentence):
        Frame(**options)


def test_values_of_the_wrong_length_are_refused():
    frame = Frame(shape=(2, 3), n_bands=1, pixels=np.array([1, 2]))
    with pytest.raises(ShapeError, match=r"values has shape \(3,\), expected \(..., 2\): one per kept pixel"):
        frame.to_image(np.zeros(3))
    with pytest.raises(ShapeError, match=r"images has shape \(3, 2\), expected \(..., 2, 3\)"):
        frame.to_pixels(np.zeros((3, 2)))


def test_the_representation_is_one_short_line():
    frame = Frame(shape=(2, 3), n_bands=2, spectral_axis=[500, 600] * u.nm, unit=u.Jy)
    assert repr(frame) == "Frame(2 bands (500 nm to 600 nm) x 2 x 3, 6 pixels kept, unit Jy)"
    assert "g, r" in repr(Frame(shape=(2, 3), n_bands=2, band_names=("g", "r")))
    assert "no spectral axis" in repr(Frame(shape=(2, 3), n_bands=2))
