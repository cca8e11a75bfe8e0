"""The sample cube: what the shipped files promise, and that the script makes the same ones again."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from vermilion.diagnose.match import spectral_angle

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "make_sample_data.py"
CUBE, TRUTH = "sample_cube.fits", "sample_truth.fits"


def arrays(folder):
    """Data, variance, shapes (B, K), maps (K, Ny, Nx) in float64."""
    with fits.open(folder / CUBE) as cube, fits.open(folder / TRUTH) as truth:
        data, variance, maps = (hdu.data.astype("f8") for hdu in (cube["DATA"], cube["STAT"], truth["MAPS"]))
        table = truth["SPECTRA"].data
        shapes = np.stack([table[f"shape_{k}"].astype("f8") for k in range(len(maps))], axis=1)
    return data, variance, shapes, maps


@pytest.fixture(scope="module")
def shipped():
    return arrays(ROOT / "data")


@pytest.fixture(scope="module")
def model(shipped):
    return np.einsum("bk,kyx->byx", *shipped[2:])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders by (seed, attempt), made with the script."""
    if find_spec("galsim") is None:
        pytest.skip("GalSim is not installed: pip install 'vermilion[sim]'")
    folders = {}
    for seed, attempt in ((1, "first"), (1, "second"), (2, "first")):
        folders[seed, attempt] = tmp_path_factory.mktemp(f"seed{seed}")
        command = [sys.executable, str(SCRIPT), "--only", "cube", "--seed", str(seed), "--output", str(folders[seed, attempt])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(folders[seed, attempt] / name) for name in (CUBE, TRUTH)]
    return folders


def test_files_are_small_and_intact():
    for name in (CUBE, TRUTH):
        assert (ROOT / "data" / name).stat().st_size <= 5e6
        with fits.open(ROOT / "data" / name, checksum=True) as file:  # a wrong checksum is a warning, and warnings are errors
            file.verify("exception")
            assert all("CHECKSUM" in hdu.header for hdu in file)


def test_cube_has_the_layout_of_muse():
    with fits.open(ROOT / "data" / CUBE) as file:
        assert [hdu.name for hdu in file] == ["PRIMARY", "DATA", "STAT"]
        assert file[0].header["INSTRUME"] == "MUSE"
        assert file["DATA"].data.shape == file["STAT"].data.shape == (250, 40, 40)
        assert file["DATA"].header["BITPIX"] == file["STAT"].header["BITPIX"] == -32
        assert file["DATA"].header["BUNIT"] == "10**(-20)*erg/s/cm**2/Angstrom"
        assert file["STAT"].header["BUNIT"] == f"({file['DATA'].header['BUNIT']})**2"
        wcs = WCS(file["DATA"].header)
        assert list(wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN", "AWAV"]
        assert wcs.wcs.has_cd()
        assert wcs.proj_plane_pixel_scales()[0].to_value("arcsec") == pytest.approx(0.2)
        with fits.open(ROOT / "data" / TRUTH) as truth:
            wavelength = wcs.spectral.pixel_to_world(np.arange(250)).to_value("Angstrom")
            np.testing.assert_allclose(truth["SPECTRA"].data["wavelength"], wavelength, rtol=1e-12)


def test_truth_has_the_layout_of_components(shipped):
    _, _, shapes, maps = shipped
    assert shapes.shape == (250, 4)
    assert maps.shape == (4, 40, 40)
    assert (maps >= 0).all()
    np.testing.assert_allclose(shapes.sum(axis=0), 1, rtol=1e-12)
    with fits.open(ROOT / "data" / TRUTH) as file:
        fluxes = np.stack([file["SPECTRA"].data[f"flux_{k}"] for k in range(4)], axis=1)
        names = [file[0].header[f"NAME{k}"] for k in range(4)]
    np.testing.assert_allclose(fluxes, shapes * maps.sum(axis=(1, 2)), rtol=1e-6)  # maps are kept in float32
    assert len(set(names)) == 4


def test_every_pair_of_spectra_differs(shipped):
    angles = [spectral_angle(a, b) for a, b in combinations(shipped[2].T, 2)]
    assert min(angles) >= 0.15


def test_every_component_is_nearly_alone_somewhere(shipped):
    _, _, shapes, maps = shipped
    assert ((maps / maps.sum(axis=0)).max(axis=(1, 2)) > 0.95).all()
    # flux in the brightest band of the ring, where it is brightest: the galaxies behind it do not matter
    ring = np.einsum("k,kyx->kyx", shapes[shapes[:, 3].argmax()], maps)
    assert (ring[3] / ring.sum(axis=0)).max() > 0.99


def test_best_voxel_has_the_signal_to_noise_announced(shipped, model):
    ratio = model / np.sqrt(shipped[1])
    with fits.open(ROOT / "data" / CUBE) as file:
        assert file[0].header["PEAKSNR"] == 300
    assert np.nanmax(ratio) == pytest.approx(300, rel=0.01)
    at_peaks = [np.nanmax(ratio[:, image == image.max()]) for image in shipped[3]]
    assert min(at_peaks) > 200


def test_noise_is_signed_and_what_the_variance_says(shipped, model):
    data, variance, _, _ = shipped
    pull = ((data - model) / np.sqrt(variance))[np.isfinite(data)]
    # 5 standard errors: 1/sqrt(n) for the mean, 1/sqrt(2n) for the standard deviation
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    assert abs(pull.std() - 1) < 5 / np.sqrt(2 * pull.size)
    assert np.count_nonzero(data < 0) > 0.005 * data.size


def test_noise_differs_between_bands_and_pixels(shipped):
    variance = shipped[1]
    variance = variance[~np.isnan(variance).all(axis=(1, 2))][:, ~np.isnan(variance).all(axis=0)]
    for axis in (0, 1):
        typical = np.median(variance, axis=axis)
        assert typical.max() > 4 * typical.min()


def test_one_band_and_a_few_spaxels_are_dead(shipped):
    data, variance, _, _ = shipped
    assert (np.isnan(data) == np.isnan(variance)).all()
    absent = np.isnan(data)
    assert np.count_nonzero(absent.all(axis=(1, 2))) == 1
    assert 3 <= np.count_nonzero(absent.all(axis=0)) <= 10
    assert (absent == (absent.all(axis=(1, 2))[:, None, None] | absent.all(axis=0))).all()


def test_the_same_seed_gives_the_same_bytes(made):
    for name in (CUBE, TRUTH):
        assert (made[1, "first"] / name).read_bytes() == (made[1, "second"] / name).read_bytes()


def test_another_seed_changes_the_noise_alone(made):
    data, variance, shapes, maps = arrays(made[1, "first"])
    others = arrays(made[2, "first"])
    assert np.nanstd((data - others[0]) / np.sqrt(variance)) == pytest.approx(np.sqrt(2), rel=0.01)
    for ours, theirs in zip((variance, shapes, maps), others[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_shipped_files_are_those_of_the_script(made, shipped):
    sigma = np.sqrt(shipped[1])
    fresh = arrays(made[1, "first"])
    # another version of GalSim may round otherwise
    assert np.nanmax(np.abs(fresh[0] - shipped[0]) / sigma) < 0.01
    np.testing.assert_allclose(fresh[2], shipped[2], rtol=1e-4)


def test_script_says_what_is_missing_without_galsim(tmp_path):
    code = (
        f"import runpy, sys; sys.modules['galsim'] = None; sys.argv[1:] = ['--output', {str(tmp_path)!r}]; runpy.run_path({str(SCRIPT)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "GalSim is not installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
