"""The benchmark of abundances runs, and its peers agree."""

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "abundances.py"


def test_every_peer_finds_the_same_abundances(tmp_path):
    spec = importlib.util.spec_from_file_location("abundances", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target = tmp_path / "rows.json"
    rows = module.main(["--spectra", "4", "--pixels", "40", "--repeats", "1", "--json", str(target)])
    assert {row["solver"] for row in rows} == {"nnls"} | {row["solver"] for row in rows if row["peer"] != "scipy"}
    assert max(row["difference"] for row in rows) < 1e-6
    assert max(row["breach"] for row in rows) < 1e-12
    assert json.loads(target.read_text(encoding="utf-8")) == rows
