"""Rows, failures, cost and tables of the benchmark."""

import csv
import io
import json
import math

import numpy as np
import pytest
import torch

from vermilion.benchmark import methods, unmixing
from vermilion.benchmark.datasets import DATASETS
from vermilion.benchmark.methods import METHODS, ORACLES, STANDARD, Estimate, Method, Task, check_methods
from vermilion.benchmark.report import circumstances, to_csv, to_json, to_line, to_markdown
from vermilion.benchmark.timing import cpu_seconds, nnls_seconds
from vermilion.benchmark.unmixing import run
from vermilion.errors import ParameterError

EASY = "k3-pure-40dB-white"


def fail(task):
    raise RuntimeError("no luck\ntoday")


@pytest.fixture
def extra(monkeypatch):
    """Function that adds a method."""

    def add(name, run):
        monkeypatch.setitem(METHODS, name, Method(name, "of a test", run))

    return add


@pytest.fixture(scope="module")
def rows():
    return list(run([EASY], ["vca+fclsu"], seeds=2))


def test_the_oracles_come_first_and_are_the_floor(rows):
    assert [row.method for row in rows] == [*ORACLES, "vca+fclsu"]
    floor, other = rows[0], rows[2]
    assert floor.mean("sad_mean") == pytest.approx(0, abs=1e-7)
    assert 0 < floor.mean("rmse_total") < other.mean("rmse_total")
    assert other.mean("rmse_over_oracle") == pytest.approx(
        np.mean([b.rmse_total / a.rmse_total for a, b in zip(floor.trials, other.trials, strict=True)])
    )


def test_an_easy_scene_is_solved(rows):
    assert rows[2].mean("sad_mean") < 0.02
    assert rows[2].mean("rmse_total") < 3
    assert rows[2].mean("reconstruction_sre") == pytest.approx(40, abs=1)


def test_another_seed_is_another_scene(rows):
    first, second = rows[0].trials
    assert first.rmse_total != second.rmse_total


@pytest.mark.parametrize("name", [*STANDARD, "nfindr-start+fclsu"])
def test_methods_answer_in_the_shapes_of_the_problem(name):
    rng = np.random.default_rng(0)
    A, S = rng.random((25, 3)), rng.dirichlet(0.4 * np.ones(3), size=100).T
    task = Task(Y=torch.from_numpy(A @ S), W=None, n_endmembers=3, shape=(10, 10), seed=0)
    found = METHODS[name].run(task)
    assert found.spectra.shape == (25, 3)
    assert found.abundances.shape == (3, 100)
    assert np.isfinite(found.spectra).all()
    assert np.isfinite(found.abundances).all()


def test_the_scale_free_oracle_sees_neither_brightness_nor_the_scale_of_endmembers():
    rng = np.random.default_rng(0)
    A, S = rng.random((25, 3)), rng.dirichlet(np.ones(3), size=100).T
    A /= A.max(axis=0)
    Y = (A @ S) * rng.uniform(0.3, 3, size=100)
    task = Task(Y=torch.from_numpy(Y), W=None, n_endmembers=3, shape=(10, 10), seed=0, true_spectra=torch.from_numpy(A * [1.0, 5.0, 0.2]))
    found = METHODS["oracle-scale-free"].run(task)
    np.testing.assert_allclose(found.abundances, S, atol=1e-9)
    np.testing.assert_allclose((found.spectra @ found.abundances) * found.brightness, Y, atol=1e-9)


def test_without_a_truth_there_is_no_oracle():
    task = Task(Y=torch.ones(4, 5), W=None, n_endmembers=2, shape=(1, 5), seed=0)
    with pytest.raises(ParameterError, match="true spectra of this scene are not known"):
        METHODS["oracle"].run(task)


def test_unknown_methods_are_refused_with_what_there_is():
    with pytest.raises(ParameterError, match=r"no method 'luck': expected one of oracle"):
        check_methods(["luck"])
    with pytest.raises(ParameterError, match=r"no method 'orcle': did you mean 'oracle'"):
        check_methods(["orcle"])
    assert check_methods(["oracle", "oracle"]) == ["oracle"]


def test_a_method_that_fails_is_a_row_and_the_others_go_on(extra):
    extra("unlucky", fail)
    rows = list(run([EASY], ["unlucky", "vca+fclsu"], seeds=1))
    assert [bool(row.failures) for row in rows] == [False, False, True, False]
    assert rows[2].failures == ("seed 0: RuntimeError: no luck today",)
    assert "| unlucky | 0 | failed |" in to_markdown(rows, circumstances(seeds=1))
    assert math.isnan(rows[2].mean("sad_mean"))
    assert to_line(rows[2]).endswith("failed")


def test_a_data_set_that_is_not_there_is_rows_too(tmp_path):
    rows = list(run(["moffett", EASY], [], seeds=1, data=tmp_path))
    assert [bool(row.failures) for row in rows] == [True, True, False, False]
    assert "moffett.npz" in rows[0].failures[0]


def test_what_a_method_and_the_judge_say_is_kept(extra):
    def swapped(task):
        A = task.true_spectra.numpy()
        S = METHODS["oracle"].run(task).abundances
        return Estimate(spectra=A, abundances=S[[1, 0, 2]], notes=("mixed up on purpose",))

    extra("swapped", swapped)
    row = list(run([EASY], ["swapped"], seeds=1))[-1]
    assert row.trials[0].matchings_differ
    text = to_markdown([row], circumstances(seeds=1))
    assert "mixed up on purpose" in text
    assert "matching by abundances pairs the endmembers otherwise in 1 of 1 seeds" in text


def test_missing_values_reach_the_method_as_zeros_without_weight(monkeypatch, extra):
    seen = []

    def look(task):
        seen.append(task)
        return METHODS["oracle"].run(task)

    rng = np.random.default_rng(0)
    A, S = rng.random((20, 3)), rng.dirichlet(np.ones(3), size=30).T
    Y = (A @ S).reshape(20, 5, 6)
    gone = rng.random(Y.shape) < 0.2
    Y[gone] = np.nan
    scene = unmixing.Scene(data=Y, weights=(~gone).astype(float), spectra=A, abundances=S.reshape(3, 5, 6), n_endmembers=3)
    monkeypatch.setattr(unmixing, "load", lambda name, **options: scene)
    extra("look", look)
    row = list(run([EASY], ["look"], seeds=1))[-1]
    assert bool(torch.isfinite(seen[-1].Y).all())
    np.testing.assert_array_equal(seen[-1].W.numpy().reshape(Y.shape) == 0, gone)
    assert row.trials[0].rmse_total == pytest.approx(0, abs=1e-5)
    assert row.trials[0].reconstruction_rmse == pytest.approx(0, abs=1e-9)


def test_the_unit_of_cost_is_the_time_of_scipy():
    rng = np.random.default_rng(0)
    few, many = rng.random((40, 50)), rng.random((40, 4000))
    A = rng.random((40, 4))
    assert 0 < nnls_seconds(few, A) < nnls_seconds(many, A)
    holes = np.where(rng.random(few.shape) < 0.2, np.nan, few)
    assert nnls_seconds(holes, A) > 0


def test_every_method_is_warmed_up_once_before_it_is_timed(extra):
    sizes = []

    def count(task):
        sizes.append(task.Y.shape)
        return METHODS["oracle"].run(task)

    extra("counted", count)
    list(run([EASY, "k3-mixed-40dB-white"], ["counted"], seeds=1))
    assert sizes == [(30, 256), (224, 4096), (224, 4096)]


def test_cpu_seconds_do_not_count_sleep():
    import time

    value, seconds = cpu_seconds(lambda: time.sleep(0.2) or "done")
    assert value == "done"
    assert seconds < 0.1


def test_a_table_has_as_many_cells_as_headings_and_the_truth_below(rows):
    text = to_markdown(rows, circumstances(seeds=2))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert {line.count("|") for line in table} == {table[0].count("|")}
    assert f"- {EASY}, exact: {DATASETS[EASY].truth} (fclsu)." in text


def test_csv_and_json_hold_the_same_figures(rows):
    facts = circumstances(seeds=2, argv=["vermilion", "benchmark"])
    table = list(csv.DictReader(io.StringIO(to_csv(rows))))
    whole = json.loads(to_json(rows, facts))
    assert [line["method"] for line in table] == [row["method"] for row in whole["rows"]]
    for line, row in zip(table, whole["rows"], strict=True):
        assert float(line["rmse_total_mean"]) == row["figures"]["rmse_total"]["mean"]
        assert float(line["sad_mean_sd"]) == row["figures"]["sad_mean"]["sd"]
        assert row["figures"]["rmse_total"]["mean"] == pytest.approx(np.mean([trial["rmse_total"] for trial in row["trials"]]))
    assert (whole["seeds"], whole["threads"], whole["argv"]) == (2, 1, ["vermilion", "benchmark"])


def test_one_seed_has_no_standard_deviation(rows):
    one = unmixing.Row(dataset=rows[0].dataset, method="oracle", trials=rows[0].trials[:1])
    assert math.isnan(one.deviation("rmse_total"))
    assert " ± " not in "".join(line for line in to_markdown([one], circumstances(seeds=1)).splitlines() if line.startswith("| k3"))


def test_standard_methods_and_oracles_exist():
    assert set(STANDARD) | set(ORACLES) <= METHODS.keys()
    assert methods.ORACLES[0] == "oracle"
