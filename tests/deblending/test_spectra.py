"""Spectra of components: exact, and what no datum sees has none."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, nnls

from vermilion.deblending.profiles import profile_images
from vermilion.deblending.views import NormalEquations, non_negative_spectra, normal_equations, residuals, views_of, whitened
from vermilion.observation import Observation
from vermilion.renderers import Convolution

SHAPE = (30, 34)


def equations_of(M, Y):
    """Of columns (B, N, C) and data (B, N)."""
    return NormalEquations(torch.from_numpy(M.transpose(0, 2, 1) @ M), torch.from_numpy((M.transpose(0, 2, 1) @ Y[..., None])[..., 0]))


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_spectra_are_those_of_scipy_whatever_the_unit(n, scale):
    rng = np.random.default_rng(n)
    M, Y = rng.gamma(0.5, size=(4, 60, n)) * rng.gamma(1, size=n), rng.normal(0.3, 1, size=(4, 60)) * scale
    found = non_negative_spectra(equations_of(M, Y)).numpy()
    expected = np.stack([nnls(m, y)[0] for m, y in zip(M, Y, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10 * scale)
    if n > 1:
        assert (expected == 0).any(), "the example must have constraints that hold"


@pytest.mark.parametrize("signed", [1, 2])
def test_signed_components_take_any_sign_and_the_others_stay_positive(signed):
    rng = np.random.default_rng(signed)
    M, Y = rng.gamma(0.5, size=(5, 80, 5)), rng.normal(-0.5, 1, size=(5, 80))
    found = non_negative_spectra(equations_of(M, Y), signed).numpy()
    lower = np.where(np.arange(5) < 5 - signed, 0, -np.inf)
    expected = np.stack([lsq_linear(m, y, (lower, np.inf), tol=1e-14).x for m, y in zip(M, Y, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (found[:, -signed:] < 0).any()
    assert (found[:, :-signed] >= 0).all()


def test_components_that_nobody_sees_have_no_flux_and_do_not_disturb():
    rng = np.random.default_rng(5)
    M, Y = rng.gamma(0.5, size=(3, 40, 4)), rng.normal(1, 1, size=(3, 40))
    M[1, :, 2] = 0
    M[2] = 0
    found = non_negative_spectra(equations_of(M, Y), 1).numpy()
    assert found[1, 2] == 0
    assert (found[2] == 0).all()
    lower = np.array([0, 0, -np.inf])
    np.testing.assert_allclose(found[1, [0, 1, 3]], lsq_linear(M[1][:, [0, 1, 3]], Y[1], (lower, np.inf), tol=1e-14).x, atol=1e-6)


@pytest.mark.parametrize("signed", [0, 1])
def test_twins_share_what_one_alone_would_have(signed):
    rng = np.random.default_rng(6)
    M, Y = rng.gamma(0.5, size=(3, 40, 3)), rng.gamma(2, size=(3, 40))
    # the matrix is singular: its ridge costs a few digits
    twins = np.concatenate([M[:, :, :1], M], axis=2)
    found = non_negative_spectra(equations_of(twins, Y), signed).numpy()
    alone = non_negative_spectra(equations_of(M, Y), signed).numpy()
    np.testing.assert_allclose(found[:, 0] + found[:, 1], alone[:, 0], rtol=1e-3)
    np.testing.assert_allclose(found[:, 2:], alone[:, 1:], rtol=1e-3, atol=1e-3)


def test_views_weigh_data_and_what_has_no_weight_does_not_exist(make_profiles, kernels):
    profiles = make_profiles((14, 16, 0, 0, 0, 1), (15, 20, 2, 0, 0, 1))
    rng = np.random.default_rng(7)
    weights = rng.gamma(1, size=(2, *SHAPE))
    weights[:, :5] = 0
    data = rng.normal(size=weights.shape)
    data[:, :5] = np.nan
    renderer = Convolution(kernels, SHAPE)
    views = views_of([Observation(torch.from_numpy(data), torch.from_numpy(weights), renderer)])
    images = profile_images(profiles, SHAPE, 0.8, views[0].data)
    columns = whitened(views, images)
    equations = normal_equations(views, columns)
    seen = renderer(images[:, None]).numpy()
    expected = np.einsum("cbyx,byx,dbyx->bcd", seen, weights, seen)
    np.testing.assert_allclose(equations.gram, expected, rtol=1e-9)
    np.testing.assert_allclose(equations.right, np.einsum("cbyx,byx->bc", seen, weights * np.nan_to_num(data)), rtol=1e-8, atol=1e-10)
    spectra = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    left, chi2 = residuals(views, columns, spectra)
    model = np.einsum("bc,cbyx->byx", spectra.numpy(), seen)
    assert chi2 == pytest.approx((weights * (np.nan_to_num(data) - model) ** 2).sum(), rel=1e-10)
    assert len(left) == 1
    assert left[0].shape == (2, SHAPE[0] * SHAPE[1])
