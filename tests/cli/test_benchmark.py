"""``vermilion benchmark unmixing`` as a user meets it."""

import json
import os

import click
import pytest
import torch
from click.testing import CliRunner

from vermilion.benchmark.methods import METHODS, Method
from vermilion.cli.benchmark import benchmark
from vermilion.errors import MissingFileError, OutputExistsError, ParameterError

EASY = "k3-pure-40dB-white"


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def call(*arguments):
    return CliRunner().invoke(benchmark, ["unmixing", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)


def test_a_table_is_printed_and_written(tmp_path):
    done = call("--dataset", EASY, "--method", "vca+fclsu", "--seeds", 1, "-o", tmp_path / "out")
    assert done.return_value == 0
    assert done.stdout == (tmp_path / "out" / "table.md").read_text()
    assert f"| {EASY} | exact | vca+fclsu | 1 |" in done.stdout
    whole = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert [row["method"] for row in whole["rows"]] == ["oracle", "oracle-scale-free", "vca+fclsu"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix) == [
        "benchmark.json",
        "manifest.sha256",
        "table.csv",
        "table.md",
    ]
    with pytest.raises(OutputExistsError, match="--overwrite"):
        call("--dataset", EASY, "--method", "vca+fclsu", "--seeds", 1, "-o", tmp_path / "out")


def test_json_is_printed_alone():
    done = call("--dataset", EASY, "--method", "oracle", "--seeds", 1, "--json")
    assert [row["dataset"] for row in json.loads(done.stdout)["rows"]] == [EASY, EASY]


def test_rows_are_told_as_they_are_finished_unless_quiet():
    told = call("--dataset", EASY, "--method", "oracle", "--seeds", 1)
    quiet = call("--dataset", EASY, "--method", "oracle", "--seeds", 1, "-q")
    assert f"vermilion: {EASY}, oracle: SAD" in told.stderr
    assert quiet.stderr == ""


def test_a_dry_run_says_what_is_missing_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("VERMILION_TEST_DATA", raising=False)
    done = call("--dry-run", "--dataset", "moffett", "--dataset", EASY, "-o", tmp_path / "out")
    assert done.return_value == 0
    assert "missing moffett.npz: name the folder" in done.stdout
    assert f"  {EASY:<24}exact   there" in done.stdout
    assert not (tmp_path / "out").exists()
    plan = json.loads(call("--dry-run", "--dataset", "moffett", "--json").stdout)
    assert plan["datasets"][0]["missing"] == ["moffett.npz"]
    assert plan["methods"] == ["oracle", "oracle-scale-free", "vermilion-default", "vermilion-in-convention", "vca+fclsu"]


def test_with_no_data_at_all_nothing_is_begun(tmp_path):
    with pytest.raises(MissingFileError, match=r"files of moffett are not there: name the folder that holds moffett.npz"):
        call("--dataset", "moffett", "--data", tmp_path)


def test_a_failed_row_ends_in_five(monkeypatch):
    def fail(task):
        raise ValueError("impossible")

    monkeypatch.setitem(METHODS, "unlucky", Method("unlucky", "of a test", fail))
    done = call("--dataset", EASY, "--method", "unlucky", "--seeds", 1)
    assert done.return_value == 5
    assert "error[E-CONVERGENCE]: 1 of 3 rows failed" in done.stderr
    assert "unlucky: seed 0: ValueError: impossible" in done.stdout


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_keeps_the_finished_rows(tmp_path, monkeypatch, name, code):
    import signal

    def interrupt(task):
        os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setitem(METHODS, "stopped", Method("stopped", "of a test", interrupt))
    before = signal.getsignal(signal.SIGINT)
    done = call("--dataset", EASY, "--method", "stopped", "--seeds", 1, "-o", tmp_path / "out")
    assert done.return_value == code
    whole = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert [row["method"] for row in whole["rows"]] == ["oracle", "oracle-scale-free"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--seeds", 0), "--seeds is 0"),
        (("--threads", 0), "--threads is 0"),
        (("--dataset", "mars"), "no data set 'mars'"),
        (("--method", "magic"), "no method 'magic'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, text):
    with pytest.raises(ParameterError, match=text):
        call(*arguments)


def test_a_data_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="which is no folder"):
        call("--data", tmp_path / "nowhere")


def test_every_option_is_explained_within_80_ascii_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["--help"], ["unmixing", "--help"]):
        text = CliRunner().invoke(benchmark, words).stdout
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 80
    options = [one for one in benchmark.commands["unmixing"].params if isinstance(one, click.Option)]
    assert [one.opts[-1] for one in options if not one.help] == []
