"""Cubes of radio telescopes: axes, polarizations, beams, and the noise that the files do not state."""

import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from vermilion.errors import AmbiguousInputError, MemoryLimitError, ParameterError, ShapeError
from vermilion.io import read

from .helpers import REAL_DATA, whys

PIXEL = 0.4  # arcsec
SKY = {"CTYPE1": "RA---SIN", "CRVAL1": 150.0, "CRPIX1": 20.0, "CDELT1": -PIXEL / 3600, "CUNIT1": "deg"} | {
    "CTYPE2": "DEC--SIN",
    "CRVAL2": -30.0,
    "CRPIX2": 15.0,
    "CDELT2": PIXEL / 3600,
    "CUNIT2": "deg",
}
FREQ = {"CTYPE3": "FREQ", "CRVAL3": 2.3e11, "CRPIX3": 1.0, "CDELT3": -1e6, "CUNIT3": "Hz", "RESTFRQ": 2.3e11}
BEAM = {"BMAJ": 2.4 / 3600, "BMIN": 1.6 / 3600, "BPA": 30.0}


def noise(shape, *, fwhm=4.0, sigma=1.0, seed=0):
    """Gaussian noise of known standard deviation, correlated over a round beam of `fwhm` pixels."""
    rng = np.random.default_rng(seed)
    ky, kx = np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2])[None]
    transfer = np.exp(-2 * np.pi**2 * (fwhm / 2.354820045) ** 2 * (kx**2 + ky**2))
    white = np.fft.fft2(rng.normal(size=shape))
    return np.fft.ifft2(white * transfer).real / np.sqrt((transfer**2).mean()) * np.reshape(sigma, (-1, 1, 1))


def emission(shape, *, share=0.3, peak=5.0, size=10.0, clouds=6, seed=1):
    """Clouds in `share` of the channels, none elsewhere."""
    rng = np.random.default_rng(seed)
    n_bands, n_y, n_x = shape
    count = round(share * n_bands)
    start = (n_bands - count) // 2
    y, x = np.mgrid[:n_y, :n_x]
    cube = np.zeros(shape)
    for _ in range(clouds):
        center = rng.uniform(0, count)
        profile = np.exp(-0.5 * ((np.arange(count) - center) / (count / 3)) ** 2)
        cloud = np.exp(-0.5 * ((y - rng.uniform(0, n_y)) ** 2 + (x - rng.uniform(0, n_x)) ** 2) / size**2)
        cube[start : start + count] += peak * profile[:, None, None] * cloud
    return cube


@pytest.fixture
def save(tmp_path):
    def write(data, *tables, name="cube.fits", history=(), **cards):
        header = fits.Header({**SKY, **FREQ, "BUNIT": "Jy/beam", **cards})
        for line in history:
            header.add_history(line)
        for key in [key for key, value in cards.items() if value is None]:
            del header[key]
        fits.HDUList([fits.PrimaryHDU(np.asarray(data, dtype="f4"), header), *tables]).writeto(tmp_path / name)
        return tmp_path / name

    return write


SMALL = noise((6, 30, 40))


# ---------------------------------------------------------------- axes and polarizations


@pytest.mark.parametrize("place", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["STOKES", ""])
def test_a_polarization_axis_stands_anywhere_or_has_no_name(save, place, kind):
    cards = {key: value for key, value in {**SKY, **FREQ}.items() if key[-1] in "123"}
    axes = [axis for axis in (1, 2, 3, 4) if axis != place]
    moved = {f"{key[:-1]}{axes[int(key[-1]) - 1]}": value for key, value in cards.items()}
    moved |= {f"CTYPE{place}": kind, f"CRVAL{place}": 1.0, f"CDELT{place}": 1.0, f"CRPIX{place}": 1.0, f"CUNIT{place}": ""}
    cube = read(save(np.expand_dims(SMALL, 4 - place), **moved))
    np.testing.assert_array_equal(cube.data, SMALL.astype("f4"))
    np.testing.assert_allclose(cube.frame.spectral_axis.value, 2.3e11 - 1e6 * np.arange(6))
    assert cube.frame.wcs.naxis == 3
    assert cube.frame.wcs.has_celestial


@pytest.mark.parametrize("axis", [3, 4])
def test_several_polarizations_are_refused_until_one_is_chosen(save, axis):
    spectral = {3: 4, 4: 3}[axis]
    cards = {f"{key[:-1]}{spectral}" if key[-1] == "3" else key: value for key, value in FREQ.items()}
    cards |= {f"CTYPE{axis}": "STOKES", f"CRVAL{axis}": 1.0, f"CDELT{axis}": 1.0, f"CRPIX{axis}": 1.0, f"CUNIT{axis}": ""}
    planes = np.stack([SMALL, 2 * SMALL, 3 * SMALL, 4 * SMALL], axis=4 - axis)
    path = save(planes, **cards)
    with pytest.raises(AmbiguousInputError, match="4 polarizations, I, Q, U, V: choose one with --variable I"):
        read(path)
    cube = read(path, variable="u")
    np.testing.assert_array_equal(cube.data, (3 * SMALL).astype("f4"))
    assert cube.frame.spectral_axis[1].value == pytest.approx(2.3e11 - 1e6)
    assert "Stokes U of I, Q, U, V" in whys(cube)
    with pytest.raises(ParameterError, match="expected one of I, Q, U, V"):
        read(path, variable="XX")


def test_linear_feeds_have_negative_numbers(save):
    planes = np.stack([SMALL, 2 * SMALL])
    path = save(planes, CTYPE4="STOKES", CRVAL4=-5.0, CDELT4=-1.0, CRPIX4=1.0)
    np.testing.assert_array_equal(read(path, variable="YY").data, (2 * SMALL).astype("f4"))


@pytest.mark.parametrize("cards", [{"CRVAL4": "x"}, {"CRVAL4": 1e300}, {"CRVAL4": 1.0, "CDELT4": 0.0}], ids=str)
def test_polarizations_that_the_header_does_not_name_are_numbered(save, cards):
    path = save(np.stack([SMALL, 2 * SMALL]), CTYPE4="STOKES", CRPIX4=1.0, **cards)
    with pytest.raises(AmbiguousInputError, match="2 polarizations, 1, 2: choose one with --variable 1"):
        read(path)
    np.testing.assert_array_equal(read(path, variable="2").data, (2 * SMALL).astype("f4"))


@pytest.mark.parametrize("form", ["gzip", "tiled", "scaled"])
def test_a_polarization_is_cut_out_of_a_compressed_or_scaled_file(save, tmp_path, form):
    planes = np.stack([SMALL, 2 * SMALL]).astype("f4")
    path = save(planes, CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0, name="cube.fits.gz" if form == "gzip" else "cube.fits")
    header = fits.getheader(path)
    tolerance = 0.0
    if form == "tiled":
        path, hdu = tmp_path / "cube.fits.fz", fits.CompImageHDU(planes, header, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    elif form == "scaled":
        hdu, tolerance = fits.PrimaryHDU(np.round(planes / 0.01).astype("i2"), header), 0.01
        hdu.header.update(BSCALE=0.01, BZERO=0.0)
        hdu.writeto(path, overwrite=True)
    np.testing.assert_allclose(read(path, variable="Q").data, planes[1], atol=tolerance)


def test_a_polarization_is_not_chosen_where_there_is_none(save):
    with pytest.raises(ParameterError, match="no STOKES axis"):
        read(save(SMALL), variable="I")


@pytest.mark.parametrize(
    ("ctype", "unit", "start", "step"),
    [
        ("FREQ", "Hz", 1.42e9, -1e3),
        ("FREQ", "GHz", 230.5, 1e-3),
        ("VRAD", "m/s", 5e4, -1e3),
        ("VRAD", "km/s", -20.0, 0.5),
        ("VOPT", "m/s", 2528.0, 66.4),
        ("VELO-LSR", "m/s", 7e3, -100.0),
        ("VELO", "m/s", 7e3, 100.0),
        ("FREQ-LSR", "Hz", 1.42e9, 1e3),
    ],
)
def test_a_spectral_axis_keeps_its_kind_unit_and_direction(save, ctype, unit, start, step):
    cube = read(save(SMALL, CTYPE3=ctype, CUNIT3=unit, CRVAL3=start, CDELT3=step))
    assert cube.meta["reader"] == "radio"
    assert cube.frame.spectral_axis.unit == u.Unit(unit)
    np.testing.assert_allclose(cube.frame.spectral_axis.value, start + step * np.arange(6), rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("JY/BEAM", u.Jy / u.beam), ("mJy/beam", u.mJy / u.beam), ("K", u.K), ("K (TMB)", u.K), ("K (Ta*)", u.K), ("mK (Tmb)", u.mK)],
)
def test_units_of_the_field_are_understood(save, text, unit):
    cube = read(save(SMALL, BUNIT=text))
    assert cube.frame.unit == unit
    assert cube.meta["reader"] == "radio"


@pytest.mark.parametrize(
    ("cards", "reader"),
    [
        ({"BUNIT": "1e-20 erg s-1 cm-2 Angstrom-1", "CTYPE3": "VRAD", "CUNIT3": "km/s", "CRVAL3": 0.0, "CDELT3": 1.0}, "generic"),
        ({"BUNIT": "1e-20 erg s-1 cm-2 Angstrom-1", "CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": 1.0, "CDELT3": 0.1}, "generic"),
        ({"BUNIT": None, "CTYPE3": "VOPT", "CUNIT3": "m/s", "CRVAL3": 0.0, "CDELT3": 1.0}, "radio"),
        ({"BUNIT": None, "CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": 1.0, "CDELT3": 0.1, "BMAJ": 1e-3}, "radio"),
    ],
)
def test_an_optical_cube_along_velocity_is_no_radio_cube(save, cards, reader):
    cube = read(save(SMALL, **cards))
    assert cube.meta["reader"] == reader
    assert (cube.variance is None) == (reader == "generic")


# ---------------------------------------------------------------- beams


def ellipse(header, shape, major, minor, angle):
    """Gaussian beam on the pixels by great circles: separation and position angle of each pixel from the central one."""
    sky = WCS(header).celestial
    y, x = np.mgrid[: shape[0], : shape[1]]
    points = sky.pixel_to_world(x, y)
    center = sky.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    distance, turn = center.separation(points).arcsec, center.position_angle(points).rad - np.radians(angle)
    return np.exp(-4 * np.log(2) * ((distance * np.cos(turn) / major) ** 2 + (distance * np.sin(turn) / minor) ** 2))


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"CDELT1": PIXEL / 3600},  # east is right
        {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        {"CROTA2": 25.0},
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 150.0, "CRVAL2": 0.0, "CRPIX2": -3000.0},
        {"CTYPE1": "RA---SFL", "CTYPE2": "DEC--SFL", "CRVAL2": 0.0, "CRPIX1": -800.0, "CRPIX2": -5000.0, "CRVAL1": 57.66},
    ],
    ids=["plain", "mirrored", "rotated", "crota", "galactic", "far"],
)
def test_the_image_of_the_beam_is_the_ellipse_on_the_sky(save, cards):
    path = save(np.zeros((2, 31, 41)) + noise((2, 31, 41)), **{**BEAM, **cards})
    cube = read(path)
    image = cube.psf.image[0].astype(float)
    half_y, half_x = (n // 2 for n in image.shape)
    expected = ellipse(fits.getheader(path), (31, 41), 2.4, 1.6, 30.0)[15 - half_y : 16 + half_y, 20 - half_x : 21 + half_x]
    np.testing.assert_allclose(image / image.max(), expected, atol=2e-3)
    assert image.sum() == pytest.approx(1)
    assert cube.meta["beam"]["area"] == pytest.approx(1 / image.max(), rel=2e-3)
    assert cube.psf.fwhm.to_value("arcsec") == pytest.approx(np.full(2, np.sqrt(2.4 * 1.6)))
    assert cube.meta["beam"]["pa"].to_value("deg") == 30


def beams_table(widths, unit="arcsec", first=0, polarizations=1, **changes):
    rows = [(*row, channel + first, pol) for pol in range(polarizations) for channel, row in enumerate(widths)]
    names = (("BMAJ", unit), ("BMIN", unit), ("BPA", "deg"), ("CHAN", None), ("POL", None))
    columns = [
        fits.Column(name, "J" if text is None else "E", unit=text, array=np.array([row[i] for row in rows]))
        for i, (name, text) in enumerate(names)
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    table.header.update(changes)
    return table


@pytest.mark.parametrize(("unit", "scale", "first"), [("arcsec", 1.0, 0), ("deg", 3600.0, 0), ("DEGREES", 3600.0, 1)])
def test_a_table_gives_one_beam_per_channel(save, unit, scale, first):
    widths = [((2.0 + 0.1 * i) / scale, 1.5 / scale, 10.0 * i) for i in range(6)]
    cube = read(save(SMALL, beams_table(widths, unit, first), CASAMBM=True))
    np.testing.assert_allclose(cube.meta["beam"]["major"].to_value("arcsec"), 2.0 + 0.1 * np.arange(6), rtol=1e-6)
    np.testing.assert_allclose(cube.meta["beam"]["pa"].to_value("deg"), 10.0 * np.arange(6), rtol=1e-6)
    np.testing.assert_allclose(cube.psf.image.sum(axis=(1, 2)), 1)
    assert cube.psf.image[0].max() > cube.psf.image[5].max()
    assert "HDU 1 BEAMS" in whys(cube)


def test_a_table_with_polarizations_gives_those_of_the_one_that_is_read(save):
    tables = beams_table([(2.0, 1.5, 0.0)] * 6, polarizations=2)
    tables.data["BMAJ"][6:] = 3.0
    planes = np.stack([SMALL, 2 * SMALL])
    path = save(planes, tables, CASAMBM=True, CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
    assert read(path, variable="I").meta["beam"]["major"].to_value("arcsec") == pytest.approx(2)
    assert read(path, variable="Q").meta["beam"]["major"].to_value("arcsec") == pytest.approx(3)


def test_a_channel_without_a_beam_takes_that_of_its_neighbor(save):
    widths = [(2.0 + 0.1 * i, 1.5, 0.0) for i in range(6)]
    widths[0] = (0.0, 0.0, 0.0)
    cube = read(save(SMALL, beams_table(widths)))
    assert cube.meta["beam"]["major"][0].to_value("arcsec") == pytest.approx(2.1)
    assert "1 bands have no beam" in whys(cube)


@pytest.mark.parametrize("table", [beams_table([(2.0, 1.5, 0.0)] * 4), beams_table([(2.0, 1.5, 0.0)] * 6, unit=None)], ids=["rows", "unit"])
def test_a_table_that_does_not_fit_is_said_and_not_used(save, table):
    cube = read(save(SMALL, table))
    assert cube.psf is None
    assert "the beams are not used" in whys(cube)


def test_the_last_clean_beam_of_aips_is_found_in_the_history(save):
    lines = [
        "AIPS   CLEAN BMAJ=  1.0000E-02 BMIN=  1.0000E-02 BPA=   0.00",
        "AIPS   CLEAN BMAJ=  6.6667E-04 BMIN=  4.4444E-04 BPA= -11.55",
        "AIPS   CLEAN NITER=        3 PRODUCT=1",
    ]
    beam = read(save(SMALL, history=lines)).meta["beam"]
    assert beam["major"].to_value("arcsec") == pytest.approx(2.4, rel=1e-4)
    assert beam["minor"].to_value("arcsec") == pytest.approx(1.6, rel=1e-4)
    assert beam["pa"].to_value("deg") == pytest.approx(-11.55)
    assert "HISTORY" in beam["source"]


def test_numbered_cards_give_one_beam_per_channel(save):
    cards = {f"{key}{i}": value for i in range(1, 7) for key, value in (("BMAJ", (2 + i) / 3600), ("BMIN", 2 / 3600), ("BPA", 0.0))}
    beam = read(save(SMALL, **BEAM, **cards)).meta["beam"]
    np.testing.assert_allclose(beam["major"].to_value("arcsec"), 2 + np.arange(1, 7))


def test_without_an_angle_an_ellipse_has_no_image_but_a_circle_has(save):
    long = read(save(SMALL, BMAJ=2.4 / 3600, BMIN=1.6 / 3600))
    assert long.psf.image is None
    assert "no position angle" in whys(long)
    assert read(save(SMALL, name="round.fits", BMAJ=2.4 / 3600)).psf.image is not None


@pytest.mark.parametrize("cards", [{"BMAJ": 0.0, "BMIN": 0.0}, {"BMAJ": "x"}, {}], ids=str)
def test_no_beam_means_no_psf(save, cards):
    cube = read(save(SMALL, **cards))
    assert cube.psf is None
    assert "no beam" in whys(cube)


def test_a_beam_in_arcsec_instead_of_degrees_is_not_believed(save):
    cube = read(save(SMALL, BMAJ=2.4, BMIN=1.6, BPA=0.0))
    assert cube.psf is None
    assert "is it in degrees?" in whys(cube)


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("fwhm", [0.0, 4.0, 8.0])
@pytest.mark.parametrize("shape", [(40, 80, 90), (4, 200, 160)])
def test_pure_noise_gives_its_variance_within_5_percent(save, shape, fwhm):
    cube = read(save(noise(shape, fwhm=fwhm, sigma=0.02)))
    np.testing.assert_allclose(cube.variance, 4e-4, rtol=0.05)


@pytest.mark.parametrize(("peak", "size"), [(1.0, 20.0), (5.0, 6.0), (5.0, 60.0), (100.0, 6.0), (100.0, 60.0)])
def test_emission_in_a_third_of_the_channels_changes_the_variances_by_less_than_10_percent(save, peak, size):
    shape = (60, 80, 80)
    cube = read(save(noise(shape) + emission(shape, peak=peak, size=size)))
    np.testing.assert_allclose(cube.variance, 1, rtol=0.1)


def test_absorption_is_no_noise(save):
    shape = (60, 80, 80)
    np.testing.assert_allclose(read(save(noise(shape) - emission(shape))).variance, 1, rtol=0.1)


def test_emission_in_most_channels_leaves_the_level_of_the_others(save):
    shape = (60, 80, 80)
    np.testing.assert_allclose(read(save(noise(shape) + emission(shape, share=0.7, size=20))).variance, 1, rtol=0.1)


@pytest.mark.parametrize(
    "sigma",
    [np.linspace(1, 2, 60), 1 + 0.2 * np.sin(np.arange(60) / 10), np.where(np.arange(60) == 20, 3.0, 1.0)],
    ids=["slope", "wave", "interference"],
)
def test_noise_that_changes_along_the_band_is_followed(save, sigma):
    """To 20 % in variance, where a channel by itself tells it to 7 %."""
    cube = read(save(noise((60, 80, 80), sigma=sigma)))
    np.testing.assert_allclose(cube.variance[:, 0, 0], sigma**2, rtol=0.2)
    assert np.abs(np.median(cube.variance[:, 0, 0] / sigma**2) - 1) < 0.05


def test_a_continuum_does_not_count_as_noise(save):
    shape = (60, 80, 80)
    y, x = np.mgrid[:80, :80]
    continuum = 20 * np.exp(-0.5 * ((y - 30) ** 2 + (x - 45) ** 2) / 12**2)
    cube = read(save(noise(shape) + emission(shape) + continuum))
    np.testing.assert_allclose(cube.variance, 1, rtol=0.1)
    assert "a continuum was subtracted" in whys(cube)


def test_the_factors_of_correlation_are_those_of_sums_over_boxes(save):
    data = noise((60, 96, 96), seed=5)
    data[1:] = (data[1:] + data[:-1]) / np.sqrt(2)  # neighboring channels as well
    found = read(save(data)).frame.noise_correlation
    for box in ((1, 3), (5, 5)):
        bands, pixels = box
        blocks = data[: 60 // bands * bands, : 96 // pixels * pixels, : 96 // pixels * pixels]
        blocks = blocks.reshape(60 // bands, bands, 96 // pixels, pixels, 96 // pixels, pixels).sum(axis=(1, 3, 5))
        expected = blocks.std() / np.sqrt(bands * pixels**2) / data.std()
        assert found[f"{bands}x{pixels}x{pixels}"] == pytest.approx(expected, rel=0.05)


def test_missing_pixels_and_channels_do_not_disturb(save):
    data = noise((40, 80, 80))
    y, x = np.mgrid[:80, :80]
    data[:, (y - 40) ** 2 + (x - 40) ** 2 > 35**2] = np.nan
    data[7] = np.nan
    cube = read(save(data))
    np.testing.assert_allclose(cube.variance[cube.weights > 0], 1, rtol=0.06)
    assert np.array_equal(cube.weights > 0, np.isfinite(data))


def test_zeros_around_the_map_and_flagged_channels_are_masked_and_said(save):
    data = noise((40, 80, 80))
    data[:, :, :20] = 0
    data[3] = 0
    cube = read(save(data))
    assert not cube.weights[:, :, :20].any()
    assert not cube.weights[3].any()
    np.testing.assert_allclose(cube.variance[cube.weights > 0], 1, rtol=0.06)
    assert "1600 pixels are 0 in all channels, 1 channels in all pixels: masked" in whys(cube)


def test_a_cube_without_noise_gets_no_variance(save):
    model = emission((40, 60, 60), size=2)
    model[model < 1] = 0
    cube = read(save(model))
    assert cube.variance is None
    assert cube.mask is None
    assert "no noise to measure" in whys(cube)


def test_too_few_pixels_give_no_variance(save):
    cube = read(save(noise((7, 4, 3)), **BEAM))
    assert cube.variance is None
    assert "too few independent blank values" in whys(cube)


def test_errors_in_the_file_win_and_none_can_be_asked_for(save):
    errors = fits.ImageHDU(np.full(SMALL.shape, 0.5, "f4"), name="ERR")
    np.testing.assert_array_equal(read(save(SMALL, errors)).variance, 0.25)
    assert read(save(SMALL, name="plain.fits"), err_ext="none").variance is None


def test_the_record_says_how_the_noise_was_found(save, caplog):
    with caplog.at_level(logging.INFO, "vermilion"):
        cube = read(save(noise((40, 80, 80), sigma=0.01)))
    said = [decision for decision in cube.meta["decisions"] if decision["taken_as"] == "variance"]
    assert len(said) == 1
    assert "noise measured per channel" in said[0]["why"]
    assert "Jy / beam" in said[0]["why"]
    assert "every finite value has weight 1" not in whys(cube)
    assert "noise measured per channel" in caplog.text


def test_large_cubes_are_refused_before_the_noise_is_measured(save):
    with pytest.raises(MemoryLimitError, match=r"--memory"):
        read(save(noise((20, 60, 60))), memory=400_000)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_noise_follows_the_unit(save, scale):
    data = noise((20, 60, 60))
    plain = read(save(data)).variance
    path = save(data * scale if scale > 1 else data, name="scaled.fits")
    if scale < 1:
        fits.PrimaryHDU(data * scale, fits.getheader(path)).writeto(path, overwrite=True)
    np.testing.assert_allclose(read(path).variance / scale**2, plain, rtol=1e-3)


# ---------------------------------------------------------------- gain


def primary_beam(shape):
    y, x = np.mgrid[: shape[1], : shape[2]]
    gain = np.exp(-0.5 * ((y - shape[1] / 2) ** 2 + (x - shape[2] / 2) ** 2) / (0.4 * shape[1]) ** 2)
    return np.where(gain > 0.2, gain, np.nan)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("axes", [2, 3, 4])
def test_the_gain_map_is_used_only_for_a_cube_that_was_divided_by_it(save, corrected, axes):
    shape = (40, 90, 90)
    gain = primary_beam(shape)
    data = noise(shape) + emission(shape, peak=20.0)
    map_ = {2: gain, 3: np.broadcast_to(gain, shape), 4: np.broadcast_to(gain, (1, *shape))}[axes]
    gain_file = save(map_, name="pb.fits", CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
    cube = read(save(data / gain if corrected else data), gain_file=gain_file)
    expected = np.broadcast_to(1 / gain**2 if corrected else np.ones(shape[1:]), shape)
    good = np.isfinite(expected)
    np.testing.assert_allclose(cube.variance[good], expected[good], rtol=0.1)
    assert ("is corrected for the primary beam" in whys(cube)) == corrected
    if corrected:
        assert np.array_equal(cube.weights > 0, good)


def test_noisier_edges_without_a_gain_map_are_pointed_out(save):
    shape = (40, 90, 90)
    cube = read(save(noise(shape) / primary_beam(shape)))
    assert "add --gain-file" in whys(cube)
    assert "add --gain-file" not in whys(read(save(noise(shape), name="even.fits")))


def test_a_gain_map_of_another_shape_is_refused(save):
    gain_file = save(np.ones((3, 30, 41)), name="pb.fits")
    with pytest.raises(ShapeError, match=r"--gain-file .*no image fits the cube of 6 x 30 x 40"):
        read(save(SMALL), gain_file=gain_file)


# ---------------------------------------------------------------- real files


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no test data: set VERMILION_TEST_DATA")
def test_a_cloud_with_emission_in_nearly_all_channels_gives_the_noise_of_its_ends():
    cube = read(REAL_DATA / "radio/l1448_13co.fits")
    sigma = np.sqrt(cube.variance[:, 0, 0])
    assert 0.18 < sigma.min() <= sigma.max() < 0.3  # the scatter of whole channels is 0.21 to 0.75
    assert "differences of neighboring channels scatter by only 0.6" in whys(cube)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no test data: set VERMILION_TEST_DATA")
def test_real_beams_are_read():
    assert read(REAL_DATA / "radio/kinms_simcube.fits").psf.fwhm[0].to_value("arcsec") == pytest.approx(4)
    beam = read(REAL_DATA / "radio/iras2a_example_cube_4d.fits").meta["beam"]
    assert beam["major"].to_value("arcsec") == pytest.approx(0.3467814737101e-3 * 3600)
