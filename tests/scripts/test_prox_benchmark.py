"""The table of the operators can be made, and tells exact ones from others."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "proxes.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_of_proxes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_tells_exact_operators_from_others(script, tmp_path, capsys):
    names = ["Soft", "Simplex", "Stiefel", "UnitSum"]
    script.main(["--inputs", "40", "--operators", *names, "--json", str(tmp_path / "table.json")])
    table = json.loads((tmp_path / "table.json").read_text())
    printed = capsys.readouterr().out
    assert len(table["operators"]) == 6
    for row in table["operators"]:
        assert row["operator"] in printed
        assert (row["excess"] <= 1e-12) == row["exact"]
        assert row["violation"] is None or row["violation"] <= 1e-10
    assert all(row["mpmath"] <= 1e-6 and row["scipy"] <= 1e-6 for row in table["entropy"])


def test_every_example_has_a_form_for_the_size_that_is_timed(script):
    x = script.morphologies()
    for name, examples in script.EXAMPLES.items():
        if name in {"Stiefel", "TotalVariation"}:  # the one wants columns, the other takes long
            continue
        for operator in examples:
            assert script.at_size(operator)(x, 0.1).shape == x.shape
