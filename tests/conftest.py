"""What all tests share: one thread, the real data, the devices, and small problems with known factors."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread: sums in the same order on every machine, and no quarrel with other test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data():
    """Folder of real data, from VERMILION_TEST_DATA; tests that need it are skipped without it."""
    folder = Path(os.environ.get("VERMILION_TEST_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set VERMILION_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def sample_cube():
    """Path of the simulated sample cube that the repository carries."""
    return ROOT / "data" / "sample_cube.fits"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    """Name of a device; "cuda" is skipped where there is none."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture
def problem():
    """Function that draws data with known factors: Y, W, A (columns sum to 1), S, all float64."""

    def draw(n_bands=20, n_pixels=80, n_components=3, *, noise=0.01, seed=0):
        rng = np.random.default_rng(seed)
        A = rng.gamma(0.5, size=(n_bands, n_components))
        A /= A.sum(axis=0)
        S = 10 * rng.gamma(0.5, size=(n_components, n_pixels))
        sigma = noise * rng.uniform(0.5, 2.0, size=(n_bands, n_pixels))
        return A @ S + sigma * rng.normal(size=sigma.shape), 1 / np.maximum(sigma, 1e-6) ** 2, A, S

    return draw
