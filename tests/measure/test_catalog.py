"""The catalog: every number against the truth or its own module, flags by what causes them, and both file formats."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from astropy.wcs import WCS

from vermilion.datamodels import SceneSource
from vermilion.errors import ParameterError, ShapeError
from vermilion.measure import Flag, band_suffixes, build_catalog, colors, signal_to_noise
from vermilion.measure.flags import noise_limit


@pytest.fixture
def wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (
        ["RA---TAN", "DEC--TAN"],
        [150, 2.2],
        [20, 20],
        [-0.168 / 3600, 0.168 / 3600],
    )
    return wcs


def scene(make_truth, n_bands=3, *, seed=0, **options):
    truth = make_truth(n_bands, **options)
    data = truth.draw(np.random.default_rng(seed))
    return truth, data, truth.result(data)


def bit(catalog, flag):
    return ((catalog["flags"] & flag) > 0).tolist()


def test_the_catalog_says_where_what_and_how_bright(make_truth, wcs):
    truth, data, result = scene(make_truth)
    table = build_catalog(result, data, truth.weights, wcs=wcs, unit="nJy", zero_points=[31.4, 31.5, 31.6])
    assert table["id"].tolist() == [0, 1, 2]
    assert table["kind"].tolist() == ["point", "galaxy", "two-component"]
    np.testing.assert_allclose(u.Quantity([table["y"], table["x"]]).to_value(u.pix).T, [s.center for s in truth.sources])
    sky = wcs.pixel_to_world(table["x"].value, table["y"].value)
    np.testing.assert_allclose(table["ra"].to_value(u.deg), sky.ra.deg, rtol=1e-12)
    np.testing.assert_allclose(table["dec"].to_value(u.deg), sky.dec.deg, rtol=1e-12)
    np.testing.assert_allclose(table["ra_error"].to_value(u.arcsec), 0.168 * table["x_error"].value, rtol=1e-4)
    for b, band in enumerate("gri"):
        for name, values in (
            ("flux", result.fluxes),
            ("flux_error", result.flux_errors),
            ("signed_flux", result.signed_fluxes),
            ("signed_flux_error", result.signed_flux_errors),
        ):
            np.testing.assert_array_equal(table[f"{name}_{band}"].to_value(u.nJy), values[:, b])
        pull = (table[f"flux_{band}"].value - truth.fluxes[:, b]) / table[f"flux_error_{band}"].value
        assert np.abs(pull).max() < 4
        np.testing.assert_allclose(table[f"mag_{band}"].to_value(u.mag), 31.4 + 0.1 * b - 2.5 * np.log10(result.fluxes[:, b]))
        np.testing.assert_allclose(table[f"snr_{band}"], result.signed_fluxes[:, b] / result.signed_flux_errors[:, b])
    expected = colors(result.fluxes, result.flux_errors, zero_points=[31.4, 31.5, 31.6])
    np.testing.assert_allclose(table["color_g_r"].value, table["mag_g"].value - table["mag_r"].value)
    np.testing.assert_allclose(table["color_error_r_i"].value, expected.errors[:, 1])
    np.testing.assert_allclose(table["color_covariance_g_r_i"].value, expected.covariance[:, 0, 1])
    np.testing.assert_allclose(table["ratio_g_r"], result.fluxes[:, 0] / result.fluxes[:, 1])
    np.testing.assert_allclose(table["half_light_radius"].to_value(u.pix), [0, 1.1774 * 3 * 0.5**0.5, 1.1774 * 2 * 0.8**0.5], rtol=0.03)
    np.testing.assert_allclose(table["major_axis_sky"].to_value(u.arcsec), [0, 0.168 * 1.1774 * 3, 0.168 * 1.1774 * 2], rtol=0.03)
    np.testing.assert_allclose(table["half_light_radius_sky"].to_value(u.arcsec), 0.168 * table["half_light_radius"].value, rtol=1e-4)
    np.testing.assert_allclose(table["axis_ratio"], [np.nan, 0.5, 0.8], rtol=0.02)
    np.testing.assert_allclose(table["angle"].to_value(u.deg), [np.nan, 30, 100], atol=0.5)
    np.testing.assert_allclose(table["position_angle"].to_value(u.deg), [np.nan, 120, 10], atol=0.5)
    np.testing.assert_allclose(table["chi2_datum"], 1, atol=0.5)
    assert (table["flags"] & ~(Flag.BAD_PIXELS | Flag.NO_DATA_AT_CENTER) == 0).all()
    assert all(table[name].info.description for name in table.colnames)


def test_pulls_of_the_columns_are_normal_over_many_draws(make_truth):
    pulls = []
    for seed in range(24):
        truth, data, result = scene(make_truth, 2, seed=seed, flux=400.0)
        table = build_catalog(result, data, truth.weights)
        pulls.append([(table[f"flux_{b}"] - f) / table[f"flux_error_{b}"] for b, f in zip("gr", truth.fluxes.T, strict=True)])
        pulls[-1].append((table["x_centroid"] - table["x"]) / table["x_error"])
        true = -2.5 * np.log10(truth.fluxes[:, 0] / truth.fluxes[:, 1])
        pulls[-1].append((table["color_g_r"].value - true) / table["color_error_g_r"].value)
    pulls = np.array(pulls, dtype=float)
    assert np.abs(pulls.mean(axis=(0, 2))).max() < 0.45
    np.testing.assert_allclose(pulls.std(axis=(0, 2)), 1, atol=0.25)


def test_the_same_input_gives_the_same_bytes_and_is_not_changed(make_truth, tmp_path, wcs):
    truth, data, result = scene(make_truth)
    before = [x.copy() for x in (data, truth.weights, result.models, result.fluxes)]
    for name in ("one", "two"):
        build_catalog(result, data, truth.weights, wcs=wcs).write(tmp_path / name, format="ascii.ecsv")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    for one, two in zip(before, (data, truth.weights, result.models, result.fluxes), strict=True):
        np.testing.assert_array_equal(one, two)


def full_table(make_truth, wcs, unit, n_sources=3):
    """A catalog with NaN, inf, probabilities and band names that FITS does not take."""
    truth, data, result = scene(make_truth, flux=2.0)
    keep = slice(0, n_sources)
    sources = [replace(s, probabilities={"point": 0.25, "two-component": 0.75} if k != 1 else {}) for k, s in enumerate(truth.sources)]
    signed_errors = result.signed_flux_errors.copy()
    signed_errors[0, 0] = np.inf
    result = replace(
        result,
        sources=tuple(sources[keep]),
        models=result.models[keep],
        fluxes=result.fluxes[keep],
        flux_errors=result.flux_errors[keep],
        signed_fluxes=result.signed_fluxes[keep],
        signed_flux_errors=signed_errors[keep],
    )
    return build_catalog(result, data, truth.weights, wcs=wcs, bands=("HSC-G", "i'", "F814W"), unit=unit, zero_points=27)


@pytest.mark.parametrize(
    ("form", "unit", "n_sources"),
    [
        ("ecsv", "nJy", 3),
        ("ecsv", "nmgy", 1),
        ("ecsv", None, 0),
        ("fits", "nJy", 3),
        ("fits", "erg / (s cm2 Angstrom)", 1),
        ("fits", "nmgy", 3),
        ("fits", "ct / s", 0),
        ("fits", None, 3),
    ],
)
def test_files_keep_everything(make_truth, tmp_path, wcs, unit, form, n_sources):
    table = full_table(make_truth, wcs, unit, n_sources)
    if n_sources == 3:
        assert "flux_HSC_G" in table.colnames
        assert np.isnan(table["probability_point"][1])
        assert np.isinf(table["signed_flux_error_HSC_G"][0])
        assert any(np.isnan(np.asarray(table[name].value, dtype=float)).any() for name in table.colnames if name.startswith("flux_error"))
    path = tmp_path / f"catalog.{form}"
    with warnings.catch_warnings():
        if unit == "nmgy" and form == "fits":
            warnings.filterwarnings("ignore", message=".*could not be saved in native FITS format")
        table.write(path, format="ascii.ecsv" if form == "ecsv" else "fits")
    options = {"format": "ascii.ecsv"} if form == "ecsv" else {"format": "fits", "mask_invalid": False}
    back = QTable.read(path, **options)
    assert back.colnames == table.colnames
    assert dict(back.meta) == table.meta
    for name in table.colnames:
        assert back[name].unit == table[name].unit, name
        assert back[name].info.description == table[name].info.description
        if name == "kind":
            assert [str(x) for x in back[name]] == table[name].tolist()
        else:
            assert back[name].dtype.newbyteorder("=") == table[name].dtype
            np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(table[name]))


@pytest.mark.parametrize(
    ("bands", "suffixes"),
    [
        (("g", "r"), ("g", "r")),
        (("HSC-G", "u*", " F814W "), ("HSC_G", "u", "F814W")),
        (("r", "R"), ("1", "2")),
        (("g", "error_g"), ("1", "2")),
        (("", "g"), ("1", "2")),
        (("a", "b_c", "a_b", "c"), ("1", "2", "3", "4")),
        (("ä", "ö"), ("1", "2")),
        ((), ()),
    ],
)
def test_band_names_become_names_that_fits_takes(bands, suffixes):
    assert band_suffixes(bands) == suffixes


def test_a_single_band_and_no_unit(make_truth):
    truth, data, result = scene(make_truth, 1)
    table = build_catalog(result, data, truth.weights)
    assert not [name for name in table.colnames if name.startswith(("color", "ratio", "mag", "ra", "position"))]
    assert table["flux_g"].unit is None
    assert not any(bit(table, Flag.NO_COLOR))


def test_the_light_that_belongs_to_nobody_is_told(make_truth):
    truth, data, result = scene(make_truth)
    models = result.models.copy()
    models[..., :4] = 0
    table = build_catalog(replace(result, models=models), data, truth.weights)
    for b in range(3):
        assert table.meta[f"REST{b + 1}"] == pytest.approx(np.nansum(data[b, :, :4]))
    assert [table.meta[f"FLAG{i}"].split(" ")[0] for i in range(len(Flag))] == [flag.name for flag in Flag]


def test_flags_by_what_causes_them(make_truth):
    truth, _, _ = scene(make_truth, bad=0)
    data = truth.models.sum(axis=0)
    plain = truth.result(data)
    assert build_catalog(plain, data, truth.weights)["flags"].tolist() == [0, 0, 0]

    blind = truth.weights.copy()
    blind[0, 14:17, 14:16] = 0
    table = build_catalog(plain, data, blind)
    assert bit(table, Flag.BAD_PIXELS) == [True, False, False]
    assert bit(table, Flag.NO_DATA_AT_CENTER) == [True, False, False]
    assert table["bad_light_g"][0] > 0.3 > table["bad_light_r"][0]

    saturated = np.zeros(truth.weights.shape, dtype=bool)
    saturated[1, 30, 24] = True
    assert bit(build_catalog(plain, data, truth.weights, saturated=saturated), Flag.SATURATED) == [False, False, True]

    signed = plain.signed_fluxes.copy()
    signed[1, 2] = -4 * plain.signed_flux_errors[1, 2]
    signed[2] = 0
    table = build_catalog(replace(plain, signed_fluxes=signed), data, truth.weights)
    assert bit(table, Flag.NEGATIVE_FLUX) == [False, True, False]
    assert bit(table, Flag.BELOW_NOISE) == [False, False, True]

    undecided = (replace(plain.sources[0], kind="undecided"), *plain.sources[1:])
    assert bit(build_catalog(replace(plain, sources=undecided), data, truth.weights), Flag.UNDECIDED_TYPE) == [True, False, False]

    dark = plain.fluxes.copy()
    dark[0, 1] = 0
    assert bit(build_catalog(replace(plain, fluxes=dark), data, truth.weights), Flag.NO_COLOR) == [True, False, False]

    far = np.roll(data, 3, axis=1)
    assert any(bit(build_catalog(plain, far, truth.weights), Flag.OFF_CENTER))

    cut = replace(plain.sources[1], morphologies=plain.sources[1].morphologies[:, 12:19, 12:19])
    table = build_catalog(replace(plain, sources=(plain.sources[0], cut, plain.sources[2])), data, truth.weights)
    assert bit(table, Flag.TRUNCATED) == [False, True, False]


def test_sources_at_the_edge_outside_and_on_top_of_each_other_are_flagged(make_truth):
    sources = [
        ("point", (1.0, 20.0), 0.0, 1.0, 0.0),
        ("point", (-60.0, 20.0), 0.0, 1.0, 0.0),
        ("galaxy", (25.0, 20.0), 2.0, 0.7, 0.0),
        ("galaxy", (25.0, 20.02), 2.0, 0.7, 0.0),
        ("point", (20.0, 35.0), 0.0, 1.0, 0.0),
    ]
    truth, data, result = scene(make_truth, sources=sources)
    table = build_catalog(result, data, truth.weights)
    assert bit(table, Flag.EDGE)[0]
    assert not bit(table, Flag.EDGE)[4]
    assert bit(table, Flag.NO_DATA_AT_CENTER)[1]
    assert bit(table, Flag.NOT_MEASURED) == [False, True, False, False, False]
    assert bit(table, Flag.BELOW_NOISE)[1]
    assert bit(table, Flag.OFF_CENTER)[1]
    assert np.isnan(table["signed_flux_g"][1])
    degenerate = bit(table, Flag.DEGENERATE)
    assert degenerate[2] or degenerate[3]
    assert not any(np.array(degenerate)[[0, 4]])


@pytest.mark.parametrize("n_bands", [1, 2, 5, 300])
def test_noise_is_called_a_detection_once_in_741(n_bands):
    draws = np.random.default_rng(0).normal(size=(30_000_000 // max(n_bands, 60) // 10, n_bands))
    _, total = signal_to_noise(draws, np.ones_like(draws))
    expected = 0.0013499 * len(draws)
    assert (total > noise_limit(n_bands)).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_empty_sky_is_below_the_noise(make_truth):
    truth, data, result = scene(make_truth, flux=0.0)
    assert bit(build_catalog(result, data, truth.weights), Flag.BELOW_NOISE) == [True] * 3


def test_a_sky_has_neither_shape_nor_place(make_truth):
    truth, data, result = scene(make_truth)
    flat = SceneSource(kind="sky", center=(19.5, 21.5), spectra=np.ones((3, 1)), morphologies=np.full((1, 40, 44), 1 / 1760), box=(0, 0))
    grown = {name: np.concatenate([getattr(result, name), np.ones((1, 3))]) for name in ("fluxes", "flux_errors", "signed_fluxes")}
    models = np.concatenate([result.models, np.full((1, 3, 40, 44), 1 / 1760)])
    errors = np.concatenate([result.signed_flux_errors, np.full((1, 3), 0.1)])
    result = replace(result, sources=(*result.sources, flat), models=models, signed_flux_errors=errors, **grown)
    table = build_catalog(result, data, truth.weights)
    assert np.isnan(table["half_light_radius"][3])
    assert np.isnan(table["x_centroid"][3])
    assert table["flags"][3] & (Flag.OFF_CENTER | Flag.EDGE | Flag.TRUNCATED | Flag.NO_DATA_AT_CENTER) == 0


def test_single_precision_and_its_units(make_truth):
    truth, data, result = scene(make_truth)
    names = ("models", "fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors")
    single = replace(result, **{name: getattr(result, name).astype(np.float32) for name in names})
    table = build_catalog(single, data.astype(np.float32), truth.weights.astype(np.float32), unit=["nJy", "uJy", "nJy"])
    expected = build_catalog(result, data, truth.weights)
    assert table["flux_r"].unit == u.uJy
    assert table["flux_r"].dtype == np.float64
    for name in ("x_centroid", "blendedness", "color_g_r", "chi2_datum"):
        np.testing.assert_allclose(u.Quantity(table[name]).value, u.Quantity(expected[name]).value, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_unit_changes_fluxes_only(make_truth, scale):
    truth, data, result = scene(make_truth)
    names = ("models", "fluxes", "flux_errors", "signed_fluxes", "signed_flux_errors")
    scaled = replace(result, **{name: scale * getattr(result, name) for name in names})
    one, two = build_catalog(result, data, truth.weights), build_catalog(scaled, scale * data, truth.weights / scale**2)
    for name in one.colnames:
        if name == "kind":
            continue
        factor = scale if "flux" in name else 1.0
        np.testing.assert_allclose(u.Quantity(two[name]).value / factor, u.Quantity(one[name]).value, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"bands": ("g",)}, ShapeError, "one per band with bands="),
        ({"unit": ["nJy", "nJy"]}, ShapeError, "give one, or one per band"),
        ({"zero_points": [25.0, 26.0]}, ShapeError, "expected one number or 3"),
        ({"saturated": np.zeros((40, 44), dtype=bool)}, ShapeError, "saturated has shape"),
        ({"zero_points": np.nan}, ParameterError, "not finite"),
    ],
)
def test_input_that_makes_no_sense_is_refused(make_truth, options, error, text):
    truth, data, result = scene(make_truth)
    with pytest.raises(error, match=text):
        build_catalog(result, data, truth.weights, **options)
