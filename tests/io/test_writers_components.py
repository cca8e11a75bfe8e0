import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import CorruptFileError, EmptyFileError, HeaderError, MissingFileError, NotFITSError, ShapeError
from vermilion.io.components import read_components

SHAPES = np.array([[0.25, 0.5], [0.75, 0.5], [0.0, 0.0]])
MAPS = np.arange(24, dtype="f4").reshape(2, 3, 4)


def truth(path, *, spectra=True, maps=MAPS, checksum=False, columns=2):
    """A file with the two HDUs that are needed, and nothing more."""
    table = [fits.Column("wavelength", "D", unit="nm", array=[500, 501, 502])]
    table += [fits.Column(f"shape_{k}", "D", array=SHAPES[:, k]) for k in range(columns)]
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(maps, name="MAPS")]
    hdus[0].header["NAME1"] = "ring"
    if spectra:
        hdus.append(fits.BinTableHDU.from_columns(table, name="SPECTRA"))
    fits.HDUList(hdus).writeto(path, checksum=checksum)
    return path


def test_a_truth_file_needs_spectra_and_maps_only(tmp_path):
    found = read_components(truth(tmp_path / "truth.fits"))
    np.testing.assert_array_equal(found.spectra, SHAPES)
    np.testing.assert_array_equal(found.maps, MAPS)
    # by hand: 0 + 1 + … + 11 = 66 and 12 + … + 23 = 210
    np.testing.assert_array_equal(found.fluxes, SHAPES * [66, 210])
    assert (found.wavelength == [500, 501, 502] * u.nm).all()
    assert found.names == ("component_00", "ring")
    assert found.spectra_error is found.fluxes_error is found.maps_error is found.signed_maps is found.signed_error is None
    assert repr(found) == "Components(component_00, ring: 3 bands, maps 3 x 4)"


def test_dropped_pixels_do_not_count_in_fluxes(tmp_path):
    maps = MAPS.copy()
    maps[:, 0, 1] = np.nan
    found = read_components(truth(tmp_path / "truth.fits", maps=maps))
    np.testing.assert_array_equal(found.fluxes, SHAPES * [65, 197])


def test_arrays_are_native(tmp_path):
    found = read_components(truth(tmp_path / "truth.fits"))
    assert all(values.dtype.isnative for values in (found.spectra, found.fluxes, found.maps, found.wavelength))


def test_a_folder_stands_for_the_components_in_it(tmp_path):
    truth(tmp_path / "components.fits")
    assert read_components(tmp_path).n_components == 2


@pytest.mark.parametrize("name", ["missing.fits", "."])
def test_a_missing_file_is_said_to_be_missing(tmp_path, name):
    with pytest.raises(MissingFileError, match=r"does not exist or is no regular file: expected a components\.fits, or a folder with one"):
        read_components(tmp_path / name)


def test_what_is_no_fits_file_is_refused(tmp_path):
    (tmp_path / "empty.fits").touch()
    with pytest.raises(EmptyFileError, match="is empty"):
        read_components(tmp_path / "empty.fits")
    (tmp_path / "page.fits").write_text("<!DOCTYPE html>")
    with pytest.raises(NotFITSError, match="starts with b'<!DOCTYPE '"):
        read_components(tmp_path / "page.fits")


@pytest.mark.parametrize("keep", [2880 + 80, 2880 * 2 + 40, 2880 * 3 + 80, 2880 * 4, 2880 * 4 + 10])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = truth(tmp_path / "truth.fits")
    content = path.read_bytes()
    assert keep < len(content)
    path.write_bytes(content[:keep])
    with pytest.raises((CorruptFileError, HeaderError), match=r"cut or added to|no HDU SPECTRA|damaged"):
        read_components(path)


def test_a_flipped_bit_is_noticed_where_there_is_a_checksum(tmp_path):
    path = truth(tmp_path / "truth.fits", checksum=True)
    read_components(path)
    content = bytearray(path.read_bytes())
    content[2880 * 2 + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="the checksum of HDU MAPS does not agree"):
        read_components(path)


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(HeaderError, match="has no HDU SPECTRA, only PRIMARY, MAPS"):
        read_components(truth(tmp_path / "a.fits", spectra=False))
    with pytest.raises(HeaderError, match="SPECTRA has the columns wavelength, expected shape_0"):
        read_components(truth(tmp_path / "b.fits", columns=0))
    with pytest.raises(ShapeError, match=r"MAPS has shape \(2, 3, 4\), SPECTRA 1 shapes"):
        read_components(truth(tmp_path / "c.fits", columns=1))
    with pytest.raises(ShapeError, match=r"MAPS has shape \(0,\), SPECTRA 2 shapes"):
        read_components(truth(tmp_path / "d.fits", maps=None))
