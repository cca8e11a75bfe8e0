from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vermilion.datamodels import Cube, History, Result, Status
from vermilion.diagnose import residual as module
from vermilion.diagnose.residual import reduced_chi_square, residual_statistics, white_light
from vermilion.errors import ParameterError, ShapeError


def make_result(spectra: np.ndarray, maps: np.ndarray) -> Result:
    return Result(spectra=spectra, morphologies=maps, status=Status.CONVERGED, history=History())


def noisy(*, n_bands: int = 30, shape: tuple[int, int] = (20, 25), sigma: float = 0.3, **changes: Any) -> tuple[Result, Cube]:
    rng = np.random.default_rng(11)
    spectra, maps = rng.uniform(0, 1, (n_bands, 2)), rng.uniform(0, 4, (2, *shape))
    data = np.einsum("bk,kyx->byx", spectra, maps) + sigma * rng.normal(size=(n_bands, *shape))
    variance = np.full(data.shape, sigma**2)
    return make_result(spectra, maps), Cube(data, **{"variance": variance, **changes})


def by_hand() -> tuple[Result, Cube]:
    """Two bands, two pixels, model 1 everywhere; residuals (2, -1) with sigma 1 and (3, absent) with sigma 2."""
    data = np.array([[[3.0, 0.0]], [[4.0, np.nan]]])
    variance = np.array([[[1.0, 1.0]], [[4.0, 4.0]]])
    return make_result(np.ones((2, 1)), np.ones((1, 1, 2))), Cube(data, variance=variance)


def test_residuals_of_the_true_model_scatter_as_the_variances_say() -> None:
    statistics = residual_statistics(*noisy())
    # The rms of 500 normal numbers scatters by 1/sqrt(1000) = 0.032, its robust version by 0.052.
    assert np.allclose(statistics.rms, 1, atol=5 * 0.032)
    assert np.allclose(statistics.robust, 1, atol=5 * 0.052)
    assert np.allclose(statistics.rms_flux, 0.3 * statistics.rms)
    # The true model is not fitted: chi-square of 15000 voxels scatters by sqrt(30000).
    assert abs(statistics.chi_square - 15000) < 5 * np.sqrt(30000)


def test_statistics_agree_with_numbers_worked_out_by_hand() -> None:
    statistics = residual_statistics(*by_hand())
    assert np.allclose(statistics.rms, [np.sqrt((4 + 1) / 2), 3 / 2])
    assert np.allclose(statistics.rms_flux, [np.sqrt((4 + 1) / 2), 3])
    # The median of (2, -1) is 0.5 and both are 1.5 away from it.
    assert np.allclose(statistics.robust, [1.4826022 * 1.5, 0])
    assert statistics.n_voxels.tolist() == [2, 1]
    assert statistics.chi_square == pytest.approx(4 + 1 + 9 / 4)
    # One component, two bands, two pixels: 1 × (2 + 2 - 1) = 3 free numbers for 3 voxels.
    assert statistics.degrees_of_freedom == 0
    assert np.isnan(statistics.reduced_chi_square)


def test_white_light_is_the_mean_of_the_voxels_with_weight() -> None:
    white = white_light(*by_hand())
    assert white.data.tolist() == [[3.5, 0.0]]
    assert white.model.tolist() == [[1.0, 1.0]]
    assert white.residual.tolist() == [[2.5, -1.0]]
    assert np.allclose(white.sigma, [[np.sqrt(1 + 4) / 2, 1.0]])


def test_white_light_as_sum_and_as_weighted_mean_agree_with_numbers_by_hand() -> None:
    summed = white_light(*by_hand(), combine="sum")
    assert summed.data.tolist() == [[7.0, 0.0]]
    assert np.allclose(summed.sigma, [[np.sqrt(5), 1.0]])
    weighted = white_light(*by_hand(), combine="weighted")
    assert np.allclose(weighted.data, [[(3 + 4 / 4) / (1 + 1 / 4), 0.0]])
    assert np.allclose(weighted.sigma, [[1 / np.sqrt(1.25), 1.0]])


def test_data_minus_model_is_the_residual_for_every_combination() -> None:
    result, cube = noisy()
    for combine in ("mean", "sum", "weighted"):
        white = white_light(result, cube, combine=combine)
        assert np.allclose(white.data - white.model, white.residual)
        assert 0.9 < np.std(white.residual / white.sigma) < 1.1


def test_the_size_of_the_tiles_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    result, cube = noisy()
    whole, image = residual_statistics(result, cube), white_light(result, cube)
    monkeypatch.setattr(module, "TILE_VOXELS", 1100)  # two bands of 500 pixels
    assert np.allclose(residual_statistics(result, cube).rms, whole.rms, rtol=1e-12)
    assert np.allclose(white_light(result, cube).data, image.data, rtol=1e-12)


def test_absent_voxels_count_in_none_of_the_images() -> None:
    result, cube = noisy()
    mask = np.zeros(cube.data.shape, dtype=bool)
    mask[:, 3, 4] = True
    mask[7] = True
    hurt = cube.data.copy()
    hurt[mask] = 1e30
    hurt[2, 0, 0] = np.nan
    maps = result.morphologies.copy()
    maps[:, 3, 4] = np.nan
    spectra = result.spectra.copy()
    spectra[7] = np.nan
    hurt_result, hurt_cube = make_result(spectra, maps), Cube(hurt, variance=cube.variance, mask=mask)
    white, statistics = white_light(hurt_result, hurt_cube), residual_statistics(hurt_result, hurt_cube)
    assert np.isnan([image[3, 4] for image in (white.data, white.model, white.residual)]).all()
    assert np.count_nonzero(np.isnan(white.residual)) == 1
    assert np.isnan([statistics.rms[7], statistics.robust[7], statistics.rms_flux[7]]).all()
    assert statistics.n_voxels[7] == 0
    assert statistics.n_voxels[2] == 20 * 25 - 2
    assert statistics.n_free == 2 * (29 + 499 - 2)


def test_a_cube_without_variance_has_scatter_in_flux_only() -> None:
    result, cube = noisy(variance=None)
    statistics = residual_statistics(result, cube)
    assert statistics.rms is None
    assert statistics.robust is None
    assert np.allclose(statistics.rms_flux, 0.3, atol=5 * 0.3 * 0.032)
    assert np.isnan(reduced_chi_square(result, cube))
    assert white_light(result, cube).sigma is None


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_units_change_fluxes_and_leave_ratios_alone(scale: float) -> None:
    result, cube = noisy()
    scaled = make_result(result.spectra, result.morphologies * scale)
    scaled_cube = Cube(cube.data * scale, variance=cube.variance * scale**2)
    before, after = residual_statistics(result, cube), residual_statistics(scaled, scaled_cube)
    assert np.allclose(after.rms, before.rms, rtol=1e-9)
    assert np.allclose(after.rms_flux / scale, before.rms_flux, rtol=1e-9)
    assert np.allclose(
        white_light(scaled, scaled_cube, combine="weighted").data / scale, white_light(result, cube, combine="weighted").data
    )


def test_a_single_outlier_moves_the_rms_and_not_the_robust_scatter() -> None:
    result, cube = noisy()
    hurt = cube.data.copy()
    hurt[4, 5, 6] += 100
    before, after = residual_statistics(result, cube), residual_statistics(result, Cube(hurt, variance=cube.variance))
    assert after.rms[4] > 10 * before.rms[4]
    assert after.robust[4] == pytest.approx(before.robust[4], rel=0.02)


def test_results_that_do_not_belong_to_the_cube_are_refused() -> None:
    result, cube = noisy()
    with pytest.raises(ShapeError, match=r"result has shape \(30, 500\), the cube \(30, 20, 25\).*Frame.to_image"):
        white_light(make_result(result.spectra, result.morphologies.reshape(2, -1)), cube)
    with pytest.raises(ShapeError, match="expected the cube that was fitted"):
        residual_statistics(make_result(result.spectra[:5], result.morphologies), cube)
    with pytest.raises(ParameterError, match="combine is 'median': expected 'mean', 'sum' or 'weighted'"):
        white_light(result, cube, combine="median")  # type: ignore[arg-type]
