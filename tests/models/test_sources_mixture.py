import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.special import gammaincinv

from vermilion.errors import ParameterError
from vermilion.models import Box, SersicSource
from vermilion.models.sources import mixture_image, mixture_jacobian, point_image, sersic_mixture, sersic_mixture_slopes

F64 = torch.float64


def flux_within(n, radii):
    """Share of the flux of a Sersic profile with soft edge within `radii`, in units of its half-light radius."""
    b = gammaincinv(2 * n, 0.5)

    def per_log_radius(u):
        return math.exp(2 * u - b * math.exp(u / n) - (math.exp(u) / 10) ** 4)

    def within(r):
        return quad(per_log_radius, -20, math.log(r), limit=200, epsrel=1e-9)[0]

    total = within(40)
    half = brentq(lambda r: within(r) / total - 0.5, 0.5, 1.5)
    return np.array([within(half * r) / total for r in radii])


def mixture_within(n, radii):
    variances, fractions = (values.numpy() for values in sersic_mixture(n))
    return (fractions * (1 - np.exp(-0.5 * radii[:, None] ** 2 / variances))).sum(1)


def ellipses(n, generator):
    A = torch.randn(n, 2, 2, generator=generator, dtype=F64)
    return A @ A.mT + 2 * torch.eye(2, dtype=F64)


@pytest.mark.parametrize("n", [0.5, 0.53, 0.7, 1.0, 1.37, 2.5, 4.0, 6.2])
def test_the_flux_within_any_radius_is_that_of_a_sersic_profile(n):
    radii = np.geomspace(0.01, 15, 25)
    assert np.abs(mixture_within(n, radii) - flux_within(n, radii)).max() < 0.002


def test_the_half_light_radius_is_one_and_fractions_are_shares_for_every_index():
    n = torch.linspace(0.3, 6.2, 1500, dtype=F64)
    variances, fractions = sersic_mixture(n)
    assert variances.shape == fractions.shape == (1500, 10)
    assert float(fractions.min()) >= 0
    assert float(variances.min()) > 0
    torch.testing.assert_close(fractions.sum(-1), torch.ones_like(n))
    half = (fractions * (1 - torch.exp(-0.5 / variances))).sum(-1)
    assert float((half - 0.5).abs().max()) < 0.001


def test_index_one_half_and_below_is_the_gaussian():
    radii = np.linspace(0.1, 4, 20)
    for n in (0.3, 0.5):
        assert mixture_within(n, radii) == pytest.approx(1 - 0.5 ** (radii**2), abs=1e-4)


def test_slopes_are_the_derivatives_by_the_index_and_the_flux_within_a_radius_changes_smoothly():
    n = torch.tensor([0.62, 1.1, 2.345, 4.4, 6.0], dtype=F64)
    above, below, slopes = sersic_mixture(n + 1e-6), sersic_mixture(n - 1e-6), sersic_mixture_slopes(n)
    for high, low, slope in zip(above, below, slopes, strict=True):
        torch.testing.assert_close((high - low) / 2e-6, slope, rtol=1e-5, atol=1e-7)
    # between indices near each other the concentration falls steadily: no jumps from one set of Gaussians to another
    n = torch.linspace(0.6, 6.2, 600, dtype=F64)
    variances, fractions = sersic_mixture(n)
    inner = (fractions * (1 - torch.exp(-0.5 * 0.3**2 / variances))).sum(-1)
    assert bool((inner.diff() > 0).all())


@pytest.mark.parametrize("n", [0.29, 6.3, math.nan])
def test_an_index_out_of_range_is_refused(n):
    with pytest.raises(ParameterError, match=r"expected Sersic indices from 0\.3 to 6\.2"):
        sersic_mixture(n)


def test_an_image_is_the_profile_smeared_by_the_psf():
    # brute force: an inclined exponential disk on a grid 9 times finer, smoothed numerically
    n_fine, radius, ratio, angle, sigma = 9, 3.0, 0.5, math.radians(35), 0.9
    b = gammaincinv(2, 0.5)
    u = (np.arange(61 * n_fine) - 30 * n_fine - 4) / n_fine
    y, x = np.meshgrid(u - 0.3, u + 0.2, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    r = np.hypot(along * math.sqrt(ratio), across / math.sqrt(ratio)) / radius
    fine = gaussian_filter(np.exp(-b * r), sigma * n_fine)
    expected = fine[4::n_fine, 4::n_fine] * n_fine**2 / fine.sum()
    major = np.array([math.sin(angle), math.cos(angle)])
    minor = np.array([math.cos(angle), -math.sin(angle)])
    covariance = radius**2 * (np.outer(major, major) / ratio + np.outer(minor, minor) * ratio)
    image = mixture_image((61, 61), torch.tensor([30.3, 29.8], dtype=F64), torch.tensor(covariance), *sersic_mixture(1.0), sigma)
    assert np.abs(image.numpy() - expected).max() < 0.003 * expected.max()
    assert np.abs(image.numpy() - expected).sum() < 0.003


@pytest.mark.parametrize(("n", "bound"), [(0.6, 0.001), (1.0, 0.001), (1.5, 0.005), (4.0, 0.04)])
def test_a_galaxy_is_that_of_galsim_but_for_the_wings_that_are_cut(n, bound):
    galsim = pytest.importorskip("galsim")
    angle = 30 * galsim.degrees
    profile = galsim.Sersic(n, half_light_radius=3.0, trunc=60.0 if n > 2 else 0.0).shear(galsim.Shear(q=0.6, beta=angle)).shift(0.3, -0.2)
    image = galsim.Convolve(profile, galsim.Gaussian(sigma=0.8)).drawImage(nx=81, ny=81, scale=1, method="no_pixel").array
    source = SersicSource(torch.ones(1, dtype=F64), (39.8, 40.3), 3.0, index=n, axis_ratio=0.6, angle=30.0, box=Box((0, 0), (81, 81)))
    assert np.abs(source.images()[0].detach().numpy() - image).sum() / 2 < bound


def test_images_are_batched_and_differentiable():
    generator = torch.Generator().manual_seed(1)
    covariance = ellipses(3, generator)
    center = 4 + torch.rand(3, 2, generator=generator, dtype=F64)
    n = torch.tensor([0.8, 1.5, 4.0], dtype=F64)
    images = mixture_image((9, 8), center, covariance, *sersic_mixture(n), 0.7)
    for k in range(3):
        torch.testing.assert_close(images[k], mixture_image((9, 8), center[k], covariance[k], *sersic_mixture(n[k]), 0.7))
    arguments = [t.requires_grad_() for t in (center, covariance, n)]
    assert torch.autograd.gradcheck(lambda c, M, n: mixture_image((9, 8), c, M, *sersic_mixture(n), 0.7), arguments, fast_mode=True)


def test_the_jacobian_is_the_derivative():
    generator = torch.Generator().manual_seed(2)
    M = ellipses(4, generator)
    center = 10 + 3 * torch.rand(4, 2, generator=generator, dtype=F64)
    n = torch.tensor([0.7, 1.0, 2.2, 5.0], dtype=F64)
    numbers = (center[:, 0], center[:, 1], M[:, 0, 0], M[:, 0, 1], M[:, 1, 1], n)

    def image_of(y, x, yy, yx, xx, n):
        covariance = torch.stack([yy, yx, yx, xx], -1).unflatten(-1, (2, 2))
        return mixture_image((22, 25), torch.stack([y, x], -1), covariance, *sersic_mixture(n), 0.8)

    image, jacobian = mixture_jacobian((22, 25), center, M, *sersic_mixture(n), 0.8, sersic_mixture_slopes(n))
    torch.testing.assert_close(image, image_of(*numbers))
    for i in range(6):
        directions = tuple(torch.full((4,), float(i == j), dtype=F64) for j in range(6))
        torch.testing.assert_close(jacobian[:, i], torch.autograd.functional.jvp(image_of, numbers, directions)[1])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_point_image_has_flux_one_its_center_and_its_width(dtype):
    center = torch.tensor([[7.3, 8.9], [8.0, 7.5]], dtype=dtype)
    images = point_image((17, 18), center, 0.8)
    assert images.dtype == dtype
    y, x = torch.arange(17, dtype=dtype), torch.arange(18, dtype=dtype)
    torch.testing.assert_close(images.sum((1, 2)), torch.ones(2, dtype=dtype), rtol=1e-4, atol=0)
    centroid = torch.stack([(images.sum(2) * y).sum(1), (images.sum(1) * x).sum(1)], 1)
    torch.testing.assert_close(centroid, center, rtol=0, atol=1e-3)
    assert float((images[1].sum(1) * (y - 8) ** 2).sum()) == pytest.approx(0.64, rel=1e-3)


def test_float32_agrees_with_float64_where_gaussians_underflow():
    arguments = (torch.tensor([5.0, 5.0], dtype=F64), 0.01 * torch.eye(2, dtype=F64), *sersic_mixture(4.0))
    image = mixture_image((40, 40), *arguments, 0.5)
    single = mixture_image((40, 40), *(t.float() for t in arguments), 0.5)
    torch.testing.assert_close(single.double(), image, rtol=1e-5, atol=1e-8)
