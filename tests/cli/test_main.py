"""The program around the commands: help, version, errors, exit codes, and their documentation."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import vermilion
from vermilion import cli as program
from vermilion import errors
from vermilion.cli import cli, main
from vermilion.cli.run import warnings_to_log
from vermilion.cli.separate import _check_options
from vermilion.errors import InputWarning, ParameterError, VermilionError
from vermilion.factorize import INITS

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
COMMANDS = ("inspect", "separate", "unmix", "deblend", "rank", "compare", "benchmark", "formats")


def options_of(name):
    command = cli.get_command(click.Context(cli), name)
    commands = [command, *getattr(command, "commands", {}).values()]
    return [parameter for each in commands for parameter in each.params if isinstance(parameter, click.Option)]


# ---------------------------------------------------------------- help


def test_the_version_is_printed(call):
    run = call("--version")
    assert (run.code, run.out, run.err) == (0, f"vermilion, version {vermilion.__version__}\n", "")


@pytest.mark.parametrize("module", ["vermilion", "vermilion.cli"])
def test_both_modules_can_be_run(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: vermilion [OPTIONS] COMMAND")


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(call, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    run = call(*words)
    assert (run.code, run.err) == (0, "")
    assert max(map(len, run.out.splitlines())) <= 80
    assert run.out.isascii()  # for terminals that know nothing else


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    silent = [option.opts[-1] for option in options_of(name) if not option.help]
    assert silent == []


def test_the_starts_offered_are_those_that_there_are():
    (option,) = [option for option in options_of("separate") if option.name == "init"]
    assert tuple(option.type.choices) == INITS


def test_the_options_of_separate_come_under_headings(call):
    text = call("separate", "--help").out
    headings = [line for line in text.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert headings == ["Components:", "Fit:", "Reading CUBE:", "Products:", "Messages:"]
    assert [option.opts[-1] for option in options_of("separate") if option.opts[-1] not in text] == []


def test_without_a_word_the_help_is_shown(call):
    run = call()
    assert (run.code, run.out) == (2, "")
    assert "Usage: vermilion" in run.err


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("separat", "Did you mean 'separate'?"),
        ("frobnicate", "There are inspect, separate, unmix, deblend, rank, compare, benchmark, formats."),
    ],
)
def test_an_unknown_command_is_answered_with_what_there_is(call, word, hint):
    run = call(word)
    assert (run.code, run.out) == (2, "")
    assert run.err == f"vermilion: error[E-USAGE]: No such command '{word}'. {hint} (see vermilion --help)\n"


def fail_with(monkeypatch, error):
    def inspect(*_, **__):
        raise error

    monkeypatch.setattr(program, "import_module", lambda *_: type("Module", (), {"inspect": click.command("inspect")(inspect)}))


def test_a_bug_is_one_line_and_a_traceback_for_those_who_ask(call, monkeypatch):
    fail_with(monkeypatch, ZeroDivisionError("division\nby zero" + 1000 * " x"))
    run = call("inspect")
    assert (run.code, len(run.err.splitlines())) == (1, 1)
    assert run.err.startswith("vermilion: error[E-INTERNAL]: ZeroDivisionError: division by zero")
    assert len(run.err) < 450
    monkeypatch.setattr(program, "_verbosity", lambda _: 2)
    with pytest.raises(ZeroDivisionError):
        main(["inspect"])


@pytest.mark.parametrize(("words", "count"), [(["-vv"], 2), (["-v", "--verbose"], 2), (["-qv"], 1), (["--overwrite", "data-vv"], 0)])
def test_verbosity_is_counted_before_options_are_parsed(words, count):
    assert program._verbosity(words) == count


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (ParameterError("seed is -1: expected an integer >= 0."), 2, "E-PARAM"),
        (MemoryError("7 TiB"), 7, "E-MEMORY"),
        (KeyboardInterrupt(), 130, "E-INTERRUPTED"),
        (OSError(28, "No space left on device"), 6, "E-OUTPUT"),
        (OSError(5, "Input/output error"), 1, "E-INTERNAL"),
        (click.FileError("x", "unreadable"), 2, "E-USAGE"),
    ],
)
def test_every_error_has_its_code(launch, call, monkeypatch, error, exit_code, code):
    fail_with(monkeypatch, error)
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # the stdout of the tests stays
    run = call("inspect")
    assert (run.code, run.errors) == (exit_code, [run.err.strip()])
    assert f"error[{code}]" in run.err


def test_a_full_or_closed_stdout_is_no_bug():
    def code(redirection):
        command = f'"{sys.executable}" -m vermilion --help {redirection}'
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)

    closed = code(">&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    if Path("/dev/full").exists():
        full = code(">/dev/full")
        assert full.returncode == 6
        assert full.stderr.startswith("vermilion: error[E-OUTPUT]: stdout cannot be written")


def test_warnings_of_others_are_for_the_log_only(caplog):
    import warnings

    caplog.set_level("DEBUG", "vermilion")
    with warnings_to_log():
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        warnings.warn("sigma is small", InputWarning, stacklevel=1)
    levels = {record.levelname: record.getMessage() for record in caplog.records}
    assert "DeprecationWarning: deprecated" in levels["DEBUG"]
    assert levels["WARNING"] == "sigma is small"


def test_good_options_pass():
    words = ["cube.fits", "-k", "1", "-o", "out", "--device", "cuda:0", "--tol", "0", "--seed", str(2**63 - 1), "--starts", "0"]
    _check_options(cli.get_command(click.Context(cli), "separate").make_context("separate", words).params)


# ---------------------------------------------------------------- the page


def classes():
    return {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, VermilionError)}


def test_every_error_code_is_documented_with_its_exit_code():
    rows = re.findall(r"^\| `(E-[A-Z]+)` \| (\d+)\D", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {(code, int(exit_code)) for code, exit_code in rows}
    assert documented == {(cls.code, cls.exit_code) for cls in classes()} | {("E-USAGE", 2)}
    assert len(rows) == len(documented)


def test_every_command_and_option_is_documented():
    text = PAGE.read_text(encoding="utf-8")
    for name in COMMANDS:
        section = text.partition(f"## `vermilion {name}")[2].partition("\n## ")[0]
        assert [opt for option in options_of(name) for opt in option.opts if opt not in section] == []


def test_no_option_is_documented_that_does_not_exist():
    known = {opt for name in COMMANDS for option in options_of(name) for opt in option.opts} | {"--help", "--version"}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE.read_text(encoding="utf-8"))) <= known
