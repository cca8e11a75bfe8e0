"""The tutorials run as they are, in a copy, and leave nothing behind; the repository holds them without outputs."""

import json
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.ipynb"))


def cells_of(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text_of(cell):
    return "".join(part.get("text", "") + "".join(part.get("data", {}).get("text/plain", "")) for part in cell.get("outputs", []))


def test_there_are_tutorials():
    assert TUTORIALS


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_repository_holds_no_outputs(path):
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert path.stat().st_size < 40_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_unmixing_tutorial_ends_with_a_labelled_map(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(next(path for path in TUTORIALS if path.stem == "unmixing"), as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "\n".join(text_of(cell) for cell in notebook.cells)
    assert all(f"material {letter}" in said for letter in "ABC")
    rmse = float(said.split("abundance RMSE ")[1].split(" %")[0])
    assert rmse < 10
    pictures = [part for cell in notebook.cells for part in cell.get("outputs", []) if "image/png" in part.get("data", {})]
    assert len(pictures) == 2
    assert "components.fits" in said
