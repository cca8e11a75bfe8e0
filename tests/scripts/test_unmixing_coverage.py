"""The table of coverages can be made, and its figures hold in a small version."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "unmixing_coverage.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_of_coverage", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_supervised_errors_cover_68_percent_at_every_signal_to_noise_ratio(script, tmp_path, capsys):
    report = script.main(["--sections", "supervised", "--repeats", "1", "--json", str(tmp_path / "table.json")])
    assert json.loads((tmp_path / "table.json").read_text()) == report
    assert [row["snr_db"] for row in report["supervised"]] == [20, 30, 40]
    for row in report["supervised"]:
        assert row["values"] > 1000
        assert 0.63 < row["weights"] < 0.73
        assert 0.63 < row["residuals"] < 0.73
    assert "supervised 20 dB" in capsys.readouterr().out


def test_feasible_bands_contain_the_truth(script):
    report = script.bands([14, 1])
    assert report["summary"]["closure"]["contain_truth"] == 2
    assert report["summary"]["closure"]["median_width"] < 0.8
    assert [scene["pure"] for scene in report["scenes"]] == [False, True]
    # pure pixels that are told narrow the bands
    assert sum(report["scenes"][1]["pure_told"]["width"]) < sum(report["scenes"][1]["closure"]["width"])
