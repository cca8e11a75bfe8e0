"""`vermilion unmix`, from an ENVI, .npz, .mat or FITS file to named maps."""

import json
import tomllib

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from scipy.io import savemat

from vermilion.io.writers.hyperspectral import write_envi, write_spectral_library
from vermilion.simulate import hyperspectral_scene


@pytest.fixture(scope="module")
def scene():
    return hyperspectral_scene(n_endmembers=3, shape=(16, 14), n_bands=30, snr_db=40.0, seed=5)


@pytest.fixture(scope="module")
def files(scene, tmp_path_factory):
    """The scene in four formats, and its library."""
    folder = tmp_path_factory.mktemp("scene")
    nm = scene.cube.frame.spectral_axis.to_value(u.nm)
    data = scene.cube.data.astype(np.float32)
    write_envi(folder / "scene.img", data, wavelength=nm * u.nm)
    np.savez(folder / "scene.npz", cube=data, wavelength_nm=nm)
    savemat(folder / "scene.mat", {"cube": data.transpose(1, 2, 0), "wavelength_nm": nm})
    header = fits.Header({"CTYPE3": "WAVE", "CUNIT3": "nm", "CRPIX3": 1.0, "CRVAL3": nm[0], "CDELT3": nm[1] - nm[0], "BUNIT": ""})
    fits.PrimaryHDU(data, header).writeto(folder / "scene.fits")
    names = [f"material {k}" for k in range(3)]
    write_spectral_library(folder / "library.sli", scene.spectra, wavelength=nm * u.nm, names=names)
    return folder


@pytest.fixture
def unmix(call, files, tmp_path):
    def unmix(*arguments, image="scene.img", k=3, out="out"):
        return call("unmix", files / image, "-k", k, "-o", tmp_path / out, *arguments)

    return unmix


@pytest.mark.parametrize("image", ["scene.img", "scene.npz", "scene.mat", "scene.fits"])
def test_every_format_gives_named_maps_of_the_same_abundances(unmix, files, scene, tmp_path, image):
    run = unmix("--library", files / "library.sli", "--normalize", "none", image=image)
    assert run.code == 0, run.err
    with fits.open(tmp_path / "out" / "components.fits") as hdus:
        names = [hdus[0].header[f"NAME{k}"] for k in range(3)]
        maps = hdus["MAPS"].data
    assert sorted(names) == ["material 0", "material 1", "material 2"]
    truth = scene.abundances[[int(name[-1]) for name in names]]
    assert np.sqrt(np.mean((maps - truth) ** 2)) < 0.1
    assert run.out.splitlines()[-1] == str(tmp_path / "out" / "DONE")
    assert all(line.startswith("vermilion: ") for line in run.err.splitlines())
    assert "ahead of material" in run.err


def test_json_tells_names_margins_and_conventions(unmix, files):
    run = unmix("--library", files / "library.sli", "--abundances", "nnls-renormalized", "--normalize", "l2", "--json", "-q")
    facts = json.loads(run.out)
    assert (facts["convention"], facts["normalize"]) == ("nnls-renormalized", "l2")
    assert {"name", "angle", "runner_up", "margin"} <= set(facts["endmembers"][0])
    assert run.err == ""


def test_without_a_library_components_are_numbered(unmix, tmp_path):
    run = unmix("--json", "-q")
    assert [one["name"] for one in json.loads(run.out)["endmembers"]] == ["component_00", "component_01", "component_02"]


def test_run_toml_repeats_the_run(unmix, tmp_path):
    assert unmix("--method", "vertices", "--seed", "3").code == 0
    options = tomllib.loads((tmp_path / "out" / "run.toml").read_text())
    assert (options["method"], options["seed"], options["components"]) == ("vertices", 3, 3)
    assert unmix("--config", tmp_path / "out" / "run.toml", out="again").code == 0
    first, second = (fits.getdata(tmp_path / name / "components.fits", "MAPS") for name in ("out", "again"))
    np.testing.assert_array_equal(first, second)


def test_a_dry_run_writes_nothing(unmix, tmp_path):
    run = unmix("--dry-run")
    assert (run.code, run.out) == (0, "")
    assert "would unmix Cube(" in run.err
    assert not (tmp_path / "out").exists()


def test_products_are_not_replaced_unasked(unmix):
    assert unmix("-q").code == 0
    assert unmix("-q").code == 6
    assert unmix("-q", "--overwrite").code == 0
    assert unmix("-q", "--resume").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--spatial", -1), 2, "--spatial is -1.0"),
        (("--name-limit", 3), 2, "--name-limit is 3.0"),
        (("--device", "tpu"), 2, "--device is 'tpu'"),
        (("--method", "magic"), 2, "magic"),
        (("--library", "absent.sli"), 3, "absent.sli"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_written(unmix, tmp_path, arguments, code, text):
    run = unmix(*arguments)
    assert run.code == code
    assert len(run.errors) == 1
    assert text in run.errors[0]
    assert not (tmp_path / "out").exists()


def test_more_endmembers_than_bands_are_refused(unmix):
    run = unmix(k=31)
    assert run.code == 4
    assert "--force" in run.errors[0]
