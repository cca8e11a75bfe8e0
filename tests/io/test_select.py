"""Parts of a cube: the right bands, pixels whose place on the sky stays, means with their variances, and what is refused."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, Sip
from scipy.ndimage import uniform_filter1d

from vermilion.cli import main
from vermilion.datamodels import PSF, Cube, Frame
from vermilion.errors import HeaderError, NoDataError, ParameterError
from vermilion.io import read
from vermilion.io.options import ReadOptions
from vermilion.io.selection.binning import bin_cube
from vermilion.io.selection.regions import parse_region
from vermilion.io.selection.select import empirical_noise, select, select_bands, select_region, select_roi

SHAPE = (12, 20, 25)
SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CRVAL2": 2.2, "CRPIX1": 11.3, "CRPIX2": 7.8}
STEP = 0.2 / 3600
WAVE = {"CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": 5000.0, "CRPIX3": 1.0}


def header(**cards):
    head = fits.Header({"NAXIS": 3, "NAXIS1": SHAPE[2], "NAXIS2": SHAPE[1], "NAXIS3": SHAPE[0], **SKY, **WAVE, "CDELT3": 1.25})
    head.update({"CDELT1": -STEP, "CDELT2": STEP})
    head.update(cards)
    return head


def turned(kind):
    """A sky that is turned by 30 degrees, by a CD or a PC matrix."""
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    if kind == "PC":
        return header(PC1_1=c, PC1_2=-s, PC2_1=s, PC2_2=c)
    head = header(CD1_1=-STEP * c, CD1_2=STEP * s, CD2_1=STEP * s, CD2_2=STEP * c, CD3_3=1.25)
    for key in ("CDELT1", "CDELT2", "CDELT3"):
        del head[key]
    return head


GALACTIC = {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 236.0, "CRVAL2": 0.0, "CRPIX2": -200000.0}
HEADERS = {
    "plain": header(),
    "CD": turned("CD"),
    "PC": turned("PC"),
    "FK5": header(RADESYS="FK5", EQUINOX=2000.0),
    "CAR": header(**GALACTIC),
}


def a_cube(head=None, axis=None, *, seed=0, **frame):
    wcs = WCS(header() if head is None else head)
    axis = wcs.sub([3]).pixel_to_world_values(np.arange(SHAPE[0])) * u.m if axis is None else axis
    axis = axis.to(u.AA) if axis.unit == u.m else axis
    rng = np.random.default_rng(seed)
    data = rng.normal(size=SHAPE)
    meta = {"decisions": [], "spectral_medium": "air"}
    return Cube(
        data, rng.uniform(1, 2, SHAPE), None, Frame(shape=SHAPE[1:], n_bands=SHAPE[0], spectral_axis=axis, wcs=wcs, **frame), None, meta
    )


def world(cube, x, y, band=0):
    return np.array(cube.frame.wcs.wcs_pix2world([[x, y, band]], 0)[0])


def last_note(cube):
    return cube.meta["decisions"][-1]["why"]


# ---------------------------------------------------------------- wave


@pytest.mark.parametrize(
    ("wave", "kept"),
    [
        ("5002:5006 Angstrom", (2, 4)),
        ("5002.5:5006.25 A", (2, 5)),  # both ends included
        ("500.25:500.625 nm", (2, 5)),
        ("5006.25:5002.5 Angstrom", (2, 5)),
        (":5002.5 Angstrom", (0, 2)),
        ("5010: Angstrom", (8, 11)),
        (": Angstrom", (0, 11)),
        ("598.9:599.4 THz", (2, 4)),  # c / 598.9 THz = 5005.7, c / 599.4 THz = 5001.5
        ("599: THz", (0, 3)),
        (":599 THz", (4, 11)),
        (u.Quantity([500.25, 500.625], u.nm), (2, 5)),
    ],
)
def test_a_range_keeps_the_bands_whose_centers_lie_in_it(wave, kept):
    cube = a_cube()
    part = select_bands(cube, wave)
    assert part.frame.spectral_axis[[0, -1]].value == pytest.approx(5000 + 1.25 * np.array(kept), abs=1e-6)
    np.testing.assert_array_equal(part.data, cube.data[kept[0] : kept[1] + 1])
    np.testing.assert_array_equal(part.variance, cube.variance[kept[0] : kept[1] + 1])
    assert part.meta["spectral_medium"] == "air"
    assert f"{kept[1] - kept[0] + 1} of 12 bands" in last_note(part)
    np.testing.assert_allclose(world(part, 3, 4, 0), world(cube, 3, 4, kept[0]), rtol=1e-14)


@pytest.mark.parametrize(
    ("axis", "wave", "kept"),
    [
        (np.linspace(110, 109, 12) * u.GHz, "109.4:109.6 GHz", [5, 6]),
        (np.linspace(110, 109, 12) * u.GHz, ":109.1 GHz", [10, 11]),
        (np.linspace(110, 109, 12) * u.GHz, "2.735:2.741 mm", [5, 6]),  # c / 109.6 GHz, c / 109.37 GHz
        (np.linspace(-5, 6, 12) * u.km / u.s, "-1.5:1.5 km/s", [4, 5, 6]),
        (np.linspace(6, -5, 12) * u.km / u.s, "-500: m/s", [0, 1, 2, 3, 4, 5, 6]),
        (np.linspace(1, 12, 12) * u.keV, "3:5 keV", [2, 3, 4]),
        (np.linspace(1, 12, 12) * u.keV, ":4.2 Angstrom", list(range(2, 12))),  # 12.398 / 4.2 = 2.95 keV
        (np.array([1, 2, 3, 4, 5, 4.5, 5.5, 6, 7, 8, 9, 10]) * u.um, "4.8:6 um", [4, 6, 7]),  # detectors that overlap
    ],
)
def test_descending_axes_other_quantities_and_overlaps(axis, wave, kept):
    cube = a_cube(axis=axis, band_names=tuple("abcdefghijkl"))
    part = select_bands(cube, wave)
    np.testing.assert_array_equal(part.data, cube.data[kept])
    assert (part.frame.spectral_axis == axis[kept]).all()
    assert part.frame.band_names == tuple("abcdefghijkl"[i] for i in kept)
    assert part.frame.wcs.has_celestial
    np.testing.assert_allclose(world(part, 3, 4)[:2], world(cube, 3, 4)[:2], rtol=1e-14)


@pytest.mark.parametrize("wave", ["5000:6000", "a:b nm", "5000 nm", "1:2 Jy", "1:2 km/s", "nan:5 nm", 7])
def test_ranges_that_are_not_understood_are_usage_errors(wave):
    with pytest.raises(ParameterError, match="wave is"):
        select_bands(a_cube(), wave)


@pytest.mark.parametrize("wave", ["6000:7000 Angstrom", "5000.2:5000.9 Angstrom", "1:2 GHz", ":0 THz"])
def test_a_range_without_bands_is_no_data(wave):
    with pytest.raises(NoDataError, match="no band lies in"):
        select_bands(a_cube(), wave)


def test_what_belongs_to_bands_goes_with_them():
    cube = a_cube(lsf=np.arange(12.0) * u.AA, unit=tuple([u.Jy] * 6 + [u.mJy] * 6))
    psf = PSF(image=np.ones((12, 3, 3)) / 9, fwhm=np.arange(12.0) * u.arcsec, beta=np.arange(12.0))
    meta = {**cube.meta, "band_edges": np.arange(24.0).reshape(12, 2) * u.keV, "beam": {"area": np.arange(12.0), "source": "BMAJ"}}
    cube = Cube(cube.data, cube.variance, None, cube.frame, psf, meta)
    part = select_bands(cube, "5002.5:5005 Angstrom")
    assert part.psf.fwhm.value.tolist() == part.psf.beta.tolist() == part.frame.lsf.value.tolist() == [2, 3, 4]
    assert part.meta["band_edges"].value.tolist() == [[4, 5], [6, 7], [8, 9]]
    assert part.meta["beam"]["area"].tolist() == [2, 3, 4]
    assert part.frame.unit == (u.Jy, u.Jy, u.Jy)


# ---------------------------------------------------------------- roi


@pytest.mark.parametrize(
    ("roi", "x", "y"),
    [
        ("3:10,2:9", (3, 10), (2, 9)),
        ("3:,:9", (3, 25), (0, 9)),
        (" -5: , -4:-1 ", (20, 25), (16, 19)),
        ("20:99,0:20", (20, 25), (0, 20)),
        ((3, 10, 2, 9), (3, 10), (2, 9)),
        (((3, 10), (2, 9)), (3, 10), (2, 9)),
    ],
)
@pytest.mark.parametrize("name", HEADERS)
def test_a_rectangle_keeps_its_place_on_the_sky(name, roi, x, y):
    cube = a_cube(HEADERS[name])
    part = select_roi(cube, roi)
    np.testing.assert_array_equal(part.data, cube.data[:, y[0] : y[1], x[0] : x[1]])
    np.testing.assert_array_equal(part.variance, cube.variance[:, y[0] : y[1], x[0] : x[1]])
    for px, py in ((0, 0), (part.frame.shape[1] - 1, part.frame.shape[0] - 1)):
        np.testing.assert_allclose(world(part, px, py, 5), world(cube, px + x[0], py + y[0], 5), rtol=0, atol=1e-10)
    assert f"columns {x[0]} to {x[1] - 1}, rows {y[0]} to {y[1] - 1}" in last_note(part)


@pytest.mark.parametrize("roi", ["3:10", "3:10,2:9,1:4", "a:b,c:d", "3-10,2-9", (1, 2, 3), (1.5, 2, 3, 4), "0:9:2,0:9"])
def test_rectangles_that_are_not_understood_are_usage_errors(roi):
    with pytest.raises(ParameterError, match="roi is"):
        select_roi(a_cube(), roi)


@pytest.mark.parametrize("roi", ["30:40,0:5", "5:5,0:5", "9:3,0:5"])
def test_an_empty_rectangle_is_no_data(roi):
    with pytest.raises(NoDataError, match="holds no pixel"):
        select_roi(a_cube(), roi)


def test_a_rectangle_without_weight_is_no_data():
    cube = a_cube()
    cube.data[:, :5, :5] = np.nan
    with pytest.raises(NoDataError, match="no value there carries weight"):
        select_roi(cube, "0:5,0:5")


def test_distortions_and_maps_of_the_image_plane_are_cut_too():
    head = header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    wcs = WCS(head)
    a = np.zeros((3, 3))
    a[2, 0], a[0, 2] = 2e-3, 1e-3
    wcs.sip = Sip(a, a.T.copy(), None, None, wcs.wcs.crpix[:2])
    cube = a_cube()
    cube = Cube(
        cube.data,
        None,
        None,
        Frame(shape=SHAPE[1:], n_bands=12, wcs=wcs),
        None,
        {"decisions": [], "exposure": np.arange(500.0).reshape(20, 25)},
    )
    part = select_roi(cube, "4:20,3:15")
    np.testing.assert_array_equal(part.meta["exposure"], cube.meta["exposure"][3:15, 4:20])
    np.testing.assert_allclose(part.frame.wcs.celestial.all_pix2world(5, 6, 0), wcs.celestial.all_pix2world(9, 9, 0), atol=1e-10)
    binned = bin_cube(cube, 2)
    np.testing.assert_allclose(binned.frame.wcs.celestial.all_pix2world(4, 4, 0), wcs.celestial.all_pix2world(8.5, 8.5, 0), atol=1e-10)


# ---------------------------------------------------------------- region


def on_sky(cube):
    y, x = np.mgrid[: cube.frame.shape[0], : cube.frame.shape[1]]
    return cube.frame.wcs.celestial.pixel_to_world(x, y)


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("frame", ["icrs", "fk5", "galactic", None])
def test_a_circle_is_where_astropy_says(name, frame):
    cube = a_cube(HEADERS[name])
    center = on_sky(cube)[8, 13]
    place = center.transform_to(frame or ("fk5" if name == "FK5" else "icrs"))
    longitude, latitude = place.spherical.lon.deg, place.spherical.lat.deg
    part = select_region(cube, f"{frame + ';' if frame else ''}circle({longitude:.12f}, {latitude:.12f}, 0.9arcsec)")
    expected = on_sky(cube).separation(center).arcsec <= 0.9
    good = ~part.mask.all(axis=0)
    assert good.sum() == expected.sum() > 20
    np.testing.assert_array_equal(part.data[0][good], cube.data[0][expected])
    assert good.any(axis=0).all()  # cut to its bounding box
    assert good.any(axis=1).all()
    assert on_sky(part)[good].separation(on_sky(cube)[expected]).arcsec.max() < 1e-6


def test_a_turned_box_is_where_offsets_say():
    cube = a_cube()
    center = on_sky(cube)[9, 12]
    part = select_region(cube, f"icrs;box({center.ra.deg}, {center.dec.deg}, 2arcsec, 0.8arcsec, 40)")
    east, north = (value.arcsec for value in center.spherical_offsets_to(on_sky(cube)))
    # the height points to position angle 40 degrees, from north through east
    up, along = (
        east * np.sin(np.radians(40)) + north * np.cos(np.radians(40)),
        east * np.cos(np.radians(40)) - north * np.sin(np.radians(40)),
    )
    expected = (np.abs(along) <= 1) & (np.abs(up) <= 0.4)
    good = ~part.mask.all(axis=0)
    np.testing.assert_array_equal(np.sort(part.data[0][good]), np.sort(cube.data[0][expected]))


@pytest.mark.parametrize(
    "text",
    [
        "circle(150.1, 2.2, 0.0002)",
        "circle(10:00:24, +2:12:00, 0.72arcsec)",
        'fk5; circle(10h00m24s, 2d12m0s, 0.72")  # color=red',
        "J2000\nCIRCLE(150.1d, 2.2d, 0.012')",
        "icrs;circle(10 00 24, 2 12 00, 0.72 arcsec)",
    ],
)
def test_spellings_of_the_same_circle(text):
    region = parse_region(text)
    assert region.center == pytest.approx((150.1, 2.2))
    assert region.sizes[0] * 3600 == pytest.approx(0.72)


def test_a_sexagesimal_longitude_of_the_galaxy_is_in_degrees():
    assert parse_region("galactic;circle(120:30:00, -5:00:00, 1)").center == pytest.approx((120.5, -5))


def test_a_circle_in_pixels_counts_from_one_as_ds9_does():
    cube = a_cube(header())
    part = select_region(cube, "image;circle(6, 4, 1)")
    assert part.frame.shape == (3, 3)
    np.testing.assert_array_equal(part.data, cube.data[:, 2:5, 4:7])
    assert part.mask[0].tolist() == [[True, False, True], [False] * 3, [True, False, True]]
    flat = Cube(cube.data, meta={"decisions": []})
    np.testing.assert_array_equal(select_region(flat, "image;box(6, 4, 3, 1)").data, cube.data[:, 3:4, 4:7])


@pytest.mark.parametrize(
    "region",
    [
        "circle(1, 2)",
        "circle 1 2 3",
        "ellipse(1, 2, 3, 4)",
        "circle(a, b, c)",
        "fk9;circle(1, 2, 3)",
        "circle(1, 2, -3)",
        "circle(1, 95, 1)",
        "box(1, 2, 3)",
        "circle(nan, 2, 3)",
        "circle(1, 2, 3Jy)",
    ],
)
def test_regions_that_are_not_understood_are_usage_errors(region):
    with pytest.raises(ParameterError, match="region is"):
        parse_region(region)


def test_a_region_elsewhere_is_no_data_and_one_without_sky_is_refused():
    with pytest.raises(NoDataError, match="no center of a pixel lies in"):
        select_region(a_cube(), "circle(150.1, -2.2, 3arcsec)")
    with pytest.raises(NoDataError, match="galactic"):
        select_region(a_cube(), "galactic;circle(150.1, 2.2, 3arcsec)")  # the numbers of another frame
    with pytest.raises(HeaderError, match="--roi"):
        select_region(Cube(np.ones((3, 4, 5)), meta={"decisions": []}), "circle(150.1, 2.2, 3arcsec)")


def test_a_mask_that_is_there_stays():
    cube = a_cube()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3, 3, 5] = True
    part = select_region(Cube(cube.data, cube.variance, mask, cube.frame, None, cube.meta), "image;circle(6, 4, 1)")
    assert part.mask[3, 1, 1]
    assert not part.mask[2, 1, 1]


# ---------------------------------------------------------------- bin


def test_values_are_means_and_variances_are_propagated():
    cube = a_cube()
    cube.data[0, 0, 0] = np.nan
    binned = bin_cube(cube, "2,4")
    assert binned.data.shape == (3, 10, 12)
    assert binned.data[1, 2, 3] == pytest.approx(cube.data[4:8, 4:6, 6:8].mean())
    assert binned.variance[1, 2, 3] == pytest.approx(cube.variance[4:8, 4:6, 6:8].sum() / 16**2)
    whole, good = cube.data[:4, :2, :2], np.isfinite(cube.data[:4, :2, :2])
    assert binned.data[0, 0, 0] == pytest.approx(whole[good].mean())
    assert binned.variance[0, 0, 0] == pytest.approx(cube.variance[:4, :2, :2][good].sum() / 15**2)
    assert "1 columns at the end fill no bin" in " ".join(decision["why"] for decision in binned.meta["decisions"])


def test_boxes_without_data_are_absent():
    cube = a_cube()
    cube.data[:4, 4:6, 4:6] = np.inf
    binned = bin_cube(cube, (2, 4))
    assert binned.mask[0, 2, 2]
    assert np.isnan(binned.data[0, 2, 2])
    assert binned.weights[0, 2, 2] == 0
    assert binned.mask.sum() == 1


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", HEADERS)
def test_the_center_of_a_bin_is_the_mean_place_of_its_pixels(name, n):
    cube = a_cube(HEADERS[name])
    binned = bin_cube(cube, f"{n},3")
    middle = (n - 1) / 2
    expected = world(cube, 2 * n + middle, 3 * n + middle, 3 + 1)
    np.testing.assert_allclose(world(binned, 2, 3, 1), expected, rtol=0, atol=1e-10)
    assert binned.frame.spectral_axis.value == pytest.approx(cube.frame.spectral_axis.value.reshape(-1, 3).mean(axis=1))


def test_the_psf_and_the_line_width_are_those_of_the_bins():
    cube = a_cube(lsf=np.full(12, 2.5) * u.AA)
    y, x = np.mgrid[-8:9, -8:9]
    image = np.exp(-0.5 * (y**2 + x**2) / 2.0**2)
    psf = PSF(image=np.broadcast_to(image / image.sum(), (12, 17, 17)), fwhm=np.full(12, 0.9) * u.arcsec)
    binned = bin_cube(Cube(cube.data, None, None, cube.frame, psf, cube.meta), "2,3")
    assert binned.psf.image.shape[0] == 4
    seen = binned.psf.image[0]
    np.testing.assert_allclose(seen.sum(), 1)
    assert np.unravel_index(seen.argmax(), seen.shape) == (seen.shape[0] // 2, seen.shape[1] // 2)
    offset = np.arange(seen.shape[0]) - seen.shape[0] // 2
    # in old pixels: 4 of the Gaussian and (4 - 1) / 6 of the triangle on two points to either side
    assert 4 * (seen.sum(axis=1) * offset**2).sum() == pytest.approx(4 + 0.5, rel=0.05)
    # FWHM² + 8 ln 2 · (n² - 1) / 12 · width²
    assert binned.psf.fwhm[0].to_value(u.arcsec) == pytest.approx(np.sqrt(0.9**2 + 8 * np.log(2) * 3 / 12 * 0.2**2))
    assert binned.frame.lsf[0].value == pytest.approx(np.sqrt(2.5**2 + 8 * np.log(2) * 8 / 12 * 1.25**2))


def test_band_edges_join_and_counts_are_warned_about():
    cube = a_cube()
    edges = np.stack([np.arange(12.0), np.arange(12.0) + 1], axis=1) * u.keV
    meta = {**cube.meta, "band_edges": edges, "likelihood": "poisson", "exposure": np.ones((1, 20, 25))}
    binned = bin_cube(Cube(cube.data, None, None, cube.frame, None, meta), "2,4")
    assert binned.meta["band_edges"].value.tolist() == [[0, 4], [4, 8], [8, 12]]
    assert binned.meta["exposure"].shape == (1, 10, 12)
    assert "Poisson" in last_note(binned)


def test_known_correlation_makes_variances_of_means_larger():
    """Neighbors in every direction of the image plane with correlation 1/2: a sum of 2 x 2 has 1.5² the variance."""
    box = (1 + 2 * (2 / 3 * 0.5 + 1 / 3 * 0.5**4)) ** 0.5  # per axis, three in a row
    factors = {"1x3x3": box**2}
    plain, aware = bin_cube(a_cube(), 2), bin_cube(a_cube(noise_correlation=factors), 2)
    np.testing.assert_allclose(aware.variance / plain.variance, 1.5**2, rtol=1e-6)
    assert 1 < aware.frame.noise_correlation["1x3x3"] < factors["1x3x3"]
    assert "independent noise: where neighbors are correlated they are too small" in last_note(plain)
    assert "1.500 times" in last_note(aware)


@pytest.mark.parametrize("bins", ["0", "-1", "2,0", "2,2,2", "a", "1.5", ""])
def test_bins_that_are_not_understood_are_usage_errors(bins):
    with pytest.raises(ParameterError, match="bin is"):
        bin_cube(a_cube(), bins)


def test_bins_beyond_the_cube_are_no_data_and_bins_of_one_change_nothing():
    cube = a_cube()
    assert bin_cube(cube, 1) is cube
    with pytest.raises(NoDataError, match="choose a smaller --bin"):
        bin_cube(cube, "21")


def test_bands_of_other_units_are_not_averaged():
    cube = a_cube(unit=tuple([u.Jy] * 6 + [u.mJy] * 6))
    assert bin_cube(cube, "1,6").frame.unit == (u.Jy, u.mJy)
    with pytest.raises(ParameterError, match="different units"):
        bin_cube(cube, "1,4")


# ---------------------------------------------------------------- all together, and noise


def test_the_order_is_wave_roi_region_bin():
    cube = a_cube()
    options = ReadOptions(wave="5002.5:5010 Angstrom", roi="2:22,2:18", region="image;box(6, 6, 8, 8)", bin="2,2")
    part = select(cube, options)
    np.testing.assert_allclose(part.data[0, 0, 0], cube.data[2:4, 3:5, 3:5].mean())  # centers 1 to 9 of the rectangle
    assert part.data.shape == (3, 4, 4)
    notes = [decision["why"].split()[1] for decision in part.meta["decisions"] if decision["why"].startswith("option")]
    assert notes == ["--wave", "--roi", "--region", "--bin"]


def test_nothing_asked_for_is_nothing_done():
    cube = a_cube()
    assert select(cube, ReadOptions()) is cube


@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_empirical_variances_are_those_of_the_noise(errors, scale):
    rng = np.random.default_rng(1)
    sigma = (1 + np.linspace(0, 1, 80))[:, None, None] * np.ones((80, 24, 24))
    data = scale * sigma * rng.normal(size=sigma.shape)
    cube = Cube(data, 0.25 * scale**2 * sigma**2 if errors else None, meta={"decisions": []})
    found = empirical_noise(cube)
    assert np.median(found.variance / (scale * sigma) ** 2) == pytest.approx(1, abs=0.06)
    assert set(found.frame.noise_correlation) == {"1x3x3", "1x5x5", "5x1x1", "5x5x5"}
    assert found.frame.noise_correlation["5x5x5"] == pytest.approx(1, abs=0.05)
    assert "--noise empirical" in " ".join(decision["why"] for decision in found.meta["decisions"])


def test_light_that_cannot_be_told_from_noise_is_said_aloud(caplog):
    white = np.random.default_rng(2).normal(size=(200, 24, 24))
    light = uniform_filter1d(white, 13, axis=0)  # lines of 13 bands everywhere
    empirical_noise(Cube(light, np.ones_like(light), meta={"decisions": []}))
    assert any("light is counted as noise" in record.message and record.levelname == "WARNING" for record in caplog.records)


def test_too_little_to_measure_the_noise_names_the_option():
    with pytest.raises(NoDataError, match="Leave --noise empirical out"):
        empirical_noise(Cube(np.random.default_rng(0).normal(size=(5, 20, 20)), meta={"decisions": []}))


@pytest.fixture
def cube_file(tmp_path):
    path = tmp_path / "cube.fits"
    head = header(BUNIT="Jy")
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=SHAPE).astype("f4"), head).writeto(path)
    return path


def test_read_selects(cube_file):
    cube = read(cube_file, wave="5002.5:5006.25 Angstrom", roi="2:12,3:9", bin=2)
    assert cube.data.shape == (4, 3, 5)


@pytest.mark.parametrize(
    ("option", "code"),
    [
        (("--wave", "9000:9100 nm"), 4),
        (("--wave", "9000"), 2),
        (("--roi", "5:5,0:5"), 4),
        (("--roi", "5"), 2),
        (("--region", "circle(10, 10, 1arcsec)"), 4),
        (("--region", "galactic;circle(150.1, 2.2, 3arcsec)"), 4),
        (("--region", "circle(10)"), 2),
        (("--bin", "99"), 4),
        (("--bin", "x"), 2),
    ],
)
def test_the_command_line_ends_with_the_code_of_the_fault(cube_file, option, code, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", str(cube_file), *option])
    assert stopped.value.code == code
    assert len([line for line in capsys.readouterr().err.splitlines() if "error[" in line]) == 1


@pytest.mark.parametrize(
    "name",
    ["layouts/jwst-like_tab_s3d.fits", "layouts/manga-like-LOGCUBE.fits.gz", "radio/l1448_13co.fits"],
)
def test_real_layouts_keep_their_coordinates(real_data, name):
    whole = read(real_data / name)
    n_y, n_x = whole.frame.shape
    part = read(real_data / name, roi=f"2:{n_x - 1},1:{n_y - 1}")
    before, after = whole.frame.wcs.celestial.wcs_pix2world(4, 3, 0), part.frame.wcs.celestial.wcs_pix2world(2, 2, 0)
    np.testing.assert_allclose(np.ravel(after), np.ravel(before), rtol=0, atol=1e-10)
    axis = whole.frame.spectral_axis
    low, high = sorted((axis[5].value, axis[9].value))
    cut = read(real_data / name, wave=f"{low}:{high} {axis.unit}")
    np.testing.assert_array_equal(cut.frame.spectral_axis.value, axis.value[5:10])
    binned = read(real_data / name, bin=2)
    center = whole.frame.wcs.celestial.wcs_pix2world(4.5, 2.5, 0)
    np.testing.assert_allclose(np.ravel(binned.frame.wcs.celestial.wcs_pix2world(2, 1, 0)), np.ravel(center), rtol=0, atol=1e-10)


def test_a_place_given_in_another_frame_is_found():
    """Sgr A* is at l = 359.944, b = -0.046 (Reid & Brunthaler 2004, ApJ 616, 872)."""
    place = SkyCoord("17h45m40.04s", "-29d00m28.1s").galactic
    assert (place.l.deg, place.b.deg) == pytest.approx((359.944, -0.046), abs=1e-3)
    cube = a_cube(header(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=place.l.deg, CRVAL2=place.b.deg))
    part = select_region(cube, "circle(17:45:40.04, -29:00:28.1, 0.08arcsec)")
    np.testing.assert_array_equal(part.data[:, 0, 0], cube.data[:, 7, 10])  # CRPIX is 11.3, 7.8: nearest to pixel 11, 8
