"""Weights, the way to the matrix and back, and what is shown of a cube."""

import numpy as np
import pytest
from astropy import units as u

from vermilion import PSF, Cube, Frame, Matrix
from vermilion.errors import ShapeError


def cube(shape=(3, 2, 4), *, seed=0, **options):
    rng = np.random.default_rng(seed)
    return Cube(rng.normal(size=shape).astype("f4"), rng.gamma(2.0, size=shape).astype("f4"), **options)


def test_weights_are_inverse_variances_and_zero_where_anything_is_missing():
    data = np.array([1, 2, np.nan, np.inf, 5, 6, 7, 8, 9], dtype="f4").reshape(9, 1, 1)
    variance = np.array([4, 1, 1, 1, 0, -1, np.nan, np.inf, 0.5], dtype="f4").reshape(9, 1, 1)
    mask = np.zeros((9, 1, 1), dtype=bool)
    mask[1] = True
    weights = Cube(data, variance, mask).weights
    assert weights.ravel().tolist() == [0.25, 0, 0, 0, 0, 0, 0, 0, 2]
    assert weights.dtype == np.float32


def test_without_variance_weights_are_one_where_there_are_data():
    mask = np.array([[[False, True, False]]])
    assert Cube(np.array([[[1.0, 2.0, np.nan]]]), mask=mask).weights.tolist() == [[[1, 0, 0]]]


@pytest.mark.parametrize("size", [1e-20, 1e-22, 1e22])
def test_weights_too_large_or_small_for_float32_are_float64(size):
    sigma = np.full((1, 1, 3), size, dtype="f8")
    one = Cube(np.ones((1, 1, 3), dtype="f4"), sigma**2)
    assert one.weights.dtype == np.float64
    np.testing.assert_allclose(one.weights, size**-2.0)


def test_a_variance_so_small_that_its_inverse_overflows_is_absent():
    variance = np.array([1e-310, 1.0]).reshape(2, 1, 1)
    assert Cube(np.ones((2, 1, 1)), variance).weights.ravel().tolist() == [0, 1]


def test_pixels_without_weight_are_dropped_and_come_back_as_nan():
    c = cube()
    c.data[:, 1, 2] = np.nan
    c.variance[:, 0, 3] = 0
    c.data[1, 0, 0] = np.nan  # one band only: the pixel stays
    matrix = c.to_matrix()
    assert isinstance(matrix, Matrix)
    assert matrix.data.shape == matrix.weights.shape == (3, 6)
    assert matrix.frame.pixels.tolist() == [0, 1, 2, 4, 5, 7]
    assert np.isfinite(matrix.data).all()
    assert matrix.data[1, 0] == matrix.weights[1, 0] == 0
    back = matrix.frame.to_image(matrix.data)
    seen = c.weights > 0
    np.testing.assert_array_equal(back[seen], c.data[seen])
    assert np.isnan(back[:, 1, 2]).all()
    assert np.isnan(back[:, 0, 3]).all()
    np.testing.assert_array_equal(matrix.frame.to_pixels(back), matrix.data)


def test_masked_values_keep_their_number_without_weight():
    c = cube(mask=np.zeros((3, 2, 4), dtype=bool))
    c.mask[0, 0, 0] = True
    matrix = c.to_matrix()
    assert matrix.data[0, 0] == c.data[0, 0, 0]
    assert matrix.weights[0, 0] == 0


def test_a_cube_without_any_weight_gives_an_empty_matrix():
    c = Cube(np.full((3, 2, 4), np.nan))
    assert c.to_matrix().data.shape == (3, 0)


def test_the_cube_is_left_alone():
    c = cube()
    c.data[0, 0, 0] = np.nan
    before = c.data.copy()
    matrix = c.to_matrix()
    matrix.data[:] = 7
    np.testing.assert_array_equal(c.data, before)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Cube(np.zeros((2, 3))), r"data has shape \(2, 3\): expected \(bands, y, x\)"),
        (lambda: Cube(np.zeros((1, 2, 3), dtype=">f4")), r"type >f4: expected native float32 or float64; use data.astype"),
        (lambda: Cube(np.zeros((1, 2, 3), dtype=int)), "expected native float32 or float64"),
        (lambda: Cube(np.zeros((1, 2, 3)), np.zeros((2, 3))), r"variance has shape \(2, 3\), data has \(1, 2, 3\): expected equal"),
        (lambda: Cube(np.zeros((1, 2, 3)), mask=np.zeros((1, 2, 3))), "mask is of type float64: expected bool, True = bad"),
        (lambda: Cube(np.zeros((1, 2, 3)), frame=Frame(shape=(3, 2), n_bands=1)), r"the frame says \(1, 3, 2\)"),
        (lambda: Matrix(np.zeros((2, 3)), np.zeros((2, 4)), Frame(shape=(1, 3), n_bands=2)), r"weights has shape \(2, 4\), the frame says"),
        (lambda: PSF(), r"needs an image \(B, h, w\) or a fwhm"),
        (lambda: PSF(image=np.zeros((3, 3))), r"image has shape \(3, 3\): expected finite values"),
        (lambda: PSF(fwhm=[1, 2] * u.arcsec, beta=np.ones(3)), r"beta has shape \(3,\), fwhm has \(2,\)"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(make, sentence):
    with pytest.raises(ShapeError, match=sentence):
        make()


def test_the_representation_is_one_line_that_names_what_matters():
    c = cube(meta={"name": "NGC 1"}, frame=Frame(shape=(2, 4), n_bands=3, unit=u.Jy))
    assert repr(c) == "Cube(NGC 1: 3 bands x 2 x 4, float32, unit Jy, with variance)"
    assert repr(c.to_matrix()) == "Matrix(3 bands x 8 pixels, float32, 0.0% without weight)"
    assert "no noise" in repr(Cube(c.data))


def test_the_table_for_notebooks_escapes_what_the_file_said():
    c = Cube(np.array([[[1.0, np.nan]]]), frame=Frame(shape=(1, 2), n_bands=1, band_names=("<b>",)))
    page = c._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "50.0%" in page
    assert page.startswith("<table>")


def test_a_psf_says_what_it_is():
    assert repr(PSF(fwhm=[1, 2] * u.arcsec, beta=np.ones(2))).startswith("PSF(Moffat, fwhm 1 arcsec to 2 arcsec")
    assert repr(PSF(fwhm=[1] * u.arcsec)).startswith("PSF(Gaussian")
    image = PSF(image=np.ones((4, 3, 3)) / 9)
    assert (image.n_bands, repr(image)) == (4, "PSF(image (4, 3, 3))")
