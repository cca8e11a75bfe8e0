"""The race of the factorization: same problems for ever, honest clocks, peers that run, spectra compared as they should be."""

import contextlib
import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "factorization.py"
SIZE = "30x48x3"


@pytest.fixture(scope="module")
def script():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("benchmark_of_factorization", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path[:] = path


@pytest.fixture
def problem(script):
    return script.make(SIZE, seed=3)


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def record(script, times, objectives, **options):
    """The trace of a solver that shows these objectives at these seconds; each look at one takes a minute that must not count."""
    clock, remaining = Clock(), iter(objectives)

    def objective(A, S):
        clock.now += 60
        return float(A[0, 0])

    recorder = script.Recorder(objective, clock=clock, **options)
    recorder.start()
    for before, now in zip([0, *times], times, strict=False):
        clock.now += now - before
        if recorder(np.full((1, 1), next(remaining)), np.ones((1, 1))):
            break
    return recorder.finish()


def test_a_problem_is_the_same_every_time_and_another_with_another_seed(script):
    for name in (SIZE, "1000x20x3"):
        one, same, other = script.make(name), script.make(name), script.make(name, seed=1)
        for key in ("Y", "W", "A", "S", "A0", "S0", "sigma"):
            assert np.array_equal(getattr(one, key), getattr(same, key))
            assert getattr(one, key).dtype == np.float32
        assert not np.array_equal(one.Y, other.Y)


def test_the_standard_scene_has_not_changed(script):
    hs = script.make("hs")
    assert hs.Y.shape == (198, 10000)
    assert hs.n_components == 4
    assert hs.Y[7, :3] == pytest.approx([0.55186892, 0.49940225, 0.49815881], abs=1e-5)
    assert 0.08 <= (hs.W == 0).mean() <= 0.1
    assert float(hs.A0[0, 0]) == pytest.approx(0.51023465, abs=1e-5)


def test_signed_data_differ_only_below_zero(script):
    clipped, signed = script.make(SIZE), script.make(SIZE, clip=False)
    assert np.array_equal(clipped.Y, signed.Y.clip(0))


def test_an_unknown_problem_is_refused(script):
    with pytest.raises(ValueError, match="'hss': expected one of hs, ifu"):
        script.make("hss")


def test_the_objective_is_half_the_weighted_squares_whatever_the_tiles(script, problem):
    A, S = problem.A.astype(float), problem.S.astype(float)
    residual = problem.Y.astype(float) - A @ S
    objective = script.Objective(problem.Y, problem.W)
    for rows in (1, 7, 1000):
        objective.rows = rows
        assert objective(A, S) == pytest.approx(0.5 * (problem.W * residual**2).sum(), rel=1e-6)
    assert script.Objective(problem.Y)(A, S) == pytest.approx(0.5 * (residual**2).sum(), rel=1e-6)


def test_looking_at_a_state_takes_no_time(script):
    trace = record(script, [1, 2, 3], [8.0, 4.0, 2.0])
    assert trace.seconds == pytest.approx([1, 2, 3])
    assert trace.objectives == [8, 4, 2]
    assert (trace.iterations, trace.least, float(trace.lowest[0][0, 0])) == (3, 2, 2)


def test_states_thin_out_with_time(script):
    times = np.arange(1, 1001)
    trace = record(script, times, 1 + 1 / times, dense=5)
    assert trace.iterations == 1000
    assert trace.seconds[:5] == pytest.approx([1, 2, 3, 4, 5])
    assert len(trace.seconds) < 100
    late = np.array(trace.seconds[20:])
    assert (late[1:] / late[:-1]).max() < 1.1


def test_states_that_wait_for_too_long_are_evaluated_and_dropped(script):
    trace = record(script, [1.0, 1.01, 1.02, 1.03], [4.0, 3.0, 2.0, 1.0], memory=1)
    assert trace.objectives == [4, 3, 2, 1]


def test_a_run_ends_at_the_limit_the_goal_or_a_standstill(script):
    times = list(range(1, 40))
    late = record(script, times, [2.0**-t for t in times], limit=6)
    assert (late.stopped, late.iterations, late.seconds[-1]) == ("limit", 7, pytest.approx(7))
    low = record(script, times, [1 + 1e-7 * 2.0**-t for t in times], goal=1.1)
    assert low.stopped == "goal"
    falling = record(script, times[:6], [2.0**-t for t in times[:6]], goal=1.1)
    assert falling.stopped == "iterations"
    still = record(script, times, [5.0] * len(times))
    assert still.stopped == "standstill"
    assert record(script, times, [math.nan] * len(times)).stopped == "not finite"


def test_seconds_to_a_gap_are_those_of_the_first_state_within_it(script):
    trace = script.Trace("by hand", seconds=[1, 2, 3, 4], objectives=[20, 10.9, 11.5, 10.001])
    found = [script.seconds_to(trace, 10, gap) for gap in (1, 0.1, 1e-2, 1e-4, 1e-5)]
    assert found == [1, 2, 4, 4, None]
    below_zero = script.Trace("by hand", seconds=[1, 2], objectives=[-9, -10])
    assert script.seconds_to(below_zero, -10, 0.05) == 2


def test_the_median_takes_a_run_that_did_not_arrive_as_late(script):
    assert script.median([1, 9, 2]) == 2
    assert script.median([1, None, 2]) == 2
    assert script.median([1, None, None]) is None


def test_errors_are_those_of_least_squares_in_the_gauge_of_unit_sum(script):
    # one component, A = (1, 3) -> (1/4, 3/4), S = (2, 1) -> (8, 4): 1 / sqrt(64 w_0 + 16 w_1)
    A, S, W = np.array([[1.0], [3.0]]), np.array([[2.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 0.25]])
    assert script.conditional_errors(A, S, W) == pytest.approx(np.array([[80**-0.5], [0.5]]))
    assert np.isinf(script.conditional_errors(A, S, 0 * W)).all()


def test_spectra_settle_whatever_their_order_and_scale(script):
    best = np.random.default_rng(0).random((40, 3))
    errors = np.full((40, 3), 1e-3)
    swapped, mixed = best[:, [2, 0, 1]] * [2, 3, 4], best @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0.5, 0, 1]])
    trace = script.Trace("by hand", seconds=[1, 2, 3], spectra=[best + 0.2, mixed, swapped])
    assert script.seconds_until_settled(trace, best, errors, script.matched) == 3
    assert script.seconds_until_settled(trace, best, errors, script.unmixed) == 2


@pytest.mark.parametrize(
    ("solver", "package", "weighted", "options"),
    [
        ("by_vermilion", "vermilion", True, {}),
        ("by_vermilion", "vermilion", False, {"dtype": "float64"}),
        ("by_sklearn", "sklearn", False, {}),
        ("by_sklearn", "sklearn", False, {"transposed": True}),
        ("by_nmf_torch", "nmf", False, {}),
        ("by_nmf_torch", "nmf", False, {"transposed": True}),
        ("by_amsgrad", "proxmin", True, {}),
        ("by_amsgrad", "proxmin", False, {"remember": False}),
        ("by_proxmin_pgm", "proxmin", False, {}),
        ("by_plain_pgm", "numpy", False, {}),
    ],
)
def test_every_solver_starts_where_it_is_told_and_shows_what_it_finds(script, problem, solver, package, weighted, options):
    pytest.importorskip(package)
    W = problem.W if weighted else None
    start = problem.A0.copy(), problem.S0.copy()
    objective, values = script.Objective(problem.Y, W), []

    def show(A, S):
        A, S = (factor.numpy() if isinstance(factor, torch.Tensor) else factor for factor in (A, S))
        assert (A.shape, S.shape) == (problem.A0.shape, problem.S0.shape)
        assert min(A.min(), S.min()) >= 0
        values.append(objective(A, S))
        return len(values) >= 3

    with contextlib.suppress(script.Enough):
        getattr(script, solver)(problem, W, 4, show, **options)
    assert len(values) == 3
    if "pgm" not in solver:  # full steps on both factors at once need not descend
        assert values[-1] < objective(*start)
    assert np.array_equal(problem.A0, start[0])
    assert np.array_equal(problem.S0, start[1])


def test_scikit_learn_is_followed_sweep_by_sweep(script, problem):
    decomposition = pytest.importorskip("sklearn.decomposition")
    shown = []
    script.by_sklearn(problem, None, 5, lambda A, S: shown.append((A.copy(), S.copy())) or False)
    model = decomposition.NMF(3, init="custom", solver="cd", tol=0, max_iter=5)
    A = model.fit_transform(problem.Y, W=problem.A0.copy(), H=problem.S0.copy())
    assert np.allclose(A, shown[-1][0], rtol=1e-4, atol=1e-6)
    assert np.allclose(model.components_, shown[-1][1], rtol=1e-4, atol=1e-6)


def test_a_run_from_files_has_a_trace_and_a_first_call(script, problem, tmp_path):
    script.save(problem, tmp_path)
    threads = torch.get_num_threads()
    task = script.Task(tmp_path, "ours", script.by_vermilion, weighted=True, max_iter=4, keep_spectra=True, threads=threads)
    trace = script.run(task)
    assert trace.solver == "ours"
    assert trace.first_call > 0
    assert 1 <= len(trace.seconds) <= 4
    assert len(trace.spectra) == len(trace.seconds) == len(trace.objectives)
    assert trace.objectives[-1] == pytest.approx(script.Objective(problem.Y, problem.W)(*trace.lowest), rel=1e-6)


def test_environment_variables_are_put_back(script, monkeypatch):
    monkeypatch.setenv("VERMILION_BENCHMARK_ONE", "before")
    monkeypatch.delenv("VERMILION_BENCHMARK_TWO", raising=False)
    with script.environment({"VERMILION_BENCHMARK_ONE": "1", "VERMILION_BENCHMARK_TWO": "2"}):
        assert script.os.environ["VERMILION_BENCHMARK_ONE"] == "1"
    assert script.os.environ["VERMILION_BENCHMARK_ONE"] == "before"
    assert "VERMILION_BENCHMARK_TWO" not in script.os.environ


def test_the_report_is_written_without_a_gpu(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    script.main(["--sections", "cuda", "--json", str(tmp_path / "report.json"), "--figure", str(tmp_path / "report.png")])
    assert "cuda: not run" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"cpu", "cores", "versions", "date", "options"} <= report.keys()
