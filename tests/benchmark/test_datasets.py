"""The registry: checksums, missing files, the order of pixels, what changes with the seed."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import scipy.io

from vermilion.benchmark import datasets
from vermilion.benchmark.datasets import DATASETS, GROUPS, DataFile, find_file, load, resolve
from vermilion.errors import CorruptFileError, InputWarning, MissingFileError, ParameterError


def needs(name, folder):
    absent = [file.name for file in DATASETS[name].files if find_file(file, folder) is None]
    if absent:
        pytest.skip(f"{absent} not there: {DATASETS[name].origin}")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Function that puts a file under the name of a data set's own, and its checksum into the registry if wanted."""

    def put(name, *, registered, **arrays):
        path = tmp_path / DATASETS[name].files[0].name
        (scipy.io.savemat if path.suffix == ".mat" else lambda p, a: np.savez(p, **a))(path, arrays)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        file = DataFile(path.name, digest if registered else "0" * 64)
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], files=(file,)))
        return tmp_path, digest

    return put


def test_every_data_set_says_where_it_comes_from():
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert all((dataset.version, dataset.truth, dataset.reference, dataset.pixel_order, dataset.origin))
        assert all(len(file.sha256) == 64 for file in dataset.files)


def test_groups_hold_data_sets_and_all_holds_all():
    assert set(GROUPS["all"]) == set(DATASETS)
    assert {name for members in GROUPS.values() for name in members} == set(DATASETS)
    assert resolve(["standard", "moffett", "sim1-30dB"]) == list(GROUPS["standard"])
    with pytest.raises(ParameterError, match="there is no data set 'samson-zu': did you mean 'samson-zhu'"):
        resolve(["samson-zu"])
    with pytest.raises(ParameterError, match="there is no data set '5': expected one of standard, real"):
        resolve(["5"])


def test_a_missing_file_is_refused_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    with pytest.raises(MissingFileError, match=r"sim1-30dB needs sim1_clean.npz: name the folder .* with --data"):
        load("sim1-30dB")
    with pytest.raises(MissingFileError, match="moffett"):
        load("moffett", data=tmp_path)


def test_the_folder_may_come_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "hsi").mkdir()
    (tmp_path / "hsi" / "moffett.npz").write_bytes(b"x")
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path))
    assert find_file(DATASETS["moffett"].files[0]) == tmp_path / "hsi" / "moffett.npz"


def test_another_version_is_refused_with_both_sums_or_taken_with_a_warning(own):
    arrays = {"Y": np.ones((5, 3, 4)), "M": np.ones((5, 2)), "A": np.full((2, 3, 4), 0.5)}
    folder, digest = own("moffett", registered=False, **arrays)
    with pytest.raises(CorruptFileError, match=f"{digest}.*{'0' * 64}.*--any-version"):
        load("moffett", data=folder)
    with pytest.warns(InputWarning, match="another version"):
        scene = load("moffett", data=folder, any_version=True)
    assert scene.sha256 == {"moffett.npz": digest}
    assert scene.data.shape == (5, 3, 4)


def test_a_file_without_what_it_should_hold_is_refused(own):
    folder, _ = own("moffett", registered=True, Y=np.ones((5, 3, 4)))
    with pytest.raises(CorruptFileError, match="do not hold what they should"):
        load("moffett", data=folder)


def test_pixels_of_matlab_files_run_down_the_columns(own):
    n_y, n_x = 3, 4
    image = np.arange(2 * n_y * n_x, dtype=float).reshape(2, n_y, n_x)  # band, y, x
    by_column = image.transpose(0, 2, 1).reshape(2, -1)
    folder, _ = own("samson-zhu", registered=True, V=by_column, A=by_column, M=np.eye(2), nRow=n_y, nCol=n_x)
    scene = load("samson-zhu", data=folder)
    np.testing.assert_array_equal(scene.data, image)
    np.testing.assert_array_equal(scene.abundances, image)


def test_counts_are_divided_by_what_the_file_says(own):
    Y = np.arange(12.0).reshape(2, 6)
    folder, _ = own("jasper-zhu", registered=True, Y=Y, A=Y, M=np.eye(2), nRow=2, nCol=3, maxValue=5000.0)
    assert load("jasper-zhu", data=folder).data.max() == pytest.approx(11 / 5000)


def test_noise_changes_with_the_seed_and_not_with_what_is_missing(own):
    rng = np.random.default_rng(0)
    A, S = rng.random((20, 3)), rng.dirichlet(np.ones(3), size=30).T.reshape(3, 5, 6)
    Y = np.einsum("bk,kyx->byx", A, S)
    folder, _ = own("sim1-30dB", registered=True, Y=Y, M=A, A=S)
    for name in ("sim1-30dB-missing", "sim1-30dB-blocks"):
        own(name, registered=True, Y=Y, M=A, A=S)
    first, other = (load("sim1-30dB", data=folder, seed=seed) for seed in (0, 1))
    assert not np.allclose(first.data, other.data)
    assert 10 * np.log10(np.mean(Y**2) / np.mean((first.data - Y) ** 2)) == pytest.approx(30, abs=1)
    for name, share in (("sim1-30dB-missing", 0.2), ("sim1-30dB-blocks", 0.1)):
        scene = load(name, data=folder, seed=0)
        gone = np.isnan(scene.data)
        np.testing.assert_array_equal(scene.data[~gone], first.data[~gone])
        np.testing.assert_array_equal(scene.weights, ~gone)
        assert gone.mean() == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("name", GROUPS["simulated"][::7])
def test_simulated_scenes_are_what_their_name_says(name):
    scene = load(name, seed=1)
    n_endmembers, purity, snr, noise = name.split("-")
    assert scene.n_endmembers == len(scene.abundances) == scene.spectra.shape[1] == int(n_endmembers[1:])
    assert scene.abundances.max() == pytest.approx(1 if purity == "pure" else 0.8)
    assert f"SNR {snr[:-2]} dB, {noise} noise" in scene.description
    model = np.einsum("bk,kyx->byx", scene.spectra, scene.abundances)
    assert 10 * np.log10(np.mean(model**2) / np.mean((scene.data - model) ** 2)) == pytest.approx(int(snr[:-2]), abs=0.1)


def test_samson_in_the_wheel_and_in_the_folder_are_the_same_image(real_data):
    for name in ("samson-zhu", "samson-rasti"):
        needs(name, real_data)
    wheel, folder = (load(name, data=real_data) for name in ("samson-zhu", "samson-rasti"))
    np.testing.assert_allclose(wheel.data, folder.data, atol=1e-6)
    with np.load(find_file(DATASETS["samson-rasti"].files[0], real_data)) as arrays:
        np.testing.assert_allclose(wheel.abundances, arrays["A_zhu"], atol=1e-6)
        np.testing.assert_array_equal(wheel.spectra, arrays["M_zhu"])


def test_moffett_in_the_wheel_runs_as_in_the_folder(real_data):
    for name in ("moffett", "moffett-159"):
        needs(name, real_data)
    left, right = (load(name, data=real_data).data.mean(axis=0).ravel() for name in ("moffett", "moffett-159"))
    assert np.corrcoef(left, right)[0, 1] > 0.9  # transposed they are anticorrelated


@pytest.mark.parametrize("name", ["sim1-40dB", "dc1-40dB"])
def test_the_clean_scenes_are_the_product_of_their_truth(real_data, name):
    needs(name, real_data)
    scene = load(name, data=real_data)
    model = np.einsum("bk,kyx->byx", scene.spectra, scene.abundances)
    assert 10 * np.log10(np.mean(model**2) / np.mean((scene.data - model) ** 2)) == pytest.approx(40, abs=0.05)
