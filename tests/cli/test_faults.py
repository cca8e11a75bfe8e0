"""Bad inputs, bad parameters, bad folders, signals: one line, the code that is promised, nothing half-written."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.image import imread

from vermilion.cli.run import threads_for

LINE = re.compile(r"vermilion: error\[(E-[A-Z]+)\]: .{15,}")


def refused(run, exit_code, code):
    """Whether a run said exactly one line, ended as promised, and left nothing behind."""
    assert run.out == ""
    assert len(run.err.splitlines()) == 1, run.err
    match = LINE.fullmatch(run.err.strip())
    assert match, run.err
    assert (run.code, match[1]) == (exit_code, code), run.err
    if run.folder is not None:
        assert not run.folder.exists()
    return True


# ---------------------------------------------------------------- input


def _rewrite(source, target, change):
    with fits.open(source) as hdus:
        cut = fits.HDUList([hdu.copy() for hdu in hdus])
    change(cut)
    for hdu in cut:
        hdu.header.remove("CHECKSUM", ignore_missing=True)
        hdu.header.remove("DATASUM", ignore_missing=True)
    cut.writeto(target)


def _set(name, value):
    def change(hdus):
        hdus[name].data = np.full_like(hdus[name].data, value)

    return change


def _flip(path, source):
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


INPUTS = {
    "missing": (lambda path, source: None, 3, "E-MISSING"),
    "empty": (lambda path, source: path.write_bytes(b""), 3, "E-EMPTY"),
    "directory": (lambda path, source: path.mkdir(), 3, "E-MISSING"),
    "truncated": (lambda path, source: path.write_bytes(source.read_bytes()[:100_000]), 3, "E-TRUNCATED"),
    "text": (lambda path, source: path.write_text("wavelength flux\n4750 1.0\n"), 3, "E-FORMAT"),
    "png": (lambda path, source: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(5000)), 3, "E-FORMAT"),
    "html": (lambda path, source: path.write_text("<!DOCTYPE html><html>please log in</html>"), 3, "E-FORMAT"),
    "bit flip": (_flip, 3, "E-CORRUPT"),
    "image": (lambda path, source: fits.writeto(path, np.ones((20, 20), "f4")), 4, "E-SHAPE"),
    "no data": (lambda path, source: fits.PrimaryHDU().writeto(path), 4, "E-SHAPE"),
    "all NaN": (lambda path, source: _rewrite(source, path, _set("DATA", np.nan)), 4, "E-NODATA"),
    "all zero": (lambda path, source: _rewrite(source, path, _set("DATA", 0)), 4, "E-NODATA"),
    "no weight": (lambda path, source: _rewrite(source, path, _set("STAT", 0)), 4, "E-NODATA"),
    "unknown unit": (lambda path, source: _rewrite(source, path, lambda hdus: hdus["DATA"].header.set("BUNIT", "furlongs")), 4, "E-UNIT"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_bad_input_is_refused(separate, small_cube, tmp_path, name):
    make, exit_code, code = INPUTS[name]
    path = tmp_path / "input.fits"
    make(path, small_cube)
    assert refused(separate(cube=path), exit_code, code)


def test_an_address_is_no_file(separate):
    assert refused(separate(cube="https://example.org/cube.fits"), 2, "E-PARAM")


def test_a_cube_larger_than_the_memory_allowed_is_refused(separate):
    assert refused(separate("--memory", "10kB"), 7, "E-MEMORY")


def test_a_name_cannot_move_the_cursor(separate, tmp_path):
    run = separate(cube=tmp_path / "\x1b[2J\nvermilion: all is well\u202e.fits")
    assert refused(run, 3, "E-MISSING")
    assert run.err.strip().isprintable()


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        ("-k 0", 2, "E-PARAM"),
        ("-k -1", 2, "E-PARAM"),
        ("-k 2.5", 2, "E-USAGE"),
        ("-k four", 2, "E-USAGE"),
        ("-k 61", 4, "E-SHAPE"),
        ("--tol nan", 2, "E-PARAM"),
        ("--tol -1", 2, "E-PARAM"),
        ("--tol inf", 2, "E-PARAM"),
        ("--max-iter 0", 2, "E-PARAM"),
        ("--entropy nan", 2, "E-PARAM"),
        ("--entropy 0", 2, "E-PARAM"),
        ("--entropy inf", 2, "E-PARAM"),
        ("--sparsity -1", 2, "E-PARAM"),
        ("--entropy 1 --sparsity 1", 2, "E-PARAM"),
        ("--entropy 1 --maps free", 2, "E-PARAM"),
        ("--seed -1", 2, "E-PARAM"),
        (f"--seed {2**70}", 2, "E-PARAM"),
        ("--starts -1", 2, "E-PARAM"),
        ("--threads 0", 2, "E-PARAM"),
        ("--device bogus", 2, "E-PARAM"),
        ("--device meta", 2, "E-PARAM"),
        ("--device cuda:9", 7, "E-DEVICE"),
        ("--spectra smooth", 2, "E-USAGE"),
        ("--solver newton", 2, "E-USAGE"),
        ("--memory much", 2, "E-USAGE"),
        ("--maxiter 3", 2, "E-USAGE"),
        ("--reader musee", 2, "E-PARAM"),
        ("--data-ext NOPE", 2, "E-PARAM"),
        ("--unit furlongs", 2, "E-PARAM"),
        ("--fix-spectrum nowhere.fits", 3, "E-MISSING"),
    ],
)
def test_a_bad_parameter_is_refused(separate, arguments, exit_code, code):
    assert refused(separate(*arguments.split()), exit_code, code)


def test_the_range_is_told(separate):
    assert "-k/--components is 0: expected an integer >= 1." in separate("-k", 0).err
    assert "--tol is nan: expected a number in [0, 1)." in separate("--tol", "nan").err


def test_an_unknown_option_is_answered_with_the_nearest(separate):
    assert re.search(r"Did you mean.*'--max-iter'", separate("--maxiter", 3).err)


def test_what_is_missing_is_named(call, small_cube):
    assert "Missing option '-o'" in call("separate", small_cube, "-k", 3).err
    assert "Missing argument 'CUBE...'" in call("separate").err


def test_more_threads_than_cores_are_not_used(caplog):
    assert threads_for(10**6, n_voxels=10) == threads_for(None, n_voxels=10**9) <= os.cpu_count()
    assert "more threads would only wait" in caplog.text
    assert threads_for(None, n_voxels=10) == 1


# ---------------------------------------------------------------- output


def test_a_file_is_no_folder(separate, tmp_path):
    (tmp_path / "out").write_text("mine")
    run = separate()
    assert (run.code, len(run.errors)) == (6, 1)
    assert "error[E-OUTPUT]" in run.err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_missing_parent_is_not_made(separate, tmp_path):
    assert refused(separate(out=tmp_path / "not" / "there"), 6, "E-OUTPUT")
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("where", ["the folder", "its parent"])
def test_a_read_only_folder_is_refused_also_for_root(separate, tmp_path, where):
    parent = tmp_path / "parent"
    out = parent / "out"
    (out if where == "the folder" else parent).mkdir(parents=True)
    locked = out if where == "the folder" else parent
    locked.chmod(0o555)
    try:
        run = separate("--overwrite", out=out)
    finally:
        locked.chmod(0o755)
    assert (run.code, run.errors) == (6, [run.err.strip()])
    assert "error[E-READONLY]" in run.err
    assert list(locked.iterdir()) == []


def test_the_folder_is_looked_at_before_the_input(separate, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert separate(cube="missing.fits").code == 6


# ---------------------------------------------------------------- signals

# A process that has everything loaded, and forks: each job is the program as it is after its imports.
_DRIVER = """
import json, os, signal, sys, time
from vermilion import pipeline
from vermilion.cli import main

def run(job):
    child = os.fork()
    if child == 0:
        if not job["pictures"]:  # they take longer than the rest
            pipeline.save_figures = lambda *_: []
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        main(job["arguments"])
    begin, sent, pid = time.monotonic(), False, 0
    while not pid and time.monotonic() - begin < 20:
        if not sent and os.path.exists(job["after"]):
            time.sleep(job["delay"])
            os.kill(child, job["signal"])
            sent = True
        pid, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    if not pid:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "did not end"
    return os.waitstatus_to_exitcode(status)

print(json.dumps([run(job) for job in json.load(sys.stdin)]))
"""
_KILLS = 3
_LOCK = ".vermilion.lock"  # is there from before the fit to the end


def _job(name, cube, folder, number, *arguments, after=_LOCK, delay=0.3):
    words = ["separate", str(cube), "-k", "3", "-o", str(folder / name), "--overwrite", *arguments]
    out, err = (str(folder / f"{name}.{end}") for end in ("out", "err"))
    pictures = after != _LOCK or number == signal.SIGKILL
    return {
        "pictures": pictures,
        "arguments": words,
        "signal": int(number),
        "after": str(folder / name / after),
        "delay": delay,
        "out": out,
        "err": err,
    }


@pytest.fixture(scope="module")
def interrupted(small_cube, finished, tmp_path_factory):
    """Exit codes of runs that a signal hit, by name, and the folder that holds what they left."""
    folder = tmp_path_factory.mktemp("interrupted")
    endless = ("--max-iter", "1000000000", "--tol", "0")
    brief = ("--max-iter", "5", "--tol", "0", "--starts", "0")
    jobs = {
        # in the fit: a compiled kernel takes a while to load
        "int": _job("int", small_cube, folder, signal.SIGINT, *endless, "--starts", "0", delay=3.0),
        "term": _job("term", small_cube, folder, signal.SIGTERM, *endless, "--starts", "0", delay=3.0),
        "starts": _job("starts", small_cube, folder, signal.SIGINT, *endless, delay=3.0),
        "writing": _job("writing", small_cube, folder, signal.SIGTERM, *brief, after="components.fits", delay=0.05),
    }
    for seed in range(_KILLS):
        delay = random.Random(seed).uniform(0.0, 1.5)
        jobs[f"kill {seed}"] = _job(f"kill {seed}", small_cube, folder, signal.SIGKILL, *brief, delay=delay)
        if seed % 2:  # over an earlier run
            (folder / f"kill {seed}").mkdir()
            for path in finished.folder.rglob("*"):
                if path.is_file():
                    target = folder / f"kill {seed}" / path.relative_to(finished.folder)
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(path.read_bytes())
    driven = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        input=json.dumps(list(jobs.values())),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )
    assert driven.returncode == 0, driven.stderr
    return dict(zip(jobs, json.loads(driven.stdout), strict=True)), folder


@pytest.mark.parametrize(("name", "exit_code"), [("int", 130), ("term", 143)])
def test_a_signal_ends_the_fit_and_what_was_found_is_written(interrupted, name, exit_code):
    codes, folder = interrupted
    said = (folder / f"{name}.err").read_text()
    assert codes[name] == exit_code, said
    assert "Traceback" not in said
    assert said.count("error[E-INTERRUPTED]") == 1
    assert fits.getval(folder / name / "components.fits", "STATUS") == "STOPPED"
    assert (folder / name / "DONE").read_text().startswith("stopped")
    assert whole(folder / name) >= {"components.fits", "model.fits", "residual.fits"}


def test_a_signal_is_not_followed_by_a_test_of_uniqueness(interrupted):
    codes, folder = interrupted
    assert codes["starts"] == 130
    assert fits.getval(folder / "starts" / "components.fits", "UNIQUE") == "untested"


def test_a_signal_while_products_are_written_lets_them_be_finished(interrupted):
    codes, folder = interrupted
    assert codes["writing"] == 143
    assert "DONE" in whole(folder / "writing")
    assert "a second signal" in (folder / "writing.err").read_text()


def whole(folder):
    """Names of the products in a folder, every one of them read to its end."""
    names = set()
    for path in folder.rglob("*"):
        if path.is_dir() or path.name.startswith("."):
            continue
        names.add(path.relative_to(folder).as_posix())
        if path.suffix == ".fits":
            with fits.open(path, checksum=True) as hdus:  # warnings are errors
                assert all(hdu.verify_checksum() == 1 and hdu.verify_datasum() == 1 for hdu in hdus)
        elif path.suffix == ".png":
            assert imread(path).size
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text())
    if "DONE" in names:
        for line in (folder / "manifest.sha256").read_text().splitlines():
            digest, name = line.split("  ")
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    return names


@pytest.mark.parametrize("seed", range(_KILLS))
def test_a_killed_run_leaves_no_part_of_a_file_under_a_final_name(interrupted, seed):
    codes, folder = interrupted
    assert codes[f"kill {seed}"] == -signal.SIGKILL
    names = whole(folder / f"kill {seed}")
    if seed % 2:  # what was there is there still, old or new
        assert names >= {"components.fits", "model.fits", "residual.fits"}


def test_a_killed_run_can_be_done_again(interrupted, separate):
    _, folder = interrupted
    run = separate("--overwrite", out=folder / "kill 0")
    assert run.code == 0
    assert not [path for path in run.folder.rglob("*") if path.name.startswith(".")]
    assert "DONE" in whole(run.folder)


# ---------------------------------------------------------------- surroundings


def test_a_poor_environment_changes_nothing(launch, small_cube, tmp_path):
    (tmp_path / "file").write_text("")
    poor = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "file" / "home"),  # cannot be made, not even by root
        "LANG": "C",
        "LC_ALL": "C",
        "COLUMNS": "40",
        "NO_COLOR": "1",
        "PYTHONWARNINGS": "error",
        "OMP_NUM_THREADS": "1",
    }
    limits = ("--max-iter", 3, "--tol", 0, "--starts", 0)
    run = launch("separate", small_cube, "-k", 3, "-o", tmp_path / "out", "-q", *limits, env=poor)
    assert (run.code, run.err) == (0, "")
    assert "DONE" in whole(tmp_path / "out")


def test_a_reader_that_goes_away_is_no_error(launch, separate, small_cube):
    for arguments in (["--help"], ["inspect", small_cube, "-q"]):
        reading, writing = os.pipe()
        os.close(reading)
        run = launch(*arguments, stdout=writing)
        os.close(writing)
        assert (run.code, run.err) == (141, "")
