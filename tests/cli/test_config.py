"""Options from a TOML file: the same run, the command line first, and one line for every mistake."""

import re
import tomllib

import numpy as np
import pytest
from astropy.io import fits


@pytest.fixture
def config(call, small_cube, tmp_path):
    """Run `separate` with nothing but a file of options of this content, and more options."""

    def config(text, *more):
        path = tmp_path / "options.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return call("separate", small_cube, "-o", tmp_path / "out", "--config", path, *more)

    return config


def run_options(tmp_path):
    return tomllib.loads((tmp_path / "out" / "run.toml").read_text())


@pytest.mark.parametrize("table", ["", "[separate]\n"])
@pytest.mark.parametrize("max_iter", ["max-iter", "max_iter", '"max-iter"'])
def test_options_are_taken_from_the_file(config, tmp_path, table, max_iter):
    run = config(f"{table}components = 3\n{max_iter} = 4\ntol = 0\nstarts = 0\nspectra = 'free'\nchecksum = false\n")
    assert run.code == 0, run.err
    found = run_options(tmp_path)
    assert (found["components"], found["max_iter"], found["spectra"], found["checksum"]) == (3, 4, "free", False)


def test_the_command_line_wins(config, tmp_path):
    run = config("components = 3\nmax-iter = 4\ntol = 0\nstarts = 0", "-k", 2, "--max-iter", 5)
    assert run.code == 0, run.err
    found = run_options(tmp_path)
    assert (found["components"], found["max_iter"]) == (2, 5)


def test_run_toml_of_a_run_makes_it_again(separate, call, small_cube, tmp_path):
    first = separate("--seed", 7, "--no-checksum", "--spectra", "simplex", "--wave", "4000:9000 Angstrom")
    again = call("separate", small_cube, "-o", tmp_path / "again", "--config", first.folder / "run.toml")
    assert (first.code, again.code) == (0, 0), again.err
    options = [tomllib.loads((folder / "run.toml").read_text()) for folder in (first.folder, tmp_path / "again")]
    assert options[0] == options[1]
    for name in ("model.fits", "components.fits"):
        with fits.open(first.folder / name) as one, fits.open(tmp_path / "again" / name) as other:
            for a, b in zip(one, other, strict=True):
                if a.data is not None and a.is_image:
                    np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("components = = 3", r"is no TOML: .*line 1, column 14"),
        ("components = 3\ncomponents = 4", "is no TOML: .*line 2"),
        ("components = 3\ncomponets = 4", "line 2: unknown option 'componets'. Did you mean 'components'"),
        ("[separate]\nmaxiter = 4", "line 2: unknown option 'maxiter'. Did you mean 'max-iter'"),
        ("zzz = 1", "line 1: unknown option 'zzz'. They are named as those of: vermilion separate --help"),
        ("components = 'four'", "line 1: components is 'four': expected an integer"),
        ("components = 2.5", "components is 2.5: expected an integer"),
        ("components = true", "components is True: expected an integer"),
        ("tol = 'small'", "tol is 'small': expected a number"),
        ("spectra = 1", "spectra is 1: expected one of 'nonneg'"),
        ("\n\nforce = 'yes'", "line 3: force is 'yes': expected true or false"),
        ("unit = [1]", r"unit is \[1\]: expected a string"),
        ("psf_file = [1, 2]", r"psf_file is \[1, 2\]: expected a list of strings"),
        ("[components]\nk = 3", "line 1: components is a table: expected an integer"),
        ("max-iter = 3\nmax_iter = 4", "'max_iter' is given twice"),
        ("components = 3\n[separate]\ncomponents = 3", "'components' is given twice"),
        ("separate = 3", "separate is 3: expected a table of options"),
        ("config = 'other.toml'", "unknown option 'config'"),
        ("no-checksum = true", "unknown option 'no-checksum'. Did you mean 'checksum'"),
        (b"unit = '\xff'", "line 1 holds bytes that are no UTF-8"),
        (b"components = 3 #" + b"x" * 1_000_000, "more than 1 MB"),
        ("x = " + "[" * 5000, "no TOML|nested too deeply"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(config, tmp_path, text, said):
    run = config(text, "--max-iter", 3)
    assert (run.code, len(run.err.splitlines())) == (2, 1), run.err
    assert re.search(r"error\[E-PARAM\]: --config ", run.err)
    assert re.search(said, run.err), run.err
    assert not (tmp_path / "out").exists()


def test_values_are_checked_as_on_the_command_line(config):
    for text, said in (("components = 0", "expected an integer >= 1"), ("components = 3\ntol = nan", "expected a number in"), ("", "'-k'")):
        run = config(text)
        assert run.code == 2
        assert said in run.err


def test_a_missing_file_is_named(call, small_cube, tmp_path):
    run = call("separate", small_cube, "-o", tmp_path / "out", "--config", tmp_path / "nowhere.toml")
    assert run.code == 3
    assert "error[E-MISSING]" in run.err
    assert "nowhere.toml" in run.err
