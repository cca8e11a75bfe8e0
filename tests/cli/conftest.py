"""A small cube, a finished run on it, and the command line called within this process."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from vermilion import pipeline
from vermilion.cli import main

EPOCH = "1700000000"


@dataclass(frozen=True)
class Run:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str
    folder: Path | None = None

    @property
    def errors(self):
        """Lines of stderr that tell of an error."""
        return [line for line in self.err.splitlines() if "error[" in line]


def _launch(*arguments, cwd=None, env=None, **options):
    """Run ``python -m vermilion`` on one thread, with a fixed date."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SOURCE_DATE_EPOCH": EPOCH} if env is None else env
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "vermilion", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, timeout=120, check=False, **options)
    return Run(done.returncode, done.stdout or "", done.stderr or "")


@pytest.fixture(scope="session")
def launch():
    """Function that runs the program as a user does."""
    return _launch


@pytest.fixture(scope="session")
def small_cube(sample_cube, tmp_path_factory):
    """60 bands of 20 x 20 spaxels cut from the sample cube, MUSE layout."""
    path = tmp_path_factory.mktemp("input") / "cube.fits"
    with fits.open(sample_cube) as hdus:
        cut = fits.HDUList([hdus[0].copy()])
        for hdu in hdus[1:]:
            header = hdu.header.copy()
            if "CRPIX1" in header:
                for axis, first in ((1, 10), (2, 10), (3, 60)):
                    header[f"CRPIX{axis}"] -= first
            cut.append(fits.ImageHDU(np.array(hdu.data[60:120, 10:30, 10:30]), header))
        cut.writeto(path, checksum=True)
    return path


@pytest.fixture(scope="session")
def finished(launch, small_cube, tmp_path_factory):
    """A whole run with every default, as a user starts it."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    run = launch("separate", small_cube, "-k", 3, "-o", folder)
    return Run(run.code, run.out, run.err, folder)


@pytest.fixture
def call(capsys, monkeypatch):
    """The command line within this process; pictures are left out, as they take longer than the fit."""
    monkeypatch.setattr(pipeline, "save_figures", lambda *_: [])
    threads = torch.get_num_threads()

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        torch.set_num_threads(threads)
        return Run(stopped.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def separate(call, small_cube, tmp_path):
    """Three components of the small cube by a few iterations, into ``tmp_path/out``."""

    def separate(*arguments, cube=small_cube, out=None, brief=True):
        limits = ("--max-iter", 20, "--tol", 0, "--starts", 0) if brief else ()
        folder = tmp_path / "out" if out is None else out
        run = call("separate", cube, "-k", 3, "-o", folder, *limits, *arguments)
        return Run(run.code, run.out, run.err, folder)

    return separate
