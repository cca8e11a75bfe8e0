"""docs/operators.md says of every operator what the operator says of itself."""

import inspect
import re
from pathlib import Path

import pytest

import vermilion.prox
from vermilion.prox import EXAMPLES

DOCS = Path(__file__).parents[2] / "docs"
RANGES = {"element", "component axis", "pixel axis", "image"}


def rows():
    """Cells of the tables by name of operator: arguments, g, result, exact, convex, couples, source."""
    found = {}
    for line in (DOCS / "operators.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| `(\w+)\((.*?)\)` \| (.*) \|$", line):
            name, arguments, cells = match.groups()
            assert name not in found, f"{name} has two lines"
            found[name] = [arguments, *(cell.strip() for cell in re.split(r"(?<!\\)\|", cells))]
    return found


ROWS = rows()


def test_every_operator_has_one_line():
    assert set(ROWS) == set(EXAMPLES)
    assert {len(cells) for cells in ROWS.values()} == {7}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_arguments_are_those_of_the_operator(name):
    known = inspect.signature(getattr(vermilion.prox, name)).parameters
    named = [argument for argument in re.split(r",\s*|\*", ROWS[name][0]) if argument]
    assert named == [argument for argument in known if argument in named]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_exactness_convexity_and_coupling_are_those_of_the_operator(name):
    _, _, _, exact, convex, couples, _ = ROWS[name]
    combines = any(hasattr(operator, "operators") or hasattr(operator, "prox") for operator in EXAMPLES[name])
    for cell, attribute in ((exact, "exact"), (convex, "convex")):
        if cell in ("yes", "no"):
            assert {getattr(operator, attribute) for operator in EXAMPLES[name]} == {cell == "yes"}
        else:
            assert combines
    if couples.startswith("as members"):
        assert combines
    else:
        assert {operator.couples for operator in EXAMPLES[name]} <= set(couples.split(", ")) <= RANGES


@pytest.mark.parametrize("name", [name for name in sorted(EXAMPLES) if "References" in getattr(vermilion.prox, name).__doc__])
def test_the_source_is_one_of_the_docstring(name):
    author, year = re.match(r"(\w+).* (\d{4})$", ROWS[name][-1]).groups()
    assert re.search(rf"{author}[^;]*{year}", getattr(vermilion.prox, name).__doc__.replace("\n", " "))


def test_pages_link_to_pages_that_are_there():
    for page in ("operators.md", "write-a-prox.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text(encoding="utf-8")):
            assert (DOCS / target).is_file(), target
