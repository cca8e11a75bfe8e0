import copy
import math

import numpy as np
import pytest
import torch

from vermilion import models
from vermilion.datamodels import SceneSource
from vermilion.errors import ParameterError, ShapeError
from vermilion.fit import fit
from vermilion.models import (
    Box,
    ExtendedSource,
    FlatSky,
    GaussianSource,
    PointSource,
    Scene,
    SersicSource,
    Source,
    TemplateSource,
    TwoComponentSource,
)
from vermilion.models.sources import EXAMPLES

FRAME = (24, 20)
F64 = torch.float64
CASES = [pytest.param(make, id=f"{name}-{i}") for name, makes in EXAMPLES.items() for i, make in enumerate(makes)]
SPECTRUM = torch.tensor([30.0, 20.0], dtype=F64)


def test_every_public_source_has_an_example():
    sources = {name for name in models.__all__ if isinstance(c := getattr(models, name), type) and issubclass(c, Source)}
    assert sources - {"Source"} == set(EXAMPLES)


@pytest.mark.parametrize("make", CASES)
def test_morphologies_fill_the_box_are_not_negative_and_sum_to_one(make):
    source = make()
    morphologies = source.morphologies().detach()
    assert morphologies.shape == (source.n_components, *source.box.shape)
    assert float(morphologies.min()) >= 0
    torch.testing.assert_close(morphologies.sum((1, 2)), torch.ones(source.n_components, dtype=F64))


@pytest.mark.parametrize("make", CASES)
def test_the_model_is_flux_times_morphology_and_linear_in_the_spectrum(make):
    source = make()
    model = source()
    torch.testing.assert_close(model, torch.einsum("bc,chw->bhw", source.fluxes(), source.morphologies()))
    with torch.no_grad():
        source.spectrum *= 1e-20
    torch.testing.assert_close(source(), 1e-20 * model, rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", CASES)
def test_gradients_are_those_of_finite_differences(make):
    source = make()
    # away from the start, whose symmetry could hide a mistake
    generator = torch.Generator().manual_seed(3)
    point = {
        name: (p * (1 + 0.05 * torch.randn(p.shape, generator=generator, dtype=F64))).detach() for name, p in source.named_parameters()
    }

    def model(*values):
        return torch.func.functional_call(source, dict(zip(point, values, strict=True)))

    assert torch.autograd.gradcheck(model, [p.requires_grad_() for p in point.values()], fast_mode=True)


@pytest.mark.parametrize("make", CASES)
def test_the_blocks_hold_every_parameter_once(make):
    source = make()
    held = [p for block in source.blocks() for p in block["params"]]
    assert sorted(map(id, held)) == sorted(map(id, source.parameters()))


@pytest.mark.parametrize("make", CASES)
def test_a_source_survives_a_copy_and_its_state_dict(make):
    source, other = make(), make()
    model = source().detach()
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.01)
    assert not torch.equal(other(), model)
    other.load_state_dict(source.state_dict())
    assert torch.equal(other(), model)
    assert torch.equal(copy.deepcopy(source)(), model)


@pytest.mark.parametrize("make", CASES)
def test_the_record_of_a_source_is_its_model(make):
    source = make()
    record = source.record()
    assert isinstance(record, SceneSource)
    assert record.kind == source.kind
    assert record.box == source.box.origin
    assert np.einsum("bc,chw->bhw", record.spectra, record.morphologies) == pytest.approx(source().detach().numpy())
    assert all(math.isfinite(value) for value in record.parameters.values())


@pytest.mark.parametrize("make", CASES)
def test_every_constraint_holds_after_every_step(make):
    source = make()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        target = Scene([make()], FRAME, 3)()
        noise = target.abs().mean() * torch.randn(target.shape, generator=generator, dtype=F64)
        data = 0.7 * target.roll((1, -1), (1, 2)) + noise
    start = source.center
    objectives = []

    def check(model, history):
        objectives.append(history.objective_at(-1))
        for block in source.blocks():
            assert all(torch.isfinite(block["prox"].penalty(p.detach())) for p in block["params"])
        assert all(abs(a - b) <= 2 for a, b in zip(source.center, start, strict=True))
        if isinstance(source, ExtendedSource):
            assert float(source.image.detach().min()) >= 0
            if source.symmetric:
                torch.testing.assert_close(source.image.detach(), source.image.detach().flip((-2, -1)))
        if not source.signed:
            assert float(source.spectrum.detach().min()) >= 0

    fit(Scene([source], FRAME, 3), data, max_iter=8, callbacks=check)
    assert np.diff(objectives).max() <= 1e-12 * objectives[0]


def test_a_point_source_is_the_psf_at_its_center_and_leaves_the_frame_when_it_must():
    star = PointSource(SPECTRUM, (7.25, -0.5), model_sigma=0.9)
    y, x = np.indices(star.box.shape) + np.array(star.box.origin)[:, None, None]
    psf = np.exp(-0.5 * ((y - 7.25) ** 2 + (x + 0.5) ** 2) / 0.81)
    assert star.images()[0].detach().numpy() == pytest.approx(psf / (2 * np.pi * 0.81), abs=1e-12)
    assert star.center == pytest.approx((7.25, -0.5))
    assert star.box.origin[1] < 0


def test_the_center_keeps_within_its_bounds_wherever_the_coordinates_go():
    star = PointSource(SPECTRUM, (7.25, 8.0), max_shift=1.5)
    for value in (-1e9, 1e9):
        with torch.no_grad():
            star.coordinates.fill_(value)
        assert star.center == pytest.approx((7.25 + math.copysign(1.5, value), 8.0 + math.copysign(1.5, value)))
        assert float(star.fluxes().detach()[0]) == pytest.approx(30, rel=1e-5)


@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0, 140.0])
def test_a_galaxy_has_the_moments_of_its_ellipse(angle):
    # for a Gaussian the half-light radius is sqrt(2 ln 2) sigma, and moments add those of the PSF
    galaxy = GaussianSource(SPECTRUM, (30.0, 30.0), 4.0, axis_ratio=0.5, angle=angle, model_sigma=0.8)
    image = galaxy.morphologies()[0].detach().numpy()
    y, x = np.indices(image.shape) - galaxy.box.shape[0] // 2
    cov = np.array([[np.sum(image * x * x), np.sum(image * x * y)], [np.sum(image * x * y), np.sum(image * y * y)]])
    variances, axes = np.linalg.eigh(cov - 0.64 * np.eye(2))
    assert np.sqrt(variances) == pytest.approx(4 / math.sqrt(2 * math.log(2)) * np.array([0.5**0.5, 2**0.5]), rel=1e-3)
    assert math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180 == pytest.approx(angle, abs=0.1)
    assert galaxy.description() == pytest.approx({"half_light_radius": 4, "axis_ratio": 0.5, "angle": angle}, abs=1e-6)


def test_half_of_a_galaxy_lies_within_its_half_light_radius_and_the_index_changes_the_rest():
    wings = {}
    for index in (1.0, 4.0):
        galaxy = SersicSource(SPECTRUM, (60.0, 60.0), 16.0, index=index, model_sigma=0.5, box=Box.around((60, 60), 100))
        image = galaxy.images()[0].detach().numpy()
        r = np.hypot(*(np.indices(image.shape) - 100))
        assert image[r < 16].sum() == pytest.approx(0.5, abs=0.01)
        wings[index] = image[r > 64].sum()
        assert galaxy.description()["sersic_index"] == pytest.approx(index)
    assert wings[4.0] > 5 * wings[1.0]


def test_bulge_and_disk_share_their_center_and_have_spectra_of_their_own():
    spectrum = torch.tensor([[1.0, 3.0], [2.0, 1.0]], dtype=F64)
    galaxy = TwoComponentSource(spectrum, (15.3, 14.8), (1.0, 4.0), axis_ratios=(1.0, 0.6))
    y, x = (torch.arange(n, dtype=F64) + o for n, o in zip(galaxy.box.shape, galaxy.box.origin, strict=True))
    morphologies = galaxy.morphologies().detach()
    for image in morphologies:
        assert float((image.sum(1) * y).sum()) == pytest.approx(15.3, abs=0.01)
        assert float((image.sum(0) * x).sum()) == pytest.approx(14.8, abs=0.01)
    assert float(morphologies[0].max()) > 3 * float(morphologies[1].max())
    torch.testing.assert_close(galaxy.fluxes(), spectrum, rtol=0.05, atol=0)
    assert galaxy.description()["sersic_index_0"] == 4


def test_the_sky_has_its_level_in_every_pixel_and_may_be_negative():
    sky = FlatSky(torch.tensor([0.5, -0.25]), FRAME)
    assert sky()[:, 3, 4].tolist() == [0.5, -0.25]
    assert sky.level.tolist() == [0.5, -0.25]
    assert sky.center == (11.5, 9.5)


def test_a_template_keeps_its_image():
    template = TemplateSource(SPECTRUM, torch.tensor([[0.0, 1.0], [0.0, 3.0]]), (4, 7))
    assert template.image[0].tolist() == [[0.0, 0.25], [0.0, 0.75]]
    assert template.center == (4.75, 8.0)
    assert [name for name, _ in template.named_parameters()] == ["spectrum"]
    with pytest.raises(ParameterError, match="keeps the box of its image"):
        template.move_to(Box((0, 0), (3, 3)))


def test_the_entropy_pulls_to_the_prior_and_not_to_zero():
    image = torch.rand(7, 7, generator=torch.Generator().manual_seed(1), dtype=F64)
    prior = torch.ones(7, 7, dtype=F64)
    source = ExtendedSource(SPECTRUM, image, (10, 10), monotone=None, entropy=1e9, prior=prior)
    # an overwhelming weight leaves the prior alone, in the unit of the parameter
    pulled = source.operator(source.image.detach(), 1.0)
    torch.testing.assert_close(pulled / source.scale, torch.full((1, 7, 7), 1 / 49, dtype=F64), rtol=1e-4, atol=0)


def test_positions_of_a_box_and_a_frame_that_they_share_agree_with_brute_force():
    generator = np.random.default_rng(0)
    for _ in range(60):
        origin, shape, frame = generator.integers(-6, 8, 2), generator.integers(1, 7, 2), generator.integers(1, 9, 2)
        box = Box(tuple(map(int, origin)), tuple(map(int, shape)))
        canvas, patch = np.zeros(frame), np.arange(shape.prod()).reshape(shape) + 1.0
        theirs, ours = box.overlap(tuple(map(int, frame)))
        canvas[theirs] += patch[ours]
        expected = np.zeros(frame)
        for i, j in np.ndindex(*shape):
            if 0 <= origin[0] + i < frame[0] and 0 <= origin[1] + j < frame[1]:
                expected[origin[0] + i, origin[1] + j] = patch[i, j]
        assert np.array_equal(canvas, expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Box((0, 0), (0, 3)), ParameterError, "at least 1"),
        (lambda: Box((0.5, 0), (2, 3)), ParameterError, "two integers"),
        (lambda: PointSource([[[1.0]]], (3, 3)), ShapeError, "a flux per band and component"),
        (lambda: PointSource([1.0, math.nan], (3, 3)), ParameterError, "not finite"),
        (lambda: PointSource([1.0], (3, math.inf)), ParameterError, r"expected a pixel \(y, x\)"),
        (lambda: PointSource([1.0], (3, 3), model_sigma=0.0), ParameterError, "model_sigma is 0.0"),
        (lambda: SersicSource([1.0], (3, 3), 2.0, index=0.3), ParameterError, "index is 0.3"),
        (lambda: SersicSource([1.0], (3, 3), -1.0), ParameterError, r"half_light_radius is -1.0: expected 0.05 to 200"),
        (lambda: SersicSource([1.0], (3, 3), 2.0, axis_ratio=1.2), ParameterError, "axis_ratio is 1.2"),
        (lambda: TwoComponentSource([1.0], (3, 3), (1.0, 2.0)), ParameterError, "has 1 components, the profile 2"),
        (lambda: ExtendedSource([1.0], torch.ones(4, 5), (3, 3)), ShapeError, "expected odd numbers"),
        (lambda: ExtendedSource([1.0], torch.zeros(5, 5), (3, 3)), ParameterError, "image sums to"),
        (lambda: ExtendedSource([1.0], torch.ones(5, 5), (3, 3), monotone="yes"), ParameterError, "expected 'cone', 'greedy' or None"),
        (lambda: ExtendedSource([1.0], torch.ones(5, 5), (3, 3), entropy=-1.0), ParameterError, "entropy is -1.0"),
        (lambda: ExtendedSource([1.0], torch.ones(5, 5), (3, 3), entropy=1.0, prior=torch.zeros(5, 5)), ParameterError, "positive numbers"),
        (lambda: ExtendedSource([1.0], torch.ones(2, 5, 5), (3, 3)), ShapeError, "2 images for 1 components"),
        (lambda: TemplateSource([1.0], torch.ones(5)), ShapeError, r"expected \(h, w\)"),
        (lambda: TemplateSource([1.0], -torch.ones(5, 5)), ParameterError, "expected finite sums > 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
