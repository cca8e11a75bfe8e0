"""Names for endmembers from a library: nearest, runner-up, margin, and when not to believe them."""

import math

import numpy as np
import pytest

from vermilion.diagnose.naming import AMBIGUOUS, NAMED, UNLIKE, component_names, name_spectra
from vermilion.errors import ParameterError, ShapeError


@pytest.fixture
def library():
    """Six spectra of 40 bands."""
    return np.random.default_rng(0).random((40, 6)) + 0.1


NAMES = ("alunite", "calcite", "kaolinite", "muscovite", "soil", "water")


def turned(spectrum, other, angle):
    """`spectrum` turned by `angle` away from `other`, at the same length."""
    a = spectrum / np.linalg.norm(spectrum)
    aside = other - a * (a @ other)
    return np.linalg.norm(spectrum) * (a * math.cos(angle) - aside / np.linalg.norm(aside) * math.sin(angle))


def angle_by_arccos(a, b):
    return math.acos(a @ b / math.sqrt((a @ a) * (b @ b)))


def test_a_spectrum_of_the_library_gets_its_name_whatever_its_brightness(library):
    found = name_spectra(3.7 * library[:, [4, 1]], library, NAMES)
    assert [naming.name for naming in found] == ["soil", "calcite"]
    assert max(naming.angle for naming in found) < 1e-12


def test_angle_runner_up_and_margin_are_those_of_plain_arithmetic(library):
    spectrum = turned(library[:, 2], library[:, 3], 0.03)
    angles = [angle_by_arccos(spectrum, library[:, m]) for m in range(6)]
    order = np.argsort(angles)
    (naming,) = name_spectra(spectrum[:, None], library, NAMES)
    assert (naming.nearest, naming.runner_up) == (NAMES[order[0]], NAMES[order[1]]) == ("kaolinite", NAMES[order[1]])
    assert naming.angle == pytest.approx(0.03, rel=1e-9)
    assert naming.margin == pytest.approx(angles[order[1]] - angles[order[0]], rel=1e-9)
    assert naming.verdict == NAMED


def test_beyond_the_limit_a_spectrum_is_unlike_anything(library):
    spectrum = turned(library[:, 2], library[:, 3], 0.1)[:, None]
    far, near = (name_spectra(spectrum, library, NAMES, limit=limit)[0] for limit in (0.09, 0.11))
    assert (far.verdict, near.verdict) == (UNLIKE, NAMED)
    assert far.name == "unknown 0"
    assert far.nearest == "kaolinite"
    assert "unlike anything in the library (nothing within 0.09 rad); nearest is kaolinite at 0.100 rad" in far.sentence


def test_between_two_spectra_a_name_is_ambiguous(library):
    middle = library[:, 0] / np.linalg.norm(library[:, 0]) + 1.05 * library[:, 1] / np.linalg.norm(library[:, 1])
    (naming,) = name_spectra(middle[:, None], library, NAMES, limit=1.0)
    assert (naming.verdict, naming.name, naming.runner_up) == (AMBIGUOUS, "calcite?", "alunite")


def test_noise_makes_a_name_ambiguous_and_its_error_is_that_of_a_simulation(library):
    library = library.copy()
    library[:, 1] = turned(library[:, 0], library[:, 2], 0.02)
    sigma = np.linspace(0.005, 0.03, 40)
    spectrum = library[:, [0]]
    quiet, noisy = (name_spectra(spectrum, library, NAMES, spectra_error=scale * sigma[:, None])[0] for scale in (0.05, 5.0))
    assert (quiet.verdict, noisy.verdict) == (NAMED, AMBIGUOUS)
    assert noisy.margin_error == pytest.approx(100 * quiet.margin_error, rel=1e-9)
    off = turned(library[:, 0], library[:, 5], 0.3)[:, None]
    (expected,) = name_spectra(off, library, NAMES, spectra_error=0.01 * sigma[:, None], limit=1.0)
    best, second = (NAMES.index(name) for name in (expected.nearest, expected.runner_up))
    rng = np.random.default_rng(1)
    drawn = off + 0.01 * sigma[:, None] * rng.standard_normal((40, 4000))
    margins = [angle_by_arccos(a, library[:, second]) - angle_by_arccos(a, library[:, best]) for a in drawn.T]
    assert np.std(margins) == pytest.approx(expected.margin_error, rel=0.05)


def test_variants_of_one_material_are_no_rivals(library):
    library = library.copy()
    library[:, 1] = turned(library[:, 0], library[:, 2], 0.001)
    (naming,) = name_spectra(library[:, [0]], library, ("water", "water", *NAMES[2:]))
    assert naming.verdict == NAMED
    assert naming.runner_up != "water"


def test_bands_that_are_absent_do_not_count(library):
    spectrum, known = library[:, [3]].copy(), library.copy()
    spectrum[:4], known[-6:, 3] = np.nan, np.nan
    (naming,) = name_spectra(spectrum, known, NAMES)
    assert naming.name == "muscovite"
    assert naming.bands == pytest.approx(30 / 36)
    assert "on 83% of the bands" in naming.sentence


def test_a_library_that_hardly_overlaps_names_nothing(library):
    known = np.where(np.arange(40)[:, None] < 19, library, np.nan)
    (naming,) = name_spectra(library[:, [3]], known, NAMES)
    assert (naming.verdict, naming.nearest, naming.name) == (UNLIKE, None, "unknown 0")
    assert "no spectrum of the library shares at least 50% of the bands" in naming.sentence


@pytest.mark.parametrize("spectrum", [np.zeros(40), np.full(40, np.nan)], ids=["zero", "nan"])
def test_an_empty_spectrum_is_unlike_anything(library, spectrum):
    assert name_spectra(spectrum[:, None], library, NAMES)[0].verdict == UNLIKE


def test_a_single_name_has_no_runner_up(library):
    (naming,) = name_spectra(library[:, [0]], library[:, :1], ("soil",))
    assert (naming.verdict, naming.runner_up) == (NAMED, None)
    assert naming.sentence.endswith("the only name in the library")


def test_the_same_name_twice_is_numbered(library):
    found = name_spectra(library[:, [4, 4, 0]], library, NAMES)
    assert component_names(found) == ("soil", "soil (2)", "alunite")


def test_what_does_not_agree_is_refused(library):
    with pytest.raises(ShapeError, match="5 names for 6 spectra"):
        name_spectra(library, library, NAMES[:5])
    with pytest.raises(ShapeError, match="the same bands"):
        name_spectra(library[:10], library, NAMES)
    with pytest.raises(ShapeError, match="spectra_error has shape"):
        name_spectra(library, library, NAMES, spectra_error=np.ones((40, 2)))
    with pytest.raises(ParameterError, match="limit is 2"):
        name_spectra(library, library, NAMES, limit=2)
