"""`vermilion separate`, end to end: what is printed, what is written, and that it agrees with itself on disk."""

import hashlib
import json
import shutil
import tomllib

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from matplotlib.image import imread

from vermilion.cli.run import argv
from vermilion.io.writers import OutputFolder

FITS_PRODUCTS = ("components.fits", "model.fits", "residual.fits", "spectrum_00.fits", "spectrum_01.fits", "spectrum_02.fits")
UNIT = u.Unit("1e-20 erg / (s cm2 Angstrom)")


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spectra_of(folder):
    """Shapes (B, K)."""
    table = fits.getdata(folder / "components.fits", "SPECTRA")
    return np.column_stack([table[name] for name in table.names if name.startswith("shape_") and "error" not in name])


def maps_of(folder):
    return fits.getdata(folder / "components.fits", "MAPS")


def card(folder, name):
    return fits.getval(folder / "components.fits", name)


# ---------------------------------------------------------------- the run of a user, read back from disk


def test_stdout_holds_the_paths_of_the_products_and_nothing_else(finished):
    assert finished.code == 0, finished.err
    paths = finished.out.splitlines()
    assert paths[-1] == str(finished.folder / "DONE")
    assert sorted(paths) == sorted(str(finished.folder / name) for name in files_in(finished.folder))


def test_stderr_holds_lines_of_vermilion_only(finished):
    assert all(line.startswith("vermilion: ") for line in finished.err.splitlines())


def test_done_is_the_newest_file(finished):
    when = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*") if path.is_file()}
    assert max(when, key=when.__getitem__).name == "DONE"
    assert (finished.folder / "DONE").read_text().startswith("converged")


def test_the_manifest_agrees_with_the_files(finished):
    products = {name: content for name, content in files_in(finished.folder).items() if name not in ("run.log", "DONE", "manifest.sha256")}
    listed = dict(line.split("  ")[::-1] for line in (finished.folder / "manifest.sha256").read_text().splitlines())
    assert listed == {name: hashlib.sha256(content).hexdigest() for name, content in products.items()}


@pytest.mark.parametrize("name", FITS_PRODUCTS)
def test_every_hdu_has_a_checksum_that_verifies(finished, name):
    with fits.open(finished.folder / name, checksum=True) as hdus:  # warnings are errors
        for hdu in hdus:
            assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
            hdu.verify("exception")


@pytest.mark.parametrize("name", FITS_PRODUCTS)
def test_the_history_tells_command_seed_and_input(finished, small_cube, name):
    history = "".join(str(line) for line in fits.getheader(finished.folder / name)["HISTORY"])
    assert "argv: vermilion separate" in history
    assert "seed: 0" in history
    assert hashlib.sha256(small_cube.read_bytes()).hexdigest() in history


@pytest.mark.parametrize("name", ["model.fits", "residual.fits"])
def test_cubes_carry_the_coordinates_and_the_unit_of_the_input(finished, small_cube, name):
    given, found = fits.getheader(small_cube, "DATA"), fits.getheader(finished.folder / name, "FLUX")
    corners = np.array([[0, 0, 0], [19, 0, 59], [7, 19, 30]])
    np.testing.assert_allclose(WCS(found).wcs_pix2world(corners, 0), WCS(given).wcs_pix2world(corners, 0), rtol=1e-12)
    assert WCS(found).wcs.ctype[2] == "AWAV"
    assert u.Unit(found["BUNIT"]).is_equivalent(UNIT)
    assert u.Unit(found["BUNIT"]).to(UNIT) == pytest.approx(1)


def test_maps_carry_sky_coordinates_and_tables_units(finished, small_cube):
    with fits.open(finished.folder / "components.fits") as hdus:
        sky, given = WCS(hdus["MAPS"].header).celestial, WCS(fits.getheader(small_cube, "DATA")).celestial
        np.testing.assert_allclose(sky.wcs_pix2world([[3, 15]], 0), given.wcs_pix2world([[3, 15]], 0), rtol=1e-12)
        units = {column.name: column.unit for column in hdus["SPECTRA"].columns}
    assert u.Unit(units["wavelength"]) == u.AA
    assert u.Unit(units["flux_0"]).to(UNIT * u.pix) == pytest.approx(1)


def test_fluxes_of_the_components_add_up_to_the_model(finished):
    table = fits.getdata(finished.folder / "components.fits", "SPECTRA")
    total = np.nansum(fits.getdata(finished.folder / "model.fits", "FLUX"), axis=(1, 2), dtype=float)
    np.testing.assert_allclose(sum(table[f"flux_{k}"] for k in range(3)), total, rtol=1e-6)


def test_model_and_residual_add_up_to_the_data(finished, small_cube):
    data = fits.getdata(small_cube, "DATA")
    together = sum(fits.getdata(finished.folder / name, "FLUX") for name in ("model.fits", "residual.fits"))
    live = np.isfinite(together)
    assert live.mean() > 0.9
    np.testing.assert_allclose(together[live], data[live], rtol=1e-6, atol=1e-6 * np.nanmax(np.abs(data)))


def test_the_model_fits_the_data_to_their_noise(finished, small_cube):
    residual, variance = fits.getdata(finished.folder / "residual.fits", "FLUX"), fits.getdata(small_cube, "STAT")
    assert np.nanmean(residual**2 / variance) < 10  # three components for four; the data alone have 1e4


def test_pictures_are_png_and_not_blank(finished):
    pictures = sorted((finished.folder / "figures").iterdir())
    assert {"maps.png", "spectra.png", "white_light.png", "residual_rms.png", "convergence.png"} <= {path.name for path in pictures}
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert imread(path).std() > 0.01


def test_resolved_options_and_provenance_can_be_read_back(finished, small_cube):
    options = tomllib.loads((finished.folder / "run.toml").read_text())
    assert options["components"] == 3
    assert options["tol"] == 1e-5
    provenance = json.loads((finished.folder / "provenance.json").read_text())
    assert provenance["input_sha256"] == hashlib.sha256(small_cube.read_bytes()).hexdigest()
    assert [start["name"] for start in provenance["starts"]] == ["spa", *(f"random {k}" for k in range(1, 6))]


def test_the_log_tells_the_whole_story(finished):
    log = (finished.folder / "run.log").read_text()
    for text in ("-o", "HDU 2 STAT: variance", "random starts:", "iterations,", "products in"):
        assert text in log


def test_the_same_command_gives_the_same_bytes(launch, finished, small_cube, tmp_path):
    run = launch("separate", small_cube, "-k", 3, f"--output={tmp_path / 'second'}", "--json", "-vv")
    assert run.code == 0, run.err
    first, second = files_in(finished.folder), files_in(tmp_path / "second")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == ["run.log"]
    facts = json.loads(run.out)
    assert facts["products"][-1] == str(tmp_path / "second" / "DONE")
    assert facts["status"] == "CONVERGED"
    assert facts["objective"] > 0
    assert "reader muse" in run.err


# ---------------------------------------------------------------- how much is said


def test_quiet_says_nothing(separate):
    run = separate("-q")
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines()[-1].endswith("DONE")


def test_verbose_says_more(separate):
    plain, more = separate(), separate("-v", "--overwrite")
    assert "reader muse" not in plain.err
    assert "reader muse" in more.err
    assert "20 iterations" in more.err
    assert more.out == plain.out


def test_json_is_one_object(separate):
    facts = json.loads(separate("--json", "-q").out)
    assert (facts["status"], facts["iterations"], facts["unique"]) == ("MAX_ITER", 20, None)


# ---------------------------------------------------------------- how a fit may end


def test_a_fit_that_does_not_converge_ends_with_5_and_says_so_everywhere(separate):
    run = separate("--max-iter", 3, "--tol", 1e-5)
    assert run.code == 5
    assert run.errors == ["vermilion: error[E-CONVERGENCE]: the iteration limit was reached; the products are written and marked"]
    assert card(run.folder, "STATUS") == "MAX_ITER"
    assert "limit" in (run.folder / "DONE").read_text()


def test_without_a_tolerance_the_limit_is_what_was_asked_for(separate):
    run = separate("--max-iter", 3, "--tol", 0)
    assert (run.code, run.errors) == (0, [])
    assert len(fits.getdata(run.folder / "components.fits", "HISTORY")) == 3


# ---------------------------------------------------------------- folders


def test_overwrite_replaces_products_and_keeps_what_others_wrote(separate):
    first = separate("--cubes")
    (first.folder / "notes.txt").write_text("mine")
    before = files_in(first.folder)
    second = separate("--overwrite", "--seed", 1)
    after = files_in(second.folder)
    assert second.code == 0
    assert after["notes.txt"] == b"mine"
    assert after["components.fits"] != before["components.fits"]  # the seed is in the header
    assert before.keys() - after.keys() == {f"component_{k:02d}.fits" for k in range(3)}  # not asked for any more


def test_a_folder_with_something_in_it_is_refused(separate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    run = separate()
    assert run.code == 6
    assert run.errors == [run.err.strip()]
    assert "error[E-EXISTS]" in run.err
    assert "--overwrite" in run.err
    assert files_in(tmp_path / "out") == {"thesis.tex": b"mine"}


def test_an_empty_folder_is_taken(separate, tmp_path):
    (tmp_path / "out").mkdir()
    assert separate().code == 0


def test_resume_without_a_checkpoint_starts_anew(separate):
    first, second = separate(), separate("--resume")
    assert second.code == 0
    assert files_in(second.folder)["model.fits"] == files_in(first.folder)["model.fits"]


def test_a_folder_in_use_is_refused_before_anything_is_computed(separate, tmp_path):
    with OutputFolder(tmp_path / "out"):
        run = separate("--max-iter", 10**9, brief=False)
    assert run.code == 6
    assert "error[E-OUTPUT]" in run.err
    assert "locked by pid" in run.err


def test_a_dry_run_writes_nothing(separate, tmp_path):
    run = separate("--dry-run")
    assert (run.code, run.out) == (0, "")
    assert "60 bands x 20 x 20" in run.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_finds_what_would_fail_later(separate, tmp_path):
    assert separate("--dry-run", "--device", "cuda:9").code == 7
    assert separate("--dry-run", "--fix-spectrum", tmp_path / "absent.fits").code == 3


# ---------------------------------------------------------------- what is solved


@pytest.mark.parametrize("choice", ["simplex", "unit-sum"])
def test_spectra_may_be_held_to_unit_sum(separate, choice):
    A = spectra_of(separate("--spectra", choice).folder)
    np.testing.assert_allclose(np.nansum(A, axis=0), 1, rtol=1e-5)
    assert np.nanmin(A) >= 0


def test_free_factors_may_be_negative(separate):
    assert np.nanmin(maps_of(separate().folder)) >= 0
    run = separate("--spectra", "free", "--maps", "free", "--overwrite")
    assert run.code == 0
    assert np.nanmin(maps_of(run.folder)) < 0


def test_entropy_pulls_maps_towards_flat_ones(separate):
    def contrast(folder):
        maps = maps_of(folder)
        return np.nanstd(maps) / np.nanmean(maps)

    plain = separate().folder
    zeros, before = np.mean(maps_of(plain) == 0), contrast(plain)
    run = separate("--entropy", 1e5, "--overwrite")
    assert run.code == 0
    assert contrast(run.folder) < before
    assert np.mean(maps_of(run.folder) == 0) < zeros


def test_sparsity_pulls_maps_down(separate):
    plain = np.nansum(maps_of(separate().folder))
    run = separate("--sparsity", 100, "--overwrite")
    assert run.code == 0
    assert tomllib.loads((run.folder / "run.toml").read_text())["sparsity"] == 100
    assert np.nansum(maps_of(run.folder)) < plain


def test_pgm_goes_down_from_the_same_start(separate):
    run = separate("--solver", "pgm")
    assert run.code == 0
    objective = fits.getdata(run.folder / "components.fits", "HISTORY")["objective"]
    assert objective[-1] < objective[0]


def test_proxmin_gives_products_or_one_line(separate):
    run = separate("--solver", "proxmin", "-q")
    if run.code == 0:
        assert run.err == ""
        assert (run.folder / "DONE").exists()
    else:
        assert run.code == 1
        assert run.errors == [run.err.strip()]
        assert "error[E-PEER]" in run.err


def test_a_random_start_finds_what_the_default_start_finds(separate):
    def objective(*arguments):
        return json.loads(separate("--json", "--overwrite", "--starts", 0, *arguments, brief=False).out)["objective"]

    assert objective("--init", "random") == pytest.approx(objective(), rel=0.01)


def test_cubes_of_the_components_add_up_to_the_model(separate):
    folder = separate("--cubes").folder
    total = sum(fits.getdata(folder / f"component_{k:02d}.fits", "FLUX") for k in range(3))
    model = fits.getdata(folder / "model.fits", "FLUX")
    np.testing.assert_allclose(total, model, rtol=1e-5, atol=1e-6 * np.nanmax(model))


def test_uniqueness_is_untested_without_other_starts(separate):
    assert card(separate("--starts", 0).folder, "UNIQUE") == "untested"


def test_uniqueness_is_tested_with_as_many_starts_as_asked_for(separate):
    run = separate("--starts", 2)
    provenance = json.loads((run.folder / "provenance.json").read_text())
    assert [start["name"] for start in provenance["starts"]] == ["spa", "random 1", "random 2"]
    assert card(run.folder, "UNIQUE") == ("F" if "not unique" in run.err else "T")


def test_more_components_than_bands_need_force(separate):
    run = separate("-k", 61)
    assert (run.code, run.errors) == (4, [run.err.strip()])
    assert "error[E-SHAPE]" in run.err
    assert separate("-k", 61, "--force", "--dry-run").code == 0


# ---------------------------------------------------------------- known spectra


@pytest.fixture
def template(small_cube):
    """A falling spectrum with a line, on the bands of the cube."""
    header = fits.getheader(small_cube, "DATA")
    wave = header["CRVAL3"] + (np.arange(60) + 1 - header["CRPIX3"]) * header["CD3_3"]
    return Table({"wavelength": wave * u.AA, "flux": (2 - np.arange(60) / 60 + 3 * (np.arange(60) == 30)) * UNIT})


def held(folder, flux):
    """Whether the first component has the shape of `flux`."""
    shape = spectra_of(folder)[:, 0]
    return np.allclose(shape / shape.sum(), flux / flux.sum(), rtol=1e-6)


@pytest.mark.parametrize("name", ["sky.fits", "sky.ecsv", "sky.txt"])
def test_a_known_spectrum_is_held(separate, template, tmp_path, name):
    path = tmp_path / name
    if name.endswith("txt"):
        path.write_text("".join(f"{float(row['wavelength'])} {float(row['flux'])}\n" for row in template))
    else:
        template.write(path)
    run = separate("--fix-spectrum", path)
    assert (run.code, run.err) == (0, "")
    assert held(run.folder, np.asarray(template["flux"]))


def test_a_known_spectrum_on_another_grid_is_interpolated_and_says_so(separate, template, tmp_path):
    template[::2].write(tmp_path / "sky.fits")
    run = separate("--fix-spectrum", tmp_path / "sky.fits")
    assert run.code == 4  # the last band is not covered
    assert "error[E-SHAPE]" in run.err
    assert not run.folder.exists()
    template[np.r_[:60:2, 59]].write(tmp_path / "covers.fits")
    run = separate("--fix-spectrum", tmp_path / "covers.fits")
    assert run.code == 0
    assert "interpolated linearly" in run.err


def test_a_known_spectrum_in_a_wrong_unit_is_refused(separate, template, tmp_path):
    template["wavelength"].unit = u.kg
    template.write(tmp_path / "sky.fits")
    run = separate("--fix-spectrum", tmp_path / "sky.fits")
    assert (run.code, run.errors) == (4, [run.err.strip()])
    assert "error[E-UNIT]" in run.err


def test_more_known_spectra_than_components_are_refused(separate, template, tmp_path):
    template.write(tmp_path / "sky.fits")
    run = separate("-k", 1, *("--fix-spectrum", tmp_path / "sky.fits") * 2)
    assert run.code == 2
    assert "2 spectra are fixed" in run.err


# ---------------------------------------------------------------- the command in the headers


@pytest.mark.parametrize(
    "words",
    ["-o a", "-oa", "-qo a", "-vvoa", "--output a", "--output=a", "-v -q", "-vq", "--verbose --quiet --json", "--overwrite --resume"],
)
def test_the_command_in_the_headers_tells_nothing_that_changes_no_product(words):
    assert argv(["separate", "c.fits", *words.split(), "-k", "3"]) == ["vermilion", "separate", "c.fits", "-k", "3"]


@pytest.mark.parametrize("words", ["-k 3 --seed 1", "-k3 --tol=0", "--cubes", "--unit -", "--maps free"])
def test_the_command_in_the_headers_tells_everything_else(words):
    assert argv(words.split()) == ["vermilion", *words.split()]


def test_a_copied_cube_gives_the_same_pixels(separate, small_cube, tmp_path):
    shutil.copy(small_cube, tmp_path / "a b [1] é.fits")
    first, second = separate(), separate(cube=tmp_path / "a b [1] é.fits", out=tmp_path / "ö ut")
    assert second.code == 0, second.err
    np.testing.assert_array_equal(maps_of(first.folder), maps_of(second.folder))
