"""``vermilion compare`` on the sample's own truth, and on a truth that was changed by a known amount."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits
from click.testing import CliRunner

from vermilion.cli.compare import compare
from vermilion.errors import MissingFileError, ShapeError

DATA = Path(__file__).parents[2] / "data"
CUBE, TRUTH = DATA / "sample_cube.fits", DATA / "sample_truth.fits"


def run(*arguments):
    return CliRunner().invoke(compare, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def out(tmp_path):
    """A folder of products whose second map is twice as bright as it should be, made from the sample cube."""
    folder = tmp_path / "out"
    folder.mkdir()
    with fits.open(TRUTH, memmap=False) as file:
        file["MAPS"].data[1] *= 2
        for keyword in ("CHECKSUM", "DATASUM"):
            file["MAPS"].header.remove(keyword)
        for k in range(4):
            file[0].header[f"NAME{k}"] = f"component_{k:02d}"
        file[0].header.remove("CHECKSUM")
        file.writeto(folder / "components.fits")
    (folder / "provenance.json").write_text(json.dumps({"input": str(CUBE)}))
    return folder


def test_truth_agrees_with_itself():
    done = run(TRUTH, "--truth", TRUTH, "--json")
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert [match["component"] for match in answer["matches"]] == [match["name"] for match in answer["matches"]]
    for match in answer["matches"]:
        assert match["angle"] < 1e-12
        assert (match["correlation"], match["flux_ratio"]) == pytest.approx((1, 1), rel=1e-12)
    assert answer["unmatched"] == []


def test_a_map_twice_as_bright_shows_as_flux_ratio_two(out):
    done = run(out, "--truth", TRUTH, "--json")
    answer = json.loads(done.stdout)
    assert [match["flux_ratio"] for match in answer["matches"]] == pytest.approx([1, 2, 1, 1], rel=1e-6)


def test_oracle_comes_from_the_cube_that_provenance_names(out):
    oracle = json.loads(run(out, "--truth", TRUTH, "--json").stdout)["oracle"]
    assert oracle == json.loads(run(out, "--truth", TRUTH, "--cube", CUBE, "--json").stdout)["oracle"]
    for match in oracle:
        assert 0 < match["angle"] < 0.01
        assert 0.99 < match["correlation"] < 1
        assert match["flux_ratio"] == pytest.approx(1, abs=0.01)


def test_table_fits_on_a_screen(out):
    done = run(out, "--truth", TRUTH)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("Scd"))
    assert row.split()[-6:][0] == "0.0000"
    assert row.split()[-2] == "2.000"
    assert "oracle: least squares" in lines[-1]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"input": null}', '{"input": "/nowhere/cube.fits"}'])
def test_without_the_cube_the_table_comes_without_the_oracle(out, caplog, text):
    (out / "provenance.json").unlink()
    if text is not None:
        (out / "provenance.json").write_text(text)
    done = run(out, "--truth", TRUTH)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "oracle: no cube"
    assert "no oracle floor" in caplog.text
    assert "--cube" in caplog.text


def test_a_damaged_cube_stops_only_those_who_ask_for_it(out, tmp_path, caplog):
    broken = tmp_path / "cube.fits"
    broken.write_bytes(b"no FITS file at all")
    (out / "provenance.json").write_text(json.dumps({"input": str(broken)}))
    assert run(out, "--truth", TRUTH).exit_code == 0
    assert "was not read" in caplog.text
    with pytest.raises(OSError, match="cube"):
        run(out, "--truth", TRUTH, "--cube", broken)


def test_what_cannot_be_compared_is_refused(out, tmp_path):
    with pytest.raises(MissingFileError, match=r"truth\.fits"):
        run(out, "--truth", tmp_path / "truth.fits")
    with pytest.raises(MissingFileError, match=r"components\.fits"):
        run(tmp_path, "--truth", TRUTH)
    shutil.copy(TRUTH, out / "components.fits")
    with fits.open(TRUTH, memmap=False) as file:
        file["SPECTRA"].data = file["SPECTRA"].data[:-1]
        file["SPECTRA"].header.remove("CHECKSUM")
        file["SPECTRA"].header.remove("DATASUM")
        file.writeto(tmp_path / "short.fits")
    with pytest.raises(ShapeError, match="on the same bands"):
        run(out, "--truth", tmp_path / "short.fits")


def test_compare_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom vermilion.cli.compare import compare\n"
        "CliRunner().invoke(compare, sys.argv[1:], catch_exceptions=False)\n"
        "print(sorted({'torch', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(TRUTH), "--truth", str(TRUTH), "--cube", str(CUBE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "['scipy']\n"  # scipy proves that the comparison ran
