"""The table of faults 1 to 45, each as a user meets it: what is promised, and what comes. With ``-s`` the table is printed."""

import gzip
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from astropy.io import fits

SHAPE = (12, 6, 7)
LINE = re.compile(r"vermilion: error\[(E-[A-Z]+)\]: (.{15,})")
ROWS = []


@dataclass(frozen=True)
class Fault:
    """One line of the table.

    Attributes
    ----------
    number : int
    name : str
    make : callable
        Makes the file ``cube.fits`` in a folder and gives the path to read (None: that one).
    code : str
        "" where it is handled, else the code of the error.
    exit_code : int
    said : str
        Pattern of what the log says, or the error.
    arguments : str
        ``{folder}`` is the folder of the input.
    """

    number: int
    name: str
    make: Callable
    code: str = ""
    exit_code: int = 0
    said: str = ""
    arguments: str = ""

    def __str__(self):
        return f"{self.number}-{self.name}"


@pytest.fixture(scope="module", autouse=True)
def _table():
    yield
    for number, name, promise, came in sorted(ROWS, key=lambda row: row[0]):
        sys.stdout.write(f"\n{number:>3}  {name:<44.44} {promise:<18.18} {came:.90}")


# ---------------------------------------------------------------- files


def values(seed=1):
    rng = np.random.default_rng(seed)
    spectra, maps = rng.gamma(1.0, size=(SHAPE[0], 3)), rng.gamma(1.0, size=(3, SHAPE[1] * SHAPE[2]))
    return (spectra @ maps + 0.05 * rng.normal(size=(SHAPE[0], SHAPE[1] * SHAPE[2]))).reshape(SHAPE).astype("f4")


def header(**cards):
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT1": "deg", "CUNIT2": "deg", "CUNIT3": "Angstrom"}
    wcs |= {"CRPIX1": 1.0, "CRPIX2": 1.0, "CRPIX3": 1.0, "CRVAL1": 10.0, "CRVAL2": 5.0, "CRVAL3": 5000.0}
    wcs |= {"CDELT1": -1e-4, "CDELT2": 1e-4, "CDELT3": 9.0, "BUNIT": "1e-17 erg/s/cm2/Angstrom"}
    cards = {key.replace("__", "-"): value for key, value in {**wcs, **cards}.items()}
    return fits.Header({key: value for key, value in cards.items() if value is not None})


def hdus(data=None, cards=None, *, stat=0.0025, top=None):
    """Primary, DATA, STAT: the file that everything is derived from."""
    data = values() if data is None else data
    found = [fits.PrimaryHDU(header=fits.Header(top or {})), fits.ImageHDU(data, header(**(cards or {})), "DATA")]
    if stat is not None:
        noise = np.full(data.shape, stat, "f4") if np.isscalar(stat) else stat
        found.append(fits.ImageHDU(noise, name="STAT"))
    return fits.HDUList(found)


def good(folder):
    hdus().writeto(folder / "cube.fits", checksum=True)


def cube(data=None, cards=None, **options):
    """Makes a file with other data, other cards, other noise."""

    def make(folder):
        made = data() if callable(data) else data
        hdus(made, cards, **options).writeto(folder / "cube.fits", output_verify="ignore")

    return make


def content(text):
    return lambda folder: (folder / "cube.fits").write_bytes(text)


def edited(change):
    """Makes the good file with other bytes."""

    def make(folder):
        good(folder)
        path = folder / "cube.fits"
        path.write_bytes(change(path.read_bytes()))

    return make


def cut(length):
    return edited(lambda raw: raw[:length])


def card(old, new):
    def change(raw):
        assert old.encode() in raw
        return raw.replace(old.encode(), new.encode().ljust(len(old)), 1)

    return edited(change)


def flip(raw):
    damaged = bytearray(raw)
    damaged[2880 * 2 + 100] ^= 0x10
    return bytes(damaged)


def changed(change):
    """Makes the good file after its HDUs were changed."""

    def make(folder):
        made = hdus()
        change(made)
        made.writeto(folder / "cube.fits", output_verify="ignore")

    return make


def with_values(change, *, name="DATA"):
    def apply(made):
        change(made[name].data)

    return changed(apply)


def put(array, index, value):
    array[index] = value


def packed(folder):
    good(folder)
    path = folder / "cube.fits.gz"
    path.write_bytes(gzip.compress((folder / "cube.fits").read_bytes())[:-200])
    return path


def bomb(folder):
    text = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3), ("NAXIS1", 500), ("NAXIS2", 500), ("NAXIS3", 100)])
    (folder / "cube.fits").write_bytes(gzip.compress(text.tostring().encode() + bytes(100_002_240), 1))


def tiled(folder, **options):
    image = fits.CompImageHDU(values(), header(), name="DATA", **options)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(folder / "cube.fits")


def pipe(folder):
    os.mkfifo(folder / "cube.fits")


def circle(folder):
    (folder / "cube.fits").symlink_to(folder / "other.fits")
    (folder / "other.fits").symlink_to(folder / "cube.fits")


def renamed(name):
    def make(folder):
        good(folder)
        (folder / "cube.fits").rename(folder / name)
        return folder / name

    return make


def locked(folder):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    good(folder)
    (folder / "cube.fits").chmod(0)


def tabulated(folder):
    tab = {"CTYPE3": "WAVE-TAB", "CUNIT3": "um", "CRVAL3": 1.0, "CDELT3": 1.0, "PS3_0": "WCS-TABLE", "PS3_1": "wavelength"}
    waves = np.geomspace(1, 2, SHAPE[0])[np.newaxis, :, np.newaxis]
    column = fits.Column("wavelength", f"{SHAPE[0]}E", dim=f"(1,{SHAPE[0]})", unit="um", array=waves)
    made = hdus(None, tab)
    made.append(fits.BinTableHDU.from_columns([column], name="WCS-TABLE"))
    made.writeto(folder / "cube.fits")


def turned(order, cards):
    """The cube with its axes in another order, and its errors left out."""
    return cube(lambda: np.ascontiguousarray(values().transpose(order)), cards, stat=None)


def kcwi(folder):
    cards = header(INSTRUME="KCWI", BUNIT="1e+16 erg / (Angstrom cm2 s)")
    made = [fits.PrimaryHDU(values(), cards), fits.ImageHDU(np.full(SHAPE, 0.05, "f4"), name="UNCERT")]
    fits.HDUList(made).writeto(folder / "cube.fits")


def plain(array, **cards):
    def make(folder):
        fits.PrimaryHDU(array, fits.Header(cards)).writeto(folder / "cube.fits")

    return make


def many_cards(made):
    top = made[0].header
    top["HIERARCH ESO OBS WONDERFULLY LONG KEYWORD"] = 1
    top["LONGTEXT"] = "long " * 60
    for number in range(10_000):
        top.add_history(f"step {number}")


def npy(array):
    def make(folder):
        np.save(folder / "cube.npy", array)
        return folder / "cube.npy"

    return make


def psf(array, *, cards=None):
    def make(folder):
        good(folder)
        fits.PrimaryHDU(array, fits.Header(cards or {})).writeto(folder / "psf.fits")

    return make


def bump(size=5, bands=SHAPE[0]):
    y, x = np.mgrid[:size, :size] - size // 2
    image = np.exp(-(x**2 + y**2) / 2.0)
    return np.repeat(image[np.newaxis] / image.sum(), bands, axis=0)


def dead(array):
    array[:, 2, 3] = np.nan
    array[4] = np.nan


def freak(array):
    array[0, 0, :5] = np.nan, np.inf, 1e38, 1e-42, -9999
    array[3, 3, 3] = 1e12


def broken_noise(array):
    array[0, 0, :4] = 0, -1, np.nan, np.inf


def mostly_absent(array):
    array.reshape(-1)[4:] = np.nan


def other_noise(*, name="ERR", unit=None, zeros=0):
    def change(made):
        del made["STAT"]
        noise = np.full(SHAPE, 0.05, "f4")
        noise.reshape(-1)[:zeros] = 0
        made.append(fits.ImageHDU(noise, fits.Header({"BUNIT": unit} if unit else {}), name))

    return changed(change)


def twice(name):
    return changed(lambda made: made.append(fits.ImageHDU(values(2), header(), name)))


def objects(text):
    return changed(lambda made: [hdu.header.set("OBJECT", text) for hdu in made[:2]])


WRITTEN = (15, 25, 26, 27, 28, 30, 34)  # what is said there may not only be read, but must be written as well
FACTOR = "1e-17 erg/s/cm2"
SKY = {"CTYPE1": None, "CTYPE2": None, "CTYPE3": None, "CUNIT1": None, "CUNIT2": None, "CUNIT3": None}
FAULTS = [
    # file
    Fault(1, "missing", lambda folder: None, "E-MISSING", 3),
    Fault(1, "directory", lambda folder: (folder / "cube.fits").mkdir(), "E-MISSING", 3, "is a directory"),
    Fault(1, "no permission", locked, "E-MISSING", 3, "Permission denied"),
    Fault(2, "empty", content(b""), "E-EMPTY", 3, "0 bytes"),
    Fault(3, "text", content(b"wavelength flux\n4750 1.0\n"), "E-FORMAT", 3, "text beginning with 'wavelength"),
    Fault(3, "PNG", content(b"\x89PNG\r\n\x1a\n" + bytes(5000)), "E-FORMAT", 3, "PNG"),
    Fault(3, "login page", content(b"<!DOCTYPE html><html>please log in</html>"), "E-FORMAT", 3, "HTML"),
    Fault(4, "cut in the data", cut(2880 * 2 + 1000), "E-TRUNCATED", 3, r"needs a file of at least \d+ bytes, this one has 6760"),
    Fault(5, "cut inside a later header", cut(2880 * 3 + 300), "E-TRUNCATED", 3, r"HDU \d"),
    Fault(6, "cut .fits.gz", packed, "E-TRUNCATED", 3, "end marker"),
    Fault(7, "padding missing", edited(lambda raw: raw[:-100]), "", 0, "padding"),
    Fault(7, "junk behind", edited(lambda raw: raw + b"junk" * 9), "", 0, "36 bytes after the last HDU"),
    Fault(8, "flipped bit", edited(flip), "E-CORRUPT", 3, "--no-checksum"),
    Fault(8, "flipped bit, --no-checksum", edited(flip), "", 0, "", "--no-checksum"),
    Fault(9, "BITPIX -31", card("BITPIX  =                  -32", "BITPIX  =                  -31"), "E-CORRUPT", 3, "BITPIX = -31"),
    Fault(9, "NAXIS1 < 0", card("NAXIS1  =                    7", "NAXIS1  =                   -7"), "E-CORRUPT", 3, "NAXIS1 = -7"),
    Fault(10, "NAXIS1 of 2e9", card("NAXIS1  =                    7", "NAXIS1  =           2000000000"), "E-TRUNCATED", 3, r"\d{12} bytes"),
    Fault(11, "gzip bomb", bomb, "E-MEMORY", 7, "inflates to 100", "--memory 10MB"),
    Fault(12, "lossy tiles", lambda folder: tiled(folder, compression_type="RICE_1"), "", 0, "compressed with loss"),
    Fault(12, "lossless tiles", lambda folder: tiled(folder, compression_type="GZIP_2", quantize_level=0), "", 0),
    Fault(13, "URL", lambda folder: "https://example.org/cube.fits", "E-PARAM", 2, "download it first"),
    Fault(14, "named pipe", pipe, "E-MISSING", 3, "pipe"),
    Fault(14, "/dev/zero", lambda folder: "/dev/zero", "E-MISSING", 3, "device"),
    Fault(14, "links in a circle", circle, "E-MISSING", 3),
    Fault(15, "strange name", renamed("cubé de\nmoi [α].fits"), "", 0),
    Fault(15, "very long name", lambda folder: folder / ("x" * 5000), "E-MISSING", 3),
    Fault(15, "~", lambda folder: "~nobody/cube.fits", "E-MISSING", 3),
    Fault(15, "[1] behind the name", lambda folder: (good(folder), f"{folder}/cube.fits[1]")[1], "E-MISSING", 3, "--data-ext"),
    Fault(16, "two cubes", twice("FLUX"), "E-AMBIGUOUS", 4, "--data-ext"),
    Fault(16, "two cubes, one named", twice("FLUX"), "", 0, "option --data-ext", "--data-ext FLUX"),
    # header
    Fault(17, "no BUNIT", cube(None, {"BUNIT": None}), "", 0, "dimensionless"),
    Fault(17, "unknown BUNIT", cube(None, {"BUNIT": "furlongs"}), "E-UNIT", 4, "--unit"),
    Fault(17, "unknown BUNIT, allowed", cube(None, {"BUNIT": "furlongs"}), "", 0, "dimensionless", "--allow-unitless"),
    Fault(17, "Ang", cube(None, {"BUNIT": f"{FACTOR}/Ang"}), "", 0, "Ang"),
    Fault(17, "JY/BEAM", cube(None, {"BUNIT": "JY/BEAM"}), "", 0),
    Fault(17, "FLAM16", cube(None, {"BUNIT": "FLAM16"}), "", 0, "FLAM16"),
    Fault(18, "/A is Ampere", cube(None, {"BUNIT": "10^-16 erg/s/cm^2/A"}), "", 0, "Angstrom"),
    Fault(18, "KCWI 1e+16", kcwi, "", 0, "1e-16"),
    Fault(19, "no WCS", plain(values()), "", 0, "no spectral axis in the header"),
    Fault(19, "no WCS, --wave", plain(values()), "", 0, "option --wave", "--wave=5000:2nm"),
    Fault(19, "CTYPE Wavelength", cube(None, {"CTYPE3": "Wavelength", "CUNIT3": "Angstroms"}), "", 0, "spectral axis is FITS axis 3"),
    Fault(20, "-TAB", tabulated, "", 0, "WAVE-TAB"),
    Fault(20, "-LOG", cube(None, {"CTYPE3": "WAVE-LOG"}), "", 0, "WAVE-LOG"),
    Fault(20, "FREQ descending", cube(None, {"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 1.4e9, "CDELT3": -1e6}), "", 0, "FREQ"),
    Fault(20, "VRAD", cube(None, {"CTYPE3": "VRAD", "CUNIT3": "km/s", "CRVAL3": 1.0, "CDELT3": 2.0, "RESTFRQ": 1.42e9}), "", 0, "VRAD"),
    Fault(21, "CD and PC disagree", cube(None, {"CD1_1": -2e-4, "CD2_2": 3e-4, "CD3_3": 9.0, "PC1_1": 1.0}), "", 0, "contradict"),
    Fault(21, "singular matrix", cube(None, {"CDELT1": 0.0}), "", 0, "coordinates are pixels"),
    Fault(
        22,
        "spectral axis first",
        turned(
            (1, 2, 0), {"CTYPE1": "AWAV", "CUNIT1": "Angstrom", "CTYPE2": "RA---TAN", "CTYPE3": "DEC--TAN", "CUNIT3": "deg", "CDELT3": 1e-4}
        ),
        "",
        0,
        "FITS axis 1",
    ),
    Fault(22, "4-D with Stokes", cube(lambda: values()[np.newaxis], {"CTYPE4": "STOKES"}, stat=None), "", 0),
    Fault(22, "2-D", plain(np.ones((20, 20), "f4")), "E-SHAPE", 4, "three axes"),
    Fault(22, "1-D", plain(np.ones(20, "f4")), "E-SHAPE", 4, "three axes"),
    Fault(22, "no spectral axis said", turned((1, 0, 2), SKY | {"CRPIX1": 1.0}), "", 0, "by custom"),
    Fault(23, "errors of another shape", cube(stat=np.ones((3, 4, 5), "f4")), "E-SHAPE", 4, "", "--err-ext STAT"),
    Fault(23, "errors in another unit", other_noise(unit="Jy"), "E-UNIT", 4, "--err-type"),
    Fault(23, "errors of a kind unsaid", other_noise(name="NOISE"), "E-AMBIGUOUS", 4, "--err-type", "--err-ext NOISE"),
    Fault(24, "EXTNAME twice", twice("DATA"), "E-AMBIGUOUS", 4, "--data-ext"),
    Fault(24, "EXTNAME in lower case", changed(lambda made: setattr(made[1], "name", "data")), "", 0, "HDU 1 DATA: data"),
    Fault(24, "EXTNAME behind blanks", card("EXTNAME = 'DATA    '", "EXTNAME = ' DATA   '"), "", 0, "HDU 1 DATA: data"),
    Fault(25, "non-ASCII cards", card("CUNIT1  = 'deg     '", "OBSERVER= 'd\xe9g   '"), "", 0),
    Fault(25, "NaN in a card", card("CRVAL1  =                 10.0", "CRVAL1  =                  NaN"), "", 0, "coordinates are pixels"),
    Fault(25, "HIERARCH, CONTINUE, 10k HISTORY", changed(many_cards), "", 0),
    *(Fault(26, f"OBJECT {text[:14]!r}", objects(text)) for text in ("../../../../etc/x", "-rf", "/etc/passwd", "x" * 68)),
    Fault(26, "OBJECT with NUL", card("CUNIT1  = 'deg     '", "OBJECT  = 'a\0b     '")),
    *(Fault(27, f"OBJECT {text!r}", objects(text)) for text in ("<script>alert(1)</script>", "$$", "{{7*7}}", "$\\frac{")),
    Fault(28, "dates of nonsense", cube(top={"DATE-OBS": "yesterday", "MJD-OBS": "soon"})),
    Fault(28, "FSFMODE unknown", cube(top={"INSTRUME": "MUSE", "FSFMODE": 77, "NFIELDS": 1}), "", 0, "PSF"),
    Fault(
        28, "NFIELDS = 99", cube(top={"INSTRUME": "MUSE", "FSFMODE": 2, "NFIELDS": 99, "FSFLB1": 5000.0, "FSFLB2": 9000.0}), "", 0, "PSF"
    ),
    # values
    Fault(29, "all NaN", with_values(lambda array: array.fill(np.nan)), "E-NODATA", 4),
    Fault(29, "all zero", with_values(lambda array: array.fill(0)), "E-NODATA", 4),
    Fault(29, "constant", with_values(lambda array: array.fill(3)), "E-NODATA", 4, "no signal"),
    Fault(29, "all masked", changed(lambda made: made.append(fits.ImageHDU(np.ones(SHAPE, "u1"), name="DQ"))), "E-NODATA", 4),
    Fault(30, "NaN, inf, 1e38, -9999, subnormal, outlier", with_values(freak), "", 0, r"\d+ of 504 values carry no weight"),
    Fault(30, "more than 99 % absent", with_values(mostly_absent), "E-NODATA", 4, "carry weight"),
    Fault(31, "STAT of 0, -1, NaN, inf", with_values(broken_noise, name="STAT"), "", 0, "4 of 504 values carry no weight"),
    Fault(31, "STAT of 0 everywhere", with_values(lambda array: array.fill(0), name="STAT"), "E-NODATA", 4),
    Fault(31, "ivar of 0", other_noise(name="IVAR", zeros=5), "", 0, "5 of 504 values carry no weight"),
    Fault(32, "negative flux", with_values(lambda array: put(array, slice(0, 4), -array[:4])), "", 0),
    Fault(33, "dead spaxel and band", with_values(dead), "", 0, "carry no weight"),
    Fault(34, "one band", cube(lambda: values()[:1]), "", 0, "", "-k 1"),
    Fault(34, "one spaxel", cube(lambda: values()[:, :1, :1]), "", 0, "", "-k 1"),
    Fault(34, "K = 1", good, "", 0, "", "-k 1"),
    Fault(34, "K beyond the rank", good, "E-SHAPE", 4, "--force", "-k 13"),
    Fault(34, "K beyond the rank, --force", good, "", 0, "", "-k 13 --force"),
    *(
        Fault(36, np.dtype(kind).name, cube(lambda kind=kind: (values() * 20).clip(0).astype(kind), stat=None))
        for kind in ("u1", "u2", "i8")
    ),
    Fault(36, "float16", npy(values().astype("f2"))),
    Fault(36, "complex", npy(values().astype("c8")), "E-SHAPE", 4),
    Fault(37, "cosmic ray, saturated star", with_values(lambda array: (put(array, (slice(None), 1, 1), 1e5), put(array, (3, 2), 6e4)))),
    # parameters
    *(
        Fault(40, words, good, code, 2, said, words)
        for words, code, said in (
            ("-k 0", "E-PARAM", "integer >= 1"),
            ("-k -1", "E-PARAM", "integer >= 1"),
            ("-k 2.5", "E-USAGE", "2.5"),
            ("-k four", "E-USAGE", "four"),
            ("--tol nan", "E-PARAM", "in .0, 1"),
            ("--max-iter 0", "E-PARAM", ">= 1"),
        )
    ),
    Fault(40, "-k huge", good, "E-SHAPE", 4, "--force", "-k 1000000000"),
    Fault(41, "unknown option", good, "E-USAGE", 2, "Did you mean.*--max-iter", "--maxiter 3"),
    Fault(41, "unknown constraint", good, "E-USAGE", 2, "simplex", "--spectra simplx"),
    Fault(43, "contradictory priors", good, "E-PARAM", 2, "opposite", "--entropy 1 --sparsity 1"),
    Fault(43, "--entropy with free maps", good, "E-PARAM", 2, "non-negative", "--entropy 1 --maps free"),
    Fault(43, "device absent", good, "E-DEVICE", 7, "cuda", "--device cuda:9"),
    Fault(44, "wave outside", good, "E-NODATA", 4, "no band lies in", "--wave=1:2nm"),
    Fault(44, "empty roi", good, "E-NODATA", 4, "holds no pixel", "--roi 3:3,0:5"),
    Fault(44, "roi outside", good, "E-NODATA", 4, "holds no pixel", "--roi 90:99,0:5"),
    Fault(44, "region elsewhere", good, "E-NODATA", 4, "", "--region circle(200.0,-5.0,0.001)"),
    Fault(44, "region without WCS", plain(values()), "E-", 4, "", "--region circle(200.0,-5.0,0.001)"),
    Fault(45, "PSF of other bands", psf(bump(bands=7)), "E-SHAPE", 4, "12 bands", "--psf-file {folder}/psf.fits"),
    Fault(45, "PSF of even size", psf(bump(6)), "", 0, "even number of pixels", "--psf-file {folder}/psf.fits"),
    Fault(45, "PSF not normalized", psf(3 * bump()), "", 0, "sums of 3 to 3 were brought to 1", "--psf-file {folder}/psf.fits"),
    Fault(45, "PSF with a negative sum", psf(-bump()), "E-SHAPE", 4, "", "--psf-file {folder}/psf.fits"),
    Fault(45, "PSF with NaN", psf(bump() * np.nan), "E-SHAPE", 4, "", "--psf-file {folder}/psf.fits"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_ends_as_promised(fault, call, caplog, tmp_path):
    folder, out = tmp_path / "input", tmp_path / "out"
    folder.mkdir()
    given = fault.make(folder)
    path = folder / "cube.fits" if given is None or isinstance(given, int) else given
    brief = ["--max-iter", 2, "--tol", 0, "--starts", 0, "-k", 2]
    before = {str(found) for found in tmp_path.rglob("*")}
    written = fault.number in WRITTEN and not fault.code
    brief += [] if written else ["--dry-run"]
    with caplog.at_level("INFO", logger="vermilion"):
        run = call("separate", path, "-o", out, *brief, *fault.arguments.replace("{folder}", str(folder)).split())
    promise = f"E{fault.exit_code} {fault.code}" if fault.code else "handled"
    came = run.err.strip().replace("vermilion: ", "").replace(f"{folder}/", "").replace(f"{folder}", "(folder)")
    ROWS.append((fault.number, fault.name, promise, came or f"exit code {run.code}"))
    assert run.code == fault.exit_code, run.err
    if not fault.code:
        assert not run.errors
        log = (out / "run.log").read_text() if written else caplog.text
        assert written or not out.exists()
        if fault.said:
            found = re.search(f".*{fault.said}.*", log)
            assert found, log
            ROWS[-1] = (*ROWS[-1][:3], re.sub(r"^.*?(INFO|WARNING) +\S+ ", "", found[0]))
        assert {found for found in map(str, tmp_path.rglob("*")) if not found.startswith(str(out))} == before - {str(out)}
        return
    assert run.out == ""
    match = LINE.fullmatch(run.err.strip())
    assert match, run.err
    assert match[1].startswith(fault.code)
    assert re.search(fault.said, match[2]), run.err
    assert not out.exists()
    assert {str(found) for found in tmp_path.rglob("*")} == before


# ---------------------------------------------------------------- faults that need a look at what came


def test_33_dead_spaxels_and_bands_come_back_as_nan(call, tmp_path):
    with_values(dead)(tmp_path)
    run = call("separate", tmp_path / "cube.fits", "-k", 2, "-o", tmp_path / "out", "--max-iter", 5, "--tol", 0, "--starts", 0)
    assert run.code == 0, run.err
    with fits.open(tmp_path / "out" / "components.fits") as made:
        maps = next(hdu.data for hdu in made if hdu.name.startswith("MAP"))
    assert np.isnan(maps[..., 2, 3]).all()
    assert np.isfinite(np.delete(maps.reshape(2, -1), 2 * SHAPE[2] + 3, axis=1)).all()
    ROWS.append((33, "dead spaxel in the maps", "NaN there", "NaN there, finite elsewhere"))


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_35_the_scale_of_the_data_is_no_matter(call, tmp_path, factor):
    found = []
    for scale in (1.0, factor):
        folder = tmp_path / f"{scale:g}"
        folder.mkdir()
        stat = np.full(SHAPE, 0.0025 * scale**2, "f8")
        hdus(values().astype("f8") * scale, {"BUNIT": "Jy"}, stat=stat).writeto(folder / "cube.fits")
        run = call("separate", folder / "cube.fits", "-k", 2, "-o", folder / "out", "--max-iter", 30, "--tol", 0, "--starts", 0)
        assert run.code == 0, run.err
        with fits.open(folder / "out" / "model.fits") as made:
            found.append(np.array(next(hdu.data for hdu in made if hdu.data is not None and hdu.data.ndim == 3), dtype="f8") / scale)
    worst = np.abs(found[1] - found[0]).max() / np.abs(found[0]).max()
    ROWS.append((35, f"data times {factor:g}", "same A and S", f"models differ by {worst:.1e} of the maximum"))
    assert worst < 1e-4


def test_38_inspect_tells_how_far_the_claimed_noise_is_off(call, tmp_path):
    rng = np.random.default_rng(8)
    data = np.ones((60, 20, 20)) + 0.2 * rng.normal(size=(60, 20, 20))
    hdus(data.astype("f4"), stat=0.05**2).writeto(tmp_path / "cube.fits")
    run = call("inspect", tmp_path / "cube.fits", "--json")
    assert run.code == 0, run.err
    ratio = json.loads(run.out)["noise"]["voxel"]
    ROWS.append((38, "sigma four times too small", "inspect tells", f"scatter / claimed sigma = {ratio:.2f}"))
    assert ratio == pytest.approx(4, rel=0.1)


def test_39_collinear_components_make_no_claim_of_uniqueness(call, tmp_path):
    rng = np.random.default_rng(5)
    spectrum, image = rng.gamma(1.0, size=(SHAPE[0], 1)), rng.gamma(1.0, size=(1, SHAPE[1] * SHAPE[2]))
    data = (spectrum @ image).reshape(SHAPE) + 0.05 * rng.normal(size=SHAPE)
    hdus(data.astype("f4")).writeto(tmp_path / "cube.fits")
    run = call("separate", tmp_path / "cube.fits", "-k", 3, "-o", tmp_path / "out", "--max-iter", 20, "--tol", 0)
    assert run.code == 0, run.err
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    ROWS.append((39, "one spectrum, three components", "no claim, seed", f"unique = {facts['unique']}, seed {facts['seed']}"))
    assert facts["unique"] != "T"
    assert facts["seed"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("components = = 3", "line 1"),
        ("components = 'four'", "line 1: components is 'four': expected an integer"),
        ("components = 3\ncomponents = 4", "line 2"),
        ("componets = 3", "Did you mean 'components'"),
        ("#" * 1_000_001, "more than 1 MB"),
    ],
    ids=["syntax", "type", "twice", "unknown key", "1 MB"],
)
def test_42_a_faulty_config_is_refused(call, tmp_path, text, said):
    good(tmp_path)
    (tmp_path / "options.toml").write_text(text)
    run = call("separate", tmp_path / "cube.fits", "-o", tmp_path / "out", "--config", tmp_path / "options.toml")
    ROWS.append((42, f"config: {said}", "E2 E-PARAM", run.err.strip().replace("vermilion: ", "").replace(str(tmp_path), "")))
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "out").exists()


def test_every_fault_up_to_45_has_a_row():
    numbers = {fault.number for fault in FAULTS} | {35, 38, 39, 42}
    assert numbers == set(range(1, 46))
    assert len(FAULTS) >= 45
