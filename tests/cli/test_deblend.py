"""`vermilion deblend`: from images of several bands to a catalog and pictures, with a scene made by hand in place of the fit."""

import hashlib
import json
import shutil
import signal
import sys
import tomllib
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from matplotlib.image import imread

from vermilion.datamodels import Status
from vermilion.errors import MissingFileError
from vermilion.io.scene import read_scene

from ..io.scenes import scene, sky, write_images

PRODUCTS = {
    *("catalog.ecsv", "catalog.fits", "sources.fits", "model.fits", "residual.fits", "run.toml", "provenance.json", "run.log"),
    *("figures/scene.png", "figures/sources.png", "figures/flux_history.png", "manifest.sha256", "DONE"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folder with g.fits, r.fits, i.fits on the sky and psf.fits."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, scene()[1], sky())
    return folder


@pytest.fixture
def fit(monkeypatch):
    """What the fit was called with; `changes` replace parts of what it returns, it raises `error` and meets `signals` in an iteration."""
    found = SimpleNamespace(cube=None, options=None, changes={}, error=None, signals=[])

    def deblend(cube, **options):
        found.cube, found.options = cube, options
        options["announce"]("fitting")
        if found.error is not None:
            raise found.error
        assert options["callbacks"](1, 30.0) is False
        for number in found.signals:
            signal.raise_signal(number)
        if options["callbacks"](2, 20.0):
            found.changes |= {"status": Status.STOPPED}
        return scene(sky(), **{"frame": cube.frame, **found.changes})[0]

    module = ModuleType("vermilion.deblend")
    module.deblend = deblend
    monkeypatch.setitem(sys.modules, "vermilion.deblend", module)
    return found


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr("vermilion.cli.deblend._draw", lambda *_: [])


@pytest.fixture
def without_products(monkeypatch):
    monkeypatch.setattr("vermilion.cli.deblend._write", lambda *_, **__: [])


@pytest.fixture
def deblend(call, fit, images, tmp_path):
    def deblend(*arguments, bands="gri", psf=True, out="out"):
        known = ("--psf", images / "psf.fits") if psf else ()
        return call("deblend", *(images / f"{band}.fits" for band in bands), *known, "-o", tmp_path / out, *arguments)

    return deblend


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---------------------------------------------------------------- a whole run


def test_a_run_writes_the_scene_and_says_what_it_is(deblend, fit, tmp_path):
    run = deblend()
    assert run.code == 0, run.err
    found = files_in(tmp_path / "out")
    assert set(found) == PRODUCTS
    assert sorted(run.out.splitlines()) == sorted(str(tmp_path / "out" / name) for name in PRODUCTS)
    assert run.out.splitlines()[-1].endswith("DONE")
    assert run.err.splitlines()[0] == "vermilion: 3 sources: 1 point, 1 galaxy, 1 two-component"
    assert "per datum" in run.err
    assert "vermilion: note: two sources are 0.3 × the PSF apart" in run.err
    listed = dict(line.split("  ")[::-1] for line in found["manifest.sha256"].decode().splitlines())
    unlisted = ("run.log", "DONE", "manifest.sha256")
    assert listed == {name: hashlib.sha256(content).hexdigest() for name, content in found.items() if name not in unlisted}
    for picture in (tmp_path / "out" / "figures").iterdir():
        assert imread(picture).std() > 0.01
    assert fit.cube.frame.band_names == ("g", "r", "i")
    assert fit.cube.psf.image.shape == (3, 15, 15)
    np.testing.assert_array_equal(read_scene(tmp_path / "out").fluxes, scene()[0].fluxes)


@pytest.mark.usefixtures("without_pictures")
def test_products_tell_command_and_input(deblend, images, tmp_path):
    assert deblend("--seed", 5).code == 0
    history = "".join(fits.getheader(tmp_path / "out" / "sources.fits")["HISTORY"])
    assert "argv: vermilion deblend" in history
    assert hashlib.sha256((images / "g.fits").read_bytes()).hexdigest() in history
    options = tomllib.loads((tmp_path / "out" / "run.toml").read_text())
    assert (options["seed"], options["threshold"], options["psf_file"]) == (5, 5.0, [str(images / "psf.fits")])
    assert "3 sources: 1 point" in (tmp_path / "out" / "run.log").read_text()


@pytest.mark.usefixtures("without_products")
def test_options_reach_the_fit(deblend, fit):
    chosen = ("--sky", "--threshold", 7, "--max-iter", 30, "--tol", 0, "--seed", 3, "--device", "cpu", "--zero-point", "31.4,31,0")
    assert deblend(*chosen).code == 0
    expected = {"sky": True, "threshold": 7.0, "max_iter": 30, "tol": 0.0, "seed": 3, "device": "cpu", "zero_points": [31.4, 31.0, 0.0]}
    expected |= dict.fromkeys(("catalog", "types", "psf"))
    assert {name: fit.options[name] for name in expected} == expected


@pytest.mark.usefixtures("without_pictures")
def test_run_toml_repeats_the_run(deblend, fit, tmp_path):
    assert deblend("--psf", "gaussian:0.5", "--zero-point", "31.4", psf=False).code == 0
    assert deblend("--config", tmp_path / "out" / "run.toml", psf=False, out="again").code == 0
    assert fit.options["psf"].fwhm[0] == 0.5 * u.arcsec
    first, second = (tomllib.loads((tmp_path / name / "run.toml").read_text()) for name in ("out", "again"))
    assert first == second
    assert deblend("--config", tmp_path / "out" / "run.toml", out="images").code == 0  # the images of --psf win
    assert fit.options["psf"] is None
    assert fit.cube.psf.image.shape == (3, 15, 15)


@pytest.mark.usefixtures("without_pictures")
def test_images_of_sources_come_with_their_share_of_the_data(deblend, tmp_path):
    assert deblend("--sources").code == 0
    shares = []
    for k in range(3):
        with fits.open(tmp_path / "out" / f"source_{k:02d}.fits") as hdus:
            assert hdus["FLUX"].shape == hdus["SHARE"].shape == (3, 24, 30)
            shares.append(hdus["SHARE"].data.astype(float))
    data = fits.getdata(tmp_path / "out" / "residual.fits", "FLUX") + fits.getdata(tmp_path / "out" / "model.fits", "FLUX")
    np.testing.assert_allclose(sum(shares)[:, 8:20, 8:24], data[:, 8:20, 8:24], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("without_products")
def test_json_tells_the_sources(deblend):
    facts = json.loads(deblend("--json", "-q").out)
    assert (facts["status"], facts["n_sources"], facts["kinds"]["galaxy"], facts["iterations"]) == ("CONVERGED", 3, 1, 3)
    assert facts["objective"] == 19.5
    assert facts["sources"][1]["fluxes"] == {"g": 100.0, "r": 400.0, "i": 900.0}
    assert facts["sources"][0]["probabilities"] == {"point": 0.9, "galaxy": 0.1}
    assert 0.8 < facts["chi2"] / facts["n_data"] < 1.2


@pytest.mark.usefixtures("without_pictures")
def test_products_can_be_inspected(deblend, call, tmp_path):
    assert deblend("-q").code == 0
    for name in ("model.fits", "residual.fits"):
        run = call("inspect", tmp_path / "out" / name)
        assert run.code == 0, run.err
        assert "3 bands x 24 x 30" in run.out
        assert "bands g, r, i" in run.out


@pytest.mark.usefixtures("without_products")
def test_an_array_file_with_its_own_psfs_needs_no_option(call, fit, images, tmp_path):
    data = np.array([fits.getdata(images / f"{band}.fits", "IMAGE") for band in "gri"])
    np.savez(
        tmp_path / "blend.npz", images=data, variance=np.full_like(data, 0.25), filters=list("gri"), psfs=fits.getdata(images / "psf.fits")
    )
    run = call("deblend", tmp_path / "blend.npz", "-o", tmp_path / "out", "--unit", "nJy")
    assert run.code == 0, run.err
    assert fit.cube.psf.image.shape == (3, 15, 15)


# ---------------------------------------------------------------- the PSF


@pytest.mark.usefixtures("without_products")
@pytest.mark.parametrize(
    ("text", "fwhm", "beta"),
    [
        ("gaussian:0.7", [0.7] * 3 * u.arcsec, None),
        ("gaussian:3.2px", [3.2] * 3 * u.pix, None),
        ("Gaussian:700mas", [700] * 3 * u.mas, None),
        ("moffat:0.7,0.8,0.9:3", [0.7, 0.8, 0.9] * u.arcsec, [3, 3, 3]),
        ("moffat:2.5 px:2.5,3,4", [2.5] * 3 * u.pix, [2.5, 3, 4]),
    ],
)
def test_a_psf_may_be_a_profile(deblend, fit, text, fwhm, beta):
    run = deblend("--psf", text, psf=False)
    assert run.code == 0, run.err
    psf = fit.options["psf"]
    assert (psf.fwhm == fwhm).all()
    assert psf.fwhm.unit == fwhm.unit
    np.testing.assert_array_equal(psf.beta, beta)


@pytest.mark.usefixtures("without_products")
def test_without_sky_coordinates_a_bare_width_is_in_pixels(call, fit, tmp_path):
    paths = write_images(tmp_path, scene()[1])
    assert call("deblend", *paths, "--psf", "gaussian:3", "-o", tmp_path / "out").code == 0
    assert fit.options["psf"].fwhm.unit == u.pix
    run = call("deblend", *paths, "--psf", "gaussian:3arcsec", "-o", tmp_path / "other")
    assert (run.code, len(run.errors)) == (2, 1)
    assert "no sky coordinates" in run.err


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--psf", "gaussian:"), 2, "expected gaussian:FWHM"),
        (("--psf", "gaussian:0.7:3"), 2, "expected gaussian:FWHM"),
        (("--psf", "moffat:0.7"), 2, "expected gaussian:FWHM or moffat:FWHM:BETA"),
        (("--psf", "moffat:0.7:1"), 2, "expected a BETA > 1"),
        (("--psf", "gaussian:-1"), 2, "expected a FWHM > 0"),
        (("--psf", "gaussian:0.7,x"), 2, "expected a number, or one per band"),
        (("--psf", "gausian:0.7"), 2, "expected a file, gaussian:FWHM or moffat:FWHM:BETA"),
        (("--psf", "gaussian:1,2"), 4, "gives 2 widths, the images have 3 bands"),
        (("--psf", "gaussian:0.7Jy"), 2, "'Jy' is no unit of a width"),
        (("--psf", "gaussian:0.7", "--psf", "gaussian:0.8"), 2, "given 2 times"),
        (("--psf", "gaussian:0.7", "--psf-file", "psf.fits"), 2, "give one of them"),
        (("--psf", "absent.fits"), 3, "absent.fits"),
        ((), 2, "the images carry no PSF: add --psf FILE"),
    ],
    ids=str,
)
def test_a_psf_that_cannot_be_is_refused_before_anything_is_written(deblend, fit, tmp_path, arguments, code, text):
    run = deblend(*arguments, psf=False)
    assert (run.code, len(run.errors)) == (code, 1), run.err
    assert text in run.errors[0]
    assert not (tmp_path / "out").exists()
    assert fit.cube is None


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--threshold", 0), 2, "--threshold is 0.0"),
        (("--threshold", "nan"), 2, "--threshold is nan"),
        (("--threshold", 31), 2, "--threshold is 31.0: expected a number > 0 and <= 30"),
        (("--tol", 1), 2, "--tol is 1.0"),
        (("--max-iter", 0), 2, "--max-iter is 0"),
        (("--seed", -1), 2, "--seed is -1"),
        (("--device", "tpu"), 2, "--device is 'tpu'"),
        (("--types", "given"), 2, "add --catalog FILE"),
        (("--types", "stars"), 2, "stars"),
        (("--zero-point", "bright"), 2, "--zero-point is 'bright'"),
        (("--zero-point", "27,28"), 4, "--zero-point gives 2 magnitudes for 3 bands"),
        (("--memory", "100kB"), 7, "are needed"),
        (("--catalog", "absent.fits"), 3, "absent.fits"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_written(deblend, fit, tmp_path, arguments, code, text):
    run = deblend(*arguments)
    assert (run.code, len(run.errors)) == (code, 1), run.err
    assert text in run.errors[0]
    assert not (tmp_path / "out").exists()
    assert fit.cube is None


def test_a_psf_of_another_number_of_bands_is_refused(deblend, images, tmp_path):
    run = deblend(bands="gr")
    assert (run.code, len(run.errors)) == (4, 1)
    assert "gives 3 images, the cube has 2 bands" in run.err


def test_bands_that_do_not_show_the_same_sky_are_refused(call, images, tmp_path):
    shutil.copy(images / "g.fits", tmp_path / "g.fits")
    with fits.open(images / "r.fits") as hdus:
        for hdu in hdus[1:]:
            hdu.header["CRPIX1"] += 1
        hdus.writeto(tmp_path / "r.fits")
    run = call("deblend", tmp_path / "g.fits", tmp_path / "r.fits", "--psf", "gaussian:1", "-o", tmp_path / "out")
    assert (run.code, len(run.errors)) == (4, 1)
    assert "differ by up to 1 pixels" in run.err
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- the catalog


@pytest.mark.usefixtures("without_products")
def test_positions_of_a_catalog_reach_the_fit(deblend, fit, tmp_path):
    centers = np.array([[8.25, 9.5], [13.0, 14.75], [19.5, 26.0]])
    points = sky().pixel_to_world(centers[:, 1], centers[:, 0])
    QTable({"ra": points.ra, "dec": points.dec}).write(tmp_path / "known.ecsv", format="ascii.ecsv")
    assert deblend("--catalog", tmp_path / "known.ecsv").code == 0
    np.testing.assert_allclose(fit.options["catalog"].yx, centers, atol=1e-6)
    QTable({"ra": points.ra, "dec": points.dec, "x": centers[:, 1] + 1, "y": centers[:, 0]}).write(
        tmp_path / "both.ecsv", format="ascii.ecsv"
    )
    assert deblend("--catalog", tmp_path / "both.ecsv", "--coordinates", "pixel", out="pixels").code == 0
    np.testing.assert_allclose(fit.options["catalog"].yx, centers + np.array([0, 1]))
    run = deblend("--catalog", tmp_path / "known.ecsv", "--dry-run", out="dry")
    assert f"into the 3 sources of {tmp_path / 'known.ecsv'}" in run.err


@pytest.mark.parametrize("far", [0, 90], ids=["empty", "outside"])
def test_a_catalog_without_a_source_in_the_images_is_refused(deblend, fit, tmp_path, far):
    table = QTable({"ra": [150.1 + far] * u.deg, "dec": [2.2] * u.deg})
    (table if far else table[:0]).write(tmp_path / "known.ecsv", format="ascii.ecsv")
    run = deblend("--catalog", tmp_path / "known.ecsv")
    assert (run.code, len(run.errors)) == (4, 1), run.err
    assert "known.ecsv" in run.err
    assert fit.cube is None
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_products")
def test_types_come_from_the_catalog_if_asked_for(deblend, fit, tmp_path):
    QTable({"x": [9.5, 14.75], "y": [8.25, 13.0], "kind": ["point", "galaxy"]}).write(tmp_path / "known.ecsv", format="ascii.ecsv")
    QTable({"x": [9.5, 14.75], "y": [8.25, 13.0]}).write(tmp_path / "bare.ecsv", format="ascii.ecsv")
    assert deblend("--catalog", tmp_path / "known.ecsv", "--types", "given").code == 0
    assert list(fit.options["types"]) == ["point", "galaxy"]
    assert deblend("--catalog", tmp_path / "known.ecsv", out="auto").code == 0
    assert fit.options["types"] is None
    run = deblend("--catalog", tmp_path / "bare.ecsv", "--types", "given", out="bare")
    assert (run.code, len(run.errors)) == (2, 1)
    assert "does not say what source 0 is: use --types auto" in run.err


@pytest.mark.usefixtures("without_pictures")
def test_the_catalog_of_a_run_can_be_given_to_another(deblend, fit, tmp_path):
    assert deblend().code == 0
    assert deblend("--catalog", tmp_path / "out" / "catalog.fits", "--types", "given", out="again").code == 0
    np.testing.assert_allclose(fit.options["catalog"].yx, [source.center for source in scene()[0].sources])
    assert list(fit.options["types"]) == ["point", "galaxy", "two-component"]


# ---------------------------------------------------------------- how a run may end


def test_a_dry_run_writes_and_fits_nothing(deblend, fit, tmp_path):
    run = deblend("--dry-run")
    assert (run.code, run.out) == (0, "")
    assert "would deblend Cube(" in run.err
    assert "into the sources of a signal-to-noise ratio above 5" in run.err
    assert fit.cube is None
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_pictures")
def test_products_are_not_replaced_unasked(deblend, tmp_path):
    assert deblend("-q", "--sources").code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert deblend("-q").code == 6
    assert (tmp_path / "out" / "source_00.fits").exists()
    assert deblend("-q", "--overwrite").code == 0
    assert deblend("-q", "--resume").code == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "source_00.fits").exists()  # not asked for any more


def test_a_fit_that_is_interrupted_leaves_nothing(deblend, fit, tmp_path):
    fit.error = KeyboardInterrupt()
    run = deblend()
    assert (run.code, len(run.errors), run.out) == (130, 1, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_fit_and_what_was_found_is_written(deblend, fit, tmp_path, number, code):
    fit.signals = [number]
    run = deblend()
    assert (run.code, len(run.errors)) == (code, 1)
    assert "the fit ends with this iteration" in run.err
    assert "STOPPED" in (tmp_path / "out" / "provenance.json").read_text()
    assert "stopped" in (tmp_path / "out" / "DONE").read_text()
    assert read_scene(tmp_path / "out").status is Status.STOPPED


def test_a_second_signal_stops_at_once(deblend, fit, tmp_path):
    fit.signals = [signal.SIGINT, signal.SIGTERM]
    run = deblend()
    assert (run.code, run.out) == (143, "")
    assert not (tmp_path / "out").exists()


def test_an_interrupt_while_products_are_written_leaves_none_of_them_half(deblend, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vermilion.cli.deblend._draw", stop)
    run = deblend()
    assert run.code == 130
    found = files_in(tmp_path / "out")
    assert set(found) == PRODUCTS - {
        name for name in PRODUCTS if name.startswith("figures") or name in ("run.log", "manifest.sha256", "DONE")
    }
    for name in found:
        if name.endswith(".fits"):
            with fits.open(tmp_path / "out" / name, checksum=True) as hdus:  # warnings are errors
                hdus.verify("exception")


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(("tol", "code"), [(1e-5, 5), (0, 0)])
def test_a_fit_that_does_not_converge_is_marked(deblend, fit, tmp_path, tol, code):
    fit.changes = {"status": Status.MAX_ITER}
    run = deblend("--tol", tol)
    assert (run.code, len(run.errors)) == (code, code > 0)
    assert fits.getheader(tmp_path / "out" / "catalog.fits")["STATUS"] == "MAX_ITER"
    assert "limit" in (tmp_path / "out" / "DONE").read_text()


@pytest.mark.usefixtures("without_products")
@pytest.mark.parametrize(("factor", "said"), [(1, False), (2, True)])
def test_a_fit_that_leaves_much_is_told_so(deblend, fit, factor, said):
    fit.changes = {"chi2": factor * scene()[0].chi2}
    assert ("sources are missing, or PSF or noise are not those told" in deblend().err) is said


def test_a_missing_input_is_one_line(call, fit, tmp_path):
    run = call("deblend", tmp_path / "absent.fits", "--psf", "gaussian:1", "-o", tmp_path / "out")
    assert (run.code, len(run.errors)) == (MissingFileError.exit_code, 1)


def test_the_options_come_under_headings(call):
    run = call("deblend", "--help")
    headings = [line for line in run.out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Scene:", "Fit:", "Reading IMAGES:", "Products:", "Messages:"]
