"""What the command line costs before there is anything to compute."""

import resource
import subprocess
import sys

import pytest


def modules_imported_by(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "vermilion.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["separate", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    modules = modules_imported_by(*arguments)
    assert "vermilion" in modules
    assert not modules & {"torch", "matplotlib", "numpy", "astropy", "scipy"}


def test_inspect_imports_neither_torch_nor_matplotlib(small_cube):
    modules = modules_imported_by("inspect", small_cube)
    assert "astropy" in modules
    assert not modules & {"torch", "matplotlib"}


def test_help_takes_at_most_half_a_second_of_cpu():
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "vermilion.cli", "--help"], capture_output=True, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) <= 0.5
