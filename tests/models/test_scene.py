import copy

import numpy as np
import pytest
import torch
from astropy.table import Table

from vermilion.datamodels import History, SceneResult, Status
from vermilion.errors import ParameterError, ShapeError
from vermilion.fit import RelativeDecrease, fit
from vermilion.models import Box, ExtendedSource, FlatSky, PointSource, Scene, SersicSource, TemplateSource, TwoComponentSource
from vermilion.models.sources import EXAMPLES, adapt_boxes, adapted_box, resize_source
from vermilion.observation.observation import Observation
from vermilion.optim import AdaProx, InertialPALM
from vermilion.renderers import Convolution

F64 = torch.float64
SHAPE = (30, 30)


def blurring(sigmas, shape=SHAPE):
    """A renderer: one Gaussian kernel of sum 1 per band, cut at 6 pixels."""
    u = torch.arange(-6, 7, dtype=F64)
    profiles = [torch.exp(-0.5 * (u / sigma) ** 2) for sigma in sigmas]
    return Convolution(torch.stack([p[:, None] * p / p.sum() ** 2 for p in profiles]), shape)


def blend(sigma=0.4):
    """Two stars on a galaxy, 3 bands, with noise of standard deviation `sigma`: truth and observation."""
    truth = Scene(
        [
            PointSource(torch.tensor([300.0, 200.0, 100.0], dtype=F64), (10.3, 9.7)),
            SersicSource(torch.tensor([500.0, 900.0, 1500.0], dtype=F64), (15.4, 15.2), 2.8, index=1.6, axis_ratio=0.6, angle=40.0),
            PointSource(torch.tensor([80.0, 100.0, 120.0], dtype=F64), (19.2, 10.1)),
        ],
        SHAPE,
        3,
    )
    render = blurring((1.0, 1.2, 1.4))
    with torch.no_grad():
        clean = render(truth())
    noise = sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(5), dtype=F64)
    return truth, Observation(clean + noise, torch.full_like(clean, sigma**-2), render)


def start(galaxy):
    stars = [PointSource(torch.full((3,), flux, dtype=F64), center) for flux, center in ((200.0, (10.0, 10.0)), (50.0, (19.0, 10.0)))]
    return Scene([stars[0], galaxy, stars[1]], SHAPE, 3)


def free_galaxy(radius=13, **constraints):
    spectrum = torch.full((3,), 800.0, dtype=F64)
    guess = SersicSource(spectrum, (15, 15), 2.5, index=1.0, box=Box.around((15, 15), radius))
    return ExtendedSource(spectrum, guess.images().detach(), (15.0, 15.0), **constraints)


def groups(scene):
    return [{key: block[key] for key in ("name", "params", "prox")} for block in scene.blocks()]


@pytest.mark.parametrize("optimizer", [None, AdaProx])
def test_a_blend_with_known_truth_is_recovered(optimizer):
    truth, observation = blend()
    scene = start(SersicSource(torch.full((3,), 800.0, dtype=F64), (15, 15), 2.0, index=1.0, box=Box.around((15, 15), 11)))
    optimizer = optimizer and optimizer(groups(scene))
    result = fit(scene, observation, optimizer, stop=RelativeDecrease(1e-5), max_iter=75)
    n_data = observation.data.numel()
    assert 2 * result.history.objective_at(-1) == pytest.approx(n_data, abs=4 * (2 * n_data) ** 0.5)
    torch.testing.assert_close(scene.fluxes(), truth.fluxes(), rtol=0.02, atol=6.0)
    for found, true in zip(scene, truth, strict=True):
        assert found.center == pytest.approx(true.center, abs=0.06)
    expected = list(truth)[1].description()
    assert list(scene)[1].description() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("constraints", [{}, {"monotone": None, "entropy": 100.0}])
def test_a_galaxy_of_free_pixels_is_recovered_with_its_stars(constraints):
    truth, observation = blend(sigma=0.1)
    scene = start(free_galaxy(11, **constraints))
    true = truth.components()[1][1]

    def difference():
        return float((scene.components()[1][1] - true).abs().sum()) / 2

    before = difference()
    result = fit(scene, observation, max_iter=40)
    assert 2 * result.history.objective_at(-1) < 1.4 * observation.data.numel()
    assert difference() < 0.6 * before
    torch.testing.assert_close(scene.fluxes(), truth.fluxes(), rtol=0.05, atol=10.0)


@pytest.mark.parametrize("algorithm", [InertialPALM, AdaProx])
def test_a_box_that_grows_while_the_fit_goes_on_ends_where_a_large_one_does(algorithm):
    _, observation = blend()
    large, small = start(free_galaxy(11)), start(free_galaxy(5))
    fit(large, observation, algorithm(groups(large)), max_iter=40)
    optimizer = algorithm(groups(small))
    galaxy = list(small)[1]
    objectives, radii = [], []
    for _ in range(5):
        history = fit(small, observation, optimizer, max_iter=8).history
        objectives += [history.objective_at(i) for i in range(len(history))]
        radii.append(galaxy.box.shape[0] // 2)
        adapt_boxes(small, torch.full((3,), 0.4), optimizer)
    assert radii[0] == 5
    assert radii[-1] > 7
    assert np.diff(objectives).max() <= 1e-9 * objectives[0]
    torch.testing.assert_close(small.fluxes(), large.fluxes(), rtol=0.06, atol=12.0)


@pytest.mark.parametrize("algorithm", [InertialPALM, AdaProx, lambda groups: torch.optim.Adam([{"params": g["params"]} for g in groups])])
@pytest.mark.parametrize("constraints", [{}, {"monotone": None, "entropy": 30.0}])
def test_padding_moves_neither_objective_nor_the_memory_of_the_optimizer(algorithm, constraints):
    _, observation = blend()
    scene = start(free_galaxy(6, **constraints))
    optimizer = algorithm(groups(scene))

    def closure():
        optimizer.zero_grad()
        loss = 0.5 * (observation.weights * (observation.render(scene()) - observation.data) ** 2).sum()
        loss.backward()
        return loss

    source = list(scene)[1]
    for _ in range(10):
        optimizer.step(closure)
        state = dict(optimizer.state[source.image])
        kept = {key: value for key, value in state.items() if isinstance(value, torch.Tensor) and value.ndim == 3}
        if kept:  # a restart of the momentum leaves none
            break
    before = closure().item()
    groups_before = [dict(group) for group in optimizer.param_groups]
    resize_source(source, Box.around((15, 15), (9, 8)), optimizer)
    assert source.image.shape == (1, 19, 17)
    assert closure().item() == pytest.approx(before, rel=1e-13)
    inside = (slice(None), slice(3, 16), slice(2, 15))
    assert kept
    for key, value in kept.items():
        padded = optimizer.state[source.image][key]
        assert padded.shape == source.image.shape
        assert torch.equal(padded[inside], value)
        assert float(padded.abs().sum()) == pytest.approx(float(value.abs().sum()))
    for group, was in zip(optimizer.param_groups, groups_before, strict=True):
        assert {k: v for k, v in group.items() if k not in ("prox", "params", "objective_evaluations", "gradient_evaluations")} == {
            k: v for k, v in was.items() if k not in ("prox", "params", "objective_evaluations", "gradient_evaluations")
        }
        assert group.get("prox") is was.get("prox") or group["prox"] is source.operator
    for _ in range(3):
        optimizer.step(closure)
    assert closure().item() < before
    assert float(source.image.detach()[0, 0].abs().sum()) > 0


@pytest.mark.parametrize("algorithm", [InertialPALM, AdaProx])
def test_a_cropped_fit_goes_on(algorithm):
    _, observation = blend()
    scene = start(free_galaxy(11))
    optimizer = algorithm(groups(scene))
    fit(scene, observation, optimizer, max_iter=6)
    resize_source(list(scene)[1], Box.around((15, 15), 7), optimizer)
    history = fit(scene, observation, optimizer, max_iter=10).history
    assert history.objective_at(-1) < 0.99 * history.objective_at(0)


def test_a_box_follows_the_brightness_at_its_edge_along_each_axis():
    y, x = torch.meshgrid(torch.arange(-8.0, 9), torch.arange(-10.0, 11), indexing="ij")
    source = ExtendedSource([1000.0, 1000.0], torch.exp(-0.5 * ((y / 6) ** 2 + (x / 1.5) ** 2)), (30, 30))
    # 17 pixels high are too few for sigma 6, 21 wide too many for 1.5
    box = adapted_box(source, torch.tensor([0.5, 0.5]))
    assert box.center == (30, 30)
    assert box.shape[0] == 21
    assert 9 <= box.shape[1] < 17
    quiet = adapted_box(source, torch.tensor([1e9, 1e9]))
    assert quiet.shape == (7, 7)
    assert adapted_box(source, torch.tensor([0.5, 0.5]), max_radius=8).shape[0] == 17
    settled = ExtendedSource([1000.0, 1000.0], source.images().detach()[:, :, 5:-5], (30, 30))
    assert adapted_box(settled, torch.tensor([500.0, 5.0]), grow=1.0, shrink=0.0) == settled.box


def test_resizing_asks_for_what_it_needs():
    source = free_galaxy(5)
    with pytest.raises(ParameterError, match="around the same pixel"):
        resize_source(source, Box.around((17, 17), 6))
    with pytest.raises(ShapeError, match="expected 3 positive numbers, one per band"):
        adapted_box(source, torch.ones(2))
    with pytest.raises(ParameterError, match="shrink < grow"):
        adapted_box(source, torch.ones(3), shrink=0.5)


def all_sources():
    return [make() for makes in EXAMPLES.values() for make in makes]


def test_the_cube_is_the_sum_of_the_sources_and_of_spectra_times_morphologies():
    scene = Scene(all_sources(), (24, 20), 3)
    models, (A, S) = scene.models(), scene.components()
    assert models.shape == (len(scene.sources), 3, 24, 20)
    torch.testing.assert_close(scene(), models.sum(0))
    torch.testing.assert_close(scene(), torch.einsum("bk,kyx->byx", A, S))
    assert A.shape[1] == sum(source.n_components for source in scene)


def test_a_scene_moves_to_another_device(device):
    scene = Scene(all_sources(), (24, 20), 3)
    model = scene().detach()
    moved = copy.deepcopy(scene).to(device)
    torch.testing.assert_close(moved().detach().cpu(), model)
    for block in moved.blocks():
        for p in block["params"]:
            assert block["prox"](p.detach(), 0.1).device.type == device
    assert len(moved.records()) == len(scene.sources)


def test_a_source_beyond_the_frame_adds_nothing():
    scene = Scene([PointSource([1.0], (40.0, 5.0))], (10, 10), 1)
    assert not scene().any()
    assert float(scene.fluxes().detach()) == pytest.approx(1, abs=1e-4)


def test_sources_with_the_same_operator_share_a_block():
    scene = Scene(all_sources(), (24, 20), 3)
    blocks = scene.blocks()
    names = [block["name"] for block in blocks]
    assert names.count("spectra") == names.count("coordinates") == names.count("sky") == 1
    held = [p for block in blocks for p in block["params"]]
    assert sorted(map(id, held)) == sorted(map(id, scene.parameters()))
    # cone for two sources, greedy and symmetric, cone and symmetric, entropy, starlet
    assert names.count("images") == 5
    InertialPALM(blocks)


def test_bright_and_faint_sources_curve_alike():
    def curvatures(factor):
        source = PointSource(factor * torch.ones(2, dtype=F64), (8.3, 7.9))
        values = {}
        for name, p in source.named_parameters():

            def loss(x, name=name):
                return torch.func.functional_call(source, {name: x}).square().sum() / 2

            hessian = torch.autograd.functional.hessian(loss, p.detach()).reshape(p.numel(), p.numel())
            values[name] = float(torch.linalg.eigvalsh(hessian)[-1])
        return values

    assert curvatures(1.0) == pytest.approx(curvatures(1e5), rel=1e-9)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_the_unit_of_the_data_changes_nothing(unit):
    _, observation = blend()

    def fluxes(unit):
        source = PointSource(torch.full((3,), 200.0 * unit, dtype=F64), (10.0, 10.0))
        scene = Scene(
            [source, SersicSource(torch.full((3,), 800.0 * unit, dtype=F64), (15, 15), 2.0, box=Box.around((15, 15), 9))], SHAPE, 3
        )
        scaled = Observation(observation.data * unit, observation.weights / unit**2, observation.render)
        fit(scene, scaled, AdaProx(groups(scene)), max_iter=10)
        return scene.fluxes().detach() / unit

    torch.testing.assert_close(fluxes(unit), fluxes(1.0), rtol=1e-6, atol=0)


def test_a_scene_is_made_from_a_result_and_gives_the_same_records_again():
    star, sky = PointSource([10.0, 20.0], (5.3, 6.6)), FlatSky(torch.tensor([0.1, -0.1]), (20, 22))
    galaxy = TwoComponentSource(torch.tensor([[5.0, 20.0], [9.0, 8.0]]), (11.4, 12.4), (1.0, 2.0))
    template = TemplateSource([4.0, 3.0], torch.ones(3, 4), (1, 2))
    scene = Scene([star, galaxy, sky, template], (20, 22), 2)
    models, fluxes = scene.models().detach().double().numpy(), scene.fluxes().detach().double().numpy()
    result = SceneResult(
        sources=scene.records(),
        models=models,
        fluxes=fluxes,
        flux_errors=fluxes,
        signed_fluxes=fluxes,
        signed_flux_errors=fluxes,
        catalog=Table(),
        chi2=1.0,
        n_data=1,
        bands=("g", "r"),
        status=Status.CONVERGED,
        history=History(["S"]),
        flux_history=fluxes[:0, :0],
        flux_iterations=np.zeros(0, int),
    )
    again = Scene.from_result(result, symmetric=True)
    assert [type(source).__name__ for source in again] == ["PointSource", "ExtendedSource", "FlatSky", "TemplateSource"]
    assert list(again)[1].symmetric
    torch.testing.assert_close(again.models(), torch.from_numpy(models), rtol=1e-4, atol=1e-5)
    assert [source.center for source in again][1] == pytest.approx((11.4, 12.4), abs=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Scene([], (5, 5), 1), ParameterError, "0 sources"),
        (lambda: Scene([PointSource([1.0], (2, 2))], (5, 0), 1), ParameterError, "expected at least 1 of each"),
        (lambda: Scene([PointSource([1.0], (2, 2))], (5, 5), 2), ShapeError, "source 0 has 1 bands: expected 2"),
        (
            lambda: Scene([PointSource([1.0], (2, 2)), PointSource(torch.ones(1, dtype=F64), (2, 2))], (5, 5), 1),
            ParameterError,
            "one dtype",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
