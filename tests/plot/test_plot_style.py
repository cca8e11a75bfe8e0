from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from astropy import units as u

from vermilion.plot.style import COLORS, color, decade, fitting, number, plain, unit_label, with_unit


def test_units_are_written_as_astronomers_write_them() -> None:
    label = unit_label(u.Unit("1e-20 erg s-1 cm-2 AA-1"), power=3)
    assert label == r"$\mathrm{10^{-17}\,erg\,Å^{-1}\,s^{-1}\,cm^{-2}}$"
    assert unit_label(u.Jy) == r"$\mathrm{Jy}$"
    assert unit_label(u.dimensionless_unscaled) == ""
    assert unit_label(u.dimensionless_unscaled, power=-21) == "$10^{-21}$"
    assert with_unit("Flux", "") == "Flux"
    assert with_unit("Flux", "Jy") == "Flux [Jy]"


def test_units_per_band_count_as_one_when_they_are_equal() -> None:
    assert unit_label((u.Jy, u.Jy)) == unit_label(u.Jy)
    assert unit_label((u.Jy, u.mJy)) == "unit of each band"


def test_foreign_units_are_never_read_as_mathtext() -> None:
    for name in ("$$", "a$b", r"\frac{", "<script>"):
        label = unit_label(u.Unit(name, parse_strict="silent"))
        assert mpl.cbook.is_math_text(label) is False
        assert label.replace(r"\$", "$") == name


@pytest.mark.parametrize(("largest", "power"), [(0.0, 0), (0.1, 0), (9999, 0), (1e4, 3), (2e6, 6), (5e-20, -21), (0.02, -3), (3e-30, -30)])
def test_decade_leaves_one_to_four_digits_before_the_point(largest: float, power: int) -> None:
    assert decade(np.array([largest, -largest / 2, np.nan])) == power


def test_decade_of_nothing_is_zero() -> None:
    assert decade(np.array([np.nan])) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.123456, "0.1235"),
        (12881.7, "12880"),
        (-3.0, "−3"),
        (1234567.0, r"$1.235 \times 10^{6}$"),
        (2e-7, r"$2.000 \times 10^{-7}$"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_foreign_text_becomes_one_line_that_the_font_can_draw() -> None:
    assert plain("NGC\n1365\x00 $$") == "NGC 1365 $$"
    assert plain("星") == "\N{REPLACEMENT CHARACTER}"
    assert plain("component " + "x" * 300 + "_07", limit=12) == "componen…_07"


def test_text_is_cut_where_it_would_be_too_wide() -> None:
    assert fitting("short", 5, size=12) == "short"
    wide, narrow = fitting("W" * 300, 3, size=12), fitting("i" * 300, 3, size=12)
    assert "…" in wide
    assert len(wide) < len(narrow)
    assert len(fitting("W" * 300, 0, size=12)) <= 1


def test_neighboring_components_have_different_colors() -> None:
    assert len(set(COLORS)) == len(COLORS)
    assert all(color(k) != color(k + 1) for k in range(12))


def test_drawing_and_saving_never_load_pyplot() -> None:
    program = (
        "import io, sys, numpy as np\n"
        "from vermilion import plot\n"
        "from vermilion.datamodels import History, Result, Status\n"
        "result = Result(spectra=np.ones((3, 1)), morphologies=np.eye(4)[None], status=Status.STOPPED, history=History())\n"
        "plot.save_figure(plot.maps(result), io.BytesIO())\n"
        "plot.save_figure(plot.spectra(result), io.BytesIO())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
