"""The sample scene: what the shipped files promise, and that the script makes the same ones again."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.signal import fftconvolve

import vermilion

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "make_sample_data.py"
IMAGE, PSF, IMAGES_OF_SOURCES, TABLE = (f"sample_scene{part}" for part in (".fits", "_psf.fits", "_truth.fits", "_truth.ecsv"))
BANDS = ("g", "r", "i", "z", "y")


def truth(folder):
    """Table of the sources and their images (n, B, Ny, Nx) in float64."""
    return Table.read(folder / TABLE), fits.getdata(folder / IMAGES_OF_SOURCES, "SOURCES").astype("f8")


def fluxes(table):
    return np.stack([table[f"flux_{band}"] for band in BANDS], axis=1)


@pytest.fixture(scope="module")
def cube():
    return vermilion.read(ROOT / "data" / IMAGE, psf_file=ROOT / "data" / PSF)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two folders made with the script."""
    if find_spec("galsim") is None:
        pytest.skip("GalSim is not installed: pip install 'vermilion[sim]'")
    folders = [tmp_path_factory.mktemp(f"scene{attempt}") for attempt in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SCRIPT.parent), *sys.path])
        main = runpy.run_path(str(SCRIPT))["main"]
        for folder in folders:
            main(["--only", "scene", "--output", str(folder)])
    return folders


def test_files_are_small_and_intact():
    files = sorted((ROOT / "data").glob("sample_scene*"))
    assert {path.name for path in files} == {IMAGE, PSF, IMAGES_OF_SOURCES, TABLE}
    assert sum(path.stat().st_size for path in files) <= 1e6
    for path in files:
        if path.suffix == ".fits":
            with fits.open(path, checksum=True) as file:  # a wrong checksum is a warning, and warnings are errors
                file.verify("exception")
                assert all("CHECKSUM" in hdu.header for hdu in file)


def test_the_scene_is_read_with_bands_masks_unit_sky_and_psf(cube):
    assert cube.frame.band_names == BANDS
    assert cube.data.shape == cube.variance.shape == (5, 64, 64)
    assert str(cube.frame.unit) == "nJy"
    assert cube.frame.wcs.celestial.proj_plane_pixel_scales()[0].to_value("arcsec") == pytest.approx(0.2)
    assert cube.psf.image.shape == (5, 41, 41)
    np.testing.assert_allclose(cube.psf.image.sum(axis=(1, 2)), 1, rtol=1e-6)
    dead = np.isnan(cube.data)
    assert (dead == dead[0]).all()
    assert dead[0].sum() == 6
    saturated = cube.mask & ~dead
    assert [int(band.sum()) for band in saturated] == [0, 5, 7, 0, 0]
    assert np.isfinite(cube.data[saturated]).all()


def test_psfs_differ_between_bands_and_are_centered(cube):
    y, x = np.indices((41, 41)) - 20
    light = cube.psf.image
    for axis in (y, x):
        assert np.abs((light * axis).sum(axis=(1, 2))).max() < 1e-3
    peaks = light.max(axis=(1, 2))
    assert min(abs(a - b) / a for i, a in enumerate(peaks) for b in peaks[:i]) > 0.05


def test_the_truth_says_what_is_in_the_images(cube):
    table, images = truth(ROOT / "data")
    assert images.shape == (len(table), 5, 64, 64)
    kinds = list(table["kind"])
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"point": 3, "galaxy": 3, "two-component": 2}
    lost = 1 - images.sum(axis=(2, 3)) / fluxes(table)
    assert lost.min() > -1e-3
    assert lost.max() < 0.01
    sky = cube.frame.wcs.celestial.pixel_to_world_values(table["x"], table["y"])
    np.testing.assert_allclose(sky, [table["ra"], table["dec"]], atol=1e-7)
    stars = [image[2] for image, kind in zip(images, kinds, strict=True) if kind == "point"]
    for image, row in zip(stars, table[table["kind"] == "point"], strict=True):
        y, x = np.indices(image.shape)
        # the light of a star beyond the edge is less than 1e-4 of it
        np.testing.assert_allclose([(image * y).sum(), (image * x).sum()] / image.sum(), [row["y"], row["x"]], atol=5e-3)


def test_sources_of_two_components_have_color_gradients_and_others_have_not(cube):
    table, images = truth(ROOT / "data")
    g, z = BANDS.index("g"), BANDS.index("z")
    for image, kind in zip(images, table["kind"], strict=True):
        # seen through both PSFs, images of one color have one shape
        both = [fftconvolve(image[one], cube.psf.image[other], mode="same") for one, other in ((g, z), (z, g))]
        shapes = [seen / seen.sum() for seen in both]
        assert (np.abs(shapes[0] - shapes[1]).sum() > 0.02) == (kind == "two-component")


def test_one_pair_is_closer_than_the_seeing():
    table, _ = truth(ROOT / "data")
    distance = np.hypot(np.subtract.outer(table["y"], table["y"]), np.subtract.outer(table["x"], table["x"])) * 0.2
    distance = distance[np.triu_indices(len(table), 1)]
    seeing = [fits.getheader(ROOT / "data" / IMAGE, f"IMAGE_{band}")["SEEING"] for band in BANDS]
    assert (distance < min(seeing)).sum() == 1
    assert np.sort(distance)[1] > max(seeing)


def test_noise_is_what_the_variance_says(cube):
    _, images = truth(ROOT / "data")
    good = cube.weights > 0
    pull = ((cube.data - images.sum(axis=0)) / np.sqrt(cube.variance))[good]
    # 5 standard errors: 1/sqrt(n) for the mean, 1/sqrt(2n) for the standard deviation
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    assert abs(pull.std() - 1) < 5 / np.sqrt(2 * pull.size)


def test_the_same_seed_gives_the_same_bytes(made):
    for name in (IMAGE, PSF, IMAGES_OF_SOURCES, TABLE):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()


def test_the_shipped_files_are_those_of_the_script(made, cube):
    shipped, fresh = truth(ROOT / "data"), truth(made[0])
    # another version of GalSim may round otherwise
    np.testing.assert_allclose(fluxes(fresh[0]), fluxes(shipped[0]), rtol=1e-4)
    np.testing.assert_allclose(fresh[1], shipped[1], rtol=1e-3, atol=0.01)
    data = np.stack([fits.getdata(made[0] / IMAGE, f"IMAGE_{band}") for band in BANDS])
    assert np.nanmax(np.abs(data - cube.data) / np.sqrt(cube.variance)) < 0.05
