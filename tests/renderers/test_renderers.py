"""Every renderer: linear, its adjoint is its transpose, its bound has the absolute values of its entries."""

import numpy as np
import pytest
import torch

from vermilion.errors import ShapeError
from vermilion.renderers import Convolution, Renderer, Resampling, Sequence, affine_positions

RNG = np.random.default_rng(3)
KERNELS = RNG.normal(size=(3, 5, 9))
TURN = 0.8 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])


def resampling(shape=(11, 8), n_bands=3):
    return Resampling(affine_positions(TURN, [1.3, 2.2], (9, 10)), shape, n_bands)


RENDERERS = {
    "convolution": Convolution(KERNELS, (11, 8)),
    "kernel larger than the frame": Convolution(RNG.normal(size=(3, 13, 21)), (4, 5)),
    "resampling": resampling(),
    "sequence": Sequence(Convolution(KERNELS, (11, 8)), resampling()),
}
every_renderer = pytest.mark.parametrize("renderer", RENDERERS.values(), ids=RENDERERS)


def dense(apply, shape_in):
    """Matrix of a linear map of one image per band, band by band: (B, outputs, inputs)."""
    n_bands, *shape = shape_in
    units = torch.eye(shape[0] * shape[1], dtype=torch.float64).reshape(-1, 1, *shape).expand(-1, n_bands, -1, -1)
    return apply(units).flatten(2).permute(1, 2, 0)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_every_renderer_is_tested():
    assert {type(renderer) for renderer in RENDERERS.values()} == set(Renderer.__subclasses__())


@every_renderer
@pytest.mark.parametrize(("forward", "backward"), [("__call__", "adjoint"), ("bound", "bound_adjoint")])
def test_the_adjoint_is_the_transpose(renderer, forward, backward):
    x = random(2, renderer.n_bands, *renderer.model_shape)
    y = random(2, renderer.n_bands, *renderer.data_shape, seed=1)
    left = (getattr(renderer, forward)(x) * y).sum()
    right = (x * getattr(renderer, backward)(y)).sum()
    assert float(left - right) == pytest.approx(0, abs=1e-10 * float(x.norm() * y.norm()))


@every_renderer
def test_the_bound_is_at_least_the_absolute_map(renderer):
    shape = (renderer.n_bands, *renderer.model_shape)
    plain, bound = dense(renderer, shape), dense(renderer.bound, shape)
    assert (bound >= plain.abs() - 1e-12).all()
    if not isinstance(renderer, Sequence):
        torch.testing.assert_close(bound, plain.abs(), rtol=0, atol=1e-12)


@every_renderer
def test_one_band_is_broadcast_and_leading_dimensions_are_kept(renderer):
    x = random(2, 3, 1, *renderer.model_shape)
    images = renderer(x)
    assert images.shape == (2, 3, renderer.n_bands, *renderer.data_shape)
    for i in range(2):
        torch.testing.assert_close(images[i], renderer(x[i].expand(-1, renderer.n_bands, -1, -1)), rtol=0, atol=1e-12)


@every_renderer
def test_dtype_follows_the_input(renderer):
    x = random(renderer.n_bands, *renderer.model_shape)
    single = renderer(x.float())
    assert single.dtype == torch.float32
    assert renderer.adjoint(single).dtype == torch.float32
    torch.testing.assert_close(single.double(), renderer(x), rtol=0, atol=1e-4)


@every_renderer
def test_the_gradient_is_the_adjoint_of_the_residual(renderer):
    x = random(renderer.n_bands, *renderer.model_shape).requires_grad_()
    y = random(renderer.n_bands, *renderer.data_shape, seed=1)
    (renderer(x) - y).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * renderer.adjoint(renderer(x.detach()) - y), rtol=1e-10, atol=1e-10)


@every_renderer
def test_inputs_are_not_changed(renderer):
    x = random(renderer.n_bands, *renderer.model_shape)
    before = x.clone()
    renderer.adjoint(renderer(x))
    renderer.bound_adjoint(renderer.bound(x))
    assert torch.equal(x, before)


@every_renderer
def test_renderers_work_where_the_input_is(renderer, device):
    x = random(renderer.n_bands, *renderer.model_shape)
    images = renderer(x.to(device))
    assert images.device.type == device
    torch.testing.assert_close(images.cpu(), renderer(x), rtol=1e-10, atol=1e-10)


def test_a_sequence_needs_renderers_that_fit():
    with pytest.raises(ShapeError, match="no renderer"):
        Sequence()
    with pytest.raises(ShapeError, match=r"makes 3 images of shape \(11, 8\), the next one takes 3 of shape \(8, 11\)"):
        Sequence(Convolution(KERNELS, (11, 8)), resampling(shape=(8, 11)))
