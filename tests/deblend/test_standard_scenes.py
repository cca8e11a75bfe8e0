"""The simulations that other deblenders are judged by; skipped without the real data."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from vermilion.deblend import deblend

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "scenes.py"


@pytest.fixture(scope="module")
def scenes():
    spec = importlib.util.spec_from_file_location("standard_scenes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["standard_scenes"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["standard_scenes"]


@pytest.mark.parametrize(("name", "bound"), [("unmatched", 0.07), ("matched", 0.10)])
def test_flux_goes_to_the_source_it_came_from(scenes, real_data, name, bound):
    folder = real_data / "broadband"
    if not (folder / f"scarlet_psf_{name}_sim.npz").is_file():
        pytest.skip("the simulations of scarlet are not there")
    scene = scenes.scarlet_simulation(name, folder)
    found = deblend(scene.images, weights=scene.weights, psf=scene.psfs, catalog=scene.centers)
    # the true images end at the edge of the frame, and so do the models
    truth, fluxes = scene.truths.sum(axis=(2, 3)), found.models.sum(axis=(2, 3))
    misattributed = np.abs(fluxes - truth).sum(axis=0) / truth.sum(axis=0)
    assert np.all(misattributed <= bound), misattributed
    assert [source.kind == "point" for source in found.sources] == list(scene.stars)
