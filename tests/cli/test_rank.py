"""``vermilion rank``: the counts on stderr, the products on stdout."""

import json

import pytest

from vermilion.cli import rank as command
from vermilion.rank import estimate

pytestmark = pytest.mark.usefixtures("brief")


@pytest.fixture
def brief(monkeypatch):
    """Fits with few values."""
    monkeypatch.setattr(estimate, "_VALUES", 3_000)
    monkeypatch.setitem(estimate._FIT, "max_iter", 20)


def test_counts_go_to_stderr_and_products_to_stdout(call, small_cube, tmp_path):
    run = call("rank", small_cube, "--max", 4, "--folds", 1, "-o", tmp_path / "out")
    assert run.code == 0
    paths = run.out.splitlines()
    assert paths == [str(tmp_path / "out" / name) for name in ("rank.json", "figures/rank.png", "manifest.sha256", "DONE")]
    assert all((tmp_path / "out" / path).stat().st_size for path in paths)
    report = json.loads((tmp_path / "out/rank.json").read_text())
    assert " ".join(report["sentence"].split()) in " ".join(run.err.split())
    for row in report["estimates"]:
        assert row["name"] in run.err
    assert max(map(len, run.err.splitlines())) <= 80


def test_json_is_all_that_is_printed(call, small_cube):
    run = call("rank", small_cube, "--max", 3, "--folds", 1, "--json", "-q")
    assert (run.code, run.err) == (0, "")
    facts = json.loads(run.out)
    assert facts["products"] == []
    assert facts["max_components"] == 3
    assert {"n_components", "confident", "sentence", "estimates", "range"} <= facts.keys()


def test_a_dry_run_reads_and_writes_nothing(call, small_cube, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_estimate", lambda *_, **__: pytest.fail("computed"))
    run = call("rank", small_cube, "--dry-run", "-o", tmp_path / "out")
    assert (run.code, run.out) == (0, "")
    assert run.err.startswith("would count the components of Cube(")
    assert not (tmp_path / "out").exists()


def test_options_come_from_a_file(call, small_cube, tmp_path):
    (tmp_path / "options.toml").write_text("[rank]\nmax = 2\nfolds = 1\n")
    run = call("rank", small_cube, "--config", tmp_path / "options.toml", "--json", "-q")
    assert json.loads(run.out)["max_components"] == 2


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--max", 0), 2, "--max is 0: expected an integer >= 1."),
        (("--folds", 0), 2, "--folds is 0"),
        (("--seed", -1), 2, "--seed is -1"),
        (("--spectra", "simplex"), 2, "simplex"),
        (("--memory", "1kB"), 7, "E-MEMORY"),
        (("-o", "missing/parent/out"), 6, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, small_cube, words, code, text):
    run = call("rank", small_cube, *words)
    assert (run.code, run.out) == (code, "")
    assert text in run.err


def test_a_folder_with_something_in_it_stays(call, small_cube, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    run = call("rank", small_cube, "-o", tmp_path)
    assert run.code == 6
    assert "--overwrite" in run.err


def test_an_interrupt_writes_nothing(call, small_cube, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(estimate, "cross_validation", interrupted)
    run = call("rank", small_cube, "-o", tmp_path / "out")
    assert (run.code, run.out) == (130, "")
    assert not (tmp_path / "out").exists()
