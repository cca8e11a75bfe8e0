"""`vermilion inspect`: a table that says what was found; nothing written; neither torch nor matplotlib."""

import json
import shlex
import subprocess
import sys

import click
import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from vermilion.cli.inspect import inspect
from vermilion.cli.options import MEMORY, read_options, split_read_options
from vermilion.errors import MissingFileError, UnitError
from vermilion.io.options import ReadOptions


@pytest.fixture
def cube_file(tmp_path):
    rng = np.random.default_rng(11)
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -5.5e-5, "CDELT2": 5.5e-5, "CRVAL1": 150.0, "CRVAL2": 2.0}
    wave = {
        "CTYPE3": "AWAV",
        "CUNIT3": "Angstrom",
        "CRVAL3": 4750.0,
        "CDELT3": 1.25,
        "CRPIX3": 1.0,
        "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom",
    }
    data = rng.normal(size=(80, 18, 21)).astype("f4")
    data[:, 0, 0] = np.nan
    hdus = [fits.ImageHDU(data, fits.Header({**wcs, **wave}), "DATA"), fits.ImageHDU(np.ones(data.shape, "f4"), name="STAT")]
    path = tmp_path / "my cube.fits"
    fits.HDUList([fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MUSE", "OBJECT": "NGC 1"})), *hdus]).writeto(path)
    return path


def run(*arguments):
    return CliRunner().invoke(inspect, [str(argument) for argument in arguments])


def test_the_table_says_what_was_taken_for_what_and_why(cube_file):
    result = run(cube_file)
    assert result.exit_code == 0
    for text in (
        "HDU 2 STAT      variance: MUSE names it so",
        "80 bands x 18 x 21 (band, y, x), float32",
        "unit            1e-20 erg / (Angstrom s cm2)",
        "4750 to 4848.75 Angstrom, air, mean step 1.25",
        "0.26% not finite",
        "377 spaxels carry weight",
        "scatter / sigma",
        "sums over 3 x 3",
        "detection floor S/N 13.2",
    ):
        assert text in result.stdout


def test_lines_are_at_most_80_wide_but_for_the_command(cube_file):
    lines = run(cube_file).stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith("try"))


def test_the_suggested_command_can_be_copied(cube_file):
    command = shlex.split(json.loads(run(cube_file, "--err-ext", "none", "--no-checksum", "--json").stdout)["command"])
    assert command[:3] == ["vermilion", "separate", str(cube_file)]
    assert command[3:] == ["--err-ext", "none", "--no-checksum", "-k", "4", "-o", "my cube_components"]


def test_json_holds_the_numbers(cube_file):
    facts = json.loads(run(cube_file, "--json").stdout)
    assert facts["shape"] == [80, 18, 21]
    assert facts["fractions"]["not_finite"] == pytest.approx(1 / 378)
    assert facts["noise"]["voxel"] == pytest.approx(1, abs=0.05)
    assert facts["noise"]["box"] == pytest.approx(1, abs=0.15)
    assert facts["sky"]["pixel_arcsec"] == pytest.approx([0.198, 0.198], rel=1e-6)
    assert {decision["name"] for decision in facts["decisions"]} == {"DATA", "STAT", ""}


def test_json_holds_the_noise_of_sums_and_of_every_band(cube_file):
    noise = json.loads(run(cube_file, "--json").stdout)["noise"]
    found = noise["correlation"]
    assert set(found["factors"]) == {"1x1x1", "1x3x3", "1x5x5", "5x1x1", "5x5x5"}
    assert list(found["factors"].values()) == pytest.approx([1] * 5, abs=0.1)
    assert set(found["factor_errors"]) == set(found["factors"])
    assert found["spectral_lags"][0] == pytest.approx(1)
    assert len(noise["bands"]["sigma"]) == len(noise["bands"]["claimed"]) == 80
    assert noise["bands"]["claimed"] == [1] * 80
    assert noise["bands"]["ratio"] == pytest.approx([1] * 80, abs=0.2)


def test_json_is_strict_where_bands_have_no_data(tmp_path, cube_file):
    with fits.open(cube_file) as hdus:
        hdus["DATA"].data[20:30] = np.nan
        hdus.writeto(tmp_path / "notch.fits")

    def refuse(constant):
        raise AssertionError(constant)

    facts = json.loads(run(tmp_path / "notch.fits", "--json").stdout, parse_constant=refuse)
    assert facts["noise"]["bands"]["sigma"][20:30] == [None] * 10
    assert facts["bands_with_data"] == 70


def test_the_table_shows_the_noise_along_the_bands(cube_file):
    lines = run(cube_file).stdout.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("noise per band"))
    assert lines[first].split() == ["noise", "per", "band", "Angstrom", "scatter", "claimed", "ratio"]
    groups = [line.split() for line in lines[first + 1 : first + 9]]
    assert groups[0][:3] == ["4750", "to", "4761.25"]
    assert all(float(group[-1]) == pytest.approx(1, abs=0.1) for group in groups)


def test_correlated_noise_is_seen_and_another_option_suggested(tmp_path, cube_file):
    """Means of 2 x 2 neighbors, claimed as they scatter: sums over 3 x 3 are 1 + 2/3 times noisier, 1 + 2/3 · 1/2 · 2 per axis."""
    white = np.random.default_rng(3).normal(size=(80, 25, 25))
    smooth = (white[:, 1:, 1:] + white[:, 1:, :-1] + white[:, :-1, 1:] + white[:, :-1, :-1]) / 2
    with fits.open(cube_file) as hdus:
        hdus["DATA"].data = smooth.astype("f4")
        hdus["STAT"].data = np.ones_like(smooth, "f4")
        hdus.writeto(tmp_path / "smooth.fits")
    facts = json.loads(run(tmp_path / "smooth.fits", "--json").stdout)
    assert facts["noise"]["correlation"]["factors"]["1x3x3"] == pytest.approx(5 / 3, rel=0.05)
    assert "--noise empirical" in run(tmp_path / "smooth.fits").stdout
    chosen = run(tmp_path / "smooth.fits", "--noise", "empirical").stdout
    assert "measures them instead" not in chosen
    assert "--noise empirical -k 4" in chosen
    assert "noisier by 1.6" in " ".join(chosen.split())


def test_few_bands_say_why_sums_are_not_measured(tmp_path, cube_file):
    with fits.open(cube_file) as hdus:
        for name in ("DATA", "STAT"):
            hdus[name].data = hdus[name].data[:5]
        hdus.writeto(tmp_path / "five.fits")
    result = run(tmp_path / "five.fits")
    assert result.exit_code == 0
    assert "expected at least 8 bands" in " ".join(result.stdout.split())
    facts = json.loads(run(tmp_path / "five.fits", "--json").stdout)
    assert facts["noise"]["correlation"] is None
    assert "expected at least 8 bands" in facts["noise_problem"]


def test_psf_beam_and_line_width_are_shown(monkeypatch, cube_file):
    from dataclasses import replace

    from astropy import units as u

    from vermilion import io
    from vermilion.datamodels import PSF

    cube = io.read(cube_file)
    beam = {
        "major": np.full(80, 3.0) * u.arcsec,
        "minor": np.linspace(1, 2, 80) * u.arcsec,
        "pa": None,
        "area": np.full(80, 22.5),
        "source": "BMAJ",
    }
    psf = PSF(fwhm=np.linspace(0.7, 0.6, 80) * u.arcsec, beta=np.full(80, 2.5), source="FSF keywords")
    known = replace(cube, psf=psf, frame=replace(cube.frame, lsf=np.full(80, 2.5) * u.AA), meta={**cube.meta, "beam": beam})
    monkeypatch.setattr(io, "read", lambda *_, **__: known)
    table = run(cube_file).stdout
    assert "PSF             Moffat, FWHM 0.6 to 0.7 arcsec, beta 2.5 (FSF keywords)" in table
    assert "beam            3 x 1 to 2 arcsec, 22.5 pixels" in table
    assert "line width      FWHM 2.5 Angstrom" in table
    facts = json.loads(run(cube_file, "--json").stdout)
    assert facts["beam"]["major"] == 3
    assert facts["psf"]["fwhm"][0] == pytest.approx(0.7)
    assert facts["lsf"]["unit"] == "Angstrom"


def test_files_of_a_psf_are_repeated_in_the_command(cube_file):
    from vermilion.cli.inspect import _command

    assert shlex.split(_command((str(cube_file),), "cube", {"psf_file": ("a.fits", "b.fits"), "roi": None}))[3:7] == [
        *("--psf-file", "a.fits", "--psf-file", "b.fits"),
    ]


def test_nothing_is_written(cube_file):
    before = {path: path.stat().st_mtime_ns for path in cube_file.parent.iterdir()}
    run(cube_file)
    assert {path: path.stat().st_mtime_ns for path in cube_file.parent.iterdir()} == before


def test_the_log_goes_to_stderr_when_asked_for(cube_file):
    assert run(cube_file).stderr == ""
    assert "HDU 2 STAT: variance (MUSE names it so" in run(cube_file, "-v").stderr
    assert run(cube_file, "-v").stdout == run(cube_file).stdout


def test_options_reach_the_reader(cube_file):
    assert "no errors in the file" in run(cube_file, "--err-ext", "none").stdout
    assert "unit            Jy" in run(cube_file, "--unit", "Jy").stdout


def test_errors_keep_their_type(tmp_path, cube_file):
    assert isinstance(run(tmp_path / "absent.fits").exception, MissingFileError)
    cube_file.write_bytes(cube_file.read_bytes().replace(b"10**(-20)*erg/s/cm**2/Angstrom", b"a unit that nobody understands"))
    assert isinstance(run(cube_file).exception, UnitError)


def test_a_wrong_option_is_a_usage_error(cube_file):
    result = run(cube_file, "--err-type", "std")
    assert result.exit_code == 2
    assert "'std' is not one of" in result.stderr


@pytest.mark.parametrize(
    ("text", "size"), [("800MB", 800_000_000), ("4g", 4_000_000_000), ("2GiB", 2 * 1024**3), ("1024", 1024), ("1.5 kB", 1500)]
)
def test_a_memory_size_is_a_number_of_bytes(text, size):
    assert MEMORY.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "much", "-3GB", "0"])
def test_no_memory_size_is_refused(text):
    with pytest.raises(click.BadParameter, match="no size"):
        MEMORY.convert(text, None, None)


def test_the_shared_options_are_those_of_read():
    @read_options
    @click.command()
    def command(**options):
        pass

    names = {parameter.name for parameter in command.params}
    assert names == set(ReadOptions.__dataclass_fields__)
    read, rest = split_read_options({**dict.fromkeys(names), "components": 3})
    assert set(read) == names
    assert rest == {"components": 3}


def test_inspect_needs_neither_torch_nor_matplotlib(cube_file):
    code = (
        "import sys; from vermilion.cli.inspect import inspect\n"
        "inspect(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules), 'too much was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cube_file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
