"""Every row of both `expect.json` of the real data: flux, variance, mask and wavelengths against the truth; -s prints a table."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u

from vermilion.errors import VermilionError
from vermilion.io import read

ROOT = Path(os.environ.get("VERMILION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not (ROOT / "layouts").is_dir(), reason="no test data: set VERMILION_TEST_DATA")

MUSE = u.Unit("1e-20 erg s-1 cm-2 Angstrom-1")
PIXEL_AREA = 9.40177223816499e-13  # sr, PIXAR_SR of the JWST layouts


def rows(folder: str) -> dict:
    path = ROOT / folder / "expect.json"
    table = json.loads(path.read_text()) if path.is_file() else {}
    return table.get("files", table)


def arrays(folder: str, name: str) -> dict:
    with np.load(ROOT / folder / name) as found:
        return {key: found[key] for key in found}


@pytest.fixture(scope="module")
def report():
    """Add a line to the table that is printed after the last test."""
    lines = [f"{'file':34} {'reader':8} {'flux':>8} {'variance':>8} {'mask':>5} {'wave/A':>8}"]
    yield lambda *cells: lines.append(f"{cells[0]:34} {cells[1]:8} " + " ".join(f"{cell:>8}" for cell in cells[2:]))
    print("\n" + "\n".join(lines))  # noqa: T201


def resampled(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Values (band, y, x) at other wavelengths, by lines between neighbors, as the layouts were made."""
    flat = values.reshape(len(old), -1).T
    return np.array([np.interp(new, old, spectrum) for spectrum in flat]).T.reshape(len(new), *values.shape[1:])


def expected(name: str, cube, truth: dict) -> dict:
    """Flux and variance in the unit of the layout, bad values and vacuum or air wavelengths in Angstrom."""
    flux, variance = truth["flux"].astype(float), truth["var"].astype(float)
    vacuum, bad = truth["wave_vac_A"], truth["bad"]
    wave = vacuum if name.startswith(("jwst", "manga")) else truth["wave_air_A"]
    if name.startswith("radio"):  # arbitrary flux units, no noise: NaN where the truth has no variance is all that is bad
        return {"flux": 1e-3 * flux, "bad": ~np.isfinite(cube.data), "wave": None, "rtol": 1e-6}
    if name.startswith("jwst"):
        scale = (1 * MUSE).to(u.MJy, u.spectral_density(vacuum * u.AA)).value[:, None, None] / PIXEL_AREA
        flux, variance = flux * scale, variance * scale**2
    if "tab" in name or name.startswith("manga"):
        wave = cube.frame.spectral_axis.to_value(u.AA)
        flux, variance = (resampled(values, vacuum, wave) for values in (flux, variance))
    if not name.startswith("jwst"):
        unit = cube.frame.unit * (u.pix if name.startswith(("manga", "sami")) else u.dimensionless_unscaled)
        scale = (1 * MUSE).to_value(unit)
        flux, variance = flux * scale, variance * scale**2
    # a table of float32 wavelengths moves the points of the resampling by a small part of a band
    table = "tab" in name
    return {"flux": flux, "variance": variance, "bad": None if table else bad, "wave": wave, "rtol": 3e-3 if table else 1e-5}


@pytest.mark.parametrize("name", sorted(rows("layouts")))
def test_a_layout_gives_the_true_flux_noise_mask_and_wavelengths(name, report):
    cube = read(ROOT / "layouts" / name)
    want = expected(name, cube, arrays("layouts", "truth.npz"))
    good = cube.weights > 0
    flux = np.abs(cube.data - want["flux"])[good].max() / np.abs(want["flux"][good]).max()
    variance = np.abs(cube.variance / want["variance"] - 1)[good].max() if "variance" in want and cube.variance is not None else None
    differ = None if want["bad"] is None else int(np.count_nonzero(good == want["bad"]))
    wave = None if want["wave"] is None else np.abs(cube.frame.spectral_axis.to_value(u.AA) - want["wave"]).max()
    cells = [f"{value:.0e}" if value is not None else "-" for value in (flux, variance)]
    report(name, cube.meta["reader"], *cells, "-" if differ is None else differ, "-" if wave is None else f"{wave:.0e}")
    assert flux < want["rtol"]
    assert differ in (None, 0)
    assert wave is None or wave < 1e-3
    if "variance" in want and "tab" not in name:
        assert variance < 1e-5
    assert name.split("-")[0] in (cube.meta["reader"], "radio")


def test_the_ends_of_the_table_of_wavelengths_are_those_expected():
    name = "jwst-like_tab_s3d.fits"
    axis = read(ROOT / "layouts" / name).frame.spectral_axis
    assert axis.unit == u.um
    ends = [rows("layouts")[name]["wave_first"], rows("layouts")[name]["wave_last"]]
    np.testing.assert_allclose(axis.value[[0, -1]], ends, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(rows("peculiar")))
def test_a_dialect_gives_the_reference_or_an_error_that_was_expected(name, report):
    row, reference = rows("peculiar")[name], arrays("peculiar", "reference.npz")
    if row["ok"] not in (True, "must run; positivity warns"):
        with pytest.raises(VermilionError) as caught:
            read(ROOT / "peculiar" / name)
        report(name, caught.value.code, "-", "-", "-", "-")
        assert caught.value.exit_code == 4
        return
    cube = read(ROOT / "peculiar" / name)
    good, flux = cube.weights > 0, "-"
    if row.get("rtol", 1e-6) is not None and row["ok"] is True:
        np.testing.assert_allclose(cube.data[good], reference["flux"][good], rtol=row.get("rtol", 1e-6), atol=row.get("atol", 0))
        flux = f"{np.abs(cube.data - reference['flux'])[good].max() / np.abs(reference['flux']).max():.0e}"
    absent = row.get("bad", row.get("nonfinite", len(row.get("masked", []))))
    assert np.count_nonzero(~good) == absent
    variance = "-"
    if cube.variance is not None:
        error = np.abs(cube.variance / reference["var"] - 1)[good].max()
        variance = f"{error:.0e}"
        assert error < 2e-6
    wave = "-"
    if name != "no_wcs.fits":
        apart = np.abs(cube.frame.spectral_axis.to_value(u.AA) - reference["wave_A"]).max()
        wave = f"{apart:.0e}"
        assert apart < 1e-6
    report(name, cube.meta["reader"], flux, variance, absent, wave)
