"""The table of DESIGN section 2: which room may import which, and what of other packages. Read from the source, nothing is run."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vermilion"
ANYTHING = "anything"

# room: (rooms it may import, packages it may import). A dot names one module of a room. A new room needs a line here.
ARRAYS = "numpy scipy"
TABLE = {
    "errors": ("", ""),
    "datamodels": ("errors", "numpy astropy"),
    "prox": ("errors", "torch numba triton"),
    "likelihood": ("errors", "torch"),
    "optim": ("prox.base errors", "torch"),
    "alternating": ("prox likelihood errors", "torch numba triton"),
    "observation": ("renderers datamodels errors", f"torch astropy {ARRAYS}"),
    "renderers": ("datamodels errors", f"torch astropy {ARRAYS}"),
    "models": ("datamodels prox errors", f"torch {ARRAYS}"),
    "initialize": ("diagnose datamodels observation models errors", f"torch skimage photutils {ARRAYS}"),
    "fit": ("datamodels prox likelihood observation models optim errors", "torch numpy safetensors rich"),
    "peers": ("datamodels errors", "torch numpy proxmin scarlet sklearn"),
    "factorize": (
        "initialize alternating fit diagnose peers models optim observation prox likelihood datamodels errors",
        f"torch {ARRAYS}",
    ),
    "unmixing": (
        "factorize initialize alternating fit diagnose peers models optim observation prox likelihood datamodels errors",
        f"torch numba {ARRAYS}",
    ),
    "rank": (
        "unmixing factorize initialize alternating fit diagnose peers models optim observation prox likelihood datamodels errors",
        f"torch {ARRAYS}",
    ),
    "measure": ("datamodels diagnose errors", f"astropy {ARRAYS}"),
    "deblending": (
        "initialize measure diagnose models renderers observation unmixing prox likelihood datamodels errors",
        f"torch numba astropy {ARRAYS}",
    ),
    "deblend": (ANYTHING, ANYTHING),
    "io": ("datamodels diagnose errors", "numpy astropy scipy h5py tifffile"),
    "diagnose": ("datamodels errors", ARRAYS),
    "plot": ("datamodels diagnose measure errors", "matplotlib mpl_toolkits numpy astropy"),
    "report": ("datamodels diagnose plot errors", "jinja2 bokeh numpy astropy"),
    "simulate": ("datamodels io errors", f"galsim astropy {ARRAYS}"),
    "benchmark": (ANYTHING, ANYTHING),
    "parallel": (ANYTHING, ANYTHING),
    "estimator": (ANYTHING, ANYTHING),
    "unmix": (ANYTHING, ANYTHING),
    "pipeline": (ANYTHING, ANYTHING),
    "cli": (ANYTHING, ANYTHING),
    "__main__": ("cli", ""),
    "__init__": (ANYTHING, ""),
}
WITHOUT_TORCH = ("errors", "datamodels", "io", "diagnose", "measure", "plot", "report")
WITHOUT_ASTROPY = ("prox", "likelihood", "optim", "alternating")
# Where imports may stand inside functions; packages that may be imported so anywhere, because they are optional.
LATE_PLACES = ("__init__.py", "cli/", "peers/", "io/interop/", "io/containers/", "io/writers/hyperspectral.py")
OPTIONAL = {"numba", "triton", "galsim", "sklearn", "photutils", "scarlet", "psutil"}


@dataclass(frozen=True)
class Import:
    """One import statement: where it stands and what it brings."""

    file: str
    line: int
    module: str
    late: bool

    @property
    def package(self) -> str:
        return self.module.split(".")[0]

    @property
    def room(self) -> str:
        """Room of vermilion that is imported; the package itself counts as ``__init__``."""
        return [*self.module.split("."), "__init__"][1]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def imports_of(file: Path, root: Path = SOURCE) -> Iterator[Import]:
    """Every import of `file`, those for type checkers excepted, relative ones written out."""
    name = file.relative_to(root).as_posix()
    package = ["vermilion", *file.relative_to(root).parent.parts]
    for node, late in walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, node.lineno, alias.name, late)
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join(base + ([node.module] if node.module else []))
        names = [alias.name for alias in node.names if (module, alias.name) != ("vermilion", "__version__")]  # belongs to all
        # `from . import x` in vermilion itself, and `from ..prox import base`: x and base may be modules
        for full in {f"{module}.{n}" if is_module(f"{module}.{n}", root) else module for n in names}:
            yield Import(name, node.lineno, full, late)


def walk(node: ast.AST, late: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from walk(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def is_module(name: str, root: Path) -> bool:
    first, *parts = name.split(".")
    path = root.joinpath(*parts)
    return first == "vermilion" and (path.is_dir() or path.with_suffix(".py").is_file())


def all_imports(root: Path = SOURCE) -> list[Import]:
    return [i for file in sorted(root.rglob("*.py")) for i in imports_of(file, root)]


def graph(imports: list[Import]) -> dict[str, set[str]]:
    """Room -> rooms that it imports."""
    edges: dict[str, set[str]] = {}
    for i in imports:
        if i.package == "vermilion" and i.room != "__init__":
            edges.setdefault(room_of(i.file), set()).add(i.room)
    return edges


def reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    """Rooms that come with `start`, itself only if there is a cycle."""
    seen: set[str] = set()
    todo = set(edges.get(start, ())) - {start}
    while todo:
        seen |= todo
        todo = set().union(*(edges.get(room, set()) - {room} for room in todo)) - seen
    return seen


def breaks_table(i: Import) -> bool:
    room = room_of(i.file)
    rooms, packages = TABLE[room]
    if i.package == "vermilion":
        allowed = any(f"{i.module}.".startswith(f"vermilion.{r}.") for r in (room, *rooms.split()))
        return not (allowed or rooms == ANYTHING)
    return packages != ANYTHING and i.package not in sys.stdlib_module_names and i.package not in packages.split()


def is_late_without_reason(i: Import) -> bool:
    return i.late and not i.file.startswith(LATE_PLACES) and i.package not in OPTIONAL


IMPORTS = all_imports()


def test_every_room_has_a_line_in_the_table():
    rooms = {room_of(file.relative_to(SOURCE).as_posix()) for file in SOURCE.rglob("*.py")}
    assert rooms <= TABLE.keys()


@pytest.mark.parametrize("room", TABLE)
def test_room_imports_only_what_the_table_allows(room):
    assert [str(i) for i in IMPORTS if room_of(i.file) == room and breaks_table(i)] == []


def test_imports_inside_functions_stand_only_where_they_may():
    assert [str(i) for i in IMPORTS if is_late_without_reason(i)] == []


def test_no_room_imports_itself_by_way_of_another():
    edges = graph(IMPORTS)
    assert [room for room in edges if room in reached(room, edges)] == []


@pytest.mark.parametrize(("rooms", "package"), [(WITHOUT_TORCH, "torch"), (WITHOUT_ASTROPY, "astropy")], ids=["torch", "astropy"])
def test_rooms_stay_free_of_a_package_by_whatever_way(rooms, package):
    edges = graph(IMPORTS)
    users = {room_of(i.file) for i in IMPORTS if i.package == package}
    assert {room: users & ({room} | reached(room, edges)) for room in rooms} == {room: set() for room in rooms}


@pytest.mark.parametrize(
    ("file", "text", "broken"),
    [
        ("io/a.py", "import torch", True),
        ("io/a.py", "from ..errors import UnitError\nimport numpy.linalg\nimport json", False),
        ("io/readers/a.py", "from ...optim import PGM", True),
        ("io/readers/a.py", "from ..registry import register", False),
        ("optim/a.py", "from ..prox.base import Prox", False),
        ("optim/a.py", "from ..prox import base", False),
        ("optim/a.py", "from ..prox import Simplex", True),
        ("plot/a.py", "from vermilion import read", True),
        ("plot/a.py", "from .. import __version__", False),
        ("plot/a.py", "def f():\n    from ..factorize import factorize", True),
    ],
)
def test_the_table_catches_what_it_forbids(tmp_path, file, text, broken):
    for module in ("prox/base.py", file):
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).write_text("")
    (tmp_path / file).write_text(text)
    assert any(breaks_table(i) for i in all_imports(tmp_path)) is broken


def test_a_late_import_and_a_cycle_are_seen(tmp_path):
    for file, text in {
        "io/a.py": "def f():\n    import json",
        "alternating/a.py": "def f():\n    import numba",
        "plot/a.py": "from ..report import page",
        "report/a.py": "from ..plot import maps",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text)
    imports = all_imports(tmp_path)
    assert [i.file for i in imports if is_late_without_reason(i)] == ["io/a.py"]
    edges = graph(imports)
    assert {room for room in edges if room in reached(room, edges)} == {"plot", "report"}
