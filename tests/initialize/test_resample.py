"""Spectra under the response of broad bands: against quadrature, and exact where the answer is known."""

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from vermilion.errors import ParameterError, ShapeError
from vermilion.initialize import resample_spectra

AT = np.sort(np.random.default_rng(0).uniform(300, 1100, 400))
F = np.stack([np.sin(AT / 40) + 2, np.exp(-(((AT - 700) / 5) ** 2))], axis=1)


def mean_under(response, low, high, f):
    """By quadrature, between all samples of the table."""
    knots = np.unique(np.concatenate([[low], AT[(low < AT) & (high > AT)], [high]]))
    both = [[quad(lambda x, g=g: response(x) * g(x), a, b)[0] for a, b in itertools.pairwise(knots)] for g in (f, np.ones_like)]
    return sum(both[0]) / sum(both[1])


@pytest.mark.parametrize("column", [0, 1])
def test_boxes_are_those_of_quadrature(column):
    edges = np.array([[400.0, 430.0], [690.0, 712.5], [650.1, 650.2]])
    expected = [mean_under(lambda x: 1.0, a, b, lambda x: np.interp(x, AT, F[:, column])) for a, b in edges]
    np.testing.assert_allclose(resample_spectra(F[:, column], AT, edges=edges), expected, rtol=1e-9)


@pytest.mark.parametrize("column", [0, 1])
def test_gaussians_are_those_of_quadrature(column):
    bands, fwhm = np.array([450.0, 702.0, 800.0]), np.array([10.0, 3.0, 40.0])
    expected = []
    for center, width in zip(bands, fwhm, strict=True):
        sigma = width / 2.3548200450309493
        response = lambda x, c=center, s=sigma: np.exp(-0.5 * ((x - c) / s) ** 2)  # noqa: E731
        expected.append(mean_under(response, center - 8 * sigma, center + 8 * sigma, lambda x: np.interp(x, AT, F[:, column])))
    np.testing.assert_allclose(resample_spectra(F[:, column], AT, bands, fwhm=fwhm), expected, rtol=1e-8)


def test_adjacent_boxes_keep_the_flux():
    edges = np.linspace(350, 1050, 23)
    found = resample_spectra(F, AT, edges=edges)
    at = np.unique(np.concatenate([AT[(AT > 350) & (AT < 1050)], [350, 1050]]))
    total = [np.trapezoid(np.interp(at, AT, F[:, j]), at) for j in (0, 1)]
    np.testing.assert_allclose(np.diff(edges) @ found, total, rtol=1e-10)


@pytest.mark.parametrize("response", [{"fwhm": 12.0, "bands": [500.0, 640.0]}, {"edges": [[480.0, 520.0], [639.0, 641.0]]}])
def test_a_straight_spectrum_keeps_its_values(response):
    line = 3 + 0.01 * AT
    np.testing.assert_allclose(resample_spectra(line, AT, **response), [8.0, 9.4], rtol=1e-9)


def test_the_order_of_samples_and_repeated_ones_do_not_matter():
    order = np.random.default_rng(1).permutation(len(AT))
    expected = resample_spectra(F, AT, [500.0, 900.0], fwhm=10)
    np.testing.assert_allclose(resample_spectra(F[order], AT[order], [500.0, 900.0], fwhm=10), expected)
    twice = np.repeat(np.arange(len(AT)), 2)
    np.testing.assert_allclose(resample_spectra(F[twice], AT[twice], [500.0, 900.0], fwhm=10), expected)


def test_bands_narrower_than_the_samples_are_interpolated():
    np.testing.assert_allclose(resample_spectra([1.0, 3.0], [400.0, 500.0], [450.0], fwhm=1e-3), [2.0], rtol=1e-9)


def test_what_is_absent_counts_for_nothing_as_long_as_enough_is_left():
    f = 3 + 0.01 * AT
    f[np.abs(AT - 505) < 3] = np.nan
    assert resample_spectra(f, AT, [500.0], fwhm=60, coverage=0.77)[0] == pytest.approx(8, abs=0.1)
    with pytest.raises(
        ParameterError, match=r"do not cover 1 of 2 bands \(first: band 1 from 504 to 506, of whose response 0 % is covered"
    ):
        resample_spectra(f, AT, edges=[[600.0, 700.0], [504.0, 506.0]])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"bands": [250.0, 500.0], "fwhm": 10.0},
            r"known from 3\d\d.* to 1\d\d\d.*, do not cover 1 of 2 bands \(first: band 0 from 245 to 255, of",
        ),
        (
            {"edges": [1000.0, 1050.0, 1200.0]},
            r"band 1 from 1050 to 1200, of whose response 3\d % is covered; 2 of 2 spectra.*coverage=0\.3",
        ),
        ({"bands": [500.0]}, r"pass either bands= and fwhm=, or edges="),
        ({"fwhm": 10.0}, r"pass either bands= and fwhm=, or edges="),
        ({"bands": [500.0], "fwhm": 10.0, "edges": [400.0, 500.0]}, r"the response of the bands is not stated once"),
        ({"bands": [500.0, 600.0], "fwhm": [10.0, np.nan]}, r"1 of 2 bands have no width > 0"),
        ({"edges": [500.0, 500.0]}, r"1 of 1 bands have no width > 0"),
    ],
)
def test_what_cannot_be_resampled_is_refused_with_the_numbers(options, sentence):
    with pytest.raises(ParameterError, match=sentence):
        resample_spectra(F, AT, **options)


def test_less_coverage_may_be_allowed():
    f = np.full((len(AT), 2), 4.0)
    np.testing.assert_allclose(resample_spectra(f, AT, edges=[1000.0, 1050.0, 1200.0], coverage=0.3), 4)


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((F, AT[:-1]), {"edges": [400.0, 500.0]}, r"spectra have shape \(400, 2\) and wavelengths \(399,\)"),
        ((F[:1], AT[:1]), {"edges": [400.0, 500.0]}, r"at least two"),
        ((F, AT), {"edges": [[400.0, 500.0, 600.0]]}, r"edges has shape \(1, 3\): expected \(bands, 2\), or"),
        ((F, AT, [500.0, 600.0]), {"fwhm": [1.0, 2.0, 3.0]}, r"bands has shape \(2,\) and fwhm \(3,\)"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(arguments, options, sentence):
    with pytest.raises(ShapeError, match=sentence):
        resample_spectra(*arguments, **options)


def test_wavelengths_that_are_not_finite_are_refused():
    with pytest.raises(ParameterError, match=r"1 of 400 wavelengths are not finite"):
        resample_spectra(F, np.where(np.arange(400) == 3, np.nan, AT), edges=[400.0, 500.0])
