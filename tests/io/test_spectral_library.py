"""Spectral libraries in every form they come in: the same spectra must come out."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from vermilion.errors import (
    AmbiguousInputError,
    EmptyFileError,
    HeaderError,
    MissingFileError,
    NotFITSError,
    ShapeError,
    TruncatedFileError,
    UnitError,
)
from vermilion.io.spectral_library import read_library
from vermilion.io.writers.hyperspectral import write_spectral_library

WAVE = np.linspace(400.0, 2400.0, 30)
NAMES = ("alunite", "dry grass", "water")


@pytest.fixture
def spectra():
    return np.random.default_rng(3).random((30, 3)).astype(np.float32).astype(float)


def as_envi(folder, spectra):
    write_spectral_library(folder / "lib.sli", spectra.astype(np.float32), wavelength=WAVE * u.nm, names=NAMES)
    return folder / "lib.sli"


def as_table(folder, spectra, form, name, unit=u.nm):
    table = Table([WAVE * unit, *spectra.T], names=("wavelength", *NAMES))
    table["water_error"] = np.ones(30)  # no spectrum
    table.write(folder / name, format=form)
    return folder / name


def as_csv(folder, spectra):
    lines = ["Wavelength (nm)," + ",".join(NAMES), *(",".join(map(repr, map(float, row))) for row in np.column_stack([WAVE, spectra]))]
    (folder / "lib.csv").write_text("\n".join(lines))
    return folder / "lib.csv"


def as_npz(folder, spectra):
    np.savez(folder / "lib.npz", wavelength_nm=WAVE, spectra=spectra.T, names=np.array(NAMES))
    return folder / "lib.npz"


def as_folder(folder, spectra):
    for k, name in enumerate(NAMES):
        rows = "\n".join(f"{wave!r}\t{value!r}" for wave, value in zip(WAVE.tolist(), spectra[:, k].tolist(), strict=True))
        (folder / f"{name}.txt").write_text(f"# X units: Wavelength (nanometers)\n{rows}\n")
    return folder


FORMS = {
    "envi": as_envi,
    "envi by its header": lambda folder, spectra: as_envi(folder, spectra).with_suffix(".hdr"),
    "ecsv": lambda folder, spectra: as_table(folder, spectra, "ascii.ecsv", "lib.ecsv"),
    "fits": lambda folder, spectra: as_table(folder, spectra, "fits", "lib.fits"),
    "csv": as_csv,
    "npz": as_npz,
    "folder": as_folder,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_names_wavelengths_and_values(tmp_path, spectra, form):
    found = read_library(FORMS[form](tmp_path, spectra))
    assert tuple(one.name for one in found) == NAMES
    for k, one in enumerate(found):
        np.testing.assert_allclose(one.wavelength.to_value(u.nm), WAVE, rtol=1e-12)
        np.testing.assert_array_equal(one.values, spectra[:, k])


def test_an_envi_library_is_read_as_another_package_reads_it(tmp_path, spectra):
    spectral = pytest.importorskip("spectral")
    other = spectral.open_image(str(as_envi(tmp_path, spectra).with_suffix(".hdr")))
    found = read_library(tmp_path / "lib.sli")
    assert [one.name for one in found] == other.names
    np.testing.assert_array_equal([one.values for one in found], other.spectra)


def test_components_of_an_earlier_run_are_a_library(tmp_path, spectra):
    from astropy.io import fits

    columns = [fits.Column("wavelength", "D", unit="um", array=WAVE / 1000)]
    columns += [fits.Column(f"{what}_{k}", "D", array=spectra[:, k]) for k in range(3) for what in ("shape", "shape_error", "flux")]
    primary = fits.PrimaryHDU()
    for k, name in enumerate(NAMES):
        primary.header[f"NAME{k}"] = name
    hdus = [primary, fits.BinTableHDU.from_columns(columns, name="SPECTRA"), fits.ImageHDU(np.ones((3, 4, 5)), name="MAPS")]
    fits.HDUList(hdus).writeto(tmp_path / "components.fits")
    for path in (tmp_path, tmp_path / "components.fits"):
        found = read_library(path)
        assert tuple(one.name for one in found) == NAMES
        np.testing.assert_array_equal(found[1].values, spectra[:, 1])


def test_a_text_file_may_tell_name_and_unit_above_its_numbers(tmp_path):
    text = "Name: Sea water\nType: Water\nX Units: Wavelength (micrometers)\nFirst Column: X\n\n0.4  2.5e-2\n0.5, 3.0D-2\n0.6\t-1.23e34\n"
    (tmp_path / "one.txt").write_text(text)
    (found,) = read_library(tmp_path / "one.txt")
    assert (found.name, found.wavelength.unit) == ("Sea water", u.um)
    np.testing.assert_array_equal(found.values, [0.025, 0.03, np.nan])


def test_in_a_folder_what_is_no_spectrum_is_left_out_and_said(tmp_path, spectra, caplog):
    as_folder(tmp_path, spectra)
    (tmp_path / "readme.txt").write_text("nothing to see\n")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    assert len(read_library(tmp_path)) == 3
    assert "2 files that hold no two columns of numbers are left out: photo.jpg, readme.txt" in caplog.text


def test_the_unit_is_evident_from_the_numbers_or_asked_for(tmp_path):
    np.savetxt(tmp_path / "um.txt", np.column_stack([WAVE / 1000, WAVE]))
    assert read_library(tmp_path / "um.txt")[0].wavelength.unit == u.um
    np.savetxt(tmp_path / "index.txt", np.column_stack([np.arange(30), WAVE]))
    with pytest.raises(UnitError, match="the unit of the wavelengths is not known"):
        read_library(tmp_path / "index.txt")


def truncated(folder, spectra):
    path = as_envi(folder, spectra)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def image(folder, spectra):
    path = as_envi(folder, spectra)
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("ENVI Spectral Library", "ENVI Standard"))
    return path


def written(name, text):
    def write(folder, spectra):
        (folder / name).write_text(text)
        return folder / name

    return write


def pickled(folder, spectra):
    np.savez(folder / "lib.npz", wavelength_nm=WAVE, spectra=np.array([{}, "x"], dtype=object))
    return folder / "lib.npz"


def two_matrices(folder, spectra):
    np.savez(folder / "lib.npz", wavelength_nm=WAVE, one=spectra, two=spectra)
    return folder / "lib.npz"


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda folder, spectra: folder / "absent.sli", MissingFileError, "cannot read"),
        (lambda folder, spectra: folder, NotFITSError, "no text file with two columns"),
        (written("empty.txt", ""), EmptyFileError, "empty"),
        (written("prose.txt", "It was a dark and stormy night"), ShapeError, "and 0 rows: expected wavelengths"),
        (written("flat.txt", "400 nan\n500 nan\n600 nan\n"), ShapeError, "fewer than two finite values"),
        (truncated, TruncatedFileError, "its header announces 360"),
        (image, HeaderError, "describes no library"),
        (pickled, ShapeError, "no matrix of real numbers with 30 wavelengths"),
        (two_matrices, AmbiguousInputError, "expected one, or one named 'spectra'"),
    ],
    ids=["absent", "empty folder", "empty", "prose", "nan", "truncated", "image", "pickle", "two"],
)
def test_what_is_no_library_is_refused(tmp_path, spectra, make, error, text):
    with pytest.raises(error, match=text):
        read_library(make(tmp_path, spectra))
