"""``vermilion formats`` lists every reader that is registered, as the readers describe themselves."""

import dataclasses
import json
from pathlib import Path

import pytest

from vermilion.io.formats import describe_formats
from vermilion.io.options import ReadOptions
from vermilion.io.readers import FORMATS, READERS

NAMES = [reader.name for reader in (*FORMATS, *READERS)]
PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_every_reader_stands_in_the_table_once_and_in_order(call):
    run = call("formats")
    assert (run.code, run.err) == (0, "")
    assert [line.split()[0] for line in run.out.splitlines() if not line.startswith(" ")] == NAMES
    assert max(map(len, run.out.splitlines())) <= 80


def test_json_holds_everything(call):
    run = call("formats", "--json")
    found = json.loads(run.out)
    assert [row["name"] for row in found] == NAMES
    assert found == [json.loads(json.dumps(dataclasses.asdict(info))) for info in describe_formats()]


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_has_a_page_of_its_own(call, name):
    run = call("formats", name)
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith(f"reader        {name} (")
    assert "taken when" in run.out


@pytest.mark.parametrize("info", describe_formats(), ids=lambda info: info.name)
def test_every_reader_says_what_it_reads_and_when(info):
    assert len(info.summary) > 20
    assert len(info.recognized) > 10
    assert not info.recognized.startswith("Whether")


def test_options_are_those_of_read():
    known = {field.name for field in dataclasses.fields(ReadOptions)}
    for info in describe_formats():
        assert set(info.options) <= known
        assert len(set(info.options)) == len(info.options)


def test_what_a_profile_says_is_shown():
    muse = next(info for info in describe_formats() if info.name == "muse")
    assert (muse.kind, muse.instruments, muse.noise) == ("FITS", "MUSE", "STAT = variance")
    assert muse.mask.startswith("DQ")


def test_an_unknown_reader_is_refused(call):
    run = call("formats", "quux")
    assert (run.code, run.out) == (2, "")
    assert "expected one of matlab," in run.err


def test_the_page_names_every_reader():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []
