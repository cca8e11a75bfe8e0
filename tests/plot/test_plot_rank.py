from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vermilion.plot.rank import rank
from vermilion.plot.save import save_figure
from vermilion.rank import CrossValidation, Edge, Estimate, RankReport, Spread
from vermilion.rank.noise_checks import Whiteness


@pytest.fixture
def report() -> RankReport:
    return RankReport(
        n_components=3,
        confident=False,
        sentence="The number of components is not certain: " + 12 * "$x_1$ and <b>more</b>, ",
        reasons=("HySime says 71",),
        low=3,
        high=71,
        estimates=(Estimate("cross-validation", 3, ""), Estimate("HySime", 71, ""), Estimate("eigengap", None, "")),
        eigenvalues=np.concatenate([[1e4, 300.0, 12.0], np.linspace(1.2, 0.8, 97)]),
        edge=Edge(3, 1.25, 1.0),
        claimed=Edge(9, 1.15, 1.0),
        cross_validation=CrossValidation(np.arange(6), np.array([1e4, 300, 13, 1.0, 1.01, 1.02]), np.full(6, 0.005), 2, None, 900),
        spreads=(Spread(2, 0.4), Spread(3, 0.01), Spread(4, 0.9)),
        whiteness=Whiteness(1.0, 0.0, 0.0, 1e-3),
        detection_floor=30.0,
        max_components=12,
        shape=(100, 900),
    )


def test_eigenvalues_edges_errors_and_spreads_are_drawn(report: RankReport) -> None:
    first, second, third = rank(report)
    signal, noise = (line for line in first.lines if line.get_marker() == "o")
    assert_allclose(signal.get_ydata(), [1e4, 300, 12])
    assert_allclose(noise.get_xdata()[:2], [4, 5])
    levels = {float(line.get_ydata()[0]) for line in first.lines if line.get_linestyle() in ("--", "-.")}
    assert levels == {1.25, 1.15}
    assert "HySime: 71" in first.texts[0].get_text()
    assert "eigengap: –" in first.texts[0].get_text()
    assert_allclose(second.lines[0].get_ydata(), report.cross_validation.error)  # type: ignore[union-attr]
    assert_allclose([bar.get_height() for bar in third.patches], [0.4, 0.01, 0.9])
    assert all(any(line.get_xdata()[0] == 3 and line.get_linestyle() == ":" for line in axes.lines) for axes in (first, second, third))


def test_the_sentence_stands_above_as_plain_text(report: RankReport) -> None:
    figure = rank(report)[0].get_figure()
    assert "$x_1$" in figure.get_suptitle().replace("\n", " ")
    assert max(map(len, figure.get_suptitle().splitlines())) <= 150


def test_a_report_without_fits_is_drawn(report: RankReport, tmp_path: Path) -> None:
    bare = replace(report, n_components=None, cross_validation=None, spreads=(), claimed=None)
    first, second, third = rank(bare)
    assert [axes.texts[0].get_text() for axes in (second, third)] == ["not made", "no component to compare"]
    save_figure(first, tmp_path / "rank.png")
    assert (tmp_path / "rank.png").read_bytes().startswith(b"\x89PNG")
