"""A start from compressed data is nearer to the solution, and loses nothing that a fit without it finds."""

import sys

import numpy as np
import pytest
import torch

from vermilion import factorize
from vermilion.alternating import Problem, Sweep, solve_compressed, solve_some_pixels, worth_compressing
from vermilion.alternating.compress import _telling_pixels
from vermilion.initialize import weighted_subspace
from vermilion.prox import Chain, Identity, NonNegative, Simplex, Soft

solver = sys.modules["vermilion.factorize"]
module = sys.modules["vermilion.alternating.compress"]
CPU = torch.device("cpu")
K = 3


def draw(*, weighted, n_pixels=3600, seed=0, device=CPU):
    """Data, bad bands, dead pixels and lone holes; a feasible start; and what `solve_compressed` is given."""
    rng = np.random.default_rng(seed)
    A, S = rng.gamma(0.5, size=(80, K)), 10 * rng.gamma(0.5, size=(K, n_pixels))
    sigma = rng.uniform(0.5, 2.0, size=(80, 1)) * rng.uniform(0.5, 2.0, size=(1, n_pixels)) if weighted else 1.0
    Y, W = torch.tensor(A @ S + sigma * rng.normal(size=(80, n_pixels))), None
    if weighted:
        W = torch.tensor(sigma**-2 * (rng.random(Y.shape) > 0.02))
        W[[7, 31]], W[:, ::97], W[30:, 50] = 0, 0, 0
        Y[W == 0] = torch.nan
    problem = Problem.normalized(Y, W, dtype=torch.float64, device=torch.device(device))
    blocks = problem.block("A", NonNegative()), problem.block("S", NonNegative())
    start = [torch.tensor(rng.random(shape), device=device) for shape in ((80, K), (K, n_pixels))]
    bands, pixels = problem.seen()
    if bands is not None:
        start = [start[0] * bands[:, None], start[1] * pixels]
    return problem, Sweep(problem.tiles(*blocks), *start, *blocks)


def compressed(problem, start, **options):
    space = weighted_subspace(problem.Y, problem.W, K, width=K + 10, within=start.A)
    parts = space.basis, space.coordinates, space.band_scale, space.pixel_scale, space.squares
    return solve_compressed(start, problem, *parts, **options)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_pixels", [2700, 9000])  # with few pixels at first, and without
def test_compressed_data_lead_near_the_solution(weighted, n_pixels, device):
    problem, start = draw(weighted=weighted, n_pixels=n_pixels, device=device)
    A, S, told = compressed(problem, start)
    assert A.device.type == S.device.type == device
    assert bool((A >= 0).all() & (S >= 0).all() & torch.isfinite(A).all() & torch.isfinite(S).all())
    assert (told["coarse_iterations"] > 0) is (n_pixels == 9000)
    assert told["objective"] < told["objective_start"]
    far, near = start.objective, start.evaluate(A, S)
    best = Sweep(start.tiles, A, S, *start.blocks)
    for _ in range(200):
        best.step()
    assert near < far
    assert near - best.objective < (0.01 if weighted else 0.002) * (far - best.objective)


@pytest.mark.parametrize("weighted", [True, False])
def test_every_level_of_pixels_brings_the_spectra_nearer(weighted, monkeypatch):
    problem, start = draw(weighted=weighted, n_pixels=9000)
    ends = []
    run = module._run
    monkeypatch.setattr(module, "LEVELS", (256, 2048))
    monkeypatch.setattr(module, "_run", lambda sweep, *options: (run(sweep, *options), ends.append(sweep))[0])
    compressed(problem, start)
    sizes = [sweep.S.shape[1] for sweep in ends]
    assert sizes == sorted(sizes)
    assert len(sizes) == 3
    full = Sweep(ends[-1].tiles, ends[-1].A, ends[-1].S, *start.blocks)
    values = [full.evaluate(end.A, full.solve_morphologies(end.A, full.S, steps=200, tol=0)) for end in ends]
    assert values[2] < values[1] < values[0]


def test_without_weights_the_objective_of_the_compressed_problem_is_that_of_the_data():
    problem, start = draw(weighted=False)
    _, _, told = compressed(problem, start)
    assert told["objective_start"] == pytest.approx(start.objective, rel=1e-9)  # the start lies in the basis


@pytest.mark.parametrize("ratio", [10, 1e4])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_objective_of_a_given_start_is_that_of_the_data(ratio, weighted):
    # the compressed objective is a difference of numbers of the size of the squared data
    rng = np.random.default_rng(0)
    A, S = rng.random((80, 3)), ratio * rng.random((3, 20_000))
    Y = (A @ S + rng.normal(size=(80, 20_000))).astype("f4")
    W = rng.uniform(0.5, 2, size=Y.shape).astype("f4") if weighted else None
    result = factorize(Y, W, n_components=3, init=(A, S), max_iter=20, tol=0, device="cpu")
    assert result.provenance["compression"] is not None
    exact = 0.5 * np.sum((W.astype("f8") if weighted else 1.0) * (Y.astype("f8") - A @ S) ** 2)
    assert result.provenance["objective_start"] == pytest.approx(exact, rel=1e-4)
    assert result.objective <= exact


def test_bands_and_pixels_without_weight_stay_zero():
    problem, start = draw(weighted=True)
    A, S, _ = compressed(problem, start)
    bands, pixels = problem.seen()
    assert not bands.all()
    assert not pixels.all()
    assert bool((A[~bands] == 0).all() & (S[:, ~pixels] == 0).all())


def test_the_start_is_left_alone():
    problem, start = draw(weighted=True)
    A, S = start.A.clone(), start.S.clone()
    compressed(problem, start, max_iter=5)
    assert torch.equal(start.A, A)
    assert torch.equal(start.S, S)
    assert start.tiles.reads == 0


def test_the_number_of_iterations_is_a_limit():
    problem, start = draw(weighted=False)
    assert compressed(problem, start, max_iter=4)[2]["iterations"] == 4


@pytest.mark.parametrize("weighted", [True, False])
def test_it_is_worth_it_where_the_data_are_many(weighted):
    def worth(*shape, spectra=NonNegative(), morphologies=NonNegative(), held=None):  # noqa: B008
        Y = torch.ones(shape)
        p = Problem.normalized(Y, torch.ones(shape) if weighted else None, dtype=torch.float32, device=CPU)
        return worth_compressing(p, (p.block("A", spectra), p.block("S", morphologies, held)), K)

    assert worth(80, 3600)
    assert not worth(30, 10_000)  # hardly more bands than the basis has columns
    assert not worth(80, 1000)  # small anyway
    assert worth(80, 3600, spectra=Identity())
    # white data have other units in every band and pixel, which only limits of single entries survive
    for constraint in ({"morphologies": Simplex(0)}, {"morphologies": Chain(Soft(0.1), NonNegative())}, {"held": {0: torch.ones(3600)}}):
        assert worth(80, 3600, **constraint) is not weighted


def test_telling_pixels_hold_the_extremes_of_every_direction_and_every_component():
    V, S = torch.rand(5, 10_000, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 10_000)
    V[3, 1234], V[4, 4321], S[1, 777] = -9, 9, 1
    some = _telling_pixels(V, S)
    assert {1234, 4321, 777} <= set(some.tolist())
    assert 1024 <= len(some) < 2000
    assert some.tolist() == sorted(set(some.tolist()))
    assert _telling_pixels(V[:, :3000], S[:, :3000]) is None


# ---- few bands, many pixels


def few_bands(*, weighted, n_pixels=50_000, seed=0):
    """Six bands, four components of which the last is in 40 pixels only, and a random start."""
    rng = np.random.default_rng(seed)
    A, S = rng.random((6, 4)), 10 * rng.gamma(0.3, size=(4, n_pixels))
    S[3] *= np.arange(n_pixels) % 1500 == 7
    sigma = 0.1 * rng.uniform(0.5, 2.0, size=(6, 1)) if weighted else 0.1
    Y, W = A @ S + sigma * rng.normal(size=(6, n_pixels)), None
    if weighted:
        W = np.broadcast_to(sigma**-2, Y.shape) * (rng.random(Y.shape) > 0.1)
        Y[W == 0] = np.nan
    return Y, W, (rng.random((6, 4)), 10 * rng.random((4, n_pixels)))


@pytest.mark.parametrize(
    ("weighted", "morphologies"), [(False, NonNegative()), (True, NonNegative()), (False, Simplex(0, total=10.0)), (False, Soft(0.01))]
)
def test_some_of_the_pixels_lead_near_the_solution(weighted, morphologies, monkeypatch):
    Y, W, init = few_bands(weighted=weighted)
    options = {"n_components": 4, "init": init, "morphologies": morphologies, "tol": 0, "device": "cpu", "dtype": "float64"}
    with_it = factorize(Y, W, max_iter=20, **options)
    monkeypatch.setattr(solver, "solve_some_pixels", lambda *_: None)
    without = factorize(Y, W, max_iter=20, **options)
    assert with_it.history.objective[0] < without.history.objective[9]
    assert with_it.objective < without.objective
    assert with_it.provenance["objective_start"] == pytest.approx(without.provenance["objective_start"])
    assert bool(np.all(np.diff(with_it.history.objective) <= 0))


def test_some_of_the_pixels_are_asked_only_where_there_are_many_more():
    Y, _, (A, S) = few_bands(weighted=False, n_pixels=40_000)
    problem = Problem.normalized(torch.tensor(Y), None, dtype=torch.float64, device=CPU)
    blocks = problem.block("A", NonNegative()), problem.block("S", NonNegative())
    assert solve_some_pixels(Sweep(problem.tiles(*blocks), torch.tensor(A), torch.tensor(S), *blocks), problem) is None


def test_what_is_hidden_is_no_extreme():
    V, S = torch.rand(2, 10_000, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 10_000)
    V[0, 5:100], V[0, 4321] = torch.nan, 9
    assert 4321 in _telling_pixels(V, S)


# ---- a source of four pixels

SHAPE = (40, 50)
BOX = np.s_[25:37, 15:27]


def scene(peak, *, seed=0, n_bands=200, shape=SHAPE):
    """Three extended sources, and an emission line of three bands in four pixels, with noise 1 in every voxel."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, n_bands)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    spectra = [np.exp(-((x - c) ** 2) / 2 / 0.15**2) * (abs(x - c) < 0.35) for c in (0.15, 0.5, 0.85)]
    maps = []
    for row, column, width in ((12, 15, 7), (28, 36, 6), (25, 10, 7)):
        distance = (rows - row) ** 2 + (columns - column) ** 2
        maps.append(20 * (np.exp(-distance / 2 / width**2) * (distance < (2 * width) ** 2)).ravel())
    line, source = np.zeros(n_bands), np.zeros(shape)
    line[120:123], source[30:32, 20:22] = [0.5, 1, 0.5], [[peak, 0.9 * peak], [0.9 * peak, 0.8 * peak]]
    A, S = np.stack([*spectra, line], axis=1), np.stack([*maps, source.ravel()])
    return (A @ S + rng.normal(size=(n_bands, S.shape[1]))).astype("f4"), A, S


def found(result, A, S):
    """Correlation of the best map around the source with the true one, flux of the source, whether its pixels are the brightest."""
    in_line = result.morphologies * result.spectra[118:125].sum(axis=0)[:, None]
    boxes = in_line.reshape(-1, *SHAPE)[:, *BOX].reshape(len(in_line), -1)
    truth = S[3].reshape(SHAPE)[BOX].ravel()
    correlations = [np.corrcoef(box, truth)[0, 1] if np.ptp(box) else -1 for box in boxes]
    k = int(np.argmax(correlations))
    flux = in_line[k, S[3] > 0].sum() / (S[3].sum() * A[:, 3].sum())
    brightest = set(np.argsort(boxes[k])[-4:]) == set(np.flatnonzero(truth))
    return correlations[k], flux, brightest


def begin(init, A, S):
    rng = np.random.default_rng(1)
    return init if init == "auto" else (A * rng.uniform(0.7, 1.3, A.shape) + 0.02, S * rng.uniform(0.7, 1.3, S.shape) + 0.2)


@pytest.mark.parametrize("init", ["auto", "given"])
def test_a_line_in_four_pixels_survives(init):
    Y, A, S = scene(50.0)
    result = factorize(Y, n_components=4, init=begin(init, A, S), max_iter=500, device="cpu")
    correlation, flux, _ = found(result, A, S)
    assert result.provenance["compression"] is not None
    assert correlation >= 0.98
    assert flux == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("init", ["auto", "given"])
@pytest.mark.parametrize("seed", range(3))
def test_a_faint_line_in_four_pixels_is_found_as_without_compression(init, seed, monkeypatch):
    # 14 times the noise of a voxel: a third fainter it is lost from the automatic start, with compression or without
    Y, A, S = scene(14.0, seed=seed)
    options = {"n_components": 4, "init": begin(init, A, S), "max_iter": 500, "device": "cpu"}
    with_it = found(factorize(Y, **options), A, S)
    monkeypatch.setattr(solver, "worth_compressing", lambda *arguments: False)
    without = factorize(Y, **options)
    assert without.provenance["compression"] is None
    without = found(without, A, S)
    assert with_it[2]
    assert without[2]
    assert with_it[0] == pytest.approx(without[0], abs=0.06)
    assert with_it[1] == pytest.approx(without[1], rel=0.05)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("weighted", [True, False])
def test_a_gpu_ends_where_the_processor_ends(weighted):
    values = []
    for device in ("cpu", "cuda"):
        problem, start = draw(weighted=weighted, device=device)
        A, S, _ = compressed(problem, start)
        values.append(start.evaluate(A, S))
    assert values[1] == pytest.approx(values[0], rel=1e-3)
