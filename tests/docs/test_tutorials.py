"""The tutorials run as they are, in a copy, and leave nothing behind; the repository holds them without outputs."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


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


def pictures_of(notebook):
    return [part for cell in notebook.cells for part in cell.get("outputs", []) if "image/png" in part.get("data", {})]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a tutorial in a copy of its folder, beside the sample data: the notebook and what it said."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "docs" / "tutorials"
    folder.mkdir(parents=True)
    (tmp_path / "data").symlink_to(ROOT / "data")

    def execute(name):
        notebook = nbformat.read(next(path for path in TUTORIALS if path.stem == name), as_version=4)
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
        return notebook, "\n".join(text_of(cell) for cell in notebook.cells)

    return execute


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_unmixing_tutorial_ends_with_a_labelled_map(run):
    notebook, said = run("unmixing")
    assert all(f"material {letter}" in said for letter in "ABC")
    rmse = float(said.split("abundance RMSE ")[1].split(" %")[0])
    assert rmse < 10
    assert len(pictures_of(notebook)) == 2
    assert "components.fits" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_deblending_tutorial_gives_the_light_to_the_right_sources(run):
    notebook, said = run("deblending")
    assert len(pictures_of(notebook)) == 3
    shares = said.split("misattributed flux ")[1].split("\n")[0].split(" %")[:5]
    assert [share.split()[0] for share in shares] == list("grizy")
    assert max(float(share.split()[1]) for share in shares) < 3
    assert float(said.split("median error of a flux ")[1].split(" %")[0]) < 3.5
    within = [int(said.split(end)[0].split()[-1]) for end in (" within two", " of 40 fluxes")]
    assert within[0] >= 34
    assert within[1] >= 20
    kinds = [line.split()[1:3] for line in said.splitlines() if line[:2].strip().isdigit() and line.rstrip().endswith("%")]
    assert len(kinds) == 8
    assert sum(found not in (true, "undecided") for true, found in kinds) <= 1
    assert sum(found == true for true, found in kinds) >= 6
